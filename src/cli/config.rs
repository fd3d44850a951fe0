//! `muster config check`, `show` and `diff`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::folder::INSTALLED_CONFIG;
use super::{Failure, Folder, configuration, say};
use crate::base::Error;
use crate::engine::clock::Clock;
use crate::server::config::{Config, Entry, differences};
use crate::server::control::Client;
use crate::server::{CONFIG, certificate};

/// The file that is meant: the one that is named, else that of the installed service, when there is one.
pub(super) fn meant(file: Option<&Path>) -> Option<PathBuf> {
    let installed = Path::new(INSTALLED_CONFIG);
    file.map(Path::to_owned).or_else(|| installed.exists().then(|| installed.to_owned()))
}

/// Says that everything is right, or fails with all mistakes.
pub(super) fn check(file: Option<&Path>) -> Result<(), Failure> {
    let config = configuration(file, &[])?;
    if let Some((names, ends)) = certificate::check(&config, &Clock::system())? {
        say(&format!("HTTPS certificate: for {}, until {ends}", names.join(", ")));
        let (other, one) = config.site.hosts.iter().partition::<Vec<_>, _>(|host| !names.contains(host));
        if one.is_empty() && !other.is_empty() {
            say("  it lists none of `site.hosts`; a name with `*.` may still stand for one");
        }
    }
    match file {
        Some(file) => say(&format!("{}: the configuration is right", file.display())),
        None => say("the configuration is right"),
    }
    Ok(())
}

/// Prints what is in force, and where each value comes from.
pub(super) fn show(file: Option<&Path>) -> Result<(), Failure> {
    say(configuration(file, &[])?.explain().trim_end());
    Ok(())
}

/// Says what differs from the defaults, and, with a running server, what it would take over and what needs a restart.
pub(super) fn diff(folder: &Folder) -> Result<(), Failure> {
    let running = match Client::connect(&folder.data) {
        Ok(Some(client)) => Some(client.call(CONFIG, json!({}))?),
        Ok(None) => None,
        // Who may not ask the server still sees what the file says.
        Err(error) => {
            say(&format!("The running server was not asked: {}.\n", error.message()));
            None
        }
    };
    let named = running.as_ref().and_then(|told| told["file"].as_str()).map(PathBuf::from);
    let file = folder.file().or(named);
    let config = configuration(file.as_deref(), &[])?;
    let own = differences(&Config::default().entries(), &config.entries());
    match own.is_empty() {
        true => say("Nothing differs from the defaults."),
        false => {
            say("Other than the defaults:");
            own.iter().for_each(|one| say(&format!("  {one}  ({})", one.origin)));
        }
    }
    let Some(told) = running else { return Ok(()) };
    let entries: Vec<Entry> = serde_json::from_value(told["entries"].clone()).map_err(|e| {
        Error::unavailable("the server's answer is not understood")
            .because(e)
            .hint("bring both to one version")
    })?;
    say("");
    say(&pending(&entries, &config.entries()));
    Ok(())
}

/// What the running server has otherwise than the file. What a flag or its own environment gave it is not the file's.
fn pending(running: &[Entry], file: &[Entry]) -> String {
    let fixed = |key: &str| running.iter().any(|entry| entry.key == key && entry.is_fixed());
    let hidden = |key: &str| running.iter().chain(file).any(|entry| entry.key == key && entry.is_secret());
    let found = differences(running, file);
    let (reload, restart): (Vec<_>, Vec<_>) =
        found.iter().filter(|one| !fixed(&one.key) && !hidden(&one.key)).partition(|one| one.is_reloaded());
    let mut out = Vec::new();
    for (title, list) in [
        ("The running server takes over at `muster reload`:", reload),
        ("The running server takes over only at a restart:", restart),
    ] {
        if !list.is_empty() {
            out.push(title.to_owned());
            out.extend(list.iter().map(|one| format!("  {one}")));
        }
    }
    if out.is_empty() {
        out.push("The running server has all of it.".into());
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reload_takes_and_what_it_does_not_are_told_apart() {
        let entry = |key: &str, value: &str, origin: &str| Entry {
            key: key.into(),
            value: Some(value.into()),
            origin: origin.into(),
        };
        let running = [
            entry("http.address", "\"a:1\"", "--http"),
            entry("http.deny", "[]", "default"),
            entry("log.level", "\"info\"", "default"),
            entry("keys.passphrase", "\"[secret]\"", "default"),
        ];
        let file = [
            entry("http.address", "\"b:2\"", "f:1"),
            entry("http.deny", "[\"10.0.0.1\"]", "f:2"),
            entry("log.level", "\"warn\"", "f:3"),
        ];
        let text = pending(&running, &file);
        let (reload, restart) = text.split_once("only at a restart").unwrap();
        assert!(reload.contains("http.deny: [] -> [\"10.0.0.1\"]"), "{text}");
        assert!(restart.contains("log.level") && !text.contains("http.address"), "{text}");
        assert!(!text.contains("passphrase"), "{text}");
        assert_eq!(pending(&running, &running), "The running server has all of it.");
    }
}
