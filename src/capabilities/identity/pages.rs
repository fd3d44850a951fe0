//! Pages for who is signed in: one's own account, and people.

use askama::Template;

use super::door::pages::{explain, typed, typed_twice};
use super::model::{SessionView, UserView};
use super::ops::{self, PasswordChanged, UserChanged, UserChosen};
use super::people::Profile;
use super::{factors, own, people, sessions, sso};
use crate::base::{Error, Kind, Result, UserId, limits};
use crate::kit::{
    Actor, ById, Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, Theme, html, qr, told,
};

/// Adds the routes.
pub(super) fn routes(pages: &mut Pages) {
    pages.get("/account", account);
    pages.post("/account/name", rename);
    pages.post("/account/password", change_password);
    pages.post("/account/sessions/{id}/revoke", revoke_session);
    pages.post("/theme", theme);
    pages.get("/people", people);
    pages.post("/people", create);
    pages.post("/people/{id}/role", change_role);
    pages.post("/people/{id}/disable", disable);
    pages.post("/people/{id}/enable", enable);
    pages.post("/people/{id}/reset", reset);
}

#[derive(Template)]
#[template(path = "identity/account.html")]
struct AccountPage {
    shell: Shell,
    login: String,
    name: String,
    name_error: String,
    password_error: String,
    sessions: Vec<SessionView>,
    /// What they have besides the password, in words.
    factors: String,
    profile: Profile,
    characters_min: usize,
    own: sso::pages::OwnLinks,
}

/// A person as a row, with what may be done to them.
struct Person {
    user: UserView,
    /// What they have besides a password, in a word.
    factor: &'static str,
    /// Whether it is who looks.
    me: bool,
}

/// A form that was refused, with what was typed; empty before the first try.
#[derive(Default)]
struct Typed {
    login: String,
    name: String,
    role: String,
    error: String,
}

/// A text that is shown once.
pub(super) struct Once {
    title: String,
    text: String,
    /// The text for a camera; empty for none.
    picture: Markup,
    hint: &'static str,
}

#[derive(Template)]
#[template(path = "identity/people.html")]
struct PeoplePage {
    shell: Shell,
    filter: String,
    people: Vec<Person>,
    roles: Vec<String>,
    person: Typed,
    once: Option<Once>,
    error: String,
}

fn done(path: &str, text: &str) -> Result<Reply> {
    told(path, Ok(text.to_owned()))
}

/// Errors that belong to a form or list stand there; all others get the error page, or lead to where a proof is shown.
pub(super) fn shown(ctx: &Ctx<'_>, error: Error) -> Result<Error> {
    match error.kind() {
        Kind::Invalid | Kind::Conflict | Kind::Forbidden | Kind::NotFound => Ok(error),
        Kind::TooMany | Kind::Unavailable => Ok(error),
        // At the door, where nobody is known, it is said in the form too.
        Kind::Unauthenticated if matches!(ctx.actor, Actor::Anonymous) => Ok(error),
        _ => Err(error),
    }
}

#[derive(Template)]
#[template(path = "identity/looking.html")]
struct LookingPage {
    shell: Shell,
}

/// In the place of a page about what is one's own: that it is not shown while somebody looks at the console as another,
/// and the way back. Nothing for who looks as themselves.
pub(super) fn away(ctx: &Ctx<'_>, request: &PageRequest, title: &str) -> Result<Option<Reply>> {
    let looks = ctx.actor.rights().is_some_and(|rights| rights.looks_as.is_some());
    let page = || html(&LookingPage { shell: Shell::new(ctx, request, title, "/account") });
    looks.then(page).transpose()
}

fn account(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    if let Some(away) = away(ctx, request, "Your account")? {
        return Ok(away);
    }
    account_page(ctx, request, None, None)
}

fn account_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    name: Option<Error>,
    password: Option<Error>,
) -> Result<Reply> {
    let (id, _, _) = own(ctx)?;
    let user = ops::find(ctx, id)?;
    let status = name.as_ref().or(password.as_ref()).map_or(200, |e| e.kind().status());
    let page = AccountPage {
        shell: Shell::new(ctx, request, "Your account", "/account"),
        login: user.login,
        name: if name.is_some() { request.field("name").to_owned() } else { user.name.to_string() },
        name_error: name.as_ref().map(explain).unwrap_or_default(),
        password_error: password.as_ref().map(explain).unwrap_or_default(),
        sessions: sessions::list(ctx, Nothing {})?.items,
        factors: factors::have(&ctx.read()?, ctx.tenant, id)?.words(),
        profile: people::pages::chosen(ctx)?,
        characters_min: limits::PASSWORD_CHARACTERS_MIN,
        own: sso::pages::own_links(ctx)?,
    };
    Ok(Reply::Html(status, page.render()?))
}

fn rename(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match request.field("name").parse().and_then(|name| ops::rename(ctx, name)) {
        Ok(_) => done("/account", "Your name is changed"),
        Err(error) => account_page(ctx, request, Some(shown(ctx, error)?), None),
    }
}

fn change_password(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let changed = typed_twice(request)
        .and_then(|new| ops::password(ctx, PasswordChanged { old: typed(request, "old"), new }));
    match changed {
        Ok(_) => done("/account", "Your password is changed; your other sessions have ended"),
        Err(error) => account_page(ctx, request, None, Some(shown(ctx, error)?)),
    }
}

fn revoke_session(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    sessions::revoke(ctx, ById { id: request.param("id")? })?;
    done("/account", "The session has ended")
}

fn theme(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let theme = Theme::find(request.field("theme"));
    people::keep_theme(ctx, theme)?;
    let next = match request.field("next") {
        next if next.starts_with('/') && !next.starts_with("//") && !next.contains('\\') => next,
        _ => "/",
    };
    Ok(Reply::Redirect(next.to_owned(), vec![people::theme_cookie(theme)]))
}

fn people(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    people_page(ctx, request, 200, |_| ())
}

fn people_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    status: u16,
    fill: impl FnOnce(&mut PeoplePage),
) -> Result<Reply> {
    let me = own(ctx).map(|(id, _, _)| id).ok();
    let filter = request.asked("filter").to_owned();
    let people = people::found(ctx, &filter)?;
    let mut page = PeoplePage {
        shell: Shell::new(ctx, request, "People", "/people"),
        filter,
        people: people
            .into_iter()
            .map(|(user, factor)| Person { me: Some(user.id) == me, user, factor })
            .collect(),
        roles: super::roles::names(ctx)?,
        person: Typed { role: "operator".into(), ..Typed::default() },
        once: None,
        error: String::new(),
    };
    fill(&mut page);
    Ok(Reply::Html(status, page.render()?))
}

/// The list with what went wrong above it.
fn refused(ctx: &Ctx<'_>, request: &PageRequest, error: Error) -> Result<Reply> {
    let error = shown(ctx, error)?;
    people_page(ctx, request, error.kind().status(), |page| page.error = explain(&error))
}

fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let made = request.field("role").parse().and_then(|role| {
        let login = request.field("login").to_owned();
        let scope = request.field("scope").parse()?;
        ops::create(
            ctx,
            UserChosen { login, name: request.field("name").parse()?, role, scope, password: None },
        )
    });
    match made {
        Ok(made) => link_shown(ctx, request, made),
        Err(error) => {
            let error = shown(ctx, error)?;
            people_page(ctx, request, error.kind().status(), |page| {
                page.person = Typed {
                    login: request.field("login").into(),
                    name: request.field("name").into(),
                    role: request.field("role").into(),
                    error: explain(&error),
                };
            })
        }
    }
}

fn link_shown(ctx: &Ctx<'_>, request: &PageRequest, made: ops::UserMade) -> Result<Reply> {
    people_page(ctx, request, 200, |page| {
        page.once = Some(Once {
            title: format!("Give this link to {}", made.user.name),
            picture: made.link.as_deref().and_then(|link| qr(link).ok()).unwrap_or_default(),
            text: made.link.unwrap_or_default(),
            hint: "It sets their password and signs them in: once, and within 24 hours. It is not shown again.",
        });
    })
}

fn reset(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::reset(ctx, ById { id: request.param("id")? }) {
        Ok(made) => link_shown(ctx, request, made),
        Err(error) => refused(ctx, request, error),
    }
}

fn change_role(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: UserId = request.param("id")?;
    let changed = request
        .field("role")
        .parse()
        .and_then(|role| ops::change(ctx, UserChanged { id, name: None, role: Some(role) }));
    match changed {
        Ok(_) => done("/people", "The role is changed"),
        Err(error) => refused(ctx, request, error),
    }
}

fn disable(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::disable(ctx, ById { id: request.param("id")? }) {
        Ok(_) => done("/people", "They are shut out; their sessions have ended"),
        Err(error) => refused(ctx, request, error),
    }
}

fn enable(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::enable(ctx, ById { id: request.param("id")? }) {
        Ok(_) => done("/people", "They may sign in again"),
        Err(error) => refused(ctx, request, error),
    }
}
