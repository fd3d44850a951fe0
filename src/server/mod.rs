//! Assembly and drain: a folder and a configuration become a running appliance.
//!
//! Invariant: nothing listens before everything that is behind it is open.
//! Invariant: stopping goes the other way: listeners first, then what is in flight, then the store.
//! Invariant: the folder belongs to one process; everything in it is readable by its owner alone.

pub mod config;
mod hosts;
mod renewal;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Error, Labels, Result, Span};
use crate::capabilities::{ALL, agents, identity, settings};
use crate::engine::broker::{self, Broker};
use crate::engine::clock::Clock;
use crate::engine::crypto::{Authority, Kek, ServerTls, Vault};
use crate::engine::http::{self, assets};
use crate::engine::jobs::Runner;
use crate::engine::logs::Logs;
use crate::engine::series::Series;
use crate::engine::store::Store;
use crate::engine::{logs, series, store};
use crate::kit::{Actor, Ctx, Parts, Site};
use crate::surface::{self, Door, Doors, Following, Gate, Ingest, Surface};
use config::Config;

/// How long running requests may take when the server stops.
const DRAIN: Span = Span::from_seconds(3);
/// Messages of agents that wait for the disk.
const INBOUND_MESSAGES_MAX: usize = 1_024;

/// What a server is started with.
pub struct Options {
    /// The checked configuration.
    pub config: Config,
    /// The data folder; made when it is absent.
    pub folder: PathBuf,
    /// Time and randomness.
    pub clock: Clock,
}

/// Who asks, over HTTP.
const DOORS: Doors = Doors {
    session: identity::session_actor,
    watcher: identity::session_watcher,
    key: identity::key_actor,
    needs_setup: identity::needs_setup,
};

/// Who asks, over MQTT.
const GATE: Gate = Gate { admit: agents::gate::admit, duplicate: agents::gate::duplicate };

/// A running appliance. Dropping it stops it.
pub struct Server {
    site: Arc<Site>,
    surface: Arc<Surface>,
    http: http::Handle,
    broker: Option<Broker>,
    jobs: Arc<Runner>,
    following: Arc<Following>,
    ingest: Option<Ingest>,
    gate: SocketAddr,
    plain: Option<SocketAddr>,
}

impl Server {
    /// Opens everything, then the ports.
    pub fn start(options: Options) -> Result<Server> {
        let Options { config, folder, clock } = options;
        make_folder(&folder)?;
        let hosts = hosts::of(&config);
        let vault = Vault::open(&folder.join("keys"), &kek(&config, &folder)?, &clock)?;
        let authority = Authority::open(&vault, &config.site.name, &clock)?;
        let (names, addresses) = hosts::split(&hosts);
        let certificate = authority.issue_server(&names, &addresses)?;
        let tls = ServerTls::new(&authority, &certificate, &clock)?;
        let site = Arc::new(open(&config, &folder, &clock, vault, authority, hosts)?);
        site.made_of(ALL);
        settings::load(&site)?;

        let (inbound, waiting) = tokio::sync::mpsc::channel(INBOUND_MESSAGES_MAX);
        let broker =
            Broker::start(gate_settings(&config, &tls, &clock)?, Door::start(&site, GATE)?, inbound)?;
        site.attach(broker.bus());
        let gate = broker.address().ok_or_else(|| Error::internal("the gate has no address"))?;
        let plain = broker.plain_address();
        let ingest = Ingest::start(Arc::clone(&site), surface::uplinks(ALL), agents::join, waiting)?;
        let following = Arc::new(Following::start(Arc::clone(&site), surface::followers(ALL))?);
        let mut jobs = surface::jobs(&site, ALL);
        jobs.push(renewal::job(&site, &tls, names, addresses, certificate.ends));
        let jobs = Arc::new(Runner::start(clock.clone(), jobs)?);

        let traffic = http::Traffic::new(clock.clone());
        let surface = Surface::new(Arc::clone(&site), ALL, DOORS, Arc::clone(&traffic))?;
        let listener = http::Settings {
            address: config.http.address,
            tls: Arc::new(tls.https_config()?),
            workers: 2,
            limits: http::Limits::default(),
            hosts: http::Hosts::Any,
            traffic,
        };
        let routes = Arc::clone(&surface);
        let http = http::Server::start(listener, move |app| routes.configure(app))?;
        site.settings.listening(http.address().port(), gate.port());
        let (parts_jobs, parts_following) = (Arc::clone(&jobs), Arc::clone(&following));
        surface.attach(surface::Parts {
            jobs: parts_jobs,
            ingest: ingest.stats(),
            following: parts_following,
        });
        surface.set_ready(true);
        Ok(Server {
            site,
            surface,
            http,
            broker: Some(broker),
            jobs,
            following,
            ingest: Some(ingest),
            gate,
            plain,
        })
    }

    /// Where console and API listen.
    pub fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Where the gate listens.
    pub fn gate_address(&self) -> SocketAddr {
        self.gate
    }

    /// Where the gate listens without TLS, if it does.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain
    }

    /// Fingerprint of the site's authority.
    pub fn fingerprint(&self) -> String {
        self.site.authority.fingerprint().to_string()
    }

    /// A fresh set-up code, while nobody has an account.
    pub fn setup_code(&self) -> Result<Option<String>> {
        identity::setup_code(&self.site)
    }

    /// A one-time link that signs an owner in.
    pub fn login_link(&self) -> Result<String> {
        identity::login_link(&self.site)
    }

    /// A join code for this very host, or for simulated ones, with these labels.
    pub fn join_code(&self, labels: Labels) -> Result<String> {
        let mut ctx = Ctx::system(&self.site, "server");
        ctx.actor = Actor::System;
        let input = agents::ops::CreateJoinCode { labels, minutes: Some(60), approval: false };
        Ok(agents::ops::join_code_create(&ctx, input)?.code)
    }

    /// The engines.
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Stops: no new connections, running requests end, everything acknowledged is on the disk.
    pub fn stop(mut self) {
        self.drain();
    }

    fn drain(&mut self) {
        let Some(broker) = self.broker.take() else { return };
        self.surface.set_ready(false);
        self.site.stop();
        self.jobs.stop();
        self.http.stop(DRAIN);
        broker.stop();
        if let Some(ingest) = self.ingest.take() {
            ingest.finish();
        }
        self.following.stop();
        if let Err(error) = self.site.store.checkpoint() {
            tracing::error!("the store could not be made durable at the end: {error}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain();
    }
}

fn open(
    config: &Config,
    folder: &Path,
    clock: &Clock,
    vault: Vault,
    authority: Authority,
    hosts: Vec<String>,
) -> Result<Site> {
    let mut store_options = store::Options::new(clock.clone());
    store_options.tables =
        ALL.iter().flat_map(|c| c.tables().iter().copied()).chain(crate::kit::KIT_TABLES).collect();
    let mut series_options = series::Options::new(clock.clone());
    series_options.retention = config.storage.metrics;
    let mut logs_options = logs::Options::new(clock.clone());
    logs_options.retention = config.storage.logs;
    Ok(Site::new(Parts {
        clock: clock.clone(),
        store: Store::open(&folder.join("store"), store_options)?,
        series: Series::open(&folder.join("series"), series_options)?,
        logs: Logs::open(&folder.join("logs"), logs_options)?,
        vault,
        authority,
        settings: crate::kit::Settings::new(config.site.name.clone(), hosts),
        navigation: surface::navigation(ALL),
        assets: assets::prefix(),
        folder: folder.to_owned(),
        configuration: config.text.clone(),
    }))
}

fn gate_settings(config: &Config, tls: &ServerTls, clock: &Clock) -> Result<broker::Settings> {
    let limits = broker::Limits {
        connections_max: config.mqtt.connections_max as usize,
        connections_per_address_max: config.mqtt.connections_per_address_max as usize,
        messages_per_second_max: config.mqtt.messages_per_second_max,
        ..broker::Limits::default()
    };
    let tls = Some((config.mqtt.address, Arc::new(tls.mqtt_config()?)));
    Ok(broker::Settings { tls, plain: config.mqtt.plain, limits, clock: clock.clone() })
}

fn kek(config: &Config, folder: &Path) -> Result<Kek> {
    Ok(match config.keys.kek {
        config::KekSource::File => Kek::File(folder.join("kek")),
        config::KekSource::Systemd => Kek::Credential,
        config::KekSource::Passphrase => {
            Kek::Passphrase(config.keys.passphrase.clone().ok_or_else(|| {
                Error::invalid("`keys.kek` is `passphrase`, but there is none")
                    .hint("set MUSTER_KEYS_PASSPHRASE or `keys.passphrase_file`")
            })?)
        }
    })
}

fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| {
        Error::unavailable(format!("data folder `{}` cannot be made", folder.display()))
            .hint("name another with `--data`, or mend the permissions")
            .because(e)
    })
}
