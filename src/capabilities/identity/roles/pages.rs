//! Pages about roles: one person with what they have and why, all roles with who may do what, and one's own on demand.

use askama::Template;

use super::elevation::{self, Elevated, MINUTES_MAX};
use super::model::{Granted, Standing};
use super::names;
use super::ops::{self as roles, ByName, GrantChosen, RoleChosen, RoleView, Withdrawn};
use super::why::{self, Asked, Why};
use crate::base::{Error, Result, Span, Timestamp, UserId};
use crate::capabilities::identity::door::pages::explain;
use crate::capabilities::identity::model::{SessionView, UserView};
use crate::capabilities::identity::pages::{away, shown};
use crate::capabilities::identity::{FactorsView, factors, look, ops, own, sessions};
use crate::kit::{ById, Ctx, Nothing, OWN, PageRequest, Pages, Reply, Shell, local, query, told};

/// Days that a form may give a role for.
const DAYS_MAX: u64 = 3_650;

pub(in crate::capabilities::identity) fn routes(pages: &mut Pages) {
    pages.get("/people/roles", all);
    pages.post("/people/roles", create);
    pages.post("/people/roles/{name}", change);
    pages.post("/people/roles/{name}/remove", remove);
    pages.get("/people/{id}", person);
    pages.post("/people/{id}/grants", grant);
    pages.post("/people/{id}/grants/withdraw", withdraw);
    pages.post("/people/{id}/look", look_as);
    pages.post("/look-back", look_back);
    pages.get("/account/roles", mine);
    pages.post("/account/roles", take_up);
    pages.post("/account/roles/down", lay_down);
}

/// A grant as a row.
struct Row {
    granted: Granted,
    standing: &'static str,
    until: String,
    over: bool,
}

impl Row {
    fn of(granted: &Granted, now: Timestamp) -> Row {
        Row {
            standing: match granted.standing {
                Standing::Held => "held",
                Standing::Eligible => "eligible",
            },
            until: granted.until.map(|at| local(at, "%Y-%m-%d %H:%M %Z")).unwrap_or_default(),
            over: !granted.lasts(now),
            granted: granted.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "identity/person.html")]
struct PersonPage {
    shell: Shell,
    user: UserView,
    me: bool,
    sessions: Vec<SessionView>,
    factors: FactorsView,
    /// Where their acts stand.
    acts: String,
    may_end: bool,
    may_remove: bool,
    rows: Vec<Row>,
    roles: Vec<String>,
    permissions: Vec<String>,
    asked: String,
    why: Option<Why>,
    may_grant: bool,
    may_look: bool,
    error: String,
}

/// An operation, and which roles may.
struct Line {
    name: &'static str,
    doc: &'static str,
    may: Vec<(String, bool)>,
}

#[derive(Template)]
#[template(path = "identity/roles.html")]
struct RolesPage {
    shell: Shell,
    roles: Vec<RoleView>,
    heads: Vec<String>,
    matrix: Vec<Line>,
    name: String,
    about: String,
    permissions: String,
    may_change: bool,
    error: String,
}

#[derive(Template)]
#[template(path = "identity/mine.html")]
struct MinePage {
    shell: Shell,
    held: Vec<Row>,
    eligible: Vec<Row>,
    taken: bool,
    minutes_max: u64,
    error: String,
}

fn person(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    person_page(ctx, request, None)
}

fn person_page(ctx: &Ctx<'_>, request: &PageRequest, failed: Option<Error>) -> Result<Reply> {
    ctx.require("identity.read")?;
    let id: UserId = request.param("id")?;
    let user = ops::find(ctx, id)?;
    let asked = request.asked("permission").to_owned();
    let why = match asked.as_str() {
        "" => None,
        permission => Some(why::why(ctx, Asked { id, permission: permission.to_owned() })?),
    };
    let me = own(ctx).is_ok_and(|(me, _, _)| me == id);
    let page = PersonPage {
        shell: Shell::new(ctx, request, user.name.to_string(), "/people"),
        me,
        sessions: sessions::of_user(ctx, ById { id })?.items,
        factors: factors::ops::theirs(ctx, ById { id })?,
        acts: format!("/audit?{}", query(&[("actor", &id.to_string())])),
        may_end: ctx.actor.may("identity.user_sessions_revoke"),
        may_remove: ctx.actor.may("identity.factors_remove"),
        rows: user.grants.iter().map(|one| Row::of(one, ctx.now)).collect(),
        roles: names(ctx)?,
        permissions: why::catalogue(ctx.site)
            .into_iter()
            .filter(|one| ctx.shows(one))
            .map(str::to_owned)
            .collect(),
        asked,
        why,
        may_grant: ctx.actor.may("identity.grant"),
        may_look: !me && ctx.actor.may("identity.look_as"),
        error: failed.as_ref().map(explain).unwrap_or_default(),
        user,
    };
    Ok(Reply::Html(failed.map_or(200, |e| e.kind().status()), page.render()?))
}

fn standing(text: &str) -> Standing {
    if text == "eligible" { Standing::Eligible } else { Standing::Held }
}

fn grant(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: UserId = request.param("id")?;
    let given = (|| {
        let until = match request.field("days") {
            "" => None,
            text => {
                let days =
                    text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days)).ok_or_else(|| {
                        Error::invalid("the number of days is not valid")
                            .hint(format!("1 to {DAYS_MAX}, or nothing for a role without an end"))
                    })?;
                Some(ctx.now + Span::from_days(days))
            }
        };
        let chosen = GrantChosen {
            id,
            role: request.field("role").parse()?,
            scope: request.field("scope").parse()?,
            standing: standing(request.field("standing")),
            until,
            reason: request.field("reason").to_owned(),
        };
        roles::grant(ctx, chosen)
    })();
    match given {
        Ok(user) => told(&format!("/people/{id}"), Ok(format!("{} has it now", user.name))),
        Err(error) => person_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn withdraw(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: UserId = request.param("id")?;
    let taken = (|| {
        let (role, scope) = (request.field("role").parse()?, request.field("scope").parse()?);
        roles::withdraw(ctx, Withdrawn { id, role, scope, standing: standing(request.field("standing")) })
    })();
    match taken {
        Ok(_) => told(&format!("/people/{id}"), Ok("It is taken away".to_owned())),
        Err(error) => person_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn look_as(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: UserId = request.param("id")?;
    match look::look_as(ctx, ById { id }) {
        Ok(_) => Ok(Reply::Redirect("/".into(), Vec::new())),
        Err(error) => person_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn look_back(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    look::look_back(ctx, Nothing {})?;
    told("/people", Ok("You are yourself again".to_owned()))
}

fn all(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    roles_page(ctx, request, None)
}

fn roles_page(ctx: &Ctx<'_>, request: &PageRequest, failed: Option<Error>) -> Result<Reply> {
    let roles = roles::list(ctx, Nothing {})?.items;
    let may = |op: &crate::kit::Op| {
        roles.iter().map(|role| (role.name.to_string(), role.permissions.allow(&op.permission))).collect()
    };
    let matrix = ctx
        .site
        .ops()
        .iter()
        .filter(|op| op.permission != OWN && ctx.shows(&op.permission))
        .map(|op| Line { name: op.name, doc: op.doc, may: may(op) })
        .collect();
    let name = match request.params.get("name") {
        Some(name) => name.clone(),
        None => request.field("name").to_owned(),
    };
    let page = RolesPage {
        shell: Shell::new(ctx, request, "Roles", "/people"),
        heads: roles.iter().map(|role| role.name.to_string()).collect(),
        roles,
        matrix,
        name,
        about: request.field("about").to_owned(),
        permissions: request.field("permissions").to_owned(),
        may_change: ctx.actor.may("identity.role_create"),
        error: failed.as_ref().map(explain).unwrap_or_default(),
    };
    Ok(Reply::Html(failed.map_or(200, |e| e.kind().status()), page.render()?))
}

fn chosen(request: &PageRequest, name: &str) -> Result<RoleChosen> {
    Ok(RoleChosen {
        name: name.parse()?,
        about: request.field("about").to_owned(),
        permissions: request.field("permissions").to_owned(),
    })
}

fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match chosen(request, request.field("name")).and_then(|role| roles::create(ctx, role)) {
        Ok(_) => told("/people/roles", Ok("The role is made".to_owned())),
        Err(error) => roles_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn named(request: &PageRequest) -> &str {
    request.params.get("name").map(String::as_str).unwrap_or_default()
}

fn change(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match chosen(request, named(request)).and_then(|role| roles::change(ctx, role)) {
        Ok(_) => told("/people/roles", Ok("The role is changed for everybody who has it".to_owned())),
        Err(error) => roles_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn remove(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match named(request).parse().and_then(|name| roles::remove(ctx, ByName { name })) {
        Ok(_) => told("/people/roles", Ok("The role is removed".to_owned())),
        Err(error) => roles_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn mine(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    if let Some(away) = away(ctx, request, "Your roles")? {
        return Ok(away);
    }
    mine_page(ctx, request, None)
}

fn mine_page(ctx: &Ctx<'_>, request: &PageRequest, failed: Option<Error>) -> Result<Reply> {
    let (id, _, _) = own(ctx)?;
    let user = ops::find(ctx, id)?;
    let rows = user.grants.iter().filter(|one| one.lasts(ctx.now)).map(|one| Row::of(one, ctx.now));
    let (held, eligible): (Vec<Row>, Vec<Row>) = rows.partition(|row| row.standing == "held");
    let page = MinePage {
        shell: Shell::new(ctx, request, "Your roles", "/account"),
        taken: !eligible.is_empty() && held.iter().any(|row| row.granted.until.is_some()),
        held,
        eligible,
        minutes_max: MINUTES_MAX,
        error: failed.as_ref().map(explain).unwrap_or_default(),
    };
    Ok(Reply::Html(failed.map_or(200, |e| e.kind().status()), page.render()?))
}

fn take_up(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let taken = (|| {
        let minutes = request.field("minutes").parse().map_err(|_| {
            Error::invalid("the number of minutes is not valid").hint(format!("1 to {MINUTES_MAX}"))
        })?;
        let (role, scope) = (request.field("role").parse()?, request.field("scope").parse()?);
        elevation::elevate(ctx, Elevated { role, scope, minutes, reason: request.field("reason").to_owned() })
    })();
    match taken {
        Ok(_) => told("/account/roles", Ok("You have it now; it ends by itself".to_owned())),
        Err(error) => mine_page(ctx, request, Some(shown(ctx, error)?)),
    }
}

fn lay_down(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    match elevation::step_down(ctx, Nothing {}) {
        Ok(_) => told("/account/roles", Ok("It is laid down".to_owned())),
        Err(error) => mine_page(ctx, request, Some(shown(ctx, error)?)),
    }
}
