//! How well the site is guarded: checks that look at the live state, each with what it found, how that is mended, and the
//! controls of common catalogues that it bears on; and every place that the server may connect to.
//!
//! A check is a function over `facts`, which are gathered once for all of them: one reading of each table, and a few
//! looks at this process and its disk.
//!
//! Invariant: a check changes nothing, and keeps nothing: it says what is at this moment.
//! Invariant: nobody learns here what they may not read elsewhere. What is asked of another capability is asked through its
//! own operation; where that refuses, the check says that it is unknown, and why.
//! Invariant: who sees a part of the fleet gets the checks of agents, about that part, and no others.
//! Invariant: of what a check finds a bounded number is listed; all of it is counted.

mod clocks;
mod controls;
mod doors;
mod facts;
mod keeping;
mod model;
pub mod ops;
mod pages;
mod people;
mod rules;
#[cfg(test)]
mod tests;

pub use controls::{Catalogue, Control, Edition};
pub use model::{Check, Counts, Found, Group, Posture, State};

use crate::base::Result;
use crate::kit::{Capability, Ctx, NavItem, Nothing, Ops, Pages};

/// The capability.
pub struct Security;

impl Capability for Security {
    fn name(&self) -> &'static str {
        "security"
    }

    fn knows_parts(&self) -> bool {
        true
    }

    fn ops(&self, ops: &mut Ops) {
        ops::register(ops);
    }

    fn pages(&self, pages: &mut Pages) {
        pages::register(pages);
    }

    fn evidence(&self, ctx: &Ctx<'_>) -> Result<Option<(&'static str, String)>> {
        if !ctx.actor.may("security.read") {
            return Ok(None);
        }
        let posture = ops::checks(ctx, Nothing {})?;
        Ok(Some(("security.json", serde_json::to_string_pretty(&posture)?)))
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "Security",
            path: "/security",
            icon: "shield-alert",
            permission: "security.read",
        }]
    }
}
