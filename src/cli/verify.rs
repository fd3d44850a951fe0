//! `muster verify`: reads everything, says what is wrong, where, and what can be done.

use std::path::{Path, PathBuf};

use clap::Args;

use super::folder::Folder;
use super::key::Key;
use super::progress::{Progress, size};
use super::{Failure, say};
use crate::base::Error;
use crate::engine::clock::Clock;
use crate::server::Looked;

/// `muster verify`.
#[derive(Args)]
pub(super) struct Verify {
    /// A backup file; without one the data folder is verified.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    key: Key,
}

/// Ends well only when everything is whole.
pub(super) fn verify(arguments: &Verify) -> Result<(), Failure> {
    match &arguments.file {
        Some(file) => backup(file, arguments),
        None => folder(&arguments.folder),
    }
}

fn folder(folder: &Folder) -> Result<(), Failure> {
    let clock = Clock::system();
    let began = clock.monotonic();
    let looked = crate::server::verify(&folder.configuration()?, &folder.data, &clock)?;
    told(&looked);
    let seconds = (clock.monotonic() - began).as_secs_f64();
    let found = looked.findings.count;
    if found == 0 {
        say(&format!("{} is whole. It took {seconds:.1} s.", folder.data.display()));
        return Ok(());
    }
    let things = if found == 1 { "1 thing is".into() } else { format!("{found} things are") };
    Err(Error::conflict(format!("{things} not as they must be in `{}`", folder.data.display())).into())
}

fn told(looked: &Looked) {
    for what in &looked.checked {
        say(&format!("  read: {what}"));
    }
    for finding in &looked.findings.kept {
        say(&format!("{}: {}", finding.place, finding.what));
        say(&format!("    {}", finding.remedy));
    }
    let more = looked.findings.count.saturating_sub(looked.findings.kept.len() as u64);
    if more > 0 {
        say(&format!("and {more} more"));
    }
}

fn backup(file: &Path, arguments: &Verify) -> Result<(), Failure> {
    let clock = Clock::system();
    let config = arguments.folder.configuration()?;
    let keys = arguments.key.keys()?;
    let line = Progress::begin(&clock).shared();
    let place = (&*arguments.folder.data, &config);
    let examined = crate::server::verify_file(file, &keys, place, &clock, &|progress| line.phase(progress));
    line.end();
    let examined = examined?;
    let (manifest, store) = (&examined.manifest, &examined.end.store);
    let bytes = std::fs::metadata(file).map(|meta| meta.len()).unwrap_or_default();
    say(&format!(
        "{} is whole: a backup ({}) of `{}`, generation {}, to change {} ({}).",
        file.display(),
        manifest.kind,
        manifest.site,
        manifest.generation,
        store.last,
        store.at
    ));
    say(&format!(
        "{}, {} entries, every sum right; {} metrics and logs; written by Muster {}.",
        size(bytes),
        examined.entries,
        if manifest.telemetry { "with" } else { "without" },
        manifest.program
    ));
    Ok(())
}
