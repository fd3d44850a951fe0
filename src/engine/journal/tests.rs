mod cuts;

use std::path::PathBuf;

use super::*;
use crate::base::Kind;

fn small(name: &str) -> Options {
    Options { segment_bytes_max: 400, ..Options::new(name) }
}

fn fill(journal: &Journal, from: u64, to: u64) {
    for number in from..=to {
        let ticket = journal.append(format!("record {number}").as_bytes()).unwrap();
        assert_eq!(ticket.number(), number);
        ticket.wait().unwrap();
    }
}

fn numbers(journal: &Journal, from: u64) -> Vec<u64> {
    let mut all = Vec::new();
    journal
        .replay(from, |number, payload| {
            assert_eq!(payload, format!("record {number}").as_bytes());
            all.push(number);
            Ok(())
        })
        .unwrap();
    all
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_disk_without_its_reserve_refuses_appends_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (journal, _) = Journal::open(folder.path(), small("a")).unwrap();
        fill(&journal, 1, 5);
    }
    let full = Options { reserve_bytes: u64::MAX, ..small("a") };
    let (journal, _) = Journal::open(folder.path(), full).unwrap();
    let error = journal.append(b"more").map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("disk is full") && error.hint_text().unwrap().contains("by itself"));
    assert_eq!((numbers(&journal, 1), journal.failed()), (vec![1, 2, 3, 4, 5], None));
    drop(journal);
    let (journal, _) = Journal::open(folder.path(), small("a")).unwrap();
    fill(&journal, 6, 7);
}

#[test]
fn records_survive_reopening_and_can_be_read_from_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (journal, recovered) = Journal::open(folder.path(), small("a")).unwrap();
        assert_eq!(recovered, Recovered { first: 1, last: 0, cut_bytes: 0, created: true });
        fill(&journal, 1, 50);
    }
    let (journal, recovered) = Journal::open(folder.path(), small("a")).unwrap();
    assert_eq!(recovered, Recovered { first: 1, last: 50, cut_bytes: 0, created: false });
    assert!(segments(folder.path()).len() > 3);
    for from in 1..=51 {
        assert_eq!(numbers(&journal, from), (from..=50).collect::<Vec<_>>());
    }
    assert_eq!(journal.read(7, 2).unwrap().iter().map(|(n, _)| *n).collect::<Vec<_>>(), [7, 8]);
    fill(&journal, 51, 60);
    assert_eq!(numbers(&journal, 45), (45..=60).collect::<Vec<_>>());

    journal.remove_before(30).unwrap();
    let first = journal.first_number();
    assert!(first > 1 && first <= 30, "{first}");
    assert_eq!(journal.read(first - 1, 1).unwrap_err().kind(), Kind::NotFound);
    drop(journal);
    let (journal, recovered) = Journal::open(folder.path(), small("a")).unwrap();
    assert_eq!((recovered.first, recovered.last), (first, 60));
    assert_eq!(numbers(&journal, first).len() as u64, 61 - first);
    journal.remove_before(1_000).unwrap();
    assert_eq!(journal.last_number(), 60);
}

#[test]
fn an_unfinished_batch_is_cut_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), Options::new("a")).unwrap();
    fill(&journal, 1, 5);
    drop(journal);
    let path = segments(folder.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let record = (whole.len() - record::HEADER_BYTES) / 5;
    for cut in 1..record * 2 {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let (journal, recovered) = Journal::open(folder.path(), Options::new("a")).unwrap();
        assert_eq!(recovered.last, 5 - cut.div_ceil(record) as u64);
        // Zeroes at the end may be those of a prepared segment, and do not count.
        let left = &whole[..whole.len() - cut];
        let left = &left[whole.len() - record * cut.div_ceil(record)..];
        let left = left.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        assert_eq!(recovered.cut_bytes as usize, left);
        fill(&journal, recovered.last + 1, 6);
        assert_eq!(numbers(&journal, 1), [1, 2, 3, 4, 5, 6]);
    }
    // A file system may also leave zeroes where the last write should be.
    let mut zeroes = whole.clone();
    zeroes[whole.len() - record..].fill(0);
    std::fs::write(&path, &zeroes).unwrap();
    assert_eq!(Journal::open(folder.path(), Options::new("a")).unwrap().1.last, 4);
}

#[test]
fn damage_before_the_last_sync_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), Options::new("a")).unwrap();
    fill(&journal, 1, 5);
    drop(journal);
    let path = segments(folder.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let record = (whole.len() - record::HEADER_BYTES) / 5;
    // Record 3 has two later batches behind it: wherever it is hit, it cannot be a crash.
    let begin = record::HEADER_BYTES + record * 2;
    for at in begin..begin + record {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let error = Journal::open(folder.path(), Options::new("a")).err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains(&format!("at byte {begin}")), "{}", error.message());
        assert!(error.message().contains("a-00000000000000000001.journal"));
    }
}

#[test]
fn a_missing_segment_and_a_newer_format_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), small("a")).unwrap();
    fill(&journal, 1, 40);
    drop(journal);
    let paths = segments(folder.path());
    let kept = std::fs::read(&paths[1]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    let error = Journal::open(folder.path(), small("a")).err().unwrap();
    assert!(error.message().contains("missing"), "{}", error.message());

    let mut newer = kept;
    newer[8] = 9;
    std::fs::write(&paths[1], newer).unwrap();
    let error = Journal::open(folder.path(), small("a")).err().unwrap();
    assert!(error.message().contains("format 9"), "{}", error.message());
}

#[test]
fn a_crash_while_a_segment_is_made_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), Options::new("a")).unwrap();
    fill(&journal, 1, 5);
    drop(journal);
    std::fs::write(folder.path().join("a-00000000000000000006.journal"), b"MUST").unwrap();
    let (journal, recovered) = Journal::open(folder.path(), Options::new("a")).unwrap();
    assert_eq!(recovered.last, 5);
    fill(&journal, 6, 7);
}

#[test]
fn a_failed_sync_poisons_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), Options::new("a")).unwrap();
    fill(&journal, 1, 2);
    journal.break_disk();
    let ticket = journal.append(b"lost").unwrap();
    assert_eq!(ticket.wait().unwrap_err().kind(), Kind::Unavailable);
    assert!(journal.failed().unwrap().contains("broken"));
    assert_eq!(journal.append(b"more").err().unwrap().kind(), Kind::Unavailable);
    assert_eq!((journal.last_number(), numbers(&journal, 1)), (2, vec![1, 2]));
}

#[test]
fn a_sync_serves_many_and_tickets_can_be_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), Options::new("a")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let tickets: Vec<_> = (0..100).map(|_| journal.append(b"x").unwrap()).collect();
                tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
                    for ticket in tickets {
                        ticket.await.unwrap();
                    }
                });
            });
        }
    });
    let stats = journal.stats();
    assert_eq!((journal.last_number(), stats.records), (800, 800));
    assert!(stats.syncs < 800, "{stats:?}");
}

#[test]
fn what_waits_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { queue_bytes_max: 2_000, ..Options::new("a") };
    let (journal, _) = Journal::open(folder.path(), options).unwrap();
    let refused = (0..10_000).find_map(|_| journal.append(&[0; 1_000]).err());
    assert_eq!(refused.unwrap().kind(), Kind::TooMany);
    assert_eq!(journal.append(&vec![0; RECORD_BYTES_MAX + 1]).err().unwrap().kind(), Kind::TooMany);
}

#[test]
fn a_segment_is_prepared_and_its_zeroes_are_not_records() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { segment_bytes_max: 4_096, ..Options::new("a") };
    let (journal, _) = Journal::open(folder.path(), options()).unwrap();
    let next = folder.path().join("a.next");
    let mut number = 0;
    let prepared = || segments(folder.path()).iter().filter(|path| length(path) == 4_096).count();
    // The thread that prepares may be late; then a segment grows as it is filled, and the next one has its chance.
    while prepared() < 3 {
        number += 1;
        fill(&journal, number, number);
    }
    assert!(journal.stats().bytes_kept < number * 100);
    drop(journal);
    assert!(!next.exists(), "it goes with the journal");
    std::fs::write(&next, [0; 10]).unwrap();
    let last = segments(folder.path()).into_iter().rfind(|path| *path != next).unwrap();
    let (journal, recovered) = Journal::open(folder.path(), options()).unwrap();
    assert!(!next.exists(), "what a crash left of it goes too");
    assert_eq!((recovered.first, recovered.last, recovered.cut_bytes), (1, number, 0));
    assert_eq!(numbers(&journal, 1), (1..=number).collect::<Vec<_>>());
    fill(&journal, number + 1, number + 1);
    drop(journal);
    // An unfinished batch goes with the zeroes behind it.
    let mut bytes = std::fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[end - 1] ^= 1;
    bytes.resize(bytes.len().max(end + 500), 0);
    std::fs::write(&last, bytes).unwrap();
    let (journal, recovered) = Journal::open(folder.path(), options()).unwrap();
    assert_eq!((recovered.last, recovered.cut_bytes > 0), (number, true));
    fill(&journal, number + 1, number + 100);
    assert_eq!(numbers(&journal, 1), (1..=number + 100).collect::<Vec<_>>());
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}
