//! The way of a change: run by its caller, synced by the journal, acknowledged by one thread and applied by another.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use super::change::{Change, Origin};
use super::export::Holds;
use super::layer::{Layer, Recent};
use super::overlay::Overlay;
use super::pending::{Completion, Pending};
use super::read::Snapshot;
use super::state::State;
use super::tx::{Tx, Writing};
use super::{CHANGE_BYTES_MAX, Options, Stats, refused};
use crate::base::{Error, Result};
use crate::engine::journal::{FolderLock, Journal, Ticket};

/// What callers and the two threads share. The order of the fields is the order in which they close.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) journal: Journal,
    pub(super) state: Arc<State>,
    /// What is acknowledged and perhaps not in the state yet.
    pub(super) overlay: Overlay,
    pub(super) acknowledged: watch::Sender<u64>,
    /// Why writes are refused, once they are.
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
    pub(super) holds: Arc<Holds>,
    writer: Mutex<Writer>,
    pub(super) queue: Mutex<Queue>,
    /// Tells the acknowledging thread that there is work.
    pub(super) queued: Condvar,
    /// Tells the applying thread that there is work.
    pub(super) due: Condvar,
    /// Tells callers that there is room, or that something was applied or made durable.
    pub(super) moved: Condvar,
    pub(super) feed: RwLock<VecDeque<Change>>,
    pub(super) stats: Mutex<Stats>,
    _lock: FolderLock,
}

/// What a running write needs; its lock is what makes writes run one at a time.
struct Writer {
    next: u64,
    recent: Arc<Recent>,
    /// Of the newest change.
    completion: Option<Arc<Completion>>,
}

/// Where all changes are that redb does not have durably.
#[derive(Default)]
pub(super) struct Queue {
    /// Not acknowledged.
    pub(super) items: VecDeque<Item>,
    /// Acknowledged, and not taken to be applied.
    pub(super) behind: VecDeque<Behind>,
    /// Changes that are not applied, wherever they are, and their bytes.
    pub(super) waiting: usize,
    pub(super) waiting_bytes: usize,
    /// The newest change that is in redb, and the newest that is durable there.
    pub(super) applied: u64,
    pub(super) durable: u64,
    /// Up to where a checkpoint is asked for.
    pub(super) wanted: u64,
    /// Checkpoints that the disk had no room for.
    pub(super) put_off: u64,
    pub(super) failed: Option<Arc<str>>,
    /// Nothing new comes.
    pub(super) closing: bool,
    /// Nothing new comes to `behind` either.
    pub(super) drained: bool,
}

/// A change on its way to be acknowledged.
pub(super) struct Item {
    pub(super) change: Change,
    pub(super) layer: Arc<Layer>,
    pub(super) bytes: usize,
    pub(super) ticket: Ticket,
    pub(super) completion: Arc<Completion>,
}

/// A change on its way to redb.
pub(super) struct Behind {
    pub(super) number: u64,
    pub(super) layer: Arc<Layer>,
    pub(super) bytes: usize,
    /// The journal's fingerprint at it.
    pub(super) chain: u64,
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
            overlay: Overlay::new(last),
            acknowledged: watch::Sender::new(last),
            failure: watch::Sender::new(None),
            holds: Arc::default(),
            writer: Mutex::new(Writer { next: last + 1, recent: Arc::default(), completion: None }),
            queue: Mutex::new(Queue { applied: last, durable: last, wanted: last, ..Queue::default() }),
            queued: Condvar::new(),
            due: Condvar::new(),
            moved: Condvar::new(),
            feed: RwLock::default(),
            stats: Mutex::new(Stats { replayed, ..Stats::default() }),
            _lock: lock,
        }
    }

    /// The layers first: what is applied in between is then in both.
    pub(super) fn read(&self) -> Result<Snapshot> {
        let layers = self.overlay.layers();
        Snapshot::new(layers, self.state.view()?)
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
        // Not what is acknowledged: the view that the write will take may lack it.
        let applied = self.queue.lock().applied;
        Arc::make_mut(&mut writer.recent).forget(applied);
        let mut tx = Tx::new(self.state.clone(), writer.recent.clone(), writer.next, origin);
        let value = f(&mut tx)?;
        let (layer, events, origin) = tx.finish();
        if layer.is_empty() && events.is_empty() {
            return Ok((value, Pending::new(writer.completion.clone())));
        }
        let change = Change::new(writer.next, origin, events, &layer);
        let payload = change.encode()?;
        let bytes = payload.len();
        if bytes > CHANGE_BYTES_MAX {
            return Err(Error::too_many(format!("a change of {bytes} bytes is too large"))
                .hint(format!("at most {CHANGE_BYTES_MAX} bytes; do it in several steps")));
        }
        let ticket = self.journal.append(&payload)?;
        debug_assert_eq!(ticket.number(), writer.next);
        let (layer, completion) = (Arc::new(layer), Arc::new(Completion::default()));
        Arc::make_mut(&mut writer.recent).add(writer.next, layer.clone());
        writer.next += 1;
        writer.completion = Some(completion.clone());
        let item = Item { change, layer, bytes, ticket, completion: completion.clone() };
        let mut queue = self.queue.lock();
        if let Some(why) = &queue.failed {
            return Err(refused(why));
        }
        queue.waiting += 1;
        queue.waiting_bytes += bytes;
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

    /// Waits until redb has everything durably that is acknowledged.
    pub(super) fn checkpoint_now(&self) -> Result<()> {
        let mine = *self.acknowledged.borrow();
        let mut queue = self.queue.lock();
        let put_off = queue.put_off;
        queue.wanted = queue.wanted.max(mine);
        self.due.notify_one();
        loop {
            if queue.durable >= mine {
                return match &queue.failed {
                    Some(why) => Err(refused(why)),
                    None => Ok(()),
                };
            }
            if let Some(why) = &queue.failed {
                return Err(refused(why));
            }
            if queue.put_off > put_off {
                return Err(Error::unavailable(
                    "the disk is full: the journal has everything, the state waits",
                )
                .hint("free some of the disk of the data folder"));
            }
            self.moved.wait(&mut queue);
        }
    }

    /// Waits until redb shows everything that is acknowledged, or will never do so.
    pub(super) fn catch_up(&self) {
        let mine = *self.acknowledged.borrow();
        let mut queue = self.queue.lock();
        while queue.applied < mine && queue.failed.is_none() {
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

    /// Waits until few enough changes wait to be applied.
    fn room(&self) -> Result<()> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(why) = &queue.failed {
                return Err(refused(why));
            }
            if queue.waiting < self.options.waiting_changes_max
                && queue.waiting_bytes < self.options.waiting_bytes_max
            {
                return Ok(());
            }
            self.moved.wait(&mut queue);
        }
    }

    /// Refuses writes from now on. What is acknowledged stays where readers see it.
    pub(super) fn fail(&self, why: Arc<str>) {
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
        self.queued.notify_all();
        self.due.notify_all();
        self.moved.notify_all();
        items.iter().for_each(|item| item.completion.complete(Err(why.clone())));
    }
}

/// Lets nobody wait for ever for a thread that panicked.
pub(super) struct Ending<'a>(pub(super) &'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store has ended".into());
        }
    }
}
