//! Reading the audit log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chain::{self, Head, STEP};
use super::export::export;
use super::holds::{hold, holds, lift};
use super::model::Entry;
use super::retention::{self, Cut, Retention, retain, retention};
use super::sieve::{Narrowed, Sieve};
use super::store::{CHECKPOINTS, CONTRADICTIONS, ENTRIES, RETENTIONS, VERIFICATIONS};
use super::verify::Verification;
use super::{catalogue, checkpoint, verify, witness, words};
use crate::base::{Error, Page, Result, limits};
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing, Ops};
use crate::wire::Checkpoint;

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("audit.list", "/audit", "Lists what was done, newest first.", list);
    ops.get(
        "audit.events",
        "/audit/events",
        "Lists every kind of event that the audit log may hold: the catalogue is closed.",
        catalogue::events,
    );
    ops.get("audit.search", "/audit/search", "Searches the full text of the audit log.", words::search);
    ops.costs(5);
    ops.get(
        "audit.status",
        "/audit/status",
        "Shows how far the audit log is, and who vouches for it.",
        status,
    );
    ops.get("audit.checkpoints", "/audit/checkpoints", "Lists checkpoints, newest first.", checkpoints);
    ops.get(
        "audit.contradictions",
        "/audit/contradictions",
        "Lists checkpoints that agents keep and that the audit log contradicts.",
        witness::contradictions,
    );
    ops.get("audit.retention", "/audit/retention", "Shows how long entries are kept.", retention);
    ops.post("audit.retain", "/audit/retention", "Chooses how long entries are kept.", retain);
    ops.get("audit.holds", "/audit/holds", "Lists legal holds, the newest first.", holds);
    ops.post("audit.hold", "/audit/holds", "Places a legal hold, so that what it covers stays.", hold);
    ops.post("audit.lift", "/audit/holds/{number}/lift", "Lifts a legal hold.", lift);
    ops.get("audit.find", "/audit/{number}", "Shows one entry of the audit log.", find);
    ops.post(
        "audit.verify",
        "/audit/verify",
        "Reads the whole audit log again and says the first entry that does not fit.",
        verify,
    );
    ops.file("audit.export", "/audit/export", "Gives the audit log away as a file.", export);
    ops.gives("audit.exported");
    ops.post("audit.checkpoint", "/audit/checkpoints", "Signs how far the audit log is.", checkpoint);
    ops.post(
        "audit.settle",
        "/audit/contradictions/settle",
        "Says that a person has looked into the contradictions.",
        witness::settle,
    );
}

/// Entries that one call looks at; a filter that finds less than a page in them gives a short page and a cursor.
const ENTRIES_LOOKED_AT_MAX: usize = 20_000;
/// Which entry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct AuditNumber {
    /// Its number in the log.
    pub number: u64,
}

/// Shows one entry.
pub fn find(ctx: &Ctx<'_>, asked: AuditNumber) -> Result<Entry> {
    ctx.require("audit.read")?;
    let read = ctx.read()?;
    let gone = retention::beginning(&read, ctx.tenant)?.0;
    chain::numbered(&read, ctx.tenant, asked.number)?.ok_or_else(|| {
        let error = Error::not_found("entry of the audit log", asked.number);
        match asked.number <= gone {
            true => error.hint(format!("entries up to {gone} were removed, as the retention says")),
            false => error,
        }
    })
}

/// Which entries.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct AuditAsked {
    /// What is asked of them.
    #[serde(flatten)]
    pub narrowed: Narrowed,
    /// Cursor of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// Entries of the page.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Lists what was done, newest first.
pub fn list(ctx: &Ctx<'_>, asked: AuditAsked) -> Result<Page<Entry>> {
    ctx.require("audit.read")?;
    let sieve = Sieve::new(&asked.narrowed)?;
    let limit = asked.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let (mut change, mut place) = match asked.after.as_deref().filter(|after| !after.is_empty()) {
        Some(after) => cursor(after)?,
        None => (u64::MAX, u32::MAX),
    };
    let mut items: Vec<Entry> = Vec::new();
    for _ in 0..ENTRIES_LOOKED_AT_MAX / STEP {
        // A fresh snapshot each time: a long scan must not hold the store's space.
        let rows = ctx.read()?.prefix_before(&ENTRIES, &ctx.tenant, &(ctx.tenant, change, place), STEP)?;
        let last = rows.len() < STEP;
        for (key, entry) in rows {
            (change, place) = (key.1, key.2);
            if sieve.is_past(&entry) {
                return Ok(Page { items, next: None });
            }
            if sieve.passes(&entry) {
                if items.len() == limit {
                    let next = items.last().map(Entry::cursor);
                    return Ok(Page { items, next });
                }
                items.push(entry);
            }
        }
        if last {
            return Ok(Page { items, next: None });
        }
    }
    Ok(Page { items, next: Some(format!("{change}-{place}")) })
}

/// How far the log is, and who vouches for it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    /// The last entry.
    pub head: Head,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// What people write down of it.
    pub fingerprint: String,
    /// Agents that have it, as far as this start of the server knows.
    pub holders: usize,
    /// The last look at the whole log.
    pub verified: Option<Verification>,
    /// Checkpoints that agents keep and that nothing explains.
    pub contradictions: usize,
    /// Whether the full text can be searched.
    pub searchable: bool,
    /// How long entries are kept.
    pub retention: Retention,
    /// Behind which entries are gone, when some are.
    pub cut: Option<Cut>,
}

/// Shows how far the log is.
pub fn status(ctx: &Ctx<'_>, _: Nothing) -> Result<Status> {
    ctx.require("audit.read")?;
    let read = ctx.read()?;
    let newest = checkpoint::newest(&read, ctx.tenant)?;
    let found = read.prefix(&CONTRADICTIONS, &ctx.tenant, limits::PAGE_ROWS_MAX)?;
    Ok(Status {
        head: chain::head(&read, ctx.tenant)?,
        fingerprint: newest.as_ref().map(witness::fingerprint).unwrap_or_default(),
        holders: newest.as_ref().map_or(0, |newest| witness::holders(ctx.site, ctx.tenant, newest)),
        checkpoint: newest,
        verified: read.get(&VERIFICATIONS, &ctx.tenant)?,
        contradictions: found.iter().filter(|(_, row)| !row.explained).count(),
        searchable: ctx.site.index.is_open(),
        retention: read.get(&RETENTIONS, &ctx.tenant)?.unwrap_or_default(),
        cut: retention::cut(&read, ctx.tenant)?,
    })
}

/// Lists checkpoints, newest first.
pub fn checkpoints(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<Checkpoint>> {
    ctx.require("audit.read")?;
    let rows = ctx.read()?.prefix_back(&CHECKPOINTS, &ctx.tenant, limits::PAGE_ROWS_MAX)?;
    Ok(Page { items: rows.into_iter().map(|(_, row)| row).collect(), next: None })
}

fn cursor(text: &str) -> Result<(u64, u32)> {
    text.split_once('-')
        .and_then(|(change, place)| Some((change.parse().ok()?, place.parse().ok()?)))
        .ok_or_else(|| Error::invalid("the cursor is not valid").hint("use `next` of the page before"))
}
