//! The appliance's engines, as capabilities see them.

use std::sync::{Arc, OnceLock};

use super::{NavItem, Presence, Settings};
use crate::base::TenantId;
use crate::engine::broker::Bus;
use crate::engine::clock::Clock;
use crate::engine::crypto::{Authority, Vault};
use crate::engine::logs::Logs;
use crate::engine::series::Series;
use crate::engine::store::Store;

/// Everything that a capability may use.
pub struct Site {
    /// Time and randomness.
    pub clock: Clock,
    /// State.
    pub store: Store,
    /// Numbers over time.
    pub series: Series,
    /// Lines of text.
    pub logs: Logs,
    /// Sealed keys and secrets.
    pub vault: Vault,
    /// The site's own certificate authority.
    pub authority: Authority,
    /// Who is connected.
    pub presence: Presence,
    /// Name and addresses.
    pub settings: Settings,
    /// The tenant, until a second one exists.
    pub tenant: TenantId,
    /// The navigation of the console, gathered from the capabilities.
    pub navigation: Vec<NavItem>,
    /// Where static files are served: `/static/<hash>`.
    pub assets: String,
    /// Key that CSRF tokens are made with.
    pub csrf_key: [u8; 32],
    bus: OnceLock<Arc<dyn Bus>>,
}

/// What a site is put together from.
pub struct Parts {
    /// See [`Site::clock`].
    pub clock: Clock,
    /// See [`Site::store`].
    pub store: Store,
    /// See [`Site::series`].
    pub series: Series,
    /// See [`Site::logs`].
    pub logs: Logs,
    /// See [`Site::vault`].
    pub vault: Vault,
    /// See [`Site::authority`].
    pub authority: Authority,
    /// See [`Site::settings`].
    pub settings: Settings,
    /// See [`Site::navigation`].
    pub navigation: Vec<NavItem>,
    /// See [`Site::assets`].
    pub assets: String,
}

impl Site {
    /// Puts the engines together. The bus is attached when the broker has started.
    pub fn new(parts: Parts) -> Site {
        Site {
            presence: Presence::new(parts.clock.clone()),
            csrf_key: parts.clock.random(),
            tenant: TenantId::from_bits(1),
            clock: parts.clock,
            store: parts.store,
            series: parts.series,
            logs: parts.logs,
            vault: parts.vault,
            authority: parts.authority,
            settings: parts.settings,
            navigation: parts.navigation,
            assets: parts.assets,
            bus: OnceLock::new(),
        }
    }

    /// Attaches the bus, once.
    pub fn attach(&self, bus: Arc<dyn Bus>) {
        let _ = self.bus.set(bus);
    }

    /// The bus, when the broker runs.
    pub fn bus(&self) -> Option<&Arc<dyn Bus>> {
        self.bus.get()
    }
}
