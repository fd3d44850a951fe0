//! The ledger of tasks: what was taken, begun and ended, so that nothing runs twice.
//!
//! One file of lines, each a checksum and JSON, synced before what it says is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, TaskId};
use crate::engine::crypto::write_private;
use crate::wire::{Task, TaskPhase, TaskReport};

/// Tasks whose end is remembered.
const REMEMBERED_MAX: usize = 5_000;
/// Tasks that wait or run.
const OPEN_MAX: usize = crate::base::limits::TASKS_QUEUED_PER_AGENT_MAX;
/// Lines after which the file is written anew.
const LINES_MAX: usize = 20_000;

/// What the ledger says about a task that the server asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It stands in the ledger now and may run, once.
    Taken,
    /// It was taken before and has not ended.
    Open,
    /// It ended, like this.
    Ended(Box<TaskReport>),
}

/// The ledger.
pub struct Ledger {
    path: PathBuf,
    file: File,
    open: BTreeMap<TaskId, (Task, bool)>,
    ended: BTreeMap<TaskId, TaskReport>,
    /// Everything up to this id has been forgotten, so it must not run.
    forgotten: Option<TaskId>,
    lines: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
enum Entry {
    Taken { task: Task },
    Begun { task: TaskId },
    Ended { report: Box<TaskReport> },
    Forgotten { task: TaskId },
}

impl Ledger {
    /// Opens the ledger at `path`, or begins one. A line that a crash left half-written is passed over: what it would
    /// have said has not been done.
    pub fn open(path: &Path) -> Result<Ledger> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::unavailable("the task ledger cannot be read").because(e)),
        };
        let (mut open, mut ended, mut forgotten) = (BTreeMap::new(), BTreeMap::new(), None);
        for line in text.lines() {
            match entry_of(line) {
                Some(Entry::Taken { task }) => drop(open.insert(task.task, (task, false))),
                Some(Entry::Begun { task }) => {
                    if let Some((_, begun)) = open.get_mut(&task) {
                        *begun = true;
                    }
                }
                Some(Entry::Ended { report }) => {
                    open.remove(&report.task);
                    ended.insert(report.task, *report);
                }
                Some(Entry::Forgotten { task }) => forgotten = forgotten.max(Some(task)),
                None => tracing::warn!("a line of the task ledger cannot be read and is passed over"),
            }
        }
        let file = append_to(path)?;
        let mut ledger = Ledger { path: path.to_owned(), file, open, ended, forgotten, lines: 0 };
        ledger.rewrite()?;
        Ok(ledger)
    }

    /// Takes a task, or says what became of it. It is on disk when this says `Taken`.
    pub fn take(&mut self, task: &Task) -> Result<Standing> {
        let id = task.task;
        if let Some(standing) = self.standing(id) {
            return Ok(standing);
        }
        if self.open.len() >= OPEN_MAX {
            return Err(Error::too_many(format!("{OPEN_MAX} tasks wait at this agent")));
        }
        self.write(&Entry::Taken { task: task.clone() })?;
        self.open.insert(id, (task.clone(), false));
        Ok(Standing::Taken)
    }

    /// What is known of a task; nothing of one that never arrived.
    pub fn standing(&self, id: TaskId) -> Option<Standing> {
        if let Some(report) = self.ended.get(&id) {
            return Some(Standing::Ended(Box::new(report.clone())));
        }
        if self.open.contains_key(&id) {
            return Some(Standing::Open);
        }
        self.forgotten.filter(|forgotten| id <= *forgotten).map(|_| {
            let reason = "it is older than this agent remembers; nobody knows whether it ran";
            Standing::Ended(Box::new(report(id, TaskPhase::Unknown, reason)))
        })
    }

    /// A task begins now. Only after this returns may it have an effect.
    pub fn begin(&mut self, task: TaskId) -> Result<()> {
        self.write(&Entry::Begun { task })?;
        if let Some((_, begun)) = self.open.get_mut(&task) {
            *begun = true;
        }
        Ok(())
    }

    /// A task has ended. Of its report everything but output and inventory is remembered.
    pub fn end(&mut self, report: &TaskReport) -> Result<()> {
        let offset = report.offset + report.output.len() as u64;
        let kept =
            TaskReport { output: String::new(), offset, inventory: None, sequence: None, ..report.clone() };
        self.write(&Entry::Ended { report: Box::new(kept.clone()) })?;
        self.open.remove(&kept.task);
        self.ended.insert(kept.task, kept);
        while self.ended.len() > REMEMBERED_MAX {
            if let Some((oldest, _)) = self.ended.pop_first() {
                self.forgotten = self.forgotten.max(Some(oldest));
            }
        }
        if self.lines > LINES_MAX {
            self.rewrite()?;
        }
        Ok(())
    }

    /// After a start: the tasks that were taken and never begun, oldest first, and the reports of those that had
    /// begun. The latter are ended as unknown with this.
    pub fn recover(&mut self) -> Result<(Vec<Task>, Vec<TaskReport>)> {
        let begun: BTreeSet<TaskId> =
            self.open.iter().filter(|(_, (_, begun))| *begun).map(|(id, _)| *id).collect();
        let mut reports = Vec::new();
        for id in begun {
            let report = report(id, TaskPhase::Unknown, "the agent ended while it ran");
            self.end(&report)?;
            reports.push(report);
        }
        Ok((self.open.values().map(|(task, _)| task.clone()).collect(), reports))
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        let failed = |e| Error::unavailable("the task ledger cannot be written").because(e);
        self.file.write_all(line_of(entry)?.as_bytes()).map_err(failed)?;
        self.lines += 1;
        self.file.sync_data().map_err(failed)
    }

    fn rewrite(&mut self) -> Result<()> {
        let mut text = String::new();
        let mut entries: Vec<Entry> =
            self.forgotten.map(|task| Entry::Forgotten { task }).into_iter().collect();
        entries.extend(self.ended.values().map(|report| Entry::Ended { report: Box::new(report.clone()) }));
        for (id, (task, begun)) in &self.open {
            entries.push(Entry::Taken { task: task.clone() });
            if *begun {
                entries.push(Entry::Begun { task: *id });
            }
        }
        self.lines = entries.len();
        for entry in &entries {
            text.push_str(&line_of(entry)?);
        }
        write_private(&self.path, text.as_bytes())?;
        self.file = append_to(&self.path)?;
        Ok(())
    }
}

/// A report without output.
pub(super) fn report(task: TaskId, state: TaskPhase, reason: &str) -> TaskReport {
    TaskReport {
        task,
        state,
        sequence: None,
        at: None,
        output: String::new(),
        offset: 0,
        exit: None,
        reason: reason.to_owned(),
        inventory: None,
    }
}

fn append_to(path: &Path) -> Result<File> {
    let open = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    open.map_err(|e| Error::unavailable("the task ledger cannot be opened").because(e))
}

fn line_of(entry: &Entry) -> Result<String> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{} {json}\n", &blake3::hash(json.as_bytes()).to_hex()[..16]))
}

fn entry_of(line: &str) -> Option<Entry> {
    let (sum, json) = line.split_once(' ')?;
    if blake3::hash(json.as_bytes()).to_hex()[..16] != *sum {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Work;

    fn task(bits: u128) -> Task {
        Task {
            task: TaskId::from_bits(bits),
            work: Work::Ping,
            seconds_max: 1,
            output_bytes_max: 1,
            memory_bytes_max: 0,
        }
    }

    #[test]
    fn a_task_is_taken_once_whatever_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let mut ledger = Ledger::open(&path).unwrap();
        for id in 1..=3 {
            assert_eq!(ledger.take(&task(id)).unwrap(), Standing::Taken);
        }
        assert_eq!(ledger.take(&task(1)).unwrap(), Standing::Open);
        ledger.begin(TaskId::from_bits(1)).unwrap();
        ledger.begin(TaskId::from_bits(2)).unwrap();
        let mut done = report(TaskId::from_bits(1), TaskPhase::Succeeded, "");
        (done.output, done.exit) = ("abc".into(), Some(0));
        ledger.end(&done).unwrap();
        // The power goes in the middle of a line.
        drop(ledger);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"0123456789abcdef {\"entry\":\"ta").unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        let (waiting, reports) = ledger.recover().unwrap();
        assert_eq!(waiting, [task(3)]);
        assert_eq!((reports.len(), reports[0].state), (1, TaskPhase::Unknown));
        let mut ledger = Ledger::open(&path).unwrap();
        match ledger.take(&task(1)).unwrap() {
            Standing::Ended(report) => {
                assert_eq!((report.state, report.exit, report.offset), (TaskPhase::Succeeded, Some(0), 3));
            }
            other => panic!("{other:?}"),
        }
        assert!(
            matches!(ledger.take(&task(2)).unwrap(), Standing::Ended(r) if r.state == TaskPhase::Unknown)
        );
        assert_eq!(ledger.take(&task(3)).unwrap(), Standing::Open);
    }

    #[test]
    fn what_is_forgotten_does_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks");
        let mut ledger = Ledger::open(&path).unwrap();
        for id in 1..=(REMEMBERED_MAX as u128) {
            ledger
                .ended
                .insert(TaskId::from_bits(id), report(TaskId::from_bits(id), TaskPhase::Succeeded, ""));
        }
        let last = REMEMBERED_MAX as u128 + 1;
        ledger.take(&task(last)).unwrap();
        ledger.end(&report(TaskId::from_bits(last), TaskPhase::Succeeded, "")).unwrap();
        ledger.rewrite().unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        assert!(
            matches!(ledger.take(&task(1)).unwrap(), Standing::Ended(r) if r.state == TaskPhase::Unknown)
        );
        assert_eq!(ledger.take(&task(last + 1)).unwrap(), Standing::Taken);
    }

    #[test]
    fn open_tasks_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&folder.path().join("tasks")).unwrap();
        for id in 0..OPEN_MAX as u128 {
            ledger.open.insert(TaskId::from_bits(id), (task(id), false));
        }
        assert_eq!(ledger.take(&task(u128::MAX)).unwrap_err().kind(), crate::base::Kind::TooMany);
    }
}
