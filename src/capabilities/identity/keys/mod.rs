//! API keys: the way in for programs.
//!
//! A key has roles, and may be narrowed to some of their permissions and to some networks. Its text can be replaced while
//! the one before goes on for a while, so that a program is moved over without a gap. For a short-lived token the text is
//! exchanged at `/oauth/token`; with a refresh token a program goes on without the text (`families`). A program may
//! replace its own text by itself (`own`).
//!
//! Invariant: of a text only the digest is kept; it is shown once.
//! Invariant: a key never gives more than its roles, and whoever gets a text could have given all that it gives.
//! Invariant: a key has at most two texts that work.

mod families;
pub(super) mod ops;
mod own;
pub(super) mod pages;
#[cfg(test)]
mod tests;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;

pub(super) use families::{Family, restored};
pub use families::{FamilyView, introspect, revoke};
pub use ops::{KeyChanged, KeyChosen, KeyMade};
pub(super) use tokens::SignerRow;
pub use tokens::{issue, jwks};

use super::model::{ApiKey, Digest, KEYS_MAX, OldText};
use super::store::{KEYS, KEYS_BY_DIGEST};
use super::{memory, roles};
use crate::base::{Error, KeyId, Result, TenantId, Timestamp};
use crate::engine::crypto::{looks_like_jwt, well_formed};
use crate::engine::store::Read;
use crate::kit::{Actor, Ctx, Grant, HOME, Permissions, Rights, Role, Site};

/// First letters of a key's text.
const PREFIX: &str = "mst";

/// Who is behind this bearer text or token, if it works. `from` is where it came from.
pub fn key_actor(site: &Site, bearer: &str, from: &str) -> Result<Option<(TenantId, Actor)>> {
    if looks_like_jwt(bearer) {
        return tokens::actor(site, bearer, from).map(Some);
    }
    let Some(found) = by_text(site, bearer)? else { return Ok(None) };
    admitted(&found.key, from)?;
    note_use(site, &found, from)?;
    let name = found.key.name.to_string();
    Ok(Some((found.tenant, Actor::Key { key: found.key.id, name, rights: Arc::new(found.rights) })))
}

/// A key that works, found by its text.
struct Found {
    tenant: TenantId,
    key: ApiKey,
    digest: Digest,
    rights: Rights,
}

fn by_text(site: &Site, text: &str) -> Result<Option<Found>> {
    if !text.starts_with(PREFIX) || !well_formed(text) {
        return Ok(None);
    }
    let (now, digest) = (site.clock.now(), Digest::of(text));
    let read = site.store.read()?;
    let look = |tenant| read.get(&KEYS_BY_DIGEST, &(tenant, digest));
    let found = memory::of(site).places.search(&site.tenants, &digest, look)?;
    let Some((tenant, id)) = found else { return Ok(None) };
    let Some(key) = read.get(&KEYS, &(tenant, id))? else { return Ok(None) };
    if !key.works(now) || !key.opens(&digest, now) {
        return Ok(None);
    }
    site.tenants.admit(tenant)?;
    let rights = rights(&read, tenant, &key, now)?;
    Ok(Some(Found { tenant, key, digest, rights }))
}

/// What a key gives at this moment.
fn rights(read: &impl Read, tenant: TenantId, key: &ApiKey, now: Timestamp) -> Result<Rights> {
    let rights = roles::rights(read, tenant, &key.grants, now)?;
    Ok(match &key.only {
        Some(only) => narrowed(&rights, only),
        None => rights,
    })
}

/// A context in which a key acts on what is its own, such as its text: that needs no role. It stays in here.
fn own<'a>(ctx: &Ctx<'a>, key: KeyId, name: &str) -> Ctx<'a> {
    Ctx { actor: Actor::Key { key, name: name.to_owned(), rights: Rights::of(Role::Owner) }, ..ctx.clone() }
}

/// Of the rights what `only` includes too.
pub(super) fn narrowed(rights: &Rights, only: &Permissions) -> Rights {
    let grants = rights
        .grants
        .iter()
        .map(|grant| Grant { permissions: Arc::new(grant.permissions.both(only)), ..grant.clone() });
    Rights { grants: grants.filter(|grant| !grant.permissions.is_empty()).collect(), ..rights.clone() }
}

/// Refuses an address that is in none of the key's networks. Only who has the text gets to hear it.
fn admitted(key: &ApiKey, from: &str) -> Result<()> {
    let address = from.parse::<IpAddr>().ok();
    let within = address.is_some_and(|address| key.networks.iter().any(|network| network.contains(address)));
    if key.networks.is_empty() || within {
        return Ok(());
    }
    tracing::warn!(key = %key.id, from, "the API key `{}` was used from `{from}`, where it may not be", key.name);
    Err(Error::unauthenticated(format!("the API key `{}` may not be used from `{from}`", key.name))
        .hint("its networks stand in the console at /people/keys"))
}

fn note_use(site: &Site, found: &Found, from: &str) -> Result<()> {
    let (tenant, now, digest, id) = (found.tenant, site.clock.now(), found.digest, found.key.id);
    let memory = memory::of(site);
    let kept = match &found.key.old {
        Some(old) if old.digest == digest => old.last_used,
        _ => found.key.last_used,
    };
    let last = memory.uses.last(&digest, kept.unwrap_or_default());
    // That a successor has come into use is written at once: from then on the text before it makes no other.
    let follows = |key: &ApiKey| digest == key.digest && key.old.as_ref().is_some_and(OldText::is_unfollowed);
    if !memory.uses.note(digest, last, now) && !follows(&found.key) {
        return Ok(());
    }
    let ctx = Ctx::system(site, tenant, "identity.keys");
    // Nobody waits for it, and a full disk shuts nobody out: without it only the last minute of use is lost.
    let noted = ctx.require("identity.use")?.submit(|change| {
        if let Some(mut key) = change.tx.get(&KEYS, &(tenant, id))? {
            (key.last_used, key.last_from) = (Some(now), from.chars().take(64).collect());
            if let Some(old) = key.old.as_mut().filter(|old| old.digest == digest) {
                old.last_used = Some(now);
            }
            if follows(&key)
                && let Some(old) = key.old.as_mut()
            {
                old.followed = true;
            }
            change.tx.put(&KEYS, &(tenant, id), &key)?;
        }
        Ok(())
    });
    if let Err(error) = noted {
        tracing::debug!("the use of an API key was not noted: {error}");
    }
    Ok(())
}

/// The job: texts whose time is over open nothing, and take no room; who signs tokens changes.
pub(super) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    let over = |key: &ApiKey| key.old.as_ref().is_some_and(|old| old.until <= ctx.now);
    if ctx.read()?.prefix(&KEYS, &ctx.tenant, KEYS_MAX)?.iter().any(|(_, key)| over(key)) {
        ctx.require("identity.sweep")?.write(|change| {
            for (_, key) in change.tx.prefix(&KEYS, &ctx.tenant, KEYS_MAX)? {
                if let (true, Some(old)) = (over(&key), &key.old) {
                    change.tx.delete(&KEYS_BY_DIGEST, &(ctx.tenant, old.digest))?;
                    change.tx.put(&KEYS, &(ctx.tenant, key.id), &ApiKey { old: None, ..key.clone() })?;
                }
            }
            Ok(())
        })?;
    }
    families::sweep(ctx)?;
    // Who signs does so for every tenant.
    if ctx.tenant == HOME { tokens::sweep(ctx) } else { Ok(()) }
}
