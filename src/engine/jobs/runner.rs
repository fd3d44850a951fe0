//! The runner and its threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::{Error, Result, Span, Timestamp};
use crate::engine::clock::Clock;

/// One step of a job.
pub type Step = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// Threads that run jobs; four, so that three that take hours do not hold up the others.
const THREADS: usize = 4;
/// The longest wait before the plan is looked at again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How one job fares.
#[derive(Clone, Debug, Default)]
pub struct JobStats {
    /// Its name.
    pub name: String,
    /// Runs that ended.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
    /// When the last run began.
    pub last_run: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// Why the last run failed; absent when it went well.
    pub last_error: Option<String>,
}

/// Runs jobs until it is stopped or dropped.
pub struct Runner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    clock: Clock,
    jobs: Vec<(Span, Step)>,
    plan: Mutex<Plan>,
    changed: Condvar,
}

struct Plan {
    stopping: bool,
    places: Vec<Place>,
}

struct Place {
    due: Duration,
    running: bool,
    again: bool,
    stats: JobStats,
}

impl Runner {
    /// Starts the threads. The first run of each job comes after its first interval.
    pub fn start(clock: Clock, jobs: Vec<(&'static str, Span, Step)>) -> Result<Runner> {
        let now = clock.monotonic();
        let places = jobs
            .iter()
            .map(|(name, every, _)| Place {
                due: now + every.duration(),
                running: false,
                again: false,
                stats: JobStats { name: (*name).to_owned(), ..JobStats::default() },
            })
            .collect();
        let jobs = jobs.into_iter().map(|(_, every, step)| (every, step)).collect();
        let plan = Mutex::new(Plan { stopping: false, places });
        let shared = Arc::new(Shared { clock, jobs, plan, changed: Condvar::new() });
        let runner = Runner { shared: shared.clone(), threads: Mutex::default() };
        for number in 0..THREADS {
            let shared = shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("jobs-{number}"))
                .spawn(move || shared.work())
                .map_err(|e| Error::unavailable("no thread for jobs").because(e))?;
            runner.threads.lock().push(thread);
        }
        Ok(runner)
    }

    /// Runs the job as soon as a thread is free; once more when it runs right now. Unknown names do nothing.
    pub fn wake(&self, name: &str) {
        let mut plan = self.shared.plan.lock();
        let now = self.shared.clock.monotonic();
        if let Some(place) = plan.places.iter_mut().find(|p| p.stats.name == name) {
            place.again = place.running;
            place.due = now;
        }
        drop(plan);
        self.shared.changed.notify_all();
    }

    /// Runs everything that is due on the calling thread, and returns how many steps that were. For tests, which move
    /// the clock by hand.
    pub fn run_due_now(&self) -> usize {
        let mut ran = 0;
        while let Some(index) = self.shared.take() {
            self.shared.run(index);
            ran += 1;
        }
        ran
    }

    /// How every job fares.
    pub fn stats(&self) -> Vec<JobStats> {
        self.shared.plan.lock().places.iter().map(|p| p.stats.clone()).collect()
    }

    /// Ends the threads; waits for the steps that run.
    pub fn stop(&self) {
        self.shared.plan.lock().stopping = true;
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A step may hold the last handle and drop it on its own thread.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn work(&self) {
        loop {
            if let Some(index) = self.take() {
                self.run(index);
                continue;
            }
            let mut plan = self.plan.lock();
            if plan.stopping {
                return;
            }
            let now = self.clock.monotonic();
            let next = plan.places.iter().filter(|p| !p.running).map(|p| p.due.saturating_sub(now)).min();
            let wait = next.unwrap_or(WAIT_MAX).clamp(Duration::from_millis(1), WAIT_MAX);
            self.changed.wait_for(&mut plan, wait);
        }
    }

    /// Takes the job that has been due the longest.
    fn take(&self) -> Option<usize> {
        let mut plan = self.plan.lock();
        if plan.stopping {
            return None;
        }
        let now = self.clock.monotonic();
        let (index, place) = plan
            .places
            .iter_mut()
            .enumerate()
            .filter(|(_, p)| !p.running && p.due <= now)
            .min_by_key(|(_, p)| p.due)?;
        place.running = true;
        Some(index)
    }

    fn run(&self, index: usize) {
        let Some((every, step)) = self.jobs.get(index) else { return };
        let (at, begun) = (self.clock.now(), self.clock.monotonic());
        let result = catch_unwind(AssertUnwindSafe(step))
            .unwrap_or_else(|panic| Err(Error::internal(format!("panicked: {}", text(&*panic)))));
        let ended = self.clock.monotonic();
        let mut plan = self.plan.lock();
        let Some(place) = plan.places.get_mut(index) else { return };
        let stats = &mut place.stats;
        stats.runs += 1;
        stats.last_run = Some(at);
        stats.last_duration = ended.saturating_sub(begun);
        let error = result.err().map(|e| e.detail());
        if let Some(error) = &error {
            stats.failures += 1;
            // The same failure again is no news.
            if stats.last_error.as_ref() != Some(error) {
                tracing::warn!(job = %stats.name, "job `{}` failed: {error}", stats.name);
            }
        } else if stats.last_error.is_some() {
            tracing::info!(job = %stats.name, "job `{}` works again", stats.name);
        }
        stats.last_error = error;
        place.due = if place.again { ended } else { ended + every.duration().max(Duration::from_millis(1)) };
        place.again = false;
        place.running = false;
        drop(plan);
        self.changed.notify_all();
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
