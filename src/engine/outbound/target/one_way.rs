//! A folder that a data diode takes files from: what is put there goes away and is never seen again.
//!
//! Invariant: files are only ever made here, under a temporary name first. Nothing is listed, read back or replaced; the
//! one thing removed is the temporary file of a copy that failed.
//! Invariant: the sum of a file has its final name before the file has, so that the other side finds both.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::absolute;
use super::place::Place;
use super::source::Source;
use super::{PART, Pace, Probe, Put, SUM, Stored, Target, checked_name};
use crate::base::{Error, Kind, Result};
use crate::engine::clock::Clock;

/// Settings of a one-way folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneWaySettings {
    /// The folder's absolute path. It must be there.
    pub path: PathBuf,
}

pub(super) struct OneWay {
    settings: OneWaySettings,
    clock: Clock,
}

impl OneWay {
    pub(super) fn new(settings: &OneWaySettings, clock: &Clock) -> Result<OneWay> {
        absolute(&settings.path)?;
        Ok(OneWay { settings: settings.clone(), clock: clock.clone() })
    }

    fn place(&self) -> Result<Place> {
        Place::open(&self.settings.path)
    }

    /// Writes a temporary file; gives its name and what `write` gave. A failed one is removed.
    fn temporary<T>(
        &self,
        place: &Place,
        name: &str,
        write: impl FnOnce(&std::fs::File, &str) -> Result<T>,
    ) -> Result<(String, T)> {
        let part = format!("{name}-{:016x}{PART}", u64::from_le_bytes(self.clock.random()));
        let file = place.write_open(&part, OFlags::EXCL)?;
        match write(&file, &part) {
            Ok(written) => Ok((part, written)),
            Err(error) => {
                place.discard(&part);
                Err(error)
            }
        }
    }

    fn give(&self, name: &str, place: &Place, source: &Source, pace: &Pace) -> Result<()> {
        let (part, hash) =
            self.temporary(place, name, |file, part| place.copy(file, 0, source, pace, part))?;
        let sum = format!("{name}{SUM}");
        let line = format!("{}  {name}\n", hash.to_hex());
        let summed = self.temporary(place, &sum, |file, _| {
            file.write_all_at(line.as_bytes(), 0)?;
            Ok(file.sync_all()?)
        });
        let named = summed.and_then(|(sum_part, ())| match place.rename(&sum_part, &sum) {
            // A copy that was cut off between the two names left its sum. A name is never given to two contents.
            Err(error) if error.kind() == Kind::Conflict => {
                place.discard(&sum_part);
                Ok(())
            }
            other => other,
        });
        named.and_then(|()| place.rename(&part, name)).inspect_err(|_| place.discard(&part))
    }
}

impl Target for OneWay {
    fn describe(&self) -> String {
        format!("one-way folder `{}`", self.settings.path.display())
    }

    fn put(&self, name: &str, file: &Path, pace: &Pace) -> Result<Put> {
        let name = checked_name(name)?;
        let (place, source) = (self.place()?, Source::open(file)?);
        place.has_room(source.bytes, 0)?;
        self.give(name, &place, &source, pace)?;
        Ok(Put { bytes: source.bytes, resumed: 0 })
    }

    fn list(&self) -> Result<Vec<Stored>> {
        Err(one_way("listed"))
    }

    fn get(&self, _: &str, _: u64, _: &mut dyn Write) -> Result<u64> {
        Err(one_way("read"))
    }

    fn remove(&self, _: &str) -> Result<()> {
        Err(one_way("removed from"))
    }

    /// Leaves a small file, to be looked for on the other side.
    fn probe(&self) -> Result<Probe> {
        let name = format!("probe-{:016x}", u64::from_le_bytes(self.clock.random()));
        let place = self.place()?;
        let (part, ()) = self.temporary(&place, &name, |file, _| {
            file.write_all_at(b"a test of the way from here\n", 0)?;
            Ok(file.sync_all()?)
        })?;
        place.rename(&part, &name)?;
        Ok(Probe {
            found: format!("`{name}` was written; whether it arrives shows on the other side only"),
            free_bytes: Some(place.free_bytes()?),
        })
    }
}

fn one_way(done: &str) -> Error {
    Error::conflict(format!("a one-way folder is never {done}"))
        .hint("do it on the other side, where the files arrive")
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, Sort};
    use super::*;

    fn folder() -> (tempfile::TempDir, OneWay) {
        let temp = tempfile::tempdir().unwrap();
        let settings = OneWaySettings { path: temp.path().to_owned() };
        (temp, OneWay::new(&settings, &Clock::system()).unwrap())
    }

    fn names(folder: &tempfile::TempDir) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_keeps_the_contract() {
        let (_temp, target) = folder();
        contract::keeps(&target, Sort { readable: false, ..Sort::plain() });
    }

    #[test]
    fn a_file_arrives_with_its_sum_and_replaces_nothing() {
        let (temp, target) = folder();
        let file = contract::local(100_000);
        let pace = Pace::new(&target.clock);
        target.put("a.muster", file.path(), &pace).unwrap();
        assert_eq!(names(&temp), ["a.muster", "a.muster.b3"]);
        let bytes = std::fs::read(temp.path().join("a.muster")).unwrap();
        let sum = std::fs::read_to_string(temp.path().join("a.muster.b3")).unwrap();
        assert_eq!(sum, format!("{}  a.muster\n", blake3::hash(&bytes).to_hex()));
        assert_eq!(target.put("a.muster", file.path(), &pace).unwrap_err().kind(), Kind::Conflict);
        assert_eq!(names(&temp), ["a.muster", "a.muster.b3"], "a refused copy leaves nothing");
        // What the other side has taken may be given again; a sum that was left behind does not keep it from that.
        std::fs::remove_file(temp.path().join("a.muster")).unwrap();
        target.put("a.muster", file.path(), &pace).unwrap();
        assert_eq!(names(&temp), ["a.muster", "a.muster.b3"]);
    }

    #[test]
    fn what_was_stopped_or_failed_leaves_nothing() {
        let (temp, target) = folder();
        let file = contract::local(3_000_000);
        contract::interrupted(&target, "a", file.path(), 100_000);
        assert!(names(&temp).is_empty());
        let found = target.probe().unwrap().found;
        assert_eq!(names(&temp).len(), 1, "{found}");
        assert!(found.contains(&names(&temp)[0]));
    }
}
