//! What the site is called and where it is reached; shared and changeable while running.

use parking_lot::RwLock;

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

/// What capabilities need to know of the configuration.
pub struct Settings {
    name: RwLock<String>,
    /// Host names and addresses by which agents and people reach the server, the best first.
    pub hosts: Vec<String>,
    /// Port of the console and API.
    pub https_port: u16,
    /// Port of the gate.
    pub mqtt_port: u16,
}

impl Settings {
    /// Settings of a site.
    pub fn new(name: String, hosts: Vec<String>, https_port: u16, mqtt_port: u16) -> Settings {
        Settings { name: RwLock::new(name), hosts, https_port, mqtt_port }
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
        format!("{}:{}", self.hosts.first().map(String::as_str).unwrap_or("localhost"), self.mqtt_port)
    }
    /// Address of the console.
    pub fn console(&self) -> String {
        format!(
            "https://{}:{}",
            self.hosts.first().map(String::as_str).unwrap_or("localhost"),
            self.https_port
        )
    }
}
