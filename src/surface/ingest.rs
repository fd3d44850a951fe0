//! Messages of agents: from the gate through the capabilities' handlers to the acknowledgement.
//!
//! Three threads. The first takes what waits, decodes it and runs the handlers, which queue their writes; the second
//! waits for the disk and acknowledges, while the first goes on; the third answers who wants to join.
//!
//! Invariant: `done` is said only when every write of the message is on the disk.
//! Invariant: what can never be stored is refused, so that it does not come again for ever; what cannot be stored now
//! is failed, so that it does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use crate::base::{AgentId, Error, Kind, Result};
use crate::engine::broker::{Inbound, JoinUplink, Uplink};
use crate::kit::{Actor, AgentRef, Ctx, Durable, Request, Site, Uplinks};
use crate::wire::Up;

/// Messages that are handled together, and then synced together.
const BATCH_MAX: usize = 256;
/// Batches that may wait for the disk.
const BATCHES_WAITING_MAX: usize = 4;
/// Requests to join that may wait; further ones are told to come again.
const JOINS_WAITING_MAX: usize = 64;
/// One refusal of an agent is logged in so long a time; the others are counted.
const REFUSAL_QUIET: Duration = Duration::from_secs(60);
/// Agents whose last refusal is remembered.
const REFUSALS_REMEMBERED_MAX: usize = 10_000;

/// Answers a request to join: the site, the join code, the request and where it came from.
pub type JoinFn = fn(&Site, &str, &[u8], SocketAddr) -> Vec<u8>;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct IngestStats {
    /// Messages taken.
    pub messages: AtomicU64,
    /// Messages acknowledged after the sync.
    pub done: AtomicU64,
    /// Messages that will never be stored.
    pub refused: AtomicU64,
    /// Messages that could not be stored then.
    pub failed: AtomicU64,
    /// Batches.
    pub batches: AtomicU64,
    /// Requests to join.
    pub joins: AtomicU64,
}

/// The running threads.
pub struct Ingest {
    stats: Arc<IngestStats>,
    stop: oneshot::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Ingest {
    /// Starts the threads.
    pub fn start(
        site: Arc<Site>,
        uplinks: Uplinks,
        join: JoinFn,
        inbound: Receiver<Inbound>,
    ) -> Result<Ingest> {
        let stats = Arc::new(IngestStats::default());
        let (batches, waiting) = mpsc::sync_channel(BATCHES_WAITING_MAX);
        let (joins, joining) = mpsc::sync_channel(JOINS_WAITING_MAX);
        let joiner = {
            let site = site.clone();
            spawn("ingest-join", move || {
                joining.into_iter().for_each(|request| answer(&site, join, request))
            })?
        };
        let settler = {
            let stats = stats.clone();
            spawn("ingest-sync", move || waiting.into_iter().for_each(|batch| settle(&stats, batch)))?
        };
        let handlers = Handlers { site, uplinks, stats: stats.clone(), refusals: HashMap::new() };
        let (stop, stopped) = oneshot::channel();
        let inbound =
            Waiting { runtime: tokio::runtime::Builder::new_current_thread().build()?, inbound, stopped };
        let taker = spawn("ingest", move || handlers.run(inbound, batches, joins))?;
        Ok(Ingest { stats, stop, threads: vec![taker, settler, joiner] })
    }

    /// The counters.
    pub fn stats(&self) -> Arc<IngestStats> {
        self.stats.clone()
    }

    /// Waits until everything that was taken is stored and acknowledged. The broker must have stopped.
    pub fn finish(self) {
        drop(self.stop);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|e| Error::unavailable("no thread for messages of agents").because(e))
}

/// The channel, and the word to take what is in it and end. The channel itself never closes: the site holds the bus,
/// and the bus the broker's end.
struct Waiting {
    runtime: tokio::runtime::Runtime,
    inbound: Receiver<Inbound>,
    stopped: oneshot::Receiver<()>,
}

impl Waiting {
    fn next(&mut self) -> Option<Inbound> {
        let Waiting { runtime, inbound, stopped } = self;
        runtime.block_on(async {
            if !inbound.is_closed() {
                tokio::select! {
                    biased;
                    message = inbound.recv() => return message,
                    _ = stopped => inbound.close(),
                }
            }
            inbound.recv().await
        })
    }
}

type Batch = Vec<(Uplink, Vec<Durable>)>;

struct Handlers {
    site: Arc<Site>,
    uplinks: Uplinks,
    stats: Arc<IngestStats>,
    refusals: HashMap<AgentId, (Duration, u64)>,
}

impl Handlers {
    fn run(
        mut self,
        mut inbound: Waiting,
        batches: mpsc::SyncSender<Batch>,
        joins: mpsc::SyncSender<JoinUplink>,
    ) {
        let mut taken = Vec::with_capacity(BATCH_MAX);
        while let Some(first) = inbound.next() {
            taken.push(first);
            while taken.len() < BATCH_MAX {
                let Ok(next) = inbound.inbound.try_recv() else { break };
                taken.push(next);
            }
            let mut batch = Vec::with_capacity(taken.len());
            for message in taken.drain(..) {
                match message {
                    Inbound::Up(uplink) => batch.extend(self.handle(uplink)),
                    Inbound::Join(request) => {
                        self.stats.joins.fetch_add(1, Ordering::Relaxed);
                        // Over the limit it is dropped, which tells the session that nothing was stored.
                        let _ = joins.try_send(request);
                    }
                }
            }
            self.stats.batches.fetch_add(1, Ordering::Relaxed);
            if !batch.is_empty() && batches.send(batch).is_err() {
                return;
            }
        }
    }

    /// Runs the handlers; what is to be acknowledged later comes back.
    fn handle(&mut self, uplink: Uplink) -> Option<(Uplink, Vec<Durable>)> {
        self.stats.messages.fetch_add(1, Ordering::Relaxed);
        self.site.presence.heard(uplink.agent);
        let result = catch_unwind(AssertUnwindSafe(|| self.durables(&uplink)));
        match result {
            Ok(Ok(durables)) => Some((uplink, durables)),
            Ok(Err(error)) if matches!(error.kind(), Kind::Unavailable | Kind::Internal) => {
                fail(&self.stats, uplink, &error);
                None
            }
            Ok(Err(error)) => {
                self.refuse(uplink, &error);
                None
            }
            // The same message would do it again.
            Err(_) => {
                let (agent, kind) = (uplink.agent, uplink.kind.word());
                tracing::error!(agent.id = %agent, "handling a {kind} message of `{agent}` panicked");
                self.stats.refused.fetch_add(1, Ordering::Relaxed);
                uplink.refuse("internal error");
                None
            }
        }
    }

    fn durables(&self, uplink: &Uplink) -> Result<Vec<Durable>> {
        let up = Up::decode(uplink.kind, &uplink.payload)?;
        let agent = AgentRef { tenant: uplink.tenant, agent: uplink.agent, session: uplink.session };
        let from = self.site.presence.of(uplink.agent).address.map(|a| a.to_string()).unwrap_or_default();
        let ctx = Ctx::new(
            &self.site,
            uplink.tenant,
            Actor::Agent { agent: uplink.agent },
            Request { from, ..Request::default() },
        );
        let handlers = self.uplinks.0.iter().filter(|(kind, _)| *kind == uplink.kind);
        handlers.map(|(_, run)| run(&ctx, agent, &up)).collect()
    }

    fn refuse(&mut self, uplink: Uplink, error: &Error) {
        self.stats.refused.fetch_add(1, Ordering::Relaxed);
        let now = self.site.clock.monotonic();
        if self.refusals.len() >= REFUSALS_REMEMBERED_MAX {
            self.refusals.retain(|_, (at, _)| now.saturating_sub(*at) < REFUSAL_QUIET);
        }
        let (agent, kind) = (uplink.agent, uplink.kind.word());
        match self.refusals.get_mut(&agent) {
            Some((at, others)) if now.saturating_sub(*at) < REFUSAL_QUIET => *others += 1,
            entry => {
                let others = entry.map_or(0, |(_, others)| *others);
                tracing::warn!(
                    agent.id = %agent, kind, others,
                    "a {kind} message of `{agent}` was refused: {}", error.detail()
                );
                self.refusals.insert(agent, (now, 0));
            }
        }
        uplink.refuse(error.message());
    }
}

/// Waits for everything, then acknowledges.
fn settle(stats: &IngestStats, batch: Batch) {
    for (uplink, durables) in batch {
        match durables.into_iter().try_for_each(Durable::wait) {
            Ok(()) => {
                stats.done.fetch_add(1, Ordering::Relaxed);
                uplink.done();
            }
            Err(error) => fail(stats, uplink, &error),
        }
    }
}

fn fail(stats: &IngestStats, uplink: Uplink, error: &Error) {
    // The first of a row is enough: while the disk refuses, every message would say the same.
    if stats.failed.fetch_add(1, Ordering::Relaxed).is_multiple_of(100) {
        let (agent, kind) = (uplink.agent, uplink.kind.word());
        if error.kind() == Kind::Internal {
            tracing::error!(agent.id = %agent, "a {kind} message of `{agent}` failed: {}", error.detail());
        } else {
            tracing::warn!(agent.id = %agent, "a {kind} message of `{agent}` waits: {}", error.detail());
        }
    }
    uplink.fail();
}

fn answer(site: &Site, join: JoinFn, request: JoinUplink) {
    let code = request.password.as_deref().and_then(|p| std::str::from_utf8(p).ok()).unwrap_or_default();
    let answer = catch_unwind(AssertUnwindSafe(|| join(site, code, &request.payload, request.peer)));
    match answer {
        Ok(answer) => request.answer(answer),
        Err(_) => tracing::error!(peer = %request.peer, "answering a request to join panicked"),
    }
}
