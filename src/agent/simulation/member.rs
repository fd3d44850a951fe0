//! One member's life: it joins, connects, tells its history, and then lives; it comes back when the connection breaks.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::fleet::{Member, Trouble};
use super::{Progress, Shared, curves, lines, tasks};
use crate::base::{AgentId, Error, Result, Secret, Span, TaskId, TenantId, Timestamp};
use crate::engine::crypto::{JoinCode, Pin, client_config, signing_request};
use crate::engine::outbound::mqtt::{Client, Incoming, Options, Quality, connect};
use crate::wire::{
    Configuration, Down, Events, Heartbeat, Hello, JOIN_DOWN, JOIN_UP, JoinAnswer, JoinRequest, Logs,
    Metrics, Task, TaskPhase, TaskReport, Tick, Topic, Up, Work,
};

/// The user name of a joining session; the password is the secret part of its code.
const JOIN_USER: &str = "join";
/// Minutes of history in one message.
const HISTORY_TICKS: usize = 480;
/// Messages that a member answers at most once: the last so many tasks are remembered.
const TASKS_KEPT: usize = 1_000;
/// Heartbeats and samples until the server says otherwise.
const HEARTBEAT_SECONDS: u64 = 10;
const METRICS_SECONDS: u64 = 10;

/// What a member is once it has joined.
struct Identity {
    tenant: TenantId,
    agent: AgentId,
    certificate: String,
    authority: String,
    key: Secret<Vec<u8>>,
}

/// What outlives a connection.
#[derive(Default)]
struct Memory {
    history_told: bool,
    greeted: bool,
    done: HashSet<TaskId>,
}

/// Lives until it is dropped.
pub(super) async fn live(shared: Arc<Shared>, member: Member) {
    let identity = loop {
        let permit = shared.joining.acquire().await;
        let joined = join(&shared, &member).await;
        drop(permit);
        match joined {
            Ok(identity) => break identity,
            Err(error) => {
                Progress::count(&shared.progress.failed);
                tracing::debug!(member = %member.name, "a member could not join: {error}");
                rest(300).await;
            }
        }
    };
    let mut memory = Memory::default();
    loop {
        if let Err(error) = session(&shared, &member, &identity, &mut memory).await {
            tracing::debug!(member = %member.name, "a member's session ended: {error}");
        }
        match member.trouble {
            // It never comes back.
            Trouble::Silent if memory.history_told => return std::future::pending().await,
            _ => rest(1_500).await,
        }
    }
}

async fn rest(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

fn hello(shared: &Shared, member: &Member) -> Hello {
    let now = shared.options.clock.now();
    Hello {
        version: member.version.into(),
        hostname: member.name.clone(),
        inventory: member.inventory(now, false),
        boot: format!("{:016x}", curves::mix(member.seed, shared.started.milliseconds() as u64)),
        clock: Some(now),
        labels: member.labels(),
        commands: tasks::COMMANDS.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect(),
        checkpoints: Vec::new(),
    }
}

async fn join(shared: &Arc<Shared>, member: &Member) -> Result<Identity> {
    let (codes, labels) = (Arc::clone(&shared.options.codes), member.labels());
    let code: JoinCode = tokio::task::spawn_blocking(move || codes(labels)).await??.parse()?;
    let signing = signing_request()?;
    let mut options = Options::new(&shared.options.host, shared.options.port, &member.name);
    options.tls = Some(client_config(&Pin::Short(code.authority().to_owned()), None, &shared.options.clock)?);
    options.user = Some(JOIN_USER.into());
    options.password = Some(Secret::new(code.secret().to_owned()));
    let (client, mut incoming) = connect(&options).await?;
    client.subscribe(&[(JOIN_DOWN, Quality::AtLeastOnce)]).await?;
    let request = JoinRequest { request: signing.pem.clone(), hello: hello(shared, member) };
    loop {
        client.publish(JOIN_UP, request.json(), Quality::AtLeastOnce).await?;
        let message = incoming.next().await.ok_or_else(|| Error::unavailable("no answer to the join"))??;
        match JoinAnswer::decode(&message.payload)? {
            JoinAnswer::Pending { seconds, .. } => rest(1_000 * seconds.clamp(1, 60)).await,
            JoinAnswer::Refused { reason } => return Err(Error::forbidden(reason)),
            JoinAnswer::Joined { tenant, agent, certificate, authority } => {
                // It has joined; a goodbye that is not heard does no harm.
                let _ = client.disconnect().await;
                return Ok(Identity { tenant, agent, certificate, authority, key: signing.key });
            }
        }
    }
}

/// One connection.
struct Session<'a> {
    shared: &'a Arc<Shared>,
    member: &'a Member,
    identity: &'a Identity,
    client: Client,
}

async fn session(
    shared: &Arc<Shared>,
    member: &Member,
    identity: &Identity,
    memory: &mut Memory,
) -> Result<()> {
    let mut options = Options::new(&shared.options.host, shared.options.port, &identity.agent.to_string());
    let own = (identity.certificate.as_str(), &identity.key);
    options.tls =
        Some(client_config(&Pin::Authority(identity.authority.clone()), Some(own), &shared.options.clock)?);
    let (client, incoming) = connect(&options).await?;
    let filter = Topic::down_filter(identity.tenant, identity.agent);
    client.subscribe(&[(&filter, Quality::AtLeastOnce)]).await?;
    let session = Session { shared, member, identity, client };
    session.send(&Up::Hello(hello(shared, member))).await?;
    if !memory.greeted {
        memory.greeted = true;
        Progress::count(&shared.progress.live);
        let now = shared.options.clock.now();
        let events = lines::opening(member, now, shared.story_hours(now));
        session.send(&Up::Events(Events { sequence: None, events })).await?;
    }
    if !memory.history_told {
        session.history().await?;
        memory.history_told = true;
        Progress::count(&shared.progress.told);
    }
    session.work(incoming, memory).await
}

impl Session<'_> {
    /// Sends and waits until it is on the server's disk.
    async fn send(&self, message: &Up) -> Result<()> {
        let topic = Topic::Up(self.identity.tenant, self.identity.agent, message.kind()).to_string();
        self.client.publish(&topic, message.compact(), Quality::AtLeastOnce).await?.acknowledged().await
    }

    fn now(&self) -> Timestamp {
        self.shared.options.clock.now()
    }

    fn values(&self, at: Timestamp) -> BTreeMap<String, f64> {
        let booted = self.member.booted(self.shared.started);
        curves::values(self.member, at, booted, self.shared.story_hours(at))
    }

    /// Everything before the start, a minute apart, in few messages.
    async fn history(&self) -> Result<()> {
        let Ok(_permit) = self.shared.history.acquire().await else { return Ok(()) };
        let (minutes, end) = (self.shared.options.history.seconds() / 60, self.shared.started);
        let first = end.milliseconds() - (minutes * 60_000) as i64;
        let instants: Vec<Timestamp> =
            (0..minutes as i64).map(|n| Timestamp::from_milliseconds(first + n * 60_000)).collect();
        for part in instants.chunks(HISTORY_TICKS) {
            let ticks = part.iter().map(|at| Tick { at: *at, values: self.values(*at) }).collect();
            self.send(&Up::Metrics(Metrics { ticks, ..Metrics::default() })).await?;
        }
        let hours = |at: Timestamp| self.shared.story_hours(at);
        let told = lines::lines(self.member, Timestamp::from_milliseconds(first), end, 600_000, hours);
        if told.is_empty() {
            return Ok(());
        }
        self.send(&Up::Logs(Logs { sequence: None, lines: told })).await
    }

    async fn work(&self, mut incoming: Incoming, memory: &mut Memory) -> Result<()> {
        let speed = self.shared.options.speed.max(0.01);
        let draw = curves::unit(self.member.seed, self.now().milliseconds() as u64);
        let ends = match self.member.trouble {
            Trouble::Silent => Some(25.0 / speed),
            Trouble::Flaps => Some((12.0 + 20.0 * draw) / speed),
            _ => None,
        };
        let end = tokio::time::sleep(Duration::from_secs_f64(ends.unwrap_or(1e8).max(1.0)));
        tokio::pin!(end);
        let (mut sampling, mut beating) =
            (every(METRICS_SECONDS, draw), every(HEARTBEAT_SECONDS, draw / 2.0));
        let mut writing = every(30, draw);
        let mut written = self.now();
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                message = incoming.next() => {
                    let message = message.ok_or_else(|| Error::unavailable("the connection has ended"))??;
                    let Ok(Topic::Down(_, _, kind)) = Topic::parse(&message.topic) else { continue };
                    match Down::decode(kind, &message.payload)? {
                        Down::Task(task) => self.task(task, memory).await?,
                        Down::Configuration(wanted) => {
                            let Configuration { metrics_seconds, heartbeat_seconds, .. } = wanted;
                            sampling = every(metrics_seconds.clamp(1, 300), draw);
                            beating = every(heartbeat_seconds.clamp(1, 300), draw / 2.0);
                        }
                        Down::Ask(_)
                        | Down::Cancel(_)
                        | Down::Acknowledgement(_)
                        | Down::Certificate(_)
                        | Down::Checkpoint(_) => {}
                    }
                }
                _ = sampling.tick() => {
                    let at = self.now();
                    let metrics = Metrics { at: Some(at), values: self.values(at), ..Metrics::default() };
                    self.send(&Up::Metrics(metrics)).await?;
                }
                _ = beating.tick() => {
                    let (clock, boot) = (Some(self.now()), hello(self.shared, self.member).boot);
                    self.send(&Up::Heartbeat(Heartbeat { clock, spooled: 0, boot, time: None })).await?;
                }
                _ = writing.tick() => {
                    let (from, to) = (written, self.now());
                    let hours = |at: Timestamp| self.shared.story_hours(at);
                    let told = lines::lines(self.member, from, to, 20_000, hours);
                    written = to;
                    if !told.is_empty() {
                        self.send(&Up::Logs(Logs { sequence: None, lines: told })).await?;
                    }
                }
            }
        }
    }

    /// Takes a task once and reports its end.
    async fn task(&self, task: Task, memory: &mut Memory) -> Result<()> {
        if memory.done.len() >= TASKS_KEPT {
            memory.done.clear();
        }
        if !memory.done.insert(task.task) {
            return Ok(());
        }
        let report = |state| TaskReport {
            task: task.task,
            state,
            sequence: None,
            at: Some(self.now()),
            output: String::new(),
            offset: 0,
            exit: None,
            reason: String::new(),
            inventory: None,
        };
        self.send(&Up::Task(report(TaskPhase::Accepted))).await?;
        let now = self.now();
        let end = match &task.work {
            Work::Ping => TaskReport { output: "pong\n".into(), ..report(TaskPhase::Succeeded) },
            Work::Inventory => TaskReport {
                inventory: Some(self.member.inventory(now, true)),
                ..report(TaskPhase::Succeeded)
            },
            Work::Command { name, arguments } => {
                match tasks::answer(self.member, name, now, self.shared.story_hours(now)) {
                    Some(_) if !arguments.is_empty() => TaskReport {
                        reason: format!("`{name}` takes no arguments here"),
                        ..report(TaskPhase::Refused)
                    },
                    Some((output, exit)) => {
                        self.send(&Up::Task(report(TaskPhase::Running))).await?;
                        rest(tasks::length_ms(self.member, task.task.bits() as u64)).await;
                        let state = if exit == 0 { TaskPhase::Succeeded } else { TaskPhase::Failed };
                        let reason = if exit == 0 { String::new() } else { format!("exit status {exit}") };
                        TaskReport { output, exit: Some(exit), reason, ..report(state) }
                    }
                    None => TaskReport {
                        reason: format!("`{name}` is not in this agent's list of commands"),
                        ..report(TaskPhase::Refused)
                    },
                }
            }
        };
        self.send(&Up::Task(TaskReport { at: Some(self.now()), ..end })).await
    }
}

/// A timer whose first tick comes somewhere within its period, so that a fleet does not beat as one.
fn every(seconds: u64, part: f64) -> tokio::time::Interval {
    let period = Span::from_seconds(seconds.max(1)).duration();
    let first = tokio::time::Instant::now() + period.mul_f64(part.clamp(0.0, 1.0));
    let mut interval = tokio::time::interval_at(first, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}
