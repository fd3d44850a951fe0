//! Pages of tasks.

use askama::Template;

use super::ops::{self, CreateMany, CreateTask, ListTasks};
use crate::base::{AgentId, Error, Result, TaskId};
use crate::capabilities::{agents, identity};
use crate::kit::{ById, Ctx, PageRequest, Pages, Reply, Shell, html, part, query, told};
use crate::wire::Work;

mod views;

use views::{StateTab, TaskDetail, TaskListPage, TaskPage, TaskPart, TaskRowsPart};
pub use views::{TaskRow, tone};

/// Routes and live parts.
pub(crate) fn register(pages: &mut Pages) {
    pages.get("/tasks", list);
    pages.post("/tasks", create);
    pages.get("/tasks/{id}", one);
    pages.post("/tasks/{id}/cancel", cancel);
    pages.post("/tasks/{id}/repeat", repeat);
    pages.live("tasks", list_live);
    pages.live("task", one_live);
}

const STATES: [(&str, &str); 6] = [
    ("All", ""),
    ("Open", "open"),
    ("Running", "running"),
    ("Succeeded", "succeeded"),
    ("Failed", "failed"),
    ("Refused", "refused"),
];
const ROWS: usize = 50;

/// What a list is asked for; the same text is the query of the page and the argument of its live part.
fn asked(values: &std::collections::BTreeMap<String, String>) -> Result<ListTasks> {
    let get = |key: &str| values.get(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    Ok(ListTasks {
        agent: get("agent").map(|id| id.parse()).transpose()?,
        state: get("state").unwrap_or_default(),
        after: get("after"),
        limit: Some(ROWS),
    })
}

fn rows(ctx: &Ctx<'_>, input: ListTasks) -> Result<(Vec<TaskRow>, Option<String>)> {
    let page = ops::list(ctx, input)?;
    let read = ctx.read()?;
    let row = |task: &super::Task| {
        let name = agents::named(&read, ctx.tenant, task.agent).unwrap_or_else(|_| task.agent.to_string());
        TaskRow::new(task, &name, ctx.now)
    };
    Ok((page.items.iter().map(row).collect(), page.next))
}

fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let input = asked(&request.query)?;
    let (state, agent) = (input.state.clone(), input.agent);
    let agent_id = agent.map(|id| id.to_string()).unwrap_or_default();
    let live = query(&[("agent", &agent_id), ("state", &state), ("after", request.asked("after"))]);
    let (rows, next) = rows(ctx, input)?;
    let tabs = STATES.map(|(title, word)| {
        let query = query(&[("state", word), ("agent", &agent_id)]);
        StateTab { title, href: format!("/tasks?{query}"), current: word == state }
    });
    let agent = match agent {
        Some(id) => agents::named(&ctx.read()?, ctx.tenant, id)?,
        None => String::new(),
    };
    html(&TaskListPage {
        shell: Shell::new(ctx, request, "Tasks", "/tasks").live(format!("tasks:{live}")),
        tabs: tabs.into(),
        rows,
        next: next.map_or_else(String::new, |after| {
            format!("/tasks?{}", query(&[("state", &state), ("agent", &agent_id), ("after", &after)]))
        }),
        may_create: ctx.actor.may("tasks.create_many"),
        preset: if agent_id.is_empty() { request.asked("for").to_owned() } else { format!("id:{agent_id}") },
        agent,
    })
}

fn list_live(ctx: &Ctx<'_>, argument: &str) -> Result<String> {
    let values = serde_urlencoded::from_str(argument)
        .map_err(|_| Error::invalid("the live topic of tasks is not a query string"))?;
    let (rows, _) = rows(ctx, asked(&values)?)?;
    if rows.is_empty() {
        return Ok(String::new());
    }
    Ok(part("task-rows", &TaskRowsPart { rows }.render()?))
}

/// `restart-spooler now` as work; the words `ping` and `inventory` are work of their own.
fn work(text: &str) -> Result<Work> {
    let mut words = text.split_whitespace().map(str::to_owned);
    match words.next().as_deref() {
        None => Err(Error::invalid("there is no command").hint("write its name, `ping` or `inventory`")),
        Some("ping") => Ok(Work::Ping),
        Some("inventory") => Ok(Work::Inventory),
        Some(name) => Ok(Work::Command { name: name.to_owned(), arguments: words.collect() }),
    }
}

/// One task for one agent, for those marked in the list (`agent` joined by commas), or for all of a filter.
fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let seconds_max = match request.field("seconds") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Error::invalid("the seconds are not a number")),
    };
    let command = request.field("command");
    let marked = request.field("agent");
    if let Ok(agent) = marked.parse::<AgentId>() {
        let made = (|| {
            let work = work(command)?;
            let (output_bytes_max, memory_bytes_max) = (None, None);
            let seconds_max = seconds_max?;
            ops::create(ctx, CreateTask { agent, work, seconds_max, output_bytes_max, memory_bytes_max })
        })();
        return match made {
            Ok(task) => told(&format!("/tasks/{}", task.id), Ok("The task is queued".into())),
            Err(error) => told(&format!("/agents/{agent}?tab=tasks"), Err(error)),
        };
    }
    let made = (|| {
        let (work, seconds_max) = (work(command)?, seconds_max?);
        let count = match marked {
            "" if request.field("filter").is_empty() => {
                return Err(Error::invalid("no agent is chosen").hint("mark agents, or write a filter"));
            }
            "" => {
                let filter = request.field("filter").to_owned();
                ops::create_many(ctx, CreateMany { filter, work, seconds_max })?.tasks.len()
            }
            ids => {
                let ids = ids.split(',').map(str::parse).collect::<Result<Vec<AgentId>>>()?;
                for agent in &ids {
                    let (output_bytes_max, memory_bytes_max, work) = (None, None, work.clone());
                    let agent = *agent;
                    ops::create(
                        ctx,
                        CreateTask { agent, work, seconds_max, output_bytes_max, memory_bytes_max },
                    )?;
                }
                ids.len()
            }
        };
        Ok(if count == 1 { "1 task is queued".to_owned() } else { format!("{count} tasks are queued") })
    })();
    told("/tasks", made)
}

fn detail(ctx: &Ctx<'_>, id: TaskId) -> Result<TaskDetail> {
    let view = ops::find(ctx, ById { id })?;
    let mut detail = TaskDetail::new(&view.task, &view.agent_name, view.output, view.truncated, ctx.now);
    if let Some(name) = identity::label(&ctx.read()?, ctx.tenant, &detail.by)? {
        detail.by = name;
    }
    Ok(detail)
}

fn one(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: TaskId = request.param("id")?;
    let task = detail(ctx, id)?;
    let mut shell = Shell::new(ctx, request, task.row.title.clone(), "/tasks");
    if task.open {
        shell = shell.live(format!("task:{id}"));
    }
    let (may_cancel, may_repeat) = (ctx.actor.may("tasks.cancel"), ctx.actor.may("tasks.repeat"));
    html(&TaskPage { shell, task, may_cancel, may_repeat })
}

fn one_live(ctx: &Ctx<'_>, id: &str) -> Result<String> {
    Ok(part("task", &TaskPart { task: detail(ctx, id.parse()?)?, assets: &ctx.site.assets }.render()?))
}

fn cancel(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: TaskId = request.param("id")?;
    told(&format!("/tasks/{id}"), ops::cancel(ctx, ById { id }).map(|_| "It is being stopped".to_owned()))
}

fn repeat(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let id: TaskId = request.param("id")?;
    match ops::repeat(ctx, ById { id }) {
        Ok(task) => told(&format!("/tasks/{}", task.id), Ok("It is queued once more".into())),
        Err(error) => told(&format!("/tasks/{id}"), Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words() {
        assert_eq!(work(" ping ").unwrap(), Work::Ping);
        let Work::Command { name, arguments } = work("restart spooler now").unwrap() else {
            panic!("command")
        };
        assert_eq!((name.as_str(), arguments.len()), ("restart", 2));
        assert!(work("  ").is_err());
    }
}
