//! What the site is called and where it is reached; shared and changeable while running.

use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::RwLock;

use crate::base::{Networks, Timestamp};

/// The look that a person chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the operating system says.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Value of `data-theme`; empty for the system's.
    pub fn word(self) -> &'static str {
        match self {
            Theme::System => "",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }
    /// The theme with this word; the system's for anything else.
    pub fn find(word: &str) -> Theme {
        match word {
            "light" => Theme::Light,
            "dark" => Theme::Dark,
            _ => Theme::System,
        }
    }
}

/// What becomes of an act that gives a secret or a file away while the audit log cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unwritable {
    /// It is refused: nothing leaves without an entry.
    #[default]
    Closed,
    /// It is done, and the server's own log has an error in place of the entry.
    Open,
}

/// What opens the keys at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeysOpenedBy {
    /// A file beside the data.
    #[default]
    File,
    /// A passphrase.
    Passphrase,
    /// A credential of systemd's.
    Systemd,
}

/// One of the two ports that other hosts may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Whether TLS 1.2 is spoken too.
    pub tls12: bool,
    /// Who may connect.
    pub networks: Networks,
    /// Connections at once.
    pub connections_max: u32,
    /// Connections at once from one address.
    pub connections_per_address_max: u32,
}

/// How the configuration guards the site, for who looks at how well it is guarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// Console and API.
    pub http: Door,
    /// The gate.
    pub mqtt: Door,
    /// Requests in a second: of an address, of a person or key, of a tenant.
    pub requests_per_second_max: [u32; 3],
    /// Whether the data files are sealed.
    pub sealed: bool,
    /// What opens the keys at rest.
    pub keys: KeysOpenedBy,
}

/// The certificates that are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// When the server's own one ends, which renews itself.
    pub own_ends: Timestamp,
    /// The names of a supplied one, and when it ends.
    pub supplied: Option<(Vec<String>, Timestamp)>,
    /// Why the newest supplied files are not in use.
    pub refused: Option<String>,
}

/// What capabilities need to know of the configuration.
pub struct Settings {
    name: RwLock<String>,
    /// The name that the configuration gives, which holds until the site is renamed.
    pub configured: String,
    /// Host names and addresses by which agents and people reach the server, the best first.
    pub hosts: Vec<String>,
    /// Whether something may be given away while the audit log cannot be written.
    pub unwritable: Unwritable,
    /// How the configuration guards the site.
    pub guards: Guards,
    served: RwLock<Option<Served>>,
    https_port: AtomicU16,
    mqtt_port: AtomicU16,
    plain_port: AtomicU16,
}

impl Settings {
    /// Settings of a site; the ports are known once the listeners are bound.
    pub fn new(name: String, hosts: Vec<String>) -> Settings {
        Settings {
            configured: name.clone(),
            name: RwLock::new(name),
            hosts,
            unwritable: Unwritable::default(),
            guards: Guards::default(),
            served: RwLock::default(),
            https_port: AtomicU16::new(0),
            mqtt_port: AtomicU16::new(0),
            plain_port: AtomicU16::new(0),
        }
    }
    /// The same with another choice for an audit log that cannot be written.
    #[must_use]
    pub fn when_unwritable(mut self, unwritable: Unwritable) -> Settings {
        self.unwritable = unwritable;
        self
    }
    /// The same with these guards.
    #[must_use]
    pub fn guarded(mut self, guards: Guards) -> Settings {
        self.guards = guards;
        self
    }
    /// These certificates are served from now on.
    pub fn serve(&self, served: Served) {
        *self.served.write() = Some(served);
    }
    /// The certificates that are served; none before a server serves any.
    pub fn served(&self) -> Option<Served> {
        self.served.read().clone()
    }
    /// The listeners are bound to these ports.
    pub fn listening(&self, https_port: u16, mqtt_port: u16) {
        self.https_port.store(https_port, Ordering::Relaxed);
        self.mqtt_port.store(mqtt_port, Ordering::Relaxed);
    }
    /// The gate listens without TLS at this port too.
    pub fn listening_plain(&self, port: u16) {
        self.plain_port.store(port, Ordering::Relaxed);
    }
    /// Port of the gate without TLS, if there is one.
    pub fn plain_port(&self) -> Option<u16> {
        Some(self.plain_port.load(Ordering::Relaxed)).filter(|port| *port > 0)
    }
    /// Port of the console and API.
    pub fn https_port(&self) -> u16 {
        self.https_port.load(Ordering::Relaxed)
    }
    /// Port of the gate.
    pub fn mqtt_port(&self) -> u16 {
        self.mqtt_port.load(Ordering::Relaxed)
    }
    /// The site's name.
    pub fn name(&self) -> String {
        self.name.read().clone()
    }
    /// Renames the site.
    pub fn rename(&self, name: String) {
        *self.name.write() = name;
    }
    /// `host:port` of the gate as an agent should use it.
    pub fn gate(&self) -> String {
        format!("{}:{}", self.hosts.first().map(String::as_str).unwrap_or("localhost"), self.mqtt_port())
    }
    /// Address of the console.
    pub fn console(&self) -> String {
        format!(
            "https://{}:{}",
            self.hosts.first().map(String::as_str).unwrap_or("localhost"),
            self.https_port()
        )
    }
}
