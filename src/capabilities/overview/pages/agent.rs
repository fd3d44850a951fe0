//! What the page of one agent shows.

use askama::Template;

use crate::base::Timestamp;
use crate::capabilities::agents::{AgentView, State};
use crate::capabilities::tasks::TaskRow;
use crate::capabilities::telemetry::{self, EventRow, LogEntry};
use crate::kit::chart::{self, Chart, Unit};
use crate::kit::{Markup, Shell, local};
use crate::wire::Inventory;

use super::views::{label, tone};

/// Tabs of the page: word and title.
pub(crate) const TABS: [(&str, &str); 7] = [
    ("overview", "Overview"),
    ("metrics", "Metrics"),
    ("logs", "Logs"),
    ("events", "Events"),
    ("tasks", "Tasks"),
    ("inventory", "Inventory"),
    ("access", "Access"),
];

/// Something to choose by a link.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// What a person reads.
    pub title: &'static str,
    /// Where it leads.
    pub href: String,
    /// Whether it is chosen.
    pub current: bool,
}

/// The head of the page, above every tab.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Class of its health.
    pub tone: &'static str,
    /// Word of its health.
    pub word: &'static str,
    /// Sign of its health.
    pub glyph: Markup,
    /// Why it is not healthy.
    pub reason: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// System and kernel.
    pub system: String,
    /// How long the host has been up.
    pub up: String,
    /// How long its certificate lasts.
    pub certificate: String,
    /// Last heard.
    pub seen: Markup,
    /// Where it connects from.
    pub address: String,
    /// Version of the agent program.
    pub version: String,
    /// Messages that wait on its disk.
    pub spooled: u64,
    /// Its clock minus the server's.
    pub clock: String,
    /// Size of the machine.
    pub hardware: String,
    /// `pending`, `quarantined`, `retired` or `active`.
    pub state: &'static str,
    /// Whether a session is open.
    pub connected: bool,
}

impl Head {
    /// The head of an agent.
    pub(crate) fn new(view: &AgentView, now: Timestamp) -> Head {
        let (agent, inventory) = (&view.agent, &view.agent.inventory);
        let joined =
            |parts: &[&str]| parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(" · ");
        let cores =
            if inventory.cpu_count > 0 { format!("{} cores", inventory.cpu_count) } else { String::new() };
        let memory = match inventory.memory_bytes {
            0 => String::new(),
            bytes => Unit::Bytes.text(bytes as f64),
        };
        let tone = tone(view.health);
        Head {
            id: agent.id.to_string(),
            name: agent.name.to_string(),
            tone,
            word: view.health.word(),
            glyph: Markup::glyph(tone, view.health.word()),
            reason: view.reason.clone(),
            labels: agent.all_labels().0.iter().map(label).collect(),
            system: joined(&[&inventory.os, &inventory.kernel]),
            up: inventory.booted.map_or_else(String::new, |at| now.since(at).rough()),
            certificate: agent.certificate_until.map_or_else(String::new, |at| at.since(now).rough()),
            seen: Markup::ago(view.last_seen, now),
            address: view.address.clone().unwrap_or_else(|| "—".to_owned()),
            version: agent.version.clone(),
            spooled: view.spooled,
            clock: match view.clock_offset_ms {
                None => "—".to_owned(),
                Some(offset) if offset.abs() < 1000 => format!("{offset:+} ms"),
                Some(offset) => format!("{:+.1} s", offset as f64 / 1000.0),
            },
            hardware: joined(&[&cores, &memory, &inventory.architecture]),
            state: agent.state.word(),
            connected: view.connected,
        }
    }
}

/// A chart in its card.
#[derive(Clone, Debug)]
pub(crate) struct ChartCard {
    /// What it shows.
    pub title: String,
    /// Of how much.
    pub of: String,
    /// Class and name of each line; empty for one line.
    pub keys: Vec<(&'static str, String)>,
    /// The last value.
    pub number: String,
    /// Its unit.
    pub unit: String,
    /// The plot.
    pub plot: Markup,
    /// Whether there is anything to show.
    pub empty: bool,
}

impl ChartCard {
    /// The card around a chart.
    pub(crate) fn new(title: impl Into<String>, of: impl Into<String>, chart: &Chart<'_>) -> ChartCard {
        let (number, unit) = chart.latest().map_or_else(Default::default, |value| chart.unit.parts(value));
        let many = chart.lines.len() > 1;
        let named = chart.lines.iter().zip(chart::SERIES).filter(|_| many);
        ChartCard {
            title: title.into(),
            of: of.into(),
            keys: named.map(|(line, class)| (class, line.name.to_owned())).collect(),
            number,
            unit,
            plot: Markup(chart.draw()),
            empty: chart.lines.iter().all(|line| line.readings.is_empty()),
        }
    }
}

/// A line of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogRow {
    /// Its place in the log, so that a live page keeps the line that it has.
    pub position: u64,
    /// Time of day, and the whole instant for its title.
    pub time: String,
    /// The instant.
    pub at: String,
    /// Class of its severity.
    pub class: &'static str,
    /// Short word of its severity.
    pub word: &'static str,
    /// Where it comes from.
    pub source: String,
    /// The text.
    pub text: String,
}

impl LogRow {
    /// The row of a line.
    pub(crate) fn new(entry: &LogEntry) -> LogRow {
        let (class, word) = match telemetry::word(entry.severity) {
            "fatal" => ("err", "FATAL"),
            "error" => ("err", "ERR"),
            "warning" => ("wrn", "WARN"),
            "information" => ("inf", "INFO"),
            "debug" => ("dbg", "DEBUG"),
            _ => ("dbg", "TRACE"),
        };
        LogRow {
            position: entry.position,
            time: local(entry.at, "%H:%M:%S%.3f"),
            at: entry.at.to_string(),
            class,
            word,
            source: entry.source.clone(),
            text: entry.text.clone(),
        }
    }
}

/// The log's lines and what they are limited to.
#[derive(Clone, Debug)]
pub(crate) struct LogTail {
    /// Levels to choose.
    pub levels: Vec<Choice>,
    /// Words that must occur.
    pub words: String,
    /// The level chosen.
    pub severity: String,
    /// Lines by time.
    pub histogram: Markup,
    /// Oldest and newest instant of the lines.
    pub span: (String, String),
    /// Newest first.
    pub rows: Vec<LogRow>,
}

/// A certificate, labels and the acts that end an agent's access.
#[derive(Clone, Debug)]
pub(crate) struct AccessForm {
    /// Labels that an administrator gave, as text.
    pub labels: String,
    /// Labels that the agent proposes.
    pub proposed: String,
    /// When its certificate ends.
    pub certificate: Markup,
    /// Since when it stands where it stands.
    pub since: Markup,
    /// Why it is shut out.
    pub reason: String,
    /// Commands that its own configuration allows, with their descriptions.
    pub commands: Vec<(String, String)>,
    /// Whether the person may change anything.
    pub may_change: bool,
}

impl AccessForm {
    /// What the tab says of an agent.
    pub(crate) fn new(view: &AgentView, may_change: bool) -> AccessForm {
        let (since, reason) = match &view.agent.state {
            State::Pending { since } | State::Active { since } => (*since, String::new()),
            State::Quarantined { since, reason } => (*since, reason.clone()),
            State::Retired { at } => (*at, String::new()),
        };
        AccessForm {
            labels: view.agent.labels.text(),
            proposed: view.agent.proposed.text(),
            certificate: Markup::at(view.agent.certificate_until),
            since: Markup::at(Some(since)),
            reason,
            commands: view.agent.commands.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            may_change,
        }
    }
}

/// A disk or interface in the inventory: name, kind, size or addresses.
pub(crate) type Part = (String, String, String);

/// What the host is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// Name and value.
    pub facts: Vec<(&'static str, String)>,
    /// Disks.
    pub disks: Vec<Part>,
    /// Network interfaces.
    pub interfaces: Vec<Part>,
    /// Packages and their versions.
    pub packages: Vec<(String, String)>,
}

impl Parts {
    /// The parts of an inventory.
    pub(crate) fn new(inventory: &Inventory, hostname: &str) -> Parts {
        let facts = [
            ("Host name", hostname.to_owned()),
            ("System", inventory.os.clone()),
            ("Kernel", inventory.kernel.clone()),
            ("Architecture", inventory.architecture.clone()),
            ("Processor", format!("{} × {}", inventory.cpu_count, inventory.cpu)),
            ("Memory", Unit::Bytes.text(inventory.memory_bytes as f64)),
            ("Machine", inventory.machine.clone()),
        ];
        let disks = inventory.disks.iter();
        let interfaces = inventory.interfaces.iter();
        Parts {
            facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            disks: disks
                .map(|d| (d.mount.clone(), d.kind.clone(), Unit::Bytes.text(d.bytes as f64)))
                .collect(),
            interfaces: interfaces.map(|i| (i.name.clone(), i.mac.clone(), i.addresses.join(", "))).collect(),
            packages: inventory.packages.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }
}

/// What the chosen tab shows.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Charts, facts, and what happened last.
    Overview {
        /// CPU, memory, disks, network, load.
        charts: Vec<ChartCard>,
        /// The last ones.
        events: Vec<EventRow>,
        /// The last ones.
        tasks: Vec<TaskRow>,
    },
    /// Every series.
    Metrics {
        /// One chart for each name, its instances as lines.
        charts: Vec<ChartCard>,
    },
    /// Lines.
    Logs(LogTail),
    /// What it told.
    Events(Vec<EventRow>),
    /// What was asked of it.
    Tasks(Vec<TaskRow>),
    /// What it is made of.
    Inventory(Parts),
    /// Who it is to the site.
    Access(AccessForm),
}

/// `/agents/{id}`.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/agent.html")]
pub(crate) struct AgentPage {
    /// The frame.
    pub shell: Shell,
    /// Above every tab.
    pub head: Head,
    /// Tabs.
    pub tabs: Vec<Choice>,
    /// Lengths of time to look at; empty where the tab has none.
    pub ranges: Vec<Choice>,
    /// The chosen tab.
    pub body: Body,
    /// Whether the person may run tasks.
    pub may_run: bool,
    /// Whether the person may let it in.
    pub may_approve: bool,
}

/// The head, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_agent_head.html")]
pub(crate) struct HeadPart<'a> {
    /// Above every tab.
    pub head: &'a Head,
}

/// The chosen tab, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_agent_body.html")]
pub(crate) struct BodyPart<'a> {
    /// The chosen tab.
    pub body: &'a Body,
    /// Above every tab.
    pub head: &'a Head,
    /// Where static files are.
    pub assets: &'a str,
}
