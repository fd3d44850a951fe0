//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::notable(
        Category::Work,
        "tasks.created",
        "Somebody gave an agent work",
        &["agent", "agent_name", "work"],
    ),
    EventKind::ordinary(
        Category::Work,
        "tasks.ended",
        "Work of an agent has ended",
        &["agent", "state", "exit"],
    ),
    EventKind::ordinary(
        Category::Work,
        "tasks.cancelled",
        "Somebody called work of an agent off",
        &["agent"],
    ),
];
