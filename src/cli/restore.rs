//! `muster restore`: a data folder out of backups.

use std::path::PathBuf;

use clap::Args;

use super::folder::Folder;
use super::key::Key;
use super::progress::{Progress, size};
use super::{Failure, complain, instant, say};
use crate::base::Result;
use crate::engine::clock::Clock;
use crate::server::{Moment, Report, Wanted};

/// Events of a preview that are printed.
const SHOWN_MAX: usize = 200;

/// `muster restore`.
#[derive(Args)]
pub(super) struct Restore {
    /// A backup file, or a folder of them: the newest fitting ones are taken.
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    #[command(flatten)]
    folder: Folder,
    /// Back to this second: 'YYYY-MM-DD HH:MM[:SS]', UTC unless an offset such as +01:00 follows.
    #[arg(long, value_name = "TIME", conflicts_with = "change")]
    at: Option<String>,
    /// Back to this change, by its number.
    #[arg(long, value_name = "N")]
    change: Option<u64>,
    #[command(flatten)]
    key: Key,
    /// Writes nothing; lists what would be undone, and by whom it was done.
    #[arg(long)]
    preview: bool,
    /// Leaves metrics and logs out.
    #[arg(long)]
    without_telemetry: bool,
    /// Moves a folder that holds something aside, to DIR.before-TIME; nothing is deleted.
    #[arg(long)]
    replace: bool,
}

/// Restores, or shows what a restore would do.
pub(super) fn restore(arguments: &Restore) -> Result<(), Failure> {
    let clock = Clock::system();
    let moment = match (&arguments.at, arguments.change) {
        (Some(text), _) => {
            let read = instant::read(text)?;
            complain(&format!("To {} ({}).", read.at, read.zone));
            Moment::At(read.at)
        }
        (None, Some(number)) => Moment::Change(number),
        (None, None) => Moment::Newest,
    };
    let config = arguments.folder.configuration()?;
    let wanted = Wanted {
        source: &arguments.source,
        data: &arguments.folder.data,
        moment,
        keys: arguments.key.keys()?,
        telemetry: !arguments.without_telemetry,
        replace: arguments.replace,
        config: &config,
        clock: &clock,
    };
    let line = Progress::begin(&clock).shared();
    if arguments.preview {
        let report = crate::server::preview(&wanted, &|progress| line.phase(progress))?;
        line.end();
        preview(&report);
        return Ok(());
    }
    let done = crate::server::restore(&wanted, &|progress| line.phase(progress));
    line.end();
    let done = done?;
    let (report, data) = (&done.report, arguments.folder.data.display());
    say(&format!(
        "Restored {} from {} in {:.1} s: the state at change {} ({}).",
        data,
        files(&report.files),
        done.took.as_secs_f64(),
        report.restored.change,
        report.restored.at
    ));
    let rate = report.bytes as f64 / done.took.as_secs_f64().max(0.001);
    say(&format!(
        "{} of backups, {} rows, {} changes over them, {} files of metrics and logs; {}/s.",
        size(report.bytes),
        report.rows,
        report.changes,
        report.telemetry_files,
        size(rate as u64)
    ));
    if report.undone > 0 {
        say(&format!("{} events after that are undone; the page Backups lists the newest.", report.undone));
    }
    if let Some(aside) = &done.aside {
        say(&format!("The folder that was there is now {}.", aside.display()));
    }
    say("");
    say(&format!(
        "Next: `muster serve --data {data}`. It begins generation {} of the site:",
        report.restored.generation
    ));
    say("people sign in again, and tasks that may have run since stand as unknown and do not run again.");
    Ok(())
}

fn preview(report: &Report) {
    say(&format!(
        "A restore would give the state at change {} ({}), from {}.",
        report.restored.change,
        report.restored.at,
        files(&report.files)
    ));
    say(&format!("It would undo {} events that the backups know of:", report.undone));
    for event in report.restored.undone.iter().take(SHOWN_MAX) {
        say(&format!(
            "  {}  change {}  {}  {} {}",
            event.at, event.change, event.actor, event.event, event.subject
        ));
    }
    if report.undone > SHOWN_MAX as u64 {
        say(&format!("  and {} more", report.undone - SHOWN_MAX as u64));
    }
    say("What happened after the newest of these backups is not in them. Nothing was changed.");
}

fn files(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => one.clone(),
        [first, .., last] => format!("{} files, {first} to {last}", names.len()),
    }
}
