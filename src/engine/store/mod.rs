//! The store: a journal that is the truth, and behind it redb with the state that follows from it.
//!
//! A write runs on the caller's thread, alone, over the current state; what it puts, deletes and tells becomes one
//! numbered `Change` in the journal. One thread waits for the journal's sync, lays all synced changes over redb, in
//! memory, where readers see them, and acknowledges them. Another applies them to redb behind that, many at once and
//! without a sync, and makes redb durable at checkpoints; after a crash the tail of the journal is replayed.
//!
//! Invariant: an acknowledged change is on the disk, and `read` shows it.
//! Invariant: an acknowledgement waits for the journal alone, and not for redb.
//! Invariant: redb has only what is acknowledged; what it lacks of that lies over it for readers and for writes.
//! Invariant: a snapshot shows the state at one change, which is its number.
//! Invariant: `read` never shows a change that is not on the disk.
//! Invariant: a closure that returns an error leaves nothing behind, and no gap in the numbers.
//! Invariant: the state is a function of the journal: replaying it gives the same tables.
//! Invariant: a write inside a write is a defect: it panics in debug builds and is refused in others.
//! Invariant: when the disk fails, writes are refused from then on; reads go on, and show all that was acknowledged.
//! Invariant: a state file that was copied is read whole before it is used; a crash leaves no copy.
//! Invariant: an export holds no writer and no view for longer than a page; restored, it is the state at one change.

mod acknowledge;
mod apply;
mod backend;
mod change;
mod chunk;
mod export;
mod key;
mod layer;
mod loading;
mod offline;
mod open;
mod overlay;
mod pages;
mod pending;
mod place;
mod read;
mod restore;
mod state;
mod table;
mod tx;
mod value;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::engine::journal::{Disk, HostDisk, Seal};

pub use bytes::Bytes;
pub use change::{Change, Event, Op, Origin};
pub use chunk::{CHUNK_BYTES_MAX, LONE_CHUNK_BYTES_MAX};
pub use export::{Exported, Part};
pub use key::Key;
pub use offline::{FLAWS_MAX, Flaw, Looked, Mend, compact, rebuild, verify_folder};
pub use open::is_sealed;
pub use pending::Pending;
pub use read::{Read, Snapshot};
pub use restore::{Restore, RestoredStore, Until};
pub use table::Table;
pub use tx::{Migration, Tx};
pub use verify::Verified;

use open::Handle;

/// Bytes of one change in the journal.
pub const CHANGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Changes that one call of `changes` returns.
pub const FEED_CHANGES_MAX: usize = 10_000;

/// Called with an existing store, its schema's version and the one that the migrations lead to, before they run.
pub type BeforeMigration = Arc<dyn Fn(&Store, u32, u32) -> Result<()> + Send + Sync>;

/// How a store is kept.
#[derive(Clone)]
pub struct Options {
    /// Measures the time between checkpoints.
    pub clock: Clock,
    /// The names of all tables, so that `verify` can name strangers.
    pub tables: Vec<&'static str>,
    /// The schema's history, in order of version.
    pub migrations: Vec<Migration>,
    /// What happens before the migrations of an existing store, such as a backup. An error of it stops the opening and
    /// changes nothing.
    pub before_migration: Option<BeforeMigration>,
    /// Changes after which redb is made durable.
    pub checkpoint_changes: u64,
    /// Milliseconds after which redb is made durable, when there were changes.
    pub checkpoint_milliseconds: u64,
    /// Changes that the feed keeps.
    pub feed_changes_max: u64,
    /// Bytes of the journal that the feed keeps; what redb does not yet hold durably is kept in any case.
    pub feed_bytes_max: u64,
    /// Bytes of the journal that `hold` and exports under way may keep beyond that.
    pub held_bytes_max: u64,
    /// Changes that may wait to be applied to redb, acknowledged or not; further writers wait.
    pub waiting_changes_max: usize,
    /// Bytes of such changes; further writers wait.
    pub waiting_bytes_max: usize,
    /// Memory that redb may use.
    pub cache_bytes_max: usize,
    /// Bytes of one file of the journal.
    pub segment_bytes_max: u64,
    /// Where the files lie.
    pub disk: Arc<dyn Disk>,
    /// What seals them; none leaves them plain.
    pub seal: Option<Arc<dyn Seal>>,
}

impl Options {
    /// The usual sizes, without tables and migrations.
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            tables: Vec::new(),
            migrations: Vec::new(),
            before_migration: None,
            checkpoint_changes: 2_000,
            checkpoint_milliseconds: 5_000,
            feed_changes_max: 1_000_000,
            feed_bytes_max: 256 * 1024 * 1024,
            held_bytes_max: 1024 * 1024 * 1024,
            waiting_changes_max: 10_000,
            waiting_bytes_max: 64 * 1024 * 1024,
            cache_bytes_max: 256 * 1024 * 1024,
            segment_bytes_max: 32 * 1024 * 1024,
            disk: Arc::new(HostDisk),
            seal: None,
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
        self.0.shared.read()
    }

    /// Opens another folder as this one was opened: with the same schema, the same tables and the same seal. It may use
    /// `cache_bytes` of memory.
    pub fn open_alike(&self, folder: &Path, cache_bytes: usize) -> Result<Store> {
        let options = self.0.shared.options.clone();
        Store::open(folder, Options { cache_bytes_max: cache_bytes, before_migration: None, ..options })
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

    /// Makes redb durable up to everything that was acknowledged before the call. An error when writes are refused, and
    /// when the disk has no room: the journal has everything then.
    pub fn checkpoint(&self) -> Result<()> {
        self.0.shared.checkpoint_now()
    }

    /// Hands out all rows and then the changes that make them exact, in chunks of at most `CHUNK_BYTES_MAX` bytes unless
    /// a single row or change is larger, while writers go on. The changes begin at `keep_from` when the journal has it,
    /// so that the feed of the restored store does. `each` sets the pace; an error of it ends the export.
    pub fn export(
        &self,
        keep_from: u64,
        each: &mut dyn FnMut(Part, &[u8]) -> Result<()>,
    ) -> Result<Exported> {
        export::export(&self.0.shared, keep_from, each)
    }

    /// Hands out the changes after number `after`, up to `upto` or the newest acknowledged one, in such chunks.
    ///
    /// `NotFound` when the journal has no longer all of them: only a full export will do then.
    pub fn export_changes(
        &self,
        after: u64,
        upto: u64,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Exported> {
        export::export_changes(&self.0.shared, after, upto, each)
    }

    /// Keeps the changes after `number` in the journal until called again, within `Options::held_bytes_max`; the oldest
    /// go beyond that. Nothing is held when a store is opened.
    pub fn hold(&self, number: u64) {
        self.0.shared.holds.ask(number);
    }

    /// The oldest change in the journal; one above `last_change` when it has none.
    pub fn first_change(&self) -> u64 {
        self.0.shared.journal.first_number()
    }

    /// Reads everything: every value's form, every record of the journal, and how many rows each table has.
    pub fn verify(&self) -> Result<Verified> {
        verify::verify(&self.0.shared)
    }

    /// Follows why writes are refused: none while they are taken. The end of the store counts as a reason too.
    pub fn watch_failure(&self) -> tokio::sync::watch::Receiver<Option<Arc<str>>> {
        self.0.shared.failure.subscribe()
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
