//! How full a disk is, and what a folder takes of it.

use std::path::Path;

use crate::base::{Error, Result};

/// How full the disk of a folder is, in bytes that a program without special rights may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Free.
    pub free: u64,
    /// Free and used together.
    pub total: u64,
}

/// How full the disk is on which the folder lies.
pub fn space(folder: &Path) -> Result<Space> {
    let disk = rustix::fs::statvfs(folder).map_err(|e| {
        Error::unavailable(format!("the disk of `{}` cannot be asked", folder.display())).because(e)
    })?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Space { free: bytes(disk.f_bavail), total: bytes(used.saturating_add(disk.f_bavail)) })
}

/// Whether the disk of a folder is encrypted below its file system (dm-crypt), also under a logical volume; nothing where
/// the kernel does not tell, as of file systems over several disks.
pub fn is_encrypted(folder: &Path) -> Option<bool> {
    let device = rustix::fs::stat(folder).ok()?.st_dev;
    let place = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    encrypted_device(&Path::new("/sys/dev/block").join(place), 4)
}

/// A device is encrypted when it is dm-crypt's, or when all that it lies on are.
fn encrypted_device(device: &Path, depth: usize) -> Option<bool> {
    if !device.is_dir() || depth == 0 {
        return None;
    }
    let kind = std::fs::read_to_string(device.join("dm/uuid")).unwrap_or_default();
    if kind.starts_with("CRYPT-") {
        return Some(true);
    }
    let below: Vec<_> =
        std::fs::read_dir(device.join("slaves")).map(|all| all.flatten().collect()).unwrap_or_default();
    if below.is_empty() {
        return Some(false);
    }
    below
        .iter()
        .map(|one| encrypted_device(&one.path(), depth - 1))
        .try_fold(true, |all, one| Some(all && one?))
}

/// Bytes of the files in a folder and below it, as far as `files_max` of them; nothing where there is no folder. Links
/// are not followed.
pub fn folder_bytes(folder: &Path, files_max: usize) -> u64 {
    let mut bytes = 0;
    let mut left = files_max;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.is_file() {
                bytes += about.len();
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return bytes;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_wherever_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        std::fs::write(folder.path().join("a"), [0; 10]).unwrap();
        std::fs::write(folder.path().join("below/b"), [0; 5]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert_eq!(folder_bytes(folder.path(), 100), 15);
        assert!(folder_bytes(folder.path(), 1) <= 10);
        assert_eq!(folder_bytes(&folder.path().join("none"), 100), 0);
        let space = space(folder.path()).unwrap();
        assert!(space.free > 0 && space.free <= space.total);
        assert!(super::space(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_disk_is_encrypted_when_all_below_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let device = |name: &str, uuid: Option<&str>, below: &[&str]| {
            let device = folder.path().join(name);
            std::fs::create_dir_all(device.join("slaves")).unwrap();
            if let Some(uuid) = uuid {
                std::fs::create_dir(device.join("dm")).unwrap();
                std::fs::write(device.join("dm/uuid"), uuid).unwrap();
            }
            for one in below {
                std::os::unix::fs::symlink(folder.path().join(one), device.join("slaves").join(one)).unwrap();
            }
            device
        };
        let plain = device("sda1", None, &[]);
        let crypt = device("dm-0", Some("CRYPT-LUKS2-1\n"), &["sda1"]);
        let volume = device("dm-1", Some("LVM-2\n"), &["dm-0"]);
        let mixed = device("dm-2", Some("LVM-3\n"), &["dm-0", "sda1"]);
        for (device, expected) in
            [(plain, Some(false)), (crypt, Some(true)), (volume, Some(true)), (mixed, Some(false))]
        {
            assert_eq!(encrypted_device(&device, 4), expected, "{}", device.display());
        }
        assert_eq!(encrypted_device(&folder.path().join("none"), 4), None);
    }
}
