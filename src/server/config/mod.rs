//! The configuration: defaults, then the file, then `MUSTER_…`, then flags; read and checked whole before any port opens.
//!
//! Every key stands once, in `keys`, with its words, its setter and its text; the file's reader, the environment,
//! `muster config show` and the suggestion for a mistyped key are derived from that list.
//!
//! Invariant: all mistakes are reported in one go, each with its place and the right form.
//! Invariant: a [`Config`] is valid by construction: [`Config::assemble`] and [`Config::default`] are the only ways to one.
//! Invariant: secrets do not appear in mistakes, in `Debug`, or in what [`Config::show`] gives.

mod given;
mod keys;
mod mistakes;
mod origin;
mod reader;
mod show;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Error, Labels, Networks, Result, Secret, Span, limits};
use crate::engine::crypto::Minimum;
use crate::kit::{Door, Guards, KeysOpenedBy, Unwritable};

pub use mistakes::{Mistake, Mistakes};
pub use origin::{DEFAULT, Difference, Entry, RELOADED, differences};

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What the site is called and where it is reached.
    pub site: Site,
    /// Console and API.
    pub http: Http,
    /// The gate.
    pub mqtt: Mqtt,
    /// How long telemetry is kept.
    pub storage: Storage,
    /// What protects the keys at rest.
    pub keys: Keys,
    /// The audit log.
    pub audit: Audit,
    /// The server's own log.
    pub log: Log,
    /// This host as an agent.
    pub agent: Agent,
    /// The text of the file that it was read from, when there was one; for backups. It may hold the passphrase.
    pub text: Option<Secret<String>>,
    origins: origin::Origins,
}

/// `[site]`.
#[derive(Clone, Debug)]
pub struct Site {
    /// Name in the console.
    pub name: String,
    /// Host names and addresses in the server's certificate, the best first. Empty: what the host says of itself.
    pub hosts: Vec<String>,
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where console and API listen, with TLS.
    pub address: SocketAddr,
    /// The oldest version of TLS.
    pub tls_minimum: Minimum,
    /// File with the certificate for browsers and programs, and those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// File with its key.
    pub key: Option<PathBuf>,
    /// Who may connect.
    pub networks: Networks,
    /// Connections at once.
    pub connections_max: u32,
    /// Connections at once from one address.
    pub connections_per_address_max: u32,
    /// Requests of one address in one second, over some time.
    pub requests_per_address_per_second_max: u32,
    /// Requests of one person or key in one second, over some time.
    pub requests_per_person_per_second_max: u32,
    /// Requests of all of a tenant in one second, over some time.
    pub requests_per_tenant_per_second_max: u32,
}

/// `[mqtt]`.
#[derive(Clone, Debug)]
pub struct Mqtt {
    /// Where agents connect, with TLS.
    pub address: SocketAddr,
    /// The oldest version of TLS.
    pub tls_minimum: Minimum,
    /// Who may connect.
    pub networks: Networks,
    /// A listener without TLS, for programs on this host.
    pub plain: Option<SocketAddr>,
    /// Whether `plain` may be an address that other hosts reach.
    pub plain_anywhere: bool,
    /// Connections at once.
    pub connections_max: u32,
    /// Connections at once from one address.
    pub connections_per_address_max: u32,
    /// Messages of one agent in one second.
    pub messages_per_second_max: u32,
}

/// `[storage]`.
#[derive(Clone, Debug)]
pub struct Storage {
    /// How long samples are kept.
    pub metrics: Span,
    /// How long log lines are kept.
    pub logs: Span,
    /// Whether the data files are sealed.
    pub seal: bool,
}

/// What the key that seals all other keys comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KekSource {
    /// A file beside the data.
    File,
    /// A passphrase.
    Passphrase,
    /// The systemd credential `muster.kek`.
    Systemd,
}

/// `[keys]`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Where the sealing key comes from.
    pub kek: KekSource,
    /// The passphrase itself.
    pub passphrase: Option<Secret<String>>,
    /// A file whose first line is the passphrase.
    pub passphrase_file: Option<PathBuf>,
}

impl Keys {
    /// Reads the passphrase from its file, when one is named.
    pub fn read_passphrase(&mut self) -> Result<()> {
        let Some(path) = &self.passphrase_file else { return Ok(()) };
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::unavailable(format!("the passphrase's file `{}` cannot be read", path.display()))
                .because(e)
        })?;
        let line = text.lines().next().unwrap_or_default();
        if line.chars().count() < limits::PASSWORD_CHARACTERS_MIN || line.len() > limits::PASSWORD_BYTES_MAX {
            return Err(Error::invalid(format!("the first line of `{}` is no passphrase", path.display()))
                .hint(format!("at least {} characters", limits::PASSWORD_CHARACTERS_MIN)));
        }
        self.passphrase = Some(Secret::new(line.to_owned()));
        Ok(())
    }
}

/// `[audit]`.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// What becomes of an act that gives a secret or a file away while the log cannot be written.
    pub when_unwritable: Unwritable,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// See [`LogFormat`].
    pub format: LogFormat,
}

/// `[agent]`.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Whether this host is enrolled as the first agent.
    pub enabled: bool,
    /// Labels that it proposes for itself.
    pub labels: Labels,
    /// Whether the lines of systemd's journal are sent.
    pub journal: bool,
    /// Files whose new lines are sent.
    pub log_files: Vec<PathBuf>,
    /// Commands that tasks may name; there is no other way to run one.
    pub commands: BTreeMap<String, Command>,
}

/// `[agent.commands.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Program and its arguments; no shell in between.
    pub run: Vec<String>,
    /// What a person reads.
    pub description: String,
    /// Whether a task may add arguments.
    pub arguments: bool,
}

impl Default for Site {
    fn default() -> Self {
        Site { name: "Muster".into(), hosts: Vec::new() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http {
            address: (Ipv4Addr::UNSPECIFIED, 8443).into(),
            tls_minimum: Minimum::Tls13,
            certificate: None,
            key: None,
            networks: Networks::default(),
            connections_max: limits::HTTP_CONNECTIONS_MAX as u32,
            connections_per_address_max: limits::HTTP_CONNECTIONS_PER_ADDRESS_MAX as u32,
            requests_per_address_per_second_max: limits::REQUESTS_PER_ADDRESS_PER_SECOND_MAX,
            requests_per_person_per_second_max: limits::REQUESTS_PER_ACTOR_PER_SECOND_MAX,
            requests_per_tenant_per_second_max: limits::REQUESTS_PER_TENANT_PER_SECOND_MAX,
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Mqtt {
            address: (Ipv4Addr::UNSPECIFIED, 8883).into(),
            tls_minimum: Minimum::Tls13,
            networks: Networks::default(),
            plain: None,
            plain_anywhere: false,
            connections_max: 20_000,
            connections_per_address_max: 1_000,
            messages_per_second_max: 200,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage { metrics: Span::from_days(90), logs: Span::from_days(30), seal: false }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Keys { kek: KekSource::File, passphrase: None, passphrase_file: None }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".into(), format: LogFormat::Text }
    }
}

impl Default for Agent {
    fn default() -> Self {
        let command = |name: &str, run: &[&str], description: &str| {
            let run = run.iter().map(|part| (*part).to_owned()).collect();
            (name.to_owned(), Command { run, description: description.to_owned(), arguments: false })
        };
        Agent {
            enabled: true,
            labels: Labels::default(),
            journal: true,
            log_files: Vec::new(),
            commands: BTreeMap::from([
                command(
                    "addresses",
                    &["/usr/sbin/ip", "-brief", "address"],
                    "Network interfaces and their addresses",
                ),
                command("disks", &["/usr/bin/df", "-h"], "How full the disks are"),
                command(
                    "failed-units",
                    &["/usr/bin/systemctl", "--failed", "--no-pager"],
                    "Units that have failed",
                ),
                command("memory", &["/usr/bin/free", "-h"], "Use of memory"),
                command("uptime", &["/usr/bin/uptime"], "How long the host has been up, and its load"),
            ]),
        }
    }
}

/// Where a configuration comes from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Name and text of the file.
    pub file: Option<(String, String)>,
    /// Variables of the environment that begin with `MUSTER_`.
    pub environment: Vec<(String, String)>,
    /// Flag as the person wrote it, the key that it sets, and its value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// The environment of this process, and a file when one is named.
    pub fn of_process(file: Option<&Path>) -> Result<Sources, Mistakes> {
        let mut sources = Sources {
            environment: std::env::vars_os()
                .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(key, _)| key.starts_with(keys::ENVIRONMENT))
                .collect(),
            ..Sources::default()
        };
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| {
                Mistakes(vec![Mistake {
                    place: name.clone(),
                    what: format!("the file cannot be read: {e}"),
                    right: "name a file that exists and that this user may read".into(),
                }])
            })?;
            sources.file = Some((name, text));
        }
        Ok(sources)
    }
}

impl Config {
    /// Reads and checks everything, and tells all mistakes or none.
    pub fn assemble(sources: &Sources) -> Result<Config, Mistakes> {
        let mut config = Config::default();
        let mut mistakes = Vec::new();
        let mut places = reader::Places::default();
        if let Some((name, text)) = &sources.file {
            reader::file(&mut config, name, text, &mut places, &mut mistakes);
            config.text = Some(Secret::new(text.clone()));
        }
        reader::environment(&mut config, &sources.environment, &mut places, &mut mistakes);
        reader::flags(&mut config, &sources.flags, &mut places, &mut mistakes);
        reader::together(&config, &places, &mut mistakes);
        config.origins = origin::Origins { places, sources: Some(Arc::new(sources.clone())) };
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    /// How it guards the site.
    pub fn guards(&self) -> Guards {
        let Config { http, mqtt, .. } = self;
        Guards {
            http: Door {
                tls12: http.tls_minimum == Minimum::Tls12,
                networks: http.networks.clone(),
                connections_max: http.connections_max,
                connections_per_address_max: http.connections_per_address_max,
            },
            mqtt: Door {
                tls12: mqtt.tls_minimum == Minimum::Tls12,
                networks: mqtt.networks.clone(),
                connections_max: mqtt.connections_max,
                connections_per_address_max: mqtt.connections_per_address_max,
            },
            requests_per_second_max: [
                http.requests_per_address_per_second_max,
                http.requests_per_person_per_second_max,
                http.requests_per_tenant_per_second_max,
            ],
            sealed: self.storage.seal,
            keys: match self.keys.kek {
                KekSource::File => KeysOpenedBy::File,
                KekSource::Passphrase => KeysOpenedBy::Passphrase,
                KekSource::Systemd => KeysOpenedBy::Systemd,
            },
        }
    }

    /// The configuration as a file that gives the same one; secrets are not in it.
    pub fn show(&self) -> String {
        show::show(self)
    }
}

/// Whether there is such a section.
#[cfg(test)]
pub(crate) fn is_section(section: &str) -> bool {
    keys::KEYS.iter().any(|key| key.section == section)
}

/// Whether there is such a key.
#[cfg(test)]
pub(crate) fn is_key(section: &str, word: &str) -> bool {
    keys::KEYS.iter().any(|key| key.section == section && key.word == word)
}

#[cfg(test)]
mod tests;
