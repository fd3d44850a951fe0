//! The local file that is copied, read by place, so that a copy may begin anywhere in it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::base::{Error, Result};

/// Bytes that are compared or copied at once.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// A local file that does not change while it is copied.
pub(super) struct Source {
    file: File,
    name: String,
    /// Its length when it was opened.
    pub(super) bytes: u64,
}

impl Source {
    /// Opens a regular file.
    pub(super) fn open(path: &Path) -> Result<Source> {
        let name = path.display().to_string();
        let failed = |e| Error::unavailable(format!("`{name}` cannot be read")).because(e);
        // Without NONBLOCK the opening of a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(
            rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(std::io::Error::from(e)))?,
        );
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(Error::invalid(format!("`{name}` is not a file")));
        }
        Ok(Source { file, name, bytes: meta.len() })
    }

    /// Fills `buffer` from `at` on.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buffer, at).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Error::conflict(format!("`{}` became shorter while it was copied", self.name))
            }
            _ => Error::unavailable(format!("`{}` cannot be read", self.name)).because(e),
        })
    }

    /// Calls `each` with one piece after the other of what lies from `from` on, each with its place.
    pub(super) fn pieces(
        &self,
        from: u64,
        piece_bytes: usize,
        mut each: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; piece_bytes];
        let mut at = from;
        while at < self.bytes {
            let length = (self.bytes - at).min(piece_bytes as u64) as usize;
            self.read(at, &mut buffer[..length])?;
            each(at, &buffer[..length])?;
            at += length as u64;
        }
        Ok(())
    }

    /// How many bytes from `from` to `to` are the same over there, in whole pieces, as `there` fills a buffer from a
    /// place: the place of the first piece that differs, or `to`.
    pub(super) fn same(
        &self,
        from: u64,
        to: u64,
        mut there: impl FnMut(u64, &mut [u8]) -> Result<()>,
    ) -> Result<u64> {
        let (mut ours, mut theirs) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
        let to = to.min(self.bytes);
        let mut at = from;
        while at < to {
            let length = (to - at).min(CHUNK_BYTES as u64) as usize;
            self.read(at, &mut ours[..length])?;
            there(at, &mut theirs[..length])?;
            if ours[..length] != theirs[..length] {
                return Ok(at);
            }
            at += length as u64;
        }
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_ends_at_the_first_piece_that_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 5).map(|n| (n / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let source = Source::open(&path).unwrap();
        let mut other = bytes.clone();
        other[CHUNK_BYTES + 1] ^= 1;
        for (there, same) in [(&bytes, source.bytes), (&other, CHUNK_BYTES as u64)] {
            let read = |at: u64, buffer: &mut [u8]| {
                buffer.copy_from_slice(&there[at as usize..at as usize + buffer.len()]);
                Ok(())
            };
            assert_eq!(source.same(0, source.bytes, read).unwrap(), same);
        }
        let mut all = Vec::new();
        source
            .pieces(3, 1_000, |at, piece| {
                assert_eq!(at as usize, all.len() + 3);
                all.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert!(all == bytes[3..]);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert!(source.read(8, &mut [0; 8]).unwrap_err().message().contains("shorter"));
    }

    #[test]
    fn only_files_are_copied() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Source::open(folder.path()).is_err());
        assert!(Source::open(&folder.path().join("none")).is_err());
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(Source::open(&pipe).is_err());
    }
}
