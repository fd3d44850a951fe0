//! Who is connected: the seats of identities, the counts of connections and the numbers for the overview.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, mpsc};

use super::face::{Admission, Reason};
use crate::base::{AgentId, TenantId};
use crate::wire::DownKind;

/// Something that happens once and is waited for by many.
pub(super) struct Latch(Semaphore);

impl Latch {
    pub(super) fn new() -> Latch {
        Latch(Semaphore::const_new(0))
    }
    pub(super) fn set(&self) {
        self.0.close();
    }
    pub(super) async fn wait(&self) {
        // Nobody adds permits: the semaphore only ever closes.
        let _ = self.0.acquire().await;
    }
}

/// Whose session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    Agent(TenantId, AgentId),
    Client(Arc<str>),
    Joining(u64),
}

/// A message on its way to an agent.
pub(super) struct Down {
    pub(super) kind: DownKind,
    pub(super) payload: Bytes,
}

/// The one place of an identity.
pub(super) struct Seat {
    pub(super) session: u64,
    pub(super) peer: SocketAddr,
    /// Kinds that the agent subscribed to; 0 until its first SUBSCRIBE.
    pub(super) subscribed: AtomicU8,
    mailbox: Option<mpsc::Sender<Down>>,
    mailbox_bytes: AtomicUsize,
    mailbox_bytes_max: usize,
    /// Its session has ended; only the doorkeeper has not heard everything yet.
    pub(super) gone: AtomicBool,
    reason: Mutex<Option<Reason>>,
    kicked: Latch,
    ended: Latch,
}

impl Seat {
    pub(super) fn new(
        session: u64,
        peer: SocketAddr,
        mailbox: Option<mpsc::Sender<Down>>,
        bytes_max: usize,
    ) -> Seat {
        Seat {
            session,
            peer,
            subscribed: AtomicU8::new(0),
            mailbox,
            mailbox_bytes: AtomicUsize::new(0),
            mailbox_bytes_max: bytes_max,
            gone: AtomicBool::new(false),
            reason: Mutex::new(None),
            kicked: Latch::new(),
            ended: Latch::new(),
        }
    }

    /// Ends the session; the first reason counts.
    pub(super) fn kick(&self, reason: Reason) {
        self.reason.lock().get_or_insert(reason);
        self.kicked.set();
    }

    /// Waits for the kick.
    pub(super) async fn kicked(&self) -> Reason {
        self.kicked.wait().await;
        self.reason.lock().clone().unwrap_or(Reason::Lost)
    }

    /// Gives a message to the session. False if nobody hears it; a full mailbox ends the session.
    pub(super) fn deliver(&self, down: Down) -> bool {
        let Some(mailbox) = &self.mailbox else { return false };
        let bytes = down.payload.len();
        let full = self.mailbox_bytes.load(Ordering::Relaxed) + bytes > self.mailbox_bytes_max;
        if !full && mailbox.try_send(down).is_ok() {
            self.mailbox_bytes.fetch_add(bytes, Ordering::Relaxed);
            return true;
        }
        // One that never subscribed only misses messages that it did not ask for.
        if self.subscribed.load(Ordering::Relaxed) != 0 {
            self.kick(Reason::Overflow);
        }
        false
    }

    /// The session has taken a message of this many bytes.
    pub(super) fn taken(&self, bytes: usize) {
        let _ = self
            .mailbox_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |b| Some(b.saturating_sub(bytes)));
    }
}

/// All seats.
#[derive(Default)]
pub(super) struct Seats {
    taken: Mutex<HashMap<Identity, Arc<Seat>>>,
    changed: Condvar,
}

impl Seats {
    /// The seat of a live session.
    pub(super) fn find(&self, identity: &Identity) -> Option<Arc<Seat>> {
        self.taken.lock().get(identity).filter(|seat| !seat.gone.load(Ordering::Relaxed)).cloned()
    }

    /// Takes the seat of `identity`. Whoever sits there is told to go, and has gone when this returns; `replaced` hears
    /// about each.
    pub(super) async fn take(&self, identity: &Identity, seat: &Arc<Seat>, mut replaced: impl FnMut(&Seat)) {
        let mut told = 0;
        loop {
            let old = {
                let mut taken = self.taken.lock();
                match taken.get(identity) {
                    None => {
                        taken.insert(identity.clone(), seat.clone());
                        return;
                    }
                    Some(old) => old.clone(),
                }
            };
            if told != old.session {
                told = old.session;
                replaced(&old);
            }
            old.kick(Reason::TakenOver);
            old.ended.wait().await;
        }
    }

    /// Gives the seat up; the next one may take it.
    pub(super) fn leave(&self, identity: &Identity, seat: &Seat) {
        let mut taken = self.taken.lock();
        if taken.get(identity).is_some_and(|s| s.session == seat.session) {
            taken.remove(identity);
        }
        drop(taken);
        seat.ended.set();
        self.changed.notify_all();
    }

    /// Ends every session.
    pub(super) fn kick_all(&self, reason: &Reason) {
        for seat in self.taken.lock().values() {
            seat.kick(reason.clone());
        }
    }

    /// Waits until nobody sits, at most this long.
    pub(super) fn wait_empty(&self, time: std::time::Duration) -> bool {
        let end = tokio::time::Instant::now().into_std() + time;
        let mut taken = self.taken.lock();
        while !taken.is_empty() {
            if self.changed.wait_until(&mut taken, end).timed_out() {
                return taken.is_empty();
            }
        }
        true
    }

    /// As `counts`, where a count has a limit; counting is not free and agents have none.
    pub(super) fn counts_if_limited(&self, admission: &Admission) -> (usize, usize, usize) {
        if matches!(admission, Admission::Agent { .. }) { (0, 0, 0) } else { self.counts() }
    }

    /// Agents, clients, joining.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for identity in self.taken.lock().keys() {
            match identity {
                Identity::Agent(..) => counts.0 += 1,
                Identity::Client(_) => counts.1 += 1,
                Identity::Joining(_) => counts.2 += 1,
            }
        }
        counts
    }
}

/// Open connections, in all and by address.
#[derive(Default)]
pub(super) struct Doors {
    open: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// One open connection; dropping it makes room.
pub(super) struct Door {
    doors: Arc<Doors>,
    address: IpAddr,
}

impl Doors {
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, all_max: usize, each_max: usize) -> Option<Door> {
        let mut open = self.open.lock();
        let (all, each) = &mut *open;
        if *all >= all_max {
            return None;
        }
        let count = each.entry(address).or_insert(0);
        if *count >= each_max {
            return None;
        }
        *count += 1;
        *all += 1;
        Some(Door { doors: self.clone(), address })
    }

    pub(super) fn count(&self) -> usize {
        self.open.lock().0
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock();
        open.0 -= 1;
        if let Some(count) = open.1.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.1.remove(&self.address);
            }
        }
    }
}

/// Counts since the start.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) uplinks: AtomicU64,
    pub(super) downlinks: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) takeovers: AtomicU64,
    pub(super) restarts: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
