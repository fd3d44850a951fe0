//! The store: a journal that is the truth, and behind it redb with the state that follows from it.
//!
//! A write runs on the caller's thread, alone, over the current state; what it puts, deletes and tells becomes one
//! numbered `Change` in the journal. The writer thread waits for the journal's sync, applies all synced changes to redb
//! at once without a sync of its own, and acknowledges them. redb becomes durable at checkpoints; after a crash the
//! tail of the journal is replayed.
//!
//! Invariant: an acknowledged change is on the disk, and `read` shows it.
//! Invariant: `read` never shows a change that is not on the disk.
//! Invariant: a closure that returns an error leaves nothing behind, and no gap in the numbers.
//! Invariant: the state is a function of the journal: replaying it gives the same tables.
//! Invariant: a write inside a write is a defect: it panics in debug builds and is refused in others.
//! Invariant: when the disk fails, writes are refused from then on; reads go on.

mod backend;
mod change;
mod key;
mod layer;
mod open;
mod pending;
mod read;
mod state;
mod table;
mod tx;
mod value;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::engine::journal::{Disk, HostDisk};

pub use bytes::Bytes;
pub use change::{Change, Event, Op, Origin};
pub use key::Key;
pub use pending::Pending;
pub use read::{Read, Snapshot};
pub use table::Table;
pub use tx::{Migration, Tx};
pub use verify::Verified;

use open::Handle;

/// Bytes of one change in the journal.
pub const CHANGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Changes that one call of `changes` returns.
pub const FEED_CHANGES_MAX: usize = 10_000;

/// How a store is kept.
#[derive(Clone)]
pub struct Options {
    /// Measures the time between checkpoints.
    pub clock: Clock,
    /// The names of all tables, so that `verify` can name strangers.
    pub tables: Vec<&'static str>,
    /// The schema's history, in order of version.
    pub migrations: Vec<Migration>,
    /// Changes after which redb is made durable.
    pub checkpoint_changes: u64,
    /// Milliseconds after which redb is made durable, when there were changes.
    pub checkpoint_milliseconds: u64,
    /// Changes that the feed keeps.
    pub feed_changes_max: u64,
    /// Bytes of the journal that the feed keeps; what redb does not yet hold durably is kept in any case.
    pub feed_bytes_max: u64,
    /// Changes that may wait to be applied; further writers wait.
    pub waiting_changes_max: usize,
    /// Memory that redb may use.
    pub cache_bytes_max: usize,
    /// Bytes of one file of the journal.
    pub segment_bytes_max: u64,
    /// Where the files lie.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// The usual sizes, without tables and migrations.
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            tables: Vec::new(),
            migrations: Vec::new(),
            checkpoint_changes: 2_000,
            checkpoint_milliseconds: 5_000,
            feed_changes_max: 1_000_000,
            feed_bytes_max: 256 * 1024 * 1024,
            waiting_changes_max: 10_000,
            cache_bytes_max: 256 * 1024 * 1024,
            segment_bytes_max: 32 * 1024 * 1024,
            disk: Arc::new(HostDisk),
        }
    }
}

/// What the store has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Changes acknowledged.
    pub changes: u64,
    /// Batches applied to redb.
    pub batches: u64,
    /// Syncs of the journal.
    pub syncs: u64,
    /// Checkpoints made.
    pub checkpoints: u64,
    /// How long the last checkpoint took.
    pub checkpoint_milliseconds: f64,
    /// How long the longest checkpoint took.
    pub checkpoint_milliseconds_max: f64,
    /// Bytes written to the journal.
    pub bytes_written: u64,
    /// Bytes of the journal on the disk.
    pub journal_bytes: u64,
    /// Changes that were replayed at the start.
    pub replayed: u64,
    /// Why the store refuses writes, when it does.
    pub last_error: Option<String>,
}

/// An open store. Cloning gives the same one; the last clone to go closes it with a checkpoint.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

impl Store {
    /// The state as of the last acknowledged change, or a later one that is on the disk too.
    ///
    /// A snapshot is for one operation: while it lives, redb cannot reuse space. Long scans take a fresh one per page.
    pub fn read(&self) -> Result<Snapshot> {
        self.0.shared.state.view().map(Snapshot::new)
    }

    /// Runs `f`, makes its change durable and visible, and returns what `f` returned.
    pub fn write<T>(&self, origin: Origin, f: impl FnOnce(&mut Tx) -> Result<T>) -> Result<T> {
        let (value, pending) = self.submit(origin, f)?;
        pending.wait()?;
        Ok(value)
    }

    /// Runs `f` and queues its change; nothing may be told outside before the `Pending` says that it is durable.
    ///
    /// A closure that puts, deletes and tells nothing makes no change; its `Pending` waits for what it may have read.
    pub fn submit<T>(&self, origin: Origin, f: impl FnOnce(&mut Tx) -> Result<T>) -> Result<(T, Pending)> {
        self.0.shared.submit(origin, f)
    }

    /// At most `limit` acknowledged changes with numbers above `after`, in order.
    pub fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>> {
        self.0.shared.changes(after, limit.min(FEED_CHANGES_MAX))
    }

    /// The number of the newest acknowledged change; 0 before the first.
    pub fn last_change(&self) -> u64 {
        *self.0.shared.acknowledged.borrow()
    }

    /// Follows `last_change`.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.shared.acknowledged.subscribe()
    }

    /// Makes redb durable up to everything that was acknowledged before the call.
    pub fn checkpoint(&self) -> Result<()> {
        self.0.shared.checkpoint_now()
    }

    /// Reads everything: every value's form, every record of the journal, and how many rows each table has.
    pub fn verify(&self) -> Result<Verified> {
        verify::verify(&self.0.shared)
    }

    /// What it has done.
    pub fn stats(&self) -> Stats {
        self.0.shared.stats()
    }

    /// Makes the next sync fail, as a broken disk would.
    #[cfg(test)]
    pub(crate) fn break_disk(&self) {
        self.0.shared.journal.break_disk();
    }
}

fn refused(why: &str) -> Error {
    Error::unavailable(format!("the store cannot be written: {why}"))
        .hint("check the disk, then start the program again")
}
