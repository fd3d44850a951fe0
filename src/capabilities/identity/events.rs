//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] = &[
    EventKind::notable(Category::Trust, "identity.set_up", "The first owner was made", &["login", "roles"]),
    EventKind::ordinary(Category::Access, "identity.signed_in", "Somebody signed in", &["session"]),
    EventKind::notable(
        Category::Access,
        "identity.sign_in_failed",
        "Somebody tried to sign in and could not",
        &["failures_not_listed"],
    ),
    EventKind::ordinary(Category::Access, "identity.logged_out", "Somebody signed out", &[]),
    EventKind::notable(
        Category::Access,
        "identity.session_revoked",
        "A session was ended from elsewhere",
        &["user"],
    ),
    EventKind::notable(
        Category::Access,
        "identity.link_made",
        "A link was made with which a person can sign in or choose a password",
        &["purpose"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.password_changed",
        "A person has another password",
        &["by", "sessions_ended"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.password_returned",
        "After a restore a person has the password of then again",
        &["login"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.created",
        "A person was added",
        &["login", "name", "roles", "grants"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.changed",
        "A person has another name or may do other things",
        &["name", "roles", "grants", "because"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.granted",
        "A person was given a role",
        &["login", "roles", "grants", "reason"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.withdrawn",
        "A role of a person was taken away",
        &["login", "roles", "grants", "reason"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.grant_ended",
        "A role of a person has ended by itself",
        &["login", "roles", "grants"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.elevated",
        "A person took up a role for a while, and said why",
        &["login", "roles", "grants", "reason"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.stepped_down",
        "A person laid down what they had taken up",
        &["login", "roles", "grants"],
    ),
    EventKind::notable(Category::Trust, "identity.role_created", "A role was made", &["permissions"]),
    EventKind::notable(
        Category::Trust,
        "identity.role_changed",
        "A role includes something else, for everybody who has it",
        &["permissions"],
    ),
    EventKind::notable(Category::Trust, "identity.role_removed", "A role was removed", &["permissions"]),
    EventKind::notable(Category::Trust, "identity.disabled", "A person was shut out", &["login", "because"]),
    EventKind::notable(Category::Trust, "identity.enabled", "A person was let in again", &["login"]),
    EventKind::notable(
        Category::Trust,
        "identity.kept",
        "After a restore a person stays as they were, for somebody must be able to let the others in",
        &["login", "because"],
    ),
    EventKind::notable(
        Category::Trust,
        "identity.key_created",
        "An API key was made",
        &["name", "roles", "expires"],
    ),
    EventKind::notable(Category::Trust, "identity.key_revoked", "An API key was ended", &["name", "because"]),
];
