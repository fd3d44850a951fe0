use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::base::{Error, Span, Timestamp};
use crate::engine::clock::Clock;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1)
}

#[test]
fn a_job_runs_when_it_is_due() {
    let (clock, count) = (clock(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    let step: Step = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let runner = Runner::start(clock.clone(), vec![("agents.sweep", Span::from_minutes(5), step)]).unwrap();
    assert_eq!(runner.run_due_now(), 0);
    clock.advance(Span::from_minutes(5));
    runner.run_due_now();
    // A thread of the runner may have been the one to take it.
    runner.stop();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(runner.stats()[0].runs, 1);
    clock.advance(Span::from_minutes(5));
    assert_eq!(runner.run_due_now(), 0, "a stopped runner runs nothing");
}

#[test]
fn panics_and_errors_end_one_run_only() {
    let clock = clock();
    let jobs: Vec<(&'static str, Span, Step)> = vec![
        ("a.panics", Span::from_seconds(600), Box::new(|| panic!("boom"))),
        ("a.fails", Span::from_seconds(600), Box::new(|| Err(Error::conflict("it is `busy`")))),
    ];
    let runner = Runner::start(clock.clone(), jobs).unwrap();
    for _ in 0..2 {
        clock.advance(Span::from_seconds(601));
        runner.run_due_now();
    }
    runner.stop();
    let stats = runner.stats();
    assert!(stats[0].last_error.as_ref().unwrap().contains("boom"));
    assert!(stats[1].last_error.as_ref().unwrap().contains("busy"));
    assert!(stats.iter().all(|s| s.failures == s.runs && s.runs >= 1));
}

#[test]
fn waking_runs_a_job_at_once() {
    let (send, receive) = mpsc::channel();
    let step: Step = Box::new(move || {
        let _ = send.send(());
        Ok(())
    });
    let runner = Runner::start(Clock::system(), vec![("a.woken", Span::from_hours(24), step)]).unwrap();
    runner.wake("a.unknown");
    runner.wake("a.woken");
    assert!(receive.recv_timeout(Duration::from_secs(10)).is_ok());
}
