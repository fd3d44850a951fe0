//! Everything that waits has an end.

use std::time::Duration;

use bytes::Bytes;

use super::super::*;
use super::rig::*;
use crate::base::{Networks, Span};
use crate::wire::{DownKind, UpKind};

#[test]
fn connections_are_counted_and_room_comes_back() {
    for by_address in [false, true] {
        let mut limits = Limits::default();
        *(if by_address { &mut limits.connections_per_address_max } else { &mut limits.connections_max }) = 2;
        let rig = Rig::with(limits, 10);
        let (one, mut two) = (rig.quiet_agent(1, 5), rig.quiet_agent(2, 4));
        let id = agent(3).to_string();
        // Polite retries against a full house, then room.
        for _ in 0..50 {
            assert_eq!(Client::hello(rig.address, 5, &hello(&id)).1, 255);
        }
        two.ping();
        drop(one);
        rig.until(|stats| stats.connections == 1);
        rig.quiet_agent(3, 5).ping();
        rig.keeper.expect("too many connections");
        assert!(rig.broker.stats().refused_total >= 50);
        assert!(rig.keeper.lines().iter().filter(|l| l.starts_with("refused")).count() <= 20);
    }
}

#[test]
fn who_may_not_connect_is_cut_off() {
    let networks = |deny: &str| Networks { allow: Vec::new(), deny: vec![deny.parse().unwrap()] };
    let rig = Rig::between(networks("127.0.0.0/8"), Limits::default(), 10, None);
    assert_eq!(Client::open(rig.address, 5).read(), None);
    rig.keeper.expect("may not connect");
    let rig = Rig::between(networks("10.0.0.0/8"), Limits::default(), 10, None);
    rig.quiet_agent(1, 5).ping();
}

#[test]
fn silence_ends() {
    let limits = Limits {
        connect: Span::from_seconds(2),
        keep_alive: Span::from_milliseconds(200),
        ..Limits::default()
    };
    let rig = Rig::with(limits, 10);
    // Before CONNECT, in the middle of one, and after one.
    let mut silent = Client::open(rig.address, 5);
    let id = agent(1).to_string();
    let mut half = Client::open(rig.address, 5);
    half.send(&connect_packet(5, &hello(&id))[..20]);
    assert_eq!((silent.read(), half.read()), (None, None));
    rig.keeper.expect("no CONNECT in time");
    for keep_alive in [0, 600] {
        let (mut client, code) = Client::hello(rig.address, 5, &Hello { keep_alive, ..hello(&id) });
        assert_eq!(code, 0);
        // What goes out does not count, only what comes in.
        rig.broker.bus().send(TENANT, agent(1), DownKind::Task, Bytes::new());
        // Neither does a packet that never ends.
        client.send(&[0x30, 100, 0]);
        assert_eq!(client.goodbye(), Some(0x8d));
    }
    rig.keeper.expect("graceful=false keep-alive missed");
}

#[test]
fn a_longer_keep_alive_than_allowed_is_told() {
    let rig = Rig::with(Limits { keep_alive: Span::from_seconds(50), ..Limits::default() }, 10);
    let id = agent(1).to_string();
    let mut client = Client::open(rig.address, 5);
    client.send(&connect_packet(5, &hello(&id)));
    let (_, body) = client.read().unwrap();
    assert!(body.windows(3).any(|w| w == [0x13, 0, 50]), "{body:02x?}");
    // Receive maximum, highest QoS, nothing retained, largest packet.
    assert!(body.windows(12).any(|w| w == [0x21, 0, 32, 0x24, 1, 0x25, 0, 0x27, 0, 4, 0, 0]), "{body:02x?}");
}

#[test]
fn whoever_does_not_acknowledge_or_read_is_let_go() {
    let limits = Limits { mailbox_messages_max: 8, inflight_max: 4, ..Limits::default() };
    let rig = Rig::with(limits, 10);
    let bus = rig.broker.bus();
    // Never acknowledges: a window and a mailbox full, then the end.
    let mut client = rig.agent(1, 5);
    rig.until(|_| {
        bus.send(TENANT, agent(1), DownKind::Task, Bytes::from_static(b"x"));
        !bus.connected(TENANT, agent(1))
    });
    let mut heard = 0;
    let mut code = None;
    while let Some((first, body)) = client.read() {
        match first >> 4 {
            3 => heard += 1,
            _ => code = Some(body[0]),
        }
    }
    assert!(heard <= 4 && code == Some(0x97), "{heard} {code:?}");
    rig.keeper.expect("too many messages were waiting");
    // Never reads: bytes are bounded before messages are.
    let rig = Rig::with(Limits { session_bytes_max: 500_000, ..Limits::default() }, 10);
    let bus = rig.broker.bus();
    let mut reader = rig.agent(2, 4);
    let client = rig.agent(1, 4);
    let big = Bytes::from(vec![0; 200_000]);
    rig.until(|_| {
        bus.send(TENANT, agent(1), DownKind::Task, big.clone());
        !bus.connected(TENANT, agent(1))
    });
    drop(client);
    bus.send(TENANT, agent(2), DownKind::Task, Bytes::from_static(b"y"));
    assert_eq!(reader.message().payload, b"y");
}

#[test]
fn one_that_takes_nothing_is_cut() {
    let limits = Limits {
        write: Span::from_milliseconds(300),
        session_bytes_max: 100_000_000,
        mailbox_messages_max: 1_000,
        inflight_max: 1_000,
        ..Limits::default()
    };
    let rig = Rig::with(limits, 10);
    let _client = rig.agent(1, 4);
    let big = Bytes::from(vec![0; 250_000]);
    for _ in 0..80 {
        rig.broker.bus().send(TENANT, agent(1), DownKind::Task, big.clone());
    }
    rig.keeper.expect("does not read");
}

#[test]
fn a_full_inbound_channel_stops_reading() {
    let mut rig = Rig::with(Limits { uplinks_pending_max: 5, ..Limits::default() }, 2);
    let mut client = rig.agent(1, 5);
    for pkid in 1..=20 {
        client.publish(&up(1, UpKind::Metrics), 1, pkid, b"m");
    }
    let first = rig.uplink();
    rig.until(|stats| stats.uplinks_total >= 4);
    // Others are served meanwhile, as far as they need no room.
    rig.agent(2, 4).ping();
    assert!(rig.broker.stats().uplinks_total <= 5);
    first.done();
    for _ in 2..=20 {
        rig.uplink().done();
    }
    let acks: Vec<u16> = (0..20).map(|_| client.puback().0).collect();
    assert_eq!(acks, (1..=20).collect::<Vec<u16>>());
    client.ping();
}

#[test]
fn too_many_messages_wait_and_are_not_lost() {
    let clock = crate::engine::clock::Clock::system();
    let mut rig = Rig::with(Limits { messages_per_second_max: 50, ..Limits::default() }, 100);
    let mut client = rig.quiet_agent(1, 4);
    let before = clock.monotonic();
    for pkid in 1..=80 {
        client.publish(&up(1, UpKind::Logs), 1, pkid, b"l");
    }
    for _ in 0..80 {
        rig.uplink().done();
    }
    assert!(clock.monotonic() - before > Duration::from_millis(500));
    assert_eq!((0..80).map(|_| client.puback().0).last(), Some(80));
}

#[test]
fn packets_are_bounded_before_they_are_read() {
    let rig = Rig::new();
    // 256 MiB promised; the answer comes without waiting for them.
    let mut client = rig.quiet_agent(1, 5);
    client.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(client.goodbye(), Some(0x95));
    let mut first = Client::open(rig.address, 4);
    first.send(&[0x10, 0xff, 0x7f]);
    assert_eq!(first.read(), None);
    // The largest that the client takes, too.
    let id = agent(1).to_string();
    let (mut small, _) =
        Client::hello(rig.address, 5, &Hello { properties: &[0x27, 0, 0, 0, 150], ..hello(&id) });
    small.subscribe(&down(1, DownKind::Task), 0);
    let bus = rig.broker.bus();
    bus.send(TENANT, agent(1), DownKind::Task, Bytes::from(vec![1; 100]));
    bus.send(TENANT, agent(1), DownKind::Task, Bytes::from_static(b"fits"));
    assert_eq!(small.message().payload, b"fits");
}

#[test]
fn a_slow_doorkeeper_is_asked_by_few_and_waited_for_by_all() {
    let rig = Rig::with(quick(Limits { admissions_max: 1, ..Limits::default() }), 10);
    let held = rig.keeper.known.lock();
    let (one, two) = (agent(1).to_string(), agent(2).to_string());
    let mut waiting: Vec<Client> = [one, two]
        .iter()
        .map(|id| {
            let mut client = Client::open(rig.address, 5);
            client.send(&connect_packet(5, &hello(id)));
            client
        })
        .collect();
    for client in &mut waiting {
        assert_eq!(client.read().unwrap().1[1], 0x89);
    }
    drop(held);
    rig.agent(3, 4).ping();
}

#[test]
fn a_session_stays_small() {
    // 1,000 idle agents took 7.9 KiB each; this is the part that grows unseen.
    assert!(size_of::<session::Session>() <= 1_024);
}
