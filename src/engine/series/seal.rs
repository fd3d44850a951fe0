//! From heads to blocks, and what leaves: sealing, retention, forgetting.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::head::{Block, Head};
use super::{Inner, codec, record};
use crate::base::{Error, Result, Span, Timestamp};
use crate::engine::days::{DayBytes, day_of, day_start};

/// Heads that share one sync of the day files.
const HEADS_PER_SYNC: usize = 1_024;

impl Inner {
    pub(super) fn seal(&self, all: bool) -> Result<()> {
        let _one = self.sealing.lock();
        let chosen = self.choose(all);
        for group in chosen.chunks(HEADS_PER_SYNC) {
            self.seal_group(group)?;
        }
        let first_needed = {
            let order = self.order.lock();
            let mut first = *order + 1;
            for shard in &self.shards {
                let shard = shard.read();
                let heads = shard.values().filter(|s| !s.head.times.is_empty());
                first = heads.map(|s| s.head.record_first).fold(first, u64::min);
            }
            first
        };
        self.journal.remove_before(first_needed)
    }

    /// The sources whose heads are to be sealed: full ones, old ones, and the largest while memory is short.
    fn choose(&self, all: bool) -> Vec<u128> {
        let now = self.options.clock.monotonic();
        let mut chosen = Vec::new();
        let mut rest = Vec::new();
        let mut staying = 0;
        for shard in &self.shards {
            for (id, source) in shard.read().iter().filter(|(_, s)| !s.head.times.is_empty()) {
                let age = now.saturating_sub(source.head.since);
                if all
                    || source.head.times.len() >= self.options.ticks_per_block
                    || age >= self.options.head_age_max.duration()
                {
                    chosen.push(*id);
                } else {
                    staying += source.head.samples;
                    rest.push((source.head.samples, *id));
                }
            }
        }
        if staying > self.options.samples_in_memory_max {
            rest.sort_unstable_by(|a, b| b.cmp(a));
            for (samples, id) in rest {
                if staying <= self.options.samples_in_memory_max / 4 * 3 {
                    break;
                }
                staying -= samples;
                chosen.push(id);
            }
        }
        chosen
    }

    fn seal_group(&self, group: &[u128]) -> Result<()> {
        let mut blocks = Vec::new();
        let mut written = Ok(());
        for id in group {
            let taken = self.shard(*id).write().get_mut(id).map(|source| {
                let names: Vec<Arc<str>> = source.columns.iter().map(|c| c.name.clone()).collect();
                (source.take(), names)
            });
            let Some((head, names)) = taken else { continue };
            match self.write(*id, &head, &names) {
                Ok(places) => blocks.push((*id, head.samples, places)),
                Err(e) => {
                    written = Err(e);
                    break;
                }
            }
        }
        let written = written.and_then(|()| self.days.sync());
        if written.is_err() {
            for id in group {
                if let Some(source) = self.shard(*id).write().get_mut(id) {
                    self.samples.fetch_sub(source.put_back() as u64, Ordering::Relaxed);
                }
            }
            return written;
        }
        for (id, samples, places) in blocks {
            if let Some(source) = self.shard(id).write().get_mut(&id) {
                source.sealing = None;
                source.blocks.extend(places);
            }
            self.samples.fetch_sub(samples as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn write(&self, id: u128, head: &Head, names: &[Arc<str>]) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        for (day, columns) in head.by_day(names) {
            let (Some(first), Some(last)) = (columns.times.first(), columns.times.last()) else { continue };
            let (header, body) = codec::encode(id, (head.record_first, head.record_last), &columns)?;
            blocks.push(Block::new(self.days.append(day, &header, &body)?, *first, *last));
        }
        Ok(blocks)
    }

    pub(super) fn expire(&self) -> Result<usize> {
        let _one = self.sealing.lock();
        self.drop_before(self.options.clock.now() - self.options.retention)
    }

    pub(super) fn shed(&self, keep: Span) -> Result<Option<DayBytes>> {
        let _one = self.sealing.lock();
        let end = day_of(self.options.clock.now() - keep);
        let Some(oldest) = self.days.oldest_before(end) else { return Ok(None) };
        let shed = self.days.sizes().into_iter().next();
        self.drop_before(Timestamp::from_milliseconds(day_start(oldest + 1)))?;
        Ok(shed)
    }

    /// Unlinks the days before that of `oldest`, and forgets what was in them.
    fn drop_before(&self, oldest: Timestamp) -> Result<usize> {
        let day = day_of(oldest);
        let gone = self.days.unlink_before(day)?;
        for shard in &self.shards {
            let mut shard = shard.write();
            for source in shard.values_mut() {
                source.blocks.retain(|block| block.place.day >= day);
                source.drop_names_before(oldest.milliseconds());
            }
            shard.retain(|_, source| !source.columns.is_empty() || !source.head.times.is_empty());
        }
        let mut texts = self.texts.lock();
        texts.retain(|text| Arc::strong_count(text) > 1);
        Ok(gone)
    }

    pub(super) fn forget(&self, id: u128) -> Result<()> {
        let _one = self.sealing.lock();
        let ticket = {
            let mut order = self.order.lock();
            let days: BTreeSet<i32> = self
                .shard(id)
                .read()
                .get(&id)
                .map(|source| source.blocks.iter().map(|block| block.place.day).collect())
                .unwrap_or_default();
            for day in days {
                self.days.append(day, &codec::tombstone(id), &[])?;
            }
            self.days.sync()?;
            let ticket = self.journal.append(&record::forget(id))?;
            *order = ticket.number();
            if let Some(source) = self.shard(id).write().remove(&id) {
                self.samples.fetch_sub(source.head.samples as u64, Ordering::Relaxed);
            }
            ticket
        };
        ticket
            .wait()
            .map_err(|e| Error::unavailable("the source is not forgotten for good").because(e.detail()))
    }
}
