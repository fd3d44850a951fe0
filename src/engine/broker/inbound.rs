//! What comes in, and the acknowledgement that goes back for it.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use crate::base::{AgentId, TenantId};
use crate::wire::UpKind;

/// A message that came in.
pub enum Inbound {
    /// Of an agent.
    Up(Uplink),
    /// Of somebody who wants to become one.
    Join(JoinUplink),
}

/// What became of a message; its session hears it.
pub(super) enum Outcome {
    Done,
    Refused(Box<str>),
    Failed,
    Answered(Bytes),
}

/// The way back to the session. Dropping it unused tells the session that nothing was stored.
pub(super) struct Ticket {
    pub(super) number: u32,
    pub(super) back: Option<UnboundedSender<(u32, Outcome)>>,
}

impl Ticket {
    /// A ticket of a message that nobody waits for, such as a will.
    pub(super) fn none() -> Ticket {
        Ticket { number: 0, back: None }
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(back) = self.back.take() {
            // The session may have ended meanwhile; then the client sends again.
            let _ = back.send((self.number, outcome));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tell(Outcome::Failed);
    }
}

/// A message of an agent. Dropped without an answer it counts as not stored.
pub struct Uplink {
    /// Whose agent.
    pub tenant: TenantId,
    /// Which.
    pub agent: AgentId,
    /// What it says.
    pub kind: UpKind,
    /// The message, a copy of its own.
    pub payload: Bytes,
    /// Number of the session.
    pub session: u64,
    pub(super) ticket: Ticket,
}

impl Uplink {
    /// The message is stored: it may be acknowledged, and observers hear it.
    pub fn done(mut self) {
        self.ticket.tell(Outcome::Done);
    }

    /// The message will never be stored. MQTT 5 hears reason 0x99 and `reason`; MQTT 3.1.1 can only be acknowledged,
    /// so that it does not come again for ever.
    pub fn refuse(mut self, reason: &str) {
        self.ticket.tell(Outcome::Refused(reason.chars().take(120).collect()));
    }

    /// The message could not be stored now: no acknowledgement, the session is closed, the agent sends it again.
    pub fn fail(mut self) {
        self.ticket.tell(Outcome::Failed);
    }
}

/// A request of somebody without an identity.
pub struct JoinUplink {
    /// Number of the session.
    pub session: u64,
    /// From where.
    pub peer: SocketAddr,
    /// The user name of the CONNECT.
    pub username: Option<String>,
    /// The password of the CONNECT.
    pub password: Option<Bytes>,
    /// The request.
    pub payload: Bytes,
    pub(super) ticket: Ticket,
}

impl JoinUplink {
    /// Acknowledges the request and sends `payload` to this session alone, on `wire::JOIN_DOWN`.
    pub fn answer(mut self, payload: Vec<u8>) {
        self.ticket.tell(Outcome::Answered(Bytes::from(payload)));
    }
}
