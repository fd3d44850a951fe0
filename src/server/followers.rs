//! Followers of the feed: each has a cursor, which moves in the same change as what it derived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::Result;
use crate::capabilities::ALL;
use crate::engine::store::{Read, Table};
use crate::kit::{Ctx, Follower, Site};

/// Name of the table of cursors.
pub(super) const TABLE: &str = "cursors";
const CURSORS: Table<String, u64> = Table::new(TABLE);
/// Changes that one step takes.
const STEP_CHANGES: usize = 256;
/// Pause between looks when nothing wakes it, and after a failure.
const PAUSE: Duration = Duration::from_millis(250);

/// The running followers.
pub(super) struct Followers {
    stopping: Arc<(AtomicBool, Mutex<()>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Followers {
    /// Starts one thread that serves all.
    pub(super) fn start(site: Arc<Site>) -> Result<Followers> {
        let mut declared = crate::kit::Followers::default();
        ALL.iter().for_each(|capability| capability.followers(&mut declared));
        let stopping = Arc::new((AtomicBool::new(false), Mutex::new(()), Condvar::new()));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new().name("followers".into()).spawn(move || {
            let mut failed = false;
            loop {
                let mut moved = false;
                for follower in &declared.0 {
                    match step(&site, follower) {
                        Ok(more) => moved |= more,
                        Err(error) if !failed => {
                            failed = true;
                            tracing::error!(follower = follower.name, "follower `{}` failed and tries again: {error}", follower.name);
                        }
                        Err(_) => {}
                    }
                }
                if stop.0.load(Ordering::Acquire) {
                    return;
                }
                if !moved {
                    let mut guard = stop.1.lock();
                    stop.2.wait_for(&mut guard, PAUSE);
                }
            }
        })?;
        Ok(Followers { stopping, thread: Some(thread) })
    }

    /// Ends after the step that runs.
    pub(super) fn stop(&mut self) {
        self.stopping.0.store(true, Ordering::Release);
        self.stopping.2.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves one follower by one step; false when it has caught up.
fn step(site: &Site, follower: &Follower) -> Result<bool> {
    let key = follower.name.to_owned();
    let cursor = site.store.read()?.get(&CURSORS, &key)?.unwrap_or(0);
    let changes = site.store.changes(cursor, STEP_CHANGES)?;
    let Some(last) = changes.last().map(|change| change.number) else { return Ok(false) };
    if changes.iter().all(|change| change.events.is_empty()) && changes.len() < STEP_CHANGES {
        // Nothing to derive, so nothing is written: a cursor that moved would itself be a change to follow.
        return Ok(false);
    }
    let ctx = Ctx::system(site, follower.name);
    ctx.require("follow.step")?.write(|change| {
        for one in changes.iter().filter(|one| !one.events.is_empty()) {
            (follower.run)(&ctx, change, one)?;
        }
        change.tx.put(&CURSORS, &key, &last)
    })?;
    Ok(true)
}
