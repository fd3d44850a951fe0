//! Reading: every byte authenticated, every entry proved by the sums at the end.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};

use serde::de::DeserializeOwned;
use tar::Header;
use zstd::Decoder;

use super::entry::{self, END, MANIFEST, SUMS, Sum, TAR_BLOCK_BYTES, TAR_END_BYTES};
use super::key::{Recipient, RecoveryKey};
use super::source::{Source, Watch};
use super::{BUFFER_BYTES, END_BYTES_MAX, ENTRIES_MAX, MANIFEST_BYTES_MAX, SUMS_BYTES_MAX, WINDOW_LOG_MAX};
use crate::base::{Error, Result};

/// Reads one backup from its beginning to its end.
///
/// What `each` hands out is authentic in every block, but that all of it is there and in its place is known only when
/// `each` has returned: whoever restores must throw away what he has when it fails.
pub struct Reader<R: Read> {
    plain: Plain<R>,
    recipients: Vec<Recipient>,
    manifest: Vec<u8>,
    end: Option<Vec<u8>>,
    seen: HashMap<String, (u64, blake3::Hash)>,
}

/// What a whole backup was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Entries, with the manifest and the end but without the sums.
    pub entries: u64,
    /// Bytes of their contents.
    pub bytes_in: u64,
    /// Bytes of the file.
    pub bytes_out: u64,
}

/// Reads the manifest alone, which is the beginning of the file: what it says is authentic, but the rest of the file may
/// be damaged.
pub fn inspect<T: DeserializeOwned>(input: impl Read, name: &str, keys: &[RecoveryKey]) -> Result<T> {
    Reader::open(input, name, keys)?.manifest()
}

impl<R: Read> Reader<R> {
    /// Opens a backup with whichever of `keys` fits, and reads its manifest. `name` stands in every error. `input`
    /// needs no buffer.
    pub fn open(input: R, name: &str, keys: &[RecoveryKey]) -> Result<Reader<R>> {
        let (source, recipients) = Source::open(input, name, keys)?;
        let watch = source.watch();
        let mut zstd = Decoder::with_buffer(BufReader::with_capacity(BUFFER_BYTES, source))?;
        zstd.window_log_max(WINDOW_LOG_MAX)?;
        let plain = Plain { zstd, watch, broken: false };
        let seen = HashMap::new();
        let mut reader = Reader { plain, recipients, manifest: Vec::new(), end: None, seen };
        match reader.plain.next()? {
            Some((name, bytes)) if name == MANIFEST => {
                reader.manifest = reader.whole(&name, bytes, MANIFEST_BYTES_MAX)?;
            }
            _ => return Err(reader.plain.wrong("does not begin with its manifest")),
        }
        Ok(reader)
    }

    /// What was known when the backup was begun.
    pub fn manifest<T: DeserializeOwned>(&self) -> Result<T> {
        self.json(MANIFEST, &self.manifest)
    }

    /// Whom the backup was made for.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// Hands every entry with its name and length to `f`, in the order of the file, and proves the whole. What `f` does
    /// not read of an entry is read and proved all the same. An error of `f` ends it.
    pub fn each(&mut self, f: &mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<()>) -> Result<Verified> {
        if self.end.is_some() || self.plain.broken {
            return Err(self.plain.watch.error(|name, _| {
                Error::conflict(format!("`{name}` has been read already")).hint("open it anew")
            }));
        }
        while let Some((name, bytes)) = self.plain.next()? {
            match name.as_str() {
                SUMS => return self.prove(bytes),
                _ if self.end.is_some() => {
                    return Err(self.plain.wrong(&format!("has an entry `{name}` after its end")));
                }
                END => self.end = Some(self.whole(&name, bytes, END_BYTES_MAX)?),
                _ => self.hand_out(&name, bytes, f)?,
            }
        }
        Err(self.plain.wrong("has no sums at its end"))
    }

    /// What was known when the backup was finished; `each` must have returned.
    pub fn end<T: DeserializeOwned>(&self) -> Result<T> {
        let end = self.end.as_deref().ok_or_else(|| {
            Error::conflict(format!("`{}` has not been read to its end", self.plain.watch.name()))
                .hint("the end is known when all entries were read")
        })?;
        self.json(END, end)
    }

    fn json<T: DeserializeOwned>(&self, entry: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|e| {
            self.plain.watch.error(|name, _| {
                Error::invalid(format!("`{entry}` of `{name}` cannot be read by this version"))
                    .hint("use the version of the program that made it, or a newer one")
                    .because(e)
            })
        })
    }

    /// Reads an entry of at most `bytes_max` bytes into memory.
    fn whole(&mut self, name: &str, bytes: u64, bytes_max: usize) -> Result<Vec<u8>> {
        if bytes > bytes_max as u64 {
            return Err(self.plain.wrong(&format!("has a `{name}` of more than {bytes_max} bytes")));
        }
        let mut content = Vec::with_capacity(bytes as usize);
        self.hand_out(name, bytes, &mut |_, _, from| {
            from.read_to_end(&mut content)?;
            Ok(())
        })?;
        Ok(content)
    }

    fn hand_out(
        &mut self,
        name: &str,
        bytes: u64,
        f: &mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        if self.seen.len() > ENTRIES_MAX {
            return Err(self.plain.wrong(&format!("has more than {ENTRIES_MAX} entries")));
        }
        if self.seen.contains_key(name) {
            return Err(self.plain.wrong(&format!("has the entry `{name}` twice")));
        }
        let mut content = Content { plain: &mut self.plain, left: bytes, hasher: blake3::Hasher::new() };
        let outcome = f(name, bytes, &mut content);
        if content.plain.broken {
            return Err(self.plain.wrong("cannot be decompressed"));
        }
        outcome?;
        if io::copy(&mut content, &mut io::sink()).is_err() {
            return Err(self.plain.wrong("cannot be decompressed"));
        }
        let hash = content.hasher.finalize();
        self.plain.zeros(entry::padding(bytes))?;
        self.seen.insert(name.to_owned(), (bytes, hash));
        Ok(())
    }

    /// Compares what was read with the sums, and reads to the end of the file.
    fn prove(&mut self, bytes: u64) -> Result<Verified> {
        if self.end.is_none() {
            return Err(self.plain.wrong("has no end before its sums"));
        }
        let (entries, bytes_in) = (self.seen.len() as u64, self.seen.values().map(|(b, _)| b).sum());
        let mut expected = std::mem::take(&mut self.seen);
        let sums = self.whole(SUMS, bytes, SUMS_BYTES_MAX)?;
        let sums: Vec<Sum> = self.json(SUMS, &sums)?;
        for sum in &sums {
            match expected.remove(&sum.name) {
                None => {
                    let what = format!("lacks the entry `{}` that its sums name", sum.name.escape_debug());
                    return Err(self.plain.wrong(&what));
                }
                Some((bytes, hash)) if bytes != sum.bytes || hash.to_hex().as_str() != sum.blake3 => {
                    return Err(self
                        .plain
                        .wrong(&format!("has other contents in entry `{}` than its sums say", sum.name)));
                }
                Some(_) => {}
            }
        }
        if let Some(name) = expected.keys().next() {
            return Err(self.plain.wrong(&format!("has an entry `{name}` that its sums do not name")));
        }
        self.plain.zeros(TAR_END_BYTES)?;
        self.plain.ended()?;
        Ok(Verified { entries, bytes_in, bytes_out: self.plain.watch.bytes() })
    }
}

/// What comes out of decompression.
struct Plain<R: Read> {
    zstd: Decoder<'static, BufReader<Source<R>>>,
    watch: Watch,
    broken: bool,
}

impl<R: Read> Plain<R> {
    /// The header of the next entry, or nothing at the zeros after the last one.
    fn next(&mut self) -> Result<Option<(String, u64)>> {
        let mut header = Header::new_old();
        self.fill(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|b| *b == 0) {
            return Ok(None);
        }
        entry::read(&header).map(Some).map_err(|what| self.wrong(&what))
    }

    fn zeros(&mut self, bytes: usize) -> Result<()> {
        let mut zeros = [1; TAR_END_BYTES];
        self.fill(&mut zeros[..bytes])?;
        if zeros[..bytes].iter().any(|b| *b != 0) {
            return Err(self.wrong("has something between its entries"));
        }
        Ok(())
    }

    /// Nothing follows: neither inside the compression nor in the file.
    fn ended(&mut self) -> Result<()> {
        match self.read(&mut [0; TAR_BLOCK_BYTES]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.wrong("has bytes after its sums")),
            Err(_) => Err(self.wrong("cannot be decompressed")),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof if !self.broken => self.wrong("ends in the middle of an entry"),
            _ => self.wrong("cannot be decompressed"),
        })
    }

    /// The error for a file that is `what`, unless it has a fault below.
    fn wrong(&mut self, what: &str) -> Error {
        self.broken = true;
        self.watch.error(|name, at| {
            Error::invalid(format!("`{name}` {what} (before byte {at})"))
                .hint("it was not written by this program, or by a defect of it; take another backup")
        })
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.zstd.read(bytes).inspect_err(|e| self.broken |= e.kind() != io::ErrorKind::Interrupted)
    }
}

/// The contents of one entry, hashed as they are read.
struct Content<'a, R: Read> {
    plain: &'a mut Plain<R>,
    left: u64,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let some = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if some == 0 {
            return Ok(0);
        }
        let read = self.plain.read(&mut bytes[..some])?;
        if read == 0 {
            self.plain.broken = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.hasher.update(&bytes[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}
