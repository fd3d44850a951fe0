//! The first start after a restore: every capability mends what must not come back as it was.
//!
//! A restore leaves `restored.json` in the folder that it makes. All hooks run in one change, which also begins the new
//! generation; then the file goes. A crash in between finds the generation begun, and only removes the file.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::Path;

use crate::base::{Error, Result};
use crate::engine::journal::sync_folder;
use crate::kit::{Capability, Ctx, Restored, Site, begin_generation, generation};

/// Name of the file.
const FILE: &str = "restored.json";
/// Bytes of it that are read: the events of 100,000 changes that were given up, and then some.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Mends the restore that the folder tells of, when it does.
pub(super) fn restored(site: &Site, all: &[&'static dyn Capability]) -> Result<()> {
    let path = site.folder.join(FILE);
    let Some(restored) = read(&path)? else { return Ok(()) };
    let ctx = Ctx::system(site, site.home, "restore");
    let begun = generation(&ctx.read()?, ctx.tenant)?;
    if begun < restored.generation {
        ctx.require("backups.restored")?.write(|change| {
            for tenant in site.tenants.all().iter().map(|tenant| tenant.id) {
                let (ctx, restored) = (ctx.within(tenant), restored.of(tenant));
                for capability in all {
                    if tenant == site.home || !capability.is_sites() {
                        capability.restored(&ctx, change, &restored)?;
                    }
                }
                if generation(change.tx, tenant)? != restored.generation {
                    begin_generation(&ctx, change, restored.generation)?;
                }
            }
            Ok(())
        })?;
        tracing::info!(
            "generation {} begins: the site is as of change {} ({}), restored from `{}`",
            restored.generation,
            restored.change,
            restored.at,
            restored.source
        );
    }
    fs::remove_file(&path)
        .map_err(|e| Error::unavailable(format!("`{}` cannot be removed", path.display())).because(e))?;
    sync_folder(&site.folder)
}

fn read(path: &Path) -> Result<Option<Restored>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::unavailable(format!("`{}` cannot be read", path.display())).because(e)),
    };
    // Without it the old sessions and tasks would come back to life: no start without mending.
    serde_json::from_reader(BufReader::new(file.take(FILE_BYTES_MAX))).map(Some).map_err(|e| {
        Error::unavailable(format!("`{}` does not say what was restored", path.display()))
            .because(e)
            .hint("restore again; the server does not start from a restore that it cannot mend")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::config::Config;
    use super::super::opening::{self, Purpose};
    use super::*;
    use crate::base::Timestamp;
    use crate::engine::clock::Clock;
    use crate::kit::Change;

    static RUNS: AtomicU32 = AtomicU32::new(0);

    struct Counts;

    impl Capability for Counts {
        fn name(&self) -> &'static str {
            "counts"
        }

        fn restored(&self, _: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
            RUNS.fetch_add(1, Ordering::SeqCst);
            change.tell("counts.restored", &restored.id, serde_json::Value::Null);
            match restored.source.as_str() {
                "fails" => Err(Error::unavailable("not now")),
                _ => Ok(()),
            }
        }
    }

    fn tell(folder: &Path, source: &str) {
        let restored = Restored {
            id: "r1".into(),
            generation: 2,
            change: 5,
            at: Timestamp::from_milliseconds(1),
            restored: Timestamp::from_milliseconds(2),
            by: "test".into(),
            source: source.into(),
            undone: Vec::new(),
        };
        fs::write(folder.join(FILE), serde_json::to_vec(&restored).unwrap()).unwrap();
    }

    #[test]
    fn a_restore_is_mended_once() {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let data = folder.path();
        opening::prepare(data, &clock).unwrap();
        let site = opening::site(&Config::default(), data, &clock, Vec::new(), Purpose::Serve).unwrap();
        let all: &[&'static dyn Capability] = &[&Counts];
        let now = || generation(&site.store.read().unwrap(), site.home).unwrap();
        restored(&site, all).unwrap();
        assert_eq!((RUNS.load(Ordering::SeqCst), now()), (0, 1), "without a restore nothing is mended");
        // A hook that fails undoes the change and keeps the file: the next start tries again.
        tell(data, "fails");
        assert!(restored(&site, all).is_err());
        assert!(data.join(FILE).exists());
        assert_eq!((RUNS.load(Ordering::SeqCst), now()), (1, 1));
        tell(data, "good");
        restored(&site, all).unwrap();
        assert_eq!((RUNS.load(Ordering::SeqCst), now()), (2, 2));
        assert!(!data.join(FILE).exists());
        // As after a crash between the change and the removal.
        tell(data, "good");
        restored(&site, all).unwrap();
        assert_eq!(RUNS.load(Ordering::SeqCst), 2, "a mended restore is not mended again");
        assert!(!data.join(FILE).exists());
        fs::write(data.join(FILE), "{").unwrap();
        assert!(restored(&site, all).unwrap_err().hint_text().unwrap().contains("restore again"));
    }
}
