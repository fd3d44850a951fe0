//! Who at a provider is who here, when it is said by hand: by who manages people, or by the person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arrive::{Arrival, link, renew};
use super::model::{Begun, Provider};
use super::store::{self, BEGUN, LINKS};
use super::{flow, memory};
use crate::base::{Error, Page, Result, SessionId, Timestamp, UserId};
use crate::capabilities::identity::model::User;
use crate::capabilities::identity::roles;
use crate::capabilities::identity::store::USERS;
use crate::capabilities::identity::{own, sessions};
use crate::engine::store::Read;
use crate::kit::{Actor, Change, Ctx, Nothing};

/// Bytes of a subject.
const SUBJECT_BYTES_MAX: usize = 255;

/// A link as lists and the API show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct LinkView {
    /// Who.
    pub user: UserId,
    /// The provider's identifier.
    pub provider: String,
    /// What people call the provider.
    pub name: String,
    /// Who they are there.
    pub subject: String,
    /// What they were called there when it was made.
    pub called: String,
    /// Since when.
    pub since: Timestamp,
}

/// Somebody at a provider, and a person here.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct LinkChosen {
    /// Who.
    pub id: UserId,
    /// The provider's identifier.
    pub provider: String,
    /// Who they are there: the `sub` of an OpenID provider, what names a person for good in a directory.
    pub subject: String,
}

/// Whose links are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct LinksAsked {
    /// Whose; without it, everybody's.
    #[serde(default)]
    pub user: Option<UserId>,
}

fn views(ctx: &Ctx<'_>, user: Option<UserId>) -> Result<Vec<LinkView>> {
    let read = ctx.read()?;
    let names = store::providers(&read, ctx.tenant)?;
    let all = read.prefix(&LINKS, &ctx.tenant, store::LINKS_MAX)?.into_iter();
    let view = |((_, provider, subject), link): ((_, String, String), super::model::Link)| LinkView {
        user: link.user,
        name: names.iter().find(|one| one.id == provider).map(|one| one.name.to_string()).unwrap_or_default(),
        provider,
        subject,
        called: link.called,
        since: link.since,
    };
    Ok(all.map(view).filter(|one| user.is_none_or(|user| user == one.user)).collect())
}

/// Lists links.
pub(in crate::capabilities::identity) fn list(ctx: &Ctx<'_>, input: LinksAsked) -> Result<Page<LinkView>> {
    ctx.require("identity.read")?;
    Ok(Page { items: views(ctx, input.user)?, next: None })
}

/// Lists one's own.
pub(in crate::capabilities::identity) fn list_own(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<LinkView>> {
    let (user, _, _) = own(ctx)?;
    Ok(Page { items: views(ctx, Some(user))?, next: None })
}

fn person(ctx: &Ctx<'_>, change: &Change<'_>, id: UserId) -> Result<User> {
    change.tx.get(&USERS, &(ctx.tenant, id))?.ok_or_else(|| Error::not_found("user", id))
}

/// Links somebody at a provider to a person.
pub(in crate::capabilities::identity) fn create(ctx: &Ctx<'_>, input: LinkChosen) -> Result<Nothing> {
    let permit = ctx.require("identity.link")?;
    let subject = input.subject.trim();
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
        return Err(Error::invalid("the subject is not one")
            .hint("it is what the provider calls the person for good, not their login name"));
    }
    permit.write(|change| {
        let provider = store::provider(&*change.tx, ctx.tenant, &input.provider)?;
        let user = person(ctx, change, input.id)?;
        // Who links decides who comes in as this person.
        roles::may_act_on(ctx, &*change.tx, &user)?;
        link(ctx, change, &provider, subject, &user, String::new())
    })?;
    memory::of(ctx.site)
        .strangers
        .lock()
        .retain(|one| one.provider != input.provider || one.subject != subject);
    Ok(Nothing {})
}

/// Takes a link from a person: sessions that it began and roles that it gave end with it.
pub(in crate::capabilities::identity) fn remove(ctx: &Ctx<'_>, input: LinkChosen) -> Result<Nothing> {
    ctx.require("identity.unlink")?.write(|change| {
        let user = person(ctx, change, input.id)?;
        roles::may_act_on(ctx, &*change.tx, &user)?;
        unlink(ctx, change, &input.provider, &input.subject, &user)
    })?;
    Ok(Nothing {})
}

/// Which of one's own links.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OwnLink {
    /// The provider's identifier.
    pub provider: String,
    /// Who one is there.
    pub subject: String,
}

/// Takes one of one's own links away. Who has no password keeps the last one, which is their only way in.
pub(in crate::capabilities::identity) fn remove_own(ctx: &Ctx<'_>, input: OwnLink) -> Result<Nothing> {
    let (id, _, raised) = own(ctx)?;
    raised.require("identity.unlink_own")?.write(|change| {
        let user = person(ctx, change, id)?;
        let last = store::links_to(&*change.tx, ctx.tenant, id)?.len() <= 1;
        if last && user.password.is_none() {
            return Err(Error::conflict("it is your only way in")
                .hint("ask who manages people for a link that sets a password first"));
        }
        unlink(ctx, change, &input.provider, &input.subject, &user)
    })?;
    Ok(Nothing {})
}

/// Takes one link away, in an open change.
pub(super) fn unlink(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    provider: &str,
    subject: &str,
    user: &User,
) -> Result<()> {
    let key = (ctx.tenant, provider.to_owned(), subject.to_owned());
    change.tx.get(&LINKS, &key)?.filter(|link| link.user == user.id).ok_or_else(|| {
        Error::not_found("link", subject.chars().take(SUBJECT_BYTES_MAX).collect::<String>())
    })?;
    change.tx.delete(&LINKS, &key)?;
    let told = json!({ "login": user.login, "provider": provider, "subject": subject });
    change.tell("identity.unlinked", user.id, told);
    if let Ok(whole) = store::provider(&*change.tx, ctx.tenant, provider) {
        let nothing = Provider { mappings: Vec::new(), ..whole };
        renew(ctx, change, &nothing, user, &[])?;
    }
    end_sessions(ctx, change, |begun| {
        begun.provider == provider && begun.subject == subject && begun.user == user.id
    })?;
    Ok(())
}

/// Ends the sessions that a provider began and for which this holds, in an open change.
pub(super) fn end_sessions(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    which: impl Fn(&Begun) -> bool,
) -> Result<usize> {
    let mut ended = 0;
    for (key, begun) in change.tx.prefix(&BEGUN, &ctx.tenant, store::BEGUN_MAX)? {
        if which(&begun) {
            change.tx.delete(&BEGUN, &key)?;
            ended += usize::from(sessions::end(ctx, change, begun.user, key.1)?);
        }
    }
    Ok(ended)
}

/// Links an account at a provider, that was just proved, to the person whose session began it.
pub(super) fn link_own(
    ctx: &Ctx<'_>,
    provider: &Provider,
    arrival: &Arrival,
    user: UserId,
    session: SessionId,
) -> Result<String> {
    if !flow::still_there(ctx, user, session)? {
        return Err(Error::unauthenticated("you have signed out since").hint("sign in and link it again"));
    }
    let system = Ctx { actor: Actor::System, ..ctx.clone() };
    system.require("identity.link_own")?.write(|change| {
        let provider = store::provider(&*change.tx, ctx.tenant, &provider.id)?;
        let user = person(ctx, change, user)?;
        let called = arrival.name.clone().unwrap_or_else(|| arrival.login.clone());
        link(&system, change, &provider, &arrival.proof.subject, &user, called.chars().take(100).collect())
    })?;
    memory::of(ctx.site)
        .strangers
        .lock()
        .retain(|one| one.provider != provider.id || one.subject != arrival.proof.subject);
    Ok(format!("Your account at {} is linked; you can sign in by it from now on", provider.name))
}
