//! The table of the site's settings.

use serde::{Deserialize, Serialize};

use crate::base::{Name, TenantId};
use crate::engine::store::Table;

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 1] = ["settings"];

/// What is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    /// What the site is called.
    pub(super) name: Name,
}

/// One row a tenant.
pub(super) static SETTINGS: Table<TenantId, Stored> = Table::new(NAMES[0]);
