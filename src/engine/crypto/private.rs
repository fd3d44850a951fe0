//! Files that only this user reads.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::base::{Error, Result};

/// Makes `folder` and what is above it, for this user alone.
pub fn private_folder(folder: &Path) -> Result<()> {
    let failed =
        |e| Error::unavailable(format!("the folder `{}` cannot be made", folder.display())).because(e);
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// Writes a file that only this user reads, whole or not at all, and on disk when this returns.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::unavailable(format!("`{}` cannot be written", path.display())).because(e);
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = path.with_extension("new");
    let write = || {
        // A left-over of an earlier crash could have other permissions.
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(failed)?;
    sync_folder(folder)
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::unavailable(format!("`{}` cannot be synced", folder.display())).because(e))
}
