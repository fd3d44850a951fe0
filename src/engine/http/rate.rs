//! How often somebody may ask, and how the answer tells what is left: the `RateLimit-Policy` and `RateLimit` fields of
//! draft-ietf-httpapi-ratelimit-headers-09.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest};
use parking_lot::Mutex;

use crate::base::buckets::{Buckets, Rate};
use crate::base::{Error, Result, limits};

/// One limit: a bucket for each key.
pub struct Limiter<K> {
    name: &'static str,
    buckets: Mutex<Buckets<K>>,
}

/// Where somebody stands with one limit after asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    name: &'static str,
    quota: u32,
    window: Duration,
    left: u32,
    whole_in: Duration,
    /// How long to wait, when it was too much.
    wait: Option<Duration>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limit under this name, an RFC 9651 token; at most [`limits::RATE_BUCKETS_MAX`] keys are remembered.
    pub fn new(name: &'static str, rate: Rate) -> Limiter<K> {
        let buckets = Mutex::new(Buckets::new(rate, limits::RATE_BUCKETS_MAX));
        Limiter { name, buckets }
    }

    /// Another rate from now on; what somebody has used of their bucket stays used.
    pub fn change(&self, rate: Rate) {
        self.buckets.lock().change(rate);
    }

    /// Takes what counts as `cost` requests at `now`, and notes where that leaves the caller.
    pub fn take(&self, key: &K, now: Duration, cost: u32, standings: &Standings) -> Result<()> {
        let (rate, taken) = {
            let mut buckets = self.buckets.lock();
            (buckets.rate(), buckets.take_some(key, now, cost))
        };
        let standing = |left, whole_in, wait| Standing {
            name: self.name,
            quota: rate.burst,
            window: rate.window(),
            left,
            whole_in,
            wait,
        };
        match taken {
            Ok(left) => {
                standings.note(standing(left.tries, left.whole_in, None));
                Ok(())
            }
            Err(wait) => {
                standings.note(standing(0, wait, Some(wait)));
                let error = Error::too_many(format!(
                    "too many requests at once; wait {} s, then go on slower",
                    seconds(wait).max(1)
                ))
                .hint(format!(
                    "the limit `{}` lets {} through in {} s",
                    self.name,
                    rate.burst,
                    seconds(rate.window())
                ));
                Err(error)
            }
        }
    }
}

/// What the limits said of one request, for its answer. Cloning gives the same one.
#[derive(Clone, Default)]
pub struct Standings(Arc<Mutex<(Vec<Standing>, bool)>>);

impl Standings {
    /// Those of this request.
    pub fn of(request: &HttpRequest) -> Standings {
        request.extensions().get::<Standings>().cloned().unwrap_or_default()
    }

    /// The answer shall tell them, whether or not one was exceeded.
    pub fn tell(&self) {
        self.0.lock().1 = true;
    }

    /// Whether one of them was exceeded.
    pub fn exceeded(&self) -> bool {
        self.0.lock().0.iter().any(|standing| standing.wait.is_some())
    }

    fn note(&self, standing: Standing) {
        self.0.lock().0.push(standing);
    }

    /// Puts them into an answer that shall tell them, or that refuses by one of them; says whether it does.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) -> bool {
        let (standings, told) = &*self.0.lock();
        let wait = standings.iter().filter_map(|s| s.wait).max();
        if standings.is_empty() || (!*told && wait.is_none()) {
            return false;
        }
        let list =
            |item: &dyn Fn(&Standing) -> String| standings.iter().map(item).collect::<Vec<_>>().join(", ");
        let policy = list(&|s| format!("\"{}\";q={};w={}", s.name, s.quota, seconds(s.window)));
        let state = list(&|s| format!("\"{}\";r={};t={}", s.name, s.left, seconds(s.whole_in)));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        if let Some(wait) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait).max(1)));
        }
        wait.is_some()
    }
}

/// Whole seconds, rounded up.
fn seconds(span: Duration) -> u64 {
    span.as_millis().div_ceil(1_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_is_told_how_long_to_wait_and_nobody_else_is_held_up() {
        let limiter = Limiter::new("person", Rate::per_second(10, 2));
        let at = Duration::from_millis;
        let ask = |key: &str, now: u64, cost: u32| {
            let standings = Standings::default();
            let result = limiter.take(&key.to_owned(), at(now), cost, &standings);
            let mut headers = HeaderMap::new();
            standings.tell();
            standings.stamp(&mut headers);
            let text =
                |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
            (
                result.map_err(|e| e.kind().status()),
                text("ratelimit"),
                text("ratelimit-policy"),
                text("retry-after"),
            )
        };
        let policy = "\"person\";q=20;w=2".to_owned();
        assert_eq!(ask("a", 0, 1), (Ok(()), "\"person\";r=19;t=1".into(), policy.clone(), String::new()));
        assert_eq!(ask("a", 0, 19), (Ok(()), "\"person\";r=0;t=2".into(), policy.clone(), String::new()));
        assert_eq!(ask("a", 0, 1), (Err(429), "\"person\";r=0;t=1".into(), policy.clone(), "1".into()));
        assert_eq!(ask("a", 100, 20).0, Err(429));
        assert_eq!(ask("b", 100, 20).0, Ok(()));
        assert_eq!(ask("a", 100, 1).0, Ok(()));
        assert_eq!(ask("a", 2_100, 20).0, Ok(()));
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let limiter = Limiter::new("address", Rate::per_second(10, 2));
        for n in 0..limits::RATE_BUCKETS_MAX * 3 {
            limiter.take(&n, Duration::ZERO, 1, &Standings::default()).unwrap();
            assert!(limiter.buckets.lock().count() <= limits::RATE_BUCKETS_MAX);
        }
    }

    #[test]
    fn what_is_left_is_told_where_it_is_asked_for() {
        let limiter = Limiter::new("address", Rate::per_second(1, 1));
        let standings = Standings::default();
        let mut headers = HeaderMap::new();
        standings.stamp(&mut headers);
        limiter.take(&1, Duration::ZERO, 1, &standings).unwrap();
        standings.stamp(&mut headers);
        assert!(headers.is_empty());
        assert!(limiter.take(&1, Duration::ZERO, 1, &standings).is_err());
        standings.stamp(&mut headers);
        assert_eq!(headers.get("retry-after").unwrap(), "1");
        assert_eq!(headers.get("ratelimit").unwrap(), "\"address\";r=0;t=1, \"address\";r=0;t=1");
    }
}
