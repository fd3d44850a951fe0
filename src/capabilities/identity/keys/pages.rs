//! Pages of API keys: all of them and a form for one more, and one with what can be done to it.

use askama::Template;

use super::families::{self, FamilyEnded, FamilyView};
use super::ops::{self, KeyChanged, KeyChosen, KeyRotated};
use crate::base::{Error, KeyId, Network, Result};
use crate::capabilities::identity::door::pages::explain;
use crate::capabilities::identity::model::KeyView;
use crate::capabilities::identity::pages::shown;
use crate::capabilities::identity::{label, roles};
use crate::kit::{ById, Ctx, Nothing, PageRequest, Pages, Reply, Shell, told};

/// Adds the routes.
pub(crate) fn routes(pages: &mut Pages) {
    pages.get("/people/keys", list);
    pages.post("/people/keys", create);
    pages.get("/people/keys/{id}", one);
    pages.post("/people/keys/{id}/change", change);
    pages.post("/people/keys/{id}/rotate", rotate);
    pages.post("/people/keys/{id}/settle", settle);
    pages.post("/people/keys/{id}/families/end", end_families);
    pages.post("/people/keys/{id}/revoke", revoke);
}

/// What stands in the form.
struct Typed {
    name: String,
    role: String,
    scope: String,
    only: String,
    networks: String,
    days: String,
    error: String,
}

#[derive(Template)]
#[template(path = "identity/keys.html")]
struct KeyListPage {
    shell: Shell,
    keys: Vec<KeyView>,
    roles: Vec<String>,
    typed: Typed,
    may_create: bool,
}

#[derive(Template)]
#[template(path = "identity/key.html")]
struct KeyViewPage {
    shell: Shell,
    key: KeyView,
    /// Its narrowing and its networks, as text.
    only: String,
    networks: String,
    /// The text, once.
    text: String,
    error: String,
    token: String,
    /// Refresh tokens that are open.
    families: Vec<FamilyView>,
    may_change: bool,
}

fn named(ctx: &Ctx<'_>, key: &mut KeyView) -> Result<()> {
    if let Some(name) = label(&ctx.read()?, ctx.tenant, &key.created_by)? {
        key.created_by = name;
    }
    Ok(())
}

fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let typed = Typed {
        name: String::new(),
        role: "viewer".into(),
        scope: String::new(),
        only: String::new(),
        networks: String::new(),
        days: "365".into(),
        error: String::new(),
    };
    list_page(ctx, request, 200, typed)
}

fn list_page(ctx: &Ctx<'_>, request: &PageRequest, status: u16, typed: Typed) -> Result<Reply> {
    let mut keys = ops::list(ctx, Nothing {})?.items;
    keys.iter_mut().try_for_each(|key| named(ctx, key))?;
    keys.sort_by_key(|key| (key.state != "active", std::cmp::Reverse(key.created)));
    let page = KeyListPage {
        shell: Shell::new(ctx, request, "API keys", "/people"),
        keys,
        roles: roles::names(ctx)?,
        typed,
        may_create: ctx.actor.may("identity.key_create"),
    };
    Ok(Reply::Html(status, page.render()?))
}

/// Networks with spaces, commas or lines between them.
fn networks(text: &str) -> Result<Vec<Network>> {
    text.split([',', '\n', ' ', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::parse)
        .collect()
}

fn whole(text: &str, what: &str) -> Result<Option<u64>> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Error::invalid(format!("the number of {what} is not valid")).hint("a whole number, or nothing")
        }),
    }
}

fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let chosen = || -> Result<KeyChosen> {
        Ok(KeyChosen {
            name: request.field("name").parse()?,
            role: request.field("role").parse()?,
            scope: request.field("scope").parse()?,
            only: request.field("only").parse()?,
            networks: networks(request.field("networks"))?,
            days: whole(request.field("days"), "days")?,
        })
    };
    match chosen().and_then(|chosen| ops::create(ctx, chosen)) {
        Ok(made) => one_page(ctx, request, 200, made.key.id, made.text, String::new()),
        Err(error) => {
            let error = shown(ctx, error)?;
            let text = |name: &str| request.field(name).to_owned();
            let typed = Typed {
                name: text("name"),
                role: text("role"),
                scope: text("scope"),
                only: text("only"),
                networks: text("networks"),
                days: text("days"),
                error: explain(&error),
            };
            list_page(ctx, request, error.kind().status(), typed)
        }
    }
}

fn one(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    one_page(ctx, request, 200, request.param("id")?, String::new(), String::new())
}

fn one_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    status: u16,
    id: KeyId,
    text: String,
    error: String,
) -> Result<Reply> {
    let mut key = ops::find(ctx, ById { id })?;
    let families = families::list(ctx, ById { id })?.items;
    named(ctx, &mut key)?;
    let typed = |name: &str, kept: String| match error.is_empty() || !request.form.contains_key(name) {
        true => kept,
        false => request.field(name).to_owned(),
    };
    let only = key.only.as_ref().map(ToString::to_string).unwrap_or_default();
    let networks = key.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let page = KeyViewPage {
        shell: Shell::new(ctx, request, format!("API key {}", key.name), "/people"),
        only: typed("only", only),
        networks: typed("networks", networks),
        text,
        families,
        token: format!("{}/oauth/token", ctx.site.settings.console()),
        may_change: key.state == "active" && ctx.actor.may("identity.key_change"),
        error,
        key,
    };
    Ok(Reply::Html(status, page.render()?))
}

/// The page of the key with what went wrong.
fn refused(ctx: &Ctx<'_>, request: &PageRequest, id: KeyId, error: Error) -> Result<Reply> {
    let error = shown(ctx, error)?;
    one_page(ctx, request, error.kind().status(), id, String::new(), explain(&error))
}

fn done(id: KeyId, text: &str) -> Result<Reply> {
    told(&format!("/people/keys/{id}"), Ok(text.to_owned()))
}

fn change(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: KeyId = request.param("id")?;
    let changed = || -> Result<KeyView> {
        let input = KeyChanged {
            id,
            name: Some(request.field("name").parse()?),
            only: Some(request.field("only").parse()?),
            networks: Some(networks(request.field("networks"))?),
        };
        ops::change(ctx, input)
    };
    match changed() {
        Ok(_) => done(id, "The key is changed"),
        Err(error) => refused(ctx, request, id, error),
    }
}

fn rotate(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: KeyId = request.param("id")?;
    let hours = whole(request.field("hours"), "hours");
    match hours.and_then(|hours| ops::rotate(ctx, KeyRotated { id, hours })) {
        Ok(made) => one_page(ctx, request, 200, id, made.text, String::new()),
        Err(error) => refused(ctx, request, id, error),
    }
}

fn settle(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: KeyId = request.param("id")?;
    match ops::settle(ctx, ById { id }) {
        Ok(_) => done(id, "The older text has ended"),
        Err(error) => refused(ctx, request, id, error),
    }
}

fn end_families(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: KeyId = request.param("id")?;
    let family = match request.field("family") {
        "" => Ok(None),
        text => text.parse().map(Some),
    };
    match family.and_then(|family| families::end_of_key(ctx, FamilyEnded { id, family })) {
        Ok(_) => done(id, "Ended, with every token that came of it"),
        Err(error) => refused(ctx, request, id, error),
    }
}

fn revoke(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: KeyId = request.param("id")?;
    match ops::revoke(ctx, ById { id }) {
        Ok(_) => done(id, "The key is revoked"),
        Err(error) => refused(ctx, request, id, error),
    }
}
