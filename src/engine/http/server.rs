//! Starting and stopping.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_http::HttpService;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::{AppConfig, ServerHandle};
use actix_web::middleware::{Compress, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, web};
use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Door};
use super::envelope::{Gate, envelope};
use super::{Refusal, Traffic, problem, request_id};
use crate::base::{Error, Networks, Result, Span, limits};

/// Which `Host` headers are answered.
#[derive(Clone, Default)]
pub enum Hosts {
    /// All: for tests and for machines that nobody's browser reaches.
    #[default]
    Any,
    /// Those of which this says true, beside the address that the connection reached. It is asked without the port, in
    /// lower case.
    Only(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

/// Bounds of one listener; bodies and streams have theirs in `base::limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once.
    pub connections_max: usize,
    /// Connections open at once from one address.
    pub connections_per_address_max: usize,
    /// Seconds that a TLS handshake may take.
    pub handshake_seconds_max: u64,
    /// Seconds until a request's head must be there.
    pub head_seconds_max: u64,
    /// Seconds that a connection may idle between two requests.
    pub idle_seconds_max: u64,
    /// Seconds in which the other side must take something of an answer.
    pub write_seconds_max: u64,
    /// Requests of one address in a second, over some time; 0 for no limit.
    pub requests_per_address_per_second_max: u32,
    /// Threads on which operations run.
    pub blocking_threads_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: limits::HTTP_CONNECTIONS_MAX,
            connections_per_address_max: limits::HTTP_CONNECTIONS_PER_ADDRESS_MAX,
            handshake_seconds_max: limits::HTTP_HANDSHAKE_SECONDS_MAX,
            head_seconds_max: limits::HTTP_HEAD_SECONDS_MAX,
            idle_seconds_max: limits::HTTP_IDLE_SECONDS_MAX,
            write_seconds_max: limits::HTTP_WRITE_SECONDS_MAX,
            requests_per_address_per_second_max: limits::REQUESTS_PER_ADDRESS_PER_SECOND_MAX,
            blocking_threads_max: 64,
        }
    }
}

/// Writes a refusal for who sent the request: a page for people, a problem for programs.
pub type Refuse = fn(&HttpRequest, &Refusal) -> HttpResponse;

/// How to listen.
pub struct Settings {
    /// Where; port 0 takes a free one.
    pub address: SocketAddr,
    /// Certificates and versions.
    pub tls: Arc<rustls::ServerConfig>,
    /// Threads that speak HTTP; two are enough for an appliance.
    pub workers: usize,
    /// Bounds.
    pub limits: Limits,
    /// Addresses that may connect.
    pub networks: Networks,
    /// Names under which it answers.
    pub hosts: Hosts,
    /// Paths that are answered under any name, for they tell nothing of the site; one that ends in `/` stands for all
    /// below it.
    pub open_paths: &'static [&'static str],
    /// Whether the promise of TLS holds for names below ours too.
    pub subdomains: bool,
    /// How those are refused who do not come as far as a route.
    pub refuse: Refuse,
    /// Counters and streams, shared with the routes.
    pub traffic: Arc<Traffic>,
}

impl Settings {
    /// A listener with the usual bounds that answers under any name.
    pub fn new(address: SocketAddr, tls: Arc<rustls::ServerConfig>, traffic: Arc<Traffic>) -> Settings {
        Settings {
            address,
            tls,
            workers: 2,
            limits: Limits::default(),
            networks: Networks::default(),
            hosts: Hosts::Any,
            open_paths: &[],
            subdomains: false,
            refuse: |request, refusal| problem(refusal, &request_id(request)),
            traffic,
        }
    }
}

/// The listener.
pub struct Server;

/// A running listener. Dropping it stops it without grace.
pub struct Handle {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    server: ServerHandle,
    control: Control,
    thread: Mutex<Option<(JoinHandle<()>, mpsc::Receiver<()>)>>,
}

/// What can change while a listener runs: who may connect, and how often one address may ask.
#[derive(Clone)]
pub struct Control {
    gate: Arc<Gate>,
    door: Arc<Door>,
}

impl Control {
    /// Holds for new connections and new requests; nothing that is open ends.
    pub fn change(&self, networks: Networks, requests_per_address_per_second_max: u32) {
        self.door.change(networks);
        self.gate.change(requests_per_address_per_second_max);
    }
}

impl Server {
    /// Binds, then serves what `configure` mounts on a thread of its own. An address that cannot be had is an error here.
    pub fn start<F>(settings: Settings, configure: F) -> Result<Handle>
    where
        F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let listener = bind(settings.address)?;
        let address = listener.local_addr()?;
        let traffic = settings.traffic.clone();
        let gate = Arc::new(Gate::new(&settings));
        let door = Door::new(settings.networks.clone(), settings.limits, traffic.clone());
        let control = Control { gate, door };
        let shared = control.clone();
        let (started, start) = mpsc::sync_channel(1);
        let (ended, end) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("http".into())
            .spawn(move || {
                actix_web::rt::System::new().block_on(serve(settings, shared, listener, configure, started));
                let _ = ended.send(());
            })
            .map_err(|e| Error::unavailable("no thread for the HTTP listener").because(e))?;
        let server =
            start.recv().map_err(|e| Error::unavailable("the HTTP listener did not start").because(e))??;
        tracing::info!(%address, "listening for HTTPS on {address}");
        Ok(Handle { address, traffic, server, control, thread: Mutex::new(Some((thread, end))) })
    }
}

impl Handle {
    /// Where it listens, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What can change while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The counters.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Accepts nothing more, ends the streams, lets running requests finish for `grace`, then cuts.
    pub fn stop(&self, grace: Span) {
        let Some((thread, ended)) = self.thread.lock().take() else { return };
        drop(self.server.pause());
        self.traffic.close();
        // Graceful only when there is nothing but answers to write out: a stop that waits cannot be hurried later.
        let idle = self.traffic.wait_idle(grace.duration());
        drop(self.server.stop(idle && grace > Span::default()));
        if ended.recv_timeout(FLUSH + CUT).is_err() {
            tracing::warn!("the HTTP listener did not stop in time");
            return;
        }
        let _ = thread.join();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop(Span::default());
    }
}

/// How long answers may take to be written out when the server stops.
const FLUSH: Duration = Duration::from_secs(2);
/// How long a cut may take.
const CUT: Duration = Duration::from_secs(5);

fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| {
        let (ip, port) = (address.ip(), address.port());
        match e.kind() {
            ErrorKind::AddrInUse => Error::unavailable(format!("port {port} of {ip} is in use"))
                .hint("stop the program that uses it, or choose another port"),
            ErrorKind::PermissionDenied => {
                Error::unavailable(format!("port {port} of {ip} needs more rights"))
                    .hint("choose a port above 1023, or give the program CAP_NET_BIND_SERVICE")
            }
            ErrorKind::AddrNotAvailable => Error::unavailable(format!("this machine has no address {ip}"))
                .hint("choose one of its own addresses, or 0.0.0.0 for all"),
            _ => Error::unavailable(format!("cannot listen on {address}")),
        }
        .because(e)
    })
}

async fn serve<F>(
    settings: Settings,
    shared: Control,
    listener: TcpListener,
    configure: F,
    started: mpsc::SyncSender<Result<ServerHandle>>,
) where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    let Control { gate, door } = shared;
    let Settings { tls, workers, limits, traffic, .. } = settings;
    let (workers, tls) = (workers.max(1), TlsAcceptor::from(tls));
    let builder = actix_web::dev::Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let app = move || {
        App::new()
            .app_data(web::Data::from(traffic.clone()))
            .app_data(web::Data::from(gate.clone()))
            .wrap(Compress::default())
            .wrap(from_fn(envelope))
            .configure(configure.clone())
    };
    let connections = move || {
        let (door, tls, stopping) = (door.clone(), tls.clone(), stopping.clone());
        let app = app().into_factory().map_err(|error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(Duration::from_secs(limits.idle_seconds_max))
            .client_request_timeout(Duration::from_secs(limits.head_seconds_max))
            .client_disconnect_timeout(Duration::from_secs(2))
            .secure()
            .on_connect_ext(connection::introduce)
            .h1(map_config(app, |()| AppConfig::default()))
            .map_err(|error| tracing::debug!("a connection ended: {error}"));
        let enter = move |socket| {
            let (door, tls) = (door.clone(), tls.clone());
            async move { connection::open(door, tls, socket).await.map(|(io, peer)| (io, Some(peer))).ok_or(()) }
        };
        fn_service(enter).and_then(http)
    };
    let server = builder
        .workers(workers)
        .worker_max_blocking_threads((limits.blocking_threads_max / workers).max(1))
        // The door turns away who is too much; this one would make everybody wait.
        .max_concurrent_connections(limits.connections_max.saturating_add(64))
        .shutdown_timeout(FLUSH.as_secs())
        .disable_signals()
        .listen("https", listener, connections);
    let server = match server {
        Ok(server) => server.run(),
        Err(error) => {
            let _ = started.send(Err(error.into()));
            return;
        }
    };
    let _ = started.send(Ok(server.handle()));
    if let Err(error) = server.await {
        tracing::error!("the HTTP listener ended: {error}");
    }
}
