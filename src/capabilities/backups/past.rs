//! Looks into the past: what would be undone, how things were, and one of them brought back.
//!
//! The past is a store that is restored from the server's own backups into the scratch folder. One is kept for a few
//! minutes, for who looks at one thing mostly looks at the next.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::memory::{self, Meter};
use super::repository::open_repository;
use super::restore::{Restoring, instant, restore_store, undone_by};
use super::run::{changes, folder};
use super::{keys, store};
use crate::base::{Error, Kind, Result, Span, Timestamp};
use crate::engine::crypto::Kek;
use crate::engine::store::{Store, Until};
use crate::kit::{Ctx, Difference, Nothing, Returnable, Undone};

/// How long a past is kept after its last use.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// Memory that its store may use.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Events that a preview shows; it counts the others.
pub(super) const SHOWN_MAX: usize = 500;
/// Changes that a preview reads at once.
const STEP: usize = 500;
/// Changes that a preview reads from the journal; beyond them the backups are asked.
const JOURNAL_CHANGES_MAX: u64 = 200_000;
/// Differences that one answer holds.
const DIFFERENCES_MAX: usize = 500;

/// A store as it was.
pub(super) struct Past {
    until: Until,
    store: Store,
    change: u64,
    at: Timestamp,
    undone: Vec<Undone>,
    undone_count: u64,
    used: Mutex<Duration>,
    // Last: its folder goes when the store is closed.
    _scratch: Scratch,
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // The start empties the scratch folder too.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The store as it was then, restored now or a moment ago.
fn past(ctx: &Ctx<'_>, until: Until) -> Result<Arc<Past>> {
    let memory = memory::of(ctx.site);
    let mut kept = memory.past.lock();
    if memory.halted() {
        return Err(Error::unavailable("the server is stopping"));
    }
    let now = ctx.site.clock.monotonic();
    if let Some(past) = kept.as_ref().filter(|past| past.until == until) {
        *past.used.lock() = now;
        return Ok(Arc::clone(past));
    }
    kept.take();
    // What no backup has yet must be in one, or the last minutes could not be looked at.
    match changes(&Ctx::system(ctx.site, ctx.site.home, "backups.look")) {
        Err(error) if !matches!(error.kind(), Kind::Conflict | Kind::NotFound) => return Err(error),
        _ => {}
    }
    let random = ctx.site.clock.random::<8>();
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let scratch = Scratch(ctx.site.folder.join("scratch").join(format!("past-{name}")));
    let repository = open_repository(&folder(ctx)).map_err(none_yet)?;
    let keys = keys::all(ctx)?;
    let restoring = Restoring {
        keys: &keys,
        kek: &|folder| Kek::File(folder.join("kek")),
        telemetry: false,
        clock: &ctx.site.clock,
        by: &ctx.actor.text(),
        progress: &Meter::new(&ctx.site.clock, 0),
    };
    let report = restore_store(&scratch.0, &repository, &until, &restoring)?;
    let past = Arc::new(Past {
        until,
        store: ctx.site.store.open_alike(&scratch.0.join("store"), CACHE_BYTES)?,
        change: report.restored.change,
        at: report.restored.at,
        undone_count: report.undone,
        undone: report.restored.undone,
        used: Mutex::new(now),
        _scratch: scratch,
    });
    *kept = Some(Arc::clone(&past));
    Ok(past)
}

fn none_yet(error: Error) -> Error {
    match error.kind() {
        Kind::NotFound => Error::not_found("backup", "any").hint("take a full backup first"),
        _ => error,
    }
}

/// Lets a past go that nobody has looked at for a while.
pub(super) fn tidy(ctx: &Ctx<'_>) -> Result<()> {
    let memory = memory::of(ctx.site);
    let now = ctx.site.clock.monotonic();
    let mut kept = memory.past.lock();
    if kept.as_ref().is_some_and(|past| now.saturating_sub(*past.used.lock()) > KEPT) {
        kept.take();
    }
    Ok(())
}

/// When: an instant or the number of a change.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct When {
    /// An instant in UTC: `2026-11-20 14:02`, or RFC 3339.
    pub at: String,
    /// The number of the last change that is kept.
    pub change: Option<u64>,
}

impl When {
    /// As the restore understands it.
    pub(super) fn until(&self) -> Result<Until> {
        match (self.at.trim(), self.change) {
            ("", None) => Err(Error::invalid("no instant is named").hint("give `at` or `change`")),
            ("", Some(change)) => Ok(Until::Change(change)),
            (at, None) => instant(at).map(Until::At),
            _ => Err(Error::invalid("an instant and a change are named").hint("give only one of them")),
        }
    }
}

/// What a restore to an instant would undo.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Preview {
    /// The last change that would be kept.
    pub change: u64,
    /// The instant of that change; absent when only the journal was asked and no longer has it.
    pub at: Option<Timestamp>,
    /// Changes that would be undone.
    pub changes: u64,
    /// Events that they told; at most 500, the oldest first.
    pub events: Vec<Undone>,
    /// All of them.
    pub events_count: u64,
    /// Who made them, and how many, the most first.
    pub by: Vec<(String, u64)>,
}

/// Tells what a restore to that instant would undo, without restoring anything.
pub(super) fn preview(ctx: &Ctx<'_>, when: When) -> Result<Preview> {
    ctx.require("backups.read")?;
    // It tells who did what, as the audit log does.
    ctx.require("audit.read")?;
    let until = when.until()?;
    let store = &ctx.site.store;
    let (first, last) = (store.first_change().max(1), store.last_change());
    let kept = match until {
        Until::Change(number) => number.min(last),
        Until::At(at) => last_before(store, first, last, at)?,
        Until::End => last,
    };
    let mut tally = Tally::default();
    let (change, at) = if kept + 1 >= first && last - kept <= JOURNAL_CHANGES_MAX {
        let mut after = kept;
        while after < last {
            let page = store.changes(after, STEP)?;
            let Some(newest) = page.last() else { break };
            after = newest.number;
            page.iter().flat_map(undone_by).for_each(|event| tally.add(event));
        }
        let at = store.changes(kept.saturating_sub(1), 1)?;
        (kept, at.first().filter(|change| change.number == kept).map(|change| change.origin.at))
    } else {
        let past = past(ctx, until)?;
        past.undone.iter().for_each(|event| tally.add(event.clone()));
        tally.count = past.undone_count;
        (past.change, Some(past.at))
    };
    let mut by: Vec<(String, u64)> = tally.by.into_iter().collect();
    by.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(Preview {
        change,
        at,
        changes: last.saturating_sub(change),
        events: tally.shown,
        events_count: tally.count,
        by,
    })
}

#[derive(Default)]
struct Tally {
    shown: Vec<Undone>,
    count: u64,
    by: std::collections::BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, event: Undone) {
        // What followers and the backups themselves write would be made again by itself.
        if event.action.starts_with("follow.") || event.action.starts_with("backups.") {
            return;
        }
        self.count += 1;
        *self.by.entry(event.actor.clone()).or_default() += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(event);
        }
    }
}

/// The last change of the journal whose instant is not later than `at`; the one before the first when all are later.
fn last_before(store: &Store, first: u64, last: u64, at: Timestamp) -> Result<u64> {
    // Changes come in the order of their instants, but for a clock that was set back.
    let (mut low, mut high) = (first.saturating_sub(1), last);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let change = store.changes(middle - 1, 1)?;
        match change.first() {
            Some(change) if change.origin.at <= at => low = change.number.min(high),
            _ => high = middle - 1,
        }
    }
    Ok(low)
}

/// A kind of thing that can be brought back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Kindred {
    /// The word: `agents`.
    pub word: &'static str,
    /// What people call it.
    pub title: &'static str,
}

/// Everything that can be brought back one by one.
pub(super) fn kinds(ctx: &Ctx<'_>, _: Nothing) -> Result<Vec<Kindred>> {
    ctx.require("backups.read")?;
    let all = ctx.site.capabilities().iter().flat_map(|capability| capability.returnable());
    Ok(all.map(|r| Kindred { word: r.word, title: r.title }).collect())
}

fn returnable(ctx: &Ctx<'_>, word: &str) -> Result<&'static Returnable> {
    let mut all = ctx.site.capabilities().iter().flat_map(|capability| capability.returnable());
    all.find(|r| r.word == word).ok_or_else(|| {
        let shown: String = word.chars().take(40).collect();
        Error::not_found("kind of thing that can be brought back", shown)
    })
}

/// What is asked of the past.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Then {
    /// An instant in UTC.
    pub at: String,
    /// Or the number of a change.
    pub change: Option<u64>,
    /// Which kind: `agents`, `people`, `settings`.
    pub word: String,
    /// Which of them; all when it is empty.
    pub filter: String,
}

/// How things were then and are now.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Differences {
    /// The last change of then.
    pub change: u64,
    /// The instant of that change.
    pub at: Timestamp,
    /// Things that differ.
    pub items: Vec<Difference>,
    /// Whether there are more than these.
    pub more: bool,
}

/// Tells how things of one kind differ between then and now.
pub(super) fn then(ctx: &Ctx<'_>, asked: Then) -> Result<Differences> {
    ctx.require("backups.read")?;
    let returnable = returnable(ctx, &asked.word)?;
    // It shows things in full: who may bring them back may look at them.
    ctx.demand(returnable.permission)?;
    let past = past(ctx, When { at: asked.at, change: asked.change }.until()?)?;
    let mut items = (returnable.differing)(ctx, &past.store.read()?, asked.filter.trim())?;
    let more = items.len() > DIFFERENCES_MAX;
    items.truncate(DIFFERENCES_MAX);
    Ok(Differences { change: past.change, at: past.at, items, more })
}

/// What is brought back.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct BringBack {
    /// As it was at this instant, in UTC.
    #[serde(default)]
    pub at: String,
    /// Or after this change.
    #[serde(default)]
    pub change: Option<u64>,
    /// Which kind.
    pub word: String,
    /// Which one, by identifier.
    pub subject: String,
}

/// Brings one thing back as it was, as a new change.
pub(super) fn bring_back(ctx: &Ctx<'_>, asked: BringBack) -> Result<Difference> {
    let permit = ctx.require("backups.bring_back")?;
    let returnable = returnable(ctx, &asked.word)?;
    ctx.require(returnable.permission)?;
    let past = past(ctx, When { at: asked.at, change: asked.change }.until()?)?;
    let then = past.store.read()?;
    permit.write(|change| (returnable.bring_back)(ctx, change, &then, &asked.subject))
}

/// The span of time in which every second can be brought back from the server's own backups.
pub(super) fn window(ctx: &Ctx<'_>) -> Result<Option<(Timestamp, Timestamp)>> {
    let backups = store::backups(&ctx.read()?, ctx.tenant)?;
    let generation = crate::kit::generation(&ctx.read()?, ctx.tenant)?;
    let full = backups.iter().filter(|b| b.here && b.full && b.verified.is_some());
    let oldest = full.filter(|b| b.generation == generation).map(|b| b.made).min();
    // To the second, so that the page does not change while nothing happens.
    let now = Timestamp::from_milliseconds(ctx.now.seconds() * 1_000);
    Ok(oldest.map(|from| (from, now.max(from + Span::default()))))
}
