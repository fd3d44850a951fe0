//! Tasks at the agent: taken, queued, run within their limits, reported.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Configuration;
use super::ledger::{Ledger, Standing, report};
use super::session::inventory;
use crate::base::{Kind, Result, Span, TaskId, limits};
use crate::engine::clock::Clock;
use crate::engine::host::{self, Exceeded, Progress};
use crate::wire::{Task, TaskPhase, TaskReport, Work};

/// Reports of running tasks that wait to be spooled.
const REPORTS_MAX: usize = 64;
/// Output is reported this often, or when there is so much of it.
const OUTPUT_EVERY: Duration = Duration::from_secs(1);
const OUTPUT_BYTES: usize = 16 * 1024;
/// How long a program may take to end after it was asked to.
const GRACE: Span = Span::from_seconds(5);
/// What is said of a task that never arrived.
const NEVER_HERE: &str = "it never came to this agent, so it did not run";

/// The tasks of one agent.
pub struct Tasks {
    ledger: Ledger,
    configuration: Arc<Configuration>,
    clock: Clock,
    queue: VecDeque<Task>,
    running: BTreeMap<TaskId, Option<oneshot::Sender<()>>>,
    reports: mpsc::Sender<TaskReport>,
}

impl Tasks {
    /// Opens the ledger at `path`. Gives the tasks, where the reports of running ones come from, and the reports about
    /// what a crash left open. Tasks that had not begun are queued again; they begin with `start`.
    pub fn open(
        path: &Path,
        configuration: &Configuration,
        clock: &Clock,
    ) -> Result<(Tasks, mpsc::Receiver<TaskReport>, Vec<TaskReport>)> {
        let mut ledger = Ledger::open(path)?;
        let (waiting, mut unknown) = ledger.recover()?;
        for report in &mut unknown {
            report.at = Some(clock.now());
        }
        let (reports, receiver) = mpsc::channel(REPORTS_MAX);
        let tasks = Tasks {
            ledger,
            configuration: Arc::new(configuration.clone()),
            clock: clock.clone(),
            queue: waiting.into(),
            running: BTreeMap::new(),
            reports,
        };
        Ok((tasks, receiver, unknown))
    }

    /// Takes a task that the server sent and gives what is to be reported about it at once. One that was sent before
    /// is not taken again; if it has ended, its end is reported again.
    pub fn told(&mut self, task: Task) -> Option<TaskReport> {
        let id = task.task;
        let answer = match self.ledger.take(&task) {
            Ok(Standing::Taken) => {
                self.queue.push_back(task);
                report(id, TaskPhase::Accepted, "")
            }
            Ok(Standing::Open) => return None,
            Ok(Standing::Ended(report)) => *report,
            Err(error) => {
                tracing::warn!(%error, task.id = %id, "task `{id}` cannot be taken");
                let reason = if error.kind() == Kind::TooMany {
                    error.message()
                } else {
                    "its ledger cannot be written"
                };
                report(id, TaskPhase::Refused, reason)
            }
        };
        Some(TaskReport { at: Some(self.clock.now()), ..answer })
    }

    /// Stops a task: a waiting one at once, a running one gently. Gives what is to be reported at once. Of one that has
    /// ended the end is reported again; one that never arrived is cancelled here, so that it does not run when it does.
    pub fn cancel(&mut self, id: TaskId) -> Option<TaskReport> {
        if let Some(running) = self.running.get_mut(&id) {
            if let Some(cancel) = running.take() {
                let _ = cancel.send(());
            }
            return None;
        }
        let answer = if let Some(place) = self.queue.iter().position(|t| t.task == id) {
            self.queue.remove(place);
            report(id, TaskPhase::Cancelled, "it had not begun")
        } else {
            match self.ledger.standing(id) {
                Some(Standing::Ended(report)) => *report,
                Some(_) => return None,
                None => report(id, TaskPhase::Cancelled, "it had not arrived"),
            }
        };
        Some(TaskReport { at: Some(self.clock.now()), ..answer })
    }

    /// Says what the ledger knows of a task; the server asks after a restore. One that never arrived does not run here,
    /// not even when it does: its end goes into the ledger as soon as this is reported.
    pub fn asked(&mut self, id: TaskId) -> TaskReport {
        let answer = match self.ledger.standing(id) {
            Some(Standing::Ended(report)) => *report,
            Some(_) if self.running.contains_key(&id) => report(id, TaskPhase::Running, ""),
            Some(_) => report(id, TaskPhase::Accepted, ""),
            None => report(id, TaskPhase::Unknown, NEVER_HERE),
        };
        TaskReport { at: Some(self.clock.now()), ..answer }
    }

    /// A report has been spooled. The end of a task goes into the ledger after its report is safe.
    pub fn reported(&mut self, report: &TaskReport) -> Result<()> {
        if !is_end(report.state) {
            return Ok(());
        }
        self.running.remove(&report.task);
        self.ledger.end(report)
    }

    /// Begins what waits while there is room. Call it within the runtime, after a task was taken or has ended.
    pub fn start(&mut self) -> Result<()> {
        while self.running.len() < self.configuration.tasks_at_once_max
            && let Some(task) = self.queue.pop_front()
        {
            // It stands in the ledger as begun before it may have any effect.
            if let Err(error) = self.ledger.begin(task.task) {
                self.queue.push_front(task);
                return Err(error);
            }
            let (cancel, cancelled) = oneshot::channel();
            self.running.insert(task.task, Some(cancel));
            let worker = Worker {
                configuration: Arc::clone(&self.configuration),
                clock: self.clock.clone(),
                reports: self.reports.clone(),
                id: task.task,
            };
            tokio::spawn(worker.work(task, cancelled));
        }
        Ok(())
    }

    /// Asks everything that runs to end; nothing further begins.
    pub fn stop(&mut self) {
        self.queue.clear();
        let ids: Vec<TaskId> = self.running.keys().copied().collect();
        for id in ids {
            self.cancel(id);
        }
    }

    /// Tasks that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }
}

/// Whether nothing follows this phase.
pub(super) fn is_end(state: TaskPhase) -> bool {
    !matches!(state, TaskPhase::Accepted | TaskPhase::Running)
}

struct Worker {
    configuration: Arc<Configuration>,
    clock: Clock,
    reports: mpsc::Sender<TaskReport>,
    id: TaskId,
}

impl Worker {
    async fn work(self, task: Task, cancelled: oneshot::Receiver<()>) {
        self.say(report(self.id, TaskPhase::Running, "")).await;
        let last = match &task.work {
            Work::Ping => report(self.id, TaskPhase::Succeeded, ""),
            Work::Inventory => match tokio::task::spawn_blocking(|| host::inventory(true)).await {
                Ok(found) => TaskReport {
                    inventory: Some(inventory(found)),
                    ..report(self.id, TaskPhase::Succeeded, "")
                },
                Err(_) => report(self.id, TaskPhase::Failed, "the inventory could not be taken"),
            },
            Work::Command { name, arguments } => match self.configuration.argv(name, arguments) {
                Ok(argv) => self.command(&task, argv, cancelled).await,
                Err(error) => report(self.id, TaskPhase::Refused, error.message()),
            },
        };
        self.say(last).await;
    }

    async fn command(
        &self,
        task: &Task,
        argv: Vec<String>,
        mut cancelled: oneshot::Receiver<()>,
    ) -> TaskReport {
        let seconds = task.seconds_max.clamp(1, limits::TASK_SECONDS_MAX);
        let command = host::Command {
            argv,
            folder: None,
            environment: vec![("MUSTER_TASK".into(), self.id.to_string())],
            within: Span::from_seconds(seconds),
            grace: GRACE,
            output_bytes_max: task.output_bytes_max.min(limits::TASK_OUTPUT_BYTES_MAX as u64),
            memory_bytes_max: task.memory_bytes_max,
        };
        let mut running = match host::run(&command) {
            Ok(running) => running,
            Err(error) => return report(self.id, TaskPhase::Failed, error.message()),
        };
        let mut output = Output::default();
        let mut asked = false;
        let mut ticks = tokio::time::interval(OUTPUT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                progress = running.next() => match progress {
                    Progress::Output(bytes) => {
                        output.bytes.extend(bytes);
                        if output.bytes.len() >= OUTPUT_BYTES {
                            self.flush(&mut output).await;
                        }
                    }
                    Progress::Ended(ended) => return self.ended(ended, output),
                },
                _ = ticks.tick() => self.flush(&mut output).await,
                // A dropped sender means that the program ends; the one who waits for it says what happens to it.
                Ok(()) = &mut cancelled, if !asked => {
                    asked = true;
                    running.cancel();
                }
            }
        }
    }

    async fn flush(&self, output: &mut Output) {
        let (text, offset) = output.take(false);
        if !text.is_empty() {
            self.say(TaskReport { output: text, offset, ..report(self.id, TaskPhase::Running, "") }).await;
        }
    }

    fn ended(&self, ended: host::Ended, mut output: Output) -> TaskReport {
        let (state, reason) = match (&ended.exceeded, ended.cancelled, ended.exit, ended.signal) {
            (Some(Exceeded::Time), ..) => (TaskPhase::Exceeded, "it ran longer than it may".to_owned()),
            (Some(Exceeded::Output), ..) => {
                (TaskPhase::Exceeded, "it gave more output than it may".to_owned())
            }
            (None, true, ..) => (TaskPhase::Cancelled, "it was asked to end".to_owned()),
            (None, false, Some(0), _) => (TaskPhase::Succeeded, String::new()),
            (None, false, Some(exit), _) => (TaskPhase::Failed, format!("it ended with exit status {exit}")),
            (None, false, None, signal) => {
                (TaskPhase::Failed, format!("it was ended by signal {}", signal.unwrap_or_default()))
            }
        };
        let (text, offset) = output.take(true);
        TaskReport { output: text, offset, exit: ended.exit, ..report(self.id, state, &reason) }
    }

    async fn say(&self, report: TaskReport) {
        // Nobody listens any more when the program ends; the ledger will say so.
        let _ = self.reports.send(TaskReport { at: Some(self.clock.now()), ..report }).await;
    }
}

/// Output on its way to being text.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    offset: u64,
}

impl Output {
    /// The text so far and where it begins; a character whose end is still to come waits, unless this is `all`.
    fn take(&mut self, all: bool) -> (String, u64) {
        let end = match std::str::from_utf8(&self.bytes) {
            Err(e) if !all && e.error_len().is_none() => e.valid_up_to(),
            // Something wrong before may hide a cut character at the end.
            Err(_) if !all => {
                let tail = self.bytes.iter().rev().take(3).position(|b| *b >= 0xc0);
                tail.map_or(self.bytes.len(), |back| {
                    let at = self.bytes.len() - back - 1;
                    let cut = std::str::from_utf8(&self.bytes[at..]).is_err_and(|e| e.error_len().is_none());
                    if cut { at } else { self.bytes.len() }
                })
            }
            _ => self.bytes.len(),
        };
        let rest = self.bytes.split_off(end);
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        self.bytes = rest;
        let offset = self.offset;
        self.offset += text.len() as u64;
        (text, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(folder: &Path) -> (Tasks, mpsc::Receiver<TaskReport>, Vec<TaskReport>) {
        let configuration: Configuration = toml::from_str(
            "tasks_at_once_max = 1\n[commands.sh]\nargv = [\"/bin/sh\", \"-c\"]\ntakes_arguments = true\n",
        )
        .unwrap();
        Tasks::open(&folder.join("tasks"), &configuration, &Clock::system()).unwrap()
    }

    fn command(id: u128, script: &str) -> Task {
        Task {
            task: TaskId::from_bits(id),
            work: Work::Command { name: "sh".into(), arguments: vec![script.into()] },
            seconds_max: 20,
            output_bytes_max: 1_000,
            memory_bytes_max: 0,
        }
    }

    async fn until_end(tasks: &mut Tasks, reports: &mut mpsc::Receiver<TaskReport>) -> (String, TaskReport) {
        let mut output = String::new();
        loop {
            let report = reports.recv().await.unwrap();
            assert_eq!(
                report.offset,
                output.len() as u64 * u64::from(!report.output.is_empty() || report.offset > 0)
            );
            output.push_str(&report.output);
            tasks.reported(&report).unwrap();
            if is_end(report.state) {
                return (output, report);
            }
        }
    }

    #[tokio::test]
    async fn a_task_runs_once_and_is_reported_again_when_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut all, mut reports, _) = tasks(folder.path());
        let task = command(1, &format!("echo x >> {}/ran; echo out; exit 4", folder.path().display()));
        assert_eq!(all.told(task.clone()).unwrap().state, TaskPhase::Accepted);
        assert!(all.told(task.clone()).is_none());
        all.start().unwrap();
        let (output, last) = until_end(&mut all, &mut reports).await;
        assert_eq!((output.as_str(), last.state, last.exit), ("out\n", TaskPhase::Failed, Some(4)));
        let again = all.told(task).unwrap();
        assert_eq!((again.state, again.exit, again.offset), (TaskPhase::Failed, Some(4), 4));
        all.start().unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("ran")).unwrap(), "x\n");
    }

    #[tokio::test]
    async fn cancelling_stops_what_waits_and_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (mut all, mut reports, _) = tasks(folder.path());
        all.told(command(1, "echo up; sleep 60")).unwrap();
        all.told(command(2, "echo never")).unwrap();
        all.start().unwrap();
        assert_eq!(all.running(), 1);
        let waiting = all.cancel(TaskId::from_bits(2)).unwrap();
        assert_eq!(waiting.state, TaskPhase::Cancelled);
        all.reported(&waiting).unwrap();
        assert!(all.cancel(TaskId::from_bits(1)).is_none());
        let (_, last) = until_end(&mut all, &mut reports).await;
        assert_eq!(last.state, TaskPhase::Cancelled);
        assert_eq!(all.told(command(2, "echo never")).unwrap().state, TaskPhase::Cancelled);
        assert_eq!(all.cancel(TaskId::from_bits(2)).unwrap().state, TaskPhase::Cancelled, "its end, again");
        let lost =
            all.cancel(TaskId::from_bits(3)).expect("whoever waits for the end of a lost task hears it");
        assert_eq!(lost.state, TaskPhase::Cancelled);
        all.reported(&lost).unwrap();
        assert_eq!(all.told(command(3, "echo late")).unwrap().state, TaskPhase::Cancelled);
    }

    #[tokio::test]
    async fn what_became_of_a_task_is_told_and_never_run() {
        let folder = tempfile::tempdir().unwrap();
        let (mut all, mut reports, _) = tasks(folder.path());
        all.told(command(1, "exit 3")).unwrap();
        all.start().unwrap();
        until_end(&mut all, &mut reports).await;
        all.told(command(2, "sleep 60")).unwrap();
        all.told(command(3, "echo")).unwrap();
        all.start().unwrap();
        for (id, state, exit) in [
            (1, TaskPhase::Failed, Some(3)),
            (2, TaskPhase::Running, None),
            (3, TaskPhase::Accepted, None),
            (4, TaskPhase::Unknown, None),
        ] {
            let answer = all.asked(TaskId::from_bits(id));
            assert_eq!((answer.state, answer.exit), (state, exit), "{id}");
            all.reported(&answer).unwrap();
        }
        // The one that never came was asked for: should it come after all, it does not run.
        let late = all.told(command(4, &format!("echo x >> {}/ran", folder.path().display()))).unwrap();
        assert_eq!((late.state, late.reason.as_str()), (TaskPhase::Unknown, NEVER_HERE));
        assert_eq!(all.queue.len(), 1);
    }

    #[tokio::test]
    async fn what_a_crash_left_open_is_unknown_and_does_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut all, reports, _) = tasks(folder.path());
        all.told(command(1, "sleep 60")).unwrap();
        all.told(command(2, "echo later")).unwrap();
        all.start().unwrap();
        drop((all, reports));
        let (mut all, mut reports, unknown) = tasks(folder.path());
        assert_eq!((unknown.len(), unknown[0].state), (1, TaskPhase::Unknown));
        assert_eq!(all.told(command(1, "sleep 60")).unwrap().state, TaskPhase::Unknown);
        // The second had not begun: it runs now.
        all.start().unwrap();
        let (output, last) = until_end(&mut all, &mut reports).await;
        assert_eq!((output.as_str(), last.state), ("later\n", TaskPhase::Succeeded));
    }

    #[tokio::test]
    async fn ping_inventory_and_what_is_not_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut all, mut reports, _) = tasks(folder.path());
        let works = [
            (Work::Ping, TaskPhase::Succeeded),
            (Work::Inventory, TaskPhase::Succeeded),
            (Work::Command { name: "reboot".into(), arguments: Vec::new() }, TaskPhase::Refused),
        ];
        for (id, (work, state)) in works.into_iter().enumerate() {
            let asks = work == Work::Inventory;
            all.told(Task { work, ..command(id as u128, "") }).unwrap();
            all.start().unwrap();
            let (_, last) = until_end(&mut all, &mut reports).await;
            assert_eq!((last.state, last.inventory.is_some()), (state, asks), "{}", last.reason);
        }
    }

    #[test]
    fn characters_are_not_torn() {
        let mut output = Output { bytes: "aé".as_bytes()[..2].to_vec(), offset: 0 };
        assert_eq!(output.take(false), ("a".to_owned(), 0));
        output.bytes.extend_from_slice(&"é".as_bytes()[1..]);
        assert_eq!(output.take(false), ("é".to_owned(), 1));
        output.bytes = vec![0xff, b'x', 0xe2, 0x82];
        assert_eq!(output.take(false), ("\u{fffd}x".to_owned(), 3));
        assert_eq!(output.take(true), ("\u{fffd}".to_owned(), 7));
    }
}
