//! What the site is called, and where its parts are reached.
//!
//! Invariant: the stored name wins over the configured one; the name in memory is the stored one.

mod events;
mod ops;
mod pages;
mod recovery;
mod store;
#[cfg(test)]
mod tests;

pub use ops::{SettingsChanged, SettingsView};

use crate::base::Result;
use crate::engine::store::Read;
use crate::kit::{Capability, Ctx, EventKind, Findings, NavItem, Ops, Pages, Returnable, Site};

/// The capability.
pub struct Settings;

impl Capability for Settings {
    fn name(&self) -> &'static str {
        "settings"
    }

    fn events(&self) -> &'static [EventKind] {
        events::EVENTS
    }

    fn ops(&self, ops: &mut Ops) {
        ops.get("settings.find", "/settings", "Finds the site's name and addresses.", ops::find);
        ops.patch("settings.change", "/settings", "Renames the site.", ops::change);
    }

    fn pages(&self, pages: &mut Pages) {
        pages.get("/settings", pages::view);
        pages.post("/settings", pages::change);
    }

    fn navigation(&self) -> Vec<NavItem> {
        vec![NavItem {
            group: "Govern",
            title: "Settings",
            path: "/settings",
            icon: "settings",
            permission: "settings.read",
        }]
    }

    fn sites(&self) -> &'static [&'static str] {
        &["settings.change"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &store::NAMES
    }

    fn check(&self, ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
        recovery::check(ctx, findings)
    }

    fn returnable(&self) -> &'static [Returnable] {
        &recovery::RETURNABLE
    }
}

/// Takes the stored name into memory; once, at the start.
pub fn load(site: &Site) -> Result<()> {
    if let Some(stored) = site.store.read()?.get(&store::SETTINGS, &site.home)? {
        site.settings.rename(stored.name.to_string());
    }
    Ok(())
}
