//! Plain values that every floor may use. No async, no foreign format, nothing of ours below it.
//!
//! Invariant: a value of these types is valid by construction; parsing is the only way in from text.

pub mod buckets;
mod duration;
mod error;
mod id;
mod labels;
pub mod limits;
mod name;
mod network;
mod page;
mod secret;
mod selector;
mod timestamp;

pub use duration::Span;
pub use error::{Error, Kind, Result};
pub use id::{
    AgentId, ApprovalId, FamilyId, Id, KeyId, PasskeyId, Prefix, SessionId, TaskId, TenantId, UserId, kind,
};
pub use labels::Labels;
pub use name::Name;
pub use network::{Network, Networks, machine};
pub use page::Page;
pub use secret::Secret;
pub use selector::{Selector, Subject};
pub use timestamp::Timestamp;
