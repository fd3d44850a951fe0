//! What surrounds every request: its identifier, span and log line, who may ask at all, and the headers of its answer.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, web};
use tracing::Instrument;

use super::connection::{Held, Progress};
use super::server::{Refuse, Settings};
use super::{Hosts, Limiter, Refusal, Standings, Traffic, Turned};
use crate::base::buckets::Rate;
use crate::base::{Error, limits, machine};
use crate::engine::clock::Clock;

/// The console loads only itself.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
    data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    (
        header::PERMISSIONS_POLICY,
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// For two years nobody shall come without TLS.
const STRICT: &str = "max-age=63072000";
/// The same for all names below: only where the certificate is the organisation's own is the name more than one machine's.
const STRICT_BELOW: &str = "max-age=63072000; includeSubDomains";

#[derive(Clone)]
struct RequestId(Arc<str>);

/// The identifier of a request, as its answer and log lines have it.
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default()
}

/// Who comes as far as a route.
pub(super) struct Gate {
    hosts: Hosts,
    open_paths: &'static [&'static str],
    addresses: Option<Limiter<IpAddr>>,
    strict: &'static str,
    refuse: Refuse,
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> Gate {
        let addresses = match settings.limits.requests_per_address_per_second_max {
            0 => None,
            n => Some(Limiter::new("address", Rate::per_second(n, limits::REQUESTS_BURST_SECONDS))),
        };
        Gate {
            hosts: settings.hosts.clone(),
            open_paths: settings.open_paths,
            addresses,
            strict: if settings.subdomains { STRICT_BELOW } else { STRICT },
            refuse: settings.refuse,
        }
    }

    /// Another number of requests for each address; a listener that had no bound keeps none.
    pub(super) fn change(&self, requests_per_address_per_second_max: u32) {
        if let Some(limiter) = &self.addresses {
            limiter.change(Rate::per_second(
                requests_per_address_per_second_max,
                limits::REQUESTS_BURST_SECONDS,
            ));
        }
    }

    fn pass(
        &self,
        request: &ServiceRequest,
        traffic: &Traffic,
        standings: &Standings,
    ) -> Result<(), Refusal> {
        let peer = request.peer_addr().map(|peer| peer.ip());
        if let (Some(limiter), Some(peer)) = (&self.addresses, peer) {
            limiter.take(&machine(peer), traffic.clock().monotonic(), 1, standings)?;
        }
        let host = host(request)?;
        if !self.knows(&host, request) {
            if let Some(peer) = peer {
                traffic.turn_away(Turned::Host, peer);
            }
            return Err(misdirected(&host));
        }
        Ok(())
    }

    /// A foreign name that points at this machine (DNS rebinding) must not reach the console with its cookies. The
    /// address that a connection reached is no name that somebody else could have chosen.
    fn knows(&self, host: &str, request: &ServiceRequest) -> bool {
        let Hosts::Only(known) = &self.hosts else { return true };
        let path = request.path();
        let open = |open: &&str| if open.ends_with('/') { path.starts_with(open) } else { path == *open };
        let reached = || {
            let local = request.conn_data::<Progress>().map(|progress| progress.local.ip().to_canonical());
            local.is_some() && host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()) == local
        };
        self.open_paths.iter().any(open) || known(host) || reached()
    }
}

/// The host that a request is for, without its port, in lower case; empty when it names none.
///
/// RFC 9112, 3.2.2: where the target names a host, the header of that name says nothing. We take only what says the same
/// in both places, so that nothing in between is of another opinion. Forwarding headers are not looked at.
fn host(request: &ServiceRequest) -> Result<String, Refusal> {
    let header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    let target = request.uri().authority().map(|authority| authority.as_str());
    match (header, target) {
        (Some(header), Some(target)) if !header.eq_ignore_ascii_case(target) => Err(Refusal::new(
            400,
            Error::invalid("the target and the `Host` header name different hosts")
                .hint("send the path alone as the target"),
        )),
        (header, target) => {
            let host = bare(header.or(target).unwrap_or_default());
            Ok(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
        }
    }
}

fn misdirected(host: &str) -> Refusal {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
    let shown: Cow<'_, str> = match host {
        "" => "without a name".into(),
        host if host.chars().all(plain) => {
            format!("as `{}`", host.chars().take(120).collect::<String>()).into()
        }
        _ => "under that name".into(),
    };
    let error = Error::invalid(format!("this server does not know that it is reached {shown}")).hint(
        "add the name or address to `hosts` in `[site]` of the server's configuration file, or to the variable \
         MUSTER_SITE_HOSTS, and start the server again; or use one that stands there already",
    );
    Refusal::new(421, error)
}

pub(super) async fn envelope(
    traffic: web::Data<Traffic>,
    gate: web::Data<Gate>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let traffic = traffic.into_inner();
    let running = traffic.begin();
    let held = request.conn_data::<Progress>().map(Progress::begin);
    let id = new_id(traffic.clock());
    let standings = Standings::default();
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    request.extensions_mut().insert(standings.clone());
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let peer = request.peer_addr().map(|a| a.ip());
    let from = peer.map(|ip| ip.to_string()).unwrap_or_default();
    let span = tracing::info_span!("request", request.id = %id);

    let mut answer = match gate.pass(&request, &traffic, &standings) {
        Ok(()) => next.call(request).instrument(span).await?.map_into_boxed_body(),
        Err(refusal) => {
            let answer = (gate.refuse)(request.request(), &refusal);
            request.into_response(answer).map_into_boxed_body()
        }
    };

    let status = answer.status().as_u16();
    let elapsed = running.end(status);
    stamp(answer.headers_mut(), gate.strict, &id, elapsed);
    if standings.stamp(answer.headers_mut())
        && let Some(peer) = peer
    {
        traffic.turn_away(Turned::Rate, peer);
    }
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
    Ok(match held {
        Some(held) => answer.map_body(|_, body| BoxBody::new(Held::new(body, Some(held)))),
        None => answer,
    })
}

fn new_id(clock: &Clock) -> String {
    let bytes: [u8; 10] = clock.random();
    bytes.iter().fold(String::from("req_"), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

fn stamp(headers: &mut HeaderMap, strict: &'static str, id: &str, elapsed: Duration) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(strict));
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
