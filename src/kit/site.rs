//! The appliance's engines, as capabilities see them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::tenants::declare_sites;
use super::{Capability, Counts, HOME, Marks, NavItem, Notices, Op, Ops, Pages, Presence, Settings, Tenants};
use crate::base::TenantId;
use crate::engine::broker::Bus;
use crate::engine::clock::Clock;
use crate::engine::crypto::{Authority, Vault};
use crate::engine::index::Index;
use crate::engine::logs::Logs;
use crate::engine::outbound::egress::Egress;
use crate::engine::series::Series;
use crate::engine::store::Store;

/// Everything that a capability may use.
pub struct Site {
    /// Time and randomness.
    pub clock: Clock,
    /// Numbers over time.
    pub series: Series,
    /// Lines of text.
    pub logs: Logs,
    /// Full text of what is stored; derived, and opened by who feeds it.
    pub index: Index,
    /// Sealed keys and secrets.
    pub vault: Vault,
    /// The site's own certificate authority.
    pub authority: Authority,
    /// Where the server may connect to; empty until capabilities fill it.
    pub egress: Egress,
    /// Who is connected.
    pub presence: Presence,
    /// Name and addresses.
    pub settings: Settings,
    /// What every page says at its top.
    pub notices: Notices,
    /// What waits, behind entries of the navigation.
    pub counts: Counts,
    /// What needs a second person.
    pub marks: Marks,
    /// The site's own tenant, which is there from the first day.
    pub home: TenantId,
    /// The organisations inside the site.
    pub tenants: Tenants,
    /// The navigation of the console, gathered from the capabilities.
    pub navigation: Vec<NavItem>,
    /// Where static files are served: `/static/<hash>`.
    pub assets: String,
    /// The data folder.
    pub folder: PathBuf,
    /// The text of the configuration file, when there is one; for backups.
    pub configuration: Option<String>,
    /// Key that CSRF tokens are made with.
    pub csrf_key: [u8; 32],
    bus: OnceLock<Arc<dyn Bus>>,
    capabilities: OnceLock<&'static [&'static dyn Capability]>,
    ops: OnceLock<Ops>,
    pages: OnceLock<Pages>,
    stopping: AtomicBool,
    /// State. Dropped last: its lock on the folder is free when everything else is closed.
    pub store: Store,
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
    /// See [`Site::folder`].
    pub folder: PathBuf,
    /// See [`Site::configuration`].
    pub configuration: Option<String>,
}

impl Site {
    /// Puts the engines together. The bus is attached when the broker has started.
    pub fn new(parts: Parts) -> Site {
        Site {
            index: Index::new(&parts.folder.join("index"), &parts.clock),
            egress: Egress::new(&parts.clock),
            presence: Presence::new(parts.clock.clone()),
            csrf_key: parts.clock.random(),
            notices: Notices::default(),
            counts: Counts::default(),
            marks: Marks::default(),
            home: HOME,
            tenants: Tenants::default(),
            clock: parts.clock,
            store: parts.store,
            series: parts.series,
            logs: parts.logs,
            vault: parts.vault,
            authority: parts.authority,
            settings: parts.settings,
            navigation: parts.navigation,
            assets: parts.assets,
            folder: parts.folder,
            configuration: parts.configuration,
            bus: OnceLock::new(),
            capabilities: OnceLock::new(),
            ops: OnceLock::new(),
            pages: OnceLock::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Attaches the bus, once.
    pub fn attach(&self, bus: Arc<dyn Bus>) {
        let _ = self.bus.set(bus);
    }

    /// Tells which capabilities the product has, once, so that one of them can ask all of them what they check and bring
    /// back, also those after it.
    pub fn made_of(&self, all: &'static [&'static dyn Capability]) {
        super::event::declare(super::PROGRAM_EVENTS);
        for capability in all {
            super::event::declare(capability.events());
            declare_sites(capability.sites());
        }
        let _ = self.capabilities.set(all);
    }

    /// Every capability, in dependency order; none where nobody has told.
    pub fn capabilities(&self) -> &'static [&'static dyn Capability] {
        self.capabilities.get().copied().unwrap_or_default()
    }

    /// The operations of every capability, gathered once; none where nobody has told which there are.
    pub fn ops(&self) -> &[Op] {
        let Some(all) = self.capabilities.get() else { return &[] };
        let gathered = self.ops.get_or_init(|| {
            let mut ops = Ops::default();
            all.iter().for_each(|capability| capability.ops(&mut ops));
            ops
        });
        &gathered.0
    }

    /// The pages of every capability, gathered once; none where nobody has told which there are.
    pub fn pages(&self) -> Option<&Pages> {
        let all = self.capabilities.get()?;
        Some(self.pages.get_or_init(|| {
            let mut pages = Pages::default();
            all.iter().for_each(|capability| capability.pages(&mut pages));
            pages
        }))
    }

    /// The server stops: what takes long shall end soon.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the server stops. Long jobs look at it between their steps.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The bus, when the broker runs.
    pub fn bus(&self) -> Option<&Arc<dyn Bus>> {
        self.bus.get()
    }
}

/// What a capability keeps in memory for each site of this process, found by the feed of its store. A server has one
/// site; tests have many, one after the other.
pub struct PerSite<T>(RwLock<Vec<(watch::Receiver<u64>, Arc<T>)>>);

impl<T> PerSite<T> {
    /// Nothing yet.
    #[expect(clippy::new_without_default, reason = "it is made in statics")]
    pub const fn new() -> PerSite<T> {
        PerSite(RwLock::new(Vec::new()))
    }

    /// What is kept for this site, made when there is nothing.
    pub fn of(&self, site: &Site, make: impl FnOnce() -> T) -> Arc<T> {
        let feed = site.store.watch();
        let find = |kept: &[(watch::Receiver<u64>, Arc<T>)]| {
            kept.iter().find(|(other, _)| other.same_channel(&feed)).map(|(_, value)| Arc::clone(value))
        };
        if let Some(value) = find(&self.0.read()) {
            return value;
        }
        let mut kept = self.0.write();
        if let Some(value) = find(&kept) {
            return value;
        }
        // A closed feed belongs to a store that is gone.
        kept.retain(|(other, _)| other.has_changed().is_ok());
        let value = Arc::new(make());
        kept.push((feed.clone(), Arc::clone(&value)));
        value
    }
}
