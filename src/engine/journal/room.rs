//! Room on the disk: appends end before the disk does, and go on when there is room again.
//!
//! A journal that meets a full disk in the middle of a write can never be used again before a restart. So nothing new is
//! taken on while less than the reserve is free; what was taken, and what is derived from it, still fits.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{Error, Result};

/// Whether there was room when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Room(AtomicBool);

impl Room {
    /// Looks after a write.
    pub(super) fn look(&self, folder: &Path, reserve: u64) {
        self.0.store(is_short(folder, reserve), Ordering::Relaxed);
    }

    /// Refuses while the reserve is not free. Only then does it ask the disk, so that it notices when there is room.
    pub(super) fn ask(&self, folder: &Path, reserve: u64) -> Result<()> {
        if !self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.look(folder, reserve);
        if !self.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mebibytes = reserve / (1024 * 1024);
        Err(Error::unavailable(format!("the disk is full: less than {mebibytes} MiB are free"))
            .hint("free some of the disk of the data folder; writing goes on by itself"))
    }
}

/// A disk that cannot be asked counts as one with room: the write itself will tell.
fn is_short(folder: &Path, reserve: u64) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < reserve)
}
