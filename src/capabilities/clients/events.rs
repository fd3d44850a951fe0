//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::notable(
        Category::Trust,
        "clients.created",
        "An MQTT client was let in",
        &["publish", "subscribe", "brought_back"],
    ),
    EventKind::notable(Category::Trust, "clients.removed", "An MQTT client was shut out", &["because"]),
];
