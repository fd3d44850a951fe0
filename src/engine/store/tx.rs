//! A write under way: an overlay over the state, which becomes a change when the closure succeeds.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::change::{Event, Origin};
use super::key::{self, Key};
use super::layer::{self, Bounds, Each, Layer, Recent};
use super::read::Rows;
use super::state::{State, View};
use super::table::Table;
use super::value;
use crate::base::{Error, Result};

/// One step of the schema's history. All steps that a folder lacks run in one change when it is opened, unless one says
/// [`Tx::go_on`].
#[derive(Clone, Copy)]
pub struct Migration {
    /// The schema's version after it.
    pub version: u32,
    /// What it does, for the log.
    pub name: &'static str,
    /// The step itself.
    pub run: fn(&mut Tx) -> Result<()>,
}

/// A write under way. It reads what is there, its own puts and deletes included.
pub struct Tx {
    state: Arc<State>,
    recent: Arc<Recent>,
    view: OnceCell<View>,
    layer: Layer,
    events: Vec<Event>,
    number: u64,
    origin: Origin,
    again: bool,
}

impl Tx {
    pub(super) fn new(state: Arc<State>, recent: Arc<Recent>, number: u64, origin: Origin) -> Tx {
        let (view, layer, events) = (OnceCell::new(), Layer::new(), Vec::new());
        Tx { state, recent, view, layer, events, number, origin, again: false }
    }

    /// Puts a value behind a key, over any that is there.
    pub fn put<K: Key, V: Serialize>(&mut self, table: &Table<K, V>, key: &K, value: &V) -> Result<()> {
        let value = value::encode(value)?;
        self.set(table.name(), key::encode(key), Some(value.into()));
        Ok(())
    }

    /// Deletes what is behind a key; nothing happens when there is nothing.
    pub fn delete<K: Key, V>(&mut self, table: &Table<K, V>, key: &K) -> Result<()> {
        self.set(table.name(), key::encode(key), None);
        Ok(())
    }

    /// Deletes at most `limit` rows of any table whose keys begin with `prefix`; says how many there were.
    pub fn clear<P: Key>(&mut self, table: &'static str, prefix: &P, limit: usize) -> Result<usize> {
        let low = key::encode(prefix);
        let high = key::after_prefix(&low);
        let high = high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = Vec::new();
        if limit > 0 {
            self.scan(table, (Bound::Included(&low[..]), high), false, &mut |key, _| {
                keys.push(key.to_vec());
                Ok(keys.len() < limit)
            })?;
        }
        let count = keys.len();
        keys.into_iter().for_each(|key| self.set(table, key, None));
        Ok(count)
    }

    /// Tells an event together with the change.
    pub fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The number that the change will have.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Who makes the change.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Says in a migration that there is more than one change should hold: what was done so far becomes a change of its
    /// own, and the step runs again. It must find out by itself how far it has come.
    pub fn go_on(&mut self) {
        self.again = true;
    }

    /// Whether that was said since it was asked last.
    pub(super) fn goes_on(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }

    pub(super) fn finish(self) -> (Layer, Vec<Event>, Origin) {
        (self.layer, self.events, self.origin)
    }

    fn set(&mut self, table: &'static str, key: Vec<u8>, value: Option<Bytes>) {
        self.layer.entry(Cow::Borrowed(table)).or_default().insert(key.into(), value);
    }

    /// Opened at the first read. `recent` has every change that it may lack; what it has of them beside that is the same.
    fn view(&self) -> Result<&View> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let view = self.state.view()?;
        Ok(self.view.get_or_init(|| view))
    }
}

impl Rows for Tx {
    fn fetch(&self, table: &'static str, key: &[u8]) -> Result<Option<Bytes>> {
        let own = self.layer.get(table).and_then(|rows| rows.get(key));
        match own.or_else(|| self.recent.get(table, key)) {
            Some(value) => Ok(value.clone()),
            None => self.view()?.get(table, key),
        }
    }

    fn scan(&self, table: &'static str, bounds: Bounds<'_>, back: bool, each: Each<'_>) -> Result<()> {
        if layer::is_empty(bounds) {
            return Ok(());
        }
        let own = layer::source(&self.layer, table, bounds, back);
        let recent = self.recent.source(table, bounds, back);
        let view = self.view()?;
        let over = own.into_iter().chain(recent).collect();
        layer::over(over, back, |each| view.scan(table, bounds, back, each), each)
    }
}

thread_local! {
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread is inside a write; gone when dropped, also by a panic.
pub(super) struct Writing(());

impl Writing {
    pub(super) fn begin() -> Result<Writing> {
        if WRITING.replace(true) {
            if cfg!(debug_assertions) {
                panic!("write inside write");
            }
            return Err(Error::internal("write inside write"));
        }
        Ok(Writing(()))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.set(false);
    }
}
