//! The store against a map, and keys against their values.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

type Compound = (u32, String, i64);

proptest! {
    #[test]
    fn keys_sort_as_their_values(a: Compound, b: Compound, c: (bool, u128, Vec<u8>, u64), d: (bool, u128, Vec<u8>, u64)) {
        prop_assert_eq!(key::encode(&a).cmp(&key::encode(&b)), a.cmp(&b));
        prop_assert_eq!(key::encode(&c).cmp(&key::encode(&d)), c.cmp(&d));
        let same = (a.0, format!("{}\0{}", a.1, b.1), b.2);
        prop_assert_eq!(key::encode(&same).cmp(&key::encode(&a)), same.cmp(&a));
        prop_assert_eq!(key::decode::<Compound>(&key::encode(&same)).unwrap(), same);
        prop_assert_eq!(key::decode::<(bool, u128, Vec<u8>, u64)>(&key::encode(&c)).unwrap(), c);
        let prefix = key::encode(&(a.0, &*a.1));
        prop_assert!(key::encode(&a).starts_with(&prefix));
        if let Some(after) = key::after_prefix(&prefix) {
            prop_assert!(after > key::encode(&(a.0, a.1.clone(), i64::MAX)));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change { ops: Vec<(u8, Option<u16>)>, fails: bool },
    Look { low: u8, high: u8, limit: usize },
    Checkpoint,
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let ops = prop::collection::vec((0u8..40, prop::option::weighted(0.7, any::<u16>())), 0..6);
    prop_oneof![
        8 => (ops, prop::bool::weighted(0.2)).prop_map(|(ops, fails)| Step::Change { ops, fails }),
        3 => (0u8..40, 0u8..40, 0usize..10).prop_map(|(low, high, limit)| Step::Look { low, high, limit }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

const MODEL: Table<u8, u16> = Table::new("model");

fn look(read: &impl Read, model: &BTreeMap<u8, u16>, low: u8, high: u8, limit: usize) {
    let bounds = (Bound::Excluded(low), Bound::Included(high));
    let expected: Vec<_> =
        model.iter().map(|(k, v)| (*k, *v)).filter(|(k, _)| *k > low && *k <= high).collect();
    let mut back: Vec<_> = expected.iter().rev().copied().take(limit).collect();
    assert_eq!(
        read.range(&MODEL, bounds, limit).unwrap(),
        expected.into_iter().take(limit).collect::<Vec<_>>()
    );
    assert_eq!(read.range_back(&MODEL, bounds, limit).unwrap(), back);
    back.clear();
    assert_eq!(read.get(&MODEL, &low).unwrap(), model.get(&low).copied());
    assert_eq!(read.count(&MODEL, &()).unwrap(), model.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_a_map_does(steps in prop::collection::vec(step(), 1..40)) {
        let parent = tempfile::tempdir().unwrap();
        let small = || Options { checkpoint_changes: 7, segment_bytes_max: 900, ..options() };
        let mut folder = Arc::new(parent.path().join("0"));
        let mut store = Store::open(&folder, small()).unwrap();
        let mut model = BTreeMap::new();
        let mut changes = 0;
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Change { ops, fails } => {
                    let mut next = model.clone();
                    let result = store.submit(origin(), |tx| {
                        for (key, value) in &ops {
                            match value {
                                Some(value) => {
                                    tx.put(&MODEL, key, value)?;
                                    next.insert(*key, *value);
                                }
                                None => {
                                    tx.delete(&MODEL, key)?;
                                    next.remove(key);
                                }
                            }
                        }
                        look(tx, &next, 3, 30, 8);
                        if fails { Err(Error::invalid("no")) } else { Ok(()) }
                    });
                    prop_assert_eq!(result.is_err(), fails);
                    if !fails {
                        model = next;
                        changes += u64::from(!ops.is_empty());
                    }
                }
                Step::Look { low, high, limit } => {
                    // A write that changes nothing waits for all before it.
                    store.write(origin(), |tx| { look(tx, &model, low, high, limit); Ok(()) }).unwrap();
                    look(&store.read().unwrap(), &model, low, high, limit);
                }
                Step::Checkpoint => store.checkpoint().unwrap(),
                Step::Reopen => {
                    drop(store);
                    store = Store::open(&folder, small()).unwrap();
                    look(&store.read().unwrap(), &model, 0, 40, 50);
                }
                Step::Crash => {
                    // All is acknowledged; what is on the disk now is what a crash would leave.
                    store.write(origin(), |_| Ok(())).unwrap();
                    store.checkpoint().unwrap();
                    let next = parent.path().join(format!("{}", at + 1));
                    std::fs::create_dir(&next).unwrap();
                    copy(&folder, &next);
                    drop(store);
                    folder = Arc::new(next);
                    store = Store::open(&folder, small()).unwrap();
                    look(&store.read().unwrap(), &model, 0, 40, 50);
                }
            }
        }
        store.write(origin(), |_| Ok(())).unwrap();
        prop_assert_eq!(store.last_change(), changes);
        look(&store.read().unwrap(), &model, 0, 40, 50);
    }
}
