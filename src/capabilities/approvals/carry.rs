//! Carrying out what was approved: once, as who asked for it.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::ask::{op, raised};
use super::model::{ANSWER_BYTES_MAX, Approval, KEPT, KEPT_MAX, Outcome, State};
use super::store::{self, OUTCOME};
use crate::base::{ApprovalId, Error, Kind, Result, SessionId, TenantId};
use crate::capabilities::identity;
use crate::kit::{Actor, Approved, Change, Ctx, Download, Intent, PageRequest, PerSite, Reply, Request};

/// Approvals that are swept away in one change.
const SWEPT_MAX: usize = 200;
/// Characters of a reason that events keep.
const REASON_CHARACTERS_MAX: usize = 300;

/// What this process carries out at this moment.
type Running = Mutex<HashSet<(TenantId, ApprovalId)>>;

static RUNNING: PerSite<Running> = PerSite::new();

/// What was carried out gave this.
pub(super) enum Given {
    /// An operation answered.
    Value(Value),
    /// An operation gave a file.
    File(Download),
    /// A form answered.
    Page(Reply),
}

/// The right of this process to carry one out. Whatever becomes of it, it is given back.
struct Turn {
    running: Arc<Running>,
    one: (TenantId, ApprovalId),
}

impl Turn {
    fn take(ctx: &Ctx<'_>, id: ApprovalId) -> Result<Turn> {
        let running = RUNNING.of(ctx.site, Running::default);
        let one = (ctx.tenant, id);
        match running.lock().insert(one) {
            true => {}
            false => return Err(Error::conflict(format!("the approval `{id}` is being carried out"))),
        }
        Ok(Turn { running, one })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.running.lock().remove(&self.one);
    }
}

/// Carries out what was approved and gives nothing away, as who asked.
pub(super) fn run(ctx: &Ctx<'_>, id: ApprovalId) -> Result<()> {
    let system = system(ctx);
    // Before the change: who sweeps must not take it for one that was left behind.
    let _turn = Turn::take(ctx, id)?;
    let approval = begin(&system, id, |_, _| ())?;
    let came = as_asker(ctx, &approval).and_then(|(acting, intent)| {
        let given = perform(&acting, &intent)?;
        outcome(given)
    });
    finish(&system, id, came)
}

/// Carries out what gives something away, for who asked and now collects it.
pub(super) fn collect(ctx: &Ctx<'_>, id: ApprovalId) -> Result<Given> {
    let raised = raised(ctx)?;
    let read = ctx.read()?;
    let before = store::find(&read, ctx.tenant, id)?;
    if before.asker != ctx.actor.text() {
        return Err(Error::forbidden("only who asked collects the answer")
            .hint("it is given once, and to nobody else"));
    }
    if !before.collected {
        return Err(Error::conflict(format!("`{}` gives nothing away that is collected", before.what))
            .hint("it is carried out as soon as it is approved"));
    }
    ctx.proved_for(&before.permission)?;
    let sealed = store::intent(ctx.site, &read, ctx.tenant, &before)?;
    drop(read);
    let _turn = Turn::take(ctx, id)?;
    let approval = begin(&raised, id, |approval, change| {
        let by = approval.decision.as_ref().map(|decision| decision.by.clone());
        let detail = json!({ "permission": approval.permission, "approved_by": by });
        change.tell("approvals.collected", approval.id, detail);
    })?;
    let acting = Ctx { approved: Some(Arc::new(approved(&approval))), ..ctx.clone() };
    let given = perform(&acting, &sealed.intent);
    let came = match &given {
        Ok(Given::Page(reply)) => said(reply),
        Ok(_) => Ok("collected".to_owned()),
        Err(error) => Err(reason(error)),
    };
    let came = came.map(|words| Outcome { words, answer: None }).map_err(Error::conflict);
    finish(&system(ctx), id, came)?;
    given
}

/// The appliance, in the tenant of who set it off.
fn system<'a>(ctx: &Ctx<'a>) -> Ctx<'a> {
    let request = Request { from: "approvals".into(), ..ctx.request.clone() };
    Ctx { actor: Actor::System, approved: None, request, ..ctx.clone() }
}

fn begin(ctx: &Ctx<'_>, id: ApprovalId, tell: impl FnOnce(&Approval, &mut Change<'_>)) -> Result<Approval> {
    ctx.require("approvals.run")?.write(|change| {
        let after = store::find(&*change.tx, ctx.tenant, id)?.begin(ctx.now)?;
        store::put(change.tx, ctx.tenant, &after)?;
        tell(&after, change);
        Ok(after)
    })
}

/// The asker as they are now, and what they asked for.
fn as_asker<'a>(ctx: &Ctx<'a>, approval: &Approval) -> Result<(Ctx<'a>, Intent)> {
    let read = ctx.read()?;
    let sealed = store::intent(ctx.site, &read, ctx.tenant, approval)?;
    let session = sealed.session.unwrap_or(SessionId::from_bits(0));
    let now = ctx.site.clock.now();
    let actor = identity::again(&read, ctx.tenant, &approval.asker, session, now)?;
    // The approval stands in the place of the request, so that every entry leads to it.
    let request = Request { id: approval.id.to_string(), from: approval.from.clone(), ..Request::default() };
    let approved = Some(Arc::new(approved(approval)));
    Ok((Ctx { actor, now, request, approved, ..ctx.clone() }, sealed.intent))
}

fn approved(approval: &Approval) -> Approved {
    let by = approval.decision.as_ref().map(|decision| decision.by.clone()).unwrap_or_default();
    Approved { id: approval.id, permission: approval.permission.clone(), by, note }
}

/// Each change that is made under an approval says so, and counts.
fn note(approved: &Approved, tenant: TenantId, change: &mut Change<'_>) -> Result<()> {
    let before = store::find(&*change.tx, tenant, approved.id)?;
    if before.state != State::Running {
        return Err(Error::conflict(format!("the approval `{}` is not being carried out", approved.id)));
    }
    store::put(change.tx, tenant, &Approval { changes: before.changes + 1, ..before })?;
    let detail = json!({ "permission": approved.permission, "approved_by": approved.by });
    change.tell("approvals.acted", approved.id, detail);
    Ok(())
}

/// Does it.
fn perform(ctx: &Ctx<'_>, intent: &Intent) -> Result<Given> {
    let id = ctx.request.id.as_str();
    let acted = || match intent {
        Intent::Operation { name, input } => {
            let op = op(ctx, name).ok_or_else(|| Error::not_found("operation", name))?;
            if !ctx.actor.may(&op.permission) {
                let error = Error::forbidden(format!("`{}` may not `{}`", ctx.actor.label(), op.permission));
                return Err(error.hint("they had the right when they asked, and have lost it since"));
            }
            let actor = ctx.actor.text();
            let span = tracing::info_span!("op", name = op.name, request.id = %id, actor.id = %actor);
            span.in_scope(|| match &op.file {
                Some(file) => file(ctx, input.clone()).map(Given::File),
                None => (op.run)(ctx, input.clone()).map(Given::Value),
            })
        }
        Intent::Form { path, params, query, fields } => {
            let pages = ctx.site.pages().map(|pages| pages.pages.as_slice()).unwrap_or_default();
            let page = pages.iter().find(|page| page.form && page.path == path.as_str());
            let page = page.ok_or_else(|| Error::not_found("form", path))?;
            let request = PageRequest {
                params: params.clone(),
                query: query.clone(),
                form: fields.clone(),
                url: "/approvals".into(),
                ..PageRequest::default()
            };
            let actor = ctx.actor.text();
            let span = tracing::info_span!("page", name = page.path, request.id = %id, actor.id = %actor);
            span.in_scope(|| (page.run)(ctx, &request)).map(Given::Page)
        }
    };
    let acted = catch_unwind(AssertUnwindSafe(acted));
    acted.unwrap_or_else(|_| Err(Error::internal("what was approved panicked"))).map_err(|error| {
        if error.kind() == Kind::Approval {
            return Error::conflict(format!("{} as well", error.message()))
                .hint("ask for that part by itself, or have one of the marks taken off");
        }
        error
    })
}

/// What is kept of an answer.
fn outcome(given: Given) -> Result<Outcome> {
    match given {
        Given::Value(value) => {
            let bytes = value.to_string().len();
            let kept = bytes <= ANSWER_BYTES_MAX;
            let words = match kept {
                true => "done".to_owned(),
                false => format!("done; its answer of {bytes} bytes is too long to be kept"),
            };
            Ok(Outcome { words, answer: kept.then_some(value).filter(|value| !value.is_null()) })
        }
        Given::File(_) => Ok(Outcome { words: "done".into(), answer: None }),
        Given::Page(reply) => match said(&reply) {
            Ok(words) => Ok(Outcome { words, answer: None }),
            Err(words) => Err(Error::conflict(words)),
        },
    }
}

/// What a form's answer says: in the message for the next page, or on the page itself.
fn said(reply: &Reply) -> Result<String, String> {
    match reply {
        Reply::Redirect(to, _) => {
            let query = to.split_once('?').map(|(_, query)| query).unwrap_or_default();
            let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
            let flash = pairs.into_iter().find(|(name, _)| name == "flash").map(|(_, value)| value);
            match flash.as_deref().and_then(|flash| flash.split_once(':')) {
                Some(("error", words)) => Err(words.to_owned()),
                Some((_, words)) => Ok(words.to_owned()),
                None => Ok("done".to_owned()),
            }
        }
        Reply::Html(status, page) if *status >= 400 => {
            Err(alert(page).unwrap_or_else(|| format!("the form was refused with the status {status}")))
        }
        Reply::Json(status, _) if *status >= 400 => {
            Err(format!("the form was refused with the status {status}"))
        }
        _ => Ok("done".to_owned()),
    }
}

/// The text of the first element of a page that says what went wrong.
fn alert(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("role=\"alert\"")?;
    let (_, rest) = rest.split_once('>')?;
    let (mut text, mut inside) = (String::new(), false);
    for c in rest.chars().take(4_000) {
        match c {
            '<' if !text.trim().is_empty() => break,
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => text.push(c),
            _ => {}
        }
    }
    let mut text = text.trim().to_owned();
    for (code, sign) in [("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&#60;", "<"), ("&lt;", "<")] {
        text = text.replace(code, sign);
    }
    for (code, sign) in [("&#62;", ">"), ("&gt;", ">"), ("&#38;", "&"), ("&amp;", "&")] {
        text = text.replace(code, sign);
    }
    (!text.is_empty()).then_some(text)
}

fn reason(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

/// Notes the end, and keeps what came of it for who asked.
fn finish(ctx: &Ctx<'_>, id: ApprovalId, came: Result<Outcome>) -> Result<()> {
    if let Err(error) = &came {
        tracing::warn!(approval = %id, "what was approved as `{id}` failed: {}", error.detail());
    }
    let now = ctx.site.clock.now();
    ctx.require("approvals.run")?.write(|change| {
        let after = store::find(&*change.tx, ctx.tenant, id)?.end(came.is_ok(), now)?;
        store::put(change.tx, ctx.tenant, &after)?;
        let mut detail = json!({
            "permission": after.permission, "asked_by": after.asker, "changes": after.changes,
        });
        let kept = match &came {
            Ok(outcome) => {
                change.tell("approvals.done", id, detail);
                outcome.clone()
            }
            Err(error) => {
                let words = reason(error);
                detail["because"] = words.chars().take(REASON_CHARACTERS_MAX).collect::<String>().into();
                change.tell("approvals.failed", id, detail);
                Outcome { words, answer: None }
            }
        };
        store::seal(ctx, change, id, OUTCOME, &kept)
    })
}

/// Notes that one did not come to its end.
pub(super) fn interrupt(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    before: &Approval,
    because: &str,
) -> Result<()> {
    store::put(change.tx, ctx.tenant, &before.interrupt(ctx.now))?;
    change.tell(
        "approvals.interrupted",
        before.id,
        json!({
            "permission": before.permission, "asked_by": before.asker, "because": because,
            "changes": before.changes,
        }),
    );
    Ok(())
}

/// Notes which ones this process does not carry out, though somebody has begun them.
pub(super) fn settle(ctx: &Ctx<'_>) -> Result<()> {
    let running = RUNNING.of(ctx.site, Running::default);
    let left: Vec<Approval> = store::open(&ctx.read()?, ctx.tenant)?
        .into_iter()
        .filter(|one| one.state == State::Running && !running.lock().contains(&(ctx.tenant, one.id)))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    ctx.require("approvals.sweep")?.write(|change| {
        for one in &left {
            let now = store::find(&*change.tx, ctx.tenant, one.id)?;
            // It may have ended since it was looked at.
            if now.state == State::Running && !running.lock().contains(&(ctx.tenant, one.id)) {
                interrupt(ctx, change, &now, "the server stopped while it was carried out")?;
            }
        }
        Ok(())
    })
}

/// The job: what is late expires, what was left behind is noted, what was approved and not begun is carried out, and what
/// is old goes.
pub(super) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    settle(ctx)?;
    let read = ctx.read()?;
    let open = store::open(&read, ctx.tenant)?;
    let late: Vec<ApprovalId> = open.iter().filter(|one| one.is_late(ctx.now)).map(|one| one.id).collect();
    let all = store::all(&read, ctx.tenant)?;
    let old = all.iter().enumerate().filter(|(place, one)| {
        one.state.is_over() && (*place >= KEPT_MAX || ctx.now.since(one.since) >= KEPT)
    });
    let old: Vec<ApprovalId> = old.map(|(_, one)| one.id).take(SWEPT_MAX).collect();
    drop(read);
    if !late.is_empty() || !old.is_empty() {
        ctx.require("approvals.sweep")?.write(|change| {
            for id in &late {
                let before = store::find(&*change.tx, ctx.tenant, *id)?;
                if before.is_late(ctx.now) {
                    store::put(change.tx, ctx.tenant, &before.expire(ctx.now))?;
                    let detail = json!({ "permission": before.permission, "asked_by": before.asker });
                    change.tell("approvals.expired", *id, detail);
                }
            }
            old.iter().try_for_each(|id| store::forget(change.tx, ctx.tenant, *id))
        })?;
        store::remember(ctx.site, ctx.tenant)?;
    }
    for one in open.iter().filter(|one| one.state == State::Approved && !one.collected) {
        if ctx.site.is_stopping() {
            break;
        }
        match run(ctx, one.id) {
            // Whoever decided carries it out at this moment.
            Err(error) if error.kind() == Kind::Conflict => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_answers_is_read_from_it() {
        let to = |to: &str| said(&Reply::Redirect(to.into(), Vec::new()));
        assert_eq!(to("/x?flash=ok%3ADone+it"), Ok("Done it".into()));
        assert_eq!(to("/x?a=b&flash=error%3Ano%3A+not"), Err("no: not".into()));
        assert_eq!(to("/x"), Ok("done".into()));
        let page = "<p role=\"alert\"><svg><use href=\"x\"/></svg>it is &#60;taken&#62;; choose</p>";
        assert_eq!(said(&Reply::Html(409, page.into())), Err("it is <taken>; choose".into()));
        assert!(said(&Reply::Html(422, "<p>".into())).unwrap_err().contains("422"));
        assert_eq!(said(&Reply::Html(200, page.into())), Ok("done".into()));
    }
}
