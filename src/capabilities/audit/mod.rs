//! Who did what, when and from where: one entry for every event that a change tells.
//!
//! Invariant: entries are written by the follower alone; no operation changes or removes one.
//! Invariant: following a change twice gives the same entries, for their key is the change's number and the event's place.
//! Invariant: the entries of a tenant are numbered without gaps, and each hashes over the one before.
//! Invariant: no entry holds a password, a token or a digest.

mod chain;
mod follow;
mod model;
mod ops;
mod pages;
mod store;
#[cfg(test)]
mod tests;

pub use chain::{Chain, Head, adopt};
pub use model::Entry;
pub use ops::{AuditAsked, AuditNumber, find, list};

use crate::kit::{Capability, Followers, NavItem, Ops, Pages};

/// The capability.
pub struct Audit;

impl Capability for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn ops(&self, ops: &mut Ops) {
        ops.get("audit.list", "/audit", "Lists what was done, newest first.", list);
        ops.get("audit.find", "/audit/{number}", "Shows one entry of the audit log.", find);
    }

    fn pages(&self, pages: &mut Pages) {
        pages.get("/audit", pages::list);
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
}
