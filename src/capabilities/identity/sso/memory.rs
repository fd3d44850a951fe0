//! What single sign-on keeps in memory for one site: providers with what they publish, sign-ins on their way, logout tokens
//! that were used, and whom nobody here is linked to.
//!
//! Invariant: losing it loses nothing but sign-ins on their way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::model::{Provider, Settings};
use crate::base::buckets::{Buckets, Rate};
use crate::base::{Error, Result, Secret, SessionId, Timestamp, UserId};
use crate::capabilities::identity::model::Digest;
use crate::engine::outbound::oidc;
use crate::kit::{Ctx, PerSite, Site};

/// Sign-ins that are on their way; the oldest is given up when there are more.
pub(super) const ATTEMPTS_MAX: usize = 2_000;
/// A sign-in must be back within this time.
pub(super) const ATTEMPT_LIFETIME: Duration = Duration::from_secs(600);
/// Logout tokens that are remembered until they end.
const USED_MAX: usize = 10_000;
/// People whom nobody is linked to that are shown.
pub(super) const STRANGERS_MAX: usize = 50;
/// Requests at once that wait for providers: a provider that hangs must not hold every thread.
const ASKING_MAX: usize = 12;
/// Sign-ins that an address may begin at once, and how often one more.
pub(super) const STARTS: Rate = Rate { burst: 60, every: Duration::from_secs(5) };
/// Addresses that are told apart.
const ADDRESSES_MAX: usize = 10_000;

/// A sign-in that is on its way.
pub(super) struct OnTheWay {
    pub(super) provider: String,
    pub(super) attempt: oidc::Attempt,
    /// What the browser's cookie must be.
    pub(super) browser: Digest,
    pub(super) next: String,
    /// Who is signed in and links the account, in which session.
    pub(super) links: Option<(UserId, SessionId)>,
    began: Duration,
}

/// Somebody whom a provider vouched for and whom nobody here is linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    pub(super) provider: String,
    pub(super) subject: String,
    pub(super) called: String,
    pub(super) why: String,
    pub(super) at: Timestamp,
}

/// All of it.
pub(super) struct Memory {
    providers: Mutex<BTreeMap<String, oidc::Provider>>,
    attempts: Mutex<HashMap<String, OnTheWay>>,
    used: Mutex<HashMap<String, Timestamp>>,
    pub(super) strangers: Mutex<VecDeque<Stranger>>,
    pub(super) starts: Mutex<Buckets<String>>,
    asking: Mutex<usize>,
}

impl Memory {
    fn new() -> Memory {
        Memory {
            providers: Mutex::default(),
            attempts: Mutex::default(),
            used: Mutex::default(),
            strangers: Mutex::default(),
            starts: Mutex::new(Buckets::new(STARTS, ADDRESSES_MAX)),
            asking: Mutex::new(0),
        }
    }

    /// The client of an OpenID provider, with what is known of it.
    pub(super) fn client(&self, ctx: &Ctx<'_>, provider: &Provider) -> Result<oidc::Provider> {
        let Settings::Oidc(settings) = &provider.settings else {
            return Err(Error::invalid(format!("`{}` is no OpenID provider", provider.name)));
        };
        if let Some(client) = self.providers.lock().get(&provider.id) {
            return Ok(client.clone());
        }
        let client =
            oidc::Provider::new(settings, secret_of(ctx, &provider.id)?, &ctx.site.egress, &ctx.site.clock)?;
        self.providers.lock().insert(provider.id.clone(), client.clone());
        Ok(client)
    }

    /// A provider was changed: what is known of it is fetched again, and nobody who is on their way comes in.
    pub(super) fn forget(&self, id: &str) {
        self.providers.lock().remove(id);
        self.attempts.lock().retain(|_, one| one.provider != id);
        self.strangers.lock().retain(|one| one.provider != id);
    }

    /// Keeps a sign-in that begins now.
    pub(super) fn begin(
        &self,
        now: Duration,
        provider: &str,
        attempt: &oidc::Attempt,
        browser: Digest,
        next: String,
        links: Option<(UserId, SessionId)>,
    ) {
        let mut attempts = self.attempts.lock();
        attempts.retain(|_, one| now.saturating_sub(one.began) < ATTEMPT_LIFETIME);
        if attempts.len() >= ATTEMPTS_MAX {
            let oldest = attempts.iter().min_by_key(|(_, one)| one.began).map(|(state, _)| state.clone());
            oldest.map(|state| attempts.remove(&state));
        }
        let one = OnTheWay {
            provider: provider.to_owned(),
            attempt: attempt.clone(),
            browser,
            next,
            links,
            began: now,
        };
        attempts.insert(attempt.state.clone(), one);
    }

    /// Takes the sign-in of this state: once, and in the browser that began it.
    pub(super) fn take(&self, now: Duration, state: &str, browser: Digest) -> Option<OnTheWay> {
        let one = self.attempts.lock().remove(state)?;
        let fresh = now.saturating_sub(one.began) < ATTEMPT_LIFETIME;
        (fresh && one.browser == browser).then_some(one)
    }

    #[cfg(test)]
    pub(super) fn on_the_way(&self) -> usize {
        self.attempts.lock().len()
    }

    /// Whether this logout token is used for the first time.
    pub(super) fn first_use(&self, token: String, until: Timestamp, now: Timestamp) -> Result<bool> {
        let mut used = self.used.lock();
        used.retain(|_, end| *end > now);
        if used.len() >= USED_MAX {
            return Err(Error::too_many("too many logout tokens at once"));
        }
        Ok(used.insert(token, until).is_none())
    }

    /// Keeps whom nobody is linked to, for who links.
    pub(super) fn met(&self, stranger: Stranger) {
        let mut strangers = self.strangers.lock();
        strangers.retain(|one| one.provider != stranger.provider || one.subject != stranger.subject);
        strangers.push_front(stranger);
        strangers.truncate(STRANGERS_MAX);
    }

    /// Asks a provider, when not too many are being asked.
    pub(super) fn asking<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        {
            let mut asking = self.asking.lock();
            if *asking >= ASKING_MAX {
                return Err(Error::unavailable("too many people sign in at this moment")
                    .hint("try again in a few seconds; local accounts are not held up"));
            }
            *asking += 1;
        }
        let _turn = Turn(self);
        f()
    }
}

/// Gives the turn back, whatever happens.
struct Turn<'a>(&'a Memory);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.asking.lock() -= 1;
    }
}

/// The secret of a provider.
pub(super) fn secret_of(ctx: &Ctx<'_>, id: &str) -> Result<Option<Secret<String>>> {
    let kept = ctx.site.vault.get(&Provider::vault_name(id))?;
    kept.map(|secret| Ok(Secret::new(String::from_utf8(secret.expose().clone())?))).transpose()
}

static SITES: PerSite<Memory> = PerSite::new();

/// The memory of this site.
pub(super) fn of(site: &Site) -> Arc<Memory> {
    SITES.of(site, Memory::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::Clock;

    #[test]
    fn a_sign_in_comes_back_once_in_its_browser_and_in_time() {
        let (memory, clock) = (Memory::new(), Clock::manual(Timestamp::default(), 1));
        let (mine, other) = (Digest([1; 32]), Digest([2; 32]));
        let begin = |at| {
            let attempt = oidc::Attempt::new(&clock);
            memory.begin(at, "p1", &attempt, mine, "/".into(), None);
            attempt.state
        };
        let at = Duration::from_secs;
        let state = begin(at(0));
        assert!(memory.take(at(1), "nonsense", mine).is_none());
        assert!(memory.take(at(1), &state, other).is_none());
        assert!(memory.take(at(1), &state, mine).is_none(), "a try in another browser uses it up");
        let state = begin(at(0));
        assert!(memory.take(at(599), &state, mine).is_some());
        assert!(memory.take(at(599), &state, mine).is_none(), "once");
        let state = begin(at(0));
        assert!(memory.take(at(600), &state, mine).is_none(), "ten minutes");
        let first = begin(at(1));
        for _ in 0..ATTEMPTS_MAX {
            begin(at(2));
        }
        assert_eq!(memory.on_the_way(), ATTEMPTS_MAX);
        assert!(memory.take(at(3), &first, mine).is_none(), "the oldest goes");
        memory.forget("p1");
        assert_eq!(memory.on_the_way(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let memory = Memory::new();
        let at = Timestamp::from_milliseconds;
        assert!(memory.first_use("a".into(), at(10), at(0)).unwrap());
        assert!(!memory.first_use("a".into(), at(10), at(5)).unwrap());
        for n in 1..USED_MAX {
            memory.first_use(n.to_string(), at(10), at(5)).unwrap();
        }
        assert!(memory.first_use("more".into(), at(10), at(5)).is_err());
        assert!(memory.first_use("more".into(), at(20), at(10)).unwrap(), "what has ended makes room");
        for n in 0..STRANGERS_MAX + 5 {
            let (provider, subject) = ("p".to_owned(), n.to_string());
            memory.met(Stranger { provider, subject, called: "x".into(), why: String::new(), at: at(0) });
        }
        assert_eq!(memory.strangers.lock().len(), STRANGERS_MAX);
        let deep = |memory: &Memory| {
            fn again(memory: &Memory, left: usize) -> Result<()> {
                if left == 0 { Ok(()) } else { memory.asking(|| again(memory, left - 1)) }
            }
            (again(memory, ASKING_MAX), again(memory, ASKING_MAX + 1))
        };
        let (fits, over) = deep(&memory);
        assert!(fits.is_ok() && over.is_err());
        assert!(deep(&memory).0.is_ok(), "turns are given back");
    }
}
