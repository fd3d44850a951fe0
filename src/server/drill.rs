//! The restore drill: the newest backup, restored beside the running site into a folder that goes away, and looked at
//! until it has shown its sign-in page.
//!
//! Invariant: it uses the running site for two things alone: its recovery keys, and to write down what was found.
//! Invariant: it gives way: its thread has what others leave of the processor, what it reads and writes is paced, its caches are small.
//! Invariant: whatever goes wrong is written down with the step at which it did.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::Config;
use super::opening::{self, Purpose, SCRATCH};
use super::rehearsal::Rehearsal;
use super::{mend, verify};
use crate::base::{Error, Result, Span, Timestamp};
use crate::capabilities::backups::{Drill, Meter, Restoring};
use crate::capabilities::{ALL, audit, backups};
use crate::engine::crypto::{Kek, private_folder};
use crate::engine::host::give_way;
use crate::engine::jobs::Step;
use crate::engine::store::Until;
use crate::kit::{Ctx, Site};

/// How often it is looked whether one is due.
const EVERY: Span = Span::from_seconds(5);
/// Bytes of backups and telemetry that are read in a second.
const BYTES_PER_SECOND_MAX: u64 = 48 * 1024 * 1024;
/// Bytes of the disk that a drill leaves free.
const ROOM_LEFT_BYTES: u64 = 256 * 1024 * 1024;
/// How long a stop waits for a drill to notice.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// The drill of one server; at most one runs.
pub(super) struct Drills {
    running: Mutex<Option<(Meter, JoinHandle<()>)>>,
}

impl Drills {
    pub(super) fn new() -> Arc<Drills> {
        Arc::new(Drills { running: Mutex::new(None) })
    }

    /// The job that begins a drill when one is due. It does not wait for its end.
    pub(super) fn job(self: &Arc<Self>, site: &Arc<Site>) -> (&'static str, Span, Step) {
        let (drills, site) = (Arc::clone(self), Arc::clone(site));
        let run = move || match backups::due_drill(&Ctx::system(&site, site.home, "backups.drill"))? {
            true => drills.begin(&site),
            false => Ok(()),
        };
        ("backups.drill", EVERY, Box::new(run))
    }

    fn begin(&self, site: &Arc<Site>) -> Result<()> {
        let mut running = self.running.lock();
        if site.is_stopping() || running.as_ref().is_some_and(|(_, thread)| !thread.is_finished()) {
            return Ok(());
        }
        let (meter, site) = (Meter::new(&site.clock, BYTES_PER_SECOND_MAX), Arc::clone(site));
        let measured = meter.clone();
        let thread = std::thread::Builder::new()
            .name("drill".into())
            .spawn(move || {
                give_way();
                run(&site, &measured);
            })
            .map_err(|e| Error::unavailable("no thread for the drill").because(e))?;
        *running = Some((meter, thread));
        Ok(())
    }

    /// Ends a drill that runs; what it has found by then is not written down.
    pub(super) fn stop(&self, site: &Site) {
        let Some((meter, thread)) = self.running.lock().take() else { return };
        meter.stop();
        let until = site.clock.monotonic() + STOP_WITHIN;
        while !thread.is_finished() && site.clock.monotonic() < until {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

/// One drill, from the choice of the backup to the record.
fn run(site: &Arc<Site>, meter: &Meter) {
    let ctx = Ctx::system(site, site.home, "backups.drill");
    let mut drill = Drill {
        began: ctx.now,
        backup: String::new(),
        change: 0,
        at: Timestamp::default(),
        bytes: 0,
        restored_ms: 0,
        ready_ms: 0,
        checked: Vec::new(),
        failure: String::new(),
    };
    let folder = folder(&ctx);
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_it(&ctx, meter, &folder, &mut drill)))
            .unwrap_or_else(|_| Err(Error::internal("the drill panicked")));
    let _ = std::fs::remove_dir_all(&folder);
    if meter.stopped() || site.is_stopping() {
        return;
    }
    if let Err(error) = outcome {
        drill.failure = match error.hint_text() {
            Some(hint) => format!("{} ({hint})", error.detail()),
            None => error.detail(),
        };
        tracing::warn!("the restore drill failed: {}", drill.failure);
    }
    let ctx = Ctx::system(site, site.home, "backups.drill");
    if let Err(error) = backups::record_drill(&ctx, drill) {
        tracing::warn!("the drill could not be written down: {}", error.detail());
    }
}

fn folder(ctx: &Ctx<'_>) -> PathBuf {
    let random: String = ctx.site.clock.random::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
    ctx.site.folder.join(SCRATCH).join(format!("drill-{random}"))
}

/// Names the step at which an error came.
fn step<T>(name: &str, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|e| {
        let named = Error::new(e.kind(), format!("{name}: {}", e.detail()));
        match e.hint_text() {
            Some(hint) => named.hint(hint.to_owned()),
            None => named,
        }
    })
}

fn try_it(ctx: &Ctx<'_>, meter: &Meter, folder: &Path, drill: &mut Drill) -> Result<()> {
    let clock = &ctx.site.clock;
    let began = clock.monotonic();
    let took = || (clock.monotonic() - began).as_millis() as u64;
    let keys = step("recovery keys", backups::site_keys(ctx))?;
    let here = backups::folder(ctx);
    let source = step("backups", backups::open_repository(&here))?;
    let chosen = step("backups", backups::choose(&source, &Until::End))?;
    drill.backup = chosen.full.file.clone();
    step("room", has_room(ctx))?;
    private_folder(&ctx.site.folder.join(SCRATCH))?;
    let restoring = Restoring {
        keys: &keys,
        kek: &|folder| Kek::File(folder.join("kek")),
        telemetry: true,
        clock,
        by: "drill",
        progress: meter,
    };
    let report = step("restore", backups::restore_into(folder, &source, &Until::End, &restoring))?;
    (drill.change, drill.at, drill.bytes) = (report.restored.change, report.restored.at, report.bytes);
    drill.restored_ms = took();
    drill.checked.push(format!("every sum of {} files", report.files.len()));
    drill.checked.push(format!("{} rows and {} changes over them", report.rows, report.changes));

    let config = Config::default();
    let site = step("opening", opening::site(&config, folder, clock, Vec::new(), Purpose::Rehearsal))?;
    let site = Arc::new(site);
    let then = Ctx::system(&site, site.home, "backups.drill");
    let pace = meter.phase("looking at everything", 0);
    let looked = step("verify", verify::site(&then, &mut |bytes| Ok(pace.moved(bytes as usize)?)))?;
    meter.going()?;
    drill.checked.extend(looked.checked);
    if let Some(first) = looked.findings.kept.first() {
        let more = match looked.findings.count {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        return Err(Error::unavailable(format!("verify: {}: {}{more}", first.place, first.what))
            .hint(first.remedy.clone()));
    }
    let index = step("index", audit::rebuild(&site.store, &folder.join("index-anew"), clock))?;
    if index.documents != index.rows {
        return Err(Error::unavailable(format!(
            "index: it has {} documents for {} entries of the audit trail",
            index.documents, index.rows
        )));
    }
    drill.checked.push(format!("an index of {} documents, made anew", index.documents));
    step("mending", mend::restored(&site, ALL))?;
    drill.checked.push("what the first start mends".into());
    let rehearsal = step("start", Rehearsal::start(&site))?;
    let page = step("sign-in page", rehearsal.sign_in_page());
    rehearsal.stop();
    drill.checked.push(format!("the page {} over HTTPS", page?));
    drill.ready_ms = took();
    Ok(())
}

/// Refuses before anything is written when what is restored would not leave the site enough room.
fn has_room(ctx: &Ctx<'_>) -> Result<()> {
    let folder = &ctx.site.folder;
    let needed: u64 = ["store", "series", "logs"].iter().map(|part| size(&folder.join(part))).sum();
    let disk = rustix::fs::statvfs(folder.as_path())
        .map_err(|e| Error::unavailable("the disk cannot be asked how full it is").because(e))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= needed.saturating_add(ROOM_LEFT_BYTES) {
        return Ok(());
    }
    let mebibytes = |bytes: u64| bytes / (1024 * 1024);
    Err(Error::unavailable(format!(
        "a restore of about {} MiB does not fit: {} MiB are free, {} of them stay so",
        mebibytes(needed),
        mebibytes(free),
        mebibytes(ROOM_LEFT_BYTES)
    ))
    .hint("free some of the disk; until then no restore is proven"))
}

/// Bytes below a folder; what goes away meanwhile does not count.
fn size(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes += size(&entry.path()),
            Ok(meta) => bytes += meta.len(),
            Err(_) => {}
        }
    }
    bytes
}
