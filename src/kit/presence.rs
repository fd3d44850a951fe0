//! Which agents are connected and when each was last heard, on the server's monotonic clock.
//!
//! Invariant: health is derived from this; no "down" flag is stored anywhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::RwLock;

use crate::base::{AgentId, Span, TenantId, Timestamp};
use crate::engine::clock::Clock;
use crate::wire::TimeService;

/// When and where an agent was last heard.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The gate's session, when one is open.
    pub session: Option<u64>,
    /// Where it connected from.
    pub address: Option<IpAddr>,
    /// Monotonic instant of the last message; absent when it was heard by an earlier process only.
    pub heard: Option<Duration>,
    /// Wall clock of the last message, for people.
    pub at: Option<Timestamp>,
    /// The agent's clock minus the server's, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// Who sets its host's clock, as it says.
    pub time: Option<TimeService>,
    /// Messages that wait in the agent's spool.
    pub spooled: u64,
    /// The start of the agent program that is connected.
    pub boot: String,
}

/// All of them.
pub struct Presence {
    clock: Clock,
    agents: RwLock<HashMap<AgentId, Seen>>,
    watched: RwLock<HashMap<AgentId, (TenantId, Duration)>>,
}

impl Presence {
    /// Nobody has been heard yet.
    pub fn new(clock: Clock) -> Presence {
        Presence { clock, agents: RwLock::default(), watched: RwLock::default() }
    }

    /// Changes what is known of one agent.
    pub fn update(&self, agent: AgentId, f: impl FnOnce(&mut Seen)) {
        f(self.agents.write().entry(agent).or_default());
    }

    /// The agent was heard just now.
    pub fn heard(&self, agent: AgentId) {
        let (heard, at) = (self.clock.monotonic(), self.clock.now());
        self.update(agent, |seen| {
            seen.heard = Some(heard);
            seen.at = Some(at);
        });
    }

    /// Agents with an open session.
    pub fn present(&self) -> Vec<AgentId> {
        self.agents
            .read()
            .iter()
            .filter(|(_, seen)| seen.session.is_some())
            .map(|(agent, _)| *agent)
            .collect()
    }

    /// What is known of one agent.
    pub fn of(&self, agent: AgentId) -> Seen {
        self.agents.read().get(&agent).cloned().unwrap_or_default()
    }

    /// How long ago it was heard, by the monotonic clock, else by the stored wall clock.
    pub fn silence(&self, seen: &Seen, stored: Option<Timestamp>) -> Option<Span> {
        if let Some(heard) = seen.heard {
            let since = self.clock.monotonic().saturating_sub(heard);
            return Some(Span::from_milliseconds(since.as_millis() as u64));
        }
        seen.at.or(stored).map(|at| self.clock.now().since(at))
    }

    /// Somebody looks at this agent; true when nobody did within the last seconds.
    pub fn watch(&self, tenant: TenantId, agent: AgentId) -> bool {
        let now = self.clock.monotonic();
        let before = self.watched.write().insert(agent, (tenant, now));
        before.is_none_or(|(_, b)| now.saturating_sub(b) > WATCH)
    }

    /// Agents that nobody looks at any more; each is named once.
    pub fn unwatched(&self) -> Vec<(TenantId, AgentId)> {
        let now = self.clock.monotonic();
        let mut watched = self.watched.write();
        let quiet = watched.iter().filter(|(_, (_, at))| now.saturating_sub(*at) > WATCH);
        let over: Vec<_> = quiet.map(|(agent, (tenant, _))| (*tenant, *agent)).collect();
        over.iter().for_each(|(_, agent)| {
            watched.remove(agent);
        });
        over
    }

    /// Whether somebody looks at this agent.
    pub fn is_watched(&self, agent: AgentId) -> bool {
        let now = self.clock.monotonic();
        self.watched.read().get(&agent).is_some_and(|(_, at)| now.saturating_sub(*at) <= WATCH)
    }

    /// Forgets an agent.
    pub fn forget(&self, agent: AgentId) {
        self.agents.write().remove(&agent);
        self.watched.write().remove(&agent);
    }
}

/// How long a look lasts after the page's last sign of life.
const WATCH: Duration = Duration::from_secs(15);
