//! The table of contents of the product. A capability may use only the ones above it in [`ALL`].

pub mod agents;
pub mod approvals;
pub mod audit;
pub mod backups;
pub mod clients;
pub mod identity;
pub mod overview;
pub mod secrets;
pub mod security;
pub mod settings;
pub mod storage;
pub mod tasks;
pub mod telemetry;
pub mod tenants;

use crate::engine::store::Migration;
use crate::kit::Capability;

/// Every capability, in dependency order.
pub const ALL: &[&dyn Capability] = &[
    &identity::Identity,
    &settings::Settings,
    &approvals::Approvals,
    &secrets::Secrets,
    &clients::Clients,
    &agents::Agents,
    &telemetry::Telemetry,
    &tasks::Tasks,
    &tenants::Tenants,
    &storage::Storage,
    &audit::Audit,
    &backups::Backups,
    &security::Security,
    &overview::Overview,
];

/// The history of what the capabilities store, in order of version; a start runs what its folder lacks.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "entries of the audit log get a chain", run: audit::adopt },
    Migration { version: 2, name: "a role of a person or key becomes a grant", run: identity::adopt },
];
