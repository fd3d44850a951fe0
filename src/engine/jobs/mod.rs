//! Timers: runs named steps every so often on threads of its own.
//!
//! The durable state of a step lies in the store, not here: a step reads what it answers for and moves it, so that a
//! missed or doubled run does no harm.
//!
//! Invariant: one job never runs twice at the same time; a slow job delays only itself while a thread is free.
//! Invariant: a panic or an error in a job ends that run, is kept for the statistics, and the next run comes as planned.
//! Invariant: after `stop` returns, no job runs and none will.

mod runner;

pub use runner::{JobStats, Runner, Step};

#[cfg(test)]
mod tests;
