//! Every client that leaves the process, and the list of where it may go.
//!
//! Invariant: a client connects to the address it was given and to no other; it follows no redirect.
//! Invariant: whatever comes back is hostile until its size and form are checked.
//! Invariant: the server's clients hold a [`egress::Permitted`] for each connection. The agent's one connection, to the
//! server that its own configuration names, needs none.

pub mod egress;
pub mod ldap;
pub mod mqtt;
pub mod oidc;
pub mod target;
mod trust;

use crate::base::Result;

/// Runs what waits on this thread, which must be one that may wait.
fn blocking<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Foreign text made fit for a message: one line, printable, short.
fn readable(text: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ");
    let mut clean: String = line.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect();
    if let Some((at, _)) = clean.char_indices().find(|(at, _)| *at >= bytes_max) {
        clean.truncate(at);
        clean.push('…');
    }
    clean
}
