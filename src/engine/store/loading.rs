//! Rows on their way into a restored state: a thread loads them while the next ones are unpacked.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::state::State;
use crate::base::{Error, Result};

/// Bytes of rows that are loaded in one commit.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Batches that wait beside the one being loaded.
const WAITING_MAX: usize = 1;

/// Takes chunks of rows and loads many of them at once.
pub(super) struct Loading {
    state: Arc<State>,
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    thread: Option<Thread>,
}

struct Thread {
    batches: mpsc::SyncSender<Vec<Vec<u8>>>,
    work: JoinHandle<Result<()>>,
}

impl Loading {
    pub(super) fn new(state: Arc<State>) -> Loading {
        Loading { state, chunks: Vec::new(), bytes: 0, thread: None }
    }

    /// Takes a chunk, which is known to be whole. An error may be that of an earlier one.
    pub(super) fn add(&mut self, chunk: &[u8]) -> Result<()> {
        self.bytes += chunk.len();
        self.chunks.push(chunk.to_vec());
        if self.bytes >= BATCH_BYTES_MAX { self.send() } else { Ok(()) }
    }

    /// Waits until everything is loaded.
    pub(super) fn settle(&mut self) -> Result<()> {
        if !self.chunks.is_empty() {
            self.send()?;
        }
        self.end()
    }

    fn send(&mut self) -> Result<()> {
        let chunks = std::mem::take(&mut self.chunks);
        self.bytes = 0;
        let thread = match &mut self.thread {
            Some(thread) => thread,
            none => none.insert(begin(self.state.clone())?),
        };
        match thread.batches.send(chunks) {
            Ok(()) => Ok(()),
            Err(_) => self.end().and(Err(panicked())),
        }
    }

    fn end(&mut self) -> Result<()> {
        let Some(Thread { batches, work }) = self.thread.take() else { return Ok(()) };
        drop(batches);
        work.join().unwrap_or_else(|_| Err(panicked()))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // The files must not be in use any more. Who gives a restore up has no use for an error.
        let _ = self.end();
    }
}

fn begin(state: Arc<State>) -> Result<Thread> {
    let (batches, waiting) = mpsc::sync_channel::<Vec<Vec<u8>>>(WAITING_MAX);
    let work = std::thread::Builder::new()
        .name("restore".into())
        .spawn(move || waiting.iter().try_for_each(|chunks| state.load(&chunks)))?;
    Ok(Thread { batches, work })
}

fn panicked() -> Error {
    Error::internal("loading the rows ended early")
}
