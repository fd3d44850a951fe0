//! What the rest of the product says to the broker and hears from it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{AgentId, Networks, Result, Span, TenantId};
use crate::engine::clock::Clock;
use crate::wire::{DownKind, UpKind};

/// Where and how the broker listens.
pub struct Settings {
    /// Address and certificates of the TLS listener. Whether client certificates are asked for is the config's matter.
    pub tls: Option<(SocketAddr, Arc<rustls::ServerConfig>)>,
    /// Address of the listener without TLS.
    pub plain: Option<SocketAddr>,
    /// Addresses that may connect, to either listener.
    pub networks: Networks,
    /// The bounds.
    pub limits: Limits,
    /// Time and session numbers.
    pub clock: Clock,
}

/// Every bound of the broker.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once, whether known or not.
    pub connections_max: usize,
    /// Connections open at once from one address.
    pub connections_per_address_max: usize,
    /// TLS handshakes at once; further ones wait for their turn.
    pub handshakes_max: usize,
    /// Questions to the doorkeeper at once; further ones wait for their turn.
    pub admissions_max: usize,
    /// Sessions of joining agents at once.
    pub joining_max: usize,
    /// Requests of one joining session.
    pub joins_per_session_max: usize,
    /// Time for a TLS handshake, waiting included.
    pub handshake: Span,
    /// Time from an open connection to a complete CONNECT, and again for its admission.
    pub connect: Span,
    /// Time in which a peer must take something of what is written to it.
    pub write: Span,
    /// Keep-alive of a client that names none or a longer one.
    pub keep_alive: Span,
    /// Life of a joining session.
    pub joining: Span,
    /// Bytes that wait for one session in either direction.
    pub session_bytes_max: usize,
    /// Messages that wait for one agent.
    pub mailbox_messages_max: usize,
    /// Messages of QoS 1 on their way to one session.
    pub inflight_max: usize,
    /// Uplinks of one session that are not acknowledged; reading pauses then.
    pub uplinks_pending_max: usize,
    /// Publishes of one session in a second; reading pauses then.
    pub messages_per_second_max: u32,
    /// Sessions of clients at once.
    pub clients_max: usize,
    /// Filters of one client.
    pub subscriptions_max: usize,
    /// Different filters of all clients since the router started: it never forgets one, and each may hold 512 KiB.
    pub filters_max: usize,
    /// Different topics of all clients since the router started: it never forgets one, at 300 bytes each.
    pub topics_max: usize,
    /// Refusals told to the doorkeeper in a second.
    pub refusals_per_second_max: u32,
    /// Bytes on their way through the router to agents; further ones wait in front of it.
    pub router_bytes_max: usize,
    /// Bytes that wait in front of the router.
    pub outbox_bytes_max: usize,
    /// Time in which the router must answer its ping.
    pub router_answer: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 20_000,
            connections_per_address_max: 20_000,
            handshakes_max: 64,
            admissions_max: 8,
            joining_max: 1_000,
            joins_per_session_max: 4,
            handshake: Span::from_seconds(10),
            connect: Span::from_seconds(10),
            write: Span::from_seconds(10),
            keep_alive: Span::from_minutes(5),
            joining: Span::from_minutes(10),
            session_bytes_max: 4 * 1024 * 1024,
            mailbox_messages_max: 64,
            inflight_max: 32,
            uplinks_pending_max: 32,
            messages_per_second_max: 500,
            clients_max: 256,
            subscriptions_max: 64,
            filters_max: 1_024,
            topics_max: 50_000,
            refusals_per_second_max: 20,
            router_bytes_max: 2 * 1024 * 1024,
            outbox_bytes_max: 64 * 1024 * 1024,
            router_answer: Span::from_seconds(5),
        }
    }
}

/// What a connecting client shows of itself.
pub struct Credentials<'a> {
    /// The client identifier, never empty, ASCII.
    pub client_id: &'a str,
    /// The user name of the CONNECT.
    pub username: Option<&'a str>,
    /// The password of the CONNECT.
    pub password: Option<&'a [u8]>,
    /// The client's own certificate in DER; its chain was verified by TLS.
    pub certificate: Option<&'a [u8]>,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// 4 is MQTT 3.1.1, 5 is MQTT 5.
    pub protocol: u8,
}

/// Who a client turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// An enrolled agent; its client identifier is its id.
    Agent {
        /// Whose agent.
        tenant: TenantId,
        /// Which.
        agent: AgentId,
    },
    /// Nobody yet: may publish `wire::JOIN_UP` a few times and hears `wire::JOIN_DOWN`, its own answers alone.
    Joining {},
    /// An observer or a device of the site with the filters that an administrator gave.
    Client {
        /// Its client identifier.
        name: String,
        /// The only tenant whose `muster/` topics it may hear.
        tenant: TenantId,
        /// Filters of topics that it may publish. Topics under `muster/` stay closed.
        publish: Vec<String>,
        /// Filters that its own filters must lie within.
        subscribe: Vec<String>,
    },
}

/// Why a client does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown user, wrong password or certificate.
    BadCredentials,
    /// Known, and may not.
    NotAuthorized,
    /// The client identifier is not the identity's.
    BadClientId,
    /// Try again later.
    Busy,
}

/// The answers that only the product knows. Called from the broker's threads.
pub trait Doorkeeper: Send + Sync {
    /// Decides who this is. May block for a moment: it runs on a thread of its own, a bounded number at once.
    fn admit(&self, credentials: &Credentials<'_>) -> Result<Admission, Refusal>;
    /// An agent's session begins. Must not block.
    fn arrived(&self, arrival: &Arrival);
    /// An agent's session has ended. Must not block.
    fn left(&self, departure: &Departure);
    /// A second connection showed the same identity and takes the place of the first. Must not block.
    fn duplicate(&self, tenant: TenantId, agent: AgentId, old: SocketAddr, new: SocketAddr);
    /// Somebody was not let in; at most `refusals_per_second_max` are told. Must not block.
    fn refused(&self, peer: SocketAddr, client_id: &str, why: &str);
}

/// The beginning of an agent's session.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Whose agent.
    pub tenant: TenantId,
    /// Which.
    pub agent: AgentId,
    /// From where.
    pub peer: SocketAddr,
    /// Number of the session; no other session ever has it.
    pub session: u64,
    /// 4 is MQTT 3.1.1, 5 is MQTT 5.
    pub protocol: u8,
}

/// The end of an agent's session.
#[derive(Clone, Debug)]
pub struct Departure {
    /// Whose agent.
    pub tenant: TenantId,
    /// Which.
    pub agent: AgentId,
    /// From where it was connected.
    pub peer: SocketAddr,
    /// Number of the session, as in its arrival.
    pub session: u64,
    /// Why it ended.
    pub reason: Reason,
    /// Whether the agent said goodbye.
    pub graceful: bool,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client said DISCONNECT.
    Goodbye,
    /// The connection broke.
    Lost,
    /// Nothing was heard within one and a half keep-alives.
    Silent,
    /// The client took nothing of what was written to it.
    Stuck,
    /// The client broke the protocol or its rights.
    Fault(&'static str),
    /// A newer session of the same identity.
    TakenOver,
    /// `Bus::close` or `Bus::close_client`.
    Closed(Arc<str>),
    /// More was waiting for it than is kept; its state is sent again when it returns.
    Overflow,
    /// An uplink could not be stored, so that it must be sent again.
    NotStored,
    /// Its time was over (joining sessions).
    Expired,
    /// The broker stops.
    Stopping,
}

impl Reason {
    /// The reason for a reader.
    pub fn text(&self) -> &str {
        match self {
            Reason::Goodbye => "said goodbye",
            Reason::Lost => "connection lost",
            Reason::Silent => "keep-alive missed",
            Reason::Stuck => "does not read",
            Reason::Fault(why) => why,
            Reason::TakenOver => "taken over by a newer session",
            Reason::Closed(why) => why,
            Reason::Overflow => "too many messages were waiting",
            Reason::NotStored => "a message could not be stored",
            Reason::Expired => "time to join is over",
            Reason::Stopping => "the server stops",
        }
    }
}

/// What became of a message to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is on its way to a live session.
    Sent,
    /// There is no session that would hear it.
    Offline,
}

/// The way out: messages to agents and to observers.
pub trait Bus: Send + Sync {
    /// Sends a message to an agent's session. Never blocks; a lost session loses it.
    fn send(&self, tenant: TenantId, agent: AgentId, kind: DownKind, payload: Bytes) -> Delivery;
    /// Cuts an agent's session at once; true if there was one. Its will is not told.
    fn close(&self, tenant: TenantId, agent: AgentId, why: &str) -> bool;
    /// Cuts the session of the client with this name at once; true if there was one.
    fn close_client(&self, name: &str) -> bool;
    /// Whether the agent has a session.
    fn connected(&self, tenant: TenantId, agent: AgentId) -> bool;
    /// Publishes to the clients that subscribed to `topic`.
    fn publish(&self, topic: &str, payload: Bytes) -> Result<()>;
    /// What the broker is doing.
    fn stats(&self) -> Stats;
}

/// Numbers of the broker; `_total` counts since the start, the rest is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open connections.
    pub connections: usize,
    /// Sessions of agents.
    pub agents: usize,
    /// Sessions of clients.
    pub clients: usize,
    /// Sessions of joining agents.
    pub joining: usize,
    /// Bytes that wait in front of the router.
    pub outbox_bytes: usize,
    /// Connections accepted.
    pub accepted_total: u64,
    /// Connections and CONNECTs refused.
    pub refused_total: u64,
    /// Sessions that ended for a broken protocol or missing rights.
    pub faults_total: u64,
    /// Publishes and subscriptions denied.
    pub denied_total: u64,
    /// Messages of agents given to the inbound channel.
    pub uplinks_total: u64,
    /// Messages written to agents.
    pub downlinks_total: u64,
    /// Messages to agents that were dropped, because nobody listened for them.
    pub dropped_total: u64,
    /// Sessions that a newer one replaced.
    pub takeovers_total: u64,
    /// Routers started after one had died or hung.
    pub router_restarts_total: u64,
}

/// The kinds as one bit each, for subscriptions.
pub(super) fn bit(kind: DownKind) -> u8 {
    1 << DownKind::ALL.iter().position(|k| *k == kind).unwrap_or(0)
}

/// The kind of an up topic, when `topic` is one of the agent whose topics begin with `prefix`.
pub(super) fn own_up(prefix: &str, topic: &str) -> Option<UpKind> {
    topic.strip_prefix(prefix)?.strip_prefix("up/").and_then(UpKind::find)
}
