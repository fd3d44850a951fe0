//! Clients with filters of an administrator: observers and devices of the site.

use bytes::Bytes;

use super::super::*;
use super::rig::*;
use crate::wire::{DownKind, UpKind};

#[test]
fn an_observer_hears_what_was_stored_and_what_was_sent() {
    let mut rig = Rig::new();
    let mut watch = Client::connected(rig.address, 5, "watch");
    let all = format!("muster/v1/{TENANT}/+/+/+");
    assert_eq!(watch.subscribe(&all, 1), 1);
    let mut client = rig.agent(1, 4);
    client.publish(&up(1, UpKind::Events), 1, 1, b"refused");
    client.publish(&up(1, UpKind::Events), 1, 2, b"stored");
    rig.uplink().refuse("no");
    rig.uplink().done();
    let message = watch.message();
    assert_eq!((message.topic, &message.payload[..]), (up(1, UpKind::Events), &b"stored"[..]));
    assert_ne!(message.pkid, 0);
    watch.ack(message.pkid);
    // Delivered with the lower QoS of the two sides.
    client.publish(&up(1, UpKind::Heartbeat), 0, 0, b"alive");
    rig.uplink().done();
    assert_eq!(
        watch.message(),
        Message { topic: up(1, UpKind::Heartbeat), payload: b"alive".into(), pkid: 0 }
    );
    rig.broker.bus().send(TENANT, agent(1), DownKind::Task, Bytes::from_static(b"do"));
    let message = watch.message();
    assert_eq!((message.topic, &message.payload[..]), (down(1, DownKind::Task), &b"do"[..]));
    assert_eq!(watch.subscribe(&all, 0), 0);
    client.publish(&up(1, UpKind::Heartbeat), 1, 3, b"lower");
    rig.uplink().done();
    assert_eq!(
        watch.message(),
        Message { topic: up(1, UpKind::Heartbeat), payload: b"lower".into(), pkid: 0 }
    );
}

#[test]
fn devices_of_the_site_talk_within_their_filters() {
    let rig = Rig::new();
    let mut watch = Client::connected(rig.address, 4, "watch");
    let mut bare = Client::connected(rig.address, 5, "bare");
    assert_eq!(bare.subscribe("site/a", 1), 1);
    for filter in
        ["#", "+/#", "site/+", "site/#", "site/b", "muster/#", "$SYS/#", "$share/g/site/a", "site/a/#"]
    {
        assert_eq!(bare.subscribe(filter, 0), 0x87, "{filter}");
    }
    for filter in ["#", "+/a", "muster/v1/+/+/up/+", "muster/+/x", "$share/g/site/#"] {
        assert_eq!(watch.subscribe(filter, 0), 0x80, "{filter}");
    }
    assert_eq!(watch.subscribe("site/#", 1), 1);
    bare.publish("site/x/in", 1, 1, b"in");
    assert_eq!(bare.puback(), (1, 0));
    let message = watch.message();
    assert_eq!((message.topic.as_str(), &message.payload[..]), ("site/x/in", &b"in"[..]));
    bare.publish("site/x/out", 1, 2, b"out");
    assert_eq!(bare.puback(), (2, 0x87));
    bare.publish(&up(1, UpKind::Events), 1, 3, b"forged");
    assert_eq!(bare.puback(), (3, 0x87));
    rig.broker.bus().publish("site/a", Bytes::from_static(b"server")).unwrap();
    assert_eq!(bare.message().payload, b"server");
    assert_eq!(watch.message().payload, b"server");
    assert!(rig.broker.bus().publish("site/#", Bytes::new()).is_err());
    assert!(rig.broker.bus().publish("é", Bytes::new()).is_err());

    // UNSUBACK of what was and of what was not.
    let mut body = vec![0, 5, 0, 0, 6];
    body.extend(b"site/a");
    body.extend([0, 1, b'z']);
    bare.send(&packet(0xa2, &body));
    assert_eq!(bare.read().unwrap(), (0xb0, vec![0, 5, 0, 0, 0x11]));
    rig.broker.bus().publish("site/a", Bytes::from_static(b"more")).unwrap();
    assert_eq!(watch.message().payload, b"more");
    bare.ping();
}

#[test]
fn a_client_takes_over_itself_and_can_be_closed() {
    let rig = Rig::new();
    let mut first = Client::connected(rig.address, 5, "watch");
    first.subscribe("site/#", 0);
    for round in 0..20u8 {
        let (mut next, code) =
            Client::hello(rig.address, 5, &Hello { will: Some(("site/w/in", &[round])), ..hello("watch") });
        assert_eq!(code, 0);
        assert_eq!(first.goodbye(), Some(0x8e));
        next.subscribe("site/#", 0);
        rig.broker.bus().publish("site/a", Bytes::from(vec![round])).unwrap();
        // The will of the session before may come first.
        let message = Some(next.message()).filter(|m| m.topic == "site/a").unwrap_or_else(|| next.message());
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("site/a", &[round][..]));
        first = next;
    }
    let mut other = Client::connected(rig.address, 4, "watch2");
    other.subscribe("site/w/in", 1);
    drop(first);
    assert_eq!(other.message().payload, [19]);
    assert!(rig.broker.bus().close_client("watch2"));
    assert_eq!(other.goodbye(), None);
    rig.until(|stats| stats.clients == 0);
    assert!(!rig.broker.bus().close_client("watch2"));
    assert_eq!(rig.broker.stats().router_restarts_total, 0);
}

#[test]
fn numbers_of_filters_and_clients_are_bounded() {
    let limits =
        Limits { subscriptions_max: 3, filters_max: 4, topics_max: 2, clients_max: 2, ..Limits::default() };
    let rig = Rig::with(limits, 10);
    let mut one = Client::connected(rig.address, 5, "watch");
    let codes: Vec<u8> =
        ["site/1", "site/2", "site/3", "site/4", "site/1"].map(|f| one.subscribe(f, 0)).to_vec();
    assert_eq!(codes, [0, 0, 0, 0x97, 0]);
    let mut two = Client::connected(rig.address, 4, "watch2");
    assert_eq!(["site/1", "site/5", "site/6"].map(|f| two.subscribe(f, 0)), [0, 0, 0x80]);
    for (pkid, code) in [(1, 0), (2, 0), (3, 0x97)] {
        one.publish(&format!("site/{pkid}/in"), 1, pkid, b"x");
        assert_eq!(one.puback(), (pkid, code));
    }
    assert_eq!(Client::hello(rig.address, 5, &hello("bare")).1, 0x89);
    drop(two);
    rig.until(|stats| stats.clients == 1);
    assert_eq!(Client::hello(rig.address, 5, &hello("bare")).1, 0);
}
