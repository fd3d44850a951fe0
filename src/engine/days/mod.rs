//! Day files: checksummed frames appended to one file a UTC day, so that retention is unlinking a file.
//!
//! Series and logs keep their blocks in them. A file only grows, so that a copy of its first bytes, up to a length that
//! [`Days::files`] gave, is whole whenever it is made.
//!
//! Frame: magic (4), header length u32, body length u32, header checksum (8), body checksum (8), header, body, zeroes
//! up to a multiple of 8. Integers are little-endian; a checksum is the first 8 bytes of BLAKE3, and the header's
//! covers both lengths.
//!
//! Invariant: a frame counts only when its checksums hold; a torn tail is cut off at open, damage in the middle is
//! stepped over and counted, and what follows it stays readable.
//! Invariant: nothing is durable before `sync` has returned, and a failed sync makes every later append fail.
//! Invariant: a damaged frame that is known to have been synced stays where it is, so that `verify` can name it.

pub mod bytes;
mod recover;
mod seal;
mod verify;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

pub use recover::{Sealed, forgotten, open_journal};
pub use seal::fits;
pub use verify::{Damage, Verified};

use crate::base::{Error, Result, Timestamp};
use crate::engine::journal::{DiskFile, Seal, create_folder, sync_folder};
use seal::{Part, Sealing};

const MILLISECONDS_A_DAY: i64 = 86_400_000;
const PREFIX: usize = 28;
const ALIGN: u64 = 8;
/// Bytes of one header or body; a longer length in a file is damage.
const PART_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// The UTC day of an instant, counted from 1970-01-01.
pub fn day_of(at: Timestamp) -> i32 {
    at.milliseconds().div_euclid(MILLISECONDS_A_DAY) as i32
}

/// The first millisecond of a day.
pub fn day_start(day: i32) -> i64 {
    i64::from(day) * MILLISECONDS_A_DAY
}

/// A day's file, as far as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayFile {
    /// Its name: the day and the suffix.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes that are synced and whole; more may be appended at any time.
    pub bytes: u64,
}

/// How much a day takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayBytes {
    /// The day: `2026-11-25`.
    pub day: String,
    /// Bytes of its file.
    pub bytes: u64,
}

/// Where a frame lies. Small, because there is one in memory for every block on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which file.
    pub day: i32,
    /// Offset in units of eight bytes.
    offset: u32,
    /// Bytes without the padding.
    length: u32,
}

/// Header and body of one frame, checked.
pub struct Frame {
    header: Vec<u8>,
    body: Vec<u8>,
}

impl Frame {
    /// What stands before the body.
    pub fn header(&self) -> &[u8] {
        &self.header
    }
    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// All day files of one folder.
pub struct Days {
    folder: PathBuf,
    suffix: &'static str,
    magic: [u8; 4],
    seal: Option<Arc<dyn Seal>>,
    files: RwLock<BTreeMap<i32, Arc<Opened>>>,
    appending: Mutex<()>,
    failed: AtomicBool,
    damaged: AtomicU64,
}

struct Opened {
    file: File,
    length: AtomicU64,
    dirty: AtomicBool,
    sealing: Sealing,
}

impl Days {
    /// Opens the folder and shows every frame's place and header to `visit`, in the order they were written per day.
    /// `synced` says of a header whether its frame is known to have been synced, so that damage at the end of a file is
    /// told from a write that a crash tore.
    pub fn open(
        folder: &Path,
        suffix: &'static str,
        magic: [u8; 4],
        seal: Option<Arc<dyn Seal>>,
        synced: impl Fn(&[u8]) -> bool,
        mut visit: impl FnMut(&Days, Place, &[u8]) -> Result<()>,
    ) -> Result<Days> {
        create_folder(folder)?;
        let days = Days {
            folder: folder.to_owned(),
            suffix,
            magic,
            seal,
            files: RwLock::default(),
            appending: Mutex::new(()),
            failed: AtomicBool::new(false),
            damaged: AtomicU64::new(0),
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let date = name.strip_suffix(suffix).and_then(|n| n.strip_suffix('.'));
            if let Some(at) = date.and_then(|d| format!("{d}T00:00:00Z").parse::<Timestamp>().ok()) {
                found.push((day_of(at), path));
            }
        }
        found.sort();
        for (day, path) in found {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            // After a sync that failed, memory goes on showing what the disk never got.
            DiskFile::settle(&file)?;
            let sealing = Sealing::of(&file, &path, file.metadata()?.len(), days.seal.as_deref())?;
            let length = file.metadata()?.len();
            let opened = Arc::new(Opened {
                file,
                length: AtomicU64::new(length),
                dirty: AtomicBool::new(false),
                sealing,
            });
            days.files.write().insert(day, opened.clone());
            days.scan(day, &opened, &synced, &mut visit)?;
        }
        Ok(days)
    }

    fn scan(
        &self,
        day: i32,
        file: &Opened,
        synced: &impl Fn(&[u8]) -> bool,
        visit: &mut impl FnMut(&Days, Place, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let length = file.length.load(Ordering::Relaxed);
        let mut offset = file.sealing.first();
        let mut last = None;
        while offset < length {
            match self.header_at(file, offset, length)? {
                Some((header, total)) => {
                    let place = place(day, offset, total)?;
                    // The last frame is visited only when its body holds too: it is the one that may be torn.
                    if let Some((place, header)) = last.replace((place, header)) {
                        visit(self, place, &header)?;
                    }
                    offset += padded(total);
                }
                None => match self.next_sound(file, offset + ALIGN, length)? {
                    Some(next) => {
                        tracing::warn!(offset, next, "damaged bytes in day file `{}`", self.name(day));
                        self.damaged.fetch_add(1, Ordering::Relaxed);
                        offset = next;
                    }
                    None => break,
                },
            }
        }
        let mut end = offset.min(length);
        if let Some((place, header)) = last {
            if self.read(place)?.is_some() || synced(&header) {
                visit(self, place, &header)?;
            } else {
                end = u64::from(place.offset) * ALIGN;
            }
        }
        end = padded(end);
        if end != length {
            tracing::warn!(from = length, to = end, "mended the torn tail of day file `{}`", self.name(day));
            file.file.set_len(end)?;
            file.file.sync_all()?;
            file.length.store(end, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The header of the frame at `offset` and the frame's whole length, when it is sound and fits into the file.
    fn header_at(&self, file: &Opened, offset: u64, end: u64) -> Result<Option<(Vec<u8>, u64)>> {
        let mut bytes = vec![0; 1024.min((end - offset) as usize)];
        file.file.read_exact_at(&mut bytes, offset)?;
        if bytes.len() < PREFIX || bytes[..4] != self.magic {
            return Ok(None);
        }
        let (header_length, body_length) = (u32_at(&bytes, 4), u32_at(&bytes, 8));
        let total = PREFIX as u64 + u64::from(header_length) + u64::from(body_length);
        if header_length > PART_BYTES_MAX || body_length > PART_BYTES_MAX || offset + total > end {
            return Ok(None);
        }
        let read = bytes.len();
        bytes.resize(PREFIX + header_length as usize, 0);
        if bytes.len() > read {
            file.file.read_exact_at(&mut bytes[read..], offset + read as u64)?;
        }
        if header_checksum(header_length, body_length, &bytes[PREFIX..]) != bytes[12..20] {
            return Ok(None);
        }
        bytes.drain(..PREFIX);
        Ok(file.sealing.open(Part::Header, offset, bytes).map(|header| (header, total)))
    }

    /// The next aligned offset at which a sound header stands.
    fn next_sound(&self, file: &Opened, from: u64, end: u64) -> Result<Option<u64>> {
        let mut window = vec![0; 64 * 1024];
        let mut offset = from;
        while offset < end {
            let part = (window.len() as u64).min(end - offset) as usize;
            file.file.read_exact_at(&mut window[..part], offset)?;
            for at in (0..part).step_by(ALIGN as usize) {
                let here = offset + at as u64;
                if window[at..part].starts_with(&self.magic) && self.header_at(file, here, end)?.is_some() {
                    return Ok(Some(here));
                }
            }
            offset += part as u64;
        }
        Ok(None)
    }

    /// Appends a frame; it is durable after `sync`.
    pub fn append(&self, day: i32, header: &[u8], body: &[u8]) -> Result<Place> {
        let _one = self.appending.lock();
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::unavailable("an earlier sync of the day files failed")
                .hint("look at the disk, then start again"));
        }
        let file = self.file(day)?;
        let offset = file.length.load(Ordering::Relaxed);
        let header = &file.sealing.close(Part::Header, offset, header)[..];
        let body = &file.sealing.close(Part::Body, offset, body)[..];
        let (header_length, body_length) = (header.len() as u32, body.len() as u32);
        let total = (PREFIX + header.len() + body.len()) as u64;
        let mut frame = Vec::with_capacity(padded(total) as usize);
        frame.extend_from_slice(&self.magic);
        frame.extend_from_slice(&header_length.to_le_bytes());
        frame.extend_from_slice(&body_length.to_le_bytes());
        frame.extend_from_slice(&header_checksum(header_length, body_length, header));
        frame.extend_from_slice(&checksum(body));
        frame.extend_from_slice(header);
        frame.extend_from_slice(body);
        frame.resize(padded(total) as usize, 0);
        let place = place(day, offset, total)?;
        file.dirty.store(true, Ordering::Relaxed);
        // A failed write may leave bytes behind `length`; the next append overwrites them.
        file.file.write_all_at(&frame, offset)?;
        file.length.store(offset + frame.len() as u64, Ordering::Relaxed);
        Ok(place)
    }

    fn file(&self, day: i32) -> Result<Arc<Opened>> {
        if let Some(file) = self.files.read().get(&day) {
            return Ok(file.clone());
        }
        let path = self.folder.join(self.name(day));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        sync_folder(&self.folder)?;
        let sealing = Sealing::begin(&file, self.seal.as_deref())?;
        let length = AtomicU64::new(sealing.first());
        let file = Arc::new(Opened { file, length, dirty: AtomicBool::new(true), sealing });
        self.files.write().insert(day, file.clone());
        Ok(file)
    }

    /// Makes every appended frame durable.
    pub fn sync(&self) -> Result<()> {
        let files: Vec<_> = self.files.read().values().cloned().collect();
        for file in files {
            if file.dirty.swap(false, Ordering::Relaxed)
                && let Err(e) = file.file.sync_data()
            {
                // After a failed sync the kernel may have dropped the pages: nothing here can be trusted any more.
                self.failed.store(true, Ordering::Relaxed);
                return Err(e.into());
            }
        }
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::unavailable("an earlier sync of the day files failed"));
        }
        Ok(())
    }

    /// Reads a frame; nothing when its day is gone or its checksums do not hold.
    pub fn read(&self, place: Place) -> Result<Option<Frame>> {
        let Some(file) = self.files.read().get(&place.day).cloned() else { return Ok(None) };
        let frame = self.frame(&file, place)?;
        if frame.is_none() {
            tracing::warn!(
                offset = u64::from(place.offset) * ALIGN,
                "damaged frame in `{}`",
                self.name(place.day)
            );
            self.damaged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(frame)
    }

    fn frame(&self, file: &Opened, place: Place) -> Result<Option<Frame>> {
        let mut bytes = vec![0; place.length as usize];
        file.file.read_exact_at(&mut bytes, u64::from(place.offset) * ALIGN)?;
        let (header_length, body_length) = (u32_at(&bytes, 4), u32_at(&bytes, 8));
        let split = PREFIX + header_length as usize;
        let sound = bytes[..4] == self.magic
            && split + body_length as usize == bytes.len()
            && header_checksum(header_length, body_length, &bytes[PREFIX..split]) == bytes[12..20]
            && checksum(&bytes[split..]) == bytes[20..28];
        if !sound {
            return Ok(None);
        }
        let body = bytes.split_off(split);
        bytes.drain(..PREFIX);
        let offset = u64::from(place.offset) * ALIGN;
        let header = file.sealing.open(Part::Header, offset, bytes);
        let body = file.sealing.open(Part::Body, offset, body);
        Ok(header.zip(body).map(|(header, body)| Frame { header, body }))
    }

    /// Every day's file with the bytes of it that are synced.
    pub fn files(&self) -> Result<Vec<DayFile>> {
        let _one = self.appending.lock();
        self.sync()?;
        let files = self.files.read();
        Ok(files
            .iter()
            .map(|(day, file)| {
                let name = self.name(*day);
                let path = self.folder.join(&name);
                DayFile { name, path, bytes: file.length.load(Ordering::Relaxed) }
            })
            .collect())
    }

    /// Every day with the bytes of its file, oldest first.
    pub fn sizes(&self) -> Vec<DayBytes> {
        let files = self.files.read();
        let size = |(day, file): (&i32, &Arc<Opened>)| DayBytes {
            day: date(*day),
            bytes: file.length.load(Ordering::Relaxed),
        };
        files.iter().map(size).collect()
    }

    /// The oldest day that has a file, when it is before `day`.
    pub fn oldest_before(&self, day: i32) -> Option<i32> {
        self.files.read().range(..day).next().map(|(oldest, _)| *oldest)
    }

    /// Unlinks the files of the days before `day` and says how many there were.
    pub fn unlink_before(&self, day: i32) -> Result<usize> {
        let _one = self.appending.lock();
        let gone: Vec<i32> = self.files.read().range(..day).map(|(day, _)| *day).collect();
        for day in &gone {
            match fs::remove_file(self.folder.join(self.name(*day))) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => self.files.write().remove(day),
            };
        }
        if !gone.is_empty() {
            sync_folder(&self.folder)?;
        }
        Ok(gone.len())
    }

    /// Where the files lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Days with a file.
    pub fn days(&self) -> Vec<i32> {
        self.files.read().keys().copied().collect()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.read().values().map(|f| f.length.load(Ordering::Relaxed)).sum()
    }

    /// Damaged places met since the open.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    fn name(&self, day: i32) -> String {
        format!("{}.{}", date(day), self.suffix)
    }
}

/// A day as a date: `2026-11-25`.
pub fn date(day: i32) -> String {
    Timestamp::from_milliseconds(day_start(day)).day()
}

fn place(day: i32, offset: u64, total: u64) -> Result<Place> {
    match (u32::try_from(offset / ALIGN), u32::try_from(total)) {
        (Ok(offset), Ok(length)) => Ok(Place { day, offset, length }),
        _ => Err(Error::too_many("the day file is full").hint("one day holds at most 32 GiB")),
    }
}

fn padded(length: u64) -> u64 {
    length.next_multiple_of(ALIGN)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    eight
}

fn header_checksum(header_length: u32, body_length: u32, header: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header_length.to_le_bytes()).update(&body_length.to_le_bytes()).update(header);
    let mut eight = [0; 8];
    eight.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    eight
}
