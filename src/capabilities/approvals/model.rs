//! What an approval is, and which moves it makes. Nothing here reads a clock or a table.

use serde::{Deserialize, Serialize};

use crate::base::{ApprovalId, Error, Result, SessionId, Span, Timestamp};
use crate::kit::Intent;

/// An intent waits for a decision for so long, and one whose answer is collected for so long again.
pub(super) const VALID: Span = Span::from_hours(24);
/// What is over is kept for so long, with what was asked and what came of it.
pub(super) const KEPT: Span = Span::from_days(90);
/// Intents of one person or key that are not over.
pub(super) const OPEN_PER_ASKER_MAX: usize = 20;
/// Intents of one tenant that are not over.
pub(super) const OPEN_MAX: usize = 200;
/// Approvals of one tenant that are kept; of those that are over the oldest go first.
pub(super) const KEPT_MAX: usize = 2_000;
/// Bytes of an intent.
pub(super) const INTENT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an answer that are kept for who asked.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a comment, and of why something is marked.
pub(super) const COMMENT_BYTES_MAX: usize = 500;
/// People who must be able to decide before something is marked: whoever asks needs another one.
pub(super) const DECIDERS_MIN: usize = 2;

/// How an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Nobody has decided.
    Waiting,
    /// It was approved, and is carried out next or when its answer is collected.
    Approved,
    /// It is being carried out.
    Running,
    /// It was carried out.
    Done,
    /// It was approved and refused by the operation itself.
    Failed,
    /// Somebody said no.
    Refused,
    /// Whoever asked took it back.
    Withdrawn,
    /// Nobody decided, or collected, in time.
    Expired,
    /// The server stopped while it was carried out, or the site came back from a backup.
    Interrupted,
}

impl State {
    /// Every state.
    pub(super) const ALL: [State; 9] = [
        State::Waiting,
        State::Approved,
        State::Running,
        State::Done,
        State::Failed,
        State::Refused,
        State::Withdrawn,
        State::Expired,
        State::Interrupted,
    ];

    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Approved => "approved",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Refused => "refused",
            State::Withdrawn => "withdrawn",
            State::Expired => "expired",
            State::Interrupted => "interrupted",
        }
    }

    /// The colour of its badge.
    pub(super) fn tone(self) -> &'static str {
        match self {
            State::Waiting | State::Approved | State::Running => "warn",
            State::Done => "ok",
            State::Failed | State::Interrupted => "crit",
            State::Refused | State::Withdrawn | State::Expired => "",
        }
    }

    /// Whether nothing more comes of it.
    pub(super) fn is_over(self) -> bool {
        !matches!(self, State::Waiting | State::Approved | State::Running)
    }
}

/// Who decided, and what they said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Decision {
    /// Who, as in the audit log.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What they said.
    pub comment: String,
}

/// One intent without what is sealed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Approval {
    pub(super) id: ApprovalId,
    /// Who asked, as in the journal.
    pub(super) asker: String,
    /// The permission that is marked.
    pub(super) permission: String,
    /// The operation, or the form's page.
    pub(super) what: String,
    /// The hash that whoever decides is bound to.
    pub(super) hash: String,
    pub(super) asked: Timestamp,
    /// Where it was asked.
    pub(super) from: String,
    /// Until when it may be decided, and collected when that is how it is carried out.
    pub(super) until: Timestamp,
    pub(super) state: State,
    /// Whether it is carried out when its asker collects the answer, because that gives something away.
    #[serde(default)]
    pub(super) collected: bool,
    #[serde(default)]
    pub(super) decision: Option<Decision>,
    /// Since when it stands as it does.
    pub(super) since: Timestamp,
    /// Changes that it has made.
    #[serde(default)]
    pub(super) changes: u32,
}

impl Approval {
    fn moved(&self, state: State, now: Timestamp) -> Approval {
        Approval { state, since: now, ..self.clone() }
    }

    fn must(&self, state: State) -> Result<()> {
        if self.state == state {
            return Ok(());
        }
        Err(Error::conflict(format!("the approval `{}` is {}", self.id, self.state.word())).hint(
            match state {
                State::Waiting => "only one that waits can be decided or withdrawn",
                _ => "only one that is approved can be carried out, and once",
            },
        ))
    }

    /// Whether its time is over at `now`.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        match self.state {
            State::Waiting => now >= self.until,
            State::Approved => self.collected && now >= self.until,
            _ => false,
        }
    }

    fn in_time(&self, now: Timestamp) -> Result<()> {
        if self.is_late(now) {
            return Err(Error::conflict(format!("the time of the approval `{}` is over", self.id))
                .hint("ask for it again"));
        }
        Ok(())
    }

    /// Somebody says yes or no to what this hash stands for.
    pub(super) fn decide(
        &self,
        decision: Decision,
        hash: &str,
        approve: bool,
        behind: &std::collections::BTreeSet<String>,
    ) -> Result<Approval> {
        self.must(State::Waiting)?;
        self.in_time(decision.at)?;
        if behind.contains(&decision.by) {
            return Err(Error::forbidden(
                "nobody decides what they have asked for, themselves or by a key of theirs",
            )
            .hint("another person who may decide has to look at it"));
        }
        if hash != self.hash {
            return Err(Error::conflict("this is not what you were shown: the hash is another one")
                .hint("open the approval again, and read what is asked now"));
        }
        let now = decision.at;
        let state = if approve { State::Approved } else { State::Refused };
        Ok(Approval { decision: Some(decision), until: now + VALID, ..self.moved(state, now) })
    }

    /// Whoever asked takes it back: before the decision, or before they collect.
    pub(super) fn withdraw(&self, now: Timestamp) -> Result<Approval> {
        if !(self.state == State::Approved && self.collected) {
            self.must(State::Waiting)?;
        }
        Ok(self.moved(State::Withdrawn, now))
    }

    /// It is carried out from now on.
    pub(super) fn begin(&self, now: Timestamp) -> Result<Approval> {
        self.must(State::Approved)?;
        self.in_time(now)?;
        Ok(self.moved(State::Running, now))
    }

    /// It was carried out.
    pub(super) fn end(&self, done: bool, now: Timestamp) -> Result<Approval> {
        self.must(State::Running)?;
        Ok(self.moved(if done { State::Done } else { State::Failed }, now))
    }

    /// Nobody decided or collected in time.
    pub(super) fn expire(&self, now: Timestamp) -> Approval {
        self.moved(State::Expired, now)
    }

    /// It did not come to its end.
    pub(super) fn interrupt(&self, now: Timestamp) -> Approval {
        self.moved(State::Interrupted, now)
    }
}

/// What is sealed of an intent.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// So that nobody guesses a secret from the hash.
    pub(super) salt: String,
    /// In which session it was asked; nothing for keys.
    #[serde(default)]
    pub(super) session: Option<SessionId>,
    pub(super) intent: Intent,
}

/// What came of it, for who asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Outcome {
    /// In words.
    pub words: String,
    /// What the operation answered, when it is of the API and not too long.
    #[serde(default)]
    pub answer: Option<serde_json::Value>,
}

/// A permission that needs a second person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Mark {
    /// The permission, which is the name of an operation.
    pub permission: String,
    /// Why.
    pub why: String,
    /// Who marked it, as in the audit log.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// One line of text, bounded.
pub(super) fn line(what: &str, text: &str) -> Result<String> {
    let text = text.trim();
    if text.len() > COMMENT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Error::invalid(format!("the {what} is not valid"))
            .hint(format!("one line, at most {COMMENT_BYTES_MAX} bytes")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_milliseconds(1_790_000_000_000) + Span::from_hours(hours)
    }

    fn sample(state: State, collected: bool) -> Approval {
        Approval {
            id: ApprovalId::from_bits(1),
            asker: "usr_a".into(),
            permission: "agents.retire".into(),
            what: "agents.retire".into(),
            hash: "h".into(),
            asked: at(0),
            from: String::new(),
            until: at(24),
            state,
            collected,
            decision: None,
            since: at(0),
            changes: 0,
        }
    }

    fn by(who: &str, hours: u64) -> Decision {
        Decision { by: who.into(), at: at(hours), comment: String::new() }
    }

    #[test]
    fn only_somebody_else_decides_what_they_were_shown_and_in_time() {
        let behind = BTreeSet::from(["key_k".to_owned(), "usr_a".to_owned()]);
        let waiting = sample(State::Waiting, false);
        let decide = |who: &str, hours, hash: &str, yes| {
            waiting.decide(by(who, hours), hash, yes, &behind).map(|approval| approval.state)
        };
        assert_eq!(decide("usr_b", 23, "h", true).unwrap(), State::Approved);
        assert_eq!(decide("usr_b", 23, "h", false).unwrap(), State::Refused);
        for (who, hours, hash) in
            [("usr_a", 1, "h"), ("key_k", 1, "h"), ("usr_b", 24, "h"), ("usr_b", 1, "x")]
        {
            assert!(decide(who, hours, hash, true).is_err(), "{who} {hours} {hash}");
        }
        for state in State::ALL.into_iter().filter(|state| *state != State::Waiting) {
            assert!(sample(state, false).decide(by("usr_b", 1), "h", true, &behind).is_err(), "{state:?}");
        }
    }

    #[test]
    fn it_is_begun_once_and_ends_once() {
        for state in State::ALL {
            let one = sample(state, false);
            assert_eq!(one.begin(at(1)).is_ok(), state == State::Approved, "{state:?}");
            assert_eq!(one.end(true, at(1)).is_ok(), state == State::Running, "{state:?}");
            assert_eq!(one.withdraw(at(1)).is_ok(), state == State::Waiting, "{state:?}");
        }
        assert!(sample(State::Approved, true).withdraw(at(1)).is_ok());
        // What is carried out at once is late only while it waits; what is collected has an end.
        assert!(sample(State::Approved, false).begin(at(99)).is_ok());
        assert!(sample(State::Approved, true).begin(at(24)).is_err());
        assert!(sample(State::Waiting, false).is_late(at(24)) && !sample(State::Done, false).is_late(at(99)));
    }
}
