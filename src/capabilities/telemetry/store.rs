//! Events, by time and by the agent's identifier.

use super::model::{EventView, StoredEvent};
use crate::base::{AgentId, Result, TenantId, Timestamp};
use crate::capabilities::agents;
use crate::engine::store::{Read, Table};
use crate::kit::Ctx;

/// Key of an event: tenant, instant, agent, number that tells apart what happened in one millisecond.
pub(super) type EventKey = (TenantId, Timestamp, AgentId, u64);
/// Events, oldest first.
pub(super) const EVENTS: Table<EventKey, StoredEvent> = Table::new("events");
/// By agent and its own identifier, so that what is sent twice is kept once.
pub(super) const BY_ID: Table<(TenantId, AgentId, String), (Timestamp, u64)> = Table::new("events_by_id");

/// The newest events, newest first; `skip` says which to leave out.
pub fn recent(ctx: &Ctx<'_>, agent: Option<AgentId>, limit: usize) -> Result<Vec<EventView>> {
    let read = ctx.read()?;
    // One agent's events are sought among the newest of all: a bounded look back.
    let scan = if agent.is_some() { SCAN_ROWS_MAX } else { limit };
    let rows = read.prefix_back(&EVENTS, &ctx.tenant, scan)?;
    let rows =
        rows.into_iter().filter(|((_, _, a, _), _)| agent.is_none_or(|wanted| wanted == *a)).take(limit);
    rows.map(|(key, event)| shown(&read, key, event)).collect()
}

/// Rows that a search for one agent's events looks at.
pub(super) const SCAN_ROWS_MAX: usize = 5_000;

/// The event with its agent's name.
pub(super) fn shown(read: &impl Read, key: EventKey, event: StoredEvent) -> Result<EventView> {
    Ok(EventView {
        at: key.1,
        agent: key.2,
        agent_name: agents::named(read, key.0, key.2)?,
        id: event.id,
        severity: event.severity,
        name: event.name,
        text: event.text,
    })
}
