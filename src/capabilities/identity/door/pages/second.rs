//! Pages of the second step of a sign-in, and of a passkey alone.

use askama::Template;

use super::super::second::{self, In, Second};
use super::{explain, local, login_page, signed_in};
use crate::base::{Error, Kind, Result};
use crate::capabilities::identity::door::attempts::Attempt;
use crate::capabilities::identity::factors::{self, Asks, Have, Pending, Step};
use crate::capabilities::identity::model::User;
use crate::capabilities::identity::pages::shown;
use crate::kit::{Ctx, PageRequest, Pages, Reply, Shell, query};

/// Adds the routes.
pub(in crate::capabilities::identity) fn routes(pages: &mut Pages) {
    pages.open_get("/login/passkey", challenge);
    pages.open_post("/login/passkey", by_passkey);
    pages.open_post("/login/second", finish);
    pages.open_post("/login/enrol", enrol);
}

#[derive(Template)]
#[template(path = "identity/second.html")]
struct SecondPage {
    shell: Shell,
    attempt: String,
    login: String,
    have: Have,
    /// What the browser is asked for a passkey, as JSON; empty when there is none for this host.
    options: String,
    /// Why no passkey can be shown here; empty when one can.
    no_passkey: String,
    error: String,
}

#[derive(Template)]
#[template(path = "identity/enrol.html")]
struct EnrolPage {
    shell: Shell,
    attempt: String,
    login: String,
    app: Pending,
    options: String,
    no_passkey: String,
    name: String,
    error: String,
}

/// The page of what is left to do. Its status is that of what went wrong.
pub(in crate::capabilities::identity) fn show(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    text: &str,
    failed: Option<Error>,
) -> Result<Reply> {
    let (attempt, user, step) = match second::look(ctx, text) {
        Ok(found) => found,
        // What went wrong first is what the person is told.
        Err(error) => {
            let error = failed.as_ref().map_or(error, unproved);
            return login_page(ctx, request, String::new(), "/", Some(error));
        }
    };
    let ctx = &ctx.within(attempt.tenant);
    // A wrong code is a wrong proof, not a form that was filled in badly.
    let status = failed.as_ref().map_or(200, |error| match error.kind() {
        Kind::Invalid => 401,
        kind => kind.status(),
    });
    let error = failed.as_ref().map(explain).unwrap_or_default();
    let text = match step {
        Step::Enrol => enrol_page(ctx, request, text, &attempt, user, error)?,
        Step::Show(have) => second_page(ctx, request, text, &attempt, user, have, error)?,
        // The factor was taken away, or the rules changed, a moment ago.
        Step::None => {
            let error = Error::unauthenticated("this sign-in is over").hint("begin again");
            return login_page(ctx, request, user.login, &attempt.next, Some(error));
        }
    };
    Ok(Reply::Html(status, text))
}

fn second_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    text: &str,
    attempt: &Attempt,
    user: User,
    have: Have,
    error: String,
) -> Result<String> {
    let (options, no_passkey) = match factors::request(ctx, Some(user.id), Asks::Attempt(attempt.digest)) {
        Ok(options) => (options.to_string(), String::new()),
        Err(error) => (String::new(), explain(&error)),
    };
    let page = SecondPage {
        shell: Shell::new(ctx, request, "Sign in", ""),
        attempt: text.to_owned(),
        login: user.login,
        have,
        options,
        no_passkey,
        error,
    };
    Ok(page.render()?)
}

fn enrol_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    text: &str,
    attempt: &Attempt,
    user: User,
    error: String,
) -> Result<String> {
    let sealed = Some(request.field("sealed")).filter(|sealed| !sealed.is_empty());
    let (options, no_passkey) = match factors::creation(ctx, &user, Asks::Attempt(attempt.digest)) {
        Ok(options) => (options.to_string(), String::new()),
        Err(error) => (String::new(), explain(&error)),
    };
    let page = EnrolPage {
        shell: Shell::new(ctx, request, "Add a second factor", ""),
        attempt: text.to_owned(),
        app: factors::begin_totp(ctx, user.id, &user.login, sealed)?,
        login: user.login,
        options,
        no_passkey,
        name: request.field("name").to_owned(),
        error,
    };
    Ok(page.render()?)
}

fn finish(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let field = |name: &str| request.field(name);
    let second = match (field("credential"), field("recovery")) {
        ("", "") => Second::Code(field("code")),
        ("", recovery) => Second::Recovery(recovery),
        (answer, _) => Second::Passkey(answer),
    };
    done(ctx, request, &second)
}

fn enrol(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let second = match request.field("credential") {
        "" => Second::AddTotp { sealed: request.field("sealed"), code: request.field("code") },
        answer => Second::AddPasskey { name: request.field("name"), answer },
    };
    done(ctx, request, &second)
}

fn done(ctx: &Ctx<'_>, request: &PageRequest, second: &Second<'_>) -> Result<Reply> {
    let attempt = request.field("attempt");
    let login = second::look(ctx, attempt).ok().map(|(_, user, _)| user.login);
    match second::finish(ctx, attempt, second) {
        Ok(In { cookie, next, note }) => {
            let next = local(&next);
            let next = match note {
                Some(note) => {
                    let joint = if next.contains('?') { '&' } else { '?' };
                    format!("{next}{joint}{}", query(&[("flash", &format!("ok:{note}"))]))
                }
                None => next,
            };
            signed_in(ctx, cookie, &next)
        }
        Err(error) => {
            let error = shown(ctx, error)?;
            if let (Kind::Invalid | Kind::Forbidden, Some(login)) = (error.kind(), login) {
                super::super::tell_failure(ctx, &login)?;
            }
            show(ctx, request, attempt, Some(error))
        }
    }
}

/// What the browser is asked in order to sign in by a passkey alone.
fn challenge(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    Ok(json(factors::request(ctx, None, Asks::SignIn)))
}

/// An answer for our own script; errors are told in words.
pub(in crate::capabilities::identity) fn json(answer: Result<serde_json::Value>) -> Reply {
    match answer {
        Ok(value) => Reply::Json(200, value),
        Err(error) => Reply::Json(error.kind().status(), serde_json::json!({ "error": explain(&error) })),
    }
}

fn by_passkey(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let next = local(request.field("next"));
    match second::sign_in_by_passkey(ctx, request.field("credential")) {
        Ok(cookie) => signed_in(ctx, cookie, &next),
        Err(error) => {
            let error = shown(ctx, error)?;
            if matches!(error.kind(), Kind::Invalid | Kind::Forbidden) {
                super::super::tell_failure(ctx, "")?;
            }
            login_page(ctx, request, String::new(), &next, Some(unproved(&error)))
        }
    }
}

/// An answer that does not hold proves nobody.
fn unproved(error: &Error) -> Error {
    let kind = match error.kind() {
        Kind::Invalid | Kind::Forbidden => Kind::Unauthenticated,
        kind => kind,
    };
    let told = Error::new(kind, error.message().to_owned());
    match error.hint_text() {
        Some(hint) => told.hint(hint.to_owned()),
        None => told,
    }
}

/// The page of an attempt, for tests.
#[cfg(test)]
pub(in crate::capabilities::identity) fn shown_for_tests(ctx: &Ctx<'_>, attempt: &str) -> Result<Reply> {
    show(ctx, &PageRequest::default(), attempt, None)
}
