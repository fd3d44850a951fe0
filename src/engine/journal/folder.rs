//! Folders that only the product's user may read, synced so that new names survive, and locked against a second process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::disk::{Disk, HostDisk};
use crate::base::{Error, Result};

/// Makes `folder` and its parents, readable by their owner only; a folder that exists stays as it is.
pub fn create_folder(folder: &Path) -> Result<()> {
    make_folder(&HostDisk, folder)
}

/// `create_folder` on any disk.
pub fn make_folder(disk: &dyn Disk, folder: &Path) -> Result<()> {
    disk.create_folder(folder)
        .map_err(|e| Error::internal(format!("cannot make the folder `{}`", folder.display())).because(e))
}

/// Makes the names in `folder` durable: a new file is safe only after this.
pub fn sync_folder(folder: &Path) -> Result<()> {
    sync(&HostDisk, folder)
}

/// `sync_folder` on any disk.
pub(super) fn sync(disk: &dyn Disk, folder: &Path) -> Result<()> {
    disk.sync_folder(folder)
        .map_err(|e| Error::internal(format!("cannot sync the folder `{}`", folder.display())).because(e))
}

/// Holds a folder for this process; it is free again when this is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "holds the lock")] Option<File>);

impl FolderLock {
    /// Holds nothing: for a disk that only one process can see.
    #[cfg(test)]
    pub(super) fn none() -> FolderLock {
        FolderLock(None)
    }

    /// Takes the folder, or says which process has it.
    pub fn take(folder: &Path) -> Result<FolderLock> {
        let path = folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::internal(format!("cannot open `{}`", path.display())).because(e))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0)?;
                write!(file, "{}", std::process::id())?;
                Ok(FolderLock(Some(file)))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut who = String::new();
                file.rewind()?;
                file.take(20).read_to_string(&mut who)?;
                Err(Error::conflict(format!("`{}` is in use by process {}", folder.display(), who.trim()))
                    .hint("stop that process first; two cannot share a folder"))
            }
            Err(e) => Err(Error::internal(format!("cannot lock `{}`", path.display())).because(e)),
        }
    }
}
