//! What the client hears: its subscriptions and the messages that leave for it.

use super::*;
use crate::engine::broker::face::bit;
use crate::engine::broker::filter;

const NOT_AUTHORISED: u8 = 0x87;
const QUOTA: u8 = 0x97;
/// In `Seat::subscribed`: has subscribed at least once.
const EVER: u8 = 0x80;

impl Hearing {
    fn slot(&mut self, tail: &str) -> Option<&mut Option<u8>> {
        match tail {
            "+" => Some(&mut self.plus),
            "#" => Some(&mut self.hash),
            word => {
                let kind = DownKind::find(word)?;
                self.exact.get_mut(DownKind::ALL.iter().position(|k| *k == kind)?)
            }
        }
    }

    fn qos(&self, kind: DownKind) -> Option<u8> {
        let place = DownKind::ALL.iter().position(|k| *k == kind)?;
        self.plus.max(self.hash).max(*self.exact.get(place)?)
    }

    fn mask(&self) -> u8 {
        EVER | DownKind::ALL.iter().filter(|k| self.qos(**k).is_some()).fold(0, |mask, k| mask | bit(*k))
    }
}

impl Session {
    /// Answers one filter of a SUBSCRIBE: the granted QoS or a refusal.
    pub(super) async fn subscribe(&mut self, wanted: &str, qos: u8) -> u8 {
        let code = match &mut self.role {
            Role::Agent { prefix, hearing, .. } => {
                let tail = wanted.strip_prefix(&**prefix).and_then(|rest| rest.strip_prefix("down/"));
                match tail.and_then(|tail| hearing.slot(tail)) {
                    Some(slot) => {
                        *slot = Some(qos);
                        self.seat.subscribed.store(hearing.mask(), Ordering::Relaxed);
                        qos
                    }
                    None => NOT_AUTHORISED,
                }
            }
            Role::Joining { hearing, .. } if wanted == JOIN_DOWN => {
                *hearing = Some(qos);
                qos
            }
            Role::Joining { .. } => NOT_AUTHORISED,
            Role::Client { link: Some(link), tenant, subscribe, .. } => {
                if !filter::valid_filter(wanted) || !filter::may_subscribe(tenant, subscribe, wanted) {
                    NOT_AUTHORISED
                } else if !link.has(wanted)
                    && (link.count() >= self.core.limits.subscriptions_max
                        || !self.core.hub.filter_fits(wanted))
                {
                    QUOTA
                } else {
                    link.subscribe(wanted, qos).await;
                    qos
                }
            }
            Role::Client { .. } => NOT_AUTHORISED,
        };
        if code > 2 {
            count(&self.core.counters.denied);
        }
        code
    }

    /// Ends a subscription; false if there was none.
    pub(super) async fn unsubscribe(&mut self, wanted: &str) -> bool {
        match &mut self.role {
            Role::Agent { prefix, hearing, .. } => {
                let tail = wanted.strip_prefix(&**prefix).and_then(|rest| rest.strip_prefix("down/"));
                let Some(slot) = tail.and_then(|tail| hearing.slot(tail)) else { return false };
                let was = slot.take().is_some();
                if was {
                    self.seat.subscribed.store(hearing.mask(), Ordering::Relaxed);
                }
                was
            }
            Role::Joining { hearing, .. } => wanted == JOIN_DOWN && hearing.take().is_some(),
            Role::Client { link: Some(link), .. } => link.unsubscribe(wanted).await,
            Role::Client { .. } => false,
        }
    }

    /// A message of the mailbox.
    pub(super) fn tell(&mut self, down: &Down) {
        self.seat.taken(down.payload.len());
        let Role::Agent { prefix, hearing, .. } = &self.role else { return };
        let Some(qos) = hearing.qos(down.kind) else {
            return count(&self.core.counters.dropped);
        };
        let topic = format!("{prefix}down/{}", down.kind.word());
        self.send(topic.as_bytes(), qos, &down.payload);
    }

    /// A message of the router for a client.
    pub(super) fn relay(&mut self, heard: &Heard) {
        self.send(&heard.topic, heard.qos, &heard.payload);
    }

    /// Sends the answers to a joining agent, once it listens.
    pub(super) fn answer_joins(&mut self) {
        while self.inflight.len() < self.window {
            let Role::Joining { hearing: Some(qos), answers, .. } = &mut self.role else { return };
            let qos = *qos;
            let Some(answer) = answers.pop_front() else { return };
            self.send(JOIN_DOWN.as_bytes(), qos, &answer);
        }
    }

    fn send(&mut self, topic: &[u8], qos: u8, payload: &[u8]) {
        if encode::published_bytes(self.protocol, topic, 1, payload) + 5 > self.packet_bytes_max {
            return count(&self.core.counters.dropped);
        }
        let mut pkid = 0;
        if qos > 0 {
            // The window is far smaller than the numbers, so that a free one is near.
            loop {
                self.pkid = self.pkid.checked_add(1).unwrap_or(1);
                if !self.inflight.contains(&self.pkid) {
                    break;
                }
            }
            pkid = self.pkid;
            self.inflight.push(pkid);
        }
        count(&self.core.counters.downlinks);
        encode::publish(&mut self.stream.output, self.protocol, topic, pkid, payload);
    }
}
