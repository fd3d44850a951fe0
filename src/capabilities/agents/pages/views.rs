//! What the pages of enrolment show.

use askama::Template;

use crate::kit::{Markup, Shell};

/// A join code that was just made; the code is shown this once.
#[derive(Clone, Debug)]
pub(crate) struct NewCode {
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
pub(crate) struct NewDevice {
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
pub(crate) struct CodeRow {
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
pub(crate) enum Wait {
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
pub(crate) struct AgentNewPage {
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
pub(crate) struct WaitPart {
    /// Where the wait stands.
    pub wait: Wait,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::kit::proof;

    #[test]
    fn pages_obey_the_rules() {
        let at = Markup::at(Some(Timestamp::from_milliseconds(1_790_000_000_000)));
        let row = |word, tone, agent: &str| CodeRow {
            short: "9f3c1a20".into(),
            labels: vec!["site=lyon".into(), "line=press".into()],
            word,
            tone,
            expires: at.clone(),
            agent: agent.into(),
            approval: agent.is_empty(),
        };
        let page = AgentNewPage {
            shell: proof::shell("Enrol an agent", "/agents"),
            tab: "host",
            code: None,
            device: None,
            wait: Wait::Open,
            codes: vec![row("open", "accent", ""), row("used", "ok", "agt_1"), row("expired", "", "")],
            error: String::new(),
            labels: "site=lyon".into(),
            name: String::new(),
        };
        proof::page("agents-new", &page);
        let error = "label key `Site` is not valid; use a-z".to_owned();
        proof::page("agents-new-device", &AgentNewPage { tab: "device", error, ..page.clone() });
        let code = NewCode {
            id: "9f3c1a20".into(),
            command: "muster agent --join K7QF-2M9X-TW4P-8HZC@plant03.local:8883".into(),
            code: "K7QF-2M9X-TW4P-8HZC".into(),
            gate: "plant03.local:8883".into(),
            fingerprint: "3f9a 11c0 77e2 5b08".into(),
            expires: at.clone(),
        };
        let wait = Wait::Arrived {
            id: "agt_1".into(),
            name: "lyon-press-08".into(),
            pending: true,
            facts: "Debian GNU/Linux 12 · 10.30.7.42".into(),
        };
        proof::page("agents-new-code", &AgentNewPage { code: Some(code.clone()), ..page.clone() });
        let arrived = AgentNewPage { code: Some(code), wait: wait.clone(), tab: "offline", ..page.clone() };
        proof::page("agents-new-arrived", &arrived);
        let device = NewDevice {
            id: "agt_01J9Z3K4M5N6P7Q8R9S0T1V2W3".into(),
            name: "boiler-2".into(),
            secret: "x7Qp-33kd-Pq0z".into(),
            gate: "plant03.local:8883".into(),
            host: "plant03.local".into(),
            port: "8883".into(),
            topic_prefix: "muster/v1/tnt_1/agt_1".into(),
        };
        proof::page("agents-new-secret", &AgentNewPage { device: Some(device), tab: "device", ..page });
        proof::page("agents-wait-part", &WaitPart { wait });
        proof::page("agents-wait-expired", &WaitPart { wait: Wait::Expired });
    }
}
