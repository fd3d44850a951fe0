//! Join codes: what an administrator hands to a program that shall become an agent.

use serde::{Deserialize, Serialize};

use crate::base::{AgentId, Error, Labels, Result, Timestamp};

/// A join code as stored: never its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinCode {
    /// Digest of the secret, which is also its name in the console.
    pub digest: String,
    /// Labels that the agent gets.
    #[serde(default)]
    pub labels: Labels,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Who made it.
    pub by: String,
    /// Whether an administrator must approve the agent.
    #[serde(default)]
    pub approval: bool,
    /// Digest of the key that used it.
    #[serde(default)]
    pub key: Option<String>,
    /// The agent that it became.
    #[serde(default)]
    pub agent: Option<AgentId>,
}

impl JoinCode {
    /// Whether a program with this key may use the code now: it is unused, or this key used it.
    pub fn admit(&self, key: &str, now: Timestamp) -> Result<()> {
        match &self.key {
            Some(used) if used == key => Ok(()),
            Some(_) => {
                Err(Error::forbidden("the join code was used by another program").hint("make a new one"))
            }
            None if now > self.expires => {
                Err(Error::forbidden(format!("the join code expired at {}", self.expires))
                    .hint("make a new one"))
            }
            None => Ok(()),
        }
    }
}
