//! The reference of the agent protocol: topics, and one example of every message.

use askama::Template;

use crate::base::Result;
use crate::kit::{Ctx, PageRequest, Reply, Shell, html};
use crate::wire::examples::{Example, down, up};
use crate::wire::{DownKind, JOIN_DOWN, JOIN_UP, UpKind, VERSION};

#[derive(Template)]
#[template(path = "help/messages.html")]
struct MessagesPage {
    shell: Shell,
    prefix: String,
    gate: String,
    join_up: &'static str,
    join_down: &'static str,
    groups: [(&'static str, Vec<Example>); 2],
}

/// The page.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    html(&MessagesPage {
        shell: Shell::new(ctx, request, "Messages of agents", "/help/messages"),
        prefix: format!("muster/{VERSION}/{}/AGENT", ctx.tenant),
        gate: ctx.site.settings.gate(),
        join_up: JOIN_UP,
        join_down: JOIN_DOWN,
        groups: [
            ("What an agent says", UpKind::ALL.iter().map(|kind| up(*kind)).collect()),
            ("What an agent is told", DownKind::ALL.iter().map(|kind| down(*kind)).collect()),
        ],
    })
}
