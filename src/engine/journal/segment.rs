//! Segments: their names, their beginning, and what recovery makes of them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::record::{BadHeader, FRAME_BYTES, Frame, Hash, Header, SEALED_VERSION, header_bytes, is_unborn};
use super::seal::{self, FileSeal, stored_bytes};
use super::{Options, RECORD_BYTES_MAX, Recovered, damaged, folder, prepare};
use crate::base::{Error, Result};

/// Bytes between two marks, so that a read begins close to its record.
const MARK_BYTES: u64 = 64 * 1024;

/// A place in a segment where a record begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) previous: Hash,
}

/// A segment on the disk, as far as it is synced.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// Hash of the record before its first.
    pub(super) previous: Hash,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) marks: Vec<Mark>,
    pub(super) seal: Option<Arc<dyn FileSeal>>,
}

/// Where the reading of a segment begins.
pub(super) struct Start {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    /// Where its records end.
    pub(super) end: u64,
    /// Hash of the record before the place, and of the one before the segment.
    pub(super) hash: Hash,
    pub(super) previous: Hash,
    pub(super) seal: Option<Arc<dyn FileSeal>>,
}

impl Segment {
    /// Makes the file of a new segment, durable with its name; of a prepared one when there is one.
    pub(super) fn create(
        folder: &Path,
        options: &Options,
        header: Header,
        ready: Option<(Box<dyn DiskFile>, PathBuf)>,
    ) -> Result<(Segment, Box<dyn DiskFile>)> {
        let disk = &*options.disk;
        let path = folder.join(format!("{}-{:020}.journal", options.name, header.first));
        let cannot = |e: std::io::Error| {
            Error::unavailable(format!("cannot make `{}`: {e}", path.display())).because(e)
        };
        let sealing = options.seal.as_ref().map(|seal| {
            let id = seal.fresh();
            (id, seal.file(&id))
        });
        let bytes = header.encode(sealing.as_ref());
        let (file, made) = match ready {
            Some((file, made)) => (file, Some(made)),
            None => (disk.create(&path).map_err(cannot)?, None),
        };
        file.write_at(&bytes, 0).map_err(cannot)?;
        file.sync().map_err(cannot)?;
        made.map_or(Ok(()), |made| disk.rename(&made, &path)).map_err(cannot)?;
        folder::sync(disk, folder)?;
        let segment = Segment {
            first: header.first,
            previous: header.previous,
            path,
            bytes: bytes.len() as u64,
            marks: Vec::new(),
            seal: sealing.map(|(_, seal)| seal),
        };
        Ok((segment, file))
    }

    /// Where its first record lies.
    pub(super) fn begin(&self) -> u64 {
        header_bytes(self.seal.is_some()) as u64
    }

    /// Where to begin to read for the record `number`.
    pub(super) fn start(&self, number: u64) -> Start {
        let at = self.marks.partition_point(|mark| mark.number <= number);
        let mark = at.checked_sub(1).and_then(|at| self.marks.get(at));
        Start {
            path: self.path.clone(),
            offset: mark.map_or(self.begin(), |mark| mark.offset),
            end: self.bytes,
            hash: mark.map_or(self.previous, |mark| mark.previous),
            previous: self.previous,
            seal: self.seal.clone(),
        }
    }

    /// Remembers where a record begins, unless the last mark is near.
    pub(super) fn mark(&mut self, mark: Mark) {
        if self.marks.last().is_none_or(|last| mark.offset >= last.offset + MARK_BYTES) {
            self.marks.push(mark);
        }
    }
}

/// What recovery found: the segments, the last one open for writing, what to tell, and the hash of the last record.
pub(super) type Found = (Vec<Segment>, Box<dyn DiskFile>, Recovered, Hash);

/// Verifies every segment of the folder, cuts an unfinished batch off the last one, and opens it for writing.
pub(super) fn recover(folder: &Path, options: &Options) -> Result<Found> {
    let disk = &*options.disk;
    let left = prepare::path(folder, &options.name);
    if disk.list(folder)?.contains(&left) {
        disk.remove(&left)?;
    }
    let mut found = list(disk, folder, &options.name)?;
    // A crash while a segment was being made leaves a file without a whole header, and thus without records.
    if let Some((_, path)) = found.last()
        && unborn(disk, path)?
    {
        disk.remove(path)?;
        folder::sync(disk, folder)?;
        found.pop();
    }
    let mut segments: Vec<Segment> = Vec::new();
    let mut cut_bytes = 0;
    let mut end: Option<(u64, Hash)> = None;
    let count = found.len();
    for (at, (first, path)) in found.into_iter().enumerate() {
        let file = disk.open(&path)?;
        let bytes = file.read_all()?;
        let (header, seal) = header(&path, &bytes, options)?;
        if header.first != first {
            return Err(damaged(&path, 16, "its name is not that of its first record"));
        }
        if let Some((last, hash)) = end
            && (header.first != last + 1 || header.previous != hash)
        {
            return Err(damaged(&path, 16, "the segment before it is missing or cut short"));
        }
        let previous = header.previous;
        let mut segment =
            Segment { first, previous, path, bytes: bytes.len() as u64, marks: Vec::new(), seal };
        let (last, hash, valid) = scan(&mut segment, &bytes, header);
        // A prepared segment has zeroes behind its records, and was given up for the next one before it was full.
        let end_of_bytes = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        segment.bytes = valid as u64;
        if valid < end_of_bytes {
            let acknowledged = at + 1 < count || synced_after(segment.seal.as_deref(), &bytes, valid, last);
            if acknowledged {
                return Err(damaged(&segment.path, valid as u64, &format!("record {} is broken", last + 1)));
            }
            cut_bytes = (end_of_bytes - valid) as u64;
            file.set_len(valid as u64)?;
            file.sync()?;
        }
        end = Some((last, hash));
        segments.push(segment);
    }
    let (created, (last, hash)) = match end {
        Some(end) => (false, end),
        None => (true, (options.first_number.max(1) - 1, options.first_previous)),
    };
    let file = match segments.last() {
        Some(segment) => {
            folder::sync(disk, folder)?;
            disk.open(&segment.path)?
        }
        None => {
            let header = Header { first: last + 1, previous: hash };
            let (segment, file) = Segment::create(folder, options, header, None)?;
            segments.push(segment);
            file
        }
    };
    let first = segments.first().map_or(last + 1, |segment| segment.first);
    Ok((segments, file, Recovered { first, last, cut_bytes, created }, hash))
}

/// Whether the newest file holds less than a header, or zeroes in its place, once it is as the disk has it.
fn unborn(disk: &dyn Disk, path: &Path) -> Result<bool> {
    let file = disk.open(path)?;
    // Only the newest: all before it was synced before it was made.
    file.settle()?;
    let mut bytes = vec![0; file.len()?.min(2 * header_bytes(true) as u64) as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(is_unborn(&bytes))
}

fn list(disk: &dyn Disk, folder: &Path, name: &str) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for path in disk.list(folder)? {
        let number = path
            .file_name()
            .and_then(|file| file.to_str())
            .and_then(|file| file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".journal"))
            .filter(|digits| digits.len() == 20)
            .and_then(|digits| digits.parse::<u64>().ok());
        if let Some(number) = number {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

fn header(path: &Path, bytes: &[u8], options: &Options) -> Result<(Header, Option<Arc<dyn FileSeal>>)> {
    Header::decode(bytes, options.seal.as_deref()).map_err(|bad| match bad {
        BadHeader::Damaged => damaged(path, 0, "its header is broken"),
        BadHeader::Newer(version) => Error::conflict(format!(
            "the journal `{}` has format {version}, this program reads up to {SEALED_VERSION}",
            path.display()
        ))
        .hint("run the newer program that wrote it"),
        BadHeader::Sealed => seal::is_sealed(path),
        BadHeader::Plain => seal::is_plain(path),
        BadHeader::OtherKey => seal::other_key(path),
    })
}

/// Walks the valid records: the last number, its hash, and where the valid bytes end.
fn scan(segment: &mut Segment, bytes: &[u8], header: Header) -> (u64, Hash, usize) {
    let (mut number, mut hash, mut offset) = (header.first - 1, header.previous, segment.begin() as usize);
    let seal = segment.seal.clone();
    while let Some((frame, payload)) = record_at(seal.as_deref(), bytes, offset) {
        if frame.number != number + 1 || !frame.fits(&hash, &payload) {
            break;
        }
        segment.mark(Mark { number: frame.number, offset: offset as u64, previous: hash });
        number = frame.number;
        hash = frame.hash;
        offset += stored_bytes(seal.as_deref(), payload.len());
    }
    (number, hash, offset)
}

/// Whether a batch begins after the broken record at `from`: then that record had been synced, and its damage is no
/// crash's doing. A record proves itself by fitting the hash that the frame before it carries, a sealed one by opening.
fn synced_after(seal: Option<&dyn FileSeal>, bytes: &[u8], from: usize, last: u64) -> bool {
    let possible = last + 1..=last + 1 + (bytes.len() - from) as u64 / FRAME_BYTES as u64;
    (from..bytes.len()).any(|offset| {
        // The payload of this record may be what is broken; only its place and hash matter.
        let Some(frame) = bytes.get(offset..).and_then(Frame::decode) else { return false };
        if !possible.contains(&frame.number) {
            return false;
        }
        if seal.is_some() {
            return offset > from && frame.begins_batch() && record_at(seal, bytes, offset).is_some();
        }
        let next = offset + stored_bytes(None, frame.payload_bytes());
        record_at(None, bytes, next).is_some_and(|(following, payload)| {
            following.begins_batch()
                && following.number == frame.number + 1
                && following.fits(&frame.hash, &payload)
        })
    })
}

fn record_at<'a>(
    seal: Option<&dyn FileSeal>,
    bytes: &'a [u8],
    offset: usize,
) -> Option<(Frame, Cow<'a, [u8]>)> {
    let frame = Frame::decode(bytes.get(offset..)?)?;
    if frame.payload_bytes() > RECORD_BYTES_MAX {
        return None;
    }
    let stored = bytes.get(offset..offset + stored_bytes(seal, frame.payload_bytes()))?;
    let Some(seal) = seal else { return Some((frame, stored[FRAME_BYTES..].into())) };
    let mut plain = Vec::with_capacity(stored.len());
    if !seal::record(seal, stored, &mut plain) {
        return None;
    }
    let frame = Frame::decode(&plain)?;
    Some((frame, plain.split_off(FRAME_BYTES).into()))
}
