//! A program joins: from a join code to a certificate.

use std::net::SocketAddr;

use serde_json::json;

use super::store::{AGENTS, JOIN_CODES};
use super::{Agent, State};
use crate::base::{AgentId, Error, Kind, Name, Result, TenantId, Timestamp};
use crate::engine::{crypto, store::Read};
use crate::kit::{Ctx, Quota, Site};
use crate::wire::{JoinAnswer, JoinRequest};

/// Days that an agent's certificate lives; it renews at two thirds.
pub(super) const CERTIFICATE_DAYS: u64 = 30;
/// Seconds after which a program that waits for approval asks again.
const ASK_AGAIN_SECONDS: u64 = 5;

/// Answers a joining program, which gave `code`, a join code's secret, at CONNECT. What goes wrong is told to it in
/// words; the log has the rest.
pub fn join(site: &Site, code: &str, payload: &[u8], peer: SocketAddr) -> Vec<u8> {
    let mut ctx = Ctx::system(site, tenant_of(site, code).unwrap_or(site.home), "gate");
    ctx.request.from = peer.ip().to_string();
    let answer = answer(&ctx, code, payload).unwrap_or_else(|error| {
        if error.kind() == Kind::Internal {
            tracing::warn!(%peer, "joining failed: {error}");
        }
        let hint = error.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
        JoinAnswer::Refused { reason: format!("{}{hint}", error.message()) }
    });
    answer.json()
}

/// The tenant whose join code this is; the home for one that nobody made.
fn tenant_of(site: &Site, code: &str) -> Result<TenantId> {
    let (read, digest) = (site.store.read()?, super::store::digest_text(code));
    let look = |tenant| Ok(read.has(&JOIN_CODES, &(tenant, digest.clone()))?.then_some(()));
    Ok(site.tenants.search(look)?.map_or(site.home, |(tenant, ())| tenant))
}

fn answer(ctx: &Ctx<'_>, code: &str, payload: &[u8]) -> Result<JoinAnswer> {
    let request = JoinRequest::decode(payload)?;
    ctx.site.tenants.admit(ctx.tenant)?;
    let digest = super::store::digest_text(code);
    let key = crypto::request_key(&request.request)?;
    let agent = ctx.require("agents.join")?.write(|change| {
        let code_key = (ctx.tenant, digest.clone());
        let unknown = || {
            Error::forbidden("the join code is not known").hint("codes work once and expire; make a new one")
        };
        let mut code = change.tx.get(&JOIN_CODES, &code_key)?.ok_or_else(unknown)?;
        code.admit(&key, ctx.now)?;
        if let Some(id) = code.agent {
            return super::store::find(change.tx, ctx.tenant, id);
        }
        let state =
            if code.approval { State::Pending { since: ctx.now } } else { State::Active { since: ctx.now } };
        let mut agent = Agent {
            id: ctx.site.clock.id(),
            name: name(&request.hello.hostname)?,
            state,
            labels: code.labels.clone(),
            proposed: Default::default(),
            hostname: String::new(),
            version: String::new(),
            inventory: Default::default(),
            commands: Default::default(),
            seen: None,
            certificate_until: None,
        };
        super::follow::learn(&mut agent, &request.hello);
        agent.certificate_until = Some(until(ctx.now));
        code.key = Some(key);
        code.agent = Some(agent.id);
        ctx.within_quota(Quota::Agents, 1, || super::store::not_retired(change.tx, ctx.tenant))?;
        change.tx.put(&JOIN_CODES, &code_key, &code)?;
        change.tx.put(&AGENTS, &(ctx.tenant, agent.id), &agent)?;
        change.tell("agents.joined", agent.id, json!({ "name": agent.name, "state": agent.state.word() }));
        Ok(agent)
    })?;
    match &agent.state {
        State::Pending { .. } => Ok(JoinAnswer::Pending { agent: agent.id, seconds: ASK_AGAIN_SECONDS }),
        State::Active { .. } => Ok(JoinAnswer::Joined {
            tenant: ctx.tenant,
            agent: agent.id,
            certificate: sign(ctx.site, agent.id, &request.request)?,
            authority: ctx.site.authority.certificate_pem(),
        }),
        state => Err(Error::forbidden(format!("agent `{}` is {}", agent.name, state.word()))),
    }
}

/// When a certificate that is signed now ends.
pub(super) fn until(now: Timestamp) -> Timestamp {
    now + crate::base::Span::from_days(CERTIFICATE_DAYS)
}

/// Signs a request for this agent.
pub(super) fn sign(site: &Site, agent: AgentId, request: &str) -> Result<String> {
    site.authority.sign_client(request, &agent.to_string(), CERTIFICATE_DAYS)
}

/// What a new agent is called: its host name, as far as that is a name.
fn name(hostname: &str) -> Result<Name> {
    hostname.parse().or_else(|_| "unnamed".parse())
}
