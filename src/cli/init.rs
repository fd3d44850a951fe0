//! `muster init --answers FILE`: sets a site up without a browser, for programs that set up hosts.
//!
//! Invariant: answers with a mistake change nothing, and all mistakes are said.
//! Invariant: the same answers a second time change nothing, and say so.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::answers::{Answers, Owner};
use super::{Failure, Folder, say};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::server::config::{Config, Sources};
use crate::server::{Access, prepare};

/// `muster init`.
#[derive(Args)]
pub(super) struct Init {
    #[command(flatten)]
    folder: Folder,
    /// File with the answers (TOML): `[site]` with `name` and `hosts`, `[owner]` with `login`, `name` and `password` or
    /// `password_file`. An owner without a password gets a link that is good once, for 24 hours.
    #[arg(long, value_name = "FILE")]
    answers: PathBuf,
    /// What was done as one object of JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// One thing that the answers ask for.
struct Step {
    what: &'static str,
    changed: bool,
    detail: String,
}

/// Does what the answers ask for and is not so yet, of a running or a stopped server, or in a folder that it makes.
pub(super) fn init(arguments: &Init) -> Result<(), Failure> {
    let answers = Answers::read(&arguments.answers)?;
    let clock = Clock::system();
    let folder = &arguments.folder;
    // What cannot be done is found before anything is.
    let hosts = match &answers.hosts {
        Some(hosts) => Some(Hosts::plan(folder.file(), hosts)?),
        None => None,
    };
    if !folder.data.join("store").exists() {
        prepare(&folder.configuration()?, &folder.data, &clock)?;
    }
    let call = |op: &str, input: Value| -> Result<Value, Failure> {
        Ok(Access::find(&folder.configuration()?, &folder.data, &clock)?.call(op, input)?)
    };
    let name = call("settings.find", json!({}))?["name"].as_str().unwrap_or_default().to_owned();
    let people = match &answers.owner {
        Some(_) => call("identity.users", json!({}))?,
        None => Value::Null,
    };
    let missing = match &answers.owner {
        Some(owner) => missing(owner, &people)?.then_some(owner),
        None => None,
    };

    let mut steps = Vec::new();
    if let Some(hosts) = hosts {
        steps.push(hosts.write()?);
    }
    if let Some(wanted) = &answers.name {
        let changed = *wanted != name;
        if changed {
            call("settings.change", json!({ "name": wanted }))?;
        }
        let detail = if changed { format!("`{wanted}`, before `{name}`") } else { format!("`{name}`") };
        steps.push(Step { what: "site name", changed, detail });
    }
    let mut link = None;
    if let Some(owner) = &answers.owner {
        if missing.is_some() {
            let made = call("identity.create", owner.input())?;
            // A stopped server has no port yet; it will have the configured one.
            let port = folder.configuration()?.http.address.port();
            link = made["link"].as_str().map(|link| link.replace(":0/login", &format!(":{port}/login")));
        }
        let detail = format!("`{}`", owner.login);
        steps.push(Step { what: "owner", changed: missing.is_some(), detail });
    }
    tell(&steps, link.as_deref(), arguments.json);
    Ok(())
}

/// Whether the owner is not there yet; an error when somebody else is in the way.
fn missing(owner: &Owner, people: &Value) -> Result<bool> {
    let people = || people["items"].as_array().into_iter().flatten();
    let owns = |one: &Value| {
        let grants = one["grants"].as_array().into_iter().flatten();
        one["state"] == "active" && grants.into_iter().any(|grant| grant["role"] == "owner")
    };
    let login = |one: &Value| one["login"].as_str().unwrap_or_default().to_owned();
    match people().find(|one| login(one) == owner.login) {
        Some(one) if owns(one) => Ok(false),
        Some(_) => Err(Error::conflict(format!("`{}` is there, and is no active owner", owner.login))
            .hint("an owner can make them one in the console; `init` changes nobody")),
        None => match people().find(|one| owns(one)) {
            Some(other) => Err(Error::conflict(format!("the site has an owner already, `{}`", login(other)))
                .hint(
                    "`init` makes the first one only: name that one in the answers, or leave `[owner]` out",
                )),
            None => Ok(true),
        },
    }
}

fn tell(steps: &[Step], link: Option<&str>, as_json: bool) {
    let changed = steps.iter().any(|step| step.changed);
    if as_json {
        let steps: Vec<Value> = (steps.iter())
            .map(|step| json!({ "what": step.what, "changed": step.changed, "detail": step.detail }))
            .collect();
        return say(&json!({ "changed": changed, "steps": steps, "link": link }).to_string());
    }
    for Step { what, changed, detail } in steps {
        say(&format!("{} {what:<10} {detail}", if *changed { "changed  " } else { "unchanged" }));
    }
    match link {
        Some(link) => {
            say("");
            say(link);
            say("");
            say("It sets the owner's password: once, and within 24 hours. Whoever has it can come in.");
        }
        None if !changed => say("Nothing changed: everything is as the answers say."),
        None => {}
    }
}

/// The hosts stand in the configuration's file; this is what it must say.
struct Hosts {
    path: PathBuf,
    /// The new text; absent when the file says so already.
    text: Option<String>,
    shown: String,
}

impl Hosts {
    fn plan(file: Option<PathBuf>, hosts: &[String]) -> Result<Hosts, Failure> {
        let path = file.ok_or_else(|| {
            Error::invalid("`site.hosts` stands in the configuration's file, and there is none")
                .hint("name it with `--config FILE`; it is made when it is not there")
        })?;
        let failed = |e| Error::unavailable(format!("`{}` cannot be read", path.display())).because(e);
        let before = match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(failed)?,
        };
        let parse = |text: &str| {
            let file = Some((path.display().to_string(), text.to_owned()));
            Config::assemble(&Sources { file, ..Sources::default() })
        };
        let shown = hosts.join(", ");
        if parse(&before)?.site.hosts == hosts {
            return Ok(Hosts { path, text: None, shown });
        }
        let text = with_hosts(&before, hosts);
        if parse(&text).ok().is_none_or(|config| config.site.hosts != hosts) {
            let error =
                Error::conflict(format!("`{}` is written in a way that is not changed here", path.display()));
            return Err(error.hint(format!("write `hosts = {hosts:?}` below `[site]` yourself")).into());
        }
        Ok(Hosts { path, text: Some(text), shown })
    }

    /// The whole file or none of it; owner and mode stay.
    fn write(self) -> Result<Step> {
        let step = |changed| Step {
            what: "hosts",
            changed,
            detail: format!("{} in {}", self.shown, self.path.display()),
        };
        let Some(text) = &self.text else { return Ok(step(false)) };
        let failed =
            |e| Error::unavailable(format!("`{}` cannot be written", self.path.display())).because(e);
        let fresh = self.path.with_extension("toml.new");
        fs::write(&fresh, text).map_err(failed)?;
        if let Ok(about) = fs::metadata(&self.path) {
            fs::set_permissions(&fresh, fs::Permissions::from_mode(about.mode() & 0o7777)).map_err(failed)?;
            // Only root can give a file away; its own user has no need to.
            let _ = std::os::unix::fs::chown(&fresh, Some(about.uid()), Some(about.gid()));
        }
        fs::rename(&fresh, &self.path).map_err(failed)?;
        let mut step = step(true);
        step.detail.push_str("; a server that runs takes it over at a restart");
        Ok(step)
    }
}

/// The text with these hosts, and nothing else changed.
fn with_hosts(text: &str, hosts: &[String]) -> String {
    let line = format!("hosts = {}", toml::Value::from(hosts.to_vec()));
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    let Some((section, site)) = table.get_ref().iter().find(|(name, _)| name.get_ref() == "site") else {
        let gap = if text.is_empty() || text.ends_with("\n\n") { "" } else { "\n" };
        return format!("{text}{gap}[site]\n{line}\n");
    };
    let value = site.get_ref().as_table().and_then(|keys| {
        keys.iter()
            .find(|(name, _)| name.get_ref() == "hosts")
            .map(|(name, value)| name.span().start..value.span().end)
    });
    let range = value.unwrap_or_else(|| {
        let end = text[section.span().end..].find('\n').map_or(text.len(), |n| section.span().end + n);
        end..end
    });
    let gap = if range.is_empty() { "\n" } else { "" };
    format!("{}{gap}{line}{}", &text[..range.start], &text[range.end..])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The new text, when the file would be changed.
    fn planned(path: &Path, hosts: &[&str]) -> Option<String> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Hosts::plan(Some(path.to_owned()), &hosts).ok().and_then(|plan| plan.text)
    }

    #[test]
    fn the_hosts_are_written_where_they_belong_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("muster.toml");
        for (before, after) in [
            ("", "[site]\nhosts = [\"a.lan\"]\n"),
            ("[log]\nlevel = \"warn\"\n", "[log]\nlevel = \"warn\"\n\n[site]\nhosts = [\"a.lan\"]\n"),
            ("# x\n[site]\nname = \"P\"\n", "# x\n[site]\nhosts = [\"a.lan\"]\nname = \"P\"\n"),
            ("[site]\nhosts = [] # none\n[log]\n", "[site]\nhosts = [\"a.lan\"] # none\n[log]\n"),
        ] {
            fs::write(&path, before).unwrap();
            assert_eq!(planned(&path, &["a.lan"]).as_deref(), Some(after), "{before:?}");
            fs::write(&path, after).unwrap();
            assert_eq!(planned(&path, &["a.lan"]), None, "as it is wanted already");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let step = Hosts::plan(Some(path.clone()), &["b.lan".into()]).ok().unwrap().write().unwrap();
        assert!(step.changed && fs::read_to_string(&path).unwrap().contains("b.lan"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        fs::write(&path, "[site]\nnam = 1\n").unwrap();
        assert!(matches!(Hosts::plan(Some(path), &["b.lan".into()]), Err(Failure::Configuration(_))));
        assert!(Hosts::plan(None, &[]).is_err());
    }

    #[test]
    fn an_owner_is_made_once_and_nobody_is_changed() {
        let owner = Owner { login: "ines".into(), name: "Inès".into(), password: None };
        let one = |login: &str, role: &str, state: &str| json!({ "items": [{ "login": login, "state": state, "grants": [{ "role": role }] }] });
        assert!(missing(&owner, &json!({ "items": [] })).unwrap());
        assert!(!missing(&owner, &one("ines", "owner", "active")).unwrap());
        for people in
            [one("ines", "viewer", "active"), one("ines", "owner", "disabled"), one("zoe", "owner", "active")]
        {
            assert!(missing(&owner, &people).is_err(), "{people}");
        }
        assert!(missing(&owner, &one("zoe", "viewer", "active")).unwrap());
    }
}
