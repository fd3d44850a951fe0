//! Packets of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02): bytes in, values out.
//!
//! Invariant: no length that a server sends is believed before the bytes for it are there.

use crate::base::{Error, Result};

/// Bytes of one packet, as OpenSSH limits them.
pub(super) const PACKET_BYTES_MAX: usize = 256 * 1024;
/// The version that is spoken.
pub(super) const VERSION: u32 = 3;

pub(super) const INIT: u8 = 1;
pub(super) const OPEN: u8 = 3;
pub(super) const CLOSE: u8 = 4;
pub(super) const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
pub(super) const LSTAT: u8 = 7;
pub(super) const FSTAT: u8 = 8;
pub(super) const FSETSTAT: u8 = 10;
pub(super) const OPENDIR: u8 = 11;
pub(super) const READDIR: u8 = 12;
pub(super) const REMOVE: u8 = 13;
pub(super) const RENAME: u8 = 18;
pub(super) const EXTENDED: u8 = 200;

const SAID_VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRIBUTES: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// How a file is opened.
pub(super) mod how {
    pub(in super::super) const READ: u32 = 1;
    pub(in super::super) const WRITE: u32 = 2;
    pub(in super::super) const CREATE: u32 = 8;
    pub(in super::super) const EXCLUSIVE: u32 = 32;
}

/// What a status says, as far as it matters here.
pub(super) mod status {
    pub(in super::super) const OK: u32 = 0;
    pub(in super::super) const END: u32 = 1;
    pub(in super::super) const NO_SUCH_FILE: u32 = 2;
    pub(in super::super) const DENIED: u32 = 3;
    pub(in super::super) const UNSUPPORTED: u32 = 8;
}

const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_MODE: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_MORE: u32 = 0x8000_0000;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The version and the names of extensions.
    Version(u32, Vec<Vec<u8>>),
    /// How it went, with the server's words.
    Status(u32, Vec<u8>),
    /// An open file or folder.
    Handle(Vec<u8>),
    /// Bytes of a file.
    Data(Vec<u8>),
    /// Entries of a folder.
    Names(Vec<(Vec<u8>, Attributes)>),
    /// Of one file.
    Attributes(Attributes),
    /// An extension's answer.
    Extended(Vec<u8>),
}

/// What is told of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) bytes: Option<u64>,
    mode: Option<u32>,
}

impl Attributes {
    /// Whether it is a plain file; a server that does not tell is believed to speak of one.
    pub(super) fn is_file(&self) -> bool {
        self.mode.is_none_or(|mode| mode & 0o170_000 == 0o100_000)
    }
}

/// A request that is being written.
pub(super) struct Request(Vec<u8>);

impl Request {
    /// Of this kind; the length in front is filled in by [`Request::done`].
    pub(super) fn new(kind: u8, number: u32) -> Request {
        Request(vec![0, 0, 0, 0, kind]).number(number)
    }

    pub(super) fn number(mut self, value: u32) -> Request {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: u64) -> Request {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn text(self, text: impl AsRef<[u8]>) -> Request {
        let mut with = self.number(text.as_ref().len() as u32);
        with.0.extend(text.as_ref());
        with
    }

    /// No attributes, or a new size.
    pub(super) fn attributes(self, bytes: Option<u64>) -> Request {
        match bytes {
            None => self.number(0),
            Some(bytes) => self.number(HAS_SIZE).long(bytes),
        }
    }

    /// The whole packet.
    pub(super) fn done(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The length of the packet whose first four bytes these are.
pub(super) fn length(head: [u8; 4]) -> Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    if length == 0 || length > PACKET_BYTES_MAX {
        return Err(Error::unavailable(format!("the SFTP server sends a packet of {length} bytes"))
            .hint("what answers is no SFTP server, or something on it prints text when one logs in"));
    }
    Ok(length)
}

/// An answer with the number of its request, from a packet without its length.
pub(super) fn answer(packet: &[u8]) -> Result<(u32, Answer)> {
    let mut rest = Rest(packet);
    read(&mut rest).ok_or_else(|| Error::unavailable("the SFTP server sends what is no answer"))
}

fn read(rest: &mut Rest<'_>) -> Option<(u32, Answer)> {
    let kind = rest.take(1)?[0];
    if kind == SAID_VERSION {
        let version = rest.number()?;
        let mut extensions = Vec::new();
        while !rest.0.is_empty() {
            extensions.push(rest.text()?.to_vec());
            rest.text()?;
        }
        return Some((0, Answer::Version(version, extensions)));
    }
    let number = rest.number()?;
    let answer = match kind {
        STATUS => {
            let code = rest.number()?;
            // Old servers send no words.
            Answer::Status(code, rest.text().unwrap_or_default().to_vec())
        }
        HANDLE => Answer::Handle(rest.text()?.to_vec()),
        DATA => Answer::Data(rest.text()?.to_vec()),
        NAME => {
            let count = rest.number()?;
            // No allocation by a count: each entry must be there.
            let mut names = Vec::new();
            for _ in 0..count {
                let name = rest.text()?.to_vec();
                rest.text()?;
                names.push((name, rest.attributes()?));
            }
            Answer::Names(names)
        }
        ATTRIBUTES => Answer::Attributes(rest.attributes()?),
        EXTENDED_REPLY => Answer::Extended(rest.0.to_vec()),
        _ => return None,
    };
    Some((number, answer))
}

/// Bytes that are free for this user, from the answer to `statvfs@openssh.com`.
pub(super) fn free_bytes(answer: &[u8]) -> Option<u64> {
    let mut rest = Rest(answer);
    let _block = rest.long()?;
    let fragment = rest.long()?;
    let (_blocks, _free) = (rest.long()?, rest.long()?);
    Some(rest.long()?.saturating_mul(fragment))
}

/// What of a packet is not yet read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()? as usize;
        self.take(length)
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.number()?;
        let mut read = Attributes::default();
        if flags & HAS_SIZE != 0 {
            read.bytes = Some(self.long()?);
        }
        if flags & HAS_OWNER != 0 {
            self.take(8)?;
        }
        if flags & HAS_MODE != 0 {
            read.mode = Some(self.number()?);
        }
        if flags & HAS_TIMES != 0 {
            self.take(8)?;
        }
        if flags & HAS_MORE != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet as a server writes it, without its length.
    fn packet(request: Request) -> Vec<u8> {
        request.done().split_off(4)
    }

    #[test]
    fn answers_are_read() {
        let said = packet(Request::new(STATUS, 7).number(3).text("no").text("en"));
        assert_eq!(answer(&said).unwrap(), (7, Answer::Status(3, b"no".to_vec())));
        assert_eq!(answer(&packet(Request::new(STATUS, 7).number(0))).unwrap().1, Answer::Status(0, vec![]));
        let said = packet(Request::new(SAID_VERSION, 3).text("fsync@openssh.com").text("1"));
        assert_eq!(answer(&said).unwrap(), (0, Answer::Version(3, vec![b"fsync@openssh.com".to_vec()])));
        let mode = |mode| Request::new(ATTRIBUTES, 1).number(HAS_SIZE | HAS_MODE).long(9).number(mode);
        for (mode_bits, is) in [(0o100_644, true), (0o040_755, false), (0o120_777, false)] {
            let Answer::Attributes(read) = answer(&packet(mode(mode_bits))).unwrap().1 else { panic!() };
            assert_eq!((read.bytes, read.is_file()), (Some(9), is));
        }
        let names = Request::new(NAME, 2).number(1).text("a").text("long a").attributes(Some(5));
        let Answer::Names(names) = answer(&packet(names)).unwrap().1 else { panic!() };
        assert_eq!((names[0].0.as_slice(), names[0].1.bytes), (&b"a"[..], Some(5)));
        let room: Vec<u8> = [4096_u64, 1024, 9, 8, 7].iter().flat_map(|n| n.to_be_bytes()).collect();
        assert_eq!(free_bytes(&room), Some(7 * 1024));
        assert_eq!(free_bytes(&room[1..]), None);
    }

    #[test]
    fn lengths_are_not_believed() {
        assert!(length(*b"Welc").unwrap_err().hint_text().unwrap().contains("prints text"));
        assert!(length([0; 4]).is_err());
        assert_eq!(length((PACKET_BYTES_MAX as u32).to_be_bytes()).unwrap(), PACKET_BYTES_MAX);
        assert!(length((PACKET_BYTES_MAX as u32 + 1).to_be_bytes()).is_err());
        for bad in [
            packet(Request::new(DATA, 1).number(u32::MAX)),
            packet(Request::new(NAME, 1).number(u32::MAX)),
            packet(Request::new(ATTRIBUTES, 1).number(HAS_MORE).number(u32::MAX)),
            packet(Request::new(99, 1)),
            vec![STATUS],
            vec![],
        ] {
            assert!(answer(&bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&bytes);
            let _ = free_bytes(&bytes);
        }
    }
}
