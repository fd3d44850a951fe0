//! The file `format` of a data folder: which form everything in it has, and which program wrote it last.
//!
//! It is looked at before anything else, by a start and by every command on a stopped folder.
//!
//! Invariant: a folder of a newer form is refused in words, and nothing in it is changed.
//! Invariant: an upgrade ends before the file says so; one that fails or is cut off leaves the old number, and the next
//! start runs it again.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, Timestamp};
use crate::engine::journal::sync_folder;

/// The form that this program writes.
pub const FORMAT: u32 = 1;
/// Name of the file.
pub const FILE: &str = "format";
/// Bytes of the file that are read.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// This program.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// The form of everything in the folder.
    pub format: u32,
    /// The program that wrote it last.
    pub program: String,
    /// The upgrades that this folder has seen, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<Upgraded>,
}

/// An upgrade that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The form since then.
    pub format: u32,
    /// When it was done.
    pub at: Timestamp,
    /// The program that did it.
    pub program: String,
}

/// One step from a form to the next. It must bear being run again after it was cut off.
struct Upgrade {
    format: u32,
    what: &'static str,
    run: fn(&Path) -> Result<()>,
}

/// Every step, in order. Form 1 is the first: there is none yet.
const UPGRADES: &[Upgrade] = &[];

/// Reads the file and refuses a newer form. A folder without the file is of form 1, or empty.
pub fn check(folder: &Path) -> Result<Format> {
    read(folder, FORMAT)
}

/// Checks, brings an older form up to this program's, and writes the file when it says something else.
pub(super) fn bring_up(folder: &Path, now: Timestamp) -> Result<()> {
    upgrade(folder, now, FORMAT, UPGRADES)
}

fn read(folder: &Path, newest: u32) -> Result<Format> {
    let path = folder.join(FILE);
    let unreadable = |why: String| {
        Error::unavailable(format!("`{}` does not say which form the folder has: {why}", path.display()))
            .hint(
                "put the file back from a copy of the folder, or restore from a backup; nothing was changed",
            )
    };
    match fs::metadata(&path) {
        Ok(meta) if meta.len() > FILE_BYTES_MAX => return Err(unreadable("it is too long".into())),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Format { format: 1, program: PROGRAM.into(), upgrades: Vec::new() });
        }
        Err(e) => return Err(unreadable(e.to_string())),
    }
    let text = fs::read(&path).map_err(|e| unreadable(e.to_string()))?;
    let said: Format = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
    if said.format > newest {
        let version: String = said.program.chars().take(40).collect();
        return Err(Error::conflict(format!(
            "this folder was written by a newer Muster, {version} (form {}; this one, {PROGRAM}, knows up to {newest})",
            said.format
        ))
        .hint("run that version, or restore a backup of this version; nothing was changed"));
    }
    if said.format == 0 {
        return Err(unreadable("there is no form 0".into()));
    }
    Ok(said)
}

fn upgrade(folder: &Path, now: Timestamp, newest: u32, steps: &[Upgrade]) -> Result<()> {
    let before = read(folder, newest)?;
    let mut format = before.clone();
    for step in steps.iter().filter(|step| step.format > before.format) {
        (step.run)(folder).map_err(|e| {
            Error::unavailable(format!("the folder's upgrade to form {} ({}) failed", step.format, step.what))
                .because(std::io::Error::other(e.detail()))
                .hint("mend the cause and start again, or go on with the version before; it still reads the folder")
        })?;
        format.format = step.format;
        format.upgrades.push(Upgraded { format: step.format, at: now, program: PROGRAM.into() });
        write(folder, &format)?;
    }
    format.program = PROGRAM.into();
    if format != before || !folder.join(FILE).exists() {
        write(folder, &format)?;
    }
    Ok(())
}

/// Writes the file of a folder that this program has filled; whole or not at all.
pub(super) fn write(folder: &Path, format: &Format) -> Result<()> {
    let (path, part) = (folder.join(FILE), folder.join("format.part"));
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec(format)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().map_err(|e| Error::unavailable(format!("`{}` cannot be written", path.display())).because(e))?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_milliseconds(1_790_000_000_000);

    #[test]
    fn a_new_folder_says_its_form_once() {
        let folder = tempfile::tempdir().unwrap();
        bring_up(folder.path(), NOW).unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert_eq!(text, format!("{{\"format\":1,\"program\":\"{PROGRAM}\"}}\n"));
        let before = fs::metadata(folder.path().join(FILE)).unwrap().modified().unwrap();
        bring_up(folder.path(), NOW).unwrap();
        assert_eq!(fs::metadata(folder.path().join(FILE)).unwrap().modified().unwrap(), before);
        assert_eq!(check(folder.path()).unwrap().format, FORMAT);
    }

    #[test]
    fn a_newer_folder_is_refused_in_words_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let newer = r#"{"format": 7, "program": "3.1.0", "shape": "unknown"}"#;
        fs::write(folder.path().join(FILE), newer).unwrap();
        for error in [check(folder.path()).unwrap_err(), bring_up(folder.path(), NOW).unwrap_err()] {
            assert!(error.message().contains("newer Muster, 3.1.0 (form 7"), "{error}");
            assert!(error.hint_text().unwrap().contains("nothing was changed"));
        }
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), newer);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for text in
            ["", "{", "[]", "{\"format\":0,\"program\":\"x\"}", "{\"program\":\"x\"}", &" ".repeat(70_000)]
        {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), text).unwrap();
            let error = check(folder.path()).unwrap_err();
            assert!(error.message().contains("does not say which form"), "{error}");
        }
    }

    #[test]
    fn an_upgrade_that_fails_leaves_the_old_form_and_runs_again() {
        let folder = tempfile::tempdir().unwrap();
        bring_up(folder.path(), NOW).unwrap();
        let fails = [Upgrade {
            format: 2,
            what: "sorted",
            run: |folder| {
                fs::write(folder.join("half"), "x")?;
                Err(Error::unavailable("the disk is full"))
            },
        }];
        let error = upgrade(folder.path(), NOW, 2, &fails).unwrap_err();
        assert!(error.detail().contains("form 2 (sorted) failed: the disk is full"), "{error}");
        assert_eq!(check(folder.path()).unwrap().format, 1, "the version before still reads it");
        let works =
            [Upgrade { format: 2, what: "sorted", run: |folder| Ok(fs::remove_file(folder.join("half"))?) }];
        upgrade(folder.path(), NOW, 2, &works).unwrap();
        let format = read(folder.path(), 2).unwrap();
        assert_eq!((format.format, format.upgrades.len(), format.upgrades[0].at), (2, 1, NOW));
        assert!(check(folder.path()).is_err(), "and the version before does not read the new form");
        upgrade(folder.path(), NOW, 2, &works).unwrap();
    }
}
