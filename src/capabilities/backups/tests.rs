//! Whole moves over a site in a temporary folder, with a clock that stands until it is moved.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::store::{self, BACKUPS, STATE};
use super::*;
use crate::base::{Error, Kind, Secret, Span};
use crate::capabilities::identity::tests as identity;
use crate::engine::clock::Clock;
use crate::engine::crypto::Kek;
use crate::engine::store::{Options as StoreOptions, Read, Store, Table, Until};
use crate::kit::{Actor, Difference, FieldDifference, Nothing, Request, Returnable, Rights, Role, Site};

const NOTES: Table<u64, String> = Table::new("notes");

fn owner(site: &Site) -> Ctx<'_> {
    let actor = Actor::Person {
        user: crate::base::UserId::from_bits(1),
        session: crate::base::SessionId::from_bits(1),
        name: "Inès".into(),
        rights: Rights::of(Role::Owner),
        proved: site.clock.now(),
    };
    Ctx::new(site, site.home, actor, Request::default())
}

/// One change that a backup is about.
fn note(site: &Site, key: u64, text: &str) {
    let ctx = owner(site);
    let permit = ctx.require("notes.write").unwrap();
    permit
        .write(|change| {
            change.tx.put(&NOTES, &key, &text.to_owned())?;
            change.tell("notes.written", key, json!({ "text": text }));
            Ok(())
        })
        .unwrap();
    site.clock.advance(Span::from_seconds(10));
}

fn keys(site: &Site) -> Vec<RecoveryKey> {
    site_keys(&owner(site)).unwrap()
}

fn restore(site: &Site, to: &Path, until: Until, keys: &[RecoveryKey]) -> Result<Report> {
    let repository = open_repository(&site.folder.join("backups"))?;
    let restoring = Restoring {
        keys,
        kek: &|folder| Kek::File(folder.join("kek")),
        telemetry: true,
        clock: &site.clock,
        by: "test",
        progress: &Meter::new(&site.clock, 0),
    };
    restore_into(to, &repository, &until, &restoring)
}

fn notes(folder: &Path, clock: &Clock) -> Vec<(u64, String)> {
    let store = Store::open(&folder.join("store"), StoreOptions::new(clock.clone())).unwrap();

    store.read().unwrap().prefix(&NOTES, &(), 100).unwrap()
}

fn texts(rows: &[(u64, String)]) -> Vec<&str> {
    rows.iter().map(|(_, text)| text.as_str()).collect()
}

/// A site with a full backup of two notes and one file of changes with a third and a changed one.
fn saved() -> (Site, TempDir, Backup, Backup) {
    let (site, folder) = identity::site();
    note(&site, 1, "one");
    note(&site, 2, "two");
    let full = full(&owner(&site), None).unwrap();
    site.clock.advance(Span::from_seconds(60));
    note(&site, 3, "three");
    note(&site, 1, "eins");
    let later = changes(&owner(&site)).unwrap().expect("there is news");
    (site, folder, full, later)
}

#[test]
fn a_backup_comes_back_whole_and_to_any_second() {
    let (site, folder, full, later) = saved();
    assert!(full.full && full.verified.is_some() && full.here && !later.full);
    assert_eq!(later.first, full.last + 1, "the chain begins behind the full backup");
    assert!(changes(&owner(&site)).unwrap().is_none(), "our own bookkeeping is no news");
    let at = |name: &str| folder.path().join(name);
    let keys = keys(&site);
    let report = restore(&site, &at("end"), Until::End, &keys).unwrap();
    assert_eq!(texts(&notes(&at("end"), &site.clock)), ["eins", "two", "three"]);
    assert_eq!((report.restored.generation, report.files.len(), report.undone), (2, 2, 0));
    assert!(at("end").join(RESTORED).is_file() && !at("end.part").exists());
    let vault = crate::engine::crypto::Vault::open(
        &at("end").join("keys"),
        &Kek::File(at("end").join("kek")),
        &site.clock,
    );
    assert!(vault.unwrap().get("recovery.1").unwrap().is_some(), "the vault came back under its new key");

    // Up to the second before the note that was changed last.
    let undone = full.made + Span::from_seconds(61);
    let report = restore(&site, &at("then"), Until::At(undone), &keys).unwrap();
    assert_eq!(texts(&notes(&at("then"), &site.clock)), ["one", "two", "three"]);
    let told: Vec<&str> = report.restored.undone.iter().map(|u| u.event.as_str()).collect();
    assert!(told.contains(&"notes.written"), "{told:?}");
    let kept: Restored = serde_json::from_slice(&fs::read(at("then").join(RESTORED)).unwrap()).unwrap();
    assert_eq!(kept, report.restored);

    let report = restore(&site, &at("full"), Until::Change(full.last), &keys).unwrap();
    assert_eq!(texts(&notes(&at("full"), &site.clock)), ["one", "two"]);
    assert_eq!(report.restored.change, full.last);
    let error = restore(&site, &at("full"), Until::End, &keys).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "a folder that is there is not touched");
}

#[test]
fn a_wrong_key_a_flipped_bit_and_a_missing_file_are_told_by_name() {
    let (site, folder, full, later) = saved();
    let at = |name: &str| folder.path().join(name);
    let keys = keys(&site);
    let wrong = [RecoveryKey::generate(&Clock::system()).unwrap()];
    let error = restore(&site, &at("x"), Until::End, &wrong).unwrap_err();
    assert!(error.message().contains("does not open") && error.message().contains(&full.name), "{error}");
    assert!(!at("x").exists() && !at("x.part").exists(), "nothing half done");

    let path = site.folder.join("backups").join(&later.name);
    let sound = fs::read(&path).unwrap();
    let mut bad = sound.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&path, &bad).unwrap();
    let error = restore(&site, &at("x"), Until::End, &keys).unwrap_err();
    assert!(error.message().contains(&later.name), "{error}");
    fs::write(&path, &sound).unwrap();

    note(&site, 4, "four");
    let newest = changes(&owner(&site)).unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    let error = restore(&site, &at("x"), Until::End, &keys).unwrap_err();
    assert!(error.message().contains("missing") && error.message().contains(&newest.name), "{error}");
    assert!(!at("x.part").exists());
}

#[test]
fn one_run_at_a_time_and_a_stop_leaves_nothing() {
    let (site, _folder) = identity::site();
    note(&site, 1, "one");
    let ctx = owner(&site);
    let memory = memory::of(&site);
    let running = memory.begin(&ctx, true, 0).unwrap();
    assert_eq!(full(&ctx, None).unwrap_err().kind(), Kind::Conflict);
    assert!(ops::stop(&ctx, Nothing {}).is_ok() && running.meter.stopped());
    drop(running);
    assert_eq!(ops::stop(&ctx, Nothing {}).unwrap_err().kind(), Kind::Conflict);
    let stopped = Meter::new(&site.clock, 0);
    stopped.stop();
    let options = Options::of(&ctx, Some(false)).unwrap();
    assert!(write_full(&ctx, Vec::new(), &options, &stopped).is_err());
    halt(&site);
    assert_eq!(full(&ctx, None).unwrap_err().kind(), Kind::Unavailable);
    assert!(ops::list(&ctx, Nothing {}).unwrap().items.is_empty());
}

#[test]
fn the_schedule_takes_what_is_due_and_mends_a_gap() {
    let (site, _folder) = identity::site();
    note(&site, 1, "one");
    let system = |site| Ctx::system(site, site.home, "backups.schedule");
    let count = |site: &Site| ops::list(&owner(site), Nothing {}).unwrap().items.len();
    run::schedule(&system(&site)).unwrap();
    assert_eq!(count(&site), 0, "a new site is left alone for a while");
    site.clock.advance(FIRST_AFTER);
    run::schedule(&system(&site)).unwrap();
    assert_eq!(count(&site), 1);
    site.clock.advance(Span::from_minutes(16));
    run::schedule(&system(&site)).unwrap();
    assert_eq!(count(&site), 1, "nothing has happened");
    note(&site, 2, "two");
    run::schedule(&system(&site)).unwrap();
    assert_eq!(count(&site), 2);
    ops::create(&owner(&site), ops::CreateBackup { telemetry: Some(false) }).unwrap();
    assert!(ops::list(&owner(&site), Nothing {}).unwrap().waiting);
    run::schedule(&system(&site)).unwrap();
    let list = ops::list(&owner(&site), Nothing {}).unwrap();
    assert!(!list.waiting && list.items[0].full && !list.items[0].telemetry);
}

#[test]
fn a_gap_in_the_journal_is_told_and_a_full_backup_begins_a_new_chain() {
    let (site, _folder, _, later) = saved();
    let ctx = owner(&site);
    let state = || store::state(&site.store.read().unwrap(), site.home).unwrap();
    assert_eq!(state().chained, later.last);
    let gone = Error::not_found("change", later.last + 1);
    run::gap(&ctx, &state(), &gone).unwrap();
    let newest = ops::list(&ctx, Nothing {}).unwrap().items.remove(0);
    assert!(newest.full && state().chained == newest.last, "the chain begins behind it");
    let changes = site.store.changes(0, 1_000).unwrap();
    assert!(changes.iter().flat_map(|c| &c.events).any(|e| e.name == "backups.gap"));
    // An older copy of the folder was put in place: the chain is ahead of the store, which nothing could follow.
    let ahead = |state: &mut model::State| state.chained = 1_000_000;
    ctx.require("x.x").unwrap().write(|change| store::remember(&ctx, change, ahead)).unwrap();
    note(&site, 9, "nine");
    assert!(super::changes(&ctx).unwrap().is_none());
    site.clock.advance(FIRST_AFTER);
    run::schedule(&Ctx::system(&site, site.home, "backups.schedule")).unwrap();
    let newest = ops::list(&ctx, Nothing {}).unwrap().items.remove(0);
    assert!(newest.full && state().chained == newest.last);
}

#[test]
fn the_recovery_key_is_shown_checked_and_rotated() {
    let (site, folder, full, _) = saved();
    let ctx = owner(&site);
    let kit = ops::kit(&ctx, ops::AskKit::default()).unwrap();
    assert!(kit.secrets[0].starts_with("AGE-SECRET-KEY-1") && kit.key.shown.is_some());
    let check = |text: &str| ops::check_key(&ctx, ops::TypedKey { text: Secret::new(text.to_owned()) });
    let checked = check(&kit.secrets[0].to_lowercase()).unwrap();
    assert!(checked.opens && checked.number == Some(1) && checked.backup == full.name, "{checked:?}");
    assert!(ops::key_list(&ctx, Nothing {}).unwrap()[0].checked.is_some());
    let shares = ops::kit(&ctx, ops::AskKit { number: None, shares: true }).unwrap().secrets;
    assert_eq!(shares.len(), 3);
    assert!(check(&format!("{}\n{}", shares[0], shares[2])).unwrap().opens);
    assert!(check(&shares[1]).unwrap_err().message().contains("one share"));
    let strange = RecoveryKey::generate(&Clock::system()).unwrap();
    let checked = check(strange.text().expose()).unwrap();
    assert!(
        !checked.opens && checked.number.is_none() && checked.text.contains("does not open"),
        "{checked:?}"
    );
    let events = site.store.changes(0, 1_000).unwrap();
    let shown = events.iter().flat_map(|c| &c.events).filter(|e| e.name == "backups.kit_shown").count();
    assert_eq!(shown, 2);
    assert!(!events.iter().any(|c| format!("{c:?}").contains("AGE-SECRET")), "no secret in the journal");

    assert_eq!(ops::rotate_key(&ctx, Nothing {}).unwrap().number, 2);
    site.clock.advance(Span::from_seconds(5));
    let newer = super::full(&ctx, None).unwrap();
    assert_ne!(newer.recipients, full.recipients);
    // The keys of the vault open old and new ones; the old kit opens the old ones alone.
    let old = [RecoveryKey::parse(&kit.secrets[0]).unwrap()];
    let before = Until::At(full.made + Span::from_seconds(1));
    assert!(restore(&site, &folder.path().join("old"), before, &old).is_ok());
    assert!(restore(&site, &folder.path().join("new"), Until::End, &old).is_err());
    assert!(restore(&site, &folder.path().join("new"), Until::End, &keys(&site)).is_ok());
    assert!(!check(&kit.secrets[0]).unwrap().opens);

    let viewer = Actor::Person {
        user: crate::base::UserId::from_bits(2),
        session: crate::base::SessionId::from_bits(2),
        name: "Omar".into(),
        rights: Rights::of(Role::Operator),
        proved: site.clock.now(),
    };
    let ctx = Ctx::new(&site, site.home, viewer, Request::default());
    assert_eq!(ops::kit(&ctx, ops::AskKit::default()).err().unwrap().kind(), Kind::Forbidden);
    assert!(ops::list(&ctx, Nothing {}).is_ok());
}

#[test]
fn a_drill_is_signed_and_told() {
    let (site, _folder) = identity::site();
    let ctx = owner(&site);
    let drill = Drill {
        began: ctx.now,
        backup: "x.muster".into(),
        change: 5,
        at: ctx.now,
        bytes: 1,
        restored_ms: 10,
        ready_ms: 20,
        checked: vec!["every sum".into()],
        failure: String::new(),
    };
    assert!(!due_drill(&ctx).unwrap(), "nothing to restore yet");
    drill::ask(&ctx, Nothing {}).unwrap();
    assert!(due_drill(&ctx).unwrap());
    let record = record_drill(&ctx, drill.clone()).unwrap();
    assert!(!due_drill(&ctx).unwrap() && is_authentic(&ctx, &record).unwrap());
    let forged = DrillRecord { drill: Drill { ready_ms: 1, ..drill.clone() }, ..record };
    assert!(!is_authentic(&ctx, &forged).unwrap());
    site.clock.advance(Span::from_seconds(1));
    let failure = "`x.muster` is damaged at byte 17".to_owned();
    record_drill(&ctx, Drill { failure: failure.clone(), ..drill }).unwrap();
    assert_eq!(ops::overview(&ctx).unwrap().drill.unwrap().drill.failure, failure);
    let events = site.store.changes(0, 100).unwrap();
    let failed = events.iter().flat_map(|c| &c.events).find(|e| e.name == "backups.drill_failed").unwrap();
    assert!(failed.detail.to_string().contains("byte 17"));
}

#[test]
fn a_restored_site_begins_a_generation_with_a_full_backup() {
    let (site, _folder, full, _) = saved();
    let ctx = owner(&site);
    let restored = Restored {
        id: "r".into(),
        generation: 2,
        change: full.last,
        at: full.at,
        restored: ctx.now,
        by: "root".into(),
        source: full.name,
        undone: Vec::new(),
    };
    ctx.require("backups.mend").unwrap().write(|change| Backups.restored(&ctx, change, &restored)).unwrap();
    assert_eq!(ops::overview(&ctx).unwrap().generation, 2);
    assert_eq!(ops::restores(&ctx, Nothing {}).unwrap()[0].by, "root");
    site.clock.advance(FIRST_AFTER);
    run::schedule(&Ctx::system(&site, site.home, "backups.schedule")).unwrap();
    let newest = ops::list(&ctx, Nothing {}).unwrap().items.remove(0);
    assert!(newest.full && newest.generation == 2);
    let state = site.store.read().unwrap().get(&STATE, &site.home).unwrap().unwrap();
    assert_eq!((state.generation, state.chained), (2, newest.last));
}

#[test]
fn files_that_come_and_go_by_other_hands_are_noticed() {
    let (site, _folder, full, later) = saved();
    let ctx = owner(&site);
    let folder = folder(&ctx);
    // The catalogue is of an older backup: the file is there and nobody knows of it.
    ctx.require("x.x")
        .unwrap()
        .write(|change| change.tx.delete(&BACKUPS, &(site.home, full.name.clone())))
        .unwrap();
    fs::remove_file(folder.join(&later.name)).unwrap();
    ship::tidy(&ctx).unwrap();
    let items = ops::list(&ctx, Nothing {}).unwrap().items;
    assert_eq!(items.len(), 1);
    assert_eq!((items[0].name.as_str(), items[0].at), (full.name.as_str(), full.at));
    assert!(items[0].verified.is_some(), "it was read, for the vault has its key");
    fs::write(folder.join(&later.name), b"age-encryption.org/v1\nno").unwrap();
    ship::tidy(&ctx).unwrap();
    let items = ops::list(&ctx, Nothing {}).unwrap().items;
    assert!(items.iter().any(|b| b.name == later.name && b.verified.is_none()));
}

/// A capability whose notes can be brought back.
struct Notes;

impl Capability for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }
    fn returnable(&self) -> &'static [Returnable] {
        &[Returnable {
            word: "notes",
            title: "Note",
            permission: "notes.write",
            differing: |ctx, then, filter| {
                let now = ctx.read()?;
                let rows = then.prefix(&NOTES, &(), 100)?;
                let differs = |(key, was): (u64, String)| match now.get(&NOTES, &key) {
                    Ok(is) if is.as_ref() != Some(&was) && was.contains(filter) => {
                        Some(difference(key, is, was))
                    }
                    _ => None,
                };
                Ok(rows.into_iter().filter_map(differs).collect())
            },
            bring_back: |_, change, then, subject| {
                let key: u64 = subject.parse()?;
                let was = then.get(&NOTES, &key)?.ok_or_else(|| Error::not_found("note", key))?;
                let is = change.tx.get(&NOTES, &key)?;
                if is.as_ref() == Some(&was) {
                    return Err(Error::conflict("it is as it was"));
                }
                change.tx.put(&NOTES, &key, &was)?;
                change.tell("notes.brought_back", key, json!({}));
                Ok(difference(key, is, was))
            },
        }]
    }
}

fn difference(key: u64, now: Option<String>, then: String) -> Difference {
    let now = now.unwrap_or_default();
    let fields = vec![FieldDifference { field: "text".into(), now, then: then.clone() }];
    Difference { subject: key.to_string(), name: then, fields }
}

#[test]
fn the_past_is_looked_at_and_one_thing_brought_back() {
    let (site, _folder, full, _) = saved();
    site.made_of(&[&Notes]);
    let ctx = owner(&site);
    let at = (full.made + Span::from_seconds(61)).to_string();
    let when = past::When { at: at.clone(), change: None };
    let preview = past::preview(&ctx, when).unwrap();
    let told: Vec<&str> = preview.events.iter().map(|u| u.event.as_str()).collect();
    assert_eq!((told, preview.events_count), (vec!["notes.written"], 1), "our own events are left out");
    assert_eq!(preview.by.len(), 1);
    let asked = past::Then { at: at.clone(), word: "notes".into(), ..past::Then::default() };
    let then = past::then(&ctx, asked.clone()).unwrap();
    assert_eq!(then.items.len(), 1);
    assert_eq!(
        (then.items[0].fields[0].then.as_str(), then.items[0].fields[0].now.as_str()),
        ("one", "eins")
    );
    assert_eq!(fs::read_dir(site.folder.join("scratch")).unwrap().count(), 1, "one past at a time");
    let back = past::BringBack { at, change: None, word: "notes".into(), subject: "1".into() };
    assert_eq!(past::bring_back(&ctx, back.clone()).unwrap().name, "one");
    assert_eq!(site.store.read().unwrap().get(&NOTES, &1).unwrap().unwrap(), "one");
    assert_eq!(past::bring_back(&ctx, back).unwrap_err().kind(), Kind::Conflict);
    assert!(past::then(&ctx, asked).unwrap().items.is_empty());
    site.clock.advance(Span::from_minutes(11));
    past::tidy(&ctx).unwrap();
    assert_eq!(fs::read_dir(site.folder.join("scratch")).unwrap().count(), 0, "it goes when nobody looks");
    // Minutes that no backup has yet can be looked at too.
    note(&site, 1, "uno");
    let now = (site.clock.now() - Span::from_seconds(1)).to_string();
    note(&site, 1, "un");
    let asked = past::Then { at: now, word: "notes".into(), ..past::Then::default() };
    assert_eq!(past::then(&owner(&site), asked).unwrap().items[0].fields[0].then, "uno");
    let before = past::When { at: "2020-01-01 00:00".into(), change: None };
    assert!(past::preview(&ctx, before).is_ok(), "the journal still has everything");
    let asked = past::Then { at: "2020-01-01".into(), word: "notes".into(), ..past::Then::default() };
    let error = past::then(&ctx, asked).unwrap_err();
    assert!(error.message().contains("oldest full backup"), "{error}");
}

#[test]
fn the_guide_says_what_happens_by_itself() {
    let plan = Plan::default();
    assert!(plan.on && plan.drill && plan.full_every_days == 1 && plan.full_at.len() == 1);
    assert_eq!((plan.changes_every, FIRST_AFTER), (Span::from_minutes(15), Span::from_minutes(10)));
    assert_eq!(plan.retention.window_days, 7);
    for words in
        ["the changes since every 15 minutes", "ten minutes after its first start", "the last 7 days"]
    {
        assert!(crate::kit::guide::proof::says("backups", words), "{words}");
    }
}
