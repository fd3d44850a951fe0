//! Roles: names for what people and keys may do.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::rights::Permissions;
use crate::base::{Error, Result};

/// Characters of a role's name.
pub const ROLE_NAME_CHARACTERS_MAX: usize = 40;

/// The roles that every site has. Others are made in the console.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Pays: what was used and what it costs.
    Billing,
    /// Sees everything but people, secrets, the audit log and how the site is guarded, and changes nothing.
    Viewer,
    /// Sees everything, secrets apart, and proves the audit log; changes nothing.
    Auditor,
    /// A viewer who says yes or no to what others may not do alone.
    Approver,
    /// Runs the fleet: agents and tasks.
    Operator,
    /// Runs the site, but neither tenants nor what opens its backups and keys.
    Administrator,
    /// Everything.
    Owner,
}

impl Role {
    /// Every role of this kind, the one with the least first.
    pub const ALL: [Role; 7] = [
        Role::Billing,
        Role::Viewer,
        Role::Auditor,
        Role::Approver,
        Role::Operator,
        Role::Administrator,
        Role::Owner,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Billing => "billing",
            Role::Viewer => "viewer",
            Role::Auditor => "auditor",
            Role::Approver => "approver",
            Role::Operator => "operator",
            Role::Administrator => "administrator",
            Role::Owner => "owner",
        }
    }

    /// What it is for, as a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Role::Billing => "Sees what was used and what it costs.",
            Role::Viewer => "Sees the fleet and changes nothing.",
            Role::Auditor => "Sees everything but secrets, proves the audit log, and changes nothing.",
            Role::Approver => "Sees the fleet, and decides what others may not do alone.",
            Role::Operator => "Runs the fleet: agents and tasks.",
            Role::Administrator => "Runs the site, but not what opens its backups.",
            Role::Owner => "Everything.",
        }
    }

    /// The role with this word.
    pub fn find(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }

    fn text(self) -> &'static str {
        match self {
            Role::Billing => "billing.*, usage.*, settings.read",
            Role::Viewer => "*.read, -identity.*, -audit.*, -secrets.*, -security.*, -tenants.*",
            Role::Auditor => {
                "*.read, audit.*, storage.verify, -audit.retain, -audit.lift, -secrets.*, -tenants.*"
            }
            Role::Approver => {
                "*.read, approvals.decide, -identity.*, -audit.*, -secrets.*, -security.*, -tenants.*"
            }
            Role::Operator => {
                "agents.*, tasks.*, telemetry.*, overview.*, *.read, -identity.*, -secrets.*, -security.*, -tenants.*"
            }
            Role::Administrator => "*, -tenants.*, -backups.kit, -keys.rotate",
            Role::Owner => "*",
        }
    }

    /// What it includes.
    pub fn permissions(self) -> Arc<Permissions> {
        static ALL: LazyLock<Vec<Arc<Permissions>>> = LazyLock::new(|| {
            Role::ALL.iter().map(|role| Arc::new(role.text().parse().unwrap_or_default())).collect()
        });
        ALL.get(self as usize).cloned().unwrap_or_default()
    }

    /// Whether it includes the permission, which is the name of an operation or `{noun}.read`.
    pub fn allows(self, permission: &str) -> bool {
        self.permissions().allow(permission)
    }
}

/// The name of a role, of every site or made here: `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

impl RoleName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The role of every site that has this name.
    pub fn built_in(&self) -> Option<Role> {
        Role::find(&self.0)
    }
}

impl FromStr for RoleName {
    type Err = Error;

    fn from_str(text: &str) -> Result<RoleName> {
        let sound = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= ROLE_NAME_CHARACTERS_MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if sound {
            return Ok(RoleName(text.to_owned()));
        }
        let shown: String = text.chars().take(ROLE_NAME_CHARACTERS_MAX).collect();
        Err(Error::invalid(format!("`{shown}` is not the name of a role"))
            .hint(format!("a-z, 0-9 and `-`, a letter first, at most {ROLE_NAME_CHARACTERS_MAX} characters")))
    }
}

impl TryFrom<String> for RoleName {
    type Error = String;

    fn try_from(text: String) -> Result<RoleName, String> {
        text.parse().map_err(|e: Error| e.message().to_owned())
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> String {
        name.0
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> RoleName {
        RoleName(role.word().to_owned())
    }
}

impl PartialEq<Role> for RoleName {
    fn eq(&self, role: &Role) -> bool {
        self.0 == role.word()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl schemars::JsonSchema for RoleName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RoleName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "the name of a role: one of every site, or one that was made here",
            "pattern": format!("^[a-z][a-z0-9-]{{0,{}}}$", ROLE_NAME_CHARACTERS_MAX - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_allow_what_they_say() {
        // Which of billing, viewer, auditor, approver, operator and administrator may.
        for (permission, may) in [
            ("agents.read", "-+++++"),
            ("agents.retire", "----++"),
            ("tasks.create", "----++"),
            ("identity.read", "--+--+"),
            ("identity.create", "-----+"),
            ("audit.read", "--+-++"),
            ("audit.export", "--+--+"),
            ("settings.read", "++++++"),
            ("settings.change", "-----+"),
            ("storage.read", "-+++++"),
            ("storage.verify", "--+--+"),
            ("backups.read", "-+++++"),
            ("backups.create", "-----+"),
            ("backups.kit", "------"),
            ("secrets.read", "-----+"),
            ("security.read", "--+--+"),
            ("tenants.create", "------"),
            ("approvals.decide", "---+-+"),
            ("usage.read", "++++++"),
        ] {
            let found: String =
                Role::ALL[..6].iter().map(|role| if role.allows(permission) { '+' } else { '-' }).collect();
            assert_eq!(found, may, "{permission}");
            assert!(Role::Owner.allows(permission));
        }
    }

    #[test]
    fn each_text_is_valid() {
        for role in Role::ALL {
            assert!(role.text().parse::<Permissions>().is_ok(), "{role:?}");
            assert_eq!(Role::ALL[role as usize], role);
            assert_eq!(RoleName::from(role).built_in(), Some(role));
        }
    }

    #[test]
    fn names_are_bounded() {
        assert!("line-7-lead".parse::<RoleName>().is_ok());
        for text in ["", "7a", "-a", "A", "a b", "é", &"x".repeat(41)] {
            assert!(text.parse::<RoleName>().is_err(), "{text}");
        }
    }
}
