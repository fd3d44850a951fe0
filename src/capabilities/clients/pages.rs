//! The page of the site's MQTT clients.

use askama::Template;

use super::ops::{self, ClientById, ClientCreated, ClientView, CreateClient};
use crate::base::{Kind, Result};
use crate::kit::{Ctx, Nothing, PageRequest, Reply, Shell};
use crate::wire::VERSION;

#[derive(Template)]
#[template(path = "clients/list.html")]
struct ClientListPage {
    shell: Shell,
    clients: Vec<Row>,
    may_change: bool,
    made: Option<ClientCreated>,
    id: String,
    publish: String,
    subscribe: String,
    error: String,
    observe: String,
}

struct Row {
    client: ClientView,
    publish: String,
    subscribe: String,
}

fn page(ctx: &Ctx<'_>, request: &PageRequest, made: Option<ClientCreated>, error: String) -> Result<String> {
    let row = |client: ClientView| Row {
        publish: client.publish.join(", "),
        subscribe: client.subscribe.join(", "),
        client,
    };
    let kept = |name: &str| if made.is_some() { String::new() } else { request.field(name).to_owned() };
    let page = ClientListPage {
        shell: Shell::new(ctx, request, "MQTT clients", "/clients"),
        clients: ops::list(ctx, Nothing {})?.items.into_iter().map(row).collect(),
        may_change: ctx.actor.may("clients.create"),
        id: kept("id"),
        publish: kept("publish"),
        subscribe: kept("subscribe"),
        made,
        error,
        observe: format!("muster/{VERSION}/{}/+/up/#", ctx.tenant),
    };
    Ok(page.render()?)
}

/// Shows them.
pub(super) fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    Ok(Reply::Html(200, page(ctx, request, None, String::new())?))
}

/// Takes the form; the answer shows the secret, once.
pub(super) fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let filters = |name: &str| {
        request
            .field(name)
            .split([',', '\n'])
            .map(str::trim)
            .filter(|f| !f.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let input = CreateClient {
        id: request.field("id").to_owned(),
        publish: filters("publish"),
        subscribe: filters("subscribe"),
    };
    match ops::create(ctx, input) {
        Ok(made) => Ok(Reply::Html(200, page(ctx, request, Some(made), String::new())?)),
        Err(e) if matches!(e.kind(), Kind::Invalid | Kind::Conflict | Kind::TooMany) => {
            let error = format!("{}; {}", e.message(), e.hint_text().unwrap_or_default());
            Ok(Reply::Html(e.kind().status(), page(ctx, request, None, error)?))
        }
        Err(e) => Err(e),
    }
}

/// Removes one.
pub(super) fn remove(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    ops::remove(ctx, ClientById { id: request.params.get("id").cloned().unwrap_or_default() })?;
    Ok(Reply::Redirect("/clients?flash=ok:The+client+is+removed+and+cut+off".into(), Vec::new()))
}
