//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::ordinary(Category::Work, "backups.asked", "Somebody asked for a backup", &["telemetry"]),
    EventKind::ordinary(Category::Work, "backups.stopped", "Somebody stopped a backup", &[]),
    EventKind::ordinary(
        Category::Work,
        "backups.taken",
        "A backup was taken and read back",
        &["full", "bytes", "took_ms", "last"],
    ),
    EventKind::notable(
        Category::Access,
        "backups.taken_out",
        "Somebody began to take a backup out by the command line",
        &["telemetry", "recipients"],
    ),
    EventKind::notable(
        Category::Access,
        "backups.written",
        "A backup was written to a file by the command line",
        &["bytes", "last", "telemetry"],
    ),
    EventKind::alarm(
        Category::Work,
        "backups.failed",
        "A backup could not be taken",
        &["full", "error", "hint"],
    ),
    EventKind::notable(
        Category::Work,
        "backups.gap",
        "Changes were gone before a backup had them; a full one begins anew",
        &["after", "first", "error"],
    ),
    EventKind::ordinary(
        Category::Work,
        "backups.shipped",
        "A backup was copied to a target",
        &["target", "bytes", "resumed", "outside"],
    ),
    EventKind::notable(
        Category::Work,
        "backups.target_failed",
        "A target does not take copies",
        &["target", "error", "hint"],
    ),
    EventKind::notable(
        Category::Change,
        "backups.target_added",
        "A target was added",
        &["name", "settings", "refers_to"],
    ),
    EventKind::notable(
        Category::Change,
        "backups.target_changed",
        "A target was changed",
        &["name", "on", "settings", "refers_to"],
    ),
    EventKind::notable(Category::Change, "backups.target_removed", "A target was removed", &["name"]),
    EventKind::notable(
        Category::Change,
        "backups.plan_changed",
        "Backups are taken by another plan",
        &[
            "on",
            "full_at",
            "full_every_days",
            "changes_every",
            "changes_bytes_max",
            "telemetry",
            "retention",
            "bytes_per_second_max",
            "drill",
            "drill_at",
            "recipients",
        ],
    ),
    EventKind::notable(
        Category::Trust,
        "backups.key_made",
        "A recovery key was made and is in force",
        &["recipient"],
    ),
    EventKind::notable(
        Category::Access,
        "backups.kit_shown",
        "A recovery key was shown to somebody",
        &["recipient", "shares"],
    ),
    EventKind::ordinary(
        Category::Proof,
        "backups.key_checked",
        "Somebody proved that a recovery key is at hand",
        &["opens"],
    ),
    EventKind::ordinary(
        Category::Proof,
        "backups.drilled",
        "A backup was restored to the side as a drill",
        &["change", "restored_ms", "ready_ms"],
    ),
    EventKind::alarm(
        Category::Proof,
        "backups.drill_failed",
        "A backup could not be restored in a drill",
        &["error"],
    ),
    EventKind::ordinary(Category::Work, "backups.drill_asked", "Somebody asked for a drill", &[]),
    EventKind::notable(
        Category::Proof,
        "backups.restored",
        "The site came back from a backup",
        &["change", "at", "source", "undone"],
    ),
];
