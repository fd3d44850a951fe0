//! What capabilities have to do with recovery: mending after a restore, finding contradictions, bringing things back.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Change, Ctx, HOME};
use crate::base::{Error, Result, TenantId, Timestamp};
use crate::engine::store::{Key, Read, Snapshot, Table};

/// A restore that has just been made, as the hooks of the first start after it are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Names this restore, so that it is mended once.
    pub id: String,
    /// The site's generation from now on: one more than before, so that agents and proofs can tell the two histories apart.
    pub generation: u64,
    /// The last change that was kept.
    pub change: u64,
    /// The instant of that change.
    pub at: Timestamp,
    /// When the restore was made.
    pub restored: Timestamp,
    /// Who made it.
    pub by: String,
    /// The backup that it was made from.
    pub source: String,
    /// What was told by changes that were given up, oldest first, as far as the source knew them.
    #[serde(default)]
    pub undone: Vec<Undone>,
}

impl Restored {
    /// The same with what was given up in one tenant alone.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> Restored {
        let undone = self.undone.iter().filter(|undone| undone.tenant == tenant).cloned().collect();
        Restored { undone, ..self.clone() }
    }

    /// Of every subject the last of these events that was given up: where it stood at the end, as far as they say.
    pub fn last_of(&self, events: &[&str]) -> BTreeMap<&str, &Undone> {
        let told = self.undone.iter().filter(|undone| events.contains(&undone.event.as_str()));
        told.map(|undone| (undone.subject.as_str(), undone)).collect()
    }
}

fn home() -> TenantId {
    HOME
}

fn is_home(tenant: &TenantId) -> bool {
    *tenant == HOME
}

impl Undone {
    /// A field of the detail.
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let detail: serde_json::Value = serde_json::from_str(&self.detail).ok()?;
        serde_json::from_value(detail.get(name)?.clone()).ok()
    }
}

/// An event of a change that a restore gives up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Undone {
    /// In which tenant.
    #[serde(default = "home", skip_serializing_if = "is_home")]
    pub tenant: TenantId,
    /// The change that told it.
    pub change: u64,
    /// When.
    pub at: Timestamp,
    /// Who acted, as in the journal.
    pub actor: String,
    /// The operation.
    pub action: String,
    /// What happened, `noun.past`.
    pub event: String,
    /// To what.
    pub subject: String,
    /// The rest, as JSON text.
    pub detail: String,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// Where: table and key, or file and byte.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// How it can be mended, or that it cannot.
    pub remedy: String,
}

/// What a check found. It keeps the first [`Findings::KEPT_MAX`] and counts the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first of them.
    pub kept: Vec<Finding>,
    /// All of them.
    pub count: u64,
    /// Things that were looked at.
    pub looked_at: u64,
}

impl Findings {
    /// Findings that are kept.
    pub const KEPT_MAX: usize = 1_000;
    /// Rows that are read with one snapshot.
    const PAGE_ROWS: usize = 1_000;

    /// Something is wrong.
    pub fn add(&mut self, place: impl ToString, what: impl Into<String>, remedy: impl Into<String>) {
        self.count += 1;
        if self.kept.len() < Findings::KEPT_MAX {
            self.kept.push(Finding { place: place.to_string(), what: what.into(), remedy: remedy.into() });
        }
    }

    /// Something is wrong unless `holds`.
    pub fn demand(&mut self, holds: bool, place: impl ToString, what: &str, remedy: &str) {
        if !holds {
            self.add(place, what, remedy);
        }
    }

    /// Shows every row of a table to `look`, with the snapshot that the row is of: what it refers to must be there too.
    /// The table is read in pages, each with a fresh snapshot, for an old one holds the store's space. A row that cannot
    /// be read is a finding and ends the table.
    pub fn each_row<K: Key + Clone, V: DeserializeOwned + Serialize>(
        &mut self,
        ctx: &Ctx<'_>,
        table: &Table<K, V>,
        mut look: impl FnMut(&mut Findings, &Snapshot, &K, &V) -> Result<()>,
    ) -> Result<()> {
        let mut after: Option<K> = None;
        loop {
            if ctx.site.is_stopping() {
                return Err(Error::unavailable("the server stops"));
            }
            let read = ctx.read()?;
            let rows = match &after {
                None => read.prefix(table, &(), Findings::PAGE_ROWS),
                Some(after) => read.prefix_after(table, &(), after, Findings::PAGE_ROWS),
            };
            let rows = match rows {
                Ok(rows) => rows,
                Err(e) => {
                    self.add(
                        table.name(),
                        format!("a row cannot be read: {}", e.detail()),
                        "restore a backup from before the damage",
                    );
                    return Ok(());
                }
            };
            for (key, value) in &rows {
                self.looked_at += 1;
                look(self, &read, key, value)?;
            }
            let last = rows.len() < Findings::PAGE_ROWS;
            after = rows.into_iter().next_back().map(|(key, _)| key);
            if last {
                return Ok(());
            }
        }
    }
}

/// A kind of thing that can be brought back as it was, one at a time, on a running site.
pub struct Returnable {
    /// The word of the capability and of the page: `agents`.
    pub word: &'static str,
    /// What people call it: `Agent`.
    pub title: &'static str,
    /// What the actor needs in order to bring one back.
    pub permission: &'static str,
    /// The things that match the filter and are not now as they were then.
    pub differing: fn(&Ctx<'_>, then: &Snapshot, filter: &str) -> Result<Vec<Difference>>,
    /// Brings one back, as one change with its own event; errors when it is as it was, or never was.
    pub bring_back: fn(&Ctx<'_>, &mut Change<'_>, then: &Snapshot, subject: &str) -> Result<Difference>,
}

/// How one thing differs between then and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Difference {
    /// Its identifier.
    pub subject: String,
    /// Its name, for people.
    pub name: String,
    /// What differs.
    pub fields: Vec<FieldDifference>,
}

impl Difference {
    /// What differs of `fields`, each with its value now and then; nothing when none does.
    pub fn of(
        subject: impl ToString,
        name: impl ToString,
        fields: impl IntoIterator<Item = (&'static str, String, String)>,
    ) -> Option<Difference> {
        let differs = fields.into_iter().filter(|(_, now, then)| now != then);
        let fields: Vec<FieldDifference> = differs
            .map(|(field, now, then)| FieldDifference { field: field.to_owned(), now, then })
            .collect();
        let (subject, name) = (subject.to_string(), name.to_string());
        (!fields.is_empty()).then_some(Difference { subject, name, fields })
    }

    /// The fields as a detail of an event tells them.
    pub fn detail(&self) -> serde_json::Value {
        let field =
            |f: &FieldDifference| (f.field.clone(), serde_json::json!({ "before": f.now, "after": f.then }));
        self.fields.iter().map(field).collect::<serde_json::Map<_, _>>().into()
    }
}

/// One field of a thing, now and then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FieldDifference {
    /// Its name.
    pub field: String,
    /// As it is; empty when it is not there.
    pub now: String,
    /// As it was; empty when it was not there.
    pub then: String,
}

/// A restore of an hour ago that gave these events up.
#[cfg(test)]
pub(crate) fn sample(undone: Vec<Undone>, now: Timestamp) -> Restored {
    let at = now - crate::base::Span::from_hours(1);
    let (by, source) = ("system".to_owned(), "plant-03-full.muster".to_owned());
    Restored { id: "r1".into(), generation: 2, change: 1, at, restored: now, by, source, undone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_bounded_and_counted() {
        let mut findings = Findings::default();
        for n in 0..Findings::KEPT_MAX + 5 {
            findings.add(n, "wrong", "none");
        }
        assert_eq!(
            (findings.kept.len(), findings.count),
            (Findings::KEPT_MAX, Findings::KEPT_MAX as u64 + 5)
        );
    }

    #[test]
    fn only_what_differs_is_told() {
        let same = [("name", "a".to_owned(), "a".to_owned())];
        assert_eq!(Difference::of("x", "X", same.clone()), None);
        let [name] = same;
        let told = Difference::of("x", "X", [name, ("labels", "l=1".into(), String::new())]).unwrap();
        assert_eq!((told.fields.len(), told.fields[0].field.as_str()), (1, "labels"));
        assert_eq!(told.detail(), serde_json::json!({ "labels": { "before": "l=1", "after": "" } }));
    }

    #[test]
    fn the_last_of_several_events_counts() {
        let undone = |event: &str, subject: &str| Undone {
            tenant: HOME,
            change: 1,
            at: Timestamp::default(),
            actor: String::new(),
            action: String::new(),
            event: event.into(),
            subject: subject.into(),
            detail: r#"{"name":"x"}"#.into(),
        };
        let undone = vec![undone("a.shut", "1"), undone("a.other", "1"), undone("a.opened", "1")];
        let restored = sample(undone, Timestamp::from_milliseconds(1_790_000_000_000));
        let last = restored.last_of(&["a.shut", "a.opened"]);
        assert_eq!((last.len(), last["1"].event.as_str()), (1, "a.opened"));
        assert_eq!(last["1"].field::<String>("name").as_deref(), Some("x"));
    }
}
