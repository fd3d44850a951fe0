//! The MQTT gate: every byte of a client passes here before rumqttd's router sees any of it.
//!
//! MQTT 3.1.1 and 5 share one port. A session is one task; its rights follow from the identity that the [`Doorkeeper`]
//! found at CONNECT and from nothing else. What an agent says goes to the [`Inbound`] channel and is acknowledged when
//! its [`Uplink`] is done; the router, which keeps everything in memory only, carries messages to agents and between
//! the clients that an administrator allowed. The router's own listeners are never used.
//!
//! Invariant: an agent publishes only its own `up/` topics and hears only its own `down/` topics, on every path in.
//! Invariant: PUBACKs leave in the order of the PUBLISHes, and none before `Uplink::done` or `Uplink::refuse`.
//! Invariant: one identity has at most one live session; the old one has ended before the new one begins.
//! Invariant: whatever the router is given is ASCII, of QoS 0, not retained and copied out of the read buffer.
//! Invariant: everything that waits (connections, handshakes, mailboxes, uplinks, bytes) has a bound in [`Limits`].

mod client;
mod decode;
mod encode;
mod face;
mod filter;
mod gate;
mod hub;
mod inbound;
mod listen;
mod outbox;
mod registry;
mod session;
mod start;
mod stream;
#[cfg(test)]
mod tests;

pub use face::{
    Admission, Arrival, Bus, Credentials, Delivery, Departure, Doorkeeper, Limits, Reason, Refusal, Settings,
    Stats,
};
pub use inbound::{Inbound, JoinUplink, Uplink};
pub use start::{Broker, Control};
