//! `muster backup`: one file with everything, of a running or a stopped server.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::folder::Folder;
use super::progress::{Progress, size};
use super::{Failure, complain, say};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::server::Taken;

/// `muster backup`.
#[derive(Args)]
pub(super) struct Backup {
    /// The new file, a folder in which it gets its standard name, or `-` for standard output.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    folder: Folder,
    /// Leaves metrics and logs out.
    #[arg(long)]
    without_telemetry: bool,
}

/// Writes the backup with the rights of who asks.
pub(super) fn backup(arguments: &Backup) -> Result<(), Failure> {
    let clock = Clock::system();
    let telemetry = Some(!arguments.without_telemetry);
    if arguments.path.as_os_str() == "-" {
        let mut out = std::io::stdout().lock();
        if out.is_terminal() {
            return Err(Error::invalid("a backup is not for the eye")
                .hint("send standard output to a file or a program, for example `muster backup - > site.muster`")
                .into());
        }
        let mut progress = Progress::begin(&clock);
        let taken =
            arguments.folder.access(&clock)?.backup(telemetry, &mut out, &mut |n, of| progress.at(n, of));
        let took = progress.end();
        let taken = taken?;
        out.flush().map_err(|e| Error::unavailable("standard output cannot be written").because(e))?;
        complain(&told("standard output", &taken, took.as_secs_f64()));
        return Ok(());
    }
    let place = Place::of(&arguments.path)?;
    let access = arguments.folder.access(&clock)?;
    let mut file = place.create()?;
    let mut progress = Progress::begin(&clock);
    let outcome = access.backup(telemetry, &mut file, &mut |n, of| progress.at(n, of));
    let took = progress.end();
    let outcome = outcome.and_then(|taken| Ok((place.keep(&file, &taken.name)?, taken)));
    let (path, taken) = outcome.inspect_err(|_| place.discard())?;
    say(&told(&path.display().to_string(), &taken, took.as_secs_f64()));
    say(&format!("It opens with the recovery key of {}.", taken.recipients.join(", ")));
    Ok(())
}

fn told(place: &str, taken: &Taken, seconds: f64) -> String {
    format!(
        "{place}: {} in {seconds:.1} s, the state at change {} ({}){}.",
        size(taken.bytes),
        taken.last,
        taken.at,
        if taken.telemetry { ", with metrics and logs" } else { ", without metrics and logs" }
    )
}

/// Where the file will be: it grows as `.part` and has its name when it is whole and synced.
struct Place {
    folder: PathBuf,
    name: Option<std::ffi::OsString>,
    part: PathBuf,
}

impl Place {
    fn of(path: &Path) -> Result<Place> {
        if path.is_dir() {
            let part = path.join(format!("muster-{}.part", std::process::id()));
            return Ok(Place { folder: path.to_owned(), name: None, part });
        }
        if path.exists() {
            return Err(Error::conflict(format!("`{}` is there already", path.display()))
                .hint("name another file, or a folder: there every backup gets a name of its own"));
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let name = path.file_name().filter(|_| !path.as_os_str().to_string_lossy().ends_with('/'));
        let Some(name) = name.filter(|_| folder.is_dir()) else {
            return Err(Error::not_found("the folder", path.display()).hint("make it first"));
        };
        let mut part = name.to_owned();
        part.push(".part");
        Ok(Place { part: folder.join(part), name: Some(name.to_owned()), folder })
    }

    fn create(&self) -> Result<File> {
        // What an interrupted command left is in nobody's way.
        let _ = fs::remove_file(&self.part);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.part).map_err(|e| {
            Error::unavailable(format!("`{}` cannot be written", self.part.display())).because(e)
        })
    }

    fn keep(&self, file: &File, standard: &str) -> Result<PathBuf> {
        let path = match &self.name {
            Some(name) => self.folder.join(name),
            None => self.folder.join(standard),
        };
        let failed = |e| Error::unavailable(format!("`{}` cannot be written", path.display())).because(e);
        file.sync_all().map_err(failed)?;
        // Not a rename: it would replace a file that came meanwhile.
        match fs::hard_link(&self.part, &path) {
            Ok(()) => fs::remove_file(&self.part).map_err(failed)?,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
            // Media such as FAT know no links.
            Err(_) => fs::rename(&self.part, &path).map_err(failed)?,
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(path)
    }

    fn discard(&self) {
        let _ = fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(folder.path()).unwrap();
        let mut file = place.create().unwrap();
        file.write_all(b"x").unwrap();
        assert!(!folder.path().join("a.muster").exists());
        let path = place.keep(&file, "a.muster").unwrap();
        assert_eq!(path, folder.path().join("a.muster"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Place::of(&path).is_err(), "a backup is not overwritten");
        let place = Place::of(&folder.path().join("b.muster")).unwrap();
        let file = place.create().unwrap();
        fs::write(folder.path().join("b.muster"), "came meanwhile").unwrap();
        assert!(place.keep(&file, "ignored").is_err());
        place.discard();
        assert_eq!(fs::read(folder.path().join("b.muster")).unwrap(), b"came meanwhile");
        assert!(Place::of(&folder.path().join("none/c.muster")).is_err());
        assert!(Place::of(Path::new("none/")).is_err());
    }
}
