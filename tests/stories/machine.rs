//! A real agent program on a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;

use muster::agent::{AllowedCommand, Configuration, Options, Server, join, run};
use muster::base::{AgentId, Result};
use muster::engine::clock::Clock;
use muster::engine::crypto::JoinCode;
use tokio::sync::Notify;

use crate::devices::runtime;
use crate::harness::Muster;

pub(crate) struct Machine {
    id: AgentId,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<Result<()>>>,
    _folder: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn join(muster: &Muster, labels: &str) -> Machine {
        Machine::join_with(muster, &muster.join_code(labels)).unwrap()
    }

    pub(crate) fn join_with(muster: &Muster, code: &str) -> Result<Machine> {
        let folder = tempfile::tempdir()?;
        let command = |argv: &[&str]| AllowedCommand {
            argv: argv.iter().map(|a| a.to_string()).collect(),
            description: String::new(),
            takes_arguments: false,
        };
        let mut configuration = Configuration { journal: false, ..Configuration::default() };
        configuration.commands.insert("hello".into(), command(&["/bin/echo", "hello from here"]));
        configuration.commands.insert("wait".into(), command(&["/bin/sleep", "60"]));
        let options = Options {
            folder: folder.path().join("agent"),
            server: Some(Server { host: "127.0.0.1".into(), port: muster.server().gate_address().port() }),
            join: Some(code.parse::<JoinCode>()?),
            configuration,
        };
        let clock = Clock::system();
        let credentials = runtime().block_on(join(&options, &clock))?;
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            runtime().block_on(run(&options, &clock, async move { stopped.notified().await }))
        });
        Ok(Machine { id: credentials.agent, stop, thread: Some(thread), _folder: folder })
    }

    pub(crate) fn id(&self) -> AgentId {
        self.id
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self._folder.path().join("agent")
    }

    pub(crate) fn stop(mut self) {
        self.stop.notify_one();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}
