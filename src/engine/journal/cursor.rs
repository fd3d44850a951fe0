//! Reads records one after another, and verifies each.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::raw::Raw;
use super::record::{FRAME_BYTES, Frame, Hash};
use super::seal::{self, FileSeal, stored_bytes};
use super::segment::Start;
use super::{RECORD_BYTES_MAX, damaged, no_longer_kept};
use crate::base::{Error, Result};

const CHUNK_BYTES: usize = 64 * 1024;

/// A place in a segment.
pub(super) struct Cursor {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Hash of the record that `next` gave last.
    hash: Hash,
    /// Hash of the record before that, and its first byte in `buffer`.
    previous: Hash,
    begin: usize,
    /// Where `buffer` begins in the file, and how much of the buffer is used up.
    offset: u64,
    used: usize,
    buffer: Vec<u8>,
    end: u64,
    seal: Option<Arc<dyn FileSeal>>,
    /// Frame and payload of the record that `next` gave last, when the file is sealed.
    opened: Vec<u8>,
}

impl Cursor {
    /// Begins at or before the record `number`.
    pub(super) fn open(disk: &dyn Disk, start: Start, number: u64) -> Result<Cursor> {
        let file = disk.open(&start.path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => no_longer_kept(number),
            _ => Error::internal(format!("cannot read `{}`", start.path.display())).because(e),
        })?;
        Ok(Cursor {
            path: start.path,
            file,
            hash: start.hash,
            previous: start.previous,
            begin: 0,
            offset: start.offset,
            used: 0,
            buffer: Vec::new(),
            end: start.end,
            seal: start.seal,
            opened: Vec::new(),
        })
    }

    /// The next record. The caller knows that there is one.
    pub(super) fn next(&mut self) -> Result<(u64, &[u8])> {
        self.fill(FRAME_BYTES)?;
        let frame = Frame::decode(&self.buffer[self.used..]).ok_or_else(|| self.broken())?;
        if frame.payload_bytes() > RECORD_BYTES_MAX {
            return Err(self.broken());
        }
        let stored = stored_bytes(self.seal.as_deref(), frame.payload_bytes());
        self.fill(stored)?;
        (self.begin, self.used) = (self.used, self.used + stored);
        if let Some(seal) = &self.seal
            && !seal::record(&**seal, &self.buffer[self.begin..self.used], &mut self.opened)
        {
            return Err(self.broken());
        }
        let frame = Frame::decode(self.record()).ok_or_else(|| self.broken())?;
        if !frame.fits(&self.hash, self.payload()) {
            return Err(self.broken());
        }
        self.previous = std::mem::replace(&mut self.hash, frame.hash);
        Ok((frame.number, self.payload()))
    }

    /// Frame and payload of the record that `next` gave last.
    fn record(&self) -> &[u8] {
        match self.seal {
            Some(_) => &self.opened,
            None => self.buffer.get(self.begin..self.used).unwrap_or_default(),
        }
    }

    /// Of the record that `next` gave last.
    pub(super) fn payload(&self) -> &[u8] {
        self.record().get(FRAME_BYTES..).unwrap_or_default()
    }

    /// The record that `next` gave last, when that was `number`.
    pub(super) fn raw(&self, number: u64) -> Option<Raw<'_>> {
        let bytes = self.record();
        let frame = Frame::decode(bytes).filter(|frame| frame.number == number)?;
        Some(Raw { number, previous: self.previous, hash: frame.hash, bytes })
    }

    fn fill(&mut self, bytes: usize) -> Result<()> {
        if self.buffer.len() - self.used >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.used);
        self.offset += self.used as u64;
        (self.used, self.begin) = (0, 0);
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
        damaged(&self.path, self.offset + self.begin as u64, "a record does not fit the one before it")
    }
}
