//! The console as another person sees it: their reads, in one's own session, and no write.
//!
//! Invariant: nobody sees by it what they may not see themselves: whoever looks has all that the other has.
//! Invariant: while somebody looks as another, they change nothing, neither theirs nor their own.

use serde_json::json;

use super::model::{Session, User};
use super::store::{self, SESSIONS, USERS};
use super::{own_session, roles};
use crate::base::{Error, Result, SessionId, TenantId, Timestamp, UserId, kind};
use crate::engine::store::{Read, Tx};
use crate::kit::{ById, Ctx, Nothing, Rights};

/// What a session gives at this moment: the person's own rights, or what they look at.
pub(super) fn rights(
    read: &impl Read,
    tenant: TenantId,
    session: &Session,
    user: &User,
    now: Timestamp,
) -> Result<Rights> {
    let own = roles::rights(read, tenant, &user.grants, now)?;
    let Some(other) = session.looks_as else { return Ok(own) };
    // Whoever went or rose meanwhile is not looked at any more.
    let Some(other) = read.get(&USERS, &(tenant, other))?.filter(User::is_active) else { return Ok(own) };
    let theirs = roles::rights(read, tenant, &other.grants, now)?;
    let all = theirs.grants.iter().all(|one| own.include(&one.permissions, &one.scope));
    Ok(if all { Rights { looks_as: Some(other.name.to_string()), ..theirs } } else { own })
}

/// Looks at the console as another person from now on, in this session.
pub(super) fn look_as(ctx: &Ctx<'_>, input: ById<kind::User>) -> Result<Nothing> {
    let permit = ctx.require("identity.look_as")?;
    let (me, session, _) = own_session(ctx)?;
    if input.id == me {
        return Err(Error::invalid("you are yourself already").hint("choose somebody else"));
    }
    permit.write(|change| {
        let other = change
            .tx
            .get(&USERS, &(ctx.tenant, input.id))?
            .filter(User::is_active)
            .ok_or_else(|| Error::not_found("user", input.id))?;
        roles::may_act_on(ctx, &*change.tx, &other)?;
        set(ctx, change.tx, me, session, Some(other.id))?;
        change.tell("identity.looked_as", other.id, json!({ "login": other.login }));
        Ok(Nothing {})
    })
}

/// Is oneself again.
pub(super) fn look_back(ctx: &Ctx<'_>, _: Nothing) -> Result<Nothing> {
    let (me, session, raised) = own_session(ctx)?;
    raised.require("identity.look_back")?.write(|change| {
        set(ctx, change.tx, me, session, None)?;
        change.tell("identity.looked_back", me, json!({}));
        Ok(Nothing {})
    })
}

fn set(ctx: &Ctx<'_>, tx: &mut Tx, me: UserId, id: SessionId, other: Option<UserId>) -> Result<()> {
    let there = store::sessions(tx, ctx.tenant, me)?;
    let Some((digest, session)) = there.into_iter().find(|(_, session)| session.id == id) else {
        return Err(Error::not_found("session", id));
    };
    tx.put(&SESSIONS, &(ctx.tenant, digest), &Session { looks_as: other, ..session })
}
