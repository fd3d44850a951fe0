//! A value of the configuration as it came, and its reading as what a key wants.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::{Error, Network, Span, limits};

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
    pub(super) fn no<T>(&self, wanted: &str, example: &str) -> Verdict<T> {
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

    pub(super) fn number(&self, least: u32, most: u32, example: &str) -> Verdict<u32> {
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

    pub(super) fn address(&self, example: &str) -> Verdict<SocketAddr> {
        let text = self.text(example)?;
        text.parse().or_else(|_| self.no("an address with a port", example))
    }

    pub(super) fn span(&self, least: Span, most: Span, example: &str) -> Verdict<Span> {
        match self.text(example)?.parse::<Span>() {
            Ok(span) if (least..=most).contains(&span) => Ok(span),
            _ => self.no(&format!("a length of time from {least} to {most}"), example),
        }
    }

    pub(super) fn networks(&self, example: &str) -> Verdict<Vec<Network>> {
        let list = self.list(example)?;
        if list.len() > limits::NETWORKS_MAX {
            let most = format!("at most {}", limits::NETWORKS_MAX);
            return Err((format!("{} networks are too many", list.len()), most));
        }
        list.iter().map(|text| text.parse().map_err(|e| told(&e))).collect()
    }

    /// A file by its whole path; an empty text for none.
    pub(super) fn file(&self, example: &str) -> Verdict<Option<PathBuf>> {
        let text = self.text(example)?;
        match text {
            "" => Ok(None),
            text if text.starts_with('/') => Ok(Some(PathBuf::from(text))),
            _ => self.no("a file by its whole path", example),
        }
    }

    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], example: &str) -> Verdict<T> {
        let text = self.text(example)?;
        let choices = || words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => self.no(&format!("one of {}", choices()), example),
        }
    }
}

/// The words of an error.
pub(super) fn told(error: &Error) -> (String, String) {
    (error.message().to_owned(), error.hint_text().unwrap_or_default().to_owned())
}
