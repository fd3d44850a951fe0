//! In which time zone people read times.
//!
//! Every page and live part is made in the zone of who looks at it. The surface puts the zone on around the call, and what
//! [`super::Markup`] and the charts write as a time is written in it, with its name. Answers of operations, exports and
//! attributes that programs read stay UTC, for they write a `Timestamp` itself.
//!
//! Invariant: a zone is on for one thread and one call; afterwards, also after a panic, it is as it was.

use std::cell::RefCell;

use jiff::tz::TimeZone;

use crate::base::Timestamp;

/// A time zone, by its name in the time zone database.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

thread_local! {
    static ON: RefCell<Zone> = RefCell::new(Zone::utc());
}

/// Puts the zone from before on again.
struct Before(Option<Zone>);

impl Drop for Before {
    fn drop(&mut self) {
        if let Some(zone) = self.0.take() {
            ON.with(|on| on.replace(zone));
        }
    }
}

impl Zone {
    /// The zone of who has chosen none.
    pub fn utc() -> Zone {
        Zone { name: "UTC".into(), zone: TimeZone::UTC }
    }

    /// The zone with this name; UTC for one that this host's database does not know.
    pub fn named(name: &str) -> Zone {
        match TimeZone::get(name) {
            Ok(zone) if name != "UTC" => Zone { name: name.to_owned(), zone },
            _ => Zone::utc(),
        }
    }

    /// The zone that is on.
    pub fn on() -> Zone {
        ON.with(|on| on.borrow().clone())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `f` with this zone on.
    pub fn during<T>(&self, f: impl FnOnce() -> T) -> T {
        let _before = Before(Some(ON.with(|on| on.replace(self.clone()))));
        f()
    }

    /// Seconds by which its clocks are ahead of UTC at an instant.
    pub fn ahead_seconds(&self, at: Timestamp) -> i64 {
        match jiff::Timestamp::from_millisecond(at.milliseconds()) {
            Ok(instant) => i64::from(self.zone.to_offset(instant).seconds()),
            Err(_) => 0,
        }
    }

    /// The instant that a field of a form names, which has no zone of its own: `2026-11-25T09:41`, with seconds or without.
    /// Of an hour that the clocks show twice it is the first; one that they skip is taken as if they did not.
    pub fn read(&self, text: &str) -> Option<Timestamp> {
        let civil: jiff::civil::DateTime = text.trim().parse().ok()?;
        let instant = self.zone.to_ambiguous_timestamp(civil).compatible().ok()?;
        Some(Timestamp::from_milliseconds(instant.as_millisecond()))
    }
}

/// The instant in the zone that is on, by a strftime pattern; `%Z` says the zone.
pub fn local(at: Timestamp, pattern: &str) -> String {
    ON.with(|on| at.format_in(pattern, &on.borrow().zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_zone_is_on_for_one_call_and_off_again_after_a_panic() {
        let (summer, winter) = (at("2026-07-01T10:00:00Z"), at("2026-12-01T10:00:00Z"));
        let show = |at| local(at, "%H:%M %Z");
        assert_eq!(show(summer), "10:00 UTC");
        let paris = Zone::named("Europe/Paris");
        let shown = paris.during(|| {
            let inner = Zone::named("Asia/Kolkata").during(|| show(summer));
            (show(summer), inner, show(winter), Zone::on().name().to_owned())
        });
        let expected =
            ("12:00 CEST".into(), "15:30 IST".into(), "11:00 CET".into(), "Europe/Paris".to_owned());
        assert_eq!(shown, expected);
        assert!(std::panic::catch_unwind(|| paris.during(|| panic!("a page fails"))).is_err());
        assert_eq!(show(summer), "10:00 UTC");
        assert_eq!(Zone::named("Mars/Olympus"), Zone::utc());
        assert_eq!(paris.ahead_seconds(summer), 7_200);
    }

    #[test]
    fn fields_are_read_in_the_zone() {
        let paris = Zone::named("Europe/Paris");
        for (text, expected) in [
            ("2026-07-01T12:00", Some("2026-07-01T10:00:00Z")),
            ("2026-12-01T11:00:05", Some("2026-12-01T10:00:05Z")),
            // Shown twice, and skipped.
            ("2026-10-25T02:30", Some("2026-10-25T00:30:00Z")),
            ("2026-03-29T02:30", Some("2026-03-29T01:30:00Z")),
            ("yesterday", None),
        ] {
            assert_eq!(paris.read(text), expected.map(at), "{text}");
        }
    }
}
