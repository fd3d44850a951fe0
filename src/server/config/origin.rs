//! Where each value comes from, what differs from another configuration, and the same sources read once more.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keys::{KEYS, listed, quoted};
use super::reader::{Places, name_of};
use super::{Config, Mistakes, Sources};

/// Keys that a running server takes over at `muster reload`; all others need a restart.
pub const RELOADED: &[&str] = &[
    "http.allow",
    "http.deny",
    "http.requests_per_address_per_second_max",
    "http.requests_per_person_per_second_max",
    "http.requests_per_tenant_per_second_max",
    "mqtt.allow",
    "mqtt.deny",
    "mqtt.messages_per_second_max",
];
/// What a secret is shown as.
const SECRET: &str = "[secret]";
/// Where a value comes from that nobody set.
pub const DEFAULT: &str = "default";

/// What a configuration was made of. It may hold secrets, and shows none.
#[derive(Clone, Default)]
pub(super) struct Origins {
    pub(super) places: Places,
    pub(super) sources: Option<Arc<Sources>>,
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[origins]")
    }
}

/// One key as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `http.address`, or `agent.commands.NAME`.
    pub key: String,
    /// As the file would have it; a secret is `[secret]`. Absent when the key has no value.
    pub value: Option<String>,
    /// `default`, file and line, variable, or flag.
    pub origin: String,
}

impl Entry {
    /// Whether the value is hidden.
    pub fn is_secret(&self) -> bool {
        self.value.as_deref().is_some_and(|value| value.contains(SECRET))
    }

    /// Whether a flag or a variable of its environment holds the value fast, whatever the file says.
    pub fn is_fixed(&self) -> bool {
        self.origin.starts_with("--") || self.origin.starts_with(super::keys::ENVIRONMENT)
    }
}

/// A key that stands differently in two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// In the first.
    pub before: Option<String>,
    /// In the second.
    pub after: Option<String>,
    /// Where the second has it from.
    pub origin: String,
}

impl Difference {
    /// Whether a running server takes it over without a restart.
    pub fn is_reloaded(&self) -> bool {
        RELOADED.contains(&self.key.as_str())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".into());
        write!(f, "{}: {} -> {}", self.key, shown(&self.before), shown(&self.after))
    }
}

/// What the second has otherwise than the first.
pub fn differences(first: &[Entry], second: &[Entry]) -> Vec<Difference> {
    let before: BTreeMap<&str, &Entry> = first.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    let mut found: Vec<Difference> = (second.iter())
        .filter_map(|entry| {
            let old = before.get(entry.key.as_str()).and_then(|old| old.value.clone());
            let Entry { key, value, origin } = entry.clone();
            (old != value).then_some(Difference { key, before: old, after: value, origin })
        })
        .collect();
    for entry in first.iter().filter(|entry| !second.iter().any(|other| other.key == entry.key)) {
        let Entry { key, value, .. } = entry.clone();
        found.push(Difference { key, before: value, after: None, origin: DEFAULT.into() });
    }
    found
}

impl Config {
    /// Every key, in the order of the file.
    pub fn entries(&self) -> Vec<Entry> {
        let origin = |key: &str| self.origins.places.find(key).unwrap_or_else(|| DEFAULT.to_owned());
        let mut entries: Vec<Entry> = (KEYS.iter())
            .map(|key| {
                let name = name_of(key);
                Entry { key: name.to_owned(), value: (key.show)(self), origin: origin(name) }
            })
            .collect();
        for (name, command) in &self.agent.commands {
            let (run, description) = (listed(&command.run), quoted(&command.description));
            let arguments = command.arguments;
            entries.push(Entry {
                key: format!("agent.commands.{name}"),
                value: Some(format!(
                    "{{ run = {run}, description = {description}, arguments = {arguments} }}"
                )),
                origin: origin("agent.commands"),
            });
        }
        entries
    }

    /// Every key with its value and where that comes from, as a file that gives the same configuration, without secrets.
    pub fn explain(&self) -> String {
        let mut origins = self.entries().into_iter().filter(|entry| entry.value.is_some());
        let mut out = String::new();
        for line in self.show().lines() {
            let begins = line.trim_start_matches("# ");
            let section = line.is_empty() || line.starts_with('[');
            // Three lines tell of one command; its entry is told with the last.
            if section || begins.starts_with("run = ") || begins.starts_with("description = ") {
                out.push_str(line);
            } else {
                let origin = origins.next().map(|entry| entry.origin).unwrap_or_default();
                out.push_str(&format!("{line}  # {origin}"));
            }
            out.push('\n');
        }
        out
    }

    /// Name of the file that it was read from.
    pub fn file(&self) -> Option<&str> {
        self.origins.sources.as_ref()?.file.as_ref().map(|(name, _)| name.as_str())
    }

    /// The same sources, with the file as it is now.
    pub fn again(&self) -> Result<Config, Mistakes> {
        let Some(sources) = &self.origins.sources else { return Ok(self.clone()) };
        let file = sources.file.as_ref().map(|(name, _)| Path::new(name));
        let fresh = Sources::of_process(file)?;
        Config::assemble(&Sources { file: fresh.file, ..Sources::clone(sources) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: &str) -> Sources {
        Sources {
            file: Some(("m.toml".into(), file.into())),
            environment: vec![("MUSTER_KEYS_PASSPHRASE".into(), "words that nobody must ever see".into())],
            flags: vec![("--mqtt", "mqtt.address", "127.0.0.1:4".into())],
        }
    }

    #[test]
    fn every_value_says_where_it_is_from_and_no_secret_is_shown() {
        let config = Config::assemble(&sources(
            "[http]\nallow = [\"10.0.0.0/8\"]\n[keys]\nkek = \"passphrase\"\n\
             [agent.commands.load]\nrun = [\"/bin/cat\", \"/proc/loadavg\"]\n",
        ));
        let config = config.unwrap();
        let entries = config.entries();
        let origin = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap().origin.clone();
        assert_eq!(origin("http.allow"), "m.toml:2");
        assert_eq!(origin("mqtt.address"), "--mqtt");
        assert_eq!(origin("keys.passphrase"), "MUSTER_KEYS_PASSPHRASE");
        assert_eq!((origin("log.level"), origin("agent.commands.load")), (DEFAULT.into(), "m.toml:5".into()));
        let text = config.explain();
        for part in [
            "allow = [\"10.0.0.0/8\"]  # m.toml:2",
            "address = \"127.0.0.1:4\"  # --mqtt",
            "# passphrase = \"[secret]\"  # MUSTER_KEYS_PASSPHRASE",
            "level = \"info\"  # default",
            "arguments = false  # m.toml:5",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!format!("{text}{entries:?}{config:?}").contains("nobody must"));
        let read = Sources {
            file: Some(("f".into(), text.replace("\"passphrase\"", "\"file\""))),
            ..Sources::default()
        };
        assert_eq!(Config::assemble(&read).unwrap().http.networks, config.http.networks);
    }

    #[test]
    fn what_differs_is_told_and_whether_a_reload_is_enough() {
        let read = |text: &str| {
            Config::assemble(&Sources { file: Some(("f".into(), text.into())), ..Sources::default() })
        };
        let first = Config::default().entries();
        let second = read(
            "[http]\ndeny = [\"10.0.0.1\"]\naddress = \"127.0.0.1:1\"\n[agent.commands.x]\nrun = [\"/x\"]\n",
        );
        let found = differences(&first, &second.unwrap().entries());
        let keys: Vec<(&str, bool)> = found.iter().map(|d| (d.key.as_str(), d.is_reloaded())).collect();
        assert_eq!(keys[..3], [("http.address", false), ("http.deny", true), ("agent.commands.x", false)]);
        assert!(keys.contains(&("agent.commands.disks", false)), "it is gone: {keys:?}");
        assert_eq!(found[0].to_string(), "http.address: \"0.0.0.0:8443\" -> \"127.0.0.1:1\"");
        assert!(differences(&first, &first).is_empty());
    }

    #[test]
    fn the_file_is_read_once_more_and_what_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("muster.toml");
        std::fs::write(&path, "[log]\nlevel = \"warn\"\n").unwrap();
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let flags = vec![("--http", "http.address", "127.0.0.1:9".into())];
        let config =
            Config::assemble(&Sources { file: Some((name, text)), flags, ..Sources::default() }).unwrap();
        std::fs::write(&path, "[log]\nlevel = \"debug\"\n[http]\naddress = \"127.0.0.1:1\"\n").unwrap();
        let again = config.again().unwrap();
        assert_eq!((again.log.level.as_str(), again.http.address.port()), ("debug", 9), "flags hold");
        std::fs::write(&path, "[lag]\n").unwrap();
        assert_eq!(again.again().unwrap_err().0.len(), 1);
        assert_eq!(Config::default().again().unwrap().show(), Config::default().show());
    }

    #[test]
    fn what_is_reloaded_are_keys() {
        for key in RELOADED {
            assert!(KEYS.iter().any(|known| name_of(known) == *key), "{key}");
        }
    }
}
