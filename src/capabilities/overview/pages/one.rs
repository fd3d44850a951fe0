//! The page of one agent.

use std::collections::BTreeMap;

use askama::Template;

use super::agent::{
    AccessForm, AgentPage, Body, BodyPart, ChartCard, Choice, Head, HeadPart, LogRow, LogTail, Parts, TABS,
};
use crate::base::{AgentId, Error, Result, Span};
use crate::capabilities::agents::{self, AgentView};
use crate::capabilities::tasks::{self, TaskRow};
use crate::capabilities::telemetry::{self, EventRow, LogEntry, SeriesView};
use crate::kit::chart::{self, Chart, Line, Reading, Unit};
use crate::kit::{ById, Ctx, Markup, PageRequest, Reply, Shell, html, local, part, query};
use crate::wire::Severity;

const RANGES: [(&str, u64); 5] = [("15m", 15), ("1h", 60), ("6h", 360), ("24h", 1_440), ("7d", 10_080)];
const LEVELS: [(&str, &str, Option<Severity>); 4] = [
    ("All", "", None),
    ("Info +", "info", Some(Severity::Info)),
    ("Warn +", "warn", Some(Severity::Warn)),
    ("Error", "error", Some(Severity::Error)),
];
const POINTS: usize = 180;
const LINES: usize = 300;
const BUCKETS: usize = 80;

/// What the page is asked for; the live part's argument is the same, as a query string with the agent in `id`.
struct Asked {
    id: AgentId,
    tab: &'static str,
    range: &'static str,
    minutes: u64,
    severity: &'static str,
    least: Option<Severity>,
    words: String,
}

impl Asked {
    fn new(id: AgentId, values: &BTreeMap<String, String>) -> Asked {
        let get = |key: &str| values.get(key).map(|v| v.trim()).unwrap_or_default();
        let tab = TABS.into_iter().find(|(word, _)| *word == get("tab")).unwrap_or(TABS[0]).0;
        let (range, minutes) =
            RANGES.into_iter().find(|(word, _)| *word == get("range")).unwrap_or(RANGES[1]);
        let (_, severity, least) =
            LEVELS.into_iter().find(|(_, word, _)| *word == get("severity")).unwrap_or(LEVELS[0]);
        Asked { id, tab, range, minutes, severity, least, words: get("words").to_owned() }
    }

    fn href(&self, tab: &str, range: &str, severity: &str) -> String {
        let said = query(&[("tab", tab), ("range", range), ("severity", severity), ("words", &self.words)]);
        format!("/agents/{}?{said}", self.id)
    }
}

/// `/agents/{id}`.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let asked = Asked::new(request.param("id")?, &request.query);
    let view = agents::ops::find_view(ctx, ById { id: asked.id })?;
    agents::watch(ctx, asked.id);
    let topic = query(&[
        ("id", &asked.id.to_string()),
        ("tab", asked.tab),
        ("range", asked.range),
        ("severity", asked.severity),
        ("words", &asked.words),
    ]);
    let ranged = matches!(asked.tab, "overview" | "metrics" | "logs");
    let range = |(word, _)| Choice {
        title: word,
        href: asked.href(asked.tab, word, asked.severity),
        current: word == asked.range,
    };
    html(&AgentPage {
        shell: Shell::new(ctx, request, view.agent.name.to_string(), "/agents")
            .live(format!("agent:{topic}")),
        head: Head::new(&view, ctx.now),
        tabs: TABS
            .map(|(word, title)| Choice {
                title,
                href: format!("/agents/{}?{}", asked.id, query(&[("tab", word), ("range", asked.range)])),
                current: word == asked.tab,
            })
            .into(),
        ranges: if ranged { RANGES.map(range).into() } else { Vec::new() },
        body: body(ctx, &asked, &view)?,
        may_run: ctx.actor.may("tasks.create"),
        may_approve: ctx.actor.may("agents.approve"),
    })
}

/// Head and tab. Looking keeps the agent reporting every second.
pub(super) fn live(ctx: &Ctx<'_>, argument: &str) -> Result<String> {
    let values: BTreeMap<String, String> = serde_urlencoded::from_str(argument)
        .map_err(|_| Error::invalid("the live topic of an agent is not a query string"))?;
    let id: AgentId = values.get("id").map(String::as_str).unwrap_or_default().parse()?;
    let asked = Asked::new(id, &values);
    let view = agents::ops::find_view(ctx, ById { id })?;
    agents::watch(ctx, id);
    let head = Head::new(&view, ctx.now);
    let mut out = part("agent-head", &HeadPart { head: &head }.render()?);
    if !matches!(asked.tab, "access" | "inventory") {
        let body = body(ctx, &asked, &view)?;
        let html = BodyPart { body: &body, head: &head, assets: &ctx.site.assets }.render()?;
        out.push_str(&part("agent-body", &html));
    }
    Ok(out)
}

fn body(ctx: &Ctx<'_>, asked: &Asked, view: &AgentView) -> Result<Body> {
    let events = |limit| -> Result<Vec<EventRow>> {
        if !ctx.actor.may("telemetry.read") {
            return Ok(Vec::new());
        }
        let asked =
            telemetry::ops::QueryEvents { agent: Some(asked.id), limit: Some(limit), ..Default::default() };
        Ok(telemetry::ops::events(ctx, asked)?
            .items
            .iter()
            .map(|event| EventRow::of(event, ctx.now))
            .collect())
    };
    let tasks = |limit| -> Result<Vec<TaskRow>> {
        if !ctx.actor.may("tasks.read") {
            return Ok(Vec::new());
        }
        let asked = tasks::ops::ListTasks { agent: Some(asked.id), limit: Some(limit), ..Default::default() };
        let name = view.agent.name.as_str();
        Ok(tasks::ops::list(ctx, asked)?.items.iter().map(|task| TaskRow::new(task, name, ctx.now)).collect())
    };
    Ok(match asked.tab {
        "metrics" => Body::Metrics { charts: every(ctx, asked)? },
        "logs" => Body::Logs(tail(ctx, asked)?),
        "events" => Body::Events(events(100)?),
        "tasks" => Body::Tasks(tasks(100)?),
        "inventory" => Body::Inventory(Parts::new(&view.agent.inventory, &view.agent.hostname)),
        "access" => Body::Access(AccessForm::new(view, ctx.actor.may("agents.change"))),
        _ if !ctx.actor.may("telemetry.read") => {
            Body::Overview { charts: Vec::new(), events: Vec::new(), tasks: tasks(5)? }
        }
        _ => Body::Overview { charts: vital(ctx, asked, view)?, events: events(5)?, tasks: tasks(5)? },
    })
}

/// A chart of these series; the text is what the line is called.
fn chart(
    ctx: &Ctx<'_>,
    asked: &Asked,
    title: &str,
    of: String,
    series: &[(String, String)],
    threshold: Option<f64>,
) -> Result<ChartCard> {
    let from = ctx.now - Span::from_minutes(asked.minutes);
    let mut lines: Vec<(&str, Vec<Reading>)> = Vec::new();
    for (name, called) in series.iter().take(chart::SERIES.len()) {
        let wanted = telemetry::ops::QuerySeries {
            agent: asked.id,
            name: name.clone(),
            from: Some(from),
            to: Some(ctx.now),
            points: Some(POINTS),
        };
        let points = telemetry::ops::query(ctx, wanted)?;
        let reading =
            |p: &telemetry::ops::Point| Reading { at: p.at, value: p.mean, low: p.min, high: p.max };
        lines.push((called, points.iter().map(reading).collect()));
    }
    let width = Span::from_minutes(asked.minutes).milliseconds() / POINTS as u64;
    let chart = Chart {
        label: title,
        from,
        to: ctx.now,
        unit: series.first().map(|(name, _)| Unit::of(name)).unwrap_or_default(),
        lines: lines.iter().map(|(name, readings)| Line { name, readings }).collect(),
        threshold,
        // Two and a half points, and at least what devices that send once a minute need: one that is missing is not
        // a gap yet.
        gap: Span::from_milliseconds((width * 5 / 2).max(90_000)),
    };
    Ok(ChartCard::new(title, of, &chart))
}

/// The charts of the first tab.
fn vital(ctx: &Ctx<'_>, asked: &Asked, view: &AgentView) -> Result<Vec<ChartCard>> {
    let known = telemetry::ops::names(ctx, ById { id: asked.id })?;
    let named = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let known = |(name, _): &&(&str, &str)| known.iter().any(|series| series.name == *name);
        pairs.iter().filter(known).map(|(name, called)| ((*name).to_owned(), (*called).to_owned())).collect()
    };
    let cpu = named(&[("cpu.usage_percent", "used"), ("cpu.wait_percent", "waiting")]);
    let memory = named(&[("memory.used_percent", "used")]);
    let load = named(&[("load.1", "1 min"), ("load.5", "5 min"), ("load.15", "15 min")]);
    let of_memory = match view.agent.inventory.memory_bytes {
        0 => String::new(),
        bytes => format!("of {}", Unit::Bytes.text(bytes as f64)),
    };
    let (disks, network) = (instances(&known, "disk.used_percent"), traffic(&known));
    let mut charts = Vec::new();
    for (title, of, series, threshold) in [
        ("CPU", String::new(), cpu, Some(95.0)),
        ("Memory", of_memory, memory, Some(90.0)),
        ("Disks", String::new(), disks, Some(95.0)),
        ("Network", String::new(), network, None),
        ("Load", String::new(), load, None),
    ] {
        if !series.is_empty() {
            charts.push(chart(ctx, asked, title, of, &series, threshold)?);
        }
    }
    if charts.is_empty() {
        return every(ctx, asked);
    }
    Ok(charts)
}

/// The series of one name, called by their instance.
fn instances(known: &[SeriesView], name: &str) -> Vec<(String, String)> {
    known
        .iter()
        .filter_map(|series| {
            let (base, instance) = crate::wire::metrics::split(&series.name);
            (base == name)
                .then(|| (series.name.clone(), if instance.is_empty() { name } else { instance }.to_owned()))
        })
        .collect()
}

/// In and out of the busiest interfaces; `lo` talks only to itself.
fn traffic(known: &[SeriesView]) -> Vec<(String, String)> {
    let mut busy: Vec<&SeriesView> = known
        .iter()
        .filter(|series| {
            series.name.starts_with("network.received_bytes_per_second{") && !series.name.contains("{lo}")
        })
        .collect();
    busy.sort_by(|a, b| b.value.total_cmp(&a.value));
    busy.into_iter()
        .take(2)
        .flat_map(|series| {
            let instance = crate::wire::metrics::split(&series.name).1;
            let sent = series.name.replacen("received", "sent", 1);
            [(series.name.clone(), format!("{instance} in")), (sent, format!("{instance} out"))]
        })
        .collect()
}

/// One chart for each name.
fn every(ctx: &Ctx<'_>, asked: &Asked) -> Result<Vec<ChartCard>> {
    const CHARTS_MAX: usize = 60;
    let known = telemetry::ops::names(ctx, ById { id: asked.id })?;
    let mut names: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for series in &known {
        let (base, instance) = crate::wire::metrics::split(&series.name);
        let called = if instance.is_empty() { base } else { instance };
        names.entry(base).or_default().push((series.name.clone(), called.to_owned()));
    }
    names
        .into_iter()
        .take(CHARTS_MAX)
        .map(|(name, series)| {
            let of = match series.len() {
                0..=5 => String::new(),
                n => format!("5 of {n}"),
            };
            chart(ctx, asked, name, of, &series, None)
        })
        .collect()
}

fn tail(ctx: &Ctx<'_>, asked: &Asked) -> Result<LogTail> {
    let from = ctx.now - Span::from_minutes(asked.minutes);
    let wanted = telemetry::ops::QueryLogs {
        agent: asked.id,
        from: Some(from),
        to: None,
        severity: asked.least,
        words: asked.words.clone(),
        limit: Some(LINES),
    };
    let lines = telemetry::ops::logs(ctx, wanted)?;
    let edge =
        |entry: Option<&LogEntry>| entry.map_or_else(String::new, |e| local(e.at, "%d %b %H:%M:%S %Z"));
    Ok(LogTail {
        levels: LEVELS
            .map(|(title, word, _)| Choice {
                title,
                href: asked.href("logs", asked.range, word),
                current: word == asked.severity,
            })
            .into(),
        words: asked.words.clone(),
        severity: asked.severity.to_owned(),
        histogram: Markup(chart::histogram(&buckets(&lines))),
        span: (edge(lines.first()), edge(lines.last())),
        rows: lines.iter().rev().map(LogRow::new).collect(),
    })
}

/// How many ordinary lines, warnings and errors each stretch of time has.
fn buckets(lines: &[LogEntry]) -> Vec<(u32, u32, u32)> {
    let mut buckets = vec![(0, 0, 0); BUCKETS];
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return buckets };
    let width = last.at.since(first.at).milliseconds() / BUCKETS as u64 + 1;
    for line in lines {
        let place = (line.at.since(first.at).milliseconds() / width) as usize;
        let bucket = &mut buckets[place.min(BUCKETS - 1)];
        match telemetry::tone(line.severity) {
            "crit" => bucket.2 += 1,
            "warn" => bucket.1 += 1,
            _ => bucket.0 += 1,
        }
    }
    buckets
}
