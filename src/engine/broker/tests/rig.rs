//! A broker on a free port, a doorkeeper that remembers, and a client that writes what it is told to.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;

use super::super::*;
use crate::base::{AgentId, Networks, Span, TenantId, Timestamp};
use crate::engine::clock::Clock;
use crate::wire::{DownKind, Topic, UpKind};

/// Long, so that a busy machine fails nothing: whoever waits goes on as soon as it is so.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Keeper {
    pub(super) known: Mutex<HashMap<String, Admission>>,
    /// The agent whose arrival panics.
    pub(super) fragile: Mutex<Option<AgentId>>,
    log: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Keeper {
    fn note(&self, line: String) {
        self.log.lock().push(line);
        self.changed.notify_all();
    }
    /// Waits until some line contains `text`, and returns the line.
    pub(super) fn expect(&self, text: &str) -> String {
        let mut log = self.log.lock();
        loop {
            if let Some(line) = log.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            assert!(!self.changed.wait_for(&mut log, PATIENCE).timed_out(), "no `{text}` in {log:?}");
        }
    }
    pub(super) fn lines(&self) -> Vec<String> {
        self.log.lock().clone()
    }
}

impl Doorkeeper for Keeper {
    fn admit(&self, credentials: &Credentials<'_>) -> Result<Admission, Refusal> {
        if let Some(certificate) = credentials.certificate {
            self.note(format!("certificate of {} bytes", certificate.len()));
        } else if credentials.password != Some(b"secret".as_slice()) {
            return Err(Refusal::BadCredentials);
        }
        // The user name says who it is, the client identifier what it claims.
        let user = credentials.username.unwrap_or(credentials.client_id);
        assert_ne!(user, "panic", "provoked");
        self.known.lock().get(user).cloned().ok_or(Refusal::NotAuthorized)
    }
    fn arrived(&self, a: &Arrival) {
        self.note(format!("arrived {} v{}", a.agent, a.protocol));
        assert_ne!(*self.fragile.lock(), Some(a.agent), "provoked");
    }
    fn left(&self, d: &Departure) {
        self.note(format!("left {} graceful={} {}", d.agent, d.graceful, d.reason.text()));
    }
    fn duplicate(&self, _: TenantId, agent: AgentId, old: SocketAddr, new: SocketAddr) {
        assert_ne!(old, new);
        self.note(format!("duplicate {agent}"));
    }
    fn refused(&self, _: SocketAddr, client_id: &str, why: &str) {
        self.note(format!("refused {client_id} {why}"));
    }
}

pub(super) struct Rig {
    pub(super) broker: Broker,
    pub(super) keeper: Arc<Keeper>,
    pub(super) address: SocketAddr,
    inbound: mpsc::Receiver<Inbound>,
    runtime: tokio::runtime::Runtime,
}

pub(super) const TENANT: TenantId = TenantId::from_bits(7);

pub(super) fn agent(number: u128) -> AgentId {
    AgentId::from_bits(number)
}

pub(super) fn up(number: u128, kind: UpKind) -> String {
    Topic::Up(TENANT, agent(number), kind).to_string()
}

pub(super) fn down(number: u128, kind: DownKind) -> String {
    Topic::Down(TENANT, agent(number), kind).to_string()
}

impl Rig {
    pub(super) fn new() -> Rig {
        Self::with(Limits::default(), 100)
    }

    pub(super) fn with(limits: Limits, inbound_max: usize) -> Rig {
        Self::start(limits, inbound_max, None)
    }

    pub(super) fn start(limits: Limits, inbound_max: usize, tls: Option<Arc<rustls::ServerConfig>>) -> Rig {
        Self::between(Networks::default(), limits, inbound_max, tls)
    }

    /// A broker that only some addresses reach.
    pub(super) fn between(
        networks: Networks,
        limits: Limits,
        inbound_max: usize,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Rig {
        let keeper = Arc::new(Keeper::default());
        for number in 1..=3 {
            let admission = Admission::Agent { tenant: TENANT, agent: agent(number) };
            keeper.known.lock().insert(agent(number).to_string(), admission);
        }
        keeper.known.lock().insert("joiner".into(), Admission::Joining {});
        for name in ["watch", "watch2", "bare"] {
            let subscribe = vec![format!("muster/v1/{TENANT}/#"), "site/#".into()];
            keeper.known.lock().insert(
                name.into(),
                Admission::Client {
                    name: name.into(),
                    tenant: TENANT,
                    publish: vec!["site/+/in".into()],
                    subscribe: if name == "bare" { vec!["site/a".into()] } else { subscribe },
                },
            );
        }
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let (sender, inbound) = mpsc::channel(inbound_max);
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1);
        let tls = tls.map(|config| (local, config));
        let settings = Settings { tls, plain: Some(local), networks, limits, clock };
        let broker = Broker::start(settings, keeper.clone(), sender).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = broker.plain_address().unwrap();
        Rig { broker, keeper, address, inbound, runtime }
    }

    pub(super) fn inbound(&mut self) -> Inbound {
        let (runtime, inbound) = (&self.runtime, &mut self.inbound);
        runtime.block_on(async { tokio::time::timeout(PATIENCE, inbound.recv()).await }).unwrap().unwrap()
    }

    pub(super) fn uplink(&mut self) -> Uplink {
        match self.inbound() {
            Inbound::Up(uplink) => uplink,
            Inbound::Join(_) => panic!("a join"),
        }
    }

    pub(super) fn empty(&mut self) -> bool {
        self.inbound.try_recv().is_err()
    }

    /// An agent that is in and has subscribed to what it is told.
    pub(super) fn agent(&self, number: u128, version: u8) -> Client {
        let mut client = self.quiet_agent(number, version);
        assert_eq!(client.subscribe(&Topic::down_filter(TENANT, agent(number)), 1), 1);
        client
    }

    pub(super) fn quiet_agent(&self, number: u128, version: u8) -> Client {
        Client::connected(self.address, version, &agent(number).to_string())
    }

    /// Waits, within bounds, until the numbers of the broker are so.
    pub(super) fn until(&self, so: impl Fn(&Stats) -> bool) {
        self.runtime.block_on(async {
            let turns = async {
                while !so(&self.broker.stats()) {
                    tokio::task::yield_now().await;
                    std::thread::yield_now();
                }
            };
            tokio::time::timeout(PATIENCE, turns)
                .await
                .unwrap_or_else(|_| panic!("{:?}", self.broker.stats()));
        });
    }
}

/// Everything that is sent in a CONNECT.
#[derive(Clone)]
pub(super) struct Hello<'a> {
    pub(super) id: &'a str,
    pub(super) user: Option<&'a str>,
    pub(super) password: &'a str,
    pub(super) keep_alive: u16,
    pub(super) will: Option<(&'a str, &'a [u8])>,
    pub(super) will_flags: u8,
    pub(super) clean: bool,
    pub(super) properties: &'a [u8],
}

pub(super) fn hello(id: &str) -> Hello<'_> {
    Hello {
        id,
        user: None,
        password: "secret",
        keep_alive: 60,
        will: None,
        will_flags: 0,
        clean: true,
        properties: &[],
    }
}

pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    loop {
        let byte = (rest & 127) as u8;
        rest >>= 7;
        out.push(if rest > 0 { byte | 128 } else { byte });
        if rest == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text);
}

pub(super) fn connect_packet(version: u8, hello: &Hello<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.push(version);
    // MQTT 3.1.1 has no password without a user name.
    let user = hello.user.or((version == 4).then_some(hello.id));
    let mut flags = 0x40 | hello.will_flags | if hello.clean { 2 } else { 0 };
    if user.is_some() {
        flags |= 0x80;
    }
    if hello.will.is_some() {
        flags |= 4;
    }
    body.push(flags);
    body.extend(hello.keep_alive.to_be_bytes());
    if version == 5 {
        body.push(hello.properties.len() as u8);
        body.extend(hello.properties);
    }
    text(&mut body, hello.id.as_bytes());
    if let Some((topic, payload)) = hello.will {
        if version == 5 {
            body.push(0);
        }
        text(&mut body, topic.as_bytes());
        text(&mut body, payload);
    }
    if let Some(user) = user {
        text(&mut body, user.as_bytes());
    }
    text(&mut body, hello.password.as_bytes());
    packet(0x10, &body)
}

pub(super) fn publish_packet(version: u8, first: u8, topic: &str, pkid: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic.as_bytes());
    if first & 6 != 0 {
        body.extend(pkid.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend(payload);
    packet(first, &body)
}

pub(super) fn subscribe_packet(version: u8, pkid: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = pkid.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    for (filter, qos) in filters {
        text(&mut body, filter.as_bytes());
        body.push(*qos);
    }
    packet(0x82, &body)
}

/// A message that came for the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) pkid: u16,
}

pub(super) trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

pub(super) struct Client {
    pub(super) socket: Box<dyn Socket>,
    pub(super) version: u8,
}

impl Client {
    pub(super) fn open(address: SocketAddr, version: u8) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { socket: Box::new(socket), version }
    }

    /// The code of the CONNACK; 255 if the connection ended instead.
    pub(super) fn hello(address: SocketAddr, version: u8, hello: &Hello<'_>) -> (Client, u8) {
        let mut client = Self::open(address, version);
        client.send(&connect_packet(version, hello));
        let code = client.read().map_or(255, |(first, body)| {
            assert_eq!((first, body[0]), (0x20, 0), "no CONNACK, or with an old session");
            body[1]
        });
        (client, code)
    }

    pub(super) fn connected(address: SocketAddr, version: u8, id: &str) -> Client {
        let (client, code) = Self::hello(address, version, &hello(id));
        assert_eq!(code, 0);
        client
    }

    /// Writes; what the other side does not want is no error here.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// The next packet, or `None` at the end of the connection. Waiting too long fails the test.
    pub(super) fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0u8; 1];
        if !self.fill(&mut head) {
            return None;
        }
        let (mut rest, mut shift) = (0usize, 0);
        loop {
            let mut byte = [0u8; 1];
            if !self.fill(&mut byte) {
                return None;
            }
            rest |= usize::from(byte[0] & 127) << shift;
            shift += 7;
            if byte[0] < 128 {
                break;
            }
        }
        let mut body = vec![0; rest];
        self.fill(&mut body).then_some((head[0], body))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> bool {
        match self.socket.read_exact(bytes) {
            Ok(()) => true,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("nothing came")
            }
            Err(_) => false,
        }
    }

    /// Reads until the end and returns the code of the DISCONNECT, if one came.
    pub(super) fn goodbye(&mut self) -> Option<u8> {
        let mut code = None;
        while let Some((first, body)) = self.read() {
            if first == 0xe0 {
                code = Some(body[0]);
            }
        }
        code
    }

    pub(super) fn publish(&mut self, topic: &str, qos: u8, pkid: u16, payload: &[u8]) {
        self.send(&publish_packet(self.version, 0x30 | (qos << 1), topic, pkid, payload));
    }

    /// Number and code of the next packet, which must be a PUBACK.
    pub(super) fn puback(&mut self) -> (u16, u8) {
        let (first, body) = self.read().expect("end instead of a PUBACK");
        assert_eq!(first, 0x40, "{body:?}");
        (u16::from_be_bytes([body[0], body[1]]), body.get(2).copied().unwrap_or(0))
    }

    pub(super) fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        self.send(&subscribe_packet(self.version, 9, &[(filter, qos)]));
        let (first, body) = self.read().expect("end instead of a SUBACK");
        assert_eq!(first, 0x90);
        *body.last().unwrap()
    }

    pub(super) fn message(&mut self) -> Message {
        let (first, body) = self.read().expect("end instead of a PUBLISH");
        assert_eq!(first & 0xf0, 0x30, "{body:?}");
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
        let mut at = 2 + length;
        let mut pkid = 0;
        if first & 6 != 0 {
            pkid = u16::from_be_bytes([body[at], body[at + 1]]);
            at += 2;
        }
        at += usize::from(self.version == 5);
        Message { topic, payload: body[at..].to_vec(), pkid }
    }

    pub(super) fn ack(&mut self, pkid: u16) {
        self.send(&packet(0x40, &pkid.to_be_bytes()));
    }

    /// Proves that the session lives and has handled everything before.
    pub(super) fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        assert_eq!(self.read(), Some((0xd0, Vec::new())));
    }
}

pub(super) fn quick(limits: Limits) -> Limits {
    Limits { connect: Span::from_milliseconds(300), ..limits }
}
