//! Pages for who is not signed in: sign-in, one-time links and set-up.

pub(in crate::capabilities::identity) mod second;

use askama::Template;

use super::{Entered, SetUp};
use crate::base::{Error, Kind, Result, Secret, limits};
use crate::capabilities::identity::model::Purpose;
use crate::capabilities::identity::pages::shown;
use crate::capabilities::identity::sessions::{self, COOKIE};
use crate::capabilities::identity::{factors, people, sso};
use crate::kit::{Actor, Cookie, Ctx, PageRequest, Pages, Reply, Shell, query};

/// Adds the routes.
pub(in crate::capabilities::identity) fn routes(pages: &mut Pages) {
    pages.open_get("/login", login);
    pages.open_post("/login", log_in);
    pages.open_get("/login/link", link);
    pages.open_post("/login/link", use_link);
    pages.open_get("/setup", setup);
    pages.open_post("/setup", set_up);
    pages.post("/logout", log_out);
}

#[derive(Template)]
#[template(path = "identity/login.html")]
struct LoginPage {
    shell: Shell,
    /// Why a passkey cannot be used under this address; empty when it can.
    no_passkey: String,
    login: String,
    next: String,
    error: String,
    /// Providers that may be signed in by, and what stands behind `?` for them.
    offers: Vec<sso::Offer>,
    next_query: String,
    /// The provider by which somebody was signed in, who may want to sign out there too.
    left: Option<sso::Offer>,
}

#[derive(Template)]
#[template(path = "identity/link.html")]
struct LinkPage {
    shell: Shell,
    token: String,
    /// Whose link it is; empty when it is dead.
    name: String,
    login: String,
    resets: bool,
    error: String,
    characters_min: usize,
}

#[derive(Template)]
#[template(path = "identity/setup.html")]
struct SetupPage {
    shell: Shell,
    code: String,
    name: String,
    login: String,
    /// Which field is wrong: `code`, `name`, `login` or `password`.
    wrong: &'static str,
    error: String,
    characters_min: usize,
}

/// Says what went wrong and how to mend it.
pub(in crate::capabilities::identity) fn explain(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

/// A form's field as it was typed: a password may begin or end with a space.
pub(in crate::capabilities::identity) fn typed(request: &PageRequest, name: &str) -> Secret<String> {
    Secret::new(request.form.get(name).cloned().unwrap_or_default())
}

/// A new password, typed twice.
pub(in crate::capabilities::identity) fn typed_twice(request: &PageRequest) -> Result<Secret<String>> {
    let (password, again) = (typed(request, "password"), typed(request, "again"));
    if password.expose() != again.expose() {
        return Err(Error::invalid("the two passwords differ").hint("type the same one twice"));
    }
    Ok(password)
}

/// Only a path of this site: nobody is sent elsewhere by a link.
pub(in crate::capabilities::identity) fn local(next: &str) -> String {
    let sound = next.starts_with('/')
        && !next.starts_with("//")
        && !next.starts_with("/login")
        && !next.starts_with("/setup")
        && !next.contains('\\')
        && !next.chars().any(char::is_control);
    if sound { next.to_owned() } else { "/".to_owned() }
}

/// The cookie of a session, for as long as a session can last.
pub(in crate::capabilities::identity) fn cookie(ctx: &Ctx<'_>, value: String) -> Result<Cookie> {
    let seconds = factors::policy(&ctx.read()?, ctx.tenant)?.absolute().seconds() as i64;
    Ok(Cookie { name: COOKIE, value, seconds })
}

pub(super) fn signed_in(ctx: &Ctx<'_>, value: String, next: &str) -> Result<Reply> {
    Ok(Reply::Redirect(local(next), cookies(ctx, value)?))
}

/// What a browser keeps of who has signed in.
pub(in crate::capabilities::identity) fn cookies(ctx: &Ctx<'_>, value: String) -> Result<Vec<Cookie>> {
    let mut cookies = vec![cookie(ctx, value.clone())?];
    // The look is the person's, in whichever browser.
    cookies.extend(people::theme_of(ctx, &value)?);
    Ok(cookies)
}

fn entered(ctx: &Ctx<'_>, request: &PageRequest, entered: Entered, next: &str) -> Result<Reply> {
    match entered {
        Entered::In(cookie) => signed_in(ctx, cookie, next),
        Entered::Half(attempt) => second::show(ctx, request, &attempt, None),
    }
}

fn go(path: &str) -> Result<Reply> {
    Ok(Reply::Redirect(path.to_owned(), Vec::new()))
}

fn login(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    if super::needs_setup(ctx.site) {
        return go("/setup");
    }
    if matches!(ctx.actor, Actor::Person { .. }) {
        return go(&local(request.asked("next")));
    }
    login_page(ctx, request, String::new(), request.asked("next"), None)
}

pub(in crate::capabilities::identity) fn login_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    login: String,
    next: &str,
    failed: Option<Error>,
) -> Result<Reply> {
    let next = local(next);
    let offers = sso::offers(ctx)?;
    let left = request.asked("left");
    let page = LoginPage {
        shell: Shell::new(ctx, request, "Sign in", ""),
        no_passkey: factors::under_a_name(ctx).err().map(|error| explain(&error)).unwrap_or_default(),
        login,
        next_query: if next == "/" { String::new() } else { format!("?{}", query(&[("next", &next)])) },
        next,
        error: failed.as_ref().map(explain).unwrap_or_default(),
        left: sso::offers(ctx)?.into_iter().find(|offer| offer.id == left),
        offers,
    };
    Ok(Reply::Html(failed.map_or(200, |error| error.kind().status()), page.render()?))
}

fn log_in(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let login = request.field("login");
    let next = local(request.field("next"));
    match super::sign_in(ctx, login, typed(request, "password").expose(), &next) {
        Ok(how_far) => entered(ctx, request, how_far, &next),
        Err(error) => {
            let error = shown(ctx, error)?;
            if matches!(error.kind(), Kind::Unauthenticated | Kind::Forbidden) {
                super::tell_failure(ctx, login)?;
            }
            login_page(ctx, request, login.to_owned(), &next, Some(error))
        }
    }
}

fn link(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    link_page(ctx, request, request.asked("token"), None)
}

fn link_page(ctx: &Ctx<'_>, request: &PageRequest, token: &str, failed: Option<Error>) -> Result<Reply> {
    let mut page = LinkPage {
        shell: Shell::new(ctx, request, "Sign in", ""),
        token: token.to_owned(),
        name: String::new(),
        login: String::new(),
        resets: false,
        error: String::new(),
        characters_min: limits::PASSWORD_CHARACTERS_MIN,
    };
    let mut status = 200;
    match super::look_at_link(ctx, token) {
        Ok((link, user)) => {
            page.resets = link.purpose == Purpose::Reset;
            page.name = user.name.to_string();
            page.login = user.login;
        }
        Err(error) => (status, page.error) = (error.kind().status(), explain(&shown(ctx, error)?)),
    }
    if let Some(error) = failed {
        (status, page.error) = (error.kind().status(), explain(&error));
    }
    Ok(Reply::Html(status, page.render()?))
}

fn use_link(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let token = request.field("token");
    let used = typed_twice(request).and_then(|password| super::use_link(ctx, token, password.expose()));
    match used {
        Ok(how_far) => entered(ctx, request, how_far, "/"),
        Err(error) => link_page(ctx, request, token, Some(shown(ctx, error)?)),
    }
}

fn setup(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    if !super::needs_setup(ctx.site) {
        return go("/login");
    }
    setup_page(ctx, request, None)
}

fn setup_page(ctx: &Ctx<'_>, request: &PageRequest, failed: Option<Error>) -> Result<Reply> {
    let code = match request.field("code") {
        "" => request.asked("code"),
        code => code,
    };
    let message = failed.as_ref().map(|e| e.message().to_owned()).unwrap_or_default();
    let wrong = ["password", "login", "code", "name"]
        .into_iter()
        .find(|field| message.contains(field))
        .unwrap_or_default();
    let page = SetupPage {
        shell: Shell::new(ctx, request, "Set up", ""),
        code: code.to_owned(),
        name: request.field("name").to_owned(),
        login: request.field("login").to_owned(),
        wrong,
        error: failed.as_ref().map(explain).unwrap_or_default(),
        characters_min: limits::PASSWORD_CHARACTERS_MIN,
    };
    Ok(Reply::Html(failed.map_or(200, |e| e.kind().status()), page.render()?))
}

fn set_up(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    if !super::needs_setup(ctx.site) {
        return go("/login");
    }
    let entered = typed_twice(request).and_then(|password| {
        let input = SetUp {
            code: request.field("code"),
            name: request.field("name"),
            login: request.field("login"),
            password: password.expose(),
        };
        super::set_up(ctx, &input)
    });
    match entered {
        Ok(cookie) => signed_in(ctx, cookie, "/"),
        Err(error) => setup_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn log_out(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    let left = sso::began_by(ctx)?.unwrap_or_default();
    sessions::log_out(ctx)?;
    let gone = Cookie { name: COOKIE, value: String::new(), seconds: 0 };
    let told = query(&[("flash", "ok:You are signed out"), ("left", &left)]);
    Ok(Reply::Redirect(format!("/login?{told}"), vec![gone]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn nobody_is_sent_elsewhere() {
        for (next, expected) in [
            ("/agents?filter=a", "/agents?filter=a"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/login?next=/login", "/"),
        ] {
            assert_eq!(super::local(next), expected);
        }
    }
}
