//! Where backups lie, and which of them a restore needs. Names alone decide, so that it works without a server.

use std::fs;
use std::path::{Path, PathBuf};

use super::names::{FileName, Holds};
use crate::base::{Error, Result, Timestamp};
use crate::engine::store::Until;

/// Files that are looked at in one folder.
const FILES_MAX: usize = 100_000;

/// A backup file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What its name says. A single file may have any name; it is taken for a full backup of no known time.
    pub name: Option<FileName>,
    /// What it is called.
    pub file: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

impl Found {
    fn new(path: PathBuf, bytes: u64) -> Found {
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Found { name: file.parse().ok(), file, path, bytes }
    }

    fn last(&self) -> u64 {
        self.name.as_ref().map_or(0, |name| name.holds.last())
    }

    fn at(&self) -> Timestamp {
        self.name.as_ref().map(|name| name.at).unwrap_or_default()
    }

    fn is_full(&self) -> bool {
        self.name.as_ref().is_none_or(|name| name.holds.is_full())
    }
}

/// Backup files of one site, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The folder, or the single file.
    pub path: PathBuf,
    /// The files.
    pub files: Vec<Found>,
}

/// Opens a folder of backups, or a single one. A folder with the backups of several sites is refused: name one file.
pub fn open_repository(path: &Path) -> Result<Repository> {
    let meta = fs::metadata(path).map_err(|e| unreadable(path, e))?;
    if meta.is_file() {
        let files = vec![Found::new(path.to_owned(), meta.len())];
        return Ok(Repository { path: path.to_owned(), files });
    }
    let files = open_folder(path)?;
    let mut sites: Vec<&str> = files.iter().filter_map(|f| Some(f.name.as_ref()?.site.as_str())).collect();
    sites.sort_unstable();
    sites.dedup();
    // A site that was renamed keeps its backups: only two that go on side by side are two sites.
    if sites.len() > 1 && side_by_side(&files) {
        return Err(Error::invalid(format!(
            "`{}` has backups of several sites: {}",
            path.display(),
            sites.join(", ")
        ))
        .hint("put the files of one site into a folder of their own, or name one full backup"));
    }
    Ok(Repository { path: path.to_owned(), files })
}

/// The backups in a folder, oldest first.
pub(super) fn open_folder(path: &Path) -> Result<Vec<Found>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| unreadable(path, e))?.take(FILES_MAX) {
        let entry = entry?;
        let found = Found::new(entry.path(), entry.metadata()?.len());
        if found.name.is_some() {
            files.push(found);
        }
    }
    files.sort_by(|a, b| (a.at(), &a.file).cmp(&(b.at(), &b.file)));
    Ok(files)
}

fn unreadable(path: &Path, e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found("backup", path.display()),
        _ => Error::unavailable(format!("`{}` cannot be read", path.display())).because(e),
    }
}

/// Whether the files of two sites alternate more than a rename explains.
fn side_by_side(files: &[Found]) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    for site in files.iter().filter_map(|f| Some(f.name.as_ref()?.site.as_str())) {
        if seen.last() != Some(&site) {
            if seen.contains(&site) {
                return true;
            }
            seen.push(site);
        }
    }
    false
}

/// What a restore reads, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The full backup that it begins with.
    pub full: Found,
    /// Files of changes after it, oldest first. Those past the end tell what is given up.
    pub changes: Vec<Found>,
}

/// The newest full backup that is not too new, and the changes that follow on it.
pub fn choose(repository: &Repository, until: &Until) -> Result<Chosen> {
    let fits = |found: &&Found| match (until, &found.name) {
        (_, None) | (Until::End, _) => true,
        (Until::At(at), Some(name)) => name.at <= *at,
        (Until::Change(number), Some(name)) => name.holds.last() <= *number,
    };
    let fulls = || repository.files.iter().filter(|found| found.is_full());
    let Some(full) = fulls().rfind(fits) else {
        let place = repository.path.display();
        return Err(match (fulls().next(), until) {
            (None, _) => Error::not_found("full backup in", place)
                .hint("changes alone cannot be restored; name the folder that has the full backup too"),
            (Some(first), Until::At(_)) => {
                Error::invalid(format!("the oldest full backup in `{place}` is of {}", first.at()))
                    .hint("choose that instant or a later one")
            }
            (Some(first), _) => Error::invalid(format!(
                "the oldest full backup in `{place}` shows the state at change {}",
                first.last()
            ))
            .hint("choose that change or a later one"),
        });
    };
    // Files of changes do not end where full backups begin: one that was begun before this one may reach beyond it.
    let mut changes: Vec<&Found> = repository
        .files
        .iter()
        .filter(|f| !f.is_full() && f.last() > full.last() && full.name.is_some())
        .filter(|f| f.at() >= full.at() || f.name.as_ref().is_some_and(|n| covers(n.holds, full.last())))
        .collect();
    changes.sort_by_key(|f| (f.at(), f.last()));
    Ok(Chosen { full: full.clone(), changes: changes.into_iter().cloned().collect() })
}

/// Whether the change after `last` is in the file.
fn covers(holds: Holds, last: u64) -> bool {
    holds.first().is_some_and(|first| first <= last + 1) && holds.last() > last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(names: &[&str]) -> (tempfile::TempDir, Result<Repository>) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        fs::write(folder.path().join("new.part"), b"x").unwrap();
        let repository = open_repository(folder.path());
        (folder, repository)
    }

    fn at(text: &str) -> Until {
        Until::At(text.parse().unwrap())
    }

    #[test]
    fn the_newest_fitting_full_backup_and_what_follows() {
        let (_keep, repository) = repository(&[
            "lyon-20261124T020000Z-full-000000000100.muster",
            "lyon-20261124T140000Z-changes-000000000101-000000000190.muster",
            "lyon-20261125T020000Z-full-000000000200.muster",
            "lyon-20261125T021500Z-changes-000000000191-000000000210.muster",
            "lyon-20261125T023000Z-changes-000000000211-000000000230.muster",
        ]);
        let repository = repository.unwrap();
        assert_eq!(repository.files.len(), 5);
        for (until, full, changes) in [
            (Until::End, 200, vec![210, 230]),
            (at("2026-11-25T03:00:00Z"), 200, vec![210, 230]),
            (at("2026-11-25T01:59:59Z"), 100, vec![190, 210, 230]),
            (Until::Change(199), 100, vec![190, 210, 230]),
            (Until::Change(200), 200, vec![210, 230]),
        ] {
            let chosen = choose(&repository, &until).unwrap();
            let last: Vec<u64> = chosen.changes.iter().map(Found::last).collect();
            assert_eq!((chosen.full.last(), last), (full, changes), "{until:?}");
        }
        let error = choose(&repository, &at("2026-11-24T01:00:00Z")).unwrap_err();
        assert!(error.message().contains("2026-11-24T02:00:00"), "{error}");
        assert!(choose(&repository, &Until::Change(5)).unwrap_err().message().contains("change 100"));
    }

    #[test]
    fn two_sites_in_one_folder_are_refused_and_a_renamed_one_is_not() {
        let a = "lyon-20261124T020000Z-full-000000000100.muster";
        let b = "sfax-20261125T020000Z-full-000000000200.muster";
        let c = "lyon-20261126T020000Z-full-000000000300.muster";
        assert!(repository(&[a, b]).1.is_ok());
        assert!(repository(&[a, b, c]).1.unwrap_err().message().contains("lyon, sfax"));
    }

    #[test]
    fn a_single_file_may_have_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monday.age");
        fs::write(&path, b"x").unwrap();
        let chosen = choose(&open_repository(&path).unwrap(), &Until::End).unwrap();
        assert_eq!((chosen.full.file.as_str(), chosen.changes.len()), ("monday.age", 0));
        assert!(open_repository(&folder.path().join("none")).is_err());
        let empty = open_repository(folder.path()).unwrap();
        assert!(choose(&empty, &Until::End).unwrap_err().message().contains("full backup"));
    }
}
