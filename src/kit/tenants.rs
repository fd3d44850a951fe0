//! The organisations inside a site: which there are, what they may use, and what belongs to the site as a whole.
//!
//! The first tenant is the site's own, its home. While it is the only one, nobody reads a word of tenants. What is about
//! the whole site, such as its backups, belongs to the home: each capability says which of its permissions are of that
//! kind, and nobody of another tenant has them, whatever their roles say.
//!
//! Invariant: the home is always there, has no quotas, and is never suspended.
//! Invariant: what is in memory here is what is stored: loaded at the start, changed by the operations on tenants alone.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ctx, Permissions, Site};
use crate::base::limits::TENANTS_MAX;
use crate::base::{Error, Name, Result, TenantId};

/// The site's own tenant.
pub const HOME: TenantId = TenantId::from_bits(1);

/// What of a tenant is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Agents that are not retired.
    Agents,
    /// People that are not disabled.
    People,
    /// API keys that are not revoked.
    Keys,
    /// Secrets.
    Secrets,
    /// Tasks that have not ended.
    Tasks,
    /// Series of metrics.
    Series,
    /// Requests to console and API in a second.
    Requests,
}

impl Quota {
    /// Every one.
    pub const ALL: [Quota; 7] = [
        Quota::Agents,
        Quota::People,
        Quota::Keys,
        Quota::Secrets,
        Quota::Tasks,
        Quota::Series,
        Quota::Requests,
    ];

    /// What is counted, in words.
    pub fn words(self) -> &'static str {
        match self {
            Quota::Agents => "agents",
            Quota::People => "people",
            Quota::Keys => "API keys",
            Quota::Secrets => "secrets",
            Quota::Tasks => "open tasks",
            Quota::Series => "series",
            Quota::Requests => "requests per second",
        }
    }

    /// The field of [`Quotas`] that it is.
    pub fn field(self) -> &'static str {
        match self {
            Quota::Agents => "agents",
            Quota::People => "people",
            Quota::Keys => "keys",
            Quota::Secrets => "secrets",
            Quota::Tasks => "tasks",
            Quota::Series => "series",
            Quota::Requests => "requests",
        }
    }
}

/// How much a tenant may have at once; what is left out has no bound but the site's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Agents that are not retired.
    pub agents: Option<u32>,
    /// People that are not disabled.
    pub people: Option<u32>,
    /// API keys that are not revoked.
    pub keys: Option<u32>,
    /// Secrets.
    pub secrets: Option<u32>,
    /// Tasks that have not ended.
    pub tasks: Option<u32>,
    /// Series of metrics.
    pub series: Option<u32>,
    /// Requests to console and API in a second.
    pub requests: Option<u32>,
}

impl Quotas {
    /// How much of this; nothing for no bound.
    pub fn of(&self, quota: Quota) -> Option<u32> {
        match quota {
            Quota::Agents => self.agents,
            Quota::People => self.people,
            Quota::Keys => self.keys,
            Quota::Secrets => self.secrets,
            Quota::Tasks => self.tasks,
            Quota::Series => self.series,
            Quota::Requests => self.requests,
        }
    }
}

/// A tenant, as every part of the site knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Which.
    pub id: TenantId,
    /// What people call it; the home is called as the site is.
    pub name: Option<Name>,
    /// Whether its people, keys and agents are refused.
    pub is_suspended: bool,
    /// Whether it is being taken away.
    pub is_going: bool,
    /// How much it may have.
    pub quotas: Quotas,
}

impl Tenant {
    /// The site's own.
    pub fn home() -> Tenant {
        Tenant { id: HOME, name: None, is_suspended: false, is_going: false, quotas: Quotas::default() }
    }
}

/// All of them, the home first.
pub struct Tenants(RwLock<Arc<[Tenant]>>);

impl Default for Tenants {
    fn default() -> Tenants {
        Tenants(RwLock::new(Arc::new([Tenant::home()])))
    }
}

impl Tenants {
    /// Every tenant, the home first, the others by their age.
    pub fn all(&self) -> Arc<[Tenant]> {
        Arc::clone(&self.0.read())
    }

    /// Those for which the site works: all but who is being taken away.
    pub fn living(&self) -> Vec<TenantId> {
        self.all().iter().filter(|tenant| !tenant.is_going).map(|tenant| tenant.id).collect()
    }

    /// Whether it is there and not being taken away: only then is anything written in it.
    pub fn lives(&self, id: TenantId) -> bool {
        id == HOME || self.0.read().iter().any(|tenant| tenant.id == id && !tenant.is_going)
    }

    /// One of them.
    pub fn find(&self, id: TenantId) -> Option<Tenant> {
        self.0.read().iter().find(|tenant| tenant.id == id).cloned()
    }

    /// Whether there is more than the site's own.
    pub fn are_several(&self) -> bool {
        self.0.read().len() > 1
    }

    /// Takes over what is stored: every tenant but the home.
    pub fn set(&self, others: Vec<Tenant>) {
        let mut all = vec![Tenant::home()];
        all.extend(others.into_iter().filter(|tenant| tenant.id != HOME).take(TENANTS_MAX - 1));
        all[1..].sort_by_key(|tenant| tenant.id);
        *self.0.write() = all.into();
    }

    /// The first tenant for which `look` finds something, with what it found. While there is one tenant, this is one look.
    pub fn search<T>(
        &self,
        mut look: impl FnMut(TenantId) -> Result<Option<T>>,
    ) -> Result<Option<(TenantId, T)>> {
        for tenant in self.all().iter() {
            if let Some(found) = look(tenant.id)? {
                return Ok(Some((tenant.id, found)));
            }
        }
        Ok(None)
    }

    /// Refuses who is of a tenant that is suspended.
    pub fn admit(&self, id: TenantId) -> Result<()> {
        if id == HOME {
            return Ok(());
        }
        match self.find(id) {
            Some(tenant) if !tenant.is_suspended && !tenant.is_going => Ok(()),
            Some(tenant) => {
                let name = tenant.name.map(|name| name.to_string()).unwrap_or_default();
                Err(Error::forbidden(format!("`{name}` is suspended, and nobody of it is let in"))
                    .hint("nothing of it is lost; who runs the site can resume it"))
            }
            None => Err(Error::forbidden("the organisation that this belongs to is not here any more")),
        }
    }
}

/// Where things were found, so that the next look begins there. A hint: what is found is looked up all the same.
pub struct Places<K>(RwLock<HashMap<K, TenantId>>);

/// Hints of one kind.
const PLACES_MAX: usize = 20_000;

impl<K> Default for Places<K> {
    fn default() -> Places<K> {
        Places(RwLock::default())
    }
}

impl<K: std::hash::Hash + Eq + Clone> Places<K> {
    /// As [`Tenants::search`], beginning where `key` was found before. Only what is not in the home takes a place.
    pub fn search<T>(
        &self,
        tenants: &Tenants,
        key: &K,
        mut look: impl FnMut(TenantId) -> Result<Option<T>>,
    ) -> Result<Option<(TenantId, T)>> {
        let hint = self.0.read().get(key).copied();
        if let Some(tenant) = hint
            && let Some(found) = look(tenant)?
        {
            return Ok(Some((tenant, found)));
        }
        let found = tenants.search(look)?;
        if let Some((tenant, _)) = &found
            && *tenant != HOME
        {
            let mut places = self.0.write();
            if places.len() >= PLACES_MAX {
                places.clear();
            }
            places.insert(key.clone(), *tenant);
        }
        Ok(found)
    }
}

impl Site {
    /// How much the tenant may have.
    pub fn quotas(&self, tenant: TenantId) -> Quotas {
        self.tenants.find(tenant).map(|tenant| tenant.quotas).unwrap_or_default()
    }

    /// What the tenant is called: the site's own as the site.
    pub fn tenant_name(&self, tenant: TenantId) -> String {
        let found = self.tenants.find(tenant).and_then(|tenant| tenant.name);
        found.map_or_else(|| self.settings.name(), |name| name.to_string())
    }
}

impl Ctx<'_> {
    /// Refuses to make `more` where the tenant's quota does not let it: it has `count` already, which is asked for only
    /// where there is a quota.
    pub fn within_quota(
        &self,
        quota: Quota,
        more: usize,
        count: impl FnOnce() -> Result<usize>,
    ) -> Result<()> {
        let Some(most) = self.site.quotas(self.tenant).of(quota) else { return Ok(()) };
        let there = count()?;
        if there.saturating_add(more) <= most as usize {
            return Ok(());
        }
        let (name, words) = (self.site.tenant_name(self.tenant), quota.words());
        Err(Error::conflict(format!("the quota of `{name}` is {most} {words}, and {there} are there"))
            .hint("take some away, or ask who runs the site to raise the quota"))
    }

    /// Whether a permission or event of this name is worth a word to the actor: what is about the whole site is for the
    /// home, and tenants are for a site that has several.
    pub fn shows(&self, name: &str) -> bool {
        (self.tenant == HOME || !is_sites(name))
            && (self.site.tenants.are_several() || !name.starts_with("tenants."))
    }

    /// The same context in another tenant, for what the site does there by itself.
    #[must_use]
    pub fn within(&self, tenant: TenantId) -> Self {
        Ctx { tenant, ..self.clone() }
    }
}

/// The permissions that are about the whole site, of every capability of this process.
static SITES: RwLock<Vec<Permissions>> = RwLock::new(Vec::new());

/// Declares them: patterns such as `backups.*`.
pub(super) fn declare_sites(patterns: &[&str]) {
    let Ok(permissions) = patterns.join(", ").parse::<Permissions>() else { return };
    let mut all = SITES.write();
    if !all.contains(&permissions) {
        all.push(permissions);
    }
}

/// Whether the permission is about the whole site, so that nobody but the home's people and keys can have it.
pub fn is_sites(permission: &str) -> bool {
    SITES.read().iter().any(|declared| declared.allow(permission))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(bits: u128, quotas: Quotas) -> Tenant {
        let name = Some(format!("Plant {bits}").parse().unwrap());
        Tenant { id: TenantId::from_bits(bits), name, is_suspended: false, is_going: false, quotas }
    }

    #[test]
    fn the_home_is_first_and_stays() {
        let tenants = Tenants::default();
        assert!(!tenants.are_several());
        tenants.set(vec![
            other(9, Quotas::default()),
            other(1, Quotas::default()),
            other(4, Quotas::default()),
        ]);
        let ids: Vec<u128> = tenants.all().iter().map(|tenant| tenant.id.bits()).collect();
        assert_eq!(ids, [1, 4, 9]);
        tenants.set((2..200).map(|bits| other(bits, Quotas::default())).collect());
        assert_eq!(tenants.all().len(), TENANTS_MAX);
    }

    #[test]
    fn a_search_begins_where_it_ended() {
        let (tenants, places) = (Tenants::default(), Places::default());
        tenants.set((2..10).map(|bits| other(bits, Quotas::default())).collect());
        let mut looks = 0;
        let mut look = |key: u8| {
            places.search(&tenants, &key, |tenant| {
                looks += 1;
                Ok((tenant.bits() == u128::from(key)).then_some(()))
            })
        };
        for _ in 0..3 {
            assert_eq!(look(7).unwrap().unwrap().0.bits(), 7);
        }
        assert!(look(99).unwrap().is_none());
        assert_eq!(looks, 7 + 1 + 1 + 9);
    }

    #[test]
    fn who_is_suspended_is_refused_in_words() {
        let tenants = Tenants::default();
        tenants.set(vec![Tenant { is_suspended: true, ..other(4, Quotas::default()) }]);
        assert!(tenants.admit(HOME).is_ok());
        let error = tenants.admit(TenantId::from_bits(4)).unwrap_err();
        assert!(error.message().contains("`Plant 4` is suspended"), "{error}");
        assert!(tenants.admit(TenantId::from_bits(5)).is_err());
    }
}
