//! Sealing of whole data files, as a trait: who holds the keys implements it, who writes files is handed it.
//!
//! Invariant: what was sealed opens only with the same key, for the same file and at the same place in it.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use super::record::{FRAME_BYTES, Frame};
use super::segment::Mark;
use crate::base::Error;

/// Which file: random, and kept in the file's header. Keys are derived from it.
pub type FileId = [u8; 16];

/// Bytes that sealing adds: a nonce and a tag.
pub const SEAL_BYTES: usize = 28;

/// Gives every file its own seal.
pub trait Seal: Debug + Send + Sync {
    /// The identity of a new file.
    fn fresh(&self) -> FileId;
    /// The seal of a file.
    fn file(&self, id: &FileId) -> Arc<dyn FileSeal>;
}

/// Seals and opens the parts of one file.
pub trait FileSeal: Debug + Send + Sync {
    /// Appends the sealed form of `plain` to `out`: `SEAL_BYTES` more than it has.
    fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>);
    /// Appends what `seal` was given for `place` to `out`. False, and nothing appended, when it does not open.
    fn open(&self, place: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> bool;
}

/// A sealed file met by a program that has no key for it.
pub fn is_sealed(path: &Path) -> Error {
    Error::conflict(format!("`{}` is sealed, and sealing is switched off", path.display()))
        .hint("switch sealing on; a sealed folder stays sealed, also when it is restored")
}

/// A plain file met by a program that seals.
pub fn is_plain(path: &Path) -> Error {
    Error::conflict(format!("`{}` is not sealed, and sealing is switched on", path.display()))
        .hint("switch sealing off; a folder is sealed from its first start on, or not at all")
}

/// A sealed file that another key made.
pub fn other_key(path: &Path) -> Error {
    Error::conflict(format!("`{}` is sealed with another key", path.display()))
        .hint("put back the keys that belong to this data folder, or restore from a backup")
}

/// What is before the sealed part of a stored record: length and number.
const CLEAR_BYTES: usize = 12;

/// Bytes of a record in the file.
pub(super) fn stored_bytes(seal: Option<&dyn FileSeal>, payload: usize) -> usize {
    FRAME_BYTES + payload + if seal.is_some() { SEAL_BYTES } else { 0 }
}

/// Seals framed records one by one, hash and payload of each together, so that the chain is the same as without, and
/// tells nothing. Marks are moved to where their records come to lie.
pub(super) fn records(seal: &dyn FileSeal, plain: &[u8], marks: &mut [Mark]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(plain.len() + plain.len() / 8);
    let mut marks = marks.iter_mut().peekable();
    let mut offset = 0;
    while let Some(frame) = Frame::decode(&plain[offset..]) {
        if let Some(mark) = marks.next_if(|mark| mark.offset == offset as u64) {
            mark.offset = stored.len() as u64;
        }
        let end = offset + FRAME_BYTES + frame.payload_bytes();
        let (clear, hidden) = plain[offset..end].split_at(CLEAR_BYTES);
        stored.extend_from_slice(clear);
        seal.seal(clear, hidden, &mut stored);
        offset = end;
    }
    stored
}

/// Opens the stored record into `plain`, which then holds frame and payload. False when it does not open.
pub(super) fn record(seal: &dyn FileSeal, stored: &[u8], plain: &mut Vec<u8>) -> bool {
    plain.clear();
    let Some((clear, hidden)) = stored.split_at_checked(CLEAR_BYTES) else { return false };
    plain.extend_from_slice(clear);
    seal.open(clear, hidden, plain)
}
