//! A believable fleet for demonstrations and load: many agents in one process, each with its own key and certificate,
//! speaking the real protocol over real TLS to a real server.
//!
//! What they report follows from a seed and the time of day, so that two fleets of one seed tell the same story.
//!
//! Invariant: a member knows nothing of the server but its gate and a join code; nothing passes beside the wire.
//! Invariant: what a member reports is a function of its seed and the instant, never of an earlier report.

mod curves;
mod fleet;
mod lines;
mod member;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, watch};

use crate::base::{Labels, Result, Span, Timestamp};
use crate::engine::clock::Clock;

/// Members that join at the same time.
const JOINING_MAX: usize = 32;
/// Members that send their history at the same time.
const HISTORY_MAX: usize = 4;

/// Gives one join code per call, for an agent with these labels; called on a thread that may block.
pub type Codes = Arc<dyn Fn(Labels) -> Result<String> + Send + Sync>;

/// What fleet to be.
#[derive(Clone)]
pub struct Options {
    /// Host of the gate.
    pub host: String,
    /// Port of the gate.
    pub port: u16,
    /// How many agents.
    pub agents: usize,
    /// From which everything that they report follows.
    pub seed: u64,
    /// How many times faster than in life incidents unfold.
    pub speed: f64,
    /// How much history is sent first.
    pub history: Span,
    /// Time.
    pub clock: Clock,
    /// Where join codes come from.
    pub codes: Codes,
}

/// How far the fleet is.
#[derive(Default)]
pub struct Progress {
    /// Members that are live.
    pub live: AtomicUsize,
    /// Members whose history is on the server's disk.
    pub told: AtomicUsize,
    /// Joins that failed and will be tried again.
    pub failed: AtomicUsize,
}

/// What all members share.
struct Shared {
    options: Options,
    started: Timestamp,
    joining: Semaphore,
    history: Semaphore,
    progress: Arc<Progress>,
}

impl Shared {
    /// Hours of the story at `at`: before the start as in life, after it faster.
    fn story_hours(&self, at: Timestamp) -> f64 {
        let hours = (at.milliseconds() - self.started.milliseconds()) as f64 / 3_600_000.0;
        if hours > 0.0 { hours * self.options.speed } else { hours }
    }
}

/// Joins the fleet and keeps it alive until `stop` turns true.
pub async fn run(options: Options, progress: Arc<Progress>, stop: watch::Receiver<bool>) {
    let members = fleet::fleet(options.agents, options.seed);
    let shared = Arc::new(Shared {
        started: options.clock.now(),
        options,
        joining: Semaphore::new(JOINING_MAX),
        history: Semaphore::new(HISTORY_MAX),
        progress,
    });
    let mut running = Vec::with_capacity(members.len());
    for member in members {
        let (shared, mut stopped) = (Arc::clone(&shared), stop.clone());
        running.push(tokio::spawn(async move {
            tokio::select! {
                () = member::live(shared, member) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }));
    }
    for one in running {
        let _ = one.await;
    }
}

impl Progress {
    fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
