//! Numbers over time: every source has named series of samples, kept in memory first and in day files after.
//!
//! An append goes to the journal and into the source's head; `seal` packs full heads into blocks of a day file, syncs
//! them, and only then lets the journal go. What is in memory is answered from memory, the rest from blocks.
//!
//! Invariant: a completed `Pending` means that the samples survive a crash.
//! Invariant: one (source, name, instant) is one sample, however often it arrives and wherever copies lie; the last wins.
//! Invariant: the journal loses a record only when everything in it lies in synced blocks.
//! Invariant: retention unlinks whole days; no file is rewritten.

mod codec;
mod head;
mod query;
mod record;
mod recover;
mod seal;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::{Mutex, RwLock};

use crate::base::{Error, Result, Span, Timestamp, limits};
use crate::engine::clock::Clock;
#[cfg(test)]
use crate::engine::days;
use crate::engine::days::Days;
pub use crate::engine::days::{Damage, DayBytes, DayFile, Verified};
use crate::engine::journal::{Journal, Seal, Ticket};
use head::Source;

/// Points of one query.
pub const POINTS_MAX: usize = 10_000;
/// How far ahead of the clock a sample may be.
pub const FUTURE_MAX: Span = Span::from_hours(24);

/// Bytes of the disk that stay free of samples: samples are refused after lines of logs, and before the store's changes.
pub const RESERVE_BYTES: u64 = 96 * 1024 * 1024;

const SHARDS: usize = 64;

/// How series are kept.
#[derive(Clone)]
pub struct Options {
    /// Where the time comes from.
    pub clock: Clock,
    /// How long samples are kept.
    pub retention: Span,
    /// A head with this many ticks is full.
    pub ticks_per_block: usize,
    /// A head this old counts as full, so that a slow source does not hold the journal.
    pub head_age_max: Span,
    /// Samples in memory from which sealing takes the largest heads, full or not; appends are refused at twice as many.
    pub samples_in_memory_max: usize,
    /// Bytes of one segment of the journal.
    pub segment_bytes_max: u64,
    /// What seals the files; none leaves them plain.
    pub seal: Option<Arc<dyn Seal>>,
}

impl Options {
    /// 30 days, 360 ticks a block, 2 hours, 32 million samples (256 MB), 32 MiB.
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            retention: Span::from_days(30),
            ticks_per_block: 360,
            head_age_max: Span::from_hours(2),
            samples_in_memory_max: 32_000_000,
            segment_bytes_max: 32 * 1024 * 1024,
            seal: None,
        }
    }
}

/// What one source measured at one instant. Values that are not finite are left out.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Whose.
    pub source: u128,
    /// When.
    pub at: Timestamp,
    /// Name and value of each series.
    pub values: &'a [(&'a str, f64)],
}

/// A sample, or several that fell into one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The instant of a single sample; the start of a bucket.
    pub at: Timestamp,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The newest value.
    pub last: f64,
    /// Samples in it.
    pub count: u32,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sources known.
    pub sources: usize,
    /// Series of all sources.
    pub series: usize,
    /// Samples that only memory and the journal hold.
    pub samples_in_memory: u64,
    /// Blocks on disk.
    pub blocks: usize,
    /// Days with a file.
    pub days: usize,
    /// Bytes of all day files.
    pub bytes: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Ticks dropped because they were more than `FUTURE_MAX` ahead.
    pub dropped_future: u64,
    /// Ticks dropped because they were older than the retention.
    pub dropped_old: u64,
    /// Damaged places met in day files.
    pub damaged: u64,
}

/// The promise that an append will be durable: block on `wait`, or await it.
#[must_use = "samples are not durable until this says so"]
pub struct Pending {
    ticket: Option<Ticket>,
    dropped: usize,
}

impl Pending {
    /// Blocks until the samples are durable, or will never be.
    pub fn wait(&self) -> Result<()> {
        self.ticket.as_ref().map_or(Ok(()), Ticket::wait)
    }

    /// Batches that were left out because their instant is too old or too far ahead.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

impl Future for Pending {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.ticket {
            Some(ticket) => Pin::new(ticket).poll(context),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// The series of all sources. Cloning gives the same ones.
#[derive(Clone)]
pub struct Series(Arc<Inner>);

struct Inner {
    options: Options,
    journal: Journal,
    days: Days,
    /// The newest record's number; held while a record gets its number and goes into the heads, so that memory and
    /// replay agree on which of two equal instants is the last.
    order: Mutex<u64>,
    sealing: Mutex<()>,
    shards: Vec<RwLock<HashMap<u128, Source>>>,
    texts: Mutex<HashSet<Arc<str>>>,
    samples: AtomicU64,
    dropped_future: AtomicU64,
    dropped_old: AtomicU64,
}

impl Series {
    /// Opens or begins the series in `folder` and replays what was not yet in blocks.
    pub fn open(folder: &Path, options: Options) -> Result<Series> {
        Inner::open(folder, options).map(|inner| Series(Arc::new(inner)))
    }

    /// Takes batches in. They can be read at once, and are durable when the `Pending` is done. Batches too far ahead or
    /// older than the retention are left out and counted; a source with too many series refuses the whole append.
    pub fn append(&self, batches: &[Batch<'_>]) -> Result<Pending> {
        let inner = &*self.0;
        let now = inner.options.clock.now();
        let (oldest, newest) = (now - inner.options.retention, now + FUTURE_MAX);
        let in_time =
            |batch: &&Batch<'_>| !batch.values.is_empty() && batch.at >= oldest && batch.at <= newest;
        let future = batches.iter().filter(|batch| batch.at > newest).count();
        let old = batches.iter().filter(|batch| batch.at < oldest).count();
        let accepted = batches.iter().filter(in_time).count();
        inner.dropped_future.fetch_add(future as u64, Ordering::Relaxed);
        inner.dropped_old.fetch_add(old as u64, Ordering::Relaxed);
        if accepted == 0 {
            return Ok(Pending { ticket: None, dropped: future + old });
        }
        if inner.samples.load(Ordering::Relaxed) >= inner.options.samples_in_memory_max as u64 * 2 {
            return Err(Error::too_many("the memory for samples is full")
                .hint("sealing does not keep up; look at the disk"));
        }
        let payload = record::ticks(batches.iter().filter(in_time));
        let arrived = inner.options.clock.monotonic();
        let mut order = inner.order.lock();
        inner.check_names(batches.iter().filter(in_time))?;
        let ticket = inner.journal.append(&payload)?;
        *order = ticket.number();
        for batch in batches.iter().filter(in_time) {
            let values = batch.values.iter().copied();
            inner.take_in(ticket.number(), arrived, batch.source, batch.at.milliseconds(), values);
        }
        Ok(Pending { ticket: Some(ticket), dropped: future + old })
    }

    /// The newest value of a series.
    pub fn latest(&self, source: u128, name: &str) -> Option<(Timestamp, f64)> {
        let shard = self.0.shard(source).read();
        let source = shard.get(&source)?;
        let column = source.columns.get(source.column(name)?)?;
        Some((Timestamp::from_milliseconds(column.at), column.value))
    }

    /// Shows the newest value of every series of a source, in the order in which they were first seen. The source
    /// waits meanwhile.
    pub fn each_latest(&self, source: u128, mut each: impl FnMut(&str, Timestamp, f64)) {
        let shard = self.0.shard(source).read();
        let columns = shard.get(&source).map_or(&[][..], |s| &s.columns);
        columns.iter().for_each(|c| each(&c.name, Timestamp::from_milliseconds(c.at), c.value));
    }

    /// The newest value of every series of a source, in the order in which they were first seen.
    pub fn latest_all(&self, source: u128) -> Vec<(Arc<str>, Timestamp, f64)> {
        let shard = self.0.shard(source).read();
        let columns = shard.get(&source).map_or(&[][..], |s| &s.columns);
        columns.iter().map(|c| (c.name.clone(), Timestamp::from_milliseconds(c.at), c.value)).collect()
    }

    /// How many series a source has.
    pub fn count(&self, source: u128) -> usize {
        self.0.shard(source).read().get(&source).map_or(0, |source| source.columns.len())
    }

    /// The names of a source's series, sorted.
    pub fn names(&self, source: u128) -> Vec<Arc<str>> {
        let shard = self.0.shard(source).read();
        let mut names: Vec<_> =
            shard.get(&source).map_or(&[][..], |s| &s.columns).iter().map(|c| c.name.clone()).collect();
        names.sort();
        names
    }

    /// The samples of a series from `from` to `to`, both included, as at most `points_max` points. A gap has no points.
    pub fn query(
        &self,
        source: u128,
        name: &str,
        from: Timestamp,
        to: Timestamp,
        points_max: usize,
    ) -> Result<Vec<Point>> {
        if points_max == 0 || points_max > POINTS_MAX {
            return Err(Error::invalid(format!("{points_max} points asked for"))
                .hint(format!("ask for 1 to {POINTS_MAX}")));
        }
        let (from, to) = (from.milliseconds(), to.milliseconds());
        let mut recent = Vec::new();
        let blocks: Vec<_> = {
            let shard = self.0.shard(source).read();
            let Some(source) = shard.get(&source) else { return Ok(Vec::new()) };
            let Some(column) = source.column(name) else { return Ok(Vec::new()) };
            source.recent(column, from, to, &mut recent);
            source.blocks.iter().filter(|block| block.overlaps(from, to)).copied().collect()
        };
        let mut samples = Vec::new();
        for block in blocks {
            if let Some(frame) = self.0.days.read(block.place)? {
                let header = codec::header(frame.header())?;
                let found = codec::series(&header, frame.body(), name)?;
                samples.extend(found.into_iter().filter(|(at, _)| (from..=to).contains(at)));
            }
        }
        samples.append(&mut recent);
        query::merge(&mut samples);
        Ok(query::points(&samples, from, to, points_max))
    }

    /// Packs full heads into blocks, syncs them and lets the journal's segments go that are no longer needed.
    pub fn seal(&self) -> Result<()> {
        self.0.seal(false)
    }

    /// Packs every head into a block, full or not; for a clean stop and for tests.
    pub fn seal_all(&self) -> Result<()> {
        self.0.seal(true)
    }

    /// Seals everything, and names the day files with the bytes of them that are whole: copies of these bytes, made at
    /// any later time, hold every sample that was here at the call. A day that the retention unlinks meanwhile is gone.
    pub fn files(&self) -> Result<Vec<DayFile>> {
        self.seal_all()?;
        self.0.days.files()
    }

    /// Reads every block and every record of the journal, and names what is damaged. `step` is told the bytes read
    /// before each of them; its error ends the reading, so that it can pause or stop.
    pub fn verify(&self, step: &mut dyn FnMut(u64) -> Result<()>) -> Result<Verified> {
        let mut verified = Verified::default();
        let look = |header: &[u8], body: &[u8]| codec::understand(header, body);
        self.0.days.verify(&mut verified, look, step)?;
        let folder = self.0.days.folder().with_file_name("journal");
        let record = |_: u64, payload: &[u8]| record::read(payload).map(|_| ());
        verified.journal(&self.0.journal, folder, record, step)?;
        Ok(verified)
    }

    /// Unlinks whole days past the retention and says how many.
    pub fn expire(&self) -> Result<usize> {
        self.0.expire()
    }

    /// Unlinks the oldest day, to make room, when it lies wholly more than `keep` back. Says which day went and what it
    /// took; nothing when there is none.
    pub fn shed(&self, keep: Span) -> Result<Option<DayBytes>> {
        self.0.shed(keep)
    }

    /// Every day on the disk with its bytes, oldest first.
    pub fn days(&self) -> Vec<DayBytes> {
        self.0.days.sizes()
    }

    /// Forgets all of a source. The bytes in day files go with their days.
    pub fn forget(&self, source: u128) -> Result<()> {
        self.0.forget(source)
    }

    /// What there is.
    pub fn stats(&self) -> Stats {
        let inner = &*self.0;
        let mut stats = Stats {
            samples_in_memory: inner.samples.load(Ordering::Relaxed),
            days: inner.days.days().len(),
            bytes: inner.days.bytes(),
            journal_bytes: inner.journal.stats().bytes_kept,
            dropped_future: inner.dropped_future.load(Ordering::Relaxed),
            dropped_old: inner.dropped_old.load(Ordering::Relaxed),
            damaged: inner.days.damaged(),
            ..Stats::default()
        };
        for shard in &inner.shards {
            let shard = shard.read();
            stats.sources += shard.len();
            for source in shard.values() {
                stats.series += source.columns.len();
                stats.blocks += source.blocks.len();
            }
        }
        stats
    }
}

impl Inner {
    fn shard(&self, source: u128) -> &RwLock<HashMap<u128, Source>> {
        let mixed = (source ^ source >> 64) as u64;
        &self.shards[(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % SHARDS]
    }

    /// One text for all sources that use the same name.
    fn intern(&self, name: &str) -> Arc<str> {
        intern_in(&mut self.texts.lock(), name)
    }

    fn take_in<'a>(
        &self,
        record: u64,
        arrived: std::time::Duration,
        source: u128,
        at: i64,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) {
        let mut shard = self.shard(source).write();
        let source = shard.entry(source).or_default();
        let more = source.tick(record, arrived, at, values, |name| self.intern(name));
        self.samples.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// No source of `batches` would have more series than it may.
    fn check_names<'a>(&self, batches: impl Iterator<Item = &'a Batch<'a>>) -> Result<()> {
        let mut fresh: HashMap<u128, HashSet<&str>> = HashMap::new();
        for batch in batches {
            let shard = self.shard(batch.source).read();
            let known = shard.get(&batch.source);
            let count = known.map_or(0, |s| s.columns.len());
            let mut next = 0;
            for (name, value) in batch.values {
                let place = match known.and_then(|s| s.columns.get(next)) {
                    Some(column) if *column.name == **name => Some(next),
                    _ => known.and_then(|s| s.column(name)),
                };
                match place {
                    Some(place) => next = place + 1,
                    None if value.is_finite() => {
                        let fresh = fresh.entry(batch.source).or_default();
                        fresh.insert(name);
                        if count + fresh.len() > limits::SERIES_PER_AGENT_MAX {
                            return Err(Error::too_many(format!(
                                "series `{name}` would be one more than the {} that a source may have",
                                limits::SERIES_PER_AGENT_MAX
                            ))
                            .hint("send fewer names, or wait until old ones pass the retention"));
                        }
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}

fn intern_in(texts: &mut HashSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = texts.get(name) {
        return known.clone();
    }
    let text: Arc<str> = name.into();
    texts.insert(text.clone());
    text
}
