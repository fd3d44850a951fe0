//! Buckets that slow down who asks or guesses too often, in the manner of GCRA: one instant per bucket, no counters, no
//! timers.
//!
//! Invariant: a bucket belongs to one key, such as an address with an account, so that nobody is held up by another.
//! Invariant: the map has a bound; when it is full, the buckets that are nearest to empty go first.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Tries that are free, and how long one more costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tries at once.
    pub burst: u32,
    /// One more each.
    pub every: Duration,
}

impl Rate {
    /// So many in a second, and `seconds` of them at once.
    pub fn per_second(tries: u32, seconds: u32) -> Rate {
        let tries = tries.max(1);
        Rate { burst: tries.saturating_mul(seconds.max(1)), every: Duration::from_secs(1) / tries }
    }

    /// How long an empty bucket takes to be whole again.
    pub fn window(&self) -> Duration {
        self.every * self.burst
    }
}

/// What is left of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Tries at once.
    pub tries: u32,
    /// Until all of them are there again.
    pub whole_in: Duration,
}

/// Buckets of one kind.
pub struct Buckets<K> {
    rate: Rate,
    buckets_max: usize,
    full_until: HashMap<K, Duration>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// No bucket yet.
    pub fn new(rate: Rate, buckets_max: usize) -> Buckets<K> {
        Buckets { rate, buckets_max, full_until: HashMap::new() }
    }

    /// What is given.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Another rate from now on. What was used stays used, measured in time.
    pub fn change(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Takes one try at `now`, or says how long to wait. A refused try costs nothing.
    pub fn take(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        self.take_some(key, now, 1).map(drop)
    }

    /// Takes what counts as `cost` tries at `now`, or says how long to wait. A refused one costs nothing, and one that is
    /// dearer than the whole bucket costs the bucket.
    pub fn take_some(&mut self, key: &K, now: Duration, cost: u32) -> Result<Left, Duration> {
        let cost = cost.clamp(1, self.rate.burst.max(1));
        let until = self.full_until.get(key).copied().unwrap_or_default().max(now) + self.rate.every * cost;
        let (ahead, whole) = (until - now, self.rate.window());
        if ahead > whole {
            return Err(ahead - whole);
        }
        if !self.full_until.contains_key(key) && self.full_until.len() >= self.buckets_max {
            self.make_room(now);
        }
        self.full_until.insert(key.clone(), until);
        let tries = (whole - ahead).as_nanos() / self.rate.every.as_nanos().max(1);
        Ok(Left { tries: u32::try_from(tries).unwrap_or(u32::MAX), whole_in: ahead })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.full_until.len()
    }

    /// Gives one try back.
    pub fn give_back(&mut self, key: &K) {
        if let Some(until) = self.full_until.get_mut(key) {
            *until = until.saturating_sub(self.rate.every);
        }
    }

    /// Forgets the bucket.
    pub fn clear(&mut self, key: &K) {
        self.full_until.remove(key);
    }

    fn make_room(&mut self, now: Duration) {
        self.full_until.retain(|_, until| *until > now);
        // Room for many, so that who comes from everywhere does not make each one a walk through all.
        if self.full_until.len() > self.buckets_max - self.buckets_max / 4 {
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
    fn dear_tries_count_as_many_and_what_is_left_is_told() {
        let mut buckets = Buckets::new(Rate::per_second(10, 2), 100);
        let (at, left) =
            (Duration::from_millis(500), |tries, ms| Left { tries, whole_in: Duration::from_millis(ms) });
        assert_eq!(buckets.take_some(&"a", at, 1), Ok(left(19, 100)));
        assert_eq!(buckets.take_some(&"a", at, 15), Ok(left(4, 1_600)));
        assert_eq!(buckets.take_some(&"a", at, 5), Err(Duration::from_millis(100)));
        assert_eq!(buckets.take_some(&"a", at, 4), Ok(left(0, 2_000)));
        let later = at + Duration::from_secs(9);
        assert_eq!(buckets.take_some(&"a", later, 1_000), Ok(left(0, 2_000)), "no more than the bucket");
        assert!(buckets.take(&"a", later).is_err());
        assert_eq!(Rate::per_second(10, 2).window(), Duration::from_secs(2));
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
