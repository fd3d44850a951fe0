//! Pages of telemetry: events. Charts and logs of one agent stand on the agent's page.

use askama::Template;

use super::EventView;
use super::ops::{self, QueryEvents};
use crate::base::{AgentId, Result, Timestamp};
use crate::capabilities::agents;
use crate::kit::{Ctx, PageRequest, Pages, Reply, Shell, html, part, query};

mod views;

use views::{EventListPage, EventRowsPart};
pub use views::{EventRow, tone, word};

/// Routes and live parts.
pub(crate) fn register(pages: &mut Pages) {
    pages.get("/events", list);
    pages.live("events", list_live);
}

const ROWS: usize = 50;

impl EventRow {
    /// The row of an event as operations give it.
    pub fn of(event: &EventView, now: Timestamp) -> EventRow {
        let agent = (event.agent.to_string(), event.agent_name.clone());
        EventRow::new(agent, event.severity, &event.name, &event.text, event.at, now)
    }
}

fn asked(agent: Option<AgentId>, after: Option<String>) -> QueryEvents {
    QueryEvents { agent, filter: String::new(), after, limit: Some(ROWS) }
}

fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let agent: Option<AgentId> = match request.asked("agent") {
        "" => None,
        id => Some(id.parse()?),
    };
    let after = Some(request.asked("after").to_owned()).filter(|after| !after.is_empty());
    let first = after.is_none();
    let id = agent.map(|id| id.to_string()).unwrap_or_default();
    let page = ops::events(ctx, asked(agent, after))?;
    let mut shell = Shell::new(ctx, request, "Events", "/events");
    if first {
        shell = shell.live(if id.is_empty() { "events".to_owned() } else { format!("events:{id}") });
    }
    html(&EventListPage {
        shell,
        events: page.items.iter().map(|event| EventRow::of(event, ctx.now)).collect(),
        agent: match agent {
            Some(id) => agents::named(&ctx.read()?, ctx.tenant, id)?,
            None => String::new(),
        },
        next: page.next.map_or_else(String::new, |after| {
            format!("/events?{}", query(&[("agent", &id), ("after", &after)]))
        }),
    })
}

fn list_live(ctx: &Ctx<'_>, agent: &str) -> Result<String> {
    let agent = if agent.is_empty() { None } else { Some(agent.parse()?) };
    let page = ops::events(ctx, asked(agent, None))?;
    if page.items.is_empty() {
        return Ok(String::new());
    }
    let events = page.items.iter().map(|event| EventRow::of(event, ctx.now)).collect();
    Ok(part("event-rows", &EventRowsPart { events }.render()?))
}
