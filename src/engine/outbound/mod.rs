//! Every client that leaves the process, and the list of where it may go.
//!
//! Invariant: a client connects to the address it was given and to no other; it follows no redirect.
//! Invariant: whatever comes back is hostile until its size and form are checked.
//! Invariant: the server's clients hold a [`egress::Permitted`] for each connection. The agent's one connection, to the
//! server that its own configuration names, needs none.

pub mod egress;
pub mod mqtt;
pub mod target;
