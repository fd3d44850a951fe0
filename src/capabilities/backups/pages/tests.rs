//! Every page of backups, rendered with samples.

use std::collections::BTreeMap;

use super::kinds::KINDS;
use super::views::*;
use super::*;
use crate::capabilities::backups::model::{
    Backup, Drill, DrillRecord, Outcome, Progress, RecoveryKeyRow, Run,
};
use crate::capabilities::backups::ops::{BackupList, Overview};
use crate::capabilities::backups::targets::{Fares, Target};
use crate::kit::{Markup, Undone, proof};

fn now() -> Timestamp {
    Timestamp::from_milliseconds(1_790_000_300_000)
}

fn backup(n: u64, full: bool) -> Backup {
    let made = now() - Span::from_minutes(15 * (n + 1));
    Backup {
        name: format!(
            "plant-03-lyon-20261125T14{n:02}00Z-{}-{:012}.muster",
            if full { "full" } else { "changes" },
            9_000 - n
        ),
        full,
        generation: 1,
        first: if full { 0 } else { 8_000 - n },
        last: 9_000 - n,
        at: made,
        made,
        bytes: 1_234_567_890 / (n + 1),
        took_ms: 4_200 * (n + 1),
        telemetry: true,
        verified: (n != 3).then_some(made),
        here: true,
        targets: BTreeMap::from([("t1".to_owned(), made)]),
        recipients: vec!["age1x".into()],
    }
}

fn target(id: &str, fares: Fares) -> Target {
    let settings = serde_json::json!({ "kind": "folder", "path": "/srv/<b>backups" });
    Target {
        id: id.into(),
        name: "NAS in hall B".parse().unwrap(),
        on: true,
        outside: true,
        settings: serde_json::from_value(settings).unwrap(),
        added: now(),
        by: "usr_x".into(),
        secret: None,
        fares,
    }
}

fn drill(failure: &str) -> DrillRecord {
    let drill = Drill {
        began: now(),
        backup: backup(0, true).name,
        change: 9_000,
        at: now(),
        bytes: 5,
        restored_ms: 30_000,
        ready_ms: 41_000,
        checked: vec!["every sum of 5 files".into(), "a sign-in page".into()],
        failure: failure.into(),
    };
    DrillRecord { drill, recorded: now() - Span::from_hours(9), key: "00".into(), signature: "00".into() }
}

fn sample(running: bool) -> BackupList {
    let items: Vec<Backup> = (0..8).map(|n| backup(n, n == 2)).collect();
    let progress = Progress {
        phase: "state".into(),
        began: now(),
        bytes: 1_200_000_000,
        bytes_total: 3_000_000_000,
        bytes_per_second: 180_000_000,
        seconds_left: Some(10),
        stopping: false,
    };
    BackupList {
        overview: Overview {
            full: Some(items[2].clone()),
            last: Some(items[0].clone()),
            left_building: Some(now() - Span::from_hours(3)),
            drill: Some(drill(if running { "" } else { "`x.muster` is damaged at byte <17>" })),
            window_from: Some(now() - Span::from_days(7)),
            window_to: Some(now()),
            failing: if running { String::new() } else { "no room".into() },
            generation: 1,
        },
        running: running.then_some(progress),
        waiting: false,
        items,
        runs: vec![Run {
            began: now(),
            ended: now(),
            full: true,
            outcome: Outcome::Failed,
            name: String::new(),
            error: "a backup of about 900 MiB does not fit".into(),
            hint: "free some of the disk".into(),
        }],
    }
}

fn key(number: u32) -> KeyView {
    let row = RecoveryKeyRow {
        number,
        recipient: "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".into(),
        made: now(),
        checked: Some(now()),
        shown: None,
    };
    KeyView::new(&row, number == 2, now())
}

#[test]
fn the_list_obeys_the_rules() {
    let failing = Fares {
        failing: Some(now()),
        text: "no route to host".into(),
        hint: "look".into(),
        ..Fares::default()
    };
    let good = Fares { copied: Some(now()), ..Fares::default() };
    let waiting = Fares { waiting: true, text: "waits for the stick `BLUE`".into(), ..Fares::default() };
    let fares = [good, failing, waiting];
    let targets: Vec<Target> =
        fares.into_iter().enumerate().map(|(n, f)| target(&format!("t{n}"), f)).collect();
    let list = sample(true);
    let page = BackupListPage {
        shell: proof::shell("Backups", "/backups"),
        state: StateView::new(&list, now()),
        rows: list.items.iter().map(|b| BackupRow::new(b, &targets, now())).collect(),
        more: 3,
        runs: list.runs.iter().map(|run| RunRow::new(run, now())).collect(),
        targets: targets.iter().map(|t| TargetRow::new(t, "folder `/srv`".into(), None, now())).collect(),
        kinds: KINDS.to_vec(),
        plan: PlanForm::new(Plan::default()),
        keys: vec![key(2), key(1)],
        drills: vec![DrillView::new(&drill(""), now()), DrillView::new(&drill("damaged <b>"), now())],
        may_change: true,
        folder: "/var/lib/muster".into(),
    };
    let html = proof::page("backups-list", &page);
    assert!(
        html.contains("Stop</button>")
            && html.contains("Back in 41 s")
            && html.contains("out of the building")
    );
    let bad = sample(false);
    let worse = BackupListPage { state: StateView::new(&bad, now()), may_change: false, ..page.clone() };
    let html = proof::page("backups-failing", &worse);
    assert!(html.contains("drill failed") && html.contains("no room") && !html.contains("<17>"));
    assert!(!html.contains("Take a full backup"), "who may not is not asked");
    let (rows, targets, keys, drills) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut list, csrf) = (bad, "0f1e2d3c4b5a69788796a5b4c3d2e1f0");
    list.overview = Overview {
        full: None,
        last: None,
        left_building: None,
        drill: None,
        window_from: None,
        window_to: None,
        failing: String::new(),
        generation: 1,
    };
    let state = StateView::new(&list, now());
    proof::page(
        "backups-empty",
        &BackupListPage { state, rows, targets, keys, drills, more: 0, ..page.clone() },
    );
    proof::page("backups-rows-part", &RowsPart { rows: page.rows });
    proof::page(
        "backups-state-part",
        &StatePart { state: page.state, assets: "/static/test", csrf, may_change: true },
    );
}

#[test]
fn the_kit_is_a_page_to_print() {
    let card =
        |title: &str, text: &str| KitCard { title: title.into(), text: text.into(), code: qr(text).unwrap() };
    let page = KitPage {
        shell: proof::shell("Recovery kit", "/backups"),
        cards: vec![card(
            "The recovery key",
            "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQS4AAAAA",
        )],
        shares: false,
        key: Some(key(2)),
        keys: vec![key(2), key(1)],
        day: now().day(),
    };
    assert!(proof::page("backups-kit", &page).contains("age -d -i key.txt"));
    let share =
        "MUSTER-SHARE-2-AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG-HHHH-IIII-JJJJ-KKKK-LLLL-MMMM-NNNN-OOOO-PPPP";
    let cards = (1..=3).map(|n| card(&format!("Share {n} of 3"), share)).collect();
    proof::page("backups-kit-shares", &KitPage { cards, shares: true, ..page.clone() });
    let asked = proof::page("backups-kit-ask", &KitPage { cards: Vec::new(), ..page });
    assert!(!asked.contains("AGE-SECRET") && asked.contains("Show the kit"));
}

#[test]
fn the_past_is_chosen_and_things_are_brought_back() {
    let undone = Undone {
        tenant: crate::kit::HOME,
        change: 8_999,
        at: now(),
        actor: "usr_01".into(),
        action: "agents.change".into(),
        event: "agents.changed".into(),
        subject: "agt_01<b>".into(),
        detail: "{}".into(),
    };
    let tab = |title, current| KindTab { title, href: "/backups/time?word=x".into(), current };
    let page = TimePage {
        shell: proof::shell("Any second back", "/backups"),
        at: "2026-09-21T14:02:00".into(),
        from: "2026-09-14T02:00:11".into(),
        to: "2026-09-21T14:18:20".into(),
        window: "14 Sep 2026 02:00:11 UTC".into(),
        error: String::new(),
        chosen: true,
        summary: "214 changes since, which told 96 events, would be undone.".into(),
        by: vec![("Inès Moreau".into(), 90), ("Muster".into(), 6)],
        undone: (0..12).map(|_| UndoneRow::new(&undone)).collect(),
        more: 84,
        tabs: vec![tab("Agents", true), tab("People", false)],
        word: "agents".into(),
        filter: String::new(),
        differences: vec![DifferenceRow {
            subject: "agt_01".into(),
            name: "lyon-press-07".into(),
            fields: vec![("name".into(), "lyon-press-7".into(), "lyon-press-07".into()), ("note".into(), String::new(), "<i>".into())],
        }],
        may_change: true,
        command: "muster restore /var/lib/muster/backups --data /var/lib/muster --key key.txt --at '2026-09-21 14:02:00' --replace".into(),
    };
    let html = proof::page("backups-time", &page);
    assert!(html.contains("Bring back") && html.contains("--replace") && !html.contains("agt_01<b>"));
    let error = "the oldest full backup is of yesterday; choose that instant or a later one".into();
    proof::page("backups-time-error", &TimePage { chosen: false, error, ..page.clone() });
    let none = TimePage { chosen: false, window: String::new(), at: String::new(), ..page };
    assert!(proof::page("backups-time-none", &none).contains("no full backup yet"));
    let _ = Markup::default();
}

#[test]
fn settings_are_read_from_their_form() {
    let form = |pairs: &[(&str, &str)]| PageRequest {
        form: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..PageRequest::default()
    };
    assert!(kinds::settings(&form(&[("kind", "folder"), ("path", "/srv/x")])).is_ok());
    for (pairs, word) in [
        (vec![("kind", "folder")], "Path"),
        (vec![("kind", "folder"), ("path", "/x"), ("keep_free_bytes", "much")], "whole number"),
        (vec![("kind", "tape")], "kind"),
    ] {
        let error = kinds::settings(&form(&pairs)).unwrap_err();
        assert!(error.message().contains(word), "{error}");
    }
}
