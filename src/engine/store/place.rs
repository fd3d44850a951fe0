//! Whether `state.redb` is the file that this folder has been working with, or a copy.
//!
//! A copy of a file that was being written may be torn, and such a file can open and lie. A crash leaves no copy: the
//! file stays the same one. So the folder remembers which file it is (inode and instant of birth), and when its lock was
//! last taken, so that files that were copied over the old ones are known as copies too. A copy is read whole before it
//! is used.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::open::STATE;
use crate::base::{Error, Result};
use crate::engine::journal::{Disk, FolderLock};

const PLACE: &str = "place";
const NEXT: &str = "place.next";
const LOCK: &str = "lock";

/// What the folder remembers, as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    inode: u64,
    /// In seconds and nanoseconds, as all instants here.
    born: (i64, u32),
    /// When the lock file was last written, which is at every opening and by every copy over it.
    locked: (i64, u32),
}

/// Takes the folder's lock, and says whether the state file is a copy. One that is none stays known as such.
pub(super) fn lock(disk: &dyn Disk, folder: &Path) -> Result<(FolderLock, bool)> {
    let copy = is_copy(disk, folder)?;
    let lock = disk.lock(folder)?;
    match disk.identity(&folder.join(STATE)) {
        Ok(_) if !copy => record(disk, folder)?,
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    Ok((lock, copy))
}

/// Remembers the state file as the one that belongs here. Call it with the lock taken.
pub(super) fn record(disk: &dyn Disk, folder: &Path) -> Result<()> {
    let write = || -> Result<()> {
        let Some(place) = now(disk, folder)? else { return Ok(()) };
        let next = folder.join(NEXT);
        match disk.remove(&next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        let file = disk.create(&next)?;
        file.write_at(&serde_json::to_vec(&place)?, 0)?;
        file.sync()?;
        disk.rename(&next, &folder.join(PLACE))?;
        Ok(disk.sync_folder(folder)?)
    };
    write().map_err(|e| {
        let path = folder.join(PLACE);
        Error::unavailable(format!("cannot write `{}`: {}", path.display(), e.detail()))
    })
}

/// Whether the state file is not the one that the folder was opened with last. To be asked before the lock is taken.
fn is_copy(disk: &dyn Disk, folder: &Path) -> Result<bool> {
    let found = match disk.identity(&folder.join(STATE)) {
        Ok(Some(_)) => now(disk, folder).ok().flatten(),
        Ok(None) => return Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    let known: Option<Place> = match disk.open(&folder.join(PLACE)) {
        Ok(file) => serde_json::from_slice(&file.read_all()?).ok(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e.into()),
    };
    Ok(found.is_none() || found != known)
}

fn now(disk: &dyn Disk, folder: &Path) -> Result<Option<Place>> {
    let Some(state) = disk.identity(&folder.join(STATE))? else { return Ok(None) };
    let Some(lock) = disk.identity(&folder.join(LOCK))? else { return Ok(None) };
    Ok(Some(Place { inode: state.inode, born: state.born, locked: lock.changed }))
}
