//! The journal on a disk that loses power, fills up and breaks.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use super::*;
use crate::engine::crypto::DataSeal;
use crate::engine::journal::powercut::{Dice, Faults, SimDisk, each_seed};

#[derive(Default)]
struct Model {
    /// What each number was last given.
    given: BTreeMap<u64, Vec<u8>>,
    acknowledged: BTreeSet<u64>,
    /// Records before this may be gone.
    removed: u64,
}

fn options(disk: &SimDisk, dice: &mut Dice, seal: &Option<Arc<dyn Seal>>) -> Options {
    Options {
        seal: seal.clone(),
        segment_bytes_max: 200 + dice.below(3_000),
        disk: Arc::new(disk.clone()),
        ..Options::new("a")
    }
}

fn payload(dice: &mut Dice) -> Vec<u8> {
    let bytes = [10, 60, 500, 3_000][dice.below(4) as usize];
    let mut payload = dice.roll().to_le_bytes().to_vec();
    payload.resize(8 + dice.below(bytes) as usize, 0xA5);
    payload
}

/// Writers until their work is done or the disk fails them.
fn work(journal: &Journal, model: &Mutex<Model>, dice: &mut Dice) {
    let writers = 1 + dice.below(3);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let mut dice = Dice::new(dice.roll() ^ writer);
            scope.spawn(move || {
                for _ in 0..2 + dice.below(10) {
                    let mut tickets = Vec::new();
                    for _ in 0..1 + dice.below(4) {
                        let payload = payload(&mut dice);
                        let mut model = model.lock();
                        if let Ok(ticket) = journal.append(&payload) {
                            model.given.insert(ticket.number(), payload);
                            tickets.push(ticket);
                        }
                    }
                    for ticket in tickets {
                        if ticket.wait().is_ok() {
                            model.lock().acknowledged.insert(ticket.number());
                        }
                    }
                    if dice.chance(15) {
                        let upto = dice.below(journal.last_number() + 1);
                        let mut model = model.lock();
                        model.removed = model.removed.max(upto);
                        drop(model);
                        let _ = journal.remove_before(upto);
                    }
                }
            });
        }
    });
}

fn check(journal: &Journal, recovered: &Recovered, model: &Model) {
    let newest = model.acknowledged.last().copied().unwrap_or(0);
    assert!(recovered.last >= newest, "record {newest} was acknowledged, {} is the last", recovered.last);
    assert!(recovered.first <= model.removed.max(1), "{recovered:?} but removed {}", model.removed);
    let mut next = recovered.first;
    journal
        .replay(recovered.first, |number, payload| {
            assert_eq!((number, payload), (next, &model.given[&number][..]));
            next += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(next, recovered.last + 1);
}

fn run(seed: u64) {
    let seal: Option<Arc<dyn Seal>> = (seed % 2 == 1).then(|| DataSeal::of(1) as Arc<dyn Seal>);
    let folder = Path::new("/sim");
    let mut dice = Dice::new(seed);
    let mut disk = SimDisk::new(seed);
    let model = Mutex::new(Model::default());
    for _ in 0..1 + dice.below(3) {
        let mut faults = Faults::default();
        let at = Some(1 + dice.below(60));
        match dice.below(8) {
            0 => faults.sync_at = Some(1 + dice.below(25)),
            1 => faults.full_at = at,
            2 => faults.read_at = Some(1 + dice.below(20)),
            _ => faults.cut_at = at,
        }
        disk.fail(faults);
        if let Ok((journal, recovered)) = Journal::open(folder, options(&disk, &mut dice, &seal)) {
            check_unless_broken(&journal, &recovered, &model, &disk);
            work(&journal, &model, &mut dice);
            if disk.sync_failed() && journal.failed().is_some() {
                assert!(journal.append(b"after").is_err(), "an append after a failed sync");
            }
        }
        assert_eq!(disk.retried(), 0, "written after a failed sync");
        let outcome = dice.roll();
        let next = match disk.is_dead() || dice.chance(30) {
            true => disk.after_cut(outcome),
            false => disk.restarted(outcome),
        };
        // Any other outcome of the same cut must open as well.
        for _ in 0..2 {
            let other = disk.after_cut(dice.roll());
            let (journal, recovered) = Journal::open(folder, options(&other, &mut dice, &seal)).unwrap();
            check(&journal, &recovered, &model.lock());
        }
        disk = next;
    }
    let (journal, recovered) = Journal::open(folder, options(&disk, &mut dice, &seal)).unwrap();
    check(&journal, &recovered, &model.lock());
    let ticket = journal.append(b"goes on").unwrap();
    assert_eq!(ticket.number(), recovered.last + 1);
    ticket.wait().unwrap();
}

fn check_unless_broken(journal: &Journal, recovered: &Recovered, model: &Mutex<Model>, disk: &SimDisk) {
    if disk.contents().is_empty() || disk.is_dead() {
        return;
    }
    let model = model.lock();
    assert!(recovered.last >= model.acknowledged.last().copied().unwrap_or(0));
    let _ = journal.replay(recovered.first, |number, payload| {
        assert_eq!(payload, &model.given[&number][..]);
        Ok(())
    });
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_goes() {
    each_seed(2_000, run);
}

#[test]
fn a_full_disk_refuses_and_goes_on() {
    let disk = SimDisk::new(1);
    let mut dice = Dice::new(1);
    let (journal, _) = Journal::open(Path::new("/sim"), options(&disk, &mut dice, &None)).unwrap();
    journal.append(b"1").unwrap().wait().unwrap();
    disk.set_free(1_000);
    let error = journal.append(b"2").map(|_| ()).unwrap_err();
    assert!(error.message().contains("disk is full"), "{error}");
    assert_eq!(journal.failed(), None);
    disk.set_free(u64::MAX);
    let ticket = journal.append(b"2").unwrap();
    ticket.wait().unwrap();
    assert_eq!((ticket.number(), disk.operations() > 0), (2, true));
}

fn sealed(disk: &SimDisk, key: Option<u8>) -> Options {
    let seal = key.map(|key| DataSeal::of(key) as Arc<dyn Seal>);
    options(disk, &mut Dice::new(3), &seal)
}

fn open_error(disk: &SimDisk, key: Option<u8>) -> String {
    let error = Journal::open(Path::new("/sim"), sealed(disk, key)).err().unwrap();
    assert!(error.hint_text().is_some());
    error.message().to_owned()
}

#[test]
fn a_sealed_journal_tells_nothing_and_says_what_it_is() {
    let folder = Path::new("/sim");
    let (plain, disk) = (SimDisk::new(1), SimDisk::new(2));
    for (disk, key) in [(&plain, None), (&disk, Some(1))] {
        let (journal, _) = Journal::open(folder, sealed(disk, key)).unwrap();
        for number in 0..40 {
            journal.append(format!("very private {number}").as_bytes()).unwrap().wait().unwrap();
        }
    }
    let (_, last) = Journal::open(folder, sealed(&plain, None)).unwrap();
    let (journal, recovered) = Journal::open(folder, sealed(&disk, Some(1))).unwrap();
    assert_eq!((recovered.last, &recovered), (40, &last));
    // The chain is that of a plain journal, so that what is carried elsewhere fits there.
    let (other, _) = Journal::open(folder, sealed(&plain, None)).unwrap();
    assert_eq!(journal.hash(40).unwrap(), other.hash(40).unwrap());
    let mut next = 1;
    journal
        .replay_raw(1, &mut |raw| {
            assert_eq!((raw.number, raw.payload()), (next, format!("very private {}", next - 1).as_bytes()));
            next += 1;
            Ok(true)
        })
        .unwrap();
    for (path, bytes) in disk.contents() {
        let told = bytes.windows(12).any(|part| part == b"very private");
        assert!(!told, "{}", path.display());
    }
    assert!(open_error(&disk, None).contains("is sealed, and sealing is switched off"));
    assert!(open_error(&plain, Some(1)).contains("is not sealed, and sealing is switched on"));
    assert!(open_error(&disk, Some(2)).contains("sealed with another key"));
}

#[test]
fn no_flipped_bit_of_a_sealed_journal_goes_unseen() {
    let folder = Path::new("/sim");
    let disk = SimDisk::new(1);
    let (journal, _) =
        Journal::open(folder, Options { segment_bytes_max: 1 << 20, ..sealed(&disk, Some(1)) }).unwrap();
    for number in 0..6 {
        journal.append(format!("record {number}").as_bytes()).unwrap().wait().unwrap();
    }
    drop(journal);
    let (path, bytes) = disk.contents().remove(0);
    let record = (bytes.len() - record::header_bytes(true)) / 6;
    for at in 0..bytes.len() {
        let other = disk.restarted(2);
        other.flip(&path, at, (at % 8) as u8);
        match Journal::open(folder, sealed(&other, Some(1))) {
            // The very last record may have been torn by a crash.
            Ok((_, recovered)) => assert_eq!((recovered.last, at >= bytes.len() - record), (5, true)),
            Err(e) => assert!(e.message().contains("journal") || e.message().contains("key"), "{e}"),
        }
    }
}
