//! Pages of single sign-on: the buttons' ends, providers with their lists of groups, one's own links, and the help.

use askama::Template;

use super::flow::{self, COOKIE, Came};
use super::links::{self, LinkChosen, LinkView, OwnLink};
use super::memory::{self, ATTEMPT_LIFETIME};
use super::model::{Provider, ProviderView, Settings};
use super::ops::{self, ProviderById};
use super::{directory, logout, store};
use crate::base::{Error, Kind, Result, UserId};
use crate::capabilities::identity::door::pages::{cookies, explain, local, login_page, second, typed};
use crate::capabilities::identity::door::{self, Entered};
use crate::capabilities::identity::model::UserView;
use crate::capabilities::identity::ops as people;
use crate::capabilities::identity::pages::shown;
use crate::capabilities::identity::{label, own};
use crate::kit::{Cookie, Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, query, told};

mod form;

/// Where providers are.
const PATH: &str = "/people/sign-on";

/// Adds the routes.
pub(in crate::capabilities::identity) fn routes(pages: &mut Pages) {
    pages.open_get("/login/oidc/callback", callback);
    pages.open_get("/login/oidc/{provider}", begin);
    pages.open_get("/login/oidc/{provider}/leave", leave);
    pages.open_post("/login/oidc/{provider}/logout", back_channel);
    pages.get(PATH, sign_on);
    pages.post(PATH, add);
    pages.post("/people/sign-on/link", link);
    pages.post("/people/sign-on/unlink", unlink);
    pages.post("/people/sign-on/{id}", change);
    pages.post("/people/sign-on/{id}/test", test);
    pages.post("/people/sign-on/{id}/switch", switch);
    pages.post("/people/sign-on/{id}/remove", remove);
    pages.post("/account/link/{provider}", link_own);
    pages.get("/account/link/{provider}", link_own_begin);
    pages.post("/account/unlink", unlink_own);
}

#[derive(Template)]
#[template(path = "identity/arrived.html")]
struct ArrivedPage {
    shell: Shell,
    title: &'static str,
    text: String,
    to: String,
}

/// A page that goes on by itself: a browser that comes from another site brings strict cookies only to what this page
/// asks for.
fn onward(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    title: &'static str,
    text: String,
    to: String,
    cookies: Vec<Cookie>,
) -> Result<Reply> {
    let page = ArrivedPage { shell: Shell::new(ctx, request, title, ""), title, text, to };
    Ok(Reply::Arrived(page.render()?, cookies))
}

fn refused(ctx: &Ctx<'_>, request: &PageRequest, error: Error) -> Result<Reply> {
    if error.kind() == Kind::Internal {
        return Err(error);
    }
    tracing::info!("a sign-in at a provider was refused: {}", error.detail());
    login_page(ctx, request, String::new(), "/", Some(error))
}

fn away(begun: flow::Begun) -> Reply {
    let seconds = ATTEMPT_LIFETIME.as_secs() as i64;
    Reply::Away(begun.to, vec![Cookie { name: COOKIE, value: begun.cookie, seconds }])
}

fn begin(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: &str = request.params.get("provider").map(String::as_str).unwrap_or_default();
    let next = local(request.asked("next"));
    // The way back leads to the console's own address, and the cookie must be there.
    let console = flow::console(ctx);
    let elsewhere = !ctx.request.host.is_empty()
        && console != format!("https://{}", ctx.request.host.trim_end_matches(":443"));
    if elsewhere && request.asked("here").is_empty() && store::provider(&ctx.read()?, ctx.tenant, id).is_ok()
    {
        let query = query(&[("next", &next), ("here", "1")]);
        return Ok(Reply::Away(format!("{console}/login/oidc/{id}?{query}"), Vec::new()));
    }
    match flow::begin(ctx, id, request, next, None) {
        Ok(begun) => Ok(away(begun)),
        Err(error) => refused(ctx, request, error),
    }
}

fn callback(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match flow::end(ctx, request) {
        Ok(Came::In(Entered::In(cookie), next)) => {
            let cookies = cookies(ctx, cookie)?;
            onward(ctx, request, "Signed in", "You are signed in.".into(), local(&next), cookies)
        }
        Ok(Came::In(Entered::Half(attempt), _)) => second::show(ctx, request, &attempt, None),
        Ok(Came::Linked(text)) => {
            let to = format!("/account?{}", query(&[("flash", &format!("ok:{text}"))]));
            onward(ctx, request, "Linked", text, to, Vec::new())
        }
        Err(error) => {
            if matches!(error.kind(), Kind::Unauthenticated | Kind::Forbidden) {
                let detail = serde_json::json!({ "means": "oidc", "because": error.message() });
                door::tell_failed(ctx, "unknown", detail)?;
            }
            refused(ctx, request, error)
        }
    }
}

fn leave(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = request.params.get("provider").map(String::as_str).unwrap_or_default();
    match flow::leave(ctx, id) {
        Ok(Some(to)) => Ok(Reply::Away(to, Vec::new())),
        Ok(None) => Ok(Reply::Redirect("/login".into(), Vec::new())),
        Err(error) => refused(ctx, request, error),
    }
}

/// Asked by the provider itself, not by a browser; it reads the status alone (Back-Channel Logout 1.0 §2.8).
fn back_channel(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = request.params.get("provider").map(String::as_str).unwrap_or_default();
    let allowed = memory::of(ctx.site)
        .starts
        .lock()
        .take(&format!("logout {}", door::address(&ctx.request.from)), ctx.site.clock.monotonic());
    if allowed.is_err() {
        return Ok(Reply::Html(429, String::new()));
    }
    match logout::by_token(ctx, id, request.field("logout_token")) {
        Ok(_) => Ok(Reply::Html(200, String::new())),
        Err(error) if error.kind() == Kind::Internal => Err(error),
        Err(error) => {
            tracing::info!("a logout token was refused: {}", error.detail());
            Ok(Reply::Html(400, String::new()))
        }
    }
}

/// A provider as a card.
struct ProviderCard {
    view: ProviderView,
    by: String,
    form: form::Form,
    links: Vec<LinkRow>,
    redirect: String,
    logout: String,
}

struct LinkRow {
    link: LinkView,
    person: String,
}

struct StrangerRow {
    provider: String,
    name: String,
    subject: String,
    called: String,
    why: String,
    at: Markup,
}

#[derive(Template)]
#[template(path = "identity/sign_on.html")]
struct SignOnPage {
    shell: Shell,
    may_change: bool,
    providers: Vec<ProviderCard>,
    forms: Vec<form::Form>,
    strangers: Vec<StrangerRow>,
    people: Vec<UserView>,
    redirect: String,
    error: String,
}

fn sign_on(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    page(ctx, request, None)
}

/// The page; a form that was refused shows what was typed and why.
fn page(ctx: &Ctx<'_>, request: &PageRequest, failed: Option<(&str, Error)>) -> Result<Reply> {
    let providers = ops::list(ctx, Nothing {})?.items;
    let read = ctx.read()?;
    let everybody = people::users(ctx, Nothing {})?.items;
    let called = |user: UserId| {
        everybody.iter().find(|one| one.id == user).map(|one| one.name.to_string()).unwrap_or_default()
    };
    let links = links::list(ctx, links::LinksAsked { user: None })?.items;
    let (place, error) = match failed {
        Some((place, error)) => (place, Some(shown(ctx, error)?)),
        None => ("", None),
    };
    let why = error.as_ref().map(explain).unwrap_or_default();
    let typed = |form: &str| (form == place).then_some((request, why.as_str()));
    let mut cards = Vec::new();
    for view in providers {
        cards.push(ProviderCard {
            by: label(&read, ctx.tenant, &view.by)?.unwrap_or_else(|| view.by.clone()),
            form: form::Form::of(&view, typed(&view.id)),
            links: links
                .iter()
                .filter(|link| link.provider == view.id)
                .map(|link| LinkRow { person: called(link.user), link: link.clone() })
                .collect(),
            redirect: flow::back(ctx),
            logout: format!("{}/login/oidc/{}/logout", flow::console(ctx), view.id),
            view,
        });
    }
    let strangers = memory::of(ctx.site).strangers.lock().iter().cloned().collect::<Vec<_>>();
    let strangers = strangers.into_iter().filter_map(|one| {
        let name = cards.iter().find(|card| card.view.id == one.provider)?.view.name.to_string();
        let at = Markup::ago(Some(one.at), ctx.now);
        Some(StrangerRow {
            provider: one.provider,
            name,
            subject: one.subject,
            called: one.called,
            why: one.why,
            at,
        })
    });
    let page = SignOnPage {
        shell: Shell::new(ctx, request, "Single sign-on", "/people"),
        may_change: ctx.actor.may("identity.provider_change"),
        strangers: strangers.collect(),
        forms: form::Form::empty(&typed),
        redirect: flow::back(ctx),
        people: everybody,
        error: if place == "page" { why.clone() } else { String::new() },
        providers: cards,
    };
    Ok(Reply::Html(error.map_or(200, |error| error.kind().status()), page.render()?))
}

fn done(text: &str) -> Result<Reply> {
    told(PATH, Ok(text.to_owned()))
}

fn add(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match form::added(request).and_then(|input| ops::add(ctx, input)) {
        Ok(added) => done(&format!("{} is added; press Test to see whether it is reached", added.name)),
        Err(error) => page(ctx, request, Some((request.field("kind"), error))),
    }
}

fn change(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = request.params.get("id").cloned().unwrap_or_default();
    match form::changed(&id, request).and_then(|input| ops::change(ctx, input)) {
        Ok(changed) => {
            done(&format!("{} is changed; roles follow at each person's next sign-in", changed.name))
        }
        Err(error) if error.kind() == Kind::NotFound => Err(error),
        Err(error) => page(ctx, request, Some((&id, error))),
    }
}

fn id(request: &PageRequest) -> ProviderById {
    ProviderById { id: request.params.get("id").cloned().unwrap_or_default() }
}

fn test(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::test(ctx, id(request)) {
        Ok(tested) => done(&tested.found),
        Err(error) => page(ctx, request, Some(("page", error))),
    }
}

fn switch(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let on = !request.field("on").is_empty();
    let input = serde_json::json!({ "id": id(request).id, "on": on });
    match ops::change(ctx, serde_json::from_value(input)?) {
        Ok(changed) if changed.on => done(&format!("{} is switched on", changed.name)),
        Ok(changed) => done(&format!("{} is switched off; sessions that it began have ended", changed.name)),
        Err(error) => page(ctx, request, Some(("page", error))),
    }
}

fn remove(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::remove(ctx, id(request)) {
        Ok(_) => done("The provider is removed; people whom it brought stay, without its roles"),
        Err(error) => page(ctx, request, Some(("page", error))),
    }
}

fn chosen(request: &PageRequest) -> Result<LinkChosen> {
    Ok(LinkChosen {
        id: request.field("user").parse()?,
        provider: request.field("provider").to_owned(),
        subject: request.field("subject").to_owned(),
    })
}

fn link(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match chosen(request).and_then(|input| links::create(ctx, input)) {
        Ok(_) => done("They are linked; the next sign-in leads to this person"),
        Err(error) => page(ctx, request, Some(("page", error))),
    }
}

fn unlink(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match chosen(request).and_then(|input| links::remove(ctx, input)) {
        Ok(_) => done("The link is taken away; sessions that it began have ended"),
        Err(error) => page(ctx, request, Some(("page", error))),
    }
}

/// One's own links, as a part of one's account.
pub(in crate::capabilities::identity) struct OwnLinks {
    /// Those that there are.
    pub(in crate::capabilities::identity) links: Vec<LinkView>,
    /// Providers to link to: identifier, name, and whether a password is asked here.
    pub(in crate::capabilities::identity) offers: Vec<(String, String, bool)>,
}

/// One's own links.
pub(in crate::capabilities::identity) fn own_links(ctx: &Ctx<'_>) -> Result<OwnLinks> {
    let links = links::list_own(ctx, Nothing {})?.items;
    let all = store::providers(&ctx.read()?, ctx.tenant)?.into_iter();
    let open = all.filter(|one| one.on && !links.iter().any(|link| link.provider == one.id));
    let offer = |one: Provider| (one.id, one.name.to_string(), matches!(one.settings, Settings::Ldap(_)));
    Ok(OwnLinks { offers: open.map(offer).collect(), links })
}

/// What the way from the form to the provider proves: that the form was ours. It is worthless for anything else.
fn pass(ctx: &Ctx<'_>, provider: &str) -> String {
    let key = blake3::derive_key("muster 2026 link to a provider", ctx.csrf().as_bytes());
    blake3::keyed_hash(&key, provider.as_bytes()).to_hex()[..32].to_owned()
}

fn link_own(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let (user, session, raised) = own(ctx)?;
    // It is one more way in, for good: an open screen is not enough for it.
    raised.require("identity.link_own")?;
    let id = request.params.get("provider").map(String::as_str).unwrap_or_default();
    let provider = store::provider(&ctx.read()?, ctx.tenant, id)?;
    if matches!(provider.settings, Settings::Ldap(_)) {
        let (login, password) = (request.field("login"), typed(request, "password"));
        let linked = directory::link_own(ctx, &provider, (user, session), login, password.expose());
        return told("/account", linked);
    }
    // A form may not lead to another site (its policy says so), so the page between goes on by itself.
    let to = format!("/account/link/{}?{}", provider.id, query(&[("pass", &pass(ctx, &provider.id))]));
    onward(ctx, request, "Sign in there", format!("{} asks who you are.", provider.name), to, Vec::new())
}

fn link_own_begin(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let (user, session, _) = own(ctx)?;
    let id = request.params.get("provider").map(String::as_str).unwrap_or_default();
    // Hashes compare in constant time.
    if blake3::hash(pass(ctx, id).as_bytes()) != blake3::hash(request.asked("pass").as_bytes()) {
        return Err(
            Error::forbidden("the link does not come from your account's page").hint("begin it there")
        );
    }
    match flow::begin(ctx, id, request, "/account".into(), Some((user, session))) {
        Ok(begun) => Ok(away(begun)),
        Err(error) => told("/account", Err(error)),
    }
}

fn unlink_own(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let input = OwnLink {
        provider: request.field("provider").to_owned(),
        subject: request.field("subject").to_owned(),
    };
    told("/account", links::remove_own(ctx, input).map(|_| "The link is taken away".to_owned()))
}
