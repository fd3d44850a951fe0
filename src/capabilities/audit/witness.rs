//! Agents as witnesses: each is told the newest checkpoint, and what it tells of earlier ones is compared with the log.
//!
//! Invariant: what does not fit is told once per agent and checkpoint, and only a restore that the log remembers
//! explains it.
//! Invariant: an agent that makes checkpoints up fills a bounded number of rows and events.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chain::{self, Chain};
use super::store::{CHECKPOINTS, CONTRADICTIONS, RESTORES};
use super::{checkpoint, retention};
use crate::base::{AgentId, Page, Result, TenantId, Timestamp, limits};
use crate::capabilities::agents;
use crate::engine::broker::Delivery;
use crate::engine::store::Read;
use crate::kit::{AgentRef, Ctx, Durable, Nothing, PerSite, Site};
use crate::wire::{Checkpoint, Down, DownKind, Up};

/// Agents that one step of the job tells.
const TOLD_AT_ONCE: usize = 500;
/// Contradictions of one agent that are kept and told.
const KEPT_PER_AGENT: usize = 16;
/// Agents whose newest checkpoint is remembered.
const HOLDERS_MAX: usize = 100_000;

/// What the checkpoint of an agent and the log say against each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contradiction {
    /// The agent that keeps it.
    pub agent: AgentId,
    /// When it told.
    pub at: Timestamp,
    /// What does not fit.
    pub reason: String,
    /// Whether a restore gave up what it speaks of, so that it is no sign of a forged log.
    pub explained: bool,
    /// What the agent keeps.
    pub theirs: Checkpoint,
    /// Number of the last entry here.
    pub our_number: u64,
    /// The chain here at the number that the agent speaks of; empty where there is no such entry.
    pub our_chain: String,
}

/// Which checkpoint of its tenant, by generation and number, each agent is known to have: told by it, or sent to its open
/// session.
#[derive(Default)]
struct Holders(Mutex<HashMap<AgentId, (TenantId, u64, u64)>>);

static HOLDERS: PerSite<Holders> = PerSite::new();

fn hold(site: &Site, tenant: TenantId, agent: AgentId, checkpoint: &Checkpoint) {
    let holders = HOLDERS.of(site, Holders::default);
    let mut holders = holders.0.lock();
    if holders.len() >= HOLDERS_MAX && !holders.contains_key(&agent) {
        holders.clear();
    }
    holders.insert(agent, (tenant, checkpoint.generation, checkpoint.number));
}

/// How many agents have this checkpoint, as far as this start of the server knows.
pub(super) fn holders(site: &Site, tenant: TenantId, checkpoint: &Checkpoint) -> usize {
    let holders = HOLDERS.of(site, Holders::default);
    let holders = holders.0.lock();
    holders.values().filter(|held| **held == (tenant, checkpoint.generation, checkpoint.number)).count()
}

/// What comparing came to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    Explained(&'static str),
    Contradicts(&'static str),
}

/// Compares one with the log; the site's key is asked for only when they differ.
fn judge(site: &Site, read: &impl Read, tenant: TenantId, theirs: &Checkpoint) -> Result<Verdict> {
    if !checkpoint::is_signed(theirs) {
        return Ok(Verdict::Contradicts("its signature is not valid"));
    }
    let ours = read.get(&CHECKPOINTS, &(tenant, theirs.change))?;
    let reason = if ours.as_ref() == Some(theirs) {
        if theirs.number <= retention::beginning(read, tenant)?.0 {
            // The entry went, as the retention says; the checkpoint is the one that was made of it.
            return Ok(Verdict::Fits);
        }
        let entry = chain::numbered(read, tenant, theirs.number)?;
        match entry {
            Some(entry) if entry.chain.to_string() == theirs.chain => return Ok(Verdict::Fits),
            Some(_) => "the entry of its number has another chain here",
            None => "the log ends before the entry that it speaks of",
        }
    } else if theirs.key != checkpoint::signer(site)?.public() {
        "it was signed with another key than this site's"
    } else if theirs.number > chain::head(read, tenant)?.number {
        "the log ends before the entry that it speaks of"
    } else {
        "this site never made it, as the log says now"
    };
    // Of the restores since its generation, the first is the one that could give it up.
    let after = (tenant, theirs.generation);
    let cut = read.prefix_after(&RESTORES, &tenant, &after, 1)?;
    let explained = ours.is_none() && cut.iter().any(|(_, given_up)| theirs.change > given_up.change);
    Ok(if explained { Verdict::Explained(reason) } else { Verdict::Contradicts(reason) })
}

/// First message of a session: what the agent keeps is compared, and it is told the newest.
pub(super) fn hello(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Hello(hello) = message else { return Ok(Durable::Already) };
    let read = ctx.read()?;
    let newest = checkpoint::newest(&read, from.tenant)?;
    let verdicts = hello.checkpoints.iter().map(|theirs| judge(ctx.site, &read, from.tenant, theirs));
    let verdicts = verdicts.collect::<Result<Vec<Verdict>>>()?;
    // No view of the state may live while something is written.
    drop(read);
    for (theirs, verdict) in hello.checkpoints.iter().zip(verdicts) {
        match verdict {
            Verdict::Fits => hold(ctx.site, from.tenant, from.agent, theirs),
            Verdict::Explained(reason) => note(ctx, from, theirs, reason, true)?,
            Verdict::Contradicts(reason) => note(ctx, from, theirs, reason, false)?,
        }
    }
    if let Some(newest) = newest.filter(|newest| !hello.checkpoints.contains(newest)) {
        tell(ctx.site, from.tenant, from.agent, &newest);
    }
    Ok(Durable::Already)
}

/// Keeps and tells what does not fit, unless that was done before.
fn note(ctx: &Ctx<'_>, from: AgentRef, theirs: &Checkpoint, reason: &str, explained: bool) -> Result<()> {
    let key = (from.tenant, from.agent, checkpoint::hash(theirs).to_string());
    let read = ctx.read()?;
    if read.has(&CONTRADICTIONS, &key)? {
        return Ok(());
    }
    if read.prefix(&CONTRADICTIONS, &(from.tenant, from.agent), KEPT_PER_AGENT)?.len() == KEPT_PER_AGENT {
        tracing::warn!(agent.id = %from.agent, "agent `{}` tells ever more checkpoints that do not fit", from.agent);
        return Ok(());
    }
    let our_chain = chain::numbered(&read, from.tenant, theirs.number)?.map(|entry| entry.chain.to_string());
    let contradiction = Contradiction {
        agent: from.agent,
        at: ctx.now,
        reason: reason.to_owned(),
        explained,
        theirs: theirs.clone(),
        our_number: chain::head(&read, from.tenant)?.number,
        our_chain: our_chain.unwrap_or_default(),
    };
    drop(read);
    if !explained {
        tracing::warn!(
            agent.id = %from.agent,
            "agent `{}` keeps a checkpoint of the audit log that contradicts it: {reason}", from.agent
        );
    }
    // What is found is the site's finding, not the agent's word.
    let mut system = Ctx::system(ctx.site, from.tenant, "audit.compare");
    system.now = ctx.now;
    system.require("audit.compare")?.write(|change| {
        if change.tx.has(&CONTRADICTIONS, &key)? {
            return Ok(());
        }
        change.tx.put(&CONTRADICTIONS, &key, &contradiction)?;
        let side = |number: u64, chain: &str| json!({ "number": number, "chain": chain });
        let event = if explained { "audit.explained" } else { "audit.contradicted" };
        let detail = json!({
            "reason": reason,
            "generation": theirs.generation,
            "change": theirs.change,
            "made": theirs.at,
            "theirs": side(theirs.number, &theirs.chain),
            "ours": side(contradiction.our_number, &contradiction.our_chain),
        });
        change.tell(event, from.agent, detail);
        Ok(())
    })
}

fn tell(site: &Site, tenant: TenantId, agent: AgentId, checkpoint: &Checkpoint) {
    let Some(bus) = site.bus() else { return };
    let message = Down::Checkpoint(checkpoint.clone());
    if bus.send(tenant, agent, DownKind::Checkpoint, Bytes::from(message.json())) == Delivery::Sent {
        hold(site, tenant, agent, checkpoint);
    }
}

/// The job: agents that are connected and do not have the newest checkpoint are told it, some hundred at a time.
pub(super) fn step(ctx: &Ctx<'_>) -> Result<()> {
    let Some(newest) = checkpoint::newest(&ctx.read()?, ctx.tenant)? else { return Ok(()) };
    let holders = HOLDERS.of(ctx.site, Holders::default);
    let lacking: Vec<AgentId> = {
        let held = holders.0.lock();
        let has = |agent: &AgentId| held.get(agent) == Some(&(ctx.tenant, newest.generation, newest.number));
        ctx.site.presence.present().into_iter().filter(|agent| !has(agent)).collect()
    };
    let read = ctx.read()?;
    let mine = |agent: &AgentId| agents::is_known(&read, ctx.tenant, *agent).unwrap_or(false);
    let lacking: Vec<AgentId> = lacking.into_iter().filter(mine).take(TOLD_AT_ONCE).collect();
    drop(read);
    lacking.into_iter().for_each(|agent| tell(ctx.site, ctx.tenant, agent, &newest));
    Ok(())
}

/// Lists what agents keep that does not fit, newest first.
pub fn contradictions(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<Contradiction>> {
    ctx.require("audit.read")?;
    let rows = ctx.read()?.prefix(&CONTRADICTIONS, &ctx.tenant, limits::PAGE_ROWS_MAX)?;
    let mut items: Vec<Contradiction> = rows.into_iter().map(|(_, row)| row).collect();
    items.sort_by_key(|row| std::cmp::Reverse(row.at));
    Ok(Page { items, next: None })
}

/// Forgets what was found, when a person has looked into it; the log keeps that it was found, and who did this.
pub fn settle(ctx: &Ctx<'_>, _: Nothing) -> Result<()> {
    ctx.require("audit.settle")?.write(|change| {
        let rows = change.tx.prefix(&CONTRADICTIONS, &ctx.tenant, limits::PAGE_ROWS_MAX)?;
        let open = rows.iter().filter(|(_, row)| !row.explained).count();
        for (key, row) in rows {
            // Explained from now on, so that the same agent does not tell it again.
            change.tx.put(&CONTRADICTIONS, &key, &Contradiction { explained: true, ..row })?;
        }
        if open > 0 {
            change.tell("audit.settled", "site", json!({ "contradictions": open }));
        }
        Ok(())
    })
}

/// What people write down of a checkpoint.
pub(super) fn fingerprint(checkpoint: &Checkpoint) -> String {
    let hash: Chain = checkpoint::hash(checkpoint);
    hash.short()
}
