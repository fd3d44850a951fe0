//! Reading: the same calls on a snapshot and inside a write.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::{self, Key};
use super::layer::{self, Bounds};
use super::overlay::{Layers, Over};
use super::state::View;
use super::table::Table;
use super::value;
use crate::base::Result;

/// Takes a key and its value, and says whether to go on.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool>;

/// Bytes below the typed calls. It is not named outside this folder, so that nobody else can implement `Read`.
pub trait Rows {
    /// The bytes behind a key.
    fn fetch(&self, table: &'static str, key: &[u8]) -> Result<Option<Bytes>>;
    /// Hands rows in order, or against it, to `each` until it says false.
    fn scan(
        &self,
        table: &'static str,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        back: bool,
        each: Each<'_>,
    ) -> Result<()>;
}

/// Typed reading. Every list has a limit; a long one is read in pages, each from where the last one ended.
pub trait Read: Rows {
    /// The value behind `key`.
    fn get<K: Key, V: DeserializeOwned + Serialize>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>> {
        self.fetch(table.name(), &key::encode(key))?.map(|bytes| value::decode(&bytes)).transpose()
    }

    /// Whether there is a value behind `key`.
    fn has<K: Key, V>(&self, table: &Table<K, V>, key: &K) -> Result<bool> {
        Ok(self.fetch(table.name(), &key::encode(key))?.is_some())
    }

    /// At most `limit` rows of a range, in order.
    fn range<K: Key, V: DeserializeOwned + Serialize>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        between(self, table, range, limit, false)
    }

    /// At most `limit` rows of a range, from its end.
    fn range_back<K: Key, V: DeserializeOwned + Serialize>(
        &self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        between(self, table, range, limit, true)
    }

    /// At most `limit` rows whose keys begin with the parts of `prefix`, in order. `()` begins every key.
    fn prefix<P: Key, K: Key, V: DeserializeOwned + Serialize>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        let (low, high) = prefix_bounds(prefix);
        rows(self, table, (Bound::Included(&low), bound(&high)), limit, false)
    }

    /// The same from the end.
    fn prefix_back<P: Key, K: Key, V: DeserializeOwned + Serialize>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        let (low, high) = prefix_bounds(prefix);
        rows(self, table, (Bound::Included(&low), bound(&high)), limit, true)
    }

    /// At most `limit` rows behind `after` whose keys begin with `prefix`, in order: the next page.
    fn prefix_after<P: Key, K: Key, V: DeserializeOwned + Serialize>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
        after: &K,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        let ((low, high), after) = (prefix_bounds(prefix), key::encode(after));
        let begin = if after < low { Bound::Included(&low[..]) } else { Bound::Excluded(&after[..]) };
        rows(self, table, (begin, bound(&high)), limit, false)
    }

    /// At most `limit` rows before `before` whose keys begin with `prefix`, from the end: the next page back.
    fn prefix_before<P: Key, K: Key, V: DeserializeOwned + Serialize>(
        &self,
        table: &Table<K, V>,
        prefix: &P,
        before: &K,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        let ((low, high), before) = (prefix_bounds(prefix), key::encode(before));
        let end = match &high {
            Some(high) if *high < before => Bound::Excluded(&high[..]),
            _ => Bound::Excluded(&before[..]),
        };
        rows(self, table, (Bound::Included(&low), end), limit, true)
    }

    /// At most `limit` rows of any table behind the key `after`, whose keys begin with `prefix`: the key's bytes, and the
    /// value as JSON with byte strings in hexadecimal. For who copies or removes rows without knowing what they are.
    fn any<P: Key>(
        &self,
        table: &'static str,
        prefix: &P,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, serde_json::Value)>> {
        let (low, high) = prefix_bounds(prefix);
        let begin = match after {
            Some(after) if after >= &low[..] => Bound::Excluded(after),
            _ => Bound::Included(&low[..]),
        };
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.scan(table, (begin, bound(&high)), false, &mut |key, value| {
            let value::Plain(plain) = value::decode(value)?;
            found.push((key.to_vec(), plain));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// How many rows have keys that begin with `prefix`. It reads them all.
    fn count<P: Key, K, V>(&self, table: &Table<K, V>, prefix: &P) -> Result<usize> {
        let (low, high) = prefix_bounds(prefix);
        let mut count = 0;
        self.scan(table.name(), (Bound::Included(&low), bound(&high)), false, &mut |_, _| {
            count += 1;
            Ok(true)
        })?;
        Ok(count)
    }
}

impl<R: Rows + ?Sized> Read for R {}

/// The state at one instant, for one operation.
pub struct Snapshot {
    /// What is acknowledged and not in the view.
    over: Option<Over>,
    view: View,
}

impl Snapshot {
    /// `layers` were taken before `view`.
    pub(super) fn new(layers: Arc<Layers>, view: View) -> Result<Snapshot> {
        let over = if layers.is_empty() { None } else { Over::new(layers, view.last()?) };
        Ok(Snapshot { over, view })
    }

    /// The newest change that it shows.
    pub fn number(&self) -> Result<u64> {
        self.over.as_ref().map_or_else(|| self.view.last(), |over| Ok(over.last()))
    }
}

impl Rows for Snapshot {
    fn fetch(&self, table: &'static str, key: &[u8]) -> Result<Option<Bytes>> {
        match self.over.as_ref().and_then(|over| over.get(table, key)) {
            Some(value) => Ok(value.clone()),
            None => self.view.get(table, key),
        }
    }

    fn scan(&self, table: &'static str, bounds: Bounds<'_>, back: bool, each: Each<'_>) -> Result<()> {
        if layer::is_empty(bounds) {
            return Ok(());
        }
        let over = self.over.as_ref().map_or_else(Vec::new, |over| over.sources(table, bounds, back));
        layer::over(over, back, |each| self.view.scan(table, bounds, back, each), each)
    }
}

fn between<K: Key, V: DeserializeOwned>(
    from: &(impl Rows + ?Sized),
    table: &Table<K, V>,
    range: impl RangeBounds<K>,
    limit: usize,
    back: bool,
) -> Result<Vec<(K, V)>> {
    let low = range.start_bound().map(key::encode);
    let high = range.end_bound().map(key::encode);
    rows(from, table, (low.as_ref().map(|key| &key[..]), high.as_ref().map(|key| &key[..])), limit, back)
}

fn rows<K: Key, V: DeserializeOwned>(
    from: &(impl Rows + ?Sized),
    table: &Table<K, V>,
    bounds: Bounds<'_>,
    limit: usize,
    back: bool,
) -> Result<Vec<(K, V)>> {
    let mut rows = Vec::new();
    if limit == 0 {
        return Ok(rows);
    }
    from.scan(table.name(), bounds, back, &mut |key, value| {
        rows.push((key::decode(key)?, value::decode(value)?));
        Ok(rows.len() < limit)
    })?;
    Ok(rows)
}

fn prefix_bounds(prefix: &impl Key) -> (Vec<u8>, Option<Vec<u8>>) {
    let low = key::encode(prefix);
    let high = key::after_prefix(&low);
    (low, high)
}

fn bound(high: &Option<Vec<u8>>) -> Bound<&[u8]> {
    high.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
}
