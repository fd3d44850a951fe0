//! A file that goes to the disk while it is written.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;

use rustix::fs::Advice;

/// Bytes that gather before they are sent to the disk.
const STEP_BYTES: u64 = 1024 * 1024;

/// Sends what is written to the disk in small steps and out of memory, where it would gather otherwise: whoever syncs a
/// few bytes beside it need not wait for a heap of them, and what others read stays in memory. Nothing is durable before
/// `finish`.
#[derive(Debug)]
pub struct Steady {
    file: File,
    /// Bytes written, how many of them were sent, and how many before that.
    written: u64,
    sent: u64,
    sent_before: u64,
}

impl Steady {
    /// Writes to the beginning of `file`, which is empty.
    pub fn new(file: File) -> Steady {
        Steady { file, written: 0, sent: 0, sent_before: 0 }
    }

    /// Makes all of it durable.
    pub fn finish(self) -> io::Result<File> {
        self.file.sync_all()?;
        Ok(self.file)
    }

    /// Begins to write what was not sent, and drops what was sent before from memory.
    fn send(&mut self) {
        let length = NonZeroU64::new(self.written - self.sent_before);
        // It only asks: a file system that knows nothing of it writes when it likes.
        let _ = rustix::fs::fadvise(&self.file, self.sent_before, length, Advice::DontNeed);
        (self.sent_before, self.sent) = (self.sent, self.written);
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        if self.written - self.sent >= STEP_BYTES {
            self.send();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = Steady::new(File::create(&path).unwrap());
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        for part in bytes.chunks(70_001) {
            file.write_all(part).unwrap();
        }
        file.flush().unwrap();
        assert!(file.written - file.sent < STEP_BYTES && file.sent > file.sent_before);
        file.finish().unwrap();
        assert!(std::fs::read(path).unwrap() == bytes);
    }
}
