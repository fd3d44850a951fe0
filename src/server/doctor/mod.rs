//! `muster doctor`: looks at the host, the data folder and the running server, and says of each thing whether it is well,
//! and what to do when it is not.
//!
//! Invariant: it works with the server running and stopped, as root and as anybody; what it may not look at is said, too.
//! Invariant: it changes nothing; the file by which it measures the disk is gone when it ends.
//! Invariant: nothing takes it longer than a few seconds, but for opening the store of a stopped server.

mod files;
mod host;
mod inside;

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::config::Config;
use crate::base::Error;
use crate::engine::clock::Clock;

pub(super) use inside::told;
pub use inside::{DOCTOR, stopped};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Good,
    /// It works, and may not for long, or not for all.
    Attention,
    /// The server does not work, or not safely.
    Bad,
}

impl Level {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Level::Good => "good",
            Level::Attention => "attention",
            Level::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do, in one sentence; empty when there is nothing to do.
    pub remedy: String,
}

/// All of them, in the order of looking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of all.
    pub fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good)
    }

    /// Notes that something is well.
    pub fn good(&mut self, subject: &str, found: impl Into<String>) {
        self.note(Level::Good, subject, found, "");
    }

    /// Notes something that needs a person soon.
    pub fn attention(&mut self, subject: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.note(Level::Attention, subject, found, remedy);
    }

    /// Notes something that is broken.
    pub fn bad(&mut self, subject: &str, found: impl Into<String>, remedy: impl Into<String>) {
        self.note(Level::Bad, subject, found, remedy);
    }

    fn note(&mut self, level: Level, subject: &str, found: impl Into<String>, remedy: impl Into<String>) {
        let subject = subject.to_owned();
        self.findings.push(Finding { subject, level, found: found.into(), remedy: remedy.into() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { subject, level, found, remedy } in &self.findings {
            writeln!(f, "{:<10} {subject:<14} {found}", level.word())?;
            if !remedy.is_empty() {
                writeln!(f, "{:<25} -> {remedy}", "")?;
            }
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        write!(
            f,
            "\n{} good, {} to look at, {} bad",
            count(Level::Good),
            count(Level::Attention),
            count(Level::Bad)
        )
    }
}

/// What can be known of the inside of the data folder.
pub enum Inside {
    /// A running server told it.
    Running(Value),
    /// The folder of a stopped server told it.
    Stopped(Value),
    /// Nobody did, and why.
    Unknown(Error),
    /// There is no data folder yet.
    Nothing,
}

/// Looks at everything. `service` is the unit of systemd that the folder belongs to, when there is one.
pub fn examine(
    config: &Config,
    folder: &Path,
    inside: &Inside,
    service: Option<&str>,
    clock: &Clock,
) -> Report {
    let mut report = Report::default();
    let server = match inside {
        Inside::Running(value) => value["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
        _ => None,
    };
    inside::server(inside, &mut report);
    if let Some(service) = service {
        host::unit(service, &mut report);
    }
    host::ports(config, server, matches!(inside, Inside::Unknown(_)), &mut report);
    files::space(folder, &mut report);
    files::speed(folder, clock, &mut report);
    files::permissions(config, folder, &mut report);
    inside::certificates(config, inside, clock, &mut report);
    host::clock(&mut report);
    inside::newest(inside, clock, &mut report);
    host::limits(config, inside, &mut report);
    host::memory(&mut report);
    host::entropy(&mut report);
    host::kernel(config, &mut report);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_each_has_its_remedy_below() {
        let mut report = Report::default();
        assert_eq!(report.level(), Level::Good);
        report.good("memory", "4 GB free");
        report.attention("clock", "nobody sets it", "switch on a time service");
        assert_eq!(report.level(), Level::Attention);
        report.bad("port 8443", "held by `nginx` (process 7)", "stop it");
        assert_eq!(report.level(), Level::Bad);
        let text = report.to_string();
        for part in [
            "good       memory",
            "attention  clock",
            "bad        port 8443",
            "-> stop it",
            "1 good, 1 to look at, 1 bad",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["findings"][1]["level"], "attention");
    }
}
