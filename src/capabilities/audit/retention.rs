//! How long entries are kept, and the cut behind which they are gone.
//!
//! Nothing goes unless somebody chose a time. Then the oldest entries go, up to one that a checkpoint vouches for: the cut
//! says which that was and what the chain was there, and the site signs it. So the chain from the cut on proves itself as
//! before, and what an agent or a paper keeps of an entry that is gone still fits. That entries went is an entry.
//!
//! Invariant: entries go from the beginning on and without a gap; one that a hold covers stops them, and keeps all after it.
//! Invariant: a cut is signed; nobody makes entries go unseen who has the store and not the vault.
//! Invariant: checkpoints stay for ever, for agents may keep any of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chain::{self, Chain, STEP};
use super::checkpoint;
use super::holds;
use super::store::{CHECKPOINTS, CUTS, ENTRIES, RETENTIONS};
use super::verify::Wrong;
use crate::base::{Error, Result, Span, TenantId, Timestamp};
use crate::engine::crypto::Signer;
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing};
use crate::wire::Checkpoint;

/// Days that entries are kept at least, when they are not kept for ever.
pub(super) const DAYS_MIN: u32 = 30;
/// And at most: a hundred years.
pub(super) const DAYS_MAX: u32 = 36_525;
/// Entries that one step of the job looks at.
const LOOKED_AT_MAX: usize = 20_000;
/// Entries that one change removes; a tenth of what a change can hold.
const REMOVED_AT_ONCE: usize = 20_000;
/// Begins what is signed of a cut.
const CUT: &[u8] = b"muster.cut.1";

/// How long entries are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retention {
    /// Days; for ever when absent.
    #[serde(default)]
    pub days: Option<u32>,
}

impl Retention {
    /// In words.
    pub fn text(&self) -> String {
        match self.days {
            None => "for ever".to_owned(),
            Some(days) => format!("{days} days"),
        }
    }
}

/// Behind which entries are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cut {
    /// The last entry that is gone.
    pub number: u64,
    /// Its chain, on which the first one that is kept stands.
    pub chain: Chain,
    /// Number of the change that it told of, and its place in that.
    pub change: u64,
    /// See [`Cut::change`].
    pub place: u32,
    /// When it was made.
    pub at: Timestamp,
    /// The checkpoint that vouches for the entry.
    pub checkpoint: Checkpoint,
    /// The site's signature over all of this.
    pub signature: String,
}

impl Cut {
    fn text(&self, tenant: TenantId) -> Vec<u8> {
        let mut out = CUT.to_vec();
        out.extend_from_slice(&tenant.bits().to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.chain.0);
        out.extend_from_slice(&self.change.to_be_bytes());
        out.extend_from_slice(&self.place.to_be_bytes());
        out.extend_from_slice(&self.at.milliseconds().to_be_bytes());
        out.extend_from_slice(&checkpoint::hash(&self.checkpoint).0);
        out
    }

    /// What is wrong with it, if anything is; `key` is the site's public key.
    pub(super) fn wrong(&self, tenant: TenantId, key: &str) -> Option<Wrong> {
        let kept = &self.checkpoint;
        let fits = kept.number == self.number
            && kept.chain == self.chain.to_string()
            && kept.key == key
            && checkpoint::is_signed(kept);
        let what = match Signer::verify(key, &self.text(tenant), &self.signature) {
            Err(_) => "entries up to it are gone, and the site has not signed that",
            Ok(()) if !fits => "entries up to it are gone, and no checkpoint vouches for it",
            Ok(()) => return None,
        };
        Some(Wrong { number: self.number, what: what.to_owned() })
    }
}

/// The cut, when there is one.
pub(super) fn cut(read: &impl Read, tenant: TenantId) -> Result<Option<Cut>> {
    read.get(&CUTS, &tenant)
}

/// What the first entry that is kept stands on: the last number that is gone, and the chain there.
pub(super) fn beginning(read: &impl Read, tenant: TenantId) -> Result<(u64, Chain)> {
    Ok(cut(read, tenant)?.map_or_else(|| (0, Chain::genesis(tenant)), |cut| (cut.number, cut.chain)))
}

/// Shows how long entries are kept.
pub fn retention(ctx: &Ctx<'_>, _: Nothing) -> Result<Retention> {
    ctx.require("audit.read")?;
    Ok(ctx.read()?.get(&RETENTIONS, &ctx.tenant)?.unwrap_or_default())
}

/// Chooses how long entries are kept.
pub fn retain(ctx: &Ctx<'_>, input: Retention) -> Result<Retention> {
    let permit = ctx.require("audit.retain")?;
    if input.days.is_some_and(|days| !(DAYS_MIN..=DAYS_MAX).contains(&days)) {
        return Err(Error::invalid("entries cannot be kept for so long or so short")
            .hint(format!("{DAYS_MIN} to {DAYS_MAX} days, or nothing for ever")));
    }
    permit.write(|change| {
        let before = change.tx.get(&RETENTIONS, &ctx.tenant)?.unwrap_or_default();
        if before != input {
            change.tx.put(&RETENTIONS, &ctx.tenant, &input)?;
            let moved = json!({ "before": before.text(), "after": input.text() });
            change.tell("audit.retention_changed", "log", json!({ "kept": moved }));
        }
        Ok(input)
    })
}

/// How far entries may go now: the newest checkpoint that all of them are behind.
fn target(ctx: &Ctx<'_>, before: Timestamp) -> Result<Option<Checkpoint>> {
    let holds = holds::sieves(&ctx.read()?, ctx.tenant)?;
    let (mut reached, mut looked_at) = (0, 0);
    let mut rows = ctx.read()?.prefix(&ENTRIES, &ctx.tenant, STEP)?;
    'all: while let Some(after) = rows.last().map(|(key, _)| *key) {
        let full = rows.len() == STEP;
        for (_, entry) in &rows {
            if entry.at >= before || holds.iter().any(|hold| hold.passes(entry)) {
                break 'all;
            }
            reached = entry.number;
            looked_at += 1;
        }
        if !full || looked_at >= LOOKED_AT_MAX.min(REMOVED_AT_ONCE) || ctx.site.is_stopping() {
            break;
        }
        rows = ctx.read()?.prefix_after(&ENTRIES, &ctx.tenant, &after, STEP)?;
    }
    if reached == 0 {
        return Ok(None);
    }
    let read = ctx.read()?;
    let gone = beginning(&read, ctx.tenant)?.0;
    let mut found = None;
    let mut rows = read.prefix(&CHECKPOINTS, &ctx.tenant, STEP)?;
    while let Some(after) = rows.last().map(|(key, _)| *key) {
        let full = rows.len() == STEP;
        for (_, row) in rows {
            if row.number > reached {
                return Ok(found);
            }
            if row.number > gone {
                found = Some(row);
            }
        }
        if !full {
            break;
        }
        rows = ctx.read()?.prefix_after(&CHECKPOINTS, &ctx.tenant, &after, STEP)?;
    }
    Ok(found)
}

/// The job: removes what is older than is kept, some thousand entries at a time.
pub(super) fn step(ctx: &Ctx<'_>) -> Result<()> {
    let Some(days) = ctx.read()?.get(&RETENTIONS, &ctx.tenant)?.and_then(|kept| kept.days) else {
        return Ok(());
    };
    let before = ctx.now - Span::from_days(u64::from(days));
    while !ctx.site.is_stopping() {
        let Some(checkpoint) = target(ctx, before)? else { break };
        prune(ctx, checkpoint, days)?;
    }
    Ok(())
}

fn prune(ctx: &Ctx<'_>, checkpoint: Checkpoint, days: u32) -> Result<()> {
    let signer = checkpoint::signer(ctx.site)?;
    let missing = || Error::unavailable("the entry of a checkpoint is missing").hint("run `audit.verify`");
    let last = chain::numbered(&ctx.read()?, ctx.tenant, checkpoint.number)?.ok_or_else(missing)?;
    if last.chain.to_string() != checkpoint.chain {
        return Err(
            Error::unavailable("the checkpoint to cut at does not fit the log").hint("run `audit.verify`")
        );
    }
    ctx.require("audit.prune")?.write(|change| {
        let gone = beginning(&*change.tx, ctx.tenant)?.0;
        let rows = change.tx.prefix(&ENTRIES, &ctx.tenant, (last.number - gone) as usize)?;
        // A hold that came meanwhile counts.
        let holds = holds::sieves(&*change.tx, ctx.tenant)?;
        if rows.iter().any(|(_, entry)| holds.iter().any(|hold| hold.passes(entry))) {
            return Ok(());
        }
        for (key, entry) in &rows {
            if entry.number > last.number {
                return Err(missing());
            }
            change.tx.delete(&ENTRIES, key)?;
        }
        let mut cut = Cut {
            number: last.number,
            chain: last.chain,
            change: last.change,
            place: last.place,
            at: ctx.now,
            checkpoint,
            signature: String::new(),
        };
        cut.signature = signer.sign(&cut.text(ctx.tenant));
        change.tx.put(&CUTS, &ctx.tenant, &cut)?;
        change.tell(
            "audit.pruned",
            "log",
            json!({
                "entries": { "before": gone, "after": cut.number },
                "until": last.at,
                "chain": cut.chain,
                "kept": format!("{days} days"),
            }),
        );
        Ok(())
    })
}
