//! From file, environment and flags to a configuration, gathering mistakes on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::{Given, Verdict};
use super::keys::{ENVIRONMENT, KEYS, Key};
use super::mistakes::{Mistake, nearest};
use super::{Command, Config, KekSource};

/// Where each key that was set was set, for mistakes that show only when all keys are known.
#[derive(Clone, Default)]
pub(super) struct Places(BTreeMap<&'static str, String>);

impl Places {
    fn note(&mut self, key: &'static Key, place: &str) {
        self.0.insert(name_of(key), place.to_owned());
    }
    fn of(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| format!("default of `{name}`"))
    }
    fn set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    /// Where the key was set, when it was.
    pub(super) fn find(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// `section.word`.
pub(super) fn name_of(key: &'static Key) -> &'static str {
    // The list of names is short and lives as long as the program.
    static NAMES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| KEYS.iter().map(|k| format!("{}.{}", k.section, k.word)).collect());
    KEYS.iter().position(|k| std::ptr::eq(k, key)).map_or("", |n| names[n].as_str())
}

fn find(section: &str, word: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.word == word)
}

fn apply(
    config: &mut Config,
    key: &'static Key,
    given: &Given<'_>,
    place: String,
    places: &mut Places,
    mistakes: &mut Vec<Mistake>,
) {
    places.note(key, &place);
    if let Err((what, right)) = (key.set)(config, given, key.example) {
        mistakes.push(Mistake { place, what: format!("`{}`: {what}", name_of(key)), right });
    }
}

/// Reads the variables of the environment.
pub(super) fn environment(
    config: &mut Config,
    variables: &[(String, String)],
    places: &mut Places,
    mistakes: &mut Vec<Mistake>,
) {
    let spelt = |key: &Key| format!("{ENVIRONMENT}{}_{}", key.section, key.word).to_uppercase();
    for (variable, value) in variables {
        match KEYS.iter().find(|key| spelt(key) == *variable) {
            Some(key) => apply(config, key, &Given::Plain(value), variable.clone(), places, mistakes),
            None => {
                let all: Vec<String> = KEYS.iter().map(spelt).collect();
                mistakes.push(unknown(
                    variable.clone(),
                    "variable",
                    variable,
                    all.iter().map(String::as_str),
                ));
            }
        }
    }
}

/// Reads the flags.
pub(super) fn flags(
    config: &mut Config,
    flags: &[(&'static str, &'static str, String)],
    places: &mut Places,
    mistakes: &mut Vec<Mistake>,
) {
    for (flag, name, value) in flags {
        if let Some(key) = KEYS.iter().find(|key| name_of(key) == *name) {
            apply(config, key, &Given::Plain(value), (*flag).to_owned(), places, mistakes);
        }
    }
}

fn unknown<'a>(place: String, what: &str, word: &str, words: impl Iterator<Item = &'a str>) -> Mistake {
    let mut words: Vec<&str> = words.collect();
    words.dedup();
    let right = match nearest(word, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of {}", words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")),
    };
    Mistake { place, what: format!("there is no {what} `{word}`"), right }
}

/// Reads the file.
pub(super) fn file(
    config: &mut Config,
    name: &str,
    text: &str,
    places: &mut Places,
    mistakes: &mut Vec<Mistake>,
) {
    let place = |at: usize| {
        let line = 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
        format!("{name}:{line}")
    };
    let first = mistakes.len();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        mistakes.push(Mistake {
            place: place(at),
            what: format!("this is not TOML: {}", error.message().replace('\n', " ")),
            right: "write `key = value` below `[section]`".into(),
        });
    }
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    for (section, value) in table.get_ref() {
        let at = section.span().start;
        let word = section.get_ref().as_ref();
        if !sections.contains(&word) {
            let what = if value.get_ref().is_table() { "section" } else { "key outside the sections" };
            mistakes.push(unknown(place(at), what, word, sections.iter().copied()));
            continue;
        }
        let DeValue::Table(keys) = value.get_ref() else {
            mistakes.push(Mistake {
                place: place(at),
                what: format!("`{word}` is a section, not a value"),
                right: format!("write `[{word}]` on a line of its own"),
            });
            continue;
        };
        for (key, value) in keys {
            let (at, inner) = (key.span().start, key.get_ref().as_ref());
            if word == "agent" && inner == "commands" {
                places.0.insert("agent.commands", place(at));
                commands(config, value, &place, mistakes);
                continue;
            }
            match find(word, inner) {
                Some(found) => {
                    apply(config, found, &given(value.get_ref()), place(at), places, mistakes);
                }
                None => {
                    let words = KEYS.iter().filter(|k| k.section == word).map(|k| k.word);
                    let more = (word == "agent").then_some("commands");
                    let what = format!("key in `[{word}]` named");
                    mistakes.push(unknown(place(at), &what, inner, words.chain(more)));
                }
            }
        }
    }
    // Tables come in the order of their words; people read from the top.
    mistakes[first..]
        .sort_by_key(|mistake| mistake.place.rsplit(':').next().and_then(|line| line.parse::<usize>().ok()));
}

fn given<'a>(value: &'a DeValue<'_>) -> Given<'a> {
    match value {
        DeValue::String(text) => Given::Text(text.as_ref()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Given::Number(number),
            Err(_) => Given::Other("number"),
        },
        DeValue::Boolean(flag) => Given::Flag(*flag),
        DeValue::Array(list) => {
            match list.iter().map(|v| v.get_ref().as_str()).collect::<Option<Vec<&str>>>() {
                Some(texts) => Given::List(texts),
                None => Given::Other("list of other things than texts"),
            }
        }
        other => Given::Other(other.type_str()),
    }
}

/// Reads `[agent.commands.NAME]`. Commands in the file are the whole list: the defaults go.
fn commands(
    config: &mut Config,
    value: &Spanned<DeValue<'_>>,
    place: &dyn Fn(usize) -> String,
    mistakes: &mut Vec<Mistake>,
) {
    const RUN: &str = "[\"/usr/bin/df\", \"-h\"]";
    const WORDS: [&str; 3] = ["run", "description", "arguments"];
    let DeValue::Table(table) = value.get_ref() else {
        mistakes.push(Mistake {
            place: place(value.span().start),
            what: "`agent.commands` is not a section".into(),
            right: "write `[agent.commands.NAME]` with `run = [\"/path/to/program\", \"argument\"]` below"
                .into(),
        });
        return;
    };
    config.agent.commands.clear();
    for (name, value) in table {
        let at = place(name.span().start);
        let name = name.get_ref().as_ref();
        let mut say = |place: String, what: String, right: &str| {
            mistakes.push(Mistake { place, what, right: right.to_owned() });
        };
        let sound = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
        if !sound {
            say(at.clone(), format!("`{name}` is not a name for a command"), "use a-z, 0-9, `-` and `_`");
        }
        let DeValue::Table(fields) = value.get_ref() else {
            say(
                at,
                format!("command `{name}` has no fields"),
                "give it `run = [\"/path/to/program\", \"argument\"]`",
            );
            continue;
        };
        let mut command = Command::default();
        let mut seen = BTreeSet::new();
        for (field, value) in fields {
            let (here, word) = (place(field.span().start), field.get_ref().as_ref());
            let value = given(value.get_ref());
            let taken: Verdict<()> = match word {
                "run" => value.list(RUN).and_then(|run| match run.first() {
                    Some(program) if program.starts_with('/') => {
                        command.run = run;
                        Ok(())
                    }
                    Some(program) => Err((
                        format!("`{program}` is not a program by its whole path"),
                        format!("for example `{RUN}`"),
                    )),
                    None => Err(("the list is empty".into(), format!("for example `{RUN}`"))),
                }),
                "description" => {
                    value.text("\"How full the disks are\"").map(|text| command.description = text.to_owned())
                }
                "arguments" => value.flag("false").map(|flag| command.arguments = flag),
                _ => {
                    let what = format!("key of command `{name}` named");
                    mistakes.push(unknown(here, &what, word, WORDS.into_iter()));
                    continue;
                }
            };
            seen.insert(word);
            if let Err((what, right)) = taken {
                mistakes.push(Mistake {
                    place: here,
                    what: format!("`agent.commands.{name}.{word}`: {what}"),
                    right,
                });
            }
        }
        if !seen.contains("run") {
            mistakes.push(Mistake {
                place: at,
                what: format!("command `{name}` does not say what it runs"),
                right: "give it `run = [\"/path/to/program\", \"argument\"]`".into(),
            });
        }
        config.agent.commands.insert(name.to_owned(), command);
    }
}

/// What only shows when all keys are known.
pub(super) fn together(config: &Config, places: &Places, mistakes: &mut Vec<Mistake>) {
    let mut say = |key: &str, what: String, right: &str| {
        mistakes.push(Mistake { place: places.of(key), what, right: right.to_owned() });
    };
    if let Some(plain) = config.mqtt.plain
        && !plain.ip().is_loopback()
        && !config.mqtt.plain_anywhere
    {
        say(
            "mqtt.plain",
            format!("`mqtt.plain`: other hosts reach `{plain}` without encryption"),
            "use `127.0.0.1:1883`, or set `mqtt.plain_anywhere = true` if that is meant",
        );
    }
    let addresses = [
        ("http.address", Some(config.http.address)),
        ("mqtt.address", Some(config.mqtt.address)),
        ("mqtt.plain", config.mqtt.plain),
    ];
    for (n, (key, address)) in addresses.iter().enumerate() {
        for (other, taken) in &addresses[..n] {
            let (Some(a), Some(b)) = (address, taken) else { continue };
            let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
            if a.port() != 0 && a.port() == b.port() && overlap {
                say(key, format!("`{key}`: port {} is taken by `{other}`", a.port()), "choose another port");
            }
        }
    }
    let pair = [("http.certificate", &config.http.certificate), ("http.key", &config.http.key)];
    for ((key, file), (other, its)) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        if file.is_some() && its.is_none() {
            say(key, format!("`{key}` is set and `{other}` is not"), "name both files, or none");
        }
    }
    if config.agent.enabled && !config.mqtt.networks.let_in(Ipv4Addr::LOCALHOST.into()) {
        let key = if config.mqtt.networks.allow.is_empty() { "mqtt.deny" } else { "mqtt.allow" };
        let right = "let `127.0.0.1` in, or set `enabled = false` in `[agent]`";
        say(key, format!("`{key}` shuts this host's own agent out"), right);
    }
    let given = config.keys.passphrase.is_some() || config.keys.passphrase_file.is_some();
    if config.keys.kek == KekSource::Passphrase && !given && !places.set("keys.passphrase") {
        say(
            "keys.kek",
            "`keys.kek`: there is no passphrase".into(),
            "set `keys.passphrase_file`, or `MUSTER_KEYS_PASSPHRASE`",
        );
    }
    if config.keys.passphrase.is_some() && config.keys.passphrase_file.is_some() {
        say(
            "keys.passphrase",
            "`keys.passphrase` and `keys.passphrase_file` are both set".into(),
            "keep one of them",
        );
    }
}
