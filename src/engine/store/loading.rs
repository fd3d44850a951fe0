//! Rows on their way into a restored state: a thread loads them while the next ones are unpacked, and another writes
//! the file to the disk meanwhile, so that little is left for the end.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::state::State;
use crate::base::{Error, Result};
use crate::engine::journal::DiskFile;

/// Bytes of rows that are loaded in one commit.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Batches that wait beside the one being loaded.
const WAITING_MAX: usize = 1;

/// Takes chunks of rows and loads many of them at once.
pub(super) struct Loading {
    state: Arc<State>,
    /// The state's file, opened once more.
    file: Arc<dyn DiskFile>,
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    thread: Option<Thread>,
}

struct Thread {
    batches: mpsc::SyncSender<Vec<Vec<u8>>>,
    work: [JoinHandle<Result<()>>; 2],
}

impl Loading {
    pub(super) fn new(state: Arc<State>, file: Box<dyn DiskFile>) -> Loading {
        Loading { state, file: file.into(), chunks: Vec::new(), bytes: 0, thread: None }
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
            none => none.insert(begin(self.state.clone(), self.file.clone())?),
        };
        match thread.batches.send(chunks) {
            Ok(()) => Ok(()),
            Err(_) => self.end().and(Err(panicked())),
        }
    }

    fn end(&mut self) -> Result<()> {
        let Some(Thread { batches, work }) = self.thread.take() else { return Ok(()) };
        drop(batches);
        let ended = work.map(|work| work.join().unwrap_or_else(|_| Err(panicked())));
        ended.into_iter().collect()
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // The files must not be in use any more. Who gives a restore up has no use for an error.
        let _ = self.end();
    }
}

fn begin(state: Arc<State>, file: Arc<dyn DiskFile>) -> Result<Thread> {
    let (batches, waiting) = mpsc::sync_channel::<Vec<Vec<u8>>>(WAITING_MAX);
    let (loaded, ticks) = mpsc::sync_channel::<()>(1);
    let load = move || {
        waiting.iter().try_for_each(|chunks| {
            state.load(&chunks)?;
            // One that is under way will do; the end syncs in any case.
            let _ = loaded.try_send(());
            Ok(())
        })
    };
    let sync = move || ticks.iter().try_for_each(|()| Ok(file.sync()?));
    // The one that syncs first: it ends when the other does, also when that cannot be begun.
    let sync = std::thread::Builder::new().name("restore-sync".into()).spawn(sync)?;
    let load = std::thread::Builder::new().name("restore".into()).spawn(load)?;
    Ok(Thread { batches, work: [load, sync] })
}

fn panicked() -> Error {
    Error::internal("loading the rows ended early")
}
