//! Threads that use what others leave of the processor.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

/// The calling thread, and those that it starts, run when nobody else wants the processor, and stop for whoever wakes up
/// (`SCHED_IDLE` of sched(7)). The lowest niceness is not enough: such a thread still ends its slice of some milliseconds
/// first. A thread of a pool must not call this, for it cannot be undone. A machine that forbids it is only less gentle.
pub fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
}
