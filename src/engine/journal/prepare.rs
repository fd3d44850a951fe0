//! The next segment, made ready while the present one is filled.
//!
//! A file that grows has its length and its blocks written with every sync, and the file system may have to write what
//! others wrote before it can do so: a backup under way then holds every sync up. A segment whose blocks lie zeroed on
//! the disk has nothing to be written but its records.
//!
//! Invariant: a prepared file has no segment's name; whatever becomes of it, nothing is lost with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::disk::{Disk, DiskFile};
use super::{Options, room};

/// Bytes of zeroes that are written at once, and after how many they are synced, so that no heap of them gathers.
const STEP_BYTES: u64 = 512 * 1024;
const SYNC_BYTES: u64 = 4 * 1024 * 1024;

type Prepared = Option<Box<dyn DiskFile>>;

/// The file of the next segment, being made or ready. Dropping it removes the file.
pub(super) struct Preparing {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    thread: Option<JoinHandle<Prepared>>,
    stop: Arc<AtomicBool>,
    /// Whether it was begun since the last segment was.
    begun: bool,
}

impl Preparing {
    pub(super) fn new(folder: &Path, options: &Options) -> Preparing {
        let (disk, path) = (options.disk.clone(), path(folder, &options.name));
        Preparing { disk, path, thread: None, stop: Arc::default(), begun: false }
    }

    /// Begins it on a thread of its own, once for a segment, unless the disk is nearly full.
    pub(super) fn begin(&mut self, options: &Options) {
        if self.begun {
            return;
        }
        self.begun = true;
        let bytes = options.segment_bytes_max;
        let folder = self.path.parent().unwrap_or(&self.path);
        if room::check(&*self.disk, folder, options.reserve_bytes.saturating_add(bytes)).is_err() {
            return;
        }
        let (disk, path, stop) = (self.disk.clone(), self.path.clone(), self.stop.clone());
        let name = format!("ready-{}", options.name);
        // Without a thread, or without the file, the next segment grows as it is filled.
        let work = move || zeroed(&*disk, &path, bytes, &stop).ok();
        self.thread = std::thread::Builder::new().name(name).spawn(work).ok();
    }

    /// The file when it is ready, and where it lies. The next one can be begun then.
    pub(super) fn take(&mut self) -> Option<(Box<dyn DiskFile>, PathBuf)> {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return None;
        }
        self.begun = false;
        let file = self.thread.take()?.join().ok().flatten()?;
        Some((file, self.path.clone()))
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// What it is called in a folder.
pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.next"))
}

fn zeroed(disk: &dyn Disk, path: &Path, bytes: u64, stop: &AtomicBool) -> io::Result<Box<dyn DiskFile>> {
    match disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.create(path)?;
    let zeroes = vec![0; STEP_BYTES.min(bytes) as usize];
    let mut at = 0;
    while at < bytes {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let step = STEP_BYTES.min(bytes - at);
        file.write_at(&zeroes[..step as usize], at)?;
        at += step;
        if at.is_multiple_of(SYNC_BYTES) || at == bytes {
            file.sync()?;
        }
    }
    Ok(file)
}
