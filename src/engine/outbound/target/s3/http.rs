//! The HTTP client under an S3 store: our TLS, no proxy, no redirect, bounded answers, a pace for what is sent.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use parking_lot::Mutex;
use reqwest::redirect::Policy;

use super::super::pace::Pace;
use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::engine::outbound::trust;

/// Seconds in which a connection must stand.
const CONNECT_SECONDS_MAX: u64 = 20;
/// Seconds without any byte in either direction.
pub(super) const IDLE_SECONDS_MAX: u64 = 60;
/// Bytes of an answer that is not a file: a listing, an error.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests of one listing, which needs one for a thousand names.
pub(super) const LIST_REQUESTS_MAX: u32 = 1_000;
/// Bytes that go at once when there is a pace.
const PIECE_BYTES: usize = 64 * 1024;

/// Carries the requests of one call of a target.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    sending: Arc<Mutex<Option<Sending>>>,
    listed: Arc<AtomicU32>,
}

/// What is being sent, so that it goes at its pace.
struct Sending {
    bytes: Bytes,
    pace: Pace,
    before: u64,
}

impl Http {
    /// With `authority` (PEM) as whom the server must be certified by; without one, plain HTTP only.
    pub(super) fn new(authority: Option<&str>, clock: &Clock) -> Result<Http> {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .tls_backend_preconfigured(trust::client_config(authority, clock)?);
        if authority.is_some() {
            client = client.https_only(true);
        }
        let client =
            client.build().map_err(|e| Error::unavailable("no HTTP client can be made").because(e))?;
        Ok(Http { client, sending: Arc::default(), listed: Arc::default() })
    }

    /// Until the answer is given, `bytes` go at `pace`, and again from the start when they are sent again.
    pub(super) async fn paced<T>(&self, bytes: Bytes, pace: &Pace, sent: impl Future<Output = T>) -> T {
        let before = pace.done.load(Ordering::Relaxed);
        *self.sending.lock() = Some(Sending { bytes, pace: pace.clone(), before });
        let done = sent.await;
        *self.sending.lock() = None;
        done
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let listing = request.uri().query().is_some_and(|query| query.contains("list-type="));
        // A store could send empty pages for ever.
        if listing && self.listed.fetch_add(1, Ordering::Relaxed) >= LIST_REQUESTS_MAX {
            return Err(failed(format!("a listing of more than {LIST_REQUESTS_MAX} requests")));
        }
        let file = *request.method() == reqwest::Method::GET && !listing;
        if file {
            let response = idle(self.client.call(request)).await??;
            return if response.status().is_success() { Ok(response) } else { bounded(response).await };
        }
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string().parse::<reqwest::Url>().map_err(|e| failed(e.to_string()))?;
        let mut out = reqwest::Request::new(parts.method, url);
        *out.headers_mut() = parts.headers;
        let moved = Arc::new(AtomicBool::new(false));
        *out.body_mut() = match body.as_bytes() {
            Some(bytes) if bytes.is_empty() => None,
            Some(bytes) => Some(bytes.clone().into()),
            None => Some(self.body(body.content_length(), &moved)?),
        };
        let mut response = self.executed(out, &moved).await?;
        let mut collected = BytesMut::new();
        while let Some(chunk) = idle(response.chunk()).await?.map_err(reqwest_failed)? {
            collect(&mut collected, &chunk)?;
        }
        let mut answer = HttpResponse::new(collected.freeze().into());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        Ok(answer)
    }

    /// The body that is being sent, in pieces that wait for their pace.
    fn body(&self, length: usize, moved: &Arc<AtomicBool>) -> Result<reqwest::Body, HttpError> {
        let sending = self.sending.lock();
        let Some(sending) = sending.as_ref().filter(|s| s.bytes.len() == length) else {
            return Err(failed("a body that nobody meant to send".into()));
        };
        sending.pace.going().map_err(|e| failed(e.to_string()))?;
        // Sent again, it counts again from where it began.
        sending.pace.done.store(sending.before, Ordering::Relaxed);
        let (bytes, pace, moved) = (sending.bytes.clone(), sending.pace.clone(), Arc::clone(moved));
        Ok(reqwest::Body::wrap_stream(stream::unfold(bytes, move |mut bytes| {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            // The thread is this copy's own: it may wait here.
            let taken = if piece.is_empty() { Ok(()) } else { pace.take(piece.len() as u64) };
            moved.store(true, Ordering::Relaxed);
            async move {
                match taken {
                    _ if piece.is_empty() => None,
                    Ok(()) => Some((Ok(piece), bytes)),
                    Err(stopped) => Some((Err(std::io::Error::other(stopped.to_string())), Bytes::new())),
                }
            }
        })))
    }

    async fn executed(
        &self,
        request: reqwest::Request,
        moved: &AtomicBool,
    ) -> Result<reqwest::Response, HttpError> {
        let mut execute = Box::pin(self.client.execute(request));
        loop {
            match tokio::time::timeout(Duration::from_secs(IDLE_SECONDS_MAX), &mut execute).await {
                Ok(answered) => return answered.map_err(reqwest_failed),
                // What is still being sent is not idle.
                Err(_) if moved.swap(false, Ordering::Relaxed) => {}
                Err(_) => return Err(late()),
            }
        }
    }
}

impl HttpService for Http {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.answer(request))
    }
}

impl HttpConnector for Http {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

/// The same answer with its whole body, which is not long.
async fn bounded(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = response.into_parts();
    let (mut body, mut collected) = (body.bytes_stream(), BytesMut::new());
    while let Some(chunk) = idle(body.next()).await? {
        collect(&mut collected, &chunk?)?;
    }
    Ok(HttpResponse::from_parts(parts, collected.freeze().into()))
}

fn collect(collected: &mut BytesMut, chunk: &[u8]) -> Result<(), HttpError> {
    if collected.len() + chunk.len() > ANSWER_BYTES_MAX {
        return Err(failed(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")));
    }
    collected.extend_from_slice(chunk);
    Ok(())
}

async fn idle<T>(work: impl Future<Output = T>) -> Result<T, HttpError> {
    tokio::time::timeout(Duration::from_secs(IDLE_SECONDS_MAX), work).await.map_err(|_| late())
}

fn late() -> HttpError {
    HttpError::new(
        HttpErrorKind::Timeout,
        std::io::Error::other(format!("no answer for {IDLE_SECONDS_MAX} s")),
    )
}

/// An error that trying again does not mend.
fn failed(why: String) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, std::io::Error::other(why))
}

fn reqwest_failed(error: reqwest::Error) -> HttpError {
    let kind = if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_timeout() {
        HttpErrorKind::Timeout
    } else {
        HttpErrorKind::Request
    };
    HttpError::new(kind, error)
}
