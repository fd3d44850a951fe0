//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[EventKind::ordinary(
    Category::Work,
    "telemetry.reported",
    "An agent told of something that a person should know",
    &["name", "text"],
)];
