//! The help page on the network: under which names the site answers, its certificate, who may connect and how often.

use askama::Template;

use crate::base::{Result, limits};
use crate::kit::{Ctx, PageRequest, Reply, Shell, html};

#[derive(Template)]
#[template(path = "help/network.html")]
struct NetworkHelpPage {
    shell: Shell,
    console: String,
    hosts: String,
    folder: String,
    families: usize,
    family_days: u64,
    family_idle_days: u64,
    own_hours: u64,
    own_times: usize,
    burst_seconds: u32,
    door_forms: u32,
    handshake_seconds: u64,
    head_seconds: u64,
    body_seconds: u64,
    body_kib: usize,
    write_seconds: u64,
    idle_seconds: u64,
}

/// The page.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    ctx.require("agents.read")?;
    html(&NetworkHelpPage {
        shell: Shell::new(ctx, request, "Network and certificate", "/help/network"),
        console: ctx.site.settings.console(),
        hosts: ctx.site.settings.hosts.join(", "),
        folder: ctx.site.folder.display().to_string(),
        families: limits::REFRESH_TOKENS_PER_KEY_MAX,
        family_days: limits::REFRESH_TOKEN_DAYS_MAX,
        family_idle_days: limits::REFRESH_TOKEN_IDLE_DAYS_MAX,
        own_hours: limits::OWN_OVERLAP_HOURS_MAX,
        own_times: limits::OWN_ROTATIONS_PER_DAY_MAX,
        burst_seconds: limits::REQUESTS_BURST_SECONDS,
        door_forms: limits::DOOR_FORMS_BURST,
        handshake_seconds: limits::HTTP_HANDSHAKE_SECONDS_MAX,
        head_seconds: limits::HTTP_HEAD_SECONDS_MAX,
        body_seconds: limits::HTTP_BODY_SECONDS_MAX,
        body_kib: limits::HTTP_BODY_BYTES_MAX / 1024,
        write_seconds: limits::HTTP_WRITE_SECONDS_MAX,
        idle_seconds: limits::HTTP_IDLE_SECONDS_MAX,
    })
}
