//! TLS on both sides: the server's hot-reloadable configurations and the client's pinned one.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};

use super::authority::{Authority, ServerCertificate};
use super::certificate::{self, Fingerprint};
use super::supplied::Supplied;
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

/// The one provider of cryptography for TLS.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The oldest version that a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Minimum {
    /// TLS 1.3, and nothing else.
    #[default]
    Tls13,
    /// TLS 1.2 too: with forward secrecy and authenticated ciphers only, for the provider knows no others.
    Tls12,
}

/// Server side of TLS. Certificates are replaced while connections go on. Cloning gives the same one.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    own: Arc<Current>,
    https: Arc<Https>,
    authority: Vec<u8>,
    clock: Clock,
}

impl ServerTls {
    /// Serves `certificate` everywhere and lets in clients of `authority`.
    pub fn new(authority: &Authority, certificate: &ServerCertificate, clock: &Clock) -> Result<ServerTls> {
        let own = Arc::new(Current(RwLock::new(certified(certificate)?)));
        Ok(ServerTls(Arc::new(Inner {
            https: Arc::new(Https { supplied: RwLock::new(None), own: own.clone() }),
            own,
            authority: authority.certificate_der().to_vec(),
            clock: clock.clone(),
        })))
    }

    /// From the next handshake on, `certificate` is the one of our own authority: for MQTT, and for HTTPS unless another
    /// is supplied.
    pub fn replace(&self, certificate: &ServerCertificate) -> Result<()> {
        *self.0.own.0.write() = certified(certificate)?;
        Ok(())
    }

    /// From the next handshake on, browsers and API clients get this certificate.
    pub fn supply(&self, supplied: &Supplied) {
        *self.0.https.supplied.write() = Some(supplied.certified());
    }

    /// For browsers and API clients: no client certificate is asked for.
    pub fn https_config(&self, minimum: Minimum) -> Result<ServerConfig> {
        let mut config =
            self.builder(minimum)?.with_no_client_auth().with_cert_resolver(self.0.https.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// For MQTT: a client may bring a certificate of our authority; one of anybody else's is refused.
    pub fn mqtt_config(&self, minimum: Minimum) -> Result<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.0.authority.clone()))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()?;
        let mut config =
            self.builder(minimum)?.with_client_cert_verifier(verifier).with_cert_resolver(self.0.own.clone());
        // No resumption: a revoked certificate must be seen again on every connection.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn builder(
        &self,
        minimum: Minimum,
    ) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>> {
        use rustls::version::{TLS12, TLS13};
        let time = Arc::new(Time(self.0.clock.clone()));
        let versions: &[_] = match minimum {
            Minimum::Tls13 => &[&TLS13],
            Minimum::Tls12 => &[&TLS13, &TLS12],
        };
        Ok(ServerConfig::builder_with_details(provider(), time).with_protocol_versions(versions)?)
    }
}

/// Whom a client expects on the other side.
#[derive(Clone, Debug)]
pub enum Pin {
    /// The authority with this fingerprint, whose certificate the server sends along.
    Fingerprint(Fingerprint),
    /// The same by the short form that a join code carries.
    Short(String),
    /// This authority (PEM), as an agent has kept it since it joined.
    Authority(String),
}

/// Client side of TLS 1.3: the server is whoever has a server certificate of the pinned authority; its host name does
/// not count, so that a server may move. `client` is the own certificate (PEM) and private key (PKCS #8 DER).
pub fn client_config(
    pin: &Pin,
    client: Option<(&str, &Secret<Vec<u8>>)>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>> {
    let expected = match pin {
        Pin::Fingerprint(fingerprint) => Expected::Fingerprint(*fingerprint),
        Pin::Short(short) if short.len() == Fingerprint::SHORT_CHARACTERS => Expected::Short(short.clone()),
        Pin::Short(_) => {
            return Err(Error::invalid("the authority's short fingerprint is not 26 characters"));
        }
        Pin::Authority(pem) => Expected::Authority(certificate::pem_to_der(pem)?.remove(0)),
    };
    let verifier = Arc::new(PinnedAuthority { expected, provider: provider() });
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Time(clock.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((pem, key)) => {
            let chain = certificate::pem_to_der(pem)?.into_iter().map(CertificateDer::from).collect();
            builder.with_client_auth_cert(chain, private_key(key))?
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn private_key(der: &Secret<Vec<u8>>) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.expose().clone()))
}

fn certified(certificate: &ServerCertificate) -> Result<Arc<CertifiedKey>> {
    let chain = certificate.chain.iter().cloned().map(CertificateDer::from).collect();
    CertifiedKey::from_der(chain, private_key(&certificate.key), &provider())
        .map(Arc::new)
        .map_err(|e| Error::invalid("the server's certificate and key do not belong together").because(e))
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// The supplied certificate when there is one, else that of our own authority.
#[derive(Debug)]
struct Https {
    supplied: RwLock<Option<Arc<CertifiedKey>>>,
    own: Arc<Current>,
}

impl ResolvesServerCert for Https {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let supplied = self.supplied.read().clone();
        supplied.or_else(|| self.own.resolve(hello))
    }
}

struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.now().seconds().max(0) as u64;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

#[derive(Debug)]
enum Expected {
    Fingerprint(Fingerprint),
    Short(String),
    Authority(Vec<u8>),
}

#[derive(Debug)]
struct PinnedAuthority {
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

impl PinnedAuthority {
    fn is_expected(&self, der: &[u8]) -> bool {
        match &self.expected {
            Expected::Authority(kept) => kept == der,
            Expected::Fingerprint(wanted) => Fingerprint::of(der).is_ok_and(|f| f == *wanted),
            Expected::Short(wanted) => Fingerprint::of(der).is_ok_and(|f| f.short() == *wanted),
        }
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let mut roots = RootCertStore::empty();
        let authority = match &self.expected {
            Expected::Authority(kept) => CertificateDer::from(kept.as_slice()),
            _ => intermediates.iter().find(|c| self.is_expected(c)).ok_or_else(unknown)?.clone(),
        };
        roots.add(authority)?;
        // A machine without a battery wakes in 1970. A clock behind the certificate must not keep it out for ever, and
        // a certificate that is not yet valid tells nothing about who holds the key; one that has ended still counts.
        let begins = certificate::lifetime_of(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?
            .0
            .seconds()
            .max(0) as u64;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs().max(begins)));
        let algorithms = self.provider.signature_verification_algorithms.all;
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::authority::signing_request;
    use super::super::kek::Kek;
    use super::super::vault::Vault;
    use super::*;
    use crate::base::{Span, Timestamp};

    struct Site {
        _folder: tempfile::TempDir,
        authority: Authority,
        tls: ServerTls,
    }

    fn site(clock: &Clock) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path(), &Kek::File(folder.path().join("kek")), clock).unwrap();
        let authority = Authority::open(&vault, "test", clock).unwrap();
        let certificate = authority.issue_server(&["muster".into()], &[]).unwrap();
        let tls = ServerTls::new(&authority, &certificate, clock).unwrap();
        Site { _folder: folder, authority, tls }
    }

    /// Both sides of a handshake in memory; gives the client's certificate as the server saw it.
    fn handshake(server: ServerConfig, client: Arc<ClientConfig>) -> Result<Option<Vec<u8>>> {
        shake(server, client, ServerName::try_from("192.0.2.1").unwrap())
    }

    fn shake(
        server: ServerConfig,
        client: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Option<Vec<u8>>> {
        let mut client = rustls::ClientConnection::new(client, name)?;
        let mut server = rustls::ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking()
            || server.is_handshaking()
            || client.wants_write()
            || server.wants_write()
        {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut up)?;
            }
            let mut up = up.as_slice();
            while !up.is_empty() {
                server.read_tls(&mut up)?;
                server.process_new_packets()?;
            }
            while server.wants_write() {
                server.write_tls(&mut down)?;
            }
            let mut down = down.as_slice();
            while !down.is_empty() {
                client.read_tls(&mut down)?;
                client.process_new_packets()?;
            }
        }
        Ok(server.peer_certificates().map(|c| c[0].to_vec()))
    }

    #[test]
    fn a_pinned_client_meets_its_server_and_no_other() {
        let clock = Clock::system();
        let (ours, other) = (site(&clock), site(&clock));
        let fingerprint = ours.authority.fingerprint();
        for pin in [
            Pin::Fingerprint(fingerprint),
            Pin::Short(fingerprint.short()),
            Pin::Authority(ours.authority.certificate_pem()),
        ] {
            let client = client_config(&pin, None, &clock).unwrap();
            assert_eq!(
                handshake(ours.tls.mqtt_config(Minimum::Tls13).unwrap(), client.clone()).unwrap(),
                None
            );
            assert!(handshake(ours.tls.https_config(Minimum::Tls13).unwrap(), client.clone()).is_ok());
            assert!(handshake(other.tls.mqtt_config(Minimum::Tls13).unwrap(), client).is_err(), "{pin:?}");
        }
    }

    #[test]
    fn a_client_certificate_is_verified_against_our_authority() {
        let clock = Clock::system();
        let (ours, other) = (site(&clock), site(&clock));
        let request = signing_request().unwrap();
        let pin = Pin::Authority(ours.authority.certificate_pem());
        let pem = ours.authority.sign_client(&request.pem, "agt_7", 30).unwrap();
        let client = client_config(&pin, Some((&pem, &request.key)), &clock).unwrap();
        let seen = handshake(ours.tls.mqtt_config(Minimum::Tls13).unwrap(), client).unwrap().unwrap();
        assert_eq!(certificate::identity_of(&seen).unwrap(), "agt_7");
        let foreign = other.authority.sign_client(&request.pem, "agt_7", 30).unwrap();
        let client = client_config(&pin, Some((&foreign, &request.key)), &clock).unwrap();
        assert!(handshake(ours.tls.mqtt_config(Minimum::Tls13).unwrap(), client).is_err());
        // A client's certificate does not make a server.
        let impostor = ServerCertificate {
            key: request.key.clone(),
            chain: vec![
                certificate::pem_to_der(&pem).unwrap().remove(0),
                ours.authority.certificate_der().to_vec(),
            ],
            ends: Timestamp::default(),
        };
        ours.tls.replace(&impostor).unwrap();
        let client = client_config(&pin, None, &clock).unwrap();
        assert!(handshake(ours.tls.mqtt_config(Minimum::Tls13).unwrap(), client).is_err());
    }

    #[test]
    fn the_older_version_is_spoken_only_where_it_is_switched_on() {
        use rustls::version::{TLS12, TLS13};
        let clock = Clock::system();
        let site = site(&clock);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(site.authority.certificate_der().to_vec())).unwrap();
        let client = |version: &'static rustls::SupportedProtocolVersion| {
            ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth()
        };
        let try_with = |minimum, version| {
            let name = ServerName::try_from("muster").unwrap();
            let https = site.tls.https_config(minimum).unwrap();
            let mqtt = site.tls.mqtt_config(minimum).unwrap();
            [https, mqtt].map(|server| shake(server, Arc::new(client(version)), name.clone()).is_ok())
        };
        assert_eq!(try_with(Minimum::Tls13, &TLS13), [true; 2]);
        assert_eq!(try_with(Minimum::Tls13, &TLS12), [false; 2]);
        assert_eq!(try_with(Minimum::Tls12, &TLS12), [true; 2]);
        assert_eq!(try_with(Minimum::Tls12, &TLS13), [true; 2]);
        for suite in &provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            let modern = name.starts_with("TLS13_") || name.contains("ECDHE");
            assert!(modern && (name.contains("GCM") || name.contains("POLY1305")), "{name}");
        }
    }

    #[test]
    fn lifetimes_follow_the_clock() {
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 5);
        let ours = site(&clock);
        let request = signing_request().unwrap();
        let pem = ours.authority.sign_client(&request.pem, "agt_7", 30).unwrap();
        let pin = Pin::Fingerprint(ours.authority.fingerprint());
        let try_with = |clock: &Clock| {
            let client = client_config(&pin, Some((&pem, &request.key)), clock).unwrap();
            handshake(ours.tls.mqtt_config(Minimum::Tls13).unwrap(), client)
        };
        assert!(try_with(&Clock::manual(Timestamp::default(), 0)).is_ok(), "an agent that woke in 1970");
        clock.advance(Span::from_days(31));
        assert!(try_with(&clock).is_err(), "the client's certificate has ended");
        clock.advance(Span::from_days(400));
        let client = client_config(&pin, None, &clock).unwrap();
        assert!(
            handshake(ours.tls.mqtt_config(Minimum::Tls13).unwrap(), client).is_err(),
            "the server's has ended"
        );
    }
}
