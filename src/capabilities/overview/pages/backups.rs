//! The help page on backups: what may be copied when, the commands, and what to do in an emergency.

use askama::Template;

use crate::base::Result;
use crate::kit::{Ctx, PageRequest, Reply, Shell, html};

#[derive(Template)]
#[template(path = "help/backups.html")]
struct BackupsHelpPage {
    shell: Shell,
    folder: String,
}

/// The page.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    html(&BackupsHelpPage {
        shell: Shell::new(ctx, request, "Backup and restore", "/help/backups"),
        folder: ctx.site.folder.display().to_string(),
    })
}
