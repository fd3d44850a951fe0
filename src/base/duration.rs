//! Lengths of time as people write them: `500ms`, `30s`, `5m`, `24h`, `30d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Result};

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// This many milliseconds.
    pub const fn from_milliseconds(milliseconds: u64) -> Self {
        Span(milliseconds)
    }
    /// This many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Span(seconds * 1000)
    }
    /// This many minutes.
    pub const fn from_minutes(minutes: u64) -> Self {
        Span(minutes * 60_000)
    }
    /// This many hours.
    pub const fn from_hours(hours: u64) -> Self {
        Span(hours * 3_600_000)
    }
    /// This many days of 24 hours.
    pub const fn from_days(days: u64) -> Self {
        Span(days * 86_400_000)
    }
    /// Milliseconds.
    pub const fn milliseconds(self) -> u64 {
        self.0
    }
    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
    /// About how long, for a reader: `2 s`, `6 min`, `3 h`, `41 d`.
    pub fn rough(self) -> String {
        let seconds = self.seconds();
        match seconds {
            0..=119 => format!("{seconds} s"),
            120..=7_199 => format!("{} min", seconds / 60),
            7_200..=172_799 => format!("{} h", seconds / 3_600),
            _ => format!("{} d", seconds / 86_400),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = UNITS
            .into_iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .unwrap_or(("ms", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("`{}` is not a length of time", text.chars().take(40).collect::<String>()))
                .hint("write a whole number and ms, s, m, h or d, for example `30s`")
        };
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let size = UNITS.into_iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?.1;
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(size)).map(Span).ok_or_else(wrong)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| {
            serde::de::Error::custom(format!("{}; {}", e.message(), e.hint_text().unwrap_or_default()))
        })
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": "length of time, e.g. 30s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_out_and_in() {
        for (text, milliseconds) in
            [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("90d", 7_776_000_000)]
        {
            assert_eq!(text.parse::<Span>().unwrap().milliseconds(), milliseconds);
            assert_eq!(text.parse::<Span>().unwrap(), Span(milliseconds).to_string().parse().unwrap());
        }
        for text in ["", "30", "s", "3 weeks", "-1s", "99999999999999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
