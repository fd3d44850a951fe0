//! From what a provider proved to a person here, with the roles that their groups give at this moment.

use serde_json::json;

use super::memory::{self, Stranger};
use super::model::{Link, Provider};
use super::store::{self, LINKS};
use crate::base::{Error, Result, UserId};
use crate::capabilities::identity::Means;
use crate::capabilities::identity::model::{State, USERS_MAX, User, keeps_an_owner, login_name};
use crate::capabilities::identity::store::{self as people, LOGINS, USERS};
use crate::engine::store::Read;
use crate::kit::{Actor, Change, Ctx};

/// How a provider proved somebody, for the session that follows.
#[derive(Clone, Debug)]
pub(in crate::capabilities::identity) struct Proof {
    /// The provider.
    pub(in crate::capabilities::identity) provider: String,
    /// What people call it.
    pub(in crate::capabilities::identity) called: String,
    /// Whether it is a directory.
    pub(in crate::capabilities::identity) directory: bool,
    /// Who they are there.
    pub(in crate::capabilities::identity) subject: String,
    /// The provider's name of its own session.
    pub(in crate::capabilities::identity) session: Option<String>,
    /// Whether a second factor was shown there, and the provider is trusted for that.
    pub(in crate::capabilities::identity) several_factors: bool,
}

impl Proof {
    /// By what they have shown who they are.
    pub(in crate::capabilities::identity) fn means(&self) -> Means {
        match (self.directory, self.several_factors) {
            (true, _) => Means::Ldap,
            (false, true) => Means::OidcFactors,
            (false, false) => Means::Oidc,
        }
    }
}

/// Somebody who arrives.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) proof: Proof,
    /// What they would sign in with here.
    pub(super) login: String,
    /// What people call them.
    pub(super) name: Option<String>,
    pub(super) groups: Vec<String>,
}

/// Who arrives, made if they are new and that is wanted, with their roles renewed.
pub(super) fn settle(ctx: &Ctx<'_>, provider: &Provider, arrival: &Arrival) -> Result<UserId> {
    let system = Ctx { actor: Actor::System, ..ctx.clone() };
    let settled = system.require("identity.arrive")?.write(|change| {
        // The provider as it is at this moment: it may have been switched off while it was asked.
        let provider = store::provider(&*change.tx, ctx.tenant, &provider.id)?;
        if !provider.on {
            return Err(Error::forbidden(format!("`{}` is switched off", provider.name)));
        }
        let key = (ctx.tenant, provider.id.clone(), arrival.proof.subject.clone());
        let user = match change.tx.get(&LINKS, &key)? {
            Some(link) => known(ctx, change, &link)?,
            None => make(ctx, change, &provider, arrival)?,
        };
        renew(ctx, change, &provider, &user, &arrival.groups)?;
        Ok(user.id)
    });
    settled.inspect_err(|error| {
        if error.kind() == crate::base::Kind::Forbidden {
            memory::of(ctx.site).met(Stranger {
                provider: provider.id.clone(),
                subject: arrival.proof.subject.clone(),
                called: called(arrival),
                why: error.message().to_owned(),
                at: ctx.now,
            });
        }
    })
}

fn known(ctx: &Ctx<'_>, change: &Change<'_>, link: &Link) -> Result<User> {
    let user = change.tx.get(&USERS, &(ctx.tenant, link.user))?;
    user.filter(User::is_active).ok_or_else(|| {
        Error::unauthenticated("your account here is disabled").hint("who manages people can enable it again")
    })
}

/// What people at the provider call who arrives, for people here.
fn called(arrival: &Arrival) -> String {
    let text = arrival.name.as_deref().unwrap_or_default();
    let both = if text.is_empty() { arrival.login.clone() } else { format!("{text} ({})", arrival.login) };
    both.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Somebody new: linked to nobody, and called like nobody.
fn make(ctx: &Ctx<'_>, change: &mut Change<'_>, provider: &Provider, arrival: &Arrival) -> Result<User> {
    if provider.grants(&arrival.groups).is_empty() && provider.makes_people {
        return Err(Error::forbidden(format!("none of your groups at `{}` has a role here", provider.name))
            .hint("ask for a group that has one, or ask who manages people here"));
    }
    if !provider.makes_people {
        return Err(Error::forbidden(format!(
            "nobody here is linked to your account at `{}`",
            provider.name
        ))
        .hint("sign in with your password and link it under Your account, or ask who manages people"));
    }
    let login = login_name(&arrival.login).map_err(|e| {
        Error::forbidden(format!("`{}` gives you no login name that can be used here", provider.name))
            .hint("who manages sign-on can choose another claim for it, or link you by hand")
            .because(e.message().to_owned())
    })?;
    if people::is_taken(ctx.site, &*change.tx, &login)? {
        return Err(Error::forbidden(format!(
            "there is a local person `{login}`, who is not linked to your account at `{}`",
            provider.name
        ))
        .hint("if that is you, sign in with your password and link it under Your account; else ask who manages people"));
    }
    if people::users(&*change.tx, ctx.tenant)?.len() >= USERS_MAX {
        return Err(Error::too_many(format!("{USERS_MAX} people are there already")));
    }
    let name = arrival.name.as_deref().and_then(|name| name.parse().ok());
    let user = User {
        id: ctx.site.clock.id(),
        name: match name {
            Some(name) => name,
            None => login.parse()?,
        },
        login,
        password: None,
        grants: Vec::new(),
        state: State::Active,
        created: ctx.now,
        last_login: None,
    };
    change.tx.put(&USERS, &(ctx.tenant, user.id), &user)?;
    change.tx.put(&LOGINS, &(ctx.tenant, user.login.clone()), &user.id)?;
    let by = format!("sign-in at {}", provider.name);
    let detail = json!({ "login": user.login, "name": user.name, "provider": provider.id, "because": by });
    change.tell("identity.created", user.id, detail);
    link(ctx, change, provider, &arrival.proof.subject, &user, called(arrival))?;
    Ok(user)
}

/// Links somebody at a provider to a person here, in an open change.
pub(super) fn link(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    provider: &Provider,
    subject: &str,
    user: &User,
    called: String,
) -> Result<()> {
    let key = (ctx.tenant, provider.id.clone(), subject.to_owned());
    if let Some(there) = change.tx.get(&LINKS, &key)? {
        return Err(Error::conflict(match there.user == user.id {
            true => format!("`{}` is linked to it already", user.login),
            false => "that account is linked to somebody else already".to_owned(),
        }));
    }
    let link = Link { user: user.id, called, since: ctx.now, by: ctx.actor.text() };
    change.tx.put(&LINKS, &key, &link)?;
    let detail = json!({
        "login": user.login, "provider": provider.id, "name": provider.name, "subject": subject, "called": link.called,
    });
    change.tell("identity.linked", user.id, detail);
    Ok(())
}

/// Gives a person what their groups at a provider give now, and takes what they gave before.
pub(super) fn renew(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    provider: &Provider,
    user: &User,
    groups: &[String],
) -> Result<()> {
    let after = User { grants: provider.renewed(&user.grants, groups), ..user.clone() };
    if after.grants == user.grants {
        return Ok(());
    }
    keeps_an_owner(&people::users(&*change.tx, ctx.tenant)?, user, &after)?;
    change.tx.put(&USERS, &(ctx.tenant, user.id), &after)?;
    let detail = json!({
        "login": after.login,
        "roles": { "before": user.roles(), "after": after.roles() },
        "grants": after.grants,
        "because": format!("groups at {}", provider.name),
    });
    change.tell("identity.changed", user.id, detail);
    Ok(())
}
