//! Pages: what waits and what was decided, one approval, and what needs a second person.

use askama::Template;

use super::carry::{self, Given};
use super::marks::{self, MarkChosen, Markable};
use super::mask::Shown;
use super::model::State;
use super::ops::{self, ApprovalView, Decided, ListAsked};
use super::store;
use crate::base::{ApprovalId, Error, Kind, Result};
use crate::capabilities::identity;
use crate::kit::{ById, Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, html, part, query, told};

/// Rows of what is over, on one page.
const OVER_ROWS: usize = 50;

/// Declares them.
pub(super) fn register(pages: &mut Pages) {
    pages.get("/approvals", list);
    pages.get("/approvals/marks", show_marks);
    pages.post("/approvals/marks", mark);
    pages.get("/approvals/{id}", one);
    pages.post("/approvals/{id}/decide", decide);
    pages.post("/approvals/{id}/withdraw", withdraw);
    pages.post("/approvals/{id}/collect", collect);
    pages.live("approvals", live);
    pages.live("approvals-count", live_count);
}

/// An approval as a row.
struct Row {
    view: ApprovalView,
    asked: Markup,
}

impl Row {
    fn new(ctx: &Ctx<'_>, view: ApprovalView) -> Row {
        Row { asked: Markup::ago(Some(view.asked), ctx.now), view }
    }
}

#[derive(Template)]
#[template(path = "approvals/_open.html")]
struct OpenPart<'a> {
    assets: &'a str,
    open: &'a [Row],
}

#[derive(Template)]
#[template(path = "approvals/list.html")]
struct ApprovalListPage {
    shell: Shell,
    assets: String,
    open: Vec<Row>,
    over: Vec<Row>,
    next: String,
    marked: usize,
    sees_marks: bool,
}

#[derive(Template)]
#[template(path = "approvals/one.html")]
struct ApprovalViewPage {
    shell: Shell,
    view: ApprovalView,
    asked: Markup,
    until: Markup,
    decided: Markup,
    input: Vec<Shown>,
    /// What the operation answered, as JSON; empty for nothing.
    answer: String,
    may_withdraw: bool,
    may_collect: bool,
    audited: bool,
}

/// A mark as a row.
struct MarkRow {
    permission: String,
    about: String,
    why: String,
    by: String,
    at: Markup,
}

#[derive(Template)]
#[template(path = "approvals/marks.html")]
struct MarksPage {
    shell: Shell,
    marks: Vec<MarkRow>,
    markable: Vec<Markable>,
    deciders: usize,
    may_mark: bool,
    permission: String,
    why: String,
    error: String,
}

fn open(ctx: &Ctx<'_>) -> Result<Vec<Row>> {
    let asked = ListAsked { state: "open".into(), after: None, limit: Some(usize::MAX) };
    Ok(ops::list(ctx, asked)?.items.into_iter().map(|view| Row::new(ctx, view)).collect())
}

fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let asked = ListAsked {
        after: Some(request.asked("after").to_owned()),
        limit: Some(OVER_ROWS),
        state: String::new(),
    };
    let page = ops::list(ctx, asked)?;
    let over = page.items.into_iter().filter(|view| view.state.is_over());
    let sees_marks = ctx.may_open("approvals.read");
    let marked = if sees_marks { store::marks(&ctx.read()?, ctx.tenant)?.len() } else { 0 };
    html(&ApprovalListPage {
        shell: Shell::new(ctx, request, "Approvals", "/approvals").live("approvals"),
        assets: ctx.site.assets.clone(),
        open: open(ctx)?,
        over: over.map(|view| Row::new(ctx, view)).collect(),
        next: page.next.unwrap_or_default(),
        marked,
        sees_marks,
    })
}

fn live(ctx: &Ctx<'_>, _: &str) -> Result<String> {
    let open = open(ctx)?;
    Ok(part("approvals-open", &OpenPart { assets: &ctx.site.assets, open: &open }.render()?))
}

fn live_count(ctx: &Ctx<'_>, _: &str) -> Result<String> {
    ctx.demand("approvals.decide")?;
    let counts = ctx.site.counts.of(ctx.tenant);
    Ok(counts.iter().filter(|count| count.path == "/approvals").map(|count| count.live()).collect())
}

fn one(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let mut view = ops::find(ctx, ById { id: request.param("id")? })?;
    let answer = match view.outcome.as_ref().and_then(|outcome| outcome.answer.as_ref()) {
        Some(answer) => serde_json::to_string_pretty(answer)?,
        None => String::new(),
    };
    let late = ctx.now >= view.until;
    html(&ApprovalViewPage {
        shell: Shell::new(ctx, request, view.permission.clone(), "/approvals").live(""),
        asked: Markup::at(Some(view.asked)),
        until: Markup::at(Some(view.until)),
        decided: Markup::at(view.decision.as_ref().map(|decision| decision.at)),
        input: std::mem::take(&mut view.input),
        answer,
        may_withdraw: view.own
            && (view.state == State::Waiting || view.state == State::Approved && view.collected),
        may_collect: view.own && view.state == State::Approved && view.collected && !late,
        audited: ctx.may_open("audit.read"),
        view,
    })
}

fn decide(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: ApprovalId = request.param("id")?;
    let approve = match request.field("decision") {
        "approve" => true,
        "refuse" => false,
        _ => return Err(Error::invalid("the decision is neither yes nor no")),
    };
    let input = Decided {
        id,
        hash: request.field("hash").to_owned(),
        approve,
        comment: request.field("comment").to_owned(),
    };
    let outcome = ops::decide(ctx, input).and_then(|view| match view.state {
        State::Refused => Ok("You said no; nothing is done".to_owned()),
        State::Approved if view.collected => {
            Ok(format!("Approved; {} can collect the answer now", view.asker))
        }
        State::Failed => Err(Error::conflict("you approved it, and it failed")
            .hint(format!("{} sees why on this page", view.asker))),
        State::Done => Ok("Approved, and done".to_owned()),
        other => Ok(format!("Approved; it is {}", other.word())),
    });
    told(&format!("/approvals/{id}"), outcome)
}

fn withdraw(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: ApprovalId = request.param("id")?;
    let withdrawn = ops::withdraw(ctx, ById { id });
    told(&format!("/approvals/{id}"), withdrawn.map(|_| "It is withdrawn".to_owned()))
}

/// The answer is that of the form or operation itself, in this very session.
fn collect(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: ApprovalId = request.param("id")?;
    match carry::collect(ctx, id) {
        Ok(Given::Page(reply)) => Ok(reply),
        Ok(Given::File(file)) => Ok(Reply::File(file)),
        Ok(Given::Value(value)) => Ok(Reply::File(ops::whole(id, &value))),
        Err(error) => told(&format!("/approvals/{id}"), Err(error)),
    }
}

fn show_marks(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    marks_page(ctx, request, None)
}

fn marks_page(ctx: &Ctx<'_>, request: &PageRequest, failed: Option<Error>) -> Result<Reply> {
    let marked = marks::list(ctx, Nothing {})?;
    let read = ctx.read()?;
    let row = |mark: super::model::Mark| {
        let about = marked.markable.iter().find(|one| one.permission == mark.permission);
        let by = identity::label(&read, ctx.tenant, &mark.by)?.unwrap_or_else(|| mark.by.clone());
        Ok(MarkRow {
            about: about.map(|one| one.about.clone()).unwrap_or_default(),
            at: Markup::ago(Some(mark.at), ctx.now),
            permission: mark.permission,
            why: mark.why,
            by,
        })
    };
    let marks = marked.items.iter().cloned().map(row).collect::<Result<Vec<_>>>()?;
    let free = |one: &Markable| !marks.iter().any(|mark| mark.permission == one.permission);
    let page = MarksPage {
        shell: Shell::new(ctx, request, "What needs two persons", "/approvals"),
        markable: marked.markable.iter().filter(|one| free(one)).cloned().collect(),
        marks,
        deciders: marked.deciders,
        may_mark: ctx.may_open("approvals.mark"),
        permission: if failed.is_some() { request.field("permission").to_owned() } else { String::new() },
        why: if failed.is_some() { request.field("why").to_owned() } else { String::new() },
        error: failed
            .as_ref()
            .map(|error| {
                let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("{}{hint}", error.message())
            })
            .unwrap_or_default(),
    };
    Ok(Reply::Html(failed.map_or(200, |error| error.kind().status()), page.render()?))
}

fn mark(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let needed = request.field("needed") != "no";
    let permission = request.field("permission").to_owned();
    let chosen = MarkChosen { permission: permission.clone(), needed, why: request.field("why").to_owned() };
    let words = if needed { "needs a second person from now on" } else { "needs no second person any more" };
    match marks::mark(ctx, chosen) {
        Ok(_) => {
            let flash = format!("ok:`{permission}` {words}");
            Ok(Reply::Redirect(format!("/approvals/marks?{}", query(&[("flash", &flash)])), Vec::new()))
        }
        Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Conflict | Kind::NotFound) => {
            marks_page(ctx, request, Some(error))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Decision, Outcome};
    use super::*;
    use crate::base::{Span, Timestamp};
    use crate::kit::proof;

    fn sample(state: State, collected: bool) -> ApprovalView {
        let at = Timestamp::from_milliseconds(1_790_000_000_000);
        let decision = Decision { by: "usr_b".into(), at, comment: "as agreed".into() };
        let decided = !matches!(state, State::Waiting | State::Expired | State::Withdrawn);
        ApprovalView {
            id: ApprovalId::from_bits(7),
            state,
            since: at,
            permission: "secrets.rotate".into(),
            about: "Gives a secret a new value; the one before is kept.".into(),
            what: "/secrets/rotate".into(),
            asked_by: "usr_a".into(),
            asker: "Inès Moreau".into(),
            asked: at,
            from: "10.0.0.7".into(),
            until: at + Span::from_hours(24),
            hash: "5e".repeat(32),
            collected,
            decision: decided.then_some(decision),
            decider: if decided { "Omar Saïd".into() } else { String::new() },
            changes: u32::from(state == State::Done),
            own: true,
            may_decide: state == State::Waiting,
            input: Vec::new(),
            outcome: (state == State::Done)
                .then(|| Outcome { words: "done".into(), answer: Some(serde_json::json!({ "version": 4 })) }),
        }
    }

    fn row(state: State) -> Row {
        let view = sample(state, false);
        Row { asked: Markup::ago(Some(view.asked), view.asked), view }
    }

    #[test]
    fn the_pages_in_their_states_and_both_themes() {
        let field =
            |name: &str, content: &str, masked| Shown { name: name.into(), content: content.into(), masked };
        for theme in ["light", "dark"] {
            let shell = || Shell { theme, ..proof::shell("secrets.rotate", "/approvals") };
            let at = || Markup::at(Some(Timestamp::from_milliseconds(1_790_000_000_000)));
            for (state, collected) in
                State::ALL.map(|state| (state, false)).into_iter().chain([(State::Approved, true)])
            {
                let page = ApprovalViewPage {
                    shell: shell(),
                    view: sample(state, collected),
                    asked: at(),
                    until: at(),
                    decided: at(),
                    input: vec![
                        field("name", "line7/plc-password", false),
                        field("value", "[secret]", true),
                        field("about", "", false),
                    ],
                    answer: if state == State::Done { "{ \"version\": 4 }".into() } else { String::new() },
                    may_withdraw: state == State::Waiting || collected,
                    may_collect: collected,
                    audited: true,
                };
                let html = proof::page(&format!("approval-{}-{collected}-{theme}", state.word()), &page);
                assert_eq!(html.contains("/decide\""), state == State::Waiting, "{state:?}");
                assert_eq!(html.contains("/collect\""), collected, "{state:?}");
                assert!(html.contains("a secret, not shown") && html.contains(&"5e".repeat(32)));
            }
            let list = |open: Vec<Row>, over: Vec<Row>| ApprovalListPage {
                shell: shell(),
                assets: "/static/test".into(),
                open,
                over,
                next: "apr_x".into(),
                marked: 2,
                sees_marks: true,
            };
            let rows = vec![row(State::Done), row(State::Refused), row(State::Interrupted)];
            let html = proof::page(&format!("approvals-{theme}"), &list(vec![row(State::Waiting)], rows));
            assert!(html.contains("for you to decide") && html.contains("Older ones"));
            let html = proof::page(&format!("approvals-none-{theme}"), &list(Vec::new(), Vec::new()));
            assert!(html.contains("Nothing waits"));
            let markable =
                Markable { permission: "agents.retire".into(), about: "Retires an agent for good.".into() };
            let marks = |marks: Vec<MarkRow>, error: &str| MarksPage {
                shell: shell(),
                marks,
                markable: vec![markable.clone()],
                deciders: 2,
                may_mark: true,
                permission: "agents.retire".into(),
                why: "x".into(),
                error: error.into(),
            };
            let one = MarkRow {
                permission: "secrets.rotate".into(),
                about: "Gives a secret a new value.".into(),
                why: "the line stops when it is wrong".into(),
                by: "Inès Moreau".into(),
                at: at(),
            };
            let html =
                proof::page(&format!("approvals-marks-{theme}"), &marks(vec![one], "it is marked already"));
            assert!(html.contains("Ask to take it off") && html.contains("role=\"alert\""));
            proof::page(&format!("approvals-unmarked-{theme}"), &marks(Vec::new(), ""));
        }
    }
}
