//! Tables that belong to no capability: how far followers are, and which history of the site this is.

use super::{Change, Ctx};
use crate::base::{Result, TenantId};
use crate::engine::store::{Read, Table};

/// How far each follower is; the name is the key.
pub const CURSORS: Table<String, u64> = Table::new("cursors");
/// The generation of each tenant, when there was a restore.
const GENERATION: Table<TenantId, u64> = Table::new("generation");

/// Names of the tables, for checks.
pub const KIT_TABLES: [&str; 2] = ["cursors", "generation"];

/// Which history of the site this is: 1 in the beginning, one more with every restore.
pub fn generation(read: &impl Read, tenant: TenantId) -> Result<u64> {
    Ok(read.get(&GENERATION, &tenant)?.unwrap_or(1))
}

/// Begins a generation; once, in the change that mends a restore.
pub fn begin_generation(ctx: &Ctx<'_>, change: &mut Change<'_>, generation: u64) -> Result<()> {
    change.tx.put(&GENERATION, &ctx.tenant, &generation)
}

/// The change that every follower is done with: the feed must keep what comes after it. Nothing when nobody follows.
pub fn followed(read: &impl Read) -> Result<Option<u64>> {
    Ok(read.prefix(&CURSORS, &(), usize::MAX)?.into_iter().map(|(_, position)| position).min())
}
