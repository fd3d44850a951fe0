//! Challenges for passkeys. A challenge says itself what it is for and until when, under a key that this process made, so
//! nobody can fill the memory by asking for many; only those that were used are remembered, until they are over.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::{Error, Result, SessionId};
use crate::capabilities::identity::model::Digest;
use crate::kit::Site;

/// A challenge is good for so long.
pub(super) const LASTS: Duration = Duration::from_secs(5 * 60);
/// Used challenges that are remembered.
const USED_MAX: usize = 10_000;
const NONCE_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 32;

/// What a challenge is for, and whom it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capabilities::identity) enum Asks {
    /// To sign in without a name.
    SignIn,
    /// To add a passkey to who is signed in.
    Add(SessionId),
    /// To show again who is signed in.
    Again(SessionId),
    /// To go on with a half sign-in: by a passkey that is there, or by adding one.
    Attempt(Digest),
}

impl Asks {
    fn text(self) -> String {
        match self {
            Asks::SignIn => "sign in".to_owned(),
            Asks::Add(session) => format!("add {session}"),
            Asks::Again(session) => format!("again {session}"),
            Asks::Attempt(digest) => format!("attempt {}", data_encoding::HEXLOWER.encode(&digest.0)),
        }
    }
}

/// The used ones.
#[derive(Default)]
pub(in crate::capabilities::identity) struct Used(Mutex<HashMap<[u8; NONCE_BYTES], Duration>>);

impl Used {
    /// Uses one up.
    fn spend(&self, nonce: [u8; NONCE_BYTES], until: Duration, now: Duration) -> Result<()> {
        let mut used = self.0.lock();
        if used.len() >= USED_MAX {
            used.retain(|_, until| *until > now);
        }
        if used.len() >= USED_MAX {
            return Err(Error::unavailable("too many people sign in at this moment")
                .hint("try again in a few minutes, or use your password"));
        }
        match used.insert(nonce, until) {
            None => Ok(()),
            Some(_) => Err(over()),
        }
    }
}

fn over() -> Error {
    Error::invalid("the passkey's challenge is over").hint("it is good once and for five minutes; try again")
}

/// A new one.
pub(super) fn make(site: &Site, asks: Asks) -> Vec<u8> {
    let until = site.clock.monotonic() + LASTS;
    let mut bytes = site.clock.random::<NONCE_BYTES>().to_vec();
    bytes.extend_from_slice(&(until.as_millis() as u64).to_be_bytes());
    let mac = mac(site, asks, &bytes);
    bytes.extend_from_slice(mac.as_bytes());
    bytes
}

/// Whether it is one of ours, for this, and not over.
pub(super) fn check(site: &Site, used: &Used, asks: Asks, bytes: &[u8]) -> Result<Ours> {
    let Some((said, given)) = bytes.split_last_chunk::<MAC_BYTES>() else { return Err(over()) };
    let Ok(said) = <[u8; NONCE_BYTES + TIME_BYTES]>::try_from(said) else { return Err(over()) };
    // Hashes compare in constant time.
    if mac(site, asks, &said) != blake3::Hash::from_bytes(*given) {
        return Err(over());
    }
    let (nonce, time) = said.split_at(NONCE_BYTES);
    let (Ok(nonce), Ok(time)) = (<[u8; NONCE_BYTES]>::try_from(nonce), time.try_into()) else {
        return Err(over());
    };
    let until = Duration::from_millis(u64::from_be_bytes(time));
    if until <= site.clock.monotonic() || used.0.lock().contains_key(&nonce) {
        return Err(over());
    }
    Ok(Ours { nonce, until })
}

/// A challenge that is ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ours {
    nonce: [u8; NONCE_BYTES],
    until: Duration,
}

impl Ours {
    /// Uses it up.
    pub(super) fn spend(&self, used: &Used, site: &Site) -> Result<()> {
        used.spend(self.nonce, self.until, site.clock.monotonic())
    }
}

fn mac(site: &Site, asks: Asks, said: &[u8]) -> blake3::Hash {
    let key = blake3::derive_key("muster 2026 passkey challenge", &site.csrf_key);
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(said);
    hasher.update(asks.text().as_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;
    use crate::capabilities::identity::tests as identity;

    #[test]
    fn a_challenge_works_once_for_one_thing_and_five_minutes() {
        let (site, _folder) = identity::site();
        let (mine, theirs) = (SessionId::from_bits(1), SessionId::from_bits(2));
        let bytes = make(&site, Asks::Add(mine));
        let used = Used::default();
        let check = |asks, bytes: &[u8]| check(&site, &used, asks, bytes);
        let ours = check(Asks::Add(mine), &bytes).unwrap();
        for asks in [Asks::Add(theirs), Asks::Again(mine), Asks::SignIn, Asks::Attempt(Digest([1; 32]))] {
            assert!(check(asks, &bytes).is_err(), "{asks:?}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(check(Asks::Add(mine), &bad).is_err(), "byte {at}");
            assert!(check(Asks::Add(mine), &bytes[..at]).is_err(), "{at} bytes");
        }
        ours.spend(&used, &site).unwrap();
        assert!(ours.spend(&used, &site).is_err() && check(Asks::Add(mine), &bytes).is_err(), "once");
        let bytes = make(&site, Asks::Add(mine));
        assert!(check(Asks::Add(mine), &bytes).is_ok());
        site.clock.advance(Span::from_minutes(5));
        assert!(check(Asks::Add(mine), &bytes).is_err(), "five minutes");
    }

    #[test]
    fn what_was_used_is_bounded_and_forgotten_in_time() {
        let used = Used::default();
        let (now, until) = (Duration::from_secs(1), Duration::from_secs(10));
        let nonce = |n: usize| (n as u128).to_be_bytes();
        for n in 0..USED_MAX {
            used.spend(nonce(n), until, now).unwrap();
        }
        assert!(used.spend(nonce(USED_MAX), until, now).is_err());
        assert!(used.spend(nonce(USED_MAX), until, until).is_ok(), "those are over");
    }
}
