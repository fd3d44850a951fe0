//! The disk under journals and what stands beside them: the few calls they need, so that tests can put a disk in its
//! place that loses power, fills up and breaks.
//!
//! Invariant: what was written is durable only after `sync`, a name only after `sync_folder`.
//! Invariant: a read or write that returns Ok was whole.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::folder::FolderLock;
use crate::base::Result;

/// Where files lie.
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and its parents, for this user alone; one that exists stays as it is.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Holds a folder for this process.
    fn lock(&self, folder: &Path) -> Result<FolderLock>;
    /// Makes a file that must not exist, for this user alone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that must exist.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The paths in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Bytes that may still be written where the folder lies.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
    /// Which file lies at a path. None on a disk where copies cannot be told from the file itself.
    fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>>;
}

/// What tells a file from a copy of it. The device is left out: its number changes from one start to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The number of its inode.
    pub inode: u64,
    /// When it was made, in seconds and nanoseconds; zero where the file system does not say.
    pub born: (i64, u32),
    /// When its contents or its inode were last changed.
    pub changed: (i64, u32),
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a file's length is an offset, not a count")]
pub trait DiskFile: Debug + Send + Sync {
    /// Fills `bytes` from `offset` on.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;
    /// Cuts the file, or lengthens it with zeroes.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Makes contents and length durable.
    fn sync(&self) -> io::Result<()>;
    /// Makes durable what an earlier process left behind, then forgets what memory holds of the file: after a sync that
    /// failed, memory goes on showing what the disk never got.
    fn settle(&self) -> io::Result<()>;
    /// The operating system's file, where there is one.
    fn into_host(self: Box<Self>) -> std::result::Result<File, Box<dyn DiskFile>>;

    /// All of the file.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len()? as usize];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDisk;

impl Disk for HostDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    fn lock(&self, folder: &Path) -> Result<FolderLock> {
        FolderLock::take(folder)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        Ok(Box::new(options.read(true).write(true).create_new(true).mode(0o600).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn identity(&self, path: &Path) -> io::Result<Option<FileIdentity>> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
        let wanted = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::CTIME;
        let file = statx(CWD, path, AtFlags::empty(), wanted)?;
        let born = StatxFlags::from_bits_retain(file.stx_mask).contains(StatxFlags::BTIME);
        Ok(Some(FileIdentity {
            inode: file.stx_ino,
            born: if born { (file.stx_btime.tv_sec, file.stx_btime.tv_nsec) } else { (0, 0) },
            changed: (file.stx_ctime.tv_sec, file.stx_ctime.tv_nsec),
        }))
    }
}

impl DiskFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn settle(&self) -> io::Result<()> {
        self.sync_data()?;
        Ok(rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    fn into_host(self: Box<Self>) -> std::result::Result<File, Box<dyn DiskFile>> {
        Ok(*self)
    }
}
