//! The pages that show several capabilities at once: the first screen, the list of agents, the page of one agent, the
//! palette. They stand here because the capabilities below may not know one another.

mod agent;
mod help;
mod home;
mod list;
mod messages;
mod one;
mod palette;
#[cfg(test)]
mod tests;
mod views;

use crate::kit::Pages;

/// Routes and live parts.
pub(crate) fn register(pages: &mut Pages) {
    pages.get("/", home::show);
    pages.get("/agents", list::show);
    pages.get("/agents/{id}", one::show);
    pages.get("/palette", palette::show);
    pages.get("/help", help::list);
    pages.get("/help/messages", messages::show);
    pages.get("/help/{guide}", help::one);
    pages.explained(help::SCREENS);
    pages.live("overview", home::live);
    pages.live("fleet", home::fleet_live);
    pages.live("agents", list::live);
    pages.live("agent", one::live);
}
