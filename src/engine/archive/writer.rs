//! Writing: entries, compressed, encrypted, counted.

use std::collections::HashSet;
use std::io::{self, BufWriter, Read, Write};

use age::Encryptor;
use age::stream::StreamWriter;
use serde::Serialize;
use zstd::Encoder;

use super::entry::{self, END, MANIFEST, SUMS, Sum, TAR_END_BYTES};
use super::key::Recipient;
use super::pace::Stopped;
use super::source::{BLOCK_BYTES, Listed, PADDING_BYTES};
use super::{BUFFER_BYTES, END_BYTES_MAX, ENTRIES_MAX, MANIFEST_BYTES_MAX, RECIPIENTS_MAX};
use crate::base::{Error, Result};

/// Fast enough that a disk is the limit; a tenth larger than the default level.
const COMPRESSION_LEVEL: i32 = 1;
/// First bytes of a frame that decompression passes over (RFC 8878, 3.1.2).
const SKIPPED_FRAME: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
const SKIPPED_FRAME_HEADER_BYTES: u64 = 8;

/// Writes one backup. Nothing of it can be read until `finish` has returned.
pub struct Writer<W: Write> {
    out: Encoder<'static, Counted<StreamWriter<BufWriter<Counted<W>>>>>,
    sums: Vec<Sum>,
    names: HashSet<String>,
    /// After a failure in the middle of an entry nothing fits any more.
    broken: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Entries, with the manifest and the end but without the sums.
    pub entries: u64,
    /// Bytes of their contents.
    pub bytes_in: u64,
    /// Bytes of the file.
    pub bytes_out: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a backup for these recipients. `out` needs no buffer of its own.
    pub fn begin(out: W, recipients: &[Recipient], manifest: &impl Serialize) -> Result<Writer<W>> {
        if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
            return Err(Error::invalid(format!("a backup is made for 1 to {RECIPIENTS_MAX} recipients"))
                .hint("name the recipients (`age1…`) of the recovery keys that shall open it"));
        }
        let listed = Listed(recipients);
        let all = [&listed as &dyn age::Recipient].into_iter().chain(recipients.iter().map(|r| &r.0 as _));
        let encryptor = Encryptor::with_recipients(all)?;
        let out = BufWriter::with_capacity(BUFFER_BYTES, Counted { inner: out, bytes: 0 });
        let sealed = encryptor.wrap_output(out).map_err(|e| failed(&e))?;
        let mut out = Encoder::new(Counted { inner: sealed, bytes: 0 }, COMPRESSION_LEVEL)?;
        out.include_checksum(true)?;
        let mut writer = Writer { out, sums: Vec::new(), names: HashSet::new(), broken: false };
        writer.json(MANIFEST, manifest, MANIFEST_BYTES_MAX)?;
        Ok(writer)
    }

    /// Adds an entry. Its name is relative, of parts of letters, digits and `._-@+`, and new.
    pub fn entry(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.stream(name, content.len() as u64, &mut { content })
    }

    /// Adds an entry of exactly `bytes` bytes, which `content` must have; what it has beyond them is left.
    pub fn stream(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> Result<()> {
        entry::check_name(name)?;
        self.add(name, bytes, content)
    }

    /// Writes the end and the sums. The file is whole when this has returned; syncing is the caller's.
    pub fn finish(mut self, end: &impl Serialize) -> Result<(W, Summary)> {
        self.json(END, end, END_BYTES_MAX)?;
        let (entries, bytes_in) = (self.sums.len() as u64, self.sums.iter().map(|s| s.bytes).sum());
        let sums = serde_json::to_vec(&self.sums)?;
        self.add(SUMS, sums.len() as u64, &mut sums.as_slice())?;
        let finished = || -> io::Result<Counted<W>> {
            self.out.write_all(&[0; TAR_END_BYTES])?;
            let mut plain = self.out.finish()?;
            let frame = skipped_frame(plain.bytes);
            plain.write_all(&frame)?;
            plain.inner.finish()?.into_inner().map_err(io::IntoInnerError::into_error)
        };
        let mut out = finished().map_err(|e| failed(&e))?;
        out.flush().map_err(|e| failed(&e))?;
        Ok((out.inner, Summary { entries, bytes_in, bytes_out: out.bytes }))
    }

    fn json(&mut self, name: &str, value: &impl Serialize, bytes_max: usize) -> Result<()> {
        let bytes = serde_json::to_vec(value)?;
        if bytes.len() > bytes_max {
            return Err(Error::too_many(format!("`{name}` of a backup has more than {bytes_max} bytes"))
                .hint("keep lists out of it; they belong into entries"));
        }
        self.add(name, bytes.len() as u64, &mut bytes.as_slice())
    }

    fn add(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> Result<()> {
        if self.broken {
            return Err(
                Error::conflict("the backup failed before and cannot be continued").hint("begin it anew")
            );
        }
        // The end and the sums always find room.
        if self.sums.len() >= ENTRIES_MAX && ![END, SUMS].contains(&name) {
            return Err(Error::too_many(format!("a backup has at most {ENTRIES_MAX} entries"))
                .hint("leave telemetry out, or shorten its retention"));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(
                Error::invalid(format!("the entry `{name}` is there already")).hint("choose another name")
            );
        }
        self.broken = true;
        let header = entry::header(name, bytes)?;
        self.out.write_all(header.as_bytes()).map_err(|e| failed(&e))?;
        let blake3 = self.contents(name, bytes, content)?;
        self.out.write_all(&[0; entry::TAR_BLOCK_BYTES][..entry::padding(bytes)]).map_err(|e| failed(&e))?;
        self.sums.push(Sum { name: name.to_owned(), bytes, blake3 });
        self.broken = false;
        Ok(())
    }

    fn contents(&mut self, name: &str, bytes: u64, content: &mut dyn Read) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        let mut left = bytes;
        let mut buffer = vec![0; BUFFER_BYTES.min(bytes as usize)];
        while left > 0 {
            let some = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match content.read(&mut buffer[..some]) {
                Ok(0) => {
                    return Err(Error::unavailable(format!("`{name}` ended {left} bytes before its length"))
                        .hint("it was shortened while it was read; begin the backup anew"));
                }
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if Stopped::caused(&e) => return Err(Stopped::error("the backup")),
                Err(e) => {
                    return Err(Error::unavailable(format!("`{name}` cannot be read for the backup"))
                        .hint("look at the medium and at the system's log")
                        .because(e));
                }
            };
            hasher.update(&buffer[..read]);
            self.out.write_all(&buffer[..read]).map_err(|e| failed(&e))?;
            left -= read as u64;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// The frame that brings the plain bytes to a multiple of `PADDING_BYTES` and never to a multiple of a block: the last
/// block of the file is then short, and of a length by which the end of the file is known.
fn skipped_frame(written: u64) -> Vec<u8> {
    let mut end = (written + SKIPPED_FRAME_HEADER_BYTES).next_multiple_of(PADDING_BYTES);
    if end.is_multiple_of(BLOCK_BYTES) {
        end += PADDING_BYTES;
    }
    let body = end - written - SKIPPED_FRAME_HEADER_BYTES;
    let mut frame = SKIPPED_FRAME.to_vec();
    frame.extend((body as u32).to_le_bytes());
    frame.resize(frame.len() + body as usize, 0);
    frame
}

fn failed(e: &io::Error) -> Error {
    if Stopped::caused(e) {
        return Stopped::error("the backup");
    }
    let hint = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space at the target, then begin it anew"
        }
        _ => "look at the target and at the system's log, then begin it anew",
    };
    Error::unavailable("the backup cannot be written").hint(hint).because(e.to_string())
}

/// Counts what is written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_short_and_of_a_known_length() {
        for written in (0..3 * BLOCK_BYTES).chain([u64::from(u32::MAX)]) {
            let end = written + skipped_frame(written).len() as u64;
            assert!(end.is_multiple_of(PADDING_BYTES) && !end.is_multiple_of(BLOCK_BYTES));
            assert!(end - written < 2 * PADDING_BYTES + SKIPPED_FRAME_HEADER_BYTES);
        }
    }
}
