//! Zip files without compression, written in one go and read by their directory: every desktop opens one, and a verifier
//! of a few lines can.
//!
//! A library would bring deflate, encryption and their crates for what is two hundred bytes of headers here.
//!
//! Invariant: a reader believes no number in the file: what it points to must lie inside, and limits hold.

use std::io::{Read, Seek, SeekFrom, Take};

use crate::base::{Error, Result, Timestamp};

/// Bytes of the whole; what is larger needs another form of the file.
pub const ZIP_BYTES_MAX: u64 = u32::MAX as u64;
/// Files in one.
pub const ZIP_FILES_MAX: usize = 100;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 100;
/// Bytes of the end of a file in which its directory is looked for: the record, and no comment worth the name.
const TAIL_BYTES_MAX: u64 = 1_024;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
/// The name is UTF-8, and sum and sizes follow what they are of.
const FLAGS: u16 = 0x0808;
const VERSION: u16 = 20;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut sum, mut bit) = (n as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[n] = sum;
        n += 1;
    }
    table
};

/// The sum of a zip's files (CRC-32), continued.
fn crc(sum: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!sum, |sum, byte| sum >> 8 ^ TABLE[((sum ^ u32::from(*byte)) & 255) as usize])
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    at: (u16, u16),
    sum: u32,
    bytes: u64,
    offset: u64,
}

/// Writes one, part by part.
pub struct ZipWriter {
    done: Vec<Entry>,
    open: Option<Entry>,
    at: (u16, u16),
    written: u64,
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// A size or place that the form can hold.
fn small(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| {
        Error::too_many("the file would be larger than a zip file of this form can be")
            .hint("take fewer entries at once")
    })
}

/// An instant as old systems write it, to two seconds, in UTC.
fn dos(at: Timestamp) -> (u16, u16) {
    let part = |pattern: &str| at.format(pattern).parse::<u16>().unwrap_or_default();
    let year = part("%Y").clamp(1980, 2107) - 1980;
    (part("%H") << 11 | part("%M") << 5 | (part("%S") / 2), year << 9 | part("%m") << 5 | part("%d"))
}

impl ZipWriter {
    /// Nothing yet; the files will all be of this instant.
    pub fn new(at: Timestamp) -> ZipWriter {
        ZipWriter { done: Vec::new(), open: None, at: dos(at), written: 0 }
    }

    /// Begins a file.
    pub fn begin(&mut self, name: &str, out: &mut Vec<u8>) -> Result<()> {
        self.end(out)?;
        if self.done.len() >= ZIP_FILES_MAX || name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Error::internal("a file that a pack has no room for"));
        }
        let from = out.len();
        put32(out, LOCAL);
        put16(out, VERSION);
        put16(out, FLAGS);
        put16(out, 0);
        put16(out, self.at.0);
        put16(out, self.at.1);
        (0..3).for_each(|_| put32(out, 0));
        put16(out, name.len() as u16);
        put16(out, 0);
        out.extend_from_slice(name.as_bytes());
        let entry = Entry { name: name.to_owned(), at: self.at, sum: 0, bytes: 0, offset: self.written };
        self.open = Some(entry);
        self.written += (out.len() - from) as u64;
        Ok(())
    }

    /// Goes on with it.
    pub fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let Some(entry) = &mut self.open else { return Err(Error::internal("no file is begun")) };
        entry.sum = crc(entry.sum, bytes);
        entry.bytes += bytes.len() as u64;
        self.written += bytes.len() as u64;
        small(self.written)?;
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// A file that is there as a whole.
    pub fn file(&mut self, name: &str, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.begin(name, out)?;
        self.data(bytes, out)?;
        self.end(out)
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(entry) = self.open.take() else { return Ok(()) };
        put32(out, DESCRIPTOR);
        put32(out, entry.sum);
        put32(out, small(entry.bytes)?);
        put32(out, small(entry.bytes)?);
        self.written += 16;
        self.done.push(entry);
        Ok(())
    }

    /// Ends the last file and writes the directory.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        self.end(out)?;
        let (from, start) = (self.written, out.len());
        for entry in &self.done {
            put32(out, CENTRAL);
            put16(out, VERSION);
            put16(out, VERSION);
            put16(out, FLAGS);
            put16(out, 0);
            put16(out, entry.at.0);
            put16(out, entry.at.1);
            put32(out, entry.sum);
            put32(out, small(entry.bytes)?);
            put32(out, small(entry.bytes)?);
            put16(out, entry.name.len() as u16);
            (0..4).for_each(|_| put16(out, 0));
            put32(out, 0);
            put32(out, small(entry.offset)?);
            out.extend_from_slice(entry.name.as_bytes());
        }
        let bytes = (out.len() - start) as u64;
        put32(out, END);
        put32(out, 0);
        put16(out, self.done.len() as u16);
        put16(out, self.done.len() as u16);
        put32(out, small(bytes)?);
        put32(out, small(from)?);
        put16(out, 0);
        Ok(())
    }
}

/// Reads one that is stored without compression.
pub struct ZipReader<R> {
    input: R,
    entries: Vec<Entry>,
}

fn damaged(what: &str) -> Error {
    Error::invalid(format!("the zip file is damaged or of another kind: {what}"))
}

fn get16(bytes: &[u8], at: usize) -> Result<u16> {
    let found = bytes.get(at..at + 2).and_then(|part| part.try_into().ok()).map(u16::from_le_bytes);
    found.ok_or_else(|| damaged("its directory ends too early"))
}

fn get32(bytes: &[u8], at: usize) -> Result<u32> {
    let found = bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map(u32::from_le_bytes);
    found.ok_or_else(|| damaged("its directory ends too early"))
}

impl<R: Read + Seek> ZipReader<R> {
    /// Reads the directory.
    pub fn open(mut input: R) -> Result<ZipReader<R>> {
        let length = input.seek(SeekFrom::End(0))?;
        let tail_at = length.saturating_sub(TAIL_BYTES_MAX);
        let tail = part(&mut input, tail_at, length - tail_at)?;
        let end =
            (0..tail.len().saturating_sub(21)).rev().find(|at| get32(&tail, *at).is_ok_and(|m| m == END));
        let end = end.ok_or_else(|| damaged("it has no directory at its end"))?;
        let count = usize::from(get16(&tail, end + 10)?);
        let (bytes, from) = (u64::from(get32(&tail, end + 12)?), u64::from(get32(&tail, end + 16)?));
        if count > ZIP_FILES_MAX || bytes > (ZIP_FILES_MAX * 1_024) as u64 || from + bytes > length {
            return Err(damaged("its directory is too large"));
        }
        let directory = part(&mut input, from, bytes)?;
        let (mut at, mut entries) = (0, Vec::with_capacity(count));
        for _ in 0..count {
            if get32(&directory, at)? != CENTRAL {
                return Err(damaged("its directory has something else in it"));
            }
            let names = usize::from(get16(&directory, at + 28)?);
            let others = usize::from(get16(&directory, at + 30)?) + usize::from(get16(&directory, at + 32)?);
            let name =
                directory.get(at + 46..at + 46 + names).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or_else(|| damaged("a file has no name"))?.to_owned();
            let (packed, bytes) = (get32(&directory, at + 20)?, get32(&directory, at + 24)?);
            if get16(&directory, at + 10)? != 0 || packed != bytes {
                return Err(damaged("a file in it is compressed"));
            }
            entries.push(Entry {
                name,
                at: (get16(&directory, at + 12)?, get16(&directory, at + 14)?),
                sum: get32(&directory, at + 16)?,
                bytes: u64::from(bytes),
                offset: u64::from(get32(&directory, at + 42)?),
            });
            at += 46 + names + others;
        }
        Ok(ZipReader { input, entries })
    }

    /// The names of its files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// A file, to be read to its end; nothing when there is none of this name.
    pub fn file(&mut self, name: &str) -> Result<Option<Take<&mut R>>> {
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name).cloned() else {
            return Ok(None);
        };
        let head = part(&mut self.input, entry.offset, 30)?;
        if get32(&head, 0)? != LOCAL {
            return Err(damaged("its directory points to something else"));
        }
        let skip = 30 + u64::from(get16(&head, 26)?) + u64::from(get16(&head, 28)?);
        self.input.seek(SeekFrom::Start(entry.offset + skip))?;
        Ok(Some((&mut self.input).take(entry.bytes)))
    }
}

fn part<R: Read + Seek>(input: &mut R, from: u64, bytes: u64) -> Result<Vec<u8>> {
    input.seek(SeekFrom::Start(from))?;
    let mut read = Vec::with_capacity(bytes as usize);
    input.take(bytes).read_to_end(&mut read)?;
    match read.len() as u64 == bytes {
        true => Ok(read),
        false => Err(damaged("it ends too early")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut zip = ZipWriter::new(Timestamp::from_milliseconds(1_790_000_000_000));
        let mut out = Vec::new();
        zip.file("README.txt", b"hello", &mut out).unwrap();
        zip.begin("log.jsonl", &mut out).unwrap();
        (0..3).for_each(|n| zip.data(format!("{{\"n\":{n}}}\n").as_bytes(), &mut out).unwrap());
        zip.file("empty", b"", &mut out).unwrap();
        zip.finish(&mut out).unwrap();
        out
    }

    fn read(zip: &mut ZipReader<Cursor<Vec<u8>>>, name: &str) -> String {
        let mut text = String::new();
        zip.file(name).unwrap().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_goes_in_comes_out() {
        assert_eq!(crc(0, b"123456789"), 0xcbf4_3926, "the sum's own example");
        assert_eq!(crc(crc(0, b"1234"), b"56789"), 0xcbf4_3926);
        let mut zip = ZipReader::open(Cursor::new(sample())).unwrap();
        assert_eq!(zip.names().collect::<Vec<_>>(), ["README.txt", "log.jsonl", "empty"]);
        assert_eq!(read(&mut zip, "README.txt"), "hello");
        assert_eq!(read(&mut zip, "log.jsonl"), "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(read(&mut zip, "empty"), "");
        assert!(zip.file("other").unwrap().is_none());
    }

    #[test]
    fn other_programs_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pack.zip");
        std::fs::write(&path, sample()).unwrap();
        let script = "import sys,zipfile; z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                      assert z.read('README.txt')==b'hello'; assert z.infolist()[0].date_time==(2026,9,21,14,13,20)";
        match std::process::Command::new("python3").args(["-c", script]).arg(&path).output() {
            Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
            // Without a second program there is nothing to compare with.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }

    #[test]
    fn no_byte_of_a_file_is_believed() {
        let good = sample();
        for at in 0..good.len() {
            for change in [1u8, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                // Whatever it says: an error or a shorter text, and never more than there is.
                let Ok(mut zip) = ZipReader::open(Cursor::new(bad)) else { continue };
                let names: Vec<String> = zip.names().map(str::to_owned).collect();
                for name in names {
                    if let Ok(Some(mut file)) = zip.file(&name) {
                        let mut found = Vec::new();
                        let _ = file.read_to_end(&mut found);
                        assert!(found.len() <= good.len());
                    }
                }
            }
            assert!(ZipReader::open(Cursor::new(good[..at].to_vec())).is_err(), "cut at {at}");
        }
    }
}
