//! How long entries are kept, what stops their going, and what proves that they went.

use super::*;

/// A log of some hundred old entries, checkpoints between them, and some new ones; with the last change that was followed.
fn aged() -> (Site, TempDir, u64) {
    let (site, folder, mut after) = logged(3);
    for _ in 0..3 {
        tell_many(&site, 40);
        after = follow_all(&site, after);
        checkpoint(&owner(&site), Nothing {}).unwrap();
        after = follow_all(&site, after);
        site.clock.advance(Span::from_days(20));
    }
    (site, folder, after)
}

fn numbers(site: &Site) -> (u64, u64) {
    let read = site.store.read().unwrap();
    let rows = read.prefix(&ENTRIES, &site.home, 10_000).unwrap();
    (rows.first().unwrap().1.number, rows.last().unwrap().1.number)
}

#[test]
fn old_entries_go_behind_a_signed_cut_and_the_rest_proves_itself() {
    let (site, _folder, after) = aged();
    let ctx = owner(&site);
    // For ever, until somebody says otherwise.
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    assert_eq!(numbers(&site).0, 1);
    for days in [retention::DAYS_MIN - 1, retention::DAYS_MAX + 1] {
        assert_eq!(retain(&ctx, Retention { days: Some(days) }).unwrap_err().kind(), Kind::Invalid);
    }
    let kept: Vec<Checkpoint> = checkpoints(&ctx, Nothing {}).unwrap().items;
    retain(&ctx, Retention { days: Some(30) }).unwrap();
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    let after = follow_all(&site, after);
    // Of three parts of 20 days each, the two older ones are over 30 days old.
    let cut = status(&ctx, Nothing {}).unwrap().cut.unwrap();
    assert_eq!((numbers(&site).0, events(&site, "audit.pruned")), (cut.number + 1, 1));
    assert!(kept.iter().any(|checkpoint| checkpoint.number == cut.number));
    let whole = verify(&ctx, Nothing {}).unwrap();
    assert_eq!((whole.wrong, whole.checkpoints), (None, 3));
    // Once more removes nothing more.
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    assert_eq!(events(&site, "audit.pruned"), 1);
    follow_all(&site, after);

    let error = find(&ctx, AuditNumber { number: 2 }).unwrap_err();
    assert!(error.kind() == Kind::NotFound && error.hint_text().unwrap().contains("removed"));
    assert!(find(&ctx, AuditNumber { number: cut.number + 1 }).is_ok());
    // What agents keep of entries that are gone still fits.
    let all: Vec<&Checkpoint> = kept.iter().collect();
    told_by(&site, 7, &all);
    assert_eq!(contradictions(&ctx, Nothing {}).unwrap().items, []);
    // Exports begin at the cut, and the checkpoint there vouches for what the first entry stands on.
    let file = exported(&ctx, ExportAsked::default()).unwrap();
    let proved = prove(&file[..], None).unwrap();
    assert_eq!((proved.range.0, proved.checkpoints), (cut.number + 1, 2));
    let pack = exported(&ctx, ExportAsked { format: "pack".into(), ..ExportAsked::default() }).unwrap();
    assert_eq!(prove_pack(std::io::Cursor::new(&pack[..]), None).unwrap().range.0, cut.number + 1);
    let early = ExportAsked { from: Some(2), ..ExportAsked::default() };
    assert_eq!(exported(&ctx, early).unwrap_err().kind(), Kind::Invalid);
    let Reply::Html(200, page) = pages::list(&ctx, &PageRequest::default()).unwrap() else {
        panic!("not a page")
    };
    assert!(page.contains(&format!("entries up to {} are gone", cut.number)));
}

#[test]
fn entries_that_somebody_makes_go_show_as_gone() {
    let (site, _folder, after) = aged();
    let ctx = owner(&site);
    retain(&ctx, Retention { days: Some(30) }).unwrap();
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    follow_all(&site, after);
    let cut = status(&ctx, Nothing {}).unwrap().cut.unwrap();
    // Somebody without the vault moves the cut to a later checkpoint, which is sound in itself.
    let later = checkpoints(&ctx, Nothing {}).unwrap().items.into_iter().next().unwrap();
    let last = chain::numbered(&site.store.read().unwrap(), site.home, later.number).unwrap().unwrap();
    forge(&site, |tx| {
        for number in cut.number + 1..=later.number {
            let entry = chain::numbered(tx, site.home, number)?.unwrap();
            tx.delete(&ENTRIES, &(site.home, entry.change, entry.place))?;
        }
        let (chain, change, place) = (last.chain, last.change, last.place);
        let forged =
            Cut { number: later.number, chain, change, place, checkpoint: later.clone(), ..cut.clone() };
        tx.put(&store::CUTS, &site.home, &forged)
    });
    let wrong = verify(&ctx, Nothing {}).unwrap().wrong.unwrap();
    assert!(wrong.number == later.number && wrong.what.contains("has not signed"), "{wrong}");
}

#[test]
fn a_hold_keeps_what_it_covers_and_all_after_it() {
    let (site, _folder, after) = aged();
    site.made_of(crate::capabilities::ALL);
    let ctx = owner(&site);
    retain(&ctx, Retention { days: Some(30) }).unwrap();
    let asked =
        |label: &str, only: Narrowed| HoldAsked { label: label.into(), reason: "a case".into(), only };
    for (label, reason) in [("", "x"), ("x", ""), (&"y".repeat(200), "x")] {
        let wrong = HoldAsked { label: label.into(), reason: reason.into(), only: Narrowed::default() };
        assert_eq!(hold(&ctx, wrong).unwrap_err().kind(), Kind::Invalid);
    }
    let bad = Narrowed { since: "soon".into(), ..Narrowed::default() };
    assert_eq!(hold(&ctx, asked("x", bad)).unwrap_err().kind(), Kind::Invalid);
    // Over everything nothing goes.
    let first = hold(&ctx, asked("File 1", Narrowed::default())).unwrap();
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    assert_eq!((numbers(&site).0, events(&site, "audit.pruned")), (1, 0));
    let ended = LiftAsked { number: first.number, reason: "settled".into() };
    assert!(lift(&ctx, ended.clone()).unwrap().lifted.is_some());
    assert_eq!(lift(&ctx, ended).unwrap_err().kind(), Kind::Conflict);
    // Over the second checkpoint's entry it stops there, though the third part is young enough anyway.
    let second = checkpoints(&ctx, Nothing {}).unwrap().items[1].number;
    let only =
        Narrowed { filter: format!("number>{} number<{}", second - 1, second + 1), ..Narrowed::default() };
    let placed = hold(&ctx, asked("File 2", only)).unwrap();
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    let cut = status(&ctx, Nothing {}).unwrap().cut.unwrap();
    assert!(cut.number < second && numbers(&site).0 <= second, "{} {second}", cut.number);
    let listed = holds(&ctx, Nothing {}).unwrap().items;
    assert_eq!(listed.iter().map(|hold| hold.lifted.is_some()).collect::<Vec<_>>(), [false, true]);
    lift(&ctx, LiftAsked { number: placed.number, reason: "over".into() }).unwrap();
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    assert!(status(&ctx, Nothing {}).unwrap().cut.unwrap().number < second, "once a day");
    site.clock.advance(Span::from_days(1));
    retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    assert_eq!(status(&ctx, Nothing {}).unwrap().cut.unwrap().number, second);
    follow_all(&site, after);
    assert_eq!(verify(&ctx, Nothing {}).unwrap().wrong, None);
    assert_eq!((events(&site, "audit.held"), events(&site, "audit.hold_lifted")), (2, 2));
    // As many as may be in force at once.
    for n in 0..holds::HOLDS_MAX {
        hold(&ctx, asked(&format!("n{n}"), Narrowed::default())).unwrap();
    }
    assert_eq!(hold(&ctx, asked("more", Narrowed::default())).unwrap_err().kind(), Kind::TooMany);
}

#[test]
fn a_hold_outlives_a_restore_to_before_it() {
    let (site, _folder, _) = logged(2);
    let ctx = owner(&site);
    let undone = |event: &str, subject: &str, label: &str| Undone {
        tenant: crate::kit::HOME,
        change: 9,
        at: ctx.now,
        actor: "usr_1".into(),
        action: String::new(),
        event: event.into(),
        subject: subject.into(),
        detail: serde_json::json!({ "label": label, "reason": "a case", "only": { "event": "x.y" } })
            .to_string(),
    };
    let all = vec![
        undone("audit.held", "1", "stays"),
        undone("audit.held", "2", "was lifted"),
        undone("audit.hold_lifted", "2", "was lifted"),
    ];
    let restored = crate::kit::recovery_sample(all, ctx.now);
    ctx.require("t.restore").unwrap().write(|change| Audit.restored(&ctx, change, &restored)).unwrap();
    let listed = holds(&ctx, Nothing {}).unwrap().items;
    assert_eq!((listed.len(), listed[0].label.as_str(), listed[0].only.event.as_str()), (1, "stays", "x.y"));
}

#[test]
fn a_clock_that_runs_ahead_costs_a_month_and_not_the_log() {
    let (site, _folder, _) = aged();
    retain(&owner(&site), Retention { days: Some(30) }).unwrap();
    site.clock.advance(Span::from_days(3_650));
    for _ in 0..5 {
        retention::step(&Ctx::system(&site, site.home, "audit.prune")).unwrap();
    }
    // Parts of day 0 and of day 20 may go; that of day 40 is still there.
    let third = checkpoints(&owner(&site), Nothing {}).unwrap().items[0].number;
    assert!(numbers(&site).0 < third, "{:?} {third}", numbers(&site));
}
