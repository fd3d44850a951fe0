//! Reading the whole log again: numbers, chain, head and every checkpoint.

use std::fmt;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chain::{self, Chain, STEP};
use super::model::Entry;
use super::store::{CHECKPOINTS, ENTRIES, VERIFICATIONS};
use super::{checkpoint, retention};
use crate::base::{Error, Result, Span, TenantId, Timestamp};
use crate::engine::store::{Read, Store};
use crate::kit::{Ctx, Findings, Nothing, PerSite};
use crate::wire::Checkpoint;

/// How often the log is read again without being asked.
const EVERY: Span = Span::from_hours(24);

/// The first thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wrong {
    /// Number of the entry, as it should be.
    pub number: u64,
    /// What does not fit.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {}", self.number, self.what)
    }
}

/// What a look at the whole log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// When it began.
    pub at: Timestamp,
    /// Entries that fit.
    pub entries: u64,
    /// Checkpoints that fit.
    pub checkpoints: u64,
    /// The first thing that does not fit; nothing when the log is whole.
    pub wrong: Option<Wrong>,
}

/// Follows a chain entry by entry, and checkpoints beside it. The same for a store and for an exported file.
pub(super) struct Walk {
    chain: Chain,
    number: u64,
    key: String,
    /// Hash of the checkpoint before, once there was one.
    before: Option<Chain>,
    pub(super) entries: u64,
    pub(super) checkpoints: u64,
}

impl Walk {
    /// Begins behind entry `number`, whose chain this is; `key` is the public key of checkpoints.
    pub(super) fn begin(number: u64, chain: Chain, key: String) -> Walk {
        Walk { chain, number, key, before: None, entries: 0, checkpoints: 0 }
    }

    /// The last entry that fitted, and its chain.
    pub(super) fn reached(&self) -> (u64, Chain) {
        (self.number, self.chain)
    }

    /// Takes the next entry, or says what does not fit.
    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), Wrong> {
        let number = self.number + 1;
        let wrong = |what: String| Err(Wrong { number, what });
        if entry.number != number {
            return wrong(match entry.number > number {
                true => format!("it is missing; the next one has number {}", entry.number),
                false => format!("in its place is one with number {}", entry.number),
            });
        }
        let chain = self.chain.next(entry);
        if chain != entry.chain {
            return wrong("its chain is not the hash of the chain before it and its content".into());
        }
        (self.number, self.chain) = (number, chain);
        self.entries += 1;
        Ok(())
    }

    /// Takes a checkpoint of the entry that was taken last, or says what does not fit.
    pub(super) fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), Wrong> {
        let wrong = |what: &str| Err(Wrong { number: checkpoint.number, what: what.into() });
        if checkpoint.number != self.number {
            return wrong("the log does not reach it, but a checkpoint speaks of it");
        }
        if checkpoint.chain != self.chain.to_string() {
            return wrong("its checkpoint speaks of another chain");
        }
        self.gone(checkpoint)
    }

    /// Takes a checkpoint of an entry that is not kept any more.
    pub(super) fn gone(&mut self, checkpoint: &Checkpoint) -> Result<(), Wrong> {
        let wrong = |what: &str| Err(Wrong { number: checkpoint.number, what: what.into() });
        if checkpoint.key != self.key {
            return wrong("its checkpoint was signed with another key");
        }
        if !checkpoint::is_signed(checkpoint) {
            return wrong("the signature of its checkpoint is not valid");
        }
        if self.before.is_some_and(|before| before.to_string() != checkpoint.previous) {
            return wrong("its checkpoint does not follow the one before");
        }
        self.before = Some(checkpoint::hash(checkpoint));
        self.checkpoints += 1;
        Ok(())
    }
}

/// Checkpoints in order, read in pages up to a change.
pub(super) struct Checkpoints {
    store: Store,
    tenant: TenantId,
    last: u64,
    page: std::collections::VecDeque<Checkpoint>,
    after: Option<u64>,
}

impl Checkpoints {
    pub(super) fn new(store: &Store, tenant: TenantId, last: u64) -> Checkpoints {
        Checkpoints { store: store.clone(), tenant, last, page: Default::default(), after: Some(0) }
    }

    /// The next one, when it speaks of this entry or an earlier one.
    pub(super) fn upto(&mut self, number: u64) -> Result<Option<Checkpoint>> {
        if self.page.is_empty()
            && let Some(after) = self.after
        {
            let key = (self.tenant, after);
            let rows = self.store.read()?.prefix_after(&CHECKPOINTS, &self.tenant, &key, STEP)?;
            self.after = rows.last().map(|((_, change), _)| *change).filter(|_| rows.len() == STEP);
            self.page = rows.into_iter().map(|(_, row)| row).filter(|row| row.change <= self.last).collect();
        }
        Ok(self.page.pop_front_if(|row| row.number <= number))
    }
}

/// Reads the log of a tenant in pages, each with a view of its own; `stop` is asked between them.
pub(super) fn walk(
    store: &Store,
    tenant: TenantId,
    key: &str,
    at: Timestamp,
    stop: &dyn Fn() -> bool,
) -> Result<Verification> {
    // What comes while it is read is left for the next time.
    let (head, last, cut) = {
        let read = store.read()?;
        (chain::head(&read, tenant)?, read.number()?, retention::cut(&read, tenant)?)
    };
    let mut walk = match &cut {
        None => Walk::begin(0, Chain::genesis(tenant), key.to_owned()),
        Some(cut) => {
            if let Some(wrong) = cut.wrong(tenant, key) {
                return Ok(Verification { at, entries: 0, checkpoints: 0, wrong: Some(wrong) });
            }
            Walk::begin(cut.number, cut.chain, key.to_owned())
        }
    };
    let mut checkpoints = Checkpoints::new(store, tenant, last);
    // Those of entries that are gone stand on their signatures and on each other.
    while let Some(row) = checkpoints.upto(walk.reached().0)? {
        if let Err(wrong) = walk.gone(&row) {
            return Ok(Verification { at, entries: 0, checkpoints: walk.checkpoints, wrong: Some(wrong) });
        }
    }
    let wrong = follow(store, tenant, &head, &mut walk, &mut checkpoints, stop)?;
    Ok(Verification { at, entries: walk.entries, checkpoints: walk.checkpoints, wrong })
}

fn follow(
    store: &Store,
    tenant: TenantId,
    head: &chain::Head,
    walk: &mut Walk,
    checkpoints: &mut Checkpoints,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Wrong>> {
    let mut rows = store.read()?.prefix(&ENTRIES, &tenant, STEP)?;
    while let Some(after) = rows.last().map(|(key, _)| *key) {
        let full = rows.len() == STEP;
        for ((_, change, place), entry) in rows {
            if (change, place) > (head.change, head.place) {
                break;
            }
            if (entry.change, entry.place) != (change, place) {
                return Ok(Some(Wrong {
                    number: entry.number,
                    what: "it stands in another one's place".into(),
                }));
            }
            if let Err(wrong) = walk.entry(&entry) {
                return Ok(Some(wrong));
            }
            while let Some(row) = checkpoints.upto(entry.number)? {
                if let Err(wrong) = walk.checkpoint(&row) {
                    return Ok(Some(wrong));
                }
            }
        }
        if !full || (after.1, after.2) >= (head.change, head.place) {
            break;
        }
        if stop() {
            return Err(Error::unavailable("the server stops"));
        }
        rows = store.read()?.prefix_after(&ENTRIES, &tenant, &after, STEP)?;
    }
    if walk.reached() != (head.number, head.chain) {
        let what = format!("the log ends before it, but its head says that there are {}", head.number);
        return Ok(Some(Wrong { number: walk.reached().0 + 1, what }));
    }
    Ok(match checkpoints.upto(u64::MAX)? {
        Some(row) => walk.checkpoint(&row).err(),
        None => None,
    })
}

/// One look at a time: two would only read the same twice.
static LOOKS: PerSite<Mutex<()>> = PerSite::new();

fn look(ctx: &Ctx<'_>) -> Result<Verification> {
    let looks = LOOKS.of(ctx.site, Mutex::default);
    let Some(_one) = looks.try_lock() else {
        return Err(Error::too_many("the audit log is being read already").hint("wait until that has ended"));
    };
    let key = checkpoint::signer(ctx.site)?.public();
    walk(&ctx.site.store, ctx.tenant, &key, ctx.now, &|| ctx.site.is_stopping())
}

fn detail(found: &Verification) -> serde_json::Value {
    let wrong = found.wrong.as_ref().map(ToString::to_string);
    json!({ "entries": found.entries, "checkpoints": found.checkpoints, "wrong": wrong })
}

/// Reads the whole log, and keeps what it found.
pub fn verify(ctx: &Ctx<'_>, _: Nothing) -> Result<Verification> {
    let permit = ctx.require("audit.verify")?;
    let found = look(ctx)?;
    permit.write(|change| {
        change.tx.put(&VERIFICATIONS, &ctx.tenant, &found)?;
        let event = if found.wrong.is_some() { "audit.broken" } else { "audit.verified" };
        change.tell(event, "log", detail(&found));
        Ok(())
    })?;
    if let Some(wrong) = &found.wrong {
        tracing::error!("the audit log is not whole: {wrong}");
    }
    Ok(found)
}

/// The job: the same once a day. It tells only what is new.
pub(super) fn step(ctx: &Ctx<'_>) -> Result<()> {
    let last = ctx.read()?.get(&VERIFICATIONS, &ctx.tenant)?;
    let waits = |last: &Verification| {
        last.at <= ctx.now && ctx.now.since(last.at).milliseconds() < EVERY.milliseconds()
    };
    if last.as_ref().is_some_and(waits) {
        return Ok(());
    }
    let found = look(ctx)?;
    let known = last.and_then(|last| last.wrong);
    ctx.require("audit.verify")?.write(|change| {
        change.tx.put(&VERIFICATIONS, &ctx.tenant, &found)?;
        if found.wrong.is_some() && found.wrong != known {
            change.tell("audit.broken", "log", detail(&found));
        }
        Ok(())
    })?;
    if let Some(wrong) = found.wrong.filter(|wrong| Some(wrong) != known.as_ref()) {
        tracing::error!("the audit log is not whole: {wrong}");
    }
    Ok(())
}

/// The hook of checks.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    let key = checkpoint::signer(ctx.site)?.public();
    for tenant in ctx.site.tenants.living() {
        let found = walk(&ctx.site.store, tenant, &key, ctx.now, &|| ctx.site.is_stopping())?;
        findings.looked_at += found.entries + found.checkpoints;
        if let Some(wrong) = found.wrong {
            let whose = if tenant == ctx.site.home { String::new() } else { format!(" of {tenant}") };
            findings.add(
                format!("{} entry {}{whose}", ENTRIES.name(), wrong.number),
                wrong.what,
                "none: compare with an export or a backup, and with the checkpoints that agents and people keep",
            );
        }
    }
    Ok(())
}
