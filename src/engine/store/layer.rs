//! Puts and deletes in memory that lie over the state, and the merge of such layers with it.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
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
/// Rows in order; one without a value hides the row of the sources after it.
pub(super) type Source<'a> = Box<dyn Iterator<Item = Result<(Bytes, Option<Bytes>)>> + 'a>;

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
        let rows = rows.range::<[u8], _>(bounds).map(|(key, (_, value))| Ok((key.clone(), value.clone())));
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
    let rows = rows.range::<[u8], _>(bounds).map(|(key, value)| Ok((key.clone(), value.clone())));
    Some(directed(rows, back))
}

fn directed<'a, I: DoubleEndedIterator<Item = Result<(Bytes, Option<Bytes>)>> + 'a>(
    rows: I,
    back: bool,
) -> Source<'a> {
    if back { Box::new(rows.rev()) } else { Box::new(rows) }
}

/// Hands the merged rows to `each` until it says false. Of equal keys, the earlier source counts.
pub(super) fn merge(mut sources: Vec<Source<'_>>, back: bool, each: Each<'_>) -> Result<()> {
    let mut heads = Vec::with_capacity(sources.len());
    for source in &mut sources {
        heads.push(source.next().transpose()?);
    }
    loop {
        let mut best: Option<(usize, Bytes)> = None;
        for (at, head) in heads.iter().enumerate() {
            if let Some((key, _)) = head
                && best.as_ref().is_none_or(|(_, first)| if back { key > first } else { key < first })
            {
                best = Some((at, key.clone()));
            }
        }
        let Some((at, key)) = best else { return Ok(()) };
        let value = heads[at].take().and_then(|(_, value)| value);
        for (head, source) in heads.iter_mut().zip(&mut sources) {
            if head.as_ref().is_none_or(|(other, _)| *other == key) {
                *head = source.next().transpose()?;
            }
        }
        if let Some(value) = value
            && !each(&key, &value)?
        {
            return Ok(());
        }
    }
}
