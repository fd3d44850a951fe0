//! Whether `state.redb` is the file that this folder has been working with, or a copy.
//!
//! A copy of a file that was being written may be torn, and such a file can open and lie. A crash leaves no copy: the
//! file stays the same one. So the folder remembers which file it is (inode and instant of birth), and what lay around
//! it (when the lock was last taken), so that files that were copied over the old ones are known as copies too. A copy is
//! read whole before it is used. The device is left out: its number changes from one start to the next.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};

use super::open::STATE;
use crate::base::{Error, Result};
use crate::engine::journal::sync_folder;

const PLACE: &str = "place";
const LOCK: &str = "lock";

/// Seconds and nanoseconds.
type Instant = (i64, u32);

/// What the folder remembers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    inode: u64,
    /// Zero where the file system does not say.
    born: Instant,
    /// When the lock file was last written or replaced, which is at every opening and by every copy over it.
    locked: Instant,
}

/// Whether the state file is not the one that the folder was opened with last. Ask before the lock is taken.
pub(super) fn is_copy(folder: &Path) -> Result<bool> {
    if !folder.join(STATE).exists() {
        return Ok(false);
    }
    let known: Option<Place> = match std::fs::read(folder.join(PLACE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).ok(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(e.into()),
    };
    Ok(known.is_none_or(|known| now(folder).ok().is_none_or(|now| now != known)))
}

/// Remembers the state file as the one that belongs here. Call it with the lock taken.
pub(super) fn record(folder: &Path) -> Result<()> {
    let path = folder.join(PLACE);
    let write = || -> Result<()> {
        let next = folder.join("place.next");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(&serde_json::to_vec(&now(folder)?)?)?;
        file.sync_all()?;
        std::fs::rename(&next, &path)?;
        sync_folder(folder)
    };
    write().map_err(|e| Error::unavailable(format!("cannot write `{}`", path.display())).because(e.detail()))
}

fn now(folder: &Path) -> Result<Place> {
    let of = |name: &str, wanted| {
        statx(CWD, folder.join(name), AtFlags::empty(), wanted).map_err(std::io::Error::from)
    };
    let state = of(STATE, StatxFlags::INO | StatxFlags::BTIME)?;
    let lock = of(LOCK, StatxFlags::CTIME)?;
    let born = if state.stx_mask & StatxFlags::BTIME.bits() == 0 {
        (0, 0)
    } else {
        (state.stx_btime.tv_sec, state.stx_btime.tv_nsec)
    };
    Ok(Place { inode: state.stx_ino, born, locked: (lock.stx_ctime.tv_sec, lock.stx_ctime.tv_nsec) })
}
