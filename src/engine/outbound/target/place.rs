//! Files in one folder that is held open: nothing in it can lead elsewhere, and it cannot be exchanged underneath.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::source::{CHUNK_BYTES, Source};
use super::{LIST_COUNT_MAX, PART, Pace, Probe, Put, Stored, checked_name, size};
use crate::base::{Error, Kind, Result};
use crate::engine::clock::Clock;

/// Bytes after which a copy is synced on its way, so that its progress is true and the end is not a long wait.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes that a probe writes.
const PROBE_BYTES: usize = 64 * 1024;

/// What to do when the system does not let the server into a folder.
const CONFINED: &str = "give the server's user the right to write there; a unit of systemd that confines it needs the \
    folder in `ReadWritePaths=`, and below `/media`, `/mnt` or `/srv` an `InaccessiblePaths=` that leaves it out";

/// An open folder.
pub(super) struct Place {
    folder: OwnedFd,
    path: PathBuf,
}

impl Place {
    /// Opens the folder; it is not made when it is missing, because a missing folder may be a missing mount.
    pub(super) fn open(path: &Path) -> Result<Place> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(folder) => Ok(Place { folder, path: path.to_owned() }),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Error::not_found("folder", path.display())
                .hint("make the folder, or mount the file system that it is on")),
            Err(e) => Err(failed(path, "opened", e)),
        }
    }

    /// Opens the folder `name` in this one and makes it when it is missing.
    pub(super) fn below(&self, name: &Path) -> Result<Place> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.folder, name, Mode::RWXU) {
            Ok(()) => self.sync_folder()?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(&path, "made", e)),
        }
        let folder = rustix::fs::openat(&self.folder, name, flags, Mode::empty())
            .map_err(|e| failed(&path, "opened", e))?;
        Ok(Place { folder, path })
    }

    /// The number of the mount that the folder is on, as in `/proc/self/mountinfo`.
    pub(super) fn mount(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.folder.as_raw_fd()))
            .map_err(|e| self.failed("looked up", e))?;
        let number = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
        number.ok_or_else(|| Error::unavailable("the system does not tell what a folder is mounted on"))
    }

    /// Writes everything of the file system that the folder is on to its medium.
    pub(super) fn sync_all(&self) -> Result<()> {
        rustix::fs::syncfs(&self.folder).map_err(|e| self.failed("synced", e))
    }

    /// Bytes that are free here for this user.
    pub(super) fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.folder).map_err(|e| self.failed("read", e))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Copies `source` here as `name`, on with a part of it that is here. `keep_free_bytes` stay free.
    pub(super) fn put(&self, name: &str, source: &Source, pace: &Pace, keep_free_bytes: u64) -> Result<Put> {
        if let Some(there) = self.file(checked_name(name)?)? {
            return self.compare(name, &there, source, pace);
        }
        let part = format!("{name}{PART}");
        let file = self.write_open(&part, OFlags::empty())?;
        // Other errors are passed over: not every network file system has locks.
        if let Err(Errno::WOULDBLOCK) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(Error::conflict(format!("`{name}` is being copied to `{self}` already")));
        }
        let length = file.metadata().map_err(|e| self.failed("read", e))?.len();
        let resumed = source.same(0, length, |at, buffer| {
            pace.going()?;
            file.read_exact_at(buffer, at).map_err(|e| self.failed("read", e))
        })?;
        if length != resumed {
            file.set_len(resumed).map_err(|e| self.failed("written to", e))?;
        }
        self.has_room(source.bytes - resumed, keep_free_bytes)?;
        pace.found(resumed);
        self.copy(&file, resumed, source, pace, &part)?;
        self.rename(&part, name)?;
        Ok(Put { bytes: source.bytes, resumed })
    }

    /// Writes `source` behind the first `from` bytes of `file` and syncs it.
    pub(super) fn copy(
        &self,
        file: &File,
        from: u64,
        source: &Source,
        pace: &Pace,
        part: &str,
    ) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut unsynced = 0;
        let mut copied = source.pieces(from, CHUNK_BYTES, |at, piece| {
            // Small steps, so that a slow pace is an even one.
            for step in piece.chunks(CHUNK_BYTES / 16) {
                pace.take(step.len() as u64)?;
                let at = at + (step.as_ptr() as usize - piece.as_ptr() as usize) as u64;
                file.write_all_at(step, at).map_err(|e| self.failed("written to", e))?;
            }
            hasher.update(piece);
            unsynced += piece.len() as u64;
            if unsynced >= SYNC_BYTES {
                unsynced = 0;
                self.sync(file, part)?;
            }
            Ok(())
        });
        if copied.is_ok() {
            copied = self.sync(file, part);
        }
        copied.map(|()| hasher.finalize())
    }

    /// Syncs `file`. What a failed sync leaves cannot be trusted, even if it reads well: it is removed.
    fn sync(&self, file: &File, part: &str) -> Result<()> {
        file.sync_all().map_err(|e| {
            self.discard(part);
            self.failed("synced", e)
        })
    }

    /// Opens `name` for reading and writing, and makes it when it is missing.
    pub(super) fn write_open(&self, name: &str, how: OFlags) -> Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | how;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.failed("written to", e))?;
        self.regular(name, file.into())
    }

    /// Gives `from` the name `to`, unless a file has it, and syncs the folder.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let taken = || Error::conflict(format!("`{self}` has another file `{to}` already"));
        match rustix::fs::renameat_with(&self.folder, from, &self.folder, to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(taken()),
            // FAT and some network file systems do not know this kind of renaming.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                if rustix::fs::statat(&self.folder, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                    return Err(taken());
                }
                rustix::fs::renameat(&self.folder, from, &self.folder, to)
                    .map_err(|e| self.failed("written to", e))?;
            }
            Err(e) => return Err(self.failed("written to", e)),
        }
        self.sync_folder()
    }

    /// Removes a file of our own that came to nothing.
    pub(super) fn discard(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
    }

    fn sync_folder(&self) -> Result<()> {
        match rustix::fs::fsync(&self.folder) {
            // Some network file systems sync folders by themselves and say so in this way.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(e) => Err(self.failed("synced", e)),
        }
    }

    /// An error that says how much is lacking, when `bytes` more do not fit.
    pub(super) fn has_room(&self, bytes: u64, keep_free_bytes: u64) -> Result<()> {
        let free = self.free_bytes()?;
        let needed = bytes.saturating_add(keep_free_bytes);
        if free >= needed {
            return Ok(());
        }
        Err(no_room(&self.path, Some(needed - free)))
    }

    fn compare(&self, name: &str, there: &File, source: &Source, pace: &Pace) -> Result<Put> {
        let length = there.metadata().map_err(|e| self.failed("read", e))?.len();
        let same = length == source.bytes
            && source.same(0, length, |at, buffer| {
                pace.going()?;
                there.read_exact_at(buffer, at).map_err(|e| self.failed("read", e))
            })? == length;
        if !same {
            return Err(Error::conflict(format!("`{self}` has another file `{name}` already"))
                .hint("remove it there, or give the new one another name"));
        }
        pace.found(length);
        Ok(Put { bytes: length, resumed: length })
    }

    /// The whole files here, by name.
    pub(super) fn list(&self) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        let entries = rustix::fs::Dir::read_from(&self.folder).map_err(|e| self.failed("read", e))?;
        for (count, entry) in entries.enumerate() {
            if count >= LIST_COUNT_MAX {
                return Err(too_long(&self.to_string()));
            }
            let entry = entry.map_err(|e| self.failed("read", e))?;
            let Some(name) = entry.file_name().to_str().ok().filter(|n| checked_name(n).is_ok()) else {
                continue;
            };
            // Between the listing and the look it may have gone.
            if let Ok(stat) = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)
                && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
            {
                found.push(Stored { name: name.to_owned(), bytes: stat.st_size.max(0) as u64 });
            }
        }
        found.sort();
        Ok(found)
    }

    /// Writes `name` from `from` on to `out`.
    pub(super) fn get(&self, name: &str, from: u64, out: &mut dyn Write) -> Result<u64> {
        let file = self.file(checked_name(name)?)?.ok_or_else(|| Error::not_found("file", name))?;
        let length = file.metadata().map_err(|e| self.failed("read", e))?.len();
        check_from(name, from, length)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = from;
        while at < length {
            let step = (length - at).min(CHUNK_BYTES as u64) as usize;
            file.read_exact_at(&mut buffer[..step], at).map_err(|e| self.failed("read", e))?;
            out.write_all(&buffer[..step]).map_err(taker_failed)?;
            at += step as u64;
        }
        Ok(length - from)
    }

    /// Removes `name` and its part.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let name = checked_name(name)?;
        let mut gone = 0;
        for name in [name.to_owned(), format!("{name}{PART}")] {
            match rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty()) {
                Ok(()) => gone += 1,
                Err(Errno::NOENT) => {}
                Err(e) => return Err(self.failed("written to", e)),
            }
        }
        if gone == 0 {
            return Err(Error::not_found("file", name));
        }
        self.sync_folder()
    }

    /// Writes a small file, reads it back and removes it.
    pub(super) fn probe(&self, clock: &Clock) -> Result<Probe> {
        let name = probe_name(clock);
        let written: [u8; PROBE_BYTES] = clock.random();
        let file = self.write_open(&name, OFlags::EXCL)?;
        let mut read = vec![0; PROBE_BYTES];
        let tried = (|| {
            file.write_all_at(&written, 0).map_err(|e| self.failed("written to", e))?;
            file.sync_all().map_err(|e| self.failed("synced", e))?;
            file.read_exact_at(&mut read, 0).map_err(|e| self.failed("read", e))
        })();
        let removed = rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty());
        tried?;
        removed.map_err(|e| self.failed("written to", e))?;
        if read != written {
            return Err(Error::unavailable(format!("`{self}` gives back other bytes than were written")));
        }
        let free = self.free_bytes()?;
        Ok(Probe {
            found: format!("a file was written, read back and removed; {} are free", size(free)),
            free_bytes: Some(free),
        })
    }

    /// The file `name`, open for reading, when there is one.
    fn file(&self, name: &str) -> Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.folder, name, flags, Mode::empty()) {
            Ok(file) => self.regular(name, file.into()).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.failed("read", e)),
        }
    }

    fn regular(&self, name: &str, file: File) -> Result<File> {
        let meta = file.metadata().map_err(|e| self.failed("read", e))?;
        // A second name could be a way out of the folder, too.
        if !meta.is_file() || meta.nlink() > 1 {
            return Err(Error::conflict(format!("`{name}` in `{self}` is not a plain file")));
        }
        Ok(file)
    }

    fn failed(&self, done: &str, error: impl Into<io::Error>) -> Error {
        failed(&self.path, done, error)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// The name of a probe's file; a listing never shows it.
pub(super) fn probe_name(clock: &Clock) -> String {
    format!("probe-{:016x}{PART}", u64::from_le_bytes(clock.random()))
}

/// An error for a place to begin at that lies behind the end.
pub(super) fn check_from(name: &str, from: u64, length: u64) -> Result<()> {
    if from > length {
        return Err(Error::invalid(format!("`{name}` has {length} bytes, fewer than {from}")));
    }
    Ok(())
}

/// An error for a listing without end.
pub(super) fn too_long(place: &str) -> Error {
    Error::too_many(format!("`{place}` lists more than {LIST_COUNT_MAX} names"))
        .hint("give the copies a folder of their own")
}

/// An error of whoever takes what is read.
pub(super) fn taker_failed(error: io::Error) -> Error {
    Error::unavailable("what was read cannot be passed on").because(error)
}

/// An error for a full disk.
pub(super) fn no_room(path: &Path, lacking: Option<u64>) -> Error {
    let message = match lacking {
        Some(bytes) => format!("`{}` has no room for the file: {} are lacking", path.display(), size(bytes)),
        None => format!("`{}` is full", path.display()),
    };
    Error::unavailable(message).hint("remove older files there, or keep fewer of them")
}

fn failed(path: &Path, done: &str, error: impl Into<io::Error>) -> Error {
    let error: io::Error = error.into();
    let place: &OsStr = path.as_os_str();
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            return no_room(path, None).because(error);
        }
        io::ErrorKind::PermissionDenied => Kind::Forbidden,
        _ => Kind::Unavailable,
    };
    let (why, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => (": the server may not", CONFINED),
        io::ErrorKind::ReadOnlyFilesystem => (": it is read-only", CONFINED),
        _ => ("", "look at the disk and what the system says of it (`dmesg`)"),
    };
    Error::new(kind, format!("`{}` cannot be {done}{why}", place.display())).hint(hint).because(error)
}
