//! Levels of a disk that fills, where they begin, and how long it will last.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, Span, Timestamp};
use crate::engine::logs;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// Below this nothing is written any more: what the store's journal keeps free.
pub(super) const CRITICAL_BYTES: u64 = 64 * MIB;
/// Where the level `shedding` begins: a share of the disk, within these bounds.
const SHEDDING: Share = Share { part: 20, least: 256 * MIB, most: 8 * GIB };
/// Where the level `early` begins.
const EARLY: Share = Share { part: 10, least: 512 * MIB, most: 20 * GIB };
/// However small the disk: dropping begins before logs are refused, and the warning before that.
const SHEDDING_LEAST: u64 = logs::RESERVE_BYTES + 32 * MIB;
const EARLY_ABOVE: u64 = 32 * MIB;
/// Days of measurements that a forecast looks back.
const FORECAST_BACK: Span = Span::from_days(14);
/// Measurements that lie closer together say nothing of a day.
const FORECAST_LEAST: Span = Span::from_hours(20);
/// Days beyond which nothing is foretold.
const FORECAST_DAYS_MAX: u64 = 3_650;

struct Share {
    part: u64,
    least: u64,
    most: u64,
}

impl Share {
    fn of(&self, total: u64) -> u64 {
        (total / self.part).clamp(self.least, self.most)
    }
}

/// How full the disk is. A later one is worse.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// There is room.
    #[default]
    Normal,
    /// It will be full before long: people are told.
    Early,
    /// The oldest telemetry is dropped.
    Shedding,
    /// Nothing can be written.
    Critical,
}

impl Level {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::Early => "early",
            Level::Shedding => "shedding",
            Level::Critical => "critical",
        }
    }

    /// The level at so many free bytes. One that has been entered is left an eighth above its limit, but for the last,
    /// which is the journal's own.
    pub(super) fn at(free: u64, limits: &Limits, before: Level) -> Level {
        if free < limits.critical_bytes {
            return Level::Critical;
        }
        let within = |level: Level, limit: u64| free < if before >= level { left_at(limit) } else { limit };
        if within(Level::Shedding, limits.shedding_bytes) {
            Level::Shedding
        } else if within(Level::Early, limits.early_bytes) {
            Level::Early
        } else {
            Level::Normal
        }
    }
}

/// Free bytes at which a level is left.
pub(super) fn left_at(limit: u64) -> u64 {
    limit + limit / 8
}

/// What an owner chose; where nothing is chosen, it follows from the size of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Chosen {
    /// MiB that must be free, or people are warned.
    #[serde(default)]
    pub(super) early_mebibytes: Option<u64>,
    /// MiB that must be free, or old telemetry is dropped.
    #[serde(default)]
    pub(super) shedding_mebibytes: Option<u64>,
}

impl Chosen {
    /// Refuses limits that would come too late.
    pub(super) fn check(&self) -> Result<()> {
        let least = SHEDDING_LEAST / MIB;
        let low = [self.early_mebibytes, self.shedding_mebibytes].into_iter().flatten().any(|m| m < least);
        if low {
            return Err(Error::invalid("the limit is too low")
                .hint(format!("at least {least} MiB, so that old telemetry goes before new is refused")));
        }
        if let (Some(early), Some(shedding)) = (self.early_mebibytes, self.shedding_mebibytes)
            && early < shedding
        {
            return Err(Error::invalid("the warning would come after old telemetry is dropped")
                .hint("warn at more free space than drop"));
        }
        Ok(())
    }
}

/// Free bytes below which each level begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limits {
    /// See [`Level::Early`].
    pub early_bytes: u64,
    /// See [`Level::Shedding`].
    pub shedding_bytes: u64,
    /// See [`Level::Critical`].
    pub critical_bytes: u64,
}

impl Limits {
    /// For a disk of this size.
    pub(super) fn of(total: u64, chosen: &Chosen) -> Limits {
        let mebibytes = |chosen: Option<u64>| chosen.map(|m| m.saturating_mul(MIB));
        let shedding = mebibytes(chosen.shedding_mebibytes)
            .unwrap_or_else(|| SHEDDING.of(total).min(total / 4).max(SHEDDING_LEAST));
        let early = mebibytes(chosen.early_mebibytes).unwrap_or_else(|| EARLY.of(total).min(total / 2));
        Limits {
            early_bytes: early.max(shedding + EARLY_ABOVE),
            shedding_bytes: shedding,
            critical_bytes: CRITICAL_BYTES,
        }
    }
}

/// What takes how much, at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Measurement {
    /// When.
    pub(super) at: Timestamp,
    /// The store's state.
    pub(super) state: u64,
    /// The store's journal.
    pub(super) journal: u64,
    /// Numbers over time.
    pub(super) metrics: u64,
    /// Lines of text.
    pub(super) logs: u64,
    /// The index for search.
    pub(super) index: u64,
    /// Backups that lie here.
    pub(super) backups: u64,
    /// Everything else in the data folder.
    pub(super) other: u64,
    /// Free on the disk.
    pub(super) free: u64,
    /// Free and used.
    pub(super) total: u64,
}

impl Measurement {
    /// Everything in the data folder.
    pub(super) fn ours(&self) -> u64 {
        self.state + self.journal + self.metrics + self.logs + self.index + self.backups + self.other
    }
}

/// How the data folder grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Forecast {
    /// Bytes that come in a day; less than none when it shrinks.
    pub(super) growth_bytes_a_day: i64,
    /// Days until old telemetry is dropped, when it goes on like this; nothing when it does not grow.
    pub(super) days_left: Option<u64>,
}

/// From the measurements of the last days, oldest first, and one of now. Nothing while there is less than a day of them.
pub(super) fn forecast(days: &[Measurement], now: &Measurement, limits: &Limits) -> Option<Forecast> {
    let first = days.iter().find(|day| now.at.since(day.at) <= FORECAST_BACK)?;
    let span = now.at.since(first.at);
    if span < FORECAST_LEAST {
        return None;
    }
    let grown = now.ours() as i128 - first.ours() as i128;
    let a_day = grown * i128::from(Span::from_days(1).milliseconds()) / i128::from(span.milliseconds());
    let growth_bytes_a_day = i64::try_from(a_day).unwrap_or(i64::MAX);
    let room = now.free.saturating_sub(limits.shedding_bytes);
    let days_left = u64::try_from(growth_bytes_a_day).ok().filter(|growth| *growth > 0);
    let days_left = days_left.map(|growth| room / growth).filter(|days| *days <= FORECAST_DAYS_MAX);
    Some(Forecast { growth_bytes_a_day, days_left })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{journal, series};

    fn limits(total: u64) -> Limits {
        Limits::of(total, &Chosen::default())
    }

    #[test]
    fn limits_follow_the_size_of_the_disk() {
        for (total, early, shedding) in [
            (100 * GIB, 10 * GIB, 5 * GIB),
            (4_000 * GIB, 20 * GIB, 8 * GIB),
            (8 * GIB, 8 * GIB / 10, 8 * GIB / 20),
            (2 * GIB, 512 * MIB, 256 * MIB),
            (300 * MIB, 192 * MIB, 160 * MIB),
        ] {
            let limits = limits(total);
            assert_eq!((limits.early_bytes, limits.shedding_bytes), (early, shedding), "{}", total / MIB);
        }
        let common = limits(100 * GIB);
        assert_eq!(Level::at(40 * GIB, &common, Level::Normal), Level::Normal, "60 % of 100 GB are in use");
    }

    /// Who is refused first: lines, then samples, then changes.
    #[test]
    fn reserves_are_in_the_order_of_worth() {
        let store = journal::Options::new("store").reserve_bytes;
        assert_eq!(store, CRITICAL_BYTES);
        assert!(store < series::RESERVE_BYTES && series::RESERVE_BYTES < logs::RESERVE_BYTES);
        assert!(limits(0).shedding_bytes > logs::RESERVE_BYTES);
    }

    #[test]
    fn a_level_is_left_with_room_to_spare() {
        let limits = limits(2 * GIB);
        let mut level = Level::Normal;
        for (free, expected) in [
            (600, Level::Normal),
            (511, Level::Early),
            (570, Level::Early),
            (577, Level::Normal),
            (255, Level::Shedding),
            (280, Level::Shedding),
            (63, Level::Critical),
            (64, Level::Shedding),
            (289, Level::Early),
            (600, Level::Normal),
        ] {
            level = Level::at(free * MIB, &limits, level);
            assert_eq!(level, expected, "{free} MiB");
        }
    }

    #[test]
    fn chosen_limits_are_kept_in_order() {
        let chosen = |early_mebibytes, shedding_mebibytes| Chosen { early_mebibytes, shedding_mebibytes };
        assert!(chosen(Some(2_000), Some(1_000)).check().is_ok() && chosen(None, None).check().is_ok());
        assert!(chosen(Some(1_000), Some(2_000)).check().is_err());
        assert!(chosen(Some(100), None).check().unwrap_err().hint_text().unwrap().contains("160 MiB"));
        let limits = Limits::of(100 * GIB, &chosen(None, Some(50 * 1024)));
        assert_eq!(limits.shedding_bytes, 50 * GIB);
        assert!(limits.early_bytes > limits.shedding_bytes);
    }

    #[test]
    fn the_forecast_is_a_line_through_the_last_days() {
        let at = |hours: u64| Timestamp::from_milliseconds(1_790_000_000_000) + Span::from_hours(hours);
        let day = |hours, gib: u64| Measurement {
            at: at(hours),
            state: gib * GIB,
            free: 25 * GIB,
            ..Measurement::default()
        };
        let limits = limits(100 * GIB);
        let said = |days: &[Measurement], now: &Measurement| forecast(days, now, &limits);
        assert_eq!(said(&[], &day(0, 1)), None);
        assert_eq!(said(&[day(0, 1)], &day(10, 2)), None, "less than a day");
        let grows = said(&[day(0, 1), day(24, 3)], &day(48, 5)).unwrap();
        assert_eq!(grows, Forecast { growth_bytes_a_day: 2 * GIB as i64, days_left: Some(10) });
        let old = said(&[day(0, 1), day(700, 5)], &day(748, 5)).unwrap();
        assert_eq!(old, Forecast { growth_bytes_a_day: 0, days_left: None }, "the first is too old to count");
        assert_eq!(said(&[day(0, 5)], &day(24, 3)).unwrap().growth_bytes_a_day, -2 * GIB as i64);
    }
}
