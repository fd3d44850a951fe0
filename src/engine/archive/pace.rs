//! Progress, bandwidth and stopping of long work on bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::Error;
use crate::engine::clock::Clock;

/// A stop and a new limit are obeyed within this time, also while bandwidth is waited for.
const STEP: Duration = Duration::from_millis(50);
/// Work that was slower than its limit may make up for this much time, not for all of it.
const BURST: Duration = Duration::from_secs(1);

/// What a piece of work has done and how fast it may go; shared by the one who works, who watches and who stops it.
/// Cloning gives the same one.
#[derive(Clone)]
pub struct Pace(Arc<Inner>);

struct Inner {
    clock: Clock,
    began: Duration,
    bytes: Arc<AtomicU64>,
    limit: Mutex<Limit>,
    stop: Arc<AtomicBool>,
}

/// So many bytes a second since an instant, at which so many were done.
struct Limit {
    bytes_per_second_max: Option<u64>,
    since: Duration,
    bytes: u64,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub bytes: u64,
    /// Bytes a second since the beginning.
    pub bytes_per_second: u64,
    /// Seconds until all is done at this rate, when it is known how much all is and anything has been done.
    pub seconds_left: Option<u64>,
}

/// Why a read or write ended: somebody asked the work to stop. It lies inside the `io::Error`.
#[derive(Debug)]
pub struct Stopped;

impl Pace {
    /// A pace that begins now, without a limit.
    pub fn new(clock: &Clock) -> Pace {
        Self::sharing(clock, Arc::default(), Arc::default())
    }

    /// A pace that counts into `bytes` and obeys `stop`.
    pub fn sharing(clock: &Clock, bytes: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Pace {
        let limit = Mutex::new(Limit { bytes_per_second_max: None, since: Duration::ZERO, bytes: 0 });
        Pace(Arc::new(Inner { clock: clock.clone(), began: clock.monotonic(), bytes, limit, stop }))
    }

    /// Sets the limit from now on; `None` takes it away.
    pub fn limit(&self, bytes_per_second_max: Option<u64>) {
        let bytes = self.0.bytes.load(Ordering::Relaxed);
        let bytes_per_second_max = bytes_per_second_max.map(|max| max.max(1));
        *self.0.limit.lock() = Limit { bytes_per_second_max, since: self.elapsed(), bytes };
    }

    /// Asks the work to stop; its next read or write fails with [`Stopped`].
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the work was asked to stop.
    pub fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }

    /// How far the work is, of `bytes_total` when that is known.
    pub fn progress(&self, bytes_total: Option<u64>) -> Progress {
        let bytes = self.0.bytes.load(Ordering::Relaxed);
        let elapsed = self.elapsed().as_millis().max(1);
        let bytes_per_second = (u128::from(bytes) * 1_000 / elapsed).min(u128::from(u64::MAX)) as u64;
        let left = bytes_total.map(|total| total.saturating_sub(bytes));
        let seconds_left = left.and_then(|left| left.checked_div(bytes_per_second));
        Progress { bytes, bytes_per_second, seconds_left }
    }

    /// Counts `bytes` that were moved, and waits as long as they were too many for the limit.
    pub fn moved(&self, bytes: usize) -> io::Result<()> {
        let done = self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        loop {
            self.go_on()?;
            match self.wait_for(done) {
                Some(wait) => std::thread::park_timeout(wait.min(STEP)),
                None => return Ok(()),
            }
        }
    }

    /// How long it is until `done` bytes are within the limit.
    fn wait_for(&self, done: u64) -> Option<Duration> {
        let now = self.elapsed();
        let mut limit = self.0.limit.lock();
        let bytes = u128::from(done.saturating_sub(limit.bytes));
        let due = limit.since
            + Duration::from_micros((bytes * 1_000_000 / u128::from(limit.bytes_per_second_max?)) as u64);
        if now.saturating_sub(due) > BURST {
            (limit.since, limit.bytes) = (now - BURST, done);
        }
        due.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Fails when the work was asked to stop.
    pub fn go_on(&self) -> io::Result<()> {
        if self.stopped() { Err(io::Error::other(Stopped)) } else { Ok(()) }
    }

    fn elapsed(&self) -> Duration {
        self.0.clock.monotonic().saturating_sub(self.0.began)
    }
}

impl Stopped {
    /// Whether this error, or one within it, says that the work was stopped.
    pub fn caused(error: &io::Error) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|e| e as _);
        while let Some(cause) = next {
            if cause.is::<Stopped>() {
                return true;
            }
            next = match cause.downcast_ref::<io::Error>() {
                Some(io) => io.get_ref().map(|e| e as _),
                None => cause.source(),
            };
        }
        false
    }

    /// What the reader is told.
    pub(super) fn error(what: &str) -> Error {
        Error::unavailable(format!("{what} was stopped")).hint("begin it again when it suits")
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped on request")
    }
}

impl std::error::Error for Stopped {}

/// Reads or writes at a pace.
pub struct Paced<T> {
    inner: T,
    pace: Pace,
}

impl<T> Paced<T> {
    /// Moves bytes of `inner` at this pace.
    pub fn new(inner: T, pace: &Pace) -> Paced<T> {
        Paced { inner, pace: pace.clone() }
    }

    /// What was wrapped.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Read> Read for Paced<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.pace.go_on()?;
        let read = self.inner.read(bytes)?;
        self.pace.moved(read)?;
        Ok(read)
    }
}

impl<T: Write> Write for Paced<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pace.go_on()?;
        let written = self.inner.write(bytes)?;
        self.pace.moved(written)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

    #[test]
    fn bandwidth_is_kept_by_the_clock() {
        let clock = Clock::manual(Default::default(), 1);
        let pace = Pace::new(&clock);
        pace.limit(Some(1_000));
        let worker = std::thread::spawn({
            let pace = pace.clone();
            move || {
                let mut from = Paced::new(io::repeat(7).take(3_000), &pace);
                let mut all = Vec::new();
                let mut some = [0; 500];
                while let Ok(n @ 1..) = from.read(&mut some) {
                    all.extend_from_slice(&some[..n]);
                }
                all.len()
            }
        });
        // While the clock stands, one read goes through and the next waits.
        for half_second in 1..=6 {
            while pace.progress(None).bytes < half_second * 500 {
                std::thread::yield_now();
            }
            assert_eq!(pace.progress(None).bytes, half_second * 500);
            clock.advance(Span::from_milliseconds(500));
        }
        assert_eq!(worker.join().unwrap(), 3_000);
        let progress = pace.progress(Some(6_000));
        assert_eq!(
            (progress.bytes, progress.bytes_per_second, progress.seconds_left),
            (3_000, 1_000, Some(3))
        );
    }

    #[test]
    fn a_limit_counts_from_when_it_is_set_and_idleness_earns_little() {
        let clock = Clock::manual(Default::default(), 1);
        let pace = Pace::new(&clock);
        pace.moved(1_000_000).unwrap();
        pace.limit(Some(1_000));
        assert_eq!(pace.wait_for(1_000_000), None);
        assert_eq!(pace.wait_for(1_000_500), Some(Duration::from_millis(500)));
        clock.advance(Span::from_hours(1));
        assert_eq!(pace.wait_for(1_000_500), None);
        assert_eq!(pace.wait_for(1_001_500), None);
        assert_eq!(pace.wait_for(1_002_500), Some(Duration::from_secs(1)));
        pace.limit(None);
        assert_eq!(pace.wait_for(u64::MAX), None);
    }

    #[test]
    fn a_stop_is_told_through_all_layers() {
        let clock = Clock::manual(Default::default(), 1);
        let pace = Pace::new(&clock);
        pace.limit(Some(1));
        let mut to = Paced::new(Vec::new(), &pace);
        let worker = std::thread::spawn(move || to.write_all(&[0; 100]));
        while pace.progress(None).bytes == 0 {
            std::thread::yield_now();
        }
        pace.stop();
        let error = worker.join().unwrap().unwrap_err();
        assert!(Stopped::caused(&error) && pace.stopped());
        assert!(Stopped::caused(&io::Error::new(io::ErrorKind::InvalidData, error)));
        assert!(!Stopped::caused(&io::Error::other("something else")));
        assert_eq!(Pace::new(&clock).progress(Some(9)).seconds_left, None);
    }
}
