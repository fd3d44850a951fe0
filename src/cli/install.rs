//! `muster install` and `muster uninstall`: the one file becomes a service of systemd, as the package makes it, but below
//! `/usr/local` and `/etc`.
//!
//! Invariant: a configuration that is there is never written over, and neither data, configuration nor user is removed.
//! Invariant: what is done is decided before anything is; `--dry-run` prints exactly that.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::papers::{self, Paper, REFERENCE};
use super::{Failure, say};
use crate::base::{Error, Result};

/// `muster install`.
#[derive(Args)]
pub(super) struct Install {
    /// What is installed.
    #[arg(value_enum, default_value_t = Part::Server)]
    pub(super) part: Part,
    /// Prints what would be done, and does nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `muster uninstall`.
#[derive(Args)]
pub(super) struct Uninstall {
    /// What is removed.
    #[arg(value_enum, default_value_t = Part::Server)]
    pub(super) part: Part,
    /// Prints what would be done, and does nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The server, with an agent for its own host.
    Server,
    /// The agent.
    Agent,
}

/// Where the service's name, unit and files come from; they are those of the packages.
struct Kind {
    name: &'static str,
    unit: &'static str,
    users: &'static str,
    folders: &'static str,
    configuration: &'static str,
}

impl Part {
    fn kind(self) -> Kind {
        match self {
            Part::Server => Kind {
                name: "muster",
                unit: include_str!("../../packaging/muster.service"),
                users: include_str!("../../packaging/sysusers/muster.conf"),
                folders: include_str!("../../packaging/tmpfiles/muster.conf"),
                configuration: "/etc/muster/muster.toml",
            },
            Part::Agent => Kind {
                name: "muster-agent",
                unit: include_str!("../../packaging/muster-agent.service"),
                users: include_str!("../../packaging/sysusers/muster-agent.conf"),
                folders: include_str!("../../packaging/tmpfiles/muster-agent.conf"),
                configuration: "/etc/muster-agent/agent.toml",
            },
        }
    }

    fn papers(self) -> Result<Vec<Paper>> {
        match self {
            Part::Server => papers::server(),
            Part::Agent => papers::agent(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Puts a copy of this program there.
    Program(PathBuf),
    /// Writes a file, in place of what is there.
    Write(PathBuf, Vec<u8>),
    /// Writes a file unless one is there.
    WriteOnce(PathBuf, Vec<u8>),
    /// Removes a file if it is there.
    Remove(PathBuf),
    /// Removes a folder if it is there and has nothing in it.
    RemoveEmpty(PathBuf),
    /// Runs a program; a failure ends the installation only when it must.
    Run { must: bool, line: Vec<&'static str> },
}

/// Where the program goes.
fn program(name: &str) -> PathBuf {
    Path::new("/usr/local/bin").join(name)
}

/// Files of the system, each with its text.
fn files(part: Part) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let kind = part.kind();
    let name = kind.name;
    let unit = kind.unit.replace("/usr/bin/muster", "/usr/local/bin/muster").replace(
        // The server's programs may run from nowhere else than these.
        "ExecPaths=/usr/bin ",
        "ExecPaths=/usr/local/bin /usr/bin ",
    );
    let mut files = vec![
        (format!("/etc/sysusers.d/{name}.conf").into(), kind.users.as_bytes().to_vec()),
        (format!("/etc/tmpfiles.d/{name}.conf").into(), kind.folders.as_bytes().to_vec()),
        (format!("/etc/systemd/system/{name}.service").into(), unit.into_bytes()),
    ];
    for paper in part.papers()? {
        let place = match paper.place.split_once('/') {
            Some(("man", page)) => {
                format!("/usr/local/share/man/man{}/{page}", page.rsplit('.').next().unwrap_or("8"))
            }
            Some(("guides", file)) => format!("/usr/local/share/doc/{name}/guides/{file}"),
            Some(("bash", file)) => format!("/usr/local/share/bash-completion/completions/{file}"),
            Some(("zsh", file)) => format!("/usr/local/share/zsh/site-functions/{file}"),
            Some(("fish", file)) => format!("/usr/local/share/fish/vendor_completions.d/{file}"),
            _ => continue,
        };
        files.push((place.into(), paper.text));
    }
    Ok(files)
}

fn to_install(part: Part) -> Result<Vec<Step>> {
    let kind = part.kind();
    let configuration = match part {
        Part::Server => REFERENCE.as_bytes().to_vec(),
        Part::Agent => (part.papers()?.into_iter().find(|paper| paper.place == "agent.toml"))
            .map(|paper| paper.text)
            .unwrap_or_default(),
    };
    let must = |line: Vec<&'static str>| Step::Run { must: true, line };
    let mut steps = vec![Step::Program(program(kind.name))];
    steps.extend(files(part)?.into_iter().map(|(path, text)| Step::Write(path, text)));
    let (users, folders) = match part {
        Part::Server => ("/etc/sysusers.d/muster.conf", "/etc/tmpfiles.d/muster.conf"),
        Part::Agent => ("/etc/sysusers.d/muster-agent.conf", "/etc/tmpfiles.d/muster-agent.conf"),
    };
    steps.push(must(vec!["systemd-sysusers", users]));
    steps.push(must(vec!["systemd-tmpfiles", "--create", folders]));
    steps.push(Step::WriteOnce(kind.configuration.into(), configuration));
    steps.push(must(vec!["systemctl", "daemon-reload"]));
    steps.push(must(vec!["systemctl", "enable", kind.name]));
    steps.push(must(vec!["systemctl", "restart", kind.name]));
    Ok(steps)
}

fn to_uninstall(part: Part) -> Result<Vec<Step>> {
    let kind = part.kind();
    let mut steps = vec![Step::Run { must: false, line: vec!["systemctl", "disable", "--now", kind.name] }];
    steps.extend(files(part)?.into_iter().map(|(path, _)| Step::Remove(path)));
    steps.push(Step::Remove(program(kind.name)));
    let documents = Path::new("/usr/local/share/doc").join(kind.name);
    steps.extend([Step::RemoveEmpty(documents.join("guides")), Step::RemoveEmpty(documents)]);
    steps.push(Step::Run { must: false, line: vec!["systemctl", "daemon-reload"] });
    Ok(steps)
}

/// Installs this very file.
pub(super) fn install(arguments: &Install) -> Result<(), Failure> {
    let (part, kind) = (arguments.part, arguments.part.kind());
    let steps = to_install(part)?;
    if arguments.dry_run {
        return dry(&steps);
    }
    allowed(kind.name)?;
    steps.iter().try_for_each(go)?;
    match part {
        Part::Server => {
            say("The server runs. `muster setup-url` prints the address that makes the first account.");
        }
        Part::Agent => {
            say("The agent is installed. Put a join code of the console into /etc/muster-agent/join, then \
             `systemctl restart muster-agent`.")
        }
    }
    Ok(())
}

/// Removes what `install` wrote.
pub(super) fn uninstall(arguments: &Uninstall) -> Result<(), Failure> {
    let kind = arguments.part.kind();
    let steps = to_uninstall(arguments.part)?;
    if arguments.dry_run {
        return dry(&steps);
    }
    allowed(kind.name)?;
    steps.iter().try_for_each(go)?;
    say(&format!(
        "Removed. These stay, with everything that was kept: /var/lib/{0}, /etc/{0}, and the user `{0}`.",
        kind.name
    ));
    Ok(())
}

/// Only root, only where systemd runs, and not where the package is in charge.
fn allowed(name: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::forbidden("only root may do this").hint("repeat it with `sudo`"));
    }
    // `install` itself puts nothing there.
    if Path::new("/usr/bin").join(name).exists() {
        return Err(Error::conflict(format!("the package `{name}` is installed here"))
            .hint(format!("upgrade it with `apt install ./{name}_….deb`, or remove it first")));
    }
    if !Path::new("/run/systemd/system").exists() {
        return Err(Error::unavailable("systemd does not run on this host")
            .hint("start `muster serve --data FOLDER` by what runs services here"));
    }
    Ok(())
}

fn dry(steps: &[Step]) -> Result<(), Failure> {
    for step in steps {
        say(&match step {
            Step::Program(path) => format!("copy this program to {}", path.display()),
            Step::Write(path, text) => format!("write {} ({} bytes)", path.display(), text.len()),
            Step::WriteOnce(path, _) if path.exists() => format!("keep {}", path.display()),
            Step::WriteOnce(path, text) => format!("write {} ({} bytes)", path.display(), text.len()),
            Step::Remove(path) if path.exists() => format!("remove {}", path.display()),
            Step::Remove(path) => format!("find no {}", path.display()),
            Step::RemoveEmpty(path) => format!("remove {} when it is empty", path.display()),
            Step::Run { line, .. } => format!("run {}", line.join(" ")),
        });
    }
    Ok(())
}

fn go(step: &Step) -> Result<()> {
    match step {
        Step::Program(path) => {
            let own = std::env::current_exe()?;
            // Running the installed one again makes the rest anew.
            if fs::canonicalize(&own)? != fs::canonicalize(path).unwrap_or_default() {
                put(path, &fs::read(own)?, 0o755)?;
            }
        }
        Step::Write(path, text) => put(path, text, 0o644)?,
        Step::WriteOnce(path, _) if path.exists() => {}
        Step::WriteOnce(path, text) => put(path, text, 0o644)?,
        Step::Remove(path) => match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(path, e)),
            _ => {}
        },
        Step::RemoveEmpty(path) => match fs::remove_dir(path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
            Err(e) => return Err(failed(path, e)),
            Ok(()) => {}
        },
        Step::Run { must, line } => {
            let status = std::process::Command::new(line[0]).args(&line[1..]).status();
            let done = status.as_ref().is_ok_and(|status| status.success());
            if *must && !done {
                let why = status.map_or_else(|e| e.to_string(), |status| status.to_string());
                return Err(Error::unavailable(format!("`{}` failed: {why}", line.join(" ")))
                    .hint("what went before stays; mend it and repeat the command"));
            }
        }
    }
    Ok(())
}

/// The whole file or none: a program that runs keeps what it was started from.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let written = (fs::File::options().write(true).create(true).truncate(true).mode(mode).open(&fresh))
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&fresh, path));
    written.map_err(|e| failed(path, e))
}

fn failed(path: &Path, e: std::io::Error) -> Error {
    Error::unavailable(format!("`{}` cannot be written", path.display())).because(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(steps: &[Step], path: &str) -> String {
        let found = steps.iter().find_map(|step| match step {
            Step::Write(at, text) | Step::WriteOnce(at, text) if at == Path::new(path) => Some(text.clone()),
            _ => None,
        });
        String::from_utf8(found.unwrap_or_else(|| panic!("no {path}"))).unwrap()
    }

    #[test]
    fn the_units_name_programs_where_they_are_put() {
        for (part, name) in [(Part::Server, "muster"), (Part::Agent, "muster-agent")] {
            let steps = to_install(part).unwrap();
            assert_eq!(steps[0], Step::Program(program(name)));
            let unit = text(&steps, &format!("/etc/systemd/system/{name}.service"));
            assert!(unit.contains(&format!("ExecStart=/usr/local/bin/{name} ")), "{unit}");
            assert!(!unit.contains("=/usr/bin/muster"), "{unit}");
        }
        let unit = text(&to_install(Part::Server).unwrap(), "/etc/systemd/system/muster.service");
        assert!(unit.contains("ExecPaths=/usr/local/bin "), "the program itself may run: {unit}");
    }

    #[test]
    fn a_configuration_is_written_once_and_never_removed() {
        for part in [Part::Server, Part::Agent] {
            let configuration = PathBuf::from(part.kind().configuration);
            let writes = to_install(part).unwrap();
            assert!(
                writes.iter().any(|step| matches!(step, Step::WriteOnce(path, _) if *path == configuration))
            );
            let removes = to_uninstall(part).unwrap();
            let written =
                writes.iter().filter(|step| matches!(step, Step::Write(..) | Step::Program(_))).count();
            let removed = removes.iter().filter(|step| matches!(step, Step::Remove(_))).count();
            assert_eq!(written, removed, "what is written is removed");
            assert!(!removes.contains(&Step::Remove(configuration)));
        }
    }

    #[test]
    fn files_are_put_whole_and_kept_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        go(&Step::Write(path.clone(), b"one".to_vec())).unwrap();
        go(&Step::WriteOnce(path.clone(), b"two".to_vec())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        go(&Step::Remove(path.clone())).unwrap();
        go(&Step::Remove(path.clone())).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 0);
        for (empty, left) in [(folder.path().to_owned(), true), (folder.path().join("a"), false)] {
            go(&Step::RemoveEmpty(empty.clone())).unwrap();
            assert_eq!(empty.exists(), left, "only what is empty goes");
        }
        go(&Step::RemoveEmpty(folder.path().join("a"))).unwrap();
        let error = go(&Step::Run { must: true, line: vec!["/nowhere/x", "y"] }).unwrap_err();
        assert!(error.message().contains("`/nowhere/x y` failed"), "{error}");
        go(&Step::Run { must: false, line: vec!["/nowhere/x"] }).unwrap();
    }
}
