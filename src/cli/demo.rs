//! `muster demo` and `muster dev`: a server in a folder of its own, and a simulated fleet that joins it over the wire.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::stop::{Signals, Worker};
use super::{Demo, Dev, Failure, say, serve};
use crate::agent::simulation::{self, Progress};
use crate::base::{Error, Result, Span};
use crate::engine::clock::Clock;
use crate::server::config::{Config, Sources};
use crate::server::{Options, Server, read_console_from};

/// Longest history.
const HISTORY_MAX: Span = Span::from_days(7);

/// The same for who works on the program: files of the console come from the source tree.
pub(super) fn dev(arguments: &Dev) -> Result<(), Failure> {
    read_console_from(&arguments.files)?;
    say(&format!("Style sheets and scripts are read from {} at every request.", arguments.files.display()));
    demo(&Demo {
        agents: arguments.agents,
        seed: 1,
        speed: 1.0,
        keep: arguments.keep,
        history: "6h".into(),
        http: arguments.http.clone(),
        mqtt: arguments.mqtt.clone(),
    })
}

/// Starts both and stays until a signal comes.
pub(super) fn demo(arguments: &Demo) -> Result<(), Failure> {
    let history: Span = arguments.history.parse()?;
    if history > HISTORY_MAX || !(0.01..=10_000.0).contains(&arguments.speed) {
        let error = Error::invalid("`--history` or `--speed` is out of bounds");
        return Err(error.hint(format!("a history up to {HISTORY_MAX}, a speed from 0.01 to 10000")).into());
    }
    let config = config(arguments)?;
    serve::log(&config.log)?;
    let clock = Clock::system();
    let runtime = serve::runtime()?;
    let folder = Folder::make(&clock, arguments.keep)?;
    let options = Options { config, folder: folder.path.clone(), clock: clock.clone() };
    let server = Arc::new(Server::start(options)?);
    let mut signals = runtime.block_on(async { Signals::catch() })?;
    let gate = server.gate_address();
    say(&format!("Muster {} with {} simulated agents.", env!("CARGO_PKG_VERSION"), arguments.agents));
    say("");
    say(&format!("  {}", server.login_link()?));
    say("");
    say(
        "The link signs in as owner, once. The browser warns of the site's own authority, whose fingerprint is",
    );
    say(&format!("{} (SHA-256).", server.fingerprint()));
    let codes = Arc::clone(&server);
    let options = simulation::Options {
        host: "127.0.0.1".into(),
        port: gate.port(),
        agents: arguments.agents as usize,
        seed: arguments.seed,
        speed: arguments.speed,
        history,
        clock: clock.clone(),
        codes: Arc::new(move |labels| codes.join_code(labels)),
    };
    let progress = Arc::new(Progress::default());
    let shared = Arc::clone(&progress);
    let fleet = Worker::start("fleet", 2, move |stop| async move {
        simulation::run(options, shared, stop).await;
        Ok(())
    })?;
    runtime.block_on(async {
        tokio::select! {
            () = signals.wait() => {}
            () = report(&progress, arguments.agents as usize, &clock) => signals.wait().await,
        }
        say("Stopping.");
        signals
            .drain(move || {
                fleet.stop();
                serve::end(server);
            })
            .await
    })?;
    if arguments.keep {
        say(&format!("Kept: {}", folder.path.display()));
    }
    Ok(())
}

/// Says when the fleet is live, and when its history is told.
async fn report(progress: &Progress, agents: usize, clock: &Clock) {
    let began = clock.monotonic();
    let took = || (clock.monotonic() - began).as_secs_f64();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let (mut live, mut warned) = (false, false);
    loop {
        ticks.tick().await;
        if !live && progress.live.load(Ordering::Relaxed) >= agents {
            live = true;
            say(&format!("{agents} agents are live after {:.1} s; their history follows.", took()));
        }
        if progress.told.load(Ordering::Relaxed) >= agents {
            say(&format!("The history is complete after {:.1} s. Stop with Ctrl-C.", took()));
            return;
        }
        let failed = progress.failed.load(Ordering::Relaxed);
        if failed > 0 && !live && !warned && took() > 10.0 {
            warned = true;
            say(&format!("{failed} joins failed and are tried again."));
        }
    }
}

fn config(arguments: &Demo) -> Result<Config, Failure> {
    let per_address = (u64::from(arguments.agents) * 2 + 200).to_string();
    let flags = vec![
        ("--http", "http.address", arguments.http.clone()),
        ("--mqtt", "mqtt.address", arguments.mqtt.clone()),
        ("demo", "site.name", "Demonstration".into()),
        ("demo", "site.hosts", "127.0.0.1,localhost".into()),
        ("demo", "agent.enabled", "false".into()),
        ("demo", "log.level", "warn".into()),
        ("demo", "mqtt.connections_max", per_address.clone()),
        ("demo", "mqtt.connections_per_address_max", per_address),
    ];
    Ok(Config::assemble(&Sources { flags, ..Sources::default() })?)
}

/// A folder that goes away with the value unless it is kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn make(clock: &Clock, keep: bool) -> Result<Folder> {
        let random: String = clock.random::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("muster-demo-{random}"));
        let make = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
        make(&path).map_err(|e| {
            Error::unavailable(format!("`{}` cannot be made", path.display()))
                .because(e)
                .hint("set TMPDIR to a folder that can be written")
        })?;
        Ok(Folder { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
