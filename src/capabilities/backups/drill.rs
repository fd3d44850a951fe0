//! The record of drills. A drill starts a server, so whoever may do that runs it; what it found is signed and kept here.

use serde_json::json;

use super::model::{Drill, DrillRecord};
use super::store::{self, DRILLS};
use crate::base::{Error, Page, Result, limits};
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing};

/// The vault's name of the key that signs records.
const SIGNING_KEY: &str = "backups-signing.key";

/// Whether a drill is due: by the plan, or because somebody asked.
pub fn due_drill(ctx: &Ctx<'_>) -> Result<bool> {
    let read = ctx.read()?;
    let (plan, state) = (store::plan(&read, ctx.tenant)?, store::state(&read, ctx.tenant)?);
    let last = last(&read, ctx)?.map(|record| record.recorded);
    let any = store::newest(&store::backups(&read, ctx.tenant)?, true).is_some_and(|backup| backup.here);
    Ok(state.drill_wanted || any && plan.drill_due(last, ctx.now))
}

/// The last drill.
pub(super) fn last(read: &impl Read, ctx: &Ctx<'_>) -> Result<Option<DrillRecord>> {
    Ok(read.prefix_back(&DRILLS, &ctx.tenant, 1)?.into_iter().next().map(|(_, record)| record))
}

/// Signs what a drill found, keeps it and tells it.
pub fn record_drill(ctx: &Ctx<'_>, drill: Drill) -> Result<DrillRecord> {
    let recorded = ctx.site.clock.now();
    let (key, signature) = sign(ctx, &DrillRecord::text(&drill, recorded)?)?;
    let record = DrillRecord { drill, recorded, key, signature };
    ctx.require("backups.record_drill")?.write(|change| {
        store::drilled(ctx, change, &record)?;
        store::remember(ctx, change, |state| state.drill_wanted = false)?;
        let drill = &record.drill;
        match record.is_good() {
            true => change.tell(
                "backups.drilled",
                &drill.backup,
                json!({ "change": drill.change, "restored_ms": drill.restored_ms, "ready_ms": drill.ready_ms }),
            ),
            false => change.tell("backups.drill_failed", &drill.backup, json!({ "error": drill.failure })),
        }
        Ok(())
    })?;
    Ok(record)
}

/// Whether the record is as this site signed it.
pub fn is_authentic(ctx: &Ctx<'_>, record: &DrillRecord) -> Result<bool> {
    let (key, signature) = sign(ctx, &DrillRecord::text(&record.drill, record.recorded)?)?;
    Ok(record.key == key && record.signature == signature)
}

/// The name of the key and the signature.
fn sign(ctx: &Ctx<'_>, text: &str) -> Result<(String, String)> {
    let key = match ctx.site.vault.get(SIGNING_KEY)? {
        Some(key) => key,
        None => {
            ctx.site.vault.put(SIGNING_KEY, &ctx.site.clock.random::<32>())?;
            ctx.site.vault.get(SIGNING_KEY)?.ok_or_else(|| Error::internal("the vault lost a key"))?
        }
    };
    let key: [u8; 32] = key.expose().as_slice().try_into()?;
    Ok((hex(&blake3::hash(&key).as_bytes()[..8]), hex(blake3::keyed_hash(&key, text.as_bytes()).as_bytes())))
}

/// Asks for a drill now.
pub(super) fn ask(ctx: &Ctx<'_>, _: Nothing) -> Result<()> {
    ctx.require("backups.drill")?.write(|change| {
        store::remember(ctx, change, |state| state.drill_wanted = true)?;
        change.tell("backups.drill_asked", "site", json!({}));
        Ok(())
    })
}

/// Lists drills, the newest first.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<DrillRecord>> {
    ctx.require("backups.read")?;
    let rows = ctx.read()?.prefix_back(&DRILLS, &ctx.tenant, limits::PAGE_ROWS_MAX)?;
    Ok(Page { items: rows.into_iter().map(|(_, record)| record).collect(), next: None })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
