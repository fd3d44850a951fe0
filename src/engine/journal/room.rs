//! Room on the disk: appends end before the disk does, and go on when there is room again.
//!
//! A journal that meets a full disk in the middle of a write cannot be used again before a restart. So nothing new is
//! taken on while less than the reserve is free; what was taken, and what is derived from it, still fits.

use std::path::Path;

use super::disk::Disk;
use crate::base::{Error, Result};

/// Refuses while the reserve is not free. The disk is asked every time, for others fill it too; that takes a
/// microsecond. One that cannot be asked counts as one with room: the write itself will tell.
pub(super) fn check(disk: &dyn Disk, folder: &Path, reserve: u64) -> Result<()> {
    match disk.free_bytes(folder) {
        Ok(free) if free < reserve => {
            let mebibytes = reserve / (1024 * 1024);
            Err(Error::unavailable(format!(
                "the disk is full: less than {mebibytes} MiB are free, so nothing can be changed"
            ))
            .hint("free some of the disk of the data folder; reading goes on, and writing will by itself"))
        }
        _ => Ok(()),
    }
}
