//! Instants: UTC, milliseconds. RFC 3339 with `Z` outside.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Result, Span};

/// An instant in milliseconds since 1970-01-01T00:00:00Z. It is taken once per operation from `engine::clock`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant this many milliseconds after the epoch.
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        Timestamp(milliseconds)
    }

    /// Milliseconds since the epoch.
    pub const fn milliseconds(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long it is from `earlier` to this instant; zero when it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span::from_milliseconds(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// `YYYY-MM-DD` in UTC.
    pub fn day(self) -> String {
        self.format("%Y-%m-%d")
    }

    /// The instant in UTC by a strftime pattern.
    pub fn format(self, pattern: &str) -> String {
        self.format_in(pattern, &jiff::tz::TimeZone::UTC)
    }

    /// The instant as the clocks of a zone show it, by a strftime pattern.
    pub fn format_in(self, pattern: &str, zone: &jiff::tz::TimeZone) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => instant.to_zoned(zone.clone()).strftime(pattern).to_string(),
            Err(_) => String::from("out of range"),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse::<jiff::Timestamp>().map(|t| Timestamp(t.as_millisecond())).map_err(|e| {
            Error::invalid(format!("`{}` is not an instant", text.chars().take(40).collect::<String>()))
                .hint("write RFC 3339, for example `2026-11-20T14:02:00Z`")
                .because(e)
        })
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.milliseconds() as i64))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.milliseconds() as i64))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// Text is RFC 3339; a number is milliseconds since the epoch, which the smallest devices can print.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 instant or milliseconds since 1970")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(|e: Error| E::custom(e.message()))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Timestamp, E> {
                // What no calendar has would only come back as text that nobody reads again.
                match jiff::Timestamp::from_millisecond(value) {
                    Ok(_) => Ok(Timestamp(value)),
                    Err(_) => Err(E::custom("instant out of range")),
                }
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Timestamp, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time", "description": "instant in UTC, RFC 3339" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_out_and_in() {
        let instant = Timestamp::from_milliseconds(1_790_000_000_123);
        assert_eq!(instant.to_string(), "2026-09-21T14:13:20.123Z");
        assert_eq!(instant.to_string().parse::<Timestamp>().unwrap(), instant);
        assert_eq!("2026-09-21T16:13:20.123+02:00".parse::<Timestamp>().unwrap(), instant);
        assert_eq!(serde_json::from_str::<Timestamp>("1790000000123").unwrap(), instant);
        for beyond in ["9223372036854775807", "-9223372036854775808", "18446744073709551615"] {
            assert!(serde_json::from_str::<Timestamp>(beyond).is_err(), "{beyond}");
        }
        assert!("yesterday".parse::<Timestamp>().unwrap_err().hint_text().unwrap().contains("RFC 3339"));
    }
}
