//! The client: connecting, sending and receiving.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::codec::{Connect, Packet, Quality, Will, decode, encode};
use super::connection::{Command, Connection};
use crate::base::{Error, Result, Secret, Span, limits};

/// Commands that wait for the connection's task.
const COMMANDS_MAX: usize = 16;
/// Messages that wait for the caller.
const INCOMING_MAX: usize = 64;

/// How to connect.
#[derive(Clone)]
pub struct Options {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS; `None` is plain TCP, for tests and loopback.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Client identifier.
    pub client_id: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret<String>>,
    /// What the server says when this connection breaks.
    pub will: Option<Will>,
    /// Whether an earlier session is forgotten.
    pub clean: bool,
    /// The server may give the connection up after one and a half times this without a sign.
    pub keep_alive: Span,
    /// How long TCP, TLS and the first answer may take together.
    pub connect_within: Span,
    /// Messages of quality 1 that may be unacknowledged.
    pub window: usize,
    /// Bytes of one packet.
    pub packet_bytes_max: usize,
}

impl Options {
    /// Options for `host` and `port` with a clean session, 30 s of keep-alive and a window of 64.
    pub fn new(host: &str, port: u16, client_id: &str) -> Options {
        Options {
            host: host.to_owned(),
            port,
            tls: None,
            client_id: client_id.to_owned(),
            user: None,
            password: None,
            will: None,
            clean: true,
            keep_alive: Span::from_seconds(30),
            connect_within: Span::from_seconds(20),
            window: 64,
            packet_bytes_max: limits::MQTT_PACKET_BYTES_MAX,
        }
    }
}

/// Sends. Cloning gives the same connection; it ends when the last clone is dropped or it is disconnected.
#[derive(Clone)]
pub struct Client(mpsc::Sender<Command>);

/// Receives.
pub struct Incoming {
    messages: mpsc::Receiver<Result<Message>>,
    acknowledge: mpsc::Sender<u16>,
    handled: Option<u16>,
}

/// A message that came in.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// Whether the server had kept it from before.
    pub retain: bool,
    /// Whether it was sent before.
    pub again: bool,
    pub(super) packet: Option<u16>,
}

/// A message on its way out; a future that ends when it is acknowledged.
pub struct Delivery(oneshot::Receiver<()>);

impl Delivery {
    /// Waits until it is acknowledged: by PUBACK, or for quality 0 when it is handed to the connection.
    pub async fn acknowledged(self) -> Result<()> {
        self.0.await.map_err(|_| ended())
    }
}

impl Future for Delivery {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<()>> {
        Pin::new(&mut self.0).poll(context).map(|done| done.map_err(|_| ended()))
    }
}

fn ended() -> Error {
    Error::unavailable("the MQTT connection has ended")
}

pub(super) fn broken(cause: std::io::Error) -> Error {
    Error::unavailable("the MQTT connection broke").because(cause)
}

/// Connects and gives both directions.
pub async fn connect(options: &Options) -> Result<(Client, Incoming)> {
    let failed = |e: std::io::Error| {
        Error::unavailable(format!("no connection to `{}:{}`", options.host, options.port)).because(e)
    };
    let open = async {
        let stream = TcpStream::connect((options.host.as_str(), options.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match &options.tls {
            None => connect_over(stream, options).await,
            Some(config) => {
                let name = ServerName::try_from(options.host.clone())
                    .map_err(|e| Error::invalid(format!("`{}` is not a host", options.host)).because(e))?;
                let stream = tokio_rustls::TlsConnector::from(Arc::clone(config))
                    .connect(name, stream)
                    .await
                    .map_err(failed)?;
                connect_over(stream, options).await
            }
        }
    };
    match tokio::time::timeout(options.connect_within.duration(), open).await {
        Ok(result) => result,
        Err(_) => Err(Error::unavailable(format!("`{}:{}` does not answer", options.host, options.port))),
    }
}

/// The same over a stream that is already open. The caller bounds the time.
pub async fn connect_over<S>(mut stream: S, options: &Options) -> Result<(Client, Incoming)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut out = BytesMut::new();
    let first = Connect {
        client_id: options.client_id.clone(),
        clean: options.clean,
        keep_alive_seconds: u16::try_from(options.keep_alive.seconds()).unwrap_or(u16::MAX),
        will: options.will.clone(),
        user: options.user.clone(),
        password: options.password.as_ref().map(|p| p.expose().clone().into_bytes()),
    };
    encode(&Packet::Connect(first), &mut out)?;
    stream.write_all(&out).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut arrived = BytesMut::new();
    let code = loop {
        match decode(&mut arrived, options.packet_bytes_max)? {
            Some(Packet::ConnectAck(_, code)) => break code,
            Some(_) => return Err(Error::invalid("the server's first packet is not an answer to CONNECT")),
            None if stream.read_buf(&mut arrived).await.map_err(broken)? == 0 => {
                return Err(Error::unavailable("the server closed the connection before it answered"));
            }
            None => {}
        }
    };
    match code {
        0 => {}
        1 => return Err(Error::invalid("the server does not speak MQTT 3.1.1")),
        2 => return Err(Error::invalid("the server refuses this client identifier")),
        3 => return Err(Error::unavailable("the server is not ready")),
        4 => return Err(Error::unauthenticated("the server refuses user name and password")),
        _ => return Err(Error::forbidden("the server does not let this client in")),
    }
    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let (messages_out, messages) = mpsc::channel(INCOMING_MAX);
    let (acknowledge, acknowledged) = mpsc::channel(INCOMING_MAX);
    let connection = Connection::new(arrived, options.window, options.packet_bytes_max);
    // Twice in the time that the server allows; the tick also notices a silent server.
    let tick = Duration::from_millis((options.keep_alive.milliseconds() / 2).max(100));
    tokio::spawn(connection.drive(stream, commands_in, acknowledged, messages_out, tick));
    Ok((Client(commands), Incoming { messages, acknowledge, handled: None }))
}

impl Client {
    /// Hands a message to the connection; waits while the window is full.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        quality: Quality,
    ) -> Result<Delivery> {
        self.send(topic, payload.into(), quality, false).await
    }

    /// The same, and asks the server to keep it as the topic's last message.
    pub async fn publish_retained(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        quality: Quality,
    ) -> Result<Delivery> {
        self.send(topic, payload.into(), quality, true).await
    }

    /// The same without waiting: `None` while the connection cannot take it.
    pub fn try_publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        quality: Quality,
    ) -> Result<Option<Delivery>> {
        let (done, acknowledged) = oneshot::channel();
        let command = Command::Publish {
            topic: topic.to_owned(),
            payload: payload.into(),
            quality,
            retain: false,
            done,
        };
        match self.0.try_send(command) {
            Ok(()) => Ok(Some(Delivery(acknowledged))),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(None),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ended()),
        }
    }

    async fn send(&self, topic: &str, payload: Bytes, quality: Quality, retain: bool) -> Result<Delivery> {
        let (done, acknowledged) = oneshot::channel();
        let command = Command::Publish { topic: topic.to_owned(), payload, quality, retain, done };
        self.0.send(command).await.map_err(|_| ended())?;
        Ok(Delivery(acknowledged))
    }

    /// Subscribes and waits for the answer; a refused filter is an error that names it.
    pub async fn subscribe(&self, filters: &[(&str, Quality)]) -> Result<()> {
        let (done, answer) = oneshot::channel();
        let filters: Vec<_> = filters.iter().map(|(f, q)| ((*f).to_owned(), *q)).collect();
        let command = Command::Subscribe { filters: filters.clone(), done };
        self.0.send(command).await.map_err(|_| ended())?;
        let codes = answer.await.map_err(|_| ended())?;
        for (place, (filter, _)) in filters.iter().enumerate() {
            if codes.get(place).is_none_or(|code| *code > 2) {
                return Err(Error::forbidden(format!("the server refuses the subscription to `{filter}`")));
            }
        }
        Ok(())
    }

    /// Says goodbye after everything that was handed over before; the will is not published.
    pub async fn disconnect(self) -> Result<()> {
        let (done, gone) = oneshot::channel();
        self.0.send(Command::Disconnect { done }).await.map_err(|_| ended())?;
        gone.await.map_err(|_| ended())
    }
}

impl Incoming {
    /// Acknowledges the message before and waits for the next. An error is the last thing it gives; then `None`.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Message>> {
        if let Some(packet) = self.handled
            && let Ok(permit) = self.acknowledge.reserve().await
        {
            permit.send(packet);
        }
        self.handled = None;
        let message = self.messages.recv().await;
        if let Some(Ok(message)) = &message {
            self.handled = message.packet;
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::super::codec::Publish;
    use super::*;

    /// The other side, packet by packet.
    struct Server(DuplexStream, BytesMut);

    impl Server {
        async fn read(&mut self) -> Packet {
            loop {
                if let Some(packet) = decode(&mut self.1, 65_536).unwrap() {
                    return packet;
                }
                assert_ne!(self.0.read_buf(&mut self.1).await.unwrap(), 0, "closed");
            }
        }
        async fn write(&mut self, packet: Packet) {
            let mut out = BytesMut::new();
            encode(&packet, &mut out).unwrap();
            self.0.write_all(&out).await.unwrap();
        }
    }

    async fn pair(window: usize) -> (Client, Incoming, Server) {
        pair_alive(window, Span::from_seconds(30)).await
    }

    async fn pair_alive(window: usize, keep_alive: Span) -> (Client, Incoming, Server) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let options = Options { window, keep_alive, user: Some("u".into()), ..Options::new("test", 1, "me") };
        let mut server = Server(far, BytesMut::new());
        let accept = async {
            assert!(matches!(server.read().await, Packet::Connect(c) if c.client_id == "me" && c.clean));
            server.write(Packet::ConnectAck(false, 0)).await;
        };
        let (connected, ()) = tokio::join!(connect_over(near, &options), accept);
        let (client, incoming) = connected.unwrap();
        (client, incoming, server)
    }

    #[tokio::test]
    async fn the_window_bounds_what_is_unacknowledged() {
        let (client, _incoming, mut server) = pair(2).await;
        let mut deliveries = Vec::new();
        for n in 0..4u8 {
            deliveries.push(client.publish("t", vec![n], Quality::AtLeastOnce).await.unwrap());
        }
        let mut ids = Vec::new();
        for n in 0..4u8 {
            let Packet::Publish(publish) = server.read().await else { panic!("no publish") };
            assert_eq!(publish.payload[..], [n]);
            ids.push(publish.packet.unwrap());
            // The third comes only after the first was acknowledged.
            if n >= 1 {
                server.write(Packet::PublishAck(ids[usize::from(n) - 1])).await;
            }
        }
        server.write(Packet::PublishAck(ids[3])).await;
        for delivery in deliveries {
            delivery.acknowledged().await.unwrap();
        }
        let bye = tokio::spawn(client.disconnect());
        assert_eq!(server.read().await, Packet::Disconnect);
        bye.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_message_is_acknowledged_after_it_was_handled() {
        let (_client, mut incoming, mut server) = pair(2).await;
        for packet in [7, 8] {
            let publish = Publish {
                topic: "down".into(),
                payload: Bytes::from_static(b"x"),
                packet: Some(packet),
                again: false,
                retain: false,
            };
            server.write(Packet::Publish(publish)).await;
        }
        assert_eq!(incoming.next().await.unwrap().unwrap().topic, "down");
        incoming.next().await.unwrap().unwrap();
        assert_eq!(server.read().await, Packet::PublishAck(7));
        drop(server);
        assert!(incoming.next().await.unwrap().is_err() && incoming.next().await.is_none());
    }

    #[tokio::test]
    async fn a_refused_subscription_and_a_broken_connection_are_errors() {
        let (client, _incoming, mut server) = pair(2).await;
        let asking = client.clone();
        let answer = tokio::spawn(async move { asking.subscribe(&[("all/#", Quality::AtLeastOnce)]).await });
        let Packet::Subscribe(packet, _) = server.read().await else { panic!("no subscribe") };
        server.write(Packet::SubscribeAck(packet, vec![0x80])).await;
        assert!(answer.await.unwrap().unwrap_err().message().contains("all/#"));
        let delivery = client.publish("t", "x", Quality::AtLeastOnce).await.unwrap();
        server.read().await;
        drop(server);
        assert!(delivery.acknowledged().await.is_err());
    }

    #[tokio::test]
    async fn silence_is_noticed() {
        let (_client, mut incoming, mut server) = pair_alive(2, Span::from_milliseconds(1)).await;
        assert_eq!(server.read().await, Packet::Ping);
        server.write(Packet::PingAnswer).await;
        let error = incoming.next().await.unwrap().unwrap_err();
        assert!(error.message().contains("silent"), "{error}");
    }
}
