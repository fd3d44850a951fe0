//! Checkpoints: signed statements of how far the log is, that agents keep and people write down.
//!
//! Signed is, numbers greatest byte first: the text `muster.checkpoint.1`; the length (4) and bytes of the site's name;
//! generation (8), number (8), chain (32), change (8), instant in milliseconds since 1970 (8), and the hash of the
//! checkpoint before (32). The hash of a checkpoint is BLAKE3 over what is signed and the signature.

use serde_json::json;

use super::chain::{self, Chain, put_text};
use super::store::{CHECKPOINTS, ENTRIES};
use crate::base::{Error, Result, Span, TenantId, Timestamp};
use crate::engine::crypto::Signer;
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Nothing, Site, generation};
use crate::wire::Checkpoint;

/// Begins what is signed.
const CHECKPOINT: &[u8] = b"muster.checkpoint.1";
/// The key's name in the vault.
const KEY: &str = "audit-signing.key";
/// How long new entries wait for a checkpoint.
const EVERY: Span = Span::from_hours(1);
/// New entries that wait for a checkpoint.
const EVERY_ENTRIES: u64 = 10_000;
/// What a checkpoint itself tells; an entry of it alone is no reason for another one.
pub(super) const MADE: &str = "audit.checkpointed";

/// The site's signing key.
pub(super) fn signer(site: &Site) -> Result<Signer> {
    Signer::open(&site.vault, KEY, &site.clock)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(std::str::from_utf8);
    digits.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect()
}

/// What is signed; nothing when the checkpoint holds something that is no hash.
fn text(checkpoint: &Checkpoint) -> Option<Vec<u8>> {
    let (chain, previous) = (Chain::parse(&checkpoint.chain)?, Chain::parse(&checkpoint.previous)?);
    let mut out = CHECKPOINT.to_vec();
    put_text(&mut out, &checkpoint.site);
    out.extend_from_slice(&checkpoint.generation.to_be_bytes());
    out.extend_from_slice(&checkpoint.number.to_be_bytes());
    out.extend_from_slice(&chain.0);
    out.extend_from_slice(&checkpoint.change.to_be_bytes());
    out.extend_from_slice(&checkpoint.at.milliseconds().to_be_bytes());
    out.extend_from_slice(&previous.0);
    Some(out)
}

/// Whether its signature was made with the key that it names.
pub(super) fn is_signed(checkpoint: &Checkpoint) -> bool {
    let Checkpoint { key, signature, .. } = checkpoint;
    text(checkpoint).is_some_and(|text| Signer::verify(key, &text, signature).is_ok())
}

/// The hash of a checkpoint.
pub(super) fn hash(checkpoint: &Checkpoint) -> Chain {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&text(checkpoint).unwrap_or_default());
    hasher.update(&unhex(&checkpoint.signature).unwrap_or_default());
    Chain(*hasher.finalize().as_bytes())
}

/// The newest one.
pub(super) fn newest(read: &impl Read, tenant: TenantId) -> Result<Option<Checkpoint>> {
    Ok(read.prefix_back(&CHECKPOINTS, &tenant, 1)?.pop().map(|(_, checkpoint)| checkpoint))
}

/// Makes one in this change. There must be entries.
pub(super) fn make(
    change: &mut Change<'_>,
    ctx: &Ctx<'_>,
    signer: &Signer,
    generation: u64,
) -> Result<Checkpoint> {
    let head = chain::head(change.tx, ctx.tenant)?;
    if head.number == 0 {
        return Err(Error::conflict("the audit log has no entry yet"));
    }
    let before = newest(change.tx, ctx.tenant)?;
    let mut checkpoint = Checkpoint {
        site: ctx.site.settings.name(),
        generation,
        number: head.number,
        chain: head.chain.to_string(),
        change: change.tx.number(),
        at: ctx.now,
        previous: before.map(|before| hash(&before)).unwrap_or_default().to_string(),
        key: signer.public(),
        signature: String::new(),
    };
    let text = text(&checkpoint).ok_or_else(|| Error::internal("a checkpoint that cannot be signed"))?;
    checkpoint.signature = signer.sign(&text);
    change.tx.put(&CHECKPOINTS, &(ctx.tenant, checkpoint.change), &checkpoint)?;
    change.tell(MADE, checkpoint.number, serde_json::to_value(&checkpoint)?);
    Ok(checkpoint)
}

/// Signs now how far the log is.
pub fn checkpoint(ctx: &Ctx<'_>, _: Nothing) -> Result<Checkpoint> {
    let permit = ctx.require("audit.checkpoint")?;
    let signer = signer(ctx.site)?;
    permit.write(|change| {
        let generation = generation(change.tx, ctx.tenant)?;
        make(change, ctx, &signer, generation)
    })
}

/// The job: one when there are new entries and the last is an hour old, or many new entries.
pub(super) fn step(ctx: &Ctx<'_>) -> Result<()> {
    if is_due(ctx)? {
        checkpoint(ctx, Nothing {})?;
    }
    Ok(())
}

fn is_due(ctx: &Ctx<'_>) -> Result<bool> {
    let read = ctx.read()?;
    let head = chain::head(&read, ctx.tenant)?;
    let Some(last) = newest(&read, ctx.tenant)? else { return Ok(head.number > 0) };
    let new = head.number.saturating_sub(last.number);
    // A clock that was set back must not hold checkpoints up until it is where it was.
    let waited = ctx.now < last.at || ctx.now.since(last.at).milliseconds() >= EVERY.milliseconds();
    if new == 0 || !waited && new < EVERY_ENTRIES {
        return Ok(false);
    }
    if new > 1 {
        return Ok(true);
    }
    let rows = read.prefix_back(&ENTRIES, &ctx.tenant, 1)?;
    Ok(rows.iter().any(|(_, entry)| entry.event != MADE))
}

/// A restore that gave up history, as the log remembers it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct GivenUp {
    /// The last change that was kept.
    pub(super) change: u64,
    /// When the restore was made.
    pub(super) restored: Timestamp,
    /// The last entry that was there then.
    pub(super) number: u64,
}

/// The hook of a restore: remembers from where on history was given up, tells what that was, and signs the new history.
pub(super) fn restored(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    restored: &crate::kit::Restored,
) -> Result<()> {
    let number = chain::head(change.tx, ctx.tenant)?.number;
    let given_up = GivenUp { change: restored.change, restored: restored.restored, number };
    change.tx.put(&super::store::RESTORES, &(ctx.tenant, restored.generation), &given_up)?;
    let mut actors = std::collections::BTreeMap::<&str, u64>::new();
    let mut events = std::collections::BTreeMap::<&str, u64>::new();
    for undone in &restored.undone {
        *actors.entry(&undone.actor).or_default() += 1;
        *events.entry(&undone.event).or_default() += 1;
    }
    change.tell(
        "audit.given_up",
        restored.generation,
        json!({
            "kept_up_to_change": restored.change,
            "kept_up_to": restored.at,
            "source": restored.source,
            "by": restored.by,
            "events_given_up": restored.undone.len(),
            "events": most(events),
            "actors": most(actors),
        }),
    );
    // The index holds what may not be there any more; it is made again from the table.
    ctx.site.index.clear();
    if number > 0 {
        make(change, ctx, &signer(ctx.site)?, restored.generation)?;
    }
    Ok(())
}

/// The most frequent ones with their counts, few enough to stand in one entry.
fn most(counts: std::collections::BTreeMap<&str, u64>) -> Vec<String> {
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().take(20).map(|(name, count)| format!("{name} ({count})")).collect()
}
