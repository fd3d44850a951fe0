//! What a store gives away while it goes on: all rows as a fuzzy scan, and the changes that make them exact.
//!
//! Changes are puts and deletes that can be redone. So the rows may be read page by page, each page at a later change
//! than the one before: whoever redoes the changes from the beginning of the scan to its end over them has the state at
//! its end, exactly. No view outlives a page, and no writer waits.
//!
//! Invariant: while an export runs, the journal keeps the changes that it still has to give.
//! Invariant: what is handed out waits a moment for redb to be made durable: a disk that has to do both keeps whoever
//! waits for the journal waiting for both.

use std::ops::Bound;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::chunk::{CHUNK_BYTES_MAX, ChangesChunk, RowsChunk};
use super::writer::Shared;
use crate::base::{Error, Kind, Result, Timestamp};
use crate::engine::journal::Hash;

/// Pages that are read before the one under way is taken.
const PAGES_AHEAD_MAX: usize = 1;

/// How long a chunk waits for a checkpoint to be over; most take a tenth of a second.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(250);

/// Which kind of chunk is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Rows of one table.
    Rows,
    /// Changes, as they lie in the journal.
    Changes,
}

/// What an export was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The newest change before it: rows are as of this one or later, changes alone follow on it.
    pub from: u64,
    /// The newest change in it. 0: nothing was ever changed.
    pub last: u64,
    /// The instant of that change.
    pub at: Timestamp,
    /// The journal's hash at that change, in hexadecimal.
    pub chain: String,
    /// The rows handed out, by table; nothing for changes alone.
    pub tables: Vec<(String, u64)>,
    /// The changes handed out.
    pub changes: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
}

/// Which changes the journal must keep, and when exports wait.
#[derive(Default)]
pub(super) struct Holds {
    state: Mutex<Held>,
    /// A checkpoint is over.
    over: Condvar,
}

#[derive(Default)]
struct Held {
    /// Asked for until further notice.
    asked: Option<u64>,
    /// Of exports under way.
    running: Vec<u64>,
    /// Redb is made durable just now.
    checkpoint: bool,
}

impl Holds {
    pub(super) fn ask(&self, number: u64) {
        self.state.lock().asked = Some(number);
    }

    /// The changes after this number are held.
    pub(super) fn lowest(&self) -> Option<u64> {
        let held = self.state.lock();
        held.running.iter().copied().chain(held.asked).min()
    }

    /// Makes redb durable while exports wait.
    pub(super) fn checkpoint<T>(&self, work: impl FnOnce() -> T) -> T {
        self.state.lock().checkpoint = true;
        let made = work();
        self.state.lock().checkpoint = false;
        self.over.notify_all();
        made
    }

    /// Waits until no checkpoint is under way, but not for one that is stuck.
    fn pass(&self) {
        let mut held = self.state.lock();
        if held.checkpoint {
            self.over.wait_for(&mut held, CHECKPOINT_WAIT);
        }
    }

    /// Holds the changes after a number until the answer is dropped.
    pub(super) fn run(self: &Arc<Self>, number: u64) -> Running {
        self.state.lock().running.push(number);
        Running { holds: self.clone(), number }
    }
}

/// Holds the changes after a number for as long as it lives.
pub(super) struct Running {
    holds: Arc<Holds>,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut held = self.holds.state.lock();
        if let Some(at) = held.running.iter().position(|number| *number == self.number) {
            held.running.swap_remove(at);
        }
    }
}

pub(super) fn export(
    shared: &Shared,
    keep_from: u64,
    each: &mut dyn FnMut(Part, &[u8]) -> Result<()>,
) -> Result<Exported> {
    // All for a moment, until it is known from where on.
    let all = shared.holds.run(0);
    // Rows are smaller than the changes that made them. What is acknowledged later comes as changes.
    shared.catch_up();
    let (from, tables) = {
        let view = shared.state.view()?;
        (view.last()?, view.tables()?)
    };
    // The change that the export begins at goes with it too: its instant is asked for when nothing follows.
    let first = keep_from.min(from).max(1);
    let _running = shared.holds.run(first - 1);
    drop(all);
    let first = first.max(shared.journal.first_number());
    let mut exported = Exported { from, ..Exported::default() };
    let mut give = |exported: &mut Exported, part: Part, bytes: &[u8]| {
        exported.bytes += bytes.len() as u64;
        shared.holds.pass();
        each(part, bytes)
    };
    let begin = RowsChunk::begin(Vec::new(), from, "")?.into_bytes();
    give(&mut exported, Part::Rows, &begin)?;
    // The next page is read while this one is taken, so that whoever squeezes and writes it need not wait.
    std::thread::scope(|scope| {
        let (send, pages) = mpsc::sync_channel(PAGES_AHEAD_MAX);
        let (give_back, buffers) = mpsc::channel();
        let names = &tables;
        let scan = move || scan(shared, names, &send, &buffers);
        std::thread::Builder::new().name("export".into()).spawn_scoped(scope, scan)?;
        exported.tables = tables.iter().map(|table| (table.clone(), 0)).collect();
        for page in pages {
            let Page { table, rows, bytes } = page?;
            exported.tables[table].1 += rows;
            give(&mut exported, Part::Rows, &bytes)?;
            // Large pieces of memory, made and unmade, hold up everyone else in the process.
            let _ = give_back.send(bytes);
        }
        Ok::<_, Error>(())
    })?;
    // Redb has nothing that is not acknowledged: every page showed this change or an earlier one.
    let last = *shared.acknowledged.borrow();
    let end = RowsChunk::begin(begin, last, "")?.into_bytes();
    give(&mut exported, Part::Rows, &end)?;
    changes(shared, first, last, &mut exported, &mut |exported, bytes| give(exported, Part::Changes, bytes))?;
    Ok(exported)
}

pub(super) fn export_changes(
    shared: &Shared,
    after: u64,
    upto: u64,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Exported> {
    let _running = shared.holds.run(after);
    let newest = *shared.acknowledged.borrow();
    if after > newest {
        return Err(Error::conflict(format!("the store has changes up to {newest}, not yet {after}")).hint(
            "these backups are of another store, or of a later state of this one; make a full backup",
        ));
    }
    let oldest = shared.journal.first_number();
    if after + 1 < oldest {
        return Err(no_longer(after + 1, oldest));
    }
    let last = upto.min(newest).max(after);
    let mut exported = Exported { from: after, ..Exported::default() };
    changes(shared, after + 1, last, &mut exported, &mut |exported, bytes| {
        exported.bytes += bytes.len() as u64;
        shared.holds.pass();
        each(bytes)
    })?;
    Ok(exported)
}

/// Rows of one chunk, read from a view that is gone when they are handed on.
struct Page {
    /// The table's place among all.
    table: usize,
    rows: u64,
    bytes: Vec<u8>,
}

/// Reads all tables page by page, until nobody takes the pages any more. `buffers` are those of pages that were taken.
fn scan(
    shared: &Shared,
    tables: &[String],
    pages: &mpsc::SyncSender<Result<Page>>,
    buffers: &mpsc::Receiver<Vec<u8>>,
) {
    for (at, table) in tables.iter().enumerate() {
        let mut after = None;
        loop {
            let buffer = buffers.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES_MAX));
            let (page, next) = match page(shared, at, table, after.take(), buffer) {
                Ok(read) => read,
                Err(e) => {
                    let _ = pages.send(Err(e));
                    return;
                }
            };
            if page.rows > 0 && pages.send(Ok(page)).is_err() {
                return;
            }
            match next {
                Some(key) => after = Some(key),
                None => break,
            }
        }
    }
}

/// One page, and the last key in it when there may be more.
fn page(
    shared: &Shared,
    at: usize,
    table: &str,
    after: Option<Vec<u8>>,
    buffer: Vec<u8>,
) -> Result<(Page, Option<Vec<u8>>)> {
    let view = shared.state.view()?;
    let mut chunk = RowsChunk::begin(buffer, view.last()?, table)?;
    let (mut rows, mut last, mut full) = (0, Vec::new(), false);
    let begin = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    view.scan(table, (begin, Bound::Unbounded), false, &mut |key, value| {
        if rows > 0 && !chunk.fits(key, value) {
            full = true;
            return Ok(false);
        }
        rows += 1;
        full = !chunk.add(key, value);
        last.clear();
        last.extend_from_slice(key);
        Ok(!full)
    })?;
    Ok((Page { table: at, rows, bytes: chunk.into_bytes() }, full.then_some(last)))
}

/// Hands out the records `first..=last`, and says of the last what there is to say.
fn changes(
    shared: &Shared,
    first: u64,
    last: u64,
    exported: &mut Exported,
    give: &mut dyn FnMut(&mut Exported, &[u8]) -> Result<()>,
) -> Result<()> {
    let gone = |e: Error| match e.kind() {
        Kind::NotFound => no_longer(first, shared.journal.first_number()),
        _ => e,
    };
    let mut chunk = ChangesChunk::default();
    let mut next = first;
    while next <= last {
        // The chunk is filled first and given away then, so that a slow taker keeps no file open.
        shared
            .journal
            .replay_raw(next, &mut |raw| {
                if raw.number > last || !chunk.is_empty() && !chunk.fits(raw) {
                    return Ok(false);
                }
                chunk.add(raw);
                exported.changes += 1;
                if raw.number == last {
                    exported.at = Change::decode(last, raw.payload())?.origin.at;
                    exported.chain = hex(&raw.hash);
                }
                next = raw.number + 1;
                Ok(true)
            })
            .map_err(gone)?;
        if chunk.is_empty() {
            return Err(Error::internal(format!("change {next} is not in the journal")));
        }
        give(exported, chunk.bytes())?;
        chunk.clear();
    }
    exported.last = last;
    if exported.changes == 0 {
        exported.chain = hex(&shared.journal.hash(last).map_err(gone)?);
        if last >= shared.journal.first_number() {
            shared.journal.replay_raw(last, &mut |raw| {
                exported.at = Change::decode(last, raw.payload())?.origin.at;
                Ok(false)
            })?;
        }
    }
    Ok(())
}

fn no_longer(wanted: u64, oldest: u64) -> Error {
    Error::new(
        Kind::NotFound,
        format!("change {wanted} is no longer in the journal, which begins at change {oldest}"),
    )
    .hint("make a full backup; later ones can follow on it")
}

/// A hash as text.
pub(super) fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
