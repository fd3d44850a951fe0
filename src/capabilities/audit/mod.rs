//! Who did what, when and from where: one entry for every event that a change tells, in a chain that proves itself.
//!
//! Every entry hashes over the one before; checkpoints sign how far the chain is, and agents keep them. So an entry that
//! is changed, left out or put in between breaks the chain, and a log that is cut off or written anew contradicts what
//! an agent keeps. An exported file proves itself without the server.
//!
//! Invariant: entries are written by the follower alone; no operation changes one, and only the retention that an owner
//! chose removes any, from the beginning on, behind a signed cut.
//! Invariant: following a change twice gives the same entries, for their key is the change's number and the event's place.
//! Invariant: the entries of a tenant are numbered without gaps, and each hashes over the one before.
//! Invariant: a checkpoint is a row and an event of one change, so that it stands in the journal too.
//! Invariant: no entry holds a password, a token or a digest.

mod catalogue;
mod chain;
mod checkpoint;
mod events;
mod evidence;
mod export;
mod follow;
mod holds;
mod model;
mod offline;
mod ops;
mod pages;
mod retention;
mod sieve;
mod store;
#[cfg(test)]
mod tests;
mod verify;
mod witness;
mod words;

pub use catalogue::{EventView, events, kinds};
pub use chain::{Chain, Head, adopt};
pub use checkpoint::checkpoint;
pub use evidence::{is_pack, prove_pack};
pub use export::{ExportAsked, export};
pub use holds::{Hold, HoldAsked, LiftAsked, Lifted, hold, holds, lift};
pub use model::Entry;
pub use offline::{Proved, prove};
pub use ops::{AuditAsked, AuditNumber, Status, checkpoints, find, list, status};
pub use retention::{Cut, Retention, retain, retention};
pub use sieve::Narrowed;
pub use verify::{Verification, Wrong, verify};
pub use witness::{Contradiction, contradictions, settle};
pub use words::{Found, FoundPage, Rebuilt, SearchAsked, rebuild, search};

use crate::base::{Result, Span};
use crate::kit::{
    Capability, Change, Ctx, EventKind, Findings, Followers, Jobs, NavItem, Ops, Pages, Restored, Uplinks,
};
use crate::wire::UpKind;

/// The capability.
pub struct Audit;

impl Capability for Audit {
    fn name(&self) -> &'static str {
        "audit"
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
        uplinks.on(UpKind::Hello, witness::hello);
    }

    fn jobs(&self, jobs: &mut Jobs) {
        jobs.of_site(Span::from_seconds(2), "audit.index", words::step);
        jobs.every(Span::from_seconds(10), "audit.witness", witness::step);
        jobs.every(Span::from_minutes(1), "audit.checkpoint", checkpoint::step);
        jobs.every(Span::from_hours(1), "audit.verify", verify::step);
        jobs.every(Span::from_hours(1), "audit.prune", retention::step);
    }

    fn followers(&self, followers: &mut Followers) {
        followers.follow("audit", follow::follow);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "Audit trail",
            path: "/audit",
            icon: "shield-check",
            permission: "audit.read",
        }]
    }

    fn tables(&self) -> &'static [&'static str] {
        &store::NAMES
    }

    fn restored(&self, ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
        holds::restored(ctx, change, restored)?;
        checkpoint::restored(ctx, change, restored)
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        verify::check(ctx, findings)
    }
}
