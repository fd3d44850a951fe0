//! A large file that goes without a heap of work for the disk at once.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

/// What is given back to the disk at a time.
const STEP_BYTES: u64 = 16 * 1024 * 1024;
/// How long others have the disk between two steps.
const PAUSE: Duration = Duration::from_millis(5);

/// Removes a file from its end to its beginning: a file system that tells its disk what became free does so at its next
/// sync, which is somebody else's, and they would wait for all of it. Whoever is interrupted leaves a shorter file, so its
/// name must already say that it is not whole.
pub fn remove_in_steps(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let mut length = file.metadata()?.len();
    while length > STEP_BYTES {
        length -= STEP_BYTES;
        file.set_len(length)?;
        file.sync_data()?;
        std::thread::park_timeout(PAUSE);
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_large_and_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for length in [0, 1, STEP_BYTES, STEP_BYTES + 1, STEP_BYTES * 3] {
            File::create(&path).unwrap().set_len(length).unwrap();
            remove_in_steps(&path).unwrap();
            assert!(!path.exists(), "{length}");
        }
        assert_eq!(remove_in_steps(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
