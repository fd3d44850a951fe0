//! The router behind the gate: the server's link into it, the pump that feeds it, the dispatch that takes out what goes
//! to agents, and the means to start another one when it dies.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, Publish, PublishProperties};
use rumqttd::{Notification, Router, RouterConfig, SegmentConfig};
use tokio::sync::{Notify, watch};

use super::face::Limits;
use super::filter;
use super::outbox::{Message, Outbox, Work};
use crate::base::{Error, Result};

const DOWN: &str = "muster/v1/+/+/down/+";
// No client may hear it: the third level is no tenant.
const PING: &str = "muster/v1/ping";
const SERVER: &str = "server";

type Connect = dyn Fn(&str) -> Result<(LinkTx, LinkRx)> + Send + Sync;

/// Takes a message to an agent out of the router.
pub(super) type Dispatch = Arc<dyn Fn(&str, Bytes) + Send + Sync>;

/// The router and everything that speaks to it.
pub(super) struct Hub {
    connect: Mutex<Option<Arc<Connect>>>,
    /// What waits for the router.
    pub(super) outbox: Arc<Outbox>,
    generation: watch::Sender<u64>,
    answered: AtomicU64,
    /// Last router that is known to be gone.
    dead: AtomicU64,
    died: Notify,
    interests: AtomicUsize,
    filters: RwLock<HashMap<String, usize>>,
    seen: Mutex<Seen>,
    limits: Limits,
}

/// What the router never forgets.
#[derive(Default)]
struct Seen {
    filters: HashSet<String>,
    topics: HashSet<u64>,
}

impl Hub {
    pub(super) fn new(limits: &Limits) -> Hub {
        Hub {
            connect: Mutex::new(None),
            outbox: Arc::new(Outbox::new(limits.outbox_bytes_max, limits.router_bytes_max)),
            generation: watch::channel(0).0,
            answered: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            died: Notify::new(),
            interests: AtomicUsize::new(0),
            filters: RwLock::default(),
            seen: Mutex::default(),
            limits: limits.clone(),
        }
    }

    /// Starts a router, the first or another one, and links the server to it. Blocks for a moment.
    pub(super) fn start(self: &Arc<Self>, dispatch: Dispatch) -> Result<()> {
        let generation = self.outbox.restart();
        let segment = |size| SegmentConfig { max_segment_size: size, max_segment_count: 4 };
        let config = RouterConfig {
            // Every client and, while it goes, its tombstone.
            max_connections: 2 * self.limits.clients_max + 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 256 * 1024,
            max_segment_count: 2,
            custom_segment: Some(HashMap::from([
                (DOWN.to_owned(), segment(self.limits.router_bytes_max.max(1024 * 1024))),
                (PING.to_owned(), segment(1024)),
            ])),
            ..RouterConfig::default()
        };
        let events = Router::new(usize::try_from(generation).unwrap_or_default(), config).spawn();
        let connect: Arc<Connect> = Arc::new(move |name| {
            let (tx, rx, _) = LinkBuilder::new(name, events.clone()).build().map_err(lost)?;
            Ok((tx, rx))
        });
        let (mut tx, rx) = connect(SERVER)?;
        tx.subscribe(DOWN).map_err(lost)?;
        tx.subscribe(PING).map_err(lost)?;
        *self.seen.lock() = Seen::default();
        *self.connect.lock() = Some(connect);
        let hub = self.clone();
        std::thread::Builder::new()
            .name(format!("bus-out-{generation}"))
            .spawn(move || hub.pump(generation, tx))?;
        let hub = self.clone();
        std::thread::Builder::new()
            .name(format!("bus-in-{generation}"))
            .spawn(move || hub.take_out(generation, rx, &dispatch))?;
        self.generation.send_replace(generation);
        Ok(())
    }

    fn pump(&self, generation: u64, mut tx: LinkTx) {
        loop {
            let sent = match self.outbox.next(generation, || tx.buffer().len() > 1_000) {
                Work::Leave => return,
                Work::Ping(number) => {
                    tx.publish(PING, Bytes::copy_from_slice(&number.to_be_bytes())).map(|_| ()).map_err(lost)
                }
                Work::Messages(mut batch) => {
                    let last = batch.pop();
                    tx.buffer().extend(batch.into_iter().map(publish));
                    match last {
                        Some(last) => send(&mut tx, publish(last)),
                        None => Ok(()),
                    }
                }
            };
            if sent.is_err() {
                return self.mourn(generation);
            }
        }
    }

    /// The router of `generation` is gone; nobody cares if it was replaced already.
    fn mourn(&self, generation: u64) {
        self.dead.fetch_max(generation, Ordering::SeqCst);
        self.died.notify_one();
    }

    fn take_out(&self, generation: u64, mut rx: LinkRx, dispatch: &Dispatch) {
        loop {
            let alive = match rx.recv() {
                Ok(Some(Notification::Forward(forward))) => {
                    let Publish { topic, payload, .. } = forward.publish;
                    if topic == PING {
                        let number = payload.as_ref().try_into().map_or(0, u64::from_be_bytes);
                        self.answered.fetch_max(number, Ordering::Relaxed);
                    } else if self.outbox.returned(generation, &topic, &payload)
                        && let Ok(topic) = std::str::from_utf8(&topic)
                    {
                        dispatch(topic, payload);
                    }
                    true
                }
                Ok(Some(Notification::Unschedule)) => rx.ready().is_ok(),
                Ok(_) => true,
                Err(_) => false,
            };
            if !alive {
                return self.mourn(generation);
            }
            if self.outbox.generation() != generation {
                return;
            }
        }
    }

    /// Watches the router for ever and starts another one when it dies or no longer answers.
    pub(super) async fn watch(self: Arc<Self>, dispatch: Dispatch, restarted: impl Fn()) {
        let answer = self.limits.router_answer.duration();
        let mut number = 0u64;
        let mut heard = tokio::time::Instant::now();
        loop {
            number += 1;
            self.outbox.ping(number);
            tokio::select! {
                () = self.died.notified() => {}
                () = tokio::time::sleep(answer / 5) => {}
            }
            let dead = self.dead.load(Ordering::SeqCst) == self.outbox.generation();
            if self.answered.load(Ordering::Relaxed) >= number {
                heard = tokio::time::Instant::now();
            }
            if !dead && heard.elapsed() < answer {
                continue;
            }
            tracing::warn!("the message router {}; another one starts", if dead { "died" } else { "hangs" });
            let (hub, dispatch) = (self.clone(), dispatch.clone());
            match tokio::task::spawn_blocking(move || hub.start(dispatch)).await {
                Ok(Ok(())) => restarted(),
                Ok(Err(e)) => tracing::error!("the message router does not start: {e}"),
                Err(e) => tracing::error!("the message router does not start: {e}"),
            }
            heard = tokio::time::Instant::now();
        }
    }

    /// Number of the present router; changes when another one starts.
    pub(super) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Lets the threads of the present router go; it gets no successor.
    pub(super) fn stop(&self) {
        self.outbox.restart();
        self.generation.send_modify(|g| *g += 1);
        *self.connect.lock() = None;
    }

    /// A link of its own into the router. Blocks for a moment.
    pub(super) fn link(&self, name: &str) -> Result<(LinkTx, LinkRx)> {
        let connect = self.connect.lock().clone();
        connect.ok_or_else(|| Error::unavailable("the message router is not running"))?(name)
    }

    /// Ends the link `name`: another link takes its place and says goodbye. A goodbye on the link itself could overtake
    /// an event of it, and that kills the router.
    pub(super) fn bury(&self, name: &str) {
        if let Ok((mut tombstone, _)) = self.link(name) {
            let reason_code = DisconnectReasonCode::NormalDisconnection;
            // If the router has died there is nothing to end.
            let _ = send(&mut tombstone, Packet::Disconnect(Disconnect { reason_code }, None));
        }
    }

    /// Publishes for clients, if any could want it. False if there is no room.
    pub(super) fn publish(&self, topic: &str, payload: Bytes, qos: u8) -> bool {
        if !self.wanted(topic) {
            return true;
        }
        self.outbox.push(Message {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            payload,
            qos,
            down: false,
        })
    }

    /// Whether a client's subscription matches `topic`.
    fn wanted(&self, topic: &str) -> bool {
        self.interests.load(Ordering::Relaxed) > 0
            && self.filters.read().keys().any(|filter| filter::covers(filter, topic))
    }

    /// Whether the router may see this topic of a client.
    pub(super) fn topic_fits(&self, topic: &str) -> bool {
        let digest = blake3::hash(topic.as_bytes());
        let digest = digest.as_bytes().first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let mut seen = self.seen.lock();
        seen.topics.contains(&digest)
            || (seen.topics.len() < self.limits.topics_max && seen.topics.insert(digest))
    }

    /// Whether the router may see this filter.
    pub(super) fn filter_fits(&self, filter: &str) -> bool {
        let mut seen = self.seen.lock();
        seen.filters.contains(filter)
            || (seen.filters.len() < self.limits.filters_max && seen.filters.insert(filter.to_owned()))
    }

    /// One more subscription of a client.
    pub(super) fn interested(&self, filter: &str) {
        *self.filters.write().entry(filter.to_owned()).or_insert(0) += 1;
        self.interests.fetch_add(1, Ordering::Relaxed);
    }

    /// One subscription less.
    pub(super) fn uninterested(&self, filter: &str) {
        let mut filters = self.filters.write();
        if let Some(count) = filters.get_mut(filter) {
            *count -= 1;
            if *count == 0 {
                filters.remove(filter);
            }
            self.interests.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Publishes what kills the router, past every check.
    #[cfg(test)]
    pub(super) fn kill_router(&self) {
        let (mut tx, _rx) = self.link("killer").unwrap();
        tx.publish("é/x", "x").unwrap();
    }
}

fn publish(message: Message) -> Packet {
    // The only property that passes untouched and is one byte: it carries the QoS of the publisher.
    let properties =
        PublishProperties { payload_format_indicator: Some(message.qos), ..PublishProperties::default() };
    Packet::Publish(Publish::new(message.topic, message.payload, false), Some(properties))
}

/// `LinkTx::send` is async by name only: it blocks until the router has room and is ready at the first poll.
fn send(tx: &mut LinkTx, packet: Packet) -> Result<()> {
    match pin!(tx.send(packet)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(sent) => sent.map(|_| ()).map_err(lost),
        Poll::Pending => Ok(()),
    }
}

fn lost(source: rumqttd::local::LinkError) -> Error {
    Error::unavailable("the message router does not answer").because(source)
}
