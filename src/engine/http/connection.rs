//! One connection, from the moment it is accepted: who may have one, how many, the TLS handshake, and how long the other
//! side may keep us waiting. What speaks HTTP sees only connections that passed.
//!
//! Invariant: an address that may not connect, or has too many connections, is cut before a byte of it is read.
//! Invariant: no part of a connection waits for ever: handshake, head, and every write have a bound. A body has its own.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::rt::time::{Sleep, sleep, timeout};
use actix_web::web::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::traffic::Turned;
use super::{Limits, Traffic};
use crate::base::{Networks, machine};

/// Who may connect, and who is connected. Shared by all workers of a listener.
pub(super) struct Door {
    networks: RwLock<Networks>,
    limits: Limits,
    traffic: Arc<Traffic>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_machine: HashMap<IpAddr, usize>,
}

impl Door {
    pub(super) fn new(networks: Networks, limits: Limits, traffic: Arc<Traffic>) -> Arc<Door> {
        Arc::new(Door { networks: RwLock::new(networks), limits, traffic, open: Mutex::default() })
    }

    pub(super) fn change(&self, networks: Networks) {
        *self.networks.write() = networks;
    }

    /// A place for a connection from `peer`, unless it may have none.
    fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        if !self.networks.read().let_in(peer) {
            self.traffic.turn_away(Turned::Network, peer);
            return None;
        }
        let machine = machine(peer);
        let mut open = self.open.lock();
        let have = open.by_machine.get(&machine).copied().unwrap_or_default();
        if open.all >= self.limits.connections_max || have >= self.limits.connections_per_address_max {
            drop(open);
            self.traffic.turn_away(Turned::Connections, peer);
            return None;
        }
        open.all += 1;
        open.by_machine.insert(machine, have + 1);
        Some(Place { door: self.clone(), machine })
    }
}

/// The place of one connection; it is free again when this is dropped.
struct Place {
    door: Arc<Door>,
    machine: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.door.open.lock();
        open.all -= 1;
        if let Some(have) = open.by_machine.get_mut(&self.machine) {
            *have -= 1;
            if *have == 0 {
                open.by_machine.remove(&self.machine);
            }
        }
    }
}

/// A connection over which HTTP is spoken.
pub(super) type Connection = TlsStream<Paced>;

/// Lets a connection in and shakes hands. Nothing is told to who may not connect.
pub(super) async fn open(
    door: Arc<Door>,
    tls: TlsAcceptor,
    socket: TcpStream,
) -> Option<(Connection, SocketAddr)> {
    let peer = socket.peer_addr().ok()?;
    let place = door.enter(peer.ip())?;
    let local = socket.local_addr().ok()?;
    // Small answers go out at once; failing to say so costs only time.
    let _ = socket.set_nodelay(true);
    let progress = Progress { local, requests: Rc::default(), running: Rc::default() };
    let limits = door.limits;
    let paced = Paced { socket, progress, limits, shaken: false, head: None, idle: None, write: None, place };
    match timeout(Duration::from_secs(limits.handshake_seconds_max), tls.accept(paced)).await {
        Ok(Ok(mut connection)) => {
            connection.get_mut().0.shaken = true;
            Some((connection, peer))
        }
        failed => {
            door.traffic.turn_away(Turned::Handshake, peer.ip());
            if let Ok(Err(error)) = failed {
                tracing::debug!(%peer, "no TLS with {peer}: {error}");
            }
            None
        }
    }
}

/// Puts what requests need to know of their connection where they find it.
pub(super) fn introduce(connection: &Connection, extensions: &mut Extensions) {
    extensions.insert(connection.get_ref().0.progress.clone());
}

/// How far a connection is, for its stream, which measures time, and for its requests, which know what was said.
#[derive(Clone)]
pub(super) struct Progress {
    /// The address that the other side reached.
    pub(super) local: SocketAddr,
    requests: Rc<Cell<u64>>,
    running: Rc<Cell<u32>>,
}

impl Progress {
    /// A head is complete; its request runs until this is dropped.
    pub(super) fn begin(&self) -> Request {
        self.requests.set(self.requests.get() + 1);
        self.running.set(self.running.get() + 1);
        Request(self.running.clone())
    }
}

/// A request of a connection, until its answer is written.
pub(super) struct Request(Rc<Cell<u32>>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The stream under TLS. It fails when a head does not get on, or when nothing of what is written is taken.
pub(super) struct Paced {
    socket: TcpStream,
    progress: Progress,
    limits: Limits,
    shaken: bool,
    /// Runs while a head has begun and is not complete.
    head: Option<Wait>,
    /// Runs while no request is answered, whatever arrives that is none.
    idle: Option<Wait>,
    /// Runs while nothing can be written.
    write: Option<Pin<Box<Sleep>>>,
    place: Place,
}

/// A timer that counts only as long as no further request has come.
struct Wait {
    requests: u64,
    timer: Pin<Box<Sleep>>,
}

impl Paced {
    fn too_slow(&self, what: &str) -> io::Error {
        if let Ok(peer) = self.socket.peer_addr() {
            self.place.door.traffic.turn_away(Turned::Slow, peer.ip());
        }
        io::Error::new(io::ErrorKind::TimedOut, what)
    }

    /// Something was read, or nothing is there; says when that has gone on for too long.
    fn watch_read(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<io::Error> {
        if !self.shaken {
            return Poll::Pending;
        }
        let (requests, running) = (self.progress.requests.get(), self.progress.running.get() > 0);
        for wait in [&mut self.head, &mut self.idle] {
            if wait.as_ref().is_some_and(|wait| running || wait.requests != requests) {
                *wait = None;
            }
        }
        if running {
            return Poll::Pending;
        }
        let Limits { head_seconds_max, idle_seconds_max, .. } = self.limits;
        let wait = |seconds| Wait { requests, timer: Box::pin(sleep(Duration::from_secs(seconds))) };
        // Keep-alive ends by itself before; this is for who sends something that never becomes a request.
        self.idle.get_or_insert_with(|| wait(idle_seconds_max + head_seconds_max));
        if read {
            self.head.get_or_insert_with(|| wait(head_seconds_max));
        }
        let over = [&mut self.head, &mut self.idle]
            .into_iter()
            .flatten()
            .any(|wait| wait.timer.as_mut().poll(cx).is_ready());
        match over {
            true => {
                (self.head, self.idle) = (None, None);
                Poll::Ready(self.too_slow("a request did not arrive in time"))
            }
            false => Poll::Pending,
        }
    }

    fn watch_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write = None;
            return written;
        }
        let seconds = Duration::from_secs(self.limits.write_seconds_max);
        let timer = self.write.get_or_insert_with(|| Box::pin(sleep(seconds)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                self.write = None;
                Poll::Ready(Err(self.too_slow("nothing was taken in time")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        match read {
            Poll::Pending => self.watch_read(cx, false).map(Err),
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                // Also who dribbles gets no further than the bound.
                match self.watch_read(cx, true) {
                    Poll::Ready(error) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Ready(Ok(())),
                }
            }
            ended => ended,
        }
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

/// A body that keeps its request running while it is sent.
pub(super) struct Held {
    body: BoxBody,
    _request: Option<Request>,
}

impl Held {
    pub(super) fn new(body: BoxBody, request: Option<Request>) -> Held {
        Held { body, _request: request }
    }
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
