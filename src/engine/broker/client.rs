//! The link of one client into the router: it survives the death of a router and ends without hurting one.

use std::sync::Arc;

use bytes::Bytes;
use rumqttd::Notification;
use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::Publish;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::filter;
use super::gate::SeatGuard;
use super::hub::Hub;
use crate::base::Result;

/// A message that the router brought for a client.
pub(super) struct Heard {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
}

type Linking = JoinHandle<Result<(LinkTx, LinkRx)>>;

/// The link, its filters, and the seat, which is given up only after the link has ended.
pub(super) struct ClientLink {
    hub: Arc<Hub>,
    runtime: tokio::runtime::Handle,
    name: String,
    guard: Option<SeatGuard>,
    tx: Option<LinkTx>,
    rx: Option<LinkRx>,
    owes_ready: bool,
    /// Router that the link leads to; 0 is none.
    linked: u64,
    linking: Option<(u64, Linking)>,
    generations: watch::Receiver<u64>,
    filters: Vec<(String, u8)>,
}

impl ClientLink {
    /// The link opens with the first subscription: a client that only publishes needs none.
    pub(super) fn new(hub: Arc<Hub>, client: &str, guard: SeatGuard) -> ClientLink {
        let generations = hub.generation();
        ClientLink {
            hub,
            runtime: tokio::runtime::Handle::current(),
            // The router takes only some characters in a name, and remembers every name for ever.
            name: format!("client-{}", blake3::hash(client.as_bytes()).to_hex()),
            guard: Some(guard),
            tx: None,
            rx: None,
            owes_ready: false,
            linked: 0,
            linking: None,
            generations,
            filters: Vec::new(),
        }
    }

    pub(super) fn guard(&mut self) -> Option<&mut SeatGuard> {
        self.guard.as_mut()
    }

    /// Number of filters.
    pub(super) fn count(&self) -> usize {
        self.filters.len()
    }

    /// Whether `filter` is among them.
    pub(super) fn has(&self, filter: &str) -> bool {
        self.filters.iter().any(|(f, _)| f == filter)
    }

    /// Subscribes, or changes the QoS of a subscription.
    pub(super) async fn subscribe(&mut self, filter: &str, qos: u8) {
        if let Some(known) = self.filters.iter_mut().find(|(f, _)| f == filter) {
            known.1 = qos;
            return;
        }
        self.filters.push((filter.to_owned(), qos));
        self.link().await;
        let wanted = filter.to_owned();
        self.with_tx(move |tx| tx.subscribe(wanted).is_ok()).await;
        self.hub.interested(filter);
    }

    /// Ends a subscription; false if there was none.
    pub(super) async fn unsubscribe(&mut self, filter: &str) -> bool {
        let before = self.filters.len();
        self.filters.retain(|(f, _)| f != filter);
        if self.filters.len() == before {
            return false;
        }
        self.hub.uninterested(filter);
        let unwanted = filter.to_owned();
        self.with_tx(move |tx| tx.unsubscribe(unwanted).is_ok()).await;
        true
    }

    /// Waits for a message. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            if self.filters.is_empty() {
                std::future::pending::<()>().await;
            }
            self.link().await;
            let Some(rx) = &mut self.rx else {
                // The router is gone; wait for the next one.
                if self.generations.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            if self.owes_ready {
                if rx.wake().await.is_err() {
                    self.rx = None;
                }
                self.owes_ready = false;
                continue;
            }
            let came = tokio::select! {
                _ = self.generations.changed() => continue,
                came = rx.next() => came,
            };
            match came {
                Ok(Some(Notification::Forward(forward))) => {
                    let Publish { topic, payload, .. } = forward.publish;
                    let published = forward.properties.and_then(|p| p.payload_format_indicator).unwrap_or(0);
                    let text = std::str::from_utf8(&topic).unwrap_or_default();
                    let granted = self
                        .filters
                        .iter()
                        .filter(|(f, _)| filter::covers(f, text))
                        .map(|(_, qos)| *qos)
                        .max();
                    // `None` was on its way when the subscription ended.
                    if let Some(granted) = granted {
                        return Heard { topic, payload, qos: published.min(granted) };
                    }
                }
                Ok(Some(Notification::Unschedule)) => self.owes_ready = true,
                Ok(_) => {}
                Err(_) => self.rx = None,
            }
        }
    }

    /// Links to the present router, unless that has happened.
    async fn link(&mut self) {
        let generation = *self.generations.borrow_and_update();
        if self.linked == generation && self.linking.is_none() {
            return;
        }
        if self.linking.as_ref().is_none_or(|(of, _)| *of != generation) {
            let (hub, name) = (self.hub.clone(), self.name.clone());
            let known: Vec<String> = self.filters.iter().map(|(f, _)| f.clone()).collect();
            let again = self.linked != 0;
            let linking = tokio::task::spawn_blocking(move || {
                let (mut tx, rx) = hub.link(&name)?;
                for filter in known.into_iter().filter(|f| again && hub.filter_fits(f)) {
                    tx.subscribe(filter)?;
                }
                Ok((tx, rx))
            });
            self.linking = Some((generation, linking));
        }
        if let Some((_, linking)) = &mut self.linking {
            let linked = linking.await;
            self.linking = None;
            self.linked = generation;
            self.owes_ready = false;
            match linked {
                Ok(Ok((tx, rx))) => (self.tx, self.rx) = (Some(tx), Some(rx)),
                _ => (self.tx, self.rx) = (None, None),
            }
        }
    }

    /// The link blocks while the router is busy, so it does so on a thread of its own.
    async fn with_tx(&mut self, act: impl FnOnce(&mut LinkTx) -> bool + Send + 'static) {
        if let Some(mut tx) = self.tx.take() {
            let acted = tokio::task::spawn_blocking(move || act(&mut tx).then_some(tx)).await;
            self.tx = acted.ok().flatten();
        }
    }
}

impl Drop for ClientLink {
    fn drop(&mut self) {
        for (filter, _) in self.filters.drain(..) {
            self.hub.uninterested(&filter);
        }
        if self.linked != 0 || self.linking.is_some() {
            let (hub, name, guard) = (self.hub.clone(), std::mem::take(&mut self.name), self.guard.take());
            let _buried = self.runtime.spawn_blocking(move || {
                hub.bury(&name);
                drop(guard);
            });
        }
    }
}
