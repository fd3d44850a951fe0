//! The command line: it parses, chooses a role, and turns an error into an exit code.
//!
//! Invariant: nothing else in the program prints to standard output.
//! Invariant: a wrong configuration or command line ends with 2, everything else that fails with 1.

mod admin;
mod agent;
mod audit;
mod backup;
mod config;
mod demo;
mod folder;
mod guide;
mod install;
mod instant;
mod key;
mod keys;
mod notify;
mod papers;
mod progress;
mod rebuild;
mod recovery_key;
mod reload;
mod restore;
mod serve;
mod status;
mod stop;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::base::Error;
use crate::server::config::{Config, Mistakes, Sources};
use folder::Folder;

/// One binary that runs a whole site's fleet of agents on a network without internet.
#[derive(Parser)]
#[command(name = "muster", version, max_term_width = 100, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs the server: console, API and the gate for agents.
    Serve(Serve),
    /// Runs the agent on this host.
    Agent(Agent),
    /// Shows the product with a simulated fleet, in a folder that goes away at the end.
    Demo(Demo),
    /// Checks or shows the configuration.
    #[command(subcommand)]
    Config(ConfigRole),
    /// Proves an exported audit log, without a server.
    #[command(subcommand)]
    Audit(audit::AuditRole),
    /// Writes one encrypted file with everything, of a running or a stopped server.
    Backup(backup::Backup),
    /// Makes a data folder out of backups, as it was at any second.
    Restore(restore::Restore),
    /// Reads everything, and says what is wrong, where, and what can be done.
    Verify(verify::Verify),
    /// Makes anew what follows from something else, while the server is stopped.
    #[command(subcommand)]
    Rebuild(rebuild::Rebuild),
    /// Lets the running server read the files of its HTTPS certificate again; no connection ends.
    Reload(Folder),
    /// Gives room of the state's file back to the disk, while the server is stopped.
    Compact(Folder),
    /// Changes what seals the keys at rest.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Shows or checks the key that opens the backups.
    #[command(subcommand)]
    RecoveryKey(recovery_key::RecoveryKey),
    /// Lets somebody in again who cannot come in any more.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Prints the one-time code for the first sign-in, while the server is stopped.
    SetupCode(Folder),
    /// Shows a guide, or finds a part of one; the documentation that the console has too.
    Guide(guide::GuideRole),
    /// Prints the address at which the first account of a running server is made; it is good once.
    SetupUrl(Folder),
    /// Says how the running server is.
    Status(status::Status),
    /// Installs this very file as a service of systemd: user, folders, units. Not for hosts that have the package.
    Install(install::Install),
    /// Removes what `install` wrote; data and configuration stay.
    Uninstall(install::Uninstall),
    /// Writes manual pages, completions and the agent's configuration, for packages.
    #[command(hide = true)]
    Papers {
        /// The folder to write into.
        folder: PathBuf,
    },
    /// Prints the version.
    Version,
}

#[derive(Args)]
struct Serve {
    /// Folder with everything that the server keeps.
    #[arg(long = "data", value_name = "DIR", default_value = folder::OWN_DATA)]
    data: PathBuf,
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where console and API listen; overrides `http.address`.
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where agents connect; overrides `mqtt.address`.
    #[arg(long, value_name = "ADDR")]
    mqtt: Option<String>,
    /// Does not enrol this host as an agent; overrides `agent.enabled`.
    #[arg(long)]
    no_agent: bool,
}

#[derive(Args)]
struct Agent {
    /// Gate of the server, `HOST` or `HOST:PORT`.
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
    /// Join code from the console, with or without the server's host; needed once.
    #[arg(long, value_name = "CODE@HOST")]
    join: Option<String>,
    /// File with the join code, for hosts that are set up by other programs; it may go when the agent has joined.
    #[arg(long, value_name = "FILE", conflicts_with = "join")]
    join_file: Option<PathBuf>,
    /// Folder with the agent's identity and its spool.
    #[arg(long, value_name = "DIR", default_value = "./muster-agent")]
    folder: PathBuf,
    /// Configuration file; the agent reads `[agent]` and `[log]`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The agent of a fleet that a Muster server runs.
#[derive(Parser)]
#[command(name = "muster-agent", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct AgentLine {
    #[command(subcommand)]
    role: Option<AgentRole>,
    #[command(flatten)]
    agent: Agent,
}

#[derive(Subcommand)]
enum AgentRole {
    /// Installs this very file as a service of systemd: user, folders, unit. Not for hosts that have the package.
    Install {
        /// Prints what would be done, and does nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Removes what `install` wrote; data and configuration stay.
    Uninstall {
        /// Prints what would be done, and does nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args)]
struct Demo {
    /// How many agents there are.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    agents: u32,
    /// From which everything that they report follows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times faster than in life their troubles unfold.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Keeps the folder.
    #[arg(long)]
    keep: bool,
    /// How much history there is at the start.
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    history: String,
    /// Where console and API listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    http: String,
    /// Where agents connect.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    mqtt: String,
}

#[derive(Subcommand)]
enum ConfigRole {
    /// Reads everything that `serve` would read, and tells all mistakes.
    Check {
        /// Configuration file; without it environment and defaults are checked.
        file: Option<PathBuf>,
    },
    /// Prints what is in force, without secrets.
    Show {
        /// Configuration file.
        #[arg(long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// `EX_TEMPFAIL`: systemd starts the server again, which then reads what the disk really has.
const RESTART: u8 = 75;

/// Why a role ended.
enum Failure {
    Configuration(Mistakes),
    Failed(Error),
    /// The disk has failed under a running server: starting again may help.
    Broken(Error),
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Failure::Configuration(mistakes)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Failed(error)
    }
}

/// Name of the agent's own program.
const AGENT_PROGRAM: &str = "muster-agent";

/// Runs the program with the arguments of this process. Under the name of the agent's program it is that.
pub fn run() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from);
    if name.as_deref().and_then(std::path::Path::file_name).is_some_and(|name| name == AGENT_PROGRAM) {
        return run_agent();
    }
    end(match Line::parse().role {
        Role::Serve(arguments) => serve::serve(&arguments),
        Role::Agent(arguments) => agent::agent(&arguments),
        Role::Demo(arguments) => demo::demo(&arguments),
        Role::Config(ConfigRole::Check { file }) => config::check(file.as_deref()),
        Role::Config(ConfigRole::Show { config }) => config::show(config.as_deref()),
        Role::Audit(role) => audit::audit(&role),
        Role::Backup(arguments) => backup::backup(&arguments),
        Role::Restore(arguments) => restore::restore(&arguments),
        Role::Verify(arguments) => verify::verify(&arguments),
        Role::Rebuild(role) => rebuild::rebuild(&role),
        Role::Reload(folder) => reload::reload(&folder),
        Role::Compact(folder) => rebuild::compact(&folder),
        Role::Keys(role) => keys::keys(&role),
        Role::RecoveryKey(role) => recovery_key::recovery_key(&role),
        Role::Admin(role) => admin::admin(&role),
        Role::SetupCode(folder) => serve::setup_code(&folder),
        Role::Guide(asked) => guide::guide(&asked),
        Role::SetupUrl(folder) => status::setup_url(&folder),
        Role::Status(arguments) => status::status(&arguments),
        Role::Install(arguments) => install::install(&arguments),
        Role::Uninstall(arguments) => install::uninstall(&arguments),
        Role::Papers { folder } => papers::write(&folder),
        Role::Version => {
            say(concat!("muster ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    })
}

/// Runs the agent's own program, which holds nothing of the server.
pub fn run_agent() -> ExitCode {
    let AgentLine { role, agent } = AgentLine::parse();
    end(match role {
        None => agent::agent(&agent),
        Some(AgentRole::Install { dry_run }) => {
            install::install(&install::Install { part: install::Part::Agent, dry_run })
        }
        Some(AgentRole::Uninstall { dry_run }) => {
            install::uninstall(&install::Uninstall { part: install::Part::Agent, dry_run })
        }
    })
}

fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(mistakes)) => {
            complain(&mistakes.to_string());
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            complain(&format!("muster: failed: {}", error.detail()));
            if let Some(hint) = error.hint_text() {
                complain(&format!("muster: {hint}"));
            }
            ExitCode::from(1)
        }
        Err(Failure::Broken(error)) => {
            complain(&format!("muster: stopped: {}", error.detail()));
            ExitCode::from(RESTART)
        }
    }
}

/// Prints a line; a reader that has gone away is no reason to fail.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The configuration from file, environment and flags; a flag that was not given is left out.
fn configuration(
    file: Option<&std::path::Path>,
    flags: &[(&'static str, &'static str, Option<&str>)],
) -> Result<Config, Mistakes> {
    let mut sources = Sources::of_process(file)?;
    sources.flags =
        flags.iter().filter_map(|(flag, key, value)| Some((*flag, *key, (*value)?.to_owned()))).collect();
    Config::assemble(&sources)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Line::command().debug_assert();
        AgentLine::command().debug_assert();
        for line in [
            "muster serve --data /tmp/x --http 127.0.0.1:0 --no-agent",
            "muster agent --server host:8883 --join AAAA-BBBB-CCCC.X@host --folder x",
            "muster agent --join-file x",
            "muster demo --agents 12 --seed 3 --speed 10 --keep --history 1h",
            "muster config check x.toml",
            "muster config show",
            "muster audit verify x.jsonl --key 00",
            "muster setup-code --data x",
            "muster backup /mnt/usb --data x --without-telemetry",
            "muster backup -",
            "muster restore /mnt/usb --data x --at 2026-11-20T14:02 --key key.txt --preview",
            "muster restore a.muster --change 12 --share a --share b --replace --without-telemetry",
            "muster verify --data x --config y",
            "muster verify a.muster --key -",
            "muster rebuild index --data x",
            "muster compact --data x",
            "muster reload --data x",
            "muster rebuild state",
            "muster keys rotate --to passphrase --new-passphrase - --data x",
            "muster recovery-key show --shares --number 2",
            "muster recovery-key check - --data x",
            "muster version",
            "muster guide",
            "muster guide backups",
            "muster guide --search restore",
            "muster status --json",
            "muster setup-url --data x",
            "muster install agent --dry-run",
            "muster uninstall server --dry-run",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in ["muster-agent --join-file x", "muster-agent", "muster-agent install --dry-run"] {
            assert!(AgentLine::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "muster",
            "muster serv",
            "muster demo --agents 0",
            "muster serve --port 1",
            "muster backup",
            "muster restore",
            "muster restore x --at 1 --change 2",
            "muster restore x --key a --share b",
            "muster agent --join x --join-file y",
            "muster recovery-key",
            "muster guide a --search b",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
