//! The HTTP client under a provider: our TLS, no proxy, no redirect, bounded answers, and the egress list.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};

use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::engine::outbound::egress::{Egress, checked_host};
use crate::engine::outbound::{readable, trust};

/// Seconds in which a connection must stand.
const CONNECT_SECONDS_MAX: u64 = 5;
/// Seconds of one request, with its answer: somebody waits at a sign-in page.
const REQUEST_SECONDS_MAX: u64 = 10;
/// Bytes of an answer.
pub(super) const ANSWER_BYTES_MAX: usize = 512 * 1024;
/// Bytes of an address.
const ADDRESS_BYTES_MAX: usize = 2_048;
/// Bytes of what a provider complains that are shown.
const COMPLAINT_BYTES_MAX: usize = 200;

/// An answer that is not long.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

pub(super) struct Http {
    client: Client,
    egress: Egress,
}

/// The address, when it may be spoken with: `https`, or `http` on this machine.
pub(super) fn address(text: &str, what: &str) -> Result<Url> {
    let wrong = |why: &str| {
        Error::invalid(format!("the {what} {why}")).hint("such as `https://id.site.lan/realms/plant`")
    };
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(wrong("is too long"));
    }
    let url = Url::parse(text).map_err(|_| wrong("is no address"))?;
    let host = checked_host(url.host_str().unwrap_or_default())?;
    let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if here => {}
        _ => return Err(wrong("does not begin with `https://`")),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(wrong("has a user or a `#` in it"));
    }
    Ok(url)
}

/// Host and port of an address.
pub(super) fn destination(url: &Url) -> Result<(String, u16)> {
    let host = checked_host(url.host_str().unwrap_or_default())?;
    Ok((host, url.port_or_known_default().unwrap_or(443)))
}

impl Http {
    /// With `authority` (PEM) as whom a server must be certified by.
    pub(super) fn new(authority: Option<&str>, egress: &Egress, clock: &Clock) -> Result<Http> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .timeout(Duration::from_secs(REQUEST_SECONDS_MAX))
            .tls_backend_preconfigured(trust::client_config(authority, clock)?)
            .build()
            .map_err(|e| Error::unavailable("no HTTP client can be made").because(e))?;
        Ok(Http { client, egress: egress.clone() })
    }

    fn permitted(&self, url: &Url) -> Result<()> {
        let (host, port) = destination(url)?;
        self.egress.permit(&host, port).map(drop).map_err(|e| {
            e.hint("press “Test” at this provider under People, Sign-on: it allows the hosts that the provider names")
        })
    }

    pub(super) async fn get(&self, url: &Url, bearer: Option<&str>) -> Result<Answer> {
        self.permitted(url)?;
        let mut request = self.client.get(url.clone());
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        answered(url, request).await
    }

    pub(super) async fn post(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Answer> {
        self.permitted(url)?;
        let mut request = self.client.post(url.clone()).body(serde_urlencoded::to_string(form)?);
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some((user, secret)) = basic {
            // RFC 6749 §2.3.1: both are encoded as in a form first.
            let coded = |text| serde_urlencoded::to_string([("", text)]).map(|coded| coded[1..].to_owned());
            request = request.basic_auth(coded(user)?, Some(coded(secret)?));
        }
        answered(url, request).await
    }
}

async fn answered(url: &Url, request: RequestBuilder) -> Result<Answer> {
    let place = || url.host_str().unwrap_or_default().to_owned();
    let unreached = |e: reqwest::Error| {
        let why = deepest(&e);
        Error::unavailable(format!("the provider at `{}` is not reached: {why}", place())).because(e)
    };
    let request = request.header(ACCEPT, HeaderValue::from_static("application/json"));
    let mut response = request.send().await.map_err(unreached)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreached)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::unavailable(format!(
                "the provider at `{}` sends more than {ANSWER_BYTES_MAX} bytes",
                place()
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

impl Answer {
    /// The body as JSON, when the provider agreed.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T> {
        if self.status != 200 {
            let told: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
            let said = ["error", "error_description"].into_iter().filter_map(|name| told[name].as_str());
            let said = readable(said.collect::<Vec<_>>().join(": ").as_bytes(), COMPLAINT_BYTES_MAX);
            let said = if said.is_empty() { format!("status {}", self.status) } else { said };
            return Err(Error::unavailable(format!("the provider refuses the {what}: {said}")));
        }
        serde_json::from_slice(&self.body)
            .map_err(|e| Error::unavailable(format!("the provider's {what} does not read")).because(e))
    }
}

/// The last of the causes: the first ones only say that a request failed.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    readable(cause.to_string().as_bytes(), COMPLAINT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certified_addresses_are_spoken_with() {
        for good in
            ["https://id.lan", "https://id.lan:8443/realms/x", "http://127.0.0.1:9", "http://localhost/a"]
        {
            assert!(address(good, "issuer").is_ok(), "{good}");
        }
        let long = format!("https://id.lan/{}", "x".repeat(ADDRESS_BYTES_MAX));
        for bad in [
            "",
            "id.lan",
            "http://id.lan",
            "ftp://id.lan",
            "https://u@id.lan",
            "https://id.lan/#x",
            "file:///x",
            &long,
        ] {
            assert!(address(bad, "issuer").is_err(), "{bad}");
        }
        let url = address("https://[::1]/x", "issuer").unwrap();
        assert_eq!(destination(&url).unwrap(), ("::1".into(), 443));
    }
}
