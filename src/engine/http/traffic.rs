//! What passes through the listener, as numbers, and the signal by which streams end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::base::buckets::{Buckets, Rate};
use crate::base::{Error, Result, limits};
use crate::engine::clock::Clock;

/// How many of those who are turned away are logged; all are counted.
const TOLD: Rate = Rate { burst: 60, every: Duration::from_secs(1) };

/// Why a connection or request was turned away before anything was made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Its address may not connect.
    Network,
    /// Too many connections, in all or of its address.
    Connections,
    /// No TLS, or not in time.
    Handshake,
    /// It did not go on in time.
    Slow,
    /// It named a host that is not ours.
    Host,
    /// It asks too often.
    Rate,
}

impl Turned {
    /// All of them, in the order of [`Count::turned_away`].
    pub const ALL: [Turned; 6] =
        [Turned::Network, Turned::Connections, Turned::Handshake, Turned::Slow, Turned::Host, Turned::Rate];

    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Turned::Network => "network",
            Turned::Connections => "connections",
            Turned::Handshake => "handshake",
            Turned::Slow => "slow",
            Turned::Host => "host",
            Turned::Rate => "rate",
        }
    }
}

/// Counters of a server, its clock, and the places of its live streams. Made before the server, shared with its routes.
pub struct Traffic {
    clock: Clock,
    requests: [AtomicU64; 5],
    turned_away: [AtomicU64; 6],
    told: Mutex<Buckets<()>>,
    elapsed_us: AtomicU64,
    running: AtomicUsize,
    streams: AtomicUsize,
    closing: watch::Sender<bool>,
    idle: (Mutex<()>, Condvar),
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Answers by class of status: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub requests: [u64; 5],
    /// Connections and requests turned away, in the order of [`Turned::ALL`].
    pub turned_away: [u64; 6],
    /// Time spent on all of them.
    pub elapsed: Duration,
    /// Requests being worked on.
    pub running: usize,
    /// Live streams open.
    pub streams: usize,
}

impl Traffic {
    /// Nothing has passed yet.
    pub fn new(clock: Clock) -> Arc<Traffic> {
        Arc::new(Traffic {
            clock,
            requests: Default::default(),
            turned_away: Default::default(),
            told: Mutex::new(Buckets::new(TOLD, 1)),
            elapsed_us: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            closing: watch::Sender::new(false),
            idle: (Mutex::new(()), Condvar::new()),
        })
    }

    /// The clock that requests are measured with.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The numbers.
    pub fn count(&self) -> Count {
        Count {
            requests: std::array::from_fn(|i| self.requests[i].load(Ordering::Relaxed)),
            turned_away: std::array::from_fn(|i| self.turned_away[i].load(Ordering::Relaxed)),
            elapsed: Duration::from_micros(self.elapsed_us.load(Ordering::Relaxed)),
            running: self.running.load(Ordering::Relaxed),
            streams: self.streams.load(Ordering::Relaxed),
        }
    }

    /// Counts somebody who was turned away, and logs it unless there are very many.
    pub(super) fn turn_away(&self, why: Turned, from: IpAddr) {
        if let Some(counter) = self.turned_away.get(why as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if self.told.lock().take(&(), self.clock.monotonic()).is_ok() {
            tracing::info!(%from, why = why.word(), "turned `{from}` away ({})", why.word());
        }
    }

    /// Ends every live stream, and refuses new ones.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Turns true when the server is about to stop.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Waits until no request is being worked on; false when that takes longer.
    pub(super) fn wait_idle(&self, longest: Duration) -> bool {
        let (lock, idle) = &self.idle;
        let mut guard = lock.lock();
        let busy = |_: &mut ()| self.running.load(Ordering::SeqCst) > 0;
        !idle.wait_while_for(&mut guard, busy, longest).timed_out()
    }

    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        Running { traffic: self.clone(), begun: self.clock.monotonic() }
    }

    pub(super) fn ticket(self: &Arc<Self>) -> Result<Ticket> {
        if *self.closing.borrow() {
            return Err(Error::unavailable("the server is stopping"));
        }
        let place = self.streams.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| {
            (open < limits::LIVE_STREAMS_MAX).then_some(open + 1)
        });
        match place {
            Ok(_) => Ok(Ticket(self.clone())),
            Err(_) => Err(Error::too_many("too many live pages are open")
                .hint(format!("at most {}; close some tabs", limits::LIVE_STREAMS_MAX))),
        }
    }
}

/// A request being worked on.
pub(super) struct Running {
    traffic: Arc<Traffic>,
    begun: Duration,
}

impl Running {
    /// Counts the answer; returns how long it took.
    pub(super) fn end(self, status: u16) -> Duration {
        let elapsed = self.traffic.clock.monotonic().saturating_sub(self.begun);
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.traffic.requests[class].fetch_add(1, Ordering::Relaxed);
        self.traffic.elapsed_us.fetch_add(elapsed.as_micros() as u64, Ordering::Relaxed);
        elapsed
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.traffic.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            let (lock, idle) = &self.traffic.idle;
            drop(lock.lock());
            idle.notify_all();
        }
    }
}

/// The place of one live stream; it is free again when this is dropped.
pub(super) struct Ticket(Arc<Traffic>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}
