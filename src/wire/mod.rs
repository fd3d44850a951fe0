//! What server and agents say to each other: topics, messages and their two encodings. Nothing else is shared.
//!
//! Topics are `muster/v1/{tenant}/{agent}/up/{kind}` and `muster/v1/{tenant}/{agent}/down/{kind}`; the set of kinds is
//! closed, so that the gate derives every permission from identity alone. A payload is JSON, which any client that can
//! print text writes, or the compact form: one byte [`COMPACT`] and CBOR (RFC 8949) of the same structure, in which
//! metrics are packed further (see [`metrics`]).
//!
//! Invariant: a message is valid after `Up::decode`/`Down::decode`: sizes and counts are within `base::limits`.
//! Invariant: an unknown field is skipped, a missing one takes its default; that is how a version grows.

mod codec;
mod envelope;
pub mod examples;
mod messages;
pub mod metrics;
mod topic;

pub use codec::COMPACT;
pub use envelope::{Down, Up};
pub use messages::*;
pub use topic::{DownKind, JOIN_DOWN, JOIN_UP, Topic, UpKind};

/// The version in every topic.
pub const VERSION: &str = "v1";
