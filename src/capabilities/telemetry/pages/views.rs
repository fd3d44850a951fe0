//! What the pages of telemetry show.

use askama::Template;

use crate::base::Timestamp;
use crate::kit::{Markup, Shell};
use crate::wire::Severity;

/// An event in a list.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Of which agent.
    pub agent_id: String,
    /// Its name.
    pub agent: String,
    /// Sign of its severity.
    pub glyph: Markup,
    /// Class of its severity.
    pub tone: &'static str,
    /// What kind of event.
    pub name: String,
    /// What happened.
    pub text: String,
    /// When.
    pub ago: Markup,
}

/// Class of a severity.
pub fn tone(severity: Severity) -> &'static str {
    match severity {
        Severity::Fatal | Severity::Error => "crit",
        Severity::Warn => "warn",
        Severity::Info => "ok",
        Severity::Debug | Severity::Trace => "off",
    }
}

/// Word of a severity.
pub fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fatal => "fatal",
        Severity::Error => "error",
        Severity::Warn => "warning",
        Severity::Info => "information",
        Severity::Debug => "debug",
        Severity::Trace => "trace",
    }
}

impl EventRow {
    /// The row of an event.
    pub fn new(
        (agent_id, agent): (String, String),
        severity: Severity,
        name: &str,
        text: &str,
        at: Timestamp,
        now: Timestamp,
    ) -> EventRow {
        let tone = tone(severity);
        EventRow {
            agent_id,
            agent,
            glyph: Markup::glyph(tone, word(severity)),
            tone,
            name: name.to_owned(),
            text: text.to_owned(),
            ago: Markup::ago(Some(at), now),
        }
    }
}

/// `/events`.
#[derive(Clone, Debug, Template)]
#[template(path = "telemetry/events.html")]
pub(crate) struct EventListPage {
    /// The frame.
    pub shell: Shell,
    /// Newest first.
    pub events: Vec<EventRow>,
    /// The agent that the list is limited to.
    pub agent: String,
    /// The next page.
    pub next: String,
}

/// The rows of `/events`, live.
#[derive(Clone, Debug, Template)]
#[template(path = "telemetry/_events.html")]
pub(crate) struct EventRowsPart {
    /// Newest first.
    pub events: Vec<EventRow>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::proof;

    #[test]
    fn pages_obey_the_rules() {
        let now = Timestamp::from_milliseconds(1_790_000_300_000);
        let grades = [Severity::Error, Severity::Warn, Severity::Info, Severity::Debug, Severity::Fatal];
        let event = |n: usize| {
            let agent = ("agt_1".to_owned(), "gdansk-hmi-31".to_owned());
            EventRow::new(agent, grades[n % 5], "disk.full", "Spool <b>disk</b> is full in 3 h", now, now)
        };
        let page = EventListPage {
            shell: proof::shell("Events", "/events"),
            events: (0..12).map(event).collect(),
            agent: String::new(),
            next: "/events?after=1".into(),
        };
        assert!(!proof::page("telemetry-events", &page).contains("<b>disk"));
        proof::page("telemetry-part", &EventRowsPart { events: page.events.clone() });
        proof::page("telemetry-empty", &EventListPage { events: Vec::new(), ..page });
    }
}
