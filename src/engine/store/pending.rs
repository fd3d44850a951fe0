//! The promise that a change will be durable and visible.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::refused;
use crate::base::Result;

/// Tells when a change is durable and visible: block on `wait`, or await it.
#[must_use = "a change is not durable until its pending says so"]
pub struct Pending(Option<Arc<Completion>>);

impl Pending {
    /// None: there is nothing to wait for.
    pub(super) fn new(completion: Option<Arc<Completion>>) -> Pending {
        Pending(completion)
    }

    /// Blocks until the change is durable and visible, or will never be.
    pub fn wait(self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |completion| completion.wait())
    }
}

impl Future for Pending {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.as_ref().map_or(Poll::Ready(Ok(())), |completion| completion.poll(context.waker()))
    }
}

/// What the writer thread completes and callers wait for.
#[derive(Default)]
pub(super) struct Completion {
    state: Mutex<Progress>,
    done: Condvar,
}

#[derive(Default)]
struct Progress {
    result: Option<Result<(), Arc<str>>>,
    wakers: Vec<Waker>,
}

impl Completion {
    pub(super) fn complete(&self, result: Result<(), Arc<str>>) {
        let wakers = {
            let mut state = self.state.lock();
            state.result.get_or_insert(result);
            std::mem::take(&mut state.wakers)
        };
        self.done.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn wait(&self) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if let Some(result) = &state.result {
                return result.clone().map_err(|why| refused(&why));
            }
            self.done.wait(&mut state);
        }
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<()>> {
        let mut state = self.state.lock();
        match &state.result {
            Some(result) => Poll::Ready(result.clone().map_err(|why| refused(&why))),
            None => {
                state.wakers.retain(|known| !known.will_wake(waker));
                state.wakers.push(waker.clone());
                Poll::Pending
            }
        }
    }
}
