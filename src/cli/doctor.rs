//! `muster doctor`: looks at everything that a server needs, and says what to do.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Args;
use serde_json::{Value, json};

use super::folder::INSTALLED_DATA;
use super::{Failure, Folder, say};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::server::config::Config;
use crate::server::control::Client;
use crate::server::doctor::{self, DOCTOR, Inside, Level, Report};

/// Unit of the installed service.
const SERVICE: &str = "muster";

/// `muster doctor`.
#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    folder: Folder,
    /// As one object of JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Prints what only the data folder of a stopped server knows; root runs this as the folder's user.
    #[arg(long, hide = true)]
    inside: bool,
}

/// Looks at everything, running or stopped. Ends with 0 when all is good, 1 when something needs attention, 2 when
/// something is bad.
pub(super) fn doctor(arguments: &Doctor) -> Result<(), Failure> {
    let clock = Clock::system();
    let folder = &arguments.folder;
    if arguments.inside {
        say(&doctor::stopped(&folder.configuration()?, &folder.data, &clock)?.to_string());
        return Ok(());
    }
    let mut wrong = Report::default();
    let config = match folder.configuration() {
        Ok(config) => config,
        Err(failure) => {
            complain_of(&failure, &mut wrong);
            Config::default()
        }
    };
    let inside = inside(folder, &config, &clock);
    let service = (folder.data == Path::new(INSTALLED_DATA)).then_some(SERVICE);
    let mut report = doctor::examine(&config, &folder.data, &inside, service, &clock);
    if wrong.findings.is_empty() {
        wrong.good("configuration", "right");
    }
    report.findings.splice(0..0, wrong.findings);
    match arguments.json {
        true => say(&json!({ "level": report.level(), "findings": report.findings }).to_string()),
        false => say(&report.to_string()),
    }
    match report.level() {
        Level::Good => Ok(()),
        Level::Attention => Err(Failure::Found(1)),
        Level::Bad => Err(Failure::Found(2)),
    }
}

/// A finding for each mistake; the doctor goes on with the defaults.
fn complain_of(failure: &Failure, report: &mut Report) {
    const SUBJECT: &str = "configuration";
    match failure {
        Failure::Configuration(mistakes) => {
            for mistake in &mistakes.0 {
                let found = format!("{}: {}", mistake.place, mistake.what);
                report.bad(SUBJECT, found, mistake.right.clone());
            }
        }
        Failure::Failed(error) | Failure::Broken(error) => {
            let remedy = error.hint_text().unwrap_or("run the doctor as root or as the server's user");
            report.attention(SUBJECT, error.detail(), remedy);
        }
        Failure::Found(_) => {}
    }
}

fn inside(folder: &Folder, config: &Config, clock: &Clock) -> Inside {
    let data = &folder.data;
    match Client::connect(data)
        .and_then(|client| client.map(|client| client.call(DOCTOR, json!({}))).transpose())
    {
        Ok(Some(told)) => return Inside::Running(told),
        Ok(None) => {}
        Err(error) => return Inside::Unknown(error),
    }
    let about = match std::fs::metadata(data) {
        Ok(about) => about,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Inside::Nothing,
        Err(e) => return Inside::Unknown(Error::forbidden("the data folder cannot be looked at").because(e)),
    };
    match std::fs::read_dir(data).map(|mut entries| entries.next().is_none()) {
        Ok(true) => return Inside::Nothing,
        Ok(false) => {}
        Err(e) => {
            let error = Error::forbidden("this user may not look into the data folder").because(e);
            return Inside::Unknown(error.hint("run the doctor as root or as the server's user"));
        }
    }
    let own = rustix::process::geteuid().as_raw();
    let told = match own == 0 && about.uid() != 0 {
        // What root makes in there would keep the server from starting.
        true => as_owner(folder, about.uid(), about.gid()),
        false => doctor::stopped(config, data, clock),
    };
    told.map_or_else(Inside::Unknown, Inside::Stopped)
}

/// Runs this very program as the user whose folder it is.
fn as_owner(folder: &Folder, user: u32, group: u32) -> Result<Value> {
    let failed = |e| Error::unavailable("the doctor does not run as the folder's user").because(e);
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(["doctor", "--inside", "--data"]).arg(&folder.data).uid(user).gid(group);
    if let Some(config) = &folder.config {
        command.arg("--config").arg(config);
    }
    let output = command.output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(
            Error::unavailable(said).hint("`muster verify` says what is wrong with the data, and what to do")
        );
    }
    serde_json::from_slice(&output.stdout).map_err(|e| {
        Error::unavailable("what the doctor said as the folder's user is not understood").because(e)
    })
}
