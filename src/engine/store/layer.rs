//! Puts and deletes in memory that lie over the state, and how they are read together.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::Result;

/// Rows of one table by key; a row without a value is deleted.
pub(super) type Rows = BTreeMap<Bytes, Option<Bytes>>;
/// What one change puts and deletes, by table.
pub(super) type Layer = BTreeMap<Cow<'static, str>, Rows>;
/// A range of keys.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);
/// Rows in order; one without a value hides the row of what lies below.
pub(super) type Source<'a> = Box<dyn Iterator<Item = (Bytes, Option<Bytes>)> + 'a>;

pub(super) use super::read::Each;
/// Which change put or deleted a row, and the row.
type By = (u64, Option<Bytes>);

/// Whether no key can lie within; maps panic when asked for such a range.
pub(super) fn is_empty(bounds: Bounds<'_>) -> bool {
    use Bound::{Excluded, Included};
    match bounds {
        (Included(low), Included(high)) => low > high,
        (Included(low) | Excluded(low), Included(high) | Excluded(high)) => low >= high,
        _ => false,
    }
}

/// The changes that are in the journal's queue and perhaps not in redb yet.
#[derive(Clone, Default)]
pub(super) struct Recent {
    tables: BTreeMap<Cow<'static, str>, BTreeMap<Bytes, By>>,
    changes: VecDeque<(u64, Arc<Layer>)>,
}

impl Recent {
    /// Adds the layer of change `number`.
    pub(super) fn add(&mut self, number: u64, layer: Arc<Layer>) {
        for (table, rows) in layer.iter() {
            let known = self.tables.entry(table.clone()).or_default();
            for (key, value) in rows {
                known.insert(key.clone(), (number, value.clone()));
            }
        }
        self.changes.push_back((number, layer));
    }

    /// Forgets what is in redb: all changes up to `applied`.
    pub(super) fn forget(&mut self, applied: u64) {
        while let Some((number, layer)) = self.changes.pop_front_if(|(number, _)| *number <= applied) {
            for (table, rows) in layer.iter() {
                let Some(known) = self.tables.get_mut(table) else { continue };
                for key in rows.keys() {
                    if known.get(key).is_some_and(|(by, _)| *by == number) {
                        known.remove(key);
                    }
                }
            }
        }
    }

    pub(super) fn get(&self, table: &str, key: &[u8]) -> Option<&Option<Bytes>> {
        self.tables.get(table)?.get(key).map(|(_, value)| value)
    }

    pub(super) fn source<'a>(&'a self, table: &str, bounds: Bounds<'a>, back: bool) -> Option<Source<'a>> {
        let rows = self.tables.get(table).filter(|rows| !rows.is_empty())?;
        let rows = rows.range::<[u8], _>(bounds).map(|(key, (_, value))| (key.clone(), value.clone()));
        Some(directed(rows, back))
    }
}

/// The rows of `layer` within the bounds.
pub(super) fn source<'a>(
    layer: &'a Layer,
    table: &str,
    bounds: Bounds<'a>,
    back: bool,
) -> Option<Source<'a>> {
    let rows = layer.get(table).filter(|rows| !rows.is_empty())?;
    let rows = rows.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone()));
    Some(directed(rows, back))
}

fn directed<'a, I: DoubleEndedIterator<Item = (Bytes, Option<Bytes>)> + 'a>(
    rows: I,
    back: bool,
) -> Source<'a> {
    if back { Box::new(rows.rev()) } else { Box::new(rows) }
}

/// Hands the rows that `state` gives to `each`, with `sources` over them, until it says false. Of equal keys, the
/// earlier source counts, and any source before the state.
pub(super) fn over(
    sources: Vec<Source<'_>>,
    back: bool,
    state: impl FnOnce(Each<'_>) -> Result<()>,
    each: Each<'_>,
) -> Result<()> {
    if sources.is_empty() {
        return state(each);
    }
    let mut above = Merge { heads: sources.into_iter().map(Iterator::peekable).collect(), back }.peekable();
    let mut going = true;
    state(&mut |key, value| {
        while going && let Some((at, value)) = above.next_if(|(at, _)| before(at, key, back)) {
            going = value.map_or(Ok(true), |value| each(&at, &value))?;
        }
        if going {
            going = match above.next_if(|(at, _)| at == key) {
                Some((_, Some(value))) => each(key, &value)?,
                Some((_, None)) => true,
                None => each(key, value)?,
            };
        }
        Ok(going)
    })?;
    while going && let Some((at, value)) = above.next() {
        going = value.map_or(Ok(true), |value| each(&at, &value))?;
    }
    Ok(())
}

fn before(key: &[u8], other: &[u8], back: bool) -> bool {
    if back { key > other } else { key < other }
}

/// Several sources as one. Of equal keys, the earlier source counts.
struct Merge<'a> {
    heads: Vec<Peekable<Source<'a>>>,
    back: bool,
}

impl Iterator for Merge<'_> {
    type Item = (Bytes, Option<Bytes>);

    fn next(&mut self) -> Option<(Bytes, Option<Bytes>)> {
        if let [only] = &mut self.heads[..] {
            return only.next();
        }
        let mut first: Option<(usize, Bytes)> = None;
        for (at, head) in self.heads.iter_mut().enumerate() {
            if let Some((key, _)) = head.peek()
                && first.as_ref().is_none_or(|(_, first)| before(key, first, self.back))
            {
                first = Some((at, key.clone()));
            }
        }
        let (at, key) = first?;
        let found = self.heads[at].next();
        for head in &mut self.heads {
            head.next_if(|(other, _)| *other == key);
        }
        found
    }
}
