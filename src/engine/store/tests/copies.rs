//! A folder that is copied while it is written to opens to a state that was, or is refused; it never lies.
//!
//! `COPY_RUNS=1000 cargo test --lib copies -- --nocapture` makes more copies than usual and tells what became of them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const ACCOUNTS: Table<u32, i64> = Table::new("accounts");
const NOTES: Table<u32, (u64, Vec<u8>)> = Table::new("notes");
const WRITERS: usize = 4;

fn busy() -> Options {
    Options {
        tables: vec!["accounts", "notes"],
        checkpoint_changes: 400,
        segment_bytes_max: 100_000,
        feed_changes_max: 3_000,
        cache_bytes_max: 1 << 20,
        ..options()
    }
}

/// Numbers that look like chance and are always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What change `number` does: moves an amount from one account to another, and writes or deletes notes.
struct Move {
    from: u32,
    to: u32,
    amount: i64,
    notes: Vec<(u32, Option<usize>)>,
}

fn step(number: u64) -> Move {
    let mut dice = Dice(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    Move {
        from: dice.roll(50) as u32,
        to: dice.roll(50) as u32,
        amount: dice.roll(1_000) as i64,
        notes: (0..4)
            .map(|_| (dice.roll(400) as u32, (dice.roll(4) > 0).then(|| dice.roll(3_000) as usize)))
            .collect(),
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Book {
    number: u64,
    accounts: BTreeMap<u32, i64>,
    notes: BTreeMap<u32, (u64, Vec<u8>)>,
}

impl Book {
    /// The state at change `number`.
    fn turn(&mut self, number: u64) {
        if number < self.number {
            *self = Book::default();
        }
        while self.number < number {
            self.number += 1;
            let Move { from, to, amount, notes } = step(self.number);
            *self.accounts.entry(from).or_default() -= amount;
            *self.accounts.entry(to).or_default() += amount;
            for (key, length) in notes {
                match length {
                    Some(length) => {
                        self.notes.insert(key, (self.number, vec![self.number as u8; length]));
                    }
                    None => drop(self.notes.remove(&key)),
                }
            }
        }
    }

    fn of(store: &Store) -> Book {
        let read = store.read().unwrap();
        Book {
            number: read.number().unwrap(),
            accounts: read.range(&ACCOUNTS, .., usize::MAX).unwrap().into_iter().collect(),
            notes: read.range(&NOTES, .., usize::MAX).unwrap().into_iter().collect(),
        }
    }
}

/// Makes the next change; it need not be durable yet.
fn write(store: &Store) -> Pending {
    let submitted = store.submit(origin(), |tx| {
        let number = tx.number();
        let Move { from, to, amount, notes } = step(number);
        for (account, amount) in [(from, -amount), (to, amount)] {
            let held = tx.get(&ACCOUNTS, &account)?.unwrap_or(0);
            tx.put(&ACCOUNTS, &account, &(held + amount))?;
        }
        notes.iter().try_for_each(|(key, length)| match length {
            Some(length) => tx.put(&NOTES, key, &(number, vec![number as u8; *length])),
            None => tx.delete(&NOTES, key),
        })
    });
    submitted.unwrap().1
}

/// Blocks until the store has made some more changes.
fn pause(store: &Store, changes: u64) {
    let until = store.last_change() + changes;
    let mut watch = store.watch();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(watch.wait_for(|number| *number >= until)).unwrap();
}

/// Copies one file, at once or in pieces with pauses. A file that is gone meanwhile is left out.
fn copy_file(store: &Store, from: &Path, to: &Path, slowly: bool, dice: &mut Dice) {
    if !slowly {
        let _ = std::fs::copy(from, to);
        return;
    }
    let Ok(mut source) = File::open(from) else { return };
    let mut target = OpenOptions::new().write(true).create(true).truncate(true).open(to).unwrap();
    let mut piece = vec![0; 1 << (12 + dice.roll(9))];
    loop {
        let count = source.read(&mut piece).unwrap();
        if count == 0 {
            return;
        }
        target.write_all(&piece[..count]).unwrap();
        if dice.roll(12) == 0 {
            pause(store, 1 + dice.roll(60));
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_copy_of_a_busy_folder_is_a_state_that_was_or_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let live = parent.path().join("live");
    let store = Store::open(&live, busy()).unwrap();
    let (mut opened, mut refused, mut behind) = (0, 0, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let pending: Vec<Pending> = (0..16).map(|_| write(&store)).collect();
                    pending.into_iter().for_each(|pending| pending.wait().unwrap());
                }
            });
        }
        // Writers end also when the test fails.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        pause(&store, 300);
        let mut book = Book::default();
        for run in 0..runs("COPY_RUNS", 30) {
            let mut dice = Dice(u64::from(run) + 77);
            // Into a new folder, or over the files of the last copy.
            let over = run % 3 == 2;
            let target = parent.path().join(if over { "over".into() } else { format!("copy-{run}") });
            std::fs::create_dir_all(&target).unwrap();
            let acknowledged = store.last_change();
            let mut sources = files(&live);
            sources.sort();
            for at in (1..sources.len()).rev() {
                sources.swap(at, dice.roll(at as u64 + 1) as usize);
            }
            let names: Vec<_> = sources.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
            for stale in files(&target) {
                if !names.contains(&stale.file_name().unwrap().to_owned()) {
                    std::fs::remove_file(stale).unwrap();
                }
            }
            for (source, name) in sources.iter().zip(&names) {
                // As one program after another would, or as one that has much else to do.
                let slowly = run % 2 == 1 && dice.roll(2) == 0;
                copy_file(&store, source, &target.join(name), slowly, &mut dice);
            }
            match Store::open(&target, busy()) {
                Ok(copy) => {
                    let found = Book::of(&copy);
                    assert!(found.number >= acknowledged, "run {run}: {} < {acknowledged}", found.number);
                    book.turn(found.number);
                    assert!(found == book, "run {run}: not the state at change {}", found.number);
                    assert_eq!(found.accounts.values().sum::<i64>(), 0);
                    write(&copy).wait().unwrap();
                    opened += 1;
                }
                Err(e) => {
                    assert!(e.message().contains("is a copy of a folder that was in use"), "{}", e.detail());
                    let hint = e.hint_text().unwrap();
                    assert!(hint.contains("`muster backup PATH`") && hint.contains("`muster restore`"));
                    behind += u32::from(e.message().contains("its state holds change"));
                    refused += 1;
                }
            }
            if !over {
                std::fs::remove_dir_all(&target).unwrap();
            }
        }
    });
    println!(
        "copies: {opened} opened whole, {refused} refused ({behind} for a journal behind its state), 0 wrong"
    );
    assert!(opened > 0 && refused > 0);
    // And of a folder at rest, every copy is whole.
    let end = store.last_change();
    drop(store);
    let copied = parent.path().join("at rest");
    std::fs::create_dir(&copied).unwrap();
    copy(&live, &copied);
    let mut book = Book::default();
    book.turn(end);
    assert!(Book::of(&Store::open(&copied, busy()).unwrap()) == book);
    assert!(Book::of(&Store::open(&live, busy()).unwrap()) == book);
}
