//! Agents: who is enrolled, how each is, and how a new one joins.
//!
//! Invariant: an agent's identity is its certificate (or the digest of its secret), never its name; names may repeat.
//! Invariant: health is derived from what is heard; nothing stored says "down".
//! Invariant: only an active agent has a session; whatever ends that state closes the session in the same call.
//! Invariant: a join code works once, for the key that used it first, until it expires.

mod enrol;
mod events;
mod follow;
pub mod gate;
mod join;
mod model;
pub mod ops;
mod pages;
mod recovery;
mod roster;
mod sight;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use enrol::join;
pub use follow::inventory;
pub use join::JoinCode;
pub use model::{Agent, AgentView, Health, LATE, OFFLINE, Readings, State, health};
pub use ops::{Counts, ListAgents};
pub use sight::{Eyes, all_seen, permit, seen};
pub use store::{exists, is_known, named, some};
pub use watch::{configuration, watch};

use crate::base::{Result, Span};
use crate::kit::{
    Capability, Change, Ctx, EventKind, Findings, Jobs, NavItem, Ops, Pages, Quota, Restored, Returnable,
    Uplinks,
};
use crate::wire::UpKind;

/// Cuts every agent of the tenant off.
pub fn cut_off(ctx: &Ctx<'_>, why: &str) -> Result<()> {
    let Some(bus) = ctx.site.bus() else { return Ok(()) };
    for agent in roster::all(ctx.site, ctx.tenant)?.iter() {
        bus.close(ctx.tenant, agent.id, why);
    }
    Ok(())
}

/// The capability.
pub struct Agents;

impl Capability for Agents {
    fn name(&self) -> &'static str {
        "agents"
    }

    fn knows_parts(&self) -> bool {
        true
    }

    fn events(&self) -> &'static [EventKind] {
        events::EVENTS
    }

    fn ops(&self, ops: &mut Ops) {
        ops::register(ops);
    }

    fn pages(&self, pages: &mut Pages) {
        pages::register(pages);
    }

    fn uplinks(&self, uplinks: &mut Uplinks) {
        uplinks.on(UpKind::Hello, follow::hello);
        uplinks.on(UpKind::Heartbeat, follow::heartbeat);
        uplinks.on(UpKind::Certificate, follow::certificate);
    }

    fn jobs(&self, jobs: &mut Jobs) {
        jobs.of_site(Span::from_seconds(5), "agents.unwatch", watch::unwatch);
        jobs.every(Span::from_minutes(1), "agents.remember", follow::remember);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Fleet",
            title: "Agents",
            path: "/agents",
            icon: "server",
            permission: "agents.read",
        }]
    }

    fn sealed(&self) -> &'static [&'static str] {
        &["agents_secrets", "join_codes"]
    }

    fn uses(&self, ctx: &Ctx<'_>, quota: Quota) -> Result<Option<usize>> {
        match quota {
            Quota::Agents => store::not_retired(&ctx.read()?, ctx.tenant).map(Some),
            _ => Ok(None),
        }
    }

    fn tables(&self) -> &'static [&'static str] {
        &["agents", "agents_secrets", "join_codes"]
    }

    fn restored(&self, ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
        recovery::restored(ctx, change, restored)
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        recovery::check(ctx, findings)
    }

    fn returnable(&self) -> &'static [Returnable] {
        &recovery::RETURNABLE
    }
}
