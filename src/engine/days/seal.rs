//! The beginning of a sealed day file, and its seal.
//!
//! A sealed file begins with magic, version, four spare bytes, its identity and a seal over these that proves the key, in
//! 64 bytes; frames follow. Head and body of a frame are each sealed for their place, and the checksums are those of the
//! sealed bytes, so that a file can be read through for damage as any other.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::base::{Error, Result};
use crate::engine::journal::{self, FileId, FileSeal, SEAL_BYTES, Seal};

const MAGIC: &[u8; 8] = b"MUSTERD\0";
const VERSION: u32 = 1;
const CLEAR_BYTES: usize = 32;
/// Bytes before the first frame of a sealed file.
pub(super) const BEGIN_BYTES: u64 = 64;

/// Refuses a folder with a file that is sealed when it should not be, or plain when it should be sealed. Whoever keeps a
/// journal beside the files asks before making one.
pub fn fits(folder: &Path, suffix: &str, sealed: bool) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let mut bytes = [0; MAGIC.len()];
        let file = File::open(&path)?;
        if path.extension().is_none_or(|end| end != suffix) || file.read_exact_at(&mut bytes, 0).is_err() {
            continue;
        }
        match (&bytes == MAGIC, sealed) {
            (true, false) => return Err(journal::is_sealed(&path)),
            (false, true) if bytes != [0; MAGIC.len()] => return Err(journal::is_plain(&path)),
            _ => {}
        }
    }
    Ok(())
}

/// The seal of one file; none leaves it plain.
#[derive(Clone)]
pub(super) struct Sealing(Option<Arc<dyn FileSeal>>);

impl Sealing {
    /// Begins a new, empty file: what it says of itself is durable when this returns.
    pub(super) fn begin(file: &File, seal: Option<&dyn Seal>) -> Result<Sealing> {
        let Some(seal) = seal else { return Ok(Sealing(None)) };
        let id = seal.fresh();
        let seal = seal.file(&id);
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4], &id].concat();
        let clear = bytes.clone();
        seal.seal(&clear, &[], &mut bytes);
        bytes.resize(BEGIN_BYTES as usize, 0);
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        Ok(Sealing(Some(seal)))
    }

    /// Reads what a file says of itself. A crash may have left a file without any of it: that one begins anew.
    pub(super) fn of(file: &File, path: &Path, length: u64, seal: Option<&dyn Seal>) -> Result<Sealing> {
        let mut bytes = vec![0; length.min(BEGIN_BYTES) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let said = bytes.starts_with(MAGIC);
        let short = bytes.len() < BEGIN_BYTES as usize && (said || MAGIC.starts_with(&bytes));
        let unborn = short || length <= BEGIN_BYTES && bytes.iter().all(|byte| *byte == 0);
        match seal {
            None if said => Err(journal::is_sealed(path)),
            None => Ok(Sealing(None)),
            Some(seal) if unborn => {
                file.set_len(0)?;
                Sealing::begin(file, Some(seal))
            }
            Some(_) if !said => Err(journal::is_plain(path)),
            Some(seal) => {
                let mut id = FileId::default();
                id.copy_from_slice(&bytes[16..CLEAR_BYTES]);
                let (clear, rest) = bytes.split_at(CLEAR_BYTES);
                if clear[8..12] != VERSION.to_le_bytes() {
                    return Err(Error::conflict(format!("`{}` has a newer form", path.display()))
                        .hint("run the newer program that wrote it"));
                }
                let seal = seal.file(&id);
                match seal.open(clear, &rest[..SEAL_BYTES], &mut Vec::new()) {
                    true => Ok(Sealing(Some(seal))),
                    false => Err(journal::other_key(path)),
                }
            }
        }
    }

    /// Where the first frame lies.
    pub(super) fn first(&self) -> u64 {
        if self.0.is_some() { BEGIN_BYTES } else { 0 }
    }

    /// What is kept of a part of the frame at `offset`.
    pub(super) fn close(&self, part: Part, offset: u64, plain: &[u8]) -> Vec<u8> {
        let Some(seal) = &self.0 else { return plain.to_vec() };
        let mut sealed = Vec::new();
        seal.seal(&part.place(offset), plain, &mut sealed);
        sealed
    }

    /// What `close` was given. None when it does not open.
    pub(super) fn open(&self, part: Part, offset: u64, stored: Vec<u8>) -> Option<Vec<u8>> {
        let Some(seal) = &self.0 else { return Some(stored) };
        let mut plain = Vec::new();
        seal.open(&part.place(offset), &stored, &mut plain).then_some(plain)
    }
}

/// A part of a frame.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Header = 1,
    Body = 2,
}

impl Part {
    fn place(self, offset: u64) -> [u8; 9] {
        let mut place = [self as u8; 9];
        place[1..].copy_from_slice(&offset.to_le_bytes());
        place
    }
}
