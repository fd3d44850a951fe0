//! Packets of MQTT 3.1.1 (OASIS, 29 October 2014) as bytes. Quality 2 is not spoken.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::base::{Error, Result};

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// At most once: nobody acknowledges it.
    AtMostOnce,
    /// At least once: it is acknowledged by PUBACK.
    #[default]
    AtLeastOnce,
}

/// What the server publishes when the connection breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// On which topic.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// How surely.
    pub quality: Quality,
}

/// The first packet of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// Who it is.
    pub client_id: String,
    /// Whether the server forgets an earlier session.
    pub clean: bool,
    /// Seconds within which something must be sent; 0 for no bound.
    pub keep_alive_seconds: u16,
    /// What to publish when the connection breaks.
    pub will: Option<Will>,
    /// User name.
    pub user: Option<String>,
    /// Password; only with a user name.
    pub password: Option<Vec<u8>>,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// Packet identifier; there is one where the quality is at least once.
    pub packet: Option<u16>,
    /// Whether it was sent before.
    pub again: bool,
    /// Whether the server keeps it, or had kept it.
    pub retain: bool,
}

/// Any packet that this client and its counterpart speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Client's first.
    Connect(Connect),
    /// Its answer: whether a session was kept, and the return code (0: accepted).
    ConnectAck(bool, u8),
    /// A message.
    Publish(Publish),
    /// A message of quality 1 has arrived.
    PublishAck(u16),
    /// Filters with the quality that is wanted.
    Subscribe(u16, Vec<(String, Quality)>),
    /// One code per filter; 0x80 is a refusal.
    SubscribeAck(u16, Vec<u8>),
    /// Are you there?
    Ping,
    /// I am.
    PingAnswer,
    /// A proper end; no will is published.
    Disconnect,
}

fn wrong(what: &'static str) -> Error {
    Error::invalid(format!("the MQTT packet is not valid: {what}"))
}

/// Takes one packet off the front of `buffer`. `None` means that more bytes are needed.
pub fn decode(buffer: &mut BytesMut, packet_bytes_max: usize) -> Result<Option<Packet>> {
    let Some((&first, rest)) = buffer.split_first() else { return Ok(None) };
    let (mut length, mut header) = (0usize, None);
    for (place, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            header = Some(place + 2);
            break;
        }
    }
    let Some(header) = header else {
        return if rest.len() >= 4 { Err(wrong("its length has more than four bytes")) } else { Ok(None) };
    };
    if header + length > packet_bytes_max {
        return Err(Error::too_many(format!("an MQTT packet of {length} bytes"))
            .hint(format!("at most {packet_bytes_max} bytes")));
    }
    if buffer.len() < header + length {
        return Ok(None);
    }
    let mut body = buffer.split_to(header + length).freeze();
    body.advance(header);
    let packet = body_of(first, &mut body)?;
    if body.is_empty() { Ok(Some(packet)) } else { Err(wrong("bytes are left over")) }
}

fn body_of(first: u8, body: &mut Bytes) -> Result<Packet> {
    let flags = first & 0x0f;
    let kind = first >> 4;
    if kind != 3 && flags != if kind == 8 { 2 } else { 0 } {
        return Err(wrong("reserved flags are set"));
    }
    Ok(match kind {
        1 => Packet::Connect(connect(body)?),
        2 => match (byte(body)?, byte(body)?) {
            (kept @ 0..=1, code) => Packet::ConnectAck(kept == 1, code),
            _ => return Err(wrong("reserved flags are set")),
        },
        3 => {
            let topic = text(body)?;
            if topic.is_empty() || topic.contains(['+', '#', '\0']) {
                return Err(wrong("its topic is not a topic name"));
            }
            let packet = match flags >> 1 & 3 {
                0 if flags & 8 == 0 => None,
                1 => Some(packet_id(body)?),
                _ => return Err(wrong("its quality of service is not 0 or 1")),
            };
            let payload = body.split_to(body.len());
            Packet::Publish(Publish { topic, payload, packet, again: flags & 8 != 0, retain: flags & 1 != 0 })
        }
        4 => Packet::PublishAck(packet_id(body)?),
        8 => {
            let packet = packet_id(body)?;
            let mut filters = Vec::new();
            while !body.is_empty() {
                let filter = text(body)?;
                let quality = match byte(body)? {
                    0 => Quality::AtMostOnce,
                    1 | 2 => Quality::AtLeastOnce,
                    _ => return Err(wrong("its quality of service is not known")),
                };
                filters.push((filter, quality));
            }
            if filters.is_empty() {
                return Err(wrong("it subscribes to nothing"));
            }
            Packet::Subscribe(packet, filters)
        }
        9 => {
            let packet = packet_id(body)?;
            Packet::SubscribeAck(packet, body.split_to(body.len()).to_vec())
        }
        12 => Packet::Ping,
        13 => Packet::PingAnswer,
        14 => Packet::Disconnect,
        _ => return Err(wrong("its type is not spoken here")),
    })
}

fn connect(body: &mut Bytes) -> Result<Connect> {
    if text(body)? != "MQTT" || byte(body)? != 4 {
        return Err(wrong("it is not MQTT 3.1.1"));
    }
    let flags = byte(body)?;
    if flags & 1 != 0 || flags & 0x18 > 8 || (flags & 4 == 0 && flags & 0x38 != 0) || flags & 0xc0 == 0x40 {
        return Err(wrong("its connect flags contradict each other"));
    }
    let keep_alive_seconds = number(body)?;
    let client_id = text(body)?;
    let will = if flags & 4 != 0 {
        let quality = if flags & 0x18 == 0 { Quality::AtMostOnce } else { Quality::AtLeastOnce };
        Some(Will { topic: text(body)?, payload: field(body)?, quality })
    } else {
        None
    };
    let user = if flags & 0x80 != 0 { Some(text(body)?) } else { None };
    let password = if flags & 0x40 != 0 { Some(field(body)?.to_vec()) } else { None };
    Ok(Connect { client_id, clean: flags & 2 != 0, keep_alive_seconds, will, user, password })
}

fn byte(body: &mut Bytes) -> Result<u8> {
    body.try_get_u8().map_err(|_| wrong("it ends too early"))
}

fn number(body: &mut Bytes) -> Result<u16> {
    body.try_get_u16().map_err(|_| wrong("it ends too early"))
}

fn packet_id(body: &mut Bytes) -> Result<u16> {
    match number(body)? {
        0 => Err(wrong("its packet identifier is 0")),
        id => Ok(id),
    }
}

fn field(body: &mut Bytes) -> Result<Bytes> {
    let length = usize::from(number(body)?);
    if length > body.len() { Err(wrong("it ends too early")) } else { Ok(body.split_to(length)) }
}

fn text(body: &mut Bytes) -> Result<String> {
    String::from_utf8(field(body)?.to_vec()).map_err(|_| wrong("its text is not UTF-8"))
}

/// Appends `packet` to `out`. Text of more than 65,535 bytes cannot be written and is an error.
pub fn encode(packet: &Packet, out: &mut BytesMut) -> Result<()> {
    match packet {
        Packet::Connect(connect) => {
            let mut body = BytesMut::new();
            put(&mut body, b"MQTT")?;
            body.put_u8(4);
            let mut flags = if connect.clean { 2 } else { 0 };
            if let Some(will) = &connect.will {
                flags |= 4 | if will.quality == Quality::AtLeastOnce { 8 } else { 0 };
            }
            flags |= if connect.user.is_some() { 0x80 } else { 0 };
            flags |= if connect.user.is_some() && connect.password.is_some() { 0x40 } else { 0 };
            body.put_u8(flags);
            body.put_u16(connect.keep_alive_seconds);
            put(&mut body, connect.client_id.as_bytes())?;
            if let Some(will) = &connect.will {
                put(&mut body, will.topic.as_bytes())?;
                put(&mut body, &will.payload)?;
            }
            if let Some(user) = &connect.user {
                put(&mut body, user.as_bytes())?;
                if let Some(password) = &connect.password {
                    put(&mut body, password)?;
                }
            }
            head(out, 0x10, body.len())?;
            out.extend_from_slice(&body);
        }
        Packet::ConnectAck(kept, code) => out.extend_from_slice(&[0x20, 2, u8::from(*kept), *code]),
        Packet::Publish(publish) => {
            let mut first = 0x30 | u8::from(publish.retain);
            if publish.packet.is_some() {
                first |= 2 | if publish.again { 8 } else { 0 };
            }
            let id_bytes = if publish.packet.is_some() { 2 } else { 0 };
            head(out, first, 2 + publish.topic.len() + id_bytes + publish.payload.len())?;
            put(out, publish.topic.as_bytes())?;
            if let Some(packet) = publish.packet {
                out.put_u16(packet);
            }
            out.extend_from_slice(&publish.payload);
        }
        Packet::PublishAck(packet) => {
            out.extend_from_slice(&[0x40, 2]);
            out.put_u16(*packet);
        }
        Packet::Subscribe(packet, filters) => {
            head(out, 0x82, 2 + filters.iter().map(|(f, _)| f.len() + 3).sum::<usize>())?;
            out.put_u16(*packet);
            for (filter, quality) in filters {
                put(out, filter.as_bytes())?;
                out.put_u8(u8::from(*quality == Quality::AtLeastOnce));
            }
        }
        Packet::SubscribeAck(packet, codes) => {
            head(out, 0x90, 2 + codes.len())?;
            out.put_u16(*packet);
            out.extend_from_slice(codes);
        }
        Packet::Ping => out.extend_from_slice(&[0xc0, 0]),
        Packet::PingAnswer => out.extend_from_slice(&[0xd0, 0]),
        Packet::Disconnect => out.extend_from_slice(&[0xe0, 0]),
    }
    Ok(())
}

fn head(out: &mut BytesMut, first: u8, mut length: usize) -> Result<()> {
    if length >= 1 << 28 {
        return Err(wrong("it is longer than 256 MiB"));
    }
    out.put_u8(first);
    loop {
        let more = length >= 0x80;
        out.put_u8((length & 0x7f) as u8 | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            return Ok(());
        }
    }
}

fn put(out: &mut BytesMut, bytes: &[u8]) -> Result<()> {
    out.put_u16(u16::try_from(bytes.len()).map_err(|_| wrong("a field is longer than 65,535 bytes"))?);
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packets() -> impl Strategy<Value = Packet> {
        let quality = prop_oneof![Just(Quality::AtMostOnce), Just(Quality::AtLeastOnce)];
        let payload = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let will = ("[a-z/]{1,9}", payload(), quality.clone()).prop_map(|(topic, payload, quality)| Will {
            topic,
            payload,
            quality,
        });
        let user =
            prop::option::of(("[a-z]{0,9}", prop::option::of(prop::collection::vec(any::<u8>(), 0..9))));
        let connect = ("[a-z0-9]{0,9}", any::<bool>(), any::<u16>(), prop::option::of(will), user).prop_map(
            |(client_id, clean, keep_alive_seconds, will, user)| {
                let (user, password) = user.map_or((None, None), |(u, p)| (Some(u), p));
                Packet::Connect(Connect { client_id, clean, keep_alive_seconds, will, user, password })
            },
        );
        let publish = ("[a-z/]{1,99}", payload(), prop::option::of(1u16..), any::<bool>(), any::<bool>())
            .prop_map(|(topic, payload, packet, again, retain)| {
                Packet::Publish(Publish { topic, payload, again: again && packet.is_some(), packet, retain })
            });
        prop_oneof![
            connect,
            publish,
            (any::<bool>(), any::<u8>()).prop_map(|(kept, code)| Packet::ConnectAck(kept, code)),
            (1u16..).prop_map(Packet::PublishAck),
            (1u16.., prop::collection::vec(("[a-z/+#]{1,9}", quality), 1..4))
                .prop_map(|(id, filters)| Packet::Subscribe(id, filters)),
            (1u16.., prop::collection::vec(any::<u8>(), 0..4))
                .prop_map(|(id, codes)| Packet::SubscribeAck(id, codes)),
            Just(Packet::Ping),
            Just(Packet::PingAnswer),
            Just(Packet::Disconnect),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(packets in prop::collection::vec(packets(), 1..5), cut in 0usize..40) {
            let mut bytes = BytesMut::new();
            for packet in &packets {
                encode(packet, &mut bytes).unwrap();
            }
            // Arriving in two pieces makes no difference.
            let tail = bytes.split_off(cut.min(bytes.len()));
            let mut read = Vec::new();
            let mut arrived = bytes;
            while let Some(packet) = decode(&mut arrived, 4096).unwrap() {
                read.push(packet);
            }
            arrived.extend_from_slice(&tail);
            while let Some(packet) = decode(&mut arrived, 4096).unwrap() {
                read.push(packet);
            }
            prop_assert_eq!(read, packets);
        }

        #[test]
        fn garbage_never_panics_and_never_stalls(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut before = buffer.len() + 1;
            while let Ok(Some(_)) = decode(&mut buffer, 4096) {
                prop_assert!(buffer.len() < before);
                before = buffer.len();
            }
        }
    }

    #[test]
    fn sizes_are_bounded_before_the_bytes_are_there() {
        let mut huge = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0x7f][..]);
        assert_eq!(decode(&mut huge, 4096).unwrap_err().kind(), crate::base::Kind::TooMany);
        let mut endless = BytesMut::from(&[0x30, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(decode(&mut endless, 4096).is_err());
        let long = Publish {
            topic: "x".repeat(70_000),
            payload: Bytes::new(),
            packet: None,
            again: false,
            retain: false,
        };
        assert!(encode(&Packet::Publish(long), &mut BytesMut::new()).is_err());
    }
}
