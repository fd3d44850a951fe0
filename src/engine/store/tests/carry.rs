//! Away and back: what an export gave, restored, is the state that was.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TABLES: [Table<u8, u32>; 3] = [Table::new("one"), Table::new("two"), Table::new("three")];

/// The rows of all tables.
type Model = BTreeMap<(usize, u8), u32>;

/// Chunks as a backup would keep them.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) rows: Vec<Vec<u8>>,
    pub(super) changes: Vec<Vec<u8>>,
}

pub(super) fn export(store: &Store, keep_from: u64, mut between: impl FnMut()) -> (Kept, Exported) {
    let mut kept = Kept::default();
    let exported = store
        .export(keep_from, &mut |part, bytes| {
            match part {
                Part::Rows => kept.rows.push(bytes.to_vec()),
                Part::Changes => kept.changes.push(bytes.to_vec()),
            }
            between();
            Ok(())
        })
        .unwrap();
    (kept, exported)
}

pub(super) fn increment(store: &Store, after: u64) -> (Vec<Vec<u8>>, Exported) {
    let mut chunks = Vec::new();
    let exported = store
        .export_changes(after, u64::MAX, &mut |bytes| {
            chunks.push(bytes.to_vec());
            Ok(())
        })
        .unwrap();
    (chunks, exported)
}

/// Restores a full export and increments on it.
pub(super) fn restore(
    folder: &Path,
    (kept, full): &(Kept, Exported),
    increments: &[(Vec<Vec<u8>>, Exported)],
    until: Until,
    given_up: &mut Vec<Change>,
) -> Result<RestoredStore> {
    let mut restore = Restore::begin(folder, 16 * 1024 * 1024)?;
    kept.rows.iter().try_for_each(|chunk| restore.rows(chunk))?;
    for chunk in &kept.changes {
        restore.changes(chunk, &until, &mut |change| given_up.push(change))?;
    }
    for (chunks, said) in increments {
        for chunk in chunks {
            restore.changes(chunk, &until, &mut |change| given_up.push(change))?;
        }
        restore.check(said)?;
    }
    restore.finish(full)
}

fn model(store: &Store) -> Model {
    let read = store.read().unwrap();
    let mut model = Model::new();
    for (at, table) in TABLES.iter().enumerate() {
        for (key, value) in read.range(table, .., usize::MAX).unwrap() {
            model.insert((at, key), value);
        }
    }
    model
}

type Ops = Vec<(usize, u8, Option<u32>)>;

fn ops() -> impl Strategy<Value = Ops> {
    prop::collection::vec((0usize..3, 0u8..24, prop::option::weighted(0.7, any::<u32>())), 1..6)
}

/// A store and what it must show after each change.
struct History {
    store: Store,
    states: Vec<Model>,
    at: Vec<i64>,
}

impl History {
    fn change(&mut self, ops: &Ops) {
        let mut next = self.states.last().unwrap().clone();
        // Instants do not fall, and now and then two changes share one.
        let at = self.at.last().unwrap() + (ops.len() as i64 % 3) * 100;
        let origin = Origin { at: Timestamp::from_milliseconds(at), ..origin() };
        let ((), pending) = self
            .store
            .submit(origin, |tx| {
                for (table, key, value) in ops {
                    match value {
                        Some(value) => {
                            tx.put(&TABLES[*table], key, value)?;
                            next.insert((*table, *key), *value);
                        }
                        None => {
                            tx.delete(&TABLES[*table], key)?;
                            next.remove(&(*table, *key));
                        }
                    }
                }
                Ok(())
            })
            .unwrap();
        pending.wait().unwrap();
        self.states.push(next);
        self.at.push(at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: runs("PROPTEST_CASES", 16), ..ProptestConfig::default() })]
    #[test]
    fn a_restore_gives_the_state_of_any_instant(
        before in prop::collection::vec(ops(), 0..20),
        during in prop::collection::vec(ops(), 0..12),
        after in prop::collection::vec(prop::collection::vec(ops(), 0..8), 0..4),
        keep_back in 0u64..30,
        wanted in any::<prop::sample::Index>(),
        by_number in any::<bool>(),
    ) {
        let parent = tempfile::tempdir().unwrap();
        let small = || Options { checkpoint_changes: 5, segment_bytes_max: 900, ..options() };
        let start = 1_790_000_000_000;
        let mut history = History {
            store: Store::open(&parent.path().join("live"), small()).unwrap(),
            states: vec![Model::new()],
            at: vec![start],
        };
        before.iter().for_each(|ops| history.change(ops));
        let store = history.store.clone();
        let keep_from = store.last_change().saturating_sub(keep_back);
        let mut waiting = during.iter();
        let full = export(&store, keep_from, || {
            waiting.by_ref().take(3).for_each(|ops| history.change(ops));
        });
        prop_assert!(full.1.last >= full.1.from);
        let mut increments = Vec::new();
        let mut last = full.1.last;
        for changes in &after {
            changes.iter().for_each(|ops| history.change(ops));
            increments.push(increment(&store, last));
            last = increments.last().unwrap().1.last;
        }
        let end = last;
        prop_assert_eq!(end, if after.is_empty() { full.1.last } else { store.last_change() });
        let number = full.1.last + wanted.index((end - full.1.last + 1) as usize) as u64;
        let (until, number) = if by_number {
            (Until::Change(number), number)
        } else {
            let at = history.at[number as usize];
            let number = (full.1.last..=end).take_while(|n| history.at[*n as usize] <= at).last().unwrap();
            (Until::At(Timestamp::from_milliseconds(at)), number)
        };
        for (name, until, number) in [("wanted", until, number), ("end", Until::End, end)] {
            let folder = parent.path().join(name);
            let mut given_up = Vec::new();
            let done = restore(&folder, &full, &increments, until, &mut given_up).unwrap();
            prop_assert_eq!(done.last, number);
            let numbers: Vec<u64> = given_up.iter().map(|change| change.number).collect();
            prop_assert_eq!(numbers, (number + 1..=end).collect::<Vec<_>>());
            if number > 0 {
                prop_assert_eq!(done.at.milliseconds(), history.at[number as usize]);
            }
            let restored = Store::open(&folder, small()).unwrap();
            prop_assert_eq!(model(&restored), history.states[number as usize].clone());
            prop_assert_eq!((restored.last_change(), restored.stats().replayed), (number, 0));
            restored.verify().unwrap();
            let first = restored.first_change();
            prop_assert!(first <= keep_from.max(1));
            let feed = restored.changes(first - 1, 1_000).unwrap();
            let same: Vec<Change> = store
                .changes(first - 1, 1_000)
                .unwrap()
                .into_iter()
                .take_while(|change| change.number <= number)
                .collect();
            prop_assert_eq!(feed, same);
            restored.write(origin(), |tx| tx.put(&TABLES[0], &200, &7)).unwrap();
            prop_assert_eq!(restored.last_change(), number + 1);
            drop(restored);
            let again = Store::open(&folder, small()).unwrap();
            prop_assert_eq!(again.read().unwrap().get(&TABLES[0], &200).unwrap(), Some(7));
        }
    }
}
