//! The bytes in which a store leaves its folder: chunks of rows and chunks of changes.
//!
//! Both begin with `MSTR`, one byte for the kind (`R` or `C`) and one for the version (1). Numbers are little-endian.
//!
//! Rows: `[shown u64][name length u16][table name]`, then rows `[key length u32][value length u32][key][value]` to the
//! end; all of one table, in order of key, as they were right after change `shown`. A chunk with an empty name holds no
//! rows: the first chunk of an export is one, `shown` being the change at which it began, and so is the last, `shown`
//! being the change at which it ended.
//!
//! Changes: `[first u64][hash 16]`, then records of the journal as they lie there, to the end. `first` is the number of
//! the first record, the hash that of the record before it.
//!
//! Invariant: a chunk has at most `CHUNK_BYTES_MAX` bytes, or a single row or record.
//! Invariant: a chunk is read without trusting it: no length in it makes anything be reserved or read beyond its end.

use std::ops::Range;

use super::CHANGE_BYTES_MAX;
use crate::base::{Error, Result};
use crate::engine::journal::{Hash, Raw};

/// Bytes of a chunk, unless it holds only one row or record.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a chunk that holds only one row or record: that of the largest change, and what lies around it.
pub const LONE_CHUNK_BYTES_MAX: usize = CHANGE_BYTES_MAX + 64 * 1024;

const ROWS: &[u8; 6] = b"MSTRR\x01";
const CHANGES: &[u8; 6] = b"MSTRC\x01";

/// Gathers rows of one table.
pub(super) struct RowsChunk(Vec<u8>);

impl RowsChunk {
    pub(super) fn begin(mut buffer: Vec<u8>, shown: u64, table: &str) -> Result<RowsChunk> {
        let length = u16::try_from(table.len())
            .map_err(|_| Error::internal(format!("the name of a table has {} bytes", table.len())))?;
        buffer.clear();
        buffer.extend_from_slice(ROWS);
        buffer.extend_from_slice(&shown.to_le_bytes());
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(table.as_bytes());
        Ok(RowsChunk(buffer))
    }

    /// Adds a row, and says whether the chunk takes another.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> bool {
        // Keys and values come from changes, which are far below 4 GiB.
        self.0.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
        self.0.len() < CHUNK_BYTES_MAX
    }

    pub(super) fn fits(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.len() + 8 + key.len() + value.len() <= CHUNK_BYTES_MAX
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Gathers records of the journal.
#[derive(Default)]
pub(super) struct ChangesChunk(Vec<u8>);

impl ChangesChunk {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn fits(&self, raw: &Raw<'_>) -> bool {
        self.0.len() + raw.bytes.len() <= CHUNK_BYTES_MAX
    }

    pub(super) fn add(&mut self, raw: &Raw<'_>) {
        if self.0.is_empty() {
            self.0.extend_from_slice(CHANGES);
            self.0.extend_from_slice(&raw.number.to_le_bytes());
            self.0.extend_from_slice(&raw.previous);
        }
        self.0.extend_from_slice(raw.bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A chunk of rows, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadRows<'a> {
    pub(super) shown: u64,
    /// Empty at the beginning and at the end of an export.
    pub(super) table: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> ReadRows<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<ReadRows<'a>> {
        let mut reader = ReadRows { shown: 0, table: "", bytes, at: 0 };
        reader.kind(ROWS, "rows")?;
        reader.shown = u64::from_le_bytes(reader.fixed()?);
        let length = u16::from_le_bytes(reader.fixed()?);
        let at = reader.at;
        reader.table = std::str::from_utf8(reader.take(length.into())?)
            .map_err(|_| broken("rows", at, "the name of its table is not text"))?;
        if reader.table.is_empty() && reader.at < bytes.len() {
            return Err(broken("rows", reader.at, "it names no table and holds rows"));
        }
        Ok(reader)
    }

    /// The next row: where its key and its value lie in the chunk. None at the end.
    pub(super) fn next(&mut self) -> Result<Option<(Range<usize>, Range<usize>)>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = u32::from_le_bytes(self.fixed()?) as usize;
        let value = u32::from_le_bytes(self.fixed()?) as usize;
        let begin = self.at;
        self.take(key)?;
        self.take(value)?;
        Ok(Some((begin..begin + key, begin + key..begin + key + value)))
    }

    fn kind(&mut self, expected: &[u8; 6], what: &str) -> Result<()> {
        let found: [u8; 6] = self.fixed().map_err(|_| broken(what, 0, "it is too short"))?;
        kind(&found, expected, what)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(N)?);
        Ok(value)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..length).ok_or_else(|| {
            broken("rows", self.at, &format!("{length} bytes should follow, {} do", rest.len()))
        })?;
        self.at += length;
        Ok(taken)
    }
}

/// A chunk of changes, as read. Every record proves that it follows on the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadChanges<'a> {
    /// The number of the next record.
    pub(super) next: u64,
    /// The hash of the record before it.
    pub(super) previous: Hash,
    rest: &'a [u8],
    whole: usize,
}

impl<'a> ReadChanges<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<ReadChanges<'a>> {
        let short = || broken("changes", 0, "it is too short");
        let (found, rest) = bytes.split_first_chunk::<6>().ok_or_else(short)?;
        kind(found, CHANGES, "changes")?;
        let (first, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (previous, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
        let next = u64::from_le_bytes(*first);
        if next == 0 || next == u64::MAX {
            return Err(broken("changes", 6, "its first change has an impossible number"));
        }
        Ok(ReadChanges { next, previous: *previous, rest, whole: bytes.len() })
    }

    /// The next record. None at the end.
    pub(super) fn next(&mut self) -> Result<Option<Raw<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let at = self.whole - self.rest.len();
        let (raw, rest) =
            Raw::take(self.rest, self.next, self.previous).map_err(|e| broken("changes", at, e.message()))?;
        self.rest = rest;
        self.previous = raw.hash;
        self.next =
            self.next.checked_add(1).ok_or_else(|| broken("changes", at, "its number is the last"))?;
        Ok(Some(raw))
    }
}

fn kind(found: &[u8; 6], expected: &[u8; 6], what: &str) -> Result<()> {
    if found[..5] != expected[..5] {
        return Err(broken(what, 0, "it does not begin like one"));
    }
    if found[5] != expected[5] {
        return Err(Error::conflict(format!(
            "a chunk of {what} has format {}, this program reads format {}",
            found[5], expected[5]
        ))
        .hint("run the newer program that wrote it"));
    }
    Ok(())
}

fn broken(what: &str, at: usize, why: &str) -> Error {
    Error::invalid(format!("a chunk of {what} is damaged at byte {at}: {why}"))
        .hint("the backup cannot be used; take another one")
}
