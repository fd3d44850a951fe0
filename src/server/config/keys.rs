//! Every key of the configuration: section, word, setter and text.

use std::path::PathBuf;

use super::given::{Given, Verdict, told};
use super::{Config, KekSource, LogFormat};
use crate::base::{Labels, Name, Network, Secret, Span, limits};
use crate::engine::crypto::Minimum;
use crate::kit::Unwritable;

/// How the variables of the environment begin: `MUSTER_HTTP_ADDRESS` is `address` of `[http]`.
pub(super) const ENVIRONMENT: &str = "MUSTER_";

/// One key.
pub(super) struct Key {
    /// `[section]`.
    pub(super) section: &'static str,
    /// The word in it.
    pub(super) word: &'static str,
    /// A right value, as the file has it.
    pub(super) example: &'static str,
    /// Takes a value.
    pub(super) set: fn(&mut Config, &Given<'_>, &str) -> Verdict<()>,
    /// The value as the file has it; absent when it is not set.
    pub(super) show: fn(&Config) -> Option<String>,
}

/// A text in the file's quotes.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list in the file's brackets.
pub(super) fn listed<T: AsRef<str>>(list: &[T]) -> String {
    format!("[{}]", list.iter().map(|text| quoted(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// Networks as a list in the file's brackets.
fn said(list: &[Network]) -> String {
    listed(&list.iter().map(ToString::to_string).collect::<Vec<_>>())
}

const KEKS: [(&str, KekSource); 3] =
    [("file", KekSource::File), ("passphrase", KekSource::Passphrase), ("systemd", KekSource::Systemd)];
const UNWRITABLE: [(&str, Unwritable); 2] = [("closed", Unwritable::Closed), ("open", Unwritable::Open)];
const VERSIONS: [(&str, Minimum); 2] = [("1.3", Minimum::Tls13), ("1.2", Minimum::Tls12)];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const LEVELS: [(&str, &str); 5] =
    [("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
const RETENTION: (Span, Span) = (Span::from_hours(1), Span::from_days(3_660));

fn word_of<T: PartialEq>(words: &[(&str, T)], value: &T) -> Option<String> {
    words.iter().find(|(_, v)| v == value).map(|(word, _)| quoted(word))
}

/// Every key, in the order of the file. A static, for a key is known by its place in it.
pub(super) static KEYS: &[Key] = &[
    Key {
        section: "site",
        word: "name",
        example: "\"Lyon plant\"",
        set: |c, given, example| {
            let name: Name = given.text(example)?.parse().map_err(|e| told(&e))?;
            c.site.name = name.as_str().to_owned();
            Ok(())
        },
        show: |c| Some(quoted(&c.site.name)),
    },
    Key {
        section: "site",
        word: "hosts",
        example: "[\"muster.plant.lan\", \"10.0.0.5\"]",
        set: |c, given, example| {
            let hosts = given.list(example)?;
            let sound = |host: &String| {
                host.len() <= 253
                    && !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b))
                    && (!host.contains(':') || host.parse::<std::net::IpAddr>().is_ok())
            };
            if let Some(host) = hosts.iter().find(|host| !sound(host)) {
                return Err((
                    format!("`{}` is not a host name or address", host.chars().take(60).collect::<String>()),
                    format!("for example `{example}`, without a port"),
                ));
            }
            c.site.hosts = hosts;
            Ok(())
        },
        show: |c| Some(listed(&c.site.hosts)),
    },
    Key {
        section: "http",
        word: "address",
        example: "\"0.0.0.0:8443\"",
        set: |c, given, example| given.address(example).map(|address| c.http.address = address),
        show: |c| Some(quoted(&c.http.address.to_string())),
    },
    Key {
        section: "http",
        word: "tls_minimum",
        example: "\"1.3\"",
        set: |c, given, example| given.word(&VERSIONS, example).map(|version| c.http.tls_minimum = version),
        show: |c| word_of(&VERSIONS, &c.http.tls_minimum),
    },
    Key {
        section: "http",
        word: "certificate",
        example: "\"/etc/muster/certificate.pem\"",
        set: |c, given, example| given.file(example).map(|file| c.http.certificate = file),
        show: |c| c.http.certificate.as_ref().map(|path| quoted(&path.display().to_string())),
    },
    Key {
        section: "http",
        word: "key",
        example: "\"/etc/muster/key.pem\"",
        set: |c, given, example| given.file(example).map(|file| c.http.key = file),
        show: |c| c.http.key.as_ref().map(|path| quoted(&path.display().to_string())),
    },
    Key {
        section: "http",
        word: "allow",
        example: "[\"10.0.0.0/8\", \"fd00::/8\"]",
        set: |c, given, example| given.networks(example).map(|list| c.http.networks.allow = list),
        show: |c| Some(said(&c.http.networks.allow)),
    },
    Key {
        section: "http",
        word: "deny",
        example: "[\"10.0.0.0/8\", \"fd00::/8\"]",
        set: |c, given, example| given.networks(example).map(|list| c.http.networks.deny = list),
        show: |c| Some(said(&c.http.networks.deny)),
    },
    Key {
        section: "http",
        word: "connections_max",
        example: "1024",
        set: |c, given, example| given.number(1, 100_000, example).map(|n| c.http.connections_max = n),
        show: |c| Some(c.http.connections_max.to_string()),
    },
    Key {
        section: "http",
        word: "connections_per_address_max",
        example: "256",
        set: |c, given, example| {
            given.number(1, 100_000, example).map(|n| c.http.connections_per_address_max = n)
        },
        show: |c| Some(c.http.connections_per_address_max.to_string()),
    },
    Key {
        section: "http",
        word: "requests_per_address_per_second_max",
        example: "100",
        set: |c, given, example| {
            given.number(1, 1_000_000, example).map(|n| c.http.requests_per_address_per_second_max = n)
        },
        show: |c| Some(c.http.requests_per_address_per_second_max.to_string()),
    },
    Key {
        section: "http",
        word: "requests_per_person_per_second_max",
        example: "50",
        set: |c, given, example| {
            given.number(1, 1_000_000, example).map(|n| c.http.requests_per_person_per_second_max = n)
        },
        show: |c| Some(c.http.requests_per_person_per_second_max.to_string()),
    },
    Key {
        section: "http",
        word: "requests_per_tenant_per_second_max",
        example: "500",
        set: |c, given, example| {
            given.number(1, 1_000_000, example).map(|n| c.http.requests_per_tenant_per_second_max = n)
        },
        show: |c| Some(c.http.requests_per_tenant_per_second_max.to_string()),
    },
    Key {
        section: "mqtt",
        word: "address",
        example: "\"0.0.0.0:8883\"",
        set: |c, given, example| given.address(example).map(|address| c.mqtt.address = address),
        show: |c| Some(quoted(&c.mqtt.address.to_string())),
    },
    Key {
        section: "mqtt",
        word: "tls_minimum",
        example: "\"1.3\"",
        set: |c, given, example| given.word(&VERSIONS, example).map(|version| c.mqtt.tls_minimum = version),
        show: |c| word_of(&VERSIONS, &c.mqtt.tls_minimum),
    },
    Key {
        section: "mqtt",
        word: "allow",
        example: "[\"10.0.0.0/8\", \"fd00::/8\"]",
        set: |c, given, example| given.networks(example).map(|list| c.mqtt.networks.allow = list),
        show: |c| Some(said(&c.mqtt.networks.allow)),
    },
    Key {
        section: "mqtt",
        word: "deny",
        example: "[\"10.0.0.0/8\", \"fd00::/8\"]",
        set: |c, given, example| given.networks(example).map(|list| c.mqtt.networks.deny = list),
        show: |c| Some(said(&c.mqtt.networks.deny)),
    },
    Key {
        section: "mqtt",
        word: "plain",
        example: "\"127.0.0.1:1883\"",
        set: |c, given, example| {
            c.mqtt.plain = match given.text(example)? {
                "off" => None,
                _ => Some(given.address(example)?),
            };
            Ok(())
        },
        show: |c| Some(quoted(&c.mqtt.plain.map_or("off".into(), |address| address.to_string()))),
    },
    Key {
        section: "mqtt",
        word: "plain_anywhere",
        example: "false",
        set: |c, given, example| given.flag(example).map(|flag| c.mqtt.plain_anywhere = flag),
        show: |c| Some(c.mqtt.plain_anywhere.to_string()),
    },
    Key {
        section: "mqtt",
        word: "connections_max",
        example: "20000",
        set: |c, given, example| given.number(1, 1_000_000, example).map(|n| c.mqtt.connections_max = n),
        show: |c| Some(c.mqtt.connections_max.to_string()),
    },
    Key {
        section: "mqtt",
        word: "connections_per_address_max",
        example: "1000",
        set: |c, given, example| {
            given.number(1, 1_000_000, example).map(|n| c.mqtt.connections_per_address_max = n)
        },
        show: |c| Some(c.mqtt.connections_per_address_max.to_string()),
    },
    Key {
        section: "mqtt",
        word: "messages_per_second_max",
        example: "200",
        set: |c, given, example| {
            given.number(1, 100_000, example).map(|n| c.mqtt.messages_per_second_max = n)
        },
        show: |c| Some(c.mqtt.messages_per_second_max.to_string()),
    },
    Key {
        section: "storage",
        word: "metrics",
        example: "\"90d\"",
        set: |c, given, example| {
            given.span(RETENTION.0, RETENTION.1, example).map(|span| c.storage.metrics = span)
        },
        show: |c| Some(quoted(&c.storage.metrics.to_string())),
    },
    Key {
        section: "storage",
        word: "logs",
        example: "\"30d\"",
        set: |c, given, example| {
            given.span(RETENTION.0, RETENTION.1, example).map(|span| c.storage.logs = span)
        },
        show: |c| Some(quoted(&c.storage.logs.to_string())),
    },
    Key {
        section: "storage",
        word: "seal",
        example: "false",
        set: |c, given, example| given.flag(example).map(|seal| c.storage.seal = seal),
        show: |c| Some(c.storage.seal.to_string()),
    },
    Key {
        section: "keys",
        word: "kek",
        example: "\"file\"",
        set: |c, given, example| given.word(&KEKS, example).map(|kek| c.keys.kek = kek),
        show: |c| word_of(&KEKS, &c.keys.kek),
    },
    Key {
        section: "keys",
        word: "passphrase",
        example: "\"words that only you know\"",
        set: |c, given, example| {
            // The mistake must not repeat the value.
            let text = given.text(example).map_err(|_| {
                (String::from("the passphrase is not a text in quotes"), format!("for example `{example}`"))
            })?;
            if text.chars().count() < limits::PASSWORD_CHARACTERS_MIN
                || text.len() > limits::PASSWORD_BYTES_MAX
            {
                return Err((
                    "the passphrase is too short or too long".into(),
                    format!("at least {} characters", limits::PASSWORD_CHARACTERS_MIN),
                ));
            }
            c.keys.passphrase = Some(Secret::new(text.to_owned()));
            Ok(())
        },
        show: |c| c.keys.passphrase.as_ref().map(|secret| quoted(&format!("{secret:?}"))),
    },
    Key {
        section: "keys",
        word: "passphrase_file",
        example: "\"/etc/muster/passphrase\"",
        set: |c, given, example| {
            let text = given.text(example)?;
            c.keys.passphrase_file = (!text.is_empty()).then(|| PathBuf::from(text));
            Ok(())
        },
        show: |c| c.keys.passphrase_file.as_ref().map(|path| quoted(&path.display().to_string())),
    },
    Key {
        section: "audit",
        word: "when_unwritable",
        example: "\"closed\"",
        set: |c, given, example| {
            given.word(&UNWRITABLE, example).map(|choice| c.audit.when_unwritable = choice)
        },
        show: |c| word_of(&UNWRITABLE, &c.audit.when_unwritable),
    },
    Key {
        section: "log",
        word: "level",
        example: "\"info\"",
        set: |c, given, example| given.word(&LEVELS, example).map(|level| c.log.level = level.to_owned()),
        show: |c| Some(quoted(&c.log.level)),
    },
    Key {
        section: "log",
        word: "format",
        example: "\"text\"",
        set: |c, given, example| given.word(&FORMATS, example).map(|format| c.log.format = format),
        show: |c| word_of(&FORMATS, &c.log.format),
    },
    Key {
        section: "agent",
        word: "enabled",
        example: "true",
        set: |c, given, example| given.flag(example).map(|flag| c.agent.enabled = flag),
        show: |c| Some(c.agent.enabled.to_string()),
    },
    Key {
        section: "agent",
        word: "labels",
        example: "\"site=lyon, line=7\"",
        set: |c, given, example| {
            c.agent.labels = Labels::parse(given.text(example)?).map_err(|e| told(&e))?;
            Ok(())
        },
        show: |c| Some(quoted(&c.agent.labels.text())),
    },
    Key {
        section: "agent",
        word: "journal",
        example: "true",
        set: |c, given, example| given.flag(example).map(|flag| c.agent.journal = flag),
        show: |c| Some(c.agent.journal.to_string()),
    },
    Key {
        section: "agent",
        word: "log_files",
        example: "[\"/var/log/syslog\"]",
        set: |c, given, example| {
            let files: Vec<PathBuf> = given.list(example)?.into_iter().map(PathBuf::from).collect();
            if let Some(file) = files.iter().find(|file| !file.is_absolute()) {
                return Err((
                    format!("`{}` is not a whole path", file.display()),
                    format!("for example `{example}`"),
                ));
            }
            c.agent.log_files = files;
            Ok(())
        },
        show: |c| {
            let files: Vec<String> = c.agent.log_files.iter().map(|p| p.display().to_string()).collect();
            Some(listed(&files))
        },
    },
];
