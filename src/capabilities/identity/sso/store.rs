//! Tables of providers, of who is who, and of sessions that providers began.

use super::model::{Begun, Link, PROVIDERS_MAX, Provider};
use crate::base::{Error, Result, SessionId, TenantId, UserId, limits};
use crate::capabilities::identity::model::USERS_MAX;
use crate::engine::store::{Read, Table};

/// Names of the tables, for checks.
pub(in crate::capabilities::identity) const NAMES: [&str; 3] =
    ["identity_providers", "identity_provider_links", "identity_provider_sessions"];

/// Links of one tenant: several for a person, when there are several providers.
pub(super) const LINKS_MAX: usize = USERS_MAX * PROVIDERS_MAX;
/// Sessions of one tenant that providers began.
pub(super) const BEGUN_MAX: usize = USERS_MAX * limits::SESSIONS_PER_USER_MAX * 2;

/// Providers by their identifier.
pub(in crate::capabilities::identity) static PROVIDERS: Table<(TenantId, String), Provider> =
    Table::new(NAMES[0]);
/// Who somebody is, by provider and subject.
pub(in crate::capabilities::identity) static LINKS: Table<(TenantId, String, String), Link> =
    Table::new(NAMES[1]);
/// Sessions that a provider began.
pub(in crate::capabilities::identity) static BEGUN: Table<(TenantId, SessionId), Begun> =
    Table::new(NAMES[2]);

/// All providers, in the order of their identifiers, which is the one in which they were added.
pub(super) fn providers(read: &impl Read, tenant: TenantId) -> Result<Vec<Provider>> {
    Ok(read.prefix(&PROVIDERS, &tenant, PROVIDERS_MAX)?.into_iter().map(|(_, one)| one).collect())
}

/// One provider.
pub(super) fn provider(read: &impl Read, tenant: TenantId, id: &str) -> Result<Provider> {
    read.get(&PROVIDERS, &(tenant, id.to_owned()))?.ok_or_else(|| {
        let shown: String = id.chars().take(limits::NAME_BYTES_MAX).collect();
        Error::not_found("provider", shown).hint("the providers stand at /people/sign-on")
    })
}

/// The links of one provider: subject and who it is.
pub(super) fn links_of(read: &impl Read, tenant: TenantId, provider: &str) -> Result<Vec<(String, Link)>> {
    let all = read.prefix(&LINKS, &(tenant, provider), LINKS_MAX)?;
    Ok(all.into_iter().map(|((_, _, subject), link)| (subject, link)).collect())
}

/// The links of one person: provider, subject and the link.
pub(super) fn links_to(
    read: &impl Read,
    tenant: TenantId,
    user: UserId,
) -> Result<Vec<(String, String, Link)>> {
    let all = read.prefix(&LINKS, &tenant, LINKS_MAX)?.into_iter().filter(|(_, link)| link.user == user);
    Ok(all.map(|((_, provider, subject), link)| (provider, subject, link)).collect())
}
