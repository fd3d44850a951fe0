//! Sessions of browsers: begun by the door, checked at every request, ended by their owner, by time or by an owner.

use std::sync::Arc;

use super::factors::{self, Means, Policy};
use super::model::{Digest, Session, SessionView, User};
use super::store::{self, SESSIONS, SESSIONS_BY_USER, USERS};
use super::{browser, look, memory, own, own_session};
use crate::base::{Error, Page, Result, SessionId, TenantId, Timestamp, UserId, limits};
use crate::engine::crypto::well_formed;
use crate::engine::store::Read;
use crate::kit::{Actor, ById, Change, Ctx, Nothing, Site};

/// Name of the session's cookie, without the prefix that the surface adds.
pub const COOKIE: &str = "muster";
/// First letters of the cookie's value.
const PREFIX: &str = "mss";

/// Who is behind this cookie, if the session lives and the person may sign in.
///
/// It reads the state of this moment, so a revoked session and a disabled person are out with the next request.
pub fn session_actor(site: &Site, cookie: &str, now: Timestamp) -> Result<Option<(TenantId, Actor)>> {
    let Some(found) = find(site, cookie, now)? else { return Ok(None) };
    let (tenant, digest, memory) = (found.tenant, found.digest, memory::of(site));
    if memory.uses.note(digest, found.used, now) {
        let ctx = Ctx::system(site, tenant, "identity.session");
        // Nobody waits for it, and a full disk shuts nobody out: without it only the last minute of use is lost.
        let noted = ctx.require("identity.use")?.submit(|change| {
            if let Some(session) = change.tx.get(&SESSIONS, &(tenant, digest))? {
                change.tx.put(&SESSIONS, &(tenant, digest), &Session { used: now, ..session })?;
            }
            Ok(())
        });
        if let Err(error) = noted {
            tracing::debug!("the use of a session was not noted: {error}");
        }
    }
    Ok(Some((tenant, found.actor)))
}

/// Who is behind this cookie, as [`session_actor`] says, but without use: a page that is open and updates itself keeps
/// no session alive.
pub fn session_watcher(site: &Site, cookie: &str, now: Timestamp) -> Result<Option<(TenantId, Actor)>> {
    Ok(find(site, cookie, now)?.map(|found| (found.tenant, found.actor)))
}

/// A session that lives.
struct Found {
    tenant: TenantId,
    digest: Digest,
    used: Timestamp,
    actor: Actor,
}

fn find(site: &Site, cookie: &str, now: Timestamp) -> Result<Option<Found>> {
    if !well_formed(cookie) {
        return Ok(None);
    }
    let (digest, memory) = (Digest::of(cookie), memory::of(site));
    let (tenant, session, user, policy, rights) = {
        let read = site.store.read()?;
        let look = |tenant| read.get(&SESSIONS, &(tenant, digest));
        let Some((tenant, session)) = memory.places.search(&site.tenants, &digest, look)? else {
            return Ok(None);
        };
        // Signing in again tells in words why.
        if site.tenants.admit(tenant).is_err() {
            return Ok(None);
        }
        let Some(user) = read.get(&USERS, &(tenant, session.user))? else { return Ok(None) };
        let rights = look::rights(&read, tenant, &session, &user, now)?;
        (tenant, session, user, factors::policy(&read, tenant)?, rights)
    };
    let used = memory.uses.last(&digest, session.used);
    if session.is_over(used, now, &policy) || !user.is_active() || policy.refuses(&user, &session) {
        return Ok(None);
    }
    let actor = Actor::Person {
        user: user.id,
        session: session.id,
        name: user.name.to_string(),
        rights: Arc::new(rights),
        proved: session.proved(),
    };
    Ok(Some(Found { tenant, digest, used, actor }))
}

/// Begins a session in an open change; gives the cookie's value. The oldest session ends when there are too many.
pub(super) fn begin(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: &User,
    id: SessionId,
    means: Vec<Means>,
) -> Result<String> {
    let (text, digest) = Digest::token(PREFIX, &ctx.site.clock);
    let there = store::sessions(&*change.tx, ctx.tenant, user.id)?;
    let over = (there.len() + 1).saturating_sub(limits::SESSIONS_PER_USER_MAX);
    for (old, session) in there.iter().take(over) {
        store::remove_session(change.tx, ctx.tenant, old, session)?;
    }
    let session = Session {
        id,
        user: user.id,
        created: ctx.now,
        used: ctx.now,
        from: ctx.request.from.clone(),
        looks_as: None,
        proved: Some(ctx.now),
        means,
        browser: browser::family(&ctx.request.browser),
    };
    change.tx.put(&SESSIONS, &(ctx.tenant, digest), &session)?;
    change.tx.put(&SESSIONS_BY_USER, &(ctx.tenant, user.id, id), &digest)?;
    Ok(text)
}

/// Notes in an open change that the person has shown again who they are. The cookie gets a new value, so that an older one
/// that somebody may have copied is raised to nothing.
pub(super) fn raise(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: UserId,
    id: SessionId,
    means: Means,
) -> Result<String> {
    let there = store::sessions(&*change.tx, ctx.tenant, user)?;
    let (old, session) = there
        .into_iter()
        .find(|(_, session)| session.id == id)
        .ok_or_else(|| Error::unauthenticated("the session has ended").hint("sign in"))?;
    let (text, digest) = Digest::token(PREFIX, &ctx.site.clock);
    store::remove_session(change.tx, ctx.tenant, &old, &session)?;
    memory::of(ctx.site).uses.forget(&old);
    let mut session = Session { proved: Some(ctx.now), used: ctx.now, ..session };
    if !session.means.contains(&means) {
        session.means.push(means);
    }
    change.tx.put(&SESSIONS, &(ctx.tenant, digest), &session)?;
    change.tx.put(&SESSIONS_BY_USER, &(ctx.tenant, user, id), &digest)?;
    Ok(text)
}

/// Ends every session of a person but `keep`, in an open change.
pub(super) fn end_all(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    user: UserId,
    keep: Option<SessionId>,
) -> Result<usize> {
    let mut ended = 0;
    for (digest, session) in store::sessions(&*change.tx, ctx.tenant, user)? {
        if Some(session.id) != keep {
            store::remove_session(change.tx, ctx.tenant, &digest, &session)?;
            memory::of(ctx.site).uses.forget(&digest);
            ended += 1;
        }
    }
    Ok(ended)
}

/// Ends one session of a person, in an open change; whether there was one.
pub(super) fn end(ctx: &Ctx<'_>, change: &mut Change<'_>, user: UserId, id: SessionId) -> Result<bool> {
    let there = store::sessions(&*change.tx, ctx.tenant, user)?;
    let Some((digest, session)) = there.iter().find(|(_, session)| session.id == id) else {
        return Ok(false);
    };
    store::remove_session(change.tx, ctx.tenant, digest, session)?;
    memory::of(ctx.site).uses.forget(digest);
    change.tell("identity.session_revoked", id, serde_json::json!({ "user": user }));
    Ok(true)
}

/// Lists the sessions of who asks, newest first.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<SessionView>> {
    let (user, current, _) = own(ctx)?;
    Ok(Page { items: living(ctx, user, Some(current))?, next: None })
}

/// The sessions of a person that are not over, newest first.
pub(super) fn living(ctx: &Ctx<'_>, user: UserId, current: Option<SessionId>) -> Result<Vec<SessionView>> {
    let (memory, read) = (memory::of(ctx.site), ctx.read()?);
    let policy: Policy = factors::policy(&read, ctx.tenant)?;
    let mut items = Vec::new();
    for (digest, session) in store::sessions(&read, ctx.tenant, user)? {
        let used = memory.uses.last(&digest, session.used);
        if !session.is_over(used, ctx.now, &policy) {
            items.push(session.view(used, Some(session.id) == current));
        }
    }
    items.reverse();
    Ok(items)
}

/// Ends one session of who asks.
pub(super) fn revoke(ctx: &Ctx<'_>, input: ById<crate::base::kind::Session>) -> Result<Nothing> {
    let (user, _, raised) = own(ctx)?;
    raised.require("identity.session_revoke")?.write(|change| {
        let there = store::sessions(&*change.tx, ctx.tenant, user)?;
        let Some((digest, session)) = there.iter().find(|(_, session)| session.id == input.id) else {
            return Err(Error::not_found("session", input.id));
        };
        store::remove_session(change.tx, ctx.tenant, digest, session)?;
        memory::of(ctx.site).uses.forget(digest);
        change.tell("identity.session_revoked", input.id, serde_json::json!({ "user": user }));
        Ok(())
    })?;
    Ok(Nothing {})
}

/// Whose sessions are asked for.
pub(super) fn of_user(ctx: &Ctx<'_>, input: ById<crate::base::kind::User>) -> Result<Page<SessionView>> {
    ctx.require("identity.read")?;
    super::ops::find(ctx, input.id)?;
    let current = own(ctx).ok().map(|(_, session, _)| session);
    Ok(Page { items: living(ctx, input.id, current)?, next: None })
}

/// Which sessions of somebody end.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
pub struct SessionsEnded {
    /// Whose.
    pub id: UserId,
    /// The one that ends; all of them when it is left out.
    #[serde(default)]
    pub session: Option<SessionId>,
}

/// Ends sessions of somebody.
pub(super) fn revoke_of_user(ctx: &Ctx<'_>, input: SessionsEnded) -> Result<Nothing> {
    ctx.require("identity.user_sessions_revoke")?.write(|change| {
        if !change.tx.has(&USERS, &(ctx.tenant, input.id))? {
            return Err(Error::not_found("user", input.id));
        }
        let mut ended = Vec::new();
        for (digest, session) in store::sessions(&*change.tx, ctx.tenant, input.id)? {
            if input.session.is_none_or(|only| only == session.id) {
                store::remove_session(change.tx, ctx.tenant, &digest, &session)?;
                memory::of(ctx.site).uses.forget(&digest);
                ended.push(session.id);
            }
        }
        if let (Some(only), true) = (input.session, ended.is_empty()) {
            return Err(Error::not_found("session", only));
        }
        for id in &ended {
            change.tell("identity.session_revoked", id, serde_json::json!({ "user": input.id }));
        }
        Ok(())
    })?;
    Ok(Nothing {})
}

/// Ends the session that asks.
pub(super) fn log_out(ctx: &Ctx<'_>) -> Result<()> {
    let (user, current, raised) = own_session(ctx)?;
    raised.require("identity.log_out")?.write(|change| {
        let there = store::sessions(&*change.tx, ctx.tenant, user)?;
        if let Some((digest, session)) = there.iter().find(|(_, session)| session.id == current) {
            store::remove_session(change.tx, ctx.tenant, digest, session)?;
            memory::of(ctx.site).uses.forget(digest);
            change.tell("identity.logged_out", user, serde_json::json!({}));
        }
        Ok(())
    })
}

/// Sweeps away what is over: sessions and one-time links.
pub(super) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    const ROWS_MAX: usize = 2_000;
    let memory = memory::of(ctx.site);
    let read = ctx.read()?;
    let policy = factors::policy(&read, ctx.tenant)?;
    let mut sessions = Vec::new();
    for ((_, digest), session) in read.prefix(&SESSIONS, &ctx.tenant, ROWS_MAX)? {
        if session.is_over(memory.uses.last(&digest, session.used), ctx.now, &policy) {
            sessions.push((digest, session));
        }
    }
    let links: Vec<_> = read
        .prefix(&store::LINKS, &ctx.tenant, ROWS_MAX)?
        .into_iter()
        .filter(|(_, link)| link.until <= ctx.now)
        .map(|(key, _)| key)
        .collect();
    drop(read);
    if sessions.is_empty() && links.is_empty() {
        return Ok(());
    }
    ctx.require("identity.sweep")?.write(|change| {
        for (digest, session) in &sessions {
            store::remove_session(change.tx, ctx.tenant, digest, session)?;
            memory.uses.forget(digest);
        }
        for key in &links {
            change.tx.delete(&store::LINKS, key)?;
        }
        Ok(())
    })
}
