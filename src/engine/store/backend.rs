//! redb's pages on the disk under the journal.

use std::io;

use redb::StorageBackend;

use crate::engine::journal::DiskFile;

/// A file that redb does not open by itself.
#[derive(Debug)]
pub(super) struct Plain(pub(super) Box<dyn DiskFile>);

impl StorageBackend for Plain {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}
