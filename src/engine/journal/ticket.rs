//! The promise that a record will be on the disk.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::sync::Shared;
use crate::base::Result;

/// Tells when a record is on the disk: block on `wait`, or await it.
#[must_use = "a record is not durable until its ticket says so"]
pub struct Ticket {
    shared: Arc<Shared>,
    number: u64,
    batch: u64,
    fingerprint: u64,
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, number: u64, batch: u64, fingerprint: u64) -> Ticket {
        Ticket { shared, number, batch, fingerprint }
    }

    /// The record's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Stands for the record and all before it: part of the chain's hash.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Blocks until the record is on the disk, or will never be.
    pub fn wait(&self) -> Result<()> {
        self.shared.wait(self.number, self.batch)
    }
}

impl Future for Ticket {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.shared.poll(self.number, self.batch, context.waker())
    }
}
