//! `muster rebuild`: what follows from something else, made anew on a stopped folder.
//!
//! The state of the store follows from the journal. Where the journal no longer reaches back to the first change, the
//! newest of the server's own backups gives the state at its end, and the journal what came after it; opening the two
//! together proves by the chain of hashes that they belong together.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::opening::{self, Purpose, SCRATCH};
use super::restore::{self, Keys};
use crate::base::{Error, Result};
use crate::capabilities::backups::{self, Meter, Progress, Restoring};
use crate::engine::clock::Clock;
use crate::engine::crypto::{Kek, private_folder};
use crate::engine::journal::sync_folder;
use crate::engine::store::{self, Until};

/// The store's file with the state.
const STATE: &str = "state.redb";

/// What was made anew.
#[derive(Debug)]
pub struct Rebuilt {
    /// The newest change in the new state.
    pub last: u64,
    /// The backup that it began with; nothing when the journal had everything.
    pub from: Option<String>,
    /// Where the old state is now; nothing when there was none.
    pub aside: Option<PathBuf>,
}

/// Removes the search index; the next start makes it anew. It holds nothing of its own.
pub fn index(folder: &Path) -> Result<()> {
    opening::known(folder)?;
    let _lock = opening::stopped(folder)?;
    let index = folder.join("index");
    match fs::remove_dir_all(&index) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::unavailable(format!("`{}` cannot be removed", index.display())).because(e))
        }
        _ => Ok(()),
    }
}

/// Gives room of the state's file back to the disk: its bytes before and after. It may be stopped at any moment.
pub fn compact(config: &Config, folder: &Path, clock: &Clock) -> Result<(u64, u64)> {
    store::compact(&folder.join("store"), &opening::offline(config, folder, clock)?)
}

/// Makes the state anew. The old one is moved aside, never deleted; when the new one does not come about it is put back.
pub fn state(
    config: &Config,
    folder: &Path,
    clock: &Clock,
    watch: &(dyn Fn(&Progress) + Sync),
) -> Result<Rebuilt> {
    opening::known(folder)?;
    let lock = opening::stopped(folder)?;
    let scratch = folder.join(SCRATCH).join("rebuild");
    let _ = fs::remove_dir_all(&scratch);
    let from = newest(config, folder, &scratch, clock, watch)?;
    let store = folder.join("store");
    let (current, made) = (store.join(STATE), scratch.join("store").join(STATE));
    let stamp = clock.now().format("%Y%m%dT%H%M%SZ");
    let aside = store.join(format!("{STATE}.before-{stamp}"));
    let had = current.exists();
    if had {
        fs::rename(&current, &aside)?;
    }
    if from.is_some() {
        fs::rename(&made, &current)?;
    }
    sync_folder(&store)?;
    drop(lock);
    let opened = opening::site(config, folder, clock, Vec::new(), Purpose::Command).and_then(|site| {
        site.store.verify()?;
        Ok(site.store.last_change())
    });
    let _ = fs::remove_dir_all(&scratch);
    match opened {
        Ok(last) => Ok(Rebuilt { last, from, aside: had.then_some(aside) }),
        Err(error) => {
            if had {
                fs::rename(&aside, &current)?;
            }
            Err(Error::unavailable(format!("the new state does not fit the journal: {}", error.detail()))
                .hint("the old state is in its place again; restore from a backup with `muster restore`"))
        }
    }
}

/// Restores the newest of the server's own backups into `scratch`, when there is one.
fn newest(
    config: &Config,
    folder: &Path,
    scratch: &Path,
    clock: &Clock,
    watch: &(dyn Fn(&Progress) + Sync),
) -> Result<Option<String>> {
    let own = folder.join("backups");
    if !own.is_dir() {
        return Ok(None);
    }
    let source = backups::open_repository(&own)?;
    let Ok(chosen) = backups::choose(&source, &Until::End) else { return Ok(None) };
    let keys = Keys::OfFolder.of(folder, config, clock)?;
    private_folder(&folder.join(SCRATCH))?;
    let meter = Meter::new(clock, 0);
    let restoring = Restoring {
        keys: &keys,
        kek: &|folder| Kek::File(folder.join("kek")),
        telemetry: false,
        clock,
        by: "rebuild",
        progress: &meter,
    };
    restore::watched(&meter, watch, || backups::restore_into(scratch, &source, &Until::End, &restoring))?;
    Ok(Some(chosen.full.file))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::before::RECOVERY;
    use super::super::command::Stopped;
    use super::*;
    use crate::engine::crypto::Vault;

    fn rename(data: &Path, name: &str, clock: &Clock) -> u64 {
        let stopped = Stopped::open(&Config::default(), data, clock).unwrap();
        stopped.call("settings.change", json!({ "name": name })).unwrap();
        stopped.ctx().site.store.last_change()
    }

    fn name(data: &Path, clock: &Clock) -> String {
        Stopped::open(&Config::default(), data, clock).unwrap().ctx().site.settings.name()
    }

    #[test]
    fn compacting_keeps_everything_and_needs_a_stopped_folder() {
        let (folder, clock, config) = (tempfile::tempdir().unwrap(), Clock::system(), Config::default());
        let data = folder.path();
        opening::prepare(data, &clock).unwrap();
        drop(opening::site(&config, data, &clock, Vec::new(), Purpose::Serve).unwrap());
        rename(data, "Kept", &clock);
        let (before, after) = compact(&config, data, &clock).unwrap();
        assert!(after > 0 && after <= before, "{before} {after}");
        assert_eq!(name(data, &clock), "Kept");
        let open = Stopped::open(&config, data, &clock).unwrap();
        assert_eq!(compact(&config, data, &clock).unwrap_err().kind(), crate::base::Kind::Conflict);
        drop(open);
    }

    #[test]
    fn a_lost_state_comes_back_from_the_journal_or_from_a_backup_and_the_journal() {
        let (folder, clock, config) = (tempfile::tempdir().unwrap(), Clock::system(), Config::default());
        let data = folder.path();
        opening::prepare(data, &clock).unwrap();
        drop(opening::site(&config, data, &clock, Vec::new(), Purpose::Serve).unwrap());
        rename(data, "First", &clock);
        let state_file = data.join("store").join(STATE);
        fs::write(&state_file, b"not a state").unwrap();
        assert!(Stopped::open(&config, data, &clock).is_err());
        let rebuilt = state(&config, data, &clock, &|_| {}).unwrap();
        assert_eq!((rebuilt.from, name(data, &clock)), (None, "First".into()));
        assert_eq!(fs::read(rebuilt.aside.unwrap()).unwrap(), b"not a state");

        let stopped = Stopped::open(&config, data, &clock).unwrap();
        let taken = backups::full(&stopped.ctx(), Some(false)).unwrap();
        drop(stopped);
        let last = rename(data, "After the backup", &clock);
        fs::remove_file(&state_file).unwrap();
        let rebuilt = state(&config, data, &clock, &|_| {}).unwrap();
        assert_eq!(rebuilt.from, Some(taken.name));
        assert!(rebuilt.last >= last);
        assert_eq!(name(data, &clock), "After the backup", "the journal has what came after the backup");
        let vault = Vault::open(&data.join("keys"), &Kek::File(data.join("kek")), &clock).unwrap();
        assert!(vault.export().unwrap().iter().any(|(name, _)| name.starts_with(RECOVERY)));
    }

    #[test]
    fn the_index_goes_and_nothing_else() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let data = folder.path();
        opening::prepare(data, &clock).unwrap();
        drop(opening::site(&Config::default(), data, &clock, Vec::new(), Purpose::Serve).unwrap());
        fs::create_dir_all(data.join("index/segment")).unwrap();
        index(data).unwrap();
        assert!(!data.join("index").exists() && data.join("store").exists());
        index(data).unwrap();
    }
}
