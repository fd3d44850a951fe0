//! What a tenant is, and which moves are legal.

use serde::{Deserialize, Serialize};

use crate::base::{Error, Name, Result, TenantId, Timestamp};
use crate::kit::{self, Quotas};

/// Where a tenant stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub(super) enum State {
    /// Its people, keys and agents come in.
    Active,
    /// Nobody of it is let in; all of it is kept.
    Suspended {
        /// Since when.
        since: Timestamp,
    },
    /// It is being taken away.
    Going {
        /// Since when.
        since: Timestamp,
        /// Who wanted it.
        by: String,
        /// Rows that are gone.
        rows: u64,
        /// Agents whose numbers and lines are gone.
        agents: u64,
    },
}

impl State {
    /// The word, for lists.
    pub(super) fn word(&self) -> &'static str {
        match self {
            State::Active => "active",
            State::Suspended { .. } => "suspended",
            State::Going { .. } => "going",
        }
    }
}

/// A tenant as stored; the site's own has no row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tenant {
    /// The identifier: first part of every key of it.
    pub(super) id: TenantId,
    /// What people call it; no two have the same.
    pub(super) name: Name,
    /// Where it stands.
    pub(super) state: State,
    /// How much it may have.
    #[serde(default)]
    pub(super) quotas: Quotas,
    /// When it was made.
    pub(super) created: Timestamp,
}

impl Tenant {
    /// As every part of the site knows it.
    pub(super) fn known(&self) -> kit::Tenant {
        kit::Tenant {
            id: self.id,
            name: Some(self.name.clone()),
            is_suspended: self.state != State::Active,
            is_going: matches!(self.state, State::Going { .. }),
            quotas: self.quotas,
        }
    }

    /// Lets nobody of it in from now on.
    pub(super) fn suspend(&self, now: Timestamp) -> Result<Tenant> {
        match self.state {
            State::Active => Ok(Tenant { state: State::Suspended { since: now }, ..self.clone() }),
            _ => Err(self.is_already()),
        }
    }

    /// Lets them in again.
    pub(super) fn resume(&self) -> Result<Tenant> {
        match self.state {
            State::Suspended { .. } => Ok(Tenant { state: State::Active, ..self.clone() }),
            _ => Err(self.is_already()),
        }
    }

    /// Takes it away from now on: only when it is suspended, and its name was typed.
    pub(super) fn go(&self, typed: &str, by: String, now: Timestamp) -> Result<Tenant> {
        match self.state {
            State::Suspended { .. } => {}
            State::Active => {
                return Err(Error::conflict(format!("`{}` is not suspended", self.name))
                    .hint("suspend it first; nothing is lost by that"));
            }
            State::Going { .. } => return Err(self.is_already()),
        }
        if typed.trim() != self.name.as_str() {
            return Err(Error::invalid("the name is not that of the tenant")
                .hint(format!("type `{}` to take away all that it has", self.name)));
        }
        Ok(Tenant { state: State::Going { since: now, by, rows: 0, agents: 0 }, ..self.clone() })
    }

    fn is_already(&self) -> Error {
        let state = match self.state {
            State::Active => "is active",
            State::Suspended { .. } => "is suspended already",
            State::Going { .. } => "is being taken away",
        };
        Error::conflict(format!("`{}` {state}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_only_from_suspension_and_by_its_name() {
        let now = Timestamp::from_milliseconds(1);
        let active = Tenant {
            id: TenantId::from_bits(7),
            name: "Plant B".parse().unwrap(),
            state: State::Active,
            quotas: Quotas::default(),
            created: now,
        };
        assert!(active.go("Plant B", String::new(), now).is_err() && active.resume().is_err());
        let suspended = active.suspend(now).unwrap();
        assert!(suspended.suspend(now).is_err() && suspended.known().is_suspended);
        assert_eq!(suspended.resume().unwrap(), active);
        for typed in ["", "plant b", "Plant"] {
            assert!(suspended.go(typed, String::new(), now).is_err(), "{typed}");
        }
        let going = suspended.go(" Plant B ", "usr_1".into(), now).unwrap();
        assert!(going.known().is_going && going.known().is_suspended);
        assert!(going.resume().is_err() && going.go("Plant B", String::new(), now).is_err());
    }
}
