//! Whom a client trusts: the authorities that it was given, and nobody else.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};

use crate::base::{Error, Result};
use crate::engine::clock::Clock;

/// Certificates that may be trusted.
const AUTHORITIES_COUNT_MAX: usize = 16;
/// Bytes of the certificates of authorities.
pub(super) const AUTHORITY_BYTES_MAX: usize = 64 * 1024;

/// TLS that believes in servers which `authority` (PEM) certifies; without one it believes in none.
pub(super) fn client_config(authority: Option<&str>, clock: &Clock) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.unwrap_or_default().as_bytes()) {
        let wrong = |e: String| Error::invalid(format!("the authority's certificate does not read: {e}"));
        roots.add(certificate.map_err(|e| wrong(e.to_string()))?).map_err(|e| wrong(e.to_string()))?;
        if roots.len() > AUTHORITIES_COUNT_MAX {
            return Err(Error::too_many(format!("more than {AUTHORITIES_COUNT_MAX} authorities")));
        }
    }
    if authority.is_some() && roots.is_empty() {
        return Err(Error::invalid("the authority's certificate is not in PEM")
            .hint("it begins with `-----BEGIN CERTIFICATE-----`"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_details(provider, Arc::new(Time(clock.clone())))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.now().seconds().max(0) as u64;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        let clock = Clock::manual(crate::base::Timestamp::default(), 1);
        assert!(client_config(None, &clock).is_ok(), "trusts nobody");
        for wrong in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(client_config(Some(wrong), &clock).is_err(), "{wrong}");
        }
    }
}
