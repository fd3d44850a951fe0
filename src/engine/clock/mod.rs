//! Now, randomness and new identifiers. Nobody else asks the operating system for them (clippy says so).
//!
//! Invariant: `monotonic` never goes back; `now` may, when a person sets the clock.
//! Invariant: a manual clock moves only when it is told to, and a seeded one gives the same bytes in every run.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::base::{Id, Span, Timestamp};

/// The source of time and randomness. Cloning gives the same clock.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    System { started: Instant },
    Manual(Mutex<Manual>),
}

struct Manual {
    now: Timestamp,
    elapsed: Duration,
    seed: [u8; 32],
    drawn: u64,
}

impl Clock {
    /// The machine's clock and its random source.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn system() -> Clock {
        Clock(Arc::new(Source::System { started: Instant::now() }))
    }

    /// A clock for tests: it stands at `now` until it is moved, and its randomness follows from `seed`.
    pub fn manual(now: Timestamp, seed: u64) -> Clock {
        let seed = *blake3::hash(&seed.to_le_bytes()).as_bytes();
        Clock(Arc::new(Source::Manual(Mutex::new(Manual { now, elapsed: Duration::ZERO, seed, drawn: 0 }))))
    }

    /// The wall clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_milliseconds(since.as_millis() as i64)
            }
            Source::Manual(manual) => manual.lock().now,
        }
    }

    /// Time since the clock was made; never goes back. Lengths are measured with it.
    pub fn monotonic(&self) -> Duration {
        match &*self.0 {
            Source::System { started } => started.elapsed(),
            Source::Manual(manual) => manual.lock().elapsed,
        }
    }

    /// Moves a manual clock forward; does nothing to the machine's.
    pub fn advance(&self, span: Span) {
        if let Source::Manual(manual) = &*self.0 {
            let mut manual = manual.lock();
            manual.now = manual.now + span;
            manual.elapsed += span.duration();
        }
    }

    /// Fills `bytes` with randomness fit for keys.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    #[expect(clippy::expect_used, reason = "a machine without randomness must not make keys")]
    pub fn fill(&self, bytes: &mut [u8]) {
        match &*self.0 {
            Source::System { .. } => {
                getrandom::fill(bytes).expect("the operating system gives no randomness")
            }
            Source::Manual(manual) => {
                let mut manual = manual.lock();
                manual.drawn += 1;
                let mut hasher = blake3::Hasher::new_keyed(&manual.seed);
                hasher.update(&manual.drawn.to_le_bytes());
                hasher.finalize_xof().fill(bytes);
            }
        }
    }

    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A new identifier of something made now.
    pub fn id<T>(&self) -> Id<T> {
        Id::new(self.now(), u128::from_le_bytes(self.random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_repeats_itself() {
        let (a, b) = (
            Clock::manual(Timestamp::from_milliseconds(5), 7),
            Clock::manual(Timestamp::from_milliseconds(5), 7),
        );
        assert_eq!(a.random::<16>(), b.random::<16>());
        assert_ne!(a.random::<16>(), a.random::<16>());
        a.advance(Span::from_seconds(2));
        assert_eq!((a.now().milliseconds(), a.monotonic()), (2_005, Duration::from_secs(2)));
        assert!(Clock::system().now().milliseconds() > 1_700_000_000_000);
    }
}
