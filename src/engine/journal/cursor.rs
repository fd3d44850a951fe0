//! Reads records one after another, and verifies each.

use std::path::PathBuf;

use super::disk::{Disk, DiskFile};
use super::record::{FRAME_BYTES, Frame, HEADER_BYTES, Hash, fingerprint};
use super::segment::Segment;
use super::{RECORD_BYTES_MAX, damaged, no_longer_kept};
use crate::base::{Error, Result};

const CHUNK_BYTES: usize = 64 * 1024;

/// A place in a segment.
pub(super) struct Cursor {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    previous: Option<Hash>,
    /// Where `buffer` begins in the file, and how much of the buffer is used up.
    offset: u64,
    used: usize,
    buffer: Vec<u8>,
    end: u64,
}

impl Cursor {
    /// Begins at or before the record `number`.
    pub(super) fn open(disk: &dyn Disk, segment: &Segment, number: u64) -> Result<Cursor> {
        let file = disk.open(&segment.path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => no_longer_kept(number),
            _ => Error::internal(format!("cannot read `{}`", segment.path.display())).because(e),
        })?;
        let mark = segment
            .marks
            .partition_point(|mark| mark.number <= number)
            .checked_sub(1)
            .map(|at| segment.marks[at]);
        Ok(Cursor {
            path: segment.path.clone(),
            file,
            previous: mark.map(|mark| mark.previous),
            offset: mark.map_or(HEADER_BYTES as u64, |mark| mark.offset),
            used: 0,
            buffer: Vec::new(),
            end: segment.bytes,
        })
    }

    /// The next record. The caller knows that there is one.
    pub(super) fn next(&mut self) -> Result<(u64, &[u8])> {
        self.fill(FRAME_BYTES)?;
        let frame = Frame::decode(&self.buffer[self.used..]).ok_or_else(|| self.broken())?;
        let length = frame.payload_bytes();
        if length > RECORD_BYTES_MAX {
            return Err(self.broken());
        }
        self.fill(FRAME_BYTES + length)?;
        let begin = self.used + FRAME_BYTES;
        let payload = &self.buffer[begin..begin + length];
        if self.previous.is_some_and(|previous| !frame.fits(&previous, payload)) {
            return Err(self.broken());
        }
        self.previous = Some(frame.hash);
        self.used = begin + length;
        Ok((frame.number, &self.buffer[begin..begin + length]))
    }

    /// Of the record that `next` gave last.
    pub(super) fn fingerprint(&self) -> u64 {
        self.previous.as_ref().map_or(0, fingerprint)
    }

    fn fill(&mut self, bytes: usize) -> Result<()> {
        if self.buffer.len() - self.used >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.used);
        self.offset += self.used as u64;
        self.used = 0;
        let have = self.buffer.len();
        let left = self.end.saturating_sub(self.offset) as usize;
        let want = bytes.max(CHUNK_BYTES).min(left);
        if want < bytes {
            return Err(self.broken());
        }
        self.buffer.resize(want, 0);
        self.file
            .read_at(&mut self.buffer[have..], self.offset + have as u64)
            .map_err(|e| Error::internal(format!("cannot read `{}`", self.path.display())).because(e))
    }

    fn broken(&self) -> Error {
        damaged(&self.path, self.offset + self.used as u64, "a record does not fit the one before it")
    }
}
