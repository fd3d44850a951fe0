//! Half sign-ins: somebody has shown a password or a link, and must show or add a second factor.
//!
//! Invariant: an attempt is no session: whoever has its text may go on with it, and nothing else.
//! Invariant: it lives in memory for five minutes, for a few tries, and only who has shown a password can make one, so
//! there are few, and they are bounded for each person.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::{Error, Result, TenantId, UserId};
use crate::capabilities::identity::factors::{CODE_TRIES, Means};
use crate::capabilities::identity::memory;
use crate::capabilities::identity::model::{Digest, User};
use crate::capabilities::identity::sso::Proof;
use crate::engine::crypto::well_formed;
use crate::kit::Ctx;

/// First letters of an attempt's text.
const PREFIX: &str = "msh";
/// An attempt lasts so long.
const LASTS: Duration = Duration::from_secs(5 * 60);
/// Attempts at once; the oldest goes when one more begins.
const ATTEMPTS_MAX: usize = 2_000;
/// Attempts of one person at once.
const ATTEMPTS_PER_USER_MAX: usize = 10;

/// A half sign-in.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Its digest, to which challenges are bound.
    pub(super) digest: Digest,
    /// Of which tenant.
    pub(super) tenant: TenantId,
    /// Who.
    pub(super) user: UserId,
    /// Their password's hash at that moment: when it changes, the attempt is over.
    pub(super) password: Option<String>,
    /// What they have shown.
    pub(super) shown: Means,
    /// The provider that proved them, if one did.
    pub(super) proof: Option<Proof>,
    /// Where they want to go.
    pub(super) next: String,
    until: Duration,
    tries: u8,
}

/// All of them.
#[derive(Default)]
pub(in crate::capabilities::identity) struct Attempts(HashMap<Digest, Attempt>);

impl Attempts {
    fn add(&mut self, attempt: Attempt, now: Duration) {
        self.0.retain(|_, other| other.until > now);
        let mine = self.0.values().filter(|other| other.user == attempt.user).count();
        let crowded = mine >= ATTEMPTS_PER_USER_MAX;
        if crowded || self.0.len() >= ATTEMPTS_MAX {
            let candidates = self.0.values().filter(|other| !crowded || other.user == attempt.user);
            if let Some(oldest) = candidates.min_by_key(|other| other.until).map(|other| other.digest) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(attempt.digest, attempt);
    }

    fn look(&self, digest: &Digest, now: Duration) -> Option<&Attempt> {
        self.0.get(digest).filter(|attempt| attempt.until > now)
    }
}

/// Begins one; gives its text, of which only the digest is kept.
pub(super) fn begin(ctx: &Ctx<'_>, user: &User, shown: Means, next: &str, proof: Option<Proof>) -> String {
    let (text, digest) = Digest::token(PREFIX, &ctx.site.clock);
    let now = ctx.site.clock.monotonic();
    let attempt = Attempt {
        digest,
        tenant: ctx.tenant,
        user: user.id,
        password: user.password.clone(),
        shown,
        proof,
        next: next.to_owned(),
        until: now + LASTS,
        tries: 0,
    };
    memory::of(ctx.site).attempts.lock().add(attempt, now);
    text
}

/// The attempt with this text.
pub(super) fn look(ctx: &Ctx<'_>, text: &str) -> Result<Attempt> {
    let over = || Error::unauthenticated("this sign-in is over").hint("begin again");
    if !well_formed(text) || !text.starts_with(PREFIX) {
        return Err(over());
    }
    let memory = memory::of(ctx.site);
    let attempts = memory.attempts.lock();
    attempts.look(&Digest::of(text), ctx.site.clock.monotonic()).cloned().ok_or_else(over)
}

/// A try of it has failed; after a few it is over.
pub(super) fn failed(ctx: &Ctx<'_>, attempt: &Attempt) {
    let memory = memory::of(ctx.site);
    let mut attempts = memory.attempts.lock();
    if let Some(kept) = attempts.0.get_mut(&attempt.digest) {
        kept.tries += 1;
        if kept.tries >= CODE_TRIES {
            attempts.0.remove(&attempt.digest);
        }
    }
}

/// Takes it away, once; an error when somebody else was faster.
pub(super) fn end(ctx: &Ctx<'_>, attempt: &Attempt) -> Result<()> {
    let gone = memory::of(ctx.site).attempts.lock().0.remove(&attempt.digest);
    gone.map(|_| ()).ok_or_else(|| Error::unauthenticated("this sign-in is over").hint("begin again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded_for_all_and_for_each() {
        let mut attempts = Attempts::default();
        let at = Duration::from_secs;
        let attempt = |n: u64, user: u128| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            Attempt {
                digest: Digest(digest),
                tenant: TenantId::from_bits(1),
                user: UserId::from_bits(user),
                password: None,
                shown: Means::Password,
                proof: None,
                next: "/".into(),
                until: at(1_000_000 + n),
                tries: 0,
            }
        };
        for n in 0..30 {
            attempts.add(attempt(n, 7), at(0));
        }
        assert_eq!(attempts.0.len(), ATTEMPTS_PER_USER_MAX);
        assert!(attempts.look(&attempt(29, 7).digest, at(0)).is_some());
        for n in 100..100 + 2 * ATTEMPTS_MAX as u64 {
            attempts.add(attempt(n, u128::from(n)), at(0));
            assert!(attempts.0.len() <= ATTEMPTS_MAX);
        }
        attempts.add(attempt(1, 1), at(9_000_000));
        assert_eq!(attempts.0.len(), 1, "what is over goes");
    }
}
