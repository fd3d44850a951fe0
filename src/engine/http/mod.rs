//! The HTTP listener: TLS, limits, headers that every answer carries, static files, live streams. It knows requests and
//! answers, and nothing of what they are about.
//!
//! HTTP/1.1 only. One server owns a thread and its workers; whoever starts it needs no runtime of its own.
//!
//! Invariant: every answer carries the security headers and an `x-request-id` that was made here, never taken from
//! outside.
//! Invariant: heads, bodies, connections, streams and waits are all bounded; see [`Limits`] and `base::limits`.
//! Invariant: only requests are answered whose `Host` is ours, but for those that tell nothing of the site.
//! Invariant: an error leaves as `application/problem+json` or a page that says the same; only its log line has causes.

pub mod assets;
mod body;
mod connection;
mod envelope;
mod events;
mod problem;
mod rate;
mod server;
mod traffic;

pub use body::body;
pub use envelope::{CONTENT_SECURITY_POLICY, request_id};
pub use events::{Feed, open};
pub use problem::{Refusal, log, problem, title};
pub use rate::{Limiter, Standing, Standings};
pub use server::{Control, Handle, Hosts, Limits, Refuse, Server, Settings};
pub use traffic::{Count, Traffic, Turned};

#[cfg(test)]
mod tests;
