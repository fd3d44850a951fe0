//! redb's file sealed page by page.
//!
//! The file: a header of one block with the file's identity; the first page, which redb writes over and over, in two
//! slots of which the one that is not durable is written; then every other page in its place with nonce and tag.
//!
//! Invariant: the first page is always there as of the last sync or later, whatever a crash tears.
//! Invariant: a page that does not open is an error, but while redb opens the file: there it reads as zeroes, which fits
//! no checksum of redb's, so that a page torn by a crash sends it back to the commit before. A page that was never
//! written reads as zeroes at any time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::engine::journal::{DiskFile, FileId, FileSeal, SEAL_BYTES, Seal};

const MAGIC: &[u8; 8] = b"MUSTERP\0";
const VERSION: u32 = 1;
const PAGE: usize = 4096;
const STORED: usize = PAGE + SEAL_BYTES;
/// The header's block: magic, version, four spare bytes, identity, and a seal over them that proves the key.
const BLOCK: u64 = 4096;
const HEADER_PLAIN: usize = 32;
const HEADER_BYTES: usize = HEADER_PLAIN + SEAL_BYTES;
/// A slot: the sealed count of writes and first page.
const SLOT: usize = 8 + STORED;
const SLOTS: [u64; 2] = [BLOCK, BLOCK + 8192];
/// Where the second page lies.
const REST: u64 = BLOCK + 2 * 8192;

/// Whether a file is sealed. An empty one is not.
pub(super) fn is_sealed(file: &dyn DiskFile) -> io::Result<bool> {
    let mut magic = [0; 8];
    if file.len()? < magic.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut magic, 0)?;
    Ok(&magic == MAGIC)
}

/// A sealed file as redb sees it.
#[derive(Debug)]
pub(super) struct Pages {
    file: Box<dyn DiskFile>,
    seal: Arc<dyn FileSeal>,
    first: Mutex<First>,
    opening: Arc<AtomicBool>,
}

#[derive(Debug)]
struct First {
    page: Vec<u8>,
    /// Writes of it so far.
    count: u64,
    /// The slot that is durable.
    slot: usize,
    /// Whether the other slot was written since the last sync.
    written: bool,
}

impl Pages {
    /// Over a new, empty file.
    pub(super) fn begin(file: Box<dyn DiskFile>, seal: &dyn Seal) -> io::Result<Pages> {
        let id = seal.fresh();
        let seal = seal.file(&id);
        let mut header = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4], &id].concat();
        let plain = header.clone();
        seal.seal(&plain, &[], &mut header);
        header.resize(BLOCK as usize, 0);
        file.write_at(&header, 0)?;
        Ok(Pages::over(file, seal, First { page: vec![0; PAGE], count: 0, slot: 0, written: false }))
    }

    /// Over a file that `is_sealed`. None when another key sealed it.
    pub(super) fn open(file: Box<dyn DiskFile>, seal: &dyn Seal) -> io::Result<Option<Pages>> {
        let mut header = [0; HEADER_BYTES];
        file.read_at(&mut header, 0)?;
        let mut version = [0; 4];
        version.copy_from_slice(&header[8..12]);
        if u32::from_le_bytes(version) > VERSION {
            return Err(io::Error::other("a newer program sealed it"));
        }
        let mut id = FileId::default();
        id.copy_from_slice(&header[16..HEADER_PLAIN]);
        let seal = seal.file(&id);
        let (plain, check) = header.split_at(HEADER_PLAIN);
        if !seal.open(plain, check, &mut Vec::new()) {
            return Ok(None);
        }
        let slots = [slot(&*file, &*seal, 0)?, slot(&*file, &*seal, 1)?];
        let newest = slots.into_iter().flatten().max_by_key(|first| first.count);
        let first = newest.ok_or_else(|| io::Error::other("its first page does not open"))?;
        Ok(Some(Pages::over(file, seal, first)))
    }

    fn over(file: Box<dyn DiskFile>, seal: Arc<dyn FileSeal>, first: First) -> Pages {
        Pages { file, seal, first: Mutex::new(first), opening: Arc::new(AtomicBool::new(true)) }
    }

    /// To be set to false when redb has opened the file.
    pub(super) fn opening(&self) -> Arc<AtomicBool> {
        self.opening.clone()
    }

    /// Opens the stored pages from page `number` on into `out`.
    fn unseal(&self, mut number: u64, stored: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        for page in stored.chunks(STORED) {
            if !self.seal.open(&number.to_le_bytes(), page, out) {
                if !self.opening.load(Ordering::Acquire) && page.iter().any(|byte| *byte != 0) {
                    return Err(io::Error::other(format!("page {number} does not open")));
                }
                out.resize(out.len() + PAGE, 0);
            }
            number += 1;
        }
        Ok(())
    }

    fn write_first(&self, offset: usize, data: &[u8]) -> io::Result<()> {
        let mut first = self.first.lock();
        first.page[offset..offset + data.len()].copy_from_slice(data);
        first.count += 1;
        let slot = 1 - first.slot;
        let plain = [&first.count.to_le_bytes()[..], &first.page].concat();
        let mut stored = Vec::with_capacity(SLOT);
        self.seal.seal(&slot_place(slot), &plain, &mut stored);
        first.written = true;
        self.file.write_at(&stored, SLOTS[slot])
    }
}

fn slot_place(slot: usize) -> [u8; 9] {
    let mut place = [0xFF; 9];
    place[8] = slot as u8;
    place
}

fn slot(file: &dyn DiskFile, seal: &dyn FileSeal, slot: usize) -> io::Result<Option<First>> {
    if file.len()? < SLOTS[slot] + SLOT as u64 {
        return Ok(None);
    }
    let (mut stored, mut plain) = (vec![0; SLOT], Vec::with_capacity(SLOT));
    file.read_at(&mut stored, SLOTS[slot])?;
    if !seal.open(&slot_place(slot), &stored, &mut plain) {
        return Ok(None);
    }
    let page = plain.split_off(8);
    let mut count = [0; 8];
    count.copy_from_slice(&plain);
    Ok(Some(First { page, count: u64::from_le_bytes(count), slot, written: false }))
}

fn place_of(page: u64) -> u64 {
    REST + (page - 1) * STORED as u64
}

fn whole_pages(bytes: u64) -> io::Result<u64> {
    match bytes % PAGE as u64 {
        0 => Ok(bytes / PAGE as u64),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a whole page")),
    }
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        let stored = self.file.len()?;
        Ok(match stored.checked_sub(REST) {
            Some(rest) => (1 + rest / STORED as u64) * PAGE as u64,
            None => 0,
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (from, to) = (offset / PAGE as u64, end.div_ceil(PAGE as u64));
        let mut plain = Vec::with_capacity((to - from) as usize * PAGE);
        if from == 0 {
            plain.extend_from_slice(&self.first.lock().page);
        }
        let begin = from.max(1);
        if to > begin {
            let mut stored = vec![0; (to - begin) as usize * STORED];
            self.file.read_at(&mut stored, place_of(begin))?;
            self.unseal(begin, &stored, &mut plain)?;
        }
        let skip = (offset % PAGE as u64) as usize;
        out.copy_from_slice(&plain[skip..skip + out.len()]);
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(match whole_pages(bytes)? {
            0 => BLOCK,
            pages => place_of(pages),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut first = self.first.lock();
        self.file.sync()?;
        if first.written {
            first.slot = 1 - first.slot;
            first.written = false;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut data = data;
        let mut number = offset / PAGE as u64;
        if number == 0 {
            let begin = offset as usize;
            let (head, rest) = data.split_at(data.len().min(PAGE - begin));
            self.write_first(begin, head)?;
            (data, number) = (rest, 1);
        } else {
            whole_pages(offset)?;
        }
        whole_pages(data.len() as u64)?;
        let begin = number;
        let mut stored = Vec::with_capacity(data.len() / PAGE * STORED);
        for page in data.chunks(PAGE) {
            self.seal.seal(&number.to_le_bytes(), page, &mut stored);
            number += 1;
        }
        if stored.is_empty() { Ok(()) } else { self.file.write_at(&stored, place_of(begin)) }
    }
}
