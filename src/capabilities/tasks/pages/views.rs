//! What the pages of tasks show.

use askama::Template;

use crate::base::Timestamp;
use crate::capabilities::tasks::model::{State, Task};
use crate::kit::{Markup, Shell};

/// A task in a list.
#[derive(Clone, Debug)]
pub struct TaskRow {
    /// Identifier.
    pub id: String,
    /// What there is to do.
    pub title: String,
    /// For whom: identifier and name.
    pub agent_id: String,
    /// The name.
    pub agent: String,
    /// Sign of its state.
    pub glyph: Markup,
    /// Class of its state.
    pub tone: &'static str,
    /// Word of its state.
    pub word: &'static str,
    /// Why it ended badly.
    pub reason: String,
    /// When it was asked.
    pub created: Markup,
    /// How long it ran or has been running.
    pub took: String,
}

/// Class of a state.
pub fn tone(state: State) -> &'static str {
    match state {
        State::Succeeded => "ok",
        State::Failed | State::Exceeded => "crit",
        State::Refused | State::Unknown => "warn",
        State::Running => "accent",
        State::Queued | State::Sent | State::Accepted | State::Cancelled => "off",
    }
}

impl TaskRow {
    /// The row of a task.
    pub fn new(task: &Task, agent: &str, now: Timestamp) -> TaskRow {
        let tone = tone(task.state);
        let word = task.state.word();
        let end = task.ended.unwrap_or(now);
        TaskRow {
            id: task.id.to_string(),
            title: task.title(),
            agent_id: task.agent.to_string(),
            agent: agent.to_owned(),
            glyph: Markup::glyph(tone, word),
            tone,
            word,
            reason: task.reason.clone(),
            created: Markup::ago(Some(task.created), now),
            took: task.started.map_or_else(|| "—".to_owned(), |at| end.since(at).rough()),
        }
    }
}

/// A state to filter by.
#[derive(Clone, Debug)]
pub(crate) struct StateTab {
    /// What a person reads.
    pub title: &'static str,
    /// Where it leads.
    pub href: String,
    /// Whether it is shown.
    pub current: bool,
}

/// `/tasks`.
#[derive(Clone, Debug, Template)]
#[template(path = "tasks/list.html")]
pub(crate) struct TaskListPage {
    /// The frame.
    pub shell: Shell,
    /// States to filter by.
    pub tabs: Vec<StateTab>,
    /// The agent that the list is limited to.
    pub agent: String,
    /// The tasks, newest first.
    pub rows: Vec<TaskRow>,
    /// The next page.
    pub next: String,
    /// Whether the person may make tasks.
    pub may_create: bool,
    /// The filter or agents that the form begins with.
    pub preset: String,
}

/// The rows of `/tasks`, live.
#[derive(Clone, Debug, Template)]
#[template(path = "tasks/_rows.html")]
pub(crate) struct TaskRowsPart {
    /// The tasks.
    pub rows: Vec<TaskRow>,
}

/// One task.
#[derive(Clone, Debug)]
pub(crate) struct TaskDetail {
    /// As in lists.
    pub row: TaskRow,
    /// Instants.
    pub created: Markup,
    /// When it was sent.
    pub sent: Markup,
    /// When it began.
    pub started: Markup,
    /// When it ended.
    pub ended: Markup,
    /// Who asked.
    pub by: String,
    /// Exit status.
    pub exit: String,
    /// Seconds that it may run.
    pub seconds_max: u64,
    /// What it wrote.
    pub output: String,
    /// Whether more was written than is kept.
    pub truncated: bool,
    /// Whether it can still be stopped.
    pub open: bool,
    /// Whether somebody asked to stop it.
    pub cancelling: bool,
    /// What it is waiting for, in words.
    pub waiting: &'static str,
}

impl TaskDetail {
    /// Everything of one task.
    pub(crate) fn new(
        task: &Task,
        agent: &str,
        output: String,
        truncated: bool,
        now: Timestamp,
    ) -> TaskDetail {
        TaskDetail {
            row: TaskRow::new(task, agent, now),
            created: Markup::at(Some(task.created)),
            sent: Markup::at(task.sent),
            started: Markup::at(task.started),
            ended: Markup::at(task.ended),
            by: task.by.clone(),
            exit: task.exit.map_or_else(|| "—".to_owned(), |code| code.to_string()),
            seconds_max: task.seconds_max,
            output,
            truncated,
            open: !task.state.is_final(),
            cancelling: task.cancelling && !task.state.is_final(),
            waiting: match task.state {
                State::Queued => "It waits until the agent is connected; nothing is lost if that takes days.",
                State::Sent => "It was sent; the agent has not said that it has it.",
                State::Accepted => "The agent has it on its disk and will run it.",
                State::Running => "It runs; output appears as it is written.",
                State::Unknown if task.asking => {
                    "Its agent is asked what became of it, and its answer appears here. It is not run again by itself."
                }
                State::Unknown => {
                    "How far it came is not known; look at the machine before you send it again."
                }
                State::Refused => "The agent's own configuration does not allow this command.",
                _ => "",
            },
        }
    }
}

/// `/tasks/{id}`.
#[derive(Clone, Debug, Template)]
#[template(path = "tasks/task.html")]
pub(crate) struct TaskPage {
    /// The frame.
    pub shell: Shell,
    /// The task.
    pub task: TaskDetail,
    /// Whether the person may stop it.
    pub may_cancel: bool,
    /// Whether the person may send it again.
    pub may_repeat: bool,
}

/// The live part of `/tasks/{id}`.
#[derive(Clone, Debug, Template)]
#[template(path = "tasks/_task.html")]
pub(crate) struct TaskPart<'a> {
    /// The task.
    pub task: TaskDetail,
    /// Where static files are.
    pub assets: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{AgentId, Span, TaskId};
    use crate::kit::proof;
    use crate::wire::Work;

    fn task(n: u128, state: State, work: Work) -> Task {
        let at = Timestamp::from_milliseconds(1_790_000_000_000);
        Task {
            id: TaskId::from_bits(n),
            agent: AgentId::from_bits(7),
            work,
            state,
            by: "inès".into(),
            created: at,
            sent: Some(at),
            started: Some(at + Span::from_seconds(2)),
            ended: state.is_final().then(|| at + Span::from_seconds(40)),
            exit: Some(1),
            reason: if state == State::Failed { "exit status 1 <b>".into() } else { String::new() },
            cancelling: false,
            asking: false,
            output_bytes: 10,
            seconds_max: 60,
            output_bytes_max: 1000,
            memory_bytes_max: 0,
        }
    }

    fn command(text: &str) -> Work {
        Work::Command { name: text.into(), arguments: vec!["--all".into()] }
    }

    #[test]
    fn pages_obey_the_rules() {
        let now = Timestamp::from_milliseconds(1_790_000_300_000);
        let states =
            [State::Running, State::Queued, State::Failed, State::Succeeded, State::Refused, State::Unknown];
        let rows: Vec<TaskRow> = (0..14)
            .map(|n| {
                TaskRow::new(&task(n as u128, states[n % 6], command("purge-spool")), "lyon-press-07", now)
            })
            .collect();
        let tab = |title, current| StateTab { title, href: "/tasks?state=x".into(), current };
        let list = TaskListPage {
            shell: proof::shell("Tasks", "/tasks"),
            tabs: vec![tab("All", true), tab("Open", false), tab("Failed", false)],
            agent: "lyon-press-07".into(),
            rows: rows.clone(),
            next: "/tasks?after=x".into(),
            may_create: true,
            preset: String::new(),
        };
        proof::page("tasks-list", &list);
        proof::page("tasks-empty", &TaskListPage { rows: Vec::new(), ..list });
        let output = "purging /var/spool/press/q7\n  412 files, 8.1 GB\nfailed: <script>alert(1)</script> No space left\n";
        let running = TaskDetail::new(
            &task(1, State::Failed, command("purge-spool")),
            "lyon-press-07",
            output.into(),
            true,
            now,
        );
        let page = TaskPage {
            shell: proof::shell("purge-spool --all", "/tasks"),
            task: running.clone(),
            may_cancel: true,
            may_repeat: true,
        };
        assert!(!proof::page("tasks-task", &page).contains("<script>alert"));
        let open = TaskDetail::new(&task(1, State::Running, Work::Ping), "x", String::new(), false, now);
        proof::page("tasks-open", &TaskPage { task: open.clone(), ..page });
        proof::page("tasks-part", &TaskPart { task: open, assets: "/static/test" });
        proof::page("tasks-rows-part", &TaskRowsPart { rows });
    }
}
