//! Tasks: one unit of work for one agent.
//!
//! Invariant: a task is a record before it is a message; a lost message never loses work.
//! Invariant: an agent runs a task at most once; what it reports twice changes nothing.
//! Invariant: a final state never changes, but for one that a restore made unknown: the answer of its agent counts.
//! Invariant: what had not ended in a backup is never sent again by itself after a restore.
//! Invariant: the tasks of a retired agent end with it.
//! Invariant: output is appended by offset, so repetition adds nothing; it is bounded and says when it was cut.

mod dispatch;
mod events;
mod follow;
mod model;
pub mod ops;
mod pages;
mod recovery;
mod store;
#[cfg(test)]
mod tests;

pub use model::{State, Task};
pub use pages::{TaskRow, tone};

use crate::base::{Result, Span};
use crate::engine::store::Read;
use crate::kit::{
    Capability, Change, Ctx, EventKind, Findings, Followers, Jobs, NavItem, Ops, Pages, Quota, Restored,
    Uplinks,
};
use crate::wire::UpKind;

/// The capability.
pub struct Tasks;

impl Capability for Tasks {
    fn name(&self) -> &'static str {
        "tasks"
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
        uplinks.on(UpKind::Hello, dispatch::hello);
        uplinks.on(UpKind::Task, follow::report);
    }

    fn jobs(&self, jobs: &mut Jobs) {
        jobs.every(Span::from_seconds(10), "tasks.dispatch", dispatch::sweep);
        jobs.every(Span::from_seconds(10), "tasks.mend", recovery::mend);
        jobs.every(Span::from_hours(1), "tasks.expire", store::expire);
    }

    fn followers(&self, followers: &mut Followers) {
        followers.follow("tasks", follow::retired);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Operate",
            title: "Tasks",
            path: "/tasks",
            icon: "workflow",
            permission: "tasks.read",
        }]
    }

    fn uses(&self, ctx: &Ctx<'_>, quota: Quota) -> Result<Option<usize>> {
        match quota {
            Quota::Tasks => ctx.read()?.count(&store::OPEN, &ctx.tenant).map(Some),
            _ => Ok(None),
        }
    }

    fn tables(&self) -> &'static [&'static str] {
        &["tasks", "tasks_asking", "tasks_by_agent", "tasks_open", "tasks_output", "tasks_restored"]
    }

    fn restored(&self, ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
        recovery::restored(ctx, change, restored)
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        recovery::check(ctx, findings)
    }
}
