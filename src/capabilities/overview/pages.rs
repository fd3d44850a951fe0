//! The pages that show several capabilities at once: the first screen, the list of agents, the page of one agent, the
//! palette. They stand here because the capabilities below may not know one another.

mod agent;
mod home;
mod list;
mod one;
mod palette;
#[cfg(test)]
mod tests;
mod views;

use crate::base::Result;
use crate::kit::{Cookie, Ctx, PageRequest, Pages, Reply, Theme};

/// Routes and live parts.
pub fn register(pages: &mut Pages) {
    pages.get("/", home::show);
    pages.get("/agents", list::show);
    pages.get("/agents/{id}", one::show);
    pages.get("/palette", palette::show);
    pages.post("/theme", theme);
    pages.live("overview", home::live);
    pages.live("fleet", home::fleet_live);
    pages.live("agents", list::live);
    pages.live("agent", one::live);
}

/// Remembers the look that the person chose; the cookie's name is what the surface reads.
fn theme(_: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let value = Theme::find(request.field("theme")).word().to_owned();
    let seconds = if value.is_empty() { 0 } else { 400 * 86_400 };
    Ok(Reply::Redirect("/".to_owned(), vec![Cookie { name: "theme", value, seconds }]))
}
