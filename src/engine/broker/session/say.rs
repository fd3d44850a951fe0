//! What the client says: its publishes, their acknowledgement, its will.

use bytes::Bytes;

use super::*;
use crate::engine::broker::face::own_up;
use crate::engine::broker::filter;
use crate::engine::broker::inbound::JoinUplink;
use crate::wire::{JOIN_UP, Topic};

const NOT_AUTHORISED: u8 = 0x87;
const QUOTA: u8 = 0x97;
const PAYLOAD_INVALID: u8 = 0x99;

impl Session {
    /// A PUBLISH has come.
    pub(super) fn said(
        &mut self,
        topic: &str,
        qos: u8,
        pkid: u16,
        retain: bool,
        payload: Bytes,
    ) -> Result<(), End> {
        let allowed = match &mut self.role {
            Role::Agent { tenant, agent, prefix, .. } => {
                if retain {
                    return Err(Fault { code: 0x9a, why: "retain" }.into());
                }
                match own_up(prefix, topic) {
                    None => false,
                    Some(kind) => {
                        let (tenant, agent) = (*tenant, *agent);
                        let ticket = self.expect(pkid, Some(kind), payload.clone());
                        let session = self.seat.session;
                        self.hand_in(Inbound::Up(Uplink { tenant, agent, kind, payload, session, ticket }));
                        return Ok(());
                    }
                }
            }
            Role::Joining { username, password, requests, .. } => {
                if retain {
                    return Err(Fault { code: 0x9a, why: "retain" }.into());
                }
                if topic == JOIN_UP {
                    *requests += 1;
                    if *requests > self.core.limits.joins_per_session_max {
                        return Err(Fault { code: QUOTA, why: "too many requests to join" }.into());
                    }
                    let (username, password) = (username.clone(), password.clone());
                    let ticket = self.expect(pkid, None, payload.clone());
                    let (session, peer) = (self.seat.session, self.seat.peer);
                    self.hand_in(Inbound::Join(JoinUplink {
                        session,
                        peer,
                        username,
                        password,
                        payload,
                        ticket,
                    }));
                    return Ok(());
                }
                false
            }
            Role::Client { publish, .. } => {
                // Nothing is kept for later subscribers, so the retain flag has no meaning and is not passed on.
                if filter::valid_topic(topic) && filter::may_publish(publish, topic) {
                    let fits = self.core.hub.topic_fits(topic) && self.core.hub.publish(topic, payload, qos);
                    let verdict = if fits {
                        (0, Box::default())
                    } else {
                        (QUOTA, "too many topics or messages".into())
                    };
                    return self.judge(qos, pkid, verdict);
                }
                false
            }
        };
        debug_assert!(!allowed);
        count(&self.core.counters.denied);
        if self.protocol < 5 || qos == 0 {
            return Err(Fault { code: NOT_AUTHORISED, why: "topic not allowed" }.into());
        }
        self.judge(qos, pkid, (NOT_AUTHORISED, "topic not allowed".into()))
    }

    /// Remembers a publish that will be acknowledged.
    fn expect(&mut self, pkid: u16, kind: Option<UpKind>, payload: Bytes) -> Ticket {
        self.number = self.number.wrapping_add(1);
        self.pending_bytes += payload.len();
        self.pending.push_back(Pending { number: self.number, pkid, kind, payload, verdict: None });
        Ticket { number: self.number, back: Some(self.back.clone()) }
    }

    fn hand_in(&mut self, inbound: Inbound) {
        count(&self.core.counters.uplinks);
        if let Err(mpsc::error::TrySendError::Full(inbound) | mpsc::error::TrySendError::Closed(inbound)) =
            self.core.inbound.try_send(inbound)
        {
            self.stalled = Some(inbound);
        }
    }

    /// Acknowledges at once, in the order of the publishes.
    fn judge(&mut self, qos: u8, pkid: u16, verdict: (u8, Box<str>)) -> Result<(), End> {
        if qos > 0 {
            self.number = self.number.wrapping_add(1);
            let (number, payload) = (self.number, Bytes::new());
            self.pending.push_back(Pending { number, pkid, kind: None, payload, verdict: Some(verdict) });
            self.acknowledge();
        }
        Ok(())
    }

    /// The outcome of a message has come.
    pub(super) fn settle(&mut self, number: u32, outcome: Outcome) -> Result<(), End> {
        let verdict = match outcome {
            Outcome::Done => (0, Box::default()),
            Outcome::Refused(why) => (PAYLOAD_INVALID, why),
            Outcome::Answered(answer) => {
                if let Role::Joining { answers, .. } = &mut self.role {
                    answers.push_back(answer);
                }
                (0, Box::default())
            }
            Outcome::Failed => return Err(Reason::NotStored.into()),
        };
        // Numbers follow each other, so the place in the queue is known.
        let place = self.pending.front().map_or(0, |first| number.wrapping_sub(first.number)) as usize;
        if let Some(pending) = self.pending.get_mut(place) {
            pending.verdict = Some(verdict);
        }
        self.acknowledge();
        Ok(())
    }

    fn acknowledge(&mut self) {
        while let Some(first) = self.pending.pop_front() {
            let Some((code, why)) = &first.verdict else {
                self.pending.push_front(first);
                break;
            };
            self.pending_bytes -= first.payload.len();
            if first.pkid != 0 {
                encode::puback(&mut self.stream.output, self.protocol, first.pkid, *code, why);
            }
            if let (Role::Agent { prefix, .. }, Some(kind), 0) = (&self.role, first.kind, code) {
                // Stored and acknowledged; observers who miss it find it in the store.
                let topic = format!("{prefix}up/{}", kind.word());
                self.core.hub.publish(&topic, first.payload, u8::from(first.pkid != 0));
            }
        }
        if self.pending.is_empty() {
            self.pending.shrink_to(4);
        }
    }

    /// Tells the will of a session that did not say goodbye.
    pub(super) fn bequeath(&mut self, reason: &Reason) {
        let Some(will) = self.will.take() else { return };
        if matches!(reason, Reason::Closed(_) | Reason::Stopping) {
            return;
        }
        match &self.role {
            Role::Agent { tenant, agent, .. } => {
                let (tenant, agent, kind, session) = (*tenant, *agent, UpKind::Events, self.seat.session);
                let topic = Topic::Up(tenant, agent, kind).to_string();
                self.core.hub.publish(&topic, will.payload.clone(), will.qos);
                let uplink =
                    Uplink { tenant, agent, kind, payload: will.payload, session, ticket: Ticket::none() };
                count(&self.core.counters.uplinks);
                if let Err(mpsc::error::TrySendError::Full(uplink)) =
                    self.core.inbound.try_send(Inbound::Up(uplink))
                {
                    let inbound = self.core.inbound.clone();
                    // The seat must not wait for room; a will that finds none in this time is lost.
                    tokio::spawn(async move {
                        let _ = timeout(Duration::from_secs(30), inbound.send(uplink)).await;
                    });
                }
            }
            Role::Client { .. } if self.core.hub.topic_fits(&will.topic) => {
                self.core.hub.publish(&will.topic, will.payload, will.qos);
            }
            _ => {}
        }
    }
}
