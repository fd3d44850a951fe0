//! The reference of the agent protocol: one example of every message, below its guide.

use askama::Template;

use crate::base::Result;
use crate::kit::guide::guide_page;
use crate::kit::{Ctx, Markup, PageRequest, Reply};
use crate::wire::examples::{Example, down, up};
use crate::wire::{DownKind, UpKind};

#[derive(Template)]
#[template(path = "help/_messages.html")]
struct MessagesPart {
    groups: [(&'static str, Vec<Example>); 2],
}

/// The page.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let groups = [
        ("What an agent says", UpKind::ALL.iter().map(|kind| up(*kind)).collect()),
        ("What an agent is told", DownKind::ALL.iter().map(|kind| down(*kind)).collect()),
    ];
    guide_page(ctx, request, "messages", Markup(MessagesPart { groups }.render()?))
}
