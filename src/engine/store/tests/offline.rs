//! Folders that no server works with, whole and broken; migrations and what comes before them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::engine::store::Mend::{Rebuild, Restore as Backup, Start};

fn filled(folder: &Path, changes: u32) -> Vec<(u32, String)> {
    let store = open(folder);
    (0..changes).for_each(|key| put(&store, key % 300, &format!("value {key}")).unwrap());
    all(&store)
}

fn look(folder: &Path) -> Looked {
    verify_folder(folder, &options(), true).unwrap()
}

fn flaws(looked: &Looked) -> Vec<(&str, Mend)> {
    looked.flaws.iter().map(|flaw| (&*flaw.file, flaw.mend)).collect()
}

#[test]
fn a_whole_folder_is_found_whole_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let rows = filled(folder.path(), 500);
    let looked = look(folder.path());
    assert_eq!(looked.flaws, []);
    assert_eq!((looked.first, looked.last, looked.held, looked.records), (1, 500, 500, 500));
    assert_eq!(looked.tables, [("plain".into(), 300)]);
    assert!(looked.compared && !looked.copied);
    let shallow = verify_folder(folder.path(), &options(), false).unwrap();
    assert!(!shallow.compared && shallow.flaws.is_empty());
    let store = open(folder.path());
    assert_eq!((all(&store), store.stats().replayed), (rows, 0));
    // A folder in use is not looked at, nor one that is none.
    assert_eq!(verify_folder(folder.path(), &options(), false).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(compact(folder.path(), &options()).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(rebuild(folder.path(), &options()).unwrap_err().kind(), Kind::Conflict);
    drop(store);
    let none = tempfile::tempdir().unwrap();
    assert_eq!(verify_folder(none.path(), &options(), false).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(compact(none.path(), &options()).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(std::fs::read_dir(none.path()).unwrap().count(), 0);
    // Strangers are named; they are no flaw.
    let few = Options { tables: vec!["deep"], ..options() };
    assert_eq!(verify_folder(folder.path(), &few, false).unwrap().strangers, ["plain"]);
}

#[test]
fn a_bent_bit_of_the_state_is_found_and_mended_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let rows = filled(folder.path(), 400);
    let path = folder.path().join("state.redb");
    let whole = std::fs::read(&path).unwrap();
    let (mut found, mut unused) = (0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bent = whole.clone();
        bent[at] ^= 4;
        std::fs::write(&path, &bent).unwrap();
        let looked = look(folder.path());
        assert!(looked.flaws.iter().all(|flaw| flaw.file == "state.redb" && flaw.mend == Rebuild));
        // Most of the file is room that nothing uses.
        if looked.flaws.is_empty() { unused += 1 } else { found += 1 }
    }
    assert!(found > 2, "{found} found, {unused} in unused room");
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(flaws(&look(folder.path())), [("state.redb", Rebuild)]);
    assert_eq!(rebuild(folder.path(), &options()).unwrap(), 400);
    assert_eq!(look(folder.path()).flaws, []);
    let store = open(folder.path());
    assert_eq!((all(&store), store.stats().replayed), (rows.clone(), 0));
    drop(store);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(flaws(&look(folder.path())), [("state.redb", Start)]);
    assert_eq!(all(&open(folder.path())), rows);
}

#[test]
fn a_state_that_the_changes_did_not_make_is_found() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20);
    {
        let mut state =
            state::State::open(&HostDisk, None, &folder.path().join("state.redb"), 1 << 20).unwrap();
        state.check().unwrap();
        let (last, chain) = {
            let view = state.view().unwrap();
            (view.last().unwrap(), view.chain().unwrap())
        };
        let mut layer = layer::Layer::new();
        let value = value::encode(&"silently".to_owned()).unwrap();
        layer.entry("plain".into()).or_default().insert(key::encode(&3u32).into(), Some(value.into()));
        layer.entry("deep".into()).or_default().insert("x".into(), Some("no form".into()));
        state.apply([&layer].into_iter(), last, chain.unwrap()).unwrap();
        state.checkpoint().unwrap();
    }
    let looked = look(folder.path());
    assert_eq!(looked.flaws[0].place, "table `deep`, key 78");
    assert_eq!(flaws(&looked), [("state.redb", Rebuild)]);
    let store = open(folder.path());
    let error = store.verify().unwrap_err();
    assert!(error.message().contains("in `deep` the value of key 78"), "{}", error.message());
    store.write(origin(), |tx| tx.delete(&DEEP, &(1, "a".into(), 1))).unwrap();
    drop(store);
    {
        let state = state::State::open(&HostDisk, None, &folder.path().join("state.redb"), 1 << 20).unwrap();
        let (last, chain) = {
            let view = state.view().unwrap();
            (view.last().unwrap(), view.chain().unwrap())
        };
        let mut layer = layer::Layer::new();
        layer.entry("deep".into()).or_default().insert("x".into(), None);
        state.apply([&layer].into_iter(), last, chain.unwrap()).unwrap();
        state.checkpoint().unwrap();
    }
    let looked = look(folder.path());
    assert_eq!((flaws(&looked), &*looked.flaws[0].place), (vec![("state.redb", Rebuild)], "table `plain`"));
    assert!(looked.compared && looked.flaws[0].what.contains("not what the changes make"));
    rebuild(folder.path(), &options()).unwrap();
    assert_eq!(look(folder.path()).flaws, []);
}

#[test]
fn what_the_journal_lacks_only_a_backup_brings_back() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 60);
    let path = journal_of(folder.path());
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = std::fs::read(&path).unwrap();
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 1;
    std::fs::write(&path, &bent).unwrap();
    let looked = look(folder.path());
    assert_eq!(flaws(&looked), [(&*name, Backup)]);
    assert!(looked.flaws[0].what.contains("damaged at byte"), "{}", looked.flaws[0].what);
    assert!(rebuild(folder.path(), &options()).unwrap_err().message().contains("damaged at byte"));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(flaws(&look(folder.path())), [("state.redb", Backup)]);
    // The look has begun a new journal, as the start would; it holds nothing.
    assert!(refusal(folder.path(), options()).message().contains("state holds change 60"));

    let folder = tempfile::tempdir().unwrap();
    let small =
        Options { feed_changes_max: 5, checkpoint_changes: 10, segment_bytes_max: 1_000, ..options() };
    let store = Store::open(folder.path(), small).unwrap();
    (0..100).for_each(|key| put(&store, key, "x").unwrap());
    store.checkpoint().unwrap();
    drop(store);
    let error = rebuild(folder.path(), &options()).unwrap_err();
    assert!(error.message().contains("the journal begins at change"), "{}", error.message());
    let state = folder.path().join("state.redb");
    let half = std::fs::read(&state).unwrap()[..20_000].to_vec();
    std::fs::write(&state, half).unwrap();
    assert_eq!(flaws(&look(folder.path())), [("state.redb", Backup)]);
    std::fs::remove_file(&state).unwrap();
    assert_eq!(flaws(&look(folder.path())), [("state.redb", Backup)]);
}

#[test]
fn an_unfinished_restore_is_told() {
    let folder = tempfile::tempdir().unwrap();
    drop(Restore::begin(folder.path(), 1 << 20).unwrap());
    let looked = look(folder.path());
    assert_eq!(flaws(&looked), [("restoring", Backup)]);
    assert!(looked.flaws[0].mend.words().contains("`muster restore`"));
    assert!(compact(folder.path(), &options()).is_err() && rebuild(folder.path(), &options()).is_err());
}

#[test]
fn a_file_shrinks_to_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for block in 0..10u32 {
        store
            .write(origin(), |tx| {
                (0..300).try_for_each(|key| tx.put(&PLAIN, &(block * 300 + key), &"x".repeat(900)))
            })
            .unwrap();
    }
    store.write(origin(), |tx| (100..3_000).try_for_each(|key| tx.delete(&PLAIN, &key))).unwrap();
    let rows = all(&store);
    drop(store);
    let (before, after) = compact(folder.path(), &options()).unwrap();
    assert!(after * 2 < before, "{before} to {after}");
    assert_eq!(std::fs::metadata(folder.path().join("state.redb")).unwrap().len(), after);
    assert_eq!(look(folder.path()).flaws, []);
    assert_eq!(all(&open(folder.path())), rows);
}

#[test]
fn a_failed_try_does_not_make_a_copy_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 20);
    let path = journal_of(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let mut bent = whole.clone();
    bent[300] ^= 1;
    std::fs::write(&path, bent).unwrap();
    for _ in 0..2 {
        assert!(!refusal(folder.path(), options()).message().contains("copy"));
    }
    std::fs::write(&path, whole).unwrap();
    assert!(!look(folder.path()).copied);
    let elsewhere = tempfile::tempdir().unwrap();
    copy(folder.path(), elsewhere.path());
    assert!(look(elsewhere.path()).copied);
    drop(open(elsewhere.path()));
    assert!(!look(elsewhere.path()).copied);
    // A copy over the old files, all of them with their old names and numbers, is known too.
    copy(folder.path(), elsewhere.path());
    assert!(look(elsewhere.path()).copied);
}

#[test]
fn a_backup_comes_before_a_migration_and_its_failure_stops_it() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let folder = tempfile::tempdir().unwrap();
    let first = Migration { version: 1, name: "begin", run: |tx| tx.put(&PLAIN, &1, &"begun".into()) };
    let second = Migration { version: 2, name: "go on", run: |tx| tx.put(&PLAIN, &2, &"more".into()) };
    let broken = Migration {
        version: 3,
        name: "break",
        run: |tx| {
            tx.put(&PLAIN, &3, &"half".into())?;
            Err(Error::invalid("cannot"))
        },
    };
    let saved = folder.path().join("saved");
    let with = |migrations: Vec<Migration>, fails: bool| {
        let saved = saved.clone();
        let before = move |store: &Store, from: u32, to: u32| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            assert_eq!(store.schema().unwrap(), from);
            if fails {
                return Err(Error::unavailable("no room for a backup"));
            }
            let full = carry::export(store, 1, || {});
            carry::restore(&saved.join(to.to_string()), &full, &[], Until::End, &mut Vec::new()).map(drop)
        };
        Options { migrations, before_migration: Some(Arc::new(before)), ..options() }
    };
    let live = folder.path().join("live");
    // A fresh store has nothing to save.
    drop(Store::open(&live, with(vec![first], true)).unwrap());
    drop(Store::open(&live, with(vec![first], true)).unwrap());
    assert_eq!(CALLS.load(Ordering::Relaxed), 0);
    let state = |migrations| {
        let store = Store::open(&live, Options { migrations, ..options() }).unwrap();
        (store.last_change(), store.schema().unwrap(), all(&store).len())
    };
    let error = refusal(&live, with(vec![first, second], true));
    assert!(error.message().contains("no room for a backup"));
    assert_eq!(state(vec![first]), (1, 1, 1));
    drop(Store::open(&live, with(vec![first, second], false)).unwrap());
    assert_eq!(state(vec![first, second]), (2, 2, 2));
    let error = refusal(&live, with(vec![first, second, broken], false));
    assert!(error.message().contains("migration 3 `break`"), "{}", error.message());
    assert_eq!(state(vec![first, second]), (2, 2, 2));
    assert_eq!(CALLS.load(Ordering::Relaxed), 3);
    // What was saved is the state before each.
    for (to, schema, rows) in [("2", 1, 1), ("3", 2, 2)] {
        let migrations = [first, second][..schema as usize].to_vec();
        let store = Store::open(&saved.join(to), Options { migrations, ..options() }).unwrap();
        assert_eq!((store.schema().unwrap(), all(&store).len()), (schema, rows));
    }
}
