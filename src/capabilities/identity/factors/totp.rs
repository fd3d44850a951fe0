//! Authenticator apps: added with a code, checked with a code, each code once, and how far the phone's clock is off is
//! learned as it drifts.

use serde_json::json;

use super::model::{LEARNED_LASTS, REACH, REACH_UNKNOWN, Totp, clock_differs};
use super::store::TOTPS;
use crate::base::{Error, Result, Secret, Timestamp, UserId};
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
    let Some(step) = secret.find(code, middle, reach) else {
        return Err(match secret.find(code, now, REACH_UNKNOWN) {
            Some(step) => {
                let offset = step as i64 - now as i64;
                let text = clock_differs(offset).unwrap_or_else(|| "the code is too old".to_owned());
                let hint = advice(ctx, "set both clocks right, or wait for the next code");
                Error::invalid(text).hint(hint)
            }
            None => wrong(ctx),
        });
    };
    if step <= totp.last {
        return Err(Error::invalid("this code was used already").hint("wait for the app's next one"));
    }
    let offset = step as i64 - now as i64;
    let totp = Totp { last: step, offset, last_used: ctx.now, ..totp };
    change.tx.put(&TOTPS, &(ctx.tenant, user), &totp)?;
    Ok(clock_differs(offset).map(|text| advice(ctx, &text)))
}

fn wrong(ctx: &Ctx<'_>) -> Error {
    let hint = "type the six digits that the app shows now";
    Error::invalid("the code is wrong").hint(advice(ctx, hint))
}

/// With the one clock that a person can compare with.
fn advice(ctx: &Ctx<'_>, text: &str) -> String {
    format!("{text}; this server's clock says {}", ctx.now.format("%H:%M:%S UTC"))
}
