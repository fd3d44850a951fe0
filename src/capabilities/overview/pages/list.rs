//! The list of agents: views, filter, order, pages, and what to do with the marked ones.

use std::collections::BTreeMap;

use askama::Template;

use super::views::{AgentListPage, AgentRow, AgentRowsPart, Column, ListTab};
use crate::base::{Error, Kind, Page, Result};
use crate::capabilities::agents::{self, AgentView, ListAgents};
use crate::capabilities::telemetry;
use crate::kit::{Ctx, Nothing, PageRequest, Reply, Shell, html, part, query};

const ROWS: usize = 50;
const AMISS: &str = "status:critical,warning";
const OFFLINE: &str = "status:offline";
const WAITING: &str = "state:pending,quarantined";

fn asked(values: &BTreeMap<String, String>) -> ListAgents {
    let get = |key: &str| values.get(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    ListAgents {
        filter: get("filter").unwrap_or_default(),
        sort: get("sort").unwrap_or_else(|| "health".to_owned()),
        after: get("after"),
        limit: Some(ROWS),
    }
}

fn rows(ctx: &Ctx<'_>, views: &[AgentView]) -> Result<Vec<AgentRow>> {
    views
        .iter()
        .map(|view| {
            let cpu = telemetry::sparkline(ctx, view.agent.id, "cpu.usage_percent")?;
            Ok(AgentRow::new(view, &cpu, ctx.now))
        })
        .collect()
}

/// `/agents`.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let input = asked(&request.query);
    let (filter, sort, first) = (input.filter.clone(), input.sort.clone(), input.after.is_none());
    let after = input.after.clone().unwrap_or_default();
    let (page, error) = match agents::ops::list(ctx, input) {
        Ok(page) => (page, None),
        Err(error) if error.kind() == Kind::Invalid => (Page { items: Vec::new(), next: None }, Some(error)),
        Err(error) => return Err(error),
    };
    let counts = agents::ops::counts(ctx, Nothing {})?;
    let tab = |title, wanted: &str, count, hot| ListTab {
        title,
        href: if wanted.is_empty() {
            "/agents".to_owned()
        } else {
            format!("/agents?{}", query(&[("filter", wanted)]))
        },
        count,
        hot: hot && count > 0,
        current: filter == wanted,
    };
    let live = query(&[("filter", &filter), ("sort", &sort), ("after", &after)]);
    let mut shell = Shell::new(ctx, request, "Agents", "/agents");
    if error.is_none() {
        shell = shell.live(format!("agents:{live}"));
    }
    let rendered = AgentListPage {
        shell,
        tabs: vec![
            tab("All", "", counts.total, false),
            tab("Needs attention", AMISS, counts.critical + counts.warning, true),
            tab("Offline", OFFLINE, counts.offline, false),
            tab("Waiting", WAITING, counts.inactive, true),
        ],
        columns: columns(&filter, &sort),
        error: error.as_ref().map(said).unwrap_or_default(),
        rows: rows(ctx, &page.items)?,
        next: page.next.map_or_else(String::new, |after| {
            format!("/agents?{}", query(&[("filter", &filter), ("sort", &sort), ("after", &after)]))
        }),
        filter,
        sort,
        first,
        may_enrol: ctx.actor.may("agents.invite"),
        may_run: ctx.actor.may("tasks.create"),
    };
    if error.is_some() { Ok(Reply::Html(422, rendered.render()?)) } else { html(&rendered) }
}

fn said(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

fn columns(filter: &str, sort: &str) -> Vec<Column> {
    [
        ("Agent", "name", ""),
        ("Site", "", "opt"),
        ("Labels", "", "opt2"),
        ("CPU, 1 h", "cpu", ""),
        ("Memory", "memory", ""),
        ("Disk", "disk", "opt"),
        ("Version", "", "opt2"),
        ("Address", "", "opt2"),
        ("Heard", "seen", "r"),
    ]
    .map(|(title, key, class)| Column {
        title,
        href: if key.is_empty() {
            String::new()
        } else {
            format!("/agents?{}", query(&[("filter", filter), ("sort", key)]))
        },
        sorted: !key.is_empty() && key == sort,
        class,
    })
    .into()
}

/// The rows that are on the screen.
pub(super) fn live(ctx: &Ctx<'_>, argument: &str) -> Result<String> {
    let values: BTreeMap<String, String> = serde_urlencoded::from_str(argument)
        .map_err(|_| Error::invalid("the live topic of agents is not a query string"))?;
    let page = agents::ops::list(ctx, asked(&values))?;
    if page.items.is_empty() {
        return Ok(String::new());
    }
    let rows = AgentRowsPart { rows: rows(ctx, &page.items)?, may_run: ctx.actor.may("tasks.create") };
    Ok(part("agent-rows", &rows.render()?))
}
