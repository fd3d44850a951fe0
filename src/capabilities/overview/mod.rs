//! The first screen: what burns, since when, what to press. It owns no state; everything is asked of the others.

mod pages;

use crate::kit::{Capability, NavItem, Pages};

/// The capability.
pub struct Overview;

impl Capability for Overview {
    fn name(&self) -> &'static str {
        "overview"
    }

    fn pages(&self, pages: &mut Pages) {
        pages::register(pages);
    }

    fn navigation(&self) -> Vec<NavItem> {
        let item = |group, title, path, icon| NavItem { group, title, path, icon, permission: "agents.read" };
        vec![
            item("Fleet", "Overview", "/", "layout-dashboard"),
            item("Help", "Guides", "/help", "circle-help"),
            item("Help", "API", "/help/api", "file-text"),
        ]
    }
}
