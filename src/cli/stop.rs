//! Waiting for the end: SIGTERM or SIGINT begins it, a second one or the time limit forces it. SIGHUP is no end.

use std::sync::mpsc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::notify;
use crate::base::{Error, Result};

/// How long an orderly end may take.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Signals this close together are one.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// The signals, caught from now on.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches them. Must run inside a runtime.
    pub(super) fn catch() -> Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at the next one.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// As [`Signals::wait`]; meanwhile each SIGHUP runs `reload` on a thread of its own, one after the other.
    pub(super) async fn wait_and_reload(&mut self, reload: impl Fn() + Clone + Send + 'static) {
        let Signals { terminate, interrupt, hangup } = self;
        let reloading = async {
            while hangup.recv().await.is_some() {
                let _: Result<(), _> = tokio::task::spawn_blocking(reload.clone()).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = reloading => {}
        }
    }

    /// Returns at a signal that is meant as a second one: some senders give the first one twice.
    async fn insist(&mut self) {
        let same = async {
            loop {
                self.wait().await;
            }
        };
        let _: Result<(), _> = tokio::time::timeout(SAME_SIGNAL, same).await;
        self.wait().await;
    }

    /// Runs the drain on a thread of its own and waits for it, but not for ever.
    pub(super) async fn drain(&mut self, drain: impl FnOnce() + Send + 'static) -> Result<()> {
        notify::stopping();
        let (done, mut is_done) = tokio::sync::oneshot::channel();
        let work = move || {
            drain();
            let _ = done.send(());
        };
        std::thread::Builder::new().name("drain".into()).spawn(work)?;
        tokio::select! {
            _ = &mut is_done => Ok(()),
            () = self.insist() => Err(Error::unavailable("stopped at once, by a second signal")),
            () = tokio::time::sleep(DRAIN_MAX) => Err(Error::unavailable("the orderly end took too long")),
        }
    }
}

/// A thread with its own small runtime, and the switch that ends what runs on it.
pub(super) struct Worker {
    stop: tokio::sync::watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

impl Worker {
    /// Runs what `start` makes of the switch, on a thread called `name`.
    pub(super) fn start<F>(
        name: &str,
        threads: usize,
        start: impl FnOnce(tokio::sync::watch::Receiver<bool>) -> F + Send + 'static,
    ) -> Result<Worker>
    where
        F: Future<Output = Result<()>>,
    {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (end, ended) = mpsc::channel();
        let runtime = match threads {
            1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            n => tokio::runtime::Builder::new_multi_thread().worker_threads(n).enable_all().build()?,
        };
        let what = name.to_owned();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(start(stopped)) {
                tracing::error!("the {what} has ended: {error}");
            }
            // Blocking work of a runtime must not hold up the end.
            runtime.shutdown_background();
            let _ = end.send(());
        })?;
        Ok(Worker { stop, ended })
    }

    /// Turns the switch and waits for the end, two seconds at most.
    pub(super) fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.ended.recv_timeout(Duration::from_secs(2));
    }
}
