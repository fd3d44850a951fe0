//! Packets from clients, MQTT 3.1.1 and 5. Nothing here panics and nothing is kept that does not come from the body.

use bytes::Bytes;

/// What is wrong with a packet: the reason code of MQTT 5 and a word for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u8,
    pub(super) why: &'static str,
}

const fn malformed(why: &'static str) -> Fault {
    Fault { code: 0x81, why }
}

/// A fault of the protocol, which is not one of the packet's form.
pub(super) const fn protocol(why: &'static str) -> Fault {
    Fault { code: 0x82, why }
}

/// First byte, length of the fixed header, length of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) first: u8,
    pub(super) length: usize,
    pub(super) rest: usize,
}

/// A CONNECT as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Connect {
    pub(super) protocol: u8,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Bytes>,
    pub(super) will: Option<Will>,
    pub(super) session_expiry: u32,
    pub(super) receive_max: Option<u16>,
    pub(super) packet_bytes_max: Option<u32>,
    pub(super) authentication: bool,
}

/// The message that the gate tells when the client dies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// A packet of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Connect,
    Publish { topic: String, qos: u8, pkid: u16, retain: bool, payload: Bytes },
    PubAck(u16),
    Subscribe { pkid: u16, filters: Vec<(String, u8)> },
    Unsubscribe { pkid: u16, filters: Vec<String> },
    Ping,
    Disconnect { with_will: bool },
}

/// Reads the fixed header. `None` if it is not complete; more than `max` bytes in all is a fault before any of them is
/// waited for.
pub(super) fn header(input: &[u8], max: usize) -> Result<Option<Header>, Fault> {
    let Some(first) = input.first() else { return Ok(None) };
    let mut rest = 0usize;
    for place in 0..4 {
        let Some(byte) = input.get(1 + place) else { return Ok(None) };
        rest |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let length = 2 + place;
            if length + rest > max {
                return Err(Fault { code: 0x95, why: "packet too large" });
            }
            return Ok(Some(Header { first: *first, length, rest }));
        }
    }
    Err(malformed("remaining length"))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(malformed("packet ends early"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }
    fn short(&mut self) -> Result<u16, Fault> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
    fn pkid(&mut self) -> Result<u16, Fault> {
        match self.short()? {
            0 => Err(protocol("packet identifier 0")),
            pkid => Ok(pkid),
        }
    }
    fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.short()?;
        self.take(usize::from(length))
    }
    fn text(&mut self) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| malformed("text is not UTF-8"))?;
        if text.contains('\0') { Err(malformed("NUL in a text")) } else { Ok(text) }
    }
    fn variable(&mut self) -> Result<usize, Fault> {
        let mut value = 0usize;
        for place in 0..4 {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("variable length"))
    }
    /// Calls `seen` with each property of a list of MQTT 5. Numbers come as such; everything else as 0.
    fn properties(
        &mut self,
        allowed: &[u8],
        mut seen: impl FnMut(u8, u32) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let length = self.variable()?;
        let mut list = Reader(self.take(length)?);
        let mut before = [false; 64];
        while !list.0.is_empty() {
            let id = list.byte()?;
            if !allowed.contains(&id) {
                return Err(malformed("property"));
            }
            let again = before.get_mut(usize::from(id)).map(|b| std::mem::replace(b, true));
            if again == Some(true) && !matches!(id, 0x26 | 0x0b) {
                return Err(protocol("property twice"));
            }
            let value = match id {
                0x01 | 0x17 | 0x19 => match list.byte()? {
                    value @ (0 | 1) => u32::from(value),
                    _ => return Err(protocol("property out of range")),
                },
                0x21..=0x23 => u32::from(list.short()?),
                0x02 | 0x11 | 0x18 | 0x27 => {
                    let bytes = list.take(4)?;
                    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
                }
                0x0b => list.variable()? as u32,
                0x03 | 0x08 | 0x15 | 0x1f => list.text().map(|_| 0)?,
                0x09 | 0x16 => list.binary().map(|_| 0)?,
                0x26 => {
                    list.text()?;
                    list.text().map(|_| 0)?
                }
                _ => return Err(malformed("property")),
            };
            seen(id, value)?;
        }
        Ok(())
    }
    fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("packet is too long")) }
    }
}

/// The body of a CONNECT. `Err(None)` means a protocol that is not spoken here.
pub(super) fn connect(body: &[u8]) -> Result<Connect, Option<Fault>> {
    let mut reader = Reader(body);
    let name = reader.binary().map_err(Some)?;
    let level = reader.byte().map_err(Some)?;
    match (name, level) {
        (b"MQTT", 4 | 5) => read_connect(reader, level).map_err(Some),
        (b"MQTT" | b"MQIsdp", _) => Err(None),
        _ => Err(Some(protocol("not MQTT"))),
    }
}

fn read_connect(mut reader: Reader<'_>, level: u8) -> Result<Connect, Fault> {
    let mut connect = Connect { protocol: level, ..Connect::default() };
    let flags = reader.byte()?;
    if flags & 1 != 0 {
        return Err(malformed("reserved flag"));
    }
    connect.clean = flags & 2 != 0;
    connect.keep_alive = reader.short()?;
    if level == 5 {
        reader.properties(&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27], |id, value| {
            match id {
                0x11 => connect.session_expiry = value,
                0x15 => connect.authentication = true,
                0x21 if value == 0 => return Err(protocol("receive maximum 0")),
                0x21 => connect.receive_max = Some(value as u16),
                0x27 if value == 0 => return Err(protocol("maximum packet size 0")),
                0x27 => connect.packet_bytes_max = Some(value),
                _ => {}
            }
            Ok(())
        })?;
    }
    connect.client_id = reader.text()?.to_owned();
    let (qos, retain) = ((flags >> 3) & 3, flags & 0x20 != 0);
    if flags & 4 != 0 {
        if level == 5 {
            reader.properties(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26], |_, _| Ok(()))?;
        }
        let topic = reader.text()?.to_owned();
        let payload = Bytes::copy_from_slice(reader.binary()?);
        connect.will = Some(Will { topic, payload, qos, retain });
    }
    if qos == 3 || (flags & 4 == 0 && (qos != 0 || retain)) {
        return Err(malformed("flags of the will"));
    }
    if flags & 0x80 != 0 {
        connect.username = Some(reader.text()?.to_owned());
    }
    if flags & 0x40 != 0 {
        if level == 4 && flags & 0x80 == 0 {
            return Err(malformed("password without user name"));
        }
        connect.password = Some(Bytes::copy_from_slice(reader.binary()?));
    }
    reader.end()?;
    Ok(connect)
}

/// Any packet after the CONNECT.
pub(super) fn packet(first: u8, body: &[u8], protocol_level: u8) -> Result<Packet, Fault> {
    let five = protocol_level == 5;
    let mut reader = Reader(body);
    let packet = match (first >> 4, first & 0x0f) {
        (1, 0) => return Ok(Packet::Connect),
        (3, flags) => return publish(flags, reader, five),
        (4, 0) => {
            let pkid = reader.pkid()?;
            tail(&mut reader, five)?;
            Packet::PubAck(pkid)
        }
        (8, 2) => {
            let pkid = reader.pkid()?;
            if five {
                reader.properties(&[0x0b, 0x26], |id, _| match id {
                    0x0b => Err(Fault { code: 0xa1, why: "subscription identifier" }),
                    _ => Ok(()),
                })?;
            }
            let mut filters = Vec::new();
            while !reader.0.is_empty() {
                let filter = reader.text()?.to_owned();
                let options = reader.byte()?;
                if options & 3 == 3 || options & if five { 0xc0 } else { 0xfc } != 0 || options & 0x30 == 0x30
                {
                    return Err(malformed("subscription options"));
                }
                filters.push((filter, options & 3));
            }
            Packet::Subscribe { pkid, filters }
        }
        (10, 2) => {
            let pkid = reader.pkid()?;
            if five {
                reader.properties(&[0x26], |_, _| Ok(()))?;
            }
            let mut filters = Vec::new();
            while !reader.0.is_empty() {
                filters.push(reader.text()?.to_owned());
            }
            Packet::Unsubscribe { pkid, filters }
        }
        (12, 0) => Packet::Ping,
        (14, 0) => {
            let mut reason = 0;
            if five && !reader.0.is_empty() {
                reason = reader.byte()?;
                if !reader.0.is_empty() {
                    reader.properties(&[0x11, 0x1f, 0x26], |_, _| Ok(()))?;
                }
            }
            Packet::Disconnect { with_will: reason == 4 }
        }
        (5..=7, _) => return Err(Fault { code: 0x9b, why: "QoS 2" }),
        (15, 0) if five => return Err(Fault { code: 0x8c, why: "authentication method" }),
        (2 | 9 | 11 | 13, _) => return Err(protocol("packet of a server")),
        _ => return Err(malformed("packet type")),
    };
    reader.end()?;
    match &packet {
        Packet::Subscribe { filters, .. } if filters.is_empty() => Err(protocol("empty SUBSCRIBE")),
        Packet::Unsubscribe { filters, .. } if filters.is_empty() => Err(protocol("empty UNSUBSCRIBE")),
        _ => Ok(packet),
    }
}

fn publish(flags: u8, mut reader: Reader<'_>, five: bool) -> Result<Packet, Fault> {
    let (qos, retain) = ((flags >> 1) & 3, flags & 1 != 0);
    match qos {
        3 => return Err(malformed("QoS 3")),
        2 => return Err(Fault { code: 0x9b, why: "QoS 2" }),
        0 if flags & 8 != 0 => return Err(malformed("DUP with QoS 0")),
        _ => {}
    }
    let topic = reader.text()?.to_owned();
    let pkid = if qos == 0 { 0 } else { reader.pkid()? };
    if five {
        // The router would carry properties along, and count none of their bytes: they end here.
        reader.properties(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26], |id, _| match id {
            0x23 => Err(Fault { code: 0x94, why: "topic alias" }),
            _ => Ok(()),
        })?;
    }
    Ok(Packet::Publish { topic, qos, pkid, retain, payload: Bytes::copy_from_slice(reader.0) })
}

fn tail(reader: &mut Reader<'_>, five: bool) -> Result<(), Fault> {
    if five && !reader.0.is_empty() {
        reader.byte()?;
        if !reader.0.is_empty() {
            reader.properties(&[0x1f, 0x26], |_, _| Ok(()))?;
        }
    }
    Ok(())
}
