//! The broker's questions, put to the capability that knows agents.
//!
//! Comings and goings are noted in the presence at once, on the broker's thread; what the capability makes of a doubled
//! identity may wait for the disk, so that it runs on a thread of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use crate::base::{AgentId, Error, Result, TenantId};
use crate::engine::broker::{Admission, Arrival, Credentials, Departure, Doorkeeper, Refusal};
use crate::kit::Site;

/// A session that was silent for longer is not alive any more: a live agent speaks every ten seconds.
const ALIVE: Duration = Duration::from_secs(15);
/// Doubled identities that wait for their turn; of more in that time none is lost for good, for they come again.
const NEWS_WAITING_MAX: usize = 256;

/// What the capability that knows agents answers.
#[derive(Clone, Copy)]
pub struct Gate {
    /// Who this is.
    pub admit: fn(&Site, &Credentials<'_>) -> Result<Admission, Refusal>,
    /// One identity from two addresses while both are alive: the first connection, then the second.
    pub duplicate: fn(&Site, TenantId, AgentId, SocketAddr, SocketAddr),
}

/// One identity from two addresses.
struct Duplicate(TenantId, AgentId, SocketAddr, SocketAddr);

/// The doorkeeper that the broker is given. It does not keep the site alive: the site keeps the broker.
pub struct Door {
    site: Weak<Site>,
    gate: Gate,
    news: mpsc::SyncSender<Duplicate>,
}

impl Door {
    /// Starts the thread for doubled identities; it ends with the door.
    pub fn start(site: &Arc<Site>, gate: Gate) -> Result<Arc<Door>> {
        let (news, receiver) = mpsc::sync_channel(NEWS_WAITING_MAX);
        let site = Arc::downgrade(site);
        let door = Arc::new(Door { site: site.clone(), gate, news });
        std::thread::Builder::new()
            .name("gate-news".into())
            .spawn(move || {
                for Duplicate(tenant, agent, old, new) in receiver {
                    let Some(site) = site.upgrade() else { return };
                    let span = tracing::info_span!("gate");
                    let tell = || (gate.duplicate)(&site, tenant, agent, old, new);
                    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| span.in_scope(tell)));
                    if told.is_err() {
                        tracing::error!("what to do about a doubled identity panicked");
                    }
                }
            })
            .map_err(|e| Error::unavailable("no thread for the gate").because(e))?;
        Ok(door)
    }
}

impl Doorkeeper for Door {
    fn admit(&self, credentials: &Credentials<'_>) -> Result<Admission, Refusal> {
        match self.site.upgrade() {
            Some(site) => (self.gate.admit)(&site, credentials),
            None => Err(Refusal::Busy),
        }
    }

    fn arrived(&self, arrival: &Arrival) {
        if let Some(site) = self.site.upgrade() {
            site.presence.update(arrival.agent, |seen| {
                seen.session = Some(arrival.session);
                seen.address = Some(arrival.peer.ip());
                seen.boot.clear();
            });
            site.presence.heard(arrival.agent);
        }
    }

    fn left(&self, departure: &Departure) {
        if let Some(site) = self.site.upgrade() {
            site.presence.update(departure.agent, |seen| {
                // A newer session may be there already.
                if seen.session == Some(departure.session) {
                    seen.session = None;
                }
            });
        }
    }

    fn duplicate(&self, tenant: TenantId, agent: AgentId, old: SocketAddr, new: SocketAddr) {
        // A machine whose address changed leaves a dead session behind; that is no second machine.
        let heard = self.site.upgrade().and_then(|site| {
            let heard = site.presence.of(agent).heard?;
            Some(site.clock.monotonic().saturating_sub(heard))
        });
        if heard.is_none_or(|silence| silence > ALIVE) {
            return;
        }
        let _ = self.news.try_send(Duplicate(tenant, agent, old, new));
    }

    fn refused(&self, peer: SocketAddr, client_id: &str, why: &str) {
        let client: String = client_id.chars().take(64).collect();
        tracing::warn!(%peer, client = %client, "`{client}` from {peer} was not let in: {why}");
    }
}
