//! A small asynchronous MQTT 3.1.1 client: agents, simulators and tests speak through it.
//!
//! Invariant: no more than `Options::window` messages of quality 1 are unacknowledged at once, and no queue is without
//! a bound: a slow server slows the caller down.
//! Invariant: a message that came in is acknowledged when the next one is asked for, thus after it was handled.

mod client;
mod codec;
mod connection;

pub use client::{Client, Delivery, Incoming, Message, Options, connect, connect_over};
pub use codec::{Connect, Packet, Publish, Quality, Will, decode, encode};
