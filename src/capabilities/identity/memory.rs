//! What identity keeps in memory for one site: last uses, buckets, and how many passwords are hashed at once.
//!
//! Invariant: losing it loses nothing but the exact minute of a last use and the waits of who guesses.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::door::attempts::Attempts;
use super::factors::{Jumps, Used};
use super::model::Digest;
use crate::base::buckets::{Buckets, Rate};
use crate::base::{Error, Result, Span, Timestamp, UserId};
use crate::kit::{PerSite, Places, Site};

/// Buckets of one kind.
const BUCKETS_MAX: usize = 10_000;
/// Last uses that are remembered.
const USES_MAX: usize = 20_000;
/// Passwords that are hashed at once: each takes 19 MiB and a processor.
const HASHING_MAX: usize = 2;
/// Requests that wait for their turn.
const HASHING_WAITING_MAX: usize = 16;
/// Last uses are written down once in so long.
const USE_STEP: Span = Span::from_minutes(1);

/// All of it.
pub(super) struct Memory {
    /// Whether an owner is known to exist; once true it stays true.
    pub(super) set_up: AtomicBool,
    /// Failures by address and account.
    pub(super) pairs: Mutex<Buckets<(String, String)>>,
    /// Failures by address.
    pub(super) addresses: Mutex<Buckets<String>>,
    /// Failures that are written into the audit log.
    pub(super) told: Mutex<(Buckets<()>, u64)>,
    /// Tenants of sessions and keys, by digest.
    pub(super) places: Places<Digest>,
    /// Last uses of sessions and keys, by digest.
    pub(super) uses: Uses<Digest>,
    /// Failures of second factors, by address and account. Apart from `pairs`: a right password clears those.
    pub(super) factors: Mutex<Buckets<(String, String)>>,
    /// Wrong app codes by account, from wherever they come.
    pub(super) codes: Mutex<Buckets<UserId>>,
    /// Half sign-ins.
    pub(super) attempts: Mutex<Attempts>,
    /// Clocks of apps that have moved.
    pub(super) jumps: Jumps,
    /// Challenges of passkeys that were used.
    pub(super) challenges: Used,
    /// Passwords that were hashed or checked.
    pub(super) hashed: AtomicU64,
    hashing: Mutex<(usize, usize)>,
    free: Condvar,
}

impl Memory {
    fn new() -> Memory {
        let rate = |burst, seconds| Rate { burst, every: Duration::from_secs(seconds) };
        Memory {
            set_up: AtomicBool::new(false),
            pairs: Mutex::new(Buckets::new(rate(5, 60), BUCKETS_MAX)),
            addresses: Mutex::new(Buckets::new(rate(30, 10), BUCKETS_MAX)),
            told: Mutex::new((Buckets::new(rate(20, 15), 1), 0)),
            places: Places::default(),
            uses: Uses(RwLock::default()),
            factors: Mutex::new(Buckets::new(rate(5, 60), BUCKETS_MAX)),
            // A hundred, then one in five minutes: of a million codes three are right at any time.
            codes: Mutex::new(Buckets::new(rate(100, 300), BUCKETS_MAX)),
            attempts: Mutex::default(),
            jumps: Jumps::default(),
            challenges: Used::default(),
            hashed: AtomicU64::new(0),
            hashing: Mutex::new((0, 0)),
            free: Condvar::new(),
        }
    }

    /// Runs `f`, which hashes a password, when it is its turn.
    pub(super) fn hashing<T>(&self, f: impl FnOnce() -> T) -> Result<T> {
        let mut state = self.hashing.lock();
        if state.0 >= HASHING_MAX {
            if state.1 >= HASHING_WAITING_MAX {
                return Err(Error::unavailable("too many people sign in at this moment")
                    .hint("try again in a few seconds"));
            }
            state.1 += 1;
            while state.0 >= HASHING_MAX {
                self.free.wait(&mut state);
            }
            state.1 -= 1;
        }
        state.0 += 1;
        drop(state);
        let _turn = Turn(self);
        self.hashed.fetch_add(1, Ordering::Relaxed);
        Ok(f())
    }
}

/// Gives the turn back, whatever happens.
struct Turn<'a>(&'a Memory);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.hashing.lock().0 -= 1;
        self.0.free.notify_one();
    }
}

/// When something was last used, by its digest.
pub(super) struct Uses<K>(RwLock<HashMap<K, Timestamp>>);

impl<K: Hash + Eq> Uses<K> {
    /// The later of what is stored and what is remembered.
    pub(super) fn last(&self, key: &K, stored: Timestamp) -> Timestamp {
        self.0.read().get(key).copied().unwrap_or(stored).max(stored)
    }

    /// Notes a use; true when it is time to write it down.
    pub(super) fn note(&self, key: K, last: Timestamp, now: Timestamp) -> bool {
        if now.since(last) < USE_STEP {
            return false;
        }
        let mut uses = self.0.write();
        if uses.len() >= USES_MAX {
            uses.clear();
        }
        uses.insert(key, now);
        true
    }

    /// Forgets it.
    pub(super) fn forget(&self, key: &K) {
        self.0.write().remove(key);
    }
}

static SITES: PerSite<Memory> = PerSite::new();

/// The memory of this site.
pub(super) fn of(site: &Site) -> Arc<Memory> {
    SITES.of(site, Memory::new)
}
