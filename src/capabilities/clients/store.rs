//! The table of clients, and the gate's question about them.

use super::model::Client;
use crate::base::TenantId;
use crate::engine::broker::{Admission, Refusal};
use crate::engine::crypto;
use crate::engine::store::{Read, Table};
use crate::kit::Site;

/// Clients by tenant and identifier.
pub(super) const CLIENTS: Table<(TenantId, String), Client> = Table::new("clients");

/// Who connects with this client identifier, user name and password, if it is a client.
pub fn admit(site: &Site, client_id: &str, user: &str, password: &[u8]) -> Result<Admission, Refusal> {
    let read = site.store.read().map_err(|_| Refusal::Busy)?;
    let found = site.tenants.search(|tenant| read.get(&CLIENTS, &(tenant, user.to_owned())));
    let (tenant, client) = found.map_err(|_| Refusal::Busy)?.ok_or(Refusal::BadCredentials)?;
    let given = std::str::from_utf8(password).map(crypto::digest).map_err(|_| Refusal::BadCredentials)?;
    // Hashed once more, so that the time of the comparison tells nothing.
    if blake3::hash(&client.secret) != blake3::hash(&given) {
        return Err(Refusal::BadCredentials);
    }
    if client_id != user {
        return Err(Refusal::BadClientId);
    }
    site.tenants.admit(tenant).map_err(|_| Refusal::NotAuthorized)?;
    Ok(Admission::Client { name: client.id, tenant, publish: client.publish, subscribe: client.subscribe })
}
