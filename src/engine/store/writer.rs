//! The way of a change: run by its caller, synced by the journal, applied and acknowledged by the writer thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use super::change::{Change, Origin};
use super::export::Holds;
use super::layer::{Layer, Recent};
use super::pending::{Completion, Pending};
use super::state::State;
use super::tx::{Tx, Writing};
use super::{CHANGE_BYTES_MAX, Options, Stats, refused};
use crate::base::{Error, Result};
use crate::engine::journal::{FolderLock, Journal, Ticket};

/// Changes that are applied in one commit of redb.
const BATCH_CHANGES_MAX: usize = 4_096;
/// Acknowledged changes that the feed keeps in memory.
const RECENT_CHANGES_MAX: usize = 1_024;

/// What callers and the writer thread share. The order of the fields is the order in which they close.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) journal: Journal,
    pub(super) state: Arc<State>,
    pub(super) acknowledged: watch::Sender<u64>,
    /// Why writes are refused, once they are.
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
    pub(super) holds: Arc<Holds>,
    writer: Mutex<Writer>,
    queue: Mutex<Queue>,
    /// Tells the thread that there is work.
    queued: Condvar,
    /// Tells callers that there is room, or that a checkpoint is done.
    moved: Condvar,
    feed: RwLock<VecDeque<Change>>,
    stats: Mutex<Stats>,
    _lock: FolderLock,
}

/// What a running write needs; its lock is what makes writes run one at a time.
struct Writer {
    next: u64,
    recent: Arc<Recent>,
    /// Of the newest change.
    completion: Option<Arc<Completion>>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    failed: Option<Arc<str>>,
    closing: bool,
    /// Checkpoints asked for and made.
    asked: u64,
    made: u64,
}

struct Item {
    change: Change,
    layer: Arc<Layer>,
    ticket: Ticket,
    completion: Arc<Completion>,
}

impl Shared {
    pub(super) fn new(
        options: Options,
        journal: Journal,
        state: State,
        last: u64,
        replayed: u64,
        lock: FolderLock,
    ) -> Shared {
        Shared {
            options,
            journal,
            state: Arc::new(state),
            acknowledged: watch::Sender::new(last),
            failure: watch::Sender::new(None),
            holds: Arc::default(),
            writer: Mutex::new(Writer { next: last + 1, recent: Arc::default(), completion: None }),
            queue: Mutex::default(),
            queued: Condvar::new(),
            moved: Condvar::new(),
            feed: RwLock::default(),
            stats: Mutex::new(Stats { replayed, ..Stats::default() }),
            _lock: lock,
        }
    }

    pub(super) fn submit<T>(
        &self,
        origin: Origin,
        f: impl FnOnce(&mut Tx) -> Result<T>,
    ) -> Result<(T, Pending)> {
        let _writing = Writing::begin()?;
        self.room()?;
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        Arc::make_mut(&mut writer.recent).forget(*self.acknowledged.borrow());
        let mut tx = Tx::new(self.state.clone(), writer.recent.clone(), writer.next, origin);
        let value = f(&mut tx)?;
        let (layer, events, origin) = tx.finish();
        if layer.is_empty() && events.is_empty() {
            return Ok((value, Pending::new(writer.completion.clone())));
        }
        let change = Change::new(writer.next, origin, events, &layer);
        let payload = change.encode()?;
        if payload.len() > CHANGE_BYTES_MAX {
            return Err(Error::too_many(format!("a change of {} bytes is too large", payload.len()))
                .hint(format!("at most {CHANGE_BYTES_MAX} bytes; do it in several steps")));
        }
        let ticket = self.journal.append(&payload)?;
        debug_assert_eq!(ticket.number(), writer.next);
        let (layer, completion) = (Arc::new(layer), Arc::new(Completion::default()));
        Arc::make_mut(&mut writer.recent).add(writer.next, layer.clone());
        writer.next += 1;
        writer.completion = Some(completion.clone());
        let item = Item { change, layer, ticket, completion: completion.clone() };
        let mut queue = self.queue.lock();
        if let Some(why) = &queue.failed {
            return Err(refused(why));
        }
        queue.items.push_back(item);
        let first = queue.items.len() == 1;
        drop(queue);
        if first {
            self.queued.notify_one();
        }
        Ok((value, Pending::new(Some(completion))))
    }

    pub(super) fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>> {
        let last = *self.acknowledged.borrow();
        if after >= last || limit == 0 {
            return Ok(Vec::new());
        }
        {
            let feed = self.feed.read();
            if let Some(first) = feed.front()
                && first.number <= after + 1
            {
                let skip = (after + 1 - first.number) as usize;
                return Ok(feed.range(skip.min(feed.len())..).take(limit).cloned().collect());
            }
        }
        let records = self.journal.read(after + 1, limit)?;
        let records = records.iter().take_while(|(number, _)| *number <= last);
        records.map(|(number, payload)| Change::decode(*number, payload)).collect()
    }

    pub(super) fn checkpoint_now(&self) -> Result<()> {
        let mut queue = self.queue.lock();
        queue.asked += 1;
        let mine = queue.asked;
        self.queued.notify_one();
        loop {
            if queue.made >= mine {
                return Ok(());
            }
            if let Some(why) = &queue.failed {
                return Err(refused(why));
            }
            self.moved.wait(&mut queue);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let journal = self.journal.stats();
        Stats {
            syncs: journal.syncs,
            bytes_written: journal.bytes_written,
            journal_bytes: journal.bytes_kept,
            last_error: self.queue.lock().failed.as_deref().map(str::to_owned),
            ..self.stats.lock().clone()
        }
    }

    pub(super) fn close(&self) {
        self.queue.lock().closing = true;
        self.queued.notify_one();
    }

    /// The writer thread: ends at closing, with a checkpoint, or at the first failure.
    pub(super) fn run(&self) {
        // If anything below panics, nobody may wait for ever.
        let _last = Last(self);
        let mut since = Since { changes: 0, at: self.options.clock.monotonic() };
        if let Err(e) = self.serve(&mut since) {
            self.fail(e.to_string().into());
        }
    }

    fn serve(&self, since: &mut Since) -> Result<()> {
        loop {
            let Some(first) = self.next(since)? else { return Ok(()) };
            let mut batch = vec![first];
            let synced = batch[0].ticket.wait().map(|()| self.journal.last_number());
            if let Ok(synced) = synced {
                let mut queue = self.queue.lock();
                while batch.len() < BATCH_CHANGES_MAX
                    && let Some(item) = queue.items.pop_front_if(|item| item.change.number <= synced)
                {
                    batch.push(item);
                }
                self.moved.notify_all();
            }
            let (last, chain) =
                batch.last().map_or((0, 0), |item| (item.change.number, item.ticket.fingerprint()));
            let layers = batch.iter().map(|item| &*item.layer);
            if let Err(e) = synced.and_then(|_| self.state.apply(layers, last, chain)) {
                let why: Arc<str> = e.to_string().into();
                // Refuse first, so that nobody who hears of the failure can still queue.
                self.fail(why.clone());
                batch.iter().for_each(|item| item.completion.complete(Err(why.clone())));
                return Ok(());
            }
            self.acknowledge(batch, last, since);
        }
    }

    /// The next change, with checkpoints made in between as they fall due. None at closing.
    fn next(&self, since: &mut Since) -> Result<Option<Item>> {
        let mut queue = self.queue.lock();
        loop {
            let asked = queue.asked;
            let pause = self.until_checkpoint(since);
            if asked > queue.made || pause == Some(Duration::ZERO) {
                drop(queue);
                self.checkpoint(since)?;
                queue = self.queue.lock();
                queue.made = asked;
                self.moved.notify_all();
                continue;
            }
            if let Some(item) = queue.items.pop_front() {
                self.moved.notify_all();
                return Ok(Some(item));
            }
            if queue.closing {
                drop(queue);
                return self.checkpoint(since).map(|()| None);
            }
            match pause {
                Some(pause) => {
                    self.queued.wait_for(&mut queue, pause);
                }
                None => self.queued.wait(&mut queue),
            }
        }
    }

    /// None when redb has everything durably.
    fn until_checkpoint(&self, since: &Since) -> Option<Duration> {
        if since.changes == 0 {
            return None;
        }
        if since.changes >= self.options.checkpoint_changes {
            return Some(Duration::ZERO);
        }
        let due = since.at + Duration::from_millis(self.options.checkpoint_milliseconds);
        Some(due.saturating_sub(self.options.clock.monotonic()))
    }

    fn checkpoint(&self, since: &mut Since) -> Result<()> {
        if since.changes == 0 {
            return Ok(());
        }
        let begun = self.options.clock.monotonic();
        if !self.journal.has_room() {
            // The journal has it all. A state that meets a full disk would be lost until a restart: it can wait.
            *since = Since { changes: 1, at: begun };
            return Ok(());
        }
        self.state.checkpoint()?;
        let took = (self.options.clock.monotonic() - begun).as_secs_f64() * 1000.0;
        {
            let mut stats = self.stats.lock();
            stats.checkpoints += 1;
            stats.checkpoint_milliseconds = took;
            stats.checkpoint_milliseconds_max = stats.checkpoint_milliseconds_max.max(took);
        }
        since.changes = 0;
        let last = *self.acknowledged.borrow();
        let kept = (last + 1).saturating_sub(self.options.feed_changes_max);
        let kept = kept.max(self.journal.first_number_within(self.options.feed_bytes_max));
        self.journal.remove_before(kept.min(last + 1).min(self.held_from()))
    }

    /// The oldest change that is held for backups, as far as it may be.
    fn held_from(&self) -> u64 {
        let Some(held) = self.holds.lowest() else { return u64::MAX };
        held.saturating_add(1).max(self.journal.first_number_within(self.options.held_bytes_max))
    }

    fn acknowledge(&self, batch: Vec<Item>, last: u64, since: &mut Since) {
        if since.changes == 0 {
            since.at = self.options.clock.monotonic();
        }
        since.changes += batch.len() as u64;
        {
            let mut stats = self.stats.lock();
            stats.changes += batch.len() as u64;
            stats.batches += 1;
        }
        let mut completions = Vec::with_capacity(batch.len());
        {
            let mut feed = self.feed.write();
            for item in batch {
                feed.push_back(item.change);
                completions.push(item.completion);
            }
            let over = feed.len().saturating_sub(RECENT_CHANGES_MAX);
            feed.drain(..over);
        }
        self.acknowledged.send_replace(last);
        completions.iter().for_each(|completion| completion.complete(Ok(())));
    }

    /// Waits until few enough changes wait to be applied.
    fn room(&self) -> Result<()> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(why) = &queue.failed {
                return Err(refused(why));
            }
            if queue.items.len() < self.options.waiting_changes_max {
                return Ok(());
            }
            self.moved.wait(&mut queue);
        }
    }

    fn fail(&self, why: Arc<str>) {
        let items = {
            let mut queue = self.queue.lock();
            queue.failed.get_or_insert_with(|| why.clone());
            std::mem::take(&mut queue.items)
        };
        self.failure.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert_with(|| why.clone());
            first
        });
        self.moved.notify_all();
        items.iter().for_each(|item| item.completion.complete(Err(why.clone())));
    }
}

/// What redb does not have durably.
struct Since {
    changes: u64,
    /// When the first of them was applied.
    at: Duration,
}

/// Refuses whatever comes after the thread has ended.
struct Last<'a>(&'a Shared);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        self.0.fail("the store is closed".into());
    }
}
