//! What a grant and a role that was made here are.

use serde::{Deserialize, Serialize};

use crate::base::{Timestamp, limits};
use crate::kit::{Permissions, Role, RoleName, Scope};

/// How a grant stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It holds.
    #[default]
    Held,
    /// It may be taken up for a while, with a reason.
    Eligible,
}

/// A role as somebody was given it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Granted {
    /// The role.
    pub role: RoleName,
    /// With what; empty for everything.
    #[serde(default)]
    pub scope: Scope,
    /// Whether it holds or may be taken up.
    #[serde(default)]
    pub standing: Standing,
    /// When it ends; absent for one without an end.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Why it was given, or taken up.
    #[serde(default)]
    pub reason: String,
    /// The provider whose groups give it; empty for what was given here. Such a one is renewed at each sign-in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
}

impl Granted {
    /// A role with everything and without an end.
    pub fn lasting(role: RoleName) -> Granted {
        Granted {
            role,
            scope: Scope::default(),
            standing: Standing::Held,
            until: None,
            reason: String::new(),
            provider: String::new(),
        }
    }

    /// Whether it has not ended.
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|end| now < end)
    }

    /// Whether it gives something at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.standing == Standing::Held && self.lasts(now)
    }

    /// Whether it makes an owner who stays one.
    pub(crate) fn makes_owner(&self) -> bool {
        self.role == Role::Owner
            && self.scope.is_everything()
            && self.standing == Standing::Held
            && self.until.is_none()
            // What a provider gives, it may take away.
            && self.provider.is_empty()
    }

    /// In words: `operator with site:lyon until 2026-…`.
    pub fn text(&self) -> String {
        let mut text = self.role.to_string();
        if !self.scope.is_everything() {
            text.push_str(&format!(" with {}", self.scope));
        }
        if self.standing == Standing::Eligible {
            text.push_str(", on demand");
        }
        if let Some(until) = self.until {
            text.push_str(&format!(" until {until}"));
        }
        text
    }
}

/// A role that was made here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeRole {
    /// Its name.
    pub name: RoleName,
    /// What it is for.
    pub about: String,
    /// What it includes.
    pub permissions: Permissions,
    /// When it was made.
    pub created: Timestamp,
}

/// Characters of what a role is for, and of the reason of a grant.
pub(crate) const REASON_CHARACTERS_MAX: usize = limits::NAME_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

    #[test]
    fn grants_hold_until_they_end() {
        let at = |hours: u64| Timestamp::default() + Span::from_hours(hours);
        let lasting = Granted::lasting(Role::Owner.into());
        assert!(lasting.holds(at(1)) && lasting.makes_owner());
        let ending = Granted { until: Some(at(2)), ..lasting.clone() };
        assert!(ending.holds(at(1)) && !ending.holds(at(2)) && !ending.makes_owner());
        let eligible = Granted { standing: Standing::Eligible, ..lasting.clone() };
        assert!(!eligible.holds(at(1)) && eligible.lasts(at(1)) && !eligible.makes_owner());
        let narrow = Granted { scope: "site:lyon".parse().unwrap(), ..lasting };
        assert!(narrow.holds(at(1)) && !narrow.makes_owner());
        assert_eq!(narrow.text(), "owner with site:lyon");
    }
}
