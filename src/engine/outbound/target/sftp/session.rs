//! One conversation with an SFTP server, through the system's `ssh`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;

use super::super::pace::Pace;
use super::super::place::{no_room, taker_failed, too_long};
use super::super::program::{self, OUTPUT_BYTES_MAX};
use super::super::source::{CHUNK_BYTES, Source};
use super::super::{LIST_COUNT_MAX, Stored, checked_name};
use super::packet::{self, Answer, Attributes, Request, status};
use crate::base::{Error, Kind, Result};

/// Seconds that a server may take for one answer, or to take one request.
pub(super) const ANSWER_SECONDS_MAX: u64 = 60;
/// Seconds that a whole listing may take.
const LIST_SECONDS_MAX: u64 = 300;
/// Bytes of one read or write, which every server takes.
const PIECE_BYTES: usize = 32 * 1024;
/// Requests under way at once; more of them fill a longer line.
const UNDER_WAY_MAX: usize = 32;
/// Bytes after which what was written is synced, where the server can.
pub(super) const SYNC_BYTES: u64 = 32 * 1024 * 1024;

const SYNC: &str = "fsync@openssh.com";
const ROOM: &str = "statvfs@openssh.com";

type Input = Box<dyn AsyncWrite + Send + Unpin>;
type Output = Box<dyn AsyncRead + Send + Unpin>;

/// An open conversation.
pub(super) struct Session {
    place: String,
    input: Input,
    output: Output,
    last: u32,
    waiting: BTreeSet<u32>,
    early: BTreeMap<u32, Answer>,
    extensions: Vec<Vec<u8>>,
    complaint: Arc<Mutex<Vec<u8>>>,
    child: Option<Child>,
}

/// An open file or folder of the server.
pub(super) struct Handle(Vec<u8>);

impl Session {
    /// Speaks with a program that carries the conversation; `place` names it in errors.
    pub(super) async fn with(mut child: Child, place: &str) -> Result<Session> {
        let (Some(input), Some(output), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::internal("a program without pipes"));
        };
        let complaint = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&complaint);
        tokio::spawn(async move {
            let (mut stderr, mut some) = (stderr, vec![0; 1024]);
            while let Ok(count) = stderr.read(&mut some).await
                && count > 0
            {
                let mut kept = kept.lock();
                // Read on beyond what is kept: a full pipe would hold the program up.
                let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&some[..room]);
            }
        });
        Session::over(Box::new(input), Box::new(output), complaint, Some(child), place).await
    }

    /// Begins the conversation.
    async fn over(
        input: Input,
        output: Output,
        complaint: Arc<Mutex<Vec<u8>>>,
        child: Option<Child>,
        place: &str,
    ) -> Result<Session> {
        let mut session = Session {
            place: place.to_owned(),
            input,
            output,
            last: 0,
            waiting: BTreeSet::new(),
            early: BTreeMap::new(),
            extensions: Vec::new(),
            complaint,
            child,
        };
        session.write(Request::new(packet::INIT, packet::VERSION).done()).await?;
        match session.read().await? {
            (_, Answer::Version(version, extensions)) if version >= packet::VERSION => {
                session.extensions = extensions;
                Ok(session)
            }
            other => Err(session.unexpected(&other.1)),
        }
    }

    /// Ends it; the program goes away.
    pub(super) async fn close(mut self) {
        let _ = self.input.shutdown().await;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }

    /// What is told of a file, when it is there. Links are not followed.
    pub(super) async fn look(&mut self, path: &str) -> Result<Option<Attributes>> {
        match self.ask(packet::LSTAT, |r| r.text(path)).await? {
            Answer::Attributes(read) => Ok(Some(read)),
            Answer::Status(status::NO_SUCH_FILE, _) => Ok(None),
            other => Err(self.refused(&other)),
        }
    }

    /// Opens a file.
    pub(super) async fn open(&mut self, path: &str, flags: u32) -> Result<Handle> {
        match self.ask(packet::OPEN, |r| r.text(path).number(flags).attributes(None)).await? {
            Answer::Handle(handle) => Ok(Handle(handle)),
            other => Err(self.refused(&other)),
        }
    }

    /// Closes a file or folder.
    pub(super) async fn shut(&mut self, handle: Handle) -> Result<()> {
        let answer = self.ask(packet::CLOSE, |r| r.text(&handle.0)).await?;
        self.done(&answer)
    }

    /// The bytes of an open file.
    pub(super) async fn bytes(&mut self, handle: &Handle) -> Result<u64> {
        match self.ask(packet::FSTAT, |r| r.text(&handle.0)).await? {
            Answer::Attributes(Attributes { bytes: Some(bytes), .. }) => Ok(bytes),
            other => Err(self.refused(&other)),
        }
    }

    /// Cuts an open file.
    pub(super) async fn cut(&mut self, handle: &Handle, bytes: u64) -> Result<()> {
        let answer = self.ask(packet::FSETSTAT, |r| r.text(&handle.0).attributes(Some(bytes))).await?;
        self.done(&answer)
    }

    /// Removes a file; false when there is none.
    pub(super) async fn remove(&mut self, path: &str) -> Result<bool> {
        match self.ask(packet::REMOVE, |r| r.text(path)).await? {
            Answer::Status(status::NO_SUCH_FILE, _) => Ok(false),
            other => self.done(&other).map(|()| true),
        }
    }

    /// Gives a file another name, which must be free.
    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let answer = self.ask(packet::RENAME, |r| r.text(from).text(to)).await?;
        self.done(&answer)
    }

    /// Whether the server can sync.
    pub(super) fn syncs(&self) -> bool {
        self.extends(SYNC)
    }

    /// Has an open file on the server's disk, where the server can.
    pub(super) async fn sync(&mut self, handle: &Handle) -> Result<()> {
        if !self.syncs() {
            return Ok(());
        }
        let answer = self.ask(packet::EXTENDED, |r| r.text(SYNC).text(&handle.0)).await?;
        self.done(&answer)
    }

    /// Bytes that are free in a folder, where the server tells.
    pub(super) async fn free_bytes(&mut self, folder: &str) -> Result<Option<u64>> {
        if !self.extends(ROOM) {
            return Ok(None);
        }
        match self.ask(packet::EXTENDED, |r| r.text(ROOM).text(folder)).await? {
            Answer::Extended(answer) => Ok(packet::free_bytes(&answer)),
            Answer::Status(status::UNSUPPORTED, _) => Ok(None),
            other => Err(self.refused(&other)),
        }
    }

    /// The plain files of a folder that bear a name of ours.
    pub(super) async fn list(&mut self, folder: &str) -> Result<Vec<Stored>> {
        let within = Duration::from_secs(LIST_SECONDS_MAX);
        match tokio::time::timeout(within, self.listed(folder)).await {
            Ok(listed) => listed,
            Err(_) => Err(Error::unavailable(format!(
                "`{}` did not end its listing within {LIST_SECONDS_MAX} s",
                self.place
            ))),
        }
    }

    async fn listed(&mut self, folder: &str) -> Result<Vec<Stored>> {
        let handle = match self.ask(packet::OPENDIR, |r| r.text(folder)).await? {
            Answer::Handle(handle) => Handle(handle),
            other => return Err(self.refused(&other)),
        };
        let (mut found, mut seen) = (Vec::new(), 0);
        loop {
            let names = match self.ask(packet::READDIR, |r| r.text(&handle.0)).await? {
                Answer::Names(names) => names,
                Answer::Status(status::END, _) => break,
                other => return Err(self.refused(&other)),
            };
            // An empty answer counts too, so that a server cannot send them for ever.
            seen += names.len().max(1);
            if seen > LIST_COUNT_MAX {
                return Err(too_long(&self.place));
            }
            for (name, attributes) in names {
                let name = String::from_utf8(name).ok().filter(|name| checked_name(name).is_ok());
                if let (Some(name), Some(bytes), true) = (name, attributes.bytes, attributes.is_file()) {
                    found.push(Stored { name, bytes });
                }
            }
        }
        self.shut(handle).await?;
        found.sort();
        Ok(found)
    }

    /// Writes `source` from `from` on into an open file, and syncs it.
    pub(super) async fn write_file(
        &mut self,
        handle: &Handle,
        from: u64,
        source: &Source,
        pace: &Pace,
    ) -> Result<()> {
        let mut under_way = VecDeque::new();
        let (mut buffer, mut at, mut unsynced) = (vec![0; PIECE_BYTES], from, 0);
        let mut tried = Ok(());
        while at < source.bytes {
            let length = (source.bytes - at).min(PIECE_BYTES as u64) as usize;
            tried = pace.take(length as u64).and_then(|()| source.read(at, &mut buffer[..length]));
            if tried.is_err() {
                break;
            }
            let piece = &buffer[..length];
            under_way.push_back(self.send(packet::WRITE, |r| r.text(&handle.0).long(at).text(piece)).await?);
            at += length as u64;
            unsynced += length as u64;
            if under_way.len() >= UNDER_WAY_MAX {
                self.first_done(&mut under_way).await?;
            }
            if unsynced >= SYNC_BYTES {
                while !under_way.is_empty() {
                    self.first_done(&mut under_way).await?;
                }
                self.sync(handle).await?;
                unsynced = 0;
            }
        }
        // What was sent before a stop is worth going on from.
        while !under_way.is_empty() {
            self.first_done(&mut under_way).await?;
        }
        self.sync(handle).await?;
        tried
    }

    async fn first_done(&mut self, under_way: &mut VecDeque<u32>) -> Result<()> {
        if let Some(number) = under_way.pop_front() {
            let answer = self.answer(number).await?;
            self.done(&answer)?;
        }
        Ok(())
    }

    /// Reads an open file from `from` to `to` and hands each piece on, in order.
    pub(super) async fn read_file(
        &mut self,
        handle: &Handle,
        from: u64,
        to: u64,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut under_way = VecDeque::new();
        let mut asked = from;
        loop {
            while asked < to && under_way.len() < UNDER_WAY_MAX {
                let length = (to - asked).min(PIECE_BYTES as u64);
                let number =
                    self.send(packet::READ, |r| r.text(&handle.0).long(asked).number(length as u32)).await?;
                under_way.push_back((number, asked, length as usize));
                asked += length;
            }
            let Some((number, at, length)) = under_way.pop_front() else { return Ok(()) };
            let mut data = self.answer(number).await?;
            let (mut at, mut left) = (at, length);
            loop {
                let Answer::Data(bytes) = &data else { return Err(self.refused(&data)) };
                if bytes.is_empty() || bytes.len() > left {
                    return Err(Error::unavailable(format!(
                        "`{}` sends another number of bytes than was asked for",
                        self.place
                    )));
                }
                each(bytes)?;
                at += bytes.len() as u64;
                left -= bytes.len();
                if left == 0 {
                    break;
                }
                // A server may give less at once than was asked for.
                data = self.ask(packet::READ, |r| r.text(&handle.0).long(at).number(left as u32)).await?;
            }
        }
    }

    /// How far, between `from` and `to`, an open file is the same as `source`, in whole chunks.
    pub(super) async fn same(
        &mut self,
        handle: &Handle,
        from: u64,
        to: u64,
        source: &Source,
        pace: &Pace,
    ) -> Result<u64> {
        let mut ours = vec![0; CHUNK_BYTES];
        let mut at = from;
        while at < to {
            pace.going()?;
            let length = (to - at).min(CHUNK_BYTES as u64) as usize;
            let mut theirs = Vec::with_capacity(length);
            self.read_file(handle, at, at + length as u64, |piece| {
                theirs.extend_from_slice(piece);
                Ok(())
            })
            .await?;
            source.read(at, &mut ours[..length])?;
            if ours[..length] != theirs[..] {
                return Ok(at);
            }
            at += length as u64;
        }
        Ok(to)
    }

    /// Writes an open file from `from` on to `out`; gives the number of bytes.
    pub(super) async fn give(
        &mut self,
        handle: &Handle,
        from: u64,
        to: u64,
        out: &mut dyn std::io::Write,
    ) -> Result<u64> {
        self.read_file(handle, from, to, |piece| out.write_all(piece).map_err(taker_failed)).await?;
        Ok(to - from)
    }

    /// Writes a few bytes into an open file and reads them back.
    pub(super) async fn write_and_read(&mut self, handle: &Handle, bytes: &[u8]) -> Result<()> {
        let answer = self.ask(packet::WRITE, |r| r.text(&handle.0).long(0).text(bytes)).await?;
        self.done(&answer)?;
        self.sync(handle).await?;
        let mut back = Vec::new();
        self.read_file(handle, 0, bytes.len() as u64, |piece| {
            back.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        if back != bytes {
            return Err(Error::unavailable(format!(
                "`{}` gives back other bytes than were written",
                self.place
            )));
        }
        Ok(())
    }

    /// An error that says how much is lacking when `bytes` do not fit, where the server tells.
    pub(super) async fn has_room(&mut self, folder: &str, bytes: u64, keep_free_bytes: u64) -> Result<()> {
        let needed = bytes.saturating_add(keep_free_bytes);
        match self.free_bytes(folder).await? {
            Some(free) if free < needed => Err(no_room(self.place.as_ref(), Some(needed - free))),
            _ => Ok(()),
        }
    }

    fn extends(&self, name: &str) -> bool {
        self.extensions.iter().any(|known| known == name.as_bytes())
    }

    async fn ask(&mut self, kind: u8, fill: impl FnOnce(Request) -> Request) -> Result<Answer> {
        let number = self.send(kind, fill).await?;
        self.answer(number).await
    }

    async fn send(&mut self, kind: u8, fill: impl FnOnce(Request) -> Request) -> Result<u32> {
        self.last = self.last.wrapping_add(1);
        self.waiting.insert(self.last);
        self.write(fill(Request::new(kind, self.last)).done()).await?;
        Ok(self.last)
    }

    /// The answer to the request `number`; what comes before it is kept.
    async fn answer(&mut self, number: u32) -> Result<Answer> {
        loop {
            if let Some(answer) = self.early.remove(&number) {
                return Ok(answer);
            }
            let (of, answer) = self.read().await?;
            if !self.waiting.remove(&of) {
                return Err(self.unexpected(&answer));
            }
            self.early.insert(of, answer);
        }
    }

    async fn write(&mut self, packet: Vec<u8>) -> Result<()> {
        let written = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), async {
            self.input.write_all(&packet).await?;
            self.input.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(error).await),
            Err(_) => Err(self.late()),
        }
    }

    async fn read(&mut self) -> Result<(u32, Answer)> {
        let read = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), async {
            let mut head = [0; 4];
            self.output.read_exact(&mut head).await?;
            let Ok(length) = packet::length(head) else { return Ok(Err(head)) };
            let mut body = vec![0; length];
            self.output.read_exact(&mut body).await?;
            Ok(Ok(body))
        });
        match read.await {
            Ok(Ok(Ok(body))) => packet::answer(&body),
            Ok(Ok(Err(head))) => packet::length(head).and_then(|_| packet::answer(&[])),
            Ok(Err(error)) => Err(self.broken(error).await),
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> Error {
        Error::unavailable(format!("`{}` did not answer within {ANSWER_SECONDS_MAX} s", self.place))
    }

    /// The conversation has ended; `ssh` says why.
    async fn broken(&mut self, error: std::io::Error) -> Error {
        if let Some(child) = &mut self.child {
            // Its last words come before its end.
            let _ = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
            tokio::task::yield_now().await;
        }
        why(&self.place, &program::readable(&self.complaint.lock())).because(error)
    }

    fn done(&self, answer: &Answer) -> Result<()> {
        match answer {
            Answer::Status(status::OK, _) => Ok(()),
            other => Err(self.refused(other)),
        }
    }

    fn refused(&self, answer: &Answer) -> Error {
        let Answer::Status(code, words) = answer else { return self.unexpected(answer) };
        let words = program::readable(words);
        match *code {
            status::NO_SUCH_FILE => Error::not_found("file or folder", &self.place)
                .hint("make the folder on the server, for the user that logs in"),
            status::DENIED => Error::forbidden(format!("`{}` refuses it: {words}", self.place))
                .hint("give the user the right to write in the folder"),
            status::UNSUPPORTED => Error::unavailable(format!("`{}` cannot do it: {words}", self.place)),
            _ => Error::unavailable(format!("`{}` failed: {words}", self.place))
                .hint("look whether its disk is full"),
        }
    }

    fn unexpected(&self, _: &Answer) -> Error {
        Error::unavailable(format!("`{}` answers what was not asked", self.place))
    }
}

/// What an ended `ssh` means for a person.
fn why(place: &str, complaint: &str) -> Error {
    let has = |text: &str| complaint.contains(text);
    let told = |kind, message: &str, hint: &'static str| {
        Error::new(kind, format!("`{place}` {message}: {complaint}")).hint(hint)
    };
    if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        told(
            Kind::Forbidden,
            "shows another host key than the one that was pinned",
            "somebody may stand between; when the server was truly set up anew, look at its key there and pin it again",
        )
    } else if has("Permission denied") || has("Too many authentication failures") {
        told(
            Kind::Forbidden,
            "does not let the key in",
            "put the public key into the user's `authorized_keys` on the server",
        )
    } else if has("subsystem request failed") {
        told(Kind::Unavailable, "offers no SFTP", "turn on the `sftp` subsystem of its SSH server")
    } else if complaint.is_empty() {
        Error::unavailable(format!("`{place}` ended the connection"))
    } else {
        told(Kind::Unavailable, "is not reached", "look whether the server runs and the way to it is open")
    }
}

#[cfg(test)]
mod tests;
