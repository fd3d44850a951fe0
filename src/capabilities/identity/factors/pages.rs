//! Pages of one's own factors, of showing again who one is, and of the rules.

use askama::Template;
use serde_json::json;

use super::model::{Means, Policy};
use super::ops::{self, FactorsView};
use super::{Asks, Have, PolicyChanged, policy};
use crate::base::{Error, Kind, Result};
use crate::capabilities::identity::door::pages::second::json as script;
use crate::capabilities::identity::door::pages::{cookie, explain, typed};
use crate::capabilities::identity::door::{self, check_own_password};
use crate::capabilities::identity::model::User;
use crate::capabilities::identity::pages::{away, shown};
use crate::capabilities::identity::sessions;
use crate::capabilities::identity::store::USERS;
use crate::capabilities::identity::{own, roles};
use crate::engine::crypto::verify_password;
use crate::engine::store::Read;
use crate::kit::{ById, Ctx, Nothing, PROOF_LASTS, PageRequest, Pages, Reply, Shell, told};

/// Adds the routes.
pub(in crate::capabilities::identity) fn routes(pages: &mut Pages) {
    pages.get("/account/factors", show);
    pages.post("/account/factors/totp", add_totp);
    pages.post("/account/factors/totp/remove", remove_totp);
    pages.get("/account/factors/passkey", creation);
    pages.post("/account/factors/passkeys", add_passkey);
    pages.post("/account/factors/passkeys/{id}/rename", rename_passkey);
    pages.post("/account/factors/passkeys/{id}/remove", remove_passkey);
    pages.post("/account/factors/codes", make_codes);
    pages.get("/confirm", confirm);
    pages.post("/confirm", prove);
    pages.get("/confirm/passkey", challenge);
    pages.get("/people/rules", rules);
    pages.post("/people/rules", change_rules);
}

#[derive(Template)]
#[template(path = "identity/factors.html")]
struct FactorsPage {
    shell: Shell,
    factors: FactorsView,
    app: super::Pending,
    /// Codes that were just made.
    codes: Vec<String>,
    no_passkey: String,
    name: String,
    totp_error: String,
    passkey_error: String,
    error: String,
}

#[derive(Template)]
#[template(path = "identity/confirm.html")]
struct ConfirmPage {
    shell: Shell,
    next: String,
    login: String,
    password: bool,
    have: Have,
    no_passkey: String,
    minutes: u64,
    error: String,
}

#[derive(Template)]
#[template(path = "identity/rules.html")]
struct RulesPage {
    shell: Shell,
    policy: Policy,
    roles: Vec<(String, bool)>,
    may_change: bool,
    error: String,
}

fn done(path: &str, text: &str) -> Result<Reply> {
    told(path, Ok(text.to_owned()))
}

fn me(ctx: &Ctx<'_>) -> Result<User> {
    let (id, _, _) = own(ctx)?;
    ctx.read()?.get(&USERS, &(ctx.tenant, id))?.ok_or_else(|| Error::not_found("user", id))
}

fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    if let Some(away) = away(ctx, request, "Second factors")? {
        return Ok(away);
    }
    page(ctx, request, 200, |_| ())
}

fn page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    status: u16,
    fill: impl FnOnce(&mut FactorsPage),
) -> Result<Reply> {
    let user = me(ctx)?;
    let sealed = Some(request.field("sealed")).filter(|sealed| !sealed.is_empty());
    let mut page = FactorsPage {
        shell: Shell::new(ctx, request, "Second factors", "/account"),
        factors: ops::mine(ctx, Nothing {})?,
        app: super::begin_totp(ctx, user.id, &user.login, sealed)?,
        codes: Vec::new(),
        no_passkey: super::under_a_name(ctx).err().map(|error| explain(&error)).unwrap_or_default(),
        name: request.field("name").to_owned(),
        totp_error: String::new(),
        passkey_error: String::new(),
        error: String::new(),
    };
    fill(&mut page);
    Ok(Reply::Html(status, page.render()?))
}

fn refused(ctx: &Ctx<'_>, request: &PageRequest, error: Error) -> Result<Reply> {
    let error = shown(ctx, error)?;
    page(ctx, request, error.kind().status(), |page| page.error = explain(&error))
}

fn add_totp(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let (id, _, raised) = own(ctx)?;
    let added = raised
        .require("identity.totp_add")?
        .write(|change| super::confirm_totp(ctx, change, id, request.field("sealed"), request.field("code")));
    match added {
        Ok(note) => {
            done("/account/factors", &note.unwrap_or_else(|| "The authenticator app is added".into()))
        }
        Err(error) => {
            let error = shown(ctx, error)?;
            page(ctx, request, error.kind().status(), |page| page.totp_error = explain(&error))
        }
    }
}

fn remove_totp(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::remove_totp(ctx, Nothing {}) {
        Ok(_) => done("/account/factors", "The authenticator app is removed"),
        Err(error) => refused(ctx, request, error),
    }
}

/// What the browser is asked in order to make a passkey.
fn creation(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    let (_, session, raised) = own(ctx)?;
    let asked = raised
        .require("identity.passkey_add")
        .map(|_| ())
        .and_then(|()| super::creation(ctx, &me(ctx)?, Asks::Add(session)));
    Ok(match asked {
        // The script goes there; a form that it sends afterwards would be too late.
        Err(error) if error.kind() == Kind::StepUp => {
            Reply::Json(403, json!({ "go": "/confirm?next=/account/factors" }))
        }
        asked => script(asked),
    })
}

fn add_passkey(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let (id, session, raised) = own(ctx)?;
    let added = raised.require("identity.passkey_add")?.write(|change| {
        let (name, answer) = (request.field("name"), request.field("credential"));
        super::add_passkey(ctx, change, id, Asks::Add(session), name, answer)
    });
    match added {
        Ok(()) => done("/account/factors", "The passkey is added"),
        Err(error) => {
            let error = shown(ctx, error)?;
            page(ctx, request, error.kind().status(), |page| page.passkey_error = explain(&error))
        }
    }
}

fn rename_passkey(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id = request.param("id")?;
    let named = request.field("name").parse();
    match named.and_then(|name| ops::rename_passkey(ctx, ops::PasskeyRenamed { id, name })) {
        Ok(_) => done("/account/factors", "The passkey is renamed"),
        Err(error) => {
            let error = shown(ctx, error)?;
            page(ctx, request, error.kind().status(), |page| {
                // The name that was typed is not one for a new passkey.
                (page.error, page.name) = (explain(&error), String::new());
            })
        }
    }
}

fn remove_passkey(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::remove_passkey(ctx, ById { id: request.param("id")? }) {
        Ok(_) => done("/account/factors", "The passkey is removed"),
        Err(error) => refused(ctx, request, error),
    }
}

fn make_codes(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match ops::make_codes(ctx, Nothing {}) {
        Ok(made) => page(ctx, request, 200, |page| page.codes = made.codes),
        Err(error) => refused(ctx, request, error),
    }
}

fn confirm(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    confirm_page(ctx, request, request.asked("next"), None)
}

fn confirm_page(ctx: &Ctx<'_>, request: &PageRequest, next: &str, failed: Option<Error>) -> Result<Reply> {
    let user = me(ctx)?;
    let page = ConfirmPage {
        shell: Shell::new(ctx, request, "Show who you are", ""),
        next: door::pages::local(next),
        password: user.password.is_some(),
        have: super::have(&ctx.read()?, ctx.tenant, user.id)?,
        login: user.login,
        no_passkey: super::under_a_name(ctx).err().map(|error| explain(&error)).unwrap_or_default(),
        minutes: PROOF_LASTS.seconds() / 60,
        error: failed.as_ref().map(explain).unwrap_or_default(),
    };
    Ok(Reply::Html(failed.map_or(200, |error| error.kind().status()), page.render()?))
}

/// What the browser is asked in order to show a passkey again.
fn challenge(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    let (user, session, _) = own(ctx)?;
    Ok(script(super::request(ctx, Some(user), Asks::Again(session))))
}

fn prove(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let next = door::pages::local(request.field("next"));
    match raise(ctx, request) {
        Ok(value) => Ok(Reply::Redirect(next, vec![cookie(ctx, value)?])),
        Err(error) => confirm_page(ctx, request, &next, Some(shown(ctx, error)?)),
    }
}

/// Raises the session by a password, a code or a passkey; gives the cookie's new value.
fn raise(ctx: &Ctx<'_>, request: &PageRequest) -> Result<String> {
    let (id, session, raised) = own(ctx)?;
    let user = me(ctx)?;
    let (answer, code) = (request.field("credential"), request.field("code"));
    let permit = raised.require("identity.prove")?;
    if !answer.is_empty() {
        let held = super::held(ctx, Some(id), Asks::Again(session), answer)?;
        return permit.write(|change| {
            let mut detail = super::spend_passkey(ctx, change, &held)?;
            detail["means"] = json!(Means::Passkey);
            change.tell("identity.proved", id, detail);
            sessions::raise(ctx, change, id, session, Means::Passkey)
        });
    }
    if !code.is_empty() {
        door::take_factor(ctx, &user)?;
        let value = permit.write(|change| {
            super::spend_totp(ctx, change, id, code)?;
            change.tell("identity.proved", id, json!({ "means": Means::Totp }));
            sessions::raise(ctx, change, id, session, Means::Totp)
        })?;
        door::clear_factor(ctx, &user);
        return Ok(value);
    }
    check_own_password(ctx, &user, |kept| verify_password(typed(request, "password").expose(), kept))?;
    permit.write(|change| {
        change.tell("identity.proved", id, json!({ "means": Means::Password }));
        sessions::raise(ctx, change, id, session, Means::Password)
    })
}

fn rules(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let policy = policy::find(ctx, Nothing {})?;
    rules_page(ctx, request, policy, None)
}

fn rules_page(ctx: &Ctx<'_>, request: &PageRequest, policy: Policy, failed: Option<Error>) -> Result<Reply> {
    let roles = roles::names(ctx)?
        .into_iter()
        .map(|role| {
            let asked = policy.second_factor_for.contains(&role);
            (role, asked)
        })
        .collect();
    let page = RulesPage {
        shell: Shell::new(ctx, request, "Signing in", "/people"),
        policy,
        roles,
        may_change: ctx.actor.may("identity.policy_change"),
        error: failed.as_ref().map(explain).unwrap_or_default(),
    };
    Ok(Reply::Html(failed.map_or(200, |error| error.kind().status()), page.render()?))
}

fn change_rules(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let mut wanted = policy::find(ctx, Nothing {})?;
    let number = |name: &str| {
        request.field(name).parse::<u64>().map_err(|_| {
            Error::invalid("the number of minutes is not valid").hint("a whole number, such as 480")
        })
    };
    let read = number("idle").and_then(|idle| Ok((idle, number("absolute")?)));
    let roles = request.field("role").split(',').map(str::trim).filter(|role| !role.is_empty());
    wanted.second_factor_for = roles.map(str::to_owned).collect();
    let changed = read.and_then(|(idle, absolute)| {
        (wanted.idle_minutes, wanted.absolute_minutes) = (idle, absolute);
        policy::change(
            ctx,
            PolicyChanged {
                second_factor_for: Some(wanted.second_factor_for.clone()),
                idle_minutes: Some(idle),
                absolute_minutes: Some(absolute),
            },
        )
    });
    match changed {
        Ok(_) => done("/people/rules", "The rules are changed"),
        Err(error) => rules_page(ctx, request, wanted, Some(shown(ctx, error)?)),
    }
}
