//! The site's own authority: it signs the server's certificate and its agents'.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::GeneralName;

use super::certificate::{self, Fingerprint};
use super::vault::Vault;
use crate::base::{Error, Result, Secret, Span, Timestamp};
use crate::engine::clock::Clock;

const AUTHORITY_DAYS: u64 = 3_652;
const SERVER_DAYS: u64 = 397;
/// Certificates begin a little before they are made, for clocks that are behind.
const BACKDATE: Span = Span::from_hours(24);

/// The authority. Cloning gives the same one.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    fingerprint: Fingerprint,
    vault: Vault,
    clock: Clock,
}

/// A certificate of the server with its private key.
#[derive(Clone)]
pub struct ServerCertificate {
    /// Private key, PKCS #8 DER.
    pub key: Secret<Vec<u8>>,
    /// The server's certificate, then the authority's, as DER.
    pub chain: Vec<Vec<u8>>,
    /// When it ends.
    pub ends: Timestamp,
}

/// A key pair with the request to sign its public half.
pub struct SigningRequest {
    /// Private key, PKCS #8 DER.
    pub key: Secret<Vec<u8>>,
    /// The request (PEM, PKCS #10).
    pub pem: String,
}

/// Makes a key pair (P-256) and a request for it. Names in it would be ignored, so it has none.
pub fn signing_request() -> Result<SigningRequest> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let pem = params.serialize_request(&key)?.pem()?;
    Ok(SigningRequest { key: Secret::new(key.serialize_der()), pem })
}

impl Authority {
    /// Opens the authority that the vault keeps, or makes one (P-256, ten years) for the site of this name.
    pub fn open(vault: &Vault, site: &str, clock: &Clock) -> Result<Authority> {
        let (key, der) = match (vault.get("authority.key")?, vault.get("authority.certificate")?) {
            (Some(key), Some(der)) => (key_pair(&key)?, der.expose().clone()),
            (Some(_), None) | (None, None) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let der = make(site, &key, clock)?;
                vault.put("authority.key", key.serialized_der())?;
                vault.put("authority.certificate", &der)?;
                (key, der)
            }
            (None, Some(_)) => {
                return Err(Error::internal("the authority's certificate is there and its key is not"));
            }
        };
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(der.as_slice()), key)?;
        let fingerprint = Fingerprint::of(&der)?;
        Ok(Authority(Arc::new(Inner {
            issuer,
            der,
            fingerprint,
            vault: vault.clone(),
            clock: clock.clone(),
        })))
    }

    /// SHA-256 of the authority's certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The authority's certificate.
    pub fn certificate_pem(&self) -> String {
        certificate::pem_of(&self.0.der)
    }

    /// The authority's certificate as DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.0.der
    }

    /// The server's certificate for these names and addresses: the kept one while it names exactly them and a third
    /// of its life is left, else a new one with a new key. Call it at start and daily.
    pub fn issue_server(&self, names: &[String], addresses: &[IpAddr]) -> Result<ServerCertificate> {
        let vault = &self.0.vault;
        if let (Some(key), Some(der)) = (vault.get("server.key")?, vault.get("server.certificate")?)
            && let Some(kept) = self.still_good(key, der.expose(), names, addresses)
        {
            return Ok(kept);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.params(Span::from_days(SERVER_DAYS))?;
        let common = names.first().cloned().or(addresses.first().map(IpAddr::to_string));
        params.distinguished_name.push(DnType::CommonName, common.unwrap_or_else(|| "muster".into()));
        for name in names {
            let wrong = |e| Error::invalid(format!("`{name}` cannot be a host name")).because(e);
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(wrong)?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let der = params.signed_by(&key, &self.0.issuer)?.der().to_vec();
        // The certificate goes last: without it the kept key alone is passed over.
        vault.remove("server.certificate")?;
        vault.put("server.key", key.serialized_der())?;
        vault.put("server.certificate", &der)?;
        let ends = certificate::lifetime_of(&der)?.1;
        Ok(ServerCertificate {
            key: Secret::new(key.serialize_der()),
            chain: vec![der, self.0.der.clone()],
            ends,
        })
    }

    /// Signs the key of a request for the agent `id`. The request proves that its sender has the key; the names and
    /// extensions that it asks for are ignored.
    pub fn sign_client(&self, request_pem: &str, id: &str, lifetime_days: u64) -> Result<String> {
        let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(|e| {
            Error::invalid("the signing request is not valid")
                .hint(
                    "send a PKCS #10 request in PEM form, signed with the key it is for, without extensions",
                )
                .because(e)
        })?;
        let mut params = self.params(Span::from_days(lifetime_days))?;
        params.distinguished_name.push(DnType::CommonName, id);
        params.subject_alt_names = vec![SanType::URI(certificate::identity_uri(id).try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&request.public_key, &self.0.issuer)?.pem())
    }

    fn params(&self, lifetime: Span) -> Result<CertificateParams> {
        params(lifetime, &self.0.clock)
    }

    fn still_good(
        &self,
        key: Secret<Vec<u8>>,
        der: &[u8],
        names: &[String],
        addresses: &[IpAddr],
    ) -> Option<ServerCertificate> {
        let (begins, ends) = certificate::lifetime_of(der).ok()?;
        let left = ends.since(self.0.clock.now()).milliseconds();
        let (have, want) = (names_of(der)?, wanted(names, addresses));
        if have != want || left < ends.since(begins).milliseconds() / 3 {
            return None;
        }
        Some(ServerCertificate { key, chain: vec![der.to_vec(), self.0.der.clone()], ends })
    }
}

fn make(site: &str, key: &KeyPair, clock: &Clock) -> Result<Vec<u8>> {
    let mut params = params(Span::from_days(AUTHORITY_DAYS), clock)?;
    params.distinguished_name.push(DnType::CommonName, format!("Muster authority of {site}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    Ok(params.self_signed(key)?.der().to_vec())
}

fn params(lifetime: Span, clock: &Clock) -> Result<CertificateParams> {
    let begins = clock.now() - BACKDATE;
    let at = |t: Timestamp| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(t.seconds().max(0) as u64);
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (at(begins), at(begins + lifetime));
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A serial is positive and at most 20 bytes (RFC 5280, 4.1.2.2).
    let mut serial = clock.random::<16>();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn key_pair(der: &Secret<Vec<u8>>) -> Result<KeyPair> {
    let der = PrivatePkcs8KeyDer::from(der.expose().as_slice());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?)
}

fn names_of(der: &[u8]) -> Option<Vec<String>> {
    let certificate = certificate::parse(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut found = Vec::new();
    for name in &names.value.general_names {
        found.push(match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(four) => IpAddr::from(four).to_string(),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string(),
            },
            _ => return None,
        });
    }
    found.sort();
    Some(found)
}

fn wanted(names: &[String], addresses: &[IpAddr]) -> Vec<String> {
    let mut all: Vec<String> = names.iter().cloned().chain(addresses.iter().map(IpAddr::to_string)).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::super::kek::Kek;
    use super::*;

    fn authority(clock: &Clock) -> (tempfile::TempDir, Vault, Authority) {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), &Kek::File(folder.path().join("kek")), clock).unwrap();
        let authority = Authority::open(&vault, "Plant 3", clock).unwrap();
        (folder, vault, authority)
    }

    #[test]
    fn the_authority_stays_the_same() {
        let clock = Clock::system();
        let (_folder, vault, authority) = authority(&clock);
        let again = Authority::open(&vault, "other name", &clock).unwrap();
        assert_eq!(again.fingerprint(), authority.fingerprint());
        assert_eq!(pem_der(&authority.certificate_pem()), authority.certificate_der());
    }

    #[test]
    fn the_servers_certificate_is_renewed_in_time() {
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1);
        let (_folder, _vault, authority) = authority(&clock);
        let (names, addresses) = (vec!["muster.plant".to_owned()], vec!["10.1.2.3".parse().unwrap()]);
        let first = authority.issue_server(&names, &addresses).unwrap();
        clock.advance(Span::from_days(200));
        assert_eq!(authority.issue_server(&names, &addresses).unwrap().chain, first.chain);
        clock.advance(Span::from_days(70));
        let second = authority.issue_server(&names, &addresses).unwrap();
        assert!(second.ends > first.ends && second.chain[0] != first.chain[0]);
        assert_ne!(authority.issue_server(&names, &[]).unwrap().chain, second.chain);
        assert!(authority.issue_server(&["bücher".to_owned()], &[]).is_err());
    }

    #[test]
    fn a_client_is_who_we_say_and_not_who_it_says() {
        let clock = Clock::system();
        let (_folder, _vault, authority) = authority(&clock);
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec!["root.plant".to_owned()]).unwrap();
        wish.distinguished_name.push(DnType::CommonName, "admin");
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.subject_alt_names.push(SanType::URI("muster:agent:agt_other".try_into().unwrap()));
        let request = wish.serialize_request(&key).unwrap().pem().unwrap();
        let pem = authority.sign_client(&request, "agt_1", 30).unwrap();
        let der = pem_der(&pem);
        assert_eq!(certificate::identity_of(&der).unwrap(), "agt_1");
        let parsed = certificate::parse(&der).unwrap();
        assert!(!parsed.is_ca() && !parsed.subject().to_string().contains("admin"));
        assert_eq!(certificate::serial_of(&der).unwrap().len(), 32);
        let (begins, ends) = certificate::lifetime_of(&der).unwrap();
        assert_eq!(ends.since(begins), Span::from_days(30));
        assert!(certificate::identity_of(authority.certificate_der()).is_err());
    }

    #[test]
    fn a_request_that_is_not_signed_by_its_key_is_refused() {
        let (_folder, _vault, authority) = authority(&Clock::system());
        let good = signing_request().unwrap().pem;
        assert!(authority.sign_client(&good, "agt_1", 30).is_ok());
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        let at = lines.len() - 2;
        let last = lines[at].clone();
        lines[at] = last.chars().rev().collect::<String>().replace('=', "A");
        assert!(authority.sign_client(&lines.join("\n"), "agt_1", 30).is_err());
        assert!(authority.sign_client("", "agt_1", 30).is_err());
    }

    fn pem_der(pem: &str) -> Vec<u8> {
        certificate::pem_to_der(pem).unwrap().remove(0)
    }
}
