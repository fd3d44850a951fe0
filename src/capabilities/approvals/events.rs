//! Every event that this capability tells. What was asked for stands in none of them: it may hold secrets.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::notable(
        Category::Trust,
        "approvals.asked",
        "Somebody asked for what another person has to approve",
        &["permission", "fingerprint"],
    ),
    EventKind::notable(
        Category::Trust,
        "approvals.approved",
        "A second person approved what was asked for",
        &["permission", "asked_by", "fingerprint", "comment"],
    ),
    EventKind::notable(
        Category::Trust,
        "approvals.refused",
        "A second person said no to what was asked for",
        &["permission", "asked_by", "fingerprint", "comment"],
    ),
    EventKind::ordinary(
        Category::Trust,
        "approvals.withdrawn",
        "Whoever had asked took it back",
        &["permission"],
    ),
    EventKind::ordinary(
        Category::Trust,
        "approvals.expired",
        "Nobody decided in time, or nobody collected the answer",
        &["permission", "asked_by"],
    ),
    EventKind::notable(
        Category::Access,
        "approvals.collected",
        "Whoever had asked began to collect what the approved operation gives, once",
        &["permission", "approved_by"],
    ),
    EventKind::notable(
        Category::Trust,
        "approvals.acted",
        "A change was made under an approval, in the name of who had asked",
        &["permission", "approved_by"],
    ),
    EventKind::ordinary(
        Category::Work,
        "approvals.done",
        "What was approved is carried out",
        &["permission", "asked_by", "changes"],
    ),
    EventKind::notable(
        Category::Work,
        "approvals.failed",
        "What was approved was refused when it was carried out",
        &["permission", "asked_by", "because", "changes"],
    ),
    EventKind::alarm(
        Category::Work,
        "approvals.interrupted",
        "What was approved did not come to its end, and is not tried again by itself",
        &["permission", "asked_by", "because", "changes"],
    ),
    EventKind::notable(
        Category::Trust,
        "approvals.marked",
        "An operation needs a second person from then on",
        &["why", "because"],
    ),
    EventKind::alarm(
        Category::Trust,
        "approvals.unmarked",
        "An operation needs no second person any more",
        &["why"],
    ),
];
