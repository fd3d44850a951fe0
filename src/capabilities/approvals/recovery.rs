//! Approvals and marks after a restore, and what a check looks at.

use super::model::State;
use super::store::{self, APPROVALS, INTENT, MARKS, OPEN, SEALED};
use super::{carry, marks};
use crate::base::Result;
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Findings, Restored};

/// What was not over may have been decided, and done, since: it is not tried again. What was marked since is marked
/// again; a mark that was taken off since stays, for that needs two persons.
pub(super) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
    for one in store::open(&*change.tx, ctx.tenant)? {
        carry::interrupt(ctx, change, &one, "the site came back from a backup")?;
    }
    for (permission, last) in restored.last_of(&["approvals.marked", "approvals.unmarked"]) {
        let there = change.tx.has(&MARKS, &(ctx.tenant, permission.to_owned()))?;
        if last.event == "approvals.marked" && !there {
            let why: String = last.field("why").unwrap_or_default();
            marks::set(ctx, change, permission, &why, Some("it was so before the restore"))?;
        }
    }
    Ok(())
}

/// Rows lie under their own identifiers, what is open is listed as such, and what is sealed opens and is what its hash
/// stands for.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &APPROVALS, |findings, read, (tenant, id), approval| {
        let place = format!("approvals {id}");
        findings.demand(*id == approval.id, &place, "the row is of another approval", FORGET);
        let listed = read.has(&OPEN, &(*tenant, *id))?;
        findings.demand(listed != approval.state.is_over(), &place, "it is open, and not listed so", FORGET);
        if let Err(error) = store::intent(ctx.site, read, *tenant, approval) {
            findings.add(&place, format!("what was asked does not open: {}", error.message()), FORGET);
        }
        let decided = approval.decision.as_ref().is_some_and(|decision| decision.by != approval.asker);
        let needed = matches!(approval.state, State::Approved | State::Running | State::Done | State::Failed);
        findings.demand(decided || !needed, &place, "nobody else has decided on it", FORGET);
        Ok(())
    })?;
    findings.each_row(ctx, &SEALED, |findings, read, (tenant, id, part), _| {
        let known = read.has(&APPROVALS, &(*tenant, *id))?;
        let place = format!("approvals_sealed {id}, part {part}");
        findings.demand(known && *part <= store::OUTCOME, place, "no approval has it", "none is needed");
        Ok(())
    })?;
    findings.each_row(ctx, &OPEN, |findings, read, (tenant, id), asker| {
        let row = read.get(&APPROVALS, &(*tenant, *id))?;
        let known =
            row.is_some_and(|row| row.asker == *asker) && read.has(&SEALED, &(*tenant, *id, INTENT))?;
        findings.demand(known, format!("approvals_open {id}"), "it is of no approval", "none is needed");
        Ok(())
    })?;
    findings.each_row(ctx, &MARKS, |findings, _, (_, permission), mark| {
        let place = format!("approvals_marks {permission}");
        let own = *permission == mark.permission;
        findings.demand(own, &place, "it is of another permission", "take the mark off and set it again");
        let ops = ctx.site.ops();
        let known = ops.is_empty() || ops.iter().any(|op| op.name == permission);
        let what = "this program has no such operation, so that the mark holds nothing up";
        findings.demand(known, &place, what, "take the mark off, or bring the program up to date");
        Ok(())
    })
}

const FORGET: &str = "it is carried out by nobody; whoever asked can ask again";
