//! Operations on people.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::{Purpose, State, USERS_MAX, User, UserView, keeps_an_owner, login_name};
use super::passwords::check_password;
use super::roles::{self, Granted, Standing};
use super::store::{self, LOGINS, USERS};
use super::{door, memory, own, sessions};
use crate::base::{Error, Name, Page, Result, Secret, TenantId, UserId, kind};
use crate::engine::crypto::{hash_password, verify_password};
use crate::engine::store::Read;
use crate::kit::{Actor, ById, Change, Ctx, Nothing, Permit, Quota, RoleName, Scope};

/// Lists people, in the order in which they were added.
pub(super) fn users(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<UserView>> {
    ctx.require("identity.read")?;
    let items = store::users(&ctx.read()?, ctx.tenant)?.iter().map(User::view).collect();
    Ok(Page { items, next: None })
}

/// The person with this identifier; callers have made sure that it may be seen.
pub(super) fn find(ctx: &Ctx<'_>, id: UserId) -> Result<UserView> {
    let user = ctx.read()?.get(&USERS, &(ctx.tenant, id))?;
    user.map(|user| user.view()).ok_or_else(|| Error::not_found("user", id))
}

/// Who is added.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct UserChosen {
    /// What they sign in with: a-z, 0-9, `.`, `_`, `-`, `@`.
    pub login: String,
    /// What people call them.
    pub name: Name,
    /// What they may do.
    pub role: RoleName,
    /// With what; empty for everything.
    #[serde(default)]
    pub scope: Scope,
    /// Their first password. Better left out: then they set it themselves by the link in the answer.
    #[serde(default)]
    pub password: Option<Secret<String>>,
}

/// A person and a way in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UserMade {
    /// The person.
    pub user: UserView,
    /// A one-time link that sets the password, good for 24 hours; absent when a password was given.
    pub link: Option<String>,
}

/// What is wrong with somebody who is to be added, all of it; asks nobody and changes nothing.
pub fn check_person(login: &str, name: &str, password: Option<&str>) -> Vec<Error> {
    let login = login_name(login);
    let password =
        password.map_or(Ok(()), |password| check_password(password, login.as_deref().unwrap_or_default()));
    [login.err(), name.parse::<Name>().err(), password.err()].into_iter().flatten().collect()
}

/// Adds a person.
pub(super) fn create(ctx: &Ctx<'_>, input: UserChosen) -> Result<UserMade> {
    let permit = ctx.require("identity.create")?;
    roles::may_give(ctx, &ctx.read()?, &input.role, &input.scope)?;
    let login = login_name(&input.login)?;
    let password = match &input.password {
        Some(password) => {
            check_password(password.expose(), &login)?;
            let hash =
                memory::of(ctx.site).hashing(|| hash_password(password.expose(), &ctx.site.clock))??;
            Some(hash)
        }
        None => None,
    };
    let user = User {
        id: ctx.site.clock.id(),
        login,
        name: input.name,
        password,
        grants: vec![Granted { scope: input.scope, ..Granted::lasting(input.role) }],
        state: State::Active,
        created: ctx.now,
        last_login: None,
    };
    permit.write(|change| add(ctx, change, &user))
}

/// Adds a person in an open change; who has no password gets a link.
pub(super) fn add(ctx: &Ctx<'_>, change: &mut Change<'_>, user: &User) -> Result<UserMade> {
    if store::is_taken(ctx.site, &*change.tx, &user.login)? {
        return Err(Error::conflict(format!("the login name `{}` is taken", user.login))
            .hint("choose another one, or enable the person who has it"));
    }
    if store::users(&*change.tx, ctx.tenant)?.len() >= USERS_MAX {
        return Err(Error::too_many(format!("{USERS_MAX} people are there already"))
            .hint("give programs API keys instead"));
    }
    ctx.within_quota(Quota::People, 1, || active(&*change.tx, ctx.tenant))?;
    change.tx.put(&USERS, &(ctx.tenant, user.id), user)?;
    change.tx.put(&LOGINS, &(ctx.tenant, user.login.clone()), &user.id)?;
    let link = match user.password {
        Some(_) => None,
        None => Some(door::make_link(ctx, change, user.id, Purpose::Reset)?),
    };
    change.tell(
        "identity.created",
        user.id,
        json!({ "login": user.login, "name": user.name, "roles": user.roles(), "grants": user.grants }),
    );
    Ok(UserMade { user: user.view(), link })
}

/// Invites the first owner of a new tenant, in an open change of the home: nobody is there who could.
pub(super) fn invite_owner(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    login: &str,
    name: Name,
) -> Result<UserMade> {
    let user = User {
        id: ctx.site.clock.id(),
        login: login_name(login)?,
        name,
        password: None,
        grants: vec![Granted::lasting(crate::kit::Role::Owner.into())],
        state: State::Active,
        created: ctx.now,
        last_login: None,
    };
    add(ctx, change, &user)
}

/// How many people of the tenant may sign in.
pub(super) fn active(read: &impl Read, tenant: TenantId) -> Result<usize> {
    Ok(store::users(read, tenant)?.iter().filter(|user| user.is_active()).count())
}

/// What is changed; what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct UserChanged {
    /// Who.
    pub id: UserId,
    /// What people call them.
    #[serde(default)]
    pub name: Option<Name>,
    /// The one role that they have from now on with everything and for good, instead of all such ones. `identity.grant`
    /// adds one to others.
    #[serde(default)]
    pub role: Option<RoleName>,
}

/// Changes a name or role.
pub(super) fn change(ctx: &Ctx<'_>, input: UserChanged) -> Result<UserView> {
    alter(ctx, ctx.require("identity.change")?, input.id, "identity.changed", |user| {
        let mut detail = json!({});
        if let Some(name) = input.name.filter(|name| *name != user.name) {
            detail["name"] = json!({ "before": user.name, "after": name });
            user.name = name;
        }
        if let Some(role) = input.role {
            let before = user.roles();
            user.grants.retain(|one| {
                one.standing == Standing::Eligible || one.until.is_some() || !one.provider.is_empty()
            });
            user.grants.insert(0, Granted::lasting(role));
            if user.roles() != before {
                detail["roles"] = json!({ "before": before, "after": user.roles() });
                detail["grants"] = json!(user.grants);
            }
        }
        Ok(detail)
    })
}

/// Shuts a person out: sessions and links end with it.
pub(super) fn disable(ctx: &Ctx<'_>, input: ById<kind::User>) -> Result<UserView> {
    alter(ctx, ctx.require("identity.disable")?, input.id, "identity.disabled", |user| {
        if !user.is_active() {
            return Err(Error::conflict(format!("`{}` is already disabled", user.login)));
        }
        user.state = State::Disabled;
        Ok(json!({ "login": user.login }))
    })
}

/// Lets a person in again.
pub(super) fn enable(ctx: &Ctx<'_>, input: ById<kind::User>) -> Result<UserView> {
    alter(ctx, ctx.require("identity.enable")?, input.id, "identity.enabled", |user| {
        if user.is_active() {
            return Err(Error::conflict(format!("`{}` is already active", user.login)));
        }
        user.state = State::Active;
        Ok(json!({ "login": user.login }))
    })
}

/// Changes who asks, in what is their own, with the same rules.
pub(super) fn alter_own(
    ctx: &Ctx<'_>,
    action: &'static str,
    event: &str,
    f: impl FnOnce(&mut User) -> Result<Value>,
) -> Result<UserView> {
    let (id, _, raised) = own(ctx)?;
    alter(&raised, raised.require(action)?, id, event, f)
}

/// Changes a person under the rules that hold for every change; an empty detail means that nothing changed.
pub(super) fn alter(
    ctx: &Ctx<'_>,
    permit: Permit<'_>,
    id: UserId,
    event: &str,
    f: impl FnOnce(&mut User) -> Result<Value>,
) -> Result<UserView> {
    permit.write(|change| {
        let all = store::users(&*change.tx, ctx.tenant)?;
        let before = all.iter().find(|user| user.id == id).ok_or_else(|| Error::not_found("user", id))?;
        let me = matches!(&ctx.actor, Actor::Person { user, .. } if *user == id);
        if !me {
            roles::may_act_on(ctx, &*change.tx, before)?;
        }
        let mut after = before.clone();
        let detail = f(&mut after)?;
        roles::may_turn(ctx, &*change.tx, before, &after)?;
        if after == *before {
            return Ok(after.view());
        }
        keeps_an_owner(&all, before, &after)?;
        if after.is_active() && !before.is_active() {
            ctx.within_quota(Quota::People, 1, || active(&*change.tx, ctx.tenant))?;
        }
        change.tx.put(&USERS, &(ctx.tenant, id), &after)?;
        if !after.is_active() {
            sessions::end_all(ctx, change, id, None)?;
            door::remove_links(ctx, change, id)?;
        }
        change.tell(event, id, detail);
        Ok(after.view())
    })
}

/// Makes a one-time link that sets a new password. The old password works until the link is used.
pub(super) fn reset(ctx: &Ctx<'_>, input: ById<kind::User>) -> Result<UserMade> {
    ctx.require("identity.reset")?.write(|change| {
        let user = change
            .tx
            .get(&USERS, &(ctx.tenant, input.id))?
            .ok_or_else(|| Error::not_found("user", input.id))?;
        roles::may_act_on(ctx, &*change.tx, &user)?;
        if !user.is_active() {
            return Err(Error::conflict(format!("`{}` is disabled", user.login)).hint("enable them first"));
        }
        let link = door::make_link(ctx, change, user.id, Purpose::Reset)?;
        change.tell("identity.link_made", user.id, json!({ "purpose": Purpose::Reset }));
        Ok(UserMade { user: user.view(), link: Some(link) })
    })
}

/// A change of one's own password.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct PasswordChanged {
    /// The one that works now.
    pub old: Secret<String>,
    /// The one that shall work.
    pub new: Secret<String>,
}

/// Changes one's own password; every other session of the person ends.
pub(super) fn password(ctx: &Ctx<'_>, input: PasswordChanged) -> Result<Nothing> {
    let (id, session, raised) = own(ctx)?;
    let user = ctx.read()?.get(&USERS, &(ctx.tenant, id))?.ok_or_else(|| Error::not_found("user", id))?;
    check_password(input.new.expose(), &user.login)?;
    door::check_own_password(ctx, &user, |kept| verify_password(input.old.expose(), kept))?;
    let hash = memory::of(ctx.site).hashing(|| hash_password(input.new.expose(), &ctx.site.clock))??;
    raised.require("identity.password")?.write(|change| {
        let now = change
            .tx
            .get(&USERS, &(ctx.tenant, id))?
            .filter(|now| now.is_active() && now.password == user.password)
            .ok_or_else(|| Error::conflict("the password was changed at the same time"))?;
        change.tx.put(&USERS, &(ctx.tenant, id), &User { password: Some(hash), ..now })?;
        let ended = sessions::end_all(ctx, change, id, Some(session))?;
        door::remove_links(ctx, change, id)?;
        change.tell("identity.password_changed", id, json!({ "by": "old", "sessions_ended": ended }));
        Ok(Nothing {})
    })
}

/// Changes one's own name.
pub(super) fn rename(ctx: &Ctx<'_>, name: Name) -> Result<UserView> {
    alter_own(ctx, "identity.rename", "identity.changed", |user| {
        let detail = json!({ "name": { "before": user.name, "after": name } });
        user.name = name;
        Ok(detail)
    })
}
