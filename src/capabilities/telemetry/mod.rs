//! Telemetry: the numbers, lines, spans and events that agents send.
//!
//! Invariant: a message is acknowledged after its samples, lines or events are on the disk.
//! Invariant: a message that comes twice is kept once: samples by their instant, lines by the spool's sequence, events
//! by their identifier.
//! Invariant: telemetry tells at most one event a batch, never one a sample.

mod check;
mod events;
mod ingest;
mod model;
pub mod ops;
mod pages;
mod quota;
mod store;

pub use model::{EventView, LogEntry};
pub use ops::{SeriesView, sparkline};
pub use pages::{EventRow, tone, word};
pub use store::recent;

use crate::base::{Result, Span};
use crate::kit::{Capability, Ctx, EventKind, Findings, Jobs, NavItem, Ops, Pages, Quota, Uplinks};
use crate::wire::UpKind;

/// The capability.
pub struct Telemetry;

impl Capability for Telemetry {
    fn name(&self) -> &'static str {
        "telemetry"
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
        uplinks.on(UpKind::Metrics, ingest::metrics);
        uplinks.on(UpKind::Logs, ingest::logs);
        uplinks.on(UpKind::Spans, ingest::spans);
        uplinks.on(UpKind::Events, ingest::events);
    }

    fn jobs(&self, jobs: &mut Jobs) {
        jobs.of_site(Span::from_seconds(10), "telemetry.seal", ingest::seal);
        jobs.every(Span::from_hours(1), "telemetry.expire", ingest::expire);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Observe",
            title: "Events",
            path: "/events",
            icon: "activity",
            permission: "telemetry.read",
        }]
    }

    fn uses(&self, ctx: &Ctx<'_>, what: Quota) -> Result<Option<usize>> {
        match what {
            Quota::Series => quota::count(ctx).map(Some),
            _ => Ok(None),
        }
    }

    fn tables(&self) -> &'static [&'static str] {
        &["events", "events_by_id"]
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        check::check(ctx, findings)
    }
}
