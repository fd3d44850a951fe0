//! Names and headers of entries, and the list of their sums. The tar format of 1988 (ustar) suffices for our names.

use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};

use super::{ENTRY_NAME_BYTES_MAX, NAME_PART_BYTES_MAX};
use crate::base::{Error, Result};

/// First entry: what is known at the beginning.
pub(super) const MANIFEST: &str = "manifest.json";
/// Last entry but one: what is known at the end.
pub(super) const END: &str = "end.json";
/// Last entry: every entry before it.
pub(super) const SUMS: &str = "sums.json";
/// Bytes of a header, and what contents are padded to.
pub(super) const TAR_BLOCK_BYTES: usize = 512;
/// Zeros after the last entry.
pub(super) const TAR_END_BYTES: usize = 2 * TAR_BLOCK_BYTES;
/// The time in every header, 2026-01-01: backups of the same state are the same inside.
const MODIFIED: u64 = 1_767_225_600;

/// One line of `sums.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sum {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

/// Says what is wrong with a name of an entry, if anything is. A good one stays below the folder it is unpacked in, on
/// every system.
pub(super) fn wrong_name(name: &str) -> Option<String> {
    if name.len() > ENTRY_NAME_BYTES_MAX {
        return Some(format!("is longer than {ENTRY_NAME_BYTES_MAX} bytes"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-@+".contains(&b);
    for part in name.split('/') {
        if part.is_empty() || part.starts_with(['.', '-']) {
            return Some("has a part that is empty or begins with `.` or `-`".into());
        }
        if part.len() > NAME_PART_BYTES_MAX {
            return Some(format!("has a part longer than {NAME_PART_BYTES_MAX} bytes"));
        }
        if !part.bytes().all(allowed) {
            return Some("has a character other than letters, digits and `._-@+`".into());
        }
    }
    None
}

/// The header of a regular file.
pub(super) fn header(name: &str, bytes: u64) -> Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MODIFIED);
    header.set_cksum();
    Ok(header)
}

/// Zeros that follow contents of so many bytes.
pub(super) fn padding(bytes: u64) -> usize {
    let over = (bytes % TAR_BLOCK_BYTES as u64) as usize;
    (TAR_BLOCK_BYTES - over) % TAR_BLOCK_BYTES
}

/// Name and length of the regular file that a header announces, or what is wrong with it.
pub(super) fn read(header: &Header) -> Result<(String, u64), String> {
    let bytes = header.as_bytes();
    let sum: u32 =
        bytes[..148].iter().chain([b' '; 8].iter()).chain(&bytes[156..]).map(|b| u32::from(*b)).sum();
    if header.cksum().ok() != Some(sum) {
        return Err("has a header whose checksum does not fit".into());
    }
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    if header.as_ustar().is_none() || header.entry_type() != EntryType::Regular {
        return Err(format!("has an entry `{}` that is no regular file", name.escape_debug()));
    }
    if let Some(wrong) = wrong_name(&name) {
        return Err(format!("has an entry `{}` whose name {wrong}", name.escape_debug()));
    }
    let size = header.entry_size().map_err(|_| format!("has no readable length for entry `{name}`"))?;
    Ok((name, size))
}

/// Refuses a name that an entry cannot have.
pub(super) fn check_name(name: &str) -> Result<()> {
    match wrong_name(name) {
        Some(wrong) => Err(Error::invalid(format!("the entry name `{}` {wrong}", name.escape_debug()))
            .hint("name entries by parts of letters, digits and `._-@+`, with `/` between")),
        None if [MANIFEST, END, SUMS].contains(&name) => {
            Err(Error::invalid(format!("the entry name `{name}` is reserved")).hint("choose another name"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_their_folder() {
        let long =
            |part: usize| format!("{}/{}", "a".repeat(ENTRY_NAME_BYTES_MAX - 1 - part), "b".repeat(part));
        for good in
            ["a", "store/rows/000001", "series/blocks/2026-11-25@4096", "keys/ca.key", &long(100), &long(90)]
        {
            check_name(good).unwrap();
            let header = header(good, 77).unwrap();
            assert_eq!(read(&header).unwrap(), (good.to_owned(), 77));
        }
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "-rf",
            "a/-b",
            "a\\b",
            "a b",
            "a\nb",
            "é",
            "C:x",
            ".hidden",
            "manifest.json",
            "end.json",
            "sums.json",
            &"a".repeat(101),
            &format!("{}/c", long(90)),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }

    #[test]
    fn only_regular_files_are_read() {
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Directory,
            EntryType::GNULongName,
            EntryType::XHeader,
        ] {
            let mut header = header("a", 0).unwrap();
            header.set_entry_type(kind);
            header.set_cksum();
            assert!(read(&header).unwrap_err().contains("no regular file"), "{kind:?}");
        }
        let mut up = header("aa/b", 0).unwrap();
        up.as_mut_bytes()[..4].copy_from_slice(b"../b");
        assert!(read(&up).unwrap_err().contains("checksum"));
        up.set_cksum();
        assert!(read(&up).unwrap_err().contains("begins with"));
    }
}
