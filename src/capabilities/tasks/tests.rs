//! Moves of tasks.

use super::*;
use crate::base::{AgentId, Kind, TaskId, Timestamp};
use crate::wire::{TaskPhase, Work};

fn task(state: State) -> Task {
    Task {
        id: TaskId::from_bits(1),
        agent: AgentId::from_bits(2),
        work: Work::Command { name: "df".into(), arguments: vec!["-h".into()] },
        state,
        by: "usr".into(),
        created: Timestamp::default(),
        sent: None,
        started: None,
        ended: None,
        exit: None,
        reason: String::new(),
        cancelling: false,
        asking: false,
        output_bytes: 0,
        seconds_max: 60,
        output_bytes_max: 100,
        memory_bytes_max: 0,
    }
}

#[test]
fn the_tasks_of_a_retired_agent_end_with_it() {
    let now = Timestamp::from_milliseconds(5);
    for (state, expected) in [
        (State::Queued, State::Cancelled),
        (State::Sent, State::Unknown),
        (State::Running, State::Unknown),
        (State::Succeeded, State::Succeeded),
    ] {
        let task = task(state).abandon(now);
        assert_eq!((task.state, task.ended.is_some()), (expected, !state.is_final()), "{state:?}");
    }
}

#[test]
fn reports_move_a_task_forward_only() {
    let now = Timestamp::from_milliseconds(5);
    for (from, phase, to) in [
        (State::Sent, TaskPhase::Accepted, Some(State::Accepted)),
        (State::Queued, TaskPhase::Running, Some(State::Running)),
        (State::Running, TaskPhase::Running, Some(State::Running)),
        (State::Running, TaskPhase::Accepted, None),
        (State::Accepted, TaskPhase::Accepted, None),
        (State::Accepted, TaskPhase::Refused, Some(State::Refused)),
        (State::Running, TaskPhase::Succeeded, Some(State::Succeeded)),
        (State::Succeeded, TaskPhase::Failed, None),
        (State::Cancelled, TaskPhase::Running, None),
    ] {
        let next = task(from).report(phase, now);
        assert_eq!(next.as_ref().map(|t| t.state), to, "{from:?} {phase:?}");
        if let Some(next) = next {
            assert_eq!(next.ended.is_some(), next.state.is_final());
        }
    }
}

/// After a restore the agent's answer counts, once, whatever it is.
#[test]
fn only_a_task_that_a_restore_made_unknown_may_still_move() {
    let now = Timestamp::from_milliseconds(5);
    for (from, phase, to) in [
        (State::Queued, TaskPhase::Succeeded, State::Succeeded),
        (State::Sent, TaskPhase::Unknown, State::Unknown),
        (State::Accepted, TaskPhase::Running, State::Running),
        (State::Running, TaskPhase::Accepted, State::Accepted),
        (State::Running, TaskPhase::Cancelled, State::Cancelled),
    ] {
        let lost = Task { cancelling: true, ..task(from) }.lose(now, "restored");
        assert_eq!((lost.state, lost.asking, lost.cancelling), (State::Unknown, true, false));
        let told = lost.report(phase, now).unwrap();
        assert_eq!((told.state, told.asking, told.ended.is_some()), (to, false, to.is_final()));
        assert!(!to.is_final() || told.report(TaskPhase::Failed, now).is_none());
    }
    let ended = task(State::Succeeded).lose(now, "restored");
    assert!(!ended.asking && ended.report(TaskPhase::Failed, now).is_none());
    assert!(
        !task(State::Running).lose(now, "restored").abandon(now).asking,
        "a retired agent answers nothing"
    );
}

#[test]
fn cancelling_ends_what_waits_and_asks_what_runs() {
    let now = Timestamp::from_milliseconds(5);
    assert_eq!(task(State::Queued).cancel(now).unwrap().state, State::Cancelled);
    let running = task(State::Running).cancel(now).unwrap();
    assert!(running.cancelling && running.state == State::Running);
    assert_eq!(task(State::Failed).cancel(now).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(task(State::Queued).title(), "df -h");
}

#[test]
fn the_guide_says_how_long_tasks_are_kept() {
    assert_eq!(store::KEPT, Span::from_days(90));
    assert!(crate::kit::guide::proof::says("storage", "Events of agents, and tasks that have ended"));
    for state in
        ["queued", "sent", "accepted", "running", "succeeded, failed", "refused", "cancelled", "exceeded"]
    {
        assert!(crate::kit::guide::proof::says("agents", state), "{state}");
    }
}
