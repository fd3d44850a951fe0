//! The tables.

use super::chain::Head;
use super::model::Entry;
use crate::base::TenantId;
use crate::engine::store::Table;

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 2] = ["audit", "audit_heads"];

/// Entries by tenant, number of the change, and place of the event in it: a scan is a timeline, and the numbers of
/// entries rise with it.
pub(super) static ENTRIES: Table<(TenantId, u64, u32), Entry> = Table::new(NAMES[0]);
/// How far the chain of each tenant is.
pub(super) static HEADS: Table<TenantId, Head> = Table::new(NAMES[1]);
