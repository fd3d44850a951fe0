//! An append-only file of numbered records: how the store, series and logs keep what they acknowledge.
//!
//! A record is framed as `[length u32][number u64][hash 16][payload]`; the hash covers the previous record's hash, so
//! that records form a chain and none can be lost, swapped or altered unnoticed. The upper bit of the length marks the
//! first record of a batch, which is what one sync made durable. Segments are called `NAME-<first number>.journal`; zeroes
//! may follow on the last record of one.
//!
//! Invariant: a completed ticket means that its record and all before it are on the disk.
//! Invariant: a failed write or sync is never tried again; the journal refuses everything from then on.
//! Invariant: while the reserve of the disk is not free, appends are refused, and only appends; nothing is damaged by it.
//! Invariant: recovery cuts only what no sync had completed: an unfinished batch at the end of the last segment.
//! Invariant: numbers have no gaps; `first_number..=last_number` can be read.

mod cursor;
mod disk;
mod folder;
mod prepare;
mod raw;
mod record;
mod room;
mod seal;
mod segment;
mod sync;
mod ticket;

#[cfg(test)]
pub(crate) mod powercut;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::base::{Error, Result};

pub use disk::{Disk, DiskFile, FileIdentity, HostDisk};
pub use folder::{FolderLock, create_folder, make_folder, sync_folder};
pub use raw::{Raw, fingerprint};
pub use record::Hash;
pub use seal::{FileId, FileSeal, SEAL_BYTES, Seal, is_plain, is_sealed, other_key};
pub use ticket::Ticket;

use cursor::Cursor;
use sync::Shared;

/// Bytes of one record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that one `read` returns before it stops early.
pub const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first word of every segment's file name.
    pub name: String,
    /// A new segment begins when the present one has this many bytes.
    pub segment_bytes_max: u64,
    /// Bytes that may wait for the disk; more are refused.
    pub queue_bytes_max: usize,
    /// Bytes of the disk that stay free: appends are refused while fewer are.
    pub reserve_bytes: u64,
    /// The number of the very first record, when the folder holds no segment yet.
    pub first_number: u64,
    /// The hash of the record before it, when the folder holds no segment yet: a journal can go on with another's chain.
    pub first_previous: Hash,
    /// Where the files lie.
    pub disk: Arc<dyn Disk>,
    /// What seals them; none leaves them plain.
    pub seal: Option<Arc<dyn Seal>>,
}

impl Options {
    /// The usual sizes, for a journal called `name`.
    pub fn new(name: impl Into<String>) -> Options {
        Options {
            name: name.into(),
            segment_bytes_max: 32 * 1024 * 1024,
            queue_bytes_max: 64 * 1024 * 1024,
            reserve_bytes: 64 * 1024 * 1024,
            first_number: 1,
            first_previous: Hash::default(),
            disk: Arc::new(HostDisk),
            seal: None,
        }
    }
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The oldest number that can be read; one above `last` when there are no records.
    pub first: u64,
    /// The newest number.
    pub last: u64,
    /// Bytes of an unfinished batch that were cut off the end.
    pub cut_bytes: u64,
    /// Whether there was no segment before.
    pub created: bool,
}

/// What the journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records made durable.
    pub records: u64,
    /// Syncs completed, which is also the number of batches.
    pub syncs: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes of all segments on the disk.
    pub bytes_kept: u64,
}

/// An open journal. Dropping it writes what waits and ends its thread.
pub struct Journal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    removing: Mutex<()>,
}

impl Journal {
    /// Opens or begins the journal in `folder`, verifies every record and cuts an unfinished batch off the end.
    pub fn open(folder: &Path, options: Options) -> Result<(Journal, Recovered)> {
        make_folder(&*options.disk, folder)?;
        let (segments, file, recovered, chain) = segment::recover(folder, &options)?;
        let name = options.name.clone();
        let shared = Arc::new(Shared::new(folder.to_owned(), options, segments, recovered.last, chain));
        let thread = std::thread::Builder::new().name(format!("journal-{name}")).spawn({
            let shared = shared.clone();
            move || shared.run(file)
        })?;
        Ok((Journal { shared, thread: Some(thread), removing: Mutex::default() }, recovered))
    }

    /// Queues a record and gives it the next number. The ticket tells when it is on the disk.
    pub fn append(&self, payload: &[u8]) -> Result<Ticket> {
        let (number, batch, hash) = self.shared.append(payload)?;
        Ok(Ticket::new(self.shared.clone(), number, batch, record::fingerprint(&hash)))
    }

    /// Whether the disk has its reserve, so that appends are taken.
    pub fn has_room(&self) -> bool {
        self.shared.room().is_ok()
    }

    /// The oldest number that can be read; one above `last_number` when there is none.
    pub fn first_number(&self) -> u64 {
        self.shared.state.lock().segments.first().map_or(1, |segment| segment.first)
    }

    /// The newest number that is on the disk.
    pub fn last_number(&self) -> u64 {
        self.shared.state.lock().synced
    }

    /// Why the journal refuses to append, when it does.
    pub fn failed(&self) -> Option<String> {
        self.shared.state.lock().failed.clone()
    }

    /// What `Ticket::fingerprint` was for the record `number`; see `hash`.
    pub fn fingerprint(&self, number: u64) -> Result<u64> {
        self.hash(number).map(|hash| record::fingerprint(&hash))
    }

    /// At most `max` records that are on the disk, beginning with number `from`; fewer when they are large.
    pub fn read(&self, from: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut records = Vec::new();
        let mut bytes = 0;
        if max == 0 {
            return Ok(records);
        }
        self.walk(from, &mut |cursor, number| {
            let payload = cursor.payload();
            bytes += payload.len();
            records.push((number, payload.to_vec()));
            Ok(records.len() < max && bytes < READ_BYTES_MAX)
        })?;
        Ok(records)
    }

    /// Hands every record that is on the disk to `each`, beginning with number `from`.
    pub fn replay(&self, from: u64, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        self.walk(from, &mut |cursor, number| each(number, cursor.payload()).map(|()| true))
    }

    /// Unlinks the segments that hold only records before `number`. The last segment always stays.
    pub fn remove_before(&self, number: u64) -> Result<()> {
        let _one = self.removing.lock();
        let shared = &self.shared;
        let disk = &*shared.options.disk;
        loop {
            let path = match &shared.state.lock().segments[..] {
                [first, second, ..] if second.first <= number => first.path.clone(),
                _ => return Ok(()),
            };
            disk.remove(&path)
                .map_err(|e| Error::internal(format!("cannot remove `{}`", path.display())).because(e))?;
            // One by one: a crash that brought an older segment back and not a newer one would leave a gap.
            let synced = folder::sync(disk, &shared.folder);
            let mut state = shared.state.lock();
            state.segments.remove(0);
            if let Err(e) = synced {
                state.failed.get_or_insert_with(|| e.to_string());
                return Err(e);
            }
        }
    }

    /// The first number of the oldest segment that stays when the newest `bytes` are kept.
    pub fn first_number_within(&self, bytes: u64) -> u64 {
        let state = self.shared.state.lock();
        let mut kept = 0;
        let mut first = state.synced + 1;
        for segment in state.segments.iter().rev() {
            kept += segment.bytes;
            if kept > bytes && first <= state.synced {
                break;
            }
            first = segment.first;
        }
        first
    }

    /// What it has done.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.lock();
        Stats { bytes_kept: state.segments.iter().map(|segment| segment.bytes).sum(), ..state.stats }
    }

    fn walk(&self, from: u64, each: &mut dyn FnMut(&Cursor, u64) -> Result<bool>) -> Result<()> {
        let mut next = from;
        while let Some((mut cursor, last)) = self.cursor(next)? {
            while next <= last {
                let (number, _) = cursor.next()?;
                if number == next {
                    next += 1;
                    if !each(&cursor, number)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// A place at or before the record `number`, and the last record of its segment. None past the end.
    fn cursor(&self, number: u64) -> Result<Option<(Cursor, u64)>> {
        let (start, last) = {
            let state = self.shared.state.lock();
            if number > state.synced {
                return Ok(None);
            }
            let at = state.segments.partition_point(|segment| segment.first <= number);
            let Some(segment) = at.checked_sub(1).and_then(|at| state.segments.get(at)) else {
                return Err(no_longer_kept(number));
            };
            let last = state.segments.get(at).map_or(state.synced, |following| following.first - 1);
            (segment.start(number), last)
        };
        // Not under the lock, which appends and syncs need: the reader may be slow and of low priority.
        Ok(Some((Cursor::open(&*self.shared.options.disk, start, number)?, last)))
    }

    /// Makes the next sync fail, as a broken disk would.
    #[cfg(test)]
    pub(crate) fn break_disk(&self) {
        self.shared.state.lock().broken = true;
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has already completed every ticket with an error.
            let _ = thread.join();
        }
    }
}

fn no_longer_kept(number: u64) -> Error {
    Error::new(crate::base::Kind::NotFound, format!("record {number} is no longer kept"))
}

fn damaged(path: &Path, offset: u64, what: &str) -> Error {
    Error::unavailable(format!("the journal `{}` is damaged at byte {offset}: {what}", path.display()))
        .hint("restore from a backup, or from a copy of this file")
}
