//! From record to message: an agent is sent what it has not confirmed, when it connects and until it confirms.

use bytes::Bytes;

use super::store::{self, OPEN};
use super::{State, Task, recovery};
use crate::base::{AgentId, Result, Span};
use crate::engine::broker::Delivery;
use crate::engine::store::Read;
use crate::kit::{AgentRef, Ctx, Durable};
use crate::wire::{self, Ask, Cancel, Down, Up};

/// After how long an unconfirmed message is sent again.
const AGAIN: Span = Span::from_seconds(20);

/// Sends at once what was just recorded. The record is what counts: if this fails, the sweep sends it, and whoever asked
/// must not be told that nothing happened.
pub(super) fn wake(ctx: &Ctx<'_>, agent: AgentId) {
    if let Err(error) = send(ctx, agent) {
        tracing::warn!(agent.id = %agent, "tasks of `{agent}` are sent later: {}", error.detail());
    }
}

/// Sends what is due to one agent, and records that it was sent.
pub(super) fn send(ctx: &Ctx<'_>, agent: AgentId) -> Result<()> {
    let Some(bus) = ctx.site.bus().filter(|bus| bus.connected(ctx.tenant, agent)) else { return Ok(()) };
    let mut sent = Vec::new();
    let read = ctx.read()?;
    let held = recovery::held(&read, ctx.tenant)?;
    for task in store::open(&read, ctx.tenant, agent)? {
        // What a restore brought back is not sent: it may have run.
        if held.is_some_and(|last| task.id <= last) {
            continue;
        }
        let message = match (task.state, task.cancelling) {
            (_, true) => Down::Cancel(Cancel { task: task.id }),
            (State::Queued | State::Sent, false) => Down::Task(message(&task)),
            _ => continue,
        };
        match bus.send(ctx.tenant, agent, message.kind(), Bytes::from(message.json())) {
            Delivery::Sent => sent.push(task.id),
            // Gone, or it does not listen to this kind: what else waits for it may still reach it.
            Delivery::Offline => {}
        }
    }
    drop(read);
    if sent.is_empty() {
        return Ok(());
    }
    // The appliance records this by itself, whoever caused it.
    Ctx::system(ctx.site, ctx.tenant, "tasks.dispatch").require("tasks.dispatch")?.write(|change| {
        for id in sent {
            let mut task = store::find(change.tx, ctx.tenant, id)?;
            if task.state == State::Queued {
                task.state = State::Sent;
            }
            task.sent = Some(ctx.now);
            store::put(change.tx, ctx.tenant, &task)?;
        }
        Ok(())
    })
}

fn message(task: &Task) -> wire::Task {
    wire::Task {
        task: task.id,
        work: task.work.clone(),
        seconds_max: task.seconds_max,
        output_bytes_max: task.output_bytes_max,
        memory_bytes_max: task.memory_bytes_max,
    }
}

/// The agent is back: it gets what waits for it, and is asked what the server has forgotten.
pub(super) fn hello(ctx: &Ctx<'_>, from: AgentRef, _: &Up) -> Result<Durable> {
    send(ctx, from.agent)?;
    ask(ctx, from.agent)?;
    Ok(Durable::Already)
}

/// Asks an agent for the tasks that a restore made unknown. One that does not answer is asked again when it comes back.
pub(super) fn ask(ctx: &Ctx<'_>, agent: AgentId) -> Result<()> {
    let Some(bus) = ctx.site.bus().filter(|bus| bus.connected(ctx.tenant, agent)) else { return Ok(()) };
    for task in store::asking(&ctx.read()?, ctx.tenant, agent)? {
        let message = Down::Ask(Ask { task: task.id });
        if let Delivery::Offline = bus.send(ctx.tenant, agent, message.kind(), Bytes::from(message.json())) {
            break;
        }
    }
    Ok(())
}

/// What was sent and not confirmed is sent again.
pub(super) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    let read = ctx.read()?;
    let mut due: Vec<AgentId> = Vec::new();
    for ((_, agent, id), ()) in read.prefix(&OPEN, &ctx.tenant, usize::MAX)? {
        if due.last() == Some(&agent) {
            continue;
        }
        let task = store::find(&read, ctx.tenant, id)?;
        let waits = task.cancelling || matches!(task.state, State::Queued | State::Sent);
        if waits && task.sent.is_none_or(|at| ctx.now.since(at) > AGAIN) {
            due.push(agent);
        }
    }
    drop(read);
    due.into_iter().try_for_each(|agent| send(ctx, agent))
}
