//! The loop of the agent program: one thread, one connection, everything else by turns.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, Sleep};

use super::checkpoints::Checkpoints;
use super::credentials::{self, Credentials};
use super::session::{self, Happening, Session};
use super::spool::Spool;
use super::tasks::{Tasks, is_end};
use super::{Configuration, Options};
use crate::base::{Error, Result, Span};
use crate::engine::clock::Clock;
use crate::engine::crypto;
use crate::engine::host::{Host, Line, Logs as HostLogs};
use crate::wire::{
    Certificate, Down, Event, Events, Heartbeat, LogLine, Logs, Metrics, Severity, TaskReport, Up,
};

/// Back-off between attempts to connect: at first up to a second, at last up to five minutes.
const BACK_OFF_FIRST: u64 = 1_000;
const BACK_OFF_LAST: u64 = 300_000;
/// How long connecting, subscribing and the first message may take together.
const CONNECT_WITHIN: Duration = Duration::from_secs(40);
/// A session of this length was a good one; the back-off begins anew.
const GOOD_SESSION: Duration = Duration::from_secs(60);
/// How long running tasks may take to end when the program is stopped.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// How long the last messages may take to be acknowledged then; those that are not wait in the spool.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of lines in one message.
const LINES_BYTES_MAX: usize = 100 * 1024;

/// Runs the agent in `options.folder` until `stop`. Ends with an error only when it cannot work at all.
pub async fn run(options: &Options, clock: &Clock, stop: impl Future<Output = ()>) -> Result<()> {
    options.configuration.check()?;
    crypto::private_folder(&options.folder)?;
    let lock = File::options().create(true).truncate(false).write(true).open(options.folder.join("lock"))?;
    lock.try_lock().map_err(|_| {
        Error::conflict(format!("another agent runs in `{}`", options.folder.display()))
            .hint("give each agent a folder of its own")
    })?;
    let mut credentials = Credentials::load(&options.folder)?.ok_or_else(|| {
        Error::conflict("this agent has not joined a server").hint("start it with `--join CODE@HOST`")
    })?;
    if let Some(server) = &options.server {
        credentials.server = server.clone();
    }
    let configuration = &options.configuration;
    let spool = Spool::open(&options.folder.join("spool"), configuration.spool_bytes_max)?;
    let (tasks, reports, unknown) = Tasks::open(&options.folder.join("tasks"), configuration, clock)?;
    let mut program = Program {
        folder: options.folder.clone(),
        configuration: configuration.clone(),
        clock: clock.clone(),
        boot: boot(clock),
        sessions: 0,
        failures: 0,
        began: Duration::ZERO,
        credentials,
        checkpoints: Checkpoints::open(&options.folder),
        spool,
        tasks,
        unspooled: VecDeque::new(),
        host: Host::new(clock)?,
        logs: None,
        metrics: every(configuration.metrics_every),
        heartbeats: every(configuration.heartbeat_every),
        link: Link::Waiting(Box::pin(tokio::time::sleep(Duration::ZERO))),
    };
    program.follow_logs(true);
    for report in unknown {
        program.report(report);
    }
    program.work(reports, stop).await;
    drop(lock);
    Ok(())
}

/// A random text per start of the program.
pub(super) fn boot(clock: &Clock) -> String {
    clock.random::<8>().iter().map(|b| format!("{b:02x}")).collect()
}

/// How long to wait after so many failures: any time up to a bound that doubles, so that a fleet does not come back
/// all at once.
pub(super) fn back_off(failures: u32, clock: &Clock) -> Span {
    let doubled = BACK_OFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let most = doubled.min(BACK_OFF_LAST);
    Span::from_milliseconds(u64::from_le_bytes(clock.random()) % (most + 1))
}

fn every(span: Span) -> Interval {
    let mut interval = tokio::time::interval(span.duration().max(Duration::from_secs(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

struct Program {
    folder: PathBuf,
    configuration: Configuration,
    clock: Clock,
    boot: String,
    sessions: u64,
    failures: u32,
    began: Duration,
    credentials: Credentials,
    checkpoints: Checkpoints,
    spool: Spool,
    tasks: Tasks,
    /// Reports that the spool had no room for.
    unspooled: VecDeque<TaskReport>,
    host: Host,
    logs: Option<HostLogs>,
    metrics: Interval,
    heartbeats: Interval,
    link: Link,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Session>> + Send>>;

enum Link {
    Waiting(Pin<Box<Sleep>>),
    Connecting(Connecting),
    Up(Box<Session>),
}

enum Turn {
    Due,
    Connected(Result<Session>),
    Happened(Result<Happening>),
}

impl Link {
    async fn next(&mut self) -> Turn {
        match self {
            Link::Waiting(sleep) => {
                sleep.await;
                Turn::Due
            }
            Link::Connecting(connecting) => Turn::Connected(connecting.await),
            Link::Up(session) => Turn::Happened(session.next().await),
        }
    }
}

impl Program {
    async fn work(&mut self, mut reports: mpsc::Receiver<TaskReport>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut hours = every(Span::from_hours(1));
        self.start_tasks();
        loop {
            if let Err(error) = self.pump() {
                tracing::error!(%error, "the spool does not work");
            }
            tokio::select! {
                () = &mut stop => break,
                turn = self.link.next() => self.turn(turn),
                Some(report) = reports.recv() => {
                    self.report(report);
                    self.start_tasks();
                }
                _ = self.metrics.tick() => self.sample(),
                _ = self.heartbeats.tick() => self.beat(),
                lines = next_lines(&mut self.logs) => self.lines(lines),
                _ = hours.tick() => self.renew(),
            }
        }
        self.end(reports).await;
    }

    /// Tasks are asked to end and get their time; what they said is on disk before the goodbye.
    async fn end(&mut self, mut reports: mpsc::Receiver<TaskReport>) {
        self.tasks.stop();
        let ending = async {
            while self.tasks.running() > 0
                && let Some(report) = reports.recv().await
            {
                self.report(report);
            }
        };
        if tokio::time::timeout(STOP_WITHIN, ending).await.is_err() {
            tracing::warn!("tasks did not end in time");
        }
        let last = async {
            while self.pump().is_ok() && self.spool.waiting() > 0 && matches!(self.link, Link::Up(_)) {
                let turn = self.link.next().await;
                if let Turn::Happened(Ok(Happening::Told(_))) = turn {
                    // Nothing new is begun; what was not taken is sent again.
                    continue;
                }
                self.turn(turn);
            }
        };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, last).await;
        let waiting = Link::Waiting(Box::pin(tokio::time::sleep(Duration::ZERO)));
        if let Link::Up(session) = std::mem::replace(&mut self.link, waiting) {
            let _ = tokio::time::timeout(GOODBYE_WITHIN, session.disconnect()).await;
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Due => self.link = Link::Connecting(self.connect()),
            Turn::Connected(Ok(session)) => {
                tracing::info!(server = %self.credentials.server, "connected to `{}`", self.credentials.server);
                self.began = self.clock.monotonic();
                self.spool.rewind();
                self.link = Link::Up(Box::new(session));
                self.tell_dropped();
                self.renew();
            }
            Turn::Connected(Err(error)) => self.broken(&error),
            Turn::Happened(Ok(Happening::Acknowledged(sequence))) => self.acknowledged(sequence),
            Turn::Happened(Ok(Happening::Told(down))) => self.told(down),
            Turn::Happened(Err(error)) => {
                if self.clock.monotonic().saturating_sub(self.began) > GOOD_SESSION {
                    self.failures = 0;
                }
                self.metrics = every(self.configuration.metrics_every);
                self.broken(&error);
            }
        }
    }

    fn connect(&mut self) -> Connecting {
        self.sessions += 1;
        let (credentials, clock, boot) = (self.credentials.clone(), self.clock.clone(), self.boot.clone());
        let mut hello = session::hello(&self.configuration, &boot, &clock);
        hello.checkpoints = self.checkpoints.all();
        let sessions = self.sessions;
        Box::pin(async move {
            let connecting = async {
                let session = Session::connect(&credentials, &boot, sessions, &clock).await?;
                // Everything else comes after it on the same connection; there is nothing to wait for.
                drop(session.hello(hello).await?);
                Ok(session)
            };
            tokio::time::timeout(CONNECT_WITHIN, connecting)
                .await
                .unwrap_or_else(|_| Err(Error::unavailable("the server does not answer")))
        })
    }

    fn broken(&mut self, error: &Error) {
        self.failures = self.failures.saturating_add(1);
        let wait = back_off(self.failures, &self.clock);
        tracing::warn!(%error, wait_ms = wait.milliseconds(), "no connection to `{}`", self.credentials.server);
        self.spool.rewind();
        self.link = Link::Waiting(Box::pin(tokio::time::sleep(wait.duration())));
    }

    /// Brings what was appended to disk, then sends while there is room.
    fn pump(&mut self) -> Result<()> {
        self.spool.sync()?;
        if let Link::Up(session) = &mut self.link {
            while session.has_room()
                && let Some(record) = self.spool.next_to_send()?
            {
                match session.try_send(record) {
                    Ok(None) => {}
                    Ok(Some(record)) => {
                        self.spool.put_back(record);
                        break;
                    }
                    // The session tells of its end by itself, and then everything unacknowledged is sent again.
                    Err(_) => break,
                }
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, sequence: u64) {
        if let Err(error) = self.spool.acknowledge(sequence) {
            tracing::error!(%error, "the spool does not work");
        }
    }

    fn told(&mut self, down: Down) {
        match down {
            Down::Task(task) => {
                if let Some(report) = self.tasks.told(task) {
                    self.report(report);
                }
                self.start_tasks();
            }
            Down::Cancel(cancel) => {
                if let Some(report) = self.tasks.cancel(cancel.task) {
                    self.report(report);
                }
            }
            Down::Ask(ask) => {
                let report = self.tasks.asked(ask.task);
                self.report(report);
            }
            Down::Configuration(wanted) => {
                let or = |seconds: u64, own: Span| match seconds {
                    0 => own,
                    seconds => Span::from_seconds(seconds.min(3_600)),
                };
                self.metrics = every(or(wanted.metrics_seconds, self.configuration.metrics_every));
                self.heartbeats = every(or(wanted.heartbeat_seconds, self.configuration.heartbeat_every));
                self.follow_logs(wanted.logs);
            }
            Down::Acknowledgement(acknowledgement) => self.acknowledged(acknowledgement.sequence),
            Down::Checkpoint(checkpoint) => {
                if let Err(error) = self.checkpoints.told(checkpoint) {
                    tracing::warn!(%error, "a checkpoint of the audit log cannot be kept");
                }
            }
            Down::Certificate(certificate) => match self.take_certificate(certificate) {
                Ok(()) => tracing::info!("the certificate was renewed"),
                Err(error) => tracing::error!(%error, "the renewed certificate is of no use"),
            },
        }
    }

    fn start_tasks(&mut self) {
        if let Err(error) = self.tasks.start() {
            tracing::error!(%error, "tasks cannot begin");
        }
    }

    /// A task's report goes to the spool, and its end then to the ledger.
    fn report(&mut self, report: TaskReport) {
        self.unspooled.push_back(report);
        self.spool_reports();
    }

    fn spool_reports(&mut self) {
        while let Some(report) = self.unspooled.front() {
            let spooled = self.spool.append(Up::Task(report.clone())).and_then(|_| {
                // The end must be safe before the ledger says so.
                if is_end(report.state) { self.spool.sync() } else { Ok(()) }
            });
            if let Err(error) = spooled {
                tracing::error!(%error, task.id = %report.task, "the report of task `{}` waits", report.task);
                // Steps on the way may be missed; beginnings and ends may not.
                self.unspooled.retain(|r| is_end(r.state));
                return;
            }
            if let Err(error) = self.tasks.reported(report) {
                tracing::error!(%error, "the task ledger does not work");
            }
            self.unspooled.pop_front();
        }
    }

    fn sample(&mut self) {
        self.spool_reports();
        let values = self.host.sample();
        let at = Some(self.clock.now());
        self.append(Up::Metrics(Metrics { sequence: None, at, values, ticks: Vec::new() }));
    }

    fn beat(&mut self) {
        if let Link::Up(session) = &self.link {
            let beat = Heartbeat {
                clock: Some(self.clock.now()),
                spooled: self.spool.waiting(),
                boot: self.boot.clone(),
                time: session::time_service(),
            };
            // One that cannot be sent now need not be sent later.
            let _ = session.try_publish(&Up::Heartbeat(beat));
        }
    }

    fn lines(&mut self, lines: Vec<Line>) {
        let now = self.clock.now();
        let (mut message, mut bytes) = (Vec::new(), 0);
        for line in lines {
            bytes += line.text.len() + line.source.len() + 32;
            message.push(LogLine {
                at: Some(line.at.unwrap_or(now)),
                severity: severity(line.priority),
                source: line.source,
                text: line.text,
            });
            if bytes > LINES_BYTES_MAX {
                self.append(Up::Logs(Logs { sequence: None, lines: std::mem::take(&mut message) }));
                bytes = 0;
            }
        }
        if !message.is_empty() {
            self.append(Up::Logs(Logs { sequence: None, lines: message }));
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = self.spool.take_dropped();
        if dropped > 0 {
            let event = Event {
                id: format!("dropped-{}-{}", self.boot, self.sessions),
                at: Some(self.clock.now()),
                severity: Severity::Warn,
                name: "agent.spool_dropped".into(),
                text: format!("{dropped} messages of samples and lines were dropped: the spool was full"),
            };
            self.append(Up::Events(Events { sequence: None, events: vec![event] }));
        }
    }

    fn append(&mut self, up: Up) {
        if let Err(error) = self.spool.append(up) {
            tracing::warn!(%error, "a message could not be spooled and is lost");
        }
    }

    fn follow_logs(&mut self, wanted: bool) {
        let some = self.configuration.journal || !self.configuration.log_files.is_empty();
        if !(wanted && some) {
            self.logs = None;
        } else if self.logs.is_none() {
            self.logs = Some(HostLogs::follow(self.configuration.journal, &self.configuration.log_files));
        }
    }

    /// Asks for a new certificate, for a new key, when two thirds of the old one's life are over.
    fn renew(&mut self) {
        let Link::Up(session) = &self.link else { return };
        if !self.credentials.wants_renewal(self.clock.now()) {
            return;
        }
        let asked = credentials::pending(&self.folder).and_then(|request| {
            session.try_publish(&Up::Certificate(Certificate { pem: request.pem, authority: String::new() }))
        });
        if let Err(error) = asked {
            tracing::warn!(%error, "a new certificate cannot be asked for");
        }
    }

    fn take_certificate(&mut self, certificate: Certificate) -> Result<()> {
        let key = credentials::pending(&self.folder)?.key;
        let renewed = Credentials { certificate: certificate.pem, key, ..self.credentials.clone() };
        renewed.save(&self.folder, &self.clock)?;
        credentials::forget_pending(&self.folder);
        self.credentials = renewed;
        Ok(())
    }
}

async fn next_lines(logs: &mut Option<HostLogs>) -> Vec<Line> {
    match logs {
        Some(logs) => logs.next().await,
        None => std::future::pending().await,
    }
}

/// Syslog's severity by OpenTelemetry's names.
fn severity(priority: u8) -> Severity {
    match priority {
        0..=2 => Severity::Fatal,
        3 => Severity::Error,
        4 => Severity::Warn,
        5 | 6 => Severity::Info,
        _ => Severity::Debug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_to_five_minutes_and_is_spread() {
        let clock = Clock::manual(Default::default(), 9);
        let most = |failures: u32| (0..200).map(|_| back_off(failures, &clock).milliseconds()).max().unwrap();
        assert!((500..=1_000).contains(&most(1)));
        assert!((2_000..=4_000).contains(&most(3)));
        assert!((200_000..=300_000).contains(&most(30)) && most(u32::MAX) <= 300_000);
        assert!((0..200).map(|_| back_off(9, &clock).milliseconds()).min().unwrap() < 30_000);
    }
}
