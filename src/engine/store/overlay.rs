//! Changes that are acknowledged and perhaps not in redb yet, as readers see them over redb.
//!
//! Each batch becomes a layer of sorted rows that never changes again. Layers of like size are merged into new ones, so
//! that there are few of them and a row is copied seldom; a layer whose changes are all in redb is dropped.
//!
//! Invariant: a reader takes the layers first and its view of redb after; then nothing lies between the two.
//! Invariant: a row of a change that the view has is passed over, so layers and view show the state at one change.
//! Invariant: a row is forgotten only when redb has its change.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::layer::{Bounds, Layer, Source};

/// A new layer is merged with the one before it unless that has more than this many times its rows, and some more.
const LIKE: usize = 2;
const FEW_ROWS: usize = 64;

/// What one change made of a key; one without a value was deleted.
struct Row {
    key: Bytes,
    number: u64,
    value: Option<Bytes>,
}

/// The rows of one batch, or of several: each key once, in order.
struct Merged {
    /// The newest change in it.
    last: u64,
    rows: usize,
    tables: BTreeMap<Cow<'static, str>, Vec<Row>>,
}

/// Rows of one table while a batch is gathered: what the newest change made of each key.
type Newest<'a> = BTreeMap<&'a Bytes, (u64, &'a Option<Bytes>)>;

/// All layers at one instant, oldest first.
#[derive(Default)]
pub(super) struct Layers(Vec<Arc<Merged>>);

/// What is published of the layers, and the newest change that redb has, whose lock orders the changes of both.
pub(super) struct Overlay {
    published: RwLock<Arc<Layers>>,
    applied: Mutex<u64>,
}

/// Layers over a view of redb that shows the changes up to `shown`.
pub(super) struct Over {
    layers: Arc<Layers>,
    shown: u64,
}

impl Overlay {
    /// Over a state that has the changes up to `applied`.
    pub(super) fn new(applied: u64) -> Overlay {
        Overlay { published: RwLock::default(), applied: Mutex::new(applied) }
    }

    /// The layers as they are now.
    pub(super) fn layers(&self) -> Arc<Layers> {
        self.published.read().clone()
    }

    /// Shows a batch of changes to readers: numbers with what they put and deleted, in order.
    pub(super) fn add<'a>(&self, batch: impl Iterator<Item = (u64, &'a Layer)>) {
        let applied = self.applied.lock();
        let mut list = self.layers().0.clone();
        list.push(Arc::new(Merged::of(batch)));
        while let [.., older, newer] = &list[..]
            && older.rows <= LIKE * newer.rows + FEW_ROWS
        {
            let merged = Arc::new(Merged::both(older, newer, *applied));
            list.truncate(list.len() - 2);
            list.push(merged);
        }
        self.publish(list);
    }

    /// Forgets what redb has: all changes up to `applied`.
    pub(super) fn forget(&self, applied: u64) {
        let mut known = self.applied.lock();
        *known = applied;
        let layers = self.layers();
        self.publish(layers.0.iter().filter(|layer| layer.last > applied).cloned().collect());
        // Not under the lock: the rows go with the last who holds the layers.
        drop(known);
    }

    fn publish(&self, list: Vec<Arc<Merged>>) {
        let list = Arc::new(Layers(list));
        let before = std::mem::replace(&mut *self.published.write(), list);
        drop(before);
    }
}

impl Merged {
    fn of<'a>(batch: impl Iterator<Item = (u64, &'a Layer)>) -> Merged {
        let mut last = 0;
        let mut newest: BTreeMap<&Cow<'static, str>, Newest<'_>> = BTreeMap::new();
        for (number, layer) in batch {
            last = number;
            for (table, rows) in layer {
                newest.entry(table).or_default().extend(rows.iter().map(|(k, v)| (k, (number, v))));
            }
        }
        let row = |(key, (number, value)): (&Bytes, (u64, &Option<Bytes>))| Row {
            key: key.clone(),
            number,
            value: value.clone(),
        };
        let tables: BTreeMap<_, Vec<Row>> = newest
            .into_iter()
            .map(|(table, rows)| (table.clone(), rows.into_iter().map(row).collect()))
            .collect();
        Merged { last, rows: tables.values().map(Vec::len).sum(), tables }
    }

    /// One layer instead of two, without what redb has by now.
    fn both(older: &Merged, newer: &Merged, applied: u64) -> Merged {
        let mut tables: BTreeMap<Cow<'static, str>, Vec<Row>> = BTreeMap::new();
        for table in older.tables.keys().chain(newer.tables.keys()) {
            if !tables.contains_key(table) {
                let rows = merged(older.rows_of(table), newer.rows_of(table), applied);
                tables.insert(table.clone(), rows);
            }
        }
        tables.retain(|_, rows| !rows.is_empty());
        Merged { last: newer.last, rows: tables.values().map(Vec::len).sum(), tables }
    }

    fn rows_of(&self, table: &str) -> &[Row] {
        self.tables.get(table).map_or(&[], Vec::as_slice)
    }
}

/// The rows of both in order; of equal keys the newer counts.
fn merged(older: &[Row], newer: &[Row], applied: u64) -> Vec<Row> {
    let mut rows = Vec::with_capacity(older.len() + newer.len());
    let mut keep = |row: &Row| {
        if row.number > applied {
            rows.push(Row { key: row.key.clone(), number: row.number, value: row.value.clone() });
        }
    };
    let mut older = older.iter().peekable();
    for row in newer {
        while let Some(before) = older.next_if(|before| before.key < row.key) {
            keep(before);
        }
        older.next_if(|same| same.key == row.key);
        keep(row);
    }
    older.for_each(keep);
    rows
}

impl Layers {
    /// Whether redb has it all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest change in them.
    pub(super) fn last(&self) -> u64 {
        self.0.last().map_or(0, |layer| layer.last)
    }
}

impl Over {
    /// Over a view that was taken after the layers. None when the view has all their changes.
    pub(super) fn new(layers: Arc<Layers>, shown: u64) -> Option<Over> {
        (layers.last() > shown).then_some(Over { layers, shown })
    }

    /// The newest change that layers and view together show.
    pub(super) fn last(&self) -> u64 {
        self.layers.last()
    }

    /// What the layers say of a key; none when the view is to be asked.
    pub(super) fn get(&self, table: &str, key: &[u8]) -> Option<&Option<Bytes>> {
        let row = self.newest_first().find_map(|layer| {
            let rows = layer.rows_of(table);
            rows.binary_search_by(|row| row.key[..].cmp(key)).ok().map(|at| &rows[at])
        })?;
        // Of an older change than the view's: the view has that row, or what a later change made of it.
        (row.number > self.shown).then_some(&row.value)
    }

    /// The rows within the bounds, one source a layer, newest first.
    pub(super) fn sources<'a>(&'a self, table: &str, bounds: Bounds<'_>, back: bool) -> Vec<Source<'a>> {
        let shown = self.shown;
        let within = self.newest_first().map(|layer| within(layer.rows_of(table), bounds));
        let sources = within.filter(|rows| rows.iter().any(|row| row.number > shown)).map(|rows| {
            let rows = rows
                .iter()
                .filter(move |row| row.number > shown)
                .map(|row| (row.key.clone(), row.value.clone()));
            if back { Box::new(rows.rev()) as Source<'a> } else { Box::new(rows) }
        });
        sources.collect()
    }

    /// The layers that have something that the view lacks.
    fn newest_first(&self) -> impl Iterator<Item = &Merged> {
        let newest = self.layers.0.iter().rev().map(|layer| &**layer);
        newest.take_while(|layer| layer.last > self.shown)
    }
}

/// The rows whose keys lie within the bounds, which are not reversed.
fn within<'a>(rows: &'a [Row], bounds: Bounds<'_>) -> &'a [Row] {
    let begin = match bounds.0 {
        Bound::Included(low) => rows.partition_point(|row| row.key[..] < *low),
        Bound::Excluded(low) => rows.partition_point(|row| row.key[..] <= *low),
        Bound::Unbounded => 0,
    };
    let end = match bounds.1 {
        Bound::Included(high) => rows.partition_point(|row| row.key[..] <= *high),
        Bound::Excluded(high) => rows.partition_point(|row| row.key[..] < *high),
        Bound::Unbounded => rows.len(),
    };
    rows.get(begin..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::store::layer;

    const TABLES: [&str; 2] = ["one", "two"];

    type Ops = Vec<(usize, u8, Option<u8>)>;
    type Model = BTreeMap<(usize, u8), u8>;

    fn layer_of(ops: &Ops) -> Layer {
        let mut layer = Layer::new();
        for (table, key, value) in ops {
            let value = value.map(|value| Bytes::copy_from_slice(&[value]));
            layer.entry(TABLES[*table].into()).or_default().insert(Bytes::copy_from_slice(&[*key]), value);
        }
        layer
    }

    fn redone(model: &Model, ops: &Ops) -> Model {
        let mut next = model.clone();
        for (table, key, value) in ops {
            match value {
                Some(value) => drop(next.insert((*table, *key), *value)),
                None => drop(next.remove(&(*table, *key))),
            }
        }
        next
    }

    /// All rows of a table as a reader sees them whose view is the model's state.
    fn seen(
        over: Option<&Over>,
        view: &Model,
        table: usize,
        bounds: Bounds<'_>,
        back: bool,
    ) -> Vec<(u8, u8)> {
        let rows: Vec<_> = view
            .iter()
            .filter(|((of, key), _)| *of == table && within_bounds(*key, bounds))
            .map(|((_, key), value)| (*key, *value))
            .collect();
        let sources = over.map_or_else(Vec::new, |over| over.sources(TABLES[table], bounds, back));
        let mut found = Vec::new();
        let state = |each: layer::Each<'_>| {
            let mut rows = rows.clone();
            if back {
                rows.reverse();
            }
            for (key, value) in rows {
                if !each(&[key], &[value])? {
                    break;
                }
            }
            Ok(())
        };
        layer::over(sources, back, state, &mut |key, value| {
            found.push((key[0], value[0]));
            Ok(true)
        })
        .unwrap();
        found
    }

    fn within_bounds(key: u8, bounds: Bounds<'_>) -> bool {
        std::ops::RangeBounds::<[u8]>::contains(&bounds, &[key][..])
    }

    fn ops() -> impl Strategy<Value = Ops> {
        prop::collection::vec((0usize..2, 0u8..30, prop::option::weighted(0.6, any::<u8>())), 0..5)
    }

    proptest! {
        #[test]
        fn layers_over_any_later_view_are_the_state_at_one_change(
            changes in prop::collection::vec(ops(), 1..80),
            batches in prop::collection::vec((1usize..6, 0usize..8), 1..80),
            late in 0u64..4,
            low in 0u8..30,
            span in 0u8..10,
        ) {
            let mut states = vec![Model::new()];
            for ops in &changes {
                states.push(redone(states.last().unwrap(), ops));
            }
            let overlay = Overlay::new(0);
            let (mut acknowledged, mut applied) = (0, 0);
            for (add, apply) in batches {
                let upto = (acknowledged + add).min(changes.len());
                let layers: Vec<Layer> = changes[acknowledged..upto].iter().map(layer_of).collect();
                if upto > acknowledged {
                    overlay.add((acknowledged as u64 + 1..).zip(&layers));
                }
                acknowledged = upto;
                let layers = overlay.layers();
                // The view may have been taken when more had been applied, even more than the layers have.
                let shown = (applied + late).min(changes.len() as u64).max(applied);
                let over = Over::new(layers.clone(), shown);
                let number = over.as_ref().map_or(shown, Over::last);
                prop_assert_eq!(number, shown.max(acknowledged as u64));
                let (view, wanted) = (&states[shown as usize], &states[number as usize]);
                let (from, to) = ([low], [low + span]);
                for bounds in [
                    (Bound::Unbounded, Bound::Unbounded),
                    (Bound::Excluded(&from[..]), Bound::Included(&to[..])),
                    (Bound::Included(&from[..]), Bound::Excluded(&to[..])),
                ] {
                    if layer::is_empty(bounds) {
                        continue;
                    }
                    for table in 0..2 {
                        let mut rows = seen(over.as_ref(), view, table, bounds, false);
                        prop_assert_eq!(&rows, &seen(None, wanted, table, bounds, false));
                        rows.reverse();
                        prop_assert_eq!(rows, seen(over.as_ref(), view, table, bounds, true));
                    }
                }
                for key in 0..30 {
                    let found = over.as_ref().and_then(|over| over.get(TABLES[0], &[key]));
                    let found = match found {
                        Some(value) => value.as_ref().map(|value| value[0]),
                        None => view.get(&(0, key)).copied(),
                    };
                    prop_assert_eq!(found, wanted.get(&(0, key)).copied());
                }
                applied = (applied + apply as u64).min(acknowledged as u64);
                overlay.forget(applied);
                prop_assert_eq!(overlay.layers().is_empty(), applied == acknowledged as u64);
            }
        }
    }

    #[test]
    fn many_batches_make_few_layers_and_each_row_moves_seldom() {
        let overlay = Overlay::new(0);
        for number in 1..=5_000_u32 {
            let mut layer = Layer::new();
            let key = Bytes::copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
            layer.entry("one".into()).or_default().insert(key, Some(Bytes::new()));
            overlay.add(std::iter::once((number.into(), &layer)));
            let layers = overlay.layers();
            assert!(layers.0.len() <= 8, "{} layers after {number} batches", layers.0.len());
        }
        let layers = overlay.layers();
        assert_eq!(layers.0.iter().map(|layer| layer.rows).sum::<usize>(), 5_000);
        assert_eq!(layers.last(), 5_000);
        overlay.forget(5_000);
        assert!(overlay.layers().is_empty());
        // A reader that took them before goes on with them.
        assert_eq!(layers.last(), 5_000);
    }
}
