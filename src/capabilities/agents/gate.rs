//! What the gate asks: who is this, and what to do when somebody comes and goes.

use std::net::SocketAddr;

use super::{State, store};
use crate::base::{AgentId, TenantId};
use crate::capabilities::clients;
use crate::engine::broker::{Admission, Credentials, Refusal};
use crate::engine::{crypto, store::Read};
use crate::kit::{Ctx, Site};

/// User name of a program that joins; its password is the join code's secret.
pub const JOIN_USER: &str = "join";

/// Who connects. Identity is the certificate's; without one, the user name is the agent and the password its secret.
pub fn admit(site: &Site, credentials: &Credentials<'_>) -> Result<Admission, Refusal> {
    if let Some(der) = credentials.certificate {
        let identity = crypto::identity_of(der).map_err(|_| Refusal::BadCredentials)?;
        let agent: AgentId = identity.parse().map_err(|_| Refusal::BadCredentials)?;
        if credentials.client_id != identity {
            return Err(Refusal::BadClientId);
        }
        return active(site, agent, None);
    }
    let (Some(user), Some(password)) = (credentials.username, credentials.password) else {
        return Err(Refusal::BadCredentials);
    };
    if user == JOIN_USER {
        return Ok(Admission::Joining {});
    }
    if let Ok(agent) = user.parse::<AgentId>() {
        if credentials.client_id != user {
            return Err(Refusal::BadClientId);
        }
        let digest =
            std::str::from_utf8(password).map(crypto::digest).map_err(|_| Refusal::BadCredentials)?;
        return active(site, agent, Some(&digest));
    }
    clients::admit(site, credentials.client_id, user, password)
}

/// Compares without telling by its time how much agrees.
fn same(a: &[u8], b: &[u8]) -> bool {
    blake3::hash(a) == blake3::hash(b)
}

/// Lets an active agent in; without a certificate it must have proved itself by the secret with this digest.
fn active(site: &Site, agent: AgentId, secret: Option<&[u8]>) -> Result<Admission, Refusal> {
    let read = site.store.read().map_err(|_| Refusal::Busy)?;
    let found = site.tenants.search(|tenant| read.get(&store::AGENTS, &(tenant, agent)));
    let (tenant, stored) = found.map_err(|_| Refusal::Busy)?.ok_or(Refusal::BadCredentials)?;
    if let Some(given) = secret {
        let kept = read.get(&store::SECRETS, &(tenant, agent)).map_err(|_| Refusal::Busy)?;
        if !kept.is_some_and(|kept| same(&kept, given)) {
            return Err(Refusal::BadCredentials);
        }
    }
    site.tenants.admit(tenant).map_err(|_| Refusal::NotAuthorized)?;
    match stored.state {
        State::Active { .. } => Ok(Admission::Agent { tenant, agent }),
        _ => Err(Refusal::NotAuthorized),
    }
}

/// A second connection with the same identity replaced the first. From another address, while the first was alive, it
/// is a copied key: both are shut out until an administrator decides. From the same address it is a reconnect.
pub fn duplicate(site: &Site, tenant: TenantId, agent: AgentId, old: SocketAddr, new: SocketAddr) {
    if old.ip() == new.ip() {
        return;
    }
    shut_out(
        site,
        tenant,
        agent,
        format!("its key was used from {} and {} at the same time", old.ip(), new.ip()),
    );
}

/// Quarantines an agent on the appliance's own account.
pub(super) fn shut_out(site: &Site, tenant: TenantId, agent: AgentId, reason: String) {
    if let Err(error) = super::ops::quarantine(
        &Ctx::system(site, tenant, "gate"),
        super::ops::Quarantine { id: agent, reason },
    ) {
        tracing::warn!(agent.id = %agent, "could not quarantine agent `{agent}`: {error}");
    }
}
