//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::ordinary(
        Category::Proof,
        "audit.checkpointed",
        "The server signed how far the audit log is",
        &["site", "generation", "number", "chain", "change", "at", "previous", "key", "signature"],
    ),
    EventKind::ordinary(
        Category::Proof,
        "audit.verified",
        "The whole audit log was read again, and is whole",
        &["entries", "checkpoints", "wrong"],
    ),
    EventKind::alarm(
        Category::Proof,
        "audit.broken",
        "The whole audit log was read again, and is not whole",
        &["entries", "checkpoints", "wrong"],
    ),
    EventKind::alarm(
        Category::Proof,
        "audit.contradicted",
        "An agent keeps a checkpoint that the audit log contradicts",
        &["reason", "generation", "change", "made", "theirs", "ours"],
    ),
    EventKind::notable(
        Category::Proof,
        "audit.explained",
        "An agent keeps a checkpoint of a history that a restore gave up",
        &["reason", "generation", "change", "made", "theirs", "ours"],
    ),
    EventKind::notable(
        Category::Proof,
        "audit.settled",
        "Somebody looked into the contradictions",
        &["contradictions"],
    ),
    EventKind::notable(
        Category::Proof,
        "audit.given_up",
        "A restore gave up a part of the history",
        &["kept_up_to_change", "kept_up_to", "source", "by", "events_given_up", "events", "actors"],
    ),
    EventKind::notable(
        Category::Access,
        "audit.exported",
        "The audit log, or a part of it, was taken out",
        &["from", "to", "format", "only"],
    ),
    EventKind::notable(
        Category::Proof,
        "audit.retention_changed",
        "Entries are kept for another time from now on",
        &["kept"],
    ),
    EventKind::notable(
        Category::Proof,
        "audit.pruned",
        "Entries that were older than is kept were removed; the log from there on proves itself",
        &["entries", "until", "chain", "kept"],
    ),
    EventKind::notable(
        Category::Proof,
        "audit.held",
        "A legal hold was placed: what it covers is not removed",
        &["label", "reason", "only"],
    ),
    EventKind::notable(Category::Proof, "audit.hold_lifted", "A legal hold was lifted", &["label", "reason"]),
];
