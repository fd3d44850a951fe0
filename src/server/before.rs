//! The backup that is taken by itself before the store's form changes, while nothing else of the site is open yet.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Error, Result, TenantId};
use crate::capabilities::backups::{self, End, Manifest};
use crate::engine::archive::{Recipient, RecoveryKey, Writer};
use crate::engine::clock::Clock;
use crate::engine::crypto::{Vault, private_folder};
use crate::engine::journal::sync_folder;
use crate::engine::store::{BeforeMigration, Part, Store, is_sealed};
use crate::kit::{followed, generation};

/// The tenant, until a second one exists.
const TENANT: TenantId = TenantId::from_bits(1);
/// How the names of recovery keys in the vault begin.
pub(super) const RECOVERY: &str = "recovery.";
/// The key that a site gets for this backup when it has none yet.
const SPARE: &str = "recovery.migration";

/// What the backup is made of besides the store.
pub(super) struct Before {
    pub(super) folder: PathBuf,
    pub(super) vault: Vault,
    pub(super) site: String,
    pub(super) configuration: Option<String>,
    pub(super) clock: Clock,
}

impl Before {
    /// What the store calls before it migrates. An error stops the start and leaves everything as it was.
    pub(super) fn hook(self) -> BeforeMigration {
        Arc::new(move |store, from, to| {
            let path = self.folder.join("backups").join(format!("before-migration-{to}.muster"));
            self.write(store, &path).map_err(|e| {
                Error::unavailable(format!(
                    "no backup could be made before the store's upgrade from form {from} to {to}: {}",
                    e.detail()
                ))
                .hint("mend that and start again; nothing was changed, and the version before still runs")
            })?;
            tracing::info!(
                "before the store's upgrade to form {to} it was backed up to `{}`",
                path.display()
            );
            Ok(())
        })
    }

    fn write(&self, store: &Store, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        private_folder(folder)?;
        let part = path.with_extension("part");
        let _ = fs::remove_file(&part);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        let file = self.fill(store, file).inspect_err(|_| drop(fs::remove_file(&part)))?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        sync_folder(folder)
    }

    fn fill(&self, store: &Store, file: File) -> Result<File> {
        let read = store.read()?;
        let from = store.last_change();
        let keep_from = followed(&read)?.map_or(from, |done| done + 1);
        let manifest = Manifest {
            kind: "full".into(),
            format: backups::FORMAT,
            program: env!("CARGO_PKG_VERSION").into(),
            site: self.site.clone(),
            generation: generation(&read, TENANT)?,
            at: self.clock.now(),
            from,
            keep_from,
            telemetry: false,
            sealed: is_sealed(&self.folder.join("store"))?,
        };
        drop(read);
        let mut writer = Writer::begin(file, &[self.recipient()?], &manifest)?;
        // First, for sealed files are made with one of them.
        for (name, secret) in self.vault.export()? {
            writer.entry(&format!("keys/{name}"), secret.expose())?;
        }
        let (mut rows, mut changes) = (0_u64, 0_u64);
        let exported = store.export(keep_from, &mut |part, chunk| {
            let (number, name) = match part {
                Part::Rows => (&mut rows, "rows"),
                Part::Changes => (&mut changes, "changes"),
            };
            *number += 1;
            writer.entry(&format!("store/{name}/{number:06}"), chunk)
        })?;
        if let Some(text) = &self.configuration {
            writer.entry("configuration.toml", text.as_bytes())?;
        }
        let end = End { store: exported, telemetry: Default::default() };
        Ok(writer.finish(&end)?.0)
    }

    /// The newest recovery key's public half.
    fn recipient(&self) -> Result<Recipient> {
        let keys = self.vault.export()?;
        let newest = keys
            .iter()
            .filter_map(|(name, secret)| Some((name.strip_prefix(RECOVERY)?.parse::<u32>().ok()?, secret)))
            .max_by_key(|(number, _)| *number);
        if let Some((_, secret)) = newest {
            return Ok(RecoveryKey::parse(std::str::from_utf8(secret.expose())?)?.recipient());
        }
        let key = RecoveryKey::generate(&self.clock)?;
        self.vault.put(SPARE, key.text().expose().as_bytes())?;
        Ok(key.recipient())
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::super::opening::{self, Purpose};
    use super::super::restore::{Keys, Moment, Wanted, restore};
    use super::*;
    use crate::engine::crypto::Kek;
    use crate::engine::store::{self, Migration};
    use crate::kit::{Actor, Ctx, Request};

    #[test]
    fn an_upgrade_that_fails_leaves_the_old_state_and_a_backup_of_it() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let (data, config) = (folder.path().join("data"), Config::default());
        opening::prepare(&data, &clock).unwrap();
        let open = || opening::site(&config, &data, &clock, Vec::new(), Purpose::Serve).unwrap();
        let name = |data: &Path| {
            let site = opening::site(&config, data, &clock, Vec::new(), Purpose::Command).unwrap();
            site.settings.name()
        };
        let site = open();
        let ctx = Ctx::new(&site, site.home, Actor::System, Request::default());
        let ops = crate::surface::ops(crate::capabilities::ALL);
        crate::surface::call(&ops, &ctx, "settings.change", serde_json::json!({ "name": "Old" })).unwrap();
        let schema = site.store.schema().unwrap();
        drop(ctx);
        drop(site);

        let vault = Vault::open(&data.join("keys"), &Kek::File(data.join("kek")), &clock).unwrap();
        let before = Before {
            folder: data.clone(),
            vault,
            site: "Old".into(),
            configuration: None,
            clock: clock.clone(),
        };
        let mut options = store::Options::new(clock.clone());
        options.before_migration = Some(before.hook());
        options.migrations = (1..=schema)
            .map(|version| Migration { version, name: "known", run: |_| Ok(()) })
            .chain([Migration {
                version: schema + 1,
                name: "breaks",
                run: |_| Err(Error::unavailable("it does not work")),
            }])
            .collect();
        let error = Store::open(&data.join("store"), options).err().unwrap();
        assert!(error.detail().contains("it does not work"), "{error}");
        assert_eq!(name(&data), "Old", "the old state stays");

        let file = data.join("backups").join(format!("before-migration-{}.muster", schema + 1));
        let new = folder.path().join("new");
        let keys = super::super::restore::of_folder(&data, &config, &clock).unwrap();
        let text = keys.iter().map(|key| key.text().expose().clone()).collect::<Vec<_>>().join("\n");
        let wanted = Wanted {
            source: &file,
            data: &new,
            moment: Moment::Newest,
            keys: Keys::Text(crate::base::Secret::new(text)),
            telemetry: true,
            replace: false,
            config: &config,
            clock: &clock,
        };
        restore(&wanted, &|_| {}).unwrap();
        assert_eq!(name(&new), "Old");
    }
}
