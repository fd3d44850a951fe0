//! The end of sessions that providers began: told by the provider, or by the person.

use serde_json::json;

use super::arrive::Proof;
use super::links::end_sessions;
use super::memory;
use super::model::Begun;
use super::store::{self, BEGUN};
use crate::base::{Error, Result, SessionId, UserId};
use crate::capabilities::identity::store::SESSIONS_BY_USER;
use crate::engine::store::Read;
use crate::kit::{Actor, Change, Ctx};

/// Notes in an open change by which provider a session begins.
pub(in crate::capabilities::identity) fn note(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    session: SessionId,
    user: UserId,
    proof: &Proof,
) -> Result<()> {
    let Proof { provider, subject, session: there, .. } = proof.clone();
    change.tx.put(&BEGUN, &(ctx.tenant, session), &Begun { user, provider, subject, session: there })
}

/// The OpenID provider that began the session which asks.
pub(in crate::capabilities::identity) fn began_by(ctx: &Ctx<'_>) -> Result<Option<String>> {
    let Actor::Person { session, .. } = &ctx.actor else { return Ok(None) };
    let read = ctx.read()?;
    let Some(begun) = read.get(&BEGUN, &(ctx.tenant, *session))? else { return Ok(None) };
    let known = store::provider(&read, ctx.tenant, &begun.provider);
    Ok(known.ok().filter(|one| one.settings.word() == "oidc").map(|one| one.id))
}

/// Ends what a logout token of a provider ends: one of its sessions, or all of a subject.
pub(super) fn by_token(ctx: &Ctx<'_>, provider: &str, token: &str) -> Result<usize> {
    let memory = memory::of(ctx.site);
    let provider = store::provider(&ctx.read()?, ctx.tenant, provider)?;
    let client = memory.client(ctx, &provider)?;
    let told = memory.asking(|| client.logged_out(token))?;
    if !memory.first_use(format!("{} {}", provider.id, told.token), told.until, ctx.now)? {
        return Err(Error::invalid("the logout token was used before"));
    }
    let system = Ctx { actor: Actor::System, ..ctx.clone() };
    system.require("identity.provider_logout")?.write(|change| {
        let ended = end_sessions(ctx, change, |begun| {
            let subject = told.subject.as_ref().is_none_or(|subject| *subject == begun.subject);
            let session = told.session.as_ref().is_none_or(|session| begun.session.as_ref() == Some(session));
            begun.provider == provider.id && subject && session
        })?;
        let detail = json!({ "name": provider.name, "subject": told.subject, "sessions_ended": ended });
        change.tell("identity.provider_logged_out", &provider.id, detail);
        Ok(ended)
    })
}

/// Forgets which provider began sessions that are over.
pub(in crate::capabilities::identity) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    let read = ctx.read()?;
    let mut over = Vec::new();
    for (key, begun) in read.prefix(&BEGUN, &ctx.tenant, store::BEGUN_MAX)? {
        if !read.has(&SESSIONS_BY_USER, &(ctx.tenant, begun.user, key.1))? {
            over.push(key);
        }
    }
    drop(read);
    if over.is_empty() {
        return Ok(());
    }
    ctx.require("identity.sweep")?
        .write(|change| over.iter().try_for_each(|key| change.tx.delete(&BEGUN, key)))
}
