//! What the first screen and the list of agents show.

use askama::Template;

use crate::base::Timestamp;
use crate::capabilities::agents::{AgentView, Health};
use crate::capabilities::tasks::TaskRow;
use crate::capabilities::telemetry::EventRow;
use crate::kit::chart::{self, Unit};
use crate::kit::{Markup, Shell};

/// Class of a health.
pub(crate) fn tone(health: Health) -> &'static str {
    match health {
        Health::Healthy => "ok",
        Health::Warning => "warn",
        Health::Critical => "crit",
        Health::Offline => "off",
        Health::Inactive => "maint",
    }
}

/// A number at the top of the first screen.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// Where it leads.
    pub href: &'static str,
    /// What it counts.
    pub title: &'static str,
    /// The number.
    pub number: String,
    /// Its unit or the whole that it is of.
    pub unit: String,
    /// One line below.
    pub note: String,
    /// Class of the note.
    pub tone: &'static str,
    /// A drawing below.
    pub drawing: Markup,
}

/// The cells of one site.
#[derive(Clone, Debug)]
pub(crate) struct SiteMap {
    /// Name of the site.
    pub name: String,
    /// The list of its agents.
    pub href: String,
    /// How many are heard, of how many.
    pub heard: usize,
    /// All of them.
    pub total: usize,
    /// The cells.
    pub map: Markup,
}

/// What burns.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    /// Which agent.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Sign of its health.
    pub glyph: Markup,
    /// Why.
    pub reason: String,
    /// Last heard.
    pub seen: Markup,
}

/// One line about backups.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// Sign of it.
    pub glyph: Markup,
    /// What it is about.
    pub title: &'static str,
    /// How it stands.
    pub text: String,
    /// Since when.
    pub when: Markup,
}

/// What the first screen shows, live.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// Numbers.
    pub tiles: Vec<Tile>,
    /// What burns, worst first.
    pub attention: Vec<Attention>,
    /// How many more burn.
    pub more: usize,
    /// How well the site is saved.
    pub saved: Vec<Saved>,
    /// What agents told last.
    pub events: Vec<EventRow>,
    /// What was asked of agents last.
    pub tasks: Vec<TaskRow>,
}

/// The map of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    /// Cells by site.
    pub sites: Vec<SiteMap>,
    /// Class, count and word of each health.
    pub legend: Vec<(&'static str, usize, &'static str)>,
    /// Agents that are not drawn, because there are too many.
    pub hidden: usize,
}

/// `/`.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/home.html")]
pub(crate) struct OverviewPage {
    /// The frame.
    pub shell: Shell,
    /// Numbers and lists.
    pub home: Home,
    /// The map.
    pub fleet: Fleet,
    /// Whether this is the first hour: only the server itself is enrolled.
    pub first: bool,
    /// Whether the person may enrol agents.
    pub may_enrol: bool,
}

/// The tiles, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_tiles.html")]
pub(crate) struct TilesPart<'a> {
    /// Numbers and lists.
    pub home: &'a Home,
}

/// What burns and what happened, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_attention.html")]
pub(crate) struct AttentionPart<'a> {
    /// Numbers and lists.
    pub home: &'a Home,
}

/// What happened, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_recent.html")]
pub(crate) struct RecentPart<'a> {
    /// Numbers and lists.
    pub home: &'a Home,
}

/// How well the site is saved, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_saved.html")]
pub(crate) struct SavedPart<'a> {
    /// Numbers and lists.
    pub home: &'a Home,
}

/// The map, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_fleet.html")]
pub(crate) struct FleetPart<'a> {
    /// The map.
    pub fleet: &'a Fleet,
}

/// A reading in percent: text, bar and how grave it is.
#[derive(Clone, Debug)]
pub(crate) struct Percent {
    /// `43 %` or a dash.
    pub text: String,
    /// The bar.
    pub meter: Markup,
    /// `hi`, `md` or empty.
    pub grade: &'static str,
}

impl Percent {
    /// Graded by the bounds of a warning and of a critical state.
    pub(crate) fn new(value: Option<f64>, warning: f64, critical: f64) -> Percent {
        let (grade, tone) = match value {
            Some(v) if v >= critical => ("hi", "crit"),
            Some(v) if v >= warning => ("md", "warn"),
            _ => ("", ""),
        };
        let text = value.map_or_else(|| "—".to_owned(), |v| Unit::Percent.text(v.round()));
        Percent { text, meter: Markup(chart::meter(value, tone)), grade }
    }
}

/// An agent in the list.
#[derive(Clone, Debug)]
pub(crate) struct AgentRow {
    /// Identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Sign of its health.
    pub glyph: Markup,
    /// Why it is not healthy.
    pub reason: String,
    /// Its site.
    pub site: String,
    /// Its other labels, the first few.
    pub labels: Vec<String>,
    /// Where it connects from.
    pub address: String,
    /// Version of the agent program.
    pub version: String,
    /// Processor over the last hour.
    pub spark: Markup,
    /// Processor.
    pub cpu: Percent,
    /// Memory.
    pub memory: Percent,
    /// The fullest disk.
    pub disk: Percent,
    /// Last heard.
    pub seen: Markup,
}

impl AgentRow {
    /// The row of an agent; `cpu` is its processor over the last hour.
    pub(crate) fn new(view: &AgentView, cpu: &[f64], now: Timestamp) -> AgentRow {
        let percent = Percent::new(view.cpu, 95.0, 101.0);
        let tone = tone(view.health);
        let line = match (view.health, percent.grade) {
            (Health::Offline | Health::Inactive, _) => "off",
            (_, "md") => "warn",
            _ => "",
        };
        let labels = view.agent.all_labels().0;
        AgentRow {
            id: view.agent.id.to_string(),
            name: view.agent.name.to_string(),
            glyph: Markup::glyph(tone, view.health.word()),
            reason: view.reason.clone(),
            site: view.site().to_owned(),
            labels: labels.iter().filter(|(key, _)| *key != "site").take(3).map(label).collect(),
            address: view.address.clone().unwrap_or_else(|| "—".to_owned()),
            version: view.agent.version.clone(),
            spark: Markup(chart::sparkline(cpu, line, (88.0, 22.0), 25.0)),
            cpu: percent,
            memory: Percent::new(view.memory, 90.0, 97.0),
            disk: Percent::new(view.disk, 85.0, 95.0),
            seen: Markup::ago(view.last_seen, now),
        }
    }
}

/// A label as a tag shows it: `edge=true` is just `edge`.
pub(crate) fn label((key, value): (&String, &String)) -> String {
    if value == "true" { key.clone() } else { format!("{key}={value}") }
}

/// A view of the list.
#[derive(Clone, Debug)]
pub(crate) struct ListTab {
    /// What a person reads.
    pub title: &'static str,
    /// Where it leads.
    pub href: String,
    /// How many it shows.
    pub count: usize,
    /// Whether the count is alarming.
    pub hot: bool,
    /// Whether it is shown.
    pub current: bool,
}

/// A column that sorts.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// What a person reads.
    pub title: &'static str,
    /// Where it leads; empty when it does not sort.
    pub href: String,
    /// Whether the list is sorted by it.
    pub sorted: bool,
    /// Class of the cells.
    pub class: &'static str,
}

/// `/agents`.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/agents.html")]
pub(crate) struct AgentListPage {
    /// The frame.
    pub shell: Shell,
    /// Views.
    pub tabs: Vec<ListTab>,
    /// Columns.
    pub columns: Vec<Column>,
    /// The filter as typed.
    pub filter: String,
    /// The order.
    pub sort: String,
    /// What is wrong with the filter; empty when nothing is.
    pub error: String,
    /// The agents.
    pub rows: Vec<AgentRow>,
    /// The next page; empty on the last.
    pub next: String,
    /// Whether this is the first page.
    pub first: bool,
    /// Whether the person may enrol agents.
    pub may_enrol: bool,
    /// Whether the person may run tasks.
    pub may_run: bool,
}

/// The rows of `/agents`, live.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/_agent_rows.html")]
pub(crate) struct AgentRowsPart {
    /// The agents.
    pub rows: Vec<AgentRow>,
    /// Whether rows can be marked.
    pub may_run: bool,
}

/// Something that the palette can jump to.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    /// Where it leads.
    pub href: String,
    /// Its sign in the sprite.
    pub icon: &'static str,
    /// Its name.
    pub title: String,
    /// What it is.
    pub note: String,
}

/// Results of the palette.
#[derive(Clone, Debug, Template)]
#[template(path = "overview/palette.html")]
pub(crate) struct PalettePart {
    /// Where static files are.
    pub assets: String,
    /// Headings and hits.
    pub groups: Vec<(&'static str, Vec<Hit>)>,
}
