//! The bytes of a segment's header and of a record.

use std::sync::Arc;

use super::seal::{FileId, FileSeal, SEAL_BYTES, Seal};

/// Bytes of a plain segment's header.
pub(super) const HEADER_BYTES: usize = 56;
/// Bytes before a record's payload.
pub(super) const FRAME_BYTES: usize = 28;
/// The format of a plain file.
const VERSION: u32 = 1;
/// The format of a sealed file; also the newest that this program knows.
pub(super) const SEALED_VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"MUSTERJ\0";
const BATCH: u32 = 1 << 31;

/// A hash of the chain.
pub type Hash = [u8; 16];

/// The part of a hash that outsiders keep.
pub(super) fn fingerprint(hash: &Hash) -> u64 {
    u64_at(hash, 0)
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Number of its first record.
    pub(super) first: u64,
    /// Hash of the record before that.
    pub(super) previous: Hash,
}

/// Why a header was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Damaged,
    Newer(u32),
    Sealed,
    Plain,
    OtherKey,
}

/// The seal of one file, and how the file is called in it.
pub(super) type Sealing = (FileId, Arc<dyn FileSeal>);

impl Header {
    /// A sealed one goes on with the file's identity and a seal over all of it, which proves the key.
    pub(super) fn encode(&self, sealing: Option<&Sealing>) -> Vec<u8> {
        let version = if sealing.is_some() { SEALED_VERSION } else { VERSION };
        let mut bytes = [&MAGIC[..], &version.to_le_bytes(), &[0; 4]].concat();
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.previous);
        if let Some((id, seal)) = sealing {
            bytes.extend_from_slice(id);
            let clear = bytes.clone();
            seal.seal(&clear, &[], &mut bytes);
        }
        let sum = short(&blake3::hash(&bytes));
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// The header, and the seal of the file when there is to be one.
    pub(super) fn decode(
        bytes: &[u8],
        seal: Option<&dyn Seal>,
    ) -> Result<(Header, Option<Arc<dyn FileSeal>>), BadHeader> {
        if bytes.len() < HEADER_BYTES || &bytes[..8] != MAGIC {
            return Err(BadHeader::Damaged);
        }
        let version = u32_at(bytes, 8);
        if version > SEALED_VERSION {
            return Err(BadHeader::Newer(version));
        }
        let whole = header_bytes(version == SEALED_VERSION);
        let (text, sum) = bytes.get(..whole).ok_or(BadHeader::Damaged)?.split_at(whole - 16);
        if short(&blake3::hash(text)) != sum {
            return Err(BadHeader::Damaged);
        }
        let header = Header { first: u64_at(bytes, 16), previous: hash_at(bytes, 24) };
        match (seal, version == SEALED_VERSION) {
            (None, false) => Ok((header, None)),
            (None, true) => Err(BadHeader::Sealed),
            (Some(_), false) => Err(BadHeader::Plain),
            (Some(seal), true) => {
                let seal = seal.file(&hash_at(bytes, 40));
                let (clear, check) = text.split_at(56);
                match seal.open(clear, check, &mut Vec::new()) {
                    true => Ok((header, Some(seal))),
                    false => Err(BadHeader::OtherKey),
                }
            }
        }
    }
}

/// Bytes of a header.
pub(super) fn header_bytes(sealed: bool) -> usize {
    HEADER_BYTES + if sealed { size_of::<FileId>() + SEAL_BYTES } else { 0 }
}

/// Whether these are the bytes of a file whose making was cut short: less than a header, or zeroes in its place.
pub(super) fn is_unborn(bytes: &[u8]) -> bool {
    bytes.len() < HEADER_BYTES
        || bytes.len() <= header_bytes(true) && bytes.iter().all(|byte| *byte == 0)
        || bytes.len() < header_bytes(true) && u32_at(bytes, 8) == SEALED_VERSION
}

/// The bytes before a payload, as read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    length: u32,
    pub(super) number: u64,
    pub(super) hash: Hash,
}

impl Frame {
    pub(super) fn decode(bytes: &[u8]) -> Option<Frame> {
        let bytes: &[u8; FRAME_BYTES] = bytes.first_chunk()?;
        Some(Frame { length: u32_at(bytes, 0), number: u64_at(bytes, 4), hash: hash_at(bytes, 12) })
    }

    /// Bytes of the payload.
    pub(super) fn payload_bytes(&self) -> usize {
        (self.length & !BATCH) as usize
    }

    /// Whether it is the first record of what one sync made durable.
    pub(super) fn begins_batch(&self) -> bool {
        self.length & BATCH != 0
    }

    /// Whether the payload belongs to this frame and follows on the record with hash `previous`.
    pub(super) fn fits(&self, previous: &Hash, payload: &[u8]) -> bool {
        chain(previous, self.length, self.number, payload) == self.hash
    }
}

/// Appends a framed record to `buffer` and returns its hash.
pub(super) fn encode(
    buffer: &mut Vec<u8>,
    previous: &Hash,
    number: u64,
    begins_batch: bool,
    payload: &[u8],
) -> Hash {
    let length = payload.len() as u32 | if begins_batch { BATCH } else { 0 };
    let hash = chain(previous, length, number, payload);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.extend_from_slice(&hash);
    buffer.extend_from_slice(payload);
    hash
}

fn chain(previous: &Hash, length: u32, number: u64, payload: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous).update(&length.to_le_bytes()).update(&number.to_le_bytes()).update(payload);
    short(&hasher.finalize())
}

fn short(hash: &blake3::Hash) -> Hash {
    hash_at(hash.as_bytes(), 0)
}

// The three below are called with offsets inside fixed arrays.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn hash_at(bytes: &[u8], at: usize) -> Hash {
    let mut value = [0; 16];
    value.copy_from_slice(&bytes[at..at + 16]);
    value
}
