//! Verifications: wanted by a person or due by time, run in the background, kept with their date.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::look::{LookedAt, look};
use super::store::{self, CHECKS, CHECKS_MAX, DAYS};
use super::usage;
use crate::base::{Error, Result, Span, Timestamp};
use crate::engine::store::Read;
use crate::kit::{Ctx, Finding, PerSite, Site};

/// A verification runs by itself when the last one is older.
const EVERY: Span = Span::from_days(7);
/// Findings that are kept with one.
const FINDINGS_MAX: usize = 100;
/// Bytes that are read before others get their turn.
const TURN_BYTES: u64 = 4 * 1024 * 1024;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Check {
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Who wanted it, as in the audit trail.
    pub by: String,
    /// Part by part.
    pub parts: Vec<LookedAt>,
    /// The first findings.
    pub findings: Vec<Finding>,
    /// All of them.
    pub count: u64,
}

/// One that waits or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub(super) struct Running {
    /// Who wanted it.
    pub(super) by: String,
    /// When it began; absent while it waits.
    pub(super) started: Option<Timestamp>,
    /// What it is at.
    pub(super) part: String,
    /// How far it is, in percent of the bytes that there are to read.
    pub(super) percent: u64,
}

static SITES: PerSite<Mutex<Option<Running>>> = PerSite::new();

/// The one that waits or runs.
pub(super) fn running(site: &Site) -> Option<Running> {
    SITES.of(site, Mutex::default).lock().clone()
}

/// Wants one; it begins within seconds.
pub(super) fn want(ctx: &Ctx<'_>) -> Result<Running> {
    ctx.require("storage.verify")?;
    let place = SITES.of(ctx.site, Mutex::default);
    let mut place = place.lock();
    if place.is_some() {
        return Err(Error::conflict("a verification runs already").hint("its result appears on this page"));
    }
    let wanted = Running { by: ctx.actor.text(), started: None, part: String::new(), percent: 0 };
    *place = Some(wanted.clone());
    Ok(wanted)
}

/// The newest results, newest first.
pub(super) fn results(ctx: &Ctx<'_>) -> Result<Vec<Check>> {
    let rows = ctx.read()?.prefix_back(&CHECKS, &ctx.tenant, CHECKS_MAX)?;
    Ok(rows.into_iter().map(|(_, check)| check).collect())
}

/// The job: runs one that is wanted or due.
pub(super) fn run_wanted(ctx: &Ctx<'_>) -> Result<()> {
    let place = SITES.of(ctx.site, Mutex::default);
    if place.lock().is_none() {
        if !due(ctx)? {
            return Ok(());
        }
        *place.lock() = Some(Running { by: "system".into(), started: None, part: String::new(), percent: 0 });
    }
    let done = run(ctx, &place);
    *place.lock() = None;
    done
}

/// The first one is due when the site has been measured for so long.
fn due(ctx: &Ctx<'_>) -> Result<bool> {
    let read = ctx.read()?;
    let last = read.prefix_back(&CHECKS, &ctx.tenant, 1)?.pop().map(|(_, check)| check.started);
    let since = match last {
        Some(last) => Some(last),
        None => read.prefix(&DAYS, &ctx.tenant, 1)?.pop().map(|(_, day)| day.at),
    };
    Ok(since.is_some_and(|since| ctx.now.since(since) >= EVERY))
}

fn run(ctx: &Ctx<'_>, place: &Mutex<Option<Running>>) -> Result<()> {
    let measured = usage::measure(ctx)?;
    let whole = (measured.journal + measured.metrics + measured.logs).max(1);
    let by = place.lock().as_ref().map(|running| running.by.clone()).unwrap_or_default();
    let (mut done, mut turn) = (0u64, 0u64);
    let found = look(ctx, &mut |part, bytes| {
        if ctx.site.is_stopping() {
            return Err(Error::unavailable("the server stops"));
        }
        (done, turn) = (done + bytes, turn + bytes);
        if turn >= TURN_BYTES {
            turn = 0;
            std::thread::yield_now();
        }
        if let Some(running) = place.lock().as_mut() {
            running.started = Some(ctx.now);
            part.clone_into(&mut running.part);
            running.percent = (done * 100 / whole).min(100);
        }
        Ok(())
    });
    let found = match found {
        Err(_) if ctx.site.is_stopping() => return Ok(()),
        found => found?,
    };
    let ended = ctx.site.clock.now();
    let findings = found.findings.kept.into_iter().take(FINDINGS_MAX).collect();
    let check =
        Check { started: ctx.now, ended, by, parts: found.parts, findings, count: found.findings.count };
    ctx.require("storage.verify")?.write(|change| {
        change.tx.put(&CHECKS, &(ctx.tenant, check.started), &check)?;
        store::trim(change.tx, &CHECKS, ctx.tenant, CHECKS_MAX)?;
        let event = if check.count == 0 { "storage.verified" } else { "storage.damaged" };
        let first = check.findings.first();
        let detail = json!({
            "by": check.by,
            "looked_at": found.findings.looked_at,
            "findings": check.count,
            "first": first.map(|finding| format!("{}: {}", finding.place, finding.what)),
        });
        change.tell(event, "site", detail);
        Ok(())
    })
}
