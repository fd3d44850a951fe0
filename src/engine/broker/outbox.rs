//! What waits in front of the router, and what is inside it on the way to an agent.
//!
//! The router's log drops the oldest without a word when it is full. So messages to agents enter it only as far as
//! they fit, and a copy stays here until they come out again: a router that dies loses none of them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

/// A message for the router.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    /// QoS that it was published with; the router itself carries everything as QoS 0.
    pub(super) qos: u8,
    /// Goes to an agent and so comes back to us.
    pub(super) down: bool,
}

impl Message {
    fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + 128
    }
}

/// What the pump does next.
pub(super) enum Work {
    /// Give these to the router.
    Messages(Vec<Message>),
    /// Ask the router whether it lives.
    Ping(u64),
    /// This router is no longer in use.
    Leave,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    flying: VecDeque<Message>,
    flying_bytes: usize,
    ping: Option<u64>,
    generation: u64,
}

/// The queue between all sessions and the one thread that feeds the router.
pub(super) struct Outbox {
    state: Mutex<State>,
    wake: Condvar,
    waiting_bytes_max: usize,
    flying_bytes_max: usize,
}

const BATCH: usize = 64;

impl Outbox {
    pub(super) fn new(waiting_bytes_max: usize, flying_bytes_max: usize) -> Outbox {
        Outbox { state: Mutex::default(), wake: Condvar::new(), waiting_bytes_max, flying_bytes_max }
    }

    /// Queues a message; false if there is no room.
    pub(super) fn push(&self, message: Message) -> bool {
        let mut state = self.state.lock();
        if state.waiting_bytes + message.bytes() > self.waiting_bytes_max {
            return false;
        }
        state.waiting_bytes += message.bytes();
        state.waiting.push_back(message);
        drop(state);
        self.wake.notify_all();
        true
    }

    /// Queues a ping, ahead of everything.
    pub(super) fn ping(&self, number: u64) {
        self.state.lock().ping = Some(number);
        self.wake.notify_all();
    }

    /// Waits for work of the router of `generation`. While `busy` says that the router has not taken what it was given,
    /// nothing more comes out.
    pub(super) fn next(&self, generation: u64, busy: impl Fn() -> bool) -> Work {
        let mut state = self.state.lock();
        loop {
            if state.generation != generation {
                return Work::Leave;
            }
            if let Some(number) = state.ping.take() {
                return Work::Ping(number);
            }
            if !state.waiting.is_empty() && busy() {
                self.wake.wait_for(&mut state, Duration::from_millis(2));
                continue;
            }
            let mut batch = Vec::new();
            while batch.len() < BATCH {
                let full = state.flying_bytes >= self.flying_bytes_max;
                if full && state.waiting.front().is_some_and(|m| m.down) {
                    break;
                }
                let Some(message) = state.waiting.pop_front() else { break };
                state.waiting_bytes -= message.bytes();
                if message.down {
                    state.flying_bytes += message.bytes();
                    state.flying.push_back(message.clone());
                }
                batch.push(message);
            }
            if !batch.is_empty() {
                return Work::Messages(batch);
            }
            self.wake.wait(&mut state);
        }
    }

    /// A message has come out of the router of `generation`. False if it was not expected, as after a restart.
    pub(super) fn returned(&self, generation: u64, topic: &[u8], payload: &Bytes) -> bool {
        let mut state = self.state.lock();
        let found = state.flying.iter().position(|m| {
            m.topic == topic && m.payload.as_ptr() == payload.as_ptr() && m.payload.len() == payload.len()
        });
        let (Some(found), true) = (found, state.generation == generation) else { return false };
        // They come out in order; what stood before it was lost inside.
        for message in state.flying.drain(..=found).collect::<Vec<_>>() {
            state.flying_bytes -= message.bytes();
        }
        drop(state);
        self.wake.notify_all();
        true
    }

    /// A new router: what was inside the old one goes to the front of the queue. Returns the new generation.
    pub(super) fn restart(&self) -> u64 {
        let mut state = self.state.lock();
        state.generation += 1;
        state.flying_bytes = 0;
        while let Some(message) = state.flying.pop_back() {
            state.waiting_bytes += message.bytes();
            state.waiting.push_front(message);
        }
        let generation = state.generation;
        drop(state);
        self.wake.notify_all();
        generation
    }

    /// Number of the present router.
    pub(super) fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().waiting_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str, down: bool) -> Message {
        Message {
            topic: Bytes::from_static(b"t"),
            payload: Bytes::from_static(text.as_bytes()),
            qos: 0,
            down,
        }
    }

    fn texts(work: Work) -> Vec<Bytes> {
        match work {
            Work::Messages(list) => list.into_iter().map(|m| m.payload).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_dead_router_loses_no_message_to_an_agent() {
        let outbox = Outbox::new(1_000, 300);
        for text in ["one", "two", "three", "four"] {
            assert!(outbox.push(message(text, true)));
        }
        // 130 bytes each: the third fills the window.
        assert_eq!(texts(outbox.next(0, || false)), ["one", "two", "three"]);
        assert!(outbox.returned(0, b"t", &Bytes::from_static(b"")) || outbox.bytes() > 0);
        let generation = outbox.restart();
        assert!(matches!(outbox.next(0, || false), Work::Leave));
        assert_eq!(texts(outbox.next(generation, || false)).len(), 3);
        for _ in 0..5 {
            outbox.push(message("more", false));
        }
        assert!(!outbox.push(message("too much", false)) || outbox.bytes() <= 1_000);
    }
}
