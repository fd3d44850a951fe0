//! The socket of a session, with or without TLS, and one step of reading and writing on it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Bytes that are read at most in one step.
const STEP: usize = 4 * 1024;
/// What the read buffer of an idle session holds at most.
const IDLE: usize = 1024;

/// The socket and what waits on either side of it.
pub(super) struct Stream {
    socket: Socket,
    /// Read and not yet decoded.
    pub(super) input: BytesMut,
    /// Encoded and not yet written.
    pub(super) output: BytesMut,
    /// Written into TLS, perhaps not yet to the network.
    unflushed: bool,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
}

impl Stream {
    pub(super) fn plain(socket: TcpStream) -> Stream {
        Self::new(Socket::Plain(socket))
    }

    pub(super) fn tls(socket: TlsStream<TcpStream>) -> Stream {
        Self::new(Socket::Tls(Box::new(socket)))
    }

    fn new(socket: Socket) -> Stream {
        Stream { socket, input: BytesMut::new(), output: BytesMut::new(), unflushed: false }
    }

    /// The client's certificate, if TLS asked for one.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        match &self.socket {
            Socket::Plain(_) => None,
            Socket::Tls(tls) => tls.get_ref().1.peer_certificates()?.first().map(|c| c.as_ref().to_vec()),
        }
    }

    /// Whether something waits to be written.
    pub(super) fn unwritten(&self) -> bool {
        !self.output.is_empty() || self.unflushed
    }

    /// Gives the buffers of an idle session back.
    pub(super) fn shrink(&mut self) {
        if self.input.is_empty() && self.input.capacity() > IDLE {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() && self.output.capacity() > IDLE {
            self.output = BytesMut::new();
        }
    }

    /// Waits until something could be written or read and does it. Dropping the future loses nothing.
    pub(super) async fn step(&mut self, read: bool) -> io::Result<Step> {
        poll_fn(|cx| {
            let mut step = Step::default();
            let mut flushed = false;
            while !self.output.is_empty() {
                match self.poll_write(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => {
                        self.output.advance(count);
                        self.unflushed = true;
                        step.written += count;
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => break,
                }
            }
            if self.unflushed && self.output.is_empty() {
                match self.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        self.unflushed = false;
                        flushed = true;
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => {}
                }
            }
            if read {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Poll::Ready(Ok(count)) => step.read = count,
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Pending => {}
                }
            }
            if step == Step::default() && !flushed { Poll::Pending } else { Poll::Ready(Ok(step)) }
        })
        .await
    }

    /// Says goodbye on the level of the transport.
    pub(super) async fn close(&mut self) {
        // A peer that has gone already needs no goodbye.
        let _ = match &mut self.socket {
            Socket::Plain(socket) => socket.shutdown().await,
            Socket::Tls(socket) => socket.shutdown().await,
        };
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, &self.output),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, &self.output),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // On the stack, so that an idle session owns no read buffer at all.
        let mut space = [std::mem::MaybeUninit::<u8>::uninit(); STEP];
        let mut space = ReadBuf::uninit(&mut space);
        let ready = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, &mut space),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, &mut space),
        };
        ready.map_ok(|()| {
            self.input.extend_from_slice(space.filled());
            space.filled().len()
        })
    }
}
