//! Watches the disk: tells its level, and drops the oldest telemetry when there is no other way.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{Level, Limits, left_at};
use super::store::LEVEL;
use super::usage;
use crate::base::{Result, Span};
use crate::engine::host::{self, Space};
use crate::engine::store::Read;
use crate::kit::chart::Unit;
use crate::kit::{Ctx, Notice, PerSite, Site};

/// Telemetry that is never dropped for want of room: the last day of each.
const LOGS_FLOOR: Span = Span::from_days(1);
const METRICS_FLOOR: Span = Span::from_days(1);
/// Drops that wait to be told, while nothing can be written.
const UNTOLD_MAX: usize = 1_000;

/// A day that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shed {
    /// `logs` or `metrics`.
    what: &'static str,
    /// The day.
    day: String,
    /// What it took.
    bytes: u64,
}

/// What is known since the start.
#[derive(Default)]
struct Known {
    level: Option<Level>,
    told: Option<Level>,
    untold: Vec<Shed>,
}

static SITES: PerSite<Mutex<Known>> = PerSite::new();

/// The level of this moment; normal before the first look.
pub(super) fn level(site: &Site) -> Level {
    SITES.of(site, Mutex::default).lock().level.unwrap_or_default()
}

/// The job.
pub(super) fn watch(ctx: &Ctx<'_>) -> Result<()> {
    watch_with(ctx, &|| host::space(&ctx.site.folder))
}

/// The same with another way to ask how full the disk is, for tests.
pub(super) fn watch_with(ctx: &Ctx<'_>, ask: &dyn Fn() -> Result<Space>) -> Result<()> {
    let known = SITES.of(ctx.site, Mutex::default);
    let mut space = ask()?;
    let read = ctx.read()?;
    let limits = Limits::of(space.total, &usage::chosen(&read, ctx)?);
    let stored = read.get(&LEVEL, &ctx.tenant)?.unwrap_or_default();
    drop(read);
    let before = known.lock().level.unwrap_or(stored);
    let mut level = Level::at(space.free, &limits, before);
    if level >= Level::Shedding {
        // Down to where the level ends, or every new byte would drop another day.
        while space.free < left_at(limits.shedding_bytes)
            && let Some(shed) = shed(ctx.site)?
        {
            tracing::warn!(bytes = shed.bytes, "the {} of {} were dropped to make room", shed.what, shed.day);
            let mut known = known.lock();
            if known.untold.len() < UNTOLD_MAX {
                known.untold.push(shed);
            }
            drop(known);
            space = ask()?;
        }
        level = Level::at(space.free, &limits, level);
    }
    ctx.site.notices.say("storage", notice(level, space, &limits));
    let (told, untold) = {
        let mut known = known.lock();
        known.level = Some(level);
        (known.told.unwrap_or(stored), known.untold.clone())
    };
    if told == level && untold.is_empty() {
        return Ok(());
    }
    let written = ctx.require("storage.watch")?.write(|change| {
        for shed in &untold {
            change.tell("storage.shed", shed.what, json!({ "day": shed.day, "bytes": shed.bytes }));
        }
        if told != level {
            change.tx.put(&LEVEL, &ctx.tenant, &level)?;
            let detail = json!({
                "level": { "before": told, "after": level }, "free_bytes": space.free, "disk_bytes": space.total,
            });
            change.tell("storage.level_changed", "disk", detail);
        }
        Ok(())
    });
    match written {
        Ok(()) => {
            let mut known = known.lock();
            known.told = Some(level);
            known.untold.drain(..untold.len());
            Ok(())
        }
        // It is told when there is room again.
        Err(_) if level == Level::Critical => Ok(()),
        Err(e) => Err(e),
    }
}

/// Drops one day: of logs as long as there is one to drop, then of metrics.
fn shed(site: &Site) -> Result<Option<Shed>> {
    if let Some(gone) = site.logs.shed(LOGS_FLOOR)? {
        return Ok(Some(Shed { what: "logs", day: gone.day, bytes: gone.bytes }));
    }
    let gone = site.series.shed(METRICS_FLOOR)?;
    Ok(gone.map(|gone| Shed { what: "metrics", day: gone.day, bytes: gone.bytes }))
}

/// What every page says.
fn notice(level: Level, space: Space, limits: &Limits) -> Option<Notice> {
    let bytes = |bytes: u64| Unit::Bytes.text(bytes as f64);
    let free = bytes(space.free);
    let text = match level {
        Level::Normal => return None,
        Level::Early => {
            let limit = bytes(limits.shedding_bytes);
            format!("The disk fills: {free} are free. Below {limit} the oldest telemetry is dropped.")
        }
        Level::Shedding => format!(
            "The disk is nearly full: {free} are free. The oldest days of logs and metrics are dropped; state and audit \
             trail stay."
        ),
        Level::Critical => {
            "The disk is full, and the site is read-only: nothing can be changed, and agents keep what they have to say. \
             It goes on by itself when there is room."
                .to_owned()
        }
    };
    Some(Notice { grave: level == Level::Critical, text, href: "/storage", permission: "storage.read" })
}
