//! Acknowledgements overtake redb: what is acknowledged and not applied is seen, kept, limited and given away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use proptest::prelude::*;

use super::*;
use crate::engine::journal::powercut::{Dice, Gate, SimDisk};

const ACCOUNTS: Table<u32, i64> = Table::new("accounts");
/// The number of the change that was the last to write.
const MARK: Table<(), u64> = Table::new("mark");
/// Rows that come and go: one of each pair is there.
const PAIRS: Table<(u32, bool), u64> = Table::new("pairs");

fn folder() -> &'static Path {
    Path::new("/sim")
}

fn on(disk: &SimDisk) -> Options {
    Options { disk: Arc::new(disk.clone()), ..options() }
}

/// A store with ten rows, whose checkpoint of them is held up in redb's sync.
fn held(options: impl FnOnce(Options) -> Options) -> (SimDisk, Store, Gate) {
    let disk = SimDisk::new(1);
    let store = Store::open(folder(), options(on(&disk))).unwrap();
    (0..10).for_each(|key| put(&store, key, "before").unwrap());
    let gate = hold(&disk, &store);
    (disk, store, gate)
}

/// Begins a checkpoint that does not end before the gate is opened.
fn hold(disk: &SimDisk, store: &Store) -> Gate {
    let gate = disk.hold_syncs(&folder().join("state.redb"));
    let asked = store.clone();
    // Nobody waits for its end but the thread itself.
    std::thread::spawn(move || asked.checkpoint());
    gate.reached();
    gate
}

/// Opens the gate also when the test fails, so that it ends.
struct Opening(Gate);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Changes that redb does not have.
fn behind(store: &Store) -> u64 {
    store.last_change() - store.0.shared.state.view().unwrap().last().unwrap()
}

#[test]
fn writes_are_acknowledged_and_seen_while_a_checkpoint_is_held_up() {
    let (_disk, store, gate) = held(|options| options);
    let _opening = Opening(gate.clone());
    let before = store.read().unwrap();
    for number in 0..200_u32 {
        put(&store, 5 + number % 20, &number.to_string()).unwrap();
        assert_eq!(store.last_change(), u64::from(number) + 11);
        let read = store.read().unwrap();
        assert_eq!(read.number().unwrap(), u64::from(number) + 11);
        assert_eq!(read.get(&PLAIN, &(5 + number % 20)).unwrap(), Some(number.to_string()));
    }
    store.write(origin(), |tx| tx.delete(&PLAIN, &0)).unwrap();
    store.write(origin(), |tx| tx.delete(&PLAIN, &24)).unwrap();
    assert_eq!(behind(&store), 202);
    let read = store.read().unwrap();
    let mut expected: Vec<(u32, String)> = (1..5).map(|key| (key, "before".into())).collect();
    expected.extend((5..24).map(|key| (key, (180 + key - 5).to_string())));
    assert_eq!(read.range(&PLAIN, .., 100).unwrap(), expected);
    expected.reverse();
    assert_eq!(read.range_back(&PLAIN, .., 100).unwrap(), expected);
    assert_eq!(read.range(&PLAIN, 3..7, 3).unwrap().last().unwrap().1, "180");
    assert_eq!((read.has(&PLAIN, &0).unwrap(), read.count(&PLAIN, &()).unwrap()), (false, 23));
    // A write reads the same, and a snapshot stays what it was.
    store
        .write(origin(), |tx| {
            assert_eq!(tx.count(&PLAIN, &())?, 23);
            assert_eq!(tx.get(&PLAIN, &23)?.as_deref(), Some("198"));
            Ok(())
        })
        .unwrap();
    assert_eq!((before.number().unwrap(), before.count(&PLAIN, &()).unwrap()), (10, 10));
    assert_eq!(store.changes(10, 1_000).unwrap().len(), 202);
    gate.open();
    store.checkpoint().unwrap();
    assert_eq!((behind(&store), read.number().unwrap()), (0, 212));
    assert!(store.0.shared.overlay.layers().is_empty());
    assert_eq!(read.range_back(&PLAIN, .., 100).unwrap(), expected);
    assert_eq!(store.read().unwrap().range_back(&PLAIN, .., 100).unwrap(), expected);
}

#[test]
fn what_is_acknowledged_and_not_applied_survives_a_crash() {
    let (disk, store, gate) = held(|options| options);
    let _opening = Opening(gate);
    (0..100).for_each(|number| put(&store, 100 + number, "after").unwrap());
    assert_eq!(behind(&store), 100);
    for seed in 0..20 {
        let store = Store::open(folder(), on(&disk.after_cut(seed))).unwrap();
        assert_eq!((store.last_change(), all(&store).len()), (110, 110));
        assert!(store.stats().replayed >= 100);
        store.verify().unwrap();
    }
}

#[test]
fn a_checkpoint_that_fails_hides_nothing_and_refuses_what_comes() {
    let (disk, store, gate) = held(|options| options);
    let _opening = Opening(gate.clone());
    (0..100).for_each(|number| put(&store, 100 + number, "after").unwrap());
    let failure = store.watch_failure();
    disk.fail_next_sync();
    gate.open();
    assert_eq!(store.checkpoint().unwrap_err().kind(), Kind::Unavailable);
    assert!(failure.borrow().is_some());
    assert_eq!(put(&store, 1, "late").unwrap_err().kind(), Kind::Unavailable);
    assert_eq!((store.last_change(), all(&store).len()), (110, 110));
    assert_eq!(store.read().unwrap().number().unwrap(), 110);
    assert_eq!(store.changes(0, 1_000).unwrap().len(), 110);
    drop(store);
    assert_eq!(disk.retried(), 0);
    let store = Store::open(folder(), on(&disk.restarted(3))).unwrap();
    assert_eq!((store.last_change(), all(&store).len()), (110, 110));
}

#[test]
fn a_failed_journal_leaves_what_it_acknowledged_in_sight() {
    let (_disk, store, gate) = held(|options| options);
    let _opening = Opening(gate.clone());
    (0..50).for_each(|number| put(&store, 100 + number, "after").unwrap());
    store.break_disk();
    assert!(put(&store, 1, "late").is_err());
    gate.open();
    assert_eq!((store.last_change(), all(&store).len()), (60, 60));
    // Looking and giving away go on, and do not wait for what will never be applied.
    store.verify().unwrap();
    let (kept, exported) = carry::export(&store, u64::MAX, || ());
    assert_eq!(exported.last, 60);
    let back = tempfile::tempdir().unwrap();
    let copy = back.path().join("copy");
    carry::restore(&copy, &(kept, exported), &[], Until::End, &mut Vec::new()).unwrap();
    assert_eq!(all(&open(&copy)), all(&store));
}

#[test]
fn an_export_has_what_is_not_applied() {
    let disk = SimDisk::new(1);
    let store = Store::open(folder(), on(&disk)).unwrap();
    (0..10).for_each(|key| put(&store, key, "before").unwrap());
    let mut opening = None;
    let (kept, exported) = carry::export(&store, u64::MAX, || {
        if opening.is_none() {
            opening = Some(Opening(hold(&disk, &store)));
        }
        (0..20).for_each(|number| put(&store, 5 + number, "during").unwrap());
    });
    assert!(exported.from == 10 && exported.last >= 50 && behind(&store) >= 40, "{exported:?}");
    let expected = all(&store);
    let after = carry::increment(&store, exported.last);
    drop(opening);
    let back = tempfile::tempdir().unwrap();
    let copy = back.path().join("copy");
    carry::restore(&copy, &(kept, exported), &[after], Until::End, &mut Vec::new()).unwrap();
    assert_eq!(all(&open(&copy)), expected);
}

#[test]
fn what_waits_to_be_applied_is_limited_in_number_and_bytes() {
    for (changes, bytes) in [(20, usize::MAX), (10_000, 4_000)] {
        let (_disk, store, gate) =
            held(|options| Options { waiting_changes_max: changes, waiting_bytes_max: bytes, ..options });
        let _opening = Opening(gate.clone());
        let (tell, told) = mpsc::channel();
        let writer = std::thread::spawn({
            let store = store.clone();
            move || {
                for number in 0..100 {
                    put(&store, number, &"x".repeat(200)).unwrap();
                    let _ = tell.send(number);
                }
            }
        });
        // Room for so many, and no more; then all go through.
        let most = changes.min(bytes / 200);
        let first = told.recv().unwrap();
        assert_eq!(first, 0);
        while behind(&store) < most as u64 / 2 {
            told.recv().unwrap();
        }
        let waiting = || store.0.shared.queue.lock().waiting;
        assert!(waiting() <= most, "{} wait", waiting());
        gate.open();
        while told.recv().is_ok() {
            assert!(waiting() <= most, "{} wait", waiting());
        }
        writer.join().unwrap();
        store.checkpoint().unwrap();
        let queue = store.0.shared.queue.lock();
        assert_eq!((queue.waiting, queue.waiting_bytes, store.last_change()), (0, 0, 110));
    }
}

#[test]
fn a_disk_without_room_puts_a_checkpoint_off_and_says_so() {
    let disk = SimDisk::new(1);
    let store = Store::open(folder(), on(&disk)).unwrap();
    put(&store, 1, "one").unwrap();
    disk.set_free(1_000);
    let error = store.checkpoint().unwrap_err();
    assert!(error.message().contains("disk is full"), "{}", error.message());
    assert!(put(&store, 2, "two").is_err());
    disk.set_free(u64::MAX);
    put(&store, 2, "two").unwrap();
    store.checkpoint().unwrap();
    assert_eq!(all(&store).len(), 2);
    disk.set_free(1_000);
    drop(store);
    assert_eq!(all(&Store::open(folder(), on(&disk.restarted(1))).unwrap()).len(), 2);
}

fn transfer(tx: &mut Tx, dice: &mut Dice) -> Result<()> {
    let (from, to) = (dice.below(8) as u32, dice.below(8) as u32);
    let amount = dice.below(100) as i64;
    let number = tx.number();
    for (account, by) in [(from, -amount), (to, amount)] {
        let have = tx.get(&ACCOUNTS, &account)?.unwrap_or(0);
        tx.put(&ACCOUNTS, &account, &(have + by))?;
    }
    let pair = dice.below(6) as u32;
    let there = tx.has(&PAIRS, &(pair, true))?;
    tx.delete(&PAIRS, &(pair, there))?;
    tx.put(&PAIRS, &(pair, !there), &number)?;
    assert_eq!(tx.count(&PAIRS, &pair)?, 1);
    tx.put(&MARK, &(), &number)
}

/// What must hold of the state at any one change.
fn consistent(read: &Snapshot, last: u64) -> u64 {
    let number = read.number().unwrap();
    assert!(number >= last, "a snapshot at {number} after change {last} was acknowledged");
    assert_eq!(read.get(&MARK, &()).unwrap().unwrap_or(0), number);
    let mut rows = read.range(&ACCOUNTS, .., 100).unwrap();
    assert_eq!(rows.iter().map(|(_, have)| have).sum::<i64>(), 0, "at {number}: {rows:?}");
    for (account, have) in &rows {
        assert_eq!(read.get(&ACCOUNTS, account).unwrap(), Some(*have));
    }
    rows.reverse();
    assert_eq!(read.range_back(&ACCOUNTS, .., 100).unwrap(), rows);
    let pairs = read.range(&PAIRS, .., 100).unwrap();
    let mut back = read.range_back(&PAIRS, .., 100).unwrap();
    back.reverse();
    assert_eq!(pairs, back);
    assert!(pairs.windows(2).all(|two| two[0].0.0 < two[1].0.0), "both of a pair at {number}: {pairs:?}");
    assert!(pairs.iter().all(|(_, by)| *by <= number));
    number
}

proptest! {
    #![proptest_config(ProptestConfig { cases: runs("PROPTEST_CASES", 12), ..ProptestConfig::default() })]
    #[test]
    fn every_snapshot_is_the_state_at_its_number(seed in any::<u64>(), checkpoint_changes in 1u64..30, bits in any::<u16>()) {
        let disk = SimDisk::new(seed);
        let limits = Options { checkpoint_changes, waiting_changes_max: 3 + bits as usize % 200, ..on(&disk) };
        let store = Store::open(folder(), limits).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3).map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    let mut dice = Dice::new(seed ^ writer);
                    for _ in 0..80 {
                        let number = store.write(origin(), |tx| {
                            transfer(tx, &mut dice)?;
                            Ok(tx.number())
                        }).unwrap();
                        consistent(&store.read().unwrap(), number);
                    }
                })
            }).collect();
            let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| {
                let (mut last, mut older) = (0, None);
                while !done.load(Ordering::Relaxed) {
                    let acknowledged = store.last_change();
                    let read = store.read().unwrap();
                    last = consistent(&read, acknowledged.max(last));
                    // One that has been held for a while still shows what it showed.
                    if let Some((old, at)) = older.replace((read, last)) {
                        assert_eq!(consistent(&old, 0), at);
                    }
                }
            })).collect();
            let broken: Vec<_> = writers.into_iter().filter_map(|writer| writer.join().err()).collect();
            done.store(true, Ordering::Relaxed);
            let broken = broken.into_iter().chain(readers.into_iter().filter_map(|reader| reader.join().err()));
            assert_eq!(broken.count(), 0);
        });
        prop_assert_eq!(store.last_change(), 240);
        drop(store);
        let store = Store::open(folder(), on(&disk.after_cut(seed))).unwrap();
        prop_assert_eq!(consistent(&store.read().unwrap(), 240), 240);
    }
}
