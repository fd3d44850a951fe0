//! The thread that acknowledges: it waits for the journal and for nothing else.

use std::sync::Arc;

use super::change::Change;
use super::writer::{Behind, Ending, Item, Shared};

/// Changes that are acknowledged at once.
const BATCH_CHANGES_MAX: usize = 4_096;
/// Acknowledged changes that the feed keeps in memory.
const RECENT_CHANGES_MAX: usize = 1_024;

impl Shared {
    /// Acknowledges until the store closes or fails.
    pub(super) fn acknowledge_all(&self) {
        let _ending = Ending(self);
        while let Some(first) = self.next_item() {
            if let Err(e) = first.ticket.wait() {
                let why: Arc<str> = e.to_string().into();
                // Refuse first, so that nobody who hears of the failure can still queue.
                self.fail(why.clone());
                first.completion.complete(Err(why));
                break;
            }
            let batch = self.synced(first);
            self.acknowledge(batch);
        }
        self.queue.lock().drained = true;
        self.due.notify_one();
    }

    /// The next change. None at closing, and after a failure.
    fn next_item(&self) -> Option<Item> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(item) = queue.items.pop_front() {
                return Some(item);
            }
            if queue.closing || queue.failed.is_some() {
                return None;
            }
            self.queued.wait(&mut queue);
        }
    }

    /// All that the disk has, from `first` on.
    fn synced(&self, first: Item) -> Vec<Item> {
        let synced = self.journal.last_number();
        let mut batch = vec![first];
        let mut queue = self.queue.lock();
        while batch.len() < BATCH_CHANGES_MAX
            && let Some(item) = queue.items.pop_front_if(|item| item.change.number <= synced)
        {
            batch.push(item);
        }
        batch
    }

    /// Shows the batch, tells who waits for it, and hands it on.
    fn acknowledge(&self, batch: Vec<Item>) {
        let Some(last) = batch.last().map(|item| item.change.number) else { return };
        self.overlay.add(batch.iter().map(|item| (item.change.number, &*item.layer)));
        self.stats.lock().changes += batch.len() as u64;
        let mut completions = Vec::with_capacity(batch.len());
        let mut behind = Vec::with_capacity(batch.len());
        let mut changes = Vec::with_capacity(batch.len());
        for Item { change, layer, bytes, ticket, completion } in batch {
            behind.push(Behind { number: change.number, layer, bytes, chain: ticket.fingerprint() });
            completions.push(completion);
            changes.push(change);
        }
        self.feed(changes);
        self.acknowledged.send_replace(last);
        completions.iter().for_each(|completion| completion.complete(Ok(())));
        // Last, so that redb never has what is not acknowledged.
        self.queue.lock().behind.extend(behind);
        self.due.notify_one();
    }

    fn feed(&self, changes: Vec<Change>) {
        let mut feed = self.feed.write();
        feed.extend(changes);
        let over = feed.len().saturating_sub(RECENT_CHANGES_MAX);
        feed.drain(..over);
    }
}
