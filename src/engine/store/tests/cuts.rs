//! The store on a disk that loses power, fills up and breaks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::engine::crypto::DataSeal;
use crate::engine::journal::powercut::{Dice, Faults, SimDisk, each_seed};

const ROWS: Table<u32, Vec<u8>> = Table::new("rows");
const KEYS: u64 = 60;

type Rows = BTreeMap<u32, Vec<u8>>;

/// The rows after every change that was tried, and what was acknowledged.
#[derive(Default)]
struct Model {
    after: BTreeMap<u64, Rows>,
    acknowledged: u64,
}

impl Model {
    fn at(&self, number: u64) -> Rows {
        self.after.get(&number).cloned().unwrap_or_default()
    }
}

thread_local! {
    /// Where migrations note what they do; they are plain functions.
    static NOTES: RefCell<Arc<Mutex<Model>>> = RefCell::default();
}

fn step(tx: &mut Tx, model: &Mutex<Model>, ops: &[(u32, Option<Vec<u8>>)]) -> Result<u64> {
    let number = tx.number();
    let mut model = model.lock();
    let mut rows = model.at(number - 1);
    for (key, value) in ops {
        match value {
            Some(value) => {
                tx.put(&ROWS, key, value)?;
                rows.insert(*key, value.clone());
            }
            None => {
                tx.delete(&ROWS, key)?;
                rows.remove(key);
            }
        }
    }
    model.after.insert(number, rows);
    Ok(number)
}

fn migration(version: u32) -> Migration {
    let run: fn(&mut Tx) -> Result<()> = |tx| {
        let notes = NOTES.with(|notes| notes.borrow().clone());
        let old: Vec<(u32, Vec<u8>)> = tx.range(&ROWS, .., 5)?;
        let mut ops: Vec<_> =
            old.into_iter().map(|(key, value)| (key, Some([value, vec![1]].concat()))).collect();
        ops.push((1_000, Some(vec![2])));
        step(tx, &notes, &ops).map(|_| ())
    };
    Migration { version, name: "a step", run }
}

fn options(disk: &SimDisk, dice: &mut Dice, version: u32, key: Option<u8>) -> Options {
    Options {
        seal: key.map(|key| DataSeal::of(key) as Arc<dyn Seal>),
        checkpoint_changes: 2 + dice.below(12),
        segment_bytes_max: 500 + dice.below(4_000),
        feed_changes_max: 3 + dice.below(40),
        cache_bytes_max: 1024 * 1024,
        migrations: (1..=version).map(migration).collect(),
        disk: Arc::new(disk.clone()),
        ..super::options()
    }
}

fn rows_of(read: &Snapshot) -> Rows {
    read.range(&ROWS, .., usize::MAX).unwrap().into_iter().collect()
}

/// Writers until their work is done or the disk fails them.
fn work(store: &Store, model: &Arc<Mutex<Model>>, dice: &mut Dice) {
    std::thread::scope(|scope| {
        for writer in 0..1 + dice.below(3) {
            let mut dice = Dice::new(dice.roll() ^ writer);
            scope.spawn(move || {
                for _ in 0..3 + dice.below(12) {
                    let mut waiting = Vec::new();
                    for _ in 0..1 + dice.below(3) {
                        let ops: Vec<_> = (0..1 + dice.below(4)).map(|_| op(&mut dice)).collect();
                        if let Ok(queued) = store.submit(origin(), |tx| step(tx, model, &ops)) {
                            waiting.push(queued);
                        }
                    }
                    for (number, pending) in waiting {
                        if pending.wait().is_ok() {
                            let mut model = model.lock();
                            model.acknowledged = model.acknowledged.max(number);
                        }
                    }
                    if dice.chance(10) {
                        let _ = store.checkpoint();
                    }
                    look(store, model);
                }
            });
        }
    });
}

fn op(dice: &mut Dice) -> (u32, Option<Vec<u8>>) {
    let key = dice.below(KEYS) as u32;
    let value = (!dice.chance(25)).then(|| {
        let mut value = dice.roll().to_le_bytes().to_vec();
        value.resize(8 + dice.below([8, 100, 3_000][dice.clone().below(3) as usize]) as usize, 7);
        value
    });
    (key, value)
}

/// A reader sees whole changes only. A read may fail on a broken disk, but not lie.
fn look(store: &Store, model: &Mutex<Model>) {
    let Ok(snapshot) = store.read() else { return };
    let (Ok(number), Ok(rows)) = (snapshot.number(), snapshot.range(&ROWS, .., usize::MAX)) else { return };
    assert_eq!(
        rows.into_iter().collect::<Rows>(),
        model.lock().at(number),
        "what is seen at change {number}"
    );
}

fn check(store: &Store, model: &Mutex<Model>) {
    // So that none is made, and no segment goes, while the feed is read below.
    store.checkpoint().unwrap();
    let last = store.last_change();
    let model = model.lock();
    assert!(last >= model.acknowledged, "change {} was acknowledged, {last} is the last", model.acknowledged);
    assert_eq!(rows_of(&store.read().unwrap()), model.at(last), "the rows at change {last}");
    let first = store.0.shared.journal.first_number();
    let mut rows = model.at(first - 1);
    for change in store.changes(first - 1, FEED_CHANGES_MAX).unwrap() {
        for op in change.ops() {
            match op.of(&ROWS).transpose().unwrap() {
                Some((key, Some(value))) => drop(rows.insert(key, value)),
                Some((key, None)) => drop(rows.remove(&key)),
                None => {}
            }
        }
        assert_eq!(rows, model.at(change.number), "the feed at change {}", change.number);
    }
    assert_eq!(rows, model.at(last));
}

fn run(seed: u64) {
    let key = (seed % 2 == 1).then_some(1);
    let folder = Path::new("/sim");
    let mut dice = Dice::new(seed);
    let mut disk = SimDisk::new(seed);
    let model = Arc::new(Mutex::new(Model::default()));
    NOTES.set(model.clone());
    let rounds = 1 + dice.below(3) as u32;
    for version in 0..rounds {
        let mut faults = Faults::default();
        let at = Some(1 + dice.below([40, 200][dice.clone().below(2) as usize]));
        match dice.below(8) {
            0 => faults.sync_at = Some(1 + dice.below(40)),
            1 => faults.full_at = at,
            2 => faults.read_at = Some(1 + dice.below(60)),
            _ => faults.cut_at = at,
        }
        disk.fail(faults);
        if let Ok(store) = Store::open(folder, options(&disk, &mut dice, version, key)) {
            work(&store, &model, &mut dice);
            if disk.is_dead() || disk.sync_failed() && store.stats().last_error.is_some() {
                assert!(put(&store, 1, "after").is_err(), "a write after the disk had failed");
            }
        }
        assert_eq!(disk.retried(), 0, "written after a failed sync");
        let outcome = dice.roll();
        let next = match disk.is_dead() || dice.chance(30) {
            true => disk.after_cut(outcome),
            false => disk.restarted(outcome),
        };
        if dice.chance(50) {
            let other = disk.after_cut(dice.roll());
            let kept = model.lock().after.clone();
            check(&Store::open(folder, options(&other, &mut dice, version, key)).unwrap(), &model);
            model.lock().after = kept;
        }
        disk = next;
    }
    let store = Store::open(folder, options(&disk, &mut dice, rounds, key)).unwrap();
    check(&store, &model);
    let ops = [(1, Some(vec![9]))];
    let number = store.write(origin(), |tx| step(tx, &model, &ops)).unwrap();
    model.lock().acknowledged = number;
    check(&store, &model);
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    each_seed(1_000, run);
}

fn sealed(disk: &SimDisk, key: Option<u8>) -> Options {
    options(disk, &mut Dice::new(3), 0, key)
}

fn filled(key: Option<u8>) -> SimDisk {
    let disk = SimDisk::new(1);
    let store = Store::open(Path::new("/sim"), sealed(&disk, key)).unwrap();
    for number in 0..200 {
        put(&store, number, &format!("very private {number}")).unwrap();
    }
    disk
}

#[test]
fn a_failed_sync_is_told_to_who_watches() {
    let disk = SimDisk::new(1);
    let store = Store::open(Path::new("/sim"), sealed(&disk, None)).unwrap();
    let watch = store.watch_failure();
    put(&store, 1, "one").unwrap();
    assert!(watch.borrow().is_none());
    store.break_disk();
    assert!(put(&store, 2, "two").is_err());
    assert!(watch.borrow().as_deref().unwrap().contains("broken"));
    assert_eq!(all(&store).len(), 1);
}

#[test]
fn a_sealed_store_tells_nothing_and_says_what_it_is() {
    let (plain, disk) = (filled(None), filled(Some(1)));
    for (path, bytes) in disk.contents() {
        let told = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
        assert!(!told(b"very private") && !told(b"plain.change"), "{}", path.display());
    }
    assert!(plain.contents().iter().any(|(_, bytes)| bytes.windows(12).any(|part| part == b"very private")));
    let store = Store::open(Path::new("/sim"), sealed(&disk, Some(1))).unwrap();
    assert_eq!((all(&store).len(), store.last_change()), (200, 200));
    store.verify().unwrap();
    drop(store);
    let error =
        |disk, key| Store::open(Path::new("/sim"), sealed(disk, key)).err().unwrap().message().to_owned();
    assert!(error(&disk, None).contains("is sealed, and sealing is switched off"));
    assert!(error(&plain, Some(1)).contains("is not sealed, and sealing is switched on"));
    assert!(error(&disk, Some(2)).contains("sealed with another key"));
}

#[test]
fn a_flipped_bit_of_a_sealed_store_is_refused_or_harmless() {
    let disk = filled(Some(1));
    let rows = all(&Store::open(Path::new("/sim"), sealed(&disk, Some(1))).unwrap());
    let (path, bytes) = disk.contents().into_iter().find(|(path, _)| path.ends_with("state.redb")).unwrap();
    let mut dice = Dice::new(5);
    let mut refused = 0;
    for _ in 0..150 {
        let other = disk.restarted(2);
        other.flip(&path, dice.below(bytes.len() as u64) as usize, dice.below(8) as u8);
        let Ok(store) = Store::open(Path::new("/sim"), sealed(&other, Some(1))) else {
            refused += 1;
            continue;
        };
        let read = store.read().and_then(|read| read.range(&PLAIN, .., usize::MAX));
        match read {
            Ok(read) => assert_eq!(read, rows),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "no bit hit a page in use");
}
