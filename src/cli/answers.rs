//! The answers of `muster init`: a file of TOML, read whole, with all its mistakes.

use std::path::Path;

use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use crate::base::Secret;
use crate::server::check_person;
use crate::server::config::{Config, Mistake, Mistakes, Sources};

/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What is wanted; what is left out stays as it is.
pub(super) struct Answers {
    /// What the site is called.
    pub(super) name: Option<String>,
    /// Host names and addresses by which it is reached, the best first.
    pub(super) hosts: Option<Vec<String>>,
    /// Who owns it.
    pub(super) owner: Option<Owner>,
}

/// The first owner.
pub(super) struct Owner {
    pub(super) login: String,
    pub(super) name: String,
    pub(super) password: Option<Secret<String>>,
}

impl Owner {
    /// Input of `identity.create`.
    pub(super) fn input(&self) -> Value {
        json!({
            "login": self.login,
            "name": self.name,
            "role": "owner",
            "password": self.password.as_ref().map(|password| password.expose()),
        })
    }
}

impl Answers {
    /// Reads them, or tells all mistakes.
    pub(super) fn read(path: &Path) -> Result<Answers, Mistakes> {
        let name = path.display().to_string();
        let failed = |what: String| {
            let right = "name a file of TOML that this user may read".into();
            Mistakes(vec![Mistake { place: name.clone(), what, right }])
        };
        let about = std::fs::metadata(path).map_err(|e| failed(format!("the file cannot be read: {e}")))?;
        if about.len() > FILE_BYTES_MAX {
            return Err(failed(format!("the file has more than {FILE_BYTES_MAX} bytes")));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| failed(format!("the file cannot be read: {e}")))?;
        Answers::parse(&name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Answers, Mistakes> {
        let mut reading = Reading { name, text, mistakes: Vec::new() };
        let mut answers = Answers { name: None, hosts: None, owner: None };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let what = format!("this is not TOML: {}", error.message().replace('\n', " "));
            reading.wrong(at, what, "write `key = value` below `[section]`");
        }
        for (section, value) in table.get_ref() {
            let at = section.span().start;
            match (section.get_ref().as_ref(), value.get_ref().as_table()) {
                ("site", Some(keys)) => reading.site(keys, &mut answers),
                ("owner", Some(keys)) => answers.owner = reading.owner(at, keys),
                (word, _) => {
                    reading.wrong(at, format!("there is no section `{word}`"), "`[site]` or `[owner]`");
                }
            }
        }
        if reading.mistakes.is_empty()
            && answers.name.is_none()
            && answers.hosts.is_none()
            && answers.owner.is_none()
        {
            reading.wrong(
                0,
                "nothing is answered".into(),
                "for example `name = \"Lyon plant\"` below `[site]`",
            );
        }
        reading.mistakes.sort_by_key(|(line, _)| *line);
        match reading.mistakes.is_empty() {
            true => Ok(answers),
            false => Err(Mistakes(reading.mistakes.into_iter().map(|(_, mistake)| mistake).collect())),
        }
    }
}

struct Reading<'a> {
    name: &'a str,
    text: &'a str,
    /// Each with its line.
    mistakes: Vec<(usize, Mistake)>,
}

impl Reading<'_> {
    fn wrong(&mut self, at: usize, what: String, right: &str) {
        let line = 1 + self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
        let place = format!("{}:{line}", self.name);
        self.mistakes.push((line, Mistake { place, what, right: right.to_owned() }));
    }

    fn words(&mut self, at: usize, key: &str, value: &DeValue<'_>) -> Option<String> {
        match value.as_str() {
            Some(text) => Some(text.to_owned()),
            None => {
                self.wrong(at, format!("`{key}` is not a text"), "write it in quotes");
                None
            }
        }
    }

    fn site(&mut self, keys: &DeTable<'_>, answers: &mut Answers) {
        for (key, value) in keys {
            let (at, word) = (key.span().start, key.get_ref().as_ref());
            let raw = self.text.get(value.span()).unwrap_or_default();
            if !matches!(word, "name" | "hosts") {
                self.wrong(
                    at,
                    format!("there is no key in `[site]` named `{word}`"),
                    "one of `name`, `hosts`",
                );
                continue;
            }
            // The configuration has the same two keys, and knows what is right for them.
            let file = Some((String::new(), format!("[site]\n{word} = {raw}\n")));
            match Config::assemble(&Sources { file, ..Sources::default() }) {
                Ok(config) if word == "name" => answers.name = Some(config.site.name),
                Ok(config) => answers.hosts = Some(config.site.hosts),
                Err(mistakes) => {
                    for mistake in mistakes.0 {
                        self.wrong(at, mistake.what, &mistake.right);
                    }
                }
            }
        }
    }

    fn owner(&mut self, at: usize, keys: &DeTable<'_>) -> Option<Owner> {
        let (mut login, mut name, mut password, mut whence) = (None, None, None, at);
        for (key, value) in keys {
            let (at, word, value) = (key.span().start, key.get_ref().as_ref(), value.get_ref());
            match word {
                "login" => login = self.words(at, word, value),
                "name" => name = self.words(at, word, value),
                "password" | "password_file" if password.is_some() => {
                    self.wrong(
                        at,
                        "`password` and `password_file` are both there".into(),
                        "keep one of them",
                    );
                }
                "password" => {
                    (password, whence) = (self.words(at, word, value).map(Secret::new), at);
                }
                "password_file" => {
                    whence = at;
                    let path = self.words(at, word, value)?;
                    match std::fs::read_to_string(&path) {
                        Ok(text) => {
                            password = Some(Secret::new(text.lines().next().unwrap_or_default().to_owned()));
                        }
                        Err(e) => {
                            let right = "name a file whose first line is the password";
                            self.wrong(at, format!("`{path}` cannot be read: {e}"), right);
                        }
                    }
                }
                _ => {
                    let right = "one of `login`, `name`, `password`, `password_file`";
                    self.wrong(at, format!("there is no key in `[owner]` named `{word}`"), right);
                }
            }
        }
        let Some(login) = login else {
            self.wrong(at, "`[owner]` has no `login`".into(), "for example `login = \"ines\"`");
            return None;
        };
        let name = name.unwrap_or_else(|| login.clone());
        for error in check_person(&login, &name, password.as_ref().map(|p| p.expose().as_str())) {
            let right = error.hint_text().unwrap_or_default().to_owned();
            self.wrong(whence, error.message().to_owned(), &right);
        }
        Some(Owner { login: login.trim().to_lowercase(), name, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let text = "[site]\nname = \"Lyon\"\nhosts = [\"a.lan\", \"10.0.0.5\"]\n[owner]\nlogin = \"Ines\"\n\
                    password = \"correct horse battery staple\"\n";
        let answers = Answers::parse("a.toml", text).ok().unwrap();
        assert_eq!(answers.name.as_deref(), Some("Lyon"));
        assert_eq!(answers.hosts.unwrap(), ["a.lan", "10.0.0.5"]);
        let owner = answers.owner.unwrap();
        assert_eq!((owner.login.as_str(), owner.name.as_str()), ("ines", "Ines"));
        assert_eq!(owner.input()["password"], "correct horse battery staple");
        let answers = Answers::parse("a.toml", "[owner]\nlogin = \"ines\"\n").ok().unwrap();
        assert!(answers.owner.unwrap().input()["password"].is_null());
    }

    #[test]
    fn all_mistakes_are_told_and_no_password() {
        let text = "[site]\nnam = \"x\"\nhosts = [\"a b\"]\n[owner]\nname = 7\nlogin = \"no good\"\n\
                    password = \"hunter2\"\npassword_file = \"/none\"\n[zone]\n";
        let told = Answers::parse("a.toml", text).err().unwrap().to_string();
        for part in [
            "a.toml:2: there is no key in `[site]` named `nam`",
            "a.toml:3: `site.hosts`: `a b` is not a host name",
            "a.toml:5: `name` is not a text",
            "the login name is not valid",
            "the password is too short",
            "a.toml:8: `password` and `password_file` are both there",
            "a.toml:9: there is no section `zone`",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
        assert!(Answers::parse("a.toml", "").is_err());
        assert!(Answers::parse("a.toml", "[owner]\n").is_err());
        assert!(Answers::read(Path::new("/none")).is_err());
    }
}
