//! `muster agent`, and the agent that runs beside a server in one process.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use tokio::sync::watch;

use super::{Agent, Failure, configuration, notify, serve};
use crate::agent::{self, AllowedCommand, Configuration, Credentials, Options, Server};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::server::config;

/// Bytes of a file with a join code.
const JOIN_FILE_BYTES_MAX: u64 = 4_096;

/// Joins if it must, and runs until a signal comes.
pub(super) fn agent(arguments: &Agent) -> Result<(), Failure> {
    let config = configuration(arguments.config.as_deref(), &[])?;
    serve::log(&config.log)?;
    let given = match (&arguments.join, arguments.join_file.as_deref()) {
        (Some(code), _) => Some(code.clone()),
        (None, Some(file)) => join_file(file)?,
        (None, None) => None,
    };
    let (join, named) = match given.as_deref() {
        None => (None, None),
        Some(text) if text.contains('@') => {
            let (code, server) = agent::parse_join(text)?;
            (Some(code), Some(server))
        }
        Some(code) => (Some(code.parse()?), None),
    };
    let server = match &arguments.server {
        Some(text) => Some(text.parse()?),
        None => named,
    };
    let options =
        Options { folder: arguments.folder.clone(), server, join, configuration: allowed(&config.agent) };
    options.configuration.check()?;
    Ok(agent::main(&options, || notify::ready("the agent runs"))?)
}

/// The join code in a file; none when the file is empty, or absent, for it is needed once.
fn join_file(file: &Path) -> Result<Option<String>> {
    let failed = |e: std::io::Error| {
        Error::invalid(format!("`--join-file`: the file `{}` cannot be read", file.display())).because(e)
    };
    let mut text = String::new();
    match std::fs::File::open(file) {
        Ok(open) => open.take(JOIN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(line.map(str::to_owned))
}

/// Options for the agent of the server's own host.
pub(super) fn options(host: &str, port: u16, folder: &Path, own: &config::Agent) -> Options {
    Options {
        folder: folder.to_owned(),
        server: Some(Server { host: host.to_owned(), port }),
        join: None,
        configuration: allowed(own),
    }
}

/// Joins with a fresh code when there are no credentials yet, then runs until the switch turns.
pub(super) async fn join_and_run(
    mut options: Options,
    clock: Clock,
    code: impl FnOnce() -> Result<String> + Send + 'static,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let stopped = async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopped);
    if Credentials::load(&options.folder)?.is_none() {
        options.join = Some(tokio::task::spawn_blocking(code).await??.parse()?);
        tokio::select! {
            joined = agent::join(&options, &clock) => drop(joined?),
            () = &mut stopped => return Ok(()),
        }
    }
    agent::run(&options, &clock, stopped).await
}

fn allowed(own: &config::Agent) -> Configuration {
    let commands = own.commands.iter().map(|(name, command)| {
        let allowed = AllowedCommand {
            argv: command.run.clone(),
            description: command.description.clone(),
            takes_arguments: command.arguments,
        };
        (name.clone(), allowed)
    });
    Configuration {
        commands: commands.collect(),
        labels: own.labels.clone(),
        journal: own.journal,
        log_files: own.log_files.clone(),
        ..Configuration::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_commands_are_right_for_an_agent() {
        let configuration = allowed(&config::Agent::default());
        configuration.check().unwrap();
        assert!(configuration.commands.contains_key("uptime"));
    }

    #[test]
    fn a_join_code_may_come_in_a_file_that_may_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("join");
        assert_eq!(join_file(&file).unwrap(), None);
        for (text, expected) in [
            ("", None),
            ("# only this\n\n", None),
            ("# from the console\n  CODE@plant \n", Some("CODE@plant")),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(join_file(&file).unwrap().as_deref(), expected);
        }
        std::fs::write(&file, b"\xff").unwrap();
        assert!(join_file(&file).unwrap_err().message().contains("cannot be read"));
        let long = format!("{}\nCODE@plant", " ".repeat(JOIN_FILE_BYTES_MAX as usize));
        std::fs::write(&file, long).unwrap();
        assert_eq!(join_file(&file).unwrap(), None, "no more of a file is read than a code needs");
    }
}
