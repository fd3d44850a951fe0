//! Every event that this capability tells, and what the server tells of its own certificate.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::ordinary(Category::Change, "settings.changed", "The site was renamed", &["name"]),
    EventKind::notable(
        Category::Trust,
        "settings.reloaded",
        "The server took limits or networks of its configuration over while it ran",
        &["keys"],
    ),
    EventKind::notable(
        Category::Trust,
        "settings.certificate_replaced",
        "Console and API show another certificate from now on",
        &["names", "ends", "sha256", "changed"],
    ),
];
