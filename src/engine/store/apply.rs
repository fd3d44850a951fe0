//! The thread behind: it applies to redb what is acknowledged, and makes redb durable as that falls due.
//!
//! Invariant: redb has only what is acknowledged, and the journal keeps what redb does not have durably.
//! Invariant: after a failure nothing is applied any more.

use std::time::Duration;

use super::writer::{Behind, Ending, Shared};
use crate::base::Result;

/// Changes that are applied in one commit of redb.
const BATCH_CHANGES_MAX: usize = 4_096;

/// What redb does not have durably.
struct Since {
    changes: u64,
    /// When the first of them was applied.
    at: Duration,
}

impl Shared {
    /// Applies until nothing comes any more, and ends with a checkpoint; or until the store fails.
    pub(super) fn apply_all(&self) {
        let _ending = Ending(self);
        let mut since = Since { changes: 0, at: self.options.clock.monotonic() };
        let why = match self.serve(&mut since) {
            Ok(()) => "the store is closed".into(),
            Err(e) => e.to_string().into(),
        };
        self.fail(why);
    }

    fn serve(&self, since: &mut Since) -> Result<()> {
        while let Some(batch) = self.next_batch(since)? {
            self.apply(batch, since)?;
        }
        Ok(())
    }

    /// The next changes, with checkpoints made in between as they fall due. None at closing, and after a failure.
    fn next_batch(&self, since: &mut Since) -> Result<Option<Vec<Behind>>> {
        let mut queue = self.queue.lock();
        loop {
            if queue.failed.is_some() {
                return Ok(None);
            }
            let wanted = queue.wanted > queue.durable && queue.applied >= queue.wanted;
            let pause = self.until_checkpoint(since);
            if wanted || pause == Some(Duration::ZERO) {
                let upto = queue.applied;
                drop(queue);
                let made = self.checkpoint(since, upto)?;
                queue = self.queue.lock();
                if made {
                    queue.durable = upto;
                } else {
                    queue.put_off += 1;
                    queue.wanted = queue.durable;
                }
                self.moved.notify_all();
                continue;
            }
            if !queue.behind.is_empty() {
                let count = queue.behind.len().min(BATCH_CHANGES_MAX);
                return Ok(Some(queue.behind.drain(..count).collect()));
            }
            if queue.drained {
                let upto = queue.applied;
                drop(queue);
                return self.checkpoint(since, upto).map(|_| None);
            }
            match pause {
                Some(pause) => {
                    self.due.wait_for(&mut queue, pause);
                }
                None => self.due.wait(&mut queue),
            }
        }
    }

    fn apply(&self, batch: Vec<Behind>, since: &mut Since) -> Result<()> {
        let Some(last) = batch.last() else { return Ok(()) };
        let number = last.number;
        self.state.apply(batch.iter().map(|change| &*change.layer), number, last.chain)?;
        // Every view from now on has them.
        self.overlay.forget(number);
        if since.changes == 0 {
            since.at = self.options.clock.monotonic();
        }
        since.changes += batch.len() as u64;
        self.stats.lock().batches += 1;
        {
            let mut queue = self.queue.lock();
            queue.applied = number;
            queue.waiting -= batch.len();
            queue.waiting_bytes -= batch.iter().map(|change| change.bytes).sum::<usize>();
        }
        self.moved.notify_all();
        Ok(())
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

    /// Makes redb durable up to what is applied, which is `upto`, and lets the journal go of what nobody needs any more.
    /// False when the disk has no room for it.
    fn checkpoint(&self, since: &mut Since, upto: u64) -> Result<bool> {
        if since.changes == 0 {
            return Ok(true);
        }
        let begun = self.options.clock.monotonic();
        if !self.journal.has_room() {
            // The journal has it all. A state that meets a full disk would be lost until a restart: it can wait.
            *since = Since { changes: 1, at: begun };
            return Ok(false);
        }
        self.holds.checkpoint(|| self.state.checkpoint())?;
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
        self.journal.remove_before(kept.min(upto + 1).min(self.held_from()))?;
        Ok(true)
    }

    /// The oldest change that is held for backups, as far as it may be.
    fn held_from(&self) -> u64 {
        let Some(held) = self.holds.lowest() else { return u64::MAX };
        held.saturating_add(1).max(self.journal.first_number_within(self.options.held_bytes_max))
    }
}
