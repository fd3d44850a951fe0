//! What checks look at, gathered once for all of them.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::ops::{self, EgressView};
use crate::base::{AgentId, Kind, Result, Timestamp};
use crate::capabilities::{agents, audit, backups, identity};
use crate::engine::crypto::lifetime_of;
use crate::engine::host;
use crate::kit::{Ctx, Guards, Nothing, Served, Unwritable};
use crate::wire::TimeService;

/// Files and folders of the data folder whose rights are looked at.
const ENTRIES_MAX: usize = 1_000;

/// What is known, or why it is not.
pub(super) type Known<T> = Result<T, String>;

/// An agent as checks look at it.
#[derive(Clone, Debug)]
pub(super) struct AgentFact {
    pub(super) id: AgentId,
    pub(super) name: String,
    /// Whether it is connected.
    pub(super) here: bool,
    /// When its certificate ends; absent for one with a secret.
    pub(super) certificate_until: Option<Timestamp>,
    /// Its clock minus the server's, when it was last heard.
    pub(super) offset_ms: Option<i64>,
    /// Who sets its clock.
    pub(super) time: Option<TimeService>,
}

/// The doors of the site.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    pub(super) guards: Guards,
    pub(super) served: Option<Served>,
    pub(super) authority_ends: Timestamp,
    /// Where this process listens.
    pub(super) listeners: Known<Vec<SocketAddr>>,
    pub(super) https_port: u16,
    pub(super) mqtt_port: u16,
    pub(super) plain_port: Option<u16>,
    /// Where the server may connect.
    pub(super) egress: EgressView,
}

/// What is kept, beside backups and the audit log.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) guards: Guards,
    pub(super) unwritable: Unwritable,
    /// Whether the disk below the data folder is encrypted.
    pub(super) disk_encrypted: Option<bool>,
    /// The rights of the data folder and of what lies in it, by name: those that let others in.
    pub(super) open_to_others: Known<Vec<(String, u32)>>,
}

/// How well the site is saved.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub(super) overview: backups::ops::Overview,
    /// When somebody last showed that the newest recovery key opens a backup.
    pub(super) key_checked: Option<Timestamp>,
    /// Since when there is that key.
    pub(super) key_made: Option<Timestamp>,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) standings: Known<identity::Standings>,
    pub(super) doors: Known<Doors>,
    pub(super) kept: Known<Kept>,
    pub(super) agents: Known<Vec<AgentFact>>,
    /// Who sets this host's clock.
    pub(super) clock: Known<host::TimeService>,
    pub(super) saved: Known<Saved>,
    pub(super) audit: Known<audit::Status>,
}

impl Facts {
    /// The facts of this moment. What the actor may not read, and what cannot be read, is not known; the rest is.
    pub(super) fn gather(ctx: &Ctx<'_>) -> Facts {
        Facts {
            now: ctx.now,
            standings: known(identity::standings(ctx)),
            doors: known(doors(ctx)),
            kept: known(kept(ctx)),
            agents: known(fleet(ctx)),
            clock: host::time_service().ok_or_else(|| {
                "systemd does not run here, so that nothing tells who sets the clock".to_owned()
            }),
            saved: known(saved(ctx)),
            audit: known(audit::status(ctx, Nothing {})),
        }
    }

    /// The facts for who sees a part of the fleet.
    pub(super) fn of_agents(ctx: &Ctx<'_>) -> Facts {
        let not_asked = || "it is about the whole site".to_owned();
        Facts {
            now: ctx.now,
            standings: Err(not_asked()),
            doors: Err(not_asked()),
            kept: Err(not_asked()),
            agents: known(fleet(ctx)),
            clock: Err(not_asked()),
            saved: Err(not_asked()),
            audit: Err(not_asked()),
        }
    }
}

fn known<T>(result: Result<T>) -> Known<T> {
    result.map_err(|error| match error.kind() {
        Kind::Forbidden => format!("you may not look: {}", error.message()),
        Kind::Internal => {
            tracing::warn!("a fact of the security page is not known: {}", error.detail());
            "it cannot be read; the server's log has more".to_owned()
        }
        _ => error.message().to_owned(),
    })
}

fn doors(ctx: &Ctx<'_>) -> Result<Doors> {
    ctx.require("settings.read")?;
    let settings = &ctx.site.settings;
    Ok(Doors {
        guards: settings.guards.clone(),
        served: settings.served(),
        authority_ends: lifetime_of(ctx.site.authority.certificate_der())?.1,
        listeners: known(host::own_listeners()),
        https_port: settings.https_port(),
        mqtt_port: settings.mqtt_port(),
        plain_port: settings.plain_port(),
        egress: ops::egress(ctx, Nothing {})?,
    })
}

fn kept(ctx: &Ctx<'_>) -> Result<Kept> {
    ctx.require("settings.read")?;
    Ok(Kept {
        guards: ctx.site.settings.guards.clone(),
        unwritable: ctx.site.settings.unwritable,
        disk_encrypted: host::is_encrypted(&ctx.site.folder),
        open_to_others: known(open_to_others(&ctx.site.folder)),
    })
}

/// What in the folder other users of the machine reach. A folder that is closed keeps everything in it closed.
pub(super) fn open_to_others(folder: &Path) -> Result<Vec<(String, u32)>> {
    const OTHERS: u32 = 0o077;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(Vec::new());
    }
    let mut open = vec![(folder.display().to_string(), mode)];
    for entry in std::fs::read_dir(folder)?.take(ENTRIES_MAX).flatten() {
        let Ok(about) = entry.metadata() else { continue };
        let mode = about.mode() & 0o777;
        if mode & OTHERS != 0 && !about.is_symlink() {
            open.push((entry.file_name().to_string_lossy().into_owned(), mode));
        }
    }
    open[1..].sort();
    Ok(open)
}

fn fleet(ctx: &Ctx<'_>) -> Result<Vec<AgentFact>> {
    let seen = ctx.sight("security.read")?;
    let all = agents::all_seen(ctx, "agents.read")?;
    let active = all.iter().filter(|agent| agent.is_active() && seen.sees(&***agent));
    Ok(active
        .map(|agent| {
            let presence = ctx.site.presence.of(agent.id);
            AgentFact {
                id: agent.id,
                name: agent.name.to_string(),
                here: presence.session.is_some(),
                certificate_until: agent.certificate_until,
                offset_ms: presence.clock_offset_ms,
                time: presence.time,
            }
        })
        .collect())
}

fn saved(ctx: &Ctx<'_>) -> Result<Saved> {
    let newest = backups::ops::key_list(ctx, Nothing {})?.into_iter().next();
    Ok(Saved {
        overview: backups::ops::overview(ctx)?,
        key_checked: newest.as_ref().and_then(|key| key.checked),
        key_made: newest.map(|key| key.made),
    })
}
