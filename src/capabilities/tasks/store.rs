//! Tables of tasks.

use super::Task;
use crate::base::{AgentId, Error, Result, Span, TaskId, TenantId};
use crate::engine::store::{Read, Table, Tx};
use crate::kit::Ctx;

/// Tasks, oldest first.
pub(super) const TASKS: Table<(TenantId, TaskId), Task> = Table::new("tasks");
/// Which tasks an agent has or had.
pub(super) const BY_AGENT: Table<(TenantId, AgentId, TaskId), ()> = Table::new("tasks_by_agent");
/// Which tasks of an agent have not ended.
pub(super) const OPEN: Table<(TenantId, AgentId, TaskId), ()> = Table::new("tasks_open");
/// Which tasks of an agent became unknown by a restore and are asked for.
pub(super) const ASKING: Table<(TenantId, AgentId, TaskId), ()> = Table::new("tasks_asking");
/// Output by offset.
pub(super) const OUTPUT: Table<(TenantId, TaskId, u64), String> = Table::new("tasks_output");

/// How long ended tasks are kept.
pub(super) const KEPT: Span = Span::from_days(90);
/// Tasks that one run of the retention looks at.
const EXPIRE_ROWS_MAX: usize = 1_000;

/// The task, or that it does not exist.
pub(super) fn find(read: &impl Read, tenant: TenantId, id: TaskId) -> Result<Task> {
    read.get(&TASKS, &(tenant, id))?.ok_or_else(|| Error::not_found("task", id))
}

/// Writes a task with its index entries.
pub(super) fn put(tx: &mut Tx, tenant: TenantId, task: &Task) -> Result<()> {
    tx.put(&TASKS, &(tenant, task.id), task)?;
    tx.put(&BY_AGENT, &(tenant, task.agent, task.id), &())?;
    if task.asking {
        tx.put(&ASKING, &(tenant, task.agent, task.id), &())?;
    } else if tx.has(&ASKING, &(tenant, task.agent, task.id))? {
        tx.delete(&ASKING, &(tenant, task.agent, task.id))?;
    }
    if task.state.is_final() {
        tx.delete(&OPEN, &(tenant, task.agent, task.id))
    } else {
        tx.put(&OPEN, &(tenant, task.agent, task.id), &())
    }
}

/// The tasks of an agent that have not ended, oldest first.
pub(super) fn open(read: &impl Read, tenant: TenantId, agent: AgentId) -> Result<Vec<Task>> {
    let rows = read.prefix(&OPEN, &(tenant, agent), usize::MAX)?;
    rows.into_iter().map(|((_, _, id), ())| find(read, tenant, id)).collect()
}

/// The tasks of an agent that became unknown by a restore, oldest first.
pub(super) fn asking(read: &impl Read, tenant: TenantId, agent: AgentId) -> Result<Vec<Task>> {
    let rows = read.prefix(&ASKING, &(tenant, agent), usize::MAX)?;
    rows.into_iter().map(|((_, _, id), ())| find(read, tenant, id)).collect()
}

/// The whole output that was kept.
pub(super) fn output(read: &impl Read, tenant: TenantId, id: TaskId) -> Result<String> {
    Ok(read.prefix(&OUTPUT, &(tenant, id), usize::MAX)?.into_iter().map(|(_, text)| text).collect())
}

/// Ended tasks past their retention go.
pub(super) fn expire(ctx: &Ctx<'_>) -> Result<()> {
    let end = ctx.now - KEPT;
    let rows = ctx.read()?.prefix(&TASKS, &ctx.tenant, EXPIRE_ROWS_MAX)?;
    let old: Vec<Task> =
        rows.into_iter().map(|(_, task)| task).filter(|t| t.ended.is_some_and(|at| at < end)).collect();
    if old.is_empty() {
        return Ok(());
    }
    ctx.require("tasks.expire")?.write(|change| {
        for task in old {
            change.tx.delete(&TASKS, &(ctx.tenant, task.id))?;
            change.tx.delete(&BY_AGENT, &(ctx.tenant, task.agent, task.id))?;
            if task.asking {
                change.tx.delete(&ASKING, &(ctx.tenant, task.agent, task.id))?;
            }
            for (key, _) in change.tx.prefix(&OUTPUT, &(ctx.tenant, task.id), usize::MAX)? {
                change.tx.delete(&OUTPUT, &key)?;
            }
        }
        Ok(())
    })
}
