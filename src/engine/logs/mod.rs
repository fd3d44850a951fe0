//! Lines of text over time: kept in memory and the journal first, in compressed blocks of day files after.
//!
//! Every line has a position: larger means acknowledged later, and it never changes. A live tail asks for what comes
//! after the last position it has.
//!
//! Invariant: a completed `Pending` means that the lines survive a crash.
//! Invariant: a sequence at or below the source's watermark adds nothing, also after a restart; no line is kept twice.
//! Invariant: the journal loses a record only when its lines lie in synced blocks and its sequence in the watermarks.
//! Invariant: retention unlinks whole days; no file is rewritten.

mod codec;
mod recover;
mod seal;
mod search;
mod words;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::base::{Error, Result, Span, Timestamp, limits};
use crate::engine::clock::Clock;
#[cfg(test)]
use crate::engine::days;
pub use crate::engine::days::{Damage, DayBytes, DayFile, Verified};
use crate::engine::days::{Days, Place};
use crate::engine::journal::{Journal, Seal, Ticket};
use codec::{Seen, Stored};

/// Lines of one answer.
pub const LINES_MAX: usize = 10_000;
/// Buckets of one histogram.
pub const BUCKETS_MAX: usize = 2_000;
/// Bytes of an origin; longer ones are cut.
pub const ORIGIN_BYTES_MAX: usize = 255;
/// How far ahead of the clock a line may be.
pub const FUTURE_MAX: Span = Span::from_hours(24);
/// What stands at the end of a line that was cut.
pub const CUT_MARK: &str = "… [cut]";
/// The first severity that counts as a warning; below it is information.
pub const SEVERITY_WARN: u8 = 3;
/// The first severity that counts as an error.
pub const SEVERITY_ERROR: u8 = 4;

/// Bytes of the disk that stay free of lines: lines are the first that are refused when the disk fills.
pub const RESERVE_BYTES: u64 = 128 * 1024 * 1024;

const SHARDS: usize = 64;

/// How lines are kept.
#[derive(Clone)]
pub struct Options {
    /// Where the time comes from.
    pub clock: Clock,
    /// How long lines are kept.
    pub retention: Span,
    /// Bytes of text from which a source's lines are packed into a block.
    pub block_bytes: usize,
    /// Lines that wait for this long are packed, however few.
    pub buffer_age_max: Span,
    /// Bytes in memory from which sealing takes the largest sources; appends are refused at twice as many.
    pub bytes_in_memory_max: usize,
    /// Bytes of one segment of the journal.
    pub segment_bytes_max: u64,
    /// What seals the files; none leaves them plain.
    pub seal: Option<Arc<dyn Seal>>,
}

impl Options {
    /// 30 days, 64 KiB a block, 2 hours, 128 MiB, 32 MiB.
    pub fn new(clock: Clock) -> Options {
        Options {
            clock,
            retention: Span::from_days(30),
            block_bytes: 64 * 1024,
            buffer_age_max: Span::from_hours(2),
            bytes_in_memory_max: 128 * 1024 * 1024,
            segment_bytes_max: 32 * 1024 * 1024,
            seal: None,
        }
    }
}

/// A line to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When it was written.
    pub at: Timestamp,
    /// 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 fatal.
    pub severity: u8,
    /// Unit, file or component.
    pub origin: &'a str,
    /// The text; cut with a mark when it is too long.
    pub text: &'a str,
}

/// A line that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was written.
    pub at: Timestamp,
    /// 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 fatal.
    pub severity: u8,
    /// Unit, file or component.
    pub origin: String,
    /// The text.
    pub text: String,
    /// Its place in the order of arrival.
    pub position: u64,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sources with lines.
    pub sources: usize,
    /// Bytes of lines that only memory and the journal hold.
    pub bytes_in_memory: u64,
    /// Blocks on disk.
    pub blocks: usize,
    /// Days with a file.
    pub days: usize,
    /// Bytes of all day files.
    pub bytes: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Lines dropped because their sequence had come before.
    pub dropped_again: u64,
    /// Lines dropped because they were too old or too far ahead.
    pub dropped_time: u64,
    /// Lines that were cut.
    pub cut: u64,
    /// Damaged places met in day files.
    pub damaged: u64,
}

/// The promise that an append will be durable: block on `wait`, or await it.
#[must_use = "lines are not durable until this says so"]
pub struct Pending {
    ticket: Ticket,
    dropped: usize,
}

impl Pending {
    /// Blocks until the lines are durable, or will never be.
    pub fn wait(&self) -> Result<()> {
        self.ticket.wait()
    }

    /// Lines left out: their sequence had come before, or their instant is too old or too far ahead.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

impl Future for Pending {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.ticket).poll(context)
    }
}

/// The lines of all sources. Cloning gives the same ones.
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    options: Options,
    journal: Journal,
    days: Days,
    order: Mutex<Order>,
    sealing: Mutex<()>,
    shards: Vec<RwLock<HashMap<u128, Source>>>,
    bytes: AtomicU64,
    dropped_again: AtomicU64,
    dropped_time: AtomicU64,
    cut: AtomicU64,
}

/// Held while a record gets its number and goes into memory.
#[derive(Default)]
struct Order {
    /// The highest sequence of each source.
    marks: HashMap<u128, u64>,
}

#[derive(Default)]
struct Source {
    buffer: Buffer,
    /// The buffer that is being written to blocks just now; still answered from.
    sealing: Option<Arc<Buffer>>,
    blocks: Vec<Block>,
}

/// Lines in the order of their positions.
#[derive(Clone, Default)]
struct Buffer {
    lines: Vec<Stored>,
    bytes: usize,
    /// When its first line arrived, by the monotonic clock.
    since: Duration,
}

/// Where a block lies and what its header says.
#[derive(Clone, Copy)]
struct Block {
    place: Place,
    first: i64,
    last: i64,
    position_first: u64,
    position_last: u64,
    severity_max: u8,
    counts: [u32; 3],
}

/// 0 information, 1 warning, 2 error.
fn class(severity: u8) -> usize {
    usize::from(severity >= SEVERITY_WARN) + usize::from(severity >= SEVERITY_ERROR)
}

impl Logs {
    /// Opens or begins the lines in `folder` and replays what was not yet in blocks.
    pub fn open(folder: &Path, options: Options) -> Result<Logs> {
        Inner::open(folder, options).map(|inner| Logs(Arc::new(inner)))
    }

    /// Takes lines of a source in. They can be read at once, and are durable when the `Pending` is done. Lines whose
    /// `sequence` is not above the source's watermark are dropped: they are here already.
    pub fn append(&self, source: u128, sequence: Option<u64>, lines: &[Line<'_>]) -> Result<Pending> {
        let inner = &*self.0;
        if lines.len() > limits::LOG_LINES_MAX {
            return Err(Error::too_many(format!("{} lines at once", lines.len()))
                .hint(format!("at most {}; send several messages", limits::LOG_LINES_MAX)));
        }
        if inner.bytes.load(Ordering::Relaxed) >= inner.options.bytes_in_memory_max as u64 * 2 {
            return Err(Error::too_many("the memory for log lines is full")
                .hint("sealing does not keep up; look at the disk"));
        }
        let now = inner.options.clock.now();
        let (oldest, newest) = (now - inner.options.retention, now + FUTURE_MAX);
        let texts: Vec<_> = lines.iter().map(|line| inner.fit(line.text)).collect();
        let kept: Vec<Line<'_>> = lines
            .iter()
            .zip(&texts)
            .filter(|(line, _)| line.at >= oldest && line.at <= newest)
            .map(|(line, text)| Line { text, origin: cut(line.origin, ORIGIN_BYTES_MAX), ..*line })
            .collect();
        let payload = codec::lines_record(source, sequence, &kept);
        let arrived = inner.options.clock.monotonic();

        let mut order = inner.order.lock();
        if sequence.is_some_and(|sequence| order.marks.get(&source).is_some_and(|mark| sequence <= *mark)) {
            inner.dropped_again.fetch_add(lines.len() as u64, Ordering::Relaxed);
            // The first copy may still be on its way to the disk: a record after it says when it is there.
            let ticket = inner.journal.append(&codec::barrier_record())?;
            return Ok(Pending { ticket, dropped: lines.len() });
        }
        let ticket = inner.journal.append(&payload)?;
        if let Some(sequence) = sequence {
            order.marks.insert(source, sequence);
        }
        inner.take_in(
            source,
            arrived,
            kept.iter().enumerate().map(|(index, line)| Seen {
                at: line.at.milliseconds(),
                position: codec::position(ticket.number(), index),
                severity: line.severity,
                origin: line.origin,
                text: line.text,
            }),
        );
        drop(order);
        let dropped = lines.len() - kept.len();
        inner.dropped_time.fetch_add(dropped as u64, Ordering::Relaxed);
        Ok(Pending { ticket, dropped })
    }

    /// The highest sequence that was taken in from a source.
    pub fn watermark(&self, source: u128) -> Option<u64> {
        self.0.order.lock().marks.get(&source).copied()
    }

    /// The newest `limit` lines from `from` to `to`, both included, at least as grave as `severity_min`, that hold all
    /// of `words` in text or origin without regard to case. The newest is the last.
    pub fn tail(
        &self,
        source: u128,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        severity_min: u8,
        words: &str,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        self.0.tail(source, from, to, severity_min, words, limit)
    }

    /// The oldest `limit` lines that arrived after `position`, in the order of arrival.
    pub fn since(&self, source: u128, position: u64, limit: usize) -> Result<Vec<Entry>> {
        self.0.since(source, position, limit)
    }

    /// How many lines of information, warnings and errors there are in each of `buckets` equal parts of the time from
    /// `from` to `to`, both included.
    pub fn histogram(
        &self,
        source: u128,
        from: Timestamp,
        to: Timestamp,
        buckets: usize,
    ) -> Result<Vec<[u32; 3]>> {
        self.0.histogram(source, from.milliseconds(), to.milliseconds(), buckets)
    }

    /// Packs full buffers into blocks, syncs them and lets the journal's segments go that are no longer needed.
    pub fn seal(&self) -> Result<()> {
        self.0.seal(false)
    }

    /// Packs every buffer, full or not; for a clean stop and for tests.
    pub fn seal_all(&self) -> Result<()> {
        self.0.seal(true)
    }

    /// Seals everything, and names the day files with the bytes of them that are whole: copies of these bytes, made at
    /// any later time, hold every line that was here at the call. A day that the retention unlinks meanwhile is gone.
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
        let record = |number, payload: &[u8]| codec::read(number, payload).map(|_| ());
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

    /// Forgets all of a source, its watermark too. The bytes in day files go with their days.
    pub fn forget(&self, source: u128) -> Result<()> {
        self.0.forget(source)
    }

    /// What there is.
    pub fn stats(&self) -> Stats {
        let inner = &*self.0;
        let mut stats = Stats {
            bytes_in_memory: inner.bytes.load(Ordering::Relaxed),
            days: inner.days.days().len(),
            bytes: inner.days.bytes(),
            journal_bytes: inner.journal.stats().bytes_kept,
            dropped_again: inner.dropped_again.load(Ordering::Relaxed),
            dropped_time: inner.dropped_time.load(Ordering::Relaxed),
            cut: inner.cut.load(Ordering::Relaxed),
            damaged: inner.days.damaged(),
            ..Stats::default()
        };
        for shard in &inner.shards {
            let shard = shard.read();
            stats.sources += shard.len();
            stats.blocks += shard.values().map(|source| source.blocks.len()).sum::<usize>();
        }
        stats
    }
}

impl Inner {
    fn shard(&self, source: u128) -> &RwLock<HashMap<u128, Source>> {
        let mixed = (source ^ source >> 64) as u64;
        &self.shards[(mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % SHARDS]
    }

    /// The text within its limit.
    fn fit<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        if text.len() <= limits::LOG_LINE_BYTES_MAX {
            return text.into();
        }
        self.cut.fetch_add(1, Ordering::Relaxed);
        format!("{}{CUT_MARK}", cut(text, limits::LOG_LINE_BYTES_MAX - CUT_MARK.len())).into()
    }

    fn take_in<'a>(&self, source: u128, arrived: Duration, lines: impl Iterator<Item = Seen<'a>>) {
        let mut lines = lines.peekable();
        if lines.peek().is_none() {
            return;
        }
        let mut shard = self.shard(source).write();
        let buffer = &mut shard.entry(source).or_default().buffer;
        if buffer.lines.is_empty() {
            buffer.since = arrived;
        }
        let before = buffer.bytes;
        for line in lines {
            let stored = line.stored(buffer.lines.last());
            buffer.bytes += stored.bytes();
            buffer.lines.push(stored);
        }
        self.bytes.fetch_add((buffer.bytes - before) as u64, Ordering::Relaxed);
    }
}

/// At most `bytes` of `text`, cut between characters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
