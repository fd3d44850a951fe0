//! Real connections that will not go on, or are too many, while others are served.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use rustls::pki_types::ServerName;

use super::*;
use crate::base::Networks;

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

struct Rig {
    server: Handle,
    client: Arc<rustls::ClientConfig>,
}

/// A server whose waits are a second, but for `change`.
fn rig(change: impl FnOnce(&mut Settings)) -> Rig {
    let (server, client) = tls();
    let mut settings = Settings::new("127.0.0.1:0".parse().unwrap(), server, traffic());
    settings.workers = 1;
    settings.limits.handshake_seconds_max = 1;
    settings.limits.head_seconds_max = 1;
    settings.limits.write_seconds_max = 1;
    change(&mut settings);
    let server = Server::start(settings, |app| {
        app.route("/echo", web::get().to(echo));
        app.route("/long", web::get().to(|| async { HttpResponse::Ok().body(vec![b'x'; 16 * 1024 * 1024]) }));
        app.route(
            "/take",
            web::post().to(|request: HttpRequest, payload: web::Payload| async move {
                match body(payload).await {
                    Ok(bytes) => HttpResponse::Ok().body(bytes),
                    Err(refusal) => problem(&refusal, &request_id(&request)),
                }
            }),
        );
    })
    .unwrap();
    Rig { server, client }
}

impl Rig {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    fn connect(&self) -> Tls {
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls =
            Tls::new(rustls::ClientConnection::new(self.client.clone(), name).unwrap(), self.socket());
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).unwrap();
        }
        tls
    }

    /// Whether a whole request on a new connection is answered.
    fn serves(&self) -> bool {
        let mut tls = self.connect();
        tls.write_all(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        answer(&mut tls).starts_with("HTTP/1.1 200 ")
    }

    fn turned(&self, why: Turned) -> u64 {
        self.server.traffic().count().turned_away[why as usize]
    }
}

/// Looks until it is so.
fn until(mut so: impl FnMut() -> bool) {
    let (lock, condition) = (parking_lot::Mutex::new(()), parking_lot::Condvar::new());
    let clock = Clock::system();
    while !so() {
        assert!(clock.monotonic() < Duration::from_secs(20), "it never was");
        condition.wait_for(&mut lock.lock(), Duration::from_millis(20));
    }
}

/// The answer's head and as much of its body as comes with it.
fn answer(tls: &mut Tls) -> String {
    let mut text = String::new();
    let mut block = [0; 4096];
    while !text.contains("\r\n\r\n") {
        match tls.read(&mut block) {
            Ok(0) | Err(_) => break,
            Ok(read) => text.push_str(&String::from_utf8_lossy(&block[..read])),
        }
    }
    text
}

/// Reads to the end, whatever that is, and gives how much came.
fn drained(mut stream: impl Read) -> usize {
    let mut block = [0; 64 * 1024];
    let mut all = 0;
    loop {
        match stream.read(&mut block) {
            Ok(0) => return all,
            Ok(read) => all += read,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("nobody ended the connection")
            }
            Err(_) => return all,
        }
    }
}

#[test]
fn a_handshake_that_does_not_go_on_ends() {
    let rig = rig(|_| {});
    let silent = rig.socket();
    let mut half = rig.socket();
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]).unwrap();
    let mut plain = rig.socket();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(rig.serves(), "others are served meanwhile");
    drained(silent);
    drained(half);
    drained(plain);
    until(|| rig.turned(Turned::Handshake) == 3);
}

#[test]
fn a_head_that_does_not_arrive_ends_its_connection_be_it_the_first_or_a_later_one() {
    let rig = rig(|_| {});
    let mut first = rig.connect();
    first.write_all(b"GET /echo HTTP/1.1\r\nhost: ").unwrap();
    let mut later = rig.connect();
    later.write_all(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(answer(&mut later).contains(" 200 "));
    later.write_all(b"GET /echo HT").unwrap();
    // The next head begins in the same packet as the request before.
    let mut joined = rig.connect();
    joined.write_all(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\nGET /echo HT").unwrap();
    assert!(answer(&mut joined).contains(" 200 "));
    joined.write_all(b"T").unwrap();
    assert!(rig.serves());
    drained(first);
    drained(later);
    drained(joined);
    until(|| rig.turned(Turned::Slow) >= 2);
}

#[test]
fn what_never_becomes_a_request_ends_with_the_idle_time() {
    let rig = rig(|settings| settings.limits.idle_seconds_max = 1);
    let mut idle = rig.connect();
    idle.write_all(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(answer(&mut idle).contains(" 200 "));
    drained(idle);
    let mut joined = rig.connect();
    joined.write_all(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\nGET /echo HT").unwrap();
    assert!(answer(&mut joined).contains(" 200 "));
    drained(joined);
    drained(rig.connect());
}

#[test]
fn an_answer_that_nobody_takes_ends() {
    let rig = rig(|_| {});
    let mut tls = rig.connect();
    tls.write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    until(|| rig.turned(Turned::Slow) > 0);
    assert!(drained(tls) < 16 * 1024 * 1024);
    // Who takes it gets all of it.
    let mut tls = rig.connect();
    tls.write_all(b"GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    assert!(drained(tls) > 16 * 1024 * 1024);
}

#[test]
fn idle_connections_hold_up_nobody_and_one_address_cannot_have_all() {
    idle(|limits| limits.connections_per_address_max = 202);
}

#[test]
fn all_connections_together_are_bounded() {
    idle(|limits| limits.connections_max = 202);
}

fn idle(change: impl FnOnce(&mut Limits)) {
    let rig = rig(|settings| {
        change(&mut settings.limits);
        settings.limits.head_seconds_max = 60;
        settings.limits.handshake_seconds_max = 60;
    });
    let idle: Vec<Tls> = (0..200).map(|_| rig.connect()).collect();
    assert!(rig.serves() && rig.serves());
    // Those that were served may still have their places.
    let more: Vec<TcpStream> = (0..4).map(|_| rig.socket()).collect();
    until(|| drained_at_once(&rig.socket()));
    assert!(rig.turned(Turned::Connections) >= 1);
    drop((idle, more));
    // Places are free again when the server has noticed.
    until(|| !drained_at_once(&rig.socket()));
    assert!(rig.serves());
}

/// Whether the server has ended the connection without a word; it waits for a handshake otherwise.
fn drained_at_once(socket: &TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    match socket.peek(&mut [0]) {
        Ok(read) => read == 0,
        Err(e) => !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

#[test]
fn who_may_not_connect_hears_nothing() {
    for (allow, deny, expected) in [
        (vec![], vec!["127.0.0.0/8"], false),
        (vec!["10.0.0.0/8"], vec![], false),
        (vec!["127.0.0.1"], vec![], true),
        (vec!["127.0.0.0/8"], vec!["127.0.0.1"], false),
    ] {
        let list = |texts: Vec<&str>| texts.iter().map(|text| text.parse().unwrap()).collect();
        let rig = rig(|settings| settings.networks = Networks { allow: list(allow), deny: list(deny) });
        match expected {
            true => assert!(rig.serves()),
            false => {
                assert_eq!(drained(rig.socket()), 0);
                until(|| rig.turned(Turned::Network) == 1);
            }
        }
    }
}

#[test]
fn requests_that_two_machines_could_read_differently_are_refused() {
    let rig = rig(|_| {});
    let long = format!("GET /echo HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many = format!("GET /echo HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (what, request) in [
        (
            "both lengths",
            "POST /take HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "POST /take HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ("a signed length", "POST /take HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na"),
        (
            "another coding",
            "POST /take HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two hosts", "GET /echo HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("no host", "GET /echo HTTP/1.1\r\n\r\n"),
        ("a folded header", "GET /echo HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n"),
        ("a space before the colon", "GET /echo HTTP/1.1\r\nhost : a\r\n\r\n"),
        ("a bad chunk", "POST /take HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        ("a long head", &long),
        ("many headers", &many),
        ("another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        let mut tls = rig.connect();
        // Refused in the middle of it, perhaps.
        let _ = tls.write_all(request.as_bytes());
        let text = answer(&mut tls);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{what}: {text}");
        assert!(!text.contains(" 404 ") && !text.contains(" 405 "), "{what}: {text}");
        drained(tls);
    }
    // What follows a whole request is a request of its own, and a body is never one.
    let mut tls = rig.connect();
    let body = "GET /none HTTP/1.1\r\nhost: a\r\n\r\n";
    tls.write_all(
        format!("POST /take HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes(),
    )
    .unwrap();
    let text = answer(&mut tls);
    assert!(text.starts_with("HTTP/1.1 200 ") && !text.contains("404"), "{text}");
}

#[test]
fn a_body_that_does_not_arrive_ends_too() {
    actix_web::rt::System::new().block_on(async {
        let silent = futures_util::stream::pending::<Result<Bytes, String>>();
        let refusal = body::within(silent, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(refusal.status, 408);
    });
}
