//! The agent program: says how its host is, and runs what its owner allows.
//!
//! [`join`] turns a join code into credentials, [`run`] keeps a session until it is told to stop, [`main`] does both in
//! a small runtime of its own. [`Session`] is one connection, for whoever speaks as an agent: this program, simulators,
//! tests.
//!
//! Invariant: what must arrive is on disk before it is sent, and leaves the disk when the server has it.
//! Invariant: a task runs at most once, ever; what a crash left open is reported as unknown, never run again.
//! Invariant: nothing runs that the agent's own configuration does not name, whatever the server says.
//! Invariant: the newest checkpoint of the audit log is kept per generation, and never replaced by an older one.
//! Invariant: the private key is made here, and never leaves the agent's folder.

mod checkpoints;
mod configuration;
mod credentials;
mod join;
mod ledger;
mod program;
mod segments;
mod session;
pub mod simulation;
mod spool;
mod tasks;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use configuration::{AllowedCommand, Configuration};
pub use credentials::Credentials;
pub use join::join;
pub use ledger::{Ledger, Standing};
pub use program::run;
pub use segments::Record;
pub use session::{Happening, Session, WINDOW, hello, inventory};
pub use spool::Spool;
pub use tasks::Tasks;

use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::engine::crypto::JoinCode;

/// The MQTT port of a server, where none is named.
pub const PORT: u16 = 8883;

/// What the agent program is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder: credentials, spool, task ledger.
    pub folder: PathBuf,
    /// Where its server is; what it joined with when absent.
    pub server: Option<Server>,
    /// The code to join with, if it has not joined yet.
    pub join: Option<JoinCode>,
    /// What its owner allows.
    pub configuration: Configuration,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl FromStr for Server {
    type Err = Error;

    /// `host`, `host:port`, `address` or `[address]:port`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("`{}` is not a server", text.chars().take(80).collect::<String>()))
                .hint("write `host` or `host:port`, for example `muster.plant.example:8883`")
        };
        let text = text.trim();
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            (host, rest.strip_prefix(':'))
        } else if text.matches(':').count() == 1 {
            text.split_once(':').map(|(host, port)| (host, Some(port))).ok_or_else(wrong)?
        } else {
            (text, None)
        };
        let port = port.map_or(Ok(PORT), |p| p.parse().map_err(|_| wrong()))?;
        if host.is_empty() || host.len() > 253 || host.contains(|c: char| c.is_whitespace() || c == '@') {
            return Err(wrong());
        }
        Ok(Server { host: host.to_owned(), port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads `CODE@HOST[:PORT]`, as the console shows it.
pub fn parse_join(text: &str) -> Result<(JoinCode, Server)> {
    let (code, server) = text.trim().rsplit_once('@').ok_or_else(|| {
        Error::invalid("the join code names no server").hint("write `CODE@HOST` as the console shows it")
    })?;
    Ok((code.parse()?, server.parse()?))
}

/// The whole program in a runtime of one thread: joins if it must, says `ready`, then runs until TERM or INT.
pub fn main<T>(options: &Options, ready: impl FnOnce() -> T) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        tokio::pin!(stop);
        let clock = Clock::system();
        if options.join.is_some() && Credentials::load(&options.folder)?.is_none() {
            tokio::select! {
                joined = join(options, &clock) => drop(joined?),
                () = &mut stop => return Ok(()),
            }
        }
        let _until_the_end = ready();
        run(options, &clock, stop).await
    });
    // A name that is being resolved must not hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_people_do() {
        for (text, host, port) in [
            ("plant", "plant", 8883),
            ("plant:1", "plant", 1),
            ("10.0.0.1:99", "10.0.0.1", 99),
            ("fd00::1", "fd00::1", 8883),
            ("[fd00::1]:7", "fd00::1", 7),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port));
            assert_eq!(server.to_string().parse::<Server>().unwrap(), server);
        }
        for text in ["", "a b", "plant:x", ":1", "[fd00::1", "a@b"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
        assert!(parse_join("XXXX-XXXX-XXXX.00000000000000000000000000@plant").is_ok());
        assert!(parse_join("XXXX").is_err());
    }
}
