//! A restore to a point before tasks ran: nothing runs twice, and who knows better is asked.

use std::path::{Path, PathBuf};

use muster::base::{AgentId, Span, TaskId};
use muster::capabilities::{ALL, agents, tasks};
use muster::kit::{ById, Ctx, Restored};
use muster::server::config::Config;
use muster::wire::Work;

use crate::crash::free_port;
use crate::devices::Device;
use crate::harness::{Muster, config, until};
use crate::program::{end, start_agent};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &to) } else { std::fs::copy(&path, &to).map(drop).unwrap() }
    }
}

fn create(ctx: &Ctx<'_>, agent: AgentId, name: &str) -> TaskId {
    let work = Work::Command { name: "note".into(), arguments: vec![name.into()] };
    let input = tasks::ops::CreateTask {
        agent,
        work,
        seconds_max: Some(20),
        output_bytes_max: None,
        memory_bytes_max: None,
    };
    tasks::ops::create(ctx, input).unwrap().id
}

/// What the first start after a restore does, before anything listens where agents look for it.
fn mend(folder: PathBuf) {
    let muster = Muster::open(folder, config());
    let site = muster.server().site();
    let ctx = Ctx::system(site, site.home, "test");
    let at = ctx.now - Span::from_minutes(1);
    let restored = Restored {
        id: "r1".into(),
        generation: 2,
        change: site.store.last_change(),
        at,
        restored: ctx.now,
        by: "system".into(),
        source: "a copy".into(),
        undone: Vec::new(),
    };
    let write = |change: &mut muster::kit::Change<'_>| {
        ALL.iter().try_for_each(|capability| capability.restored(&ctx, change, &restored))
    };
    ctx.require("backups.restored").unwrap().write(write).unwrap();
    muster.release();
}

#[test]
fn after_a_restore_nothing_runs_twice_and_the_agent_says_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    let script = folder.path().join("note.sh");
    std::fs::write(&script, format!("#!/bin/sh\necho run >> {}/$1\necho done\n", runs.display())).unwrap();
    let settings = folder.path().join("agent.toml");
    let text = format!(
        "[agent]\njournal = false\n\n[agent.commands.note]\nrun = [\"/bin/sh\", \"{}\"]\narguments = true\n",
        script.display()
    );
    std::fs::write(&settings, text).unwrap();
    let gate = free_port();
    let fixed = || {
        let mut config: Config = config();
        config.mqtt.address = format!("127.0.0.1:{gate}").parse().unwrap();
        config
    };
    let data = folder.path().join("data");
    let muster = Muster::open(data.clone(), fixed());
    let home = folder.path().join("agent");
    let child = start_agent(&home, &settings, gate, Some(&muster.join_code("")));
    let agent = until(Span::from_seconds(20), "the agent", || {
        let all = agents::ops::list(&muster.ctx(), Default::default()).unwrap().items;
        all.into_iter().find(|view| view.connected).map(|view| view.agent.id)
    });
    end(child);
    // Queued while the agent is away, for it and for a device that keeps no record: that is the point of the backup.
    let device = Device::new(&muster, "press-07");
    let made: Vec<TaskId> = (0..3).map(|n| create(&muster.ctx(), agent, &format!("task-{n}"))).collect();
    let silent = create(&muster.ctx(), device.id, "elsewhere");
    muster.release();
    copy(&data, &folder.path().join("then"));

    let muster = Muster::open(data, fixed());
    let child = start_agent(&home, &settings, gate, None);
    let state = |muster: &Muster, id: TaskId| tasks::ops::find(&muster.ctx(), ById { id }).unwrap().task;
    until(Span::from_seconds(60), "the tasks to run", || {
        made.iter().all(|id| state(&muster, *id).state == tasks::State::Succeeded).then_some(())
    });
    muster.release();

    mend(folder.path().join("then"));
    let muster = Muster::open(folder.path().join("then"), fixed());
    assert_eq!(state(&muster, silent).state, tasks::State::Unknown);
    assert!(state(&muster, silent).reason.contains("nobody knows whether it ran since"));
    until(Span::from_seconds(60), "the agent to say what became of them", || {
        made.iter().all(|id| state(&muster, *id).state == tasks::State::Succeeded).then_some(())
    });
    // One more, to be sure that everything before it has come and gone.
    let last = create(&muster.ctx(), agent, "after");
    until(Span::from_seconds(60), "a task after the restore", || {
        (state(&muster, last).state == tasks::State::Succeeded).then_some(())
    });
    for name in ["task-0", "task-1", "task-2", "after"] {
        assert_eq!(std::fs::read_to_string(runs.join(name)).unwrap(), "run\n", "{name} ran once");
    }
    let again = tasks::ops::repeat(&muster.ctx(), ById { id: silent }).unwrap();
    assert_eq!(again.state, tasks::State::Queued, "a person may send it again");
    end(child);
}
