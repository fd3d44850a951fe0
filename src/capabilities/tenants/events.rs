//! Every event that this capability tells; all of them in the log of the site's own tenant.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::notable(
        Category::Trust,
        "tenants.created",
        "An organisation was added to the site, and its first owner invited",
        &["name", "owner", "quotas"],
    ),
    EventKind::notable(
        Category::Change,
        "tenants.changed",
        "An organisation has another name or other quotas",
        &["name", "quotas"],
    ),
    EventKind::notable(
        Category::Trust,
        "tenants.suspended",
        "An organisation's people, keys and agents are shut out",
        &["name"],
    ),
    EventKind::notable(
        Category::Trust,
        "tenants.resumed",
        "An organisation's people, keys and agents are let in again",
        &["name"],
    ),
    EventKind::notable(
        Category::Access,
        "tenants.exported",
        "All rows of an organisation were taken out as a file, without its secrets",
        &["name"],
    ),
    EventKind::alarm(
        Category::Change,
        "tenants.going",
        "An organisation is being taken away with all that it has",
        &["name"],
    ),
    EventKind::alarm(
        Category::Change,
        "tenants.erased",
        "An organisation is gone with all that it had",
        &["name", "rows", "agents"],
    ),
];
