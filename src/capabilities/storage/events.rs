//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::ordinary(
        Category::Change,
        "storage.changed",
        "Other limits hold for a disk that fills",
        &["early_mebibytes", "shedding_mebibytes"],
    ),
    EventKind::ordinary(
        Category::Proof,
        "storage.verified",
        "Everything that is stored was read again, and is whole",
        &["by", "looked_at", "findings", "first"],
    ),
    EventKind::alarm(
        Category::Proof,
        "storage.damaged",
        "Everything that is stored was read again, and something is not whole",
        &["by", "looked_at", "findings", "first"],
    ),
    EventKind::notable(
        Category::Work,
        "storage.shed",
        "Old telemetry was dropped because the disk fills",
        &["day", "bytes"],
    ),
    EventKind::notable(
        Category::Work,
        "storage.level_changed",
        "The disk fills, or has room again",
        &["level", "free_bytes", "disk_bytes"],
    ),
];
