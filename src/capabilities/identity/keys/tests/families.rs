//! Refresh tokens: each works once, a spent one ends them all, and nothing outlives the key.

use std::sync::Barrier;

use super::*;
use crate::base::limits::{REFRESH_TOKEN_DAYS_MAX, REFRESH_TOKEN_IDLE_DAYS_MAX, REFRESH_TOKENS_PER_KEY_MAX};
use crate::capabilities::identity::keys::families::{FamilyEnded, end_of_key, list};
use crate::capabilities::identity::recovery;
use crate::capabilities::identity::store::FAMILIES;
use crate::kit::{Findings, recovery_sample};

/// What an answer gives: the token, and the refresh token.
type Pair = (String, String);

impl Rig {
    fn begins(&self, id: KeyId, text: &str, scope: &str) -> Pair {
        pair(&exchange(&self.site, &id.to_string(), text, &format!("{scope} offline_access"), "10.0.0.9"))
    }

    fn refreshes(&self, id: KeyId, refresh: &str, scope: &str) -> Result<Value> {
        issue(&self.site, &client(&id.to_string(), None, "10.0.0.9"), Some(refresh), scope)
    }

    fn open(&self, id: KeyId) -> usize {
        list(&self.ctx(), ById { id }).unwrap().items.len()
    }

    fn told(&self, name: &str) -> usize {
        let changes = self.site.store.changes(0, 100_000).unwrap();
        changes.iter().flat_map(|change| &change.events).filter(|event| event.name == name).count()
    }
}

fn pair(answer: &Result<Value>) -> Pair {
    let answer = answer.as_ref().unwrap();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

fn refused(answer: Result<Value>) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden, "{error}");
    assert_eq!(error.message(), "the refresh token does not work, or not any more");
}

#[test]
fn a_program_goes_on_without_the_text_and_each_token_works_once() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let plain = exchange(&rig.site, &id.to_string(), &text, "", "10.0.0.9").unwrap();
    assert!(plain.get("refresh_token").is_none() && rig.open(id) == 0, "only who asks for one gets one");
    let (first, mut refresh) = rig.begins(id, &text, "");
    assert!(refresh.starts_with("msr_") && rig.works(&first));
    let mut tokens = vec![first];
    for n in 0..3 {
        rig.site.clock.advance(Span::from_minutes(5));
        let answer = rig.refreshes(id, &refresh, "");
        assert_eq!(answer.as_ref().unwrap()["scope"], "* offline_access");
        let (token, next) = pair(&answer);
        assert!(next != refresh && rig.works(&token));
        refresh = next;
        tokens.push(token);
        assert_eq!(list(&rig.ctx(), ById { id }).unwrap().items[0].refreshes, n + 1);
    }
    assert!(!rig.works(&tokens[0]) && rig.works(&tokens[2]), "a token lasts as long as any");
    // Of a refresh token nothing is kept, and it opens nothing itself.
    let rows = rig.site.store.read().unwrap().prefix(&FAMILIES, &rig.site.home, 9).unwrap();
    assert!(rows.len() == 1 && !format!("{rows:?}").contains(&refresh[40..60]));
    assert!(rig.actor(&refresh, "10.0.0.9").unwrap().is_none());
    assert!(exchange(&rig.site, &id.to_string(), &refresh, "", "10.0.0.9").is_err(), "and it is no text");
    assert_eq!((rig.told("identity.family_begun"), rig.told("identity.family_reused")), (1, 0));
}

#[test]
fn a_spent_token_ends_its_family_and_every_token_of_it_and_nothing_else() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let (other, _) = rig.begins(id, &text, "");
    let (first, spent) = rig.begins(id, &text, "");
    let (second, newest) = pair(&rig.refreshes(id, &spent, ""));
    assert!(rig.works(&first) && rig.works(&second));
    refused(rig.refreshes(id, &spent, ""));
    assert!(!rig.works(&first) && !rig.works(&second), "at once");
    refused(rig.refreshes(id, &newest, ""));
    assert!(rig.works(&other) && rig.works(&text) && rig.open(id) == 1, "nobody else is held up");
    assert_eq!(rig.told("identity.family_reused"), 1, "told once");
    let kind = crate::kit::event_kind("identity.family_reused");
    assert!(kind.is_none_or(|kind| kind.weight == crate::kit::Weight::Alarm));
}

#[test]
fn what_was_never_given_ends_nothing() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let (stranger, theirs) = rig.make(Role::Operator, "", &[]);
    let (token, refresh) = rig.begins(id, &text, "");
    let (body, mark) = refresh.split_once('.').unwrap();
    let (family, _) = body.rsplit_once('_').unwrap();
    // A token that somebody makes up with the identifier of the family, which is no secret.
    let (made, _) = crate::engine::crypto::token(family, &rig.site.clock);
    let mut flipped = refresh.clone().into_bytes();
    flipped[45] ^= 1;
    for bad in [
        String::new(),
        "msr_".into(),
        body.to_owned(),
        made.clone(),
        format!("{made}.{mark}"),
        format!("{refresh}x"),
        String::from_utf8(flipped).unwrap(),
        text.clone(),
        token.clone(),
    ] {
        refused(rig.refreshes(id, &bad, ""));
    }
    // Another key's, with and without that key's own text; and nobody's.
    refused(rig.refreshes(stranger, &refresh, ""));
    let with_text = client(&stranger.to_string(), Some(&theirs), "10.0.0.9");
    refused(issue(&rig.site, &with_text, Some(&refresh), ""));
    let wrong_text = client(&id.to_string(), Some(&theirs), "10.0.0.9");
    let error = issue(&rig.site, &wrong_text, Some(&refresh), "").unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthenticated, "a text that is shown must be right");
    let nobody = client("nobody", None, "10.0.0.9");
    assert_eq!(issue(&rig.site, &nobody, Some(&refresh), "").unwrap_err().kind(), Kind::Unauthenticated);
    assert!(rig.works(&token) && rig.refreshes(id, &refresh, "").is_ok());
    assert_eq!(rig.told("identity.family_reused"), 0);
}

#[test]
fn a_refresh_token_gives_no_more_than_was_asked_for_and_the_key_still_gives() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let (token, refresh) = rig.begins(id, &text, "agents.* tasks.read");
    let may = |token: &str, permission: &str| rig.actor(token, "10.0.0.9").unwrap().unwrap().may(permission);
    assert!(may(&token, "agents.retire") && !may(&token, "tasks.create"));
    for wide in ["*", "agents.* tasks.*", "settings.read", "!"] {
        assert_eq!(rig.refreshes(id, &refresh, wide).unwrap_err().kind(), Kind::Invalid, "{wide}");
    }
    // A scope that is refused does not spend it; a narrow one narrows that token only.
    let (narrow, refresh) = pair(&rig.refreshes(id, &refresh, "agents.read offline_access"));
    assert!(may(&narrow, "agents.read") && !may(&narrow, "agents.retire"));
    let (wide, refresh) = pair(&rig.refreshes(id, &refresh, ""));
    assert!(may(&wide, "agents.retire"));
    let only = |only: &str, networks: &[&str]| {
        let networks = networks.iter().map(|one| one.parse().unwrap()).collect();
        let only = Some(only.parse().unwrap());
        ops::change(&rig.ctx(), KeyChanged { id, name: None, only, networks: Some(networks) }).unwrap();
    };
    only("agents.read", &[]);
    assert!(!may(&wide, "agents.retire"), "what is changed of the key counts at once");
    let (token, refresh) = pair(&rig.refreshes(id, &refresh, ""));
    assert!(may(&token, "agents.read") && !may(&token, "agents.retire"));
    only("tasks.create", &[]);
    assert_eq!(rig.refreshes(id, &refresh, "").unwrap_err().kind(), Kind::Invalid, "nothing is left of it");
    only("", &["192.0.2.0/24"]);
    let error = rig.refreshes(id, &refresh, "").unwrap_err();
    assert!(error.kind() == Kind::Unauthenticated && error.message().contains("may not be used from"));
    only("", &[]);
    assert!(rig.refreshes(id, &refresh, "").is_ok(), "neither spent it");
}

#[test]
fn of_two_at_once_exactly_one_wins() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    for _ in 0..5 {
        let (_, refresh) = rig.begins(id, &text, "");
        let start = Barrier::new(4);
        let won: Vec<Result<Value>> = std::thread::scope(|scope| {
            let run = || {
                scope.spawn(|| {
                    start.wait();
                    rig.refreshes(id, &refresh, "")
                })
            };
            let all = [run(), run(), run(), run()];
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let (good, bad): (Vec<_>, Vec<_>) = won.into_iter().partition(Result::is_ok);
        assert_eq!((good.len(), bad.len()), (1, 3));
        // One of them has a copy: what the winner got is over as well.
        assert!(!rig.works(&pair(&good[0]).0));
        bad.into_iter().for_each(refused);
    }
    assert_eq!((rig.open(id), rig.told("identity.family_reused")), (0, 5));
}

#[test]
fn families_end_by_idleness_by_age_and_with_their_key() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    // The context of a moment: people's sessions end sooner than families.
    let ctx = || Ctx::system(&rig.site, rig.site.home, "test");
    let open = || list(&ctx(), ById { id }).unwrap().items.len();
    let (_, idle) = rig.begins(id, &text, "");
    let (_, mut used) = rig.begins(id, &text, "");
    for day in 1..REFRESH_TOKEN_DAYS_MAX {
        rig.site.clock.advance(Span::from_days(1));
        used = pair(&rig.refreshes(id, &used, "")).1;
        assert_eq!(open(), if day < REFRESH_TOKEN_IDLE_DAYS_MAX { 2 } else { 1 }, "day {day}");
    }
    refused(rig.refreshes(id, &idle, ""));
    rig.site.clock.advance(Span::from_minutes(24 * 60 - 5));
    let answer = rig.refreshes(id, &used, "");
    assert_eq!(answer.as_ref().unwrap()["expires_in"], 300, "no token outlives its family");
    let (token, used) = pair(&answer);
    rig.site.clock.advance(Span::from_minutes(5));
    refused(rig.refreshes(id, &used, ""));
    assert!(!rig.works(&token));
    sweep(&ctx()).unwrap();
    assert_eq!(rig.site.store.read().unwrap().count(&FAMILIES, &()).unwrap(), 0);
    assert_eq!(rig.told("identity.family_ended"), 2);

    // A text that is ended at once takes what came of it along; one that runs out does not.
    let rotate = |hours| ops::rotate(&ctx(), KeyRotated { id, hours: Some(hours) }).unwrap().text;
    let (token, refresh) = rig.begins(id, &text, "");
    let second = rotate(2);
    rig.site.clock.advance(Span::from_hours(2));
    let (token, refresh) = (token, pair(&rig.refreshes(id, &refresh, "")).1);
    assert!(!rig.works(&token));
    let third = rotate(0);
    refused(rig.refreshes(id, &refresh, ""));
    let (token, refresh) = rig.begins(id, &third, "");
    assert!(!rig.works(&second) && rig.works(&token));
    ops::revoke(&ctx(), ById { id }).unwrap();
    assert!(!rig.works(&token));
    refused(rig.refreshes(id, &refresh, ""));
}

#[test]
fn a_key_has_so_many_open_and_they_are_ended_by_hand() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let all: Vec<Pair> = (0..REFRESH_TOKENS_PER_KEY_MAX).map(|_| rig.begins(id, &text, "")).collect();
    let more = || exchange(&rig.site, &id.to_string(), &text, "offline_access", "10.0.0.9");
    assert_eq!(more().unwrap_err().kind(), Kind::TooMany);
    assert!(
        exchange(&rig.site, &id.to_string(), &text, "", "10.0.0.9").is_ok(),
        "tokens alone are no matter"
    );
    let views = list(&rig.ctx(), ById { id }).unwrap().items;
    let end = |family| end_of_key(&rig.ctx(), FamilyEnded { id, family });
    end(Some(views[0].id)).unwrap();
    assert_eq!(end(Some(views[0].id)).unwrap_err().kind(), Kind::NotFound);
    let (alive, dead): (Vec<_>, Vec<_>) = all.iter().partition(|pair| rig.works(&pair.0));
    assert_eq!((alive.len(), dead.len()), (REFRESH_TOKENS_PER_KEY_MAX - 1, 1));
    refused(rig.refreshes(id, &dead[0].1, ""));
    assert!(more().is_ok());
    end(None).unwrap();
    assert!(rig.open(id) == 0 && !rig.works(&alive[0].0));
    assert_eq!(rig.told("identity.family_ended"), REFRESH_TOKENS_PER_KEY_MAX + 1);
    let (viewer, _) = rig.make(Role::Viewer, "", &[]);
    let actor = Actor::Key { key: viewer, name: "v".into(), rights: Rights::of(Role::Viewer) };
    let ctx = Ctx::new(&rig.site, rig.site.home, actor, Request::default());
    assert_eq!(end_of_key(&ctx, FamilyEnded { id, family: None }).unwrap_err().kind(), Kind::Forbidden);
}

#[test]
fn a_program_gives_back_what_it_has_and_nobody_elses() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let (stranger, _) = rig.make(Role::Operator, "", &[]);
    let revokes = |id: KeyId, token: &str| revoke(&rig.site, &client(&id.to_string(), None, "x"), token);
    let (token, refresh) = rig.begins(id, &text, "");
    for (who, what) in
        [(stranger, refresh.as_str()), (stranger, &token), (id, "nonsense"), (id, "eyJ.e30.x"), (id, "msr_x")]
    {
        revokes(who, what).unwrap();
    }
    assert!(rig.works(&token) && rig.open(id) == 1);
    revokes(id, &refresh).unwrap();
    assert!(!rig.works(&token) && rig.open(id) == 0);
    revokes(id, &refresh).unwrap();
    // By its access token, and by a spent one.
    let (token, _) = rig.begins(id, &text, "");
    revokes(id, &token).unwrap();
    assert!(!rig.works(&token) && rig.open(id) == 0);
    let (_, spent) = rig.begins(id, &text, "");
    let (token, _) = pair(&rig.refreshes(id, &spent, ""));
    revokes(id, &spent).unwrap();
    assert!(!rig.works(&token));
    // A token that came of the text alone is not taken back, and that is said.
    let alone = rig.token(id, &text, "").unwrap();
    assert_eq!(revokes(id, &alone).unwrap_err().kind(), Kind::Invalid);
    let wrong = client(&id.to_string(), Some("mst_wrong"), "x");
    assert_eq!(revoke(&rig.site, &wrong, &alone).unwrap_err().kind(), Kind::Unauthenticated);
}

#[test]
fn what_a_token_is_is_told_to_who_has_it_and_who_may_read_it() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let (reader, reads) = rig.make(Role::Auditor, "", &[]);
    let (stranger, nothing) = rig.make(Role::Operator, "", &[]);
    let asks = |id: KeyId, text: &str, token: &str| {
        introspect(&rig.site, &client(&id.to_string(), Some(text), "10.0.0.9"), token).unwrap()
    };
    let (token, refresh) = rig.begins(id, &text, "agents.read");
    for (who, with) in [(id, &text), (reader, &reads)] {
        let said = asks(who, with, &token);
        assert_eq!((&said["active"], &said["scope"]), (&Value::Bool(true), &"agents.read".into()), "{said}");
        assert_eq!(said["client_id"], id.to_string());
        assert_eq!(asks(who, with, "nonsense"), serde_json::json!({ "active": false }));
    }
    assert_eq!(asks(id, &text, &refresh)["active"], true);
    assert_eq!(asks(stranger, &nothing, &token), serde_json::json!({ "active": false }));
    assert_eq!(asks(stranger, &nothing, &refresh), serde_json::json!({ "active": false }));
    let next = pair(&rig.refreshes(id, &refresh, "")).1;
    assert_eq!(asks(id, &text, &refresh)["active"], false, "to ask is not to use");
    assert_eq!(asks(id, &text, &next)["active"], true);
    end_of_key(&rig.ctx(), FamilyEnded { id, family: None }).unwrap();
    assert_eq!(
        (&asks(id, &text, &token)["active"], &asks(id, &text, &next)["active"]),
        (&false.into(), &false.into())
    );
    assert!(
        introspect(&rig.site, &client(&id.to_string(), None, "x"), &token).is_err(),
        "nobody asks unknown"
    );
}

#[test]
fn a_restore_ends_all_of_them_and_the_tables_agree() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "", &[]);
    let (_, refresh) = rig.begins(id, &text, "");
    let mut findings = Findings::default();
    recovery::check(&rig.ctx(), &mut findings).unwrap();
    assert_eq!(findings.count, 0);
    let ctx = Ctx::system(&rig.site, rig.site.home, "test");
    let sample = recovery_sample(Vec::new(), ctx.now);
    ctx.require("identity.test").unwrap().write(|change| recovery::restored(&ctx, change, &sample)).unwrap();
    refused(rig.refreshes(id, &refresh, ""));
    assert_eq!(rig.site.store.read().unwrap().count(&FAMILIES, &()).unwrap(), 0);
}
