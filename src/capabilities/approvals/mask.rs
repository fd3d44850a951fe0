//! What was asked, as whoever decides sees it: every field, with secrets masked.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::ask::op;
use crate::kit::{Ctx, Intent};

/// Words in the name of a field that make its value a secret, whatever its schema says.
const SECRET_WORDS: [&str; 9] =
    ["password", "passphrase", "secret", "token", "credential", "private", "cookie", "digest", "recovery"];
/// Names that are secret as a whole.
const SECRET_NAMES: [&str; 4] = ["key", "pin", "otp", "csrf"];
/// What stands in the place of a secret.
const MASK: &str = "[secret]";

/// One field of what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub(super) struct Shown {
    /// Its name, with those of the fields that it is in.
    pub(super) name: String,
    /// What was given, whole; masked when it is a secret.
    pub(super) content: String,
    /// Whether it is masked.
    pub(super) masked: bool,
}

/// The fields of an intent.
pub(super) fn shown(ctx: &Ctx<'_>, permission: &str, intent: &Intent) -> Vec<Shown> {
    let mut secret = BTreeSet::new();
    let mut learn = |name: &str| {
        if let Some(op) = op(ctx, name) {
            marked(&op.input, &mut secret);
        }
    };
    learn(permission);
    if let Intent::Operation { name, .. } = intent {
        learn(name);
    }
    let mut found = Vec::new();
    match intent {
        Intent::Operation { input, .. } => flatten("", input, false, &secret, &mut found),
        Intent::Form { params, query, fields, .. } => {
            for (name, value) in params.iter().chain(query).chain(fields) {
                flatten(name, &Value::String(value.clone()), is_secret(name, &secret), &secret, &mut found);
            }
        }
    }
    found
}

/// The names of all fields of a schema that are marked as secret, wherever they stand.
fn marked(schema: &Value, found: &mut BTreeSet<String>) {
    let is_marked = |field: &Value| {
        let direct = field["writeOnly"] == true || field["format"] == "password";
        let to = |part: &Value| part["$ref"].as_str().is_some_and(|to| to.ends_with("/Secret"));
        direct
            || to(field)
            || ["anyOf", "oneOf", "allOf"]
                .iter()
                .any(|choice| field[choice].as_array().is_some_and(|parts| parts.iter().any(to)))
    };
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                if key == "properties" {
                    let fields = value.as_object().into_iter().flatten();
                    found.extend(fields.filter(|(_, field)| is_marked(field)).map(|(name, _)| name.clone()));
                }
                marked(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| marked(item, found)),
        _ => {}
    }
}

fn is_secret(name: &str, marked: &BTreeSet<String>) -> bool {
    let lower = name.to_lowercase();
    marked.contains(name)
        || SECRET_WORDS.iter().any(|word| lower.contains(word))
        || SECRET_NAMES.contains(&lower.as_str())
        || lower.ends_with("_key")
}

fn flatten(name: &str, value: &Value, secret: bool, marked: &BTreeSet<String>, found: &mut Vec<Shown>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                let below = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&below, value, secret || is_secret(field, marked), marked, found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (place, item) in items.iter().enumerate() {
                flatten(&format!("{name}[{place}]"), item, secret, marked, found);
            }
        }
        value => {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Object(_) if name.is_empty() => return,
                other => other.to_string(),
            };
            // A reference names a secret and is none; an empty field holds nothing.
            let reference = text.starts_with("secret://") && !text.contains(char::is_whitespace);
            let hidden = (secret && !reference || text.contains("PRIVATE KEY-----"))
                && !text.is_empty()
                && !value.is_null();
            let content = if hidden { MASK.to_owned() } else { text };
            found.push(Shown { name: name.to_owned(), content, masked: hidden });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Input {
        name: String,
        value: crate::base::Secret<String>,
        other: Option<crate::base::Secret<String>>,
        inner: Inner,
    }

    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Inner {
        opens: crate::base::Secret<String>,
    }

    #[test]
    fn secrets_are_masked_by_schema_and_by_name_and_nothing_else_is() {
        let mut secret = BTreeSet::new();
        marked(&schemars::schema_for!(Input).to_value(), &mut secret);
        assert_eq!(secret.iter().map(String::as_str).collect::<Vec<_>>(), ["opens", "other", "value"]);
        let input = json!({
            "name": "n1", "value": "x1", "other": null, "inner": { "opens": "x2" }, "list": [1, { "a": true }],
            "settings": { "access_key": "x3", "Password": "x4", "text": "-----BEGIN PRIVATE KEY-----x5" },
            "secret": "secret://nas/key", "token": { "deep": ["x6"] }, "empty": {},
        });
        let mut found = Vec::new();
        flatten("", &input, false, &secret, &mut found);
        let text = format!("{found:?}");
        assert!((1..=6).all(|n| !text.contains(&format!("x{n}"))), "{text}");
        let of = |name: &str| found.iter().find(|one| one.name == name).map(|one| one.content.as_str());
        assert_eq!(of("name"), Some("n1"));
        assert_eq!(of("list[1].a"), Some("true"));
        assert_eq!(of("secret"), Some("secret://nas/key"));
        assert_eq!(of("other"), Some("null"));
        assert_eq!(of("token.deep[0]"), Some(MASK));
        assert_eq!(of("empty"), Some("{}"));
    }
}
