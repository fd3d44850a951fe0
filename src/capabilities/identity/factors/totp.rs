//! Authenticator apps: added with a code, checked with a code, each code once, and how far the phone's clock is off is
//! learned as it drifts.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::model::{LEARNED_LASTS, REACH, REACH_UNKNOWN, Totp, clock_differs};
use super::store::TOTPS;
use crate::base::{Error, Result, Secret, Timestamp, UserId};
use crate::capabilities::identity::memory;
use crate::engine::crypto::{TotpSecret, totp_step};
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Markup, qr};

/// Seconds in which an app must be added.
const PENDING_SECONDS: i64 = 30 * 60;

/// An app that is about to be added.
pub(in crate::capabilities::identity) struct Pending {
    /// What the form gives back: the secret, sealed for this person.
    pub(in crate::capabilities::identity) sealed: String,
    /// The key as text.
    pub(in crate::capabilities::identity) typed: String,
    /// The key for a camera.
    pub(in crate::capabilities::identity) picture: Markup,
}

/// A new secret, or the one that the form gave back. It is nowhere kept until a code of it was shown: the form carries it,
/// sealed for this person and for half an hour.
pub(in crate::capabilities::identity) fn begin(
    ctx: &Ctx<'_>,
    user: UserId,
    login: &str,
    given: Option<&str>,
) -> Result<Pending> {
    let (secret, sealed) =
        match given.and_then(|given| Some((open(ctx, user, given).ok()?, given.to_owned()))) {
            Some(again) => again,
            None => {
                let secret = TotpSecret::new(&ctx.site.clock);
                let mut value = ctx.now.milliseconds().to_be_bytes().to_vec();
                value.extend_from_slice(secret.bytes());
                let sealed = ctx.site.vault.seal(&pending(user), &value)?;
                (secret, data_encoding::BASE64URL_NOPAD.encode(&sealed))
            }
        };
    // The issuer is what the app lists it under; a very long site name would not fit the picture.
    let issuer: String = ctx.site.settings.name().chars().filter(|c| *c != ':').take(40).collect();
    Ok(Pending { sealed, typed: secret.typed(), picture: qr(&secret.uri(&issuer, login))? })
}

fn pending(user: UserId) -> String {
    format!("app to be added for {user}")
}

fn kept(user: UserId) -> String {
    format!("app of {user}")
}

fn open(ctx: &Ctx<'_>, user: UserId, given: &str) -> Result<TotpSecret> {
    let over = || Error::invalid("the key is too old").hint("load the page again and scan the new one");
    let sealed = data_encoding::BASE64URL_NOPAD.decode(given.as_bytes()).map_err(|_| over())?;
    let value = ctx.site.vault.open_sealed(&pending(user), &sealed).map_err(|_| over())?;
    let (made, secret) = value.expose().split_first_chunk::<8>().ok_or_else(over)?;
    let made = Timestamp::from_milliseconds(i64::from_be_bytes(*made));
    if ctx.now.since(made).seconds() as i64 >= PENDING_SECONDS || made > ctx.now {
        return Err(over());
    }
    Ok(TotpSecret::of(Secret::new(secret.to_vec())))
}

/// Adds the app, in an open change, when the code is one of it; says if its clock is off. An earlier app is replaced.
pub(in crate::capabilities::identity) fn confirm(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: UserId,
    given: &str,
    code: &str,
) -> Result<Option<String>> {
    let secret = open(ctx, user, given)?;
    let now = totp_step(ctx.now);
    let step = secret.find(code, now, REACH_UNKNOWN).ok_or_else(|| wrong(ctx))?;
    let offset = step as i64 - now as i64;
    let totp = Totp {
        sealed: ctx.site.vault.seal(&kept(user), secret.bytes())?,
        added: ctx.now,
        last: step,
        offset,
        last_used: ctx.now,
    };
    change.tx.put(&TOTPS, &(ctx.tenant, user), &totp)?;
    change.tell("identity.totp_added", user, json!({ "clock_steps": offset }));
    Ok(clock_differs(offset).map(|text| advice(ctx, &text)))
}

/// Checks a code and uses it up, in an open change; says if the phone's clock is off.
pub(in crate::capabilities::identity) fn spend(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: UserId,
    code: &str,
) -> Result<Option<String>> {
    let totp = change.tx.get(&TOTPS, &(ctx.tenant, user))?.ok_or_else(|| wrong(ctx))?;
    let secret = TotpSecret::of(ctx.site.vault.open_sealed(&kept(user), &totp.sealed)?);
    let now = totp_step(ctx.now);
    let middle = now.saturating_add_signed(totp.offset);
    let reach = if ctx.now.since(totp.last_used) < LEARNED_LASTS { REACH } else { REACH_UNKNOWN };
    let step = match secret.find(code, middle, reach) {
        Some(step) => step,
        None => jumped(ctx, user, &secret, code, now)?,
    };
    if step <= totp.last {
        return Err(Error::invalid("this code was used already").hint("wait for the app's next one"));
    }
    let offset = step as i64 - now as i64;
    let totp = Totp { last: step, offset, last_used: ctx.now, ..totp };
    change.tx.put(&TOTPS, &(ctx.tenant, user), &totp)?;
    Ok(clock_differs(offset).map(|text| advice(ctx, &text)))
}

/// A code of a clock that is not where it was, phone's or server's: two such codes in a row teach where it is now, as
/// RFC 6238 (section 6) has it. The first is refused, and says so.
fn jumped(ctx: &Ctx<'_>, user: UserId, secret: &TotpSecret, code: &str, now: u64) -> Result<u64> {
    let step = secret.find(code, now, REACH_UNKNOWN).ok_or_else(|| wrong(ctx))?;
    let offset = step as i64 - now as i64;
    if memory::of(ctx.site).jumps.follows(user, offset, step, ctx.site.clock.monotonic()) {
        return Ok(step);
    }
    let text =
        clock_differs(offset).unwrap_or_else(|| "the clocks have moved since the last code".to_owned());
    let hint = "type the app's next code too, and this server learns it; better set the wrong clock right";
    Err(Error::invalid(text).hint(advice(ctx, hint)))
}

/// First codes of clocks that have moved, by person.
#[derive(Default)]
pub(in crate::capabilities::identity) struct Jumps(Mutex<HashMap<UserId, Jump>>);

struct Jump {
    offset: i64,
    step: u64,
    until: Duration,
}

/// The second code must come so soon.
const JUMP_LASTS: Duration = Duration::from_secs(5 * 60);
/// Clocks that are about to be learned.
const JUMPS_MAX: usize = 1_000;

impl Jumps {
    /// Whether this code follows another one of the same clock; if not, it may be the first of two.
    fn follows(&self, user: UserId, offset: i64, step: u64, now: Duration) -> bool {
        let mut jumps = self.0.lock();
        jumps.retain(|_, jump| jump.until > now);
        let second = jumps
            .remove(&user)
            .is_some_and(|first| first.offset.abs_diff(offset) <= REACH && step > first.step);
        if !second && jumps.len() < JUMPS_MAX {
            jumps.insert(user, Jump { offset, step, until: now + JUMP_LASTS });
        }
        second
    }
}

fn wrong(ctx: &Ctx<'_>) -> Error {
    let hint = "type the six digits that the app shows now";
    Error::invalid("the code is wrong").hint(advice(ctx, hint))
}

/// With the one clock that a person can compare with.
fn advice(ctx: &Ctx<'_>, text: &str) -> String {
    format!("{text}; this server's clock says {}", ctx.now.format("%H:%M:%S UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_have_moved_are_learned_by_two_codes_and_bounded() {
        let (jumps, at) = (Jumps::default(), Duration::from_secs);
        let user = UserId::from_bits;
        assert!(!jumps.follows(user(1), 5, 100, at(0)));
        assert!(!jumps.follows(user(1), 5, 100, at(1)), "the same code is no second one");
        assert!(!jumps.follows(user(1), 8, 103, at(2)), "of another clock");
        assert!(jumps.follows(user(1), 7, 104, at(3)));
        assert!(!jumps.follows(user(1), 7, 105, at(4)), "learned once");
        assert!(!jumps.follows(user(1), 7, 106, at(400)), "too late");
        for n in 2..2 * JUMPS_MAX as u128 {
            jumps.follows(user(n), 5, 100, at(400));
        }
        assert_eq!(jumps.0.lock().len(), JUMPS_MAX);
    }
}
