//! What is under way on this site: one run at a time, what is sent where, and the past that somebody looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::model::Progress;
use super::past::Past;
use crate::base::{Error, Result, Timestamp};
use crate::engine::archive::Pace;
use crate::engine::clock::Clock;
use crate::kit::{Ctx, PerSite, Site};

static SITES: PerSite<Memory> = PerSite::new();

/// Work that can be watched and stopped. Cloning gives the same one.
#[derive(Clone)]
pub struct Meter(Arc<Inner>);

struct Inner {
    clock: Clock,
    began: Timestamp,
    stop: Arc<AtomicBool>,
    bytes_per_second_max: u64,
    phase: Mutex<Phase>,
}

struct Phase {
    word: String,
    total: u64,
    bytes: Arc<AtomicU64>,
    pace: Pace,
}

impl Meter {
    /// Work that begins now, with at most so many bytes a second; 0 for no limit.
    pub fn new(clock: &Clock, bytes_per_second_max: u64) -> Meter {
        let stop = Arc::new(AtomicBool::new(false));
        let phase = Phase::new(clock, "", 0, &stop, bytes_per_second_max);
        Meter(Arc::new(Inner {
            clock: clock.clone(),
            began: clock.now(),
            stop,
            bytes_per_second_max,
            phase: Mutex::new(phase),
        }))
    }

    /// A new phase of the work, of about `total` bytes; its pace counts them.
    pub fn phase(&self, word: &str, total: u64) -> Pace {
        let phase = Phase::new(&self.0.clock, word, total, &self.0.stop, self.0.bytes_per_second_max);
        let pace = phase.pace.clone();
        *self.0.phase.lock() = phase;
        pace
    }

    /// The counter of the phase, for who counts by itself.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.phase.lock().bytes)
    }

    /// The flag that stops it.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.stop)
    }

    /// Asks the work to stop.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked it to.
    pub fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }

    /// An error when it was asked to stop.
    pub fn going(&self) -> Result<()> {
        match self.stopped() {
            true => Err(Error::unavailable("the run was stopped").hint("nothing was changed; run it again")),
            false => Ok(()),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let phase = self.0.phase.lock();
        let known = phase.pace.progress((phase.total > 0).then_some(phase.total));
        Progress {
            phase: phase.word.clone(),
            began: self.0.began,
            bytes: known.bytes,
            bytes_total: phase.total,
            bytes_per_second: known.bytes_per_second,
            seconds_left: known.seconds_left,
            stopping: self.stopped(),
        }
    }
}

impl Phase {
    fn new(clock: &Clock, word: &str, total: u64, stop: &Arc<AtomicBool>, most: u64) -> Phase {
        let bytes = Arc::new(AtomicU64::new(0));
        let pace = Pace::sharing(clock, Arc::clone(&bytes), Arc::clone(stop));
        pace.limit((most > 0).then_some(most));
        Phase { word: word.to_owned(), total, bytes, pace }
    }
}

/// What is under way on one site.
pub(super) struct Memory {
    /// When the program began to look.
    pub(super) began: Duration,
    /// The run under way, and whether it is a full backup.
    run: Mutex<Option<(bool, Meter)>>,
    /// Copies under way, by target.
    sending: Mutex<BTreeMap<String, Meter>>,
    /// After a failure of a target: when it is tried again, and how often in a row it failed.
    pub(super) waits: Mutex<BTreeMap<String, (Duration, u32)>>,
    /// Bytes of the journal at the last backup.
    pub(super) saved_bytes: AtomicU64,
    /// The server stops: nothing new begins.
    halted: AtomicBool,
    /// Files that came by other hands and have been looked at.
    pub(super) examined: Mutex<BTreeSet<String>>,
    /// One maker of recovery keys at a time.
    pub(super) keys: Mutex<()>,
    /// The past that somebody looks at; one at a time.
    pub(super) past: Mutex<Option<Arc<Past>>>,
}

/// What is under way on this site.
pub(super) fn of(site: &Site) -> Arc<Memory> {
    SITES.of(site, || Memory {
        began: site.clock.monotonic(),
        run: Mutex::new(None),
        sending: Mutex::default(),
        waits: Mutex::default(),
        saved_bytes: AtomicU64::new(0),
        examined: Mutex::default(),
        halted: AtomicBool::new(false),
        keys: Mutex::new(()),
        past: Mutex::new(None),
    })
}

/// The server stops: what is under way ends soon, and nothing new begins.
pub fn halt(site: &Site) {
    let memory = of(site);
    memory.halted.store(true, Ordering::SeqCst);
    memory.stop();
    memory.sending.lock().values().for_each(Meter::stop);
    memory.past.lock().take();
}

impl Memory {
    /// The only run, until the guard goes.
    pub(super) fn begin(self: &Arc<Self>, ctx: &Ctx<'_>, full: bool, most: u64) -> Result<Running> {
        let mut run = self.run.lock();
        if self.halted() {
            return Err(Error::unavailable("the server is stopping"));
        }
        if run.is_some() {
            return Err(Error::conflict("a backup is under way already").hint("wait for it, or stop it"));
        }
        let meter = Meter::new(&ctx.site.clock, most);
        *run = Some((full, meter.clone()));
        Ok(Running { memory: Arc::clone(self), meter })
    }

    /// The run under way: whether it is a full backup, and how far it is.
    pub(super) fn running(&self) -> Option<(bool, Progress)> {
        self.run.lock().as_ref().map(|(full, meter)| (*full, meter.progress()))
    }

    /// Asks the run under way to stop; says whether there was one.
    pub(super) fn stop(&self) -> bool {
        self.run.lock().as_ref().map(|(_, meter)| meter.stop()).is_some()
    }

    /// Whether the server is stopping.
    pub(super) fn halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }

    /// A copy to a target, watched and stopped under its identifier.
    pub(super) fn send(&self, target: &str, meter: &Meter) -> Result<()> {
        if self.halted() {
            return Err(Error::unavailable("the server is stopping"));
        }
        self.sending.lock().insert(target.to_owned(), meter.clone());
        Ok(())
    }

    /// The copy has ended.
    pub(super) fn sent(&self, target: &str) {
        self.sending.lock().remove(target);
    }

    /// How far the copy to a target is, when one is under way.
    pub(super) fn sending(&self, target: &str) -> Option<Progress> {
        self.sending.lock().get(target).map(Meter::progress)
    }
}

/// The right to be the only run.
pub(super) struct Running {
    memory: Arc<Memory>,
    /// Its progress.
    pub(super) meter: Meter,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.memory.run.lock().take();
    }
}
