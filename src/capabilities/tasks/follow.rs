//! What agents report of their tasks.

use serde_json::json;

use super::Task;
use super::store::{self, OUTPUT};
use crate::base::{AgentId, Error, Result, TenantId};
use crate::capabilities::agents;
use crate::engine::store::{Change as Told, Read};
use crate::kit::{AgentRef, Change, Ctx, Durable};
use crate::wire::{TaskReport, Up};

/// Appended once where output was cut.
const CUT: &str = "\n[output cut here: the limit was reached]\n";
/// Stands where output is missing.
const MISSING: &str = "\n[output is missing here: it was lost by a restore]\n";

/// A task moved on. Reports of another agent's task are refused.
pub(super) fn report(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Task(report) = message else { return Ok(Durable::Already) };
    let (_, pending) = ctx.require("agents.report")?.submit(|change| {
        let task = store::find(change.tx, from.tenant, report.task)?;
        if task.agent != from.agent {
            return Err(Error::invalid(format!("task `{}` is not this agent's", report.task)));
        }
        apply(ctx, change, task, report)
    })?;
    Ok(Durable::Store(pending))
}

fn apply(ctx: &Ctx<'_>, change: &mut Change<'_>, task: Task, report: &TaskReport) -> Result<()> {
    let tenant = ctx.tenant;
    let (agent, before) = (task.agent, (task.state, task.asking));
    let Some(mut task) = task.report(report.state, ctx.now) else { return Ok(()) };
    append(change, tenant, &mut task, report)?;
    if task.state.is_final() {
        task.exit = report.exit;
        task.reason = report.reason.chars().take(500).collect();
        change.tell(
            "tasks.ended",
            task.id,
            json!({ "agent": agent, "state": task.state.word(), "exit": task.exit }),
        );
    }
    if let Some(inventory) = &report.inventory {
        agents::inventory(change, tenant, agent, inventory.clone())?;
    }
    if before == (task.state, task.asking) && report.output.is_empty() {
        return Ok(());
    }
    store::put(change.tx, tenant, &task)
}

/// Adds the part of the output that is new, up to the task's limit.
fn append(change: &mut Change<'_>, tenant: TenantId, task: &mut Task, report: &TaskReport) -> Result<()> {
    let mut have = task.output_bytes;
    let end = report.offset.saturating_add(report.output.len() as u64);
    if report.output.is_empty() || end <= have {
        return Ok(());
    }
    if report.offset > have {
        // What lay between was acknowledged by a server that has been restored since.
        change.tx.put(&OUTPUT, &(tenant, task.id, have), &MISSING.to_owned())?;
        have = report.offset;
    }
    let skip = have.saturating_sub(report.offset) as usize;
    let fresh = report.output.get(skip..).unwrap_or_default();
    let room = task.output_bytes_max.saturating_sub(have) as usize;
    let kept = &fresh[..floor(fresh, room)];
    let was_cut = change.tx.get(&OUTPUT, &(tenant, task.id, u64::MAX))?.is_some();
    if !kept.is_empty() {
        change.tx.put(&OUTPUT, &(tenant, task.id, have), &kept.to_owned())?;
        task.output_bytes = have + kept.len() as u64;
    }
    if kept.len() < fresh.len() && !was_cut {
        change.tx.put(&OUTPUT, &(tenant, task.id, u64::MAX), &CUT.to_owned())?;
    }
    Ok(())
}

/// An agent is gone for good, and so is everything that waited for it.
pub(super) fn retired(ctx: &Ctx<'_>, change: &mut Change<'_>, told: &Told) -> Result<()> {
    let tenant = TenantId::from_bits(told.origin.tenant);
    for event in told.events.iter().filter(|event| event.name == "agents.retired") {
        let Ok(agent) = event.subject.parse::<AgentId>() else { continue };
        for task in store::asking(change.tx, tenant, agent)? {
            store::put(change.tx, tenant, &task.abandon(ctx.now))?;
        }
        for task in store::open(change.tx, tenant, agent)? {
            let task = task.abandon(ctx.now);
            store::put(change.tx, tenant, &task)?;
            let detail = json!({ "agent": agent, "state": task.state.word(), "exit": null });
            change.tell("tasks.ended", task.id, detail);
        }
    }
    Ok(())
}

/// The last boundary of a character at or before `most`.
fn floor(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
