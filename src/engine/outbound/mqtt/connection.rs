//! The task behind a client: it reads, writes and keeps alive.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::client::{Message, broken};
use super::codec::{Packet, Publish, Quality, decode, encode};
use crate::base::{Error, Result};

/// Bytes that wait to be written before no further command is taken.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// What a client asks its connection for.
pub(super) enum Command {
    Publish { topic: String, payload: Bytes, quality: Quality, retain: bool, done: oneshot::Sender<()> },
    Subscribe { filters: Vec<(String, Quality)>, done: oneshot::Sender<Vec<u8>> },
    Disconnect { done: oneshot::Sender<()> },
}

/// One connection after CONNECT was accepted.
pub(super) struct Connection {
    out: BytesMut,
    arrived: BytesMut,
    waiting: BTreeMap<u16, oneshot::Sender<()>>,
    subscribing: BTreeMap<u16, oneshot::Sender<Vec<u8>>>,
    last_packet: u16,
    pending: Option<Message>,
    window: usize,
    packet_bytes_max: usize,
    unflushed: bool,
    heard: bool,
    ended: Option<oneshot::Sender<()>>,
}

impl Connection {
    /// A connection on which `arrived` has come already.
    pub(super) fn new(arrived: BytesMut, window: usize, packet_bytes_max: usize) -> Connection {
        Connection {
            out: BytesMut::new(),
            arrived,
            waiting: BTreeMap::new(),
            subscribing: BTreeMap::new(),
            last_packet: 0,
            pending: None,
            window: window.clamp(1, 60_000),
            packet_bytes_max,
            unflushed: false,
            heard: true,
            ended: None,
        }
    }

    /// Works until the end; an error is the last thing that `messages` hears.
    pub(super) async fn drive<S: AsyncRead + AsyncWrite + Send + Unpin>(
        mut self,
        stream: S,
        mut commands: mpsc::Receiver<Command>,
        mut acknowledged: mpsc::Receiver<u16>,
        messages: mpsc::Sender<Result<Message>>,
        tick: Duration,
    ) {
        if let Err(e) = self.work(stream, &mut commands, &mut acknowledged, &messages, tick).await {
            // Deliveries that wait end with the connection: their senders are dropped with it.
            drop(self);
            drop(commands);
            let _ = messages.send(Err(e)).await;
        }
    }

    async fn work<S: AsyncRead + AsyncWrite + Send + Unpin>(
        &mut self,
        stream: S,
        commands: &mut mpsc::Receiver<Command>,
        acknowledged: &mut mpsc::Receiver<u16>,
        messages: &mpsc::Sender<Result<Message>>,
        tick: Duration,
    ) -> Result<()> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + tick, tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silent_ticks = 0;
        loop {
            while self.pending.is_none()
                && let Some(packet) = decode(&mut self.arrived, self.packet_bytes_max)?
            {
                self.take(packet)?;
            }
            if self.out.is_empty()
                && !self.unflushed
                && let Some(done) = self.ended.take()
            {
                let _ = writer.shutdown().await;
                let _ = done.send(());
                return Ok(());
            }
            let room = self.out.len() < OUT_BYTES_MAX && self.ended.is_none();
            let may_command = room && self.waiting.len() < self.window;
            tokio::select! {
                read = reader.read_buf(&mut self.arrived), if self.pending.is_none() => {
                    if read.map_err(broken)? == 0 {
                        return Err(Error::unavailable("the server closed the connection"));
                    }
                    self.heard = true;
                }
                // Where nobody listens any more the message is dropped; what is to be sent goes on.
                permit = messages.reserve(), if self.pending.is_some() => {
                    if let (Ok(permit), Some(message)) = (permit, self.pending.take()) {
                        permit.send(Ok(message));
                    }
                }
                written = push(&mut writer, &self.out), if !self.out.is_empty() || self.unflushed => {
                    self.unflushed = !self.out.is_empty();
                    self.out.advance(written.map_err(broken)?);
                }
                Some(packet) = acknowledged.recv(), if self.out.len() < OUT_BYTES_MAX => {
                    encode(&Packet::PublishAck(packet), &mut self.out)?;
                }
                command = commands.recv(), if may_command => match command {
                    Some(command) => self.command(command)?,
                    // Every client was dropped without goodbye: the connection breaks, and the will is published.
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    silent_ticks = if self.heard || self.pending.is_some() { 0 } else { silent_ticks + 1 };
                    if silent_ticks > 2 {
                        return Err(Error::unavailable("the server has fallen silent"));
                    }
                    self.heard = false;
                    encode(&Packet::Ping, &mut self.out)?;
                }
            }
        }
    }

    fn take(&mut self, packet: Packet) -> Result<()> {
        match packet {
            Packet::Publish(Publish { topic, payload, packet, again, retain }) => {
                self.pending = Some(Message { topic, payload, retain, again, packet });
            }
            Packet::PublishAck(packet) => {
                if let Some(done) = self.waiting.remove(&packet) {
                    let _ = done.send(());
                }
            }
            Packet::SubscribeAck(packet, codes) => {
                if let Some(done) = self.subscribing.remove(&packet) {
                    let _ = done.send(codes);
                }
            }
            Packet::PingAnswer => {}
            _ => return Err(Error::invalid("the server sent a packet that only clients send")),
        }
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Publish { topic, payload, quality, retain, done } => {
                let packet = (quality == Quality::AtLeastOnce).then(|| self.free_packet());
                let publish = Publish { topic, payload, packet, again: false, retain };
                encode(&Packet::Publish(publish), &mut self.out)?;
                match packet {
                    Some(packet) => drop(self.waiting.insert(packet, done)),
                    None => drop(done.send(())),
                }
            }
            Command::Subscribe { filters, done } => {
                let packet = self.free_packet();
                encode(&Packet::Subscribe(packet, filters), &mut self.out)?;
                self.subscribing.insert(packet, done);
            }
            Command::Disconnect { done } => {
                encode(&Packet::Disconnect, &mut self.out)?;
                self.ended = Some(done);
            }
        }
        Ok(())
    }

    fn free_packet(&mut self) -> u16 {
        // The window is below 65,535, so a free one is always found.
        loop {
            self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
            let taken = self.waiting.contains_key(&self.last_packet)
                || self.subscribing.contains_key(&self.last_packet);
            if !taken {
                return self.last_packet;
            }
        }
    }
}

/// Writes some of `out`, or flushes when there is nothing to write. Dropping it half-way loses nothing.
async fn push<W: AsyncWrite + Unpin>(writer: &mut W, out: &[u8]) -> std::io::Result<usize> {
    if out.is_empty() { writer.flush().await.map(|()| 0) } else { writer.write(out).await }
}
