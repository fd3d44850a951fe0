//! Buckets that slow down who guesses, in the manner of GCRA: one instant per bucket, no counters, no timers.
//!
//! Invariant: a bucket belongs to an address, or to an address and an account, so guessing locks out nobody else.
//! Invariant: the map has a bound; when it is full, the buckets that are nearest to empty go first.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Failures that are free, and how long one more costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Tries at once.
    pub(crate) burst: u32,
    /// One more each.
    pub(crate) every: Duration,
}

/// Buckets of one kind.
pub(crate) struct Buckets<K> {
    rate: Rate,
    buckets_max: usize,
    full_until: HashMap<K, Duration>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// No bucket yet.
    pub(crate) fn new(rate: Rate, buckets_max: usize) -> Buckets<K> {
        Buckets { rate, buckets_max, full_until: HashMap::new() }
    }

    /// Takes one try at `now`, or says how long to wait. A refused try costs nothing.
    pub(crate) fn take(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        let until = self.full_until.get(key).copied().unwrap_or_default().max(now);
        let room = self.rate.every * (self.rate.burst - 1);
        let ahead = until - now;
        if ahead > room {
            return Err(ahead - room);
        }
        if !self.full_until.contains_key(key) && self.full_until.len() >= self.buckets_max {
            self.make_room(now);
        }
        self.full_until.insert(key.clone(), until + self.rate.every);
        Ok(())
    }

    /// Gives one try back.
    pub(crate) fn give_back(&mut self, key: &K) {
        if let Some(until) = self.full_until.get_mut(key) {
            *until = until.saturating_sub(self.rate.every);
        }
    }

    /// Forgets the bucket.
    pub(crate) fn clear(&mut self, key: &K) {
        self.full_until.remove(key);
    }

    fn make_room(&mut self, now: Duration) {
        self.full_until.retain(|_, until| *until > now);
        if self.full_until.len() >= self.buckets_max {
            let mut ends: Vec<Duration> = self.full_until.values().copied().collect();
            ends.sort_unstable();
            let bound = ends[ends.len() / 4];
            self.full_until.retain(|_, until| *until > bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 5, every: Duration::from_secs(60) };

    #[test]
    fn five_tries_then_one_a_minute_and_nobody_else_waits() {
        let mut buckets = Buckets::new(RATE, 100);
        let at = Duration::from_secs;
        for _ in 0..5 {
            buckets.take(&"a", at(10)).unwrap();
        }
        assert_eq!(buckets.take(&"a", at(10)), Err(at(60)));
        assert_eq!(buckets.take(&"a", at(30)), Err(at(40)));
        assert_eq!(buckets.take(&"b", at(30)), Ok(()));
        assert_eq!(buckets.take(&"a", at(70)), Ok(()));
        assert_eq!(buckets.take(&"a", at(70)), Err(at(60)));
        buckets.give_back(&"a");
        assert_eq!(buckets.take(&"a", at(70)), Ok(()));
        buckets.clear(&"a");
        assert_eq!(buckets.take(&"a", at(71)), Ok(()));
    }

    #[test]
    fn the_map_stays_within_its_bound_and_keeps_the_worst() {
        let mut buckets = Buckets::new(RATE, 8);
        for _ in 0..5 {
            buckets.take(&0, Duration::ZERO).unwrap();
        }
        for n in 1..1_000 {
            buckets.take(&n, Duration::ZERO).unwrap();
            assert!(buckets.full_until.len() <= 8);
        }
        assert!(buckets.take(&0, Duration::ZERO).is_err());
    }
}
