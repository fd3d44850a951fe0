//! What a check says.

use schemars::JsonSchema;
use serde::Serialize;

use super::controls::{Control, Edition};
use crate::base::Timestamp;

/// Things that one check lists; the rest is counted.
pub(super) const FOUND_MAX: usize = 50;

/// How something stands. A later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// It cannot be told.
    Unknown,
    /// Somebody should look at it.
    Attention,
    /// It is a weakness now.
    Bad,
}

impl State {
    /// Every state, the worst first.
    pub const ALL: [State; 4] = [State::Bad, State::Attention, State::Unknown, State::Good];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Unknown => "unknown",
            State::Attention => "attention",
            State::Bad => "bad",
        }
    }
}

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// People and what they may do.
    People,
    /// Programs and their keys.
    Programs,
    /// What is open to the network, and how.
    Network,
    /// Clocks.
    Time,
    /// What is kept, and what proves it.
    Keeping,
}

impl Group {
    /// Every group, in the order of the page.
    pub const ALL: [Group; 5] = [Group::People, Group::Programs, Group::Network, Group::Time, Group::Keeping];

    /// What people read.
    pub fn title(self) -> &'static str {
        match self {
            Group::People => "People",
            Group::Programs => "Programs",
            Group::Network => "Network",
            Group::Time => "Time",
            Group::Keeping => "Data, backups and proof",
        }
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Found {
    /// Who or which.
    pub what: String,
    /// What is with it.
    pub text: String,
    /// The page where it is mended; empty where none does.
    pub href: String,
    /// How grave it is.
    pub state: State,
}

impl Found {
    /// A thing, with the page where it is mended.
    pub(super) fn new(
        state: State,
        what: impl ToString,
        text: impl Into<String>,
        href: impl Into<String>,
    ) -> Found {
        Found { what: what.to_string(), text: text.into(), href: href.into(), state }
    }
}

/// What a look at the facts gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) said: String,
    pub(super) found: Vec<Found>,
}

impl Verdict {
    /// All is well.
    pub(super) fn good(said: impl Into<String>) -> Verdict {
        Verdict { state: State::Good, said: said.into(), found: Vec::new() }
    }

    /// It cannot be told, and why.
    pub(super) fn unknown(why: impl Into<String>) -> Verdict {
        Verdict { state: State::Unknown, said: why.into(), found: Vec::new() }
    }

    /// One sentence, and nothing to list.
    pub(super) fn of(state: State, said: impl Into<String>) -> Verdict {
        Verdict { state, said: said.into(), found: Vec::new() }
    }

    /// As grave as the gravest thing that was found; `none` when there is nothing.
    pub(super) fn worst(mut found: Vec<Found>, none: impl Into<String>, some: impl Into<String>) -> Verdict {
        let worst = found.iter().map(|one| one.state).max();
        found.sort_by_key(|one| std::cmp::Reverse(one.state));
        match worst {
            None => Verdict::good(none),
            Some(state) => Verdict { state, said: some.into(), found },
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Stable: `people.factor`.
    pub id: &'static str,
    /// What it is about.
    pub group: Group,
    /// What people call it.
    pub title: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found, in a sentence; the reason where it is unknown.
    pub said: String,
    /// Whom or what it concerns, the gravest first; at most fifty.
    pub found: Vec<Found>,
    /// How many that are in all.
    pub found_count: usize,
    /// How it is mended, in a sentence.
    pub remedy: &'static str,
    /// The page where it is mended; empty where the configuration is.
    pub href: &'static str,
    /// The controls that it bears on.
    pub controls: Vec<Control>,
}

/// How many checks stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// As it should be.
    pub good: usize,
    /// Somebody should look.
    pub attention: usize,
    /// A weakness.
    pub bad: usize,
    /// Not to be told.
    pub unknown: usize,
}

impl Counts {
    /// Of these checks.
    pub(super) fn of(checks: &[Check]) -> Counts {
        let count = |state: State| checks.iter().filter(|check| check.state == state).count();
        Counts {
            good: count(State::Good),
            attention: count(State::Attention),
            bad: count(State::Bad),
            unknown: count(State::Unknown),
        }
    }

    /// Of one state.
    pub(super) fn with(&self, state: State) -> usize {
        match state {
            State::Good => self.good,
            State::Unknown => self.unknown,
            State::Attention => self.attention,
            State::Bad => self.bad,
        }
    }
}

/// How well the site is guarded at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Posture {
    /// The site's name.
    pub site: String,
    /// When it was looked.
    pub at: Timestamp,
    /// Version of the program.
    pub version: &'static str,
    /// Whether it is about the whole site; false for who sees a part of the fleet.
    pub whole: bool,
    /// How many checks stand how.
    pub counts: Counts,
    /// The checks, by what they are about.
    pub items: Vec<Check>,
    /// The catalogues that controls are of, with their editions.
    pub catalogues: Vec<Edition>,
}
