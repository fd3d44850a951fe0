//! What a task is, and which moves are legal.

use serde::{Deserialize, Serialize};

use crate::base::{AgentId, Error, Result, TaskId, Timestamp};
use crate::wire::{TaskPhase, Work};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for the agent.
    Queued,
    /// It was sent; the agent has not said that it has it.
    Sent,
    /// The agent has it on its disk.
    Accepted,
    /// It runs.
    Running,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
    /// The agent's configuration forbids it.
    Refused,
    /// It was stopped on request.
    Cancelled,
    /// It ran into a limit.
    Exceeded,
    /// The agent died while it ran, or the site was restored meanwhile; nobody knows how far it came.
    Unknown,
}

impl State {
    /// The word, for filters and classes.
    pub fn word(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Sent => "sent",
            State::Accepted => "accepted",
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Refused => "refused",
            State::Cancelled => "cancelled",
            State::Exceeded => "exceeded",
            State::Unknown => "unknown",
        }
    }

    /// The state with this word.
    pub fn find(word: &str) -> Option<State> {
        let all = [
            State::Queued,
            State::Sent,
            State::Accepted,
            State::Running,
            State::Succeeded,
            State::Failed,
            State::Refused,
            State::Cancelled,
            State::Exceeded,
            State::Unknown,
        ];
        all.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        !matches!(self, State::Queued | State::Sent | State::Accepted | State::Running)
    }
}

/// One unit of work for one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Task {
    /// Its identifier.
    pub id: TaskId,
    /// For whom.
    pub agent: AgentId,
    /// What to do.
    pub work: Work,
    /// Where it stands.
    pub state: State,
    /// Who asked, as in the audit log.
    pub by: String,
    /// When it was asked.
    pub created: Timestamp,
    /// When it was last sent to the agent.
    #[serde(default)]
    pub sent: Option<Timestamp>,
    /// When it began to run.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Exit status of a command.
    #[serde(default)]
    pub exit: Option<i32>,
    /// Why it was refused or failed.
    #[serde(default)]
    pub reason: String,
    /// Whether somebody asked to stop it.
    #[serde(default)]
    pub cancelling: bool,
    /// It is unknown only because the site was restored: its agent is asked, and may still tell what became of it.
    #[serde(default)]
    pub asking: bool,
    /// Bytes of output received.
    #[serde(default)]
    pub output_bytes: u64,
    /// Seconds that it may run.
    pub seconds_max: u64,
    /// Bytes of output that are kept.
    pub output_bytes_max: u64,
    /// Bytes of memory it may use; 0 for no limit.
    #[serde(default)]
    pub memory_bytes_max: u64,
}

impl Task {
    /// What the agent reported; repetition and late messages change nothing (`None`).
    pub fn report(mut self, phase: TaskPhase, now: Timestamp) -> Option<Task> {
        let next = match phase {
            TaskPhase::Accepted => State::Accepted,
            TaskPhase::Running => State::Running,
            TaskPhase::Succeeded => State::Succeeded,
            TaskPhase::Failed => State::Failed,
            TaskPhase::Refused => State::Refused,
            TaskPhase::Cancelled => State::Cancelled,
            TaskPhase::Exceeded => State::Exceeded,
            TaskPhase::Unknown => State::Unknown,
        };
        let back = self.state == State::Running && next == State::Accepted;
        if self.asking {
            // The one answer that may change a final state: the agent remembers more than a restored server.
            self.asking = false;
            self.ended = None;
            self.reason.clear();
        } else if self.state.is_final() || self.state == next && next != State::Running || back {
            return None;
        }
        if next == State::Running && self.started.is_none() {
            self.started = Some(now);
        }
        if next.is_final() {
            self.ended = Some(now);
        }
        self.state = next;
        Some(self)
    }

    /// Asks to stop it. One that the agent does not have yet ends at once.
    pub fn cancel(mut self, now: Timestamp) -> Result<Task> {
        if self.state.is_final() {
            return Err(Error::conflict(format!(
                "task `{}` has already ended: {}",
                self.id,
                self.state.word()
            )));
        }
        if self.state == State::Queued {
            self.state = State::Cancelled;
            self.ended = Some(now);
        }
        self.cancelling = true;
        Ok(self)
    }

    /// The site was restored to a point at which this had not ended. It is never sent again by itself; its agent is asked.
    pub fn lose(mut self, now: Timestamp, reason: &str) -> Task {
        if !self.state.is_final() {
            self.state = State::Unknown;
            self.reason = reason.to_owned();
            self.ended = Some(now);
            self.cancelling = false;
            self.asking = true;
        }
        self
    }

    /// Its agent is gone for good: what was never sent is cancelled, of all else nobody knows how far it came.
    pub fn abandon(mut self, now: Timestamp) -> Task {
        if !self.state.is_final() {
            self.state = if self.state == State::Queued { State::Cancelled } else { State::Unknown };
            self.reason = "the agent was retired".into();
            self.ended = Some(now);
        }
        self.asking = false;
        self
    }

    /// What there is to do, in one line.
    pub fn title(&self) -> String {
        match &self.work {
            Work::Ping => "Ping".into(),
            Work::Inventory => "Inventory".into(),
            Work::Command { name, arguments } if arguments.is_empty() => name.clone(),
            Work::Command { name, arguments } => format!("{name} {}", arguments.join(" ")),
        }
    }
}
