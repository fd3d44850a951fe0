//! What nobody may do, whatever it is called.

use bytes::Bytes;

use super::super::*;
use super::rig::*;
use crate::wire::{DownKind, JOIN_DOWN, JOIN_UP, UpKind};

#[test]
fn an_agent_hears_nobody_else() {
    let rig = Rig::new();
    for version in [4, 5] {
        let mut client = rig.quiet_agent(1, version);
        let (own, other) =
            (format!("muster/v1/{TENANT}/{}", agent(1)), format!("muster/v1/{TENANT}/{}", agent(2)));
        let foreign = [
            String::from("#"),
            "+".into(),
            "+/+/+/+/+/+".into(),
            "muster/#".into(),
            format!("muster/v1/{TENANT}/#"),
            format!("muster/v1/{TENANT}/+/down/+"),
            format!("muster/v1/+/{}/down/+", agent(1)),
            format!("{other}/down/task"),
            format!("{other}/#"),
            format!("{own}/#"),
            format!("{own}/+/task"),
            format!("{own}/up/events"),
            format!("{own}/down"),
            format!("{own}/down/other"),
            format!("{own}/down/task/#"),
            format!("$share/g/{own}/down/+"),
            "$share/g/#".into(),
            "$SYS/#".into(),
            "site/#".into(),
            JOIN_DOWN.into(),
            String::new(),
            "é/#".into(),
            own.to_uppercase() + "/DOWN/+",
        ];
        for filter in &foreign {
            let code = client.subscribe(filter, 1);
            assert_eq!(code, if version == 4 { 0x80 } else { 0x87 }, "{filter}");
        }
        for filter in [format!("{own}/down/+"), format!("{own}/down/#"), format!("{own}/down/task")] {
            assert_eq!(client.subscribe(&filter, 2), 1, "{filter}");
        }
        // Several filters in one packet: each has its own answer.
        let (good, bad) = (format!("{own}/down/task"), format!("{other}/down/task"));
        client.send(&subscribe_packet(version, 3, &[(&good, 0), (&bad, 1), (&good, 1)]));
        let (_, body) = client.read().unwrap();
        assert_eq!(&body[body.len() - 3..], [0, if version == 4 { 0x80 } else { 0x87 }, 1]);
        let mut second = rig.agent(2, 4);
        rig.broker.bus().send(TENANT, agent(2), DownKind::Task, Bytes::from_static(b"secret"));
        assert_eq!(second.message().payload, b"secret");
        client.ping();
    }
    assert_eq!(rig.broker.stats().denied_total, 48);
}

#[test]
fn an_agent_speaks_for_nobody_else() {
    let mut rig = Rig::new();
    let own = format!("muster/v1/{TENANT}/{}", agent(1));
    let foreign = [
        up(2, UpKind::Events),
        down(1, DownKind::Task),
        down(2, DownKind::Task),
        format!("{own}/up/other"),
        format!("{own}/up"),
        format!("{own}/up/events/x"),
        format!("/{own}/up/events"),
        format!("{own}/up/EVENTS"),
        format!("{own}/up/+"),
        format!("{own}/up/#"),
        "é/x".into(),
        "$SYS/x".into(),
        "site/a/in".into(),
        JOIN_UP.into(),
        "#".into(),
        String::new(),
        "x".repeat(60_000),
        "a/".repeat(3_000),
    ];
    for topic in &foreign {
        let mut five = rig.quiet_agent(1, 5);
        five.publish(topic, 1, 9, b"x");
        assert_eq!(five.puback(), (9, 0x87), "{topic}");
        five.publish(topic, 0, 0, b"x");
        assert_eq!(five.goodbye(), Some(0x87), "{topic}");
        let mut four = rig.quiet_agent(2, 4);
        four.publish(if topic == &foreign[0] { &foreign[1] } else { topic }, 1, 9, b"x");
        assert_eq!(four.goodbye(), None);
    }
    assert!(rig.empty());
    assert_eq!(rig.broker.stats().router_restarts_total, 0);
}

#[test]
fn closed_features_stay_closed() {
    let mut rig = Rig::new();
    let topic = up(1, UpKind::Events);
    for (bytes, code) in [
        (publish_packet(5, 0x31, &topic, 0, b"retained"), 0x9a),
        (publish_packet(5, 0x33, &topic, 1, b"retained"), 0x9a),
        (publish_packet(5, 0x34, &topic, 1, b"twice"), 0x9b),
        (packet(0x62, &[0, 1]), 0x9b),
        (packet(0x50, &[0, 1]), 0x9b),
        // An alias instead of a topic, a subscription identifier, an authentication.
        (packet(0x32, &[0, 0, 0, 1, 3, 0x23, 0, 1]), 0x94),
        (packet(0x82, &[0, 1, 2, 0x0b, 1, 0, 1, b'a', 0]), 0xa1),
        (packet(0xf0, &[]), 0x8c),
    ] {
        let mut client = rig.quiet_agent(1, 5);
        client.send(&bytes);
        assert_eq!(client.goodbye(), Some(code), "{bytes:02x?}");
        let mut old = rig.quiet_agent(2, 4);
        old.send(&bytes);
        assert_eq!(old.goodbye(), None);
    }
    assert!(rig.empty());
    // A persistent session is granted as one that ends with the connection, and says so.
    let id = agent(1).to_string();
    let wants = Hello { clean: false, properties: &[0x11, 0, 0, 1, 0], ..hello(&id) };
    let mut client = Client::open(rig.address, 5);
    client.send(&connect_packet(5, &wants));
    let (_, body) = client.read().unwrap();
    assert_eq!(&body[..2], [0, 0]);
    assert!(body.windows(5).any(|w| w == [0x11, 0, 0, 0, 0]));
    // Properties of a publish are read and end here.
    let mut with_properties = topic.as_bytes().to_vec();
    with_properties.splice(0..0, (topic.len() as u16).to_be_bytes());
    with_properties.extend([0, 6, 9, 0x01, 1, 0x26, 0, 1, b'k', 0, 1, b'v']);
    with_properties.extend(b"payload");
    client.send(&packet(0x32, &with_properties));
    let uplink = rig.uplink();
    assert_eq!(&uplink.payload[..], b"payload");
    uplink.done();
    assert_eq!(client.puback(), (6, 0));
}

#[test]
fn nobody_comes_in_under_a_foreign_name() {
    let rig = Rig::with(Limits { refusals_per_second_max: 1_000, ..Limits::default() }, 10);
    let (one, two) = (agent(1).to_string(), agent(2).to_string());
    let mut victim = rig.agent(1, 5);
    for (version, wrong, bad_id, not_allowed) in [(4, 4, 2, 5), (5, 0x86, 0x85, 0x87)] {
        let enter = |hello: &Hello<'_>| Client::hello(rig.address, version, hello).1;
        assert_eq!(enter(&Hello { password: "guess", ..hello(&one) }), wrong);
        // Agent 2 with its own password claims to be agent 1, and a client, and an upper-case self.
        assert_eq!(enter(&Hello { user: Some(&two), ..hello(&one) }), bad_id);
        assert_eq!(enter(&Hello { user: Some(&two), ..hello("watch") }), bad_id);
        assert_eq!(enter(&Hello { user: Some(&two), ..hello(&two.to_uppercase()) }), bad_id);
        assert_eq!(enter(&Hello { user: Some("watch"), ..hello("watch2") }), bad_id);
        for id in ["", "a b", "é", "x\u{1}"] {
            assert_eq!(enter(&Hello { user: Some(&two), ..hello(id) }), bad_id, "{id}");
        }
        assert_eq!(enter(&hello("stranger")), not_allowed);
        for (topic, flags) in [
            (up(2, UpKind::Events), 0),
            (up(1, UpKind::Hello), 0),
            (up(1, UpKind::Events), 0x20),
            (up(1, UpKind::Events), 0x10),
            (down(1, DownKind::Task), 0),
            ("é".into(), 0),
            ("#".into(), 0),
        ] {
            let will = Hello { will: Some((&topic, b"w")), will_flags: flags, ..hello(&one) };
            assert_eq!(enter(&will), not_allowed, "{topic}");
        }
        for topic in ["site/a/out", "muster/v1/x/y/up/events", "$SYS/x", "site/+/in"] {
            let will = Hello { will: Some((topic, b"w")), ..hello("watch") };
            assert_eq!(enter(&will), not_allowed, "{topic}");
        }
        assert_eq!(
            enter(&Hello { user: Some("joiner"), will: Some((JOIN_UP, b"w")), ..hello("j") }),
            not_allowed
        );
    }
    victim.ping();
    assert_eq!(rig.broker.stats().takeovers_total, 0);
    rig.keeper.expect("refused stranger not authorised");
}

#[test]
fn revocation_cuts_at_once_and_keeps_out() {
    let mut rig = Rig::new();
    let (topic, id) = (up(1, UpKind::Events), agent(1).to_string());
    for version in [4, 5] {
        let (mut client, _) =
            Client::hello(rig.address, version, &Hello { will: Some((&topic, b"w")), ..hello(&id) });
        let clock = crate::engine::clock::Clock::system();
        let before = clock.monotonic();
        assert!(rig.broker.bus().close(TENANT, agent(1), "agent is retired"));
        assert_eq!(client.goodbye(), (version == 5).then_some(0x98));
        assert!(clock.monotonic() - before < PATIENCE);
    }
    rig.keeper.expect("agent is retired");
    rig.keeper.known.lock().remove(&id);
    assert_eq!(Client::hello(rig.address, 5, &hello(&id)).1, 0x87);
    rig.until(|_| !rig.broker.bus().close(TENANT, agent(1), "again"));
    assert!(rig.empty(), "a revoked agent has no will");
    // One that does not read is cut just the same.
    let client = rig.agent(2, 4);
    let big = Bytes::from(vec![0; 200_000]);
    for _ in 0..10 {
        rig.broker.bus().send(TENANT, agent(2), DownKind::Task, big.clone());
    }
    rig.broker.bus().close(TENANT, agent(2), "gone");
    rig.until(|stats| stats.agents == 0);
    drop(client);
}

#[test]
fn a_joining_session_may_do_nothing_else() {
    let mut rig = Rig::with(Limits { joins_per_session_max: 2, ..Limits::default() }, 10);
    let join = Hello { user: Some("joiner"), ..hello("new") };
    let (mut client, _) = Client::hello(rig.address, 5, &join);
    for filter in [
        "#",
        JOIN_UP,
        "muster/v1/join/down/+",
        &down(1, DownKind::Task),
        "$share/g/muster/v1/join/down/answer",
    ] {
        assert_eq!(client.subscribe(filter, 0), 0x87, "{filter}");
    }
    client.publish(&up(1, UpKind::Hello), 1, 1, b"x");
    assert_eq!(client.puback(), (1, 0x87));
    for pkid in 2..5 {
        client.publish(JOIN_UP, 1, pkid, b"x");
    }
    assert_eq!(client.goodbye(), Some(0x97));
    assert!(matches!(rig.inbound(), Inbound::Join(_)) && matches!(rig.inbound(), Inbound::Join(_)));
    assert!(rig.empty());
}
