//! From an open connection to a session: CONNECT, the doorkeeper, the checks that hold for everybody, the seat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Buf;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::client::ClientLink;
use super::decode::{self, Connect};
use super::encode;
use super::face::{Admission, Arrival, Credentials, Departure, Doorkeeper, Limits, Reason, Refusal};
use super::filter;
use super::hub::Hub;
use super::inbound::Inbound;
use super::registry::{Counters, Doors, Identity, Seat, Seats, count};
use super::session::{Hearing, Role, Session};
use super::stream::Stream;
use crate::base::Networks;
use crate::base::limits::MQTT_CONNECT_BYTES_MAX;
use crate::engine::clock::Clock;
use crate::wire::{Topic, UpKind};

/// What all parts of the broker share.
pub(super) struct Core {
    pub(super) networks: RwLock<Networks>,
    /// Messages of one agent in one second; it may change while sessions run.
    pub(super) messages_per_second_max: AtomicU32,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) doorkeeper: Arc<dyn Doorkeeper>,
    pub(super) inbound: mpsc::Sender<Inbound>,
    pub(super) seats: Seats,
    pub(super) doors: Arc<Doors>,
    pub(super) hub: Arc<Hub>,
    pub(super) counters: Counters,
    pub(super) sessions: AtomicU64,
    pub(super) stopping: AtomicBool,
    /// Counts `Bus::close`: an admission that began before one is asked for again.
    pub(super) closures: AtomicU64,
    pub(super) admissions: Arc<Semaphore>,
    pub(super) refusals: Mutex<(Duration, f64)>,
}

impl Core {
    /// Tells the doorkeeper about a refusal, as often as the limit says.
    pub(super) fn refused(&self, peer: SocketAddr, client_id: &str, why: &str) {
        count(&self.counters.refused);
        let rate = f64::from(self.limits.refusals_per_second_max);
        let now = self.clock.monotonic();
        {
            let mut bucket = self.refusals.lock();
            bucket.1 = (bucket.1 + now.saturating_sub(bucket.0).as_secs_f64() * rate).min(rate);
            bucket.0 = now;
            if bucket.1 < 1.0 {
                return;
            }
            bucket.1 -= 1.0;
        }
        self.doorkeeper.refused(peer, client_id, why);
    }
}

/// Holds the seat of a session. Whatever ends the session, a panic included, drops this and frees the seat.
pub(super) struct SeatGuard {
    core: Arc<Core>,
    identity: Identity,
    pub(super) seat: Arc<Seat>,
    arrived: bool,
    /// Set by the session when it ends in order.
    pub(super) reason: Reason,
}

impl Drop for SeatGuard {
    fn drop(&mut self) {
        self.seat.gone.store(true, Ordering::Relaxed);
        if let (Identity::Agent(tenant, agent), true) = (&self.identity, self.arrived) {
            self.core.doorkeeper.left(&Departure {
                tenant: *tenant,
                agent: *agent,
                peer: self.seat.peer,
                session: self.seat.session,
                reason: self.reason.clone(),
                graceful: self.reason == Reason::Goodbye,
            });
        }
        self.core.seats.leave(&self.identity, &self.seat);
    }
}

/// Lets the peer in or turns it away.
pub(super) async fn enter(core: Arc<Core>, mut stream: Stream, peer: SocketAddr) -> Option<Box<Session>> {
    let connect = match timeout(core.limits.connect.duration(), read_connect(&mut stream)).await {
        Ok(Ok(connect)) => connect,
        Ok(Err(why)) => {
            core.refused(peer, "", why);
            flush(&mut stream).await;
            return None;
        }
        Err(_) => {
            core.refused(peer, "", "no CONNECT in time");
            return None;
        }
    };
    match seat(&core, &stream, &connect, peer).await {
        Ok((guard, admission, mailbox)) => {
            Some(Box::new(open(&core, stream, connect, guard, admission, mailbox)))
        }
        Err((code, why)) => {
            core.refused(peer, &shown(&connect.client_id), why);
            match code {
                Code::Refusal(refusal) => encode::refuse(&mut stream.output, connect.protocol, refusal),
                Code::Five(code) => encode::connack(&mut stream.output, connect.protocol, code),
            }
            flush(&mut stream).await;
            None
        }
    }
}

/// Writes what waits, but not for long.
pub(super) async fn flush(stream: &mut Stream) {
    let written = async {
        while stream.unwritten() {
            if stream.step(false).await.is_err() {
                return;
            }
        }
        stream.close().await;
    };
    // Whoever does not take its last words in this time does without.
    let _ = timeout(Duration::from_millis(250), written).await;
}

async fn read_connect(stream: &mut Stream) -> Result<Connect, &'static str> {
    loop {
        if stream.input.first().is_some_and(|first| *first != 0x10) {
            return Err("first packet is no CONNECT");
        }
        if let Some(header) =
            decode::header(&stream.input, MQTT_CONNECT_BYTES_MAX).map_err(|fault| fault.why)?
            && stream.input.len() >= header.length + header.rest
        {
            let connect = decode::connect(&stream.input[header.length..header.length + header.rest]);
            stream.input.advance(header.length + header.rest);
            return connect.map_err(|fault| match fault {
                Some(fault) => fault.why,
                None => {
                    // "Unacceptable protocol version", in the form that every version reads.
                    encode::connack(&mut stream.output, 4, 1);
                    "protocol version"
                }
            });
        }
        stream.step(true).await.map_err(|_| "connection lost before CONNECT")?;
    }
}

enum Code {
    Refusal(Refusal),
    Five(u8),
}

type Seated = (SeatGuard, Admission, Option<mpsc::Receiver<super::registry::Down>>);

async fn seat(
    core: &Arc<Core>,
    stream: &Stream,
    connect: &Connect,
    peer: SocketAddr,
) -> Result<Seated, (Code, &'static str)> {
    let refuse = |refusal, why| Err((Code::Refusal(refusal), why));
    if connect.authentication {
        return Err((Code::Five(0x8c), "authentication method"));
    }
    let id = &connect.client_id;
    if id.is_empty() || id.len() > 128 || !id.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return refuse(Refusal::BadClientId, "client identifier");
    }
    let closures = core.closures.load(Ordering::SeqCst);
    let admission = admit(core, stream, connect, peer).await?;
    let (_, clients, joining) = core.seats.counts_if_limited(&admission);
    let session = core.sessions.fetch_add(1, Ordering::Relaxed);
    let identity = match &admission {
        Admission::Agent { tenant, agent } => Identity::Agent(*tenant, *agent),
        Admission::Client { name, .. } if clients < core.limits.clients_max => {
            Identity::Client(name.as_str().into())
        }
        Admission::Joining {} if joining < core.limits.joining_max => Identity::Joining(session),
        _ => return refuse(Refusal::Busy, "too many sessions of this sort"),
    };
    let (sender, mailbox) = match &admission {
        Admission::Agent { .. } => {
            let (sender, mailbox) = mpsc::channel(core.limits.mailbox_messages_max);
            (Some(sender), Some(mailbox))
        }
        _ => (None, None),
    };
    let seat = Arc::new(Seat::new(session, peer, sender, core.limits.session_bytes_max));
    let taking = core.seats.take(&identity, &seat, |old| {
        count(&core.counters.takeovers);
        if let Identity::Agent(tenant, agent) = &identity {
            core.doorkeeper.duplicate(*tenant, *agent, old.peer, peer);
        }
    });
    if timeout(core.limits.connect.duration(), taking).await.is_err() {
        return refuse(Refusal::Busy, "the session before does not end");
    }
    let mut guard = SeatGuard { core: core.clone(), identity, seat, arrived: false, reason: Reason::Lost };
    // A revocation in between found no seat to close.
    if core.closures.load(Ordering::SeqCst) != closures
        && admit(core, stream, connect, peer).await? != admission
    {
        return refuse(Refusal::NotAuthorized, "rights changed meanwhile");
    }
    if core.stopping.load(Ordering::SeqCst) {
        return refuse(Refusal::Busy, "the server stops");
    }
    if let Admission::Agent { tenant, agent } = &admission {
        let (tenant, agent) = (*tenant, *agent);
        guard.arrived = true;
        core.doorkeeper.arrived(&Arrival { tenant, agent, peer, session, protocol: connect.protocol });
    }
    Ok((guard, admission, mailbox))
}

async fn admit(
    core: &Arc<Core>,
    stream: &Stream,
    connect: &Connect,
    peer: SocketAddr,
) -> Result<Admission, (Code, &'static str)> {
    let busy = (Code::Refusal(Refusal::Busy), "the doorkeeper is busy");
    let time = core.limits.connect.duration();
    let Ok(Ok(turn)) = timeout(time, core.admissions.clone().acquire_owned()).await else { return Err(busy) };
    let (asked, connect_copy, certificate) = (core.clone(), connect.clone(), stream.certificate());
    let answer = tokio::task::spawn_blocking(move || {
        let admitted = asked.doorkeeper.admit(&Credentials {
            client_id: &connect_copy.client_id,
            username: connect_copy.username.as_deref(),
            password: connect_copy.password.as_deref(),
            certificate: certificate.as_deref(),
            peer,
            protocol: connect_copy.protocol,
        });
        drop(turn);
        admitted
    });
    let admission = match timeout(time, answer).await {
        Ok(Ok(Ok(admission))) => admission,
        Ok(Ok(Err(refusal))) => return Err((Code::Refusal(refusal), word(refusal))),
        _ => return Err(busy),
    };
    let same = match &admission {
        Admission::Agent { agent, .. } => agent.to_string() == connect.client_id,
        Admission::Client { name, .. } => *name == connect.client_id,
        Admission::Joining {} => true,
    };
    if !same {
        return Err((Code::Refusal(Refusal::BadClientId), "the client identifier is another's"));
    }
    let will_allowed = connect.will.as_ref().is_none_or(|will| {
        filter::valid_topic(&will.topic)
            && will.qos <= 1
            && match &admission {
                Admission::Agent { tenant, agent } => {
                    !will.retain && will.topic == Topic::Up(*tenant, *agent, UpKind::Events).to_string()
                }
                Admission::Client { publish, .. } => filter::may_publish(publish, &will.topic),
                Admission::Joining {} => false,
            }
    });
    if will_allowed {
        Ok(admission)
    } else {
        Err((Code::Refusal(Refusal::NotAuthorized), "will not allowed"))
    }
}

fn open(
    core: &Arc<Core>,
    stream: Stream,
    connect: Connect,
    guard: SeatGuard,
    admission: Admission,
    mailbox: Option<mpsc::Receiver<super::registry::Down>>,
) -> Session {
    let seat = guard.seat.clone();
    let mut held = Some(guard);
    let role = match admission {
        Admission::Agent { tenant, agent } => Role::Agent {
            tenant,
            agent,
            prefix: format!("muster/{}/{tenant}/{agent}/", crate::wire::VERSION).into(),
            hearing: Hearing::default(),
        },
        Admission::Joining {} => Role::Joining {
            username: connect.username.clone(),
            password: connect.password.clone(),
            requests: 0,
            hearing: None,
            answers: Default::default(),
            until: tokio::time::Instant::now() + core.limits.joining.duration(),
        },
        Admission::Client { name, tenant, publish, subscribe } => {
            let link = held.take().map(|guard| ClientLink::new(core.hub.clone(), &name, guard));
            Role::Client { link: link.map(Box::new), tenant: tenant.to_string(), publish, subscribe }
        }
    };
    Session::new(core.clone(), stream, connect, seat, held, role, mailbox)
}

fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadCredentials => "wrong credentials",
        Refusal::NotAuthorized => "not authorised",
        Refusal::BadClientId => "client identifier",
        Refusal::Busy => "busy",
    }
}

/// A client identifier as it may be shown: it may be anything.
fn shown(client_id: &str) -> String {
    client_id.chars().filter(|c| !c.is_control()).take(64).collect()
}
