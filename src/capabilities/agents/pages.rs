//! Pages of enrolment, and the forms that change one agent. Lists and the agent's own page show other capabilities
//! too, so they stand in `overview`.

use super::State;
use super::ops::{self, ChangeAgent, CreateDevice, CreateJoinCode, JoinCodeView, Quarantine};
use crate::base::{AgentId, Error, Kind, Labels, Name, Result};
use crate::kit::{ById, Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, html, part, told};
use askama::Template;

mod views;

use views::{AgentNewPage, CodeRow, NewCode, NewDevice, Wait, WaitPart};

/// Routes and live parts.
pub(crate) fn register(pages: &mut Pages) {
    pages.get("/agents/new", new);
    pages.post("/agents/new", create);
    pages.post("/agents/{id}/change", change);
    pages.post("/agents/{id}/approve", approve);
    pages.post("/agents/{id}/quarantine", quarantine);
    pages.post("/agents/{id}/retire", retire);
    pages.live("join", wait_live);
}

fn tab(word: &str) -> &'static str {
    match word {
        "offline" => "offline",
        "device" => "device",
        _ => "host",
    }
}

fn page(ctx: &Ctx<'_>, request: &PageRequest, tab: &'static str) -> Result<AgentNewPage> {
    Ok(AgentNewPage {
        shell: Shell::new(ctx, request, "Enrol an agent", "/agents"),
        tab,
        code: None,
        device: None,
        wait: Wait::Open,
        codes: codes(ctx)?,
        error: String::new(),
        labels: request.field("labels").to_owned(),
        name: request.field("name").to_owned(),
    })
}

fn new(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    ctx.sight("agents.invite")?;
    html(&page(ctx, request, tab(request.asked("tab")))?)
}

/// The answer is the page itself, not a redirect: what it shows is secret, and is shown once.
fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let tab = tab(request.field("tab"));
    let made = if tab == "device" { device(ctx, request) } else { code(ctx, request) };
    let mut page = page(ctx, request, tab)?;
    match made {
        Ok(Made::Code(code)) => {
            page.shell = page.shell.live(format!("join:{}", code.id));
            page.code = Some(code);
        }
        Ok(Made::Device(device)) => page.device = Some(device),
        Err(error) if error.kind() == Kind::Invalid => {
            page.error = match error.hint_text() {
                Some(hint) => format!("{}; {hint}", error.message()),
                None => error.message().to_owned(),
            };
            return Ok(Reply::Html(422, page.render()?));
        }
        Err(error) => return Err(error),
    }
    html(&page)
}

enum Made {
    Code(NewCode),
    Device(NewDevice),
}

fn code(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Made> {
    let minutes = match request.field("minutes") {
        "" => None,
        text => Some(text.parse().map_err(|_| Error::invalid("the minutes are not a number"))?),
    };
    let input = CreateJoinCode {
        labels: Labels::parse(request.field("labels"))?,
        minutes,
        approval: request.field("approval") == "true",
    };
    let made = ops::join_code_create(ctx, input)?;
    Ok(Made::Code(NewCode {
        id: made.id,
        command: made.command,
        code: made.code,
        gate: made.gate,
        fingerprint: made.fingerprint,
        expires: Markup::at(Some(made.expires)),
    }))
}

fn device(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Made> {
    let name: Name = request.field("name").parse()?;
    let input = CreateDevice { name: name.clone(), labels: Labels::parse(request.field("labels"))? };
    let made = ops::device_create(ctx, input)?;
    let (host, port) = made.gate.rsplit_once(':').unwrap_or((&made.gate, "8883"));
    Ok(Made::Device(NewDevice {
        id: made.id.to_string(),
        name: name.to_string(),
        secret: made.secret,
        host: host.to_owned(),
        port: port.to_owned(),
        topic_prefix: made.topic_prefix,
        gate: made.gate,
    }))
}

fn codes(ctx: &Ctx<'_>) -> Result<Vec<CodeRow>> {
    let row = |code: JoinCodeView| {
        let (word, tone) = match code.used_by {
            Some(_) => ("used", "ok"),
            None if code.expires <= ctx.now => ("expired", ""),
            None => ("open", "accent"),
        };
        CodeRow {
            short: code.id.chars().take(8).collect(),
            labels: code.labels.0.iter().map(|(k, v)| format!("{k}={v}")).collect(),
            word,
            tone,
            expires: Markup::at(Some(code.expires)),
            agent: code.used_by.map(|id| id.to_string()).unwrap_or_default(),
            approval: code.approval,
        }
    };
    Ok(ops::join_codes(ctx, Nothing {})?.items.into_iter().take(12).map(row).collect())
}

/// Shows the new agent as soon as it has used the code.
fn wait_live(ctx: &Ctx<'_>, code: &str) -> Result<String> {
    let codes = ops::join_codes(ctx, Nothing {})?.items;
    let code = codes.into_iter().find(|c| c.id == code).ok_or_else(|| Error::not_found("join code", code))?;
    let wait = match code.used_by {
        Some(id) => {
            let view = ops::find_view(ctx, ById { id })?;
            let facts = [view.agent.inventory.os.as_str(), view.address.as_deref().unwrap_or_default()];
            Wait::Arrived {
                id: id.to_string(),
                name: view.agent.name.to_string(),
                pending: matches!(view.agent.state, State::Pending { .. }),
                facts: facts.into_iter().filter(|f| !f.is_empty()).collect::<Vec<_>>().join(" · "),
            }
        }
        None if code.expires <= ctx.now => Wait::Expired,
        None => Wait::Open,
    };
    Ok(part("join-wait", &WaitPart { wait }.render()?))
}

fn access(id: AgentId) -> String {
    format!("/agents/{id}?tab=access")
}

fn change(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: AgentId = request.param("id")?;
    let changed = || {
        let input = ChangeAgent {
            id,
            name: Some(request.field("name").parse()?),
            labels: Some(Labels::parse(request.field("labels"))?),
        };
        ops::change(ctx, input).map(|agent| format!("Saved `{}`", agent.name))
    };
    told(&access(id), changed())
}

fn approve(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: AgentId = request.param("id")?;
    told(&access(id), ops::approve(ctx, ById { id }).map(|agent| format!("`{}` is let in", agent.name)))
}

fn quarantine(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: AgentId = request.param("id")?;
    let input = Quarantine { id, reason: request.field("reason").to_owned() };
    told(&access(id), ops::quarantine(ctx, input).map(|agent| format!("`{}` is shut out", agent.name)))
}

/// The name is typed, because nothing brings a retired agent back.
fn retire(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: AgentId = request.param("id")?;
    let view = ops::find_view(ctx, ById { id })?;
    if request.field("confirm") != view.agent.name.as_str() {
        let wrong = Error::invalid("the name typed is not the agent's name");
        return told(&access(id), Err(wrong.hint(format!("type `{}` to retire it", view.agent.name))));
    }
    told("/agents", ops::retire(ctx, ById { id }).map(|agent| format!("`{}` is retired", agent.name)))
}
