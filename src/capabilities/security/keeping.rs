//! Checks of what is kept: backups, the audit log, and how the data lies on the disk.

use super::facts::Facts;
use super::model::{Found, State, Verdict};
use super::people::{count, known};
use crate::base::{Span, Timestamp};
use crate::kit::{KeysOpenedBy, Unwritable};

/// A copy that left the building should be younger.
pub(super) const OUTSIDE: Span = Span::from_days(2);
/// One that is older than this is a weakness.
pub(super) const OUTSIDE_LONG: Span = Span::from_days(14);
/// A drill runs every night.
pub(super) const DRILL: Span = Span::from_days(2);
/// So long a site may be without a drill, a copy elsewhere or a look at its key.
pub(super) const NEW_SITE: Span = Span::from_days(2);
/// Somebody should show so often that they still have the recovery key.
pub(super) const KEY: Span = Span::from_days(365);
/// A checkpoint is signed every hour while something happens.
pub(super) const CHECKPOINT: Span = Span::from_hours(2);

/// The last copy that left the building.
pub(super) fn outside(facts: &Facts) -> Verdict {
    let saved = &known!(facts.saved).overview;
    if !saved.failing.is_empty() {
        return Verdict::of(State::Bad, format!("The last backup failed: {}.", saved.failing));
    }
    match (saved.left_building, &saved.full) {
        (None, None) => Verdict::of(State::Attention, "There is no backup yet."),
        (None, Some(_)) => {
            Verdict::of(State::Bad, "No copy has left the building: a fire takes site and backups together.")
        }
        (Some(at), _) => {
            let age = facts.now.since(at);
            let state = match age {
                age if age >= OUTSIDE_LONG => State::Bad,
                age if age >= OUTSIDE => State::Attention,
                _ => State::Good,
            };
            Verdict::of(state, format!("The last copy left the building {} ago.", age.rough()))
        }
    }
}

/// The last restore drill.
pub(super) fn drill(facts: &Facts) -> Verdict {
    let saved = &known!(facts.saved).overview;
    match &saved.drill {
        None => Verdict::of(State::Attention, "No restore was rehearsed yet."),
        Some(record) if !record.is_good() => {
            Verdict::of(State::Bad, format!("The last drill failed: {}.", record.drill.failure))
        }
        Some(record) => {
            let age = facts.now.since(record.recorded);
            let state = if age >= DRILL { State::Attention } else { State::Good };
            Verdict::of(state, format!("The last drill restored everything, {} ago.", age.rough()))
        }
    }
}

/// Whether somebody holds the recovery key.
pub(super) fn key(facts: &Facts) -> Verdict {
    let saved = known!(facts.saved);
    let (Some(made), checked) = (saved.key_made, saved.key_checked) else {
        return Verdict::of(State::Attention, "There is no recovery key yet.");
    };
    match checked {
        Some(at) if facts.now.since(at) < KEY => {
            let ago = facts.now.since(at).rough();
            Verdict::good(format!("Somebody showed {ago} ago that the key in their hands opens a backup."))
        }
        Some(at) => {
            let ago = facts.now.since(at).rough();
            Verdict::of(State::Attention, format!("Nobody has tried the key in their hands for {ago}."))
        }
        None => {
            let state = if facts.now.since(made) >= NEW_SITE { State::Bad } else { State::Attention };
            Verdict::of(state, "Nobody has shown that they hold the key; without it no backup opens.")
        }
    }
}

/// Whether the audit log is whole, signed, and kept by others too.
pub(super) fn chain(facts: &Facts) -> Verdict {
    let status = known!(facts.audit);
    let page = "/audit";
    let mut found = Vec::new();
    if status.contradictions > 0 {
        let text = format!("{} checkpoints that agents keep contradict it", status.contradictions);
        found.push(Found::new(State::Bad, "The log", text, page));
    }
    if let Some(wrong) = status.verified.as_ref().and_then(|look| look.wrong.as_ref()) {
        let text = format!("the last look at all of it found entry {} wrong", wrong.number);
        found.push(Found::new(State::Bad, "The log", text, page));
    }
    let signed: Option<(u64, Timestamp)> =
        status.checkpoint.as_ref().map(|signed| (signed.number, signed.at));
    let said = match signed {
        None if status.head.number == 0 => "There is no entry yet.".to_owned(),
        None => {
            found.push(Found::new(State::Attention, "The log", "no checkpoint was signed yet", page));
            String::new()
        }
        Some((number, at)) => {
            let age = facts.now.since(at);
            if number < status.head.number && age >= CHECKPOINT {
                let text = format!(
                    "{} entries wait for a checkpoint since {}",
                    status.head.number - number,
                    age.rough()
                );
                found.push(Found::new(State::Attention, "The last checkpoint", text, page));
            }
            if status.holders == 0 {
                let text = "no agent has told that it keeps the newest checkpoint";
                found.push(Found::new(State::Attention, "Witnesses", text, page));
            }
            format!(
                "Signed up to entry {number}, {} ago; {} that.",
                age.rough(),
                count(status.holders, "agent keeps", "agents keep")
            )
        }
    };
    Verdict::worst(found, said, "What proves the audit log needs a look.")
}

/// What becomes of acts while the audit log cannot be written.
pub(super) fn unwritable(facts: &Facts) -> Verdict {
    match known!(facts.kept).unwritable {
        Unwritable::Closed => Verdict::good("While it cannot be written, nothing is given away."),
        Unwritable::Open => Verdict::of(
            State::Attention,
            "While it cannot be written, secrets and files are given away all the same (`when_unwritable`).",
        ),
    }
}

/// Whether a stolen disk tells anything.
pub(super) fn sealed(facts: &Facts) -> Verdict {
    let kept = known!(facts.kept);
    match (kept.guards.sealed, kept.disk_encrypted) {
        (true, Some(true)) => Verdict::good("The data files are sealed, on a disk that is encrypted."),
        (true, _) => Verdict::good("The data files are sealed."),
        (false, Some(true)) => Verdict::good("The disk below the data folder is encrypted."),
        (false, Some(false)) => {
            Verdict::of(State::Attention, "The data files are not sealed, and the disk is not encrypted.")
        }
        (false, None) => Verdict::of(
            State::Attention,
            "The data files are not sealed; whether the disk is encrypted the kernel does not tell.",
        ),
    }
}

/// Who on this machine reaches the data folder.
pub(super) fn folder(facts: &Facts) -> Verdict {
    let open = known!(known!(facts.kept).open_to_others);
    let found: Vec<Found> = open
        .iter()
        .map(|(name, mode)| {
            let state = if mode & 0o007 != 0 { State::Bad } else { State::Attention };
            let who = if mode & 0o007 != 0 { "every user of this machine" } else { "its group" };
            Found::new(state, name, format!("mode {mode:04o}, open to {who}"), "")
        })
        .collect();
    Verdict::worst(
        found,
        "The data folder is open to the server's own user alone.",
        "Others reach the data folder.",
    )
}

/// What opens the keys at rest.
pub(super) fn keys(facts: &Facts) -> Verdict {
    match known!(facts.kept).guards.keys {
        KeysOpenedBy::File => Verdict::of(
            State::Attention,
            "Keys and secrets are sealed, and what opens them lies beside them: who takes the disk has both.",
        ),
        KeysOpenedBy::Passphrase => Verdict::good("Keys and secrets are sealed; a passphrase opens them."),
        KeysOpenedBy::Systemd => {
            Verdict::good("Keys and secrets are sealed; a credential of systemd's opens them.")
        }
    }
}
