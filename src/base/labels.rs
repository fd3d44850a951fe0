//! Labels: what an administrator or an agent says about a thing, as `key=value`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Error, Result, limits};

/// Sorted `key=value` pairs. Keys are `[a-z0-9._-]`, values any printable text; both bounded by `base::limits`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// Parses `site=lyon, line=7`; a key without `=` gets the value `true`.
    pub fn parse(text: &str) -> Result<Labels> {
        let mut labels = BTreeMap::new();
        for part in text.split([',', '\n']).map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            labels.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let labels = Labels(labels);
        labels.check()?;
        Ok(labels)
    }

    /// Says which key or value is out of bounds, if one is. Labels that came by deserialisation must pass here.
    pub fn check(&self) -> Result<()> {
        if self.0.len() > limits::LABELS_COUNT_MAX {
            return Err(Error::invalid(format!("{} labels are too many", self.0.len()))
                .hint(format!("at most {}", limits::LABELS_COUNT_MAX)));
        }
        for (key, value) in &self.0 {
            let sound = !key.is_empty()
                && key.len() <= limits::LABEL_KEY_BYTES_MAX
                && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
            if !sound {
                return Err(Error::invalid(format!(
                    "label key `{}` is not valid",
                    key.chars().take(80).collect::<String>()
                ))
                .hint(format!(
                    "use a-z, 0-9, `.`, `_`, `-`, at most {} characters",
                    limits::LABEL_KEY_BYTES_MAX
                )));
            }
            if value.len() > limits::LABEL_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
                return Err(Error::invalid(format!("the value of label `{key}` is not valid"))
                    .hint(format!("printable text of at most {} bytes", limits::LABEL_VALUE_BYTES_MAX)));
            }
        }
        Ok(())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// As one line of text that `parse` takes.
    pub fn text(&self) -> String {
        self.0.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_names_the_wrong_key() {
        assert_eq!(Labels::parse("site=lyon, edge").unwrap().text(), "edge=true, site=lyon");
        assert!(Labels::parse("Site=lyon").unwrap_err().message().contains("`Site`"));
        assert!(Labels::parse(&format!("a={}", "x".repeat(300))).is_err());
        let many: String = (0..65).map(|n| format!("k{n}=1,")).collect();
        assert!(Labels::parse(&many).unwrap_err().hint_text().unwrap().contains("64"));
    }
}
