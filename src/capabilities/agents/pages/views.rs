//! What the pages of enrolment show.

use askama::Template;

use crate::kit::{Markup, Shell};

/// A join code that was just made; the code is shown this once.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// Its name in lists, and the argument of its live part.
    pub id: String,
    /// What to paste on the new machine.
    pub command: String,
    /// The code alone.
    pub code: String,
    /// `host:port` of the gate.
    pub gate: String,
    /// Fingerprint of the site's authority.
    pub fingerprint: String,
    /// When it ends.
    pub expires: Markup,
}

/// A device that was just made; its secret is shown this once.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// Identifier, which is the MQTT user name.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The secret, which is the MQTT password.
    pub secret: String,
    /// `host:port` of the gate.
    pub gate: String,
    /// Host of the gate.
    pub host: String,
    /// Port of the gate.
    pub port: String,
    /// What its topics begin with.
    pub topic_prefix: String,
}

/// A join code in the list.
#[derive(Clone, Debug)]
pub struct CodeRow {
    /// First characters of its digest.
    pub short: String,
    /// Labels that the agent gets.
    pub labels: Vec<String>,
    /// `open`, `used`, `expired`.
    pub word: &'static str,
    /// Class of the word.
    pub tone: &'static str,
    /// When it ends.
    pub expires: Markup,
    /// The agent that used it; empty for none.
    pub agent: String,
    /// Whether somebody must approve.
    pub approval: bool,
}

/// Where the wait for a new agent stands.
#[derive(Clone, Debug)]
pub enum Wait {
    /// Nobody used the code yet.
    Open,
    /// Somebody did.
    Arrived {
        /// Identifier.
        id: String,
        /// What it calls itself.
        name: String,
        /// Whether somebody must approve it.
        pending: bool,
        /// System and address, as far as it said.
        facts: String,
    },
    /// Nobody used it in time.
    Expired,
}

/// `/agents/new`.
#[derive(Clone, Debug, Template)]
#[template(path = "agents/new.html")]
pub struct AgentNewPage {
    /// The frame.
    pub shell: Shell,
    /// `host`, `offline` or `device`.
    pub tab: &'static str,
    /// The code that was just made.
    pub code: Option<NewCode>,
    /// The device that was just made.
    pub device: Option<NewDevice>,
    /// Where the wait stands.
    pub wait: Wait,
    /// Codes made before.
    pub codes: Vec<CodeRow>,
    /// What was wrong with the form; empty when nothing was.
    pub error: String,
    /// Labels as typed.
    pub labels: String,
    /// Name as typed.
    pub name: String,
}

/// The live part of `/agents/new`.
#[derive(Clone, Debug, Template)]
#[template(path = "agents/_wait.html")]
pub struct WaitPart {
    /// Where the wait stands.
    pub wait: Wait,
}
