//! Clients: programs of the site that use the broker for themselves, such as a control system or an observer. They
//! publish and subscribe under the filters that an administrator gave, and are no agents.
//!
//! Invariant: a client publishes under `site/` alone; what agents say it may at most hear.
//! Invariant: a client that is removed, or whose filters change, is cut off in the same call.
//! Invariant: its secret is shown once and kept as a digest.

mod events;
mod model;
pub mod ops;
mod pages;
mod recovery;
mod store;

pub use store::admit;

use crate::base::{Result, limits};
use crate::engine::store::Read;
use crate::kit::{Capability, Change, Ctx, EventKind, Findings, NavItem, Ops, Pages, Restored, Returnable};

/// Cuts every client of the tenant off.
pub fn cut_off(ctx: &Ctx<'_>) -> Result<()> {
    let Some(bus) = ctx.site.bus() else { return Ok(()) };
    for (_, client) in ctx.read()?.prefix(&store::CLIENTS, &ctx.tenant, limits::CLIENTS_MAX)? {
        bus.close_client(&client.id);
    }
    Ok(())
}

/// The capability.
pub struct Clients;

impl Capability for Clients {
    fn name(&self) -> &'static str {
        "clients"
    }

    fn events(&self) -> &'static [EventKind] {
        events::EVENTS
    }

    fn ops(&self, ops: &mut Ops) {
        ops::register(ops);
    }

    fn pages(&self, pages: &mut Pages) {
        pages.get("/clients", pages::list);
        pages.post("/clients", pages::create);
        pages.post("/clients/{id}/remove", pages::remove);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "MQTT clients",
            path: "/clients",
            icon: "plug",
            permission: "clients.read",
        }]
    }

    fn sealed(&self) -> &'static [&'static str] {
        &["clients"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["clients"]
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
