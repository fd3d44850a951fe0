//! Who acts once more later, without asking anew: what they may do at that moment, and who stands behind them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::keys::narrowed;
use super::model::User;
use super::roles;
use super::store::{self, KEYS, USERS};
use crate::base::{Error, KeyId, Result, SessionId, TenantId, Timestamp, UserId};
use crate::engine::store::Read;
use crate::kit::{Actor, Rights};

/// The person or key that the journal names, with what they may do at `now`; an error says why they may do nothing any
/// more. `session` is that of the person when they asked.
pub fn again(
    read: &impl Read,
    tenant: TenantId,
    actor: &str,
    session: SessionId,
    now: Timestamp,
) -> Result<Actor> {
    if let Ok(id) = actor.parse::<UserId>() {
        let user = read.get(&USERS, &(tenant, id))?.ok_or_else(|| Error::not_found("user", id))?;
        if !user.is_active() {
            return Err(Error::forbidden(format!("`{}` is shut out since", user.login)));
        }
        let rights = roles::rights(read, tenant, &user.grants, now)?;
        return Ok(Actor::Person {
            user: id,
            session,
            name: user.name.to_string(),
            rights: Arc::new(rights),
            proved: now,
        });
    }
    let id: KeyId = actor.parse()?;
    let key = read.get(&KEYS, &(tenant, id))?.ok_or_else(|| Error::not_found("API key", id))?;
    if !key.works(now) {
        return Err(Error::forbidden(format!("the API key `{}` is revoked or has ended since", key.name)));
    }
    let rights = roles::rights(read, tenant, &key.grants, now)?;
    let rights = match &key.only {
        Some(only) => narrowed(&rights, only),
        None => rights,
    };
    Ok(Actor::Key { key: id, name: key.name.to_string(), rights: Arc::new(rights) })
}

/// Everybody who stands behind the actor that the journal names: itself, and of a key all who made it or were given its
/// text, and so on.
pub fn makers(read: &impl Read, tenant: TenantId, actor: &str) -> Result<BTreeSet<String>> {
    let (mut found, mut open) = (BTreeSet::from([actor.to_owned()]), vec![actor.to_owned()]);
    while let Some(one) = open.pop() {
        let Ok(id) = one.parse::<KeyId>() else { continue };
        let Some(key) = read.get(&KEYS, &(tenant, id))? else { continue };
        for maker in std::iter::once(key.created_by).chain(key.rotated_by) {
            if found.insert(maker.clone()) {
                open.push(maker);
            }
        }
    }
    Ok(found)
}

/// The people who may sign in and have the permission with everything at `now`.
pub fn holders(read: &impl Read, tenant: TenantId, permission: &str, now: Timestamp) -> Result<Vec<UserId>> {
    let mut found = Vec::new();
    for user in store::users(read, tenant)?.into_iter().filter(User::is_active) {
        let rights: Rights = roles::rights(read, tenant, &user.grants, now)?;
        if rights.allow_everywhere(permission) {
            found.push(user.id);
        }
    }
    Ok(found)
}
