//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::notable(Category::Change, "secrets.created", "A secret was put in", &["about"]),
    EventKind::notable(Category::Change, "secrets.described", "A secret is described otherwise", &["about"]),
    EventKind::notable(Category::Change, "secrets.rotated", "A secret has a new value", &["version"]),
    EventKind::notable(
        Category::Change,
        "secrets.reverted",
        "A secret has the value from before its last change again",
        &["version"],
    ),
    EventKind::notable(
        Category::Change,
        "secrets.deleted",
        "A secret was deleted with all its values",
        &["version"],
    ),
    EventKind::notable(
        Category::Access,
        "secrets.used",
        "The appliance opened a secret for something that refers to it; told once a minute for each",
        &["for", "by", "version"],
    ),
    EventKind::notable(
        Category::Proof,
        "secrets.returned",
        "After a restore a secret has the value of then, and what it opens may have another one",
        &["because", "version"],
    ),
];
