//! A certificate that somebody else issued: a chain and its key, as an organisation's own authority gives them.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::GeneralName;

use super::certificate::{self, Fingerprint};
use super::tls::provider;
use crate::base::{Error, Result, Secret, Timestamp};

/// A chain and its key that belong together.
#[derive(Clone, Debug)]
pub struct Supplied {
    key: Arc<CertifiedKey>,
    /// Host names and addresses that it is for, as it lists them; a name may begin with `*.`.
    pub names: Vec<String>,
    /// From when it is valid.
    pub begins: Timestamp,
    /// Until when.
    pub ends: Timestamp,
    /// Of the server's own certificate.
    pub fingerprint: Fingerprint,
}

impl Supplied {
    /// Reads both, PEM, the server's own certificate first. Whether it is valid at this time is asked for apart.
    pub fn read(chain: &str, key: &Secret<String>) -> Result<Supplied> {
        let chain = certificate::pem_to_der(chain)?;
        let leaf = chain.first().ok_or_else(|| Error::internal("a chain of nothing"))?;
        let parsed = certificate::parse(leaf)?;
        if parsed.is_ca() {
            return Err(Error::invalid("the first certificate is an authority's, not a server's")
                .hint("put the server's own certificate first, then those between it and the authority"));
        }
        let names = names(&parsed)?;
        let (begins, ends) = certificate::lifetime_of(leaf)?;
        let fingerprint = Fingerprint::of(leaf)?;
        let key = private_key(key)?;
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(CertificateDer::from).collect();
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => {
                Error::invalid("the key does not belong to the certificate")
                    .hint("name the key that the certificate was requested with")
            }
            e => Error::invalid("the key is of a kind that TLS here does not use")
                .hint("use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more")
                .because(e),
        })?;
        Ok(Supplied { key: Arc::new(key), names, begins, ends, fingerprint })
    }

    /// An error when it is not valid at this instant.
    pub fn valid_at(&self, now: Timestamp) -> Result<()> {
        if now >= self.ends {
            return Err(Error::invalid(format!("the certificate ended {}", self.ends)).hint("renew it"));
        }
        if now < self.begins {
            return Err(Error::invalid(format!("the certificate begins only {}", self.begins))
                .hint("look whether this machine's clock is right"));
        }
        Ok(())
    }

    /// Whether it is for this host: a name in lower case, or an address.
    pub fn is_for(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(domain) => {
                host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest == domain)
            }
            None => name == host,
        })
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

/// Host names and addresses that a certificate lists.
pub fn names_of(der: &[u8]) -> Result<Vec<String>> {
    names(&certificate::parse(der)?)
}

fn private_key(pem: &Secret<String>) -> Result<PrivateKeyDer<'static>> {
    if pem.expose().contains("ENCRYPTED") {
        return Err(Error::invalid("the key is protected by a passphrase").hint(
            "write it without one, for example with `openssl pkey`, readable by the server's user alone",
        ));
    }
    PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| {
        Error::invalid("the file has no private key in PEM form")
            .hint("it begins with `-----BEGIN PRIVATE KEY-----`")
    })
}

fn names(certificate: &x509_parser::prelude::X509Certificate<'_>) -> Result<Vec<String>> {
    let listed = certificate.subject_alternative_name()?.map(|n| n.value.general_names.as_slice());
    let names: Vec<String> = listed
        .unwrap_or_default()
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            },
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err(Error::invalid("the certificate lists no host name and no address")
            .hint("browsers look only at its subject alternative names; request one that has them"));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn made(names: &[&str]) -> (String, Secret<String>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), Secret::new(key.serialize_pem()))
    }

    #[test]
    fn a_chain_and_its_key_are_read() {
        let (chain, key) = made(&["muster.plant.lan", "*.Site.lan", "10.0.0.5", "::1"]);
        let supplied = Supplied::read(&chain, &key).unwrap();
        assert_eq!(supplied.names, ["muster.plant.lan", "*.site.lan", "10.0.0.5", "::1"]);
        for (host, expected) in [
            ("muster.plant.lan", true),
            ("a.site.lan", true),
            ("site.lan", false),
            (".site.lan", false),
            ("a.b.site.lan", false),
            ("10.0.0.5", true),
            ("10.0.0.6", false),
        ] {
            assert_eq!(supplied.is_for(host), expected, "{host}");
        }
        let now = supplied.begins;
        assert!(supplied.valid_at(now).is_ok());
        assert!(supplied.valid_at(supplied.ends).unwrap_err().message().contains("ended"));
        let before = Timestamp::from_milliseconds(now.milliseconds() - 1);
        assert!(supplied.valid_at(before).unwrap_err().message().contains("begins only"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let ((chain, key), (_, other)) = (made(&["a.lan"]), made(&["b.lan"]));
        let (nameless, its_key) = made(&[]);
        let mut params = CertificateParams::new(vec!["ca.lan".into()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&ca_key).unwrap().pem();
        let secret = |text: &str| Secret::new(text.to_owned());
        for (chain, key, part) in [
            (chain.as_str(), &other, "does not belong"),
            (&chain, &secret(""), "no private key"),
            (&chain, &secret(&chain), "no private key"),
            (&chain, &secret("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "by a passphrase"),
            ("", &key, "no certificate"),
            (&nameless, &its_key, "lists no host name"),
            (&authority, &secret(&ca_key.serialize_pem()), "an authority's"),
        ] {
            let error = Supplied::read(chain, key).unwrap_err();
            assert!(error.message().contains(part), "{part}: {error}");
            assert!(error.hint_text().is_some());
        }
    }
}
