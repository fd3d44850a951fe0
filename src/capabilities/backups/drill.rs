//! The record of drills. A drill starts a server, so whoever may do that runs it; what it found is signed and kept here.

use serde_json::json;

use super::model::{Drill, DrillRecord};
use super::store::{self, DRILLS};
use crate::base::{Page, Result, limits};
use crate::engine::crypto::Signer;
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
    let signer = signer(ctx)?;
    let signature = signer.sign(DrillRecord::text(&drill, recorded)?.as_bytes());
    let key = signer.public();
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
    let text = DrillRecord::text(&record.drill, record.recorded)?;
    let own = signer(ctx)?.public() == record.key;
    Ok(own && Signer::verify(&record.key, text.as_bytes(), &record.signature).is_ok())
}

fn signer(ctx: &Ctx<'_>) -> Result<Signer> {
    Signer::open(&ctx.site.vault, SIGNING_KEY, &ctx.site.clock)
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
