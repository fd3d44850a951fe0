//! Somebody looks: the agent reports every second while a page shows it, and every ten at rest.

use bytes::Bytes;

use crate::base::{AgentId, Result, TenantId};
use crate::kit::{Ctx, Site};
use crate::wire::{Configuration, Down, DownKind};

/// Seconds between samples at rest.
const REST_SECONDS: u64 = 10;
/// Seconds between samples while somebody looks.
const WATCHED_SECONDS: u64 = 1;
/// Seconds between heartbeats.
const HEARTBEAT_SECONDS: u64 = 10;

/// How the agent shall behave now.
pub fn configuration(site: &Site, agent: AgentId) -> Configuration {
    let metrics_seconds = if site.presence.is_watched(agent) { WATCHED_SECONDS } else { REST_SECONDS };
    Configuration { metrics_seconds, heartbeat_seconds: HEARTBEAT_SECONDS, logs: true }
}

/// A page shows this agent: tell it, unless it knows.
pub fn watch(ctx: &Ctx<'_>, agent: AgentId) {
    if ctx.site.presence.watch(ctx.tenant, agent) {
        tell(ctx.site, ctx.tenant, agent);
    }
}

/// Sends the agent its configuration.
pub(super) fn tell(site: &Site, tenant: TenantId, agent: AgentId) {
    if let Some(bus) = site.bus() {
        let message = Down::Configuration(configuration(site, agent));
        bus.send(tenant, agent, DownKind::Configuration, Bytes::from(message.json()));
    }
}

/// Agents that nobody looks at any more go back to rest.
pub(super) fn unwatch(ctx: &Ctx<'_>) -> Result<()> {
    for (tenant, agent) in ctx.site.presence.unwatched() {
        tell(ctx.site, tenant, agent);
    }
    Ok(())
}
