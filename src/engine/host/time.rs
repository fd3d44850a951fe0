//! Who sets the host's clock.
//!
//! The kernel's own word (adjtimex) is not asked for: a hardened unit may not make that call, and this program has no
//! unsafe code. systemd tells by files which units run, and its time service touches one at each synchronisation.

use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::base::Timestamp;

/// Units that set the clock, and what people call them.
const UNITS: [(&str, &str); 9] = [
    ("systemd-timesyncd.service", TIMESYNCD),
    ("chrony.service", "chrony"),
    ("chronyd.service", "chrony"),
    ("ntpsec.service", "ntpsec"),
    ("ntp.service", "ntp"),
    ("ntpd.service", "ntp"),
    ("openntpd.service", "openntpd"),
    ("phc2sys.service", "phc2sys"),
    ("ptp4l.service", "ptp4l"),
];
const TIMESYNCD: &str = "systemd-timesyncd";

/// Who sets the clock, and whether it is in step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeService {
    /// What people call it; empty when none runs that is known here.
    pub name: String,
    /// Whether it has brought the clock in step since it started; nothing where it leaves no word of that.
    pub in_step: Option<bool>,
    /// When it last did.
    pub at: Option<Timestamp>,
}

/// Who sets this host's clock; nothing where systemd does not run, so that it cannot be told.
pub fn time_service() -> Option<TimeService> {
    told(Path::new("/run/systemd"))
}

fn told(systemd: &Path) -> Option<TimeService> {
    // The links name an invocation each, so they lead nowhere.
    let runs =
        |unit: &str| systemd.join("units").join(format!("invocation:{unit}")).symlink_metadata().is_ok();
    if !systemd.join("units").is_dir() {
        return None;
    }
    let name = UNITS.iter().find(|(unit, _)| runs(unit)).map(|(_, name)| *name).unwrap_or_default();
    if name != TIMESYNCD {
        return Some(TimeService { name: name.to_owned(), in_step: None, at: None });
    }
    let touched = systemd.join("timesync/synchronized").metadata().and_then(|about| about.modified()).ok();
    let at = touched
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map(|since| Timestamp::from_milliseconds(since.as_millis() as i64));
    Some(TimeService { name: name.to_owned(), in_step: Some(at.is_some()), at })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_systemd_leaves_in_its_folder_tells_who_sets_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        let systemd = folder.path();
        assert_eq!(told(systemd), None, "no systemd");
        fs::create_dir(systemd.join("units")).unwrap();
        assert_eq!(told(systemd), Some(TimeService::default()), "nobody");
        symlink("0123", systemd.join("units/invocation:chrony.service")).unwrap();
        let chrony = TimeService { name: "chrony".into(), in_step: None, at: None };
        assert_eq!(told(systemd), Some(chrony));
        symlink("4567", systemd.join("units/invocation:systemd-timesyncd.service")).unwrap();
        let found = told(systemd).unwrap();
        assert_eq!((found.name.as_str(), found.in_step, found.at), (TIMESYNCD, Some(false), None));
        fs::create_dir(systemd.join("timesync")).unwrap();
        fs::write(systemd.join("timesync/synchronized"), "").unwrap();
        let found = told(systemd).unwrap();
        assert!(found.in_step == Some(true) && found.at.is_some());
    }
}
