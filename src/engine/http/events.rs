//! Server-sent events: a bounded channel into a body that never ends by itself.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use tokio::sync::{mpsc, watch};

use super::Traffic;
use super::traffic::Ticket;
use crate::base::Result;

/// Messages that may wait for a slow reader before its sender waits too.
const WAITING_MAX: usize = 8;
/// How often a silent stream says that it lives, so that no proxy closes it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The sending end of one stream. Dropping it ends the stream.
pub struct Feed {
    sender: mpsc::Sender<Bytes>,
    closing: watch::Receiver<bool>,
}

impl Feed {
    /// Sends a message, perhaps of several lines. Waits while the reader is slow; false when it is gone.
    pub async fn send(&self, text: &str) -> bool {
        self.sender.send(encode(None, text)).await.is_ok()
    }

    /// Sends a message with a name, which browsers give to listeners of that name only.
    pub async fn send_named(&self, name: &str, text: &str) -> bool {
        self.sender.send(encode(Some(name), text)).await.is_ok()
    }

    /// Waits until the reader is gone or the server stops.
    pub async fn closed(&self) {
        let mut closing = self.closing.clone();
        tokio::select! {
            _ = self.sender.closed() => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
}

struct State {
    receiver: mpsc::Receiver<Bytes>,
    closing: watch::Receiver<bool>,
    _ticket: Ticket,
}

/// Opens a stream, when one of the places is free. It says `: keep-alive` every 15 seconds and ends when the feed is
/// dropped or the server stops.
pub fn open(traffic: &Arc<Traffic>) -> Result<(Feed, HttpResponse)> {
    let ticket = traffic.ticket()?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    // The first bytes make the head leave at once; browsers come back after two seconds.
    let _ = sender.try_send(Bytes::from_static(b"retry: 2000\n\n"));
    let state = State { receiver, closing: traffic.closing(), _ticket: ticket };
    let stream = futures_util::stream::unfold(state, |mut state| async move {
        if *state.closing.borrow() {
            return None;
        }
        let next = tokio::select! {
            _ = state.closing.wait_for(|closing| *closing) => None,
            message = state.receiver.recv() => message,
            _ = actix_web::rt::time::sleep(KEEP_ALIVE) => Some(Bytes::from_static(b": keep-alive\n\n")),
        };
        next.map(|bytes| (Ok::<Bytes, std::convert::Infallible>(bytes), state))
    });
    let answer = HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Compression would hold messages back.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(stream);
    Ok((Feed { sender, closing: traffic.closing() }, answer))
}

fn encode(name: Option<&str>, text: &str) -> Bytes {
    let mut out = String::with_capacity(text.len() + 32);
    if let Some(name) = name {
        out.push_str("event: ");
        out.extend(name.chars().filter(|c| !c.is_control()));
        out.push('\n');
    }
    // A carriage return ends a line in this format too.
    for line in text.split(['\n', '\r']) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody;

    use super::*;
    use crate::base::{Timestamp, limits};
    use crate::engine::clock::Clock;

    fn traffic() -> Arc<Traffic> {
        Traffic::new(Clock::manual(Timestamp::from_milliseconds(0), 1))
    }

    #[test]
    fn lines_cannot_break_out_of_a_message() {
        assert_eq!(&encode(None, "a\nb")[..], b"data: a\ndata: b\n\n");
        assert_eq!(
            &encode(Some("x\ny"), "a\r\nevent: z")[..],
            b"event: xy\ndata: a\ndata: \ndata: event: z\n\n"
        );
    }

    #[test]
    fn streams_are_limited_and_places_come_back() {
        let traffic = traffic();
        let mut open_ones: Vec<_> = (0..limits::LIVE_STREAMS_MAX).map(|_| open(&traffic).unwrap()).collect();
        assert!(open(&traffic).is_err());
        open_ones.pop();
        assert!(open(&traffic).is_ok());
    }

    #[test]
    fn a_stream_ends_with_its_server() {
        actix_web::rt::System::new().block_on(async {
            let traffic = traffic();
            let (feed, answer) = open(&traffic).unwrap();
            assert!(feed.send("hello").await);
            let mut body = std::pin::pin!(answer.into_body());
            let first = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await.unwrap().unwrap();
            assert!(first.starts_with(b"retry"));
            let second = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await.unwrap().unwrap();
            assert_eq!(&second[..], b"data: hello\n\n");
            traffic.close();
            feed.closed().await;
            assert!(std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await.is_none());
            assert!(open(&traffic).is_err(), "a stopping server opens no stream");
        });
    }
}
