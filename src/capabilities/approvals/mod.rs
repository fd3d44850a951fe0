//! Two persons: what an administrator marks is done only when somebody else has looked at it and said yes.
//!
//! A permission is marked. Whoever uses it then gets no permit; the surface keeps what they asked for, an operation with
//! its input or a form with its fields, sealed, under a hash of all that counts: the tenant, who asked, the permission,
//! what, and with which input. Another person sees it with its secrets masked and decides on that hash. Then it is
//! carried out in the name of who asked, with what they may do at that moment; each change that it makes says under
//! which approval and by whom.
//!
//! What gives something away (a key, a link, a file) is carried out when its asker comes back to collect the answer, in
//! their own session or with their own key: nothing that is shown once is kept here. Everything else is carried out at
//! once, and its answer is kept sealed for its asker alone.
//!
//! Operations can be marked that change something and have a permission of their own; not reads, not what is one's own
//! (passwords, sessions, second factors, sign-in), and nothing of approvals but `approvals.mark`, which is marked by
//! itself while any other is: one person alone takes no mark off. The appliance itself is exempt, so that whoever holds
//! the machine gets out when nobody is left who may decide.
//!
//! Invariant: nobody decides on what they asked for, nor on what a key asked for that they made or were given the text
//! of; no program decides, and nobody who looks at the console as another.
//! Invariant: what is carried out is what the hash stands for, or nothing.
//! Invariant: an approval is carried out at most once. One that was begun and not ended when the server stopped, or when
//! the site came back from a backup, is interrupted and never tried again by itself.
//! Invariant: what was asked and what came of it lie sealed, each for its own tenant, approval and part; neither stands
//! in an event, an error or a log line.

mod ask;
mod carry;
mod events;
mod marks;
mod mask;
mod model;
mod ops;
mod pages;
mod recovery;
mod store;
#[cfg(test)]
mod tests;

pub use ask::ask;

use crate::base::{Result, Span};
use crate::kit::{Capability, Change, Ctx, EventKind, Findings, Jobs, NavItem, Ops, Pages, Restored};

/// The capability.
pub struct Approvals;

impl Capability for Approvals {
    fn name(&self) -> &'static str {
        "approvals"
    }

    fn events(&self) -> &'static [EventKind] {
        events::EVENTS
    }

    fn ops(&self, ops: &mut Ops) {
        ops::register(ops);
        marks::register(ops);
    }

    fn pages(&self, pages: &mut Pages) {
        pages::register(pages);
    }

    fn jobs(&self, jobs: &mut Jobs) {
        jobs.every(Span::from_seconds(30), "approvals.sweep", carry::sweep);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "Approvals",
            path: "/approvals",
            icon: "list-checks",
            permission: "approvals.read",
        }]
    }

    fn tables(&self) -> &'static [&'static str] {
        &store::NAMES
    }

    fn sealed(&self) -> &'static [&'static str] {
        &[store::NAMES[1]]
    }

    fn restored(&self, ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
        recovery::restored(ctx, change, restored)
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        recovery::check(ctx, findings)
    }
}

/// Takes the marks into memory, and notes what did not come to its end; once, before anything listens.
pub fn begin(ctx: &Ctx<'_>) -> Result<()> {
    store::remember(ctx.site, ctx.tenant)?;
    carry::settle(ctx)
}
