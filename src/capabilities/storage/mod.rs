//! Storage: what uses the disk, what happens when it fills, and whether everything that is stored can be read.
//!
//! While the disk fills, people are warned early; then the oldest days of telemetry are dropped, logs before metrics,
//! down to a floor; then logs and metrics are refused, and last of all every change. State and audit trail are never
//! dropped. When room returns, everything goes on by itself.
//!
//! Invariant: only whole days of telemetry are dropped, the oldest first, and every drop is an event.
//! Invariant: a level is entered at its limit and left only with room to spare, so that it does not flutter.
//! Invariant: what a verification found is kept with its date; it changes nothing that it looks at.

mod events;
mod look;
mod model;
mod ops;
mod pages;
mod store;
#[cfg(test)]
mod tests;
mod usage;
mod verify;
mod watch;

pub use look::{Look, LookedAt, look};
pub use model::{Level, Limits};
pub use ops::StorageView;
pub use verify::Check;

use crate::base::{Result, Span};
use crate::kit::{Capability, Ctx, EventKind, Findings, Jobs, NavItem, Ops, Pages};

/// The capability.
pub struct Storage;

impl Capability for Storage {
    fn name(&self) -> &'static str {
        "storage"
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
        jobs.of_site(Span::from_seconds(5), "storage.watch", watch::watch);
        jobs.of_site(Span::from_minutes(10), "storage.measure", usage::remember);
        jobs.of_site(Span::from_seconds(2), "storage.verify", verify::run_wanted);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Operate",
            title: "Storage",
            path: "/storage",
            icon: "hard-drive",
            permission: "storage.read",
        }]
    }

    fn sites(&self) -> &'static [&'static str] {
        &["storage.*"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &store::NAMES
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        store::check(ctx, findings)
    }
}
