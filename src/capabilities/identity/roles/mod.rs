//! Roles: what they include, who has them, and why somebody may do something.
//!
//! A person has grants: a role within a scope, for good, until an instant, or to be taken up when it is needed. The sum
//! of those that hold at this moment is looked up at every request.
//!
//! Invariant: nobody gives, takes away or makes what they do not have themselves.
//! Invariant: nobody acts on a person who has more than they do, so that a password link is no way to more.
//! Invariant: a role that somebody has cannot be removed.

mod adopt;
mod elevation;
mod model;
pub(super) mod ops;
pub(super) mod pages;
#[cfg(test)]
mod tests;
mod why;

pub use adopt::adopt;
pub use model::Granted;
pub(super) use model::{MadeRole, Standing};

use std::sync::Arc;

use super::model::{GRANTS_MAX, User};
use super::store::ROLES;
use crate::base::{Error, Result, TenantId, Timestamp};
use crate::engine::store::Read;
use crate::kit::{Ctx, Grant, HOME, Permissions, Rights, Role, RoleName, Scope};

/// Roles that are made in one tenant.
pub(super) const ROLES_MAX: usize = 200;

/// What a role includes; nothing when there is no such role.
pub(super) fn permissions(
    read: &impl Read,
    tenant: TenantId,
    role: &RoleName,
) -> Result<Option<Arc<Permissions>>> {
    if let Some(role) = role.built_in() {
        return Ok(Some(role.permissions()));
    }
    Ok(read.get(&ROLES, &(tenant, role.to_string()))?.map(|made| Arc::new(made.permissions)))
}

/// What one grant gives while it holds; nothing when its role is gone.
fn grant(read: &impl Read, tenant: TenantId, one: &Granted) -> Result<Option<Grant>> {
    let known = permissions(read, tenant, &one.role)?;
    Ok(known.map(|permissions| {
        let (role, scope) = (one.role.clone(), one.scope.clone());
        Grant { role, permissions, scope, until: one.until }
    }))
}

/// What these grants give at `now`.
pub(super) fn rights(
    read: &impl Read,
    tenant: TenantId,
    granted: &[Granted],
    now: Timestamp,
) -> Result<Rights> {
    let mut grants = Vec::with_capacity(granted.len());
    for one in granted.iter().filter(|one| one.holds(now)) {
        grants.extend(grant(read, tenant, one)?);
    }
    Ok(Rights { grants, looks_as: None, within_tenant: tenant != HOME })
}

/// Refuses to pass on what the actor does not have.
pub(super) fn may_give(ctx: &Ctx<'_>, read: &impl Read, role: &RoleName, scope: &Scope) -> Result<()> {
    let wanted = permissions(read, ctx.tenant, role)?.ok_or_else(|| unknown(role))?;
    match ctx.actor.rights() {
        Some(rights) if !rights.include(&wanted, scope) => Err(Error::forbidden(format!(
            "a role above your own cannot be given or taken away: `{role}` with {scope} holds more than `{}`",
            rights.roles()
        ))
        .hint("ask somebody who has that role")),
        _ => Ok(()),
    }
}

/// Refuses to act on a person who has, or may take up, more than the actor.
pub(super) fn may_act_on(ctx: &Ctx<'_>, read: &impl Read, user: &User) -> Result<()> {
    let Some(rights) = ctx.actor.rights() else { return Ok(()) };
    for one in user.grants.iter().filter(|one| one.lasts(ctx.now)) {
        let Some(theirs) = permissions(read, ctx.tenant, &one.role)? else { continue };
        if !rights.include(&theirs, &one.scope) {
            return Err(Error::forbidden(format!(
                "`{}` has the role `{}` with {}, which holds more than yours",
                user.login, one.role, one.scope
            ))
            .hint("ask somebody who has that role"));
        }
    }
    Ok(())
}

fn unknown(role: &RoleName) -> Error {
    Error::not_found("role", role).hint("the roles stand at /people/roles")
}

/// Refuses a change of a person's grants that gives or takes what the actor does not have.
pub(super) fn may_turn(ctx: &Ctx<'_>, read: &impl Read, before: &User, after: &User) -> Result<()> {
    if after.grants.len() > GRANTS_MAX {
        return Err(Error::too_many(format!("{} grants are too many for one person", after.grants.len()))
            .hint(format!("at most {GRANTS_MAX}; a role of its own can hold what several hold")));
    }
    let new = after.grants.iter().filter(|one| !before.grants.contains(one));
    let gone = before.grants.iter().filter(|one| one.lasts(ctx.now) && !after.grants.contains(one));
    for one in new.chain(gone) {
        may_give(ctx, read, &one.role, &one.scope)?;
    }
    Ok(())
}

/// What of the grants of then may come back, when `since` is what was given last: of both what the other includes, so
/// that nobody gets back what was taken away, nor what they were given later.
pub(super) fn kept(
    read: &impl Read,
    tenant: TenantId,
    then: &[Granted],
    since: &[Granted],
) -> Result<Vec<Granted>> {
    let mut kept: Vec<Granted> = Vec::new();
    for (ones, others) in [(then, since), (since, then)] {
        let mut all = Rights::default();
        for other in others.iter().filter(|other| other.standing == Standing::Held) {
            all.grants.extend(grant(read, tenant, other)?);
        }
        for one in ones {
            let known = permissions(read, tenant, &one.role)?;
            let both = others.contains(one) || known.is_some_and(|own| all.include(&own, &one.scope));
            if both && !kept.contains(one) {
                kept.push(one.clone());
            }
        }
    }
    Ok(kept)
}

/// The names of all roles, the built-in ones first and the one with the most last among them.
pub(super) fn names(ctx: &Ctx<'_>) -> Result<Vec<String>> {
    let made = ctx.read()?.prefix(&ROLES, &ctx.tenant, ROLES_MAX)?;
    let built_in = Role::ALL.into_iter().map(|role| role.word().to_owned());
    Ok(built_in.chain(made.into_iter().map(|(_, role)| role.name.to_string())).collect())
}
