//! What takes how much of the disk, now and over the days.

use super::model::{Chosen, Measurement};
use super::store::{self, DAYS, DAYS_MAX, LIMITS};
use crate::base::{Result, Span, Timestamp};
use crate::engine::host;
use crate::engine::store::Read;
use crate::kit::Ctx;

/// Files of one folder that are counted.
const FILES_MAX: usize = 100_000;
/// A measurement of the same day is replaced when it is older than this.
const AGAIN: Span = Span::from_hours(1);

/// Measures now.
pub(super) fn measure(ctx: &Ctx<'_>) -> Result<Measurement> {
    let site = ctx.site;
    let folder = |name: &str| host::folder_bytes(&site.folder.join(name), FILES_MAX);
    let (series, logs) = (site.series.stats(), site.logs.stats());
    let space = host::space(&site.folder)?;
    let journal = site.store.stats().journal_bytes;
    Ok(Measurement {
        at: ctx.now,
        state: folder("store").saturating_sub(journal),
        journal,
        metrics: series.bytes + series.journal_bytes,
        logs: logs.bytes + logs.journal_bytes,
        index: folder("index"),
        backups: folder("backups"),
        other: folder("keys") + folder("agent") + folder("scratch"),
        free: space.free,
        total: space.total,
    })
}

/// Keeps one measurement a day.
pub(super) fn remember(ctx: &Ctx<'_>) -> Result<()> {
    let key = (ctx.tenant, ctx.now.day());
    if ctx.read()?.get(&DAYS, &key)?.is_some_and(|last| ctx.now.since(last.at) < AGAIN) {
        return Ok(());
    }
    let measurement = measure(ctx)?;
    ctx.require("storage.measure")?.write(|change| {
        change.tx.put(&DAYS, &key, &measurement)?;
        store::trim(change.tx, &DAYS, ctx.tenant, DAYS_MAX)
    })
}

/// The measurements of the last days, oldest first.
pub(super) fn days(read: &impl Read, ctx: &Ctx<'_>, back: Span) -> Result<Vec<Measurement>> {
    let first: Timestamp = ctx.now - back;
    let range = (ctx.tenant, first.day())..;
    let rows = read.range(&DAYS, range, DAYS_MAX)?;
    Ok(rows.into_iter().filter(|((tenant, _), _)| *tenant == ctx.tenant).map(|(_, day)| day).collect())
}

/// What an owner chose of the limits.
pub(super) fn chosen(read: &impl Read, ctx: &Ctx<'_>) -> Result<Chosen> {
    Ok(read.get(&LIMITS, &ctx.tenant)?.unwrap_or_default())
}
