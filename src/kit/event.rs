//! The closed catalogue of what can be told: every event has one kind, which the capability that tells it declares.
//!
//! Invariant: in builds with debug assertions, telling an event or a field that nobody declared panics; a test reads the
//! sources for names that are not declared, and for declared ones that nobody tells.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Error, Result};

/// What an event is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Who came in, and what was shown or taken out.
    Access,
    /// Who and what may act: people, keys, agents, clients.
    Trust,
    /// What is set up differently from now on.
    Change,
    /// What ran: tasks, backups, drills, cleaning up.
    Work,
    /// What proves that all of it is whole, and what speaks against it.
    Proof,
}

impl Category {
    /// Every category.
    pub const ALL: [Category; 5] =
        [Category::Access, Category::Trust, Category::Change, Category::Work, Category::Proof];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Category::Access => "access",
            Category::Trust => "trust",
            Category::Change => "change",
            Category::Work => "work",
            Category::Proof => "proof",
        }
    }

    /// What it holds, for a reader.
    pub fn means(self) -> &'static str {
        match self {
            Category::Access => "who came in, and what was shown or taken out",
            Category::Trust => "who and what may act: people, keys, agents, clients",
            Category::Change => "what is set up differently from then on",
            Category::Work => "what ran: tasks, backups, drills, cleaning up",
            Category::Proof => "what proves that all of it is whole, and what speaks against it",
        }
    }
}

/// How much a reader should mind.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It belongs to every day.
    Ordinary,
    /// Somebody will ask about it one day.
    Notable,
    /// Somebody should look at it now.
    Alarm,
}

impl Weight {
    /// Every weight, the least first.
    pub const ALL: [Weight; 3] = [Weight::Ordinary, Weight::Notable, Weight::Alarm];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Weight::Ordinary => "ordinary",
            Weight::Notable => "notable",
            Weight::Alarm => "alarm",
        }
    }
}

/// One kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct EventKind {
    /// `noun.past`.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// How much a reader should mind.
    pub weight: Weight,
    /// What it means, as a sentence without its full stop.
    pub means: &'static str,
    /// The fields that its detail may have.
    pub fields: &'static [&'static str],
}

impl EventKind {
    /// One that belongs to every day.
    pub const fn ordinary(
        category: Category,
        name: &'static str,
        means: &'static str,
        fields: &'static [&'static str],
    ) -> EventKind {
        EventKind { name, category, weight: Weight::Ordinary, means, fields }
    }

    /// One that somebody will ask about.
    pub const fn notable(
        category: Category,
        name: &'static str,
        means: &'static str,
        fields: &'static [&'static str],
    ) -> EventKind {
        EventKind { name, category, weight: Weight::Notable, means, fields }
    }

    /// One that somebody should look at now.
    pub const fn alarm(
        category: Category,
        name: &'static str,
        means: &'static str,
        fields: &'static [&'static str],
    ) -> EventKind {
        EventKind { name, category, weight: Weight::Alarm, means, fields }
    }
}

/// What the program tells beside its capabilities.
pub const PROGRAM_EVENTS: &[EventKind] = &[EventKind::notable(
    Category::Trust,
    "keys.rotated",
    "The key that seals all other keys of the site was changed",
    &["kek"],
)];

/// All that this process knows, by name.
static KINDS: RwLock<BTreeMap<&'static str, &'static EventKind>> = RwLock::new(BTreeMap::new());

/// Adds kinds to the catalogue of this process.
pub(super) fn declare(kinds: &'static [EventKind]) {
    KINDS.write().extend(kinds.iter().map(|kind| (kind.name, kind)));
}

/// The kind of the event with this name, when it is declared.
pub fn event_kind(name: &str) -> Option<&'static EventKind> {
    KINDS.read().get(name).copied()
}

/// What differs between two states of one thing, field by field, as a detail tells it; fields that are as they were are
/// left out.
pub fn difference(before: &impl Serialize, after: &impl Serialize) -> Result<Value> {
    let (mut old, new) = (fields(before)?, fields(after)?);
    let mut told = Map::new();
    for (name, after) in new {
        let before = old.remove(&name).unwrap_or_default();
        if before != after {
            told.insert(name, serde_json::json!({ "before": before, "after": after }));
        }
    }
    let gone = old.into_iter().filter(|(_, before)| !before.is_null());
    told.extend(gone.map(|(name, before)| (name, serde_json::json!({ "before": before, "after": null }))));
    Ok(told.into())
}

fn fields(thing: &impl Serialize) -> Result<Map<String, Value>> {
    match serde_json::to_value(thing)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::internal("a thing without fields has no difference")),
    }
}

/// What is wrong with telling this, if anything is. A noun of which nothing is declared is somebody else's: a test's.
pub(super) fn complaint(name: &str, detail: &Value) -> Option<String> {
    let kinds = KINDS.read();
    let noun = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let Some(kind) = kinds.get(name) else {
        let nouns: BTreeSet<String> = kinds.keys().map(|known| noun(known)).collect();
        let ours = nouns.contains(&noun(name));
        return ours.then(|| format!("event `{name}` is not declared in `Capability::events`"));
    };
    let fields = detail.as_object()?;
    let unknown = fields.keys().find(|field| !kind.fields.contains(&field.as_str()))?;
    Some(format!("event `{name}` has the field `{unknown}`, which its declaration lacks"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_tells_what_was_and_what_is() {
        let told =
            difference(&json!({ "a": 1, "b": [1], "c": "x" }), &json!({ "a": 1, "b": [2], "d": null }));
        let expected = json!({ "b": { "before": [1], "after": [2] }, "c": { "before": "x", "after": null } });
        assert_eq!(told.unwrap(), expected);
        assert!(difference(&1, &2).is_err());
    }

    #[test]
    fn what_nobody_declared_is_complained_of() {
        static MADE: [EventKind; 1] =
            [EventKind::ordinary(Category::Work, "widgets.made", "A widget was made", &["size"])];
        declare(&MADE);
        assert_eq!(complaint("widgets.made", &json!({ "size": 1 })), None);
        assert_eq!(complaint("widgets.made", &json!(null)), None);
        assert!(complaint("widgets.made", &json!({ "colour": 1 })).unwrap().contains("`colour`"));
        assert!(complaint("widgets.lost", &json!({})).unwrap().contains("`widgets.lost`"));
        assert_eq!(complaint("elsewhere.lost", &json!({})), None, "a noun that nobody has");
        assert_eq!(event_kind("widgets.made"), Some(&MADE[0]));
    }
}
