//! What agents say of themselves: hello, heartbeat, a new certificate.

use bytes::Bytes;
use serde_json::json;

use super::store::{AGENTS, find};
use super::{Agent, enrol, gate, roster, watch};
use crate::base::{AgentId, Error, Result, TenantId};
use crate::kit::{AgentRef, Change, Ctx, Durable};
use crate::wire::{Certificate, Down, DownKind, Hello, Inventory, Up};

/// Takes over what the hello says; an empty inventory keeps the one that is known.
pub(super) fn learn(agent: &mut Agent, hello: &Hello) {
    agent.hostname = hello.hostname.clone();
    agent.version = hello.version.clone();
    agent.proposed = hello.labels.clone();
    agent.commands = hello.commands.clone();
    if hello.inventory != Inventory::default() {
        let packages = std::mem::take(&mut agent.inventory.packages);
        agent.inventory = hello.inventory.clone();
        if agent.inventory.packages.is_empty() {
            agent.inventory.packages = packages;
        }
    }
}

/// First message of a session. Two live starts with one key are two machines: the agent is quarantined.
pub(super) fn hello(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Hello(hello) = message else { return Ok(Durable::Already) };
    let offset = hello.clock.map(|clock| clock.milliseconds() - ctx.now.milliseconds());
    ctx.site.presence.update(from.agent, |seen| {
        seen.clock_offset_ms = offset;
        if seen.session == Some(from.session) {
            seen.boot = hello.boot.clone();
        }
    });
    watch::tell(ctx.site, ctx.tenant, from.agent);
    let stored = find(&ctx.read()?, ctx.tenant, from.agent)?;
    let mut agent = stored.clone();
    learn(&mut agent, hello);
    if cloned(&stored, &agent) {
        gate::shut_out(ctx.site, ctx.tenant, from.agent, "its key was used by two machines".to_owned());
        return Ok(Durable::Already);
    }
    if agent == stored {
        return Ok(Durable::Already);
    }
    // An ordinary reconnect changes nothing and tells nothing; a new version or host name is worth a line.
    let told = (stored.version != agent.version || stored.hostname != agent.hostname)
        .then(|| json!({ "version": agent.version, "hostname": agent.hostname }));
    let (_, pending) = ctx.require("agents.report")?.submit(|change| {
        let mut now = find(change.tx, ctx.tenant, from.agent)?;
        learn(&mut now, hello);
        change.tx.put(&AGENTS, &(ctx.tenant, from.agent), &now)?;
        if let Some(detail) = told {
            change.tell("agents.described", from.agent, detail);
        }
        Ok(())
    })?;
    Ok(Durable::Store(pending))
}

/// The machine's own identifier changed under the same key.
fn cloned(before: &Agent, after: &Agent) -> bool {
    let (before, after) = (&before.inventory.machine, &after.inventory.machine);
    !before.is_empty() && !after.is_empty() && before != after
}

/// A sign of life; nothing is stored.
pub(super) fn heartbeat(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Heartbeat(beat) = message else { return Ok(Durable::Already) };
    let before = ctx.site.presence.of(from.agent);
    ctx.site.presence.update(from.agent, |seen| {
        seen.spooled = beat.spooled;
        seen.time = beat.time.clone();
        if let Some(clock) = beat.clock {
            seen.clock_offset_ms = Some(clock.milliseconds() - ctx.now.milliseconds());
        }
    });
    // A beat of a session that was replaced says nothing of the one that is there.
    let here = before.session == Some(from.session);
    if here && !before.boot.is_empty() && !beat.boot.is_empty() && before.boot != beat.boot {
        gate::shut_out(
            ctx.site,
            ctx.tenant,
            from.agent,
            "two starts of its program speak at the same time".to_owned(),
        );
    }
    Ok(Durable::Already)
}

/// A renewal: signed for the same agent, whatever the request says.
pub(super) fn certificate(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Certificate(request) = message else { return Ok(Durable::Already) };
    let pem = enrol::sign(ctx.site, from.agent, &request.pem)?;
    let until = enrol::until(ctx.now);
    ctx.require("agents.report")?.write(|change| {
        let mut agent = find(change.tx, ctx.tenant, from.agent)?;
        if !agent.is_active() {
            return Err(Error::forbidden(format!("agent `{}` is {}", agent.name, agent.state.word())));
        }
        agent.certificate_until = Some(until);
        change.tx.put(&AGENTS, &(ctx.tenant, from.agent), &agent)?;
        change.tell("agents.renewed", from.agent, json!({ "until": until }));
        Ok(())
    })?;
    if let Some(bus) = ctx.site.bus() {
        let authority = ctx.site.authority.certificate_pem();
        let answer = Down::Certificate(Certificate { pem, authority });
        bus.send(ctx.tenant, from.agent, DownKind::Certificate, Bytes::from(answer.json()));
    }
    Ok(Durable::Already)
}

/// Keeps the last seen instants over a restart, in one change a minute and only where they moved.
pub(super) fn remember(ctx: &Ctx<'_>) -> Result<()> {
    let mut moved = Vec::new();
    for agent in roster::all(ctx.site, ctx.tenant)?.iter() {
        let seen = ctx.site.presence.of(agent.id).at;
        if seen.is_some() && seen > agent.seen {
            moved.push((agent.id, seen));
        }
    }
    if moved.is_empty() {
        return Ok(());
    }
    ctx.require("agents.report")?.write(|change| {
        for (id, seen) in moved {
            let mut agent = find(change.tx, ctx.tenant, id)?;
            agent.seen = seen;
            change.tx.put(&AGENTS, &(ctx.tenant, id), &agent)?;
        }
        Ok(())
    })
}

/// The whole inventory, packages included, that a task brought.
pub fn inventory(change: &mut Change<'_>, tenant: TenantId, id: AgentId, inventory: Inventory) -> Result<()> {
    let mut agent = find(change.tx, tenant, id)?;
    agent.inventory = inventory;
    change.tx.put(&AGENTS, &(tenant, id), &agent)
}
