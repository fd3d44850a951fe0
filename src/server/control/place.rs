//! The socket's address, however long the folder's path is.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};

/// Bytes of a socket's path that the kernel takes (`sun_path`, less the closing zero).
pub(super) const PATH_BYTES_MAX: usize = 107;

/// A path to the socket that is short enough. A longer one is reached through the handle of its folder, which is held.
pub(super) struct Place {
    path: PathBuf,
    _folder: Option<File>,
}

impl Place {
    /// The place of the socket at `path`.
    pub(super) fn of(path: &Path) -> Result<Place> {
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Place { path: path.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(format!("`{}` is no path of a socket", path.display())));
        };
        let folder = File::open(folder).map_err(|e| {
            Error::unavailable(format!("the folder `{}` cannot be opened", folder.display())).because(e)
        })?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Place { path, _folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
