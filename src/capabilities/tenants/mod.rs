//! Tenants: organisations inside the site, each with its own people, keys, agents, secrets and audit log.
//!
//! The site's own tenant is there from the first day, and alone until somebody makes another; until then the console has
//! no word of tenants but their guide and the link under Settings. What is about the whole site, such as backups and
//! storage, stays with the site's own.
//!
//! Invariant: no operation and no page of one tenant gives an identifier, a name or a value of another.
//! Invariant: a tenant that is suspended keeps all that it has, and nobody of it is let in.
//! Invariant: to take a tenant away is wanted by its name, goes on after a crash, and leaves no row, number or line of it;
//! what remains is the entry in the log of the site's own tenant. Backups from before still hold it.

mod erase;
mod events;
mod export;
mod model;
mod ops;
mod pages;
mod store;
#[cfg(test)]
mod tests;

pub use ops::{TenantView, Usage};
pub use store::load;

use crate::base::{Result, Span};
use crate::kit::{Capability, Ctx, EventKind, Findings, Jobs, NavItem, Ops, Pages};

/// The capability.
pub struct Tenants;

impl Capability for Tenants {
    fn name(&self) -> &'static str {
        "tenants"
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

    fn jobs(&self, jobs: &mut Jobs) {
        jobs.of_site(Span::from_seconds(2), "tenants.erase", erase::step);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "Tenants",
            path: "/tenants",
            icon: "layers",
            permission: "tenants.read",
        }]
    }

    fn sites(&self) -> &'static [&'static str] {
        &["tenants.*"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &store::NAMES
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        store::check(ctx, findings)
    }
}
