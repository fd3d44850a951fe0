//! The first screen: what burns, since when, what to press.

use std::collections::BTreeMap;

use askama::Template;

use super::views::{
    Attention, AttentionPart, Fleet, FleetPart, Home, OverviewPage, RecentPart, Saved, SavedPart, SiteMap,
    Tile, TilesPart, tone,
};
use crate::base::{Result, Span, Timestamp, limits};
use crate::capabilities::agents::{self, AgentView, Health, ops::Counts};
use crate::capabilities::backups;
use crate::capabilities::tasks::{self, TaskRow};
use crate::capabilities::telemetry::{self, EventRow};
use crate::kit::chart::{self, Cell};
use crate::kit::{Ctx, Markup, PageRequest, Reply, Shell, html, part, query};

/// Cells that are drawn; beyond this healthy agents are only counted.
const CELLS_MAX: usize = 2_000;
const ATTENTION_ROWS: usize = 6;
const RECENT_ROWS: usize = 6;
/// Beyond this age a copy elsewhere or a drill is worth a look.
const SAVED_AGE_MAX: Span = Span::from_days(2);

/// `/`.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    if !ctx.may_open("agents.read") {
        // Whose work is elsewhere begins there.
        let first = ctx.navigation().next();
        return Ok(Reply::Redirect(first.map_or("/account", |item| item.path).to_owned(), Vec::new()));
    }
    let views = worst_first(ctx)?;
    let counts = Counts::of(&views);
    html(&OverviewPage {
        shell: Shell::new(ctx, request, "Overview", "/").live("overview,fleet"),
        home: home(ctx, &views, counts)?,
        fleet: fleet(&views, counts),
        first: counts.total <= 1,
        may_enrol: ctx.actor.may("agents.invite"),
    })
}

/// Numbers, what burns and what happened.
pub(super) fn live(ctx: &Ctx<'_>, _: &str) -> Result<String> {
    let views = worst_first(ctx)?;
    let home = home(ctx, &views, Counts::of(&views))?;
    Ok([
        part("tiles", &TilesPart { home: &home }.render()?),
        part("attention", &AttentionPart { home: &home }.render()?),
        part("saved", &SavedPart { home: &home }.render()?),
        part("recent", &RecentPart { home: &home }.render()?),
    ]
    .concat())
}

/// The map, which changes seldom and is the larger part.
pub(super) fn fleet_live(ctx: &Ctx<'_>, _: &str) -> Result<String> {
    let views = worst_first(ctx)?;
    let fleet = fleet(&views, Counts::of(&views));
    Ok(part("fleet", &FleetPart { fleet: &fleet }.render()?))
}

/// Every agent, the worst first: the screen is about all of them, so they are looked at once.
fn worst_first(ctx: &Ctx<'_>) -> Result<Vec<AgentView>> {
    agents::ops::views(ctx, "", "health")
}

fn home(ctx: &Ctx<'_>, views: &[AgentView], counts: Counts) -> Result<Home> {
    let burns = |view: &&AgentView| !matches!(view.health, Health::Healthy | Health::Inactive);
    let burning = views.iter().filter(burns).take(ATTENTION_ROWS);
    let amiss = counts.critical + counts.warning + counts.offline;
    let attention = burning
        .map(|view| Attention {
            id: view.agent.id.to_string(),
            name: view.agent.name.to_string(),
            site: view.site().to_owned(),
            glyph: Markup::glyph(tone(view.health), view.health.word()),
            reason: view.reason.clone(),
            seen: Markup::ago(view.last_seen, ctx.now),
        })
        .collect::<Vec<_>>();
    let events = telemetry::ops::QueryEvents { limit: Some(RECENT_ROWS), ..Default::default() };
    let events = match ctx.actor.may("telemetry.read") {
        true => telemetry::ops::events(ctx, events)?.items,
        false => Vec::new(),
    };
    let recent = tasks::ops::ListTasks { limit: Some(RECENT_ROWS), ..Default::default() };
    let may_tasks = ctx.actor.may("tasks.read");
    let recent = if may_tasks { tasks::ops::list(ctx, recent)?.items } else { Vec::new() };
    let read = ctx.read()?;
    let row = |task: &tasks::Task| {
        let name = agents::named(&read, ctx.tenant, task.agent).unwrap_or_else(|_| task.agent.to_string());
        TaskRow::new(task, &name, ctx.now)
    };
    let open = tasks::ops::ListTasks {
        state: "open".into(),
        limit: Some(limits::PAGE_ROWS_MAX),
        ..Default::default()
    };
    let (open, more) = match may_tasks {
        true => tasks::ops::list(ctx, open).map(|page| (page.items.len(), page.next.is_some()))?,
        false => (0, false),
    };
    Ok(Home {
        tiles: tiles(counts, open, more),
        more: amiss.saturating_sub(attention.len()),
        saved: saved(ctx)?,
        attention,
        events: events.iter().map(|event| EventRow::of(event, ctx.now)).collect(),
        tasks: recent.iter().map(row).collect(),
    })
}

/// The last copy that left the building, and the last restore that was tried.
fn saved(ctx: &Ctx<'_>) -> Result<Vec<Saved>> {
    if !ctx.may_open("backups.read") {
        return Ok(Vec::new());
    }
    let overview = backups::ops::overview(ctx)?;
    let line = |tone, title, text: String, at: Option<Timestamp>| Saved {
        glyph: Markup::glyph(tone, tone),
        title,
        text,
        when: Markup::ago(at, ctx.now),
    };
    let old = |at: Timestamp| ctx.now.since(at) > SAVED_AGE_MAX;
    let left = overview.left_building;
    let (tone, text) = match (left, &overview.last) {
        (Some(at), _) if old(at) => ("warn", "it is some days old"),
        (Some(_), _) => ("ok", "with it the site comes back even if this machine is lost"),
        (None, Some(_)) => ("warn", "none yet: every backup is on this machine"),
        (None, None) => ("off", "none yet: there is no backup"),
    };
    let copy = line(tone, "Last copy that left the building", text.to_owned(), left);
    let title = "Last restore drill";
    let drill = match &overview.drill {
        None => line("off", title, "none yet".into(), None),
        Some(record) if !record.is_good() => {
            line("crit", title, record.drill.failure.clone(), Some(record.recorded))
        }
        Some(record) => {
            let seconds = record.drill.ready_ms as f64 / 1_000.0;
            let tone = if old(record.recorded) { "warn" } else { "ok" };
            line(tone, title, format!("the whole site was back in {seconds:.1} s"), Some(record.recorded))
        }
    };
    Ok(vec![copy, drill])
}

/// The numbers at the top.
fn tiles(counts: Counts, open: usize, more: bool) -> Vec<Tile> {
    let heard = counts.healthy + counts.warning + counts.critical;
    let plain = |href, title, number: usize, note: &str, tone| Tile {
        href,
        title,
        number: number.to_string(),
        unit: String::new(),
        note: note.to_owned(),
        tone,
        drawing: Markup::default(),
    };
    let bar = [
        ("ok", counts.healthy),
        ("warn", counts.warning),
        ("crit", counts.critical),
        ("maint", counts.inactive),
        ("off", counts.offline),
    ];
    let reporting = Tile {
        unit: format!("/ {}", counts.total),
        drawing: Markup(chart::segments(&bar)),
        ..plain(
            "/agents",
            "Agents reporting",
            heard,
            if heard == counts.total { "all of them" } else { "of those enrolled" },
            "",
        )
    };
    let (critical, warning) = (counts.critical, counts.warning);
    let mut tasks = plain(
        "/tasks?state=open",
        "Open tasks",
        open,
        if open == 0 { "nothing waits" } else { "waiting or running" },
        "",
    );
    if more {
        tasks.unit = "or more".into();
    }
    vec![
        reporting,
        plain(
            "/agents?filter=status%3Acritical",
            "Critical",
            critical,
            if critical == 0 { "none" } else { "act now" },
            if critical == 0 { "" } else { "bad" },
        ),
        plain(
            "/agents?filter=status%3Awarning",
            "Warning",
            warning,
            if warning == 0 { "none" } else { "look today" },
            "",
        ),
        plain(
            "/agents?filter=status%3Aoffline",
            "Offline",
            counts.offline,
            if counts.offline == 0 { "none" } else { "not heard for a minute" },
            "",
        ),
        tasks,
    ]
}

fn fleet(views: &[AgentView], counts: Counts) -> Fleet {
    let views = &views[..views.len().min(CELLS_MAX)];
    let hidden = counts.total.saturating_sub(views.len());
    let mut sites: BTreeMap<String, Vec<&AgentView>> = BTreeMap::new();
    for view in views {
        sites.entry(view.site().to_owned()).or_default().push(view);
    }
    let size = chart::cell_rows(&sites.values().map(Vec::len).collect::<Vec<_>>());
    let map = |(name, mut views): (String, Vec<&AgentView>)| {
        views.sort_by(|a, b| a.agent.name.as_str().cmp(b.agent.name.as_str()));
        let cells: Vec<Cell> = views
            .iter()
            .map(|view| Cell {
                href: format!("/agents/{}", view.agent.id),
                title: match view.reason.as_str() {
                    "" => format!("{}: {}", view.agent.name, view.health.word()),
                    reason => format!("{}: {}, {reason}", view.agent.name, view.health.word()),
                },
                tone: tone(view.health),
            })
            .collect();
        let title = if name.is_empty() { "No site".to_owned() } else { name.clone() };
        let silent = |v: &&&AgentView| matches!(v.health, Health::Offline | Health::Inactive);
        let heard = views.len() - views.iter().filter(silent).count();
        SiteMap {
            href: if name.is_empty() {
                "/agents".to_owned()
            } else {
                format!("/agents?{}", query(&[("filter", &format!("site:\"{name}\""))]))
            },
            map: Markup(chart::health_map(
                &format!("{title}: {} agents, {heard} heard", views.len()),
                &cells,
                size,
            )),
            name: title,
            heard,
            total: views.len(),
        }
    };
    Fleet {
        sites: sites.into_iter().map(map).collect(),
        legend: vec![
            ("ok", counts.healthy, "healthy"),
            ("warn", counts.warning, "warning"),
            ("crit", counts.critical, "critical"),
            ("off", counts.offline, "offline"),
            ("maint", counts.inactive, "inactive"),
        ],
        hidden,
    }
}
