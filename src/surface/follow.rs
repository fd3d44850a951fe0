//! Followers of the change feed: each has a cursor in the store, which moves in the same change as what it wrote.
//!
//! Invariant: a follower sees every change that tells an event, in order; one that fails is tried again until it works.
//! Invariant: what a follower writes is not followed, so that no circle can form.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::base::{Error, Result, TenantId};
use crate::engine::store::{self, Pending, Read};
use crate::kit::{CURSORS, Ctx, Follower, Followers, Site};

/// Changes that are read at once.
const CHANGES_MAX: usize = 256;
/// Changes without an event after which the cursor is kept anyway, so that a start does not read them all again.
const SKIPPED_MAX: u64 = 2_000;
/// First and longest wait after a failure.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Failures in a row after which a person must act.
const ATTEMPTS_QUIET: u32 = 5;
/// What followers write begins with this.
const ACTION: &str = "follow.";

/// How one follower fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowStats {
    /// Its name.
    pub name: &'static str,
    /// The last change that it is done with.
    pub position: u64,
    /// Failures in a row.
    pub attempts: u32,
    /// The last of them.
    pub error: Option<String>,
}

/// The running thread. Dropping it stops it.
pub struct Following {
    stats: Arc<Mutex<Vec<FollowStats>>>,
    moved: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Following {
    /// Goes on where the cursors stand.
    pub fn start(site: Arc<Site>, followers: Followers) -> Result<Following> {
        let all = places(&site, followers)?;
        let first = all
            .iter()
            .map(|p| FollowStats { name: p.follower.name, position: p.position, ..FollowStats::default() })
            .collect();
        let stats = Arc::new(Mutex::new(first));
        let (stop, stopping) = watch::channel(false);
        let (moving, moved) = watch::channel(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = {
            let stats = stats.clone();
            std::thread::Builder::new()
                .name("follow".into())
                .spawn(move || runtime.block_on(run(&site, all, &stats, &moving, stopping)))
                .map_err(|e| Error::unavailable("no thread for followers").because(e))?
        };
        Ok(Following { stats, moved, stop, thread: Mutex::new(Some(thread)) })
    }

    /// How every follower fares.
    pub fn stats(&self) -> Vec<FollowStats> {
        self.stats.lock().clone()
    }

    /// Whether every follower is done with this change.
    pub fn has_reached(&self, change: u64) -> bool {
        self.stats.lock().iter().all(|s| s.position >= change)
    }

    /// Turns over whenever a follower has moved; for who waits until they have caught up.
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.clone()
    }

    /// Ends the thread after the change that it is at.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) struct Place {
    follower: Follower,
    action: &'static str,
    position: u64,
    kept: u64,
}

/// Every follower where its cursor stands.
pub(super) fn places(site: &Site, followers: Followers) -> Result<Vec<Place>> {
    let read = site.store.read()?;
    let place = |follower: Follower| {
        let position = read.get(&CURSORS, &follower.name.to_owned())?.unwrap_or_default();
        // The few names of a process live as long as it.
        let action: &'static str = Box::leak(format!("{ACTION}{}", follower.name).into_boxed_str());
        Ok(Place { follower, action, position, kept: position })
    };
    followers.0.into_iter().map(place).collect()
}

async fn run(
    site: &Site,
    mut places: Vec<Place>,
    stats: &Mutex<Vec<FollowStats>>,
    moving: &watch::Sender<u64>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut feed = site.store.watch();
    loop {
        feed.mark_unchanged();
        let mut again = false;
        let mut wait = None;
        for (index, place) in places.iter_mut().enumerate() {
            if *stopping.borrow() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| step(site, place)))
                .unwrap_or_else(|_| Err(Error::internal("the follower panicked")));
            if let Some(delay) = note(place, stats, index, &result) {
                wait = Some(wait.map_or(delay, |w: Duration| w.min(delay)));
            }
            again |= result.unwrap_or(false);
        }
        moving.send_modify(|n| *n += 1);
        if again {
            continue;
        }
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            changed = feed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3_600))) => {}
        }
        // A change that fails must not be tried again with every other change that comes.
        if let Some(delay) = wait {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }
}

/// Takes one follower over the next changes; true when there may be more.
pub(super) fn step(site: &Site, place: &mut Place) -> Result<bool> {
    let changes = site.store.changes(place.position, CHANGES_MAX)?;
    let Some(last) = changes.last().map(|c| c.number) else { return Ok(false) };
    if let Some(first) = changes.first().filter(|c| c.number > place.position + 1) {
        tracing::error!(
            follower = place.follower.name,
            "follower `{}` missed the changes {} to {}: the feed no longer has them",
            place.follower.name,
            place.position + 1,
            first.number - 1
        );
    }
    let mut pending: Option<Pending> = None;
    let mut done = place.position;
    let mut outcome = Ok(());
    for change in &changes {
        if !change.events.is_empty() && !change.origin.action.starts_with(ACTION) {
            match follow(site, place, change) {
                Ok(next) => pending = Some(next),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            place.kept = change.number;
        }
        done = change.number;
    }
    if outcome.is_ok() && done - place.kept.min(done) >= SKIPPED_MAX {
        pending = Some(keep(site, place, done)?);
        place.kept = done;
    }
    // Changes are durable in their order, so that the last stands for all.
    if let Some(pending) = pending {
        pending.wait()?;
    }
    place.position = done;
    outcome.map(|()| last > done || changes.len() == CHANGES_MAX)
}

fn follow(site: &Site, place: &Place, seen: &store::Change) -> Result<Pending> {
    let ctx = Ctx::system(site, TenantId::from_bits(seen.origin.tenant), place.action);
    let span = tracing::info_span!("follow", name = place.follower.name, change = seen.number);
    let own = ctx.within(if site.tenants.lives(ctx.tenant) { ctx.tenant } else { site.home });
    let permit = own.require(place.action)?;
    let ((), pending) = span.in_scope(|| {
        permit.submit(|change| {
            // Of a tenant that is gone nothing is made any more.
            if site.tenants.lives(ctx.tenant) {
                (place.follower.run)(&ctx, change, seen)?;
            }
            change.tx.put(&CURSORS, &place.follower.name.to_owned(), &seen.number)
        })
    })?;
    Ok(pending)
}

fn keep(site: &Site, place: &Place, position: u64) -> Result<Pending> {
    let ctx = Ctx::system(site, site.home, place.action);
    let name = place.follower.name.to_owned();
    let permit = ctx.require(place.action)?;
    permit.submit(|change| change.tx.put(&CURSORS, &name, &position)).map(|((), pending)| pending)
}

/// Keeps the outcome; after a failure, how long to wait.
fn note(
    place: &Place,
    stats: &Mutex<Vec<FollowStats>>,
    index: usize,
    result: &Result<bool>,
) -> Option<Duration> {
    let mut stats = stats.lock();
    let entry = stats.get_mut(index)?;
    entry.position = place.position;
    let Err(error) = result else {
        entry.attempts = 0;
        entry.error = None;
        return None;
    };
    entry.attempts += 1;
    let (name, change, detail) = (entry.name, place.position + 1, error.detail());
    if entry.attempts == ATTEMPTS_QUIET {
        tracing::error!(follower = name, "follower `{name}` is stuck behind change {change}: {detail}");
    } else if entry.attempts == 1 {
        tracing::warn!(follower = name, "follower `{name}` failed behind change {change}: {detail}");
    }
    entry.error = Some(detail);
    let (first, most) = WAITS;
    Some(first.saturating_mul(1 << (entry.attempts - 1).min(6)).min(most))
}
