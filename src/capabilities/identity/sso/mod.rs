//! Single sign-on: people whom another system vouches for, an OpenID provider or a directory.
//!
//! A provider proves who somebody is and says which groups they are in; groups become roles by a list that is made here.
//! Those grants stand beside what the person was given here, marked by their provider, and are renewed at each sign-in.
//! A small OpenID provider of our own, for sites that have none, would stand beside this module and sign people in at
//! other programs; this one only listens.
//!
//! Invariant: a person is known by provider and subject, never by a login name or an address: nobody becomes a local
//! person by being called the same.
//! Invariant: a list of groups gives nothing that its maker does not have, and a provider is changed only by who may act
//! on everybody who comes in through it.
//! Invariant: local sign-in works whatever a provider does: there is an owner with a password before the first is added,
//! and a role that a provider gives makes nobody the owner that must remain.
//! Invariant: a secret of a provider is in the vault and is never given out again; a connection goes where a provider's
//! own setting said.
//! Invariant: an answer of a provider counts in the browser that asked, once, and for ten minutes.

mod arrive;
pub(super) mod directory;
mod flow;
mod links;
mod logout;
mod memory;
mod model;
pub(super) mod ops;
pub(super) mod pages;
pub(super) mod recovery;
pub(super) mod store;
#[cfg(test)]
mod tests;

pub(super) use arrive::Proof;
pub(super) use logout::{began_by, note, sweep};
pub(super) use model::Settings;

use std::collections::HashSet;

use super::model::User;
use crate::base::{Result, TenantId, UserId};
use crate::engine::store::Read;
use crate::kit::{Ctx, RoleName};

/// A provider that the sign-in page offers.
pub(super) struct Offer {
    /// Its identifier.
    pub(super) id: String,
    /// What people call it.
    pub(super) name: String,
}

/// What the sign-in page offers.
pub(super) fn offers(ctx: &Ctx<'_>) -> Result<Vec<Offer>> {
    let all = store::providers(&ctx.read()?, ctx.tenant)?.into_iter();
    let open = all.filter(|one| one.on && matches!(one.settings, Settings::Oidc(_)));
    Ok(open.map(|one| Offer { id: one.id, name: one.name.to_string() }).collect())
}

/// Every provider's hosts stand on the list of places that the server may connect to; at the start, before anybody signs
/// in.
pub fn allow_providers(ctx: &Ctx<'_>) -> Result<()> {
    store::providers(&ctx.read()?, ctx.tenant)?.iter().try_for_each(|one| one.allow(ctx))
}

/// Everybody whom a provider signs in.
pub(super) fn linked(read: &impl Read, tenant: TenantId) -> Result<HashSet<UserId>> {
    let all = read.prefix(&store::LINKS, &tenant, store::LINKS_MAX)?;
    Ok(all.into_iter().map(|(_, link)| link.user).collect())
}

/// Whether a provider gives this role to one of its groups.
pub(super) fn gives(read: &impl Read, tenant: TenantId, role: &RoleName) -> Result<bool> {
    Ok(store::providers(read, tenant)?.iter().any(|one| one.mappings.iter().any(|to| to.role == *role)))
}

/// Whether what a provider proved still stands: it is on, and whom it named is this person.
pub(super) fn still_proves(read: &impl Read, tenant: TenantId, user: UserId, proof: &Proof) -> Result<bool> {
    let on = store::provider(read, tenant, &proof.provider).is_ok_and(|provider| provider.on);
    let link = read.get(&store::LINKS, &(tenant, proof.provider.clone(), proof.subject.clone()))?;
    Ok(on && link.is_some_and(|link| link.user == user))
}

/// Whether they could sign in when every provider is down, and put things right.
pub(super) fn breaks_glass(user: &User) -> bool {
    user.is_active_owner() && user.password.is_some()
}
