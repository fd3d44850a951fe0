//! Segment files of the spool: records appended, read in order, removed from the front.
//!
//! A record is length (4), checksum (8), number (8), kind (1) and payload, all little-endian.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};
use crate::wire::{Sequence, UpKind};

/// Bytes before a record's payload.
pub(super) const HEAD_BYTES: usize = 21;
/// Bytes of one payload; the broker takes no longer packet.
pub(super) const PAYLOAD_BYTES_MAX: usize = 250 * 1024;

/// A message as it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub sequence: Sequence,
    /// Its kind, hence its topic.
    pub kind: UpKind,
    /// Its payload, which carries the number too.
    pub payload: Vec<u8>,
}

/// One file of a lane.
pub(super) struct Segment {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) bytes: u64,
}

/// The segments of one lane, in order.
pub(super) struct Lane {
    name: &'static str,
    pub(super) segments: VecDeque<Segment>,
    /// The last segment, open for appending.
    pub(super) writer: Option<File>,
    pub(super) unsynced: bool,
    /// First number of the segment that is read, the open file, and where in it.
    pub(super) reading: Option<(Sequence, File, u64)>,
    /// The next record to send, already read.
    pub(super) ahead: Option<Record>,
}

impl Lane {
    pub(super) fn new(name: &'static str) -> Lane {
        Lane { name, segments: VecDeque::new(), writer: None, unsynced: false, reading: None, ahead: None }
    }

    pub(super) fn path(&self, folder: &Path, first: Sequence) -> PathBuf {
        folder.join(format!("{}-{first:020}", self.name))
    }

    pub(super) fn open(&mut self, folder: &Path) -> Result<()> {
        let mut firsts: Vec<Sequence> = fs::read_dir(folder)?
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.strip_prefix(self.name)?.strip_prefix('-')?.parse().ok())
            .collect();
        firsts.sort_unstable();
        for first in firsts {
            let path = self.path(folder, first);
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let (mut last, mut at) = (first.saturating_sub(1), 0);
            while let Some((record, end)) = read_record(&file, at)? {
                (last, at) = (record.sequence, end);
            }
            // What cannot be read was being written when the power went.
            if file.metadata()?.len() != at {
                file.set_len(at)?;
                file.sync_data()?;
            }
            self.segments.push_back(Segment { first, last, bytes: at });
        }
        if let Some(last) = self.segments.back() {
            let mut file = OpenOptions::new().append(true).open(self.path(folder, last.first))?;
            file.seek(SeekFrom::End(0))?;
            self.writer = Some(file);
        }
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        folder: &Path,
        sequence: Sequence,
        record: &[u8],
        segment_bytes_max: u64,
    ) -> Result<()> {
        let fits = self.segments.back().is_some_and(|s| s.bytes < segment_bytes_max);
        if !fits || self.writer.is_none() {
            if let Some(writer) = &self.writer {
                writer.sync_data()?;
            }
            let path = self.path(folder, sequence);
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            File::open(folder)?.sync_all()?;
            self.writer = Some(file);
            self.segments.push_back(Segment { first: sequence, last: sequence.saturating_sub(1), bytes: 0 });
        }
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(Error::internal("the spool has no segment"));
        };
        if let Err(e) = writer.write_all(record) {
            // Half a record must not stand before whole ones.
            let _ = writer.set_len(segment.bytes);
            return Err(Error::unavailable("the spool cannot be written").because(e));
        }
        segment.last = sequence;
        segment.bytes += record.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    /// Reads the first record after number `after` into `ahead`, unless one is there.
    pub(super) fn fill(&mut self, folder: &Path, after: Sequence) -> Result<()> {
        while self.ahead.is_none() {
            let (first, file, at) = match self.reading.take() {
                Some(reading) => reading,
                None => match self.segments.iter().find(|s| s.last > after) {
                    Some(segment) => {
                        let file = File::open(self.path(folder, segment.first))?;
                        (segment.first, file, 0)
                    }
                    None => return Ok(()),
                },
            };
            match read_record(&file, at)? {
                Some((record, end)) => {
                    self.reading = Some((first, file, end));
                    if record.sequence > after {
                        self.ahead = Some(record);
                    }
                }
                // At the end of the last segment wait for more there; after any other go on with the next.
                None if self.segments.back().is_none_or(|s| s.first == first) => {
                    self.reading = Some((first, file, at));
                    return Ok(());
                }
                None => match self.segments.iter().find(|s| s.first > first) {
                    Some(segment) => {
                        let file = File::open(self.path(folder, segment.first))?;
                        self.reading = Some((segment.first, file, 0));
                    }
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    pub(super) fn remove_first(&mut self, folder: &Path) -> Result<()> {
        if let Some(segment) = self.segments.pop_front() {
            if self.segments.is_empty() {
                self.writer = None;
                self.unsynced = false;
            }
            if self.reading.as_ref().is_some_and(|(first, _, _)| *first == segment.first) {
                self.reading = None;
            }
            if self.ahead.as_ref().is_some_and(|r| r.sequence <= segment.last) {
                self.ahead = None;
            }
            fs::remove_file(self.path(folder, segment.first))?;
        }
        Ok(())
    }
}

pub(super) fn encode(sequence: Sequence, kind: UpKind, payload: &[u8]) -> Result<Vec<u8>> {
    let kind = UpKind::ALL.iter().position(|k| *k == kind).ok_or_else(|| Error::internal("unknown kind"))?;
    let mut record = Vec::with_capacity(HEAD_BYTES + payload.len());
    record.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    record.extend_from_slice(&[0; 8]);
    record.extend_from_slice(&sequence.to_le_bytes());
    record.push(kind as u8);
    record.extend_from_slice(payload);
    let sum = checksum(&record[12..]);
    record[4..12].copy_from_slice(&sum);
    Ok(record)
}

/// The record at `at` and where it ends; `None` where there is no whole one.
pub(super) fn read_record(file: &File, at: u64) -> Result<Option<(Record, u64)>> {
    let mut head = [0; HEAD_BYTES];
    if file.read_exact_at(&mut head, at).is_err() {
        return Ok(None);
    }
    let (length, rest) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Ok(None);
    }
    let mut body = vec![0; HEAD_BYTES - 12 + length];
    if file.read_exact_at(&mut body, at + 12).is_err() || rest[..8] != checksum(&body) {
        return Ok(None);
    }
    let sequence = u64::from_le_bytes(body[..8].try_into().unwrap_or_default());
    let Some(kind) = UpKind::ALL.get(usize::from(body[8])).copied() else { return Ok(None) };
    let record = Record { sequence, kind, payload: body.split_off(9) };
    Ok(Some((record, at + (HEAD_BYTES + length) as u64)))
}

pub(super) fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    sum
}
