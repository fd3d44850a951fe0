//! What works for everybody who behaves.

use std::sync::Arc;

use bytes::Bytes;

use super::super::*;
use super::rig::*;
use crate::wire::{DownKind, JOIN_DOWN, JOIN_UP, UpKind};

#[test]
fn both_versions_say_and_hear() {
    let mut rig = Rig::new();
    let bus = rig.broker.bus();
    for (number, version) in [(1, 4), (2, 5)] {
        let mut client = rig.agent(number, version);
        rig.keeper.expect(&format!("arrived {} v{version}", agent(number)));
        client.publish(&up(number, UpKind::Heartbeat), 1, 77, b"alive");
        let uplink = rig.uplink();
        assert_eq!(
            (uplink.agent, uplink.kind, &uplink.payload[..]),
            (agent(number), UpKind::Heartbeat, &b"alive"[..])
        );
        // A ping behind it is answered first: the PUBACK waits for `done`.
        client.ping();
        uplink.done();
        assert_eq!(client.puback(), (77, 0));

        assert!(bus.connected(TENANT, agent(number)));
        assert_eq!(
            bus.send(TENANT, agent(number), DownKind::Task, Bytes::from_static(b"do")),
            Delivery::Sent
        );
        let message = client.message();
        assert_eq!((message.topic, &message.payload[..]), (down(number, DownKind::Task), &b"do"[..]));
        assert_ne!(message.pkid, 0);
        client.ack(message.pkid);

        client.publish(&up(number, UpKind::Logs), 0, 0, b"line");
        rig.uplink().done();
        client.send(&[0xe0, 0]);
        assert_eq!(client.goodbye(), None);
        rig.keeper.expect(&format!("left {} graceful=true", agent(number)));
        assert!(!bus.connected(TENANT, agent(number)));
        assert_eq!(bus.send(TENANT, agent(number), DownKind::Task, Bytes::new()), Delivery::Offline);
    }
    rig.broker.stop();
}

#[test]
fn acknowledgements_keep_the_order_of_the_publishes() {
    let mut rig = Rig::new();
    let mut client = rig.agent(1, 5);
    for pkid in 1..=5 {
        client.publish(&up(1, UpKind::Metrics), 1, pkid, b"m");
    }
    client.publish(&up(2, UpKind::Metrics), 1, 6, b"not mine");
    let mut uplinks: Vec<Uplink> = (0..5).map(|_| rig.uplink()).collect();
    client.ping();
    uplinks.remove(1).refuse("no such metric");
    while let Some(uplink) = uplinks.pop() {
        uplink.done();
    }
    let acks: Vec<_> = (0..6).map(|_| client.puback()).collect();
    assert_eq!(acks, [(1, 0), (2, 0x99), (3, 0), (4, 0), (5, 0), (6, 0x87)]);
    // MQTT 3.1.1 cannot say no; the message must not come again.
    let mut old = rig.agent(2, 4);
    old.publish(&up(2, UpKind::Metrics), 1, 3, b"m");
    rig.uplink().refuse("no");
    assert_eq!(old.puback(), (3, 0));
}

#[test]
fn what_is_not_stored_is_not_acknowledged() {
    let mut rig = Rig::new();
    for dropped in [false, true] {
        let mut client = rig.agent(1, 5);
        client.publish(&up(1, UpKind::Task), 1, 8, b"t");
        let uplink = rig.uplink();
        if dropped {
            drop(uplink)
        } else {
            uplink.fail()
        }
        assert_eq!(client.goodbye(), Some(0x83));
    }
    rig.keeper.expect("could not be stored");
}

#[test]
fn a_message_before_the_first_subscribe_waits() {
    let rig = Rig::new();
    let mut client = rig.quiet_agent(1, 4);
    let bus = rig.broker.bus();
    assert_eq!(bus.send(TENANT, agent(1), DownKind::Configuration, Bytes::from_static(b"c")), Delivery::Sent);
    client.ping();
    assert_eq!(client.subscribe(&down(1, DownKind::Configuration), 0), 0);
    assert_eq!(
        client.message(),
        Message { topic: down(1, DownKind::Configuration), payload: b"c".into(), pkid: 0 }
    );
    assert_eq!(bus.send(TENANT, agent(1), DownKind::Task, Bytes::new()), Delivery::Offline);
}

#[test]
fn the_second_session_replaces_the_first() {
    let mut rig = Rig::new();
    let mut first = rig.agent(1, 5);
    let mut second = rig.agent(1, 4);
    assert_eq!(first.goodbye(), Some(0x8e));
    let lines = rig.keeper.lines();
    let place = |text: &str| lines.iter().rposition(|line| line.contains(text)).unwrap();
    assert!(place("duplicate") < place("left") && place("left") < place("arrived"), "{lines:?}");
    second.publish(&up(1, UpKind::Hello), 1, 1, b"h");
    rig.uplink().done();
    assert_eq!(second.puback(), (1, 0));
    rig.broker.bus().send(TENANT, agent(1), DownKind::Task, Bytes::from_static(b"t"));
    assert_eq!(second.message().payload, b"t");
}

#[test]
fn a_will_is_told_when_nobody_said_goodbye() {
    let mut rig = Rig::new();
    let (id, topic) = (agent(1).to_string(), up(1, UpKind::Events));
    for version in [4, 5] {
        let will = Hello { will: Some((&topic, b"gone")), will_flags: 8, ..hello(&id) };
        let (client, code) = Client::hello(rig.address, version, &will);
        assert_eq!(code, 0);
        drop(client);
        let uplink = rig.uplink();
        assert_eq!((uplink.kind, &uplink.payload[..]), (UpKind::Events, &b"gone"[..]));
        uplink.done();
        let (mut client, _) = Client::hello(rig.address, version, &will);
        client.send(&[0xe0, 0]);
        client.goodbye();
        assert!(rig.empty());
    }
}

#[test]
fn joining_hears_its_own_answers_only() {
    let mut rig = Rig::new();
    let mut joiners: Vec<Client> = Vec::new();
    for (id, version) in [("new-1", 4), ("new-2", 5)] {
        let (mut client, code) =
            Client::hello(rig.address, version, &Hello { user: Some("joiner"), ..hello(id) });
        assert_eq!(code, 0);
        assert_eq!(client.subscribe(JOIN_DOWN, 1), 1);
        assert!(client.subscribe("muster/v1/join/#", 1) >= 0x80);
        client.publish(JOIN_UP, 1, 5, id.as_bytes());
        joiners.push(client);
    }
    for _ in 0..2 {
        let Inbound::Join(join) = rig.inbound() else { panic!("no join") };
        assert_eq!(
            (join.username.as_deref(), join.password.as_deref()),
            (Some("joiner"), Some(&b"secret"[..]))
        );
        let answer = join.payload.to_vec();
        join.answer(answer);
    }
    for (client, id) in joiners.iter_mut().zip(["new-1", "new-2"]) {
        assert_eq!(client.puback(), (5, 0));
        assert_eq!(client.message().payload, id.as_bytes());
        client.ping();
    }
    assert_eq!(rig.broker.stats().joining, 2);
}

#[test]
fn stopping_acknowledges_what_was_being_stored() {
    let mut rig = Rig::new();
    let mut client = rig.agent(1, 5);
    client.publish(&up(1, UpKind::Events), 1, 4, b"e");
    let uplink = rig.uplink();
    let Rig { broker, keeper, address, .. } = rig;
    let stopping = std::thread::spawn(move || broker.stop());
    uplink.done();
    assert_eq!(client.puback(), (4, 0));
    assert_eq!(client.goodbye(), Some(0x8b));
    stopping.join().unwrap();
    keeper.expect("the server stops");
    // The port is free again, so that another server can start at once; another test may have it for a moment.
    let clock = crate::engine::clock::Clock::system();
    let until = clock.monotonic() + PATIENCE;
    while std::net::TcpListener::bind(address).is_err() {
        assert!(clock.monotonic() < until, "{address} is not free");
        std::thread::yield_now();
    }
}

#[test]
fn tls_shows_the_certificate_and_a_used_port_is_named() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let (chain, private) = (
        vec![certificate.der().clone()],
        rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), private.clone_key())
        .unwrap();
    let limits =
        Limits { handshakes_max: 4, handshake: crate::base::Span::from_seconds(1), ..Limits::default() };
    let mut rig = Rig::start(limits, 10, Some(Arc::new(server)));
    let address = rig.broker.address().unwrap();
    // Silent ones hold up nobody for longer than a handshake may last.
    let silent: Vec<_> = (0..8).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private)
        .unwrap();
    let mut client = (0..10)
        .find_map(|_| {
            let connection =
                rustls::ClientConnection::new(Arc::new(config.clone()), "localhost".try_into().unwrap());
            let socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let stream = rustls::StreamOwned::new(connection.unwrap(), socket);
            let mut client = Client { socket: Box::new(stream), version: 5 };
            let id = agent(1).to_string();
            client.send(&connect_packet(5, &Hello { password: "", ..hello(&id) }));
            (client.read()?.1[1] == 0).then_some(client)
        })
        .unwrap();
    rig.keeper.expect("certificate of");
    let big = vec![7u8; 200_000];
    client.publish(&up(1, UpKind::Logs), 1, 2, &big);
    let uplink = rig.uplink();
    assert_eq!(uplink.payload, big);
    uplink.done();
    assert_eq!(client.puback(), (2, 0));
    drop(silent);

    let settings = Settings {
        networks: Default::default(),
        tls: None,
        plain: Some(rig.address),
        limits: Limits::default(),
        clock: crate::engine::clock::Clock::system(),
    };
    let taken = Broker::start(settings, rig.keeper.clone(), tokio::sync::mpsc::channel(1).0).err().unwrap();
    assert!(taken.message().contains(&rig.address.to_string()), "{taken}");
}
