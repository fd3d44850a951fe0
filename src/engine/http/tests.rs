mod connections;
mod requests;

use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, test, web};

use super::envelope::{Gate, envelope};
use super::*;
use crate::base::{Error, Kind, Span, Timestamp};
use crate::engine::clock::Clock;

fn traffic() -> Arc<Traffic> {
    Traffic::new(Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 3))
}

/// Both sides of TLS; the client trusts the server's certificate.
fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), Arc::new(client))
}

fn settings(address: &str) -> Settings {
    Settings { workers: 1, ..Settings::new(address.parse().unwrap(), tls().0, traffic()) }
}

async fn echo(request: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().body(request_id(&request))
}

#[test]
fn every_answer_carries_the_headers() {
    actix_web::rt::System::new().block_on(async {
        let settings =
            Settings { hosts: Hosts::Only(Arc::new(|host| host == "site.lan")), ..settings("127.0.0.1:0") };
        let traffic = settings.traffic.clone();
        let app = test::init_service(
            App::new()
                .app_data(web::Data::from(traffic.clone()))
                .app_data(web::Data::new(Gate::new(&settings)))
                .wrap(Compress::default())
                .wrap(from_fn(envelope))
                .route("/echo", web::get().to(echo))
                .configure(assets::configure),
        )
        .await;
        for (path, host, status) in
            [("/echo", "site.lan:8443", 200), ("/none", "site.lan", 404), ("/echo", "evil.example", 421)]
        {
            let request = test::TestRequest::get()
                .uri(path)
                .insert_header((header::HOST, host))
                .insert_header(("x-request-id", "mine"))
                .to_request();
            let answer = test::call_service(&app, request).await;
            assert_eq!(answer.status().as_u16(), status, "{path} {host}");
            let text = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!(
                text("content-security-policy"),
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                 connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            );
            assert_eq!(text("x-content-type-options"), "nosniff");
            assert_eq!(text("referrer-policy"), "same-origin");
            assert_eq!(text("x-frame-options"), "DENY");
            assert_eq!(text("strict-transport-security"), "max-age=63072000");
            assert_eq!(text("cache-control"), "no-store");
            assert!(text("x-request-id").starts_with("req_"));
            assert!(text("server-timing").starts_with("total;dur="));
            if status == 200 {
                let id = text("x-request-id");
                assert_eq!(test::read_body(answer).await, id.as_bytes());
            }
        }
        let count = traffic.count();
        assert_eq!((count.requests, count.running), ([0, 1, 0, 2, 0], 0));
    });
}

#[test]
fn problems_tell_the_reader_and_hide_the_inside() {
    actix_web::rt::System::new().block_on(async {
        let error =
            Error::conflict("agent `web-1` is already retired").hint("enrol it anew").because("secret cause");
        let answer = problem(&error.into(), "req_1");
        assert_eq!(answer.status().as_u16(), 409);
        assert_eq!(answer.headers().get(header::CONTENT_TYPE).unwrap(), "application/problem+json");
        let body = actix_web::body::to_bytes(answer.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "/help/api#conflict", "title": "Conflict", "status": 409, "hint": "enrol it anew",
                "detail": "agent `web-1` is already retired", "request_id": "req_1",
            })
        );
        let inside = problem(&Error::internal("disk gone").hint("look").into(), "req_2");
        let body = actix_web::body::to_bytes(inside.into_body()).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("disk"));
    });
}

#[test]
fn a_port_in_use_is_named_and_a_stopped_server_is_gone() {
    let first = Server::start(settings("127.0.0.1:0"), |app| {
        app.route("/echo", web::get().to(echo));
    })
    .unwrap();
    let address = first.address();
    let error = Server::start(settings(&address.to_string()), |_| {}).err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.message(), format!("port {} of 127.0.0.1 is in use", address.port()));
    first.stop(Span::from_seconds(10));
    first.stop(Span::from_seconds(10));
    Server::start(settings(&address.to_string()), |_| {}).unwrap().stop(Span::default());
}

fn client() -> ureq::Agent {
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into()
}

#[test]
fn a_whole_server_answers_over_tls_and_stops_with_its_streams() {
    let settings = settings("127.0.0.1:0");
    let traffic = settings.traffic.clone();
    let server = Server::start(settings, |app| {
        app.route("/long", web::get().to(|| async { HttpResponse::Ok().body("a".repeat(9_000)) }));
        app.route(
            "/stream",
            web::get().to(|traffic: web::Data<Traffic>| async {
                let (feed, answer) = open(&traffic.into_inner()).unwrap();
                actix_web::rt::spawn(async move {
                    feed.send("hello").await;
                    feed.closed().await;
                });
                answer
            }),
        );
    })
    .unwrap();
    let (client, root) = (client(), format!("https://{}", server.address()));
    let mut answer = client.get(format!("{root}/long")).header("accept-encoding", "gzip").call().unwrap();
    assert_eq!(answer.version(), ureq::http::Version::HTTP_11);
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert!(answer.body_mut().read_to_vec().unwrap().len() < 1_000);
    let missing = client.get(format!("{root}/none")).call().unwrap();
    assert_eq!(
        (missing.status().as_u16(), &missing.headers()["x-content-type-options"]),
        (404, &"nosniff".parse().unwrap())
    );
    let mut stream = client.get(format!("{root}/stream")).call().unwrap().into_body().into_reader();
    let mut first = [0; 26];
    std::io::Read::read_exact(&mut stream, &mut first).unwrap();
    assert_eq!(&first[..], b"retry: 2000\n\ndata: hello\n\n");
    assert_eq!(traffic.count().streams, 1);
    let clock = Clock::system();
    server.stop(Span::from_seconds(60));
    assert!(clock.monotonic() < std::time::Duration::from_secs(20), "idle connections do not hold it");
    assert!(client.get(format!("{root}/long")).call().is_err());
}
