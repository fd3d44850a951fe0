//! Operations on tasks.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::store::{self, BY_AGENT, OPEN, TASKS};
use super::{State, Task, dispatch};
use crate::base::{AgentId, Error, Page, Result, TaskId, kind, limits};
use crate::capabilities::agents;
use crate::engine::store::Read;
use crate::kit::{ById, Change, Ctx, Ops, Permit, Quota};
use crate::wire::Work;

/// Seconds that a task may run when the caller names no number.
pub(super) const SECONDS_DEFAULT: u64 = 60;

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("tasks.list", "/tasks", "Lists tasks, newest first.", list);
    ops.get("tasks.find", "/tasks/{id}", "Shows a task with its output.", find);
    ops.post(
        "tasks.create",
        "/tasks",
        "Queues a task for one agent; an agent that is offline gets it when it is back.",
        create,
    );
    ops.post(
        "tasks.create_many",
        "/tasks/many",
        "Queues the same task for every active agent that a filter selects.",
        create_many,
    );
    ops.post(
        "tasks.cancel",
        "/tasks/{id}/cancel",
        "Stops a task: at once where it waits, gracefully where it runs.",
        cancel,
    );
    ops.post(
        "tasks.repeat",
        "/tasks/{id}/repeat",
        "Queues the work of a task that has ended once more, as a new task.",
        repeat,
    );
}

/// A new task.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct CreateTask {
    /// For which agent.
    pub agent: AgentId,
    /// What to do.
    pub work: Work,
    /// Seconds that it may run; 60 when absent.
    #[serde(default)]
    pub seconds_max: Option<u64>,
    /// Bytes of output that are kept.
    #[serde(default)]
    pub output_bytes_max: Option<u64>,
    /// Bytes of memory that it may use, where the agent's operating system can say so.
    #[serde(default)]
    pub memory_bytes_max: Option<u64>,
}

/// Queues a task for one agent.
pub fn create(ctx: &Ctx<'_>, input: CreateTask) -> Result<Task> {
    check(&input.work, input.seconds_max)?;
    let task =
        agents::permit(ctx, "tasks.create", input.agent)?.write(|change| queue(ctx, change, &input))?;
    dispatch::wake(ctx, task.agent);
    Ok(task)
}

/// The same task for many.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct CreateMany {
    /// Which agents, as in the agent list.
    pub filter: String,
    /// What to do.
    pub work: Work,
    /// Seconds that each may run; 60 when absent.
    #[serde(default)]
    pub seconds_max: Option<u64>,
}

/// What was queued.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct CreatedMany {
    /// The tasks.
    pub tasks: Vec<TaskId>,
}

/// Queues the same task for every active agent that the filter selects, in one change.
pub fn create_many(ctx: &Ctx<'_>, input: CreateMany) -> Result<CreatedMany> {
    check(&input.work, input.seconds_max)?;
    let (permit, sight) = ctx.require_within("tasks.create_many")?;
    let (mut wanted, mut after) = (Vec::new(), None);
    loop {
        let asked = agents::ops::ListAgents {
            filter: input.filter.clone(),
            after,
            limit: Some(limits::PAGE_ROWS_MAX),
            ..Default::default()
        };
        let page = agents::ops::list(ctx, asked)?;
        let fit = |view: &agents::AgentView| view.agent.is_active() && sight.sees(&*view.agent);
        wanted.extend(page.items.into_iter().filter(fit).map(|view| view.agent.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if wanted.is_empty() {
        return Err(Error::invalid("the filter selects no active agent")
            .hint("look at the agent list with the same filter"));
    }
    let tasks: Vec<Task> = permit.write(|change| {
        wanted
            .iter()
            .map(|agent| {
                let one = CreateTask {
                    agent: *agent,
                    work: input.work.clone(),
                    seconds_max: input.seconds_max,
                    output_bytes_max: None,
                    memory_bytes_max: None,
                };
                queue(ctx, change, &one)
            })
            .collect()
    })?;
    for task in &tasks {
        dispatch::wake(ctx, task.agent);
    }
    Ok(CreatedMany { tasks: tasks.iter().map(|task| task.id).collect() })
}

fn check(work: &Work, seconds: Option<u64>) -> Result<()> {
    if let Work::Command { name, arguments } = work {
        if name.trim().is_empty() {
            return Err(
                Error::invalid("the command's name is empty").hint("the agent's page lists what it allows")
            );
        }
        let bytes = name.len() + arguments.iter().map(String::len).sum::<usize>();
        if arguments.len() > limits::TASK_ARGUMENTS_MAX || bytes > limits::LOG_LINE_BYTES_MAX {
            return Err(Error::invalid("the command has too many or too long arguments").hint(format!(
                "at most {} arguments and {} bytes",
                limits::TASK_ARGUMENTS_MAX,
                limits::LOG_LINE_BYTES_MAX
            )));
        }
    }
    match seconds {
        Some(seconds) if seconds == 0 || seconds > limits::TASK_SECONDS_MAX => {
            Err(Error::invalid(format!("{seconds} seconds are not possible"))
                .hint(format!("1 to {} seconds", limits::TASK_SECONDS_MAX)))
        }
        _ => Ok(()),
    }
}

fn queue(ctx: &Ctx<'_>, change: &mut Change<'_>, input: &CreateTask) -> Result<Task> {
    let agent = agents::exists(change.tx, ctx.tenant, input.agent)?;
    let waiting = change.tx.prefix(&OPEN, &(ctx.tenant, agent.id), limits::TASKS_QUEUED_PER_AGENT_MAX)?.len();
    if waiting >= limits::TASKS_QUEUED_PER_AGENT_MAX {
        return Err(Error::too_many(format!("{waiting} tasks wait for agent `{}`", agent.name))
            .hint("cancel some, or wait"));
    }
    ctx.within_quota(Quota::Tasks, 1, || change.tx.count(&OPEN, &ctx.tenant))?;
    let most = limits::TASK_OUTPUT_BYTES_MAX as u64;
    let task = Task {
        id: ctx.site.clock.id(),
        agent: agent.id,
        work: input.work.clone(),
        state: State::Queued,
        by: ctx.actor.text(),
        created: ctx.now,
        sent: None,
        started: None,
        ended: None,
        exit: None,
        reason: String::new(),
        cancelling: false,
        asking: false,
        output_bytes: 0,
        seconds_max: input.seconds_max.unwrap_or(SECONDS_DEFAULT),
        output_bytes_max: input.output_bytes_max.unwrap_or(most).min(most),
        memory_bytes_max: input.memory_bytes_max.unwrap_or(0),
    };
    store::put(change.tx, ctx.tenant, &task)?;
    change.tell(
        "tasks.created",
        task.id,
        json!({ "agent": agent.id, "agent_name": agent.name, "work": task.work }),
    );
    Ok(task)
}

/// The permit to do something with a task, by the agent that it is for.
fn permit<'a>(ctx: &'a Ctx<'_>, permission: &'static str, id: TaskId) -> Result<Permit<'a>> {
    if ctx.sight(permission)?.is_everything() {
        return ctx.require(permission);
    }
    let agent = find(ctx, ById { id })?.task.agent;
    agents::permit(ctx, permission, agent)
}

/// Queues the work of a task that has ended once more, as a new task.
pub fn repeat(ctx: &Ctx<'_>, input: ById<kind::Task>) -> Result<Task> {
    let task = permit(ctx, "tasks.repeat", input.id)?.write(|change| {
        let before = store::find(change.tx, ctx.tenant, input.id)?;
        if !before.state.is_final() {
            return Err(Error::conflict(format!("task `{}` has not ended", before.id))
                .hint("it will still run; cancel it first"));
        }
        let again = CreateTask {
            agent: before.agent,
            work: before.work,
            seconds_max: Some(before.seconds_max),
            output_bytes_max: Some(before.output_bytes_max),
            memory_bytes_max: Some(before.memory_bytes_max),
        };
        queue(ctx, change, &again)
    })?;
    dispatch::wake(ctx, task.agent);
    Ok(task)
}

/// Which tasks.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ListTasks {
    /// Of one agent.
    pub agent: Option<AgentId>,
    /// In one state, or `open` for all that have not ended.
    pub state: String,
    /// Cursor of the page before.
    pub after: Option<String>,
    /// Rows of the page.
    pub limit: Option<usize>,
}

/// Rows that one page looks at when it seeks a state.
const SCAN_ROWS_MAX: usize = 5_000;

/// Lists tasks, newest first.
pub fn list(ctx: &Ctx<'_>, input: ListTasks) -> Result<Page<Task>> {
    let mut eyes = agents::Eyes::of(ctx, "tasks.read")?;
    let limit = input.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let end: TaskId = match input.after.as_deref() {
        None | Some("") => TaskId::from_bits(u128::MAX),
        Some(text) => text.parse()?,
    };
    let (read, first) = (ctx.read()?, TaskId::from_bits(0));
    let tasks: Vec<Task> = match input.agent {
        Some(agent) => {
            let span = (ctx.tenant, agent, first)..(ctx.tenant, agent, end);
            let rows = read.range_back(&BY_AGENT, span, SCAN_ROWS_MAX)?;
            rows.into_iter()
                .map(|((_, _, id), ())| store::find(&read, ctx.tenant, id))
                .collect::<Result<_>>()?
        }
        None => {
            let rows = read.range_back(&TASKS, (ctx.tenant, first)..(ctx.tenant, end), SCAN_ROWS_MAX)?;
            rows.into_iter().map(|(_, task)| task).collect()
        }
    };
    let scanned_all = tasks.len() < SCAN_ROWS_MAX;
    let last_scanned = tasks.last().map(|task| task.id);
    let wanted = |task: &Task| match input.state.as_str() {
        "" => true,
        "open" => !task.state.is_final(),
        state => task.state.word() == state,
    };
    let mut items = Vec::new();
    for task in tasks.into_iter().filter(wanted) {
        if eyes.see(ctx, &read, task.agent)? {
            items.push(task);
        }
        if items.len() == limit {
            break;
        }
    }
    let next =
        if items.len() == limit { items.last().map(|t| t.id) } else { last_scanned.filter(|_| !scanned_all) };
    Ok(Page { items, next: next.map(|id| id.to_string()) })
}

/// A task with its output.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct TaskView {
    /// The task.
    #[serde(flatten)]
    pub task: Task,
    /// What people call the agent.
    pub agent_name: String,
    /// Its output so far, and a mark where it was cut.
    pub output: String,
    /// Whether output was dropped.
    pub truncated: bool,
}

/// Shows a task with its output.
pub fn find(ctx: &Ctx<'_>, input: ById<kind::Task>) -> Result<TaskView> {
    let mut eyes = agents::Eyes::of(ctx, "tasks.read")?;
    let read = ctx.read()?;
    let task = store::find(&read, ctx.tenant, input.id)?;
    if !eyes.see(ctx, &read, task.agent)? {
        return Err(Error::not_found("task", input.id));
    }
    let output = store::output(&read, ctx.tenant, task.id)?;
    let truncated = output.len() as u64 > task.output_bytes;
    Ok(TaskView { agent_name: agents::named(&read, ctx.tenant, task.agent)?, output, truncated, task })
}

/// Stops a task.
pub fn cancel(ctx: &Ctx<'_>, input: ById<kind::Task>) -> Result<Task> {
    let task = permit(ctx, "tasks.cancel", input.id)?.write(|change| {
        let task = store::find(change.tx, ctx.tenant, input.id)?.cancel(ctx.now)?;
        store::put(change.tx, ctx.tenant, &task)?;
        change.tell("tasks.cancelled", task.id, json!({ "agent": task.agent }));
        Ok(task)
    })?;
    dispatch::wake(ctx, task.agent);
    Ok(task)
}
