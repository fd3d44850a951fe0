//! The bytes of chunks, what is refused of them, and how long changes are held for them.

use proptest::prelude::*;

use super::carry::{Kept, export, increment, restore};
use super::*;
use crate::engine::store::chunk::{ReadChanges, ReadRows};

/// A store whose bytes never differ: two tables, a put over a put, a delete.
fn small(folder: &Path) -> Store {
    let store = open(folder);
    (1..=3).for_each(|key| put(&store, key, &format!("value {key}")).unwrap());
    put(&store, 1, "another").unwrap();
    store
        .write(origin(), |tx| {
            tx.delete(&PLAIN, &2)?;
            tx.put(&DEEP, &(1, "a".into(), 2), &3)
        })
        .unwrap();
    store
}

fn refused(folder: &Path, full: &(Kept, Exported), more: &[(Vec<Vec<u8>>, Exported)], until: Until) -> Error {
    restore(folder, full, more, until, &mut Vec::new()).unwrap_err()
}

#[test]
fn chunks_are_read_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, full) = export(&small(folder.path()), 2, || {});
    let bytes = [kept.rows.concat(), kept.changes.concat()];
    assert_eq!(golden("rows-1.bin", &bytes[0]), bytes[0]);
    // Whether two changes shared a sync is in the records; they never do here.
    assert_eq!(golden("changes-1.bin", &bytes[1]), bytes[1]);
    let told = serde_json::to_vec_pretty(&full).unwrap();
    assert_eq!(golden("exported-1.json", &told), told);
    assert_eq!(serde_json::from_slice::<Exported>(&told).unwrap(), full);
    assert_eq!((full.from, full.last, full.changes), (5, 5, 4));
    assert_eq!(full.tables, [("deep".into(), 1), ("plain".into(), 2)]);
}

#[test]
fn a_large_row_is_a_chunk_of_its_own_and_chunks_stay_small() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("live"));
    put(&store, 2, &"x".repeat(CHUNK_BYTES_MAX + 5)).unwrap();
    for block in 0..12 {
        store
            .write(origin(), |tx| {
                (0..4).try_for_each(|key| tx.put(&PLAIN, &(10 + block * 4 + key), &"y".repeat(200_000)))
            })
            .unwrap();
    }
    let full = export(&store, 1, || {});
    for chunk in full.0.rows.iter().chain(&full.0.changes) {
        assert!(chunk.len() <= LONE_CHUNK_BYTES_MAX);
        let lone = chunk.len() > CHUNK_BYTES_MAX;
        let rows = ReadRows::open(chunk).map(|mut read| std::iter::from_fn(|| read.next().unwrap()).count());
        let records = ReadChanges::open(chunk)
            .map(|mut read| std::iter::from_fn(|| read.next().unwrap().map(|raw| raw.number)).count());
        assert!(!lone || rows.or(records).unwrap() == 1);
    }
    assert!(full.0.rows.len() >= 5 && full.0.changes.len() >= 3);
    let total: usize = full.0.rows.iter().chain(&full.0.changes).map(Vec::len).sum();
    assert_eq!(full.1.bytes, total as u64);
    let target = folder.path().join("restored");
    restore(&target, &full, &[], Until::End, &mut Vec::new()).unwrap();
    assert_eq!(all(&open(&target)), all(&store));
}

#[test]
fn an_empty_store_comes_back_empty() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("live"));
    let full = export(&store, u64::MAX, || {});
    assert_eq!((full.1.last, full.1.changes, full.0.changes.len()), (0, 0, 0));
    (1..=3).for_each(|key| put(&store, key, "x").unwrap());
    let more = increment(&store, 0);
    for (name, more, last) in [("a", vec![], 0), ("b", vec![more], 3)] {
        let target = folder.path().join(name);
        let done = restore(&target, &full, &more, Until::End, &mut Vec::new()).unwrap();
        assert_eq!((done.last, done.rows), (last, 0));
        let store = open(&target);
        assert_eq!((store.last_change(), all(&store).len()), (last, last as usize));
        put(&store, 9, "on").unwrap();
    }
}

#[test]
fn what_does_not_belong_together_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let store = small(&path("live"));
    let first = export(&store, 1, || {});
    let one = {
        put(&store, 4, "x").unwrap();
        increment(&store, 5)
    };
    let two = {
        put(&store, 5, "x").unwrap();
        increment(&store, 6)
    };
    let other = {
        let store = small(&path("other"));
        put(&store, 4, "another store").unwrap();
        put(&store, 5, "another store").unwrap();
        (increment(&store, 5), increment(&store, 6))
    };
    let second = export(&store, 1, || {});
    let say = |e: Error, part: &str| assert!(e.message().contains(part), "{part}: {}", e.message());
    say(refused(&path("1"), &first, std::slice::from_ref(&two), Until::End), "changes 6 to 6 are missing");
    say(refused(&path("2"), &first, &[one.clone(), other.1.clone()], Until::End), "differ at change 6");
    say(refused(&path("3"), &second, &[], Until::Change(6)), "later than change 6");
    let early = Until::At(Timestamp::from_milliseconds(1_790_000_000_122));
    say(refused(&path("4"), &second, &[], early), "later than 2026-");
    // An increment that reaches back behind the full export is passed over as far as it is known, and compared.
    let done =
        restore(&path("5"), &second, &[one.clone(), two.clone()], Until::End, &mut Vec::new()).unwrap();
    assert_eq!((done.last, done.at), (7, origin().at));
    say(refused(&path("6"), &second, &[other.0.clone(), other.1.clone()], Until::End), "differ at change 7");

    let bent = |name: &str, bend: &dyn Fn(&mut (Kept, Exported)), part: &str| {
        let mut full = second.clone();
        bend(&mut full);
        say(refused(&path(name), &full, &[], Until::End), part);
        // What is left of it is no store, and no place for another try.
        say(refusal(&path(name), options()), "did not come to its end");
        let again = Restore::begin(&path(name), 1 << 20).err().unwrap();
        say(again, "holds a store already");
    };
    bent("7", &|full| drop(full.0.rows.pop()), "before the end of the rows");
    bent("8", &|full| drop(full.0.rows.remove(0)), "before the beginning of the rows");
    bent("9", &|full| drop(full.0.rows.remove(1)), "has 0 rows, it says 1");
    bent("a", &|full| full.0.rows.swap(1, 0), "before the beginning of the rows");
    bent("b", &|full| full.0.rows.insert(1, full.0.rows[1].clone()), "not in order of their keys");
    bent("c", &|full| full.0.changes.clear(), "its changes begin at 8");
    bent("d", &|full| full.1.chain = "00".repeat(16), "differ at change 7");
    bent("e", &|full| full.1.last += 1, "its rows end at change 7, it says 8");
    bent("f", &|full| full.1.tables.clear(), "does not speak of the rows of");
    bent("g", &|full| full.0.changes[0].truncate(200), "damaged at byte");
    assert!(Restore::begin(&path("live2"), 1 << 20).is_ok());
    drop(store);
    assert_eq!(Restore::begin(&path("live"), 1 << 20).err().unwrap().kind(), Kind::Conflict);
}

#[test]
fn a_bent_byte_of_the_changes_is_always_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, _) = export(&small(folder.path()), 1, || {});
    let whole = &kept.changes[0];
    let read = |bytes: &[u8]| -> Result<usize> {
        let mut read = ReadChanges::open(bytes)?;
        let mut count = 0;
        while read.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    assert_eq!(read(whole).unwrap(), 5);
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut bent = whole.clone();
            bent[at] ^= bit;
            assert!(read(&bent).is_err(), "byte {at}");
        }
        // Cut between records it is whole; anywhere else it is not.
        assert!(read(&whole[..at]).is_ok_and(|count| count < 5) || read(&whole[..at]).is_err());
    }
    let mut newer = whole.clone();
    newer[5] = 2;
    assert_eq!(read(&newer).unwrap_err().kind(), Kind::Conflict);
}

proptest! {
    #[test]
    fn no_bytes_bring_a_reader_down(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        head in 0usize..3,
        lengths in prop::collection::vec(prop_oneof![Just(u32::MAX), Just(0), 0u32..40], 0..4),
    ) {
        let head: &[u8] = [&b"MSTRR\x01"[..], b"MSTRC\x01", b""][head];
        for (at, length) in lengths.iter().enumerate() {
            let at = (8 + 4 * at).min(bytes.len());
            bytes.splice(at..at, length.to_le_bytes());
        }
        let bytes = [head, &bytes].concat();
        if let Ok(mut read) = ReadRows::open(&bytes) {
            while let Ok(Some((key, value))) = read.next() {
                prop_assert!(key.end <= value.start && value.end <= bytes.len());
            }
        }
        if let Ok(mut read) = ReadChanges::open(&bytes) {
            while let Ok(Some(_)) = read.next() {}
        }
        let folder = tempfile::tempdir().unwrap();
        let mut restore = Restore::begin(folder.path(), 1 << 20).unwrap();
        let _ = restore.rows(&bytes);
        let _ = restore.changes(&bytes, &Until::End, &mut |_| {});
    }
}

#[test]
fn changes_are_held_until_they_are_let_go_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        feed_changes_max: 10,
        checkpoint_changes: 20,
        segment_bytes_max: 2_000,
        held_bytes_max: 30_000,
        ..options()
    };
    let store = Store::open(folder.path(), options).unwrap();
    let more = |count: u32| {
        (0..count).for_each(|key| put(&store, key % 50, "x").unwrap());
        store.checkpoint().unwrap();
    };
    more(100);
    assert!(store.first_change() > 70);
    let begun = store.last_change();
    store.hold(begun);
    more(100);
    assert!(store.first_change() <= begun + 1);
    assert_eq!(increment(&store, begun).1.changes, 100);
    assert_eq!(store.export_changes(1, 5, &mut |_| Ok(())).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.export_changes(900, u64::MAX, &mut |_| Ok(())).unwrap_err().kind(), Kind::Conflict);
    let part = store.export_changes(begun, begun + 3, &mut |_| Ok(())).unwrap();
    assert_eq!((part.from, part.last, part.changes), (begun, begun + 3, 3));
    let none = store.export_changes(store.last_change(), u64::MAX, &mut |_| Ok(())).unwrap();
    assert_eq!((none.last, none.changes, none.at), (store.last_change(), 0, origin().at));

    store.hold(store.last_change());
    more(1);
    assert!(store.first_change() > begun + 1);
    let held = store.last_change();
    store.hold(held);
    more(600);
    assert!(store.stats().journal_bytes < 40_000, "{:?}", store.stats());
    let error = store.export_changes(held, u64::MAX, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().contains("full backup"));
}

#[test]
fn an_export_holds_what_it_still_has_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { feed_changes_max: 5, checkpoint_changes: 5, segment_bytes_max: 1_000, ..options() };
    let store = Store::open(&folder.path().join("live"), options).unwrap();
    put(&store, 1, "x").unwrap();
    let full = export(&store, u64::MAX, || {
        (0..40).for_each(|key| put(&store, key, "y").unwrap());
        store.checkpoint().unwrap();
    });
    assert!(full.1.last >= full.1.from + 40);
    restore(&folder.path().join("restored"), &full, &[], Until::End, &mut Vec::new()).unwrap();
    store.checkpoint().unwrap();
    put(&store, 1, "z").unwrap();
    store.checkpoint().unwrap();
    assert!(store.first_change() > full.1.from + 1);
}

#[test]
fn an_error_of_the_taker_ends_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let store = small(folder.path());
    let mut calls = 0;
    let error = store.export(1, &mut |_, _| {
        calls += 1;
        if calls == 2 { Err(Error::unavailable("stopped")) } else { Ok(()) }
    });
    assert_eq!((error.unwrap_err().message(), calls), ("stopped", 2));
    assert!(store.export_changes(0, 9, &mut |_| Err(Error::unavailable("stopped"))).is_err());
}
