//! The queue, and the thread that writes it: everything queued with one write and one sync, then all tickets at once.

use std::path::PathBuf;
use std::task::{Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::disk::DiskFile;
use super::prepare::Preparing;
use super::raw::Raw;
use super::record::{self, Hash, Header};
use super::seal;
use super::segment::{Mark, Segment};
use super::{Options, RECORD_BYTES_MAX, Stats, room};
use crate::base::{Error, Result};

/// What appenders, readers and the thread share.
pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) options: Options,
    pub(super) state: Mutex<State>,
    queued: Condvar,
    /// Waiters of even and of odd batches, so that a sync wakes only those it completes.
    completed: [Condvar; 2],
}

/// Everything under the lock.
pub(super) struct State {
    pub(super) segments: Vec<Segment>,
    /// The newest number on the disk.
    pub(super) synced: u64,
    pub(super) failed: Option<String>,
    pub(super) stats: Stats,
    #[cfg(test)]
    pub(super) broken: bool,
    queue: Batch,
    /// The number of the batch that is being gathered.
    batch: u64,
    last: u64,
    chain: Hash,
    wakers: Vec<(u64, Waker)>,
    closing: bool,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    first: u64,
    last: u64,
    previous: Hash,
    /// Offsets count from the batch's first byte.
    marks: Vec<Mark>,
}

impl Shared {
    pub(super) fn new(
        folder: PathBuf,
        options: Options,
        segments: Vec<Segment>,
        last: u64,
        chain: Hash,
    ) -> Shared {
        let state = State {
            segments,
            synced: last,
            failed: None,
            stats: Stats::default(),
            #[cfg(test)]
            broken: false,
            queue: Batch::default(),
            batch: 0,
            last,
            chain,
            wakers: Vec::new(),
            closing: false,
        };
        Shared {
            folder,
            options,
            state: Mutex::new(state),
            queued: Condvar::new(),
            completed: [Condvar::new(), Condvar::new()],
        }
    }

    /// Queues a record: its number, its batch and its hash.
    pub(super) fn append(&self, payload: &[u8]) -> Result<(u64, u64, Hash)> {
        if payload.len() > RECORD_BYTES_MAX {
            return Err(Error::too_many(format!("a record of {} bytes is too large", payload.len()))
                .hint(format!("at most {RECORD_BYTES_MAX} bytes")));
        }
        self.queue(payload.len(), |state, number, begins| {
            state.chain = record::encode(&mut state.queue.bytes, &state.chain, number, begins, payload);
            Ok((number, state.batch, state.chain))
        })
    }

    /// Queues a record that another journal wrote: its batch.
    pub(super) fn append_raw(&self, raw: &Raw<'_>) -> Result<u64> {
        self.queue(raw.bytes.len(), |state, number, _| {
            if raw.number != number || raw.previous != state.chain {
                return Err(Error::invalid(format!(
                    "record {} does not follow on record {}",
                    raw.number,
                    number - 1
                )));
            }
            state.queue.bytes.extend_from_slice(raw.bytes);
            state.chain = raw.hash;
            Ok(state.batch)
        })
    }

    /// Lets `add` put the record with the next number to the end of the queue; it says whether a batch begins.
    fn queue<T>(&self, bytes: usize, add: impl FnOnce(&mut State, u64, bool) -> Result<T>) -> Result<T> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(why) = &state.failed {
            return Err(refused(why));
        }
        self.room()?;
        let begins = state.queue.bytes.is_empty();
        if !begins && state.queue.bytes.len() + bytes > self.options.queue_bytes_max {
            return Err(Error::too_many("the disk is slower than what is to be written to it")
                .hint("send less, or use a faster disk"));
        }
        let (number, previous, offset) = (state.last + 1, state.chain, state.queue.bytes.len() as u64);
        let added = add(state, number, begins)?;
        let queue = &mut state.queue;
        if begins {
            queue.first = number;
            queue.previous = previous;
        }
        if queue.marks.last().is_none_or(|mark| offset >= mark.offset + 64 * 1024) {
            queue.marks.push(Mark { number, offset, previous });
        }
        queue.last = number;
        state.last = number;
        drop(guard);
        if begins {
            self.queued.notify_one();
        }
        Ok(added)
    }

    /// Refuses while the reserve of the disk is not free.
    pub(super) fn room(&self) -> Result<()> {
        room::check(&*self.options.disk, &self.folder, self.options.reserve_bytes)
    }

    pub(super) fn wait(&self, number: u64, batch: u64) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if let Some(result) = state.outcome(number) {
                return result;
            }
            self.completed[(batch % 2) as usize].wait(&mut state);
        }
    }

    pub(super) fn poll(&self, number: u64, batch: u64, waker: &Waker) -> Poll<Result<()>> {
        let mut state = self.state.lock();
        match state.outcome(number) {
            Some(result) => Poll::Ready(result),
            None => {
                state.wakers.push((batch, waker.clone()));
                Poll::Pending
            }
        }
    }

    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.queued.notify_one();
    }

    /// The thread: ends when the journal closes, or at the first failure.
    pub(super) fn run(&self, mut file: Box<dyn DiskFile>) {
        // If anything below panics, nobody may wait for ever.
        let _last = Last(self);
        let mut batch = Batch::default();
        let mut preparing = Preparing::new(&self.folder, &self.options);
        loop {
            let (number, mut bytes, seal) = {
                let mut state = self.state.lock();
                while state.queue.bytes.is_empty() && !state.closing {
                    self.queued.wait(&mut state);
                }
                if state.queue.bytes.is_empty() {
                    return;
                }
                std::mem::swap(&mut state.queue, &mut batch);
                state.batch += 1;
                let newest = state.segments.last();
                let seal = newest.and_then(|segment| segment.seal.clone());
                (state.batch - 1, newest.map_or(0, |segment| segment.bytes), seal)
            };
            let rolled = self.roll(&mut file, &batch, &mut bytes, &mut preparing);
            let written = rolled.and_then(|fresh| {
                let seal = fresh.as_ref().map_or(seal, |fresh| fresh.seal.clone());
                if let Some(seal) = seal {
                    batch.bytes = seal::records(&*seal, &batch.bytes, &mut batch.marks);
                }
                file.write_at(&batch.bytes, bytes)?;
                self.sync(&*file)?;
                Ok(fresh)
            });
            let wakers = {
                let mut guard = self.state.lock();
                let state = &mut *guard;
                match written {
                    Ok(fresh) => {
                        state.segments.extend(fresh);
                        state.account(&batch, bytes);
                        let (done, waiting) =
                            std::mem::take(&mut state.wakers).into_iter().partition(|(of, _)| *of <= number);
                        state.wakers = waiting;
                        done
                    }
                    Err(e) => {
                        state.failed = Some(e.to_string());
                        return;
                    }
                }
            };
            self.completed[(number % 2) as usize].notify_all();
            wake(wakers);
            if bytes + batch.bytes.len() as u64 > self.options.segment_bytes_max / 2 {
                preparing.begin(&self.options);
            }
            batch.bytes.clear();
            batch.bytes.shrink_to(1024 * 1024);
            batch.marks.clear();
        }
    }

    /// Begins a new segment when the batch does not fit into the present one; a batch never spans two.
    fn roll(
        &self,
        file: &mut Box<dyn DiskFile>,
        batch: &Batch,
        bytes: &mut u64,
        preparing: &mut Preparing,
    ) -> Result<Option<Segment>> {
        let whole = record::header_bytes(self.options.seal.is_some()) as u64;
        if *bytes <= whole || *bytes + batch.bytes.len() as u64 <= self.options.segment_bytes_max {
            return Ok(None);
        }
        let header = Header { first: batch.first, previous: batch.previous };
        let (segment, next) = Segment::create(&self.folder, &self.options, header, preparing.take())?;
        *file = next;
        *bytes = segment.bytes;
        Ok(Some(segment))
    }

    fn sync(&self, file: &dyn DiskFile) -> Result<()> {
        #[cfg(test)]
        if self.state.lock().broken {
            return Err(Error::unavailable("the disk is broken"));
        }
        Ok(file.sync()?)
    }
}

/// Completes whatever still waits when the thread ends.
struct Last<'a>(&'a Shared);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        let wakers = {
            let mut state = self.0.state.lock();
            state.failed.get_or_insert_with(|| String::from("the journal is closed"));
            std::mem::take(&mut state.wakers)
        };
        self.0.completed.iter().for_each(|condition| {
            condition.notify_all();
        });
        wake(wakers);
    }
}

impl State {
    fn outcome(&self, number: u64) -> Option<Result<()>> {
        if number <= self.synced {
            return Some(Ok(()));
        }
        self.failed.as_ref().map(|why| Err(refused(why)))
    }

    fn account(&mut self, batch: &Batch, offset: u64) {
        self.synced = batch.last;
        self.stats.records += batch.last + 1 - batch.first;
        self.stats.syncs += 1;
        self.stats.bytes_written += batch.bytes.len() as u64;
        if let Some(segment) = self.segments.last_mut() {
            segment.bytes = offset + batch.bytes.len() as u64;
            for mark in &batch.marks {
                segment.mark(Mark { offset: offset + mark.offset, ..*mark });
            }
        }
    }
}

fn refused(why: &str) -> Error {
    Error::unavailable(format!("the journal cannot be written: {why}"))
        .hint("check the disk, then start the program again")
}

fn wake(wakers: Vec<(u64, Waker)>) {
    for (_, waker) in wakers {
        waker.wake();
    }
}
