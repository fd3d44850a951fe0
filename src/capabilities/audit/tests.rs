//! The follower and the list over a site in a temporary folder.

mod keeping;
mod leaving;

use std::io::BufReader;

use tempfile::TempDir;

use super::store::{CHECKPOINTS, ENTRIES, HEADS};
use super::*;
use crate::base::{AgentId, Kind, TenantId, Timestamp};
use crate::capabilities::identity::{login_link, session_actor, tests as identity};
use crate::engine::store::{Origin, Read, Tx};
use crate::kit::{
    Actor, AgentRef, Nothing, PageRequest, Reply, Request, Rights, Role, Site, Undone, begin_generation,
};
use crate::wire::{Checkpoint, Hello, Up};

/// Follows everything that is new, as the runner does.
fn follow_all(site: &Site, mut after: u64) -> u64 {
    let ctx = Ctx::system(site, site.home, "audit");
    for told in site.store.changes(after, 10_000).unwrap() {
        after = told.number;
        if !told.events.is_empty() {
            ctx.require("audit.follow").unwrap().write(|change| follow::follow(&ctx, change, &told)).unwrap();
        }
    }
    after
}

fn ask(filter: &str, after: Option<String>, limit: usize) -> AuditAsked {
    AuditAsked {
        narrowed: Narrowed { filter: filter.into(), ..Narrowed::default() },
        after,
        limit: Some(limit),
    }
}

#[test]
fn events_become_entries_once_newest_first_in_pages() {
    let (site, _folder, cookie) = identity::owned();
    for _ in 0..6 {
        login_link(&site).unwrap();
    }
    follow_all(&site, 0);
    // Following again from the start gives the same entries.
    follow_all(&site, 0);
    let (_, actor) = session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let ctx = Ctx::new(&site, site.home, actor, Request::default());

    let all = list(&ctx, ask("", None, 100)).unwrap();
    assert_eq!((all.items.len(), all.next), (7, None));
    let mut chain = Chain::genesis(site.home);
    for (n, entry) in all.items.iter().rev().enumerate() {
        chain = chain.next(entry);
        assert_eq!((entry.number, entry.chain), (n as u64 + 1, chain));
        assert_eq!(&find(&ctx, AuditNumber { number: entry.number }).unwrap(), entry);
    }
    assert_eq!(find(&ctx, AuditNumber { number: 8 }).unwrap_err().kind(), Kind::NotFound);
    let first = all.items.last().unwrap();
    assert_eq!((first.event.as_str(), first.name.as_str()), ("identity.set_up", "Inès Moreau"));
    assert_eq!(all.items[0].who(), "Muster");
    assert!(all.items.windows(2).all(|pair| pair[0].change > pair[1].change));

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = list(&ctx, ask("event:identity.link_made", after, 4)).unwrap();
        seen.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.len(), 6);
    assert_eq!(list(&ctx, ask("actor:\"inès moreau\"", None, 9)).unwrap().items.len(), 1);
    assert_eq!(list(&ctx, ask("", Some("x".into()), 9)).unwrap_err().kind(), Kind::Invalid);
    let nobody = Ctx::new(&site, site.home, Actor::Anonymous, Request::default());
    assert_eq!(list(&nobody, ask("", None, 9)).unwrap_err().kind(), Kind::Unauthenticated);
}

#[test]
fn the_page_renders_with_and_without_a_mistake() {
    let (site, _folder, cookie) = identity::owned();
    follow_all(&site, 0);
    let (_, actor) = session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let ctx = Ctx::new(&site, site.home, actor, Request::default());
    for (filter, status, part) in
        [("", 200, "identity.set_up"), ("nothing", 200, "Nothing matches"), ("\"open", 422, "quotation mark")]
    {
        let mut request = PageRequest::default();
        request.query.insert("filter".into(), filter.into());
        let Reply::Html(had, text) = pages::list(&ctx, &request).unwrap() else { panic!("not a page") };
        assert!(had == status && text.contains(part) && !text.contains("style="), "{filter}");
    }
}

/// A site whose log has so many entries, and an owner.
fn logged(entries: usize) -> (Site, TempDir, u64) {
    let (site, folder, _) = identity::owned();
    for _ in 1..entries {
        login_link(&site).unwrap();
    }
    let after = follow_all(&site, 0);
    (site, folder, after)
}

fn owner(site: &Site) -> Ctx<'_> {
    let (user, session) = (crate::base::UserId::from_bits(1), crate::base::SessionId::from_bits(1));
    Ctx::new(
        site,
        site.home,
        Actor::Person {
            user,
            session,
            name: "Inès".into(),
            rights: Rights::of(Role::Owner),
            proved: Timestamp::default(),
        },
        Request::default(),
    )
}

/// So many changes that tell an event each.
fn tell_many(site: &Site, count: usize) {
    let ctx = owner(site);
    let told = |change: &mut Change<'_>| {
        change.tell("t.told", "x", serde_json::json!({ "text": "y".repeat(100) }));
        Ok(())
    };
    let mut pending = None;
    for _ in 0..count {
        pending = Some(ctx.require("t.tell").unwrap().submit(told).unwrap().1);
    }
    pending.unwrap().wait().unwrap();
}

/// An agent comes and tells what it keeps.
fn told_by(site: &Site, agent: u128, kept: &[&Checkpoint]) {
    let agent = AgentId::from_bits(agent);
    let ctx = Ctx::new(site, site.home, Actor::Agent { agent }, Request::default());
    let checkpoints = kept.iter().map(|c| (*c).clone()).collect();
    let hello = Up::Hello(Hello { checkpoints, ..Hello::default() });
    let from = AgentRef { tenant: site.home, agent, session: 1 };
    witness::hello(&ctx, from, &hello).unwrap().wait().unwrap();
}

/// What somebody with the disk in their hands may do.
fn forge(site: &Site, f: impl FnOnce(&mut Tx) -> Result<()>) {
    site.store.write(Origin::default(), f).unwrap();
}

/// The log as if its last entries, and everything that speaks of them, had never been.
fn cut(site: &Site, keep: u64) {
    let tenant = site.home;
    forge(site, |tx| {
        for (key, entry) in tx.prefix(&ENTRIES, &tenant, 10_000)? {
            if entry.number > keep {
                tx.delete(&ENTRIES, &key)?;
            } else if entry.number == keep {
                let Entry { number, chain, change, place, .. } = entry;
                tx.put(&HEADS, &tenant, &Head { number, chain, change, place })?;
            }
        }
        for (key, checkpoint) in tx.prefix(&CHECKPOINTS, &tenant, 10_000)? {
            if checkpoint.number > keep {
                tx.delete(&CHECKPOINTS, &key)?;
            }
        }
        Ok(())
    });
}

fn events(site: &Site, name: &str) -> usize {
    let changes = site.store.changes(0, 10_000).unwrap();
    changes.iter().flat_map(|change| &change.events).filter(|event| event.name == name).count()
}

#[test]
fn a_log_that_was_cut_off_is_found_out_by_an_agent() {
    let (site, _folder, after) = logged(8);
    let ctx = owner(&site);
    let early = checkpoint(&ctx, Nothing {}).unwrap();
    for _ in 0..3 {
        login_link(&site).unwrap();
    }
    follow_all(&site, after);
    let late = checkpoint(&ctx, Nothing {}).unwrap();
    assert_eq!((early.number, late.number), (8, 12));
    assert_eq!(late.previous, checkpoint::hash(&early).to_string());

    told_by(&site, 1, &[&early]);
    told_by(&site, 2, &[&late]);
    assert_eq!(contradictions(&ctx, Nothing {}).unwrap().items, []);

    cut(&site, 9);
    // By itself the log is whole again; only those who remember know better.
    assert_eq!(verify(&ctx, Nothing {}).unwrap().wrong, None);
    told_by(&site, 1, &[&early]);
    assert_eq!(status(&ctx, Nothing {}).unwrap().contradictions, 0);
    for _ in 0..3 {
        told_by(&site, 2, &[&late]);
    }
    let found = contradictions(&ctx, Nothing {}).unwrap().items;
    assert_eq!((found.len(), found[0].our_number, found[0].theirs.number), (1, 9, 12));
    assert!(!found[0].explained && found[0].reason.contains("ends before"));
    assert_eq!(events(&site, "audit.contradicted"), 1, "once per agent and checkpoint");

    // New entries in place of the old ones do not hide it.
    for _ in 0..6 {
        login_link(&site).unwrap();
    }
    follow_all(&site, site.store.last_change() - 6);
    told_by(&site, 3, &[&late]);
    let found = contradictions(&ctx, Nothing {}).unwrap().items;
    assert!(
        found.iter().any(|row| row.agent == AgentId::from_bits(3) && row.reason.contains("never made it"))
    );
    settle(&ctx, Nothing {}).unwrap();
    told_by(&site, 3, &[&late]);
    assert_eq!(status(&ctx, Nothing {}).unwrap().contradictions, 0);
    assert_eq!(events(&site, "audit.contradicted"), 2);
}

#[test]
fn what_agents_make_up_is_bounded_and_told_as_what_it_is() {
    let (site, _folder, _) = logged(3);
    let ctx = owner(&site);
    let real = checkpoint(&ctx, Nothing {}).unwrap();
    let forged = Checkpoint { number: 2, ..real.clone() };
    told_by(&site, 1, &[&forged]);
    assert!(contradictions(&ctx, Nothing {}).unwrap().items[0].reason.contains("signature"));
    for n in 0..40 {
        told_by(&site, 1, &[&Checkpoint { number: n, ..forged.clone() }]);
    }
    assert_eq!(contradictions(&ctx, Nothing {}).unwrap().items.len(), 16);
    // Another site's checkpoint is signed well, but not by this one.
    let (other, _other_folder, _) = logged(3);
    let key = Ctx::system(&other, other.home, "t");
    other.vault.put("audit-signing.key", &[7; 32]).unwrap();
    let foreign = checkpoint(&key, Nothing {}).unwrap();
    told_by(&site, 2, &[&foreign]);
    let found = contradictions(&ctx, Nothing {}).unwrap().items;
    assert!(found.iter().any(|row| row.reason.contains("another key")), "{found:?}");
}

#[test]
fn a_restore_explains_what_it_gave_up_and_nothing_else() {
    let (site, _folder, after) = logged(6);
    let ctx = owner(&site);
    let kept = checkpoint(&ctx, Nothing {}).unwrap();
    let at_change = site.store.last_change();
    login_link(&site).unwrap();
    follow_all(&site, after);
    let lost = checkpoint(&ctx, Nothing {}).unwrap();
    let before = Checkpoint { change: kept.change, ..lost.clone() };

    cut(&site, kept.number);
    let undone = |n: u64| Undone {
        tenant: crate::kit::HOME,
        change: at_change + n,
        at: ctx.now,
        actor: "usr_x".into(),
        action: "agents.retire".into(),
        event: "agents.retired".into(),
        subject: "agt_x".into(),
        detail: "{}".into(),
    };
    let restored = Restored {
        id: "one".into(),
        generation: 2,
        change: at_change,
        at: ctx.now,
        restored: ctx.now,
        by: "root".into(),
        source: "backup.muster".into(),
        undone: (0..900).map(undone).collect(),
    };
    let system = Ctx::system(&site, site.home, "restore");
    system
        .require("backups.restored")
        .unwrap()
        .write(|change| {
            Audit.restored(&system, change, &restored)?;
            begin_generation(&system, change, 2)
        })
        .unwrap();
    let newest = status(&ctx, Nothing {}).unwrap().checkpoint.unwrap();
    assert_eq!((newest.generation, newest.number), (2, kept.number));
    follow_all(&site, at_change);
    let entries = list(&ctx, ask("event:audit.given_up", None, 5)).unwrap().items;
    assert!(entries[0].detail.contains("agents.retired (900)"), "{}", entries[0].detail);

    told_by(&site, 1, &[&kept, &lost]);
    assert_eq!(status(&ctx, Nothing {}).unwrap().contradictions, 0);
    assert_eq!((events(&site, "audit.explained"), events(&site, "audit.contradicted")), (1, 0));
    // One that says that it was made before the cut is not explained by it.
    told_by(&site, 2, &[&before]);
    assert_eq!(status(&ctx, Nothing {}).unwrap().contradictions, 1);
    assert_eq!(verify(&ctx, Nothing {}).unwrap().wrong, None);
    assert_eq!(checkpoint(&ctx, Nothing {}).unwrap().generation, 2);
}

#[test]
fn checkpoints_come_by_themselves_and_not_for_their_own_sake() {
    let (site, _folder, mut after) = logged(2);
    let made = || events(&site, "audit.checkpointed");
    let step = || checkpoint::step(&Ctx::system(&site, site.home, "audit.checkpoint")).unwrap();
    step();
    assert_eq!(made(), 1);
    for _ in 0..3 {
        after = follow_all(&site, after);
        site.clock.advance(Span::from_hours(2));
        step();
    }
    assert_eq!(made(), 1, "only its own entry is new");
    login_link(&site).unwrap();
    after = follow_all(&site, after);
    step();
    assert_eq!(made(), 2);
    login_link(&site).unwrap();
    follow_all(&site, after);
    step();
    assert_eq!(made(), 2, "the hour is not over");
    site.clock.advance(Span::from_hours(1));
    step();
    assert_eq!(made(), 3);
    let nothing = identity::site();
    checkpoint::step(&Ctx::system(&nothing.0, nothing.0.home, "audit.checkpoint")).unwrap();
    assert_eq!(
        checkpoint(&Ctx::system(&nothing.0, nothing.0.home, "t"), Nothing {}).unwrap_err().kind(),
        Kind::Conflict
    );
}

/// Changes one entry, or what speaks of it.
type Forgery = fn(&mut Tx, TenantId, &mut Entry) -> Result<()>;

#[test]
fn verifying_names_the_first_entry_that_does_not_fit() {
    let forgeries: [(u64, Forgery); 4] = [
        (700, |tx, tenant, entry| {
            entry.subject = "agt_somebody_else".into();
            tx.put(&ENTRIES, &(tenant, entry.change, entry.place), entry)
        }),
        (701, |tx, tenant, entry| tx.delete(&ENTRIES, &(tenant, entry.change, entry.place))),
        (1_200, |tx, tenant, entry| {
            entry.at = Timestamp::from_milliseconds(5);
            tx.put(&ENTRIES, &(tenant, entry.change, entry.place), entry)
        }),
        (2, |tx, tenant, _| {
            let (key, mut row) = tx.prefix(&CHECKPOINTS, &tenant, 1)?.remove(0);
            row.site = "Elsewhere".into();
            tx.put(&CHECKPOINTS, &key, &row)
        }),
    ];
    for (number, forgery) in forgeries {
        let (site, _folder, after) = logged(2);
        let ctx = owner(&site);
        checkpoint(&ctx, Nothing {}).unwrap();
        tell_many(&site, 1_200);
        follow_all(&site, after);
        let whole = verify(&ctx, Nothing {}).unwrap();
        assert_eq!((whole.entries, whole.checkpoints, whole.wrong), (1_203, 1, None));
        let mut entry = find(&ctx, AuditNumber { number }).unwrap();
        forge(&site, |tx| forgery(tx, site.home, &mut entry));
        let wrong = verify(&ctx, Nothing {}).unwrap().wrong.unwrap();
        assert_eq!(wrong.number, number, "{wrong}");
        let mut findings = Findings::default();
        Audit.check(&ctx, &mut findings).unwrap();
        assert_eq!(findings.count, 1);
        assert!(events(&site, "audit.broken") == 1 && events(&site, "audit.verified") == 1);
    }
}

fn exported(ctx: &Ctx<'_>, asked: ExportAsked) -> Result<Vec<u8>> {
    let mut file = export(ctx, asked)?;
    let (mut out, mut parts) = (Vec::new(), 0);
    while let Some(part) = (file.next)()? {
        assert!(part.len() < 1024 * 1024);
        out.extend(part);
        parts += 1;
    }
    assert!(parts >= 1);
    Ok(out)
}

#[test]
fn an_export_proves_itself_and_every_flipped_byte_shows() {
    let (site, _folder, after) = logged(5);
    let ctx = owner(&site);
    checkpoint(&ctx, Nothing {}).unwrap();
    follow_all(&site, after);
    login_link(&site).unwrap();
    follow_all(&site, after + 1);
    checkpoint(&ctx, Nothing {}).unwrap();
    let file = exported(&ctx, ExportAsked::default()).unwrap();
    assert_eq!(events(&site, "audit.exported"), 1);
    let proved = prove(&file[..], None).unwrap();
    assert_eq!((proved.range, proved.checkpoints, proved.signed_up_to), ((1, 7), 2, 7));
    assert_eq!(prove(BufReader::with_capacity(7, &file[..]), Some(&proved.key)).unwrap(), proved);
    assert!(prove(&file[..], Some(&"0".repeat(64))).unwrap_err().message().contains("line 1: "));
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1;
        let error = prove(&bad[..], Some(&proved.key)).err();
        let error = error.unwrap_or_else(|| panic!("byte {at} may be flipped unseen"));
        assert!(error.message().starts_with("line "), "{error}");
        assert!(prove(&file[..at], None).is_err(), "cut at {at}");
    }
    let mut longer = file.clone();
    longer.extend(b"{}\n");
    assert!(prove(&longer[..], None).is_err());
    assert!(prove(&vec![b'x'; 300_000][..], None).unwrap_err().message().contains("longer than"));

    let part = exported(&ctx, ExportAsked { from: Some(3), to: Some(6), ..ExportAsked::default() }).unwrap();
    let proved = prove(&part[..], None).unwrap();
    assert_eq!((proved.range, proved.checkpoints, proved.signed_up_to), ((3, 6), 1, 5));
    let csv = exported(&ctx, ExportAsked { format: "csv".into(), ..ExportAsked::default() }).unwrap();
    assert!(String::from_utf8(csv).unwrap().lines().count() >= 8);
    for (from, to) in [(Some(0), None), (Some(99), None), (Some(3), Some(2))] {
        assert_eq!(
            exported(&ctx, ExportAsked { from, to, ..ExportAsked::default() }).unwrap_err().kind(),
            Kind::Invalid
        );
    }
}

#[test]
fn a_long_export_is_made_in_parts() {
    let (site, _folder, after) = logged(1);
    let ctx = owner(&site);
    tell_many(&site, 1_300);
    follow_all(&site, after);
    checkpoint(&ctx, Nothing {}).unwrap();
    let file = exported(&ctx, ExportAsked::default()).unwrap();
    assert_eq!(prove(&file[..], None).unwrap().range, (1, 1_301));
    // A log with a hole is not exported as if it were whole.
    let entry = find(&ctx, AuditNumber { number: 900 }).unwrap();
    forge(&site, |tx| tx.delete(&ENTRIES, &(site.home, entry.change, entry.place)));
    assert!(exported(&ctx, ExportAsked::default()).unwrap_err().message().contains("entry 900"));
}

#[test]
fn the_full_text_follows_the_log_and_is_made_again_from_it() {
    let (site, folder, after) = logged(4);
    let ctx = owner(&site);
    let asked = |words: &str| SearchAsked { words: words.into(), ..SearchAsked::default() };
    assert_eq!(search(&ctx, asked("moreau")).err().unwrap().kind(), Kind::Unavailable);
    let step = || words::step(&Ctx::system(&site, site.home, "audit.index")).unwrap();
    step();
    site.clock.advance(Span::from_seconds(3));
    step();
    let found = search(&ctx, asked("moreau \"set up\"")).unwrap();
    assert_eq!((found.total, found.items[0].entry.number), (1, 1));
    assert!(found.items[0].snippet.contains("<mark>Moreau</mark>"), "{}", found.items[0].snippet);
    login_link(&site).unwrap();
    follow_all(&site, after);
    step();
    site.clock.advance(Span::from_seconds(3));
    step();
    let mut links = asked("link");
    (links.limit, links.order) = (Some(3), "best".into());
    let page = search(&ctx, links).unwrap();
    assert_eq!((page.total, page.items.len(), page.next.as_deref()), (4, 3, Some("3")));

    let scratch = folder.path().join("scratch/index");
    let rebuilt = rebuild(&site.store, &scratch, &site.clock).unwrap();
    assert_eq!(rebuilt, Rebuilt { documents: 5, rows: 5 });
    // An index of another history is not believed.
    site.index.put("audit", &[], r#"{"at":"change","change":999999}"#).unwrap();
    step();
    site.clock.advance(Span::from_seconds(3));
    step();
    assert_eq!(site.index.documents(), 5);
    for wrong in [asked(""), SearchAsked { order: "x".into(), ..asked("a") }] {
        assert_eq!(search(&ctx, wrong).err().unwrap().kind(), Kind::Invalid);
    }
}
