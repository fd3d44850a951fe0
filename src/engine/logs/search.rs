//! Answers: the newest lines that match, what came after a position, and counts over time.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::codec::{self, Seen, Stored};
use super::words::Words;
use super::{BUCKETS_MAX, Block, Entry, Inner, LINES_MAX, class};
use crate::base::{Error, Result, Timestamp};

impl Inner {
    pub(super) fn tail(
        &self,
        source: u128,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        severity_min: u8,
        words: &str,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        check("lines", limit, LINES_MAX)?;
        let from = from.map_or(i64::MIN, Timestamp::milliseconds);
        let to = to.map_or(i64::MAX, Timestamp::milliseconds);
        let words = Words::new(words);
        let wanted = |line: &Seen<'_>| {
            line.severity >= severity_min
                && (from..=to).contains(&line.at)
                && words.match_line(line.origin, line.text)
        };
        let mut blocks: Vec<Block> = Vec::new();
        let mut newest = Newest { entries: Vec::new(), limit };
        self.look(source, |memory, all| {
            memory.map(Stored::seen).filter(wanted).for_each(|line| newest.add(line));
            let may = |b: &&Block| b.first <= to && b.last >= from && b.severity_max >= severity_min;
            blocks.extend(all.iter().filter(may));
        });
        blocks.sort_by_key(|block| std::cmp::Reverse((block.last, block.position_last)));
        self.walk(&blocks, |block, line| match line {
            None if newest.is_full_after(block.last) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
            Some(line) => {
                if wanted(&line) {
                    newest.add(line);
                }
                ControlFlow::Continue(())
            }
        })?;
        Ok(newest.finish())
    }

    pub(super) fn since(&self, source: u128, position: u64, limit: usize) -> Result<Vec<Entry>> {
        check("lines", limit, LINES_MAX)?;
        let mut blocks: Vec<Block> = Vec::new();
        let mut recent = Vec::new();
        self.look(source, |memory, all| {
            let later = memory.filter(|line| line.position > position).take(limit);
            recent.extend(later.map(|line| line.seen().entry()));
            blocks.extend(all.iter().filter(|block| block.position_last > position));
        });
        blocks.sort_by_key(|block| block.position_first);
        let mut entries: Vec<Entry> = Vec::new();
        let mut newest = 0;
        self.walk(&blocks, |block, line| {
            match line {
                // Blocks of two days may overlap in position: stop only where none can come in between.
                None if entries.len() >= limit && block.position_first > newest => {
                    return ControlFlow::Break(());
                }
                Some(line) if line.position > position => {
                    newest = newest.max(line.position);
                    entries.push(line.entry());
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        entries.append(&mut recent);
        entries.sort_by_key(|entry| entry.position);
        entries.truncate(limit);
        Ok(entries)
    }

    pub(super) fn histogram(
        &self,
        source: u128,
        from: i64,
        to: i64,
        buckets: usize,
    ) -> Result<Vec<[u32; 3]>> {
        check("buckets", buckets, BUCKETS_MAX)?;
        if to < from {
            return Err(Error::invalid("the range ends before it begins"));
        }
        let length = i128::from(to) - i128::from(from) + 1;
        let bucket = |at: i64| ((i128::from(at) - i128::from(from)) * buckets as i128 / length) as usize;
        let mut counts = vec![[0u32; 3]; buckets];
        let mut blocks: Vec<Block> = Vec::new();
        self.look(source, |memory, all| {
            for line in memory.filter(|line| (from..=to).contains(&line.at)) {
                counts[bucket(line.at)][class(line.severity)] += 1;
            }
            for block in all.iter().filter(|block| block.first <= to && block.last >= from) {
                // A block within one bucket is counted by its header.
                if block.first >= from && block.last <= to && bucket(block.first) == bucket(block.last) {
                    let counts = &mut counts[bucket(block.first)];
                    counts.iter_mut().zip(block.counts).for_each(|(count, more)| *count += more);
                } else {
                    blocks.push(*block);
                }
            }
        });
        self.walk(&blocks, |_, line| {
            if let Some(line) = line.filter(|line| (from..=to).contains(&line.at)) {
                counts[bucket(line.at)][class(line.severity)] += 1;
            }
            ControlFlow::Continue(())
        })?;
        Ok(counts)
    }

    /// Shows the lines in memory, those being sealed first, and the blocks of a source, all of one moment.
    fn look(&self, source: u128, seen: impl FnOnce(&mut dyn Iterator<Item = &Stored>, &[Block])) {
        let shard = self.shard(source).read();
        if let Some(source) = shard.get(&source) {
            let sealing = source.sealing.as_deref().map_or(&[][..], |buffer| &buffer.lines);
            seen(&mut sealing.iter().chain(&source.buffer.lines), &source.blocks);
        }
    }

    /// Goes through blocks: each is announced without a line, which may end the walk, and then shown line by line.
    fn walk(
        &self,
        blocks: &[Block],
        mut each: impl FnMut(&Block, Option<Seen<'_>>) -> ControlFlow<()>,
    ) -> Result<()> {
        for block in blocks {
            if each(block, None).is_break() {
                break;
            }
            if let Some(frame) = self.days.read(block.place)? {
                let header = codec::header(frame.header())?;
                let raw = codec::decompress(&header, frame.body())?;
                codec::each_line(&header, &raw, |line| {
                    let _ = each(block, Some(line));
                })?;
            }
        }
        Ok(())
    }
}

/// The newest entries met so far, by instant and then by position.
struct Newest {
    entries: Vec<Entry>,
    limit: usize,
}

impl Newest {
    fn add(&mut self, line: Seen<'_>) {
        self.entries.push(line.entry());
        if self.entries.len() >= self.limit * 2 + 1_024 {
            self.shrink();
        }
    }

    /// Whether nothing at or before `at` can still come in.
    fn is_full_after(&mut self, at: i64) -> bool {
        if self.entries.len() < self.limit {
            return false;
        }
        self.shrink();
        self.entries.first().is_some_and(|oldest| oldest.at.milliseconds() > at)
    }

    fn shrink(&mut self) {
        self.entries.sort_by_key(|entry| (entry.at, entry.position));
        let surplus = self.entries.len().saturating_sub(self.limit);
        self.entries.drain(..surplus);
    }

    fn finish(mut self) -> Vec<Entry> {
        self.shrink();
        self.entries
    }
}

fn check(what: &str, count: usize, max: usize) -> Result<()> {
    if count == 0 || count > max {
        return Err(Error::invalid(format!("{count} {what} asked for")).hint(format!("ask for 1 to {max}")));
    }
    Ok(())
}

impl super::Source {
    /// Sets the buffer aside for sealing.
    pub(super) fn take(&mut self) -> Arc<super::Buffer> {
        let buffer = Arc::new(std::mem::take(&mut self.buffer));
        self.sealing = Some(buffer.clone());
        buffer
    }

    /// Takes a buffer back that could not be sealed, before what has arrived since.
    pub(super) fn put_back(&mut self) {
        let Some(older) = self.sealing.take() else { return };
        let newer = std::mem::replace(&mut self.buffer, (*older).clone());
        self.buffer.bytes += newer.bytes;
        self.buffer.lines.extend(newer.lines);
    }
}
