//! Reading everything: every frame's checksums and what is in it.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ALIGN, Days, Opened, padded, place};
use crate::base::{Error, Kind, Result};
use crate::engine::journal::Journal;

/// A place that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file; the journal's folder when its records are broken.
    pub file: PathBuf,
    /// The byte at which the damaged part begins.
    pub byte: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What reading everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Day files read.
    pub files: u64,
    /// Sound blocks in them.
    pub blocks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Sound records of the journal.
    pub records: u64,
    /// The first damaged places.
    pub damaged: Vec<Damage>,
    /// All damaged places.
    pub damaged_count: u64,
}

impl Verified {
    /// Damaged places that are kept.
    pub const DAMAGED_MAX: usize = 1_000;

    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damaged_count == 0
    }

    fn add(&mut self, file: PathBuf, byte: u64, what: impl Into<String>) {
        self.damaged_count += 1;
        if self.damaged.len() < Verified::DAMAGED_MAX {
            self.damaged.push(Damage { file, byte, what: what.into() });
        }
    }

    /// Reads every record of the journal and hands it to `look`.
    pub fn journal(
        &mut self,
        journal: &Journal,
        folder: PathBuf,
        mut look: impl FnMut(u64, &[u8]) -> Result<()>,
        step: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut next = journal.first_number();
        loop {
            let read = match journal.read(next, READ_RECORDS) {
                Ok(read) => read,
                // Sealing has let the beginning go meanwhile.
                Err(e) if e.kind() == Kind::NotFound && journal.first_number() > next => {
                    next = journal.first_number();
                    continue;
                }
                Err(e) => {
                    self.add(folder, 0, e.detail());
                    return Ok(());
                }
            };
            let Some((last, _)) = read.last() else { return Ok(()) };
            next = last + 1;
            for (number, payload) in &read {
                step(payload.len() as u64)?;
                match look(*number, payload) {
                    Ok(()) => self.records += 1,
                    Err(e) => self.add(folder.clone(), 0, format!("record {number}: {}", e.detail())),
                }
            }
        }
    }
}

/// Records of the journal that are in memory at once.
const READ_RECORDS: usize = 64;

impl Days {
    /// Reads every frame of every file and hands header and body to `look`, which says whether they can be understood.
    /// `step` is told the bytes read before each frame; its error ends the reading, so that it can pause or stop.
    pub fn verify(
        &self,
        verified: &mut Verified,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<()>,
        step: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        for day in self.days() {
            // A day that retention unlinks stays readable while it is open here.
            let Some(file) = self.files.read().get(&day).cloned() else { continue };
            let path = self.folder.join(self.name(day));
            verified.files += 1;
            if let Err(e) = self.verify_file(day, &file, verified, &mut look, step)? {
                verified.add(path, 0, format!("it cannot be read: {}", e.detail()));
            }
        }
        Ok(())
    }

    /// The outer error is that of `step`, the inner one of the disk.
    fn verify_file(
        &self,
        day: i32,
        file: &Arc<Opened>,
        verified: &mut Verified,
        look: &mut impl FnMut(&[u8], &[u8]) -> Result<()>,
        step: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<std::result::Result<(), Error>> {
        let path = self.folder.join(self.name(day));
        let length = file.length.load(Ordering::Acquire);
        verified.bytes += length;
        let mut offset = file.sealing.first();
        while offset < length {
            let found = match self.header_at(file, offset, length) {
                Ok(found) => found,
                Err(e) => return Ok(Err(e)),
            };
            let Some((_, total)) = found else {
                let next = match self.next_sound(file, offset + ALIGN, length) {
                    Ok(next) => next.unwrap_or(length),
                    Err(e) => return Ok(Err(e)),
                };
                let lost = next - offset;
                verified.add(path.clone(), offset, format!("{lost} bytes are no block: its head is damaged"));
                step(lost)?;
                offset = next;
                continue;
            };
            step(total)?;
            let frame = match self.frame(file, place(day, offset, total)?) {
                Ok(frame) => frame,
                Err(e) => return Ok(Err(e)),
            };
            match frame.map(|frame| look(frame.header(), frame.body())) {
                Some(Ok(())) => verified.blocks += 1,
                Some(Err(e)) => {
                    verified.add(
                        path.clone(),
                        offset,
                        format!("the block cannot be understood: {}", e.detail()),
                    );
                }
                None => verified.add(path.clone(), offset, "the block's checksum does not hold"),
            }
            if let Some(byte) = self.padding(file, offset + total, offset + padded(total)) {
                verified.add(path.clone(), byte, "a byte between two blocks is not zero");
            }
            offset += padded(total);
        }
        Ok(Ok(()))
    }

    /// The first byte of a frame's padding that is not zero.
    fn padding(&self, file: &Opened, from: u64, to: u64) -> Option<u64> {
        let mut bytes = [0; ALIGN as usize];
        let bytes = &mut bytes[..(to - from) as usize];
        file.file.read_exact_at(bytes, from).ok()?;
        bytes.iter().position(|byte| *byte != 0).map(|at| from + at as u64)
    }
}
