//! One slice of the product.

use super::{Change, Ctx, EventKind, Findings, NavItem, Ops, Pages, Quota, Restored, Returnable, Site};
use crate::base::{AgentId, Result, Span, TenantId};
use crate::engine::{logs, series, store};
use crate::wire::{Up, UpKind};

/// What one slice implements. Everything has a default: a slice says only what it has.
pub trait Capability: Sync {
    /// The word: folder, route, topic, table, permission.
    fn name(&self) -> &'static str;
    /// Whether its operations and pages know of parts of the fleet; all others need a grant for everything.
    fn knows_parts(&self) -> bool {
        false
    }
    /// Its operations.
    fn ops(&self, _: &mut Ops) {}
    /// Its console pages and live parts.
    fn pages(&self, _: &mut Pages) {}
    /// What it does with messages of agents.
    fn uplinks(&self, _: &mut Uplinks) {}
    /// What it does by itself, and how often.
    fn jobs(&self, _: &mut Jobs) {}
    /// What it derives from changes.
    fn followers(&self, _: &mut Followers) {}
    /// Where it stands in the navigation.
    fn navigation(&self) -> Vec<NavItem> {
        Vec::new()
    }
    /// Every event that it tells; telling another one is a defect that tests find.
    fn events(&self) -> &'static [EventKind] {
        &[]
    }
    /// Which of its permissions are about the whole site, as patterns such as `backups.*`: only people and keys of the
    /// site's own tenant can have them.
    fn sites(&self) -> &'static [&'static str] {
        &[]
    }
    /// Those of its tables that hold sealed secrets, or what opens a door: they are in no export of a tenant.
    fn sealed(&self) -> &'static [&'static str] {
        &[]
    }
    /// How much of this the tenant of the context has; nothing where it counts something else.
    fn uses(&self, _: &Ctx<'_>, _: Quota) -> Result<Option<usize>> {
        Ok(None)
    }
    /// Whether all of it is about the whole site.
    fn is_sites(&self) -> bool {
        let all = format!("{}.*", self.name());
        self.sites().iter().any(|pattern| *pattern == all)
    }
    /// Its tables, for checks.
    fn tables(&self) -> &'static [&'static str] {
        &[]
    }
    /// Mends what must not come back as it was, in the one change that the first start after a restore makes for all:
    /// what was revoked since stays revoked, what may have run since does not run again.
    fn restored(&self, _: &Ctx<'_>, _: &mut Change<'_>, _: &Restored) -> Result<()> {
        Ok(())
    }
    /// Looks for contradictions in and between its tables.
    fn check(&self, _: &Ctx<'_>, _: &mut Findings) -> Result<()> {
        Ok(())
    }
    /// What belongs into a pack of evidence beside the audit log: the name of a file and its text, as who takes the pack
    /// out may read it. Nothing where they may not.
    fn evidence(&self, _: &Ctx<'_>) -> Result<Option<(&'static str, String)>> {
        Ok(None)
    }
    /// What of it can be brought back as it was.
    fn returnable(&self) -> &'static [Returnable] {
        &[]
    }
}

/// The agent a message came from, as the gate proved it.
#[derive(Clone, Copy, Debug)]
pub struct AgentRef {
    /// Its tenant.
    pub tenant: TenantId,
    /// The agent.
    pub agent: AgentId,
    /// The gate's session.
    pub session: u64,
}

/// What must be on the disk before a message is acknowledged.
pub enum Durable {
    /// Nothing.
    Already,
    /// A change.
    Store(store::Pending),
    /// Samples.
    Series(series::Pending),
    /// Lines.
    Logs(logs::Pending),
}

impl Durable {
    /// Blocks until it is on the disk.
    pub fn wait(self) -> Result<()> {
        match self {
            Durable::Already => Ok(()),
            Durable::Store(pending) => pending.wait(),
            Durable::Series(pending) => pending.wait(),
            Durable::Logs(pending) => pending.wait(),
        }
    }
}

/// Handles one message.
pub type UplinkFn = fn(&Ctx<'_>, AgentRef, &Up) -> Result<Durable>;

/// Handlers by kind of message; several may follow one kind.
#[derive(Default)]
pub struct Uplinks(pub Vec<(UpKind, UplinkFn)>);

impl Uplinks {
    /// Handles every message of this kind.
    pub fn on(&mut self, kind: UpKind, run: UplinkFn) {
        self.0.push((kind, run));
    }
}

/// A reconciler, for each tenant or for the site: it takes no input, reads the state that it answers for, and moves it one step.
pub struct Job {
    /// `noun.verb`.
    pub name: &'static str,
    /// How often.
    pub every: Span,
    /// Whether it is about the whole site, so that it runs once and not for each tenant.
    pub of_site: bool,
    /// One step.
    pub run: fn(&Ctx<'_>) -> Result<()>,
}

impl Job {
    /// One run, for the site or for each tenant: what fails for one of them does not hold up the others.
    pub fn run(&self, site: &Site) -> Result<()> {
        let tenants = if self.of_site { vec![site.home] } else { site.tenants.living() };
        let mut outcome = Ok(());
        for tenant in tenants {
            if tenant != site.home && site.is_stopping() {
                break;
            }
            let run = (self.run)(&Ctx::system(site, tenant, self.name));
            outcome = outcome.and(run);
        }
        outcome
    }
}

/// All of them.
#[derive(Default)]
pub struct Jobs(pub Vec<Job>);

impl Jobs {
    /// Runs `run` so often, for each tenant.
    pub fn every(&mut self, every: Span, name: &'static str, run: fn(&Ctx<'_>) -> Result<()>) {
        self.0.push(Job { name, every, of_site: false, run });
    }

    /// Runs `run` so often, once for the whole site.
    pub fn of_site(&mut self, every: Span, name: &'static str, run: fn(&Ctx<'_>) -> Result<()>) {
        self.0.push(Job { name, every, of_site: true, run });
    }
}

/// Derives something from changes that told an event. Idempotent: the cursor moves in the same change as what it wrote.
pub struct Follower {
    /// Name of its cursor.
    pub name: &'static str,
    /// One change.
    pub run: fn(&Ctx<'_>, &mut Change<'_>, &store::Change) -> Result<()>,
}

/// All of them.
#[derive(Default)]
pub struct Followers(pub Vec<Follower>);

impl Followers {
    /// Follows the feed.
    pub fn follow(
        &mut self,
        name: &'static str,
        run: fn(&Ctx<'_>, &mut Change<'_>, &store::Change) -> Result<()>,
    ) {
        self.0.push(Follower { name, run });
    }
}
