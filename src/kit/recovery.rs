//! What capabilities have to do with recovery: mending after a restore, finding contradictions, bringing things back.

use serde::{Deserialize, Serialize};

use super::{Change, Ctx};
use crate::base::{Result, Timestamp};
use crate::engine::store::Snapshot;

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

/// An event of a change that a restore gives up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Undone {
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

    /// Something is wrong.
    pub fn add(&mut self, place: impl ToString, what: impl Into<String>, remedy: impl Into<String>) {
        self.count += 1;
        if self.kept.len() < Findings::KEPT_MAX {
            self.kept.push(Finding { place: place.to_string(), what: what.into(), remedy: remedy.into() });
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
}
