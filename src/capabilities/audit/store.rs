//! The table of entries.

use super::model::Entry;
use crate::base::TenantId;
use crate::engine::store::Table;

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 1] = ["audit"];

/// Entries by tenant, number of the change, and place of the event in it: a scan is a timeline.
pub(super) static ENTRIES: Table<(TenantId, u64, u32), Entry> = Table::new(NAMES[0]);
