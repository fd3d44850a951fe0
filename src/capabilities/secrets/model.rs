//! What a secret is, what it may be called, and which moves it makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, Secret, Timestamp};

/// How a reference begins.
pub const SCHEME: &str = "secret://";
/// Secrets of one site.
pub(super) const SECRETS_MAX: usize = 1_000;
/// Bytes of a name.
pub(super) const NAME_BYTES_MAX: usize = 120;
/// Parts of a name.
pub(super) const NAME_PARTS_MAX: usize = 8;
/// Bytes of a value; a private key is the longest.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a description.
pub(super) const ABOUT_BYTES_MAX: usize = 500;

/// The name of a secret: parts of `a-z`, `0-9`, `.`, `_` and `-`, with `/` between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = Error;

    fn from_str(text: &str) -> Result<SecretName> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let parts = text.split('/').count();
        if text.len() <= NAME_BYTES_MAX && parts <= NAME_PARTS_MAX && text.split('/').all(part) {
            return Ok(SecretName(text.to_owned()));
        }
        // What was typed is not repeated: it may be the secret itself, in the wrong field.
        Err(Error::invalid("this is not the name of a secret").hint(format!(
            "for example `line7/plc-password`: a-z, 0-9, `.`, `_` and `-`, `/` between parts, at most {NAME_PARTS_MAX} \
             parts and {NAME_BYTES_MAX} bytes"
        )))
    }
}

impl TryFrom<String> for SecretName {
    type Error = String;
    fn try_from(text: String) -> Result<SecretName, String> {
        text.parse().map_err(|e: Error| e.message().to_owned())
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl schemars::JsonSchema for SecretName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "such as `line7/plc-password`" })
    }
}

/// `secret://` and a name: what stands in settings instead of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(pub SecretName);

impl Reference {
    /// The reference, when the text is meant as one.
    pub fn find(text: &str) -> Option<Result<Reference>> {
        text.trim().strip_prefix(SCHEME).map(|name| name.parse().map(Reference))
    }
}

impl TryFrom<String> for Reference {
    type Error = String;
    fn try_from(text: String) -> Result<Reference, String> {
        match Reference::find(&text) {
            Some(found) => found.map_err(|e| e.message().to_owned()),
            None => Err(format!("a reference begins with `{SCHEME}`")),
        }
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

impl schemars::JsonSchema for Reference {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reference".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "such as `secret://line7/plc-password`" })
    }
}

/// A secret without its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: SecretName,
    /// What it is for, for people.
    #[serde(default)]
    pub(super) about: String,
    pub(super) made: Timestamp,
    /// The version in force; they count from 1 and never come twice.
    pub(super) version: u32,
    /// When it came.
    pub(super) changed: Timestamp,
    /// Who gave it, as in the audit log.
    pub(super) by: String,
    /// The version before, while it is kept.
    #[serde(default)]
    pub(super) previous: Option<u32>,
}

/// A value as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) at: Timestamp,
    pub(super) bytes: Vec<u8>,
}

/// How something that refers to a secret has used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Use {
    /// What it is: `backups target 3f…`.
    pub user: String,
    /// What people read.
    pub title: String,
    /// When it began to refer to the secret; absent when it did so once and does not any more.
    pub since: Option<Timestamp>,
    /// When it was given the value last.
    pub last: Option<Timestamp>,
}

/// What is wrong with a value, if anything is; the value itself is never said.
pub(super) fn sound_value(value: &Secret<String>) -> Result<()> {
    match value.expose().len() {
        0 => Err(Error::invalid("the value is empty")),
        bytes if bytes > VALUE_BYTES_MAX => {
            Err(Error::invalid("the value is too long").hint(format!("at most {VALUE_BYTES_MAX} bytes")))
        }
        _ => Ok(()),
    }
}

/// The same of a description.
pub(super) fn sound_about(about: &str) -> Result<String> {
    let about = about.trim();
    if about.len() > ABOUT_BYTES_MAX || about.chars().any(char::is_control) {
        return Err(Error::invalid("the description is not valid")
            .hint(format!("one line, at most {ABOUT_BYTES_MAX} bytes")));
    }
    Ok(about.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_and_mistakes_are_not_repeated() {
        for good in ["a", "line7/plc-password", "0/x_y.z", "a/".repeat(7).trim_end_matches('/')] {
            assert_eq!(good.parse::<SecretName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let deep = ["a"; NAME_PARTS_MAX + 1].join("/");
        for bad in ["", "/a", "a/", "a//b", "A", "a b", "../a", "-a", "a/.b", "hunter2!", &long, &deep] {
            let error = bad.parse::<SecretName>().unwrap_err();
            assert!(bad.len() < 3 || !error.detail().contains(bad), "{}", error.detail());
        }
    }

    #[test]
    fn references_are_told_from_values() {
        assert_eq!(Reference::find("secret://a/b").unwrap().unwrap().to_string(), "secret://a/b");
        assert!(Reference::find("hunter2").is_none());
        assert!(Reference::find("secret://A").unwrap().is_err());
        assert!(serde_json::from_str::<Reference>("\"x\"").is_err());
    }
}
