//! Which entries a reader wants: one set of conditions for the list, the search, the page and the export.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Entry;
use crate::base::{Error, Result, Selector, Span, Timestamp, limits};
use crate::kit::{Category, Weight, event_kind};

/// How much later an entry may stand before one of an earlier instant: clocks are set back now and then.
const CLOCK_SET_BACK_MAX: Span = Span::from_hours(26);

/// What is asked of entries; all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Narrowed {
    /// `actor:`, `action:`, `event:`, `subject:`, `from:`, `day:`, `category:`, `weight:`, `change>` and words.
    pub filter: String,
    /// Who: an identifier, or a part of what people call them.
    pub actor: String,
    /// What happened: a name from the catalogue, or its beginning and `*`.
    pub event: String,
    /// What it happened to: an identifier, or a part of it.
    pub subject: String,
    /// `access`, `trust`, `change`, `work` or `proof`.
    pub category: String,
    /// `ordinary`, `notable` or `alarm`: this weight or more.
    pub weight: String,
    /// The first instant: RFC 3339, or a day, or a day and a time of it in UTC.
    pub since: String,
    /// The last instant, likewise; a day means its end.
    pub until: String,
    /// Where the actor was: the beginning of an address.
    pub address: String,
}

impl Narrowed {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.pairs().iter().all(|(_, value)| value.trim().is_empty())
    }

    /// Every condition with its name, as forms and links carry it.
    pub fn pairs(&self) -> [(&'static str, &str); 9] {
        [
            ("filter", &self.filter),
            ("actor", &self.actor),
            ("event", &self.event),
            ("subject", &self.subject),
            ("category", &self.category),
            ("weight", &self.weight),
            ("since", &self.since),
            ("until", &self.until),
            ("address", &self.address),
        ]
    }

    /// The same from a form or a query, field by field.
    pub(super) fn read<'a>(of: impl Fn(&str) -> &'a str) -> Narrowed {
        let of = |name: &str| of(name).to_owned();
        Narrowed {
            filter: of("filter"),
            actor: of("actor"),
            event: of("event"),
            subject: of("subject"),
            category: of("category"),
            weight: of("weight"),
            since: of("since"),
            until: of("until"),
            address: of("address"),
        }
    }
}

/// The conditions, read and ready.
#[derive(Clone, Debug)]
pub(super) struct Sieve {
    selector: Selector,
    actor: String,
    event: String,
    subject: String,
    address: String,
    category: Option<Category>,
    weight: Weight,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    empty: bool,
}

impl Sieve {
    pub(super) fn new(asked: &Narrowed) -> Result<Sieve> {
        let word = |text: &str| match text.len() > limits::SELECTOR_BYTES_MAX {
            true => Err(Error::invalid("a condition is too long")
                .hint(format!("at most {} bytes", limits::SELECTOR_BYTES_MAX))),
            false => Ok(text.trim().to_lowercase()),
        };
        Ok(Sieve {
            selector: Selector::parse(&asked.filter)?,
            actor: word(&asked.actor)?,
            event: word(&asked.event)?,
            subject: word(&asked.subject)?,
            address: word(&asked.address)?,
            category: one_of("category", &asked.category, &Category::ALL, Category::word)?,
            weight: one_of("weight", &asked.weight, &Weight::ALL, Weight::word)?.unwrap_or(Weight::Ordinary),
            since: instant(&asked.since, false)?,
            until: instant(&asked.until, true)?,
            empty: asked.is_empty(),
        })
    }

    /// Whether everything passes.
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    pub(super) fn passes(&self, entry: &Entry) -> bool {
        let kind = event_kind(&entry.event);
        let event = match self.event.strip_suffix('*') {
            Some(start) => entry.event.starts_with(start),
            None => self.event.is_empty() || entry.event == self.event,
        };
        event
            && holds(&self.actor, &entry.actor, &entry.name)
            && holds(&self.subject, &entry.subject, "")
            && entry.from.to_lowercase().starts_with(&self.address)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at <= until)
            && self.category.is_none_or(|category| kind.is_some_and(|kind| kind.category == category))
            // What nobody declared is of an older version, and is not kept from who looks for weighty things.
            && kind.is_none_or(|kind| kind.weight >= self.weight)
            && self.selector.matches(entry)
    }

    /// Whether no entry before this one can pass, as they stand in the order of their changes.
    pub(super) fn is_past(&self, entry: &Entry) -> bool {
        self.since.is_some_and(|since| entry.at + CLOCK_SET_BACK_MAX < since)
    }
}

fn holds(word: &str, one: &str, other: &str) -> bool {
    word.is_empty() || one.to_lowercase().contains(word) || other.to_lowercase().contains(word)
}

fn one_of<T: Copy>(what: &str, text: &str, all: &[T], word: fn(T) -> &'static str) -> Result<Option<T>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    all.iter().copied().find(|one| word(*one) == text).map(Some).ok_or_else(|| {
        let words: Vec<&str> = all.iter().copied().map(word).collect();
        let shown: String = text.chars().take(40).collect();
        Error::invalid(format!("`{shown}` is no {what}")).hint(format!("it is one of {}", words.join(", ")))
    })
}

/// An instant as forms and people write it.
fn instant(text: &str, end: bool) -> Result<Option<Timestamp>> {
    let text = text.trim();
    let day = text.len() == 10;
    let whole = match (text.len(), day && end) {
        (0, _) => return Ok(None),
        (10, true) => format!("{text}T23:59:59.999Z"),
        (10, false) => format!("{text}T00:00:00Z"),
        // What the field of a form sends: to the minute, or to the second.
        (16, _) => format!("{}:00Z", text.replace(' ', "T")),
        (19, _) => format!("{}Z", text.replace(' ', "T")),
        _ => text.to_owned(),
    };
    whole.parse().map(Some).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Error::invalid(format!("`{shown}` is no day or instant"))
            .hint("for example `2026-11-20`, `2026-11-20T14:02` or `2026-11-20T14:02:00Z`, in UTC")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_narrow_as_a_reader_expects() {
        // 2026-09-21T14:13:20Z, by Inès, from 10.0.0.7.
        let entry = Entry::sample();
        let with = |name: &str, value: &str| Narrowed::read(|asked| if asked == name { value } else { "" });
        for (name, value, expected) in [
            ("actor", "inès", true),
            ("actor", "usr_00000000000000000000000001", true),
            ("actor", "anne", false),
            ("event", "agents.retired", true),
            ("event", "agents.*", true),
            ("event", "agents", false),
            ("subject", "agt_", true),
            ("subject", "tsk_", false),
            ("since", "2026-09-21", true),
            ("since", "2026-09-21T14:13:21Z", false),
            ("since", "2026-09-21T14:13", true),
            ("until", "2026-09-21", true),
            ("until", "2026-09-21 14:13", false),
            ("until", "2026-09-20", false),
            ("address", "10.0.", true),
            ("address", "0.0.7", false),
            ("filter", "action:agents.* -from:10.0.0.8", true),
        ] {
            let sieve = Sieve::new(&with(name, value)).unwrap();
            assert_eq!(sieve.passes(&entry), expected, "{name} {value}");
            assert!(!sieve.is_empty());
        }
        assert!(Sieve::new(&Narrowed::default()).unwrap().is_empty());
        let late = Sieve::new(&with("since", "2026-09-23")).unwrap();
        assert!(late.is_past(&entry) && !Sieve::new(&with("since", "2026-09-22")).unwrap().is_past(&entry));
    }

    #[test]
    fn mistakes_are_named() {
        for (name, value, part) in [
            ("since", "yesterday", "no day or instant"),
            ("category", "secrets", "no category"),
            ("weight", "heavy", "no weight"),
            ("filter", "\"open", "quotation"),
        ] {
            let asked = Narrowed::read(|asked| if asked == name { value } else { "" });
            assert!(Sieve::new(&asked).unwrap_err().message().contains(part), "{name}");
        }
        let long = Narrowed { actor: "x".repeat(limits::SELECTOR_BYTES_MAX + 1), ..Narrowed::default() };
        assert!(Sieve::new(&long).is_err());
    }
}
