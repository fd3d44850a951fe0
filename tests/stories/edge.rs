//! The edge: who reaches the console and the API at all, over which TLS, under which name, how often, and with what
//! around every answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster::capabilities::ALL;
use muster::kit::{Ops, Pages};
use muster::server::config::Config;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::json;

use crate::harness::{Muster, PASSWORD, config};

pub(crate) type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// Trusts this authority, and speaks these versions.
pub(crate) fn client(
    authority: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A connection as it is on the wire; an error when the handshake fails.
pub(crate) fn connect(port: u16, name: &str, client: Arc<rustls::ClientConfig>) -> std::io::Result<Tls> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = Tls::new(rustls::ClientConnection::new(client, name).unwrap(), socket);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(tls)
}

pub(crate) fn console(muster: &Muster) -> Tls {
    let authority = muster.server().site().authority.certificate_pem();
    let client = client(&authority, &[&rustls::version::TLS13]);
    connect(muster.server().address().port(), "127.0.0.1", client).unwrap()
}

/// Sends a request and reads its answer, head and body.
pub(crate) fn ask(tls: &mut Tls, request: &str) -> String {
    tls.write_all(request.as_bytes()).unwrap();
    read(tls)
}

fn read(tls: &mut Tls) -> String {
    let mut text = String::new();
    let mut block = [0; 8192];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let bare = head.starts_with("HTTP/1.1 204");
            if bare || length.is_some_and(|length: usize| body.len() >= length) || body.ends_with("0\r\n\r\n")
            {
                return text;
            }
        }
        match tls.read(&mut block) {
            Ok(0) | Err(_) => return text,
            Ok(read) => text.push_str(&String::from_utf8_lossy(&block[..read])),
        }
    }
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// An organisation's own authority, and the files of a certificate that it issued.
struct Organisation {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Organisation {
    fn new() -> Organisation {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Organisation");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Organisation { issuer, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a new certificate and its key in place.
    fn issue(&self, names: &[&str], days: i64) {
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        let now = rcgen::date_time_ymd(2026, 1, 1);
        params.not_before = now;
        params.not_after = now + Duration::from_secs(days as u64 * 86_400);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &*self.issuer).unwrap();
        std::fs::write(self.path("certificate.pem"), certificate.pem() + &self.issuer.pem()).unwrap();
        private(&self.path("key.pem"), &key.serialize_pem());
    }

    fn config(&self) -> Config {
        let mut config = config();
        config.http.certificate = Some(self.path("certificate.pem"));
        config.http.key = Some(self.path("key.pem"));
        config
    }
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn served(tls: &Tls) -> Vec<u8> {
    tls.conn.peer_certificates().unwrap()[0].to_vec()
}

pub(crate) const GET: &str = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

#[test]
fn an_older_tls_is_spoken_only_where_it_is_switched_on() {
    use muster::engine::crypto::Minimum;
    use rustls::version::{TLS12, TLS13};
    for minimum in [Minimum::Tls13, Minimum::Tls12] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        config.http.tls_minimum = minimum;
        config.mqtt.tls_minimum = minimum;
        let muster = Muster::open(folder.path().join("data"), config);
        let authority = muster.server().site().authority.certificate_pem();
        for port in [muster.server().address().port(), muster.server().gate_address().port()] {
            let with = |version| connect(port, "127.0.0.1", client(&authority, &[version]));
            assert!(with(&TLS13).is_ok());
            assert_eq!(with(&TLS12).is_ok(), minimum == Minimum::Tls12);
        }
        assert_eq!(status(&ask(&mut console(&muster), GET)), 200);
    }
}

#[test]
fn a_supplied_certificate_is_replaced_while_connections_live_on() {
    let (organisation, folder) = (Organisation::new(), tempfile::tempdir().unwrap());
    organisation.issue(&["muster.plant.lan"], 3_650);
    let muster = Muster::open(folder.path().join("data"), organisation.config());
    let server = muster.server();
    let trust = client(&organisation.issuer.pem(), &[&rustls::version::TLS13]);
    let open = || connect(server.address().port(), "muster.plant.lan", trust.clone()).unwrap();
    let get = "GET /readyz HTTP/1.1\r\nhost: muster.plant.lan:8443\r\n\r\n";
    let mut old = open();
    let answer = ask(&mut old, get);
    assert_eq!((status(&answer), served(&old)), (200, served(&open())));
    assert_eq!(header(&answer, "strict-transport-security"), Some("max-age=63072000; includeSubDomains"));
    let name = ask(&mut open(), "GET /login HTTP/1.1\r\nhost: muster.plant.lan\r\n\r\n");
    assert_ne!(status(&name), 421, "a name of the certificate is one of ours");
    // MQTT stays with the own authority.
    let own = client(&server.site().authority.certificate_pem(), &[&rustls::version::TLS13]);
    assert!(connect(server.gate_address().port(), "127.0.0.1", own.clone()).is_ok());
    assert!(connect(server.address().port(), "127.0.0.1", own).is_err());

    // What cannot be used changes nothing, and is said.
    let first = served(&old);
    private(&organisation.path("key.pem"), &KeyPair::generate().unwrap().serialize_pem());
    let error = server.reload("test").unwrap_err();
    assert!(error.message().contains("does not belong to the certificate"), "{error}");
    assert_eq!(served(&open()), first);
    let notices = server.site().notices.all();
    assert!(notices.iter().any(|n| n.grave && n.text.contains("the old one is kept")), "{notices:?}");
    organisation.issue(&["muster.plant.lan"], 30);
    let error = server.reload("test").unwrap_err();
    assert!(error.message().contains("ended"), "{error}");
    assert_eq!(served(&open()), first);

    organisation.issue(&["muster.plant.lan", "console.plant.lan"], 3_650);
    let told = muster::server::certificate::reload(&muster.folder).unwrap();
    let (names, changed) = (told.names, told.changed);
    assert_eq!(
        (names.as_slice(), changed),
        (&["muster.plant.lan".into(), "console.plant.lan".to_owned()][..], true)
    );
    assert_ne!(served(&open()), first, "new connections see the new one");
    assert_eq!(status(&ask(&mut old, get)), 200, "an old connection goes on");
    assert!(server.site().notices.all().is_empty());
    assert!(
        !muster::server::certificate::reload(&muster.folder).unwrap().changed,
        "the same again is no change"
    );
    let told = server.site().store.changes(0, 1_000).unwrap();
    let told = told.iter().flat_map(|c| c.events.iter().map(|e| (e.name.clone(), c.origin.from.clone())));
    let told: Vec<_> = told.filter(|(name, _)| name == "settings.certificate_replaced").collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].1.contains("command line"), "{told:?}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_an_error_at_the_start_unless_it_has_only_ended() {
    let (organisation, folder) = (Organisation::new(), tempfile::tempdir().unwrap());
    let clock = muster::engine::clock::Clock::system();
    let start = || {
        let folder = folder.path().join("data");
        muster::server::Server::start(muster::server::Options {
            config: organisation.config(),
            folder,
            clock: clock.clone(),
        })
    };
    let check = || muster::server::certificate::check(&organisation.config(), &clock);
    let error = start().err().unwrap();
    assert!(
        error.message().contains("`http.certificate`") && error.message().contains("cannot be read"),
        "{error}"
    );
    organisation.issue(&["a.lan"], 3_650);
    assert_eq!(check().unwrap().unwrap().0, ["a.lan"]);
    std::fs::set_permissions(
        organisation.path("key.pem"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    assert!(check().unwrap_err().message().contains("everybody"));
    organisation.issue(&["a.lan"], 30);
    assert!(check().unwrap_err().message().contains("ended"));
    let server = start().unwrap();
    assert!(server.site().notices.all().iter().any(|n| n.grave && n.text.contains("ended")));
    server.stop();
}

#[test]
fn an_unknown_name_is_told_how_to_become_known() {
    let muster = Muster::start();
    let ask = |path: &str, host: &str, more: &str| {
        ask(&mut console(&muster), &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n"))
    };
    for host in ["127.0.0.1", "127.0.0.1:8443", "localhost", "LOCALHOST:1"] {
        assert_eq!(status(&ask("/login", host, "")), 303, "{host}");
    }
    let page = ask("/login", "muster.elsewhere.lan", "accept: text/html\r\n");
    assert_eq!(status(&page), 421);
    assert!(page.contains("This name is not known here"), "{page}");
    assert!(page.contains("<!doctype html>") && page.contains("muster.elsewhere.lan"), "{page}");
    assert!(page.contains("hosts") && page.contains("MUSTER_SITE_HOSTS"), "{page}");
    let problem = ask("/api/v1/agents", "muster.elsewhere.lan", "");
    assert!(status(&problem) == 421 && problem.contains("\"status\":421"), "{problem}");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(&ask(path, "probe.lan", "")), 200, "{path}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.site.hosts = vec!["muster.elsewhere.lan".into()];
    let muster = Muster::open(folder.path().join("data"), config);
    let mut tls = console(&muster);
    tls.write_all(b"GET /login HTTP/1.1\r\nhost: muster.elsewhere.lan\r\n\r\n").unwrap();
    assert_eq!(status(&read(&mut tls)), 303);
}

#[test]
fn a_list_that_shuts_this_host_out_leaves_the_control_socket() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.http.networks.allow = vec!["10.0.0.0/8".parse().unwrap()];
    config.mqtt.networks.deny = vec!["127.0.0.0/8".parse().unwrap()];
    let muster = Muster::open(folder.path().join("data"), config);
    for port in [muster.server().address().port(), muster.server().gate_address().port()] {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)));
    }
    let client = muster::server::control::Client::connect(&muster.folder).unwrap().unwrap();
    assert_eq!(client.call("settings.find", json!({})).unwrap()["name"], "Plant 03");
}

/// Every path that something is mounted at, with what its parameters could be.
fn paths() -> Vec<(&'static str, String)> {
    let (mut ops, mut pages) = (Ops::default(), Pages::default());
    ALL.iter().for_each(|capability| capability.ops(&mut ops));
    ALL.iter().for_each(|capability| capability.pages(&mut pages));
    let filled = |path: &str| {
        path.split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/")
    };
    let mut all = Vec::new();
    for op in &ops.0 {
        let method = match op.method {
            muster::kit::Method::Get => "GET",
            muster::kit::Method::Post => "POST",
            muster::kit::Method::Patch => "PATCH",
            muster::kit::Method::Delete => "DELETE",
        };
        all.push((method, format!("/api/v1{}", filled(op.path))));
    }
    all.extend(pages.pages.iter().map(|page| (if page.form { "POST" } else { "GET" }, filled(page.path))));
    all.push(("POST", "/oauth/token".into()));
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/healthz",
        "/readyz",
        "/metrics",
        "/help/api",
        "/api/v1/openapi.json",
        "/no/such/page",
        "/api/v1/none",
    ] {
        all.push(("GET", path.into()));
    }
    all.push(("GET", "/live?topics=overview".into()));
    for method in ["TRACE", "OPTIONS", "PUT", "CONNECT", "HEAD", "DELETE"] {
        for path in ["/", "/login", "/healthz", "/static/x/muster.css", "/api/v1/agents", "/none"] {
            all.push((method, path.into()));
        }
    }
    let prefix = muster::engine::http::assets::prefix();
    all.extend(["muster.css", "none.css"].map(|name| ("GET", format!("{prefix}/{name}"))));
    all
}

#[test]
fn every_answer_of_every_route_carries_the_headers() {
    let muster = Muster::start();
    let owner = muster.owner();
    let cookie = owner.cookie();
    for signed_in in ["", &*format!("cookie: {cookie}\r\n")] {
        let mut statuses = std::collections::BTreeSet::new();
        for (method, path) in paths() {
            if path.starts_with("/live") && !signed_in.is_empty() {
                continue;
            }
            let mut tls = console(&muster);
            let answer = ask(
                &mut tls,
                &format!(
                    "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{signed_in}\r\n"
                ),
            );
            let (code, what) = (status(&answer), format!("{method} {path}"));
            // An index that is still read is 503.
            assert!((200..500).contains(&code) || code == 503, "{what}: {answer}");
            statuses.insert(code);
            for (name, value) in [
                ("strict-transport-security", "max-age=63072000"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", "same-origin"),
                ("cross-origin-opener-policy", "same-origin"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(header(&answer, name), Some(value), "{what}");
            }
            let policy = header(&answer, "content-security-policy").unwrap_or_default();
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{what}"
            );
            assert!(
                !policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http:"),
                "{policy}"
            );
            assert!(
                header(&answer, "permissions-policy").is_some_and(|p| p.contains("geolocation=()")),
                "{what}"
            );
            let kept = header(&answer, "cache-control").unwrap_or_default();
            let public = path.starts_with(&muster::engine::http::assets::prefix()) && code == 200;
            assert_eq!(kept == "no-store", !public, "{what}: {kept}");
            assert!(
                header(&answer, "server").is_none()
                    && header(&answer, "access-control-allow-origin").is_none()
            );
            assert_eq!(code == 405, header(&answer, "allow").is_some(), "{what}");
            if let Some(cookie) = header(&answer, "set-cookie") {
                flagged(cookie);
            }
        }
        assert!([200, 303, 404, 405].iter().all(|s| statuses.contains(s)), "{statuses:?}");
    }
    let body = format!("login=ines&password={}", PASSWORD.replace(' ', "+"));
    let request = format!(
        "POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(&mut console(&muster), &request);
    assert_eq!(status(&answer), 303, "{answer}");
    flagged(header(&answer, "set-cookie").unwrap());
}

fn flagged(cookie: &str) {
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    for flag in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(flag), "{cookie} lacks {flag}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
}
