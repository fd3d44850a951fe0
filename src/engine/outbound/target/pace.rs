//! How fast a copy may go, how far it is, and whether it shall stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::{Error, Result};
use crate::engine::clock::Clock;

/// What may be caught up after a stall, as time at the full rate.
const CREDIT: Duration = Duration::from_millis(250);
/// The longest wait between two looks at `stop`.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// The pace of one copy. Cloning gives the same pace.
#[derive(Clone)]
pub struct Pace {
    /// Bytes a second, or as many as there are.
    pub bytes_per_second_max: Option<u64>,
    /// Measures the rate.
    pub clock: Clock,
    /// Bytes that are at the target; what was there already is added in one step when the copy begins.
    pub done: Arc<AtomicU64>,
    /// Set, it ends the copy with an error; what is there stays, and the next copy goes on from it.
    pub stop: Arc<AtomicBool>,
    wait: Arc<dyn Fn(Duration) + Send + Sync>,
    due: Arc<Mutex<Option<Duration>>>,
}

impl Pace {
    /// Without a limit.
    pub fn new(clock: &Clock) -> Pace {
        Pace::limited(clock, None)
    }

    /// With at most `bytes_per_second_max`; nothing and 0 are no limit.
    pub fn limited(clock: &Clock, bytes_per_second_max: Option<u64>) -> Pace {
        Pace {
            bytes_per_second_max: bytes_per_second_max.filter(|max| *max > 0),
            clock: clock.clone(),
            done: Arc::default(),
            stop: Arc::default(),
            wait: Arc::new(wait),
            due: Arc::default(),
        }
    }

    /// The same pace that waits by `wait`; tests move a manual clock with it.
    #[must_use]
    pub fn waiting_by(mut self, wait: impl Fn(Duration) + Send + Sync + 'static) -> Pace {
        self.wait = Arc::new(wait);
        self
    }

    /// Waits until `bytes` more may go and counts them, or says that the copy was stopped.
    pub fn take(&self, bytes: u64) -> Result<()> {
        self.going()?;
        if let Some(max) = self.bytes_per_second_max {
            let now = self.clock.monotonic();
            let due = {
                let mut due = self.due.lock();
                let from = due.unwrap_or(now).max(now.saturating_sub(CREDIT));
                let next = from + Duration::from_secs_f64(bytes as f64 / max as f64);
                *due = Some(next);
                next
            };
            loop {
                let left = due.saturating_sub(self.clock.monotonic());
                if left.is_zero() {
                    break;
                }
                (self.wait)(left.min(WAIT_MAX));
                self.going()?;
            }
        }
        self.done.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Counts bytes that were at the target already.
    pub fn found(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// An error when the copy was stopped.
    pub fn going(&self) -> Result<()> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::unavailable("the copy was stopped").hint("the next one goes on where this one ended"))
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pace({:?} of {:?}/s)", self.done, self.bytes_per_second_max)
    }
}

/// Waits on a condition that nobody fulfils: only the time ends it.
fn wait(time: Duration) {
    let never = Mutex::new(());
    Condvar::new().wait_for(&mut never.lock(), time);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Span, Timestamp};

    fn manual() -> Clock {
        Clock::manual(Timestamp::default(), 1)
    }

    #[test]
    fn the_rate_is_kept_within_a_tenth() {
        for (max, chunk, total) in [
            (1_000_000, 32 * 1024, 60_000_000),
            (50_000, 1024 * 1024, 20_000_000),
            (300_000_000, 65_536, 9_000_000_000_u64),
        ] {
            let clock = manual();
            let moved = clock.clone();
            // A machine wakes later than it was asked to.
            let pace = Pace::limited(&clock, Some(max)).waiting_by(move |time| {
                moved.advance(Span::from_milliseconds((time.as_millis() as u64).max(1) + 1));
            });
            let mut left = total;
            while left > 0 {
                let bytes = left.min(chunk);
                pace.take(bytes).unwrap();
                left -= bytes;
            }
            let rate = total as f64 / clock.monotonic().as_secs_f64();
            assert!((rate / max as f64 - 1.0).abs() < 0.1, "{rate} for {max}");
            assert_eq!(pace.done.load(Ordering::Relaxed), total);
        }
    }

    #[test]
    fn a_stall_is_not_caught_up_in_one_rush() {
        let clock = manual();
        let moved = clock.clone();
        let pace = Pace::limited(&clock, Some(1_000))
            .waiting_by(move |time| moved.advance(Span::from_milliseconds(time.as_millis() as u64 + 1)));
        pace.take(1_000).unwrap();
        clock.advance(Span::from_seconds(3_600));
        let before = clock.monotonic();
        pace.take(10_000).unwrap();
        assert!(clock.monotonic() - before >= Duration::from_millis(9_700));
    }

    #[test]
    fn a_stop_ends_a_wait() {
        let clock = manual();
        let mut pace = Pace::limited(&clock, Some(1));
        let stop = Arc::clone(&pace.stop);
        pace = pace.waiting_by(move |_| stop.store(true, Ordering::Relaxed));
        assert!(pace.take(1_000_000).unwrap_err().message().contains("stopped"));
        assert_eq!(pace.done.load(Ordering::Relaxed), 0);
        assert!(pace.going().is_err());
    }

    #[test]
    fn no_limit_waits_for_nothing() {
        let pace = Pace::limited(&manual(), Some(0)).waiting_by(|_| panic!("it waits"));
        pace.take(u64::MAX / 2).unwrap();
        wait(Duration::from_micros(1));
    }
}
