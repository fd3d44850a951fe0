//! A store's folder that no server works with: looked through, shrunk, and built anew from its journal.
//!
//! Invariant: nothing here is lost by being stopped: the old state stays until the new one is whole and durable.
//! Invariant: looking changes nothing but what any start of the server would.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::change::Change;
use super::open::{JOURNAL, STATE, copied, files, fit, journal_options, replay};
use super::state::State;
use super::verify::{hex, is_stranger, readable, rows};
use super::{Options, place, restore};
use crate::base::{Error, Result};
use crate::engine::journal::{Disk, FolderLock, Journal};

/// Flaws that are told one by one; more are only counted.
pub const FLAWS_MAX: usize = 100;

/// The files of a state that is being built, and of one that is built only to be compared.
const REBUILT: &str = "rebuilt.redb";
const COMPARED: &str = "compared.redb";

/// How a flaw can be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// The next start of the server does it.
    Start,
    /// `rebuild` does it: the journal has all changes.
    Rebuild,
    /// A backup is needed.
    Restore,
}

impl Mend {
    /// The same in words.
    pub fn words(self) -> &'static str {
        match self {
            Mend::Start => "the next start of the server mends it",
            Mend::Rebuild => "`muster rebuild state` mends it from the journal, and nothing is lost",
            Mend::Restore => "it cannot be mended here; bring a backup back with `muster restore`",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The file's name in the folder.
    pub file: String,
    /// Where in it: a table and a key in hexadecimal, or a change. Empty when `what` says it, or all of it is meant.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// How it can be mended.
    pub mend: Mend,
}

/// What looking through a folder found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Whether the files are not those that the server worked with last: the folder was copied or moved.
    pub copied: bool,
    /// The oldest change of the journal.
    pub first: u64,
    /// The newest change of the journal.
    pub last: u64,
    /// The newest change in the state; what lies between this and `last` is replayed at the next start.
    pub held: u64,
    /// Bytes of an unfinished batch that were cut off the journal's end, as a crash leaves them.
    pub cut_bytes: u64,
    /// Each table with its number of rows.
    pub tables: Vec<(String, u64)>,
    /// Tables that the program does not name: left over, or from a newer one.
    pub strangers: Vec<String>,
    /// Records of the journal that were read and fit their chain.
    pub records: u64,
    /// Whether the state was compared with what all changes make: it is when the journal has all, and the look is deep.
    pub compared: bool,
    /// What is wrong, at most `FLAWS_MAX` of it.
    pub flaws: Vec<Flaw>,
    /// How much is wrong.
    pub flaws_count: u64,
}

impl Looked {
    fn flaw(&mut self, file: &str, place: String, what: impl Into<String>, mend: Mend) {
        self.flaws_count += 1;
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(Flaw { file: file.to_owned(), place, what: what.into(), mend });
        }
    }
}

/// Looks through a folder. A `deep` look also builds the state anew beside the old one and compares them, where the
/// journal has all changes; that takes as much room again.
///
/// An error means that it could not look; what is wrong with the data is in the answer.
pub fn verify_folder(folder: &Path, options: &Options, deep: bool) -> Result<Looked> {
    let disk = &*options.disk;
    let (_lock, copy) = take(disk, folder)?;
    let mut looked = Looked { copied: copy, ..Looked::default() };
    if let Err(e) = restore::refuse_unfinished(disk, folder) {
        looked.flaw(restore::MARK, String::new(), e.message().to_owned(), Mend::Restore);
        return Ok(looked);
    }
    let journal = match Journal::open(folder, journal_options(options)) {
        Ok((journal, recovered)) => {
            (looked.first, looked.last) = (recovered.first, recovered.last);
            looked.cut_bytes = recovered.cut_bytes;
            Some((journal, recovered))
        }
        Err(e) => {
            let file = named(disk, folder, &e.detail()).unwrap_or_else(|| JOURNAL.to_owned());
            looked.flaw(&file, String::new(), e.detail(), Mend::Restore);
            None
        }
    };
    if let Some((journal, _)) = &journal {
        records(journal, &mut looked)?;
    }
    // What can be done about the state depends on whether the journal has every change.
    let complete = journal.is_some() && looked.first == 1;
    let mend = if complete { Mend::Rebuild } else { Mend::Restore };
    if !exists(disk, &folder.join(STATE))? {
        let mend = if complete { Mend::Start } else { Mend::Restore };
        looked.flaw(STATE, String::new(), "it is missing", mend);
        return Ok(looked);
    }
    let opened = State::open(disk, options.seal.as_deref(), &folder.join(STATE), options.cache_bytes_max)
        .and_then(|mut state| state.check().map(|()| state));
    let state = match opened {
        Ok(state) => state,
        Err(e) => {
            looked.flaw(STATE, String::new(), e.detail(), mend);
            return Ok(looked);
        }
    };
    looked.held = state.view()?.last()?;
    if let Some((journal, recovered)) = &journal
        && let Err(e) = fit(&state, journal, recovered, looked.held)
    {
        let ahead = looked.held > recovered.last;
        looked.flaw(STATE, String::new(), e.detail(), if ahead { Mend::Restore } else { mend });
    }
    tables(&state, options, &mut looked, mend);
    if let Some((journal, _)) = &journal
        && deep
        && complete
        && looked.flaws_count == 0
    {
        compare(folder, options, &state, journal, &mut looked)?;
    }
    Ok(looked)
}

/// Makes the state's file as small as its contents allow: its bytes before and after. It takes its time, and may be
/// stopped at any moment.
pub fn compact(folder: &Path, options: &Options) -> Result<(u64, u64)> {
    let disk = &*options.disk;
    let (_lock, copy) = take(disk, folder)?;
    restore::refuse_unfinished(disk, folder)?;
    let path = folder.join(STATE);
    let before = disk.open(&path)?.len()?;
    let opened = files(folder, options, copy).map_err(|e| if copy { copied(folder, e) } else { e })?;
    let mut state = opened.state;
    state.compact()?;
    drop(state);
    place::record(disk, folder)?;
    Ok((before, disk.open(&path)?.len()?))
}

/// Builds the state anew from the journal, which must have every change: the number of changes. The old state is gone
/// when the new one is whole.
pub fn rebuild(folder: &Path, options: &Options) -> Result<u64> {
    let disk = &*options.disk;
    let (_lock, copy) = take(disk, folder)?;
    restore::refuse_unfinished(disk, folder)?;
    let opened = Journal::open(folder, journal_options(options));
    let (journal, recovered) = opened.map_err(|e| if copy { copied(folder, e) } else { e })?;
    if recovered.created {
        return Err(Error::not_found("a journal in", folder.display())
            .hint("without it there is nothing to build from; bring a backup back with `muster restore`"));
    }
    if recovered.first != 1 {
        return Err(Error::conflict(format!(
            "the journal begins at change {}, so the state cannot be built from it",
            recovered.first
        ))
        .hint("bring a backup back with `muster restore`"));
    }
    let state = build(folder, REBUILT, options, &journal)?;
    drop(state);
    disk.rename(&folder.join(REBUILT), &folder.join(STATE))?;
    disk.sync_folder(folder)?;
    place::record(disk, folder)?;
    Ok(recovered.last)
}

fn take(disk: &dyn Disk, folder: &Path) -> Result<(FolderLock, bool)> {
    let paths = disk.list(folder).unwrap_or_default();
    let ours = paths.iter().filter_map(|path| path.file_name()?.to_str());
    if ours.filter(|name| *name == STATE || name.starts_with(JOURNAL)).count() == 0 {
        return Err(Error::not_found("a store in", folder.display()).hint("name the data folder of a server"));
    }
    place::lock(disk, folder)
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool> {
    match disk.open(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The file of the folder that a message speaks of.
fn named(disk: &dyn Disk, folder: &Path, message: &str) -> Option<String> {
    let paths = disk.list(folder).ok()?;
    paths
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .find(|name| message.contains(name))
        .map(str::to_owned)
}

fn records(journal: &Journal, looked: &mut Looked) -> Result<()> {
    let first = looked.first;
    let mut at = first;
    let read = journal.replay(first, |number, payload| {
        at = number;
        looked.records += 1;
        if let Err(e) = Change::decode(number, payload) {
            let what = format!("it cannot be read: {}", e.detail());
            looked.flaw(JOURNAL, format!("change {number}"), what, Mend::Restore);
        }
        Ok(())
    });
    if let Err(e) = read {
        looked.flaw(JOURNAL, format!("change {}", at + 1), e.detail(), Mend::Restore);
    }
    Ok(())
}

fn tables(state: &State, options: &Options, looked: &mut Looked, mend: Mend) {
    let names = match contained(|| state.view()?.tables()) {
        Ok(names) => names,
        Err(e) => return looked.flaw(STATE, String::new(), e.detail(), mend),
    };
    for table in names {
        let mut reached = Vec::new();
        let read = contained(|| {
            rows(state, &table, &mut |key, value| {
                reached.clear();
                reached.extend_from_slice(key);
                if let Err(e) = readable(value) {
                    let what = format!("the value cannot be read: {}", e.detail());
                    looked.flaw(STATE, format!("table `{table}`, key {}", hex(key)), what, mend);
                }
                Ok(())
            })
        });
        if is_stranger(&table, &options.tables) {
            looked.strangers.push(table.clone());
        }
        match read {
            Ok(rows) => looked.tables.push((table, rows)),
            Err(e) => {
                looked.flaw(STATE, format!("table `{table}`, after key {}", hex(&reached)), e.detail(), mend);
            }
        }
    }
}

/// redb may panic over what is damaged.
fn contained<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(Error::unavailable("it cannot be read")))
}

/// Builds a state in the file `name` from all changes, and makes it durable.
fn build(folder: &Path, name: &str, options: &Options, journal: &Journal) -> Result<State> {
    let disk = &*options.disk;
    let path = folder.join(name);
    match disk.remove(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let state = State::open(disk, options.seal.as_deref(), &path, options.cache_bytes_max)?;
    replay(&state, journal, 0)?;
    Ok(state)
}

/// The state against what the changes make, table by table.
fn compare(
    folder: &Path,
    options: &Options,
    state: &State,
    journal: &Journal,
    looked: &mut Looked,
) -> Result<()> {
    // The state may lack the newest changes; they are laid over it as the next start would.
    replay(state, journal, looked.held)?;
    let built = build(folder, COMPARED, options, journal)?;
    let (mut found, wanted) = (digests(state)?, digests(&built)?);
    drop(built);
    options.disk.remove(&folder.join(COMPARED))?;
    looked.compared = true;
    for (table, digest) in wanted {
        if found.remove(&table) != Some(digest) {
            let place = format!("table `{table}`");
            looked.flaw(STATE, place, "its rows are not what the changes make", Mend::Rebuild);
        }
    }
    for table in found.into_keys() {
        let place = format!("table `{table}`");
        looked.flaw(STATE, place, "no change made its rows", Mend::Rebuild);
    }
    Ok(())
}

/// A hash over the rows of each table that has any.
fn digests(state: &State) -> Result<BTreeMap<String, blake3::Hash>> {
    let mut digests = BTreeMap::new();
    for table in state.view()?.tables()? {
        let mut hasher = blake3::Hasher::new();
        let count = rows(state, &table, &mut |key, value| {
            hasher.update(&(key.len() as u64).to_le_bytes()).update(key);
            hasher.update(&(value.len() as u64).to_le_bytes()).update(value);
            Ok(())
        })?;
        if count > 0 {
            digests.insert(table, hasher.finalize());
        }
    }
    Ok(digests)
}
