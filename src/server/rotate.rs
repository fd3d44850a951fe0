//! `muster keys rotate`: another key-encryption key, while the server runs or on a stopped folder.

use serde_json::{Value, json};

use super::command::Access;
use crate::base::{Error, Result, Secret, limits};
use crate::engine::crypto::Kek;
use crate::kit::Ctx;

/// The name under which a running server is asked.
pub(super) const ASKED: &str = "server.rotate_kek";

/// What the new key comes from.
pub enum NewKek {
    /// The file `kek` in the data folder, which gets a new key.
    File,
    /// A passphrase.
    Passphrase(Secret<String>),
    /// The systemd credential that the process has now.
    Credential,
}

impl NewKek {
    fn told(&self) -> Value {
        match self {
            NewKek::File => json!({ "kek": "file" }),
            NewKek::Passphrase(text) => json!({ "kek": "passphrase", "passphrase": text.expose() }),
            NewKek::Credential => json!({ "kek": "systemd" }),
        }
    }

    fn heard(value: &Value) -> Result<NewKek> {
        match (value["kek"].as_str(), value["passphrase"].as_str()) {
            (Some("file"), None) => Ok(NewKek::File),
            (Some("systemd"), None) => Ok(NewKek::Credential),
            (Some("passphrase"), Some(text)) => Ok(NewKek::Passphrase(Secret::new(text.to_owned()))),
            _ => Err(Error::invalid("the new key-encryption key is not named")),
        }
    }
}

impl Access {
    /// Changes what seals the keys. What was sealed before opens as before, also in older backups.
    pub fn rotate_kek(self, new: &NewKek) -> Result<()> {
        match self {
            Access::Running(client) => client.call(ASKED, new.told()).map(drop),
            Access::Stopped(stopped) => rotate(&stopped.ctx(), new),
        }
    }
}

/// Answers a running server's client.
pub(super) fn asked(ctx: &Ctx<'_>, input: &Value) -> Result<Value> {
    rotate(ctx, &NewKek::heard(input)?)?;
    Ok(Value::Null)
}

fn rotate(ctx: &Ctx<'_>, new: &NewKek) -> Result<()> {
    let permit = ctx.require("keys.rotate")?;
    let (word, kek) = match new {
        NewKek::File => ("file", Kek::File(ctx.site.folder.join("kek"))),
        NewKek::Credential => ("systemd", Kek::Credential),
        NewKek::Passphrase(text) => {
            let length = text.expose().chars().count();
            if length < limits::PASSWORD_CHARACTERS_MIN || text.expose().len() > limits::PASSWORD_BYTES_MAX {
                return Err(Error::invalid("the passphrase is too short or too long")
                    .hint(format!("at least {} characters", limits::PASSWORD_CHARACTERS_MIN)));
            }
            ("passphrase", Kek::Passphrase(text.clone()))
        }
    };
    ctx.site.vault.rotate_kek(&kek)?;
    permit.write(|change| {
        change.tell("keys.rotated", "kek", json!({ "kek": word }));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::command::Stopped;
    use super::super::config::{Config, KekSource};
    use super::super::opening::{self, Purpose};
    use super::*;
    use crate::engine::clock::Clock;

    #[test]
    fn the_key_is_changed_and_the_old_one_opens_nothing_more() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let (data, mut config) = (folder.path(), Config::default());
        opening::prepare(data, &clock).unwrap();
        drop(opening::site(&config, data, &clock, Vec::new(), Purpose::Serve).unwrap());
        let old = std::fs::read(data.join("kek")).unwrap();
        let access = || Access::Stopped(Stopped::open(&Config::default(), data, &clock).unwrap());
        access().rotate_kek(&NewKek::File).unwrap();
        let new = std::fs::read(data.join("kek")).unwrap();
        assert_ne!(old, new);
        let short = NewKek::Passphrase(Secret::new("short".into()));
        assert!(access().rotate_kek(&short).is_err());
        let words = Secret::new("words that only you know".to_owned());
        access().rotate_kek(&NewKek::heard(&NewKek::Passphrase(words.clone()).told()).unwrap()).unwrap();
        assert!(Stopped::open(&config, data, &clock).is_err(), "the key file is not the key any more");
        config.keys.kek = KekSource::Passphrase;
        config.keys.passphrase = Some(words);
        let stopped = Stopped::open(&config, data, &clock).unwrap();
        let told = stopped.ctx().site.store.changes(0, 100).unwrap();
        let events = told.iter().flat_map(|change| &change.events).filter(|e| e.name == "keys.rotated");
        assert_eq!(events.count(), 2);
    }
}
