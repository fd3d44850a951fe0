//! When backups are taken, and how long they are kept. Pure: the clock is an argument.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::retention::Retention;
use crate::base::{Error, Result, Span, Timestamp};

/// Times of day in one plan.
pub(super) const TIMES_MAX: usize = 24;
/// Days between full backups.
pub(super) const DAYS_MAX: u32 = 31;
/// Recipients that a person adds to the site's own key.
pub(super) const RECIPIENTS_MAX: usize = 8;
/// The shortest time between two backups of changes.
pub(super) const CHANGES_EVERY_MIN: Span = Span::from_minutes(1);
/// The longest.
pub(super) const CHANGES_EVERY_MAX: Span = Span::from_hours(24);
/// After a failure, so long until the next try.
pub(super) const RETRY: Span = Span::from_minutes(15);

/// A minute of the day, UTC: `02:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// The minute after midnight.
    pub const fn from_minutes(minutes: u16) -> TimeOfDay {
        TimeOfDay(minutes % 1_440)
    }

    /// The last instant at or before `now` at which it was this time of day.
    pub fn latest(self, now: Timestamp) -> Timestamp {
        const DAY: i64 = 86_400_000;
        let midnight = now.milliseconds().div_euclid(DAY) * DAY;
        let today = midnight + i64::from(self.0) * 60_000;
        Timestamp::from_milliseconds(if today <= now.milliseconds() { today } else { today - DAY })
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for TimeOfDay {
    type Err = Error;

    fn from_str(text: &str) -> Result<TimeOfDay> {
        let wrong = || {
            let shown: String = text.chars().take(20).collect();
            Error::invalid(format!("`{shown}` is not a time of day")).hint("write HH:MM, for example `02:00`")
        };
        let (hour, minute) = text.trim().split_once(':').ok_or_else(wrong)?;
        let part = |text: &str, most: u16| {
            let sound = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|n| sound && *n < most).ok_or_else(wrong)
        };
        Ok(TimeOfDay(part(hour, 24)? * 60 + part(minute, 60)?))
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| serde::de::Error::custom(e.message().to_owned()))
    }
}

impl schemars::JsonSchema for TimeOfDay {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeOfDay".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$", "description": "time of day, UTC" })
    }
}

/// When backups are taken, what is in them, and how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Plan {
    /// Whether backups are taken by themselves.
    pub on: bool,
    /// Times of day (UTC) of full backups.
    pub full_at: Vec<TimeOfDay>,
    /// Days from one full backup to the next.
    pub full_every_days: u32,
    /// How often the changes since the last backup are saved.
    pub changes_every: Span,
    /// Bytes of the journal that no backup has, after which the changes are saved sooner.
    pub changes_bytes_max: u64,
    /// Whether metrics and logs are saved too.
    pub telemetry: bool,
    /// How long backups are kept.
    pub retention: Retention,
    /// Bytes a second that a backup may write or send; 0 for no limit.
    pub bytes_per_second_max: u64,
    /// Whether a restore is tried every night.
    pub drill: bool,
    /// Time of day (UTC) of that.
    pub drill_at: TimeOfDay,
    /// Further recipients, `age1…`: who holds one of their keys opens the backups too.
    pub recipients: Vec<String>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            on: true,
            full_at: vec![TimeOfDay::from_minutes(120)],
            full_every_days: 1,
            changes_every: Span::from_minutes(15),
            changes_bytes_max: 64 * 1024 * 1024,
            telemetry: true,
            retention: Retention::default(),
            bytes_per_second_max: 0,
            drill: true,
            drill_at: TimeOfDay::from_minutes(210),
            recipients: Vec::new(),
        }
    }
}

/// What there was, when the plan is asked what is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// When the last good full backup was taken.
    pub full: Option<Timestamp>,
    /// When the last good backup of any kind was taken.
    pub any: Option<Timestamp>,
    /// When the last one failed, when nothing has gone well since.
    pub failed: Option<Timestamp>,
    /// Bytes of the journal that no backup has.
    pub unsaved_bytes: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A full backup.
    Full,
    /// The changes since the last one.
    Changes,
}

impl Plan {
    /// What is due now, if anything. A full backup that was missed while the server was stopped is due at once.
    pub fn due(&self, past: Past, now: Timestamp) -> Option<Due> {
        if !self.on || past.failed.is_some_and(|at| now.since(at) < RETRY && at <= now) {
            return None;
        }
        let Some(full) = past.full else { return Some(Due::Full) };
        let slot = self.full_at.iter().map(|time| time.latest(now)).max();
        let day = |at: Timestamp| at.milliseconds().div_euclid(86_400_000);
        if let Some(slot) = slot
            && slot > full
            && (self.full_every_days <= 1 || day(slot) - day(full) >= i64::from(self.full_every_days))
        {
            return Some(Due::Full);
        }
        let quiet = past.any.map_or(Span::default(), |at| now.since(at));
        (quiet >= self.changes_every || past.unsaved_bytes >= self.changes_bytes_max).then_some(Due::Changes)
    }

    /// Whether a drill is due, when the last one ended then.
    pub fn drill_due(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        self.drill && last.is_none_or(|at| self.drill_at.latest(now) > at)
    }

    /// Checks every number by name.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, hint: &str| Err(Error::invalid(what).hint(hint.to_owned()));
        if self.full_at.is_empty() || self.full_at.len() > TIMES_MAX {
            return wrong(format!("{} times of day for full backups", self.full_at.len()), "1 to 24");
        }
        if !(1..=DAYS_MAX).contains(&self.full_every_days) {
            return wrong(format!("a full backup every {} days", self.full_every_days), "1 to 31 days");
        }
        if !(CHANGES_EVERY_MIN..=CHANGES_EVERY_MAX).contains(&self.changes_every) {
            return wrong(format!("changes every {}", self.changes_every), "`1m` to `24h`");
        }
        if self.changes_bytes_max < 1024 * 1024 {
            return wrong("less than 1 MiB of unsaved changes".into(), "1048576 bytes or more");
        }
        if self.bytes_per_second_max != 0 && self.bytes_per_second_max < 64 * 1024 {
            return wrong(
                "a rate below 64 KiB a second".into(),
                "0 for no limit, or 65536 bytes a second and more",
            );
        }
        if self.recipients.len() > RECIPIENTS_MAX {
            return wrong(format!("{} further recipients", self.recipients.len()), "at most 8");
        }
        self.retention.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_of_day_are_read_and_found() {
        for text in ["2:00", "24:00", "02:60", "0200", "", "aa:bb", "+2:00"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
        let time: TimeOfDay = "02:30".parse().unwrap();
        assert_eq!(time.to_string(), "02:30");
        assert_eq!(time.latest(at("2026-11-25T02:30:00Z")), at("2026-11-25T02:30:00Z"));
        assert_eq!(time.latest(at("2026-11-25T02:29:59Z")), at("2026-11-24T02:30:00Z"));
    }

    #[test]
    fn what_is_due() {
        let plan = Plan::default();
        let now = at("2026-11-25T14:00:00Z");
        let past = |full: &str, any: &str, failed: Option<&str>, unsaved_bytes| Past {
            full: (!full.is_empty()).then(|| at(full)),
            any: (!any.is_empty()).then(|| at(any)),
            failed: failed.map(at),
            unsaved_bytes,
        };
        let (night, before) = ("2026-11-25T02:00:10Z", "2026-11-24T02:00:10Z");
        for (past, expected) in [
            (past("", "", None, 0), Some(Due::Full)),
            (past(before, "2026-11-25T13:59:00Z", None, 0), Some(Due::Full)),
            (past(night, "2026-11-25T13:50:00Z", None, 0), None),
            (past(night, "2026-11-25T13:50:00Z", None, 65 << 20), Some(Due::Changes)),
            (past(night, "2026-11-25T13:45:00Z", None, 0), Some(Due::Changes)),
            (past("", "", Some("2026-11-25T13:50:00Z"), 0), None),
            (past("", "", Some("2026-11-25T13:40:00Z"), 0), Some(Due::Full)),
            // The clock was set back: a failure in the future holds nothing up.
            (past("", "", Some("2026-11-25T15:40:00Z"), 0), Some(Due::Full)),
        ] {
            assert_eq!(plan.due(past, now), expected, "{past:?}");
        }
        let weekly = Plan { full_every_days: 7, ..Plan::default() };
        assert_eq!(weekly.due(past("2026-11-19T02:00:10Z", night, None, 0), now), Some(Due::Changes));
        assert_eq!(weekly.due(past("2026-11-18T02:00:10Z", night, None, 0), now), Some(Due::Full));
        assert_eq!(Plan { on: false, ..Plan::default() }.due(Past::default(), now), None);
        assert!(plan.drill_due(None, now) && plan.drill_due(Some(at(before)), now));
        assert!(!plan.drill_due(Some(at("2026-11-25T03:31:00Z")), now));
    }

    #[test]
    fn a_wrong_plan_is_refused_by_what_is_wrong() {
        assert!(Plan::default().check().is_ok());
        for (plan, word) in [
            (Plan { full_at: Vec::new(), ..Plan::default() }, "times of day"),
            (Plan { full_at: vec![TimeOfDay(0); TIMES_MAX + 1], ..Plan::default() }, "times of day"),
            (Plan { full_every_days: DAYS_MAX + 1, ..Plan::default() }, "days"),
            (Plan { changes_every: Span::from_seconds(1), ..Plan::default() }, "changes every"),
            (Plan { changes_every: Span::from_days(2), ..Plan::default() }, "changes every"),
            (Plan { changes_bytes_max: 5, ..Plan::default() }, "unsaved"),
            (Plan { bytes_per_second_max: 5, ..Plan::default() }, "a second"),
            (Plan { recipients: vec!["x".into(); RECIPIENTS_MAX + 1], ..Plan::default() }, "recipients"),
            (
                Plan { retention: Retention { window_days: 0, ..Retention::default() }, ..Plan::default() },
                "window",
            ),
        ] {
            let error = plan.check().unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }
}
