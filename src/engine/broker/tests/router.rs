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
