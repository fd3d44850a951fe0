//! The control socket: how the command line speaks with a running server on the same machine.
//!
//! One request a connection, as one line of JSON: `{"op":"NAME","input":{…}}` runs an operation and is answered by one
//! line, `{"ok":…}` or `{"problem":{…}}`. `{"stream":"NAME","input":{…}}` is answered by a line `{"stream":…}`, then
//! by blocks (four bytes of length, big end first, and so many bytes), a block of no bytes, and a line as above.
//!
//! The socket lies in the data folder. As a service of systemd, which makes a folder in `/run` for it, it lies there, as
//! `/run/muster/ctl.sock`, and the data folder has a link to it under the usual name: whoever knows either finds it.
//!
//! Invariant: only root and the server's own user are answered; the kernel says who is at the other end.
//! Invariant: whoever is answered acts as the appliance itself, and the journal says `command line, uid N`.
//! Invariant: no request holds more than a thread and its bounded line; when the server stops, every connection ends.

mod client;
mod place;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::{Error, Kind, Result};
use crate::engine::clock::Clock;
use crate::engine::http;
use place::Place;

pub use client::Client;

/// Name of the socket in the data folder.
pub const SOCKET: &str = "control.sock";
/// Name of the socket in the folder that systemd makes for the service in `/run`.
pub const RUNTIME_SOCKET: &str = "ctl.sock";
/// Bytes of a request's line.
pub(super) const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// How long a request's line may take to arrive.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long the other end may leave what is written to it unread.
const UNREAD_WITHIN: Duration = Duration::from_secs(30);
/// Connections at once; further ones are told so.
pub(super) const CONNECTIONS_MAX: usize = 8;
/// After a connection could not be taken, so long until the next try.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of one block of a stream.
const BLOCK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an answer's line that a client reads.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a stop waits for requests that run.
const DRAIN: Duration = Duration::from_secs(3);

/// Who asks, for the journal: `command line, uid 0`.
pub(super) fn from(uid: u32) -> String {
    format!("command line, uid {uid}")
}

/// Runs an operation: who asks, the request's id, the operation and its input.
pub(super) type Call = Box<dyn Fn(&str, &str, &str, Value) -> Result<Value> + Send + Sync>;
/// Writes a stream: who asks, the request's id, the stream's name, its input, and where it goes.
pub(super) type Streams =
    Box<dyn Fn(&str, &str, &str, Value, &mut Stream<'_>) -> Result<Value> + Send + Sync>;

/// What is answered.
pub(super) struct Answers {
    pub(super) call: Call,
    pub(super) stream: Streams,
}

/// The listening socket. Dropping it ends every connection.
pub(super) struct Control {
    shared: Arc<Shared>,
    path: PathBuf,
    /// The data folder's link to it, when it lies elsewhere.
    link: Option<PathBuf>,
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    answers: Answers,
    clock: Clock,
    uid: u32,
    stopping: AtomicBool,
    open: Mutex<HashMap<u64, UnixStream>>,
    closed: Condvar,
}

impl Control {
    /// Listens in the data folder, or in `runtime` with a link in the data folder. The caller holds the folder's lock, so
    /// that a socket that lies there is left over.
    pub(super) fn start(
        folder: &Path,
        runtime: Option<&Path>,
        clock: &Clock,
        answers: Answers,
    ) -> Result<Control> {
        let usual = folder.join(SOCKET);
        vacate(&usual)?;
        let (path, link) = match runtime {
            Some(runtime) => (runtime.join(RUNTIME_SOCKET), Some(usual)),
            None => (usual, None),
        };
        let listener = bind(&path)?;
        if let Some(link) = &link {
            std::os::unix::fs::symlink(&path, link).map_err(|e| failed(link, e))?;
        }
        let shared = Arc::new(Shared {
            answers,
            clock: clock.clone(),
            uid: rustix::process::geteuid().as_raw(),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
            closed: Condvar::new(),
        });
        let (accepting, accepted) = (Arc::clone(&shared), listener.try_clone()?);
        let thread = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&accepting, &accepted))
            .map_err(|e| Error::unavailable("no thread for the control socket").because(e))?;
        Ok(Control { shared, path, link, listener, thread: Some(thread) })
    }

    /// Accepts nothing more, ends the streams, and waits a little for operations that run.
    pub(super) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, also when the socket's name is gone.
        match rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both) {
            Ok(()) => drop(thread.join()),
            Err(e) => tracing::warn!("the control socket does not stop: {e}"),
        }
        for name in [Some(&self.path), self.link.as_ref()].into_iter().flatten() {
            let _ = std::fs::remove_file(name);
        }
        let mut open = self.shared.open.lock();
        for stream in open.values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        while !open.is_empty() {
            if self.shared.closed.wait_for(&mut open, DRAIN).timed_out() {
                tracing::warn!("{} requests of the command line still run at the stop", open.len());
                return;
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

fn failed(path: &Path, e: std::io::Error) -> Error {
    Error::unavailable(format!("the control socket `{}` cannot be made", path.display()))
        .because(e)
        .hint("the data folder must be on a file system that knows sockets")
}

/// Removes what an earlier server left under this name, and nothing else.
fn vacate(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() || meta.file_type().is_symlink() => {
            std::fs::remove_file(path).map_err(|e| failed(path, e))
        }
        Ok(_) => Err(Error::conflict(format!("`{}` is there and is no socket", path.display()))
            .hint("move it away; the server makes its control socket there")),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(path, e)),
    }
}

fn bind(path: &Path) -> Result<UnixListener> {
    vacate(path)?;
    let place = Place::of(path)?;
    let listener = UnixListener::bind(place.path()).map_err(|e| failed(path, e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|e| failed(path, e))?;
    Ok(listener)
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Out of handles, most likely: another try at once would only burn a core.
            std::thread::park_timeout(ACCEPT_AGAIN);
            continue;
        };
        let Ok(kept) = stream.try_clone() else { continue };
        let _ = stream.set_write_timeout(Some(UNREAD_WITHIN));
        let mut open = shared.open.lock();
        if open.len() >= CONNECTIONS_MAX {
            drop(open);
            let error = Error::too_many("too many commands are at work already").hint("wait for one to end");
            finish(&stream, &problem(&error, ""));
            continue;
        }
        open.insert(number, kept);
        drop(open);
        let serving = Arc::clone(shared);
        let spawned = std::thread::Builder::new().name("control-line".into()).spawn(move || {
            serve(&serving, &stream);
            drop(stream);
            serving.open.lock().remove(&number);
            serving.closed.notify_all();
        });
        if let Err(error) = spawned {
            tracing::warn!("no thread for a command: {error}");
            shared.open.lock().remove(&number);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    op: Option<String>,
    stream: Option<String>,
    #[serde(default)]
    input: Value,
}

fn serve(shared: &Shared, stream: &UnixStream) {
    let id: String = shared.clock.random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    let last = match peer(shared, stream).and_then(|from| Ok((from, request(&shared.clock, stream)?))) {
        Ok((from, request)) => {
            let run = || answer(shared, stream, &from, &id, request);
            let answer = catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|_| Err(Error::internal("the command panicked")));
            if let Err(error) = &answer {
                http::log(error, &id);
            }
            answer
        }
        Err(error) => Err(error),
    };
    match last {
        Ok(value) => finish(stream, &json!({ "ok": value })),
        Err(error) => finish(stream, &problem(&error, &id)),
    }
}

/// Who is at the other end, when they may ask.
fn peer(shared: &Shared, stream: &UnixStream) -> Result<String> {
    // It does not for who is outside of this machine, when this is a container.
    let unknown = |e| Error::forbidden("the kernel does not say who asks").because(e);
    let uid = rustix::net::sockopt::socket_peercred(stream).map_err(unknown)?.uid.as_raw();
    if admitted(uid, shared.uid) {
        return Ok(from(uid));
    }
    Err(Error::forbidden(format!("user {uid} may not command this server"))
        .hint(format!("run the command as root or as user {}", shared.uid)))
}

fn admitted(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

/// Reads the request's line, not longer than it may be and not for longer than it may take.
fn request(clock: &Clock, mut stream: &UnixStream) -> Result<Request> {
    let began = clock.monotonic();
    let mut line = Vec::new();
    let mut block = [0; 4096];
    loop {
        let left = REQUEST_WITHIN.saturating_sub(clock.monotonic() - began);
        if left.is_zero() {
            return Err(Error::unavailable("the request took too long to arrive"));
        }
        stream.set_read_timeout(Some(left))?;
        let read = match stream.read(&mut block) {
            Ok(0) => return Err(Error::invalid("the request ended before its line did")),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(e) => return Err(Error::unavailable("the request broke off").because(e)),
        };
        let part = &block[..read];
        let end = part.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&part[..end.unwrap_or(read)]);
        if line.len() > REQUEST_BYTES_MAX {
            return Err(Error::invalid(format!("the request is longer than {REQUEST_BYTES_MAX} bytes")));
        }
        if end.is_some() {
            break;
        }
    }
    serde_json::from_slice(&line).map_err(|e| Error::invalid(format!("the request is not understood: {e}")))
}

fn answer(shared: &Shared, stream: &UnixStream, from: &str, id: &str, request: Request) -> Result<Value> {
    match request {
        Request { op: Some(op), stream: None, input } => (shared.answers.call)(from, id, &op, input),
        Request { op: None, stream: Some(name), input } => {
            let mut out = Stream { out: stream, begun: false };
            let result = (shared.answers.stream)(from, id, &name, input, &mut out);
            out.end()?;
            result
        }
        _ => Err(Error::invalid("a request names an `op` or a `stream`")),
    }
}

/// Writes the last line; who has gone away does not read it.
fn finish(mut stream: &UnixStream, value: &Value) {
    let mut line = value.to_string();
    line.push('\n');
    let _ = stream.write_all(line.as_bytes());
}

/// The error as RFC 9457 has it.
fn problem(error: &Error, id: &str) -> Value {
    let status = error.kind().status();
    let mut body = json!({
        "type": format!("/help/api#{}", error.kind().word()),
        "title": http::title(status),
        "status": status,
        "detail": error.message(),
        "request_id": id,
    });
    if let Some(hint) = error.hint_text() {
        body["hint"] = hint.into();
    }
    json!({ "problem": body })
}

/// The error that a problem was made of.
fn told(problem: &Value) -> Error {
    const KINDS: [Kind; 8] = [
        Kind::Invalid,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::StepUp,
        Kind::NotFound,
        Kind::Conflict,
        Kind::TooMany,
        Kind::Unavailable,
    ];
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let kind = KINDS.into_iter().find(|kind| text("type").ends_with(&format!("#{}", kind.word())));
    match kind {
        Some(kind) => {
            let error = Error::new(kind, text("detail"));
            if text("hint").is_empty() { error } else { error.hint(text("hint")) }
        }
        // The server's log has the cause under this id.
        None => Error::unavailable(format!("the server failed: {}", text("detail")))
            .hint(format!("its log tells more under the request `{}`", text("request_id"))),
    }
}

/// Where a stream's bytes go: block by block to the client.
pub struct Stream<'a> {
    out: &'a UnixStream,
    begun: bool,
}

impl Stream<'_> {
    /// Says what comes. It must be the first word; without it the stream is empty.
    pub fn begin(&mut self, head: &Value) -> Result<()> {
        finish(self.out, &json!({ "stream": head }));
        self.begun = true;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.begun {
            self.out.write_all(&0_u32.to_be_bytes()).map_err(gone)?;
        }
        Ok(())
    }
}

fn gone(e: std::io::Error) -> Error {
    Error::unavailable("the command line has gone away").because(e)
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.begun {
            return Err(std::io::Error::other("the stream has not begun"));
        }
        let part = &bytes[..bytes.len().min(BLOCK_BYTES_MAX)];
        if part.is_empty() {
            return Ok(0);
        }
        self.out.write_all(&(part.len() as u32).to_be_bytes())?;
        self.out.write_all(part)?;
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
