//! Secrets: passwords and keys that the site needs for others, kept sealed under names, and used by reference.
//!
//! What needs one has `secret://line7/plc-password` in its settings instead of the value. A value goes in and never
//! comes out: no operation and no page gives one; [`resolve`] hands it to another capability of this process, which is
//! an entry of the audit log.
//!
//! Invariant: a value lies nowhere but sealed in the store's rows; it is in no event, error, log line, metric or `Debug`.
//! Invariant: a sealed value opens only for its own tenant, name and version, so that rows cannot be put in each other's
//! place.
//! Invariant: whoever lets something refer to a secret may use secrets; what refers to one holds it, and it cannot be
//! deleted meanwhile.
//! Invariant: of every secret there are at most two versions: the current one and the one before.

mod events;
mod model;
mod ops;
mod pages;
mod recovery;
mod resolve;
mod store;
#[cfg(test)]
mod tests;

pub use model::{Reference, SCHEME, SecretName};
pub use resolve::{hold, let_go, may_refer, resolve};

use crate::base::Result;
use crate::engine::store::Read;
use crate::kit::{Capability, Change, Ctx, EventKind, Findings, NavItem, Ops, Pages, Quota, Restored};

/// The capability.
pub struct Secrets;

impl Capability for Secrets {
    fn name(&self) -> &'static str {
        "secrets"
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

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "Secrets",
            path: "/secrets",
            icon: "lock",
            permission: "secrets.read",
        }]
    }

    fn sealed(&self) -> &'static [&'static str] {
        &[store::NAMES[1]]
    }

    fn uses(&self, ctx: &Ctx<'_>, quota: Quota) -> Result<Option<usize>> {
        match quota {
            Quota::Secrets => ctx.read()?.count(&store::SECRETS, &ctx.tenant).map(Some),
            _ => Ok(None),
        }
    }

    fn tables(&self) -> &'static [&'static str] {
        &store::NAMES
    }

    fn restored(&self, ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
        recovery::restored(ctx, change, restored)
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        recovery::check(ctx, findings)
    }
}
