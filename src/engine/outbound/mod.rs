//! Every client that leaves the process.
//!
//! Invariant: a client connects to the address it was given and to no other; it follows no redirect.
//! Invariant: whatever comes back is hostile until its size and form are checked.

pub mod mqtt;
