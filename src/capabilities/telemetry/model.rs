//! Events and lines as they are kept and shown.

use serde::{Deserialize, Serialize};

use crate::base::{AgentId, Timestamp};
use crate::wire::Severity;

/// An event as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredEvent {
    /// The agent's identifier of it; empty when it gave none.
    #[serde(default)]
    pub(super) id: String,
    pub(super) severity: Severity,
    pub(super) name: String,
    pub(super) text: String,
}

/// An event as shown.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct EventView {
    /// When.
    pub at: Timestamp,
    /// Of whom.
    pub agent: AgentId,
    /// What people call the agent.
    pub agent_name: String,
    /// The agent's identifier of the event.
    pub id: String,
    /// How grave.
    pub severity: Severity,
    /// Short name.
    pub name: String,
    /// What a person reads.
    pub text: String,
}

/// A log line as shown.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct LogEntry {
    /// When.
    pub at: Timestamp,
    /// How grave.
    pub severity: Severity,
    /// Unit, file or component.
    pub source: String,
    /// The text.
    pub text: String,
    /// Place in the agent's log, for following.
    pub position: u64,
}

/// A severity as the log engine counts: 0 trace to 5 fatal.
pub(super) fn level(severity: Severity) -> u8 {
    severity as u8
}

/// The severity of a level.
pub(super) fn severity(level: u8) -> Severity {
    match level {
        0 => Severity::Trace,
        1 => Severity::Debug,
        2 => Severity::Info,
        3 => Severity::Warn,
        4 => Severity::Error,
        _ => Severity::Fatal,
    }
}
