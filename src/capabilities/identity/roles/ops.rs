//! Operations on roles and on who has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{Granted, MadeRole, REASON_CHARACTERS_MAX, Standing};
use super::{ROLES_MAX, elevation, may_give, unknown, why};
use crate::base::{Error, Page, Result, Timestamp, UserId};
use crate::capabilities::identity::model::{User, UserView};
use crate::capabilities::identity::ops::alter;
use crate::capabilities::identity::sso;
use crate::capabilities::identity::store::{self, KEYS, ROLES};
use crate::engine::store::{Read, Tx};
use crate::kit::{Ctx, Nothing, Ops, Permissions, Role, RoleName, Scope};

pub(in crate::capabilities::identity) fn routes(ops: &mut Ops) {
    ops.get("identity.roles", "/identity/roles", "Lists roles and what they include.", list);
    ops.post("identity.role_create", "/identity/roles", "Makes a role.", create);
    ops.patch("identity.role_change", "/identity/roles/{name}", "Changes what a role includes.", change);
    ops.delete("identity.role_remove", "/identity/roles/{name}", "Removes a role that nobody has.", remove);
    ops.post(
        "identity.grant",
        "/identity/users/{id}/grants",
        "Gives a person one more role: with everything or a part, for good, until an instant, or to be taken up.",
        grant,
    );
    ops.post(
        "identity.withdraw",
        "/identity/users/{id}/grants/withdraw",
        "Takes a role from a person.",
        withdraw,
    );
    ops.get(
        "identity.why",
        "/identity/users/{id}/why",
        "Tells why a person may do something, or why not.",
        why::why,
    );
    ops.post(
        "identity.elevate",
        "/identity/elevate",
        "Takes up one of one's own roles on demand, for a while and with a reason.",
        elevation::elevate,
    );
    ops.own();
    ops.post(
        "identity.step_down",
        "/identity/step-down",
        "Lays down what one has taken up.",
        elevation::step_down,
    );
    ops.own();
}

/// A role as lists and the API show it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct RoleView {
    /// Its name.
    pub name: RoleName,
    /// What it is for.
    pub about: String,
    /// What it includes.
    pub permissions: Permissions,
    /// Whether every site has it; such a role cannot be changed.
    pub built_in: bool,
    /// How many people and keys have it.
    pub count: usize,
}

/// Lists roles: those of every site, then those that were made here.
pub(in crate::capabilities::identity) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<RoleView>> {
    ctx.require("identity.read")?;
    let read = ctx.read()?;
    let built_in = Role::ALL.into_iter().map(|role| RoleView {
        name: role.into(),
        about: role.about().to_owned(),
        permissions: (*role.permissions()).clone(),
        built_in: true,
        count: 0,
    });
    let made = read.prefix(&ROLES, &ctx.tenant, ROLES_MAX)?.into_iter().map(|(_, role)| RoleView {
        name: role.name,
        about: role.about,
        permissions: role.permissions,
        built_in: false,
        count: 0,
    });
    let mut items: Vec<RoleView> = built_in.chain(made).collect();
    let given = given(&read, ctx)?;
    for item in &mut items {
        item.count = given.iter().filter(|one| one.role == item.name).count();
    }
    Ok(Page { items, next: None })
}

/// What anybody and any key that works has.
fn given(read: &impl Read, ctx: &Ctx<'_>) -> Result<Vec<Granted>> {
    let people = store::users(read, ctx.tenant)?.into_iter().flat_map(|user| user.grants);
    let keys = read.prefix(&KEYS, &ctx.tenant, crate::capabilities::identity::model::KEYS_MAX)?;
    let keys = keys.into_iter().filter(|(_, key)| key.works(ctx.now)).flat_map(|(_, key)| key.grants);
    Ok(people.chain(keys).collect())
}

/// A role that is made or changed.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RoleChosen {
    /// Its name: a-z, 0-9 and `-`.
    pub name: RoleName,
    /// What it is for.
    #[serde(default)]
    pub about: String,
    /// What it includes: `agents.*, tasks.create, *.read, -identity.*`. Not more than who makes it may.
    pub permissions: String,
}

fn role(ctx: &Ctx<'_>, input: RoleChosen, created: Timestamp) -> Result<MadeRole> {
    if input.name.built_in().is_some() {
        return Err(Error::conflict(format!("`{}` is a role of every site", input.name))
            .hint("make one with another name"));
    }
    let permissions: Permissions = input.permissions.parse()?;
    if permissions.is_empty() {
        return Err(Error::invalid("the role includes nothing").hint("`*.read` lets it look at everything"));
    }
    let strangers = strangers(ctx, &permissions);
    if !strangers.is_empty() {
        return Err(Error::invalid(format!("nothing is named `{}`", strangers.join("`, `")))
            .hint("every permission stands in the console at /help/api"));
    }
    passes_on(ctx, &permissions)?;
    Ok(MadeRole { about: reason(&input.about)?, name: input.name, permissions, created })
}

/// Patterns that no operation has.
fn strangers(ctx: &Ctx<'_>, permissions: &Permissions) -> Vec<String> {
    let known = why::catalogue(ctx.site);
    if known.is_empty() {
        return Vec::new();
    }
    let text = permissions.to_string();
    let parts = text.split(", ").filter(|part| {
        let one: Permissions = part.trim_start_matches('-').parse().unwrap_or_default();
        !known.iter().any(|permission| one.allow(permission))
    });
    parts.map(str::to_owned).collect()
}

fn passes_on(ctx: &Ctx<'_>, permissions: &Permissions) -> Result<()> {
    match ctx.actor.rights() {
        Some(rights) if !rights.include(permissions, &Scope::default()) => {
            Err(Error::forbidden("the role includes more than you may yourself")
                .hint("leave out what you do not have, or ask somebody who has it"))
        }
        _ => Ok(()),
    }
}

/// A short text about a role or grant.
pub(super) fn reason(text: &str) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > REASON_CHARACTERS_MAX || text.chars().any(char::is_control) {
        return Err(Error::invalid("the text is not valid")
            .hint(format!("one line of at most {REASON_CHARACTERS_MAX} characters")));
    }
    Ok(text.to_owned())
}

/// Makes a role.
pub(in crate::capabilities::identity) fn create(ctx: &Ctx<'_>, input: RoleChosen) -> Result<Nothing> {
    let permit = ctx.require("identity.role_create")?;
    let role = role(ctx, input, ctx.now)?;
    permit.write(|change| {
        if change.tx.has(&ROLES, &(ctx.tenant, role.name.to_string()))? {
            return Err(Error::conflict(format!("there is a role `{}` already", role.name))
                .hint("change it, or choose another name"));
        }
        if change.tx.count(&ROLES, &ctx.tenant)? >= ROLES_MAX {
            return Err(Error::too_many(format!("{ROLES_MAX} roles are there already")));
        }
        change.tx.put(&ROLES, &(ctx.tenant, role.name.to_string()), &role)?;
        change.tell("identity.role_created", &role.name, json!({ "permissions": role.permissions }));
        Ok(Nothing {})
    })
}

/// Changes what a role is for and includes, for everybody who has it, at once.
pub(in crate::capabilities::identity) fn change(ctx: &Ctx<'_>, input: RoleChosen) -> Result<Nothing> {
    let permit = ctx.require("identity.role_change")?;
    let name = input.name.clone();
    let role = role(ctx, input, ctx.now)?;
    permit.write(|change| {
        let before = find(change.tx, ctx, &name)?;
        // Nobody changes a role that holds more than they have: its holders would lose it by the hand of somebody below.
        passes_on(ctx, &before.permissions)?;
        let after = MadeRole { created: before.created, ..role };
        change.tx.put(&ROLES, &(ctx.tenant, name.to_string()), &after)?;
        let permissions = json!({ "before": before.permissions, "after": after.permissions });
        change.tell("identity.role_changed", &name, json!({ "permissions": permissions }));
        Ok(Nothing {})
    })
}

/// Which role.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ByName {
    /// Its name.
    pub name: RoleName,
}

/// Removes a role that nobody has.
pub(in crate::capabilities::identity) fn remove(ctx: &Ctx<'_>, input: ByName) -> Result<Nothing> {
    ctx.require("identity.role_remove")?.write(|change| {
        let before = find(change.tx, ctx, &input.name)?;
        passes_on(ctx, &before.permissions)?;
        let count = given(&*change.tx, ctx)?.iter().filter(|one| one.role == input.name).count();
        if count > 0 {
            return Err(Error::conflict(format!("{count} people or keys have the role `{}`", input.name))
                .hint("take it from them first"));
        }
        if sso::gives(&*change.tx, ctx.tenant, &input.name)? {
            return Err(Error::conflict(format!("a group at a provider gives the role `{}`", input.name))
                .hint("take it out of the provider's list first"));
        }
        change.tx.delete(&ROLES, &(ctx.tenant, input.name.to_string()))?;
        change.tell("identity.role_removed", &input.name, json!({ "permissions": before.permissions }));
        Ok(Nothing {})
    })
}

fn find(tx: &Tx, ctx: &Ctx<'_>, name: &RoleName) -> Result<MadeRole> {
    tx.get(&ROLES, &(ctx.tenant, name.to_string()))?.ok_or_else(|| match name.built_in() {
        Some(_) => Error::conflict(format!("`{name}` is a role of every site and stays as it is"))
            .hint("make one of your own with what it should include"),
        None => unknown(name),
    })
}

/// One more role for a person.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct GrantChosen {
    /// Who.
    pub id: UserId,
    /// The role.
    pub role: RoleName,
    /// With what; empty for everything.
    #[serde(default)]
    pub scope: Scope,
    /// Whether it holds at once, or may be taken up when it is needed.
    #[serde(default)]
    pub standing: Standing,
    /// When it ends; absent for one without an end.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Gives a person a role.
pub(in crate::capabilities::identity) fn grant(ctx: &Ctx<'_>, input: GrantChosen) -> Result<UserView> {
    let permit = ctx.require("identity.grant")?;
    if input.until.is_some_and(|until| until <= ctx.now) {
        return Err(Error::invalid("the end of the grant lies in the past").hint("choose a later instant"));
    }
    may_give(ctx, &ctx.read()?, &input.role, &input.scope)?;
    let new = Granted {
        role: input.role,
        scope: input.scope,
        standing: input.standing,
        until: input.until,
        reason: reason(&input.reason)?,
        provider: String::new(),
    };
    alter(ctx, permit, input.id, "identity.granted", |user| {
        let before = user.roles();
        if user.grants.iter().any(|one| same(one, &new) && one.until == new.until) {
            return Err(Error::conflict(format!("`{}` has that already: {}", user.login, new.text())));
        }
        user.grants.retain(|one| !same(one, &new) && one.lasts(ctx.now));
        user.grants.push(new);
        Ok(told(user, &before))
    })
}

/// Which role is taken.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Withdrawn {
    /// From whom.
    pub id: UserId,
    /// The role.
    pub role: RoleName,
    /// With what it was given.
    #[serde(default)]
    pub scope: Scope,
    /// Whether it held or could be taken up.
    #[serde(default)]
    pub standing: Standing,
}

/// Takes a role from a person.
pub(in crate::capabilities::identity) fn withdraw(ctx: &Ctx<'_>, input: Withdrawn) -> Result<UserView> {
    alter(ctx, ctx.require("identity.withdraw")?, input.id, "identity.withdrawn", |user| {
        let before = user.roles();
        let there = user.grants.len();
        let given = |one: &Granted| {
            one.role == input.role && one.scope == input.scope && one.standing == input.standing
        };
        user.grants.retain(|one| !given(one) || !one.provider.is_empty());
        if user.grants.len() == there && user.grants.iter().any(given) {
            return Err(Error::conflict(format!(
                "a group at a provider gives `{}` to `{}`",
                input.role, user.login
            ))
            .hint("take the group from them there, or change which groups give which roles"));
        }
        if user.grants.len() == there {
            return Err(Error::not_found("grant", format!("{} with {}", input.role, input.scope)));
        }
        Ok(told(user, &before))
    })
}

fn same(one: &Granted, other: &Granted) -> bool {
    let same = one.role == other.role && one.scope == other.scope && one.standing == other.standing;
    same && one.provider == other.provider
}

pub(super) fn told(user: &User, before: &str) -> serde_json::Value {
    json!({ "login": user.login, "roles": { "before": before, "after": user.roles() }, "grants": user.grants })
}

/// Takes away grants that have ended, so that lists stay short; they gave nothing any more.
pub(in crate::capabilities::identity) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    let over = |user: &User| user.grants.iter().any(|one| !one.lasts(ctx.now));
    if !store::users(&ctx.read()?, ctx.tenant)?.iter().any(over) {
        return Ok(());
    }
    ctx.require("identity.sweep")?.write(|change| {
        for mut user in store::users(&*change.tx, ctx.tenant)?.into_iter().filter(over) {
            let before = user.roles();
            user.grants.retain(|one| one.lasts(ctx.now));
            change.tx.put(&store::USERS, &(ctx.tenant, user.id), &user)?;
            change.tell("identity.grant_ended", user.id, told(&user, &before));
        }
        Ok(())
    })
}
