//! What an entry of the audit log is, what may stand in it, and how it is searched.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::Chain;
use crate::base::{Subject, Timestamp};
use crate::kit::event_kind;

/// Bytes of an entry's detail; a longer one is replaced by a note.
pub(super) const DETAIL_BYTES_MAX: usize = 4 * 1024;
/// Words in the name of a field that make its value a secret.
const SECRET_WORDS: [&str; 8] =
    ["password", "secret", "token", "digest", "hash", "credential", "private", "cookie"];

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Entry {
    /// Its place in the log of its tenant: 1, 2, 3 … without gaps.
    #[serde(default)]
    pub number: u64,
    /// Number of the change that told it.
    pub change: u64,
    /// Its place among the events of that change.
    pub place: u32,
    /// When.
    pub at: Timestamp,
    /// Who, by identifier.
    pub actor: String,
    /// What people called them then.
    pub name: String,
    /// The operation.
    pub action: String,
    /// What happened.
    pub event: String,
    /// What it happened to.
    pub subject: String,
    /// What changed, as JSON text.
    pub detail: String,
    /// Where the actor was.
    pub from: String,
    /// Identifier of the request, as in the server's log.
    pub request: String,
    /// Hash over this entry and the chain of the one before; it is over no field that comes after it.
    #[serde(default)]
    pub chain: Chain,
}

impl Entry {
    /// What people read as the actor.
    pub fn who(&self) -> &str {
        if self.name.is_empty() { &self.actor } else { &self.name }
    }

    /// The cursor of the entries before this one.
    pub fn cursor(&self) -> String {
        format!("{}-{}", self.change, self.place)
    }

    /// Every field of the detail, with what it was before where the event says so.
    pub fn details(&self) -> Vec<Detail> {
        let Ok(Value::Object(fields)) = serde_json::from_str(&self.detail) else { return Vec::new() };
        let mut details = Vec::new();
        if let (Some(Value::Object(_)), Some(Value::Object(_))) = (fields.get("before"), fields.get("after"))
        {
            compare("", &fields["before"], &fields["after"], &mut details);
        }
        let whole = !details.is_empty();
        for (field, value) in fields {
            match moved(&value) {
                Some((before, after)) => compare(&field, before, after, &mut details),
                None if whole && (field == "before" || field == "after") => {}
                None => details.push(Detail {
                    field: field.replace('_', " "),
                    before: None,
                    value: readable(&value),
                }),
            }
        }
        details
    }

    /// The first of the detail's fields, as people read them.
    pub fn fields(&self) -> Vec<(String, String)> {
        let Ok(Value::Object(fields)) = serde_json::from_str(&self.detail) else { return Vec::new() };
        fields.into_iter().take(12).map(|(key, value)| (key.replace('_', " "), readable(&value))).collect()
    }
}

/// One field of a detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Its name, as people read it.
    pub field: String,
    /// What it was, where the event says so.
    pub before: Option<String>,
    /// What it is since.
    pub value: String,
}

/// What a value was and is, when it says nothing else.
fn moved(value: &Value) -> Option<(&Value, &Value)> {
    let fields = value.as_object().filter(|fields| fields.len() == 2)?;
    Some((fields.get("before")?, fields.get("after")?))
}

/// What differs, field by field where both sides have fields.
fn compare(field: &str, before: &Value, after: &Value, details: &mut Vec<Detail>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return details.push(Detail {
            field: field.replace('_', " "),
            before: Some(readable(before)),
            value: readable(after),
        });
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (was, is) = (old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null));
        if was != is {
            let below = if field.is_empty() { name.clone() } else { format!("{field} {name}") };
            compare(&below, was, is, details);
        }
    }
}

fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Array(items) => items.iter().map(readable).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => match (fields.get("before"), fields.get("after")) {
            (Some(before), Some(after)) => format!("{} → {}", readable(before), readable(after)),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// The detail as it may be kept: without secrets, and bounded.
pub(super) fn presentable(detail: &Value) -> String {
    let mut detail = detail.clone();
    hide(&mut detail);
    let text = detail.to_string();
    if text.len() <= DETAIL_BYTES_MAX {
        return text;
    }
    serde_json::json!({ "left_out": format!("{} bytes", text.len()) }).to_string()
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = key.to_lowercase();
                if SECRET_WORDS.iter().any(|word| key.contains(word)) {
                    *value = Value::String("[secret]".into());
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

impl Subject for Entry {
    fn text(&self, key: &str) -> Vec<String> {
        let one = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
        let kind = event_kind(&self.event);
        match key {
            "actor" | "who" => [one(&self.actor), one(&self.name)].concat(),
            "action" => one(&self.action),
            "event" => one(&self.event),
            "subject" => one(&self.subject),
            "from" => one(&self.from),
            "request" => one(&self.request),
            "category" => kind.map(|kind| kind.category.word().to_owned()).into_iter().collect(),
            "weight" => kind.map(|kind| kind.weight.word().to_owned()).into_iter().collect(),
            "day" => vec![self.at.day()],
            _ => Vec::new(),
        }
    }

    fn number(&self, key: &str) -> Option<f64> {
        match key {
            "change" => Some(self.change as f64),
            "number" => Some(self.number as f64),
            _ => None,
        }
    }

    fn mentions(&self, word: &str) -> bool {
        [&self.actor, &self.name, &self.action, &self.event, &self.subject, &self.detail, &self.from]
            .into_iter()
            .any(|text| text.to_lowercase().contains(word))
    }
}

#[cfg(test)]
impl Entry {
    /// An entry as it may stand in the log; its chain is made up.
    pub(super) fn sample() -> Entry {
        Entry {
            number: 3,
            change: 7,
            place: 0,
            at: Timestamp::from_milliseconds(1_790_000_000_000),
            actor: "usr_00000000000000000000000001".into(),
            name: "Inès Moreau".into(),
            action: "agents.retire".into(),
            event: "agents.retired".into(),
            subject: "agt_00000000000000000000000002".into(),
            detail: serde_json::json!({ "name": { "before": "a", "after": "b" } }).to_string(),
            from: "10.0.0.7".into(),
            request: "r1".into(),
            chain: Chain::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::Selector;

    #[test]
    fn secrets_never_stand_in_a_detail() {
        let text = presentable(&json!({
            "name": "web-1", "password": "x1", "old": { "api_token": "x2" }, "list": [{ "Secret": "x3" }]
        }));
        assert!(
            text.contains("web-1") && !text.contains("x1") && !text.contains("x2") && !text.contains("x3")
        );
        assert!(presentable(&json!({ "a": "y".repeat(5_000) })).contains("left_out"));
    }

    #[test]
    fn details_say_what_was_and_what_is() {
        let shown = |detail: Value| {
            let entry = Entry { detail: detail.to_string(), ..Entry::sample() };
            let one = |detail: Detail| match detail.before {
                Some(before) => format!("{}: {before} > {}", detail.field, detail.value),
                None => format!("{}: {}", detail.field, detail.value),
            };
            entry.details().into_iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(json!({ "early_mebibytes": { "before": null, "after": 5 }, "by": "x" })),
            ["by: x", "early mebibytes: none > 5"]
        );
        assert_eq!(
            shown(json!({
                "before": { "name": "a", "labels": { "site": "lyon", "line": "1" } },
                "after": { "name": "a", "labels": { "site": "sfax", "line": "1", "new": "y" } },
            })),
            ["labels new: none > y", "labels site: lyon > sfax"]
        );
        assert_eq!(shown(json!({ "before": 3, "after": 4 })), ["after: 4", "before: 3"]);
        assert_eq!(shown(json!(null)), Vec::<String>::new());
    }

    #[test]
    fn entries_are_found_by_who_what_and_word() {
        for (filter, expected) in [
            ("", true),
            ("actor:usr_*", true),
            ("actor:\"inès moreau\" action:agents.*", true),
            ("action:identity.*", false),
            ("subject:agt_00000000000000000000000002", true),
            ("retired -from:10.0.0.7", false),
            ("change>6 day:2026-09-21", true),
        ] {
            assert_eq!(Selector::parse(filter).unwrap().matches(&Entry::sample()), expected, "{filter}");
        }
        assert_eq!(Entry::sample().fields(), [("name".to_owned(), "a → b".to_owned())]);
        assert_eq!((Entry::sample().cursor().as_str(), Entry::sample().who()), ("7-0", "Inès Moreau"));
    }
}
