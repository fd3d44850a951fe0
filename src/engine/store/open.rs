//! Opening: lock, verify, replay, migrate.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::change::{Change, Origin};
use super::layer::Layer;
use super::read::Read;
use super::state::State;
use super::table::Table;
use super::writer::Shared;
use super::{Options, Store, pages, place, restore};
use crate::base::{Error, Kind, Result};
use crate::engine::journal::{self, Disk, HostDisk, Journal, Recovered};

/// The schema's version, kept as any other row so that a replay gives it too.
const SCHEMA: Table<(), u32> = Table::new("_schema");
/// The file of the state, and the name of the journal.
pub(super) const STATE: &str = "state.redb";
pub(super) const JOURNAL: &str = "changes";
/// Changes that a replay applies in one commit.
const REPLAY_CHANGES_MAX: usize = 2_000;

/// What all clones of a store hold; the last to go closes it.
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Handle {
    fn run(&mut self, name: &str, work: fn(&Shared)) -> Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&shared))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A panic of a thread has already completed every change with an error.
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Opens or begins the store in `folder`: replays what redb lacks, then runs the migrations that it lacks.
    ///
    /// A folder that was copied is read whole first, and refused when it was copied while in use and the copy shows it.
    pub fn open(folder: &Path, options: Options) -> Result<Store> {
        let disk = &*options.disk;
        journal::make_folder(disk, folder)?;
        let (lock, copy) = place::lock(disk, folder)?;
        restore::refuse_unfinished(disk, folder)?;
        let opened = files(folder, &options, copy).map_err(|e| if copy { copied(folder, e) } else { e })?;
        let Files { state, journal, recovered, held } = opened;
        place::record(disk, folder)?;
        let replayed = recovered.last - held;
        let shared = Arc::new(Shared::new(options, journal, state, recovered.last, replayed, lock));
        let mut handle = Handle { shared, threads: Vec::new() };
        handle.run("store", Shared::acknowledge_all)?;
        handle.run("store-apply", Shared::apply_all)?;
        let store = Store(Arc::new(handle));
        store.migrate()?;
        Ok(store)
    }

    /// The schema's version.
    pub fn schema(&self) -> Result<u32> {
        Ok(self.read()?.get(&SCHEMA, &())?.unwrap_or(0))
    }

    fn migrate(&self) -> Result<()> {
        let options = &self.0.shared.options;
        if !options.migrations.is_sorted_by_key(|step| step.version) {
            return Err(Error::internal("the migrations are not in order of version"));
        }
        let present = self.schema()?;
        let newest = options.migrations.last().map_or(0, |step| step.version);
        if present > newest {
            return Err(Error::conflict(format!(
                "the store has schema {present}, this program knows up to {newest}"
            ))
            .hint("run the newer program that wrote it"));
        }
        if present == newest {
            return Ok(());
        }
        if let Some(before) = &options.before_migration
            && self.last_change() > 0
        {
            before(self, present, newest)?;
        }
        let origin = Origin {
            at: options.clock.now(),
            actor: "system".into(),
            action: "store.migrate".into(),
            ..Origin::default()
        };
        let steps = || options.migrations.iter().filter(|step| step.version > present);
        loop {
            // One change for all, but where a step says that it has to go on in another.
            let done = self.write(origin.clone(), |tx| {
                let done = tx.get(&SCHEMA, &())?.unwrap_or(0);
                for step in steps().filter(|step| step.version > done) {
                    (step.run)(tx).map_err(|e| {
                        Error::unavailable(format!("migration {} `{}` failed: {e}", step.version, step.name))
                    })?;
                    if tx.goes_on() {
                        return Ok(false);
                    }
                    tx.put(&SCHEMA, &(), &step.version)?;
                }
                Ok(true)
            })?;
            if done {
                return Ok(());
            }
        }
    }
}

/// Whether the store in `folder` is sealed; one that is not made yet is not.
pub fn is_sealed(folder: &Path) -> Result<bool> {
    match HostDisk.open(&folder.join(STATE)) {
        Ok(file) => Ok(pages::is_sealed(&*file)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// What lies in a folder, fit for each other.
pub(super) struct Files {
    pub(super) state: State,
    pub(super) journal: Journal,
    pub(super) recovered: Recovered,
    /// The change that the state held before the replay.
    pub(super) held: u64,
}

/// Opens state and journal, proves that they belong together, and replays what the state lacks.
pub(super) fn files(folder: &Path, options: &Options, copy: bool) -> Result<Files> {
    let mut state =
        State::open(&*options.disk, options.seal.as_deref(), &folder.join(STATE), options.cache_bytes_max)?;
    if copy {
        state.check()?;
    }
    let (journal, recovered) = Journal::open(folder, journal_options(options))?;
    let held = state.view()?.last()?;
    fit(&state, &journal, &recovered, held)?;
    replay(&state, &journal, held)?;
    Ok(Files { state, journal, recovered, held })
}

pub(super) fn journal_options(options: &Options) -> journal::Options {
    journal::Options {
        segment_bytes_max: options.segment_bytes_max,
        disk: options.disk.clone(),
        seal: options.seal.clone(),
        ..journal::Options::new(JOURNAL)
    }
}

pub(super) fn fit(state: &State, journal: &Journal, recovered: &Recovered, held: u64) -> Result<()> {
    if held > recovered.last {
        return Err(Error::unavailable(format!(
            "the store is damaged: its journal ends at change {}, its state holds change {held}",
            recovered.last
        ))
        .hint("put the missing journal files back, or restore from a backup"));
    }
    if held + 1 < recovered.first {
        return Err(Error::unavailable(format!(
            "the store is damaged: its state holds changes up to {held}, its journal begins at change {}",
            recovered.first
        ))
        .hint("put the missing files back, or restore from a backup"));
    }
    if held > 0 && state.view()?.chain()? != Some(journal.fingerprint(held)?) {
        return Err(Error::unavailable(format!(
            "the store is damaged: its state and its journal do not belong together at change {held}"
        ))
        .hint("put the files of one store back, or restore from a backup"));
    }
    Ok(())
}

/// What to say of a copy that is not whole, or not all of one instant.
pub(super) fn copied(folder: &Path, e: Error) -> Error {
    if !matches!(e.kind(), Kind::Unavailable | Kind::Internal) {
        return e;
    }
    Error::unavailable(format!(
        "`{}` is a copy of a folder that was in use, and cannot be trusted: {}",
        folder.display(),
        e.detail()
    ))
    .hint(
        "copy the folder only while its server is stopped; of a running server make a backup with \
         `muster backup PATH` and bring it back with `muster restore`",
    )
}

pub(super) fn replay(state: &State, journal: &Journal, held: u64) -> Result<()> {
    if held == journal.last_number() {
        return Ok(());
    }
    let mut layers: Vec<Layer> = Vec::new();
    let mut last = held;
    journal.replay(held + 1, |number, payload| {
        layers.push(Change::decode(number, payload)?.layer());
        last = number;
        if layers.len() == REPLAY_CHANGES_MAX {
            state.apply(layers.iter(), last, journal.fingerprint(last)?)?;
            layers.clear();
        }
        Ok(())
    })?;
    state.apply(layers.iter(), last, journal.fingerprint(last)?)?;
    state.checkpoint()
}
