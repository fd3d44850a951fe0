//! Legal holds: what they cover stays, however old, until somebody lifts them and says why.
//!
//! Invariant: a hold is never removed; one that was lifted says by whom, when and why.
//! Invariant: a hold that was placed before a restore holds after it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::sieve::{Narrowed, Sieve};
use super::store::HOLDS;
use crate::base::{Error, Page, Result, TenantId, Timestamp};
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Nothing, Restored};

/// Holds that are in force at once.
pub(super) const HOLDS_MAX: usize = 100;
/// Holds that are kept, those that were lifted too.
const KEPT_MAX: usize = 10_000;
/// Bytes of a label.
const LABEL_BYTES_MAX: usize = 120;
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 1_000;

/// Something that must stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// Its number: 1, 2, 3 …
    pub number: u32,
    /// What people call it: a file number, a case.
    pub label: String,
    /// Why.
    pub reason: String,
    /// What it covers; everything when nothing is said.
    pub only: Narrowed,
    /// Who placed it, as in the log.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// How it ended, when it did.
    #[serde(default)]
    pub lifted: Option<Lifted>,
}

/// How a hold ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lifted {
    /// Who lifted it, as in the log.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

fn all(read: &impl Read, tenant: TenantId) -> Result<Vec<Hold>> {
    Ok(read.prefix(&HOLDS, &tenant, KEPT_MAX)?.into_iter().map(|(_, hold)| hold).collect())
}

/// What the holds in force cover.
pub(super) fn sieves(read: &impl Read, tenant: TenantId) -> Result<Vec<Sieve>> {
    all(read, tenant)?
        .iter()
        .filter(|hold| hold.lifted.is_none())
        .map(|hold| Sieve::new(&hold.only))
        .collect()
}

/// Lists holds, the newest first.
pub fn holds(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<Hold>> {
    ctx.require("audit.read")?;
    let mut items = all(&ctx.read()?, ctx.tenant)?;
    items.reverse();
    Ok(Page { items, next: None })
}

/// A new hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct HoldAsked {
    /// What people call it.
    pub label: String,
    /// Why.
    pub reason: String,
    /// What it covers; everything when nothing is said.
    #[serde(flatten)]
    pub only: Narrowed,
}

fn sound(what: &str, text: &str, bytes_max: usize) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > bytes_max || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Error::invalid(format!("the {what} of the hold is not valid"))
            .hint(format!("a few words, at most {bytes_max} bytes")));
    }
    Ok(text.to_owned())
}

/// Places a hold: nothing that it covers is removed any more, and nothing after it.
pub fn hold(ctx: &Ctx<'_>, input: HoldAsked) -> Result<Hold> {
    let permit = ctx.require("audit.hold")?;
    let label = sound("label", &input.label, LABEL_BYTES_MAX)?;
    let reason = sound("reason", &input.reason, REASON_BYTES_MAX)?;
    Sieve::new(&input.only)?;
    permit.write(|change| place(ctx, change, label, reason, input.only))
}

fn place(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    label: String,
    reason: String,
    only: Narrowed,
) -> Result<Hold> {
    let there = all(&*change.tx, ctx.tenant)?;
    if there.iter().filter(|hold| hold.lifted.is_none()).count() >= HOLDS_MAX || there.len() >= KEPT_MAX {
        return Err(Error::too_many(format!("{HOLDS_MAX} holds")).hint("lift one that is over"));
    }
    let number = there.last().map_or(1, |last| last.number + 1);
    let hold = Hold { number, label, reason, only, by: ctx.actor.text(), at: ctx.now, lifted: None };
    change.tx.put(&HOLDS, &(ctx.tenant, number), &hold)?;
    let only: std::collections::BTreeMap<_, _> =
        hold.only.pairs().into_iter().filter(|(_, value)| !value.is_empty()).collect();
    change.tell("audit.held", number, json!({ "label": hold.label, "reason": hold.reason, "only": only }));
    Ok(hold)
}

/// Which hold, and why it ends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct LiftAsked {
    /// Its number.
    pub number: u32,
    /// Why.
    pub reason: String,
}

/// Lifts a hold.
pub fn lift(ctx: &Ctx<'_>, input: LiftAsked) -> Result<Hold> {
    let permit = ctx.require("audit.lift")?;
    let reason = sound("reason for the end", &input.reason, REASON_BYTES_MAX)?;
    permit.write(|change| {
        let key = (ctx.tenant, input.number);
        let found = change.tx.get(&HOLDS, &key)?;
        let mut hold = found.ok_or_else(|| Error::not_found("hold", input.number))?;
        if hold.lifted.is_some() {
            return Err(Error::conflict(format!("hold {} was lifted already", hold.number)));
        }
        hold.lifted = Some(Lifted { by: ctx.actor.text(), at: ctx.now, reason: reason.clone() });
        change.tx.put(&HOLDS, &key, &hold)?;
        change.tell("audit.hold_lifted", hold.number, json!({ "label": hold.label, "reason": reason }));
        Ok(hold)
    })
}

/// Holds that were placed since, and not lifted, are placed again.
pub(super) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
    for (subject, last) in restored.last_of(&["audit.held", "audit.hold_lifted"]) {
        let known = match subject.parse::<u32>() {
            Ok(number) => change.tx.get(&HOLDS, &(ctx.tenant, number))?,
            Err(_) => continue,
        };
        let Some(label) = last.field::<String>("label") else { continue };
        if last.event == "audit.held" && known.is_none_or(|known| known.label != label) {
            let reason = last.field::<String>("reason").unwrap_or_default();
            let only = last.field::<Narrowed>("only").unwrap_or_default();
            place(ctx, change, label, reason, only)?;
        }
    }
    Ok(())
}
