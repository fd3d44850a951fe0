//! A machine joins with a code, reports, runs what its own configuration allows, survives a server restart.

use muster::base::Span;
use muster::capabilities::{agents, tasks, telemetry};
use muster::kit::ById;
use muster::wire::Work;

use crate::harness::{Muster, until};
use crate::machine::Machine;

#[test]
fn a_machine_joins_reports_and_takes_a_task() {
    let muster = Muster::start();
    let machine = Machine::join(&muster, "site=lyon");
    let ctx = muster.ctx();
    let view = until(Span::from_seconds(20), "its first samples", || {
        let list = agents::ops::list(&ctx, agents::ops::ListAgents::default()).unwrap();
        list.items.into_iter().find(|view| view.memory.is_some() && view.connected)
    });
    assert_eq!(view.site(), "lyon");
    assert_eq!(view.agent.id, machine.id());
    let create = |work| {
        let input = tasks::ops::CreateTask {
            agent: view.agent.id,
            work,
            seconds_max: Some(10),
            output_bytes_max: None,
            memory_bytes_max: None,
        };
        tasks::ops::create(&ctx, input).unwrap().id
    };
    let ended = |id| {
        until(Span::from_seconds(20), "the task", || {
            let view = tasks::ops::find(&ctx, ById { id }).unwrap();
            view.task.state.is_final().then_some(view)
        })
    };
    let hello = ended(create(Work::Command { name: "hello".into(), arguments: Vec::new() }));
    assert_eq!((hello.task.state, hello.output.trim()), (tasks::State::Succeeded, "hello from here"));
    let forbidden = ended(create(Work::Command { name: "rm".into(), arguments: vec!["-rf".into()] }));
    assert_eq!(forbidden.task.state, tasks::State::Refused);
    assert_eq!(ended(create(Work::Ping)).task.state, tasks::State::Succeeded);
    assert_eq!(ended(create(Work::Inventory)).task.state, tasks::State::Succeeded);
    let names = telemetry::ops::names(&ctx, ById { id: view.agent.id }).unwrap();
    assert!(names.iter().any(|series| series.name.starts_with("disk.used_percent")), "{names:?}");
    machine.stop();
}

#[test]
fn a_running_task_is_cancelled_gracefully() {
    let muster = Muster::start();
    let machine = Machine::join(&muster, "");
    let ctx = muster.ctx();
    let input = tasks::ops::CreateTask {
        agent: machine.id(),
        work: Work::Command { name: "wait".into(), arguments: Vec::new() },
        seconds_max: Some(60),
        output_bytes_max: None,
        memory_bytes_max: None,
    };
    let task = tasks::ops::create(&ctx, input).unwrap();
    let state = |id| tasks::ops::find(&ctx, ById { id }).unwrap().task.state;
    until(Span::from_seconds(20), "it to run", || (state(task.id) == tasks::State::Running).then_some(()));
    tasks::ops::cancel(&ctx, ById { id: task.id }).unwrap();
    until(Span::from_seconds(20), "it to end", || (state(task.id) == tasks::State::Cancelled).then_some(()));
    machine.stop();
}

#[test]
fn a_join_code_works_once() {
    let muster = Muster::start();
    let code = muster.join_code("");
    let machine = Machine::join_with(&muster, &code).unwrap();
    let error = Machine::join_with(&muster, &code).err().expect("the second machine is refused");
    assert!(error.to_string().contains("used by another"), "{error}");
    machine.stop();
}
