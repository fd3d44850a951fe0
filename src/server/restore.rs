//! `muster restore`: a data folder out of backups, put in the place of an old one that is moved aside and never deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::before::RECOVERY;
use super::config::Config;
use super::control::{self, Client};
use super::format::{self, FORMAT, Format};
use super::opening;
use crate::base::{Error, Kind, Result, Secret, Timestamp};
use crate::capabilities::backups::{self, Meter, Progress, Report, Restoring};
use crate::engine::archive::{Paced, Reader, RecoveryKey};
use crate::engine::clock::Clock;
use crate::engine::crypto::{Kek, Vault};
use crate::engine::journal::{FolderLock, sync_folder};
use crate::engine::store::Until;

/// How often a watcher hears of the progress.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// Lines of a file of keys that are read.
const KEYS_MAX: usize = 100;

/// To when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// As new as there is.
    Newest,
    /// The state at this instant.
    At(Timestamp),
    /// The state after this change.
    Change(u64),
}

/// What opens the backups.
pub enum Keys {
    /// The recovery keys as text, one a line; `#` begins a comment.
    Text(Secret<String>),
    /// Two or three shares.
    Shares(Vec<Secret<String>>),
    /// The keys that the old folder's vault has.
    OfFolder,
}

/// A restore as it is asked for.
pub struct Wanted<'a> {
    /// A backup file, or a folder of them.
    pub source: &'a Path,
    /// The data folder.
    pub data: &'a Path,
    /// To when.
    pub moment: Moment,
    /// What opens the backups.
    pub keys: Keys,
    /// Whether metrics and logs come back.
    pub telemetry: bool,
    /// Whether a folder that holds something is moved aside.
    pub replace: bool,
    /// The server's configuration: it says what seals the keys.
    pub config: &'a Config,
    /// Time and randomness.
    pub clock: &'a Clock,
}

/// What a restore made.
#[derive(Debug)]
pub struct Done {
    /// What was restored, and what was given up.
    pub report: Report,
    /// Where the old folder is now.
    pub aside: Option<PathBuf>,
    /// How long it took.
    pub took: Duration,
}

/// Restores. `watch` hears of the progress on another thread.
pub fn restore(wanted: &Wanted<'_>, watch: &(dyn Fn(&Progress) + Sync)) -> Result<Done> {
    let began = wanted.clock.monotonic();
    let (source, keys) = (backups::open_repository(wanted.source)?, wanted.keys()?);
    let old = old(wanted)?;
    let new = if old.is_some() { beside(wanted.data, "restored")? } else { wanted.data.to_owned() };
    let report = wanted.into(&new, &source, &keys, wanted.telemetry, watch)?;
    format::write(
        &new,
        &Format { format: FORMAT, program: env!("CARGO_PKG_VERSION").into(), upgrades: Vec::new() },
    )?;
    let aside = old.map(|lock| swap(wanted, &new, lock)).transpose()?;
    Ok(Done { report, aside, took: wanted.clock.monotonic() - began })
}

/// What a restore would give and undo: made in a folder that goes away again.
pub fn preview(wanted: &Wanted<'_>, watch: &(dyn Fn(&Progress) + Sync)) -> Result<Report> {
    let (source, keys) = (backups::open_repository(wanted.source)?, wanted.keys()?);
    let folder = beside(wanted.data, "preview")?;
    let report = wanted.into(&folder, &source, &keys, false, watch);
    let _ = fs::remove_dir_all(&folder);
    report
}

/// What a backup file turned out to be.
#[derive(Debug)]
pub struct Examined {
    /// Its beginning.
    pub manifest: backups::Manifest,
    /// Its end.
    pub end: backups::End,
    /// Entries whose sums were right.
    pub entries: u64,
}

/// Reads a backup file whole: every block and every sum. Nothing is written.
pub fn verify_file(
    path: &Path,
    keys: &Keys,
    folder: (&Path, &Config),
    clock: &Clock,
    watch: &(dyn Fn(&Progress) + Sync),
) -> Result<Examined> {
    let keys = keys.of(folder.0, folder.1, clock)?;
    let unreadable = |e| Error::unavailable(format!("`{}` cannot be read", path.display())).because(e);
    let file = fs::File::open(path).map_err(unreadable)?;
    let meter = Meter::new(clock, 0);
    let pace = meter.phase("reading", file.metadata().map_err(unreadable)?.len());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    watched(&meter, watch, || {
        let mut reader = Reader::open(Paced::new(file, &pace), &name, &keys)?;
        let verified = reader.each(&mut |_, _, _| Ok(()))?;
        Ok(Examined { manifest: reader.manifest()?, end: reader.end()?, entries: verified.entries })
    })
}

impl Wanted<'_> {
    fn keys(&self) -> Result<Vec<RecoveryKey>> {
        self.keys.of(self.data, self.config, self.clock)
    }

    fn into(
        &self,
        folder: &Path,
        source: &backups::Repository,
        keys: &[RecoveryKey],
        telemetry: bool,
        watch: &(dyn Fn(&Progress) + Sync),
    ) -> Result<Report> {
        let until = match self.moment {
            Moment::Newest => Until::End,
            Moment::At(at) => Until::At(at),
            Moment::Change(number) => Until::Change(number),
        };
        // It fails before anything is read when the configuration has no passphrase.
        opening::kek(self.config, folder)?;
        let kek = |folder: &Path| opening::kek(self.config, folder).unwrap_or(Kek::File(folder.join("kek")));
        let meter = Meter::new(self.clock, 0);
        let restoring = Restoring {
            keys,
            kek: &kek,
            telemetry,
            clock: self.clock,
            by: &control::from(rustix::process::geteuid().as_raw()),
            progress: &meter,
        };
        watched(&meter, watch, || backups::restore_into(folder, source, &until, &restoring))
    }
}

impl Keys {
    pub(super) fn of(&self, data: &Path, config: &Config, clock: &Clock) -> Result<Vec<RecoveryKey>> {
        match self {
            Keys::Shares(shares) => {
                let texts: Vec<&str> = shares.iter().map(|share| share.expose().trim()).collect();
                Ok(vec![RecoveryKey::from_shares(&texts)?])
            }
            Keys::Text(text) => {
                let lines =
                    text.expose().lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
                let keys = lines.take(KEYS_MAX).map(RecoveryKey::parse).collect::<Result<Vec<_>>>()?;
                match keys.is_empty() {
                    true => Err(Error::invalid("there is no recovery key in it")
                        .hint("it is one line that begins with AGE-SECRET-KEY-1")),
                    false => Ok(keys),
                }
            }
            Keys::OfFolder => of_folder(data, config, clock),
        }
    }
}

/// The recovery keys that a folder's vault has.
pub(super) fn of_folder(data: &Path, config: &Config, clock: &Clock) -> Result<Vec<RecoveryKey>> {
    let missing = || {
        Error::invalid("no recovery key is given")
            .hint("give `--key FILE`, `--key -` to type it, or two of the three shares with `--share`")
    };
    if !data.join("keys").is_dir() {
        return Err(missing());
    }
    let vault = Vault::open(&data.join("keys"), &opening::kek(config, data)?, clock)?;
    let mut keys = Vec::new();
    for (name, secret) in vault.export()? {
        if name.starts_with(RECOVERY) {
            keys.push(RecoveryKey::parse(std::str::from_utf8(secret.expose())?)?);
        }
    }
    if keys.is_empty() { Err(missing()) } else { Ok(keys) }
}

/// The lock of the folder that is in the way, when one is and may be moved.
fn old(wanted: &Wanted<'_>) -> Result<Option<FolderLock>> {
    let data = wanted.data;
    let holds = match fs::read_dir(data) {
        Ok(mut entries) => entries.next().is_some(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => false,
        Err(e) => return Err(Error::unavailable(format!("`{}` cannot be read", data.display())).because(e)),
    };
    if !holds {
        return Ok(None);
    }
    if Client::connect(data)?.is_some() {
        return Err(in_use(data));
    }
    if !wanted.replace {
        return Err(Error::conflict(format!("`{}` is not empty", data.display())).hint(
            "name another folder, or let this one be moved aside with `--replace`; nothing was changed",
        ));
    }
    if !data.join("store").is_dir() {
        return Err(Error::invalid(format!("`{}` is not a data folder of Muster", data.display()))
            .hint("`--replace` moves only data folders aside"));
    }
    FolderLock::take(&data.join("store")).map(Some).map_err(|e| match e.kind() {
        Kind::Conflict => in_use(data),
        _ => e,
    })
}

fn in_use(data: &Path) -> Error {
    Error::conflict(format!("a server uses `{}`", data.display()))
        .hint("stop it first (`systemctl stop muster`), then restore; nothing was changed")
}

/// Moves the old folder aside and the new one into its place. The new one is whole; a crash in between leaves both.
fn swap(wanted: &Wanted<'_>, new: &Path, lock: FolderLock) -> Result<PathBuf> {
    let data = wanted.data;
    let stamp = wanted.clock.now().format("%Y%m%dT%H%M%SZ");
    let aside = beside(data, &format!("before-{stamp}"))?;
    let failed = |from: &Path, to: &Path, e: std::io::Error| {
        Error::unavailable(format!("`{}` cannot be moved to `{}`", from.display(), to.display())).because(e)
    };
    fs::rename(data, &aside).map_err(|e| failed(data, &aside, e))?;
    fs::rename(new, data).map_err(|e| failed(new, data, e))?;
    drop(lock);
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(parent)?;
    Ok(aside)
}

/// `DIR.word`, which must not be there.
fn beside(data: &Path, word: &str) -> Result<PathBuf> {
    let name = data.file_name().ok_or_else(|| {
        Error::invalid(format!("`{}` has no name", data.display())).hint("name the data folder itself")
    })?;
    let mut name = name.to_owned();
    name.push(format!(".{word}"));
    let path = data.with_file_name(name);
    match path.exists() {
        true => Err(Error::conflict(format!("`{}` is there already", path.display()))
            .hint("it is left over from a restore that was cut off; look at it, and remove it")),
        false => Ok(path),
    }
}

/// Runs `work` while `watch` is told of the progress.
pub(super) fn watched<T>(
    meter: &Meter,
    watch: &(dyn Fn(&Progress) + Sync),
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (done, ended) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = done.lock();
            while !*done {
                ended.wait_for(&mut done, WATCH_EVERY);
                watch(&meter.progress());
            }
        });
        let outcome = work();
        *done.lock() = true;
        ended.notify_all();
        outcome
    })
}
