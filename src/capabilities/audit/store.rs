//! The tables.

use super::chain::Head;
use super::checkpoint::GivenUp;
use super::holds::Hold;
use super::model::Entry;
use super::retention::{Cut, Retention};
use super::verify::Verification;
use super::witness::Contradiction;
use crate::base::{AgentId, TenantId};
use crate::engine::store::Table;
use crate::wire::Checkpoint;

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 9] = [
    "audit",
    "audit_heads",
    "audit_checkpoints",
    "audit_restores",
    "audit_contradictions",
    "audit_verifications",
    "audit_retentions",
    "audit_cuts",
    "audit_holds",
];

/// Entries by tenant, number of the change, and place of the event in it: a scan is a timeline, and the numbers of
/// entries rise with it.
pub(super) static ENTRIES: Table<(TenantId, u64, u32), Entry> = Table::new(NAMES[0]);
/// How far the chain of each tenant is.
pub(super) static HEADS: Table<TenantId, Head> = Table::new(NAMES[1]);
/// Checkpoints by tenant and the change that made them.
pub(super) static CHECKPOINTS: Table<(TenantId, u64), Checkpoint> = Table::new(NAMES[2]);
/// Restores by tenant and the generation that began with them.
pub(super) static RESTORES: Table<(TenantId, u64), GivenUp> = Table::new(NAMES[3]);
/// What agents keep that does not fit, by tenant, agent and hash of the checkpoint.
pub(super) static CONTRADICTIONS: Table<(TenantId, AgentId, String), Contradiction> = Table::new(NAMES[4]);
/// What the last look at the whole log found.
pub(super) static VERIFICATIONS: Table<TenantId, Verification> = Table::new(NAMES[5]);
/// How long entries are kept.
pub(super) static RETENTIONS: Table<TenantId, Retention> = Table::new(NAMES[6]);
/// Behind which entries are gone.
pub(super) static CUTS: Table<TenantId, Cut> = Table::new(NAMES[7]);
/// Legal holds by tenant and number.
pub(super) static HOLDS: Table<(TenantId, u32), Hold> = Table::new(NAMES[8]);
