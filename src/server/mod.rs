//! Assembly and drain: a folder and a configuration become a running appliance.
//!
//! Invariant: nothing listens before everything that is behind it is open.
//! Invariant: stopping goes the other way: listeners first, then what is in flight, then the store.
//! Invariant: the folder belongs to one process; everything in it is readable by its owner alone.

mod backup;
mod before;
pub mod certificate;
mod command;
pub mod config;
pub mod control;
mod drill;
pub mod format;
mod hosts;
mod mend;
mod opening;
pub mod rebuild;
mod rehearsal;
mod restore;
mod rotate;
mod status;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{Error, Labels, Result, Span};
use crate::capabilities::{ALL, agents, backups, identity};
use crate::engine::broker::{self, Broker};
use crate::engine::clock::Clock;
use crate::engine::crypto::ServerTls;
use crate::engine::http;
use crate::engine::jobs::Runner;
use crate::kit::{Actor, Ctx, Request, Site};
use crate::surface::{self, Door, Doors, Following, Gate, Ingest, Rates, Surface};
use certificate::Certificates;
use config::Config;
use control::{Answers, Control};
use drill::Drills;
use opening::Purpose;

pub use crate::capabilities::audit::{Proved, is_pack, prove, prove_pack};
pub use backup::Taken;
pub use command::{Access, Stopped};
pub use restore::{Done, Examined, Keys, Moment, Wanted, preview, restore, verify_file};
pub use rotate::NewKek;
pub use status::{SETUP, STATUS};
pub use verify::{Looked, verify};

pub use crate::capabilities::backups::{Progress, Report};

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
    token: identity::issue_token,
    jwks: identity::jwks,
    needs_setup: identity::needs_setup,
};

/// Who asks, over MQTT.
const GATE: Gate = Gate { admit: agents::gate::admit, duplicate: agents::gate::duplicate };

/// A running appliance. Dropping it stops it.
pub struct Server {
    site: Arc<Site>,
    certificates: Arc<Certificates>,
    control: Control,
    drills: Arc<Drills>,
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
        opening::prepare(&folder, &clock)?;
        let hosts = hosts::of(&config);
        let (names, addresses) = hosts::split(&hosts);
        let site = Arc::new(opening::site(&config, &folder, &clock, hosts, Purpose::Serve)?);
        mend::restored(&site, ALL)?;
        backups::allow_targets(&Ctx::system(&site, "server"))?;
        identity::allow_providers(&Ctx::system(&site, "server"))?;
        let certificates = Certificates::start(&site, &config.http, names, addresses)?;
        let tls = certificates.tls();

        let (inbound, waiting) = tokio::sync::mpsc::channel(INBOUND_MESSAGES_MAX);
        let broker = Broker::start(gate_settings(&config, tls, &clock)?, Door::start(&site, GATE)?, inbound)?;
        site.attach(broker.bus());
        let gate = broker.address().ok_or_else(|| Error::internal("the gate has no address"))?;
        let plain = broker.plain_address();
        let ingest = Ingest::start(Arc::clone(&site), surface::uplinks(ALL), agents::join, waiting)?;
        let following = Arc::new(Following::start(Arc::clone(&site), surface::followers(ALL))?);
        backups::allow_targets(&Ctx::system(&site, "server"))?;
        let mut jobs = surface::jobs(&site, ALL);
        jobs.push(certificates.job(&site));
        let drills = Drills::new();
        jobs.push(drills.job(&site));
        let jobs = Arc::new(Runner::start(clock.clone(), jobs)?);

        let traffic = http::Traffic::new(clock.clone());
        let rates = Rates::new(
            config.http.requests_per_person_per_second_max,
            config.http.requests_per_tenant_per_second_max,
        );
        let surface = Surface::new(Arc::clone(&site), ALL, DOORS, Arc::clone(&traffic), rates)?;
        let listener = http_settings(&config, &site, &certificates, traffic)?;
        let routes = Arc::clone(&surface);
        let http = http::Server::start(listener, move |app| routes.configure(app))?;
        site.settings.listening(http.address().port(), gate.port());
        let (parts_jobs, parts_following) = (Arc::clone(&jobs), Arc::clone(&following));
        surface.attach(surface::Parts {
            jobs: parts_jobs,
            ingest: ingest.stats(),
            following: parts_following,
        });
        // A folder of our own in `/run`, when systemd has made one.
        let runtime = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        let answers = answers(&site, &certificates);
        let control = Control::start(&folder, runtime.as_deref(), &clock, answers)?;
        surface.set_ready(true);
        Ok(Server {
            site,
            certificates,
            control,
            drills,
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

    /// Whether nobody has an account yet.
    pub fn needs_setup(&self) -> bool {
        identity::needs_setup(&self.site)
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

    /// Reads the certificate's files again, as `muster reload` does; `from` says who asked.
    pub fn reload(&self, from: &str) -> Result<()> {
        let request = Request { from: from.to_owned(), ..Request::default() };
        self.certificates.reload(&Ctx::new(&self.site, Actor::System, request)).map(drop)
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
        backups::halt(&self.site);
        self.control.stop();
        backups::halt(&self.site);
        self.jobs.stop();
        self.drills.stop(&self.site);
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

/// What the control socket answers: every operation, as the appliance itself.
fn answers(site: &Arc<Site>, certificates: &Arc<Certificates>) -> Answers {
    let certificates = Arc::clone(certificates);
    let (ops, calls, streams) = (surface::ops(ALL), Arc::clone(site), Arc::clone(site));
    let request =
        |from: &str, id: &str| Request { id: id.to_owned(), from: from.to_owned(), ..Request::default() };
    Answers {
        call: Box::new(move |from, id, op, input| {
            let ctx = Ctx::new(&calls, Actor::System, request(from, id));
            match op {
                verify::ASKED => Ok(verify::site(&ctx, &mut |_| going(&ctx))?.told()),
                rotate::ASKED => rotate::asked(&ctx, &input),
                certificate::ASKED => certificates.reload(&ctx),
                STATUS => status::status(&ctx),
                SETUP => status::setup(&ctx),
                _ => surface::call(&ops, &ctx, op, input),
            }
        }),
        stream: Box::new(move |from, id, name, input, out| match name {
            backup::STREAM => {
                backup::stream(&Ctx::new(&streams, Actor::System, request(from, id)), input, out)
            }
            _ => Err(Error::not_found("stream", name)),
        }),
    }
}

/// An error when the server stops, for work that is asked between its steps.
fn going(ctx: &Ctx<'_>) -> Result<()> {
    match ctx.site.is_stopping() {
        true => Err(Error::unavailable("the server stops")),
        false => Ok(()),
    }
}

fn http_settings(
    config: &Config,
    site: &Arc<Site>,
    certificates: &Arc<Certificates>,
    traffic: Arc<http::Traffic>,
) -> Result<http::Settings> {
    let tls = Arc::new(certificates.tls().https_config(config.http.tls_minimum)?);
    let limits = http::Limits {
        connections_max: config.http.connections_max as usize,
        connections_per_address_max: config.http.connections_per_address_max as usize,
        requests_per_address_per_second_max: config.http.requests_per_address_per_second_max,
        ..http::Limits::default()
    };
    let (known, supplied) = (hosts::answered(&site.settings.hosts), Arc::clone(certificates));
    Ok(http::Settings {
        limits,
        networks: config.http.networks.clone(),
        hosts: http::Hosts::Only(Arc::new(move |host| known.contains(host) || supplied.is_for(host))),
        open_paths: surface::OPEN_PATHS,
        subdomains: config.http.certificate.is_some(),
        refuse: surface::refuse,
        ..http::Settings::new(config.http.address, tls, traffic)
    })
}

fn gate_settings(config: &Config, tls: &ServerTls, clock: &Clock) -> Result<broker::Settings> {
    let limits = broker::Limits {
        connections_max: config.mqtt.connections_max as usize,
        connections_per_address_max: config.mqtt.connections_per_address_max as usize,
        messages_per_second_max: config.mqtt.messages_per_second_max,
        ..broker::Limits::default()
    };
    let tls = Some((config.mqtt.address, Arc::new(tls.mqtt_config(config.mqtt.tls_minimum)?)));
    let networks = config.mqtt.networks.clone();
    Ok(broker::Settings { tls, plain: config.mqtt.plain, networks, limits, clock: clock.clone() })
}
