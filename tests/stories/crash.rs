//! kill -9 under load: what was acknowledged is there, once, and the server is ready again at once.
//!
//! `CRASH_RUNS` says how often the server is killed; a handful by default, a hundred before a release.

use std::collections::{BTreeMap, HashSet};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use muster::base::{Secret, Span};
use muster::capabilities::telemetry;
use muster::engine::clock::Clock;
use muster::engine::crypto::{Pin, client_config};
use muster::engine::outbound::mqtt::{Options, Quality, connect};
use muster::wire::UpKind;
use parking_lot::Mutex;
use serde_json::json;

use crate::devices::{Device, runtime};
use crate::harness::{Muster, config, until};

const AGENTS: usize = 50;
const READY_WITHIN: Span = Span::from_seconds(2);

/// A port that stays free until a program of ours takes it: below the range from which connections get theirs.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 500) as u16 * 20;
    let ports = std::iter::from_fn(|| Some(first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000));
    ports.take(2_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

pub(crate) fn start(folder: &std::path::Path, http: u16, mqtt: u16) -> Child {
    Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["serve", "--no-agent", "--data"])
        .arg(folder)
        .args(["--http", &format!("127.0.0.1:{http}"), "--mqtt", &format!("127.0.0.1:{mqtt}")])
        .stdout(Stdio::null())
        .stderr(
            std::fs::File::options().create(true).append(true).open(folder.with_extension("log")).unwrap(),
        )
        .spawn()
        .unwrap()
}

/// The last lines that the server wrote.
pub(crate) fn said(folder: &std::path::Path) -> String {
    let text = std::fs::read_to_string(folder.with_extension("log")).unwrap_or_default();
    text.lines().rev().take(3).collect::<Vec<_>>().join("; ")
}

pub(crate) fn ready(port: u16) -> bool {
    std::net::TcpStream::connect_timeout(
        &format!("127.0.0.1:{port}").parse().unwrap(),
        Duration::from_millis(200),
    )
    .is_ok()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill_9() {
    let runs: usize = std::env::var("CRASH_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let muster = Muster::start();
    let devices: Vec<Device> = (0..AGENTS).map(|n| Device::new(&muster, &format!("device-{n}"))).collect();
    let authority = muster.server().site().authority.certificate_pem();
    let muster = muster.reopen();
    let (folder, keep) = muster.release();
    let (http, mqtt) = (free_port(), free_port());
    let acknowledged: Arc<Mutex<HashSet<String>>> = Arc::default();
    let clock = Clock::system();
    let mut slowest = Duration::ZERO;
    for run in 0..runs {
        let began = clock.monotonic();
        let mut server = start(&folder, http, mqtt);
        until(Span::from_seconds(20), "the server", || {
            let ended = server.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {}", said(&folder));
            ready(http).then_some(())
        });
        let took = clock.monotonic() - began;
        slowest = slowest.max(took);
        assert!(took < READY_WITHIN.duration() || cfg!(debug_assertions), "ready after {took:?}");
        let before = acknowledged.lock().len();
        std::thread::scope(|scope| {
            scope.spawn(|| load(&devices, &authority, mqtt, run, &acknowledged));
            until(Span::from_seconds(20), "load", || {
                (acknowledged.lock().len() >= before + 300).then_some(())
            });
            server.kill().unwrap();
            server.wait().unwrap();
        });
    }
    assert!(slowest < Duration::from_secs(10), "slowest start: {slowest:?}");
    let muster = Muster::open(folder, config());
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    let mut after = None;
    loop {
        let input = telemetry::ops::QueryEvents { after, limit: Some(500), ..Default::default() };
        let page = telemetry::ops::events(&muster.ctx(), input).unwrap();
        for event in page.items {
            *found.entry(event.id).or_default() += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let acknowledged = acknowledged.lock();
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !found.contains_key(*id)).take(5).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(found.values().all(|times| *times == 1), "kept twice");
    assert!(acknowledged.len() >= runs * 300);
    drop(muster);
    drop(keep);
}

/// Every device sends events, each twice, until its connection breaks; ids that were acknowledged are noted.
pub(crate) fn load(
    devices: &[Device],
    authority: &str,
    port: u16,
    run: usize,
    acknowledged: &Arc<Mutex<HashSet<String>>>,
) {
    let tls = client_config(&Pin::Authority(authority.to_owned()), None, &Clock::system()).unwrap();
    runtime().block_on(async {
        let mut sending = Vec::new();
        for device in devices {
            let mut options = Options::new("127.0.0.1", port, &device.id.to_string());
            options.tls = Some(tls.clone());
            options.user = Some(device.id.to_string());
            options.password = Some(Secret::new(device.secret.clone()));
            let (topic, id) = (device.up(UpKind::Events), device.id);
            let acknowledged = Arc::clone(acknowledged);
            sending.push(async move {
                let Ok((client, _incoming)) = connect(&options).await else { return };
                for number in 0.. {
                    let name = format!("{run}.{number}.{:x}", id.bits() as u64);
                    let payload =
                        json!({ "events": [{ "id": name, "name": "load", "text": "x" }] }).to_string();
                    for _ in 0..2 {
                        let Ok(delivery) =
                            client.publish(&topic, payload.clone(), Quality::AtLeastOnce).await
                        else {
                            return;
                        };
                        if delivery.acknowledged().await.is_err() {
                            return;
                        }
                    }
                    acknowledged.lock().insert(name);
                }
            });
        }
        futures_util::future::join_all(sending).await;
    });
}
