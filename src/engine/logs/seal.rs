//! From buffers to blocks, and what leaves: sealing, retention, forgetting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::codec::{self, Stored};
use super::recover::MARKS;
use super::{Block, Buffer, Inner};
use crate::base::{Error, Result, Span, Timestamp};
use crate::engine::days::{DayBytes, day_of};
use crate::engine::journal::sync_folder;

impl Inner {
    pub(super) fn seal(&self, all: bool) -> Result<()> {
        let _one = self.sealing.lock();
        let chosen = self.choose(all);
        // Records without lines that stay raise watermarks all the same, and must not pile up.
        if chosen.is_empty() && self.journal.stats().bytes_kept < self.options.segment_bytes_max * 2 {
            return Ok(());
        }
        let taken: Vec<(u128, Arc<Buffer>)> =
            chosen.iter().filter_map(|id| Some((*id, self.shard(*id).write().get_mut(id)?.take()))).collect();
        let sealed = self.write_all(&taken);
        let (blocks, barrier) = match sealed {
            Ok(sealed) => sealed,
            Err(e) => {
                for (id, _) in &taken {
                    if let Some(source) = self.shard(*id).write().get_mut(id) {
                        source.put_back();
                    }
                }
                return Err(e);
            }
        };
        for ((id, buffer), blocks) in taken.iter().zip(blocks) {
            if let Some(source) = self.shard(*id).write().get_mut(id) {
                source.sealing = None;
                source.blocks.extend(blocks);
            }
            self.bytes.fetch_sub(buffer.bytes as u64, Ordering::Relaxed);
        }
        let first_needed = {
            let _order = self.order.lock();
            let mut first = barrier;
            for shard in &self.shards {
                let shard = shard.read();
                let oldest = shard.values().filter_map(|source| source.buffer.lines.first());
                first = oldest.map(|line| codec::record_of(line.position)).fold(first, u64::min);
            }
            first
        };
        self.journal.remove_before(first_needed)
    }

    /// The sources whose buffers are to be sealed: full ones, old ones, and the largest while memory is short.
    fn choose(&self, all: bool) -> Vec<u128> {
        let now = self.options.clock.monotonic();
        let mut chosen = Vec::new();
        let mut rest = Vec::new();
        let mut staying = 0;
        for shard in &self.shards {
            for (id, source) in shard.read().iter().filter(|(_, s)| !s.buffer.lines.is_empty()) {
                let age = now.saturating_sub(source.buffer.since);
                if all
                    || source.buffer.bytes >= self.options.block_bytes
                    || age >= self.options.buffer_age_max.duration()
                {
                    chosen.push(*id);
                } else {
                    staying += source.buffer.bytes;
                    rest.push((source.buffer.bytes, *id));
                }
            }
        }
        if staying > self.options.bytes_in_memory_max {
            rest.sort_unstable_by(|a, b| b.cmp(a));
            for (bytes, id) in rest {
                if staying <= self.options.bytes_in_memory_max / 4 * 3 {
                    break;
                }
                staying -= bytes;
                chosen.push(id);
            }
        }
        chosen
    }

    /// Writes and syncs blocks and watermarks; gives each buffer's blocks and the number up to which the watermarks go.
    fn write_all(&self, taken: &[(u128, Arc<Buffer>)]) -> Result<(Vec<Vec<Block>>, u64)> {
        let (marks, barrier) = {
            let order = self.order.lock();
            let barrier = self.journal.append(&codec::barrier_record())?;
            (order.marks.clone(), barrier)
        };
        // A line in a block whose record then were lost would come again, and a watermark above what is durable would
        // drop what was never kept: both wait for the journal.
        barrier.wait()?;
        let mut blocks = Vec::new();
        for (id, buffer) in taken {
            blocks.push(self.write(*id, buffer)?);
        }
        self.days.sync()?;
        self.write_marks(barrier.number(), &marks)?;
        Ok((blocks, barrier.number()))
    }

    /// Blocks of one day each, of about `block_bytes` of text.
    pub(super) fn write(&self, id: u128, buffer: &Buffer) -> Result<Vec<Block>> {
        let mut days: BTreeMap<i32, Vec<&Stored>> = BTreeMap::new();
        for line in &buffer.lines {
            days.entry(day_of(Timestamp::from_milliseconds(line.at))).or_default().push(line);
        }
        let mut blocks = Vec::new();
        for (day, lines) in days {
            let mut rest = &lines[..];
            while !rest.is_empty() {
                let mut bytes = 0;
                let whole = rest.iter().take_while(|line| {
                    let open = bytes < self.options.block_bytes;
                    bytes += line.bytes();
                    open
                });
                let (part, after) = rest.split_at(whole.count().max(1));
                let (header, head, body) = codec::encode(id, part)?;
                blocks.push(Block::new(self.days.append(day, &head, &body)?, &header));
                rest = after;
            }
        }
        Ok(blocks)
    }

    fn write_marks(&self, through: u64, marks: &HashMap<u128, u64>) -> Result<()> {
        let fresh = self.folder.join("watermarks.new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&codec::marks(through, marks))?;
        file.sync_all()?;
        fs::rename(&fresh, self.folder.join(MARKS))?;
        sync_folder(&self.folder)
    }

    pub(super) fn expire(&self) -> Result<usize> {
        let _one = self.sealing.lock();
        self.drop_before(day_of(self.options.clock.now() - self.options.retention))
    }

    pub(super) fn shed(&self, keep: Span) -> Result<Option<DayBytes>> {
        let _one = self.sealing.lock();
        let end = day_of(self.options.clock.now() - keep);
        let Some(oldest) = self.days.oldest_before(end) else { return Ok(None) };
        let shed = self.days.sizes().into_iter().next();
        self.drop_before(oldest + 1)?;
        Ok(shed)
    }

    /// Unlinks the days before `day`, and forgets what was in them.
    fn drop_before(&self, day: i32) -> Result<usize> {
        let gone = self.days.unlink_before(day)?;
        for shard in &self.shards {
            let mut shard = shard.write();
            for source in shard.values_mut() {
                source.blocks.retain(|block| block.place.day >= day);
            }
            shard.retain(|_, source| !source.blocks.is_empty() || !source.buffer.lines.is_empty());
        }
        Ok(gone)
    }

    pub(super) fn forget(&self, id: u128) -> Result<()> {
        let _one = self.sealing.lock();
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
        let ticket = self.journal.append(&codec::forget_record(id))?;
        ticket
            .wait()
            .map_err(|e| Error::unavailable("the source is not forgotten for good").because(e.detail()))?;
        order.marks.remove(&id);
        if let Some(source) = self.shard(id).write().remove(&id) {
            self.bytes.fetch_sub(source.buffer.bytes as u64, Ordering::Relaxed);
        }
        self.write_marks(ticket.number(), &order.marks)
    }
}
