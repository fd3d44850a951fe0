//! The death of the router, and what must not be noticed of it.

use bytes::Bytes;

use super::super::*;
use super::rig::*;
use crate::wire::{DownKind, UpKind};

#[test]
fn agents_and_clients_outlive_the_router() {
    let mut rig = Rig::new();
    let bus = rig.broker.bus();
    let mut client = rig.agent(1, 5);
    let mut watch = Client::connected(rig.address, 4, "watch");
    assert_eq!(watch.subscribe("site/#", 1), 1);
    for round in 1..=3u64 {
        rig.broker.core.hub.kill_router();
        for part in 0..20u8 {
            assert_eq!(bus.send(TENANT, agent(1), DownKind::Task, Bytes::from(vec![part])), Delivery::Sent);
        }
        // Nothing that was on its way to an agent is lost, and the order is kept.
        let came: Vec<u8> = (0..20)
            .map(|_| {
                let message = client.message();
                client.ack(message.pkid);
                message.payload[0]
            })
            .collect();
        assert_eq!(came, (0..20).collect::<Vec<u8>>());
        rig.until(|stats| stats.router_restarts_total == round);
        client.publish(&up(1, UpKind::Heartbeat), 1, 5, b"alive");
        rig.uplink().done();
        assert_eq!(client.puback(), (5, 0));
        // A subscription may miss what is published before it is linked again; a new one is linked when it is granted.
        assert_eq!(watch.subscribe(&format!("site/{round}"), 0), 0);
        bus.publish("site/a", Bytes::from_static(b"again")).unwrap();
        let message = watch.message();
        assert_eq!(message.payload, b"again");
        watch.ack(message.pkid);
    }
    assert_eq!(rig.broker.stats().takeovers_total, 0);
    rig.broker.stop();
}

#[test]
fn links_that_come_and_go_kill_no_router() {
    let rig = Rig::new();
    let address = rig.address;
    let bus = rig.broker.bus();
    let mut client = rig.agent(1, 5);
    let churn: Vec<_> = ["watch", "watch2", "bare"]
        .into_iter()
        .map(|name| {
            std::thread::spawn(move || {
                for round in 0..60u16 {
                    let version = 4 + (round % 2) as u8;
                    let mut client = Client::connected(address, version, name);
                    client.subscribe(if name == "bare" { "site/a" } else { "site/#" }, 1);
                    for pkid in 1..40 {
                        client.publish("site/x/in", 1, pkid, b"x");
                    }
                    match round % 4 {
                        // Waits for something first, says goodbye, sends a stray acknowledgement, or just goes.
                        0 => assert!(client.read().is_some()),
                        1 => client.send(&[0xe0, 0]),
                        2 => client.ack(round),
                        _ => {}
                    }
                }
            })
        })
        .collect();
    while churn.iter().any(|thread| !thread.is_finished()) {
        bus.publish("site/a", Bytes::from_static(b"tick")).unwrap();
        bus.send(TENANT, agent(1), DownKind::Acknowledgement, Bytes::from_static(b"a"));
        let message = client.message();
        client.ack(message.pkid);
    }
    for thread in churn {
        thread.join().unwrap();
    }
    rig.until(|stats| stats.clients == 0);
    assert_eq!(rig.broker.stats().router_restarts_total, 0);
}

#[test]
fn a_panic_ends_one_session() {
    let mut rig = Rig::new();
    let mut witness = rig.agent(1, 5);
    assert_eq!(Client::hello(rig.address, 5, &hello("panic")).1, 0x89);
    *rig.keeper.fragile.lock() = Some(agent(2));
    let id = agent(2).to_string();
    assert_eq!(Client::hello(rig.address, 5, &hello(&id)).1, 255);
    rig.keeper.expect(&format!("left {id}"));
    *rig.keeper.fragile.lock() = None;
    rig.agent(2, 4).ping();
    witness.publish(&up(1, UpKind::Heartbeat), 1, 1, b"h");
    rig.uplink().done();
    assert_eq!(witness.puback(), (1, 0));
    rig.until(|stats| stats.connections <= 2);
}
