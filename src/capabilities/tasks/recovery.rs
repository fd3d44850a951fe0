//! After a restore nothing runs twice: what had not ended is unknown, and its agent is asked what became of it.
//!
//! The change that mends a restore takes the first tasks; a job takes the rest, for there may be more than one change
//! holds. Until it is done nothing that the backup brought is sent.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::store::{self, ASKING, BY_AGENT, OPEN, OUTPUT, TASKS};
use super::{State, Task};
use crate::base::{AgentId, Result, TaskId, TenantId};
use crate::capabilities::agents;
use crate::engine::store::{Read, Table};
use crate::kit::{Change, Ctx, Findings, Restored, Undone};
use crate::wire::Work;

/// Tasks that one change mends.
const MENDED_AT_ONCE_MAX: usize = 2_000;
/// Tasks of after the point that a restore takes over from what it gave up.
const TAKEN_OVER_MAX: usize = 10_000;

/// What is still to be mended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mending {
    /// The newest task that the backup brought.
    last: TaskId,
    /// How far it has come.
    after: Option<(AgentId, TaskId)>,
    /// What stands at each of them.
    reason: String,
}

/// One row a tenant, while there is something to mend.
const MENDING: Table<TenantId, Mending> = Table::new("tasks_restored");

/// The newest task that may not be sent, while a restore is being mended.
pub(super) fn held(read: &impl Read, tenant: TenantId) -> Result<Option<TaskId>> {
    Ok(read.get(&MENDING, &tenant)?.map(|mending| mending.last))
}

/// What ended since is taken over from what was given up, as far as that is known; all else that had not ended becomes
/// unknown.
pub(super) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
    let reason = format!(
        "the site was restored from a backup of {}; nobody knows whether it ran since",
        restored.at.format("%Y-%m-%d %H:%M:%S UTC")
    );
    let created = restored.undone.iter().filter(|undone| undone.event == "tasks.created");
    for undone in created.take(TAKEN_OVER_MAX) {
        if let Some(task) = forgotten(undone)
            && agents::is_known(change.tx, ctx.tenant, task.agent)?
            && !change.tx.has(&TASKS, &(ctx.tenant, task.id))?
        {
            store::put(change.tx, ctx.tenant, &task)?;
        }
    }
    let ended = restored.last_of(&["tasks.ended"]);
    for (subject, undone) in ended.into_iter().take(TAKEN_OVER_MAX) {
        let Ok(id) = subject.parse::<TaskId>() else { continue };
        let Some(task) = change.tx.get(&TASKS, &(ctx.tenant, id))? else { continue };
        if let Some(task) = known_end(task, undone) {
            store::put(change.tx, ctx.tenant, &task)?;
        }
    }
    let Some(((_, last), _)) = change.tx.prefix_back(&TASKS, &ctx.tenant, 1)?.pop() else { return Ok(()) };
    step(ctx, change, Mending { last, after: None, reason })
}

/// A task that was asked for after the point: its agent may have it.
fn forgotten(undone: &Undone) -> Option<Task> {
    Some(Task {
        id: undone.subject.parse().ok()?,
        agent: undone.field("agent")?,
        work: undone.field::<Work>("work")?,
        state: State::Sent,
        by: undone.actor.clone(),
        created: undone.at,
        sent: None,
        started: None,
        ended: None,
        exit: None,
        reason: String::new(),
        cancelling: false,
        asking: false,
        output_bytes: 0,
        seconds_max: super::ops::SECONDS_DEFAULT,
        output_bytes_max: crate::base::limits::TASK_OUTPUT_BYTES_MAX as u64,
        memory_bytes_max: 0,
    })
}

/// The end that was told since; the output that came with it is lost.
fn known_end(task: Task, undone: &Undone) -> Option<Task> {
    let state = State::find(&undone.field::<String>("state")?).filter(|state| state.is_final())?;
    if task.state.is_final() {
        return None;
    }
    let reason = "it ended after the point that the site was restored to; the rest of its output is lost";
    Some(Task {
        state,
        ended: Some(undone.at),
        exit: undone.field("exit"),
        reason: reason.into(),
        cancelling: false,
        ..task
    })
}

/// Mends the next tasks and remembers how far it has come; nothing is left behind when it is done.
fn step(ctx: &Ctx<'_>, change: &mut Change<'_>, mut mending: Mending) -> Result<()> {
    let rows = match mending.after {
        None => change.tx.prefix(&OPEN, &ctx.tenant, MENDED_AT_ONCE_MAX)?,
        Some((agent, task)) => {
            change.tx.prefix_after(&OPEN, &ctx.tenant, &(ctx.tenant, agent, task), MENDED_AT_ONCE_MAX)?
        }
    };
    for ((_, agent, id), ()) in &rows {
        mending.after = Some((*agent, *id));
        if *id <= mending.last {
            let task = store::find(change.tx, ctx.tenant, *id)?.lose(ctx.now, &mending.reason);
            store::put(change.tx, ctx.tenant, &task)?;
            let detail = json!({ "agent": agent, "state": task.state.word(), "exit": null });
            change.tell("tasks.ended", id, detail);
        }
    }
    if rows.len() < MENDED_AT_ONCE_MAX {
        return change.tx.delete(&MENDING, &ctx.tenant);
    }
    change.tx.put(&MENDING, &ctx.tenant, &mending)
}

/// Goes on with what a restore left to do.
pub(super) fn mend(ctx: &Ctx<'_>) -> Result<()> {
    while ctx.read()?.has(&MENDING, &ctx.tenant)? && !ctx.site.is_stopping() {
        ctx.require("tasks.mend")?.write(|change| match change.tx.get(&MENDING, &ctx.tenant)? {
            Some(mending) => step(ctx, change, mending),
            None => Ok(()),
        })?;
    }
    Ok(())
}

/// Every task stands in the indexes that it belongs into, and what stands in an index is a task.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &TASKS, |findings, read, (tenant, id), task| {
        let place = || format!("tasks {id}");
        findings.demand(*id == task.id, place(), "the row is of another task", RESTORE);
        let known = agents::is_known(read, *tenant, task.agent)?;
        findings.demand(known, place(), "its agent is not there", RESTORE);
        let key = (*tenant, task.agent, *id);
        findings.demand(read.has(&BY_AGENT, &key)?, place(), "it is not among its agent's", RESTORE);
        let open = read.has(&OPEN, &key)?;
        findings.demand(
            open != task.state.is_final(),
            place(),
            "whether it is open is told in two ways",
            MEND,
        );
        let asking = read.has(&ASKING, &key)?;
        findings.demand(asking == task.asking, place(), "whether it is asked for is told in two ways", MEND);
        Ok(())
    })?;
    for index in [&BY_AGENT, &OPEN, &ASKING] {
        findings.each_row(ctx, index, |findings, read, (tenant, agent, id), ()| {
            let task = read.get(&TASKS, &(*tenant, *id))?;
            let leads = task.is_some_and(|task| task.agent == *agent);
            findings.demand(leads, format!("{} {id}", index.name()), "there is no such task", RESTORE);
            Ok(())
        })?;
    }
    let mut last: Option<(TenantId, TaskId)> = None;
    findings.each_row(ctx, &OUTPUT, |findings, read, (tenant, id, _), _| {
        if last.replace((*tenant, *id)) != Some((*tenant, *id)) {
            let known = read.has(&TASKS, &(*tenant, *id))?;
            findings.demand(known, format!("tasks_output {id}"), "there is no such task", "none is needed");
        }
        Ok(())
    })
}

const RESTORE: &str = "restore a backup from before the damage";
const MEND: &str = "cancel the task, or restore a backup from before the damage";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Timestamp, limits};
    use crate::capabilities::agents::ops::{CreateDevice, device_create};
    use crate::capabilities::identity::tests as identity;
    use crate::capabilities::tasks::ops::{self, CreateTask};
    use crate::kit::{AgentRef, ById, Capability, recovery_sample};
    use crate::wire::{TaskPhase, TaskReport, Up};

    fn create(ctx: &Ctx<'_>, agent: AgentId) -> Task {
        let work = Work::Ping;
        let input =
            CreateTask { agent, work, seconds_max: None, output_bytes_max: None, memory_bytes_max: None };
        ops::create(ctx, input).unwrap()
    }

    fn device(ctx: &Ctx<'_>) -> AgentId {
        let input = CreateDevice { name: "press".parse().unwrap(), labels: Default::default() };
        device_create(ctx, input).unwrap().id
    }

    fn report(ctx: &Ctx<'_>, agent: AgentId, task: TaskId, state: TaskPhase, output: (&str, u64)) {
        let from = AgentRef { tenant: ctx.tenant, agent, session: 1 };
        let report = TaskReport {
            output: output.0.into(),
            offset: output.1,
            ..serde_json::from_value(json!({ "task": task, "state": state })).unwrap()
        };
        crate::capabilities::tasks::follow::report(ctx, from, &Up::Task(report)).unwrap().wait().unwrap();
    }

    fn undone(event: &str, subject: TaskId, detail: serde_json::Value) -> Undone {
        Undone {
            tenant: crate::kit::HOME,
            change: 5,
            at: Timestamp::from_milliseconds(1_790_000_000_500),
            actor: "usr_1".into(),
            action: String::new(),
            event: event.into(),
            subject: subject.to_string(),
            detail: detail.to_string(),
        }
    }

    fn mend_with(ctx: &Ctx<'_>, undone: Vec<Undone>) {
        let told = recovery_sample(undone, ctx.now);
        ctx.require("tasks.mend").unwrap().write(|change| restored(ctx, change, &told)).unwrap();
    }

    fn sound(ctx: &Ctx<'_>) {
        let mut findings = Findings::default();
        crate::capabilities::tasks::Tasks.check(ctx, &mut findings).unwrap();
        assert_eq!(findings.kept, []);
    }

    #[test]
    fn nothing_that_a_backup_brings_is_sent_and_its_agent_may_tell() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let agent = device(&ctx);
        let tasks: Vec<TaskId> = (0..5).map(|_| create(&ctx, agent).id).collect();
        report(&ctx, agent, tasks[1], TaskPhase::Running, ("begin\n", 0));
        report(&ctx, agent, tasks[4], TaskPhase::Failed, ("", 0));
        // One ended since, and one was asked for since.
        let since: TaskId = site.clock.id();
        mend_with(
            &ctx,
            vec![
                undone("tasks.created", since, json!({ "agent": agent, "work": { "kind": "ping" } })),
                undone("tasks.ended", tasks[3], json!({ "agent": agent, "state": "succeeded", "exit": 0 })),
            ],
        );
        sound(&ctx);
        let of = |id| ops::find(&ctx, ById { id }).unwrap();
        let states: Vec<_> = tasks.iter().map(|id| (of(*id).task.state, of(*id).task.asking)).collect();
        let lost = (State::Unknown, true);
        assert_eq!(states, [lost, lost, lost, (State::Succeeded, false), (State::Failed, false)]);
        assert_eq!((of(since).task.state, of(since).task.asking), lost);
        assert!(of(tasks[0]).task.reason.contains("nobody knows whether it ran since"));
        assert!(store::open(&ctx.read().unwrap(), ctx.tenant, agent).unwrap().is_empty());
        assert_eq!(store::asking(&ctx.read().unwrap(), ctx.tenant, agent).unwrap().len(), 4);
        assert!(ops::cancel(&ctx, ById { id: tasks[0] }).is_err());

        report(&ctx, agent, tasks[0], TaskPhase::Unknown, ("", 0));
        report(&ctx, agent, tasks[0], TaskPhase::Succeeded, ("", 0));
        assert_eq!(of(tasks[0]).task.state, State::Unknown, "it answers once");
        report(&ctx, agent, tasks[1], TaskPhase::Running, ("", 0));
        report(&ctx, agent, tasks[1], TaskPhase::Succeeded, ("end\n", 100));
        assert_eq!(of(tasks[1]).task.state, State::Succeeded);
        assert!(
            of(tasks[1]).output.starts_with("begin\n") && of(tasks[1]).output.ends_with("restore]\nend\n")
        );
        report(&ctx, agent, tasks[2], TaskPhase::Failed, ("", 0));
        assert_eq!(of(tasks[2]).task.state, State::Failed);
        sound(&ctx);

        let again = ops::repeat(&ctx, ById { id: tasks[2] }).unwrap();
        assert!(again.id != tasks[2] && again.state == State::Queued);
        assert!(ops::repeat(&ctx, ById { id: again.id }).is_err());
    }

    #[test]
    fn what_is_too_much_for_one_change_is_held_until_it_is_mended() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let mut made = Vec::new();
        while made.len() <= MENDED_AT_ONCE_MAX {
            let agent = device(&ctx);
            made.extend((0..limits::TASKS_QUEUED_PER_AGENT_MAX).map(|_| create(&ctx, agent).id));
        }
        mend_with(&ctx, Vec::new());
        let read = ctx.read().unwrap();
        assert_eq!(held(&read, ctx.tenant).unwrap(), made.iter().max().copied());
        let fresh = create(&ctx, device(&ctx)).id;
        mend(&ctx).unwrap();
        let read = ctx.read().unwrap();
        assert_eq!(held(&read, ctx.tenant).unwrap(), None);
        let open = read.prefix(&OPEN, &ctx.tenant, 10).unwrap();
        assert_eq!(open.iter().map(|((_, _, id), ())| *id).collect::<Vec<_>>(), [fresh]);
        sound(&ctx);
    }

    #[test]
    fn loose_ends_are_found() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let agent = device(&ctx);
        let task = create(&ctx, agent);
        sound(&ctx);
        let break_it = |f: &dyn Fn(&mut Change<'_>) -> Result<()>| {
            ctx.require("tasks.mend").unwrap().write(f).unwrap();
            let mut findings = Findings::default();
            check(&ctx, &mut findings).unwrap();
            findings.kept.into_iter().map(|f| f.what).collect::<Vec<_>>().join("; ")
        };
        let key = (ctx.tenant, agent, task.id);
        let found = break_it(&|change| change.tx.delete(&OPEN, &key));
        assert_eq!(found, "whether it is open is told in two ways");
        let found = break_it(&|change| change.tx.delete(&BY_AGENT, &key));
        assert!(found.contains("not among its agent's"), "{found}");
        let found = break_it(&|change| {
            change.tx.put(&OPEN, &key, &())?;
            change.tx.put(&OUTPUT, &(ctx.tenant, task.id, 0), &"x".to_owned())?;
            change.tx.delete(&TASKS, &(ctx.tenant, task.id))
        });
        assert_eq!(found.matches("no such task").count(), 2, "{found}");
    }
}
