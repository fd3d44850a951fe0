//! `muster serve` and `muster setup-code`.

use std::path::Path;
use std::sync::Arc;

use super::stop::{Signals, Worker};
use super::{Failure, Folder, Serve, agent, configuration, notify, say};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::engine::trace;
use crate::server::config::{Log, LogFormat};
use crate::server::{Options, Server};

/// Starts the server and this host's agent, and stays until a signal comes.
pub(super) fn serve(arguments: &Serve) -> Result<(), Failure> {
    let mut config = configuration(
        arguments.config.as_deref(),
        &[
            ("--http", "http.address", arguments.http.as_deref()),
            ("--mqtt", "mqtt.address", arguments.mqtt.as_deref()),
            ("--no-agent", "agent.enabled", arguments.no_agent.then_some("false")),
        ],
    )?;
    log(&config.log)?;
    config.keys.read_passphrase()?;
    let clock = Clock::system();
    let runtime = runtime()?;
    let folder = arguments.data.clone();
    let own = config.agent.clone();
    let server = Arc::new(Server::start(Options { config, folder: folder.clone(), clock: clock.clone() })?);
    // Not earlier: a start that hangs must end at the first signal, which loses nothing that was acknowledged.
    let mut signals = runtime.block_on(async { Signals::catch() })?;
    greet(&server)?;
    let worker = match own.enabled {
        true => first_agent(&server, own, &folder, &clock),
        false => None,
    };
    let beat = notify::ready(&format!("console at {}", server.site().settings.console()));
    let failure = server.site().store.watch_failure();
    let reloaded = Arc::downgrade(&server);
    let reload = move || {
        // What is wrong is logged and said on every page; a signal has nobody to tell it to.
        let _ = reloaded.upgrade().map(|server| server.reload("SIGHUP"));
    };
    let broken = runtime.block_on(async {
        let broken = tokio::select! {
            () = signals.wait_and_reload(reload) => None,
            broken = broken(failure) => Some(broken),
        };
        say("Stopping.");
        signals
            .drain(move || {
                worker.into_iter().for_each(Worker::stop);
                end(server);
            })
            .await?;
        Ok::<_, Error>(broken)
    })?;
    drop(beat);
    broken.map_or(Ok(()), |broken| Err(Failure::Broken(broken)))
}

/// Returns when the store takes no more writes. What was acknowledged is safe; only a new start can go on.
async fn broken(mut failure: tokio::sync::watch::Receiver<Option<Arc<str>>>) -> Error {
    let why = failure.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    let why = why.unwrap_or_else(|| "the store is gone".into());
    tracing::error!("the store cannot be written, the server ends: {why}");
    Error::unavailable(format!("the store cannot be written: {why}"))
}

/// Tells the person what to do next.
fn greet(server: &Server) -> Result<()> {
    say(&format!("Muster {} is running.", env!("CARGO_PKG_VERSION")));
    say("");
    say(&format!("  Console      {}", server.site().settings.console()));
    say(&format!("  Agents join  {}", server.site().settings.gate()));
    say(&format!("  Authority    {} (SHA-256)", server.fingerprint()));
    // The journal keeps what a service prints, and others may read it: the code is asked for by `muster setup-url`.
    if notify::prints_into_journal() && server.needs_setup() {
        say("");
        say(
            "Nobody has an account yet: `sudo muster setup-url` prints the address that makes the first one.",
        );
        return Ok(());
    }
    match server.setup_code()? {
        Some(code) => {
            say(&format!("  Setup code   {code}"));
            say("");
            say(
                "Open the console, compare the fingerprint of its certificate's authority with the one above,",
            );
            say("and enter the setup code to make the first account. The code works once.");
        }
        None => {
            say("");
            say("Open the console and sign in. Enrol a host at Agents, Add.");
        }
    }
    Ok(())
}

/// Enrols this host by a code that never leaves the process, and runs its agent. The server does not depend on it.
fn first_agent(
    server: &Arc<Server>,
    own: crate::server::config::Agent,
    folder: &Path,
    clock: &Clock,
) -> Option<Worker> {
    let (server, folder, clock) = (Arc::clone(server), folder.join("agent"), clock.clone());
    let (gate, labels) = (server.gate_address(), own.labels.clone());
    let started = Worker::start("agent", 1, move |stop| async move {
        let options = agent::options("127.0.0.1", gate.port(), &folder, &own);
        agent::join_and_run(options, clock, move || server.join_code(labels), stop).await
    });
    match started {
        Ok(worker) => Some(worker),
        Err(error) => {
            tracing::error!("this host's agent did not start: {error}");
            None
        }
    }
}

/// Prints the setup code of a stopped server.
pub(super) fn setup_code(folder: &Folder) -> Result<(), Failure> {
    let stopped = folder.stopped(&Clock::system())?;
    match stopped.setup_code()? {
        Some(code) => say(&code),
        None => {
            return Err(Error::conflict("the site has an owner already")
                .hint("sign in at the console")
                .into());
        }
    }
    Ok(())
}

/// Stops the server; the last to hold it does.
pub(super) fn end(server: Arc<Server>) {
    if let Ok(server) = Arc::try_unwrap(server) {
        server.stop();
    }
}

/// Starts the log as the configuration says.
pub(super) fn log(log: &Log) -> Result<()> {
    let form = match log.format {
        LogFormat::Text => trace::Form::Text,
        LogFormat::Json => trace::Form::Json,
    };
    trace::start(&format!("warn,muster={}", log.level), form)
}

/// The runtime of the main thread, which only waits.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
