//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::notable(Category::Trust, "agents.invited", "A join code was made", &["expires", "labels"]),
    EventKind::notable(
        Category::Trust,
        "agents.joined",
        "An agent or a device joined the fleet",
        &["name", "state", "by"],
    ),
    EventKind::notable(Category::Trust, "agents.approved", "An agent was let in", &["name", "reason"]),
    EventKind::notable(
        Category::Trust,
        "agents.quarantined",
        "An agent was shut out until somebody has looked at it",
        &["name", "reason"],
    ),
    EventKind::notable(
        Category::Trust,
        "agents.retired",
        "An agent was shut out for good",
        &["name", "reason"],
    ),
    EventKind::ordinary(
        Category::Change,
        "agents.changed",
        "An agent has another name or other labels",
        &["before", "after", "name", "labels"],
    ),
    EventKind::ordinary(
        Category::Work,
        "agents.described",
        "An agent runs another version or on another host",
        &["version", "hostname"],
    ),
    EventKind::ordinary(Category::Trust, "agents.renewed", "An agent got its next certificate", &["until"]),
];
