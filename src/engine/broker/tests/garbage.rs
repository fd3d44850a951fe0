//! Bytes of every sort. Whatever comes, others are served and the router lives.

use std::net::{Shutdown, TcpStream};

use super::super::*;
use super::rig::*;
use crate::base::Timestamp;
use crate::engine::clock::Clock;
use crate::wire::{DownKind, UpKind};

fn open_house() -> Limits {
    Limits { connections_max: 50_000, connections_per_address_max: 50_000, ..Limits::default() }
}

#[test]
fn random_bytes_and_mutated_packets() {
    let mut rig = Rig::with(open_house(), 5_000);
    let random = Clock::manual(Timestamp::from_milliseconds(0), 42);
    let mut witness = rig.agent(3, 5);
    let (id, topic, filter) = (agent(1).to_string(), up(1, UpKind::Events), down(1, DownKind::Task));
    let will = Hello { will: Some((&topic, b"will")), ..hello(&id) };
    for round in 0..3_000u32 {
        let version = 4 + (round % 2) as u8;
        let mut packets = [
            connect_packet(version, &will),
            publish_packet(version, 0x32, &topic, 7, b"payload"),
            subscribe_packet(version, 8, &[(&filter, 1), ("#", 0)]),
            packet(0xa2, if version == 5 { &[0, 9, 0, 0, 1, b'x'] } else { &[0, 9, 0, 1, b'x'] }),
            packet(0x40, &[0, 1]),
            vec![0xc0, 0],
            packet(0xe0, &[]),
        ];
        let [a, b, c, d] = random.random::<4>().map(usize::from);
        let chosen = &mut packets[a % 7];
        match round % 5 {
            // One byte, two bytes, cut off, doubled, or nothing but noise.
            0 => {
                let at = b % chosen.len();
                chosen[at] = c as u8;
            }
            1 => {
                let (at, other) = (b % chosen.len(), d % chosen.len());
                chosen[at] ^= 1 << (c % 8);
                chosen[other] = random.random::<1>()[0];
            }
            2 => chosen.truncate(b % chosen.len()),
            3 => {
                let again = chosen.clone();
                chosen.extend(again);
            }
            _ => *chosen = random.random::<64>()[..=c % 64].to_vec(),
        }
        let mut socket = TcpStream::connect(rig.address).unwrap();
        use std::io::Write;
        // The other side may have closed already.
        let _ = socket.write_all(&packets.concat());
        if round % 3 == 0 {
            let _ = socket.shutdown(Shutdown::Write);
        }
        drop(socket);
        // Makes room.
        while !rig.empty() {}
        if round % 250 == 0 {
            witness.ping();
        }
    }
    witness.publish(&up(3, UpKind::Heartbeat), 1, 1, b"alive");
    loop {
        let uplink = rig.uplink();
        let last = uplink.agent == agent(3);
        uplink.done();
        if last {
            break;
        }
    }
    assert_eq!(witness.puback(), (1, 0));
    rig.until(|stats| stats.agents == 1 && stats.connections == 1);
    assert_eq!(rig.broker.stats().router_restarts_total, 0);
    rig.agent(1, 5).ping();
}

#[test]
fn what_is_no_connect_is_no_connection() {
    let rig = Rig::new();
    let id = agent(1).to_string();
    let good = connect_packet(4, &hello(&id));
    let mut wrong_name = good.clone();
    wrong_name[4] = b'X';
    let mut reserved = good.clone();
    reserved[9] |= 1;
    let mut bad_text = good.clone();
    bad_text[14] = 0xff;
    let mut nul = good.clone();
    nul[14] = 0;
    let mut will_qos = good.clone();
    will_qos[9] |= 0x18;
    let mut too_long = [good.clone(), vec![0]].concat();
    too_long[1] += 1;
    for bytes in [
        vec![0x20, 2, 0, 0],
        vec![0xc0, 0],
        vec![0xb0, 2, 0, 1],
        vec![0x11, 2, 0, 0],
        vec![0x10, 0x80, 0x80, 0x80, 0x80, 1],
        packet(0x10, b""),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0],
        publish_packet(5, 0x30, "a", 0, b"x"),
        wrong_name,
        reserved,
        bad_text,
        nul,
        will_qos,
        too_long,
    ] {
        let mut client = Client::open(rig.address, 4);
        client.send(&bytes);
        assert_eq!(client.read(), None, "{bytes:02x?}");
    }
    for (level, name) in [(3u8, "MQIsdp"), (3, "MQTT"), (6, "MQTT"), (255, "MQTT")] {
        let mut body = (name.len() as u16).to_be_bytes().to_vec();
        body.extend(name.as_bytes());
        body.extend([level, 2, 0, 60, 0, 1, b'a']);
        let mut client = Client::open(rig.address, 4);
        client.send(&packet(0x10, &body));
        assert_eq!(client.read(), Some((0x20, vec![0, 1])));
        assert_eq!(client.read(), None);
    }
    rig.agent(1, 4).ping();
}

#[test]
fn what_breaks_the_protocol_ends_that_session_alone() {
    let rig = Rig::new();
    let id = agent(1).to_string();
    let mut witness = rig.agent(2, 5);
    for (bytes, code) in [
        (connect_packet(5, &hello(&id)), 0x82),
        (vec![0x20, 3, 0, 0, 0], 0x82),
        (packet(0x90, &[0, 1, 0, 0]), 0x82),
        (packet(0xb0, &[0, 1, 0, 0]), 0x82),
        (packet(0xd0, &[]), 0x82),
        (packet(0x00, &[]), 0x81),
        (packet(0x36, &[0, 1, b'a', 0, 1, 0]), 0x81),
        (packet(0x38, &[0, 1, b'a', 0]), 0x81),
        (packet(0x32, &[0, 1, b'a', 0, 0, 0]), 0x82),
        (packet(0x30, &[0, 9, b'a']), 0x81),
        (packet(0x30, &[0, 1, 0xff, 0]), 0x81),
        (packet(0x30, &[0, 1, b'a', 5, 1]), 0x81),
        (packet(0x30, &[0, 1, b'a', 4, 1, 0, 1, 0]), 0x82),
        (packet(0x30, &[0, 1, b'a', 2, 1, 9]), 0x82),
        (packet(0x80, &[0, 1, 0, 0, 1, b'a', 0]), 0x81),
        (packet(0x82, &[0, 0, 0, 0, 1, b'a', 0]), 0x82),
        (packet(0x82, &[0, 1, 0]), 0x82),
        (packet(0x82, &[0, 1, 0, 0, 1, b'a', 3]), 0x81),
        (packet(0xa2, &[0, 1, 0]), 0x82),
        (packet(0x40, &[0]), 0x81),
        (packet(0xc0, &[1]), 0x81),
        (packet(0xc1, &[]), 0x81),
        (vec![0x30, 0x80, 0x80, 0x80, 0x80], 0x81),
    ] {
        let mut client = rig.quiet_agent(1, 5);
        client.send(&bytes);
        assert_eq!(client.goodbye(), Some(code), "{bytes:02x?}");
    }
    // An acknowledgement of nothing is none.
    witness.ack(17);
    witness.ping();
}

#[test]
fn half_open_connections_and_bursts_of_takeovers() {
    let mut rig = Rig::with(open_house(), 1_000);
    let idle: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(rig.address).unwrap()).collect();
    let id = agent(1).to_string();
    let clients: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = Client::open(rig.address, 5);
            client.send(&connect_packet(5, &hello(&id)));
            client
        })
        .collect();
    drop((idle, clients));
    rig.until(|stats| stats.connections == 0 && stats.agents == 0);
    let lines = rig.keeper.lines();
    let count = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!(count("arrived"), count("left"));
    let mut client = rig.agent(1, 4);
    client.publish(&up(1, UpKind::Hello), 1, 1, b"h");
    rig.uplink().done();
    assert_eq!(client.puback(), (1, 0));
}
