//! Backups: files that hold the whole site, the copies of them elsewhere, and the way back.
//!
//! A full backup is taken from the running store without stopping anybody; files of changes follow on it, so that every
//! second of the last days can be brought back. All of them are encrypted for the site's recovery key. What a restore
//! needs besides the files is that key alone: [`restore_into`] works without a server.
//!
//! Invariant: no backup counts that has not been read back whole; the newest such full one is never let go of.
//! Invariant: the recovery key leaves the vault through `backups.kit` alone, and the audit log tells who asked.
//! Invariant: a look into the past, a drill and a restore change nothing of the running site; bringing back is a change
//! of its own like any other.

mod drill;
mod events;
mod keys;
mod memory;
mod model;
mod names;
pub mod ops;
mod pages;
mod past;
mod plan;
mod repository;
mod restore;
mod retention;
mod run;
mod ship;
mod store;
mod targets;
#[cfg(test)]
mod tests;
mod write;

use serde_json::json;

pub use drill::{due_drill, is_authentic, record_drill};
pub use memory::{Meter, halt};
pub use model::{Backup, Drill, DrillRecord, Outcome, Progress, RecoveryKeyRow, RestoreRecord, Run};
pub use names::{ENDING, FileName, Holds, slug};
pub use plan::{Plan, TimeOfDay};
pub use repository::{Chosen, Found, Repository, choose, open_repository};
pub use restore::{RESTORED, Report, Restoring, instant, restore_into};
pub use retention::Retention;
pub use run::{changes, folder, full};
pub use write::{End, FORMAT, Manifest, Options, Written, expected, write_full};

use crate::base::{Result, Span};
use crate::engine::archive::RecoveryKey;
use crate::kit::{Capability, Change, Ctx, EventKind, Jobs, NavItem, Ops, Pages, Restored, begin_generation};

/// How long a new site runs before its first backup: whoever sets it up has seen it by then.
const FIRST_AFTER: Span = Span::from_minutes(10);
/// Events of a restore that its record keeps.
const RESTORE_EVENTS_KEPT: usize = 200;

/// The capability.
pub struct Backups;

impl Capability for Backups {
    fn name(&self) -> &'static str {
        "backups"
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
        jobs.of_site(Span::from_seconds(2), "backups.schedule", run::schedule);
        jobs.of_site(Span::from_seconds(20), "backups.ship", ship::ship);
        jobs.of_site(Span::from_minutes(10), "backups.tidy", ship::tidy);
        jobs.of_site(Span::from_minutes(1), "backups.forget", past::tidy);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "Backups",
            path: "/backups",
            icon: "archive",
            permission: "backups.read",
        }]
    }

    fn sites(&self) -> &'static [&'static str] {
        &["backups.*"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &store::NAMES
    }

    fn restored(&self, ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
        begin_generation(ctx, change, restored.generation)?;
        let newest = restored.undone.len().saturating_sub(RESTORE_EVENTS_KEPT);
        let record = RestoreRecord {
            generation: restored.generation,
            change: restored.change,
            at: restored.at,
            restored: restored.restored,
            by: restored.by.clone(),
            source: restored.source.clone(),
            undone: restored.undone.len() as u64,
            newest: restored.undone[newest..].to_vec(),
        };
        change.tx.put(&store::RESTORES, &(ctx.tenant, record.generation), &record)?;
        // A full backup begins the chain of the new history; what was asked of the old one is done with.
        store::remember(ctx, change, |state| {
            (state.wanted, state.drill_wanted, state.failed) = (None, false, None);
        })?;
        change.tell(
            "backups.restored",
            record.generation,
            json!({ "change": record.change, "at": record.at, "source": record.source, "undone": record.undone }),
        );
        Ok(())
    }
}

/// The keys of this site that open its backups, the newest first; for who restores on the running server.
pub fn site_keys(ctx: &Ctx<'_>) -> Result<Vec<RecoveryKey>> {
    ctx.require("backups.restore")?;
    keys::all(ctx)
}

/// The site's targets stand on the list of places that the server may connect to; at the start, before any of them is
/// used, so that the list is whole from then on.
pub fn allow_targets(ctx: &Ctx<'_>) -> Result<()> {
    store::targets(&ctx.read()?, ctx.tenant)?.iter().try_for_each(|target| target.allow(ctx))
}
