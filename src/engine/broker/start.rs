//! Starting and stopping, and the bus that the rest of the product holds.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc};

use super::face::{Bus, Delivery, Doorkeeper, Reason, Settings, Stats, bit};
use super::filter;
use super::gate::Core;
use super::hub::{Dispatch, Hub};
use super::inbound::Inbound;
use super::listen::{Tls, listen};
use super::outbox::Message;
use super::registry::{Counters, Down, Identity, Seats, count};
use crate::base::{AgentId, Error, Networks, Result, TenantId};
use crate::wire::{DownKind, Topic};

/// Time for sessions to end in order.
const STOP: Duration = Duration::from_secs(2);

/// The running broker.
pub struct Broker {
    pub(super) core: Arc<Core>,
    runtime: Option<Runtime>,
    address: Option<SocketAddr>,
    plain_address: Option<SocketAddr>,
}

/// What can change while a broker runs: who may connect, and how much one agent may say. It does not keep it running.
pub struct Control(Weak<Core>);

impl Control {
    /// Holds for new connections, and for the next message of each session; nothing that is open ends.
    pub fn change(&self, networks: Networks, messages_per_second_max: u32) {
        let Some(core) = self.0.upgrade() else { return };
        *core.networks.write() = networks;
        core.messages_per_second_max.store(messages_per_second_max, Ordering::Relaxed);
    }
}

impl Broker {
    /// Binds the ports, starts the router and lets clients in. What comes in goes to `inbound`.
    pub fn start(
        settings: Settings,
        doorkeeper: Arc<dyn Doorkeeper>,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<Broker> {
        let Settings { tls, plain, networks, limits, clock } = settings;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(64)
            .thread_name("broker")
            .enable_all()
            .build()
            .map_err(|e| Error::unavailable("the broker's threads do not start").because(e))?;
        let hub = Arc::new(Hub::new(&limits));
        let core = Arc::new(Core {
            // The instant in front makes numbers differ from those of earlier runs.
            sessions: AtomicU64::new((clock.now().milliseconds().max(1) as u64) << 20),
            doorkeeper,
            inbound,
            seats: Seats::default(),
            doors: Arc::default(),
            hub: hub.clone(),
            counters: Counters::default(),
            stopping: AtomicBool::new(false),
            closures: AtomicU64::new(0),
            admissions: Arc::new(Semaphore::new(limits.admissions_max.max(1))),
            refusals: Mutex::new((clock.monotonic(), f64::from(limits.refusals_per_second_max))),
            networks: RwLock::new(networks),
            messages_per_second_max: AtomicU32::new(limits.messages_per_second_max),
            limits,
            clock,
        });
        let entered = runtime.enter();
        let turns = Arc::new(Semaphore::new(core.limits.handshakes_max.max(1)));
        let tls = match tls {
            Some((address, config)) => Some((bind(address)?, Tls { acceptor: config.into(), turns })),
            None => None,
        };
        let plain = plain.map(bind).transpose()?;
        let address = tls.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        let plain_address = plain.as_ref().and_then(|listener| listener.local_addr().ok());

        let dispatch = dispatch(&core);
        hub.start(dispatch.clone())?;
        let watched = core.clone();
        runtime.spawn(hub.watch(dispatch, move || count(&watched.counters.restarts)));
        if let Some((listener, tls)) = tls {
            runtime.spawn(listen(core.clone(), listener, Some(tls)));
        }
        if let Some(listener) = plain {
            runtime.spawn(listen(core.clone(), listener, None));
        }
        drop(entered);
        Ok(Broker { core, runtime: Some(runtime), address, plain_address })
    }

    /// What can change while it runs.
    pub fn control(&self) -> Control {
        Control(Arc::downgrade(&self.core))
    }

    /// Where the TLS listener is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where the listener without TLS is.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain_address
    }

    /// The way out to agents and observers.
    pub fn bus(&self) -> Arc<dyn Bus> {
        self.core.clone()
    }

    /// What the broker is doing.
    pub fn stats(&self) -> Stats {
        Bus::stats(&*self.core)
    }

    /// Lets nobody in, acknowledges what is being stored, says goodbye to all and ends, within two seconds.
    pub fn stop(mut self) {
        self.core.stopping.store(true, Ordering::SeqCst);
        self.core.seats.kick_all(&Reason::Stopping);
        if !self.core.seats.wait_empty(STOP) {
            tracing::warn!("some sessions did not end in time and are cut");
        }
        self.halt();
    }

    fn halt(&mut self) {
        self.core.stopping.store(true, Ordering::SeqCst);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            self.core.hub.stop();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.halt();
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|e| {
        Error::unavailable(format!("the MQTT listener cannot use `{address}`: {e}"))
            .hint("another program may be using the port, or the address is not this machine's")
            .because(e)
    })
}

/// Takes messages out of the router and puts them into mailboxes. Holds no `Core` that would hold the router.
fn dispatch(core: &Arc<Core>) -> Dispatch {
    let core = Arc::downgrade(core);
    Arc::new(move |topic, payload| {
        let (Some(core), Ok(Topic::Down(tenant, agent, kind))) = (core.upgrade(), Topic::parse(topic)) else {
            return;
        };
        let delivered = core
            .seats
            .find(&Identity::Agent(tenant, agent))
            .is_some_and(|seat| seat.deliver(Down { kind, payload }));
        if !delivered {
            count(&core.counters.dropped);
        }
    })
}

impl Bus for Core {
    fn send(&self, tenant: TenantId, agent: AgentId, kind: DownKind, payload: Bytes) -> Delivery {
        let Some(seat) = self.seats.find(&Identity::Agent(tenant, agent)) else { return Delivery::Offline };
        let subscribed = seat.subscribed.load(Ordering::Relaxed);
        // Before its first SUBSCRIBE a message waits in the mailbox.
        if subscribed != 0 && subscribed & bit(kind) == 0 {
            return Delivery::Offline;
        }
        let topic = Bytes::from(Topic::Down(tenant, agent, kind).to_string());
        if self.hub.outbox.push(Message { topic, payload, qos: 1, down: true }) {
            return Delivery::Sent;
        }
        // No room for it: the state is sent again when the agent returns.
        seat.kick(Reason::Overflow);
        Delivery::Offline
    }

    fn close(&self, tenant: TenantId, agent: AgentId, why: &str) -> bool {
        self.closures.fetch_add(1, Ordering::SeqCst);
        let seat = self.seats.find(&Identity::Agent(tenant, agent));
        seat.inspect(|seat| seat.kick(Reason::Closed(why.into()))).is_some()
    }

    fn close_client(&self, name: &str) -> bool {
        self.closures.fetch_add(1, Ordering::SeqCst);
        let seat = self.seats.find(&Identity::Client(name.into()));
        seat.inspect(|seat| seat.kick(Reason::Closed("closed by an administrator".into()))).is_some()
    }

    fn connected(&self, tenant: TenantId, agent: AgentId) -> bool {
        self.seats.find(&Identity::Agent(tenant, agent)).is_some()
    }

    fn publish(&self, topic: &str, payload: Bytes) -> Result<()> {
        if !filter::valid_topic(topic) {
            return Err(Error::invalid(format!(
                "`{}` is not a topic",
                topic.chars().take(120).collect::<String>()
            )));
        }
        if self.hub.publish(topic, payload, 1) {
            Ok(())
        } else {
            Err(Error::too_many("the message router has no room"))
        }
    }

    fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (agents, clients, joining) = self.seats.counts();
        Stats {
            connections: self.doors.count(),
            agents,
            clients,
            joining,
            outbox_bytes: self.hub.outbox.bytes(),
            accepted_total: read(&self.counters.accepted),
            refused_total: read(&self.counters.refused),
            faults_total: read(&self.counters.faults),
            denied_total: read(&self.counters.denied),
            uplinks_total: read(&self.counters.uplinks),
            downlinks_total: read(&self.counters.downlinks),
            dropped_total: read(&self.counters.dropped),
            takeovers_total: read(&self.counters.takeovers),
            router_restarts_total: read(&self.counters.restarts),
        }
    }
}
