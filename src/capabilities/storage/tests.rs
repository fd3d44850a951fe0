//! A disk that fills and empties again, and verifications of a sound and of a damaged site.

use std::cell::Cell;

use super::model::{Chosen, Level, Limits};
use super::*;
use crate::base::{Kind, Timestamp};
use crate::capabilities::identity::tests as identity;
use crate::engine::host::Space;
use crate::engine::logs::Line;
use crate::engine::series::Batch;
use crate::engine::store::Read;
use crate::kit::{Actor, Nothing, Request, Rights, Role, Site};

const GIB: u64 = 1 << 30;
const DAYS: u64 = 4;

/// A few days of logs and metrics on the disk.
fn telemetry(site: &Site) {
    for back in 0..DAYS {
        let at = site.clock.now() - Span::from_days(back);
        let line = Line { at, severity: 2, origin: "sshd", text: "hello" };
        site.logs.append(1, None, &[line]).unwrap().wait().unwrap();
        let batch = Batch { source: 1, at, values: &[("cpu.usage_percent", 1.0)] };
        site.series.append(&[batch]).unwrap().wait().unwrap();
    }
    site.logs.seal_all().unwrap();
    site.series.seal_all().unwrap();
}

/// The events of storage, as name and the words of interest.
fn events(site: &Site) -> Vec<String> {
    let all = site.store.changes(0, 10_000).unwrap();
    let told =
        all.iter().flat_map(|change| &change.events).filter(|event| event.name.starts_with("storage."));
    told.map(|event| match event.name.as_str() {
        "storage.shed" => format!("shed {}", event.subject),
        "storage.level_changed" => {
            format!("{} to {}", event.detail["level"]["before"], event.detail["level"]["after"])
        }
        name => name.to_owned(),
    })
    .map(|text| text.replace('"', ""))
    .collect()
}

#[test]
fn the_levels_go_up_and_down_and_only_telemetry_is_dropped() {
    let (site, _folder) = identity::site();
    telemetry(&site);
    let ctx = Ctx::system(&site, site.home, "test");
    let free = Cell::new(40 * GIB);
    let look = || {
        watch::watch_with(&ctx, &|| Ok(Space { free: free.get(), total: 100 * GIB })).unwrap();
        (watch::level(&site), site.notices.all().first().map(|notice| notice.grave))
    };
    assert_eq!(look(), (Level::Normal, None));
    assert!(events(&site).is_empty(), "nothing is told while all is well");
    free.set(9 * GIB);
    assert_eq!(look(), (Level::Early, Some(false)));
    assert_eq!((site.logs.days().len(), site.series.days().len()), (4, 4), "a warning drops nothing");
    look();
    assert_eq!(events(&site), ["normal to early"], "it is told once");
    free.set(4 * GIB);
    assert_eq!(look(), (Level::Shedding, Some(false)));
    // Nothing that is dropped helps here: everything down to the floor goes, logs before metrics.
    assert_eq!((site.logs.days().len(), site.series.days().len()), (2, 2));
    let expected = ["shed logs", "shed logs", "shed metrics", "shed metrics", "early to shedding"];
    assert_eq!(events(&site)[1..], expected);
    free.set(1 << 20);
    assert_eq!(look(), (Level::Critical, Some(true)));
    free.set(30 * GIB);
    assert_eq!(look(), (Level::Normal, None));
    assert_eq!(events(&site)[6..], ["shedding to critical", "critical to normal"]);
}

#[test]
fn no_more_is_dropped_than_makes_room() {
    let (site, _folder) = identity::site();
    telemetry(&site);
    let ctx = Ctx::system(&site, site.home, "test");
    // Every day that goes gives half a GiB; the level ends at 5.625 GiB.
    let days = || (site.logs.days().len() + site.series.days().len()) as u64;
    let ask = || Ok(Space { free: 5 * GIB - 1 + (2 * DAYS - days()) * GIB / 2, total: 100 * GIB });
    watch::watch_with(&ctx, &ask).unwrap();
    assert_eq!((site.logs.days().len(), site.series.days().len()), (2, 4));
    assert_eq!(watch::level(&site), Level::Early);
}

#[test]
fn a_restart_tells_nothing_again_and_chosen_limits_count() {
    let (site, _folder) = identity::site();
    let ctx = Ctx::system(&site, site.home, "test");
    ops::change(&ctx, ops::LimitsChosen { early_mebibytes: Some(60 * 1024), ..Default::default() }).unwrap();
    let ask = || Ok(Space { free: 40 * GIB, total: 100 * GIB });
    watch::watch_with(&ctx, &ask).unwrap();
    assert_eq!(watch::level(&site), Level::Early);
    assert_eq!(events(&site), ["storage.changed", "normal to early"]);
    let stored = ctx.read().unwrap().get(&store::LEVEL, &ctx.tenant).unwrap();
    assert_eq!(stored, Some(Level::Early));
    let low = ops::LimitsChosen { shedding_mebibytes: Some(1), ..Default::default() };
    assert_eq!(ops::change(&ctx, low).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn what_uses_the_disk_is_told_and_kept_by_day() {
    let (site, _folder) = identity::site();
    telemetry(&site);
    let ctx = Ctx::system(&site, site.home, "test");
    usage::remember(&ctx).unwrap();
    usage::remember(&ctx).unwrap();
    site.clock.advance(Span::from_days(2));
    let ctx = Ctx::system(&site, site.home, "test");
    usage::remember(&ctx).unwrap();
    let days = usage::days(&ctx.read().unwrap(), &ctx, Span::from_days(15)).unwrap();
    assert_eq!(days.len(), 2);
    let view = ops::find(&ctx, Nothing {}).unwrap();
    let of = |what: &str| view.uses.iter().find(|used| used.what == what).unwrap().bytes;
    assert!(of("metrics") > 0 && of("logs") > 0 && of("journal") > 0 && of("state") > 0);
    assert!(view.free_bytes <= view.disk_bytes && view.growth_bytes_a_day.is_some());
    assert_eq!((view.days.len(), view.limits), (4, Limits::of(view.disk_bytes, &Chosen::default())));
    let trimmed = |most: usize| {
        ctx.require("storage.measure")
            .unwrap()
            .write(|change| store::trim(change.tx, &store::DAYS, ctx.tenant, most))
            .unwrap();
        usage::days(&ctx.read().unwrap(), &ctx, Span::from_days(15)).unwrap()
    };
    let left = trimmed(1);
    assert_eq!((left.len(), left[0].at), (1, ctx.now), "the oldest go");
}

fn owner(site: &Site, role: Role) -> Ctx<'_> {
    let name = "Inès".to_owned();
    let (user, session) = (site.clock.id(), site.clock.id());
    Ctx::new(
        site,
        site.home,
        Actor::Person { user, session, name, rights: Rights::of(role), proved: site.clock.now() },
        Request::default(),
    )
}

#[test]
fn a_verification_finds_what_is_damaged_and_keeps_it() {
    static ALL: [&dyn Capability; 1] = [&Storage];
    let (site, folder) = identity::site();
    site.made_of(&ALL);
    telemetry(&site);
    let ctx = Ctx::system(&site, site.home, "test");
    assert_eq!(
        ops::verify_all(&owner(&site, Role::Operator), Nothing {}).unwrap_err().kind(),
        Kind::Forbidden
    );
    let person = owner(&site, Role::Owner);
    ops::verify_all(&person, Nothing {}).unwrap();
    assert_eq!(ops::verify_all(&person, Nothing {}).unwrap_err().kind(), Kind::Conflict);
    verify::run_wanted(&ctx).unwrap();
    assert_eq!(verify::running(&site), None);
    let checks = ops::checks(&person, Nothing {}).unwrap().items;
    let parts: Vec<&str> = checks[0].parts.iter().map(|part| part.part.as_str()).collect();
    assert_eq!(parts, ["store", "metrics", "logs", "keys", "storage"]);
    assert_eq!((checks[0].count, checks[0].by.clone()), (0, person.actor.text()));
    assert_eq!(events(&site), ["storage.verified"]);

    let blocks = std::fs::read_dir(folder.path().join("series/blocks")).unwrap();
    let file = blocks.map(|entry| entry.unwrap().path()).min().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 12;
    bytes[last] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    site.clock.advance(Span::from_minutes(1));
    let ctx = Ctx::system(&site, site.home, "test");
    ops::verify_all(&person, Nothing {}).unwrap();
    verify::run_wanted(&ctx).unwrap();
    let check = ops::checks(&person, Nothing {}).unwrap().items.remove(0);
    // The store of this test names no tables, so that they count as strangers.
    assert_eq!((check.count - check.parts[0].findings, check.parts[1].findings), (1, 1));
    let place = file.display().to_string();
    assert!(check.findings.iter().any(|finding| finding.place.contains(&place)), "{:?}", check.findings);
    assert_eq!(events(&site)[1..], ["storage.damaged"]);
}

#[test]
fn a_verification_runs_by_itself_every_week() {
    let (site, _folder) = identity::site();
    let run = || {
        let ctx = Ctx::system(&site, site.home, "test");
        usage::remember(&ctx).unwrap();
        verify::run_wanted(&ctx).unwrap();
        verify::results(&ctx).unwrap().len()
    };
    assert_eq!(run(), 0);
    for expected in [0, 1, 1, 2] {
        site.clock.advance(Span::from_hours(4 * 24));
        assert_eq!(run(), expected);
    }
    // One that the stop of the server ends leaves nothing behind.
    site.clock.advance(Span::from_days(8));
    site.stop();
    let ctx = Ctx::system(&site, site.home, "test");
    verify::run_wanted(&ctx).unwrap();
    assert_eq!(verify::results(&ctx).unwrap().len(), 2);
    assert!(Timestamp::default() < ctx.now);
}

#[test]
fn the_guide_says_the_limits_of_the_disk() {
    const GIB: u64 = 1 << 30;
    let of = |total| Limits::of(total, &Chosen::default());
    let (small, middle, large) = (of(2 * GIB), of(100 * GIB), of(10_000 * GIB));
    assert_eq!((middle.early_bytes, middle.shedding_bytes), (10 * GIB, 5 * GIB));
    assert_eq!((small.early_bytes, small.shedding_bytes), (GIB / 2, GIB / 4));
    assert_eq!((large.early_bytes, large.shedding_bytes), (20 * GIB, 8 * GIB));
    assert_eq!(middle.critical_bytes, 64 << 20);
    for words in [
        "below a tenth of the disk, between 512 MiB and 20 GiB",
        "below a twentieth of the disk, between 256 MiB and 8 GiB",
        "below 64 MiB nothing is written any more",
    ] {
        assert!(crate::kit::guide::proof::says("storage", words), "{words}");
    }
}
