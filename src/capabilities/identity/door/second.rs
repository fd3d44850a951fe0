//! The second step of a sign-in, and a passkey that needs no first one.

use serde_json::{Value, json};

use super::attempts::{self, Attempt};
use super::{address, enter, take};
use crate::base::{Error, Kind, Result, UserId};
use crate::capabilities::identity::factors::{self, Asks, Means, Step};
use crate::capabilities::identity::model::User;
use crate::capabilities::identity::store::USERS;
use crate::capabilities::identity::{memory, sso};
use crate::engine::store::Read;
use crate::kit::{Change, Ctx};

/// What somebody shows or adds in the second step.
pub(super) enum Second<'a> {
    /// A code of their app.
    Code(&'a str),
    /// A recovery code.
    Recovery(&'a str),
    /// A passkey's answer.
    Passkey(&'a str),
    /// An app that is added: the sealed key and a code of it.
    AddTotp { sealed: &'a str, code: &'a str },
    /// A passkey that is added: its name and the answer.
    AddPasskey { name: &'a str, answer: &'a str },
}

/// Somebody who is in, and where they want to go.
pub(super) struct In {
    pub(super) cookie: String,
    pub(super) next: String,
    /// What they should know: their phone's clock is off, few codes are left.
    pub(super) note: Option<String>,
}

/// The attempt with its person, and what is left to do.
pub(super) fn look(ctx: &Ctx<'_>, text: &str) -> Result<(Attempt, User, Step)> {
    let attempt = attempts::look(ctx, text)?;
    let read = ctx.read()?;
    let user: User =
        read.get(&USERS, &(attempt.tenant, attempt.user))?.filter(User::is_active).ok_or_else(over)?;
    still_stands(&read, &attempt, &user)?;
    let step = factors::step(&read, attempt.tenant, &user)?;
    Ok((attempt, user, step))
}

fn over() -> Error {
    Error::unauthenticated("this sign-in is over").hint("begin again")
}

/// What was shown first counts as long as it would count now.
fn still_stands(read: &impl Read, attempt: &Attempt, user: &User) -> Result<()> {
    let proven = match &attempt.proof {
        Some(proof) => sso::still_proves(read, attempt.tenant, user.id, proof)?,
        None => true,
    };
    if proven && user.password == attempt.password { Ok(()) } else { Err(over()) }
}

/// Goes through the second step; the attempt ends with it.
pub(super) fn finish(ctx: &Ctx<'_>, text: &str, second: &Second<'_>) -> Result<In> {
    let (attempt, user, step) = look(ctx, text)?;
    let ctx = &ctx.within(attempt.tenant);
    let adds = matches!(second, Second::AddTotp { .. } | Second::AddPasskey { .. });
    // Whoever has a factor must show it: nobody gets round it by adding another one.
    if adds != (step == Step::Enrol) {
        return Err(Error::conflict("that is not what is asked for").hint("begin again"));
    }
    let memory = memory::of(ctx.site);
    let pair = (address(&ctx.request.from), user.login.clone());
    take(&memory.factors, &pair, ctx)?;
    take(&memory.addresses, &pair.0, ctx)?;
    if matches!(second, Second::Code(_)) {
        take_code(ctx, user.id)?;
    }
    let done = step_in(ctx, &attempt, &user, second);
    match &done {
        Ok(_) => {
            memory.factors.lock().clear(&pair);
            memory.pairs.lock().clear(&pair);
            memory.addresses.lock().give_back(&pair.0);
            give_code_back(ctx, user.id, second);
        }
        Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Forbidden) => {
            attempts::failed(ctx, &attempt)
        }
        Err(_) => {
            memory.factors.lock().give_back(&pair);
            memory.addresses.lock().give_back(&pair.0);
            give_code_back(ctx, user.id, second);
        }
    }
    done
}

/// A try of the app's codes, counted for the account wherever it comes from.
pub(in crate::capabilities::identity) fn take_code(ctx: &Ctx<'_>, user: UserId) -> Result<()> {
    let memory = memory::of(ctx.site);
    memory.codes.lock().take(&user, ctx.site.clock.monotonic()).map_err(|wait| {
        Error::too_many(format!("too many wrong app codes; wait {} s", wait.as_secs() + 1)).hint(
            "a passkey or a recovery code works at once; whoever types them knows your password: change it",
        )
    })
}

fn give_code_back(ctx: &Ctx<'_>, user: UserId, second: &Second<'_>) {
    if matches!(second, Second::Code(_)) {
        memory::of(ctx.site).codes.lock().give_back(&user);
    }
}

fn step_in(ctx: &Ctx<'_>, attempt: &Attempt, user: &User, second: &Second<'_>) -> Result<In> {
    let asks = Asks::Attempt(attempt.digest);
    let means = match second {
        Second::Code(_) | Second::AddTotp { .. } => Means::Totp,
        Second::Recovery(_) => Means::RecoveryCode,
        Second::Passkey(_) | Second::AddPasskey { .. } => Means::Passkey,
    };
    let held = match second {
        Second::Passkey(answer) => Some(factors::held(ctx, Some(user.id), asks, answer)?),
        _ => None,
    };
    let mut note = None;
    let check = |change: &mut Change<'_>, now: &mut User| -> Result<Value> {
        still_stands(&*change.tx, attempt, now)?;
        let mut detail = json!({});
        match second {
            Second::Code(code) => note = factors::spend_totp(ctx, change, now.id, code)?,
            Second::Recovery(code) => {
                let left = factors::spend_code(ctx, change, now.id, code)?;
                note = Some(format!(
                    "{left} recovery codes are left; make new ones when you have your phone again"
                ));
            }
            Second::Passkey(_) => {
                if let Some(held) = &held {
                    detail = factors::spend_passkey(ctx, change, held)?;
                }
            }
            Second::AddTotp { sealed, code } => {
                note = factors::confirm_totp(ctx, change, now.id, sealed, code)?;
            }
            Second::AddPasskey { name, answer } => {
                factors::add_passkey(ctx, change, now.id, asks, name, answer)?;
            }
        }
        attempts::end(ctx, attempt)?;
        Ok(detail)
    };
    let cookie =
        enter(ctx, user.id, "identity.sign_in", &[attempt.shown, means], attempt.proof.as_ref(), check)?;
    let next = match second {
        // Codes for the day on which it is lost belong to it.
        Second::AddTotp { .. } | Second::AddPasskey { .. } => "/account/factors".to_owned(),
        _ => attempt.next.clone(),
    };
    Ok(In { cookie, next, note })
}

/// Signs in by a passkey alone, which says itself whose it is. It must have asked for a PIN or a finger.
pub(super) fn sign_in_by_passkey(ctx: &Ctx<'_>, answer: &str) -> Result<String> {
    let memory = memory::of(ctx.site);
    let address = address(&ctx.request.from);
    take(&memory.addresses, &address, ctx)?;
    let ctx = &ctx.within(factors::tenant_of(ctx, answer)?);
    let held = factors::held(ctx, None, Asks::SignIn, answer)?;
    let active = ctx.read()?.get(&USERS, &(ctx.tenant, held.user))?.is_some_and(|user| user.is_active());
    if !active {
        // The same as for a passkey of nobody.
        return Err(Error::invalid("this passkey is not known here")
            .hint("sign in with your password, and add it to your account"));
    }
    let cookie = enter(ctx, held.user, "identity.sign_in", &[Means::Passkey], None, |change, _| {
        factors::spend_passkey(ctx, change, &held)
    })?;
    memory.addresses.lock().give_back(&address);
    Ok(cookie)
}

/// A try of one's app code by who is signed in, as slowly as at the door.
pub(in crate::capabilities::identity) fn take_factor(ctx: &Ctx<'_>, user: &User) -> Result<()> {
    let pair = (address(&ctx.request.from), user.login.clone());
    take(&memory::of(ctx.site).factors, &pair, ctx)?;
    take_code(ctx, user.id)
}

/// It was right.
pub(in crate::capabilities::identity) fn clear_factor(ctx: &Ctx<'_>, user: &User) {
    let memory = memory::of(ctx.site);
    memory.factors.lock().clear(&(address(&ctx.request.from), user.login.clone()));
    memory.codes.lock().give_back(&user.id);
}

/// The attempt with this text, for tests.
#[cfg(test)]
pub(in crate::capabilities::identity) fn attempt_of(
    ctx: &Ctx<'_>,
    text: &str,
) -> Result<crate::capabilities::identity::model::Digest> {
    attempts::look(ctx, text).map(|attempt| attempt.digest)
}
