//! What goes into a backup file, in its order. Nothing here knows where the bytes go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};

use super::keys;
use super::memory::Meter;
use super::store::plan;
use crate::base::{Result, Timestamp};
use crate::engine::archive::{Paced, Recipient, Summary, Writer};
use crate::engine::store::{Exported, Part, is_sealed};
use crate::kit::{Ctx, followed, generation};

/// The form of backup files that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// Bytes of a configuration file that are saved.
pub(super) const CONFIGURATION_BYTES_MAX: usize = 1024 * 1024;
/// The entry of the configuration.
pub(super) const CONFIGURATION: &str = "configuration.toml";

/// What stands at the beginning of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `full` or `changes`.
    pub kind: String,
    /// The form of the file.
    pub format: u32,
    /// The program that wrote it.
    pub program: String,
    /// What the site was called.
    pub site: String,
    /// The site's generation.
    pub generation: u64,
    /// When it was begun.
    pub at: Timestamp,
    /// The newest change when it was begun.
    pub from: u64,
    /// The change from which on the feed is kept; 0 in one of changes.
    #[serde(default)]
    pub keep_from: u64,
    /// Whether metrics and logs are in it.
    pub telemetry: bool,
    /// Whether the site's data files are sealed: the days of metrics and logs are as they lie there, and the store is
    /// sealed again when it is restored, by the same key, which stands before it.
    #[serde(default)]
    pub sealed: bool,
}

/// What stands at the end of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What the store gave away.
    pub store: Exported,
    /// Lengths of the metrics' and logs' files that this backup and those before it have, by the entry's name.
    #[serde(default)]
    pub telemetry: BTreeMap<String, u64>,
}

/// What is written, and to whom it opens.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether metrics and logs are in it.
    pub telemetry: bool,
    /// Who opens it.
    pub recipients: Vec<Recipient>,
}

impl Options {
    /// The site's own key and the plan's recipients; metrics and logs as asked, or as the plan says.
    pub fn of(ctx: &Ctx<'_>, telemetry: Option<bool>) -> Result<Options> {
        let recipients = keys::recipients(ctx)?;
        let plan = plan(&ctx.read()?, ctx.tenant)?;
        Ok(Options { telemetry: telemetry.unwrap_or(plan.telemetry), recipients })
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The beginning of the file.
    pub manifest: Manifest,
    /// Its end.
    pub end: End,
    /// Its size.
    pub summary: Summary,
}

/// Writes a full backup of the running site to `out`, while everything goes on.
pub fn write_full<W: Write>(
    ctx: &Ctx<'_>,
    out: W,
    options: &Options,
    progress: &Meter,
) -> Result<(W, Written)> {
    let store = &ctx.site.store;
    let read = ctx.read()?;
    let from = store.last_change();
    let keep_from = followed(&read)?.map_or(from, |done| done + 1);
    let manifest = Manifest { keep_from, ..manifest(ctx, "full", generation(&read, ctx.tenant)?, options)? };
    drop(read);
    let pace = progress.phase("state", expected(ctx, options.telemetry)?);
    let mut writer = Writer::begin(Paced::new(out, &pace), &options.recipients, &manifest)?;
    // First, for sealed files are made with one of them.
    for (name, secret) in ctx.site.vault.export()? {
        writer.entry(&format!("keys/{name}"), secret.expose())?;
    }
    let (mut rows, mut changes) = (0_u64, 0_u64);
    let exported = store.export(keep_from, &mut |part, chunk| {
        progress.going()?;
        let (number, folder) = match part {
            Part::Rows => (&mut rows, "rows"),
            Part::Changes => (&mut changes, "changes"),
        };
        *number += 1;
        writer.entry(&format!("store/{folder}/{number:06}"), chunk)
    })?;
    if let Some(text) = &ctx.site.configuration
        && text.len() <= CONFIGURATION_BYTES_MAX
    {
        writer.entry(CONFIGURATION, text.as_bytes())?;
    }
    let telemetry = match options.telemetry {
        true => telemetry(ctx, &mut writer, &BTreeMap::new(), progress)?,
        false => BTreeMap::new(),
    };
    finish(writer, manifest, End { store: exported, telemetry })
}

/// Writes the changes after `after`, and what has come to metrics and logs since `before`, to `out`.
pub(super) fn write_changes<W: Write>(
    ctx: &Ctx<'_>,
    out: W,
    after: u64,
    before: Option<&BTreeMap<String, u64>>,
    options: &Options,
    progress: &Meter,
) -> Result<(W, Written)> {
    let generation = generation(&ctx.read()?, ctx.tenant)?;
    let mut manifest = manifest(ctx, "changes", generation, options)?;
    manifest.from = after;
    let pace = progress.phase("changes", 0);
    let mut writer = Writer::begin(Paced::new(out, &pace), &options.recipients, &manifest)?;
    let mut number = 0_u64;
    let exported = ctx.site.store.export_changes(after, u64::MAX, &mut |chunk| {
        progress.going()?;
        number += 1;
        writer.entry(&format!("store/changes/{number:06}"), chunk)
    })?;
    let telemetry = match before {
        Some(before) => telemetry(ctx, &mut writer, before, progress)?,
        None => BTreeMap::new(),
    };
    finish(writer, manifest, End { store: exported, telemetry })
}

fn manifest(ctx: &Ctx<'_>, kind: &str, generation: u64, options: &Options) -> Result<Manifest> {
    Ok(Manifest {
        kind: kind.to_owned(),
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        site: ctx.site.settings.name(),
        generation,
        at: ctx.now,
        from: ctx.site.store.last_change(),
        keep_from: 0,
        telemetry: options.telemetry,
        sealed: is_sealed(&ctx.site.folder.join("store"))?,
    })
}

fn finish<W: Write>(writer: Writer<Paced<W>>, manifest: Manifest, end: End) -> Result<(W, Written)> {
    let (out, summary) = writer.finish(&end)?;
    Ok((out.into_inner(), Written { manifest, end, summary }))
}

/// Adds what the files of metrics and logs have beyond `before`; gives their lengths.
fn telemetry<W: Write>(
    ctx: &Ctx<'_>,
    writer: &mut Writer<W>,
    before: &BTreeMap<String, u64>,
    progress: &Meter,
) -> Result<BTreeMap<String, u64>> {
    let mut lengths = BTreeMap::new();
    for (engine, files) in [("series", ctx.site.series.files()?), ("logs", ctx.site.logs.files()?)] {
        for file in files {
            progress.going()?;
            let name = format!("{engine}/blocks/{}", file.name);
            let have = before.get(&name).copied().unwrap_or_default().min(file.bytes);
            if file.bytes > have {
                let mut content = match File::open(&file.path) {
                    Ok(content) => content,
                    // The retention has just unlinked the day.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e.into()),
                };
                content.seek(SeekFrom::Start(have))?;
                let entry = if have == 0 { name.clone() } else { format!("{name}@{have}") };
                writer.stream(&entry, file.bytes - have, &mut content.take(file.bytes - have))?;
            }
            lengths.insert(name, file.bytes);
        }
    }
    Ok(lengths)
}

/// About how many bytes a full backup will have: as the last one, or what there is to be read.
pub fn expected(ctx: &Ctx<'_>, telemetry: bool) -> Result<u64> {
    let read = ctx.read()?;
    let known = super::store::backups(&read, ctx.tenant)?;
    if let Some(last) = super::store::newest(&known, true).filter(|last| last.telemetry == telemetry) {
        return Ok(last.bytes);
    }
    let folder = &ctx.site.folder;
    let mut bytes = size(&folder.join("store").join("state.redb"));
    if telemetry {
        bytes += ctx.site.series.stats().bytes + size_of_folder(&folder.join("logs").join("blocks"));
    }
    Ok(bytes)
}

fn size(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map(|m| m.len()).unwrap_or_default()
}

fn size_of_folder(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|m| m.len()).sum()
}
