//! `muster agent`, and the agent that runs beside a server in one process.

use std::path::Path;

use tokio::sync::watch;

use super::{Agent, Failure, configuration, serve};
use crate::agent::{self, AllowedCommand, Configuration, Credentials, Options, Server};
use crate::base::Result;
use crate::engine::clock::Clock;
use crate::server::config;

/// Joins if it must, and runs until a signal comes.
pub(super) fn agent(arguments: &Agent) -> Result<(), Failure> {
    let config = configuration(arguments.config.as_deref(), &[])?;
    serve::log(&config.log)?;
    let (join, named) = match arguments.join.as_deref() {
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
    Ok(agent::main(&options)?)
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
}
