//! What surrounds every request: its identifier, span and log line, the check of its host, and the headers of its answer.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, web};
use tracing::Instrument;

use super::{Hosts, Refusal, Traffic, problem};
use crate::base::Error;
use crate::engine::clock::Clock;

/// The console loads only itself.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
    data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    (
        header::PERMISSIONS_POLICY,
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

#[derive(Clone)]
struct RequestId(Arc<str>);

/// The identifier of a request, as its answer and log lines have it.
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default()
}

pub(super) async fn envelope(
    traffic: web::Data<Traffic>,
    hosts: web::Data<Hosts>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let traffic = traffic.into_inner();
    let running = traffic.begin();
    let id = new_id(traffic.clock());
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let from = request.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
    let span = tracing::info_span!("request", request.id = %id);

    let mut answer = if knows(&hosts, &request) {
        next.call(request).instrument(span).await?.map_into_boxed_body()
    } else {
        let error = Error::invalid("this server is not reached under that name")
            .hint("use a name or address from its settings, or add this one there");
        request.into_response(problem(&Refusal::new(421, error), &id)).map_into_boxed_body()
    };

    let status = answer.status().as_u16();
    let elapsed = running.end(status);
    stamp(answer.headers_mut(), &id, elapsed);
    let elapsed_ms = elapsed.as_millis() as u64;
    // The path only: a query may hold what a person typed.
    if path.starts_with("/static/") {
        tracing::debug!(request.id = %id, %from, "{method} {path} {status} in {elapsed_ms} ms");
    } else {
        tracing::info!(
            request.id = %id, %from, %method, path, status, elapsed_ms,
            "{method} {path} {status} in {elapsed_ms} ms"
        );
    }
    Ok(answer)
}

fn new_id(clock: &Clock) -> String {
    let bytes: [u8; 10] = clock.random();
    bytes.iter().fold(String::from("req_"), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

fn stamp(headers: &mut HeaderMap, id: &str, elapsed: Duration) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    let timing = format!("total;dur={:.1}", elapsed.as_secs_f64() * 1000.0);
    if let Ok(value) = HeaderValue::from_str(&timing) {
        headers.insert(HeaderName::from_static("server-timing"), value);
    }
}

/// A foreign name that points at this machine (DNS rebinding) must not reach the console with its cookies.
fn knows(hosts: &Hosts, request: &ServiceRequest) -> bool {
    let Hosts::Only(known) = hosts else { return true };
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    known(bare(host))
}

/// A host without its port: `[::1]:8443` is `::1`.
fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map(|(name, _)| name).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        for (host, expected) in
            [("site.lan:8443", "site.lan"), ("site.lan", "site.lan"), ("[::1]:8443", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(bare(host), expected);
        }
    }
}
