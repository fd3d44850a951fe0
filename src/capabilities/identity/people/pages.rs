//! Pages of one person, of many at once, and of what one chose for oneself.

use askama::Template;

use super::export;
use super::import::{ImportAsked, Imported, import};
use super::profile::{self, Profile};
use crate::base::{Error, Kind, Result, SessionId, UserId, kind};
use crate::capabilities::identity::door::pages::explain;
use crate::capabilities::identity::factors;
use crate::capabilities::identity::sessions::{self, SessionsEnded};
use crate::capabilities::identity::{ops, own};
use crate::kit::{ById, Ctx, Nothing, PageRequest, Pages, Reply, Shell, told};

/// Adds the routes.
pub(in crate::capabilities::identity) fn routes(pages: &mut Pages) {
    pages.get("/people/import", show_import);
    pages.post("/people/import", take_in);
    pages.post("/people/export", give_out);
    pages.post("/people/bulk", bulk);
    pages.post("/people/{id}/sessions/revoke", end_sessions);
    pages.post("/people/{id}/factors/remove", remove_factors);
    pages.post("/account/profile", change_profile);
}

#[derive(Template)]
#[template(path = "identity/import.html")]
struct ImportPage {
    shell: Shell,
    csv: String,
    outcome: Option<Imported>,
    error: String,
}

fn end_sessions(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: UserId = request.param("id")?;
    let session = match request.field("session") {
        "" => None,
        text => Some(text.parse::<SessionId>()?),
    };
    let ended = sessions::revoke_of_user(ctx, SessionsEnded { id, session });
    let words = if session.is_some() { "The session has ended" } else { "All their sessions have ended" };
    told(&format!("/people/{id}"), ended.map(|_| words.to_owned()))
}

fn remove_factors(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: UserId = request.param("id")?;
    let removed = factors::ops::remove_all(ctx, ById { id });
    let words = "Their second factors are removed, their sessions have ended";
    told(&format!("/people/{id}"), removed.map(|_| words.to_owned()))
}

/// Acts on the people that were picked, one after the other; what is refused for one is told and stops nobody else.
fn bulk(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    type Act = fn(&Ctx<'_>, UserId) -> Result<()>;
    let (done, act): (&str, Act) = match request.field("action") {
        "disable" => ("disabled", |ctx, id| ops::disable(ctx, by(id)).map(|_| ())),
        "enable" => ("enabled", |ctx, id| ops::enable(ctx, by(id)).map(|_| ())),
        "sessions" => ("signed out", |ctx, id| {
            sessions::revoke_of_user(ctx, SessionsEnded { id, session: None }).map(|_| ())
        }),
        _ => return Err(Error::invalid("the action is not known")),
    };
    let picked = request.field("user").split(',').filter(|id| !id.is_empty());
    let picked = picked.map(str::parse::<UserId>).collect::<Result<Vec<_>>>()?;
    if picked.is_empty() {
        return told(
            "/people",
            Err(Error::invalid("nobody is picked").hint("tick the boxes before their names")),
        );
    }
    let (me, _, _) = own(ctx)?;
    let (mut count, mut refused) = (0, Vec::new());
    for id in picked {
        if id == me && done == "disabled" {
            refused.push("nobody shuts themselves out".to_owned());
            continue;
        }
        match act(ctx, id) {
            Ok(()) => count += 1,
            Err(error) if matches!(error.kind(), Kind::StepUp | Kind::Approval | Kind::Internal) => {
                return Err(error);
            }
            Err(error) => refused.push(error.message().to_owned()),
        }
    }
    let outcome = match refused.as_slice() {
        [] => Ok(format!("{count} {done}")),
        refused => Err(Error::conflict(format!("{count} {done}; {}", refused.join("; ")))),
    };
    told("/people", outcome)
}

fn by(id: UserId) -> ById<kind::User> {
    ById { id }
}

fn show_import(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    ctx.require("identity.read")?;
    import_page(ctx, request, None, None)
}

fn import_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    outcome: Option<Imported>,
    failed: Option<Error>,
) -> Result<Reply> {
    let status = match (&failed, &outcome) {
        (Some(error), _) => error.kind().status(),
        (None, Some(outcome)) if outcome.wrong > 0 => 422,
        _ => 200,
    };
    let page = ImportPage {
        shell: Shell::new(ctx, request, "Import people", "/people"),
        csv: request.form.get("csv").cloned().unwrap_or_default(),
        outcome,
        error: failed.as_ref().map(explain).unwrap_or_default(),
    };
    Ok(Reply::Html(status, page.render()?))
}

fn take_in(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let csv = request.form.get("csv").cloned().unwrap_or_default();
    let preview = request.field("action") != "import";
    match import(ctx, ImportAsked { csv, preview }) {
        Ok(outcome) => import_page(ctx, request, Some(outcome), None),
        Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Conflict | Kind::TooMany) => {
            import_page(ctx, request, None, Some(error))
        }
        Err(error) => Err(error),
    }
}

fn give_out(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    export::file(ctx, request.field("format")).map(Reply::File)
}

fn change_profile(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let before = profile::find(ctx, Nothing {})?;
    let (language, time_zone) = (request.field("language"), request.field("time_zone"));
    let wanted = Profile { language: language.to_owned(), time_zone: time_zone.to_owned(), ..before };
    told("/account", profile::change(ctx, wanted).map(|_| "Your choices are kept".to_owned()))
}

/// What one chose, for the account's page.
pub(in crate::capabilities::identity) fn chosen(ctx: &Ctx<'_>) -> Result<Profile> {
    profile::find(ctx, Nothing {})
}
