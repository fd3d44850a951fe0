//! Packets to clients, MQTT 3.1.1 and 5.

use bytes::{BufMut, BytesMut};

use super::face::Refusal;

/// What the CONNACK of MQTT 5 tells of the server.
pub(super) struct Terms {
    pub(super) receive_max: u16,
    pub(super) packet_bytes_max: u32,
    pub(super) keep_alive: Option<u16>,
    pub(super) session_expiry: bool,
}

fn start(out: &mut BytesMut, first: u8, mut rest: usize) {
    out.reserve(5 + rest);
    out.put_u8(first);
    loop {
        let byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.put_u8(byte);
            return;
        }
        out.put_u8(byte | 0x80);
    }
}

/// The client is in. There is never an old session.
pub(super) fn welcome(out: &mut BytesMut, protocol: u8, terms: &Terms) {
    if protocol < 5 {
        out.put_slice(&[0x20, 2, 0, 0]);
        return;
    }
    let mut list = BytesMut::with_capacity(40);
    if terms.session_expiry {
        list.put_slice(&[0x11, 0, 0, 0, 0]);
    }
    list.put_u8(0x21);
    list.put_u16(terms.receive_max);
    // Highest QoS 1, nothing retained.
    list.put_slice(&[0x24, 1, 0x25, 0, 0x27]);
    list.put_u32(terms.packet_bytes_max);
    // No topic aliases, no subscription identifiers, no shared subscriptions.
    list.put_slice(&[0x22, 0, 0, 0x29, 0, 0x2a, 0]);
    if let Some(seconds) = terms.keep_alive {
        list.put_u8(0x13);
        list.put_u16(seconds);
    }
    start(out, 0x20, 3 + list.len());
    out.put_slice(&[0, 0, list.len() as u8]);
    out.put_slice(&list);
}

/// The client stays out.
pub(super) fn refuse(out: &mut BytesMut, protocol: u8, refusal: Refusal) {
    let (three, five) = match refusal {
        Refusal::BadCredentials => (4, 0x86),
        Refusal::NotAuthorized => (5, 0x87),
        Refusal::BadClientId => (2, 0x85),
        Refusal::Busy => (3, 0x89),
    };
    connack(out, protocol, if protocol < 5 { three } else { five });
}

/// A CONNACK with this code and nothing else.
pub(super) fn connack(out: &mut BytesMut, protocol: u8, code: u8) {
    if protocol < 5 {
        out.put_slice(&[0x20, 2, 0, code]);
    } else {
        out.put_slice(&[0x20, 3, 0, code, 0]);
    }
}

/// A PUBACK; MQTT 3.1.1 has no way to say no.
pub(super) fn puback(out: &mut BytesMut, protocol: u8, pkid: u16, code: u8, why: &str) {
    if protocol < 5 || (code == 0 && why.is_empty()) {
        start(out, 0x40, 2);
        out.put_u16(pkid);
        return;
    }
    // A reason string is at most 120 characters, so that one byte tells the properties' length up to 127.
    let why = if why.len() <= 120 { why } else { "" };
    let list = if why.is_empty() { 0 } else { 3 + why.len() };
    start(out, 0x40, 4 + list);
    out.put_u16(pkid);
    out.put_u8(code);
    out.put_u8(list as u8);
    if list > 0 {
        out.put_u8(0x1f);
        out.put_u16(why.len() as u16);
        out.put_slice(why.as_bytes());
    }
}

/// A SUBACK with a code for each filter; refusals are codes of MQTT 5.
pub(super) fn suback(out: &mut BytesMut, protocol: u8, pkid: u16, codes: &[u8]) {
    let five = usize::from(protocol == 5);
    start(out, 0x90, 2 + five + codes.len());
    out.put_u16(pkid);
    if protocol == 5 {
        out.put_u8(0);
    }
    out.extend(codes.iter().map(|code| if protocol < 5 && *code > 2 { 0x80 } else { *code }));
}

/// An UNSUBACK with a code for each filter, which MQTT 3.1.1 does not hear.
pub(super) fn unsuback(out: &mut BytesMut, protocol: u8, pkid: u16, codes: &[u8]) {
    if protocol < 5 {
        start(out, 0xb0, 2);
        out.put_u16(pkid);
    } else {
        start(out, 0xb0, 3 + codes.len());
        out.put_u16(pkid);
        out.put_u8(0);
        out.put_slice(codes);
    }
}

/// A PUBLISH; `pkid` 0 is QoS 0.
pub(super) fn publish(out: &mut BytesMut, protocol: u8, topic: &[u8], pkid: u16, payload: &[u8]) {
    start(out, if pkid == 0 { 0x30 } else { 0x32 }, published_bytes(protocol, topic, pkid, payload));
    out.put_u16(topic.len() as u16);
    out.put_slice(topic);
    if pkid != 0 {
        out.put_u16(pkid);
    }
    if protocol == 5 {
        out.put_u8(0);
    }
    out.put_slice(payload);
}

/// Bytes of a PUBLISH after its fixed header.
pub(super) fn published_bytes(protocol: u8, topic: &[u8], pkid: u16, payload: &[u8]) -> usize {
    2 + topic.len() + 2 * usize::from(pkid != 0) + usize::from(protocol == 5) + payload.len()
}

/// The answer to a ping.
pub(super) fn pong(out: &mut BytesMut) {
    out.put_slice(&[0xd0, 0]);
}

/// The server's goodbye, which MQTT 3.1.1 does not have.
pub(super) fn goodbye(out: &mut BytesMut, protocol: u8, code: u8) {
    if protocol == 5 {
        out.put_slice(&[0xe0, 1, code]);
    }
}
