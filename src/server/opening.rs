//! Opening a data folder: for a server, for a rehearsal beside one, and for a command on a stopped one.
//!
//! Invariant: a folder's form is looked at before anything in it is opened or made.
//! Invariant: only a server makes what is missing, drops what is too old, and empties `scratch`.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use super::before::Before;
use super::config::{Config, KekSource};
use super::format;
use crate::base::{Error, Result, Span};
use crate::capabilities::{ALL, MIGRATIONS, settings, tenants};
use crate::engine::clock::Clock;
use crate::engine::crypto::{Authority, DataSeal, Kek, Vault};
use crate::engine::http::assets;
use crate::engine::journal::{FolderLock, Seal, create_folder};
use crate::engine::logs::Logs;
use crate::engine::series::Series;
use crate::engine::store::Store;
use crate::engine::{logs, series, store};
use crate::kit::{KIT_TABLES, Parts, Settings, Site};
use crate::surface;

/// The folder for restores under way; it is derived, and emptied at every start.
pub(super) const SCRATCH: &str = "scratch";
/// Memory of the store while a command or a rehearsal has it open.
const SMALL_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// A command must not drop telemetry: how long that is kept stands in a configuration that it may not have been given.
const KEPT: Span = Span::from_days(36_600);

/// What a folder is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A server.
    Serve,
    /// A command on a stopped folder: small caches, nothing is dropped for its age.
    Command,
    /// A rehearsal in a folder that goes away: the same, and nothing is worth a backup.
    Rehearsal,
}

/// Makes the folder when it is absent, brings an older form up to this program's, and clears away what a start before
/// this one left behind.
pub(super) fn prepare(folder: &Path, clock: &Clock) -> Result<()> {
    make_folder(folder)?;
    format::check(folder)?;
    let store = folder.join("store");
    create_folder(&store)?;
    // The store takes it again: between the two nobody has used anything yet.
    let _lock = FolderLock::take(&store)?;
    format::bring_up(folder, clock.now())?;
    empty_scratch(folder)
}

/// Makes a data folder with everything that a server finds in one, without starting it.
pub fn make(config: &Config, folder: &Path, clock: &Clock) -> Result<()> {
    prepare(folder, clock)?;
    drop(site(config, folder, clock, Vec::new(), Purpose::Serve)?);
    Ok(())
}

/// Opens every engine. Nothing listens and nothing runs by itself.
pub(super) fn site(
    config: &Config,
    folder: &Path,
    clock: &Clock,
    hosts: Vec<String>,
    purpose: Purpose,
) -> Result<Site> {
    let vault = Vault::open(&folder.join("keys"), &kek(config, folder)?, clock)?;
    let authority = Authority::open(&vault, &config.site.name, clock)?;
    let seal = seal(config, folder, &vault, clock, purpose)?;
    let mut store_options = store_options(clock, seal.clone());
    let mut series_options = series::Options::new(clock.clone());
    series_options.retention = config.storage.metrics;
    series_options.seal = seal.clone();
    let mut logs_options = logs::Options::new(clock.clone());
    logs_options.retention = config.storage.logs;
    logs_options.seal = seal;
    if purpose != Purpose::Rehearsal {
        let before = Before {
            folder: folder.to_owned(),
            vault: vault.clone(),
            site: config.site.name.clone(),
            configuration: config.text.as_ref().map(|text| text.expose().clone()),
            clock: clock.clone(),
        };
        store_options.before_migration = Some(before.hook());
    }
    if purpose != Purpose::Serve {
        store_options.cache_bytes_max = SMALL_CACHE_BYTES;
        (series_options.retention, logs_options.retention) = (KEPT, KEPT);
    }
    let site = Site::new(Parts {
        clock: clock.clone(),
        store: Store::open(&folder.join("store"), store_options)?,
        series: Series::open(&folder.join("series"), series_options)?,
        logs: Logs::open(&folder.join("logs"), logs_options)?,
        vault,
        authority,
        settings: Settings::new(config.site.name.clone(), hosts)
            .when_unwritable(config.audit.when_unwritable)
            .guarded(config.guards()),
        navigation: surface::navigation(ALL),
        assets: assets::prefix(),
        folder: folder.to_owned(),
        configuration: config.text.as_ref().map(|text| text.expose().clone()),
    });
    site.made_of(ALL);
    settings::load(&site)?;
    tenants::load(&site)?;
    Ok(site)
}

fn store_options(clock: &Clock, seal: Option<Arc<dyn Seal>>) -> store::Options {
    let mut options = store::Options::new(clock.clone());
    options.seal = seal;
    options.tables = tables();
    options.migrations = MIGRATIONS.to_vec();
    options
}

/// How a command reads the store of a stopped folder file by file, without opening the site. The folder must be a
/// server's, and nobody may work with it; an error says what to do.
pub(super) fn offline(config: &Config, folder: &Path, clock: &Clock) -> Result<store::Options> {
    known(folder)?;
    drop(stopped(folder)?);
    let vault = Vault::open(&folder.join("keys"), &kek(config, folder)?, clock)?;
    let seal = seal(config, folder, &vault, clock, Purpose::Command)?;
    Ok(store::Options { cache_bytes_max: SMALL_CACHE_BYTES, ..store_options(clock, seal) })
}

/// What seals the data files, when they are sealed. A server's are as its configuration says, or it does not start; a
/// command takes them as they are.
fn seal(
    config: &Config,
    folder: &Path,
    vault: &Vault,
    clock: &Clock,
    purpose: Purpose,
) -> Result<Option<Arc<dyn Seal>>> {
    let sealed = match purpose {
        Purpose::Serve => config.storage.seal,
        Purpose::Command | Purpose::Rehearsal => store::is_sealed(&folder.join("store"))?,
    };
    Ok(if sealed { Some(Arc::new(DataSeal::open(vault, clock)?)) } else { None })
}

/// The tables that the program knows.
pub(super) fn tables() -> Vec<&'static str> {
    ALL.iter().flat_map(|c| c.tables().iter().copied()).chain(KIT_TABLES).collect()
}

/// Whether the folder is a server's, of this user, and of a form that this program knows; for commands, which must not
/// make anything in a folder that is somebody else's.
pub(super) fn known(folder: &Path) -> Result<()> {
    if !folder.join("store").is_dir() || !folder.join("keys").is_dir() {
        let error = match folder.is_dir() {
            false => Error::not_found("the data folder", folder.display()),
            true => Error::invalid(format!("`{}` is not a data folder of Muster", folder.display())),
        };
        return Err(error.hint("name it with `--data DIR`"));
    }
    format::check(folder)?;
    let (owner, own) = (std::fs::metadata(folder)?.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        return Err(Error::forbidden(format!("`{}` belongs to user {owner}", folder.display())).hint(format!(
            "run the command as that user (`sudo -u '#{owner}' muster …`): files of another would keep the server from starting"
        )));
    }
    Ok(())
}

/// Takes the folder for a command that needs it stopped, or says what to do.
pub(super) fn stopped(folder: &Path) -> Result<FolderLock> {
    FolderLock::take(&folder.join("store")).map_err(|e| match e.kind() {
        crate::base::Kind::Conflict => Error::conflict(e.message().to_owned())
            .hint("stop the server first (`systemctl stop muster`), then run the command again"),
        _ => e,
    })
}

/// The key-encryption key that the configuration names.
pub(super) fn kek(config: &Config, folder: &Path) -> Result<Kek> {
    Ok(match config.keys.kek {
        KekSource::File => Kek::File(folder.join("kek")),
        KekSource::Systemd => Kek::Credential,
        KekSource::Passphrase => Kek::Passphrase(config.keys.passphrase.clone().ok_or_else(|| {
            Error::invalid("`keys.kek` is `passphrase`, but there is none")
                .hint("set MUSTER_KEYS_PASSPHRASE or `keys.passphrase_file`")
        })?),
    })
}

/// Makes a data folder that only its owner reads.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| {
        Error::unavailable(format!("data folder `{}` cannot be made", folder.display()))
            .hint("name another with `--data`, or mend the permissions")
            .because(e)
    })
}

fn empty_scratch(folder: &Path) -> Result<()> {
    let scratch = folder.join(SCRATCH);
    match std::fs::remove_dir_all(&scratch) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::unavailable(format!("`{}` cannot be emptied", scratch.display())).because(e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::backups;
    use crate::kit::Ctx;

    #[test]
    fn a_start_clears_scratch_and_refuses_a_newer_folder_first() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        prepare(&data, &Clock::system()).unwrap();
        std::fs::create_dir_all(data.join("scratch/drill-1")).unwrap();
        prepare(&data, &Clock::system()).unwrap();
        assert!(!data.join(SCRATCH).exists());
        let newer = folder.path().join("newer");
        std::fs::create_dir(&newer).unwrap();
        std::fs::write(newer.join(format::FILE), r#"{"format":9,"program":"9.0"}"#).unwrap();
        assert!(prepare(&newer, &Clock::system()).is_err());
        assert_eq!(std::fs::read_dir(&newer).unwrap().count(), 1, "nothing was made in it");
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path(), &Clock::system()).unwrap();
        let _lock = stopped(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join(SCRATCH)).unwrap();
        assert!(prepare(folder.path(), &Clock::system()).is_err());
        assert!(folder.path().join(SCRATCH).exists());
        let error = stopped(folder.path()).unwrap_err();
        assert!(error.hint_text().unwrap().contains("stop the server first"), "{error}");
    }

    /// Whether the word stands in any file of the folder.
    fn readable(folder: &Path, word: &[u8]) -> bool {
        std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).any(|path| {
            match path.is_dir() {
                true => readable(&path, word),
                false => std::fs::read(&path).unwrap().windows(word.len()).any(|part| part == word),
            }
        })
    }

    #[test]
    fn a_sealed_folder_comes_back_sealed_with_all_that_was_in_it() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let (data, back) = (folder.path().join("data"), folder.path().join("back"));
        let mut config = Config::default();
        config.storage.seal = true;
        prepare(&data, &clock).unwrap();
        let source = 7;
        let (backup, last) = {
            let site = site(&config, &data, &clock, Vec::new(), Purpose::Serve).unwrap();
            let ctx = Ctx::system(&site, site.home, "test");
            let ops = surface::ops(ALL);
            let rename = |name: &str| {
                surface::call(&ops, &ctx, "settings.change", serde_json::json!({ "name": name })).unwrap();
            };
            rename("Wintergarten");
            let values = [("sonderwert", 4.5)];
            let batch = series::Batch { source, at: clock.now(), values: &values };
            site.series.append(&[batch]).unwrap().wait().unwrap();
            let backup = backups::full(&ctx, Some(true)).unwrap();
            rename("Orangerie");
            let there = serde_json::json!({ "word": "settings", "change": backup.last });
            let then = surface::call(&ops, &ctx, "backups.then", there).unwrap().to_string();
            assert!(then.contains("Wintergarten"), "a look into the past: {then}");
            assert!(!readable(&data, b"Wintergarten"), "also the past is sealed");
            backups::changes(&ctx).unwrap();
            backups::halt(&site);
            (backup, site.store.last_change())
        };
        let keys = super::super::restore::of_folder(&data, &config, &clock).unwrap();
        let source_of = backups::open_repository(&data.join("backups")).unwrap();
        let restoring = backups::Restoring {
            keys: &keys,
            kek: &|folder| Kek::File(folder.join("kek")),
            telemetry: true,
            clock: &clock,
            by: "test",
            progress: &backups::Meter::new(&clock, 0),
        };
        backups::restore_into(&back, &source_of, &store::Until::End, &restoring).unwrap();
        assert!(backup.last < last && store::is_sealed(&back.join("store")).unwrap());
        assert!(!readable(&back, b"Orangerie") && !readable(&back, b"sonderwert"));
        let plain = site(&Config::default(), &back, &clock, Vec::new(), Purpose::Serve);
        assert!(plain.err().unwrap().message().contains("sealed"));
        let site = site(&config, &back, &clock, Vec::new(), Purpose::Serve).unwrap();
        assert_eq!(site.settings.name(), "Orangerie");
        let (from, to) = (clock.now() - Span::from_hours(1), clock.now());
        assert_eq!(site.series.query(source, "sonderwert", from, to, 10).unwrap().len(), 1);
        site.store.verify().unwrap();
    }

    #[test]
    fn only_a_data_folder_is_known() {
        let folder = tempfile::tempdir().unwrap();
        assert!(known(&folder.path().join("none")).unwrap_err().message().contains("does not exist"));
        let error = known(folder.path()).unwrap_err();
        assert!(error.message().contains("is not a data folder"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        prepare(folder.path(), &Clock::system()).unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        known(folder.path()).unwrap();
    }
}
