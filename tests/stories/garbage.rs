//! Rubbish on every port: the server stays up, its memory stays bounded, and others are served meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use muster::base::Timestamp;
use muster::engine::clock::Clock;

use crate::harness::{Api, Muster};

fn throw(address: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 64]);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn garbage_and_silence_on_every_port_harm_nobody() {
    let muster = Muster::start();
    let ports = [muster.server().address(), muster.server().gate_address()];
    let before = resident_kib();
    // Seeded, so that a failure repeats.
    let clock = Clock::manual(Timestamp::default(), 42);
    let silent: Vec<TcpStream> = (0..200).filter_map(|n| TcpStream::connect(ports[n % 2]).ok()).collect();
    for round in 0..300usize {
        let mut bytes = vec![0; 1 + round * 7 % 3000];
        clock.fill(&mut bytes);
        throw(ports[round % 2], &bytes);
    }
    // The beginning of a TLS handshake that claims to be long; HTTP and MQTT in the clear.
    throw(ports[1], &[0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0x3f, 0xfc]);
    throw(ports[0], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    throw(ports[1], &[0x10, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x04]);
    assert_eq!(
        Api::anonymous(&muster).get("/healthz").0,
        200,
        "others are served while 200 connections are silent"
    );
    drop(silent);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 200 * 1024, "{grown} KiB more");
}

#[test]
fn requests_beyond_their_limits_are_refused_by_name() {
    let muster = Muster::start();
    let api = muster.api("owner");
    let long = "x".repeat(2 * 1024 * 1024);
    let (status, problem) = api.post("/api/v1/agents/devices", serde_json::json!({ "name": long }));
    assert!(status == 413 || status == 422, "{status} {problem}");
    let (status, problem) = api.get(&format!("/api/v1/agents?filter={}", "a".repeat(2_000)));
    assert_eq!(status, 422, "{problem}");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("1024"), "{problem}");
}
