//! Operations on storage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{self, Chosen, Forecast, Level, Limits};
use super::store::LIMITS;
use super::verify::{self, Check, Running};
use super::{usage, watch};
use crate::base::{Page, Result, Span};
use crate::kit::{Ctx, Nothing, Ops};

/// Days of measurements behind the forecast.
const DAYS_BACK: Span = Span::from_days(15);

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("storage.find", "/storage", "Tells what uses the disk, and how long it will last.", find);
    ops.patch(
        "storage.change",
        "/storage",
        "Chooses the free space at which people are warned and old telemetry is dropped.",
        change,
    );
    ops.get("storage.checks", "/storage/checks", "Lists what verifications found, newest first.", checks);
    ops.post(
        "storage.verify",
        "/storage/verify",
        "Reads everything that is stored in the background and keeps what it finds.",
        verify_all,
    );
}

/// What one thing takes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Use {
    /// `state`, `journal`, `metrics`, `logs`, `index`, `backups` or `other`.
    pub what: &'static str,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// What the telemetry of one day takes.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct DayUse {
    /// The day.
    pub day: String,
    /// Bytes of metrics.
    pub metrics_bytes: u64,
    /// Bytes of logs.
    pub logs_bytes: u64,
}

/// What uses the disk.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StorageView {
    /// How full the disk is.
    pub level: Level,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes of the disk.
    pub disk_bytes: u64,
    /// What takes how much.
    pub uses: Vec<Use>,
    /// Telemetry by day, newest first.
    pub days: Vec<DayUse>,
    /// Bytes that come in a day; absent while that is not known.
    pub growth_bytes_a_day: Option<i64>,
    /// Days until old telemetry is dropped, when it goes on like this.
    pub days_left: Option<u64>,
    /// Where the levels begin.
    pub limits: Limits,
    /// MiB at which people are warned, where an owner chose it.
    pub early_mebibytes: Option<u64>,
    /// MiB at which old telemetry is dropped, where an owner chose it.
    pub shedding_mebibytes: Option<u64>,
}

/// Tells what uses the disk.
pub(super) fn find(ctx: &Ctx<'_>, _: Nothing) -> Result<StorageView> {
    ctx.require("storage.read")?;
    let now = usage::measure(ctx)?;
    let read = ctx.read()?;
    let chosen = usage::chosen(&read, ctx)?;
    let days = usage::days(&read, ctx, DAYS_BACK)?;
    drop(read);
    let limits = Limits::of(now.total, &chosen);
    let forecast: Option<Forecast> = model::forecast(&days, &now, &limits);
    let uses = [
        ("state", now.state),
        ("journal", now.journal),
        ("metrics", now.metrics),
        ("logs", now.logs),
        ("index", now.index),
        ("backups", now.backups),
        ("other", now.other),
    ];
    Ok(StorageView {
        level: watch::level(ctx.site).max(Level::at(now.free, &limits, Level::Normal)),
        free_bytes: now.free,
        disk_bytes: now.total,
        uses: uses.map(|(what, bytes)| Use { what, bytes }).into(),
        days: by_day(ctx),
        growth_bytes_a_day: forecast.map(|forecast| forecast.growth_bytes_a_day),
        days_left: forecast.and_then(|forecast| forecast.days_left),
        limits,
        early_mebibytes: chosen.early_mebibytes,
        shedding_mebibytes: chosen.shedding_mebibytes,
    })
}

fn by_day(ctx: &Ctx<'_>) -> Vec<DayUse> {
    let mut days = std::collections::BTreeMap::<String, DayUse>::new();
    for day in ctx.site.series.days() {
        days.entry(day.day).or_default().metrics_bytes = day.bytes;
    }
    for day in ctx.site.logs.days() {
        days.entry(day.day).or_default().logs_bytes = day.bytes;
    }
    days.into_iter().rev().map(|(day, used)| DayUse { day, ..used }).collect()
}

/// The limits; what is absent follows from the size of the disk.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct LimitsChosen {
    /// MiB that must be free, or people are warned.
    pub(super) early_mebibytes: Option<u64>,
    /// MiB that must be free, or old telemetry is dropped.
    pub(super) shedding_mebibytes: Option<u64>,
}

/// Chooses the limits.
pub(super) fn change(ctx: &Ctx<'_>, input: LimitsChosen) -> Result<StorageView> {
    let LimitsChosen { early_mebibytes, shedding_mebibytes } = input;
    let chosen = Chosen { early_mebibytes, shedding_mebibytes };
    chosen.check()?;
    let before = usage::chosen(&ctx.read()?, ctx)?;
    ctx.require("storage.change")?.write(|change| {
        change.tx.put(&LIMITS, &ctx.tenant, &chosen)?;
        let moved = |before: Option<u64>, after: Option<u64>| json!({ "before": before, "after": after });
        let detail = json!({
            "early_mebibytes": moved(before.early_mebibytes, chosen.early_mebibytes),
            "shedding_mebibytes": moved(before.shedding_mebibytes, chosen.shedding_mebibytes),
        });
        change.tell("storage.changed", "limits", detail);
        Ok(())
    })?;
    find(ctx, Nothing {})
}

/// Lists what verifications found.
pub(super) fn checks(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<Check>> {
    ctx.require("storage.read")?;
    Ok(Page { items: verify::results(ctx)?, next: None })
}

/// Begins a verification in the background.
pub(super) fn verify_all(ctx: &Ctx<'_>, _: Nothing) -> Result<Running> {
    verify::want(ctx)
}
