//! Every key of the configuration: section, word, setter and text.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Config, KekSource, LogFormat};
use crate::base::{Error, Labels, Name, Secret, Span, limits};
use crate::kit::Unwritable;

/// How the variables of the environment begin: `MUSTER_HTTP_ADDRESS` is `address` of `[http]`.
pub(super) const ENVIRONMENT: &str = "MUSTER_";

/// A value as it came, from the file or as plain text.
pub(super) enum Given<'a> {
    /// Text of a variable or flag; it stands for any type.
    Plain(&'a str),
    /// Text of the file.
    Text(&'a str),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// A list of texts.
    List(Vec<&'a str>),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

/// What a setter says of a value that it does not take: what is wrong, and the right form.
pub(super) type Verdict<T> = Result<T, (String, String)>;

impl Given<'_> {
    fn no<T>(&self, wanted: &str, example: &str) -> Verdict<T> {
        let found = match self {
            Given::Plain(text) | Given::Text(text) => {
                format!("`{}`", text.chars().take(60).collect::<String>())
            }
            Given::Number(number) => format!("the number {number}"),
            Given::Flag(flag) => flag.to_string(),
            Given::List(_) => "a list".into(),
            Given::Other(kind) => format!("a value of type {kind}"),
        };
        Err((format!("{found} is not {wanted}"), format!("for example `{example}`")))
    }

    pub(super) fn text(&self, example: &str) -> Verdict<&str> {
        match self {
            Given::Plain(text) | Given::Text(text) => Ok(text),
            _ => self.no("a text in quotes", example),
        }
    }

    fn number(&self, least: u32, most: u32, example: &str) -> Verdict<u32> {
        let number = match self {
            Given::Plain(text) => text.trim().parse().ok(),
            Given::Number(number) => Some(*number),
            _ => None,
        };
        match number.map(u32::try_from) {
            Some(Ok(number)) if (least..=most).contains(&number) => Ok(number),
            _ => self.no(&format!("a whole number from {least} to {most}"), example),
        }
    }

    pub(super) fn flag(&self, example: &str) -> Verdict<bool> {
        match self {
            Given::Flag(flag) => Ok(*flag),
            Given::Plain(text) if text.trim() == "true" => Ok(true),
            Given::Plain(text) if text.trim() == "false" => Ok(false),
            _ => self.no("true or false, without quotes", example),
        }
    }

    pub(super) fn list(&self, example: &str) -> Verdict<Vec<String>> {
        match self {
            Given::List(list) => Ok(list.iter().map(|text| (*text).to_owned()).collect()),
            Given::Plain(text) => {
                Ok(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect())
            }
            _ => self.no("a list of texts", example),
        }
    }

    fn address(&self, example: &str) -> Verdict<SocketAddr> {
        let text = self.text(example)?;
        text.parse().or_else(|_| self.no("an address with a port", example))
    }

    fn span(&self, least: Span, most: Span, example: &str) -> Verdict<Span> {
        match self.text(example)?.parse::<Span>() {
            Ok(span) if (least..=most).contains(&span) => Ok(span),
            _ => self.no(&format!("a length of time from {least} to {most}"), example),
        }
    }

    fn word<T: Copy>(&self, words: &[(&str, T)], example: &str) -> Verdict<T> {
        let text = self.text(example)?;
        let choices = || words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => self.no(&format!("one of {}", choices()), example),
        }
    }
}

fn told(error: &Error) -> (String, String) {
    (error.message().to_owned(), error.hint_text().unwrap_or_default().to_owned())
}

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

const KEKS: [(&str, KekSource); 3] =
    [("file", KekSource::File), ("passphrase", KekSource::Passphrase), ("systemd", KekSource::Systemd)];
const UNWRITABLE: [(&str, Unwritable); 2] = [("closed", Unwritable::Closed), ("open", Unwritable::Open)];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const LEVELS: [(&str, &str); 5] =
    [("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
const RETENTION: (Span, Span) = (Span::from_hours(1), Span::from_days(3_660));

fn word_of<T: PartialEq>(words: &[(&str, T)], value: &T) -> Option<String> {
    words.iter().find(|(_, v)| v == value).map(|(word, _)| quoted(word))
}

/// Every key, in the order of the file.
pub(super) const KEYS: &[Key] = &[
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
        section: "mqtt",
        word: "address",
        example: "\"0.0.0.0:8883\"",
        set: |c, given, example| given.address(example).map(|address| c.mqtt.address = address),
        show: |c| Some(quoted(&c.mqtt.address.to_string())),
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
