//! Who acts.

use std::sync::Arc;

use super::rights::{Rights, Sight};
use crate::base::{AgentId, KeyId, SessionId, Timestamp, UserId};

/// Nouns whose operations and pages know of scopes; all others need a grant for everything.
const SCOPED: [&str; 4] = ["agents", "telemetry", "tasks", "security"];

/// Who acts.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A person, signed in.
    Person {
        /// Who.
        user: UserId,
        /// In which session.
        session: SessionId,
        /// What people call them.
        name: String,
        /// What they may do at this moment.
        rights: Arc<Rights>,
        /// When they last proved who they are.
        proved: Timestamp,
    },
    /// A program with an API key.
    Key {
        /// Which.
        key: KeyId,
        /// What people call it.
        name: String,
        /// What it may do at this moment.
        rights: Arc<Rights>,
    },
    /// An agent, for what it says about itself.
    Agent {
        /// Which.
        agent: AgentId,
    },
    /// The appliance itself: jobs, followers, set-up.
    System,
    /// Nobody yet: sign-in and set-up pages.
    Anonymous,
}

impl Actor {
    /// Whether the actor has the permission, with anything at all.
    pub fn may(&self, permission: &str) -> bool {
        match self {
            Actor::Person { rights, .. } | Actor::Key { rights, .. } => rights.allow(permission),
            Actor::Agent { .. } => permission.starts_with("agents.report"),
            Actor::System => true,
            Actor::Anonymous => false,
        }
    }

    /// With what the actor has the permission.
    pub fn sight(&self, permission: &str) -> Sight {
        match self {
            Actor::Person { rights, .. } | Actor::Key { rights, .. } => rights.sight(permission),
            _ if self.may(permission) => Sight::Everything,
            _ => Sight::Within(Vec::new()),
        }
    }

    /// Whether a page about this is of use to the actor: all of it, or a part where pages know of parts.
    pub fn may_open(&self, permission: &str) -> bool {
        let parts = SCOPED.iter().any(|noun| permission.split('.').next() == Some(noun));
        if parts { self.may(permission) } else { self.sight(permission).is_everything() }
    }

    /// How the actor stands in the journal and the audit log: kind and identifier, never a name that may change.
    pub fn text(&self) -> String {
        match self {
            Actor::Person { user, .. } => user.to_string(),
            Actor::Key { key, .. } => key.to_string(),
            Actor::Agent { agent } => agent.to_string(),
            Actor::System => "system".into(),
            Actor::Anonymous => "anonymous".into(),
        }
    }

    /// What a person reads.
    pub fn label(&self) -> String {
        match self {
            Actor::Person { name, .. } | Actor::Key { name, .. } => name.clone(),
            Actor::Agent { agent } => agent.to_string(),
            Actor::System => "Muster".into(),
            Actor::Anonymous => "nobody".into(),
        }
    }

    /// What was granted, where something can be.
    pub fn rights(&self) -> Option<&Arc<Rights>> {
        match self {
            Actor::Person { rights, .. } | Actor::Key { rights, .. } => Some(rights),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Role;

    #[test]
    fn each_kind_of_actor_may_what_it_should() {
        let key = |role| Actor::Key { key: KeyId::from_bits(1), name: "k".into(), rights: Rights::of(role) };
        let agent = Actor::Agent { agent: AgentId::from_bits(1) };
        assert!(key(Role::Operator).may("tasks.create") && !key(Role::Viewer).may("tasks.create"));
        assert!(agent.may("agents.report") && !agent.may("agents.read"));
        assert!(Actor::System.sight("tenants.create").is_everything());
        for permission in ["agents.read", "agents.report", "own"] {
            assert!(!Actor::Anonymous.may(permission));
            assert_eq!(Actor::Anonymous.sight(permission), Sight::Within(Vec::new()));
        }
    }
}
