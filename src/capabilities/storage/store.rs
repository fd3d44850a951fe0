//! Tables of storage.

use super::model::{Chosen, Level, Measurement};
use super::verify::Check;
use crate::base::{Result, TenantId, Timestamp};
use crate::engine::store::{Read, Table, Tx};
use crate::kit::{Ctx, Findings};

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 4] = ["storage_checks", "storage_days", "storage_level", "storage_limits"];

/// What verifications found, by when they began.
pub(super) const CHECKS: Table<(TenantId, Timestamp), Check> = Table::new(NAMES[0]);
/// One measurement a day, by its date.
pub(super) const DAYS: Table<(TenantId, String), Measurement> = Table::new(NAMES[1]);
/// The level that was told last.
pub(super) const LEVEL: Table<TenantId, Level> = Table::new(NAMES[2]);
/// What an owner chose.
pub(super) const LIMITS: Table<TenantId, Chosen> = Table::new(NAMES[3]);

/// Verifications that are kept.
pub(super) const CHECKS_MAX: usize = 30;
/// Measurements that are kept.
pub(super) const DAYS_MAX: usize = 400;

/// Deletes the oldest rows beyond `most`.
pub(super) fn trim<K: crate::engine::store::Key, V>(
    tx: &mut Tx,
    table: &Table<K, V>,
    tenant: TenantId,
    most: usize,
) -> Result<()>
where
    V: serde::Serialize + serde::de::DeserializeOwned,
{
    let rows = tx.prefix(table, &tenant, most + CHECKS_MAX)?;
    let surplus = rows.len().saturating_sub(most);
    for (key, _) in rows.into_iter().take(surplus) {
        tx.delete(table, &key)?;
    }
    Ok(())
}

/// Every row can be read.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &CHECKS, |_, _, _, _| Ok(()))?;
    findings.each_row(ctx, &DAYS, |_, _, _, _| Ok(()))?;
    findings.each_row(ctx, &LEVEL, |_, _, _, _| Ok(()))?;
    findings.each_row(ctx, &LIMITS, |findings, _, _, chosen| {
        let sound = chosen.check().is_ok();
        findings.demand(
            sound,
            "storage_limits",
            "the limits come too late",
            "choose others on the page Storage",
        );
        Ok(())
    })
}
