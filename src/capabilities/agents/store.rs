//! Tables of agents. Private to the capability but for the questions that later ones ask.

use super::{Agent, JoinCode};
use crate::base::{AgentId, Error, Result, TenantId};
use crate::engine::crypto;
use crate::engine::store::{Read, Table};

/// Agents by tenant and identifier.
pub(super) const AGENTS: Table<(TenantId, AgentId), Agent> = Table::new("agents");
/// Digests of the secrets of devices that cannot hold a certificate. Never part of what the API shows.
pub(super) const SECRETS: Table<(TenantId, AgentId), Vec<u8>> = Table::new("agents_secrets");
/// Join codes by digest of their secret.
pub(super) const JOIN_CODES: Table<(TenantId, String), JoinCode> = Table::new("join_codes");

/// The agent, or that it does not exist.
pub(super) fn find(read: &impl Read, tenant: TenantId, id: AgentId) -> Result<Agent> {
    read.get(&AGENTS, &(tenant, id))?.ok_or_else(|| Error::not_found("agent", id))
}

/// At most `limit` agents of the tenant, the oldest first.
pub fn some(read: &impl Read, tenant: TenantId, limit: usize) -> Result<Vec<AgentId>> {
    Ok(read.prefix(&AGENTS, &tenant, limit)?.into_iter().map(|((_, id), _)| id).collect())
}

/// How many agents of the tenant are not retired.
pub(super) fn not_retired(read: &impl Read, tenant: TenantId) -> Result<usize> {
    let rows = read.prefix(&AGENTS, &tenant, usize::MAX)?;
    Ok(rows.iter().filter(|(_, agent)| !matches!(agent.state, super::State::Retired { .. })).count())
}

/// Whether there is such an agent; retired ones count.
pub fn is_known(read: &impl Read, tenant: TenantId, id: AgentId) -> Result<bool> {
    read.has(&AGENTS, &(tenant, id))
}

/// What people call the agent; its identifier when it is not there any more.
pub fn named(read: &impl Read, tenant: TenantId, id: AgentId) -> Result<String> {
    Ok(read.get(&AGENTS, &(tenant, id))?.map_or_else(|| id.to_string(), |agent| agent.name.to_string()))
}

/// The agent if it may be given work, else why not.
pub fn exists(read: &impl Read, tenant: TenantId, id: AgentId) -> Result<Agent> {
    let agent = find(read, tenant, id)?;
    if agent.is_active() {
        return Ok(agent);
    }
    Err(Error::conflict(format!("agent `{}` is {}", agent.name, agent.state.word()))
        .hint("only active agents take work"))
}

/// The name under which a join code with this secret is stored.
pub(super) fn digest_text(secret: &str) -> String {
    blake3::Hash::from_bytes(crypto::JoinCode::hash_of(secret)).to_hex().to_string()
}
