//! The stored forms of lines: blocks in day files, records in the journal, the file of watermarks.
//!
//! Block header: source (16, big-endian), first instant (zigzag varint, milliseconds), last minus first, first
//! position, last minus first position, number of lines, highest severity (1), lines of each of the three classes,
//! bytes of the body before compression. Body, compressed by zstd: per line the zigzag delta of its instant, the delta
//! of its position, severity (1), origin (0: as the line before; else length plus one, and UTF-8), length and UTF-8 of
//! the text. A header with no lines forgets what its file holds of the source so far.
//!
//! Record kind 1, lines: source (16), sequence plus one or 0, number of lines, and each line as in a block, without
//! position. Kind 2, forget: source (16). Kind 3, barrier: nothing.
//!
//! Watermarks: magic, the record up to which they go, count, per source its 16 bytes and its sequence, and BLAKE3 of all before it (32).

use std::collections::HashMap;
use std::sync::Arc;

use super::{Line, class};
use crate::base::{Result, Timestamp};
use crate::engine::days::bytes::{Reader, damaged, put, put_bytes, unzigzag, zigzag};

const LINES: u8 = 1;
const FORGET: u8 = 2;
const BARRIER: u8 = 3;
const MARKS_MAGIC: &[u8; 4] = b"MSW\x01";
const ZSTD_LEVEL: i32 = 3;
/// Bytes of a body before compression; more in a header is damage.
const RAW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A line as memory keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) at: i64,
    pub(super) position: u64,
    pub(super) severity: u8,
    pub(super) origin: Arc<str>,
    pub(super) text: Box<str>,
}

/// A line in a decompressed block or a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen<'a> {
    pub(super) at: i64,
    pub(super) position: u64,
    pub(super) severity: u8,
    pub(super) origin: &'a str,
    pub(super) text: &'a str,
}

/// What the header of a block says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) source: u128,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) position_first: u64,
    pub(super) position_last: u64,
    pub(super) lines: usize,
    pub(super) severity_max: u8,
    pub(super) counts: [u32; 3],
    raw: usize,
}

/// A record read back.
pub(super) enum Record<'a> {
    Lines { source: u128, sequence: Option<u64>, lines: Vec<Seen<'a>> },
    Forget(u128),
    Barrier,
}

/// Encodes header and body of a block; `lines` are in the order of their positions.
pub(super) fn encode(source: u128, lines: &[&Stored]) -> Result<(Header, Vec<u8>, Vec<u8>)> {
    let (Some(head), Some(tail)) = (lines.first(), lines.last()) else { return Err(damaged()) };
    let mut raw = Vec::new();
    let mut counts = [0; 3];
    let mut writer = Writer { out: &mut raw, at: 0, origin: None };
    let mut position = head.position;
    for line in lines {
        counts[class(line.severity)] += 1;
        put(writer.out, line.position - position);
        position = line.position;
        writer.line(line.at, line.severity, &line.origin, &line.text);
    }
    let header = Header {
        source,
        first: lines.iter().map(|l| l.at).min().unwrap_or(head.at),
        last: lines.iter().map(|l| l.at).max().unwrap_or(head.at),
        position_first: head.position,
        position_last: tail.position,
        lines: lines.len(),
        severity_max: lines.iter().map(|l| l.severity).max().unwrap_or(0),
        counts,
        raw: raw.len(),
    };
    let mut bytes = source.to_be_bytes().to_vec();
    put(&mut bytes, zigzag(header.first));
    put(&mut bytes, (header.last - header.first) as u64);
    put(&mut bytes, header.position_first);
    put(&mut bytes, header.position_last - header.position_first);
    put(&mut bytes, header.lines as u64);
    bytes.push(header.severity_max);
    counts.iter().for_each(|count| put(&mut bytes, u64::from(*count)));
    put(&mut bytes, header.raw as u64);
    let body = zstd::bulk::compress(&raw, ZSTD_LEVEL)?;
    Ok((header, bytes, body))
}

/// The header that forgets a source.
pub(super) fn tombstone(source: u128) -> Vec<u8> {
    let mut header = source.to_be_bytes().to_vec();
    header.extend_from_slice(&[0; 10]);
    header
}

/// Reads a header.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let mut reader = Reader(bytes);
    let source = reader.source()?;
    let first = unzigzag(reader.number()?);
    let last = first.checked_add_unsigned(reader.number()?).ok_or_else(damaged)?;
    let position_first = reader.number()?;
    let position_last = position_first.checked_add(reader.number()?).ok_or_else(damaged)?;
    let lines = reader.number()? as usize;
    let severity_max = reader.byte()?;
    let mut counts = [0; 3];
    for count in &mut counts {
        *count = u32::try_from(reader.number()?).map_err(|_| damaged())?;
    }
    let raw = reader.number()? as usize;
    Ok(Header { source, first, last, position_first, position_last, lines, severity_max, counts, raw })
}

/// The bytes of a block's lines, to be walked by `each_line`.
pub(super) fn decompress(header: &Header, body: &[u8]) -> Result<Vec<u8>> {
    if header.raw > RAW_BYTES_MAX {
        return Err(damaged());
    }
    Ok(zstd::bulk::decompress(body, header.raw)?)
}

/// Hands every line of a block to `each`, in the order of positions.
pub(super) fn each_line<'a>(header: &Header, raw: &'a [u8], mut each: impl FnMut(Seen<'a>)) -> Result<()> {
    let mut walker = Walker { reader: Reader(raw), at: 0, origin: "" };
    let mut position = header.position_first;
    for _ in 0..header.lines {
        position = position.wrapping_add(walker.reader.number()?);
        each(walker.line(position)?);
    }
    Ok(())
}

/// Reads a whole block, to be sure that it can be read.
pub(super) fn understand(bytes: &[u8], body: &[u8]) -> Result<()> {
    let header = header(bytes)?;
    if header.lines == 0 {
        return Ok(());
    }
    let raw = decompress(&header, body)?;
    let mut last = 0;
    each_line(&header, &raw, |line| last = line.position)?;
    if last == header.position_last { Ok(()) } else { Err(damaged()) }
}

/// The record of an append.
pub(super) fn lines_record(source: u128, sequence: Option<u64>, lines: &[Line<'_>]) -> Vec<u8> {
    let mut out = vec![LINES];
    out.extend_from_slice(&source.to_be_bytes());
    put(&mut out, sequence.map_or(0, |sequence| sequence.saturating_add(1)));
    put(&mut out, lines.len() as u64);
    let mut writer = Writer { out: &mut out, at: 0, origin: None };
    for line in lines {
        writer.line(line.at.milliseconds(), line.severity, line.origin, line.text);
    }
    out
}

/// The record that a source is forgotten.
pub(super) fn forget_record(source: u128) -> Vec<u8> {
    let mut out = vec![FORGET];
    out.extend_from_slice(&source.to_be_bytes());
    out
}

/// A record that only waits for those before it.
pub(super) fn barrier_record() -> Vec<u8> {
    vec![BARRIER]
}

/// Whether a record forgets a source.
pub(super) fn is_forget(payload: &[u8]) -> bool {
    payload.first() == Some(&FORGET)
}

/// Reads a record with number `number`.
pub(super) fn read(number: u64, payload: &[u8]) -> Result<Record<'_>> {
    let mut reader = Reader(payload);
    match reader.byte()? {
        LINES => {}
        FORGET => return Ok(Record::Forget(reader.source()?)),
        BARRIER => return Ok(Record::Barrier),
        _ => return Err(damaged()),
    }
    let source = reader.source()?;
    let sequence = reader.number()?.checked_sub(1);
    let count = reader.number()?;
    let mut walker = Walker { reader, at: 0, origin: "" };
    let mut lines = Vec::new();
    for index in 0..count {
        lines.push(walker.line(position(number, index as usize))?);
    }
    Ok(Record::Lines { source, sequence, lines })
}

/// The position of a record's line: lines are numbered in the order in which they were acknowledged.
pub(super) fn position(record: u64, index: usize) -> u64 {
    record << 16 | index as u64
}

/// The record of a position.
pub(super) fn record_of(position: u64) -> u64 {
    position >> 16
}

/// Encodes the watermarks as of record `through`.
pub(super) fn marks(through: u64, marks: &HashMap<u128, u64>) -> Vec<u8> {
    let mut sorted: Vec<_> = marks.iter().collect();
    sorted.sort();
    let mut out = MARKS_MAGIC.to_vec();
    put(&mut out, through);
    put(&mut out, sorted.len() as u64);
    for (source, sequence) in sorted {
        out.extend_from_slice(&source.to_be_bytes());
        put(&mut out, *sequence);
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    out
}

/// Reads the watermarks and the record up to which they go.
pub(super) fn read_marks(bytes: &[u8]) -> Result<(u64, HashMap<u128, u64>)> {
    let (body, hash) =
        bytes.len().checked_sub(32).and_then(|at| bytes.split_at_checked(at)).ok_or_else(damaged)?;
    if blake3::hash(body).as_bytes() != hash {
        return Err(damaged());
    }
    let mut reader = Reader(body.strip_prefix(MARKS_MAGIC).ok_or_else(damaged)?);
    let through = reader.number()?;
    let mut marks = HashMap::new();
    for _ in 0..reader.number()? {
        let source = reader.source()?;
        marks.insert(source, reader.number()?);
    }
    Ok((through, marks))
}

impl Seen<'_> {
    /// The line as memory keeps it; `origin` is shared with the line before where it is the same.
    pub(super) fn stored(&self, before: Option<&Stored>) -> Stored {
        let origin = match before {
            Some(before) if *before.origin == *self.origin => before.origin.clone(),
            _ => self.origin.into(),
        };
        Stored {
            at: self.at,
            position: self.position,
            severity: self.severity,
            origin,
            text: self.text.into(),
        }
    }

    /// The line for the caller.
    pub(super) fn entry(&self) -> super::Entry {
        super::Entry {
            at: Timestamp::from_milliseconds(self.at),
            severity: self.severity,
            origin: self.origin.to_owned(),
            text: self.text.to_owned(),
            position: self.position,
        }
    }
}

impl Stored {
    pub(super) fn seen(&self) -> Seen<'_> {
        let Stored { at, position, severity, ref origin, ref text } = *self;
        Seen { at, position, severity, origin, text }
    }

    /// Bytes that it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.origin.len() + 16
    }
}

struct Writer<'o, 'l> {
    out: &'o mut Vec<u8>,
    at: i64,
    origin: Option<&'l str>,
}

impl<'l> Writer<'_, 'l> {
    fn line(&mut self, at: i64, severity: u8, origin: &'l str, text: &str) {
        put(self.out, zigzag(at.wrapping_sub(self.at)));
        self.at = at;
        self.out.push(severity);
        if self.origin == Some(origin) {
            self.out.push(0);
        } else {
            put(self.out, origin.len() as u64 + 1);
            self.out.extend_from_slice(origin.as_bytes());
            self.origin = Some(origin);
        }
        put_bytes(self.out, text.as_bytes());
    }
}

struct Walker<'a> {
    reader: Reader<'a>,
    at: i64,
    origin: &'a str,
}

impl<'a> Walker<'a> {
    fn line(&mut self, position: u64) -> Result<Seen<'a>> {
        self.at = self.at.wrapping_add(unzigzag(self.reader.number()?));
        let severity = self.reader.byte()?;
        if let Some(length) = self.reader.number()?.checked_sub(1) {
            let length = usize::try_from(length).map_err(|_| damaged())?;
            self.origin = std::str::from_utf8(self.reader.take(length)?).map_err(|_| damaged())?;
        }
        Ok(Seen { at: self.at, position, severity, origin: self.origin, text: self.reader.text()? })
    }
}
