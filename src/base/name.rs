//! Human names: of people, agents, keys, sites.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, Result, limits};

/// A name that a person reads: 1 to 120 bytes, no control characters, no white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::invalid("the name is empty").hint("give it a name"));
        }
        if text.len() > limits::NAME_BYTES_MAX {
            return Err(Error::invalid("the name is too long")
                .hint(format!("at most {} bytes", limits::NAME_BYTES_MAX)));
        }
        if text.chars().any(char::is_control) {
            return Err(
                Error::invalid("the name has control characters").hint("use printable text on one line")
            );
        }
        Ok(Name(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| {
            serde::de::Error::custom(format!("{}: {}", e.message(), e.hint_text().unwrap_or_default()))
        })
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": limits::NAME_BYTES_MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        assert_eq!(" Plant 03 ".parse::<Name>().unwrap().as_str(), "Plant 03");
        for text in ["", "  ", "a\nb", &"x".repeat(limits::NAME_BYTES_MAX + 1)] {
            assert!(text.parse::<Name>().is_err());
        }
    }
}
