//! A store's folder made from what an export gave away.
//!
//! Rows are loaded first, then the changes are redone over them, and the journal goes on with the same chain: followers
//! find the feed as they left it. Nothing is durable before `finish`; a folder in which a restore did not come to its end
//! carries a mark and is never opened as a store.
//!
//! Invariant: the state is that at one change, exactly, or the restore ends with an error.
//! Invariant: no change is missing between the rows, the chunks of changes and each other; the chain proves it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::Change;
use super::chunk::{ReadChanges, ReadRows};
use super::export::{Exported, hex};
use super::layer::Layer;
use super::loading::Loading;
use super::open::{JOURNAL, STATE};
use super::place;
use super::state::State;
use crate::base::{Error, Result, Timestamp};
use crate::engine::journal::{self, Disk, FolderLock, Hash, HostDisk, Journal, Raw, Seal, Ticket};

/// The file that says that a restore is under way.
pub(super) const MARK: &str = "restoring";
/// Changes, and bytes of them, that are redone in one commit.
const APPLY_CHANGES_MAX: usize = 10_000;
const APPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How far a restore goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the last change that is there.
    End,
    /// To the change before the first whose instant is later than this. The rows of a backup are as of its end, so only
    /// a backup that ended by then will do.
    At(Timestamp),
    /// To the change with this number. The same holds.
    Change(u64),
}

/// What a restore made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredStore {
    /// The newest change.
    pub last: u64,
    /// Its instant, when the journal has it.
    pub at: Timestamp,
    /// Rows that were loaded.
    pub rows: u64,
    /// Changes that were redone.
    pub changes: u64,
}

/// A restore under way.
pub struct Restore {
    disk: Arc<dyn Disk>,
    seal: Option<Arc<dyn Seal>>,
    folder: PathBuf,
    state: Arc<State>,
    journal: Option<Journal>,
    /// Of the newest record that was appended.
    ticket: Option<Ticket>,
    rows: BTreeMap<String, u64>,
    loading: Loading,
    /// The row that was taken last: rows come in order.
    table: String,
    key: Vec<u8>,
    /// The change at which the scan of the rows began, and at which it ended.
    begun: Option<u64>,
    ended: Option<u64>,
    /// The newest change in the journal, its instant and its hash.
    last: u64,
    at: Timestamp,
    hash: Hash,
    /// The hash at the change at which the rows ended.
    hash_ended: Option<Hash>,
    layers: Vec<Layer>,
    layers_bytes: usize,
    redone: u64,
    given_up: bool,
    lock: FolderLock,
}

impl Restore {
    /// Begins a store in `folder`, which must hold none. `cache_bytes` is the memory that redb may use.
    pub fn begin(folder: &Path, cache_bytes: usize) -> Result<Restore> {
        Restore::begin_on(Arc::new(HostDisk), None, folder, cache_bytes)
    }

    /// The same on any disk, with sealed files when there is a seal.
    pub fn begin_on(
        disk: Arc<dyn Disk>,
        seal: Option<Arc<dyn Seal>>,
        folder: &Path,
        cache_bytes: usize,
    ) -> Result<Restore> {
        journal::make_folder(&*disk, folder)?;
        let lock = disk.lock(folder)?;
        if is_taken(&*disk, folder)? {
            return Err(Error::conflict(format!("`{}` holds a store already", folder.display()))
                .hint("restore into a new folder"));
        }
        disk.create(&folder.join(MARK))?;
        disk.sync_folder(folder)?;
        let state = Arc::new(State::open(&*disk, seal.as_deref(), &folder.join(STATE), cache_bytes)?);
        Ok(Restore {
            loading: Loading::new(state.clone(), disk.open(&folder.join(STATE))?),
            state,
            disk,
            seal,
            folder: folder.to_owned(),
            journal: None,
            ticket: None,
            rows: BTreeMap::new(),
            table: String::new(),
            key: Vec::new(),
            begun: None,
            ended: None,
            last: 0,
            at: Timestamp::default(),
            hash: Hash::default(),
            hash_ended: None,
            layers: Vec::new(),
            layers_bytes: 0,
            redone: 0,
            given_up: false,
            lock,
        })
    }

    /// Takes the next chunk of rows, in the order in which the export gave them.
    pub fn rows(&mut self, chunk: &[u8]) -> Result<()> {
        let mut read = ReadRows::open(chunk)?;
        if self.ended.is_some() {
            return Err(out_of_order("rows come after the end of the rows"));
        }
        if read.table.is_empty() {
            match self.begun {
                None => self.begun = Some(read.shown),
                Some(begun) if begun <= read.shown => self.ended = Some(read.shown),
                Some(_) => return Err(out_of_order("the rows end before they begin")),
            }
            return Ok(());
        }
        if self.begun.is_none_or(|begun| read.shown < begun) {
            return Err(out_of_order("rows come before the beginning of the rows"));
        }
        let table = read.table;
        if self.table != table {
            if self.rows.contains_key(table) {
                return Err(out_of_order(&format!("the rows of `{table}` come in two parts")));
            }
            self.table = table.to_owned();
            self.key.clear();
        }
        let count = self.rows.entry(table.to_owned()).or_default();
        let mut last: Option<std::ops::Range<usize>> = None;
        while let Some((key, _)) = read.next()? {
            let before = last.as_ref().map_or(&self.key[..], |last| &chunk[last.clone()]);
            if *count > 0 && chunk[key.clone()] <= *before {
                return Err(out_of_order(&format!("the rows of `{table}` are not in order of their keys")));
            }
            *count += 1;
            last = Some(key);
        }
        if let Some(last) = last {
            self.key = chunk[last].to_vec();
        }
        self.loading.add(chunk)
    }

    /// Takes the next chunk of changes. Those past `until` are handed to `given_up` instead of being redone; so is all
    /// that comes later. What is there already is passed over.
    pub fn changes(&mut self, chunk: &[u8], until: &Until, given_up: &mut dyn FnMut(Change)) -> Result<()> {
        let (Some(begun), Some(ended)) = (self.begun, self.ended) else {
            return Err(out_of_order("changes come before the end of the rows"));
        };
        if let Until::Change(number) = until
            && *number < ended
        {
            return Err(too_new(ended, &format!("change {number}")));
        }
        self.loading.settle()?;
        let mut read = ReadChanges::open(chunk)?;
        self.join(&read)?;
        while let Some(raw) = read.next()? {
            if self.given_up {
                given_up(Change::decode(raw.number, raw.payload())?);
                continue;
            }
            if raw.number <= self.last {
                if raw.number == self.last && raw.hash != self.hash {
                    return Err(not_of_one(raw.number));
                }
                continue;
            }
            let change = Change::decode(raw.number, raw.payload())?;
            let late = match until {
                Until::End => false,
                Until::At(at) => change.origin.at > *at && raw.number >= ended,
                Until::Change(number) => raw.number > *number,
            };
            if late && raw.number == ended {
                return Err(too_new(ended, &at_text(until)));
            }
            if late {
                self.given_up = true;
                given_up(change);
                continue;
            }
            self.append(&raw)?;
            (self.last, self.at, self.hash) = (raw.number, change.origin.at, raw.hash);
            if raw.number == ended {
                self.hash_ended = Some(raw.hash);
            }
            // Older ones are in the rows; they are kept for the feed alone.
            if raw.number > begun {
                self.layers_bytes += raw.bytes.len();
                self.layers.push(change.layer());
                self.redone += 1;
            }
            if self.layers.len() >= APPLY_CHANGES_MAX || self.layers_bytes >= APPLY_BYTES_MAX {
                self.apply()?;
            }
        }
        Ok(())
    }

    /// Checks that an archive of changes, all of whose chunks were given, ends where it says. Whatever was given up is not
    /// missed.
    pub fn check(&self, said: &Exported) -> Result<()> {
        if self.given_up || self.last > said.last {
            return Ok(());
        }
        if self.last < said.last {
            return Err(incomplete(&format!("changes {} to {} are missing", self.last + 1, said.last)));
        }
        if hex(&self.hash) != said.chain {
            return Err(not_of_one(said.last));
        }
        Ok(())
    }

    /// Ends the restore: what lies in the folder is a store then. `full` is what the export of the rows said of itself.
    pub fn finish(mut self, full: &Exported) -> Result<RestoredStore> {
        let Some(ended) = self.ended else {
            return Err(incomplete("the end of the rows is missing"));
        };
        self.loading.settle()?;
        if ended != full.last {
            return Err(incomplete(&format!("its rows end at change {ended}, it says {}", full.last)));
        }
        let mut said: BTreeMap<&str, u64> = BTreeMap::new();
        full.tables.iter().filter(|(_, rows)| *rows > 0).for_each(|(table, rows)| {
            said.insert(table, *rows);
        });
        if let Some((table, rows)) = said.iter().find(|(table, rows)| self.rows.get(**table) != Some(*rows)) {
            let found = self.rows.get(*table).copied().unwrap_or(0);
            return Err(incomplete(&format!("`{table}` has {found} rows, it says {rows}")));
        }
        if let Some(table) = self.rows.keys().find(|table| !said.contains_key(table.as_str())) {
            return Err(incomplete(&format!("it does not speak of the rows of `{table}`")));
        }
        let first = self.journal.as_ref().map_or(ended + 1, Journal::first_number);
        if first.saturating_add(full.changes) != ended + 1 {
            return Err(incomplete(&format!(
                "its changes begin at {first}, it says that they are {} up to {ended}",
                full.changes
            )));
        }
        if self.journal.is_none() {
            // Without a single change: the chain goes on from what the export said.
            (self.last, self.at, self.hash) = (full.last, full.at, parse(&full.chain)?);
            self.hash_ended = Some(self.hash);
            self.journal = Some(self.begin_journal(full.last + 1, self.hash)?);
        }
        if self.last < ended {
            return Err(incomplete(&format!("changes {} to {ended} are missing", self.last + 1)));
        }
        if self.hash_ended.is_none_or(|hash| hex(&hash) != full.chain) {
            return Err(not_of_one(ended));
        }
        self.apply()?;
        if let Some(ticket) = self.ticket.take() {
            ticket.wait()?;
        }
        let done = RestoredStore {
            last: self.last,
            at: self.at,
            rows: self.rows.values().sum(),
            changes: self.redone,
        };
        let Restore { disk, folder, state, loading, journal, lock, .. } = self;
        drop((journal, loading));
        state.checkpoint()?;
        drop(state);
        place::record(&*disk, &folder)?;
        disk.remove(&folder.join(MARK))?;
        disk.sync_folder(&folder)?;
        drop(lock);
        Ok(done)
    }

    /// The first chunk begins the journal; a later one must leave no gap.
    fn join(&mut self, read: &ReadChanges<'_>) -> Result<()> {
        let Some(ended) = self.ended else { return Ok(()) };
        if self.journal.is_none() {
            if read.next > ended + 1 {
                return Err(incomplete(&format!("changes {} to {} are missing", ended + 1, read.next - 1)));
            }
            self.journal = Some(self.begin_journal(read.next, read.previous)?);
            (self.last, self.hash) = (read.next - 1, read.previous);
            if self.last == ended {
                self.hash_ended = Some(self.hash);
            }
        }
        if !self.given_up && read.next > self.last + 1 {
            return Err(incomplete(&format!("changes {} to {} are missing", self.last + 1, read.next - 1)));
        }
        if read.next == self.last + 1 && read.previous != self.hash {
            return Err(not_of_one(self.last));
        }
        Ok(())
    }

    fn begin_journal(&self, first_number: u64, first_previous: Hash) -> Result<Journal> {
        let options = journal::Options {
            first_number,
            first_previous,
            disk: self.disk.clone(),
            seal: self.seal.clone(),
            ..journal::Options::new(JOURNAL)
        };
        Ok(Journal::open(&self.folder, options)?.0)
    }

    fn append(&mut self, raw: &Raw<'_>) -> Result<()> {
        let Some(journal) = &self.journal else { return Err(incomplete("there is no journal")) };
        match journal.append_raw(raw) {
            Ok(ticket) => self.ticket = Some(ticket),
            // The disk is behind: wait for it, and go on.
            Err(e) if e.kind() == crate::base::Kind::TooMany => {
                if let Some(ticket) = self.ticket.take() {
                    ticket.wait()?;
                }
                self.ticket = Some(journal.append_raw(raw)?);
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<()> {
        let last = self.last;
        self.state.apply(self.layers.iter(), last, journal::fingerprint(&self.hash))?;
        self.layers.clear();
        self.layers_bytes = 0;
        Ok(())
    }
}

/// Refuses a folder in which a restore did not come to its end.
pub(super) fn refuse_unfinished(disk: &dyn Disk, folder: &Path) -> Result<()> {
    if !names(disk, folder)?.iter().any(|name| name == MARK) {
        return Ok(());
    }
    Err(Error::conflict(format!("a restore into `{}` did not come to its end", folder.display()))
        .hint("remove that folder and run `muster restore` again"))
}

fn is_taken(disk: &dyn Disk, folder: &Path) -> Result<bool> {
    let taken = |name: &String| name == STATE || name == MARK || name.starts_with(JOURNAL);
    Ok(names(disk, folder)?.iter().any(taken))
}

fn names(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>> {
    let paths = disk.list(folder)?;
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(paths.iter().filter_map(name).collect())
}

fn at_text(until: &Until) -> Cow<'static, str> {
    match until {
        Until::End => "its end".into(),
        Until::At(at) => at.to_string().into(),
        Until::Change(number) => format!("change {number}").into(),
    }
}

fn parse(hex: &str) -> Result<Hash> {
    let mut hash = Hash::default();
    let bytes = hex.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    if bytes.len() == 2 * hash.len() {
        for (at, byte) in hash.iter_mut().enumerate() {
            match (digit(2 * at), digit(2 * at + 1)) {
                (Some(high), Some(low)) => *byte = (high << 4 | low) as u8,
                _ => return Err(Error::invalid("the chain's hash in the backup is not a hash")),
            }
        }
        return Ok(hash);
    }
    Err(Error::invalid("the chain's hash in the backup is not a hash"))
}

fn out_of_order(what: &str) -> Error {
    Error::invalid(format!("the backup's parts are not in order: {what}"))
        .hint("the backup cannot be used; take another one")
}

fn incomplete(what: &str) -> Error {
    Error::invalid(format!("the backup is not complete: {what}"))
        .hint("give all files of the series, or take another one")
}

fn not_of_one(number: u64) -> Error {
    Error::invalid(format!("the backups are not of one store: they differ at change {number}"))
        .hint("give the files of one store and one series")
}

fn too_new(ended: u64, wanted: &str) -> Error {
    Error::conflict(format!("this backup shows the state at change {ended}, which is later than {wanted}"))
        .hint("begin with an older full backup")
}
