//! Operations on telemetry.

use serde::{Deserialize, Serialize};

use super::model::{self, EventView, LogEntry};
use super::store::{self, EVENTS, EventKey};
use crate::base::{AgentId, Error, Page, Result, Selector, Span, Subject, Timestamp, limits};
use crate::capabilities::agents;
use crate::engine::store::Read;
use crate::kit::{ById, Ctx, Ops};
use crate::wire::Severity;

/// Points of a query when the caller names no number.
const POINTS_DEFAULT: usize = 300;
/// Points of a query.
const POINTS_MAX: usize = 2_000;

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get(
        "telemetry.query",
        "/agents/{agent}/metrics/query",
        "Reads one series of an agent, in points of equal width.",
        query,
    );
    ops.get(
        "telemetry.names",
        "/agents/{id}/metrics",
        "Lists an agent's series with their last values.",
        names,
    );
    ops.get("telemetry.logs", "/agents/{agent}/logs", "Reads an agent's log lines, oldest first.", logs);
    ops.costs(5);
    ops.get("telemetry.events", "/events", "Lists events, newest first.", events);
}

/// Which samples.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct QuerySeries {
    /// Of which agent.
    pub agent: AgentId,
    /// Which series, for example `cpu.usage_percent` or `disk.used_percent{/var}`.
    pub name: String,
    /// From when; an hour ago when absent.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Until when; now when absent.
    #[serde(default)]
    pub to: Option<Timestamp>,
    /// Points at most.
    #[serde(default)]
    pub points: Option<usize>,
}

/// The samples of one stretch of time.
#[derive(Clone, Copy, Debug, Serialize, schemars::JsonSchema)]
pub struct Point {
    /// Where the stretch begins.
    pub at: Timestamp,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Last.
    pub last: f64,
}

/// Reads one series.
pub fn query(ctx: &Ctx<'_>, input: QuerySeries) -> Result<Vec<Point>> {
    agents::seen(ctx, "telemetry.read", input.agent)?;
    let to = input.to.unwrap_or(ctx.now);
    let from = input.from.unwrap_or(to - Span::from_hours(1));
    if from >= to {
        return Err(Error::invalid("`from` is not before `to`").hint("swap them"));
    }
    let points = input.points.unwrap_or(POINTS_DEFAULT).clamp(1, POINTS_MAX);
    let points = ctx.site.series.query(input.agent.bits(), &input.name, from, to, points)?;
    Ok(points
        .into_iter()
        .map(|p| Point { at: p.at, min: p.min, max: p.max, mean: p.mean, last: p.last })
        .collect())
}

/// One series and its last value.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct SeriesView {
    /// Name, with its instance in braces.
    pub name: String,
    /// When it was last sampled.
    pub at: Timestamp,
    /// The value then.
    pub value: f64,
}

/// Lists an agent's series.
pub fn names(ctx: &Ctx<'_>, input: ById<crate::base::kind::Agent>) -> Result<Vec<SeriesView>> {
    agents::seen(ctx, "telemetry.read", input.id)?;
    let latest = ctx.site.series.latest_all(input.id.bits());
    let mut views: Vec<SeriesView> = latest
        .into_iter()
        .map(|(name, at, value)| SeriesView { name: name.to_string(), at, value })
        .collect();
    views.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(views)
}

/// The last hour of a series in a few dozen numbers, for a list's row.
pub fn sparkline(ctx: &Ctx<'_>, agent: AgentId, name: &str) -> Result<Vec<f64>> {
    let points = ctx.site.series.query(agent.bits(), name, ctx.now - Span::from_hours(1), ctx.now, 40)?;
    Ok(points.into_iter().map(|point| point.mean).collect())
}

/// Which lines.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct QueryLogs {
    /// Of which agent.
    pub agent: AgentId,
    /// From when.
    #[serde(default)]
    pub from: Option<Timestamp>,
    /// Until when.
    #[serde(default)]
    pub to: Option<Timestamp>,
    /// This grave or graver.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Words that must occur.
    #[serde(default)]
    pub words: String,
    /// Lines at most.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Reads the newest lines that match, oldest first.
pub fn logs(ctx: &Ctx<'_>, input: QueryLogs) -> Result<Vec<LogEntry>> {
    agents::seen(ctx, "telemetry.read", input.agent)?;
    let limit = input.limit.unwrap_or(200).clamp(1, limits::PAGE_ROWS_MAX);
    let least = input.severity.map_or(0, model::level);
    let entries = ctx.site.logs.tail(input.agent.bits(), input.from, input.to, least, &input.words, limit)?;
    Ok(entries
        .into_iter()
        .map(|e| LogEntry {
            at: e.at,
            severity: model::severity(e.severity),
            source: e.origin,
            text: e.text,
            position: e.position,
        })
        .collect())
}

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct QueryEvents {
    /// Of one agent.
    pub agent: Option<AgentId>,
    /// Filter: `severity:error name:disk.full` and words.
    pub filter: String,
    /// Cursor of the page before.
    pub after: Option<String>,
    /// Rows of the page.
    pub limit: Option<usize>,
}

impl Subject for EventView {
    fn text(&self, key: &str) -> Vec<String> {
        match key {
            "severity" => vec![format!("{:?}", self.severity).to_lowercase()],
            "name" => vec![self.name.clone()],
            "agent" => vec![self.agent_name.clone(), self.agent.to_string()],
            _ => Vec::new(),
        }
    }
    fn number(&self, _: &str) -> Option<f64> {
        None
    }
    fn mentions(&self, word: &str) -> bool {
        [&self.name, &self.text, &self.agent_name].iter().any(|text| text.to_lowercase().contains(word))
    }
}

/// Lists events, newest first.
pub fn events(ctx: &Ctx<'_>, input: QueryEvents) -> Result<Page<EventView>> {
    let mut eyes = agents::Eyes::of(ctx, "telemetry.read")?;
    let selector = Selector::parse(&input.filter)?;
    let limit = input.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let first: EventKey = (ctx.tenant, Timestamp::from_milliseconds(i64::MIN), AgentId::from_bits(0), 0);
    let end = match input.after.as_deref() {
        None | Some("") => {
            (ctx.tenant, Timestamp::from_milliseconds(i64::MAX), AgentId::from_bits(u128::MAX), u64::MAX)
        }
        Some(text) => cursor(ctx, text)?,
    };
    let read = ctx.read()?;
    let rows = read.range_back(&EVENTS, first..end, store::SCAN_ROWS_MAX)?;
    let scanned_all = rows.len() < store::SCAN_ROWS_MAX;
    let (mut items, mut last) = (Vec::new(), None);
    for (key, event) in rows {
        last = Some(key);
        if input.agent.is_some_and(|agent| agent != key.2) || !eyes.see(ctx, &read, key.2)? {
            continue;
        }
        let view = store::shown(&read, key, event)?;
        if selector.matches(&view) {
            items.push(view);
        }
        if items.len() == limit {
            break;
        }
    }
    let more = items.len() == limit || !scanned_all;
    let next = last.filter(|_| more).map(|key| format!("{}.{}.{}", key.1.milliseconds(), key.2, key.3));
    Ok(Page { items, next })
}

fn cursor(ctx: &Ctx<'_>, text: &str) -> Result<EventKey> {
    let wrong = || Error::invalid("the cursor `after` is not valid").hint("take it from `next`");
    let mut parts = text.split('.');
    let at = parts.next().and_then(|t| t.parse::<i64>().ok()).ok_or_else(wrong)?;
    let agent = parts.next().and_then(|t| t.parse::<AgentId>().ok()).ok_or_else(wrong)?;
    let number = parts.next().and_then(|t| t.parse::<u64>().ok()).ok_or_else(wrong)?;
    Ok((ctx.tenant, Timestamp::from_milliseconds(at), agent, number))
}
