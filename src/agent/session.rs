//! One connection to the server as one agent.

use std::collections::{BTreeMap, VecDeque};

use super::Credentials;
use super::segments::Record;
use crate::base::{AgentId, Error, Result, Span, TenantId};
use crate::engine::clock::Clock;
use crate::engine::crypto::{self, Pin};
use crate::engine::host;
use crate::engine::outbound::mqtt::{self, Client, Delivery, Incoming, Quality, Will};
use crate::wire::{
    Disk, Down, Event, Events, Hello, Interface, Inventory, Sequence, Severity, TimeService, Topic, Up,
    UpKind,
};

/// Spooled messages that are on their way at once.
pub const WINDOW: usize = 32;

/// A session: it is subscribed to what the agent is told. Dropping it breaks the connection; the will is published.
pub struct Session {
    tenant: TenantId,
    agent: AgentId,
    client: Client,
    incoming: Incoming,
    sent: VecDeque<(Sequence, Delivery)>,
}

/// What happens on a session.
#[derive(Debug)]
pub enum Happening {
    /// The server says something.
    Told(Down),
    /// The server has everything up to this number.
    Acknowledged(Sequence),
}

impl Session {
    /// Connects with credentials over TLS and subscribes. `boot` tells the starts of one agent apart; `count` the
    /// connections of one start.
    pub async fn connect(
        credentials: &Credentials,
        boot: &str,
        count: u64,
        clock: &Clock,
    ) -> Result<Session> {
        let pin = Pin::Authority(credentials.authority.clone());
        let tls = crypto::client_config(&pin, Some((&credentials.certificate, &credentials.key)), clock)?;
        let (tenant, agent) = (credentials.tenant, credentials.agent);
        let options = mqtt::Options {
            tls: Some(tls),
            will: Some(lost(tenant, agent, boot, count)),
            keep_alive: Span::from_seconds(30),
            window: WINDOW * 2,
            ..mqtt::Options::new(&credentials.server.host, credentials.server.port, &agent.to_string())
        };
        let (client, incoming) = mqtt::connect(&options).await?;
        Session::over(tenant, agent, client, incoming).await
    }

    /// The same over a connection that is already there.
    pub async fn over(
        tenant: TenantId,
        agent: AgentId,
        client: Client,
        incoming: Incoming,
    ) -> Result<Session> {
        let filter = Topic::down_filter(tenant, agent);
        client.subscribe(&[(filter.as_str(), Quality::AtLeastOnce)]).await?;
        Ok(Session { tenant, agent, client, incoming, sent: VecDeque::new() })
    }

    /// Says the first message. Whoever waits for the delivery must go on receiving meanwhile.
    pub async fn hello(&self, hello: Hello) -> Result<Delivery> {
        self.publish(&Up::Hello(hello)).await
    }

    /// Sends a message; the delivery ends when the server has it. Heartbeats are not acknowledged.
    pub async fn publish(&self, up: &Up) -> Result<Delivery> {
        self.client.publish(&self.topic(up.kind()), up.compact(), quality(up.kind())).await
    }

    /// Sends a message if the connection takes it at once; says whether it did.
    pub fn try_publish(&self, up: &Up) -> Result<bool> {
        let delivery = self.client.try_publish(&self.topic(up.kind()), up.compact(), quality(up.kind()))?;
        Ok(delivery.is_some())
    }

    /// Whether a spooled message may be sent now.
    pub fn has_room(&self) -> bool {
        self.sent.len() < WINDOW
    }

    /// Sends a spooled message; gives it back when the connection is busy.
    pub fn try_send(&mut self, record: Record) -> Result<Option<Record>> {
        let payload = record.payload.clone();
        match self.client.try_publish(&self.topic(record.kind), payload, Quality::AtLeastOnce)? {
            Some(delivery) => {
                self.sent.push_back((record.sequence, delivery));
                Ok(None)
            }
            None => Ok(Some(record)),
        }
    }

    /// Waits for the next happening; an error is the end of the session. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Happening> {
        loop {
            let Session { incoming, sent, .. } = self;
            tokio::select! {
                biased;
                sequence = front(sent) => {
                    let sequence = sequence?;
                    self.sent.pop_front();
                    return Ok(Happening::Acknowledged(sequence));
                }
                message = incoming.next() => {
                    let message =
                        message.unwrap_or_else(|| Err(Error::unavailable("the session has ended")))?;
                    match Topic::parse(&message.topic) {
                        Ok(Topic::Down(tenant, agent, kind)) if (tenant, agent) == (self.tenant, self.agent) => {
                            match Down::decode(kind, &message.payload) {
                                Ok(down) => return Ok(Happening::Told(down)),
                                Err(error) => {
                                    tracing::warn!(%error, topic = message.topic, "the server said something unreadable");
                                }
                            }
                        }
                        _ => tracing::warn!(topic = message.topic, "a message on a foreign topic was passed over"),
                    }
                }
            }
        }
    }

    /// Waits for the next thing that the server says.
    pub async fn receive(&mut self) -> Result<Down> {
        loop {
            if let Happening::Told(down) = self.next().await? {
                return Ok(down);
            }
        }
    }

    /// Says goodbye; the will is not published.
    pub async fn disconnect(self) -> Result<()> {
        self.client.disconnect().await
    }

    fn topic(&self, kind: UpKind) -> String {
        Topic::Up(self.tenant, self.agent, kind).to_string()
    }
}

async fn front(sent: &mut VecDeque<(Sequence, Delivery)>) -> Result<Sequence> {
    match sent.front_mut() {
        Some((sequence, delivery)) => delivery.await.map(|()| *sequence),
        None => std::future::pending().await,
    }
}

fn quality(kind: UpKind) -> Quality {
    match kind {
        // The next one comes soon, and a late one says nothing.
        UpKind::Heartbeat => Quality::AtMostOnce,
        _ => Quality::AtLeastOnce,
    }
}

fn lost(tenant: TenantId, agent: AgentId, boot: &str, count: u64) -> Will {
    let event = Event {
        id: format!("lost-{boot}-{count}"),
        at: None,
        severity: Severity::Warn,
        name: "agent.lost".into(),
        text: "the connection broke without goodbye".into(),
    };
    Will {
        topic: Topic::Up(tenant, agent, UpKind::Events).to_string(),
        payload: Up::Events(Events { sequence: None, events: vec![event] }).json().into(),
        quality: Quality::AtLeastOnce,
    }
}

/// The first message: who this is and what it runs. The inventory is without packages.
pub fn hello(configuration: &super::Configuration, boot: &str, clock: &Clock) -> Hello {
    let commands: BTreeMap<String, String> =
        configuration.commands.iter().map(|(name, c)| (name.clone(), c.description.clone())).collect();
    Hello {
        version: env!("CARGO_PKG_VERSION").into(),
        hostname: host::hostname(),
        inventory: inventory(host::inventory(false)),
        boot: boot.to_owned(),
        clock: Some(clock.now()),
        labels: configuration.labels.clone(),
        commands,
        checkpoints: Vec::new(),
    }
}

/// Who sets this host's clock, as the wire says it.
pub(super) fn time_service() -> Option<TimeService> {
    host::time_service().map(|found| TimeService { name: found.name, in_step: found.in_step, at: found.at })
}

/// The host engine's inventory as the wire says it.
pub fn inventory(found: host::Inventory) -> Inventory {
    let interface = |i: host::Interface| Interface { name: i.name, mac: i.mac, addresses: i.addresses };
    Inventory {
        os: found.os,
        kernel: found.kernel,
        architecture: found.architecture,
        cpu: found.cpu,
        cpu_count: found.cpu_count,
        memory_bytes: found.memory_bytes,
        machine: found.machine,
        booted: found.booted,
        interfaces: found.interfaces.into_iter().map(interface).collect(),
        disks: found
            .disks
            .into_iter()
            .map(|d| Disk { mount: d.mount, kind: d.kind, bytes: d.bytes })
            .collect(),
        packages: found.packages,
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::base::TaskId;
    use crate::wire::{Cancel, DownKind};

    struct Server(DuplexStream, BytesMut);

    impl Server {
        async fn read(&mut self) -> mqtt::Packet {
            loop {
                if let Some(packet) = mqtt::decode(&mut self.1, 65_536).unwrap() {
                    return packet;
                }
                assert_ne!(self.0.read_buf(&mut self.1).await.unwrap(), 0, "closed");
            }
        }
        async fn write(&mut self, packet: mqtt::Packet) {
            let mut out = BytesMut::new();
            mqtt::encode(&packet, &mut out).unwrap();
            self.0.write_all(&out).await.unwrap();
        }
        async fn tell(&mut self, topic: String, payload: Vec<u8>) {
            let payload = Bytes::from(payload);
            let publish = mqtt::Publish { topic, payload, packet: Some(9), again: false, retain: false };
            self.write(mqtt::Packet::Publish(publish)).await;
        }
    }

    #[tokio::test]
    async fn a_session_hears_its_own_topics_and_what_was_acknowledged() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let mut server = Server(far, BytesMut::new());
        let (tenant, agent) = (TenantId::from_bits(1), AgentId::from_bits(2));
        let open = async {
            let (client, incoming) =
                mqtt::connect_over(near, &mqtt::Options::new("x", 1, "me")).await.unwrap();
            Session::over(tenant, agent, client, incoming).await.unwrap()
        };
        let accept = async {
            server.read().await;
            server.write(mqtt::Packet::ConnectAck(false, 0)).await;
            let mqtt::Packet::Subscribe(packet, filters) = server.read().await else { panic!() };
            assert_eq!(filters[0].0, Topic::down_filter(tenant, agent));
            server.write(mqtt::Packet::SubscribeAck(packet, vec![1])).await;
        };
        let (mut session, ()) = tokio::join!(open, accept);
        let record = Record { sequence: 5, kind: UpKind::Metrics, payload: b"{}".to_vec() };
        assert_eq!(session.try_send(record).unwrap(), None);
        let mqtt::Packet::Publish(publish) = server.read().await else { panic!() };
        assert_eq!(publish.topic, Topic::Up(tenant, agent, UpKind::Metrics).to_string());
        server.write(mqtt::Packet::PublishAck(publish.packet.unwrap())).await;
        assert!(matches!(session.next().await.unwrap(), Happening::Acknowledged(5)));
        let cancel = Down::Cancel(Cancel { task: TaskId::from_bits(3) });
        // Another agent's topic and an unreadable message are passed over.
        let other = Topic::Down(tenant, AgentId::from_bits(9), DownKind::Cancel).to_string();
        server.tell(other, cancel.json()).await;
        let own = Topic::Down(tenant, agent, DownKind::Cancel).to_string();
        server.tell(own.clone(), b"?".to_vec()).await;
        server.tell(own, cancel.json()).await;
        assert_eq!(session.receive().await.unwrap(), cancel);
        drop(server);
        assert!(session.next().await.is_err());
    }
}
