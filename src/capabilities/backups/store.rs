//! Tables of backups.

use super::model::{Backup, DrillRecord, RecoveryKeyRow, RestoreRecord, Run, State};
use super::plan::Plan;
use super::targets::Target;
use crate::base::{Result, TenantId, Timestamp};
use crate::engine::store::{Read, Table};
use crate::kit::{Change, Ctx};

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 8] = [
    "backups",
    "backups_plan",
    "backups_state",
    "backups_runs",
    "backups_targets",
    "backups_keys",
    "backups_drills",
    "backups_restores",
];

/// The catalogue, by name of the file.
pub(super) const BACKUPS: Table<(TenantId, String), Backup> = Table::new(NAMES[0]);
/// The plan, when it is not the default.
pub(super) const PLAN: Table<TenantId, Plan> = Table::new(NAMES[1]);
/// What the schedule remembers.
pub(super) const STATE: Table<TenantId, State> = Table::new(NAMES[2]);
/// Runs that have ended, by when they began.
pub(super) const RUNS: Table<(TenantId, Timestamp), Run> = Table::new(NAMES[3]);
/// Targets, by identifier.
pub(super) const TARGETS: Table<(TenantId, String), Target> = Table::new(NAMES[4]);
/// Recovery keys, by number.
pub(super) const KEYS: Table<(TenantId, u32), RecoveryKeyRow> = Table::new(NAMES[5]);
/// Drills, by when they were written down.
pub(super) const DRILLS: Table<(TenantId, Timestamp), DrillRecord> = Table::new(NAMES[6]);
/// Restores that this site is the outcome of, by generation.
pub(super) const RESTORES: Table<(TenantId, u64), RestoreRecord> = Table::new(NAMES[7]);

/// Backups in the catalogue that one list gives; the retention keeps far fewer.
pub(super) const BACKUPS_MAX: usize = 20_000;
/// Runs that are kept.
const RUNS_KEPT: usize = 200;
/// Drills that are kept: a year and more of nights.
const DRILLS_KEPT: usize = 400;

/// The plan in force.
pub(super) fn plan(read: &impl Read, tenant: TenantId) -> Result<Plan> {
    Ok(read.get(&PLAN, &tenant)?.unwrap_or_default())
}

/// What the schedule remembers.
pub(super) fn state(read: &impl Read, tenant: TenantId) -> Result<State> {
    Ok(read.get(&STATE, &tenant)?.unwrap_or_default())
}

/// Changes what the schedule remembers.
pub(super) fn remember(ctx: &Ctx<'_>, change: &mut Change<'_>, f: impl FnOnce(&mut State)) -> Result<()> {
    let mut state = state(change.tx, ctx.tenant)?;
    f(&mut state);
    change.tx.put(&STATE, &ctx.tenant, &state)
}

/// The whole catalogue, by name.
pub(super) fn backups(read: &impl Read, tenant: TenantId) -> Result<Vec<Backup>> {
    Ok(read.prefix(&BACKUPS, &tenant, BACKUPS_MAX)?.into_iter().map(|(_, backup)| backup).collect())
}

/// The last backup that was taken and is whole, by when it was complete.
pub(super) fn newest(backups: &[Backup], full: bool) -> Option<&Backup> {
    backups.iter().filter(|b| b.verified.is_some() && (b.full || !full)).max_by_key(|b| (b.made, &b.name))
}

/// Every target.
pub(super) fn targets(read: &impl Read, tenant: TenantId) -> Result<Vec<Target>> {
    let rows = read.prefix(&TARGETS, &tenant, super::targets::TARGETS_MAX)?;
    Ok(rows.into_iter().map(|(_, target)| target).collect())
}

/// Writes down a run, and forgets the oldest.
pub(super) fn ran(ctx: &Ctx<'_>, change: &mut Change<'_>, run: &Run) -> Result<()> {
    change.tx.put(&RUNS, &(ctx.tenant, run.began), run)?;
    let rows = change.tx.prefix_back(&RUNS, &ctx.tenant, RUNS_KEPT + 50)?;
    rows.iter().skip(RUNS_KEPT).try_for_each(|(key, _)| change.tx.delete(&RUNS, key))
}

/// Writes down a drill, and forgets the oldest.
pub(super) fn drilled(ctx: &Ctx<'_>, change: &mut Change<'_>, record: &DrillRecord) -> Result<()> {
    change.tx.put(&DRILLS, &(ctx.tenant, record.recorded), record)?;
    let rows = change.tx.prefix_back(&DRILLS, &ctx.tenant, DRILLS_KEPT + 50)?;
    rows.iter().skip(DRILLS_KEPT).try_for_each(|(key, _)| change.tx.delete(&DRILLS, key))
}
