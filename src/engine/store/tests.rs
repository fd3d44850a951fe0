//! What the store promises, tried.

mod carry;
mod chunks;
mod copies;
mod cuts;
mod model;
mod offline;
mod overtaking;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::*;
use crate::base::{AgentId, Id, Kind, Timestamp};

const PLAIN: Table<u32, String> = Table::new("plain");
const DEEP: Table<(u32, String, u64), u32> = Table::new("deep");

fn options() -> Options {
    let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1);
    Options { tables: vec!["plain", "deep"], ..Options::new(clock) }
}

fn open(folder: &Path) -> Store {
    Store::open(folder, options()).unwrap()
}

fn origin() -> Origin {
    Origin {
        at: Timestamp::from_milliseconds(1_790_000_000_123),
        actor: "usr_1".into(),
        action: "plain.change".into(),
        from: "192.0.2.7".into(),
        request: "req-1".into(),
        tenant: 7,
    }
}

fn put(store: &Store, key: u32, value: &str) -> Result<()> {
    store.write(origin(), |tx| tx.put(&PLAIN, &key, &value.to_owned()))
}

fn all(store: &Store) -> Vec<(u32, String)> {
    store.read().unwrap().range(&PLAIN, .., usize::MAX).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn journal_of(folder: &Path) -> std::path::PathBuf {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "journal"))
        .collect();
    paths.sort();
    paths.pop().unwrap()
}

/// How often a test runs its body: `usual`, or what the environment asks for.
fn runs(variable: &str, usual: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn refusal(folder: &Path, options: Options) -> Error {
    Store::open(folder, options).err().unwrap()
}

#[test]
fn a_write_is_read_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = open(folder.path());
        assert_eq!((store.last_change(), store.schema().unwrap()), (0, 0));
        put(&store, 1, "one").unwrap();
        put(&store, 2, "two").unwrap();
        store.write(origin(), |tx| tx.delete(&PLAIN, &1)).unwrap();
        assert_eq!(all(&store), [(2, "two".into())]);
        assert_eq!(store.read().unwrap().number().unwrap(), 3);
    }
    let store = open(folder.path());
    assert_eq!((all(&store), store.last_change()), (vec![(2, "two".into())], 3));
    assert_eq!(store.stats().replayed, 0);
    put(&store, 3, "three").unwrap();
    assert_eq!(store.last_change(), 4);
    let verified = store.verify().unwrap();
    assert_eq!(
        (verified.tables, verified.strangers, verified.records),
        (vec![("plain".into(), 2)], vec![], 4)
    );
}

#[test]
fn an_error_drops_only_its_own_overlay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ((), first) = store.submit(origin(), |tx| tx.put(&PLAIN, &1, &"one".into())).unwrap();
    let error = store
        .write(origin(), |tx| {
            assert_eq!(tx.get(&PLAIN, &1)?.unwrap(), "one");
            tx.put(&PLAIN, &1, &"lost".into())?;
            tx.tell(Event {
                name: "plain.lost".into(),
                subject: "1".into(),
                detail: serde_json::Value::Null,
            });
            Err::<(), _>(Error::conflict("no"))
        })
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    let number = store
        .write(origin(), |tx| {
            assert_eq!(tx.get(&PLAIN, &1)?.unwrap(), "one");
            tx.put(&PLAIN, &2, &"two".into())?;
            Ok(tx.number())
        })
        .unwrap();
    first.wait().unwrap();
    assert_eq!(number, 2);
    assert_eq!(all(&store), [(1, "one".into()), (2, "two".into())]);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.write(origin(), |tx| -> Result<()> {
            tx.put(&PLAIN, &3, &"three".into())?;
            panic!("in a closure")
        })
    }));
    assert!(caught.is_err());
    put(&store, 4, "four").unwrap();
    assert_eq!(store.last_change(), 3);
}

#[test]
fn a_write_that_changes_nothing_makes_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ((), first) = store.submit(origin(), |tx| tx.put(&PLAIN, &1, &"one".into())).unwrap();
    let found = store.write(origin(), |tx| tx.get(&PLAIN, &1)).unwrap();
    assert_eq!((found.as_deref(), store.last_change()), (Some("one"), 1));
    first.wait().unwrap();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "write inside write")]
fn a_write_inside_a_write_panics() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let _ = store.write(origin(), |_| put(&store, 1, "one"));
}

#[test]
fn the_feed_equals_the_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let watch = store.watch();
    for number in 1..=1_500u32 {
        let ((), _) = store
            .submit(origin(), |tx| {
                tx.put(&PLAIN, &number, &format!("value {number}"))?;
                tx.delete(&DEEP, &(number, "x".into(), 1))?;
                let detail = serde_json::json!({ "number": number, "text": ["ä"] });
                tx.tell(Event { name: "plain.changed".into(), subject: number.to_string(), detail });
                Ok(())
            })
            .unwrap();
    }
    put(&store, 0, "end").unwrap();
    assert_eq!(*watch.borrow(), 1_501);
    // The first come from the journal, the last from memory; both say the same.
    let changes = store.changes(0, usize::MAX).unwrap();
    assert_eq!(changes.len(), 1_501);
    for (number, change) in (1..=1_500).zip(&changes) {
        assert_eq!((change.number, &change.origin), (number, &origin()));
        assert_eq!(change.events[0].detail["number"], number);
        let (key, value) = change.ops()[1].of(&PLAIN).unwrap().unwrap();
        assert_eq!((u64::from(key), value.unwrap()), (number, format!("value {number}")));
        assert_eq!(change.ops()[0].of(&DEEP).unwrap().unwrap().1, None);
        assert!(change.ops()[0].of(&PLAIN).is_none());
    }
    assert_eq!(store.changes(1_490, usize::MAX).unwrap(), changes[1_490..]);
    assert_eq!(store.changes(1_499, 1).unwrap(), changes[1_499..1_500]);
    assert!(store.changes(1_501, 5).unwrap().is_empty());
    drop(store);
    assert_eq!(open(folder.path()).changes(0, usize::MAX).unwrap(), changes);
}

#[test]
fn the_feed_is_kept_within_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let small = || Options {
        feed_changes_max: 20,
        checkpoint_changes: 10,
        segment_bytes_max: 2_000,
        waiting_changes_max: 4,
        ..options()
    };
    let store = Store::open(folder.path(), small()).unwrap();
    for number in 0..2_000 {
        let ((), _) = store.submit(origin(), |tx| tx.put(&PLAIN, &number, &"x".into())).unwrap();
    }
    store.checkpoint().unwrap();
    put(&store, 0, "y").unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.changes(0, 1).unwrap_err().kind(), Kind::NotFound);
    assert!(store.changes(1_985, 100).unwrap().len() >= 15);
    assert!(store.stats().journal_bytes < 20_000, "{:?}", store.stats());
    drop(store);
    std::fs::remove_file(folder.path().join("state.redb")).unwrap();
    let error = refusal(folder.path(), small());
    assert!(error.message().contains("journal begins at change"), "{}", error.message());
}

#[test]
fn the_state_is_rebuilt_from_a_complete_journal() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (0..50).for_each(|number| put(&store, number % 30, &number.to_string()).unwrap());
    let before = all(&store);
    drop(store);
    std::fs::remove_file(folder.path().join("state.redb")).unwrap();
    let store = open(folder.path());
    assert_eq!((all(&store), store.stats().replayed), (before, 50));
    drop(store);
    std::fs::remove_file(journal_of(folder.path())).unwrap();
    let error = refusal(folder.path(), options());
    assert!(error.message().contains("state holds change 50"), "{}", error.message());
}

#[test]
fn files_of_two_stores_do_not_mix() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (folder, value) in [(&one, "one"), (&two, "two")] {
        let store = open(folder.path());
        (0..5).for_each(|number| put(&store, number, value).unwrap());
    }
    std::fs::copy(one.path().join("state.redb"), two.path().join("state.redb")).unwrap();
    let error = refusal(two.path(), options());
    assert!(error.message().contains("do not belong together"), "{}", error.message());
}

#[test]
fn after_a_crash_there_is_exactly_the_acknowledged_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (1..=20).for_each(|number| put(&store, number, "before").unwrap());
    store.checkpoint().unwrap();
    // The state file as the checkpoint left it, and the journal as it grows: what a crash leaves behind.
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    let mut ends = vec![(20, std::fs::metadata(journal_of(folder.path())).unwrap().len())];
    for number in 21..=24 {
        put(&store, number, "after").unwrap();
        ends.push((number, std::fs::metadata(journal_of(folder.path())).unwrap().len()));
    }
    let journal = std::fs::read(journal_of(folder.path())).unwrap();
    for length in ends[0].1..=journal.len() as u64 {
        let trial = tempfile::tempdir().unwrap();
        copy(crashed.path(), trial.path());
        std::fs::write(journal_of(trial.path()), &journal[..length as usize]).unwrap();
        let store = open(trial.path());
        let expected = ends.iter().rev().find(|(_, end)| *end <= length).unwrap().0;
        assert_eq!(all(&store).len() as u32, expected, "at {length}");
        assert_eq!(store.last_change(), u64::from(expected));
        assert_eq!(store.stats().replayed, u64::from(expected) - 20);
        if length % 50 == 0 {
            put(&store, 99, "on").unwrap();
            assert_eq!(all(&store).len() as u32, expected + 1);
        }
    }
}

#[test]
fn sixteen_writers_share_syncs_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    std::thread::scope(|scope| {
        for thread in 0..16u32 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50 {
                    let key = thread * 1_000 + number;
                    put(store, key, "x").unwrap();
                    assert!(store.read().unwrap().has(&PLAIN, &key).unwrap());
                    store
                        .write(origin(), |tx| {
                            let count = tx.get(&DEEP, &(0, "sum".into(), 0))?.unwrap_or(0);
                            tx.put(&DEEP, &(0, "sum".into(), 0), &(count + 1))
                        })
                        .unwrap();
                }
            });
        }
    });
    let read = store.read().unwrap();
    assert_eq!(read.count(&PLAIN, &()).unwrap(), 800);
    assert_eq!(read.get(&DEEP, &(0, "sum".into(), 0)).unwrap(), Some(800));
    let stats = store.stats();
    assert_eq!((stats.changes, store.last_change()), (1_600, 1_600));
    assert!(stats.syncs < 1_600, "{stats:?}");
}

#[test]
fn a_broken_disk_stops_writes_and_not_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, 1, "one").unwrap();
    store.break_disk();
    assert_eq!(put(&store, 2, "two").unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(put(&store, 3, "three").unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(store.checkpoint().unwrap_err().kind(), Kind::Unavailable);
    assert_eq!((all(&store), store.last_change()), (vec![(1, "one".into())], 1));
    assert!(store.stats().last_error.unwrap().contains("broken"));
    assert_eq!(store.changes(0, 10).unwrap().len(), 1);
}

#[test]
fn a_pending_can_be_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let (value, pending) =
            store.submit(origin(), |tx| tx.put(&PLAIN, &1, &"one".into()).map(|()| 5)).unwrap();
        pending.await.unwrap();
        assert_eq!((value, store.last_change()), (5, 1));
    });
}

#[test]
fn two_processes_cannot_share_a_folder_and_nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let store = open(&folder);
    let error = refusal(&folder, options());
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.message().contains(&format!("process {}", std::process::id())), "{}", error.message());
    put(&store, 1, "one").unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(store);
    open(&folder);
}

#[test]
fn a_damaged_state_file_is_an_error_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (0..20).for_each(|number| put(&store, number, "x").unwrap());
    drop(store);
    let path = folder.path().join("state.redb");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"this is not a database").unwrap();
    assert!(refusal(folder.path(), options()).message().contains("the store is damaged"));
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(refusal(folder.path(), options()).message().contains("the store is damaged"));
}

#[test]
fn migrations_run_once_together_and_a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Migration { version: 1, name: "begin", run: |tx| tx.put(&PLAIN, &1, &"begun".into()) };
    let second = Migration {
        version: 2,
        name: "double",
        run: |tx| {
            let text = tx.get(&PLAIN, &1)?.unwrap();
            tx.put(&PLAIN, &1, &text.repeat(2))
        },
    };
    let broken = Migration {
        version: 3,
        name: "break",
        run: |tx| {
            tx.put(&PLAIN, &1, &"half".into())?;
            Err(Error::invalid("cannot"))
        },
    };
    let with = |migrations| Options { migrations, ..options() };
    for _ in 0..2 {
        let store = Store::open(folder.path(), with(vec![first, second])).unwrap();
        assert_eq!((all(&store), store.schema().unwrap()), (vec![(1, "begunbegun".into())], 2));
        assert_eq!(store.last_change(), 1);
    }
    let error = refusal(folder.path(), with(vec![first, second, broken]));
    assert!(error.message().contains("migration 3 `break`"), "{}", error.message());
    let error = refusal(folder.path(), with(vec![first]));
    assert!(error.message().contains("schema 2"), "{}", error.message());
    let store = Store::open(folder.path(), with(vec![first, second])).unwrap();
    assert_eq!(all(&store), [(1, "begunbegun".into())]);
}

#[test]
fn a_change_that_is_too_large_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = put(&store, 1, &"x".repeat(CHANGE_BYTES_MAX)).unwrap_err();
    assert_eq!(error.kind(), Kind::TooMany);
    put(&store, 1, "x").unwrap();
    assert_eq!(store.last_change(), 1);
}

#[test]
fn prefixes_page_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let fill = |tx: &mut Tx, from: u64, to: u64| {
        (from..to).try_for_each(|number| {
            tx.put(&DEEP, &(1, "a".into(), number), &(number as u32))?;
            tx.put(&DEEP, &(1, "ab".into(), number), &0)?;
            tx.put(&DEEP, &(2, "a".into(), number), &0)
        })
    };
    fn check(read: &impl Read) {
        let keys =
            |rows: Vec<((u32, String, u64), u32)>| rows.into_iter().map(|(k, _)| k.2).collect::<Vec<_>>();
        let at = |number| (1, String::from("a"), number);
        assert_eq!(keys(read.prefix(&DEEP, &(1u32, "a"), 3).unwrap()), [0, 1, 2]);
        assert_eq!(keys(read.prefix_after(&DEEP, &(1u32, "a"), &at(2), 100).unwrap()), [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(keys(read.prefix_back(&DEEP, &(1u32, "a"), 3).unwrap()), [9, 8, 7]);
        assert_eq!(keys(read.prefix_before(&DEEP, &(1u32, "a"), &at(2), 9).unwrap()), [1, 0]);
        assert_eq!(keys(read.range(&DEEP, at(3)..=at(4), 100).unwrap()), [3, 4]);
        assert_eq!(keys(read.range_back(&DEEP, at(3)..at(5), 100).unwrap()), [4, 3]);
        assert!(read.range(&DEEP, at(5)..at(5), 9).unwrap().is_empty());
        #[expect(clippy::reversed_empty_ranges, reason = "what a careless caller may ask")]
        let reversed = read.range(&PLAIN, 5..3, 9).unwrap();
        assert!(reversed.is_empty());
        assert_eq!(read.count(&DEEP, &1u32).unwrap(), 20);
        assert_eq!(read.count(&DEEP, &()).unwrap(), 30);
        assert!(read.prefix(&DEEP, &(1u32, "a"), 0).unwrap().is_empty());
    }
    store.write(origin(), |tx| fill(tx, 0, 5)).unwrap();
    let ((), _) = store.submit(origin(), |tx| fill(tx, 5, 7)).unwrap();
    store
        .write(origin(), |tx| {
            tx.put(&DEEP, &(1, "a".into(), 50), &1)?;
            fill(tx, 7, 10)?;
            tx.delete(&DEEP, &(1, "a".into(), 50))?;
            check(tx);
            Ok(())
        })
        .unwrap();
    check(&store.read().unwrap());
}

/// What was written once must be read for ever. `MUSTER_GOLDEN=write cargo test` makes a file that is missing.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let path = Path::new(&root).join("src/engine/store/golden").join(name);
    if std::env::var("MUSTER_GOLDEN").is_ok_and(|mode| mode == "write") && !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(path).unwrap()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    id: AgentId,
    name: String,
    at: Timestamp,
    state: Phase,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    id: AgentId,
    name: String,
    at: Timestamp,
    state: Phase,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    sizes: Vec<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Phase {
    Idle,
    Busy { since: Timestamp, load: f64 },
}

#[test]
fn stored_values_are_read_for_ever() {
    let (id, at) = (Id::from_bits(1 << 100 | 77), Timestamp::from_milliseconds(1_790_000_000_123));
    let busy = || Phase::Busy { since: at, load: 0.5 };
    let old = Old { id, name: "press".into(), at, state: busy() };
    let bytes = golden("value-1.bin", &value::encode(&old).unwrap());
    assert_eq!(value::encode(&old).unwrap(), bytes);
    assert_eq!(value::decode::<Old>(&bytes).unwrap(), old);
    let new = New { id, name: "press".into(), at, state: busy(), note: None, sizes: vec![] };
    assert_eq!(value::decode::<New>(&bytes).unwrap(), new);
    // And back: a field that the reader does not know is passed over.
    assert_eq!(value::decode::<Old>(&value::encode(&new).unwrap()).unwrap(), old);
    assert!(value::decode::<Old>(&[9, 1]).is_err());
    assert_eq!(value::decode::<Phase>(&value::encode(&Phase::Idle).unwrap()).unwrap(), Phase::Idle);
}

#[test]
fn stored_changes_and_keys_are_read_for_ever() {
    let mut layer = layer::Layer::new();
    layer.entry("plain".into()).or_default().insert("k".into(), Some("v".into()));
    layer.entry("plain".into()).or_default().insert("gone".into(), None);
    let events = vec![Event {
        name: "plain.changed".into(),
        subject: "1".into(),
        detail: serde_json::json!({ "a": [1, null] }),
    }];
    let change = Change::new(5, origin(), events, &layer);
    let bytes = golden("change-1.bin", &change.encode().unwrap());
    assert_eq!(change.encode().unwrap(), bytes);
    assert_eq!(Change::decode(5, &bytes).unwrap(), change);

    let key = (
        (1u8, 2u32, 3u64, -4i64),
        (true, Timestamp::from_milliseconds(5)),
        String::from("a\0b"),
        Id::<()>::from_bits(6),
    );
    assert_eq!(golden("key-1.bin", &key::encode(&key)), key::encode(&key));
}
