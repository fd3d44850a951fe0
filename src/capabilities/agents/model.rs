//! What an agent is, and which moves are legal.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::base::{AgentId, Error, Labels, Name, Result, Selector, Span, Subject, Timestamp};
use crate::wire::Inventory;

/// Where an agent stands with the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum State {
    /// It asked to join; an administrator decides.
    Pending {
        /// Since when.
        since: Timestamp,
    },
    /// It reports and takes tasks.
    Active {
        /// Since when.
        since: Timestamp,
    },
    /// It is shut out until an administrator decides: its key was seen on two machines, or somebody said so.
    Quarantined {
        /// Since when.
        since: Timestamp,
        /// Why, for a reader.
        reason: String,
    },
    /// It is gone for good; its identity never works again.
    Retired {
        /// When.
        at: Timestamp,
    },
}

impl State {
    /// The word, for filters and lists.
    pub fn word(&self) -> &'static str {
        match self {
            State::Pending { .. } => "pending",
            State::Active { .. } => "active",
            State::Quarantined { .. } => "quarantined",
            State::Retired { .. } => "retired",
        }
    }
}

/// An enrolled program that reports and takes tasks. Everything in it may be shown; digests of secrets stand elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Agent {
    /// Its identifier, which its certificate carries.
    pub id: AgentId,
    /// What people call it.
    pub name: Name,
    /// Where it stands.
    pub state: State,
    /// Labels that an administrator gave; they win over the agent's own.
    #[serde(default)]
    pub labels: Labels,
    /// Labels that the agent's own configuration proposes.
    #[serde(default)]
    pub proposed: Labels,
    /// Host name as the agent says.
    #[serde(default)]
    pub hostname: String,
    /// Version of the agent program.
    #[serde(default)]
    pub version: String,
    /// What the host is made of.
    #[serde(default)]
    pub inventory: Inventory,
    /// Commands that its own configuration allows, with their descriptions.
    #[serde(default)]
    pub commands: std::collections::BTreeMap<String, String>,
    /// Last heard before the last clean stop or sweep; the live value is in memory.
    #[serde(default)]
    pub seen: Option<Timestamp>,
    /// When its certificate ends; absent for one that uses a secret.
    #[serde(default)]
    pub certificate_until: Option<Timestamp>,
}

impl Agent {
    /// Lets a pending or quarantined agent in.
    pub fn approve(mut self, now: Timestamp) -> Result<Agent> {
        match self.state {
            State::Pending { .. } | State::Quarantined { .. } => {
                if let State::Quarantined { .. } = self.state {
                    // Perhaps its system was installed anew: the next hello says which machine it is on.
                    self.inventory.machine.clear();
                }
                self.state = State::Active { since: now };
                Ok(self)
            }
            _ => Err(Error::conflict(format!(
                "agent `{}` is {}, so there is nothing to approve",
                self.name,
                self.state.word()
            ))),
        }
    }

    /// Shuts an active or pending agent out.
    pub fn quarantine(mut self, now: Timestamp, reason: String) -> Result<Agent> {
        match self.state {
            State::Pending { .. } | State::Active { .. } => {
                self.state = State::Quarantined { since: now, reason };
                Ok(self)
            }
            _ => Err(Error::conflict(format!("agent `{}` is already {}", self.name, self.state.word()))),
        }
    }

    /// Retires an agent for good.
    pub fn retire(mut self, now: Timestamp) -> Result<Agent> {
        if let State::Retired { .. } = self.state {
            return Err(Error::conflict(format!("agent `{}` is already retired", self.name)));
        }
        self.state = State::Retired { at: now };
        Ok(self)
    }

    /// Whether it may be connected.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }

    /// A label, given or proposed.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).or_else(|| self.proposed.get(key))
    }

    /// Given and proposed labels as one.
    pub fn all_labels(&self) -> Labels {
        let mut all = self.proposed.0.clone();
        all.extend(self.labels.0.clone());
        Labels(all)
    }
}

/// How an agent is, derived from what is heard of it. Worst first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// A reading is beyond its critical bound.
    Critical,
    /// A reading is beyond its warning bound, or the agent is late.
    Warning,
    /// Not heard for longer than it may be silent.
    Offline,
    /// Pending, quarantined or retired: nothing is expected of it.
    Inactive,
    /// Heard, and nothing is amiss.
    Healthy,
}

impl Health {
    /// The word, for filters and classes.
    pub fn word(self) -> &'static str {
        match self {
            Health::Critical => "critical",
            Health::Warning => "warning",
            Health::Offline => "offline",
            Health::Inactive => "inactive",
            Health::Healthy => "healthy",
        }
    }
}

/// Readings that health looks at, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    /// Processor.
    pub cpu: Option<f64>,
    /// Memory.
    pub memory: Option<f64>,
    /// The fullest disk.
    pub disk: Option<f64>,
}

/// Silence after which an agent is late. Two missed beats, not one: a reboot costs one.
pub const LATE: Span = Span::from_seconds(25);
/// Silence after which it is offline.
pub const OFFLINE: Span = Span::from_seconds(60);

/// Health and its reason, from state, silence, clock offset and readings.
pub fn health(
    agent: &Agent,
    silence: Option<Span>,
    offset_ms: Option<i64>,
    readings: Readings,
) -> (Health, String) {
    if !agent.is_active() {
        return (Health::Inactive, agent.state.word().to_owned());
    }
    let Some(silence) = silence else { return (Health::Offline, "never heard".to_owned()) };
    if silence > OFFLINE {
        return (Health::Offline, format!("not heard for {}", silence.rough()));
    }
    let over = |name: &str, value: Option<f64>, bound: f64| {
        value.filter(|v| *v >= bound).map(|v| format!("{name} at {v:.0} %"))
    };
    if let Some(reason) = over("disk", readings.disk, 95.0).or_else(|| over("memory", readings.memory, 97.0))
    {
        return (Health::Critical, reason);
    }
    if silence > LATE {
        return (Health::Warning, format!("late, last heard {} ago", silence.rough()));
    }
    if let Some(offset) = offset_ms.filter(|o| o.abs() > 5_000) {
        return (Health::Warning, format!("clock off by {:.0} s", offset as f64 / 1000.0));
    }
    over("disk", readings.disk, 85.0)
        .or_else(|| over("memory", readings.memory, 90.0))
        .or_else(|| over("processor", readings.cpu, 95.0))
        .map_or((Health::Healthy, String::new()), |reason| (Health::Warning, reason))
}

/// An agent as lists and pages show it.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct AgentView {
    /// What is stored.
    #[serde(flatten, serialize_with = "stored")]
    #[schemars(with = "Agent")]
    pub agent: Arc<Agent>,
    /// How it is.
    pub health: Health,
    /// Why, when it is not healthy.
    pub reason: String,
    /// Whether a session is open.
    pub connected: bool,
    /// Last heard.
    pub last_seen: Option<Timestamp>,
    /// For how many seconds it has been silent.
    pub silence_seconds: Option<u64>,
    /// Where it connects from.
    pub address: Option<String>,
    /// Its clock minus the server's.
    pub clock_offset_ms: Option<i64>,
    /// Processor in percent.
    pub cpu: Option<f64>,
    /// Memory in percent.
    pub memory: Option<f64>,
    /// The fullest disk in percent.
    pub disk: Option<f64>,
    /// Messages that wait on its disk.
    pub spooled: u64,
}

/// An agent as it is, shared or not.
fn stored<S: Serializer>(agent: &Arc<Agent>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    Agent::serialize(agent, serializer)
}

impl Subject for AgentView {
    fn text(&self, key: &str) -> Vec<String> {
        let one = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
        match key {
            "status" | "health" => vec![self.health.word().into()],
            "state" => vec![self.agent.state.word().into()],
            "name" => one(self.agent.name.as_str()),
            "host" | "hostname" => one(&self.agent.hostname),
            "version" => one(&self.agent.version),
            "os" => one(&self.agent.inventory.os),
            "address" => self.address.iter().cloned().collect(),
            "id" => vec![self.agent.id.to_string()],
            "label" => self.agent.all_labels().0.keys().cloned().collect(),
            key => self.agent.label(key).map(str::to_owned).into_iter().collect(),
        }
    }

    fn number(&self, key: &str) -> Option<f64> {
        match key {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "disk" => self.disk,
            "silence" => self.silence_seconds.map(|s| s as f64),
            "spooled" => Some(self.spooled as f64),
            _ => None,
        }
    }

    fn mentions(&self, word: &str) -> bool {
        self.agent.name.as_str().to_lowercase().contains(word)
            || self.agent.hostname.to_lowercase().contains(word)
            || self.agent.id.to_string().contains(word)
            || self.agent.all_labels().0.values().any(|v| v.to_lowercase().contains(word))
    }
}

impl AgentView {
    /// The site that it stands in, by its label.
    pub fn site(&self) -> &str {
        self.agent.label("site").unwrap_or_default()
    }

    /// Whether the filter lets it through.
    pub fn passes(&self, selector: &Selector) -> bool {
        selector.matches(self)
    }
}
