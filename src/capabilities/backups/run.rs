//! Taking a backup: into `NAME.part`, synced, read back, renamed, written down.
//!
//! Invariant: what stands in the catalogue as verified has been read back and every sum was right.
//! Invariant: the files of changes form one chain from the first full backup of a generation on; where the journal no
//! longer has what the chain needs, that is told and a full backup begins a new one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::keys;
use super::memory::{self, Meter};
use super::model::{Backup, Outcome, Run, State};
use super::names::{FileName, Holds, PART, slug};
use super::store::{self, BACKUPS};
use super::write::{End, Manifest, Options, Written, expected, write_changes, write_full};
use crate::base::{Error, Kind, Result, Span};
use crate::engine::archive::{Paced, Reader, Steady, remove_in_steps};
use crate::engine::crypto::private_folder;
use crate::engine::host::give_way;
use crate::kit::{Ctx, generation};

/// Bytes of the disk that a backup leaves free.
const ROOM_LEFT_BYTES: u64 = 64 * 1024 * 1024;
/// Metrics and logs are saved with the changes this often: each time closes blocks before they are full.
const TELEMETRY_EVERY: Span = Span::from_hours(1);

/// The server's own folder of backups.
pub fn folder(ctx: &Ctx<'_>) -> PathBuf {
    ctx.site.folder.join("backups")
}

/// Takes a full backup into the server's own folder; metrics and logs as asked, or as the plan says. It blocks until
/// the backup has been read back.
pub fn full(ctx: &Ctx<'_>, telemetry: Option<bool>) -> Result<Backup> {
    let options = Options::of(ctx, telemetry)?;
    run(ctx, true, &|ctx, meter| {
        let room = expected(ctx, options.telemetry)?;
        let (path, written) = into_part(ctx, room, |out| write_full(ctx, out, &options, meter))?;
        keep(ctx, meter, &path, written, &options)
    })
}

/// Saves the changes since the last file of changes. Nothing when there are none but the followers' and our own.
pub fn changes(ctx: &Ctx<'_>) -> Result<Option<Backup>> {
    let read = ctx.read()?;
    let state = store::state(&read, ctx.tenant)?;
    let broken = is_broken(ctx, &state, generation(&read, ctx.tenant)?);
    drop(read);
    if state.chained == 0 || broken || !has_news(ctx, &state)? {
        return Ok(None);
    }
    let options = Options::of(ctx, None)?;
    let telemetry = options.telemetry
        && state.telemetry_at.is_some_and(|at| ctx.now.since(at) >= TELEMETRY_EVERY || at > ctx.now);
    let options = Options { telemetry, ..options };
    run(ctx, false, &|ctx, meter| {
        let before = telemetry.then_some(&state.telemetry);
        let (path, written) =
            into_part(ctx, 0, |out| write_changes(ctx, out, state.chained, before, &options, meter))?;
        keep(ctx, meter, &path, written, &options)
    })
    .map(Some)
}

/// Whether the chain belongs to another history: the site was restored, or an older copy of its folder was put in place.
fn is_broken(ctx: &Ctx<'_>, state: &State, generation: u64) -> bool {
    state.chained > 0 && (state.generation != generation || state.chained > ctx.site.store.last_change())
}

/// Whether anything but our own bookkeeping and what follows from it happened since the last file.
fn has_news(ctx: &Ctx<'_>, state: &State) -> Result<bool> {
    const LOOKED_AT: usize = 500;
    if ctx.site.store.last_change() <= state.chained {
        return Ok(false);
    }
    let changes = ctx.site.store.changes(state.chained, LOOKED_AT)?;
    let own = |action: &str| action.starts_with("backups.") || action.starts_with("follow.");
    let whole = changes.first().is_some_and(|change| change.number == state.chained + 1);
    Ok(!whole || changes.len() == LOOKED_AT || changes.iter().any(|change| !own(&change.origin.action)))
}

type Work<'a> = dyn Fn(&Ctx<'_>, &Meter) -> Result<Backup> + Sync + 'a;

/// One run: alone, on a thread that gives way to others, written down however it ends.
fn run(ctx: &Ctx<'_>, full: bool, work: &Work<'_>) -> Result<Backup> {
    let permit = ctx.require("backups.run")?;
    let plan = store::plan(&ctx.read()?, ctx.tenant)?;
    let memory = memory::of(ctx.site);
    let running = memory.begin(ctx, full, plan.bytes_per_second_max)?;
    let meter = running.meter.clone();
    let journal = ctx.site.store.stats().bytes_written;
    let outcome = gently("backup", || work(ctx, &meter));
    let run = |outcome, name: &str, error: &str, hint: &str| Run {
        began: ctx.now,
        ended: ctx.site.clock.now(),
        full,
        outcome,
        name: name.to_owned(),
        error: error.to_owned(),
        hint: hint.to_owned(),
    };
    match &outcome {
        Ok(backup) => {
            let run = run(Outcome::Good, &backup.name, "", "");
            permit.write(|change| store::ran(ctx, change, &run))?;
            memory.saved_bytes.store(journal, std::sync::atomic::Ordering::Relaxed);
        }
        Err(_) if meter.stopped() => {
            let run = run(Outcome::Stopped, "", "", "");
            // The server may be stopping because the store cannot be written.
            let _ = permit.write(|change| store::ran(ctx, change, &run));
        }
        // The chain is broken: whoever called makes a full backup now.
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => {
            let (text, hint) = (error.detail(), error.hint_text().unwrap_or_default().to_owned());
            tracing::warn!("a backup failed: {text}");
            let run = run(Outcome::Failed, "", &text, &hint);
            permit.write(|change| {
                store::ran(ctx, change, &run)?;
                store::remember(ctx, change, |state| state.failed = Some(run.ended))?;
                change.tell("backups.failed", "site", json!({ "full": full, "error": text, "hint": hint }));
                Ok(())
            })?;
        }
    }
    outcome
}

/// Runs `work` on a thread of its own that gives way to others.
pub(super) fn gently<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.into()).spawn_scoped(scope, || {
            give_way();
            work()
        });
        let thread = thread.map_err(|e| Error::unavailable("no thread for a backup").because(e))?;
        thread.join().unwrap_or_else(|_| Err(Error::internal("a backup panicked")))
    })
}

/// Writes a new file in the folder of backups, synced, under a name that says that it is not whole.
fn into_part(
    ctx: &Ctx<'_>,
    bytes: u64,
    write: impl FnOnce(Steady) -> Result<(Steady, Written)>,
) -> Result<(PathBuf, Written)> {
    let folder = folder(ctx);
    private_folder(&folder)?;
    sweep(&folder)?;
    has_room(&folder, bytes)?;
    let path = folder.join(format!("new{PART}"));
    let failed = |e| Error::unavailable(format!("`{}` cannot be written", path.display())).because(e);
    let mut open = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    let file = open.write(true).create_new(true).open(&path).map_err(failed)?;
    let outcome = write(Steady::new(file)).and_then(|(file, written)| {
        file.finish().map_err(failed)?;
        Ok(written)
    });
    match outcome {
        Ok(written) => Ok((path, written)),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

/// Removes what a run left that was cut off; there is only one run at a time.
fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().ends_with(PART) {
            remove_in_steps(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a backup; its name says from the first step on that it is not whole. One that is gone already is no error.
pub(super) fn remove(folder: &Path, name: &str) -> Result<()> {
    let going = folder.join(format!("old{PART}"));
    match fs::rename(folder.join(name), &going) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => Ok(renamed.and_then(|()| remove_in_steps(&going))?),
    }
}

/// Refuses before anything is written when the file would not fit.
fn has_room(folder: &Path, bytes: u64) -> Result<()> {
    let disk =
        rustix::fs::statvfs(folder).map_err(|e| Error::unavailable("the disk cannot be asked").because(e))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes.saturating_add(ROOM_LEFT_BYTES) {
        return Ok(());
    }
    let mebibytes = |bytes: u64| bytes / (1024 * 1024);
    Err(Error::unavailable(format!(
        "a backup of about {} MiB does not fit: {} MiB are free at `{}`",
        mebibytes(bytes),
        mebibytes(free),
        folder.display()
    ))
    .hint("free some of the disk, keep fewer backups here, or back up to another place with `muster backup PATH`"))
}

/// Reads the file back, gives it its name, and writes it down.
fn keep(ctx: &Ctx<'_>, meter: &Meter, part: &Path, written: Written, options: &Options) -> Result<Backup> {
    let named = || -> Result<(FileName, PathBuf)> {
        verify(ctx, part, &written, meter)?;
        let (name, path) = name(ctx, part, &written)?;
        fs::rename(part, &path)?;
        File::open(folder(ctx)).and_then(|folder| folder.sync_all())?;
        Ok((name, path))
    };
    let (name, path) = named().inspect_err(|_| {
        let _ = fs::remove_file(part);
    })?;
    let now = ctx.site.clock.now();
    let Written { manifest, end, summary } = written;
    let backup = Backup {
        name: name.to_string(),
        full: manifest.kind == "full",
        generation: manifest.generation,
        first: name.holds.first().unwrap_or_default(),
        last: end.store.last,
        at: end.store.at,
        made: name.at,
        bytes: summary.bytes_out,
        took_ms: now.since(ctx.now).milliseconds(),
        telemetry: manifest.telemetry,
        verified: Some(now),
        here: true,
        targets: BTreeMap::new(),
        recipients: options.recipients.iter().map(ToString::to_string).collect(),
    };
    let entered = enter(ctx, &backup, end);
    if entered.is_err() {
        // What nobody knows of would never be removed.
        let _ = fs::remove_file(path);
    }
    entered.map(|()| backup)
}

/// Writes down a backup that is whole, and moves the chain.
fn enter(ctx: &Ctx<'_>, backup: &Backup, end: End) -> Result<()> {
    let chained = ctx.require("backups.run")?.write(|change| {
        let mut chained = 0;
        store::remember(ctx, change, |state| {
            let fresh = backup.full && (state.chained == 0 || is_broken(ctx, state, backup.generation));
            if fresh || !backup.full {
                (state.chained, state.generation) = (backup.last, backup.generation);
            }
            state.failed = None;
            if backup.full {
                state.wanted = None;
            }
            // The parts of metrics and logs form a chain of their own, on which later full backups do not break in.
            if backup.telemetry && (fresh || !backup.full || state.telemetry_at.is_none()) {
                (state.telemetry, state.telemetry_at) = (end.telemetry, Some(backup.made));
            } else if fresh {
                (state.telemetry, state.telemetry_at) = (BTreeMap::new(), None);
            }
            chained = state.chained;
        })?;
        change.tx.put(&BACKUPS, &(ctx.tenant, backup.name.clone()), backup)?;
        change.tell(
            "backups.taken",
            &backup.name,
            json!({ "full": backup.full, "bytes": backup.bytes, "took_ms": backup.took_ms, "last": backup.last }),
        );
        Ok(chained)
    })?;
    ctx.site.store.hold(chained);
    Ok(())
}

/// Reads the whole file back: every block, every sum, and that it says what was written.
fn verify(ctx: &Ctx<'_>, path: &Path, written: &Written, meter: &Meter) -> Result<()> {
    let pace = meter.phase("reading back", written.summary.bytes_out);
    // What was read a moment ago from memory is no proof of the disk, but all that a page cache lets us have.
    let file = Paced::new(File::open(path)?, &pace);
    let mut reader = Reader::open(file, "the new backup", &keys::all(ctx)?)?;
    let verified = reader.each(&mut |_, _, _| Ok(()))?;
    let (manifest, end): (Manifest, End) = (reader.manifest()?, reader.end()?);
    if manifest != written.manifest || end != written.end || verified.entries != written.summary.entries {
        return Err(Error::internal("the new backup reads back as something else"));
    }
    Ok(())
}

/// A name that no file has yet.
fn name(ctx: &Ctx<'_>, part: &Path, written: &Written) -> Result<(FileName, PathBuf)> {
    let store = &written.end.store;
    let holds = match written.manifest.kind.as_str() {
        "full" => Holds::Full { last: store.last },
        _ => Holds::Changes { first: store.from + 1, last: store.last },
    };
    let second = (ctx.site.clock.now().milliseconds() + 999).div_euclid(1_000) * 1_000;
    let mut at = crate::base::Timestamp::from_milliseconds(second);
    loop {
        let name = FileName { site: slug(&ctx.site.settings.name()), at, holds };
        let path = part.with_file_name(name.to_string());
        if !path.exists() {
            return Ok((name, path));
        }
        at = at + Span::from_seconds(1);
    }
}

/// The schedule: what a person asked for, or what is due.
pub(super) fn schedule(ctx: &Ctx<'_>) -> Result<()> {
    let memory = memory::of(ctx.site);
    if memory.halted() || memory.running().is_some() {
        return Ok(());
    }
    keys::current(ctx)?;
    let read = ctx.read()?;
    let (plan, state) = (store::plan(&read, ctx.tenant)?, store::state(&read, ctx.tenant)?);
    let generation = generation(&read, ctx.tenant)?;
    let backups = store::backups(&read, ctx.tenant)?;
    drop(read);
    let chain_broken = is_broken(ctx, &state, generation);
    if state.chained > 0 && !chain_broken {
        ctx.site.store.hold(state.chained);
    }
    let quietly = |outcome: Result<Option<Backup>>| match outcome {
        // It is written down and told already; the job itself is well.
        Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) => Ok(()),
        outcome => outcome.map(drop),
    };
    if let Some(telemetry) = state.wanted {
        ctx.require("backups.run")?
            .write(|change| store::remember(ctx, change, |state| state.wanted = None))?;
        return quietly(full(ctx, Some(telemetry)).map(Some));
    }
    let full_one = store::newest(&backups, true);
    // A gap was told, and the full backup that mends it has not been taken yet.
    let chain_broken = chain_broken || state.chained == 0;
    let began = ctx.site.clock.monotonic().saturating_sub(memory.began);
    if (full_one.is_none() || chain_broken) && began < super::FIRST_AFTER.duration() {
        return Ok(());
    }
    let written = ctx.site.store.stats().bytes_written;
    let past = super::plan::Past {
        full: full_one.filter(|_| !chain_broken).map(|b| b.made),
        any: store::newest(&backups, false).map(|b| b.made),
        failed: state.failed,
        unsaved_bytes: written.saturating_sub(memory.saved_bytes.load(std::sync::atomic::Ordering::Relaxed)),
    };
    match plan.due(past, ctx.now) {
        None => Ok(()),
        Some(super::plan::Due::Full) => quietly(full(ctx, None).map(Some)),
        Some(super::plan::Due::Changes) => match changes(ctx) {
            Err(error) if error.kind() == Kind::NotFound => gap(ctx, &state, &error),
            outcome => quietly(outcome),
        },
    }
}

/// The journal no longer has what the chain needs: that is told, and a full backup begins a new chain.
pub(super) fn gap(ctx: &Ctx<'_>, state: &State, error: &Error) -> Result<()> {
    ctx.require("backups.run")?.write(|change| {
        store::remember(ctx, change, |state| state.chained = 0)?;
        change.tell(
            "backups.gap",
            "site",
            json!({ "after": state.chained, "first": ctx.site.store.first_change(), "error": error.message() }),
        );
        Ok(())
    })?;
    full(ctx, None).map(drop)
}
