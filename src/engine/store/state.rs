//! redb: the tables as they follow from the journal. Nothing outside this file speaks of it.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition, TableError,
    TableHandle,
};

use super::backend::Plain;
use super::chunk::ReadRows;
use super::layer::{Bounds, Each, Layer};
use super::pages::{self, Pages};
use crate::base::{Error, Result};
use crate::engine::journal::{self, Disk, DiskFile, Seal};

/// The form of the file that this program writes.
const FORMAT: u64 = 1;

/// What the file knows of itself: `format`; `last`, the newest change in it; `chain`, the journal's fingerprint there.
const MARKS: TableDefinition<'static, &str, u64> = TableDefinition::new("_marks");

type Raw = ReadOnlyTable<&'static [u8], &'static [u8]>;

fn definition(table: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(table)
}

/// The database behind the journal.
pub(super) struct State {
    database: Database,
}

impl State {
    /// Opens or begins the file. A damaged one is an error, though redb may panic over it.
    pub(super) fn open(
        disk: &dyn Disk,
        seal: Option<&dyn Seal>,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<State> {
        let cannot =
            |e: io::Error| Error::unavailable(format!("cannot open `{}`: {e}", path.display())).because(e);
        let file = match disk.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return State::begin(disk, seal, path, cache_bytes);
            }
            file => file.map_err(cannot)?,
        };
        file.settle().map_err(cannot)?;
        let state = match (seal, pages::is_sealed(&*file).map_err(cannot)?) {
            (None, false) => State::plain(file, path, cache_bytes)?,
            (Some(seal), true) => match Pages::open(file, seal) {
                Ok(Some(pages)) => State::sealed(pages, path, cache_bytes)?,
                Ok(None) => return Err(journal::other_key(path)),
                Err(e) => return Err(damaged(path).because(e)),
            },
            (None, true) => return Err(journal::is_sealed(path)),
            (Some(_), false) => return Err(journal::is_plain(path)),
        };
        match state.view()?.mark("format")? {
            Some(FORMAT) => Ok(state),
            Some(format) if format > FORMAT => Err(Error::conflict(format!(
                "`{}` has format {format}, this program reads up to {FORMAT}",
                path.display()
            ))
            .hint("run the newer program that wrote it")),
            _ => Err(damaged(path)),
        }
    }

    /// Makes the file under another name first: redb cannot open one whose making was cut short.
    fn begin(disk: &dyn Disk, seal: Option<&dyn Seal>, path: &Path, cache_bytes: usize) -> Result<State> {
        let cannot =
            |e: io::Error| Error::unavailable(format!("cannot make `{}`: {e}", path.display())).because(e);
        let fresh = path.with_extension("new");
        match disk.remove(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
            _ => {}
        }
        let file = disk.create(&fresh).map_err(cannot)?;
        let state = match seal {
            None => State::plain(file, path, cache_bytes)?,
            Some(seal) => State::sealed(Pages::begin(file, seal).map_err(cannot)?, path, cache_bytes)?,
        };
        state.commit(Durability::Immediate, |tx| {
            tx.open_table(MARKS)?.insert("format", FORMAT)?;
            Ok(())
        })?;
        disk.rename(&fresh, path).map_err(cannot)?;
        // The journal lets go of what is in this file: its name must not get lost.
        path.parent().map_or(Ok(()), |folder| disk.sync_folder(folder)).map_err(cannot)?;
        Ok(state)
    }

    fn plain(file: Box<dyn DiskFile>, path: &Path, cache_bytes: usize) -> Result<State> {
        State::make(path, cache_bytes, |builder| match file.into_host() {
            Ok(file) => builder.create_file(file),
            Err(file) => builder.create_with_backend(Plain(file)),
        })
    }

    fn sealed(pages: Pages, path: &Path, cache_bytes: usize) -> Result<State> {
        let opening = pages.opening();
        let state = State::make(path, cache_bytes, |builder| builder.create_with_backend(pages))?;
        opening.store(false, Ordering::Release);
        Ok(state)
    }

    fn make(
        path: &Path,
        cache_bytes: usize,
        open: impl FnOnce(&mut redb::Builder) -> std::result::Result<Database, redb::DatabaseError>,
    ) -> Result<State> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let state = State { database: open(redb::Builder::new().set_cache_size(cache_bytes))? };
            state.view()?.mark("format")?;
            Ok::<_, Error>(state)
        }));
        match opened {
            Ok(Ok(state)) => Ok(state),
            Ok(Err(e)) => Err(damaged(path).because(e.to_string())),
            Err(_) => Err(damaged(path)),
        }
    }

    /// Reads the whole file against its checksums. An error means that it is not what one commit left.
    pub(super) fn check(&mut self) -> Result<()> {
        // Twice: the first may mend what a crash leaves, the second must find nothing to mend.
        let whole = catch_unwind(AssertUnwindSafe(|| {
            Ok::<_, Error>(self.database.check_integrity()? || self.database.check_integrity()?)
        }));
        let damaged = || Error::unavailable("the store is damaged: `state.redb` does not fit its checksums");
        match whole {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) | Err(_) => Err(damaged()),
            Ok(Err(e)) => Err(damaged().because(e.detail())),
        }
    }

    /// Moves what is used to the file's beginning and cuts the rest off.
    pub(super) fn compact(&mut self) -> Result<()> {
        while self.database.compact()? {}
        Ok(())
    }

    /// Loads chunks of rows in one commit that is not durable.
    pub(super) fn load(&self, chunks: &[Vec<u8>]) -> Result<()> {
        self.commit(Durability::None, |tx| {
            for chunk in chunks {
                let mut read = ReadRows::open(chunk)?;
                let mut table = tx.open_table(definition(read.table))?;
                while let Some((key, value)) = read.next()? {
                    table.insert(&chunk[key], &chunk[value])?;
                }
            }
            Ok(())
        })
    }

    /// A view of the tables as they are now.
    pub(super) fn view(&self) -> Result<View> {
        Ok(View(self.database.begin_read()?))
    }

    /// Applies layers, oldest first, in one commit that is visible but not durable. `last` is the newest change
    /// and `chain` its fingerprint in the journal.
    pub(super) fn apply<'a>(
        &self,
        layers: impl Iterator<Item = &'a Layer>,
        last: u64,
        chain: u64,
    ) -> Result<()> {
        // Sorted and each key once: what costs is the insert at a random place.
        let mut merged: BTreeMap<&str, BTreeMap<&Bytes, &Option<Bytes>>> = BTreeMap::new();
        for layer in layers {
            for (table, rows) in layer {
                merged.entry(table).or_default().extend(rows);
            }
        }
        self.commit(Durability::None, |tx| {
            for (table, rows) in merged {
                let mut table = tx.open_table(definition(table))?;
                for (key, value) in rows {
                    match value {
                        Some(value) => drop(table.insert(&key[..], &value[..])?),
                        None => drop(table.remove(&key[..])?),
                    }
                }
            }
            let mut marks = tx.open_table(MARKS)?;
            marks.insert("last", last)?;
            marks.insert("chain", chain)?;
            Ok(())
        })
    }

    /// Makes everything that was applied durable, so that opening after a crash is quick.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.commit(Durability::Immediate, |_| Ok(()))
    }

    fn commit(
        &self,
        durability: Durability,
        f: impl FnOnce(&redb::WriteTransaction) -> Result<()>,
    ) -> Result<()> {
        let mut tx = self.database.begin_write()?;
        tx.set_durability(durability)?;
        tx.set_quick_repair(matches!(durability, Durability::Immediate));
        f(&tx)?;
        Ok(tx.commit()?)
    }
}

/// The tables at one instant. While it lives, redb reuses no space.
pub(super) struct View(ReadTransaction);

impl View {
    /// The newest change in this view.
    pub(super) fn last(&self) -> Result<u64> {
        Ok(self.mark("last")?.unwrap_or(0))
    }

    /// The journal's fingerprint at that change.
    pub(super) fn chain(&self) -> Result<Option<u64>> {
        self.mark("chain")
    }

    pub(super) fn get(&self, table: &str, key: &[u8]) -> Result<Option<Bytes>> {
        let Some(table) = self.table(table)? else { return Ok(None) };
        Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
    }

    /// Hands the rows within the bounds to `each` until it says false.
    pub(super) fn scan(&self, table: &str, bounds: Bounds<'_>, back: bool, each: Each<'_>) -> Result<()> {
        let Some(table) = self.table(table)? else { return Ok(()) };
        let mut rows = table.range::<&[u8]>(bounds)?;
        while let Some(row) = if back { rows.next_back() } else { rows.next() } {
            let (key, value) = row?;
            if !each(key.value(), value.value())? {
                break;
            }
        }
        Ok(())
    }

    /// The names of all tables but the store's own marks.
    pub(super) fn tables(&self) -> Result<Vec<String>> {
        let names = self.0.list_tables()?.map(|table| table.name().to_owned());
        Ok(names.filter(|name| name != MARKS.name()).collect())
    }

    fn table(&self, name: &str) -> Result<Option<Raw>> {
        match self.0.open_table(definition(name)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn mark(&self, name: &str) -> Result<Option<u64>> {
        match self.0.open_table(MARKS) {
            Ok(marks) => Ok(marks.get(name)?.map(|value| value.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn damaged(path: &Path) -> Error {
    Error::unavailable(format!("the store is damaged: `{}` cannot be read", path.display()))
        .hint("move the file aside to rebuild it from the journal, or restore from a backup")
}
