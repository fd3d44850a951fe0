//! Whole moves over a site in a temporary folder: who asks, who decides, and what is done.

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::ask::ask;
use super::model::{OPEN_PER_ASKER_MAX, State, VALID};
use super::ops::{self, ApprovalView, Decided, ListAsked};
use super::store::{APPROVALS, SEALED};
use super::*;
use crate::base::{ApprovalId, Error, Kind, SessionId, Span, UserId};
use crate::capabilities::identity::tests as people;
use crate::capabilities::{identity, settings};
use crate::engine::store::Read as _;
use crate::kit::{
    Actor, Asked, ById, Download, Intent, NeedsSecond, PageRequest, Reply, Request, Rights, Site, Undone,
    recovery_sample,
};

const SOME: &[&dyn Capability] = &[&identity::Identity, &settings::Settings, &Approvals];
const PASSWORD: &str = "correct horse battery";

/// A site with an owner, Inès, an administrator, Omar, and an operator, Ada.
struct Made {
    site: Site,
    folder: TempDir,
    ines: String,
    omar: String,
    ada: String,
}

fn made() -> Made {
    let (site, folder, cookie) = people::owned();
    site.made_of(SOME);
    let (_, owner) = identity::session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let ines = owner.text();
    let ctx = Ctx::new(&site, site.home, owner, Request::default());
    begin(&Ctx::system(&site, site.home, "test")).unwrap();
    let add = |login: &str, role: &str| {
        let asked = json!({ "login": login, "name": login, "role": role, "password": PASSWORD });
        call(&ctx, "identity.create", asked).unwrap()["user"]["id"].as_str().unwrap().to_owned()
    };
    let (omar, ada) = (add("omar", "administrator"), add("ada", "operator"));
    drop(ctx);
    Made { site, folder, ines, omar, ada }
}

impl Made {
    /// This person or key now, with what they may do now.
    fn as_(&self, who: &str) -> Ctx<'_> {
        let (site, now) = (&self.site, self.site.clock.now());
        let read = site.store.read().unwrap();
        let actor = identity::again(&read, site.home, who, SessionId::from_bits(1), now).unwrap();
        Ctx::new(
            site,
            site.home,
            actor,
            Request { id: "r".into(), from: "10.0.0.7".into(), ..Request::default() },
        )
    }

    fn mark(&self, permission: &str) {
        let marked = json!({ "permission": permission, "why": "one alone should not" });
        // Once something is marked, marking is too; tests set the others as the appliance.
        call(&Ctx::system(&self.site, self.site.home, "test"), "approvals.mark", marked).unwrap();
    }

    /// Asks, as the surface does.
    fn asks(&self, who: &str, name: &str, input: Value) -> Result<Asked> {
        let ctx = self.as_(who);
        let error = call(&ctx, name, input.clone()).unwrap_err();
        let cause = error.cause::<NeedsSecond>().copied();
        match (error.kind(), cause) {
            (Kind::Approval, Some(NeedsSecond(permission))) => {
                ask(&ctx, Intent::Operation { name: name.into(), input }, permission)
            }
            _ => Err(error),
        }
    }

    fn decides(&self, who: &str, id: ApprovalId, approve: bool) -> Result<ApprovalView> {
        let hash = self.row(id).hash;
        ops::decide(&self.as_(who), Decided { id, hash, approve, comment: "looked at".into() })
    }

    fn row(&self, id: ApprovalId) -> model::Approval {
        store::find(&self.site.store.read().unwrap(), self.site.home, id).unwrap()
    }

    fn told(&self, event: &str) -> Vec<(String, Value)> {
        let changes = self.site.store.changes(0, 100_000).unwrap();
        let of = |change: &crate::engine::store::Change| {
            let told = change.events.iter().filter(|told| told.name == event);
            told.map(|told| (change.origin.actor.clone(), told.detail.clone())).collect::<Vec<_>>()
        };
        changes.iter().flat_map(of).collect()
    }

    fn sweep(&self) {
        carry::sweep(&Ctx::system(&self.site, self.site.home, "approvals.sweep")).unwrap();
    }
}

fn call(ctx: &Ctx<'_>, name: &str, input: Value) -> Result<Value> {
    let op = ctx.site.ops().iter().find(|op| op.name == name).unwrap();
    (op.run)(ctx, input)
}

fn rename(name: &str) -> Value {
    json!({ "name": name })
}

fn kind<T>(outcome: Result<T>) -> Option<Kind> {
    outcome.err().map(|error: Error| error.kind())
}

#[test]
fn what_is_marked_is_done_once_as_who_asked_after_somebody_else_said_yes() {
    let made = made();
    made.mark("settings.change");
    let asked = made.asks(&made.ines, "settings.change", rename("Orangerie")).unwrap();
    assert_eq!(
        (asked.answer["state"].as_str(), made.site.settings.name().as_str()),
        (Some("waiting"), "Test")
    );
    // The same again is the same; another one is not.
    assert_eq!(made.asks(&made.ines, "settings.change", rename("Orangerie")).unwrap().id, asked.id);
    assert_ne!(made.asks(&made.ines, "settings.change", rename("Other")).unwrap().id, asked.id);
    assert_eq!(made.site.counts.of(made.site.home)[0].count, 2);

    // Not by who asked, not by who may not, not by another hash.
    assert_eq!(kind(made.decides(&made.ines, asked.id, true)), Some(Kind::Forbidden));
    assert_eq!(kind(made.decides(&made.ada, asked.id, true)), Some(Kind::Forbidden));
    let altered = Decided { id: asked.id, hash: "0".repeat(64), approve: true, comment: String::new() };
    assert_eq!(kind(ops::decide(&made.as_(&made.omar), altered)), Some(Kind::Conflict));
    assert_eq!(made.row(asked.id).state, State::Waiting);

    let shown = ops::find(&made.as_(&made.omar), ById { id: asked.id }).unwrap();
    assert!(shown.may_decide && shown.input[0].content == "Orangerie" && shown.outcome.is_none());
    let view = made.decides(&made.omar, asked.id, true).unwrap();
    assert_eq!((view.state, view.changes), (State::Done, 1));
    assert_eq!(made.site.settings.name(), "Orangerie");
    assert_eq!(made.told("settings.changed")[0].0, made.ines);
    let acted = made.told("approvals.acted");
    assert_eq!((acted.len(), acted[0].0.as_str()), (1, made.ines.as_str()));
    assert_eq!(acted[0].1["approved_by"], made.omar);
    assert_eq!(kind(carry::run(&made.as_(&made.omar), asked.id)), Some(Kind::Conflict), "once");
    assert_eq!(kind(made.decides(&made.omar, asked.id, true)), Some(Kind::Conflict));

    // The answer is for who asked.
    let mine = ops::find(&made.as_(&made.ines), ById { id: asked.id }).unwrap();
    assert_eq!(mine.outcome.unwrap().answer.unwrap()["name"], "Orangerie");
    assert!(ops::find(&made.as_(&made.omar), ById { id: asked.id }).unwrap().outcome.is_none());
    let list = |who: &str| ops::list(&made.as_(who), ListAsked::default()).unwrap().items.len();
    assert_eq!((list(&made.ines), list(&made.omar), list(&made.ada)), (2, 2, 2), "settings are read by all");
}

#[test]
fn a_fresh_proof_is_asked_for_first_and_the_appliance_needs_nobody() {
    let made = made();
    made.mark("identity.change");
    let change = json!({ "id": made.ada, "name": "Ada L." });
    let mut ctx = made.as_(&made.ines);
    if let Actor::Person { proved, .. } = &mut ctx.actor {
        *proved = made.site.clock.now() - Span::from_hours(1);
    }
    assert_eq!(kind(call(&ctx, "identity.change", change.clone())), Some(Kind::StepUp));
    assert_eq!(kind(call(&made.as_(&made.ines), "identity.change", change.clone())), Some(Kind::Approval));
    assert!(call(&Ctx::system(&made.site, made.site.home, "test"), "identity.change", change).is_ok());
    // Whoever looks as another has no right that needs a second person.
    let mut ctx = made.as_(&made.omar);
    if let Actor::Person { rights, .. } = &mut ctx.actor {
        *rights = Arc::new(Rights { looks_as: Some("Ada".into()), ..(**rights).clone() });
    }
    let intent = Intent::Operation { name: "settings.change".into(), input: rename("x") };
    assert_eq!(kind(ask(&ctx, intent, "settings.change")), Some(Kind::Forbidden));
}

#[test]
fn marks_need_two_who_decide_and_one_alone_takes_none_off() {
    let (site, _folder, cookie) = people::owned();
    site.made_of(SOME);
    let (_, owner) = identity::session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let ctx = Ctx::new(&site, site.home, owner, Request::default());
    let mark = |permission: &str, needed: bool| {
        call(&ctx, "approvals.mark", json!({ "permission": permission, "needed": needed, "why": "because" }))
    };
    let error = mark("settings.change", true).unwrap_err();
    assert!(error.kind() == Kind::Conflict && error.message().contains("only 1"), "{error}");
    let asked = json!({ "login": "omar", "name": "Omar", "role": "approver", "password": PASSWORD });
    call(&ctx, "identity.create", asked).unwrap();
    for wrong in [
        "settings.read",
        "settings.find",
        "identity.password",
        "identity.elevate",
        "identity.look_as",
        "approvals.decide",
        "approvals.mark",
        "approvals.withdraw",
        "no.such",
        "",
    ] {
        assert!(matches!(kind(mark(wrong, true)), Some(Kind::Invalid | Kind::NotFound)), "{wrong}");
    }
    assert!(call(&ctx, "approvals.mark", json!({ "permission": "settings.change", "why": " " })).is_err());
    assert!(!site.marks.any(site.home));
    mark("settings.change", true).unwrap();
    assert!(site.marks.has(site.home, "approvals.mark"), "it is marked by itself");
    for (permission, needed) in [("settings.change", false), ("identity.grant", true)] {
        assert_eq!(kind(mark(permission, needed)), Some(Kind::Approval), "{permission}");
    }
    // The appliance may, and then nothing is marked any more.
    let system = Ctx::system(&site, site.home, "test");
    let off = json!({ "permission": "settings.change", "needed": false, "why": "over" });
    call(&system, "approvals.mark", off.clone()).unwrap();
    assert!(!site.marks.any(site.home) && call(&system, "approvals.mark", off).is_err());
    // A start takes them into memory.
    mark("settings.change", true).unwrap();
    site.marks.set(site.home, Default::default());
    begin(&system).unwrap();
    assert!(site.marks.has(site.home, "settings.change"));
}

#[test]
fn two_persons_take_a_mark_off() {
    let made = made();
    made.mark("settings.change");
    let off = json!({ "permission": "settings.change", "needed": false, "why": "over" });
    let asked = made.asks(&made.omar, "approvals.mark", off).unwrap();
    assert_eq!(kind(made.decides(&made.omar, asked.id, true)), Some(Kind::Forbidden));
    assert_eq!(made.decides(&made.ines, asked.id, true).unwrap().state, State::Done);
    assert!(!made.site.marks.any(made.site.home));
}

#[test]
fn nobody_decides_what_a_key_of_theirs_asked_for() {
    let made = made();
    let key =
        call(&made.as_(&made.ines), "identity.key_create", json!({ "name": "ci", "role": "administrator" }));
    let key = key.unwrap()["key"]["id"].as_str().unwrap().to_owned();
    made.mark("settings.change");
    let asked = made.asks(&key, "settings.change", rename("A")).unwrap();
    assert_eq!(kind(made.decides(&made.ines, asked.id, true)), Some(Kind::Forbidden), "their own key");
    assert_eq!(kind(made.decides(&key, asked.id, true)), Some(Kind::Forbidden), "a program decides nothing");
    // A key that a key made is of who made the first.
    let second =
        call(&made.as_(&key), "identity.key_create", json!({ "name": "c2", "role": "administrator" }));
    let second = second.unwrap()["key"]["id"].as_str().unwrap().to_owned();
    let other = made.asks(&second, "settings.change", rename("B")).unwrap();
    assert_eq!(kind(made.decides(&made.ines, other.id, true)), Some(Kind::Forbidden));
    assert_eq!(made.decides(&made.omar, other.id, true).unwrap().state, State::Done);
    assert_eq!(made.site.settings.name(), "B");
    // Whoever was given its text could have asked, too.
    call(&made.as_(&made.omar), "identity.key_rotate", json!({ "id": key })).unwrap();
    assert_eq!(kind(made.decides(&made.omar, asked.id, true)), Some(Kind::Forbidden));
}

#[test]
fn rights_that_are_lost_in_between_are_lost() {
    let made = made();
    made.mark("settings.change");
    let because = |id| made.row(id).state == State::Failed && made.site.settings.name() == "Test";
    let disabled = made.asks(&made.omar, "settings.change", rename("A")).unwrap().id;
    let demoted = made.asks(&made.omar, "settings.change", rename("B")).unwrap().id;
    let ines = made.as_(&made.ines);
    call(&ines, "identity.change", json!({ "id": made.omar, "role": "viewer" })).unwrap();
    assert_eq!(made.decides(&made.ines, demoted, true).unwrap().state, State::Failed);
    assert!(because(demoted));
    call(&ines, "identity.disable", json!({ "id": made.omar })).unwrap();
    assert_eq!(made.decides(&made.ines, disabled, true).unwrap().state, State::Failed);
    assert!(because(disabled));
    let told = made.told("approvals.failed");
    assert!(told[0].1["because"].as_str().unwrap().contains("may not `settings.change`"), "{told:?}");
    assert!(told[1].1["because"].as_str().unwrap().contains("shut out"), "{told:?}");
    assert!(made.told("approvals.acted").is_empty());
    // A key that was revoked.
    let key = call(&ines, "identity.key_create", json!({ "name": "ci", "role": "administrator" })).unwrap();
    let key = key["key"]["id"].as_str().unwrap().to_owned();
    let asked = made.asks(&key, "settings.change", rename("C")).unwrap().id;
    call(&ines, "identity.key_revoke", json!({ "id": key })).unwrap();
    call(&ines, "identity.enable", json!({ "id": made.omar })).unwrap();
    call(&ines, "identity.change", json!({ "id": made.omar, "role": "approver" })).unwrap();
    assert_eq!(made.decides(&made.omar, asked, true).unwrap().state, State::Failed);
    assert!(because(asked));
}

#[test]
fn refused_withdrawn_and_expired_ones_are_never_done() {
    let made = made();
    made.mark("settings.change");
    let ask = |n: usize| made.asks(&made.ines, "settings.change", rename(&format!("N{n}"))).unwrap().id;
    let (refused, withdrawn, expired) = (ask(1), ask(2), ask(3));
    assert_eq!(made.decides(&made.omar, refused, false).unwrap().state, State::Refused);
    assert_eq!(kind(ops::withdraw(&made.as_(&made.omar), ById { id: withdrawn })), Some(Kind::Forbidden));
    assert_eq!(ops::withdraw(&made.as_(&made.ines), ById { id: withdrawn }).unwrap().state, State::Withdrawn);
    made.site.clock.advance(VALID);
    assert_eq!(kind(made.decides(&made.omar, expired, true)), Some(Kind::Conflict), "also before the job");
    made.sweep();
    assert_eq!(made.row(expired).state, State::Expired);
    for id in [refused, withdrawn, expired] {
        assert_eq!(kind(made.decides(&made.omar, id, true)), Some(Kind::Conflict));
        assert_eq!(kind(carry::run(&made.as_(&made.omar), id)), Some(Kind::Conflict));
    }
    assert_eq!(made.site.settings.name(), "Test");
    assert_eq!(made.site.counts.of(made.site.home)[0].count, 0);
    // What is over goes after its time, with all that was sealed.
    made.site.clock.advance(model::KEPT);
    made.sweep();
    let read = made.site.store.read().unwrap();
    assert_eq!(read.count(&APPROVALS, &()).unwrap() + read.count(&SEALED, &()).unwrap(), 0);
}

#[test]
fn who_asks_too_much_waits() {
    let made = made();
    made.mark("settings.change");
    let ask = |n: usize| made.asks(&made.ines, "settings.change", rename(&format!("N{n}")));
    let first = ask(0).unwrap().id;
    (1..OPEN_PER_ASKER_MAX).for_each(|n| drop(ask(n).unwrap()));
    assert_eq!(kind(ask(OPEN_PER_ASKER_MAX)), Some(Kind::TooMany));
    assert!(made.asks(&made.omar, "settings.change", rename("other")).is_ok(), "of one person");
    ops::withdraw(&made.as_(&made.ines), ById { id: first }).unwrap();
    assert!(ask(OPEN_PER_ASKER_MAX).is_ok());
    // Of all together, and too much in one.
    let (site, ctx) = (&made.site, made.as_(&made.ines));
    let fill = |n: u128| {
        let id = ApprovalId::from_bits(n + 1);
        ctx.require("test.fill")
            .unwrap()
            .write(|change| change.tx.put(&store::OPEN, &(site.home, id), &"usr_x".to_owned()))
    };
    (0..model::OPEN_MAX as u128).for_each(|n| fill(n).unwrap());
    assert_eq!(kind(made.asks(&made.omar, "settings.change", rename("more"))), Some(Kind::TooMany));
    let long = Intent::Operation { name: "x.y".into(), input: json!("x".repeat(model::INTENT_BYTES_MAX)) };
    assert_eq!(kind(super::ask(&ctx, long, "settings.change")), Some(Kind::Invalid));
}

#[test]
fn a_server_that_stops_in_between_does_it_once_or_says_so() {
    let made = made();
    made.mark("settings.change");
    let decided = made.asks(&made.ines, "settings.change", rename("A")).unwrap().id;
    let begun = made.asks(&made.ines, "settings.change", rename("B")).unwrap().id;
    for id in [decided, begun] {
        let hash = made.row(id).hash;
        let yes = Decided { id, hash, approve: true, comment: String::new() };
        ops::decided(&made.as_(&made.omar), &yes).unwrap();
    }
    // The second one is begun, and the process goes away.
    let system = Ctx::system(&made.site, made.site.home, "test");
    let running = made.row(begun).begin(system.now).unwrap();
    system
        .require("test.kill")
        .unwrap()
        .write(|change| store::put(change.tx, system.tenant, &running))
        .unwrap();
    let Made { site, folder, .. } = made;
    let tenant = site.home;
    drop(site);
    let site = people::at(folder.path());
    site.made_of(SOME);
    let system = Ctx::system(&site, site.home, "server");
    begin(&system).unwrap();
    let row = |id| store::find(&site.store.read().unwrap(), tenant, id).unwrap();
    assert_eq!((row(begun).state, row(decided).state), (State::Interrupted, State::Approved));
    for _ in 0..3 {
        carry::sweep(&Ctx::system(&site, site.home, "approvals.sweep")).unwrap();
    }
    assert_eq!((row(begun).state, row(decided).state), (State::Interrupted, State::Done));
    assert_eq!((row(begun).changes, row(decided).changes), (0, 1));
    assert_eq!(site.settings.name(), "A");
    let told = |event: &str| {
        let changes = site.store.changes(0, 100_000).unwrap();
        changes.iter().flat_map(|change| &change.events).filter(|told| told.name == event).count()
    };
    assert_eq!((told("settings.changed"), told("approvals.interrupted"), told("approvals.done")), (1, 1, 1));
}

#[test]
fn what_is_given_once_is_collected_by_who_asked_alone() {
    let made = made();
    made.mark("identity.create");
    let bea = json!({ "login": "bea", "name": "Bea", "role": "viewer" });
    let id = made.asks(&made.ines, "identity.create", bea).unwrap().id;
    let collect = |who: &str| ops::collect(&made.as_(who), ById { id });
    assert_eq!(kind(collect(&made.ines)), Some(Kind::Conflict), "nobody has decided");
    let view = made.decides(&made.omar, id, true).unwrap();
    assert_eq!((view.state, view.collected), (State::Approved, true), "nothing is done yet");
    made.sweep();
    assert_eq!(made.row(id).state, State::Approved, "the job leaves it alone");
    assert_eq!(kind(collect(&made.omar)), Some(Kind::Forbidden));
    let mut file: Download = collect(&made.ines).unwrap();
    let answer: Value = serde_json::from_slice(&(file.next)().unwrap().unwrap()).unwrap();
    assert!(answer["link"].as_str().unwrap().contains("/login/"), "{answer}");
    assert_eq!(kind(collect(&made.ines)), Some(Kind::Conflict), "once");
    let mine = ops::find(&made.as_(&made.ines), ById { id }).unwrap();
    assert_eq!(mine.state, State::Done);
    assert!(mine.outcome.unwrap().answer.is_none(), "it is kept nowhere");
    assert_eq!(made.told("approvals.collected")[0].0, made.ines);
    // One that nobody collects in time.
    let eve = json!({ "login": "eve", "name": "Eve", "role": "viewer" });
    let late = made.asks(&made.ines, "identity.create", eve).unwrap().id;
    made.decides(&made.omar, late, true).unwrap();
    made.site.clock.advance(VALID);
    assert_eq!(kind(ops::collect(&made.as_(&made.ines), ById { id: late })), Some(Kind::Conflict));
    made.sweep();
    assert_eq!(made.row(late).state, State::Expired);
}

#[test]
fn forms_are_kept_and_done_too() {
    let made = made();
    made.mark("identity.disable");
    let form = |path: &str, params: &[(&str, &str)], fields: &[(&str, &str)]| {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let request = PageRequest { params: map(params), form: map(fields), ..PageRequest::default() };
        let ctx = made.as_(&made.ines);
        let pages = made.site.pages().unwrap();
        let page = pages.pages.iter().find(|page| page.form && page.path == path).unwrap();
        let error = (page.run)(&ctx, &request).unwrap_err();
        assert_eq!(error.kind(), Kind::Approval, "{path}: {error}");
        let Some(NeedsSecond(permission)) = error.cause() else { panic!("no cause") };
        let (params, fields) = (request.params, request.form);
        let intent = Intent::Form { path: path.into(), params, query: Default::default(), fields };
        ask(&ctx, intent, permission).unwrap().id
    };
    // One person, and many at once: none of them is disabled before.
    let one = form("/people/{id}/disable", &[("id", &made.ada)], &[]);
    let both = format!("{},{}", made.ada, made.omar);
    let many = form("/people/bulk", &[], &[("action", "disable"), ("user", &both)]);
    assert!(made.told("identity.disabled").is_empty());
    let view = made.decides(&made.omar, one, true).unwrap();
    assert_eq!(view.state, State::Done);
    let mine = ops::find(&made.as_(&made.ines), ById { id: one }).unwrap();
    assert!(mine.outcome.unwrap().words.contains("shut out"));
    assert_eq!(made.told("identity.disabled")[0].0, made.ines);
    // What the form says of a failure is the reason.
    let view = made.decides(&made.omar, many, true).unwrap();
    assert_eq!((view.state, view.changes), (State::Failed, 1), "Omar went, Ada had gone");
    let because = made.told("approvals.failed")[0].1["because"].as_str().unwrap().to_owned();
    assert!(because.contains("already disabled"), "{because}");
}

#[test]
fn what_was_changed_behind_its_hash_is_not_done() {
    let made = made();
    made.mark("settings.change");
    let one = made.asks(&made.ines, "settings.change", rename("A")).unwrap().id;
    let two = made.asks(&made.ines, "settings.change", rename("B")).unwrap().id;
    let system = Ctx::system(&made.site, made.site.home, "test");
    // Somebody with the files puts one's sealed bytes in the other's place.
    system
        .require("test.swap")
        .unwrap()
        .write(|change| {
            let bytes = change.tx.get(&SEALED, &(system.tenant, two, store::INTENT))?.unwrap();
            change.tx.put(&SEALED, &(system.tenant, one, store::INTENT), &bytes)
        })
        .unwrap();
    assert!(made.decides(&made.omar, one, true).is_err());
    // Or says that somebody else asked.
    let other = model::Approval { asker: made.omar.clone(), ..made.row(two) };
    system
        .require("test.swap")
        .unwrap()
        .write(|change| store::put(change.tx, system.tenant, &other))
        .unwrap();
    assert!(made.decides(&made.ines, two, true).is_err());
    assert_eq!(made.site.settings.name(), "Test");
    let mut findings = Findings::default();
    recovery::check(&system, &mut findings).unwrap();
    assert_eq!(findings.count, 2, "{findings:?}");
}

#[test]
fn after_a_restore_nothing_is_tried_again_and_no_mark_is_lost() {
    let made = made();
    made.mark("settings.change");
    let waiting = made.asks(&made.ines, "settings.change", rename("A")).unwrap().id;
    let system = Ctx::system(&made.site, made.site.home, "test");
    let undone = |event: &str, subject: &str| Undone {
        tenant: made.site.home,
        change: 1,
        at: system.now,
        actor: made.ines.clone(),
        action: "approvals.mark".into(),
        event: event.into(),
        subject: subject.into(),
        detail: json!({ "why": "it opens doors" }).to_string(),
    };
    let told = recovery_sample(
        vec![undone("approvals.marked", "identity.grant"), undone("approvals.unmarked", "settings.change")],
        system.now,
    );
    system
        .require("test.restored")
        .unwrap()
        .write(|change| recovery::restored(&system, change, &told))
        .unwrap();
    begin(&system).unwrap();
    assert_eq!(made.row(waiting).state, State::Interrupted);
    assert!(made.site.marks.has(system.tenant, "identity.grant"));
    assert!(made.site.marks.has(system.tenant, "settings.change"), "that needs two persons");
    let mut findings = Findings::default();
    recovery::check(&system, &mut findings).unwrap();
    assert_eq!(findings.count, 0, "{findings:?}");
}

#[test]
fn pages_show_what_is_asked_to_who_may_see_it() {
    let made = made();
    made.mark("identity.change");
    let asked = json!({ "id": made.ada, "name": "Ada <L>" });
    let id = made.asks(&made.ines, "identity.change", asked).unwrap().id.to_string();
    let open = |who: &str, path: &str| {
        let params = [("id".to_owned(), id.clone())].into();
        let request = PageRequest { params, ..PageRequest::default() };
        let pages = made.site.pages().unwrap();
        let page = pages.pages.iter().find(|page| !page.form && page.path == path).unwrap();
        (page.run)(&made.as_(who), &request)
    };
    let text = |who: &str, path: &str| match open(who, path).unwrap() {
        Reply::Html(200, text) => text,
        other => panic!("{other:?}"),
    };
    let page = text(&made.omar, "/approvals/{id}");
    assert!(page.contains("Ada &#60;L&#62;") && page.contains("/decide\""), "{page}");
    assert!(!text(&made.ines, "/approvals/{id}").contains("/decide\""));
    assert!(text(&made.omar, "/approvals").contains("for you to decide"));
    assert!(text(&made.ines, "/approvals/marks").contains("approvals.mark"));
    assert!(crate::kit::guide::proof::says("approvals", "What is kept waits for 24 hours"));
    assert_eq!(VALID, Span::from_hours(24));
    // An operator reads approvals, but nothing about people.
    assert_eq!(kind(open(&made.ada, "/approvals/{id}")), Some(Kind::NotFound));
    assert!(!text(&made.ada, "/approvals").contains(&id));
    let user: UserId = made.ada.parse().unwrap();
    assert!(made.told("identity.changed").is_empty() && user.bits() > 0);
}
