//! Who acts.

use serde::{Deserialize, Serialize};

use crate::base::{AgentId, KeyId, SessionId, Timestamp, UserId};

/// What a person or key may do, until roles become data.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything but secrets, changes nothing.
    Viewer,
    /// Runs the fleet: agents and tasks.
    Operator,
    /// Everything.
    Owner,
}

/// What only an owner may change: people, keys, the site itself, and who is trusted.
const OWNER_ONLY: [&str; 7] =
    ["backups.", "clients.", "identity.", "settings.", "storage.", "audit.", "tenants."];

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Owner];

    /// Whether the role includes the permission, which is the name of an operation or `{noun}.read`.
    pub fn allows(self, permission: &str) -> bool {
        let reads = permission.ends_with(".read");
        let guarded = OWNER_ONLY.iter().any(|start| permission.starts_with(start));
        match self {
            Role::Owner => true,
            Role::Operator => !guarded || reads && !permission.starts_with("identity."),
            Role::Viewer => {
                reads && !permission.starts_with("identity.") && !permission.starts_with("audit.")
            }
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Owner => "owner",
        }
    }
}

/// Who acts.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A person, signed in.
    Person { user: UserId, session: SessionId, name: String, role: Role, proved: Timestamp },
    /// A program with an API key.
    Key { key: KeyId, name: String, role: Role },
    /// An agent, for what it says about itself.
    Agent { agent: AgentId },
    /// The appliance itself: jobs, followers, set-up.
    System,
    /// Nobody yet: sign-in and set-up pages.
    Anonymous,
}

impl Actor {
    /// Whether the actor has the permission.
    pub fn may(&self, permission: &str) -> bool {
        match self {
            Actor::Person { role, .. } | Actor::Key { role, .. } => role.allows(permission),
            Actor::Agent { .. } => permission.starts_with("agents.report"),
            Actor::System => true,
            Actor::Anonymous => false,
        }
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

    /// The role, where there is one.
    pub fn role(&self) -> Option<Role> {
        match self {
            Actor::Person { role, .. } | Actor::Key { role, .. } => Some(*role),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_allow_what_they_say() {
        for (permission, viewer, operator) in [
            ("agents.read", true, true),
            ("agents.retire", false, true),
            ("tasks.create", false, true),
            ("identity.read", false, false),
            ("identity.create", false, false),
            ("audit.read", false, true),
            ("settings.read", true, true),
            ("settings.change", false, false),
            ("storage.read", true, true),
            ("storage.verify", false, false),
            ("backups.read", true, true),
            ("backups.create", false, false),
            ("backups.kit", false, false),
        ] {
            assert_eq!(Role::Viewer.allows(permission), viewer, "viewer {permission}");
            assert_eq!(Role::Operator.allows(permission), operator, "operator {permission}");
            assert!(Role::Owner.allows(permission));
            assert!(!Actor::Anonymous.may(permission));
        }
    }
}
