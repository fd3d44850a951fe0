//! The gate's questions, answered by the capability of agents.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::{AgentId, TenantId};
use crate::capabilities::agents::gate;
use crate::engine::broker::{Admission, Arrival, Credentials, Departure, Doorkeeper, Refusal};
use crate::kit::Site;

struct Keeper(Arc<Site>);

/// The doorkeeper of this site.
pub(super) fn of(site: &Arc<Site>) -> Arc<dyn Doorkeeper> {
    Arc::new(Keeper(Arc::clone(site)))
}

impl Doorkeeper for Keeper {
    fn admit(&self, credentials: &Credentials<'_>) -> Result<Admission, Refusal> {
        gate::admit(&self.0, credentials)
    }

    fn arrived(&self, arrival: &Arrival) {
        gate::arrived(&self.0, arrival);
    }

    fn left(&self, departure: &Departure) {
        gate::left(&self.0, departure);
    }

    fn duplicate(&self, tenant: TenantId, agent: AgentId, old: SocketAddr, new: SocketAddr) {
        let site = Arc::clone(&self.0);
        // It writes and waits for the disk, which the gate's threads must not.
        std::thread::spawn(move || gate::duplicate(&site, tenant, agent, old, new));
    }

    fn refused(&self, peer: SocketAddr, client_id: &str, why: &str) {
        tracing::info!(%peer, client.id = client_id, "refused `{client_id}` from {peer}: {why}");
    }
}
