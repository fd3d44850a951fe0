//! What needs a second person: setting and lifting marks.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{DECIDERS_MIN, Mark, line};
use super::store::{self, MARK, MARKS};
use crate::base::{Error, Page, Result};
use crate::capabilities::identity;
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Method, Nothing, OWN, Op, Ops};

/// Operations that act on the session of who calls them, which nobody else can do for them.
const OF_THE_SESSION: [&str; 1] = ["identity.look_as"];

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("approvals.marks", "/approvals/marks", "Lists what needs a second person.", list);
    ops.post(
        "approvals.mark",
        "/approvals/marks",
        "Marks an operation as needing a second person, or takes the mark off.",
        mark,
    );
}

/// What needs a second person, and what could.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Marked {
    /// The marks, by permission.
    pub(super) items: Vec<Mark>,
    /// Operations that can be marked, with what they do.
    pub(super) markable: Vec<Markable>,
    /// People who may decide at this moment.
    pub(super) deciders: usize,
}

/// An operation that can be marked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Markable {
    /// Its name, which is its permission.
    pub(super) permission: String,
    /// What it does.
    pub(super) about: String,
}

/// Whether this operation can be marked; an error says why not.
fn can_be(op: &Op) -> Result<()> {
    let because = match () {
        _ if op.method == Method::Get => "it only reads",
        _ if op.permission == OWN => "it is about what is one's own",
        _ if op.name.starts_with("approvals.") => "it belongs to approvals themselves",
        _ if OF_THE_SESSION.contains(&op.name) => "it is about the session of who calls it",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("`{}` cannot be marked: {because}", op.name))
        .hint("what can be marked stands at /approvals/marks"))
}

/// Lists them.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Marked> {
    ctx.require("approvals.read")?;
    let read = ctx.read()?;
    let markable = ctx.site.ops().iter().filter(|op| can_be(op).is_ok());
    Ok(Marked {
        items: store::marks(&read, ctx.tenant)?,
        markable: markable
            .map(|op| Markable { permission: op.name.to_owned(), about: op.doc.to_owned() })
            .collect(),
        deciders: identity::holders(&read, ctx.tenant, "approvals.decide", ctx.now)?.len(),
    })
}

fn yes() -> bool {
    true
}

/// A mark that is set or taken off.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct MarkChosen {
    /// The permission, which is the name of an operation.
    pub(super) permission: String,
    /// Whether it needs a second person from now on; `true` when it is left out.
    #[serde(default = "yes")]
    pub(super) needed: bool,
    /// Why, in a few words.
    pub(super) why: String,
}

/// Sets or lifts one.
pub(super) fn mark(ctx: &Ctx<'_>, input: MarkChosen) -> Result<Page<Mark>> {
    let permit = ctx.require("approvals.mark")?;
    let why = line("reason", &input.why)?;
    if why.is_empty() {
        return Err(Error::invalid("there is no reason").hint("say why, for those who read the audit log"));
    }
    let permission = input.permission.trim().to_owned();
    if input.needed {
        let known = ctx.site.ops().iter().find(|op| op.name == permission);
        let shown: String = permission.chars().take(60).collect();
        can_be(known.ok_or_else(|| Error::not_found("operation", shown))?)?;
    }
    permit.write(|change| {
        let before = change.tx.get(&MARKS, &(ctx.tenant, permission.clone()))?;
        match (input.needed, before) {
            (true, Some(_)) => return Err(Error::conflict(format!("`{permission}` is marked already"))),
            (true, None) => {
                enough(ctx, change)?;
                set(ctx, change, &permission, &why, None)?;
            }
            (false, None) => return Err(Error::conflict(format!("`{permission}` is not marked"))),
            (false, Some(_)) => {
                change.tx.delete(&MARKS, &(ctx.tenant, permission.clone()))?;
                change.tell("approvals.unmarked", &permission, json!({ "why": why }));
            }
        }
        Ok(())
    })?;
    store::remember(ctx.site, ctx.tenant)?;
    Ok(Page { items: store::marks(&ctx.read()?, ctx.tenant)?, next: None })
}

/// Whoever asks needs somebody else who may decide, also when it is one of those who ask.
fn enough(ctx: &Ctx<'_>, change: &Change<'_>) -> Result<()> {
    let deciders = identity::holders(&*change.tx, ctx.tenant, "approvals.decide", ctx.now)?.len();
    if deciders >= DECIDERS_MIN {
        return Ok(());
    }
    Err(Error::conflict(format!("only {deciders} of the people here may decide on approvals"))
        .hint(format!("at least {DECIDERS_MIN} are needed; give somebody the role `approver` first")))
}

/// Puts a mark in an open change.
pub(super) fn set(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    permission: &str,
    why: &str,
    because: Option<&str>,
) -> Result<()> {
    let mark =
        Mark { permission: permission.to_owned(), why: why.to_owned(), by: ctx.actor.text(), at: ctx.now };
    change.tx.put(&MARKS, &(ctx.tenant, permission.to_owned()), &mark)?;
    let mut detail = json!({ "why": why });
    if let Some(because) = because {
        detail["because"] = because.into();
    }
    change.tell("approvals.marked", permission, detail);
    Ok(())
}

/// What is marked, with `approvals.mark` as long as anything is.
pub(super) fn names(marks: &[Mark]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = marks.iter().map(|mark| mark.permission.clone()).collect();
    if !names.is_empty() {
        names.insert(MARK.to_owned());
    }
    names
}
