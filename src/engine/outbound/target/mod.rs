//! Places that files are copied to: a folder, a medium that comes and goes, a one-way folder, SFTP, S3.
//!
//! Every call blocks; make it on a thread that may wait. A target is cheap: it opens its connection for each call, so
//! that a change of the egress list or of a key counts from the next call on.
//!
//! Invariant: a file under its final name is whole and synced; what is not yet whole ends in `.part`.
//! Invariant: a file is never replaced by another one of the same name.
//! Invariant: settings hold no secret; it is handed in when the target is opened.

mod folder;
mod one_way;
mod pace;
mod place;
mod program;
mod removable;
mod s3;
mod sftp;
mod source;

use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::egress::{Egress, checked_host};
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

pub use folder::FolderSettings;
pub use one_way::OneWaySettings;
pub use pace::Pace;
pub use removable::RemovableSettings;
pub use s3::S3Settings;
pub use sftp::{HostKey, SftpSettings, new_identity, scan_host_key};

/// Bytes of a file's name at a target.
pub const NAME_BYTES_MAX: usize = 200;
/// Names that a listing may have, ours and others; a server that goes on is cut off.
pub const LIST_COUNT_MAX: usize = 100_000;
/// What ends the name of a file that is not yet whole.
pub const PART: &str = ".part";
/// What ends the name of a file that holds another one's BLAKE3, as `b3sum` writes it.
pub const SUM: &str = ".b3";

/// A place that files are copied to.
pub trait Target: Send + Sync {
    /// Where it is, for people: "folder `/srv/backup`".
    fn describe(&self) -> String;

    /// Whether it can be used now. Only a medium may be absent; that is not an error.
    fn state(&self) -> Result<State> {
        Ok(State::Ready)
    }

    /// Copies the local `file` here as `name`: goes on with a part of the same file that is here already, never
    /// replaces another file, and has it synced when it returns.
    fn put(&self, name: &str, file: &Path, pace: &Pace) -> Result<Put>;

    /// The whole files here, by name; foreign names are left out.
    fn list(&self) -> Result<Vec<Stored>>;

    /// Writes what is in `name` from the byte `from` on to `out`; gives the number of bytes. An error of `out` ends it.
    fn get(&self, name: &str, from: u64, out: &mut dyn Write) -> Result<u64>;

    /// Removes `name`, and its part if a copy of it was begun.
    fn remove(&self, name: &str) -> Result<()>;

    /// Writes a small file, reads it back, removes it, and says what was found.
    fn probe(&self) -> Result<Probe>;

    /// After the last copy of a run: lets go of what must be let go of, and says in words how it stands.
    fn release(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

/// Whether a target can be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Ready,
    /// Its medium is not here; the text says what is waited for.
    Absent(String),
}

/// How a copy went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Bytes of the file.
    pub bytes: u64,
    /// Of these, bytes that were here already and were not sent again.
    pub resumed: u64,
}

/// A whole file at a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What a test of a target found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// For people: "written, read back and removed; 12.0 GB are free".
    pub found: String,
    /// Bytes that are free, where the target tells.
    pub free_bytes: Option<u64>,
}

/// Where a target is and how it is reached, without any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Settings {
    /// A folder of this machine, or of a server whose file system is mounted.
    Folder(FolderSettings),
    /// A medium that comes and goes.
    Removable(RemovableSettings),
    /// A folder that a data diode takes files from.
    OneWay(OneWaySettings),
    /// A folder of an SSH server.
    Sftp(SftpSettings),
    /// A bucket of an S3-compatible store.
    S3(S3Settings),
}

impl Settings {
    /// The target. `secret` is what the kind calls so.
    pub fn open(
        &self,
        secret: Option<Secret<String>>,
        egress: &Egress,
        clock: &Clock,
    ) -> Result<Box<dyn Target>> {
        Ok(match self {
            Settings::Folder(settings) => Box::new(folder::Folder::new(settings, clock)?),
            Settings::Removable(settings) => Box::new(removable::Removable::new(settings, clock)?),
            Settings::OneWay(settings) => Box::new(one_way::OneWay::new(settings, clock)?),
            Settings::S3(settings) => Box::new(s3::S3::new(settings, secret, egress, clock)?),
            Settings::Sftp(settings) => Box::new(sftp::Sftp::new(settings, secret, egress, clock)?),
        })
    }

    /// The host and port that must be on the egress list, when the target is reached by network.
    pub fn destination(&self) -> Result<Option<(String, u16)>> {
        match self {
            Settings::Folder(_) | Settings::Removable(_) | Settings::OneWay(_) => Ok(None),
            Settings::S3(settings) => Ok(Some(settings.destination()?)),
            Settings::Sftp(settings) => Ok(Some((checked_host(&settings.host)?, settings.port))),
        }
    }
}

/// The name, when a file may have it here: letters, digits, `.`, `-` and `_`, not what this engine uses itself.
pub fn checked_name(name: &str) -> Result<&str> {
    let refused = |why: String| Err(Error::invalid(why).hint("letters, digits, `.`, `-` and `_`"));
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return refused(format!("a file's name has 1 to {NAME_BYTES_MAX} bytes"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) {
        return refused("the file's name has characters that not every target can keep".into());
    }
    if name.starts_with(['.', '-']) {
        return refused("a file's name begins with a letter, a digit or `_`".into());
    }
    if name.ends_with(PART) || name.ends_with(SUM) {
        return refused(format!("a file's name does not end in `{PART}` or `{SUM}`"));
    }
    Ok(name)
}

/// Bytes as a person reads them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1_000 {
        return format!("{bytes} bytes");
    }
    let (mut value, mut unit) = (bytes as f64 / 1_000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod contract;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "plant-20261125T140200Z-full-000000012345.muster", "_x", "a..b", "A.b3.muster"] {
            assert_eq!(checked_name(good).unwrap(), good);
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in
            ["", ".", "..", "../a", "a/b", "-rf", ".a", "a\n", "a b", "ä", "a\0", "a.part", "a.b3", &long]
        {
            assert!(checked_name(bad).is_err(), "{bad:?}");
        }
        assert!(checked_name(&long[1..]).is_ok());
    }

    #[test]
    fn sizes_are_read_by_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (999_999, "1.0 MB"),
            (1_500_000_000, "1.5 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
