//! A bucket of an S3-compatible store in the site's network.
//!
//! A file of more than one part goes up in parts; a note beside it, `NAME.part`, says which parts are there, so that a
//! copy goes on after a restart of this program. The note is written every 64 MiB and when a copy ends early; after a
//! power cut what was sent since the last note is sent again.
//!
//! Invariant: the only host that is spoken with is the endpoint's; a redirect is an error.
//! Invariant: every request is signed, and the store compares the sum of what it got with the signed one.

mod http;
mod upload;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    Attribute, BackoffConfig, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::http::{Http, IDLE_SECONDS_MAX};
use super::place::{check_from, probe_name, taker_failed, too_long};
use super::source::Source;
use super::{LIST_COUNT_MAX, Pace, Probe, Put, Stored, Target, checked_name, program};
use crate::base::{Error, Kind, Result, Secret};
use crate::engine::clock::Clock;
use crate::engine::outbound::egress::{Egress, checked_host};
use crate::engine::outbound::trust::AUTHORITY_BYTES_MAX;

/// Seconds that a whole listing may take.
const LIST_SECONDS_MAX: u64 = 300;
/// Times that a request is tried again after the store was not reached or failed.
const RETRIES_MAX: usize = 2;
/// Seconds after which a request is not tried again.
const RETRY_SECONDS_MAX: u64 = 60;
/// Bytes of the folder inside a bucket.
const PREFIX_BYTES_MAX: usize = 512;
/// Bytes of a bucket's or region's name.
const WORD_BYTES_MAX: usize = 63;
/// Bytes of a key or its name.
const KEY_BYTES_MAX: usize = 256;
/// Bytes that a probe writes.
const PROBE_BYTES: usize = 16 * 1024;
/// The file's own sum, told to the store with it.
const SUM_NAME: &str = "muster-blake3";

/// Settings of a bucket. The secret is the secret access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// Where the store is: `https://store.site.lan:9000`, without a path.
    pub endpoint: String,
    /// The bucket. It must be there.
    pub bucket: String,
    /// The store's region.
    #[serde(default = "region")]
    pub region: String,
    /// The folder inside the bucket; without it: the top.
    #[serde(default)]
    pub prefix: String,
    /// Whether the bucket stands in the path, as most stores want it, or in front of the host.
    #[serde(default = "path_style")]
    pub path_style: bool,
    /// The name of the access key.
    pub access_key: String,
    /// Who certifies the store, in PEM. Without it only `http://` is spoken.
    #[serde(default)]
    pub authority: Option<String>,
}

fn region() -> String {
    "us-east-1".into()
}

fn path_style() -> bool {
    true
}

impl S3Settings {
    /// The endpoint with the bucket in front of its host where that is asked for.
    fn url(&self) -> Result<reqwest::Url> {
        let wrong = |why: &str| {
            Error::invalid(format!("the endpoint {why}")).hint("such as `https://store.site.lan:9000`")
        };
        let mut url = reqwest::Url::parse(&self.endpoint).map_err(|_| wrong("is no address"))?;
        match (url.scheme(), &self.authority) {
            ("https", None) => {
                return Err(wrong("is `https` and nobody is named who certifies it")
                    .hint("give the certificate of the authority that signed the store's, in PEM"));
            }
            ("http", Some(_)) => return Err(wrong("is `http`, which an authority does not certify")),
            ("https", Some(_)) | ("http", None) => {}
            _ => return Err(wrong("begins with neither `https://` nor `http://`")),
        }
        let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if !bare || url.fragment().is_some() || url.path() != "/" {
            return Err(wrong("has more than a host and a port"));
        }
        let host = checked_host(url.host_str().unwrap_or_default())?;
        if !self.path_style {
            let host = format!("{}.{host}", self.bucket);
            url.set_host(Some(&checked_host(&host)?)).map_err(|_| wrong("takes no bucket in front"))?;
        }
        Ok(url)
    }

    /// The host and port that are connected to.
    pub(super) fn destination(&self) -> Result<(String, u16)> {
        let url = self.url()?;
        let host = checked_host(url.host_str().unwrap_or_default())?;
        Ok((host, url.port_or_known_default().unwrap_or(443)))
    }
}

pub(super) struct S3 {
    settings: S3Settings,
    key: Secret<String>,
    egress: Egress,
    clock: Clock,
}

/// One call's way to the store.
struct Store {
    store: AmazonS3,
    http: Http,
    place: String,
    prefix: String,
    /// For what is ours and short.
    unhurried: Pace,
}

impl S3 {
    pub(super) fn new(
        settings: &S3Settings,
        key: Option<Secret<String>>,
        egress: &Egress,
        clock: &Clock,
    ) -> Result<S3> {
        let key = key.ok_or_else(|| Error::invalid("an S3 target needs a secret access key"))?;
        let short = |text: &str| !text.is_empty() && text.len() <= KEY_BYTES_MAX;
        let printed = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if !short(key.expose()) || !printed(key.expose()) {
            return Err(Error::invalid("the secret access key is not one"));
        }
        if !short(&settings.access_key) || !printed(&settings.access_key) {
            return Err(Error::invalid("the access key's name is not one"));
        }
        for (what, word) in [("bucket", &settings.bucket), ("region", &settings.region)] {
            if word.len() > WORD_BYTES_MAX || checked_name(word).is_err() || word.contains("..") {
                return Err(Error::invalid(format!("the {what} is not the name of one")));
            }
        }
        let plain = settings.prefix.split('/').all(|part| checked_name(part).is_ok());
        if !settings.prefix.is_empty() && (!plain || settings.prefix.len() > PREFIX_BYTES_MAX) {
            return Err(Error::invalid("the folder in the bucket is not a path")
                .hint("names with `/` between them, and none at the ends"));
        }
        if settings.authority.as_ref().is_some_and(|pem| pem.len() > AUTHORITY_BYTES_MAX) {
            return Err(Error::invalid("the authority's certificates are too long"));
        }
        settings.url()?;
        // Certificates are read now, so that a wrong one is told when it is given.
        Http::new(settings.authority.as_deref(), clock)?;
        Ok(S3 { settings: settings.clone(), key, egress: egress.clone(), clock: clock.clone() })
    }

    /// Runs `work` on a way of its own to the store.
    fn on<T>(&self, work: impl AsyncFnOnce(&Store) -> Result<T>) -> Result<T> {
        let settings = &self.settings;
        let (host, port) = settings.destination()?;
        self.egress.permit(&host, port)?;
        program::blocking(async {
            let http = Http::new(settings.authority.as_deref(), &self.clock)?;
            let url = settings.url()?;
            let store = AmazonS3Builder::new()
                .with_endpoint(url.as_str().trim_end_matches('/'))
                .with_bucket_name(&settings.bucket)
                .with_region(&settings.region)
                .with_access_key_id(&settings.access_key)
                .with_secret_access_key(self.key.expose())
                .with_virtual_hosted_style_request(!settings.path_style)
                .with_allow_http(settings.authority.is_none())
                // One by one: not every store knows how to remove many at once.
                .with_disable_bulk_delete(true)
                .with_http_connector(http.clone())
                .with_retry(RetryConfig {
                    backoff: BackoffConfig {
                        init_backoff: Duration::from_millis(200),
                        max_backoff: Duration::from_secs(5),
                        base: 2.0,
                    },
                    max_retries: RETRIES_MAX,
                    retry_timeout: Duration::from_secs(RETRY_SECONDS_MAX),
                })
                .build()
                .map_err(|e| {
                    Error::invalid("the settings of the S3 target do not fit together").because(e)
                })?;
            let place = self.place();
            let (prefix, unhurried) = (settings.prefix.clone(), Pace::new(&self.clock));
            work(&Store { store, http, place, prefix, unhurried }).await
        })
    }

    fn place(&self) -> String {
        let S3Settings { endpoint, bucket, prefix, .. } = &self.settings;
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{}/{bucket}{slash}{prefix}", endpoint.trim_end_matches('/'))
    }
}

impl Target for S3 {
    fn describe(&self) -> String {
        format!("S3 store `{}`", self.place())
    }

    fn put(&self, name: &str, file: &Path, pace: &Pace) -> Result<Put> {
        let name = checked_name(name)?;
        let source = Source::open(file)?;
        self.on(async |store| upload::put(store, name, &source, pace).await)
    }

    fn list(&self) -> Result<Vec<Stored>> {
        self.on(async |store| {
            let within = Duration::from_secs(LIST_SECONDS_MAX);
            let late = |_| Error::unavailable(format!("`{}` does not end its listing", store.place));
            tokio::time::timeout(within, store.list()).await.map_err(late)?
        })
    }

    fn get(&self, name: &str, from: u64, out: &mut dyn Write) -> Result<u64> {
        let name = checked_name(name)?;
        self.on(async |store| {
            let (length, _) = store.look(name).await?.ok_or_else(|| Error::not_found("file", name))?;
            check_from(name, from, length)?;
            store.read(name, from, length, |piece| out.write_all(piece).map_err(taker_failed)).await?;
            Ok(length - from)
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        let name = checked_name(name)?;
        self.on(async |store| {
            // The store does not tell whether it had what it removes.
            let there = store.look(name).await?.is_some();
            if there {
                store.delete(name).await?;
            }
            let begun = upload::give_up(store, name).await?;
            if there || begun { Ok(()) } else { Err(Error::not_found("file", name)) }
        })
    }

    fn probe(&self) -> Result<Probe> {
        let name = probe_name(&self.clock);
        let written: [u8; PROBE_BYTES] = self.clock.random();
        self.on(async |store| {
            store.write(&name, &written).await?;
            let mut back = Vec::new();
            let read = store
                .read(&name, 0, PROBE_BYTES as u64, |piece| {
                    back.extend_from_slice(piece);
                    Ok(())
                })
                .await;
            store.delete(&name).await?;
            read?;
            if back != written {
                return Err(Error::unavailable(format!(
                    "`{}` gives back other bytes than were written",
                    store.place
                )));
            }
            Ok(Probe { found: "a file was written, read back and removed".into(), free_bytes: None })
        })
    }
}

impl Store {
    fn key(&self, name: &str) -> Key {
        match self.prefix.as_str() {
            "" => Key::from(name),
            prefix => Key::from(format!("{prefix}/{name}")),
        }
    }

    /// Bytes and own sum of a file, when it is there.
    async fn look(&self, name: &str) -> Result<Option<(u64, Option<String>)>> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&self.key(name), options).await {
            Ok(found) => {
                let sum = found.attributes.get(&Attribute::Metadata(SUM_NAME.into()));
                Ok(Some((found.meta.size, sum.map(|sum| sum.to_string()))))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    /// Hands on what is in a file between `from` and `to`, in order.
    async fn read(
        &self,
        name: &str,
        from: u64,
        to: u64,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if from == to {
            return Ok(());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(from..to)), ..GetOptions::default() };
        let found = self.store.get_opts(&self.key(name), options).await.map_err(|e| self.failed(e))?;
        let wrong =
            || Error::unavailable(format!("`{}` sends another number of bytes than it told", self.place));
        if found.range != (from..to) {
            return Err(wrong());
        }
        let (mut stream, mut left) = (found.into_stream(), to - from);
        loop {
            let next = tokio::time::timeout(Duration::from_secs(IDLE_SECONDS_MAX), stream.next()).await;
            let late = |_| Error::unavailable(format!("`{}` stopped sending", self.place));
            let Some(piece) = next.map_err(late)? else { break };
            let piece = piece.map_err(|e| self.failed(e))?;
            left = left.checked_sub(piece.len() as u64).ok_or_else(wrong)?;
            each(&piece)?;
        }
        if left == 0 { Ok(()) } else { Err(wrong()) }
    }

    /// Writes a small file.
    async fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        let key = self.key(name);
        let put = self.store.put(&key, PutPayload::from(bytes.clone()));
        self.http.paced(bytes, &self.unhurried, put).await.map_err(|e| self.failed(e))?;
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(e)),
        }
    }

    async fn list(&self) -> Result<Vec<Stored>> {
        let prefix = Some(self.prefix.as_str()).filter(|p| !p.is_empty()).map(Key::from);
        let mut stream = self.store.list(prefix.as_ref());
        let (mut found, mut seen) = (Vec::new(), 0);
        while let Some(object) = stream.next().await {
            let object = object.map_err(|e| self.failed(e))?;
            seen += 1;
            if seen > LIST_COUNT_MAX {
                return Err(too_long(&self.place));
            }
            let path = object.location.as_ref();
            let name = match self.prefix.as_str() {
                "" => Some(path),
                prefix => path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')),
            };
            if let Some(name) = name.filter(|name| checked_name(name).is_ok()) {
                found.push(Stored { name: name.to_owned(), bytes: object.size });
            }
        }
        found.sort();
        found.dedup_by(|a, b| a.name == b.name);
        Ok(found)
    }

    fn failed(&self, error: object_store::Error) -> Error {
        use object_store::Error as Foreign;
        let place = &self.place;
        let told = program::readable(deepest(&error).as_bytes());
        let (kind, message, hint) = match &error {
            Foreign::NotFound { .. } => (
                Kind::NotFound,
                format!("`{place}` is not there"),
                "make the bucket, and look whether its name is right",
            ),
            Foreign::PermissionDenied { .. } | Foreign::Unauthenticated { .. } => (
                Kind::Forbidden,
                format!("`{place}` refuses the key: {told}"),
                "look at the access key, its secret, and what it may do",
            ),
            _ => (
                Kind::Unavailable,
                format!("`{place}` failed: {told}"),
                "look whether the store runs, is certified by the given authority, and has room",
            ),
        };
        Error::new(kind, message).hint(hint).because(error)
    }
}

/// The innermost cause, which says most.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

#[cfg(test)]
mod tests;
