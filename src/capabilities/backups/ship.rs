//! Copies to the targets, and what may go here and there.
//!
//! Invariant: a target that fails or is absent holds up no other, and loses nothing: what it lacks is copied when it is
//! back.

use std::fs;
use std::time::Duration;

use serde_json::json;

use super::memory::{self, Meter};
use super::model::Backup;
use super::retention::{Kept, prune};
use super::run::{folder, gently};
use super::store::{self, BACKUPS, TARGETS};
use super::targets::Target;
use super::write::{End, Manifest};
use crate::base::{Error, Result};
use crate::engine::archive::Reader;
use crate::engine::outbound::target::{self, Pace};
use crate::engine::store::Read;
use crate::kit::{Change, Ctx};

/// First and longest wait after a failure.
const WAITS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

/// Copies to every target what it lacks, each on a thread of its own, and lets go there of what may go.
pub(super) fn ship(ctx: &Ctx<'_>) -> Result<()> {
    let targets = store::targets(&ctx.read()?, ctx.tenant)?;
    std::thread::scope(|scope| {
        for target in targets.iter().filter(|target| target.on) {
            let ctx = ctx.clone();
            scope.spawn(move || {
                if let Err(error) = gently("ship", || one(&ctx, target)) {
                    tracing::warn!("copies to `{}` ended: {}", target.name, error.detail());
                }
            });
        }
    });
    Ok(())
}

fn one(ctx: &Ctx<'_>, target: &Target) -> Result<()> {
    let memory = memory::of(ctx.site);
    let now = ctx.site.clock.monotonic();
    if memory.waits.lock().get(&target.id).is_some_and(|(until, _)| now < *until) {
        return Ok(());
    }
    let backups = store::backups(&ctx.read()?, ctx.tenant)?;
    let (missing, gone) = due(ctx, target, &backups)?;
    if missing.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let outcome = (|| {
        let place = target.open(ctx)?;
        if let target::State::Absent(text) = place.state()? {
            return fares(ctx, target, |target| {
                (target.fares.waiting, target.fares.failing) = (true, None);
                (target.fares.text, target.fares.hint) = (text, String::new());
            });
        }
        copy(ctx, target, place.as_ref(), &missing)?;
        for name in &gone {
            if target.keeps() {
                place.remove(name)?;
            }
            forget(ctx, name, |backup| backup.targets.remove(&target.id).is_some())?;
        }
        let note = place.release()?;
        fares(ctx, target, |target| {
            let fares = &mut target.fares;
            (fares.waiting, fares.failing) = (false, None);
            (fares.text, fares.hint) = (String::new(), String::new());
            fares.note = note.unwrap_or_default();
        })
    })();
    match outcome {
        Ok(()) => {
            memory.waits.lock().remove(&target.id);
            Ok(())
        }
        Err(_) if memory.halted() => Ok(()),
        Err(error) => {
            let mut waits = memory.waits.lock();
            let failures = waits.get(&target.id).map_or(0, |(_, failures)| *failures) + 1;
            let wait = WAITS.0.saturating_mul(1 << failures.min(7)).min(WAITS.1);
            waits.insert(target.id.clone(), (ctx.site.clock.monotonic() + wait, failures));
            drop(waits);
            failed(ctx, target, &error.detail(), error.hint_text().unwrap_or_default())
        }
    }
}

/// What a target lacks, in the order in which it is sent, and what may go there.
fn due<'a>(ctx: &Ctx<'_>, target: &Target, backups: &'a [Backup]) -> Result<(Vec<&'a Backup>, Vec<String>)> {
    let has = |backup: &&Backup| backup.targets.contains_key(&target.id);
    let lacks = |backup: &&Backup| backup.here && backup.verified.is_some() && !has(backup);
    let list: Vec<Kept> = backups.iter().filter(|b| has(b) || lacks(b)).map(Backup::kept).collect();
    let retention = store::plan(&ctx.read()?, ctx.tenant)?.retention;
    let old = prune(&list, ctx.now, &retention);
    let mut missing: Vec<&Backup> = backups.iter().filter(lacks).filter(|b| !old.contains(&b.name)).collect();
    // The newest full one first: with it alone a site can be brought back.
    let newest = missing.iter().filter(|b| b.full).map(|b| b.made).max();
    missing.sort_by_key(|b| (!(b.full && Some(b.made) == newest), b.made));
    let gone = old.into_iter().filter(|name| backups.iter().any(|b| b.name == *name && has(&b)));
    Ok((missing, gone.collect()))
}

fn copy(ctx: &Ctx<'_>, target: &Target, place: &dyn target::Target, missing: &[&Backup]) -> Result<()> {
    let memory = memory::of(ctx.site);
    let most = store::plan(&ctx.read()?, ctx.tenant)?.bytes_per_second_max;
    let meter = Meter::new(&ctx.site.clock, most);
    for backup in missing {
        memory.send(&target.id, &meter)?;
        meter.phase(&backup.name, backup.bytes);
        let mut pace = Pace::limited(&ctx.site.clock, Some(most));
        (pace.done, pace.stop) = (meter.counter(), meter.flag());
        let sent = place.put(&backup.name, &folder(ctx).join(&backup.name), &pace);
        memory.sent(&target.id);
        let put = sent?;
        let now = ctx.site.clock.now();
        ctx.require("backups.ship")?.write(|change| {
            let key = (ctx.tenant, backup.name.clone());
            if let Some(mut row) = change.tx.get(&BACKUPS, &key)? {
                row.targets.insert(target.id.clone(), now);
                change.tx.put(&BACKUPS, &key, &row)?;
            }
            let key = (ctx.tenant, target.id.clone());
            if let Some(mut row) = change.tx.get(&TARGETS, &key)? {
                row.fares.copied = Some(now);
                change.tx.put(&TARGETS, &key, &row)?;
            }
            let detail = json!({
                "target": target.name, "bytes": put.bytes, "resumed": put.resumed, "outside": target.outside,
            });
            change.tell("backups.shipped", &backup.name, detail);
            Ok(())
        })?;
    }
    Ok(())
}

/// Changes how a target fares, when that is something new.
fn fares(ctx: &Ctx<'_>, target: &Target, f: impl FnOnce(&mut Target)) -> Result<()> {
    ctx.require("backups.ship")?.write(|change| {
        let key = (ctx.tenant, target.id.clone());
        let Some(before) = change.tx.get(&TARGETS, &key)? else { return Ok(()) };
        let mut after = before.clone();
        f(&mut after);
        if after != before { change.tx.put(&TARGETS, &key, &after) } else { Ok(()) }
    })
}

/// A target failed: told once, until it works again.
fn failed(ctx: &Ctx<'_>, target: &Target, text: &str, hint: &str) -> Result<()> {
    ctx.require("backups.ship")?.write(|change| {
        let key = (ctx.tenant, target.id.clone());
        let Some(mut row) = change.tx.get(&TARGETS, &key)? else { return Ok(()) };
        if row.fares.failing.is_none() {
            let detail = json!({ "target": row.name, "error": text, "hint": hint });
            change.tell("backups.target_failed", &row.id, detail);
        }
        row.fares.failing = row.fares.failing.or(Some(ctx.now));
        (row.fares.waiting, row.fares.text, row.fares.hint) = (false, text.to_owned(), hint.to_owned());
        change.tx.put(&TARGETS, &key, &row)
    })
}

/// Lets go of old backups in the server's own folder, and takes note of files that came or went by other hands.
pub(super) fn tidy(ctx: &Ctx<'_>) -> Result<()> {
    let folder = folder(ctx);
    if !folder.is_dir() {
        return Ok(());
    }
    reconcile(ctx)?;
    examine(ctx)?;
    let read = ctx.read()?;
    let (plan, backups) = (store::plan(&read, ctx.tenant)?, store::backups(&read, ctx.tenant)?);
    drop(read);
    let list: Vec<Kept> = backups.iter().filter(|b| b.here).map(Backup::kept).collect();
    for name in prune(&list, ctx.now, &plan.retention) {
        super::run::remove(&folder, &name)?;
        forget(ctx, &name, |backup| std::mem::replace(&mut backup.here, false))?;
    }
    Ok(())
}

fn reconcile(ctx: &Ctx<'_>) -> Result<()> {
    // The catalogue first: a backup that is taken meanwhile has its file before it has its row.
    let known = store::backups(&ctx.read()?, ctx.tenant)?;
    let found = super::repository::open_folder(&folder(ctx))?;
    let gone = known.iter().filter(|b| b.here && !found.iter().any(|f| f.file == b.name));
    for backup in gone {
        forget(ctx, &backup.name, |backup| std::mem::replace(&mut backup.here, false))?;
    }
    let fresh: Vec<&super::repository::Found> =
        found.iter().filter(|f| !known.iter().any(|b| b.name == f.file && b.here)).collect();
    if fresh.is_empty() {
        return Ok(());
    }
    ctx.require("backups.tidy")?.write(|change| {
        for found in fresh {
            let key = (ctx.tenant, found.file.clone());
            let mut row = match change.tx.get(&BACKUPS, &key)? {
                Some(row) => row,
                None => Backup::found(&found.file, found.bytes)?,
            };
            row.here = true;
            change.tx.put(&BACKUPS, &key, &row)?;
        }
        Ok(())
    })
}

/// Reads one file that came by other hands, and writes down what it is. One that this site has no key for, or that is
/// damaged, stays unverified: it counts for nothing and goes with the retention.
fn examine(ctx: &Ctx<'_>) -> Result<()> {
    let memory = memory::of(ctx.site);
    let backups = store::backups(&ctx.read()?, ctx.tenant)?;
    let seen = |name: &String| memory.examined.lock().contains(name);
    let Some(found) = backups.into_iter().find(|b| b.here && b.verified.is_none() && !seen(&b.name)) else {
        return Ok(());
    };
    memory.examined.lock().insert(found.name.clone());
    let keys = super::keys::all(ctx)?;
    let looked = gently("examine", || {
        let file = fs::File::open(folder(ctx).join(&found.name))?;
        let mut reader = Reader::open(file, &found.name, &keys)?;
        reader.each(&mut |_, _, _| match memory.halted() {
            true => Err(Error::unavailable("the server is stopping")),
            false => Ok(()),
        })?;
        Ok((reader.manifest::<Manifest>()?, reader.end::<End>()?))
    });
    let (manifest, end) = match looked {
        Ok(looked) => looked,
        Err(error) => {
            tracing::warn!("`{}` in the folder of backups is of no use: {}", found.name, error.detail());
            return Ok(());
        }
    };
    let verified = Some(ctx.site.clock.now());
    let (generation, telemetry, at) = (manifest.generation, manifest.telemetry, end.store.at);
    let row = Backup { generation, telemetry, at, verified, ..found };
    ctx.require("backups.tidy")?
        .write(|change| change.tx.put(&BACKUPS, &(ctx.tenant, row.name.clone()), &row))
}

/// A file is no longer at a place; when it is at none any more, nobody knows of it.
fn forget(ctx: &Ctx<'_>, name: &str, f: impl FnOnce(&mut Backup) -> bool) -> Result<()> {
    ctx.require("backups.tidy")?.write(|change: &mut Change<'_>| {
        let key = (ctx.tenant, name.to_owned());
        let Some(mut row) = change.tx.get(&BACKUPS, &key)? else { return Ok(()) };
        if !f(&mut row) {
            return Ok(());
        }
        match row.here || !row.targets.is_empty() {
            true => change.tx.put(&BACKUPS, &key, &row),
            false => change.tx.delete(&BACKUPS, &key),
        }
    })
}
