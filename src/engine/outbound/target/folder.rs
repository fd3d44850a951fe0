//! A folder of this machine, or of a server whose file system is mounted here.

use std::io::Write;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::source::Source;
use super::{Pace, Probe, Put, Stored, Target};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;

/// Settings of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FolderSettings {
    /// The folder's absolute path. It must be there.
    pub path: PathBuf,
    /// Bytes of the disk that a copy leaves free.
    #[serde(default)]
    pub keep_free_bytes: u64,
}

pub(super) struct Folder {
    settings: FolderSettings,
    clock: Clock,
}

impl Folder {
    pub(super) fn new(settings: &FolderSettings, clock: &Clock) -> Result<Folder> {
        absolute(&settings.path)?;
        Ok(Folder { settings: settings.clone(), clock: clock.clone() })
    }

    fn place(&self) -> Result<Place> {
        Place::open(&self.settings.path)
    }
}

impl Target for Folder {
    fn describe(&self) -> String {
        format!("folder `{}`", self.settings.path.display())
    }

    fn put(&self, name: &str, file: &Path, pace: &Pace) -> Result<Put> {
        self.place()?.put(name, &Source::open(file)?, pace, self.settings.keep_free_bytes)
    }

    fn list(&self) -> Result<Vec<Stored>> {
        self.place()?.list()
    }

    fn get(&self, name: &str, from: u64, out: &mut dyn Write) -> Result<u64> {
        self.place()?.get(name, from, out)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.place()?.remove(name)
    }

    fn probe(&self) -> Result<Probe> {
        self.place()?.probe(&self.clock)
    }
}

/// The path, when it is absolute and goes nowhere but down.
pub(super) fn absolute(path: &Path) -> Result<&Path> {
    use std::path::Component;
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::invalid(format!("`{}` is not an absolute path", path.display()))
            .hint("it begins with `/` and has no `..`"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::contract::{self, Sort};
    use super::*;
    use crate::base::Kind;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let settings = FolderSettings { path: temp.path().to_owned(), keep_free_bytes: 0 };
        (temp, Folder::new(&settings, &Clock::system()).unwrap())
    }

    #[test]
    fn it_keeps_the_contract() {
        let (_temp, target) = folder();
        contract::keeps(&target, Sort::plain());
    }

    #[test]
    fn without_room_it_says_how_much_is_lacking() {
        let (temp, mut target) = folder();
        let file = contract::local(5_000);
        target.settings.keep_free_bytes = u64::MAX;
        let error = target.put("a", file.path(), &Pace::new(&target.clock)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("are lacking"), "{error}");
        assert_eq!(std::fs::metadata(temp.path().join("a.part")).unwrap().len(), 0, "nothing was written");
    }

    #[test]
    fn a_spoilt_part_is_not_built_upon() {
        let (temp, target) = folder();
        let file = contract::local(3_000_000);
        let bytes = std::fs::read(file.path()).unwrap();
        let mut part = bytes[..2_500_000].to_vec();
        part[1_500_000] ^= 1;
        std::fs::write(temp.path().join("a.part"), &part).unwrap();
        let put = target.put("a", file.path(), &Pace::new(&target.clock)).unwrap();
        assert_eq!((put.bytes, put.resumed), (3_000_000, 1024 * 1024));
        assert!(std::fs::read(temp.path().join("a")).unwrap() == bytes);
        // A part that is longer than the file.
        std::fs::write(temp.path().join("b.part"), [&bytes[..], b"more"].concat()).unwrap();
        assert_eq!(target.put("b", file.path(), &Pace::new(&target.clock)).unwrap().resumed, 3_000_000);
        assert!(std::fs::read(temp.path().join("b")).unwrap() == bytes);
    }

    #[test]
    fn links_lead_nowhere() {
        let (temp, target) = folder();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "precious").unwrap();
        symlink(outside.path(), temp.path().join("a.part")).unwrap();
        symlink(outside.path(), temp.path().join("b")).unwrap();
        let _ = std::fs::hard_link(outside.path(), temp.path().join("c.part"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            temp.path().join("d"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let file = contract::local(100);
        for name in ["a", "b", "c", "d"] {
            let taken = target.put(name, file.path(), &Pace::new(&target.clock));
            assert!(taken.is_err() || name == "c" && !temp.path().join("c.part").exists(), "{name}");
        }
        assert!(target.get("b", 0, &mut Vec::new()).is_err());
        assert!(target.get("d", 0, &mut Vec::new()).is_err());
        assert!(target.list().unwrap().iter().all(|s| s.name == "c"));
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"precious");
    }

    #[test]
    fn two_copies_of_one_name_do_not_mix() {
        let (temp, target) = folder();
        let file = contract::local(100);
        let held = std::fs::File::create(temp.path().join("a.part")).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(
            target.put("a", file.path(), &Pace::new(&target.clock)).unwrap_err().kind(),
            Kind::Conflict
        );
    }

    #[test]
    fn a_missing_folder_is_not_made() {
        let (temp, mut target) = folder();
        target.settings.path = temp.path().join("none");
        assert_eq!(target.list().unwrap_err().kind(), Kind::NotFound);
        assert_eq!(target.probe().unwrap_err().kind(), Kind::NotFound);
        assert!(!temp.path().join("none").exists());
        for bad in ["", "a", "a/b", "/a/../b", "/a\0b"] {
            let settings = FolderSettings { path: bad.into(), keep_free_bytes: 0 };
            assert!(Folder::new(&settings, &target.clock).is_err(), "{bad}");
        }
    }
}
