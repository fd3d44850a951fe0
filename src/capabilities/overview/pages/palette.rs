//! The palette: pages, agents, tasks and commands, found by a few letters.

use super::views::{Hit, PalettePart, tone};
use crate::base::Result;
use crate::capabilities::{agents, tasks};
use crate::kit::guide::search;
use crate::kit::{Ctx, PageRequest, Reply, html, query};

const HITS: usize = 7;
const HELP_HITS: usize = 3;

/// `/palette?q=`: a fragment.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let asked: String = request.asked("q").chars().take(100).collect();
    let words = asked.to_lowercase();
    let mut groups = vec![
        ("Agents", found(ctx, &asked)?),
        ("Pages", pages(ctx, &words)),
        ("Commands", commands(ctx, &words)),
    ];
    if ctx.actor.may("tasks.read") {
        groups.push(("Tasks", recent(ctx, &words)?));
    }
    groups.push(("Help", help(ctx, &words)));
    groups.retain(|(_, hits)| !hits.is_empty());
    if words.is_empty() || !ctx.actor.may("tasks.read") {
        groups.retain(|(heading, _)| matches!(*heading, "Pages" | "Commands" | "Help"));
    }
    html(&PalettePart { assets: ctx.site.assets.clone(), groups })
}

fn hit(
    href: impl Into<String>,
    icon: &'static str,
    title: impl Into<String>,
    note: impl Into<String>,
) -> Hit {
    Hit { href: href.into(), icon, title: title.into(), note: note.into() }
}

/// Parts of guides that have the words, when there is enough of them. Of tenants nobody reads by chance while there is one.
fn help(ctx: &Ctx<'_>, words: &str) -> Vec<Hit> {
    if words.chars().count() < 3 {
        return Vec::new();
    }
    let shown = |href: &str| ctx.site.tenants.are_several() || !href.starts_with("/help/tenants");
    let hits = search(words, &[]).into_iter().filter(|found| shown(&found.href)).take(HELP_HITS);
    hits.map(|found| hit(found.href, "circle-help", found.heading.plain(), found.title)).collect()
}

/// Agents that match; what is no filter yet, while it is being typed, matches nothing.
fn found(ctx: &Ctx<'_>, asked: &str) -> Result<Vec<Hit>> {
    if asked.is_empty() || !ctx.actor.may("agents.read") {
        return Ok(Vec::new());
    }
    let wanted =
        agents::ops::ListAgents { filter: asked.to_owned(), limit: Some(HITS), ..Default::default() };
    let Ok(page) = agents::ops::list(ctx, wanted) else { return Ok(Vec::new()) };
    let icon = |view: &agents::AgentView| match tone(view.health) {
        "ok" => "server",
        "crit" => "octagon-alert",
        "warn" => "triangle-alert",
        _ => "circle-dashed",
    };
    let mut hits: Vec<Hit> = page
        .items
        .iter()
        .map(|view| {
            let note = [view.health.word(), view.site(), view.reason.as_str()];
            let note = note.into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>().join(" · ");
            hit(format!("/agents/{}", view.agent.id), icon(view), view.agent.name.as_str(), note)
        })
        .collect();
    if page.next.is_some() {
        let list = format!("/agents?{}", query(&[("filter", asked)]));
        hits.push(hit(list, "list-filter", "All that match", "the list of agents with this filter"));
    }
    Ok(hits)
}

fn pages(ctx: &Ctx<'_>, words: &str) -> Vec<Hit> {
    ctx.navigation()
        .filter(|item| item.title.to_lowercase().contains(words))
        .map(|item| hit(item.path, item.icon, item.title, item.group))
        .collect()
}

fn commands(ctx: &Ctx<'_>, words: &str) -> Vec<Hit> {
    [
        ("agents.invite", "/agents/new", "plus", "Enrol an agent", "make a one-time code"),
        ("agents.invite", "/agents/new?tab=device", "plug", "Connect a device", "any MQTT client"),
        ("tasks.create_many", "/tasks#new-card", "play", "New task", "for one agent or many"),
        (
            "agents.read",
            "/agents?filter=status%3Acritical%2Cwarning",
            "triangle-alert",
            "What needs attention",
            "agents with a reading beyond its bound",
        ),
    ]
    .into_iter()
    .filter(|(permission, _, _, title, _)| ctx.actor.may(permission) && title.to_lowercase().contains(words))
    .map(|(_, href, icon, title, note)| hit(href, icon, title, note))
    .collect()
}

fn recent(ctx: &Ctx<'_>, words: &str) -> Result<Vec<Hit>> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let page = tasks::ops::list(ctx, tasks::ops::ListTasks { limit: Some(200), ..Default::default() })?;
    let read = ctx.read()?;
    let hits = page.items.iter().filter_map(|task| {
        let agent = agents::named(&read, ctx.tenant, task.agent).unwrap_or_default();
        let matches = task.title().to_lowercase().contains(words) || task.id.to_string().contains(words);
        matches.then(|| {
            hit(
                format!("/tasks/{}", task.id),
                "workflow",
                task.title(),
                format!("{} on {agent}", task.state.word()),
            )
        })
    });
    Ok(hits.take(HITS).collect())
}
