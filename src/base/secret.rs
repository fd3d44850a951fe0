//! Values that never reach a log, an error or a page by accident.

use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

/// A secret: it prints as `[secret]`, has no `Display` and no `Serialize`, and is wiped when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value into keeping.
    pub fn new(value: T) -> Self {
        Secret(value)
    }
    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An error of the format would say what it found: a number that somebody meant as a password.
        T::deserialize(deserializer).map(Secret).map_err(|_| {
            serde::de::Error::custom("a secret is of the wrong type: it must be a text in quotes")
        })
    }
}

impl<T: Zeroize> schemars::JsonSchema for Secret<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "password", "writeOnly": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_says_what_it_is() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "[secret]");
        let error = serde_json::from_str::<Secret<String>>("471199").unwrap_err().to_string();
        assert!(!error.contains("471199"), "{error}");
    }
}
