//! Accepting connections. Nothing that a peer does or does not do holds up the next one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::gate::{self, Core};
use super::registry::count;
use super::session::Session;
use super::stream::Stream;

/// TLS and how many handshakes may run at once.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) turns: Arc<Semaphore>,
}

/// Accepts until the task is dropped.
pub(super) async fn listen(core: Arc<Core>, listener: TcpListener, tls: Option<Tls>) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, most likely: without a pause this would spin and fill the log.
                tracing::debug!("cannot accept: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if core.stopping.load(Ordering::SeqCst) {
            continue;
        }
        count(&core.counters.accepted);
        if !core.networks.read().let_in(peer.ip()) {
            core.refused(peer, "", "its address may not connect");
            continue;
        }
        let limits = &core.limits;
        let door = core.doors.enter(peer.ip(), limits.connections_max, limits.connections_per_address_max);
        let Some(door) = door else {
            core.refused(peer, "", "too many connections");
            continue;
        };
        let (core, tls) = (core.clone(), tls.clone());
        tokio::spawn(async move {
            // A task of its own: a panic in here ends this connection and no other. What belongs to entering is boxed, so
            // that it is gone when the session begins.
            if let Some(session) = Box::pin(enter(core, socket, peer, tls)).await {
                Box::pin(session.run()).await;
            }
            drop(door);
        });
    }
}

async fn enter(
    core: Arc<Core>,
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
) -> Option<Box<Session>> {
    let stream = open(&core, socket, peer, tls).await?;
    gate::enter(core, stream, peer).await
}

async fn open(core: &Core, socket: TcpStream, peer: SocketAddr, tls: Option<Tls>) -> Option<Stream> {
    // Small packets go out at once; failing to say so costs only time.
    let _ = socket.set_nodelay(true);
    let Some(tls) = tls else { return Some(Stream::plain(socket)) };
    let handshake = async {
        let turn = tls.turns.acquire().await.ok()?;
        let stream = tls.acceptor.accept(socket).await.ok();
        drop(turn);
        stream
    };
    match timeout(core.limits.handshake.duration(), Box::pin(handshake)).await {
        Ok(Some(stream)) => Some(Stream::tls(stream)),
        Ok(None) => {
            core.refused(peer, "", "TLS handshake failed");
            None
        }
        Err(_) => {
            core.refused(peer, "", "no TLS handshake in time");
            None
        }
    }
}
