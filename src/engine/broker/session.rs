//! One session: a single task that reads, decides, hands in, acknowledges and writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{ClientLink, Heard};
use super::decode::{self, Connect, Fault, Packet, Will};
use super::encode;
use super::face::Reason;
use super::gate::{Core, SeatGuard, flush};
use super::inbound::{Inbound, Outcome, Ticket, Uplink};
use super::registry::{Down, Seat, count};
use super::stream::{Step, Stream};
use crate::base::limits::MQTT_PACKET_BYTES_MAX;
use crate::base::{AgentId, TenantId};
use crate::wire::{DownKind, JOIN_DOWN, UpKind};

mod hear;
mod say;

/// Bytes of output beyond which nothing more is taken on.
const OUTPUT_HIGH: usize = 64 * 1024;
/// How long a stopping broker waits for the acknowledgements of what was handed in.
const DRAIN: Duration = Duration::from_millis(1_500);

/// Why and with which code of MQTT 5 a session ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) reason: Reason,
    pub(super) code: u8,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> End {
        End { reason: Reason::Fault(fault.why), code: fault.code }
    }
}

impl From<Reason> for End {
    fn from(reason: Reason) -> End {
        let code = match &reason {
            Reason::Goodbye | Reason::Lost => 0,
            Reason::Silent => 0x8d,
            Reason::Stuck | Reason::Fault(_) => 0x80,
            Reason::TakenOver => 0x8e,
            Reason::Closed(_) | Reason::Expired => 0x98,
            Reason::Overflow => 0x97,
            Reason::NotStored => 0x83,
            Reason::Stopping => 0x8b,
        };
        End { reason, code }
    }
}

/// What an agent has subscribed to: QoS by filter.
#[derive(Default)]
pub(super) struct Hearing {
    pub(super) plus: Option<u8>,
    pub(super) hash: Option<u8>,
    pub(super) exact: [Option<u8>; 8],
}

/// Whose session, and what that allows.
pub(super) enum Role {
    Agent {
        tenant: TenantId,
        agent: AgentId,
        prefix: Box<str>,
        hearing: Hearing,
    },
    Joining {
        username: Option<String>,
        password: Option<Bytes>,
        requests: usize,
        hearing: Option<u8>,
        answers: VecDeque<Bytes>,
        until: Instant,
    },
    Client {
        link: Option<Box<ClientLink>>,
        tenant: String,
        publish: Vec<String>,
        subscribe: Vec<String>,
    },
}

/// A publish that is not acknowledged yet.
struct Pending {
    number: u32,
    /// 0 for QoS 0.
    pkid: u16,
    kind: Option<UpKind>,
    payload: Bytes,
    verdict: Option<(u8, Box<str>)>,
}

/// See the module.
pub(super) struct Session {
    core: Arc<Core>,
    stream: Stream,
    seat: Arc<Seat>,
    /// Of an agent or a joining session; a client's link holds its own.
    guard: Option<SeatGuard>,
    role: Role,
    protocol: u8,
    keep_alive: Duration,
    heard: Instant,
    paused: bool,
    stuck_since: Option<Instant>,
    mailbox: Option<mpsc::Receiver<Down>>,
    outcomes: mpsc::UnboundedReceiver<(u32, Outcome)>,
    /// Its other end, for tickets. As many are out as there are pending publishes.
    back: mpsc::UnboundedSender<(u32, Outcome)>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    number: u32,
    /// Decoded, and the inbound channel is full.
    stalled: Option<Inbound>,
    inflight: Vec<u16>,
    pkid: u16,
    window: usize,
    packet_bytes_max: usize,
    credits: f64,
    credited: Instant,
    will: Option<Will>,
}

/// What the session waited for.
enum Happened {
    Step(std::io::Result<Step>),
    Outcome((u32, Outcome)),
    Down(Down),
    Heard(Heard),
    Time,
    Handed,
    NobodyListens,
}

impl Session {
    pub(super) fn new(
        core: Arc<Core>,
        stream: Stream,
        connect: Connect,
        seat: Arc<Seat>,
        guard: Option<SeatGuard>,
        role: Role,
        mailbox: Option<mpsc::Receiver<Down>>,
    ) -> Session {
        let now = Instant::now();
        let asked = Duration::from_secs(u64::from(connect.keep_alive));
        let longest = core.limits.keep_alive.duration().min(Duration::from_secs(65_535));
        let keep_alive = if asked.is_zero() || asked > longest { longest } else { asked };
        let window = usize::from(connect.receive_max.unwrap_or(u16::MAX)).min(core.limits.inflight_max);
        let (back, outcomes) = mpsc::unbounded_channel();
        let mut session = Session {
            seat,
            guard,
            role,
            protocol: connect.protocol,
            keep_alive,
            heard: now,
            paused: false,
            stuck_since: None,
            mailbox,
            outcomes,
            back,
            pending: VecDeque::new(),
            pending_bytes: 0,
            number: 0,
            stalled: None,
            inflight: Vec::new(),
            pkid: 0,
            window,
            packet_bytes_max: connect.packet_bytes_max.map_or(usize::MAX, |b| b as usize),
            credits: f64::from(core.messages_per_second_max.load(Ordering::Relaxed)),
            credited: now,
            will: connect.will,
            stream,
            core,
        };
        let terms = encode::Terms {
            receive_max: session.core.limits.uplinks_pending_max.clamp(1, 65_535) as u16,
            packet_bytes_max: MQTT_PACKET_BYTES_MAX as u32,
            // Whole seconds; a fraction is a test's.
            keep_alive: (keep_alive != asked).then_some(keep_alive.as_secs().max(1) as u16),
            session_expiry: !connect.clean || connect.session_expiry > 0,
        };
        encode::welcome(&mut session.stream.output, session.protocol, &terms);
        session
    }

    /// Runs until the session ends and cleans up behind it.
    pub(super) async fn run(mut self: Box<Self>) {
        let seat = self.seat.clone();
        let end = tokio::select! {
            biased;
            reason = seat.kicked() => End::from(reason),
            Err(end) = self.serve() => end,
        };
        if end.reason == Reason::Stopping {
            // What was handed in is stored or not within moments; the clients shall know.
            let _ = timeout(DRAIN, self.drain()).await;
        }
        if let Reason::Fault(why) = end.reason {
            count(&self.core.counters.faults);
            tracing::debug!(session = self.seat.session, "session ends: {why}");
        }
        if end.code != 0 {
            encode::goodbye(&mut self.stream.output, self.protocol, end.code);
        }
        flush(&mut self.stream).await;
        self.bequeath(&end.reason);
        let guard = match &mut self.role {
            Role::Client { link: Some(link), .. } => link.guard(),
            _ => self.guard.as_mut(),
        };
        if let Some(guard) = guard {
            guard.reason = end.reason;
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.read_packets().await?;
            self.answer_joins();
            self.stream.shrink();
            let now = Instant::now();
            if !self.stream.unwritten() {
                self.stuck_since = None;
            } else if self.stuck_since.is_none() {
                self.stuck_since = Some(now);
            }
            let read = self.may_read(now);
            if read && self.paused {
                // It could not be heard while nobody listened.
                self.heard = now;
            }
            self.paused = !read;
            match self.wait(read, now).await {
                Happened::Step(Ok(step)) => {
                    if step.written > 0 {
                        self.stuck_since = Some(Instant::now());
                    }
                }
                Happened::Step(Err(_)) => return Err(Reason::Lost.into()),
                Happened::Outcome((number, outcome)) => self.settle(number, outcome)?,
                Happened::Down(down) => self.tell(&down),
                Happened::Heard(heard) => self.relay(&heard),
                Happened::Time => self.check_times()?,
                Happened::Handed => {}
                Happened::NobodyListens => return Err(Reason::Stopping.into()),
            }
        }
    }

    async fn wait(&mut self, read: bool, now: Instant) -> Happened {
        let deadline = self.deadline(read, now);
        let take = self.stream.output.len() < OUTPUT_HIGH && self.inflight.len() < self.window;
        let subscribed = self.seat.subscribed.load(Ordering::Relaxed) != 0;
        let Session { stream, outcomes, mailbox, role, stalled, core, .. } = self;
        let link = match role {
            Role::Client { link, .. } => link.as_mut(),
            _ => None,
        };
        tokio::select! {
            step = stream.step(read) => Happened::Step(step),
            Some(outcome) = outcomes.recv() => Happened::Outcome(outcome),
            Some(down) = next_down(mailbox), if take && subscribed => Happened::Down(down),
            heard = next_heard(link), if take => Happened::Heard(heard),
            () = sleep_until(deadline) => Happened::Time,
            room = core.inbound.reserve(), if stalled.is_some() => match (room, stalled.take()) {
                (Ok(room), Some(inbound)) => {
                    room.send(inbound);
                    Happened::Handed
                }
                _ => Happened::NobodyListens,
            },
        }
    }

    /// Whether more of the client is wanted.
    fn may_read(&mut self, now: Instant) -> bool {
        let rate = f64::from(self.core.messages_per_second_max.load(Ordering::Relaxed));
        let earned = now.saturating_duration_since(self.credited).as_secs_f64() * rate;
        self.credits = (self.credits + earned).min(rate);
        self.credited = now;
        self.stalled.is_none()
            && self.credits >= 1.0
            && self.pending.len() < self.core.limits.uplinks_pending_max
            && self.pending_bytes < self.core.limits.session_bytes_max
            && self.stream.output.len() < OUTPUT_HIGH
    }

    fn deadline(&self, read: bool, now: Instant) -> Instant {
        let mut deadline = now + Duration::from_secs(3_600);
        if read {
            deadline = deadline.min(self.heard + self.keep_alive * 3 / 2);
        } else if self.credits < 1.0 {
            let rate = f64::from(self.core.limits.messages_per_second_max.max(1));
            deadline = deadline.min(now + Duration::from_secs_f64((1.0 - self.credits) / rate + 0.02));
        }
        if let Some(since) = self.stuck_since {
            deadline = deadline.min(since + self.core.limits.write.duration());
        }
        if let Role::Joining { until, .. } = &self.role {
            deadline = deadline.min(*until);
        }
        deadline
    }

    fn check_times(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if !self.paused && now >= self.heard + self.keep_alive * 3 / 2 {
            return Err(Reason::Silent.into());
        }
        if self.stuck_since.is_some_and(|since| now >= since + self.core.limits.write.duration()) {
            return Err(Reason::Stuck.into());
        }
        match &self.role {
            Role::Joining { until, .. } if now >= *until => Err(Reason::Expired.into()),
            _ => Ok(()),
        }
    }

    async fn read_packets(&mut self) -> Result<(), End> {
        let now = Instant::now();
        while self.may_read(now) {
            let Some(header) = decode::header(&self.stream.input, MQTT_PACKET_BYTES_MAX)? else {
                return Ok(());
            };
            let whole = header.length + header.rest;
            if self.stream.input.len() < whole {
                return Ok(());
            }
            let packet =
                decode::packet(header.first, &self.stream.input[header.length..whole], self.protocol)?;
            self.stream.input.advance(whole);
            self.heard = now;
            self.handle(packet).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Connect => Err(decode::protocol("second CONNECT").into()),
            Packet::Publish { topic, qos, pkid, retain, payload } => {
                self.credits -= 1.0;
                self.said(&topic, qos, pkid, retain, payload)
            }
            Packet::PubAck(pkid) => {
                self.inflight.retain(|p| *p != pkid);
                Ok(())
            }
            Packet::Subscribe { pkid, filters } => {
                self.credits -= filters.len() as f64;
                let mut codes = Vec::with_capacity(filters.len());
                for (filter, qos) in &filters {
                    codes.push(self.subscribe(filter, (*qos).min(1)).await);
                }
                encode::suback(&mut self.stream.output, self.protocol, pkid, &codes);
                Ok(())
            }
            Packet::Unsubscribe { pkid, filters } => {
                self.credits -= filters.len() as f64;
                let mut codes = Vec::with_capacity(filters.len());
                for filter in &filters {
                    codes.push(if self.unsubscribe(filter).await { 0 } else { 0x11 });
                }
                encode::unsuback(&mut self.stream.output, self.protocol, pkid, &codes);
                Ok(())
            }
            Packet::Ping => {
                // A ping costs as well: it is answered.
                self.credits -= 1.0;
                encode::pong(&mut self.stream.output);
                Ok(())
            }
            Packet::Disconnect { with_will } => {
                if !with_will {
                    self.will = None;
                }
                Err(Reason::Goodbye.into())
            }
        }
    }

    async fn drain(&mut self) {
        while let Some(inbound) = self.stalled.take() {
            if self.core.inbound.send(inbound).await.is_err() {
                return;
            }
        }
        while !self.pending.is_empty() || self.stream.unwritten() {
            let settled = tokio::select! {
                Some((number, outcome)) = self.outcomes.recv() => self.settle(number, outcome).is_ok(),
                step = self.stream.step(false) => step.is_ok(),
            };
            if !settled {
                return;
            }
        }
    }
}

async fn next_down(mailbox: &mut Option<mpsc::Receiver<Down>>) -> Option<Down> {
    match mailbox {
        Some(mailbox) => mailbox.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_heard(link: Option<&mut Box<ClientLink>>) -> Heard {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}
