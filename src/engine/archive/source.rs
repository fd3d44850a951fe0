//! The encrypted file below the compression: who it is for, where reading is, and what exactly is wrong with it.
//!
//! Every block of 64 KiB is authenticated on its own, so a fault is known by its place. What kind it is follows from how
//! our files end: the last block is always short, and its length is a multiple of [`PADDING_BYTES`]. So a file that was
//! cut off and one with bytes after its end can be told from one that was damaged.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, OnceLock};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor, EncryptError};
use age_core::format::{FileKey, Stanza};
use parking_lot::Mutex;

use super::key::{Recipient, RecoveryKey};
use super::pace::Stopped;
use super::{BEGINNING, BUFFER_BYTES, HEADER_BYTES_MAX};
use crate::base::{Error, Result};

/// Plain bytes in a block of the age format.
pub(super) const BLOCK_BYTES: u64 = 64 * 1024;
/// Bytes of authentication that follow each block.
const TAG_BYTES: u64 = 16;
const SEALED_BLOCK_BYTES: u64 = BLOCK_BYTES + TAG_BYTES;
/// What our writer pads the plain bytes to.
pub(super) const PADDING_BYTES: u64 = 4 * 1024;
const STANZA: &str = "muster-recipients";

/// Lists the recipients in the header, in a stanza that stock age passes over: so that a wrong key can be told from a
/// damaged header, and which key to fetch. Its argument is a checksum of the list.
pub(super) struct Listed<'a>(pub(super) &'a [Recipient]);

impl age::Recipient for Listed<'_> {
    fn wrap_file_key(&self, _: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let body = self.0.iter().map(Recipient::to_string).collect::<Vec<_>>().join("\n").into_bytes();
        let stanza = Stanza { tag: STANZA.into(), args: vec![checksum(&body)], body };
        Ok((vec![stanza], HashSet::new()))
    }
}

fn checksum(list: &[u8]) -> String {
    blake3::hash(list).to_hex()[..16].to_owned()
}

/// Reads the list of recipients when a file is opened, and opens nothing.
#[derive(Default)]
struct Witness(OnceLock<Option<Vec<Recipient>>>);

impl age::Identity for Witness {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        None
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let list = stanzas.iter().find(|s| s.tag == STANZA).and_then(|stanza| {
            let whole = stanza.args.first() == Some(&checksum(&stanza.body));
            let text = std::str::from_utf8(&stanza.body).ok().filter(|_| whole)?;
            text.lines().map(|line| Recipient::parse(line).ok()).collect()
        });
        let _ = self.0.set(list);
        None
    }
}

/// The plain bytes of a file, with its name for errors.
pub(super) struct Source<R: Read> {
    stream: StreamReader<Watched<BufReader<R>>>,
    watch: Watch,
    keys: Vec<RecoveryKey>,
}

impl<R: Read> Source<R> {
    /// Reads the header.
    pub(super) fn open(input: R, name: &str, keys: &[RecoveryKey]) -> Result<(Source<R>, Vec<Recipient>)> {
        let seen = Seen { name: name.to_owned(), in_header: true, ..Seen::default() };
        let watch = Watch(Arc::new(Mutex::new(seen)));
        if keys.is_empty() {
            return Err(watch.error(|name, _| {
                Error::invalid(format!("no key was given to open `{name}`"))
                    .hint("give the recovery key, from the printed kit or its shares")
            }));
        }
        let input = BufReader::with_capacity(BUFFER_BYTES, input);
        let input = Watched { input, watch: watch.clone() };
        let decryptor = Decryptor::new_buffered(input).map_err(|e| watch.header_error(&e))?;
        let witness = Witness::default();
        let identities =
            [&witness as &dyn age::Identity].into_iter().chain(keys.iter().map(RecoveryKey::identity));
        let opened = decryptor.decrypt(identities);
        let listed = witness.0.into_inner().flatten();
        let stream = opened.map_err(|e| match (e, &listed) {
            (DecryptError::NoMatchingKeys, Some(list)) => watch.key_error(keys, list),
            (DecryptError::NoMatchingKeys, None) => watch.unlisted_error(keys),
            (_, _) => watch.damaged_header(),
        })?;
        watch.0.lock().in_header = false;
        Ok((Source { stream, watch: watch.clone(), keys: keys.to_vec() }, listed.unwrap_or_default()))
    }

    /// What was seen of the file, for errors of the layers above.
    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        // What comes after a fault is not looked at, whoever asks again.
        if self.watch.0.lock().fault.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.stream.read(bytes).inspect_err(|e| self.watch.diagnose(e, &self.keys))
    }
}

/// What was seen of a file while it was read. Cloning gives the same one.
#[derive(Clone)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    name: String,
    /// Bytes of the file that were handed on.
    read: u64,
    /// Header and nonce; reading of the blocks begins after it.
    header: Vec<u8>,
    /// What was read of the block that is being read.
    block: Vec<u8>,
    ended: bool,
    in_header: bool,
    fault: Option<Fault>,
}

/// What is wrong with the file itself, below compression and entries.
#[derive(Clone, Debug)]
enum Fault {
    Stopped,
    Unreadable(String),
    Endless,
    CutOff,
    BytesAfter { at: u64 },
    Damaged { from: u64, upto: u64, perhaps_cut_off: bool },
}

impl Watch {
    /// Bytes of the file that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().read
    }

    /// The file's name.
    pub(super) fn name(&self) -> String {
        self.0.lock().name.clone()
    }

    /// The error for a failure of a layer above: the file's own fault when it has one, else what `above` says.
    pub(super) fn error(&self, above: impl FnOnce(&str, u64) -> Error) -> Error {
        let seen = self.0.lock();
        let (name, read) = (&seen.name, seen.read);
        let restored = "take another copy of this backup, or an older one";
        match &seen.fault {
            None => above(name, read),
            Some(Fault::Stopped) => Stopped::error(&format!("reading of `{name}`")),
            Some(Fault::Unreadable(why)) => {
                Error::unavailable(format!("`{name}` cannot be read after byte {read}"))
                    .hint("look at the medium and at the system's log, then try again")
                    .because(why.clone())
            }
            Some(Fault::Endless) => damaged(name, "has a header that does not end"),
            Some(Fault::CutOff) => Error::invalid(format!("`{name}` is cut off: it ends at byte {read}"))
                .hint("it was not copied whole, or not written to its end; copy it again"),
            Some(Fault::BytesAfter { at }) => Error::invalid(format!("`{name}` has bytes after its end, from byte {at}"))
                .hint(format!("something was appended to it; its first {at} bytes alone are the whole backup")),
            Some(Fault::Damaged { from, upto, perhaps_cut_off: false }) => {
                Error::invalid(format!("`{name}` is damaged between byte {from} and byte {upto}")).hint(restored)
            }
            Some(Fault::Damaged { from, upto, perhaps_cut_off: true }) => Error::invalid(format!(
                "`{name}` is damaged between byte {from} and byte {upto}, where it ends; perhaps it is cut off"
            ))
            .hint(restored),
        }
    }

    fn header_error(&self, e: &DecryptError) -> Error {
        let begins = {
            let mut seen = self.0.lock();
            let length = seen.header.len().min(BEGINNING.len());
            let begins = seen.header[..length] == BEGINNING[..length];
            // A long line of another file is no endless header.
            seen.fault = seen.fault.take().filter(|f| begins || !matches!(f, Fault::Endless));
            begins
        };
        let cut = matches!(e, DecryptError::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof);
        self.error(|name, read| match (begins, cut) {
            (false, _) => Error::invalid(format!("`{name}` does not begin like a backup")).hint(
                "it is another file, or its first bytes are damaged; the name of a backup ends in `.muster`",
            ),
            (true, true) => {
                Error::invalid(format!("`{name}` is cut off in its header: it ends at byte {read}"))
                    .hint("it was not copied whole, or its header is damaged; copy it again")
            }
            (true, false) => damaged(name, "has a damaged header"),
        })
    }

    fn damaged_header(&self) -> Error {
        self.error(|name, _| damaged(name, "has a damaged header"))
    }

    fn key_error(&self, keys: &[RecoveryKey], listed: &[Recipient]) -> Error {
        // One of the keys is on the list and yet opens nothing: the key is right and the header is not.
        if keys.iter().any(|key| listed.contains(&key.recipient())) {
            return self.damaged_header();
        }
        let list = listed.iter().map(Recipient::to_string).collect::<Vec<_>>().join(", ");
        self.error(|name, _| {
            let which = if keys.len() == 1 { "this key does" } else { "these keys do" };
            Error::invalid(format!("{which} not open `{name}`; it was made for {list}"))
                .hint("fetch the recovery key that belongs to one of these recipients, from the printed kit or its shares")
        })
    }

    fn unlisted_error(&self, keys: &[RecoveryKey]) -> Error {
        self.error(|name, _| {
            let which = if keys.len() == 1 { "this key does" } else { "these keys do" };
            Error::invalid(format!(
                "{which} not open `{name}`, and the list of whom it was made for is missing or damaged"
            ))
            .hint(
                "its header is damaged, or it was not made by this program; take another copy of this backup",
            )
        })
    }

    /// Finds out what is wrong with the block that could not be opened.
    fn diagnose(&self, e: &io::Error, keys: &[RecoveryKey]) {
        let mut seen = self.0.lock();
        if seen.fault.is_some() {
            return;
        }
        if e.kind() == io::ErrorKind::UnexpectedEof {
            seen.fault = Some(Fault::CutOff);
            return;
        }
        let length = seen.block.len() as u64;
        let from = seen.read - length;
        let index = (from - seen.header.len() as u64) / SEALED_BLOCK_BYTES;
        let shorter = (1..).map(|n| n * PADDING_BYTES + TAG_BYTES).take_while(|l| *l < length);
        let end = { shorter }.find(|l| ends_with(&seen.header, index, &seen.block[..*l as usize], keys));
        let whole = length % PADDING_BYTES == TAG_BYTES;
        seen.fault = Some(match end {
            Some(end) => Fault::BytesAfter { at: from + end },
            None if seen.ended && !whole => Fault::CutOff,
            None => Fault::Damaged { from, upto: from + length, perhaps_cut_off: seen.ended },
        });
    }
}

fn damaged(name: &str, what: &str) -> Error {
    Error::invalid(format!("`{name}` {what}")).hint("take another copy of this backup, or an older one")
}

/// Whether a file of this header would end well with `block` as its block of this number. age authenticates the length
/// of a file by its last block alone; the blocks between are not read.
fn ends_with(header: &[u8], index: u64, block: &[u8], keys: &[RecoveryKey]) -> bool {
    let gap = index * SEALED_BLOCK_BYTES;
    let file = Sparse { header: header.to_vec(), gap, block: block.to_vec(), at: 0 };
    let Ok(decryptor) = Decryptor::new(file) else { return false };
    let stream = decryptor.decrypt(keys.iter().map(RecoveryKey::identity));
    stream.is_ok_and(|mut stream| stream.seek(SeekFrom::End(0)).is_ok())
}

/// A file of which only the beginning and the end are there.
struct Sparse {
    header: Vec<u8>,
    gap: u64,
    block: Vec<u8>,
    at: u64,
}

impl Read for Sparse {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let header = self.header.len() as u64;
        let from = match self.at.checked_sub(header + self.gap) {
            Some(at) => self.block.get(at as usize..),
            None => self.header.get(self.at as usize..),
        };
        let read = from.unwrap_or_default().read(bytes)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = self.header.len() as u64 + self.gap + self.block.len() as u64;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => end.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Notes what is read: the header whole, then each block.
struct Watched<R> {
    input: R,
    watch: Watch,
}

impl<R> Watched<R> {
    fn note(&self, bytes: &[u8], ended: bool) {
        let mut seen = self.watch.0.lock();
        seen.read += bytes.len() as u64;
        seen.ended |= ended;
        if seen.in_header {
            seen.header.extend_from_slice(bytes);
            return;
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            if seen.block.len() as u64 == SEALED_BLOCK_BYTES {
                seen.block.clear();
            }
            let room = SEALED_BLOCK_BYTES as usize - seen.block.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            seen.block.extend_from_slice(now);
            bytes = later;
        }
    }

    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|e| {
            if e.kind() != io::ErrorKind::Interrupted {
                let stopped = Stopped::caused(e);
                let fault = if stopped { Fault::Stopped } else { Fault::Unreadable(e.to_string()) };
                self.watch.0.lock().fault = Some(fault);
            }
        })
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(bytes);
        let read = self.noted(read)?;
        self.note(&bytes[..read], read == 0 && !bytes.is_empty());
        Ok(read)
    }
}

// The header is read by lines.
impl<R: Read> BufRead for Watched<BufReader<R>> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        {
            let mut seen = self.watch.0.lock();
            if seen.in_header && seen.header.len() > HEADER_BYTES_MAX {
                seen.fault = Some(Fault::Endless);
                return Err(io::Error::other("the header is too long"));
            }
        }
        if let Err(e) = self.input.fill_buf() {
            return self.noted(Err(e));
        }
        Ok(self.input.buffer())
    }

    fn consume(&mut self, bytes: usize) {
        let some = self.input.buffer().get(..bytes).unwrap_or_default();
        self.note(some, false);
        self.input.consume(bytes);
    }
}
