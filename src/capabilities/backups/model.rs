//! What is known of backups: the catalogue, runs, keys, drills and restores. Values only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{FileName, Holds};
use super::retention::Kept;
use crate::base::{Result, Timestamp};

/// A backup in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Backup {
    /// Name of its file.
    pub name: String,
    /// Whether it holds the whole state, or the changes since the one before.
    pub full: bool,
    /// The site's generation that it is of.
    #[serde(default)]
    pub generation: u64,
    /// The first change in it; 0 in a full one.
    #[serde(default)]
    pub first: u64,
    /// The last change in it.
    pub last: u64,
    /// The instant of that change.
    pub at: Timestamp,
    /// When it was complete.
    pub made: Timestamp,
    /// Bytes of the file.
    pub bytes: u64,
    /// Milliseconds that it took.
    #[serde(default)]
    pub took_ms: u64,
    /// Whether metrics and logs are in it.
    #[serde(default)]
    pub telemetry: bool,
    /// When it was read back and every sum was right.
    #[serde(default)]
    pub verified: Option<Timestamp>,
    /// Whether the file is in the server's own folder of backups.
    #[serde(default)]
    pub here: bool,
    /// Targets that have it, by identifier, and since when.
    #[serde(default)]
    pub targets: BTreeMap<String, Timestamp>,
    /// Recipients that it was encrypted for.
    #[serde(default)]
    pub recipients: Vec<String>,
}

impl Backup {
    /// As the retention sees it.
    pub fn kept(&self) -> Kept {
        Kept {
            name: self.name.clone(),
            holds: self.holds(),
            at: self.made,
            generation: self.generation,
            good: self.verified.is_some(),
        }
    }

    /// What it holds.
    pub fn holds(&self) -> Holds {
        match self.full {
            true => Holds::Full { last: self.last },
            false => Holds::Changes { first: self.first, last: self.last },
        }
    }

    /// One that was found in a folder, of which only the name is known.
    pub fn found(name: &str, bytes: u64) -> Result<Backup> {
        let parts: FileName = name.parse()?;
        Ok(Backup {
            name: name.to_owned(),
            full: parts.holds.is_full(),
            generation: 0,
            first: parts.holds.first().unwrap_or_default(),
            last: parts.holds.last(),
            at: parts.at,
            made: parts.at,
            bytes,
            took_ms: 0,
            telemetry: false,
            verified: None,
            here: true,
            targets: BTreeMap::new(),
            recipients: Vec::new(),
        })
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// There is a new backup, read back and whole.
    Good,
    /// A person stopped it, or the server was stopped.
    Stopped,
    /// It failed.
    Failed,
}

impl Outcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::Stopped => "stopped",
            Outcome::Failed => "failed",
        }
    }
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Run {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether it was to be a full backup.
    pub full: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The backup that it made; empty when it made none.
    #[serde(default)]
    pub name: String,
    /// Why it failed; empty when it did not.
    #[serde(default)]
    pub error: String,
    /// How that is mended; empty when it is not known.
    #[serde(default)]
    pub hint: String,
}

/// A run under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Progress {
    /// What is done: `state`, `metrics and logs`, `reading back`, `sending to …`.
    pub phase: String,
    /// When the run began.
    pub began: Timestamp,
    /// Bytes done in this phase.
    pub bytes: u64,
    /// Bytes that there will be, as far as that is known.
    pub bytes_total: u64,
    /// Bytes a second since the phase began.
    pub bytes_per_second: u64,
    /// Seconds left at this rate; absent while it is not known.
    pub seconds_left: Option<u64>,
    /// Whether somebody asked to stop it.
    pub stopping: bool,
}

/// A recovery key of the site. The key itself is in the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RecoveryKeyRow {
    /// Its number: the vault has it as `recovery.N`.
    pub number: u32,
    /// What backups are encrypted for, `age1…`: it is no secret.
    pub recipient: String,
    /// When it was made.
    pub made: Timestamp,
    /// When somebody last proved to have it, by typing it.
    #[serde(default)]
    pub checked: Option<Timestamp>,
    /// When somebody last looked at the recovery kit.
    #[serde(default)]
    pub shown: Option<Timestamp>,
}

impl RecoveryKeyRow {
    /// The last characters of the recipient: enough to tell two keys apart by eye.
    pub fn fingerprint(&self) -> &str {
        let at = self.recipient.len().saturating_sub(8);
        self.recipient.get(at..).unwrap_or(&self.recipient)
    }
}

/// What a drill found. Whoever ran it fills it in; [`super::record_drill`] signs and keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Drill {
    /// When it began.
    pub began: Timestamp,
    /// The full backup that was restored; empty when there was none.
    pub backup: String,
    /// The last change that was there again.
    pub change: u64,
    /// The instant of that change.
    pub at: Timestamp,
    /// Bytes that were restored.
    pub bytes: u64,
    /// Milliseconds until the files were restored and whole.
    pub restored_ms: u64,
    /// Milliseconds until the restored server answered: what a real restore would take.
    pub ready_ms: u64,
    /// What was checked, in words: `every sum of 3 files`, `a sign-in page`.
    pub checked: Vec<String>,
    /// Why it failed; empty when it went well.
    #[serde(default)]
    pub failure: String,
}

/// A drill as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DrillRecord {
    /// What was found.
    pub drill: Drill,
    /// When it was written down.
    pub recorded: Timestamp,
    /// Public half of the key that signed it, as text.
    pub key: String,
    /// Signature (Ed25519) of [`DrillRecord::text`], as text.
    pub signature: String,
}

impl DrillRecord {
    /// What is signed: the drill and the instant as JSON.
    pub fn text(drill: &Drill, recorded: Timestamp) -> Result<String> {
        Ok(serde_json::to_string(&(drill, recorded))?)
    }

    /// Whether it went well.
    pub fn is_good(&self) -> bool {
        self.drill.failure.is_empty()
    }
}

/// A restore that this site is the outcome of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RestoreRecord {
    /// The generation that began with it.
    pub generation: u64,
    /// The last change that was kept.
    pub change: u64,
    /// The instant of that change.
    pub at: Timestamp,
    /// When it was made.
    pub restored: Timestamp,
    /// Who made it.
    pub by: String,
    /// The backup that it was made from.
    pub source: String,
    /// How many events are known to have been given up.
    pub undone: u64,
    /// The newest of them.
    pub newest: Vec<crate::kit::Undone>,
}

/// What the schedule has to remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// The last change that the chain of changes has; the next file begins behind it.
    pub(super) chained: u64,
    /// The generation of that chain; a full backup comes first in a new one.
    pub(super) generation: u64,
    /// When the last run failed, when nothing has gone well since.
    pub(super) failed: Option<Timestamp>,
    /// A person asked for a full backup: with metrics and logs or without.
    pub(super) wanted: Option<bool>,
    /// A person asked for a drill.
    pub(super) drill_wanted: bool,
    /// Lengths of the metrics' and logs' files as the last backup has them.
    pub(super) telemetry: BTreeMap<String, u64>,
    /// When that was.
    pub(super) telemetry_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_found_file_is_known_by_its_name_alone() {
        let name = "plant-03-20261125T140200Z-changes-000000000007-000000000009.muster";
        let backup = Backup::found(name, 5).unwrap();
        assert_eq!((backup.first, backup.last, backup.full, backup.verified), (7, 9, false, None));
        assert_eq!(backup.holds(), Holds::Changes { first: 7, last: 9 });
        assert!(!backup.kept().good);
        assert!(Backup::found("x.txt", 5).is_err());
    }

    #[test]
    fn keys_are_told_apart_by_their_end() {
        let row = RecoveryKeyRow {
            number: 1,
            recipient: "age1qqqqqqqqabcdefgh".into(),
            made: Timestamp::default(),
            checked: None,
            shown: None,
        };
        assert_eq!(row.fingerprint(), "abcdefgh");
    }
}
