//! A data folder made from backups. It needs no running server: the command line and the drill use it.
//!
//! Invariant: the folder is there when all of it is whole and synced, or not at all: it grows as `X.part`.
//! Invariant: every byte of every file that was used has been proved before the folder gets its name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::memory::Meter;
use super::repository::{Chosen, Found, Repository, choose};
use super::write::{CONFIGURATION, CONFIGURATION_BYTES_MAX, End, FORMAT, Manifest};
use crate::base::{Error, Kind, Result, Secret, TenantId, Timestamp};
use crate::engine::archive::{Paced, Reader, RecoveryKey};
use crate::engine::clock::Clock;
use crate::engine::crypto::{DataSeal, Kek, Vault, private_folder, write_private};
use crate::engine::journal::{HostDisk, Seal};
use crate::engine::store::{Change, Exported, LONE_CHUNK_BYTES_MAX, Restore, Until};
use crate::kit::{Restored, Undone};

/// Name of the file that tells the next start of the restore.
pub const RESTORED: &str = "restored.json";
/// Events of changes that were given up which are told to the capabilities.
pub(super) const UNDONE_MAX: usize = 100_000;
/// Bytes of one key.
const KEY_BYTES_MAX: u64 = 1024 * 1024;
/// Keys of one site.
const KEYS_MAX: usize = 10_000;
/// Memory that redb may use meanwhile.
const CACHE_BYTES: usize = 128 * 1024 * 1024;

/// How a restore is made.
pub struct Restoring<'a> {
    /// Keys that open the backups.
    pub keys: &'a [RecoveryKey],
    /// What seals the keys in the new folder, given that folder.
    pub kek: &'a dyn Fn(&Path) -> Kek,
    /// Whether metrics and logs come back too.
    pub telemetry: bool,
    /// Time and randomness.
    pub clock: &'a Clock,
    /// Who restores, for the record.
    pub by: &'a str,
    /// Progress, and the way to stop it.
    pub progress: &'a Meter,
}

/// What a restore made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The beginning of the full backup.
    pub manifest: Manifest,
    /// What the first start will be told.
    pub restored: Restored,
    /// Files that were read, in order.
    pub files: Vec<String>,
    /// Rows that were loaded.
    pub rows: u64,
    /// Changes that were redone over them.
    pub changes: u64,
    /// Bytes of backup files that were read.
    pub bytes: u64,
    /// Files of metrics and logs.
    pub telemetry_files: usize,
    /// Events of changes that were given up, also those that are not in the list.
    pub undone: u64,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// Makes the data folder `folder`, which must not be there or be empty, from the backups in `repository`.
pub fn restore_into(
    folder: &Path,
    repository: &Repository,
    until: &Until,
    restoring: &Restoring<'_>,
) -> Result<Report> {
    let part = new_folder(folder)?;
    let outcome = fill(&part, repository, until, restoring, true).and_then(|report| {
        sync_all(&part)?;
        fs::rename(&part, folder).map_err(|e| {
            Error::unavailable(format!("`{}` cannot be given its name", folder.display())).because(e)
        })?;
        sync_folder(folder.parent().unwrap_or(Path::new(".")))?;
        Ok(report)
    });
    if outcome.is_err() {
        let _ = fs::remove_dir_all(&part);
    }
    outcome
}

/// Makes `folder/store` alone; for looks into the past.
pub(super) fn restore_store(
    folder: &Path,
    repository: &Repository,
    until: &Until,
    restoring: &Restoring<'_>,
) -> Result<Report> {
    private_folder(folder)?;
    fill(folder, repository, until, restoring, false)
}

fn new_folder(folder: &Path) -> Result<PathBuf> {
    let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file();
    if taken {
        return Err(Error::conflict(format!("`{}` is there already and not empty", folder.display()))
            .hint("restore into a new folder; put it in the old one's place when you have looked at it"));
    }
    let name = folder.file_name().ok_or_else(|| Error::invalid("the new folder has no name"))?;
    let mut name = name.to_owned();
    name.push(".part");
    let part = folder.with_file_name(name);
    if part.exists() {
        // Only a restore that was cut off makes such a folder.
        fs::remove_dir_all(&part)?;
    }
    private_folder(&part)?;
    Ok(part)
}

/// What has been read so far.
struct Filling<'a> {
    folder: &'a Path,
    until: &'a Until,
    restoring: &'a Restoring<'a>,
    whole: bool,
    /// Begun with the first entry of the store: whether it is sealed, and by which key, stands before that.
    store: Option<Restore>,
    sealed: bool,
    keys: BTreeMap<String, Secret<Vec<u8>>>,
    telemetry: BTreeMap<String, File>,
    undone: Vec<Undone>,
    undone_count: u64,
    bytes: u64,
}

fn fill(
    folder: &Path,
    repository: &Repository,
    until: &Until,
    restoring: &Restoring<'_>,
    whole: bool,
) -> Result<Report> {
    let began = restoring.clock.monotonic();
    let Chosen { full, changes } = choose(repository, until)?;
    let mut filling = Filling {
        folder,
        until,
        restoring,
        whole,
        store: None,
        sealed: false,
        keys: BTreeMap::new(),
        telemetry: BTreeMap::new(),
        undone: Vec::new(),
        undone_count: 0,
        bytes: 0,
    };
    let mut files = vec![full.file.clone()];
    let (manifest, end) = filling.read(&full, None)?;
    for found in &changes {
        if filling.read(found, Some((&manifest, &end.store))).map_err(|e| short(e, found))?.0.kind != "other"
        {
            files.push(found.file.clone());
        }
    }
    let keys = std::mem::take(&mut filling.keys);
    if whole {
        let kek = (restoring.kek)(folder);
        Vault::import(&folder.join("keys"), &kek, restoring.clock, keys)?;
    }
    let telemetry_files = filling.telemetry.len();
    for file in filling.telemetry.values() {
        file.sync_all()?;
    }
    let (undone, undone_count, bytes) = (filling.undone, filling.undone_count, filling.bytes);
    let store = filling.store.take().ok_or_else(|| empty(&full.file))?.finish(&end.store)?;
    let restored = Restored {
        id: restoring.clock.random::<16>().iter().map(|byte| format!("{byte:02x}")).collect(),
        generation: manifest.generation + 1,
        change: store.last,
        at: store.at,
        restored: restoring.clock.now(),
        by: restoring.by.to_owned(),
        source: full.file,
        undone,
    };
    if whole {
        write_private(&folder.join(RESTORED), &serde_json::to_vec(&restored)?)?;
    }
    Ok(Report {
        manifest,
        restored,
        files,
        rows: store.rows,
        changes: store.changes,
        bytes,
        telemetry_files,
        undone: undone_count,
        took_ms: (restoring.clock.monotonic() - began).as_millis() as u64,
    })
}

/// A file of changes is missing: which one, and what can be done.
fn short(error: Error, found: &Found) -> Error {
    if error.kind() != Kind::Invalid || !error.message().contains("are missing") {
        return error;
    }
    Error::invalid(format!("before `{}`: {}", found.file, error.message()))
        .hint("fetch the missing file, or restore to an instant before it with `--at`")
}

fn empty(file: &str) -> Error {
    Error::invalid(format!("`{file}` holds nothing of the store"))
        .hint("take another backup, or an older one")
}

impl Filling<'_> {
    /// Reads one file. A file of changes that is of another generation than the full backup is passed over.
    fn read(&mut self, found: &Found, after: Option<(&Manifest, &Exported)>) -> Result<(Manifest, End)> {
        let restoring = self.restoring;
        restoring.progress.going()?;
        let pace = restoring.progress.phase(&found.file, found.bytes);
        let file = File::open(&found.path).map_err(|e| {
            Error::unavailable(format!("`{}` cannot be read", found.path.display())).because(e)
        })?;
        let mut reader = Reader::open(Paced::new(file, &pace), &found.file, restoring.keys)?;
        let mut manifest: Manifest = reader.manifest()?;
        if manifest.format > FORMAT {
            return Err(Error::invalid(format!(
                "`{}` was written by Muster {} in a newer form than this program reads",
                found.file, manifest.program
            ))
            .hint("restore it with that version, or a newer one"));
        }
        let wanted = if after.is_none() { "full" } else { "changes" };
        if manifest.kind != wanted {
            return Err(Error::invalid(format!(
                "`{}` is a backup of {}, not {wanted}",
                found.file, manifest.kind
            ))
            .hint("a restore begins with a full backup and goes on with changes"));
        }
        if let Some((full, exported)) = after
            && full.generation != manifest.generation
        {
            manifest.kind = "other".into();
            return Ok((manifest, End { store: exported.clone(), telemetry: BTreeMap::new() }));
        }
        self.sealed = manifest.sealed;
        reader.each(&mut |name, bytes, content| self.entry(name, bytes, content))?;
        self.bytes += found.bytes;
        let end: End = reader.end()?;
        if after.is_some() {
            self.store()?.check(&end.store)?;
        }
        Ok((manifest, end))
    }

    fn store(&mut self) -> Result<&mut Restore> {
        if self.store.is_none() {
            let seal: Option<Arc<dyn Seal>> = match self.sealed {
                false => None,
                true => Some(Arc::new(DataSeal::exported(&self.keys, self.restoring.clock)?.ok_or_else(
                    || {
                        Error::invalid("the key that seals the data files does not stand before the store")
                            .hint("take another backup, or an older one")
                    },
                )?)),
            };
            let folder = self.folder.join("store");
            self.store = Some(Restore::begin_on(Arc::new(HostDisk), seal, &folder, CACHE_BYTES)?);
        }
        self.store.as_mut().ok_or_else(|| Error::internal("a store that was begun is not there"))
    }

    fn entry(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> Result<()> {
        self.restoring.progress.going()?;
        let too_long =
            || Error::invalid(format!("the entry `{name}` has {bytes} bytes, more than there can be"));
        let whole = |most: u64, content: &mut dyn Read| {
            if bytes > most {
                return Err(too_long());
            }
            let mut all = Vec::with_capacity(bytes as usize);
            content.read_to_end(&mut all)?;
            Ok(all)
        };
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["store", "rows", _] => {
                let chunk = whole(LONE_CHUNK_BYTES_MAX as u64, content)?;
                self.store()?.rows(&chunk)
            }
            ["store", "changes", _] => {
                let chunk = whole(LONE_CHUNK_BYTES_MAX as u64, content)?;
                let (mut undone, mut count) = (std::mem::take(&mut self.undone), self.undone_count);
                let until = self.until;
                let done = self.store()?.changes(&chunk, until, &mut |change| {
                    give_up(&mut undone, &mut count, &change);
                });
                (self.undone, self.undone_count) = (undone, count);
                done
            }
            ["keys", key] => {
                if self.keys.len() >= KEYS_MAX {
                    return Err(Error::too_many(format!("more than {KEYS_MAX} keys in a backup")));
                }
                self.keys.insert((*key).to_owned(), Secret::new(whole(KEY_BYTES_MAX, content)?));
                Ok(())
            }
            [CONFIGURATION] if self.whole => {
                let text = whole(CONFIGURATION_BYTES_MAX as u64, content)?;
                write_private(&self.folder.join(CONFIGURATION), &text)
            }
            [engine @ ("series" | "logs"), "blocks", day] if self.whole && self.restoring.telemetry => {
                self.blocks(engine, day, bytes, content)
            }
            _ => Ok(()),
        }
    }

    /// A day's file, whole or from an offset on. Days only grow, so that what two backups both have is the same.
    fn blocks(&mut self, engine: &str, day: &str, bytes: u64, content: &mut dyn Read) -> Result<()> {
        let (day, offset) = match day.split_once('@') {
            Some((day, offset)) => (day, offset.parse::<u64>()?),
            None => (day, 0),
        };
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if day.starts_with('.') || !day.bytes().all(plain) {
            return Err(Error::invalid(format!("`{day}` cannot be the name of a day's file")));
        }
        let folder = self.folder.join(engine).join("blocks");
        let name = format!("{engine}/{day}");
        if !self.telemetry.contains_key(&name) {
            if offset > 0 {
                // The retention dropped the day between two backups, or the full backup was made without it.
                return Ok(());
            }
            private_folder(&self.folder.join(engine))?;
            private_folder(&folder)?;
        }
        let file = match self.telemetry.entry(name) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(none) => {
                let mut options = File::options();
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                none.insert(options.write(true).create_new(true).open(folder.join(day))?)
            }
        };
        if file.metadata()?.len() < offset {
            return Err(Error::invalid(format!(
                "a part of `{engine}/{day}` before byte {offset} is missing"
            ))
            .hint("fetch the missing file of changes, or restore without metrics and logs"));
        }
        file.seek(SeekFrom::Start(offset))?;
        let copied = std::io::copy(content, file)?;
        match copied == bytes {
            true => Ok(()),
            false => Err(Error::invalid(format!("`{engine}/{day}` is shorter than it says"))),
        }
    }
}

fn give_up(undone: &mut Vec<Undone>, count: &mut u64, change: &Change) {
    for event in undone_by(change) {
        *count += 1;
        if undone.len() < UNDONE_MAX {
            undone.push(event);
        }
    }
}

/// What a change told, as a restore gives it up.
pub(super) fn undone_by(change: &Change) -> impl Iterator<Item = Undone> + '_ {
    change.events.iter().map(|event| Undone {
        tenant: TenantId::from_bits(change.origin.tenant),
        change: change.number,
        at: change.origin.at,
        actor: change.origin.actor.clone(),
        action: change.origin.action.clone(),
        event: event.name.clone(),
        subject: event.subject.clone(),
        detail: event.detail.to_string(),
    })
}

/// Syncs every folder below; the files have been synced by who wrote them.
fn sync_all(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::unavailable(format!("`{}` cannot be synced", folder.display())).because(e))
}

/// The instant as people write it: RFC 3339, or `2026-11-20 14:02`, or `2026-11-20 14:02:05`, in UTC.
pub fn instant(text: &str) -> Result<Timestamp> {
    let text = text.trim();
    let full = text.replacen(' ', "T", 1);
    let tries = [text.to_owned(), format!("{full}Z"), format!("{full}:00Z"), format!("{full}T00:00:00Z")];
    tries.iter().find_map(|text| text.parse().ok()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Error::invalid(format!("`{shown}` is not an instant"))
            .hint("write it in UTC, for example `2026-11-20 14:02` or `2026-11-20T14:02:30Z`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_people_write_them() {
        for (text, expected) in [
            ("2026-11-20 14:02", "2026-11-20T14:02:00.000Z"),
            ("2026-11-20T14:02", "2026-11-20T14:02:00.000Z"),
            (" 2026-11-20 14:02:05 ", "2026-11-20T14:02:05.000Z"),
            ("2026-11-20T14:02:05.250Z", "2026-11-20T14:02:05.250Z"),
            ("2026-11-20T14:02:05+02:00", "2026-11-20T12:02:05.000Z"),
            ("2026-11-20", "2026-11-20T00:00:00.000Z"),
        ] {
            assert_eq!(instant(text).unwrap().to_string(), expected, "{text}");
        }
        assert!(instant("yesterday").unwrap_err().hint_text().unwrap().contains("UTC"));
    }

    #[test]
    fn a_folder_that_is_in_use_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x"), b"1").unwrap();
        assert_eq!(new_folder(folder.path()).unwrap_err().kind(), Kind::Conflict);
        assert!(folder.path().join("x").exists());
        let new = folder.path().join("new");
        let part = new_folder(&new).unwrap();
        assert_eq!(part, folder.path().join("new.part"));
        fs::write(part.join("left"), b"1").unwrap();
        assert!(!new_folder(&new).unwrap().join("left").exists(), "what a cut-off restore left goes");
    }
}
