//! An instant as a person types it.

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::base::{Error, Result, Timestamp};

/// An instant, and the words for the zone that it was read in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) at: Timestamp,
    pub(super) zone: &'static str,
}

/// Reads `2026-11-20 14:02`, with seconds if they are given, in UTC unless an offset follows. A time without seconds
/// means the end of nothing: 14:02 is 14:02:00.
pub(super) fn read(text: &str) -> Result<Read> {
    let text = text.trim();
    let wrong = || {
        Error::invalid(format!("`{}` is no date and time", text.chars().take(40).collect::<String>()))
            .hint("for example '2026-11-20 14:02', '2026-11-20 14:02:30' or '2026-11-20 14:02+01:00'; without an offset it is UTC")
    };
    // A date alone could mean its beginning or its end.
    if !text.contains(':') {
        return Err(wrong());
    }
    let (instant, zone) = match text.parse::<Instant>() {
        Ok(instant) => (instant, "as the offset says"),
        Err(_) => {
            let civil: DateTime = text.parse().map_err(|_| wrong())?;
            let zoned = civil.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
            (zoned.timestamp(), "taken as UTC")
        }
    };
    Ok(Read { at: Timestamp::from_milliseconds(instant.as_millisecond()), zone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_an_offset_is_given() {
        for (text, expected, zone) in [
            ("2026-11-20 14:02", "2026-11-20T14:02:00Z", "taken as UTC"),
            ("2026-11-20T14:02:07", "2026-11-20T14:02:07Z", "taken as UTC"),
            ("2026-11-20 14:02+01:00", "2026-11-20T13:02:00Z", "as the offset says"),
            ("2026-11-20T14:02:07Z", "2026-11-20T14:02:07Z", "as the offset says"),
            (" 2026-11-20 14:02:07-0530 ", "2026-11-20T19:32:07Z", "as the offset says"),
        ] {
            let read = read(text).unwrap();
            let expected: Instant = expected.parse().unwrap();
            assert_eq!((read.at.milliseconds(), read.zone), (expected.as_millisecond(), zone), "{text}");
        }
        for text in
            ["", "2026-11-20", "14:02", "2026-13-20 14:02", "yesterday", "2026-11-20 25:00", "1790000000"]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
