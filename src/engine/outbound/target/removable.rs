//! A medium that is brought and taken away: it is waited for, written to, and let go of.
//!
//! Nothing is mounted here; that is for `/etc/fstab`, systemd or udev, which know the medium by its name. What is
//! checked is that something is mounted where it is said to be, so that an empty mount point is never filled instead.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::absolute;
use super::place::Place;
use super::source::Source;
use super::{Pace, Probe, Put, State, Stored, Target, program};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;

/// Seconds that the ejection of a medium may take after it was synced.
const EJECT_SECONDS_MAX: u64 = 60;
/// Bytes of a file system's label or UUID.
const MARK_BYTES_MAX: usize = 255;

/// Settings of a removable medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovableSettings {
    /// Where the medium is mounted, as an absolute path.
    pub mount_point: PathBuf,
    /// The folder on the medium that the files are in; it is made when it is missing. Without it: the top.
    #[serde(default)]
    pub folder: Option<String>,
    /// Only the file system with this label will do.
    #[serde(default)]
    pub label: Option<String>,
    /// Only the file system with this UUID will do.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Whether the medium is let go of after a run, so that it can be pulled.
    #[serde(default)]
    pub eject: bool,
    /// Bytes of the medium that a copy leaves free.
    #[serde(default)]
    pub keep_free_bytes: u64,
}

pub(super) struct Removable {
    settings: RemovableSettings,
    clock: Clock,
    mounts: PathBuf,
    disks: PathBuf,
    udev: PathBuf,
}

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    number: u64,
    device: String,
    point: PathBuf,
    source: PathBuf,
}

/// A medium that is here.
struct Present {
    top: Place,
    place: Place,
    mount: Mount,
}

impl Removable {
    pub(super) fn new(settings: &RemovableSettings, clock: &Clock) -> Result<Removable> {
        absolute(&settings.mount_point)?;
        if settings.mount_point == Path::new("/") {
            return Err(Error::invalid("`/` is no removable medium"));
        }
        if let Some(folder) = &settings.folder {
            super::checked_name(folder)?;
        }
        for mark in [&settings.label, &settings.uuid].into_iter().flatten() {
            if mark.is_empty() || mark.len() > MARK_BYTES_MAX || mark.chars().any(char::is_control) {
                return Err(Error::invalid("a label or UUID is 1 to 255 bytes on one line"));
            }
        }
        Ok(Removable {
            settings: settings.clone(),
            clock: clock.clone(),
            mounts: "/proc/self/mountinfo".into(),
            disks: "/dev/disk".into(),
            udev: "/run/udev/data".into(),
        })
    }

    /// The medium, or what is waited for.
    fn look(&self) -> Result<Result<Present, String>> {
        let point = &self.settings.mount_point;
        let wanted = match (&self.settings.label, &self.settings.uuid) {
            (Some(label), _) => format!("the medium `{label}`"),
            (None, Some(uuid)) => format!("the medium with UUID `{uuid}`"),
            (None, None) => "a medium".to_owned(),
        };
        let absent = || Ok(Err(format!("waiting for {wanted} at `{}`", point.display())));
        // Opening the mount point wakes an automatic mount; the list is read after that.
        let Ok(top) = Place::open(point) else { return absent() };
        let text = std::fs::read_to_string(&self.mounts)
            .map_err(|e| Error::unavailable("the system does not tell what is mounted").because(e))?;
        let number = top.mount()?;
        // Found by number, not by path: the folder that is held open is what counts.
        let Some(mount) = mounts(&text).into_iter().find(|m| m.number == number && m.point == *point) else {
            return absent();
        };
        let marks = [("label", &self.settings.label), ("uuid", &self.settings.uuid)];
        for (kind, mark) in marks.into_iter().filter_map(|(kind, mark)| mark.as_ref().map(|m| (kind, m))) {
            if !self.is_marked(&mount, kind, &udev_name(mark)) {
                return Ok(Err(format!("another medium is at `{}`; waiting for {wanted}", point.display())));
            }
        }
        let place = match &self.settings.folder {
            Some(folder) => top.below(Path::new(folder))?,
            None => top.below(Path::new("."))?,
        };
        Ok(Ok(Present { top, place, mount }))
    }

    /// Whether what is mounted bears the label or UUID, as the links of `/dev/disk` say; a confined service does not
    /// see these, but what udev has noted of the device.
    fn is_marked(&self, mount: &Mount, kind: &str, mark: &str) -> bool {
        let link = self.disks.join(format!("by-{kind}")).join(mark);
        let device = std::fs::metadata(&link)
            .map(|meta| format!("{}:{}", rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())));
        let same_path = || {
            let (a, b) = (std::fs::canonicalize(&link), std::fs::canonicalize(&mount.source));
            a.is_ok_and(|a| b.is_ok_and(|b| a == b))
        };
        let noted = || {
            let line = format!("E:ID_FS_{}_ENC={mark}", kind.to_uppercase());
            std::fs::read_to_string(self.udev.join(format!("b{}", mount.device)))
                .is_ok_and(|text| text.lines().any(|noted| noted == line))
        };
        device.is_ok_and(|device| device == mount.device) || same_path() || noted()
    }

    fn here(&self) -> Result<Present> {
        self.look()?.map_err(|waiting| Error::unavailable(waiting).hint("put the medium in"))
    }

    fn eject(&self, mount: &Mount) -> String {
        let point = &self.settings.mount_point;
        let synced = |why: &str| format!("everything is on the medium, and it can be pulled; {why}");
        match rustix::mount::unmount(point, UnmountFlags::empty()) {
            Ok(()) => return "the medium was ejected and can be pulled".into(),
            Err(Errno::BUSY) => return synced("it was not ejected because somebody uses it"),
            Err(_) => {}
        }
        let within = Duration::from_secs(EJECT_SECONDS_MAX);
        let (point, source) = (point.to_string_lossy(), mount.source.to_string_lossy());
        let tries: [(&str, &[&str], &str); 2] = [
            ("umount", &["--", &*point], "mount"),
            ("udisksctl", &["unmount", "--no-user-interaction", "-b", &*source], "udisks2"),
        ];
        for (name, words, package) in tries {
            if program::run(name, words, package, b"", within).is_ok_and(|said| said.success) {
                return "the medium was ejected and can be pulled".into();
            }
        }
        synced("it was not ejected because the server may not")
    }
}

impl Target for Removable {
    fn describe(&self) -> String {
        let point = self.settings.mount_point.display();
        match self.settings.label.as_ref().or(self.settings.uuid.as_ref()) {
            Some(mark) => format!("removable medium `{mark}` at `{point}`"),
            None => format!("removable medium at `{point}`"),
        }
    }

    fn state(&self) -> Result<State> {
        Ok(self.look()?.map_or_else(State::Absent, |_| State::Ready))
    }

    fn put(&self, name: &str, file: &Path, pace: &Pace) -> Result<Put> {
        self.here()?.place.put(name, &Source::open(file)?, pace, self.settings.keep_free_bytes)
    }

    fn list(&self) -> Result<Vec<Stored>> {
        self.here()?.place.list()
    }

    fn get(&self, name: &str, from: u64, out: &mut dyn Write) -> Result<u64> {
        self.here()?.place.get(name, from, out)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.here()?.place.remove(name)
    }

    fn probe(&self) -> Result<Probe> {
        self.here()?.place.probe(&self.clock)
    }

    fn release(&self) -> Result<Option<String>> {
        let Ok(Present { top, place, mount }) = self.look()? else {
            return Ok(None);
        };
        place.sync_all()?;
        // Held open, it could not be let go of.
        drop((top, place));
        Ok(Some(match self.settings.eject {
            true => self.eject(&mount),
            false => "everything is on the medium; unmount it before it is pulled".into(),
        }))
    }
}

/// The mounts that `/proc/self/mountinfo` tells; lines that do not read are passed over.
fn mounts(text: &str) -> Vec<Mount> {
    let one = |line: &str| {
        // 36 35 98:0 /root /mnt/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let number = front.next()?.parse().ok()?;
        let device = front.nth(1)?.to_owned();
        let point = PathBuf::from(unescaped(front.nth(1)?));
        let mut back = back.split(' ');
        let kind = back.next()?;
        let source = PathBuf::from(unescaped(back.next()?));
        // What only waits to mount something is not a medium.
        (kind != "autofs").then_some(Mount { number, device, point, source })
    };
    text.lines().filter_map(one).collect()
}

/// Blanks and the like stand as `\040` in the list of mounts.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = text.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A label as udev names its link: plain characters stay, others become `\x20`.
fn udev_name(mark: &str) -> String {
    let mut out = String::new();
    for c in mark.chars() {
        if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii() {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{:02x}", c as u32));
        }
    }
    // A name that is only dots would lead elsewhere.
    if out.chars().all(|c| c == '.') { format!("\\x2e{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, Sort};
    use super::*;

    const TEXT: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 8:17 / /media/My\\040Disk rw,nosuid - vfat /dev/sdb1 rw
25 27 0:40 / /media/auto rw,relatime shared:1 - autofs systemd-1 rw,fd=29
26 27 8:33 / /media/two rw,relatime shared:1 master:2 - ext4 /dev/sdc1 rw
nonsense
27 - x
";

    /// A medium whose mount is told by a text of our own.
    fn faked() -> (tempfile::TempDir, Removable, String) {
        let temp = tempfile::tempdir().unwrap();
        let point = temp.path().join("medium");
        std::fs::create_dir_all(temp.path().join("disk/by-label")).unwrap();
        std::fs::create_dir(&point).unwrap();
        std::fs::write(temp.path().join("sdb1"), "").unwrap();
        let link = temp.path().join("disk/by-label/A\\x20B");
        std::os::unix::fs::symlink(temp.path().join("sdb1"), link).unwrap();
        let settings = RemovableSettings {
            mount_point: point.clone(),
            folder: Some("muster".into()),
            label: None,
            uuid: None,
            eject: false,
            keep_free_bytes: 0,
        };
        let mut target = Removable::new(&settings, &Clock::system()).unwrap();
        target.mounts = temp.path().join("mountinfo");
        target.disks = temp.path().join("disk");
        target.udev = temp.path().to_owned();
        let number = Place::open(&point).unwrap().mount().unwrap();
        let source = temp.path().join("sdb1");
        let line = format!("{number} 1 99:1 / {} rw - ext4 {} rw\n", point.display(), source.display());
        std::fs::write(&target.mounts, &line).unwrap();
        (temp, target, line)
    }

    #[test]
    fn the_list_of_mounts_is_read() {
        let read = mounts(TEXT);
        assert_eq!(read.len(), 3, "{read:?}");
        assert_eq!(read[1].point, Path::new("/media/My Disk"));
        assert_eq!((read[1].number, read[1].device.as_str()), (24, "8:17"));
        assert_eq!(read[2].source, Path::new("/dev/sdc1"));
        assert!(!mounts(&std::fs::read_to_string("/proc/self/mountinfo").unwrap()).is_empty());
        assert_eq!(unescaped("a\\040b\\1\\999é\\134"), "a b\\1\\999é\\");
        assert_eq!(udev_name("My Disk/é"), "My\\x20Disk\\x2fé");
        assert_eq!(udev_name(".."), "\\x2e..");
    }

    #[test]
    fn a_medium_that_is_here_keeps_the_contract() {
        let (temp, target, _) = faked();
        contract::keeps(&target, Sort::plain());
        assert!(temp.path().join("medium/muster").is_dir());
        assert!(target.release().unwrap().unwrap().contains("on the medium"));
    }

    #[test]
    fn an_empty_mount_point_is_waited_at_and_never_filled() {
        let (temp, target, line) = faked();
        let file = contract::local(10);
        for text in ["", TEXT, &line.replace("/medium", "/other"), &line.replace(" - ext4", " - autofs")] {
            std::fs::write(&target.mounts, text).unwrap();
            let State::Absent(why) = target.state().unwrap() else { panic!("{text}") };
            assert!(why.starts_with("waiting for a medium at"), "{why}");
            assert!(target.put("a", file.path(), &Pace::new(&target.clock)).is_err());
            assert_eq!(target.release().unwrap(), None);
        }
        assert_eq!(std::fs::read_dir(temp.path().join("medium")).unwrap().count(), 0);
        std::fs::remove_dir(temp.path().join("medium")).unwrap();
        assert!(matches!(target.state().unwrap(), State::Absent(_)));
    }

    #[test]
    fn only_the_named_medium_will_do() {
        let (temp, mut target, line) = faked();
        target.settings.label = Some("A B".into());
        assert_eq!(target.state().unwrap(), State::Ready);
        assert!(target.describe().contains("A B"));
        std::fs::write(&target.mounts, line.replace("/sdb1", "/sdc1")).unwrap();
        let State::Absent(why) = target.state().unwrap() else { panic!() };
        assert!(why.starts_with("another medium is at"), "{why}");
        std::fs::write(&target.mounts, &line).unwrap();
        target.settings.uuid = Some("12AB-34CD".into());
        assert!(matches!(target.state().unwrap(), State::Absent(_)), "both marks must be right");
        std::fs::write(temp.path().join("b99:1"), "S:disk\nE:ID_FS_UUID_ENC=12AB-34CD\n").unwrap();
        assert_eq!(target.state().unwrap(), State::Ready, "as udev noted it");
    }

    #[test]
    fn a_real_mount_is_seen_filled_and_let_go_of() {
        let temp = tempfile::tempdir().unwrap();
        let settings = RemovableSettings {
            mount_point: temp.path().to_owned(),
            folder: None,
            label: None,
            uuid: None,
            eject: true,
            keep_free_bytes: 0,
        };
        let target = Removable::new(&settings, &Clock::system()).unwrap();
        assert!(matches!(target.state().unwrap(), State::Absent(_)));
        let flags = rustix::mount::MountFlags::NODEV;
        let data = std::ffi::CString::new("size=1m").unwrap();
        if rustix::mount::mount("none", temp.path(), "tmpfs", flags, &*data).is_err() {
            // Only root mounts; the list of mounts is read all the same, above.
            return;
        }
        assert_eq!(target.state().unwrap(), State::Ready);
        let pace = Pace::new(&target.clock);
        let large = contract::local(2_000_000);
        let error = target.put("a", large.path(), &pace).unwrap_err();
        assert!(error.message().contains("are lacking"), "{error}");
        let small = contract::local(500_000);
        target.put("b", small.path(), &pace).unwrap();
        let held = std::fs::File::open(temp.path()).unwrap();
        assert!(target.release().unwrap().unwrap().contains("somebody uses it"));
        drop(held);
        assert!(target.release().unwrap().unwrap().contains("was ejected"));
        assert!(matches!(target.state().unwrap(), State::Absent(_)));
    }

    #[test]
    fn settings_are_checked() {
        let clock = Clock::system();
        let good = faked().1.settings;
        let bad = [
            RemovableSettings { mount_point: "/".into(), ..good.clone() },
            RemovableSettings { mount_point: "media".into(), ..good.clone() },
            RemovableSettings { folder: Some("../x".into()), ..good.clone() },
            RemovableSettings { label: Some(String::new()), ..good.clone() },
            RemovableSettings { uuid: Some("x".repeat(MARK_BYTES_MAX + 1)), ..good },
        ];
        for settings in bad {
            assert!(Removable::new(&settings, &clock).is_err(), "{settings:?}");
        }
    }
}
