//! The disk and the files: room, speed, and who may read what.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Report;
use crate::base::{Error, Result};
use crate::engine::clock::Clock;
use crate::engine::host;
use crate::server::config::{Config, KekSource};

/// Less room than this and the server stops to take what is new.
const ROOM_BAD: u64 = 256 * 1024 * 1024;
/// Less room than this, in bytes or in hundredths of the disk, is little.
const ROOM_LITTLE: u64 = 2 * 1024 * 1024 * 1024;
const ROOM_LITTLE_PERCENT: u64 = 5;
/// Bytes of the file by which the disk is measured.
const PROBE_BYTES: usize = 4 * 1024 * 1024;
/// Small writes that are synced, each; fewer when they take long.
const SYNCS: usize = 20;
/// So long they take together at most, but for the last.
const SYNCS_WITHIN: Duration = Duration::from_secs(2);
/// A sync that takes longer is slow, or too slow: every acknowledged change waits for one.
const SYNC_SLOW: Duration = Duration::from_millis(30);
const SYNC_BAD: Duration = Duration::from_millis(500);
/// Files that are looked at.
const FILES_MAX: usize = 20_000;

/// The folder, or the nearest one above that is there.
fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    whole.ancestors().find(|path| path.is_dir()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

pub(super) fn space(folder: &Path, report: &mut Report) {
    match host::space(&nearest(folder)) {
        Ok(space) => judge_space(space, report),
        Err(e) => {
            report.attention("disk space", e.message(), "run the doctor as the server's user or as root")
        }
    }
}

fn judge_space(space: host::Space, report: &mut Report) {
    let percent = space.free.saturating_mul(100) / space.total.max(1);
    let found = format!("{} MB free, {percent} % of the disk", space.free / 1_000_000);
    let remedy =
        "free room, give the data folder a larger disk, or shorten `storage.metrics` and `storage.logs`";
    if space.free < ROOM_BAD {
        report.bad("disk space", found, remedy);
    } else if space.free < ROOM_LITTLE || percent < ROOM_LITTLE_PERCENT {
        report.attention("disk space", found, remedy);
    } else {
        report.good("disk space", found);
    }
}

pub(super) fn speed(folder: &Path, clock: &Clock, report: &mut Report) {
    if !folder.is_dir() {
        return report.good("disk speed", "not measured: there is no data folder yet");
    }
    match measure(folder, clock) {
        Ok((per_second, sync)) => judge_speed(per_second, sync, report),
        Err(e) => report.attention(
            "disk speed",
            format!("not measured: {}", e.detail()),
            "run the doctor as the server's user or as root",
        ),
    }
}

fn judge_speed(per_second: u64, sync: Duration, report: &mut Report) {
    let found = format!(
        "{} MB/s written, {:.1} ms for a small write to be on the disk",
        per_second / 1_000_000,
        sync.as_secs_f64() * 1e3
    );
    let remedy = "every acknowledged change waits for the disk: put the data folder on a faster one, not on a network share or a card";
    match sync {
        sync if sync >= SYNC_BAD => report.bad("disk speed", found, remedy),
        sync if sync >= SYNC_SLOW => report.attention("disk speed", found, remedy),
        _ => report.good("disk speed", found),
    }
}

/// Bytes in a second, and how long the middle one of small synced writes took.
fn measure(folder: &Path, clock: &Clock) -> Result<(u64, Duration)> {
    let random: String = clock.random::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
    let probe = Probe(folder.join(format!(".doctor-{random}")));
    let failed = |e| Error::unavailable(format!("`{}` cannot be written", folder.display())).because(e);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe.0).map_err(failed)?;
    let block = clock.random::<4096>();
    let began = clock.monotonic();
    for _ in 0..PROBE_BYTES / block.len() {
        file.write_all(&block).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let took = clock.monotonic() - began;
    let per_second = (PROBE_BYTES as f64 / took.as_secs_f64().max(1e-6)) as u64;
    let mut syncs = Vec::new();
    let began = clock.monotonic();
    while syncs.len() < SYNCS && clock.monotonic() - began < SYNCS_WITHIN {
        let one = clock.monotonic();
        file.write_all(&block).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        syncs.push(clock.monotonic() - one);
    }
    syncs.sort();
    Ok((per_second, syncs.get(syncs.len() / 2).copied().unwrap_or(took)))
}

/// A file that goes away with the value.
struct Probe(PathBuf);

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub(super) fn permissions(config: &Config, folder: &Path, report: &mut Report) {
    const SUBJECT: &str = "permissions";
    let about = match fs::metadata(folder) {
        Ok(about) => about,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return report
                .good(SUBJECT, format!("`{}` is not there yet; a start makes it", folder.display()));
        }
        Err(e) => {
            return report.attention(
                SUBJECT,
                format!("`{}` cannot be looked at: {e}", folder.display()),
                "run the doctor as the server's user or as root",
            );
        }
    };
    let before = report.findings.len();
    if about.mode() & 0o077 != 0 {
        report.attention(
            SUBJECT,
            format!("others on this machine may enter `{}` ({:03o})", folder.display(), about.mode() & 0o777),
            format!("`chmod 700 {}`", folder.display()),
        );
    }
    let mut secrets = vec![folder.join("kek"), folder.join("keys")];
    secrets.extend(config.http.key.clone());
    secrets.extend(config.keys.passphrase_file.clone());
    for path in secrets {
        // What lies in a closed folder is closed.
        let reached = !path.starts_with(folder) || about.mode() & 0o007 != 0;
        if reached && fs::metadata(&path).is_ok_and(|about| about.mode() & 0o007 != 0) {
            report.bad(
                SUBJECT,
                format!("everybody on this machine may use `{}`", path.display()),
                format!("`chmod -R o= {}`, and new keys if others have seen them", path.display()),
            );
        }
    }
    if config.keys.kek == KekSource::File && folder.join("keys").is_dir() && !folder.join("kek").exists() {
        report.bad(
            SUBJECT,
            format!("`{}`, which opens the keys, is not there", folder.join("kek").display()),
            "put it back from where you keep it, or restore a backup with the recovery key",
        );
    }
    let (strange, looked, whole) = strangers(folder, about.uid());
    if let Some(path) = strange {
        report.bad(
            SUBJECT,
            format!("`{}` does not belong to user {}, as the folder does", path.display(), about.uid()),
            format!("`chown -R {}:{} {}`", about.uid(), about.gid(), folder.display()),
        );
    }
    if report.findings.len() == before {
        match whole {
            true => report.good(SUBJECT, format!("{looked} files, all of user {}", about.uid())),
            false => report.attention(
                SUBJECT,
                "not everything in the data folder may be looked at",
                "run the doctor as the server's user or as root",
            ),
        }
    }
}

/// The first file that belongs to another user, how many were looked at, and whether that were all.
fn strangers(folder: &Path, owner: u32) -> (Option<PathBuf>, usize, bool) {
    let (mut folders, mut looked, mut whole) = (vec![folder.to_owned()], 0, true);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            whole = false;
            continue;
        };
        for entry in entries.flatten() {
            // A file that the server has removed in between is no finding.
            let Ok(about) = fs::symlink_metadata(entry.path()) else { continue };
            looked += 1;
            if about.uid() != owner {
                return (Some(entry.path()), looked, whole);
            }
            if about.is_dir() {
                folders.push(entry.path());
            }
            if looked >= FILES_MAX {
                return (None, looked, whole);
            }
        }
    }
    (None, looked, whole)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Level;
    use super::*;

    fn levels(report: &Report) -> Vec<Level> {
        report.findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn room_and_speed_are_judged() {
        let mut report = Report::default();
        let gb = 1_000_000_000;
        for free in [100_000_000, gb, 400 * gb, 10 * gb] {
            judge_space(host::Space { free, total: 1_000 * gb }, &mut report);
        }
        assert_eq!(levels(&report), [Level::Bad, Level::Attention, Level::Good, Level::Attention]);
        let mut report = Report::default();
        for milliseconds in [1, 40, 900] {
            judge_speed(100_000_000, Duration::from_millis(milliseconds), &mut report);
        }
        assert_eq!(levels(&report), [Level::Good, Level::Attention, Level::Bad]);
        assert!(report.findings[1].found.contains("40.0 ms"), "{report}");
    }

    #[test]
    fn the_disk_is_measured_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (per_second, _) = measure(folder.path(), &Clock::system()).unwrap();
        assert!(per_second > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(measure(&folder.path().join("none"), &Clock::system()).is_err());
        let mut report = Report::default();
        space(&folder.path().join("not/yet/there"), &mut report);
        assert!(report.findings[0].found.contains("free"), "{report}");
    }

    #[test]
    fn keys_that_others_may_read_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("keys")).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(data.join("kek"), "x").unwrap();
        mode(&data, 0o700);
        mode(&data.join("kek"), 0o644);
        let mut report = Report::default();
        permissions(&Config::default(), &data, &mut report);
        assert_eq!(levels(&report), [Level::Good], "nobody else comes that far: {report}");
        mode(&data, 0o755);
        let mut report = Report::default();
        permissions(&Config::default(), &data, &mut report);
        assert_eq!(report.level(), Level::Bad, "{report}");
        assert!(report.to_string().contains("kek"), "{report}");
        let mut report = Report::default();
        permissions(&Config::default(), &folder.path().join("none"), &mut report);
        assert_eq!(levels(&report), [Level::Good]);
    }
}
