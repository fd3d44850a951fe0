//! Looking at approvals, deciding, taking back, and collecting answers.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ask::{op, raised};
use super::carry::{self, Given};
use super::mask::{self, Shown};
use super::model::{Approval, Decision, Outcome, State, line};
use super::store::{self, OUTCOME};
use crate::base::{ApprovalId, Error, Kind, Page, Result, Timestamp, kind, limits};
use crate::capabilities::identity;
use crate::engine::store::Read;
use crate::kit::{Actor, ById, Ctx, Download, Ops, Sight};

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get(
        "approvals.list",
        "/approvals",
        "Lists approvals that one asked for, or may see, the newest first.",
        list,
    );
    ops.own();
    ops.get("approvals.find", "/approvals/{id}", "Finds an approval, with what was asked.", find);
    ops.own();
    ops.post(
        "approvals.decide",
        "/approvals/{id}/decide",
        "Says yes or no, as a second person, to what was asked for; a yes carries it out.",
        decide,
    );
    ops.post(
        "approvals.withdraw",
        "/approvals/{id}/withdraw",
        "Takes back what one asked for, while nobody has decided.",
        withdraw,
    );
    ops.own();
    ops.file(
        "approvals.collect",
        "/approvals/{id}/collect",
        "Carries out what was approved and gives something away, and answers with that, once, to who asked.",
        collect,
    );
    ops.own();
    ops.gives("approvals.collected");
}

/// An approval as lists and the API show it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ApprovalView {
    /// The identifier.
    pub(super) id: ApprovalId,
    /// How it stands.
    pub(super) state: State,
    /// Since when.
    pub(super) since: Timestamp,
    /// The permission that is marked.
    pub(super) permission: String,
    /// What that operation does.
    pub(super) about: String,
    /// The operation, or the page of the form, that was used.
    pub(super) what: String,
    /// Who asked, as in the audit log.
    pub(super) asked_by: String,
    /// What people call them.
    pub(super) asker: String,
    /// When.
    pub(super) asked: Timestamp,
    /// Where they were.
    pub(super) from: String,
    /// Until when it can be decided, and its answer collected.
    pub(super) until: Timestamp,
    /// The hash of all that it is bound to.
    pub(super) hash: String,
    /// Whether its answer is given to who asked when they collect it.
    pub(super) collected: bool,
    /// Who decided, when somebody has.
    pub(super) decision: Option<Decision>,
    /// What people call them.
    pub(super) decider: String,
    /// Changes that it has made.
    pub(super) changes: u32,
    /// Whether it is one's own.
    pub(super) own: bool,
    /// Whether one may decide on it.
    pub(super) may_decide: bool,
    /// What was asked, with secrets masked; only where one approval is looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) input: Vec<Shown>,
    /// What came of it; only for who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
}

/// Who looks, and whose approvals they see.
struct Eyes<'a> {
    ctx: &'a Ctx<'a>,
    me: String,
    decides: bool,
    reads: bool,
}

impl<'a> Eyes<'a> {
    fn of(ctx: &'a Ctx<'a>) -> Result<Eyes<'a>> {
        if matches!(ctx.actor, Actor::Anonymous | Actor::Agent { .. }) {
            return Err(Error::unauthenticated("nobody is signed in").hint("sign in, or send an API key"));
        }
        let everything = |permission: &str| ctx.actor.sight(permission) == Sight::Everything;
        let looks = ctx.actor.rights().is_some_and(|rights| rights.looks_as.is_some());
        Ok(Eyes {
            ctx,
            me: ctx.actor.text(),
            decides: everything("approvals.decide") && !looks && !matches!(ctx.actor, Actor::Key { .. }),
            reads: everything("approvals.read"),
        })
    }

    fn behind(&self, read: &impl Read, approval: &Approval) -> Result<BTreeSet<String>> {
        identity::makers(read, self.ctx.tenant, &approval.asker)
    }

    /// Who asked, and whoever may decide; others when they may read of both, approvals and what it is about.
    fn see(&self, approval: &Approval, behind: &BTreeSet<String>) -> bool {
        let noun = approval.permission.split('.').next().unwrap_or_default();
        behind.contains(&self.me)
            || self.decides
            || self.reads && self.ctx.actor.sight(&format!("{noun}.read")) == Sight::Everything
    }

    fn view(&self, read: &impl Read, approval: Approval, behind: &BTreeSet<String>) -> Result<ApprovalView> {
        let label = |who: &str| {
            identity::label(read, self.ctx.tenant, who).map(|name| name.unwrap_or_else(|| who.to_owned()))
        };
        let decider = match &approval.decision {
            Some(decision) => label(&decision.by)?,
            None => String::new(),
        };
        let waits = approval.state == State::Waiting && !approval.is_late(self.ctx.now);
        let person = matches!(self.ctx.actor, Actor::Person { .. });
        Ok(ApprovalView {
            id: approval.id,
            state: approval.state,
            since: approval.since,
            about: op(self.ctx, &approval.permission).map(|op| op.doc.to_owned()).unwrap_or_default(),
            what: approval.what,
            asker: label(&approval.asker)?,
            own: approval.asker == self.me,
            may_decide: waits && person && self.decides && !behind.contains(&self.me),
            asked_by: approval.asker,
            permission: approval.permission,
            asked: approval.asked,
            from: approval.from,
            until: approval.until,
            hash: approval.hash,
            collected: approval.collected,
            decision: approval.decision,
            decider,
            changes: approval.changes,
            input: Vec::new(),
            outcome: None,
        })
    }
}

/// Which of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct ListAsked {
    /// Only those that stand so: `waiting`, `approved`, `done` and so on; `open` for all that are not over.
    pub(super) state: String,
    /// Rows to leave out, from `next` of the page before.
    pub(super) after: Option<String>,
    /// Rows of the page.
    pub(super) limit: Option<usize>,
}

/// Lists them.
pub(super) fn list(ctx: &Ctx<'_>, asked: ListAsked) -> Result<Page<ApprovalView>> {
    let eyes = Eyes::of(ctx)?;
    let state = match asked.state.as_str() {
        "" | "open" => None,
        word => Some(State::ALL.into_iter().find(|state| state.word() == word).ok_or_else(|| {
            let words = State::ALL.map(State::word).join(", ");
            Error::invalid("the state is not known").hint(format!("use open, {words}"))
        })?),
    };
    let after: Option<ApprovalId> = match asked.after.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse()?),
    };
    let limit = asked.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let read = ctx.read()?;
    let (mut items, mut next) = (Vec::new(), None);
    for approval in store::all(&read, ctx.tenant)? {
        let fits = match state {
            Some(state) => approval.state == state,
            None => asked.state.is_empty() || !approval.state.is_over(),
        };
        if !fits || after.is_some_and(|after| approval.id >= after) {
            continue;
        }
        let behind = eyes.behind(&read, &approval)?;
        if !eyes.see(&approval, &behind) {
            continue;
        }
        if items.len() == limit {
            next = items.last().map(|last: &ApprovalView| last.id.to_string());
            break;
        }
        items.push(eyes.view(&read, approval, &behind)?);
    }
    Ok(Page { items, next })
}

/// Finds one.
pub(super) fn find(ctx: &Ctx<'_>, input: ById<kind::Approval>) -> Result<ApprovalView> {
    let eyes = Eyes::of(ctx)?;
    let read = ctx.read()?;
    let approval = store::find(&read, ctx.tenant, input.id)?;
    let behind = eyes.behind(&read, &approval)?;
    if !eyes.see(&approval, &behind) {
        return Err(Error::not_found("approval", input.id));
    }
    let shown = match store::intent(ctx.site, &read, ctx.tenant, &approval) {
        Ok(sealed) => mask::shown(ctx, &approval.permission, &sealed.intent),
        // It is said there, and it cannot be approved into anything.
        Err(error) if error.kind() != Kind::Internal => Vec::new(),
        Err(error) => return Err(error),
    };
    let outcome = match approval.asker == eyes.me {
        true => store::unseal(ctx.site, &read, ctx.tenant, approval.id, OUTCOME)?,
        false => None,
    };
    Ok(ApprovalView { input: shown, outcome, ..eyes.view(&read, approval, &behind)? })
}

/// A decision.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Decided {
    /// On which.
    pub(super) id: ApprovalId,
    /// The hash that was shown.
    pub(super) hash: String,
    /// Yes or no.
    pub(super) approve: bool,
    /// Why, for who asked and for the audit log.
    #[serde(default)]
    pub(super) comment: String,
}

/// Decides, and carries out what was approved.
pub(super) fn decide(ctx: &Ctx<'_>, input: Decided) -> Result<ApprovalView> {
    let after = decided(ctx, &input)?;
    if after.state == State::Approved && !after.collected {
        match carry::run(ctx, input.id) {
            // The job was quicker.
            Err(error) if error.kind() == Kind::Conflict => {}
            outcome => outcome?,
        }
    }
    store::remember(ctx.site, ctx.tenant)?;
    find(ctx, ById { id: input.id })
}

/// Writes the decision down.
pub(super) fn decided(ctx: &Ctx<'_>, input: &Decided) -> Result<Approval> {
    let permit = ctx.require("approvals.decide")?;
    if !matches!(ctx.actor, Actor::Person { .. }) {
        return Err(Error::forbidden("a program decides nothing: a second person does")
            .hint("sign in to the console"));
    }
    let comment = line("comment", &input.comment)?;
    permit.write(|change| {
        let before = store::find(&*change.tx, ctx.tenant, input.id)?;
        if input.approve {
            store::intent(ctx.site, &*change.tx, ctx.tenant, &before)?;
        }
        let behind = identity::makers(&*change.tx, ctx.tenant, &before.asker)?;
        let decision = Decision { by: ctx.actor.text(), at: ctx.now, comment: comment.clone() };
        let after = before.decide(decision, &input.hash, input.approve, &behind)?;
        store::put(change.tx, ctx.tenant, &after)?;
        let detail = json!({
            "permission": after.permission, "asked_by": after.asker, "fingerprint": after.hash,
            "comment": comment,
        });
        match input.approve {
            true => change.tell("approvals.approved", after.id, detail),
            false => change.tell("approvals.refused", after.id, detail),
        }
        Ok(after)
    })
}

/// Takes back one's own.
pub(super) fn withdraw(ctx: &Ctx<'_>, input: ById<kind::Approval>) -> Result<ApprovalView> {
    let raised = raised(ctx)?;
    raised.require("approvals.withdraw")?.write(|change| {
        let before = store::find(&*change.tx, ctx.tenant, input.id)?;
        let behind = identity::makers(&*change.tx, ctx.tenant, &before.asker)?;
        if !behind.contains(&ctx.actor.text()) {
            return Err(
                Error::forbidden("only who asked takes it back").hint("whoever may decide can refuse it")
            );
        }
        let after = before.withdraw(ctx.now)?;
        store::put(change.tx, ctx.tenant, &after)?;
        change.tell("approvals.withdrawn", after.id, json!({ "permission": after.permission }));
        Ok(())
    })?;
    store::remember(ctx.site, ctx.tenant)?;
    find(ctx, input)
}

/// Collects an answer over the API.
pub(super) fn collect(ctx: &Ctx<'_>, input: ById<kind::Approval>) -> Result<Download> {
    match carry::collect(ctx, input.id)? {
        Given::File(file) => Ok(file),
        Given::Value(value) => Ok(whole(input.id, &value)),
        Given::Page(_) => Err(Error::conflict("it was asked for in the console, and answered there")),
    }
}

/// An answer as a file.
pub(super) fn whole(id: ApprovalId, value: &serde_json::Value) -> Download {
    let mut text = Some(value.to_string().into_bytes());
    Download { name: format!("{id}.json"), kind: "application/json", next: Box::new(move || Ok(text.take())) }
}
