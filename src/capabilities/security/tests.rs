//! Every check on facts that are as they should be, and on facts that are not.

use std::net::SocketAddr;

use super::facts::{AgentFact, Doors, Facts, Kept, Saved, open_to_others};
use super::model::FOUND_MAX;
use super::ops::{DestinationView, EgressView, PurposeView, RefusedView};
use super::rules::RULES;
use super::*;
use crate::base::{AgentId, Error, KeyId, Kind, Network, Span, Timestamp, UserId, limits};
use crate::capabilities::identity::{
    self, KeyStanding, KeyView, PersonStanding, Policy, Standings, tests as identity_tests,
};
use crate::capabilities::{audit, backups};
use crate::engine::host::TimeService as Clock;
use crate::kit::{
    Actor, Ctx, Door, Grant, Guards, KeysOpenedBy, Nothing, Request, Rights, Role, Served, Unwritable,
};
use crate::wire::{Checkpoint, TimeService};

fn now() -> Timestamp {
    Timestamp::from_milliseconds(1_790_000_000_000)
}

fn ago(days: u64) -> Timestamp {
    now() - Span::from_days(days)
}

fn person(n: u128, name: &str) -> PersonStanding {
    PersonStanding {
        id: UserId::from_bits(n),
        name: name.parse().unwrap(),
        has_factor: true,
        linked: false,
        asked: true,
        owner: true,
        password: true,
        privileged: true,
        everything: None,
        taken: Vec::new(),
        created: ago(300),
        last_login: Some(ago(1)),
    }
}

fn key(name: &str) -> KeyStanding {
    let key = KeyView {
        id: KeyId::from_bits(1),
        name: name.parse().unwrap(),
        roles: "viewer".into(),
        grants: Vec::new(),
        only: None,
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        shown: "mst_abc".into(),
        old: None,
        created_by: "usr".into(),
        created: ago(300),
        last_used: Some(ago(1)),
        last_from: "10.0.0.9".into(),
        expires: Some(now() + Span::from_days(30)),
        state: "active",
    };
    KeyStanding { key, everything: false }
}

fn agent(n: u128, name: &str) -> AgentFact {
    let time = TimeService { name: "chrony".into(), in_step: None, at: None };
    AgentFact {
        id: AgentId::from_bits(n),
        name: name.into(),
        here: true,
        certificate_until: Some(now() + Span::from_days(25)),
        offset_ms: Some(40),
        time: Some(time),
    }
}

fn overview() -> backups::ops::Overview {
    let drill = backups::Drill {
        began: ago(1),
        backup: "b".into(),
        change: 1,
        at: ago(1),
        bytes: 1,
        restored_ms: 1,
        ready_ms: 1,
        checked: Vec::new(),
        failure: String::new(),
    };
    let recorded = ago(1);
    let full = backups::Backup {
        name: "b".into(),
        full: true,
        generation: 1,
        first: 0,
        last: 9,
        at: ago(1),
        made: ago(1),
        bytes: 1,
        took_ms: 1,
        telemetry: false,
        verified: Some(ago(1)),
        here: true,
        targets: Default::default(),
        recipients: Vec::new(),
    };
    backups::ops::Overview {
        full: Some(full.clone()),
        last: Some(full),
        left_building: Some(ago(1)),
        drill: Some(backups::DrillRecord { drill, recorded, key: String::new(), signature: String::new() }),
        window_from: None,
        window_to: None,
        failing: String::new(),
        generation: 1,
    }
}

fn log() -> audit::Status {
    audit::Status {
        head: audit::Head { number: 9, chain: audit::Chain::default(), change: 9, place: 0 },
        checkpoint: Some(Checkpoint {
            number: 9,
            at: now() - Span::from_minutes(5),
            ..Checkpoint::default()
        }),
        fingerprint: String::new(),
        holders: 2,
        verified: None,
        contradictions: 0,
        searchable: true,
        retention: audit::Retention::default(),
        cut: None,
    }
}

/// A site that is guarded well in every respect.
pub(super) fn strong() -> Facts {
    let network: Network = "10.0.0.0/8".parse().unwrap();
    let door = |allow: &[Network]| {
        let mut door = Door::default();
        door.networks.allow = allow.to_vec();
        door
    };
    let guards = Guards {
        http: door(&[network]),
        mqtt: door(&[network]),
        requests_per_second_max: [
            limits::REQUESTS_PER_ADDRESS_PER_SECOND_MAX,
            limits::REQUESTS_PER_ACTOR_PER_SECOND_MAX,
            limits::REQUESTS_PER_TENANT_PER_SECOND_MAX,
        ],
        sealed: true,
        keys: KeysOpenedBy::Systemd,
    };
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    Facts {
        now: now(),
        standings: Ok(Standings {
            people: vec![person(1, "Inès"), person(2, "Jonas")],
            keys: vec![key("backup-probe")],
            roles: Vec::new(),
            policy: Policy {
                second_factor_for: vec!["administrator".into(), "owner".into()],
                ..Policy::default()
            },
        }),
        doors: Ok(Doors {
            guards: guards.clone(),
            served: Some(Served { own_ends: now() + Span::from_days(200), supplied: None, refused: None }),
            authority_ends: now() + Span::from_days(3_000),
            listeners: Ok(vec![at("0.0.0.0:8443"), at("0.0.0.0:8883")]),
            https_port: 8443,
            mqtt_port: 8883,
            plain_port: None,
            egress: EgressView { items: Vec::new(), refused: Vec::new() },
        }),
        kept: Ok(Kept {
            guards,
            unwritable: Unwritable::Closed,
            disk_encrypted: Some(false),
            open_to_others: Ok(Vec::new()),
        }),
        agents: Ok(vec![agent(1, "press-1"), agent(2, "press-2"), agent(3, "press-3")]),
        clock: Ok(Clock {
            name: "systemd-timesyncd".into(),
            in_step: Some(true),
            at: Some(now() - Span::from_minutes(9)),
        }),
        saved: Ok(Saved { overview: overview(), key_checked: Some(ago(30)), key_made: Some(ago(300)) }),
        audit: Ok(log()),
    }
}

/// A site of which every check has something to say.
pub(super) fn weak() -> Facts {
    let mut facts = strong();
    for (_, worse) in worse() {
        worse(&mut facts);
    }
    facts
}

type Worse = fn(&mut Facts);

fn people(facts: &mut Facts) -> &mut Vec<PersonStanding> {
    &mut facts.standings.as_mut().unwrap().people
}

fn keys(facts: &mut Facts) -> &mut Vec<KeyStanding> {
    &mut facts.standings.as_mut().unwrap().keys
}

fn doors(facts: &mut Facts) -> &mut Doors {
    facts.doors.as_mut().unwrap()
}

fn kept(facts: &mut Facts) -> &mut Kept {
    facts.kept.as_mut().unwrap()
}

/// For each check what makes it anything but good, in their order.
fn worse() -> Vec<(&'static str, Worse)> {
    vec![
        ("people.factor", |facts| {
            let lacks = PersonStanding { has_factor: false, owner: false, ..person(3, "Omar") };
            people(facts).push(lacks);
        }),
        ("people.factor_rule", |facts| {
            facts.standings.as_mut().unwrap().policy.second_factor_for.retain(|role| role != "owner");
        }),
        ("people.owners", |facts| {
            people(facts).iter_mut().skip(1).for_each(|person| person.owner = false);
        }),
        ("people.dormant", |facts| people(facts)[1].last_login = Some(ago(91))),
        ("people.sessions", |facts| {
            facts.standings.as_mut().unwrap().policy.absolute_minutes = 8 * 24 * 60;
        }),
        ("roles.everything", |facts| {
            facts.standings.as_mut().unwrap().roles.push("root".into());
            people(facts)[1].everything = Some("root".into());
            keys(facts)[0].everything = true;
        }),
        ("roles.taken_up", |facts| {
            people(facts)[0].taken.push(("administrator".into(), now() + Span::from_minutes(30)));
        }),
        ("keys.unused", |facts| keys(facts)[0].key.last_used = Some(ago(90))),
        ("keys.expiry", |facts| keys(facts)[0].key.expires = None),
        ("keys.network", |facts| keys(facts)[0].key.networks.clear()),
        ("network.tls", |facts| doors(facts).guards.mqtt.tls12 = true),
        ("network.certificates", |facts| {
            let served = doors(facts).served.as_mut().unwrap();
            served.supplied = Some((vec!["muster.lan".into()], now() + Span::from_days(20)));
        }),
        ("network.agent_certificates", |facts| {
            facts.agents.as_mut().unwrap()[0].certificate_until = Some(ago(1));
        }),
        ("network.listeners", |facts| {
            doors(facts).listeners.as_mut().unwrap().push("0.0.0.0:4444".parse().unwrap());
        }),
        ("network.plain", |facts| {
            let doors = doors(facts);
            doors.plain_port = Some(1883);
            doors.listeners.as_mut().unwrap().push("0.0.0.0:1883".parse().unwrap());
        }),
        ("network.allowed", |facts| doors(facts).guards.http.networks.allow.clear()),
        ("network.limits", |facts| doors(facts).guards.requests_per_second_max[0] = 100_000),
        ("network.egress", |facts| {
            doors(facts).egress.refused.push(RefusedView {
                host: "example.org".into(),
                port: 443,
                attempts: 2,
                at: ago(1),
            });
        }),
        ("time.server", |facts| facts.clock = Ok(Clock::default())),
        ("time.agents", |facts| facts.agents.as_mut().unwrap()[1].offset_ms = Some(-61_000)),
        ("backups.outside", |facts| facts.saved.as_mut().unwrap().overview.left_building = None),
        ("backups.drill", |facts| {
            let drill = facts.saved.as_mut().unwrap().overview.drill.as_mut().unwrap();
            drill.drill.failure = "a sum was wrong".into();
        }),
        ("backups.key", |facts| facts.saved.as_mut().unwrap().key_checked = None),
        ("audit.chain", |facts| {
            let log = facts.audit.as_mut().unwrap();
            (log.contradictions, log.holders) = (1, 0);
        }),
        ("audit.unwritable", |facts| kept(facts).unwritable = Unwritable::Open),
        ("data.sealed", |facts| kept(facts).guards.sealed = false),
        ("data.folder", |facts| kept(facts).open_to_others = Ok(vec![("/data".into(), 0o755)])),
        ("data.keys", |facts| kept(facts).guards.keys = KeysOpenedBy::File),
    ]
}

fn check(facts: &Facts, id: &str) -> Check {
    RULES.iter().find(|rule| rule.id == id).expect("a check").check(facts)
}

#[test]
fn every_check_is_good_on_a_site_that_is_guarded_well() {
    let facts = strong();
    for rule in RULES {
        let check = rule.check(&facts);
        assert_eq!(check.state, State::Good, "{}: {} {:?}", rule.id, check.said, check.found);
        assert!(check.said.ends_with('.') && check.remedy.ends_with('.'), "{}: {}", rule.id, check.said);
    }
    assert!(check(&facts, "network.egress").said.contains("connects nowhere"));
}

#[test]
fn every_check_finds_what_it_is_there_for() {
    let worse = worse();
    let ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(worse.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids, "each check has a case");
    for (id, worse) in worse {
        let mut facts = strong();
        worse(&mut facts);
        for rule in RULES {
            let found = rule.check(&facts);
            let bad = matches!(found.state, State::Attention | State::Bad);
            // A person without a factor whom the rules ask is two things; so are a plain port and one that is open.
            let follows = (id, rule.id) == ("people.factor", "people.factor_rule");
            assert!(bad == (rule.id == id) || follows, "{id} makes {}: {found:?}", rule.id);
        }
        let found = check(&facts, id);
        assert!(found.said.ends_with('.') && found.found_count == found.found.len(), "{id}: {found:?}");
    }
}

#[test]
fn what_is_found_is_graver_the_graver_it_is() {
    let of = |worse: Worse, id: &str| {
        let mut facts = strong();
        worse(&mut facts);
        check(&facts, id)
    };
    let cases: &[(&str, Worse, State)] = &[
        ("people.factor", |f| people(f)[0].has_factor = false, State::Bad),
        (
            "people.factor",
            |f| (people(f)[0].has_factor, people(f)[0].linked) = (false, true),
            State::Attention,
        ),
        (
            "people.factor",
            |f| (people(f)[0].has_factor, people(f)[0].privileged) = (false, false),
            State::Attention,
        ),
        ("people.owners", |f| people(f).iter_mut().for_each(|p| p.password = false), State::Bad),
        ("people.owners", |f| (3..6).for_each(|n| people(f).push(person(n, "X"))), State::Attention),
        ("people.dormant", |f| people(f)[0].last_login = Some(ago(44)), State::Good),
        ("people.dormant", |f| people(f)[0].last_login = Some(ago(45)), State::Attention),
        ("people.dormant", |f| people(f)[0].last_login = None, State::Bad),
        ("people.sessions", |f| f.standings.as_mut().unwrap().policy.idle_minutes = 9 * 60, State::Attention),
        ("keys.unused", |f| keys(f)[0].key.last_used = Some(ago(89)), State::Good),
        ("keys.unused", |f| keys(f)[0].key.last_used = None, State::Bad),
        ("keys.expiry", |f| keys(f).clear(), State::Good),
        ("network.certificates", |f| doors(f).authority_ends = ago(1), State::Bad),
        ("network.certificates", |f| doors(f).served = None, State::Unknown),
        (
            "network.certificates",
            |f| doors(f).served.as_mut().unwrap().refused = Some("the key does not belong to it".into()),
            State::Bad,
        ),
        ("network.listeners", |f| doors(f).listeners = Err("no /proc".into()), State::Unknown),
        (
            "network.listeners",
            |f| doors(f).listeners.as_mut().unwrap().push("127.0.0.1:9".parse().unwrap()),
            State::Attention,
        ),
        (
            "network.plain",
            |f| {
                doors(f).plain_port = Some(1883);
                doors(f).listeners.as_mut().unwrap().push("127.0.0.1:1883".parse().unwrap());
            },
            State::Attention,
        ),
        (
            // Nobody but this machine reaches them.
            "network.allowed",
            |f| {
                doors(f).guards.http.networks.allow.clear();
                doors(f).listeners = Ok(vec!["127.0.0.1:8443".parse().unwrap()]);
            },
            State::Good,
        ),
        ("network.limits", |f| doors(f).guards.requests_per_second_max[1] = 500, State::Good),
        ("time.server", |f| f.clock.as_mut().unwrap().at = Some(ago(2)), State::Attention),
        ("time.server", |f| f.clock.as_mut().unwrap().in_step = Some(false), State::Attention),
        ("time.server", |f| f.clock = Err("no systemd".into()), State::Unknown),
        (
            "time.server",
            |f| f.clock = Ok(Clock { name: "chrony".into(), in_step: None, at: None }),
            State::Unknown,
        ),
        (
            // All others agree against it.
            "time.server",
            |f| f.agents.as_mut().unwrap().iter_mut().for_each(|a| a.offset_ms = Some(90_000)),
            State::Bad,
        ),
        ("time.agents", |f| f.agents.as_mut().unwrap()[0].offset_ms = Some(1_500), State::Attention),
        (
            "time.agents",
            |f| f.agents.as_mut().unwrap()[0].time = Some(TimeService::default()),
            State::Attention,
        ),
        (
            "time.agents",
            |f| f.agents.as_mut().unwrap().iter_mut().for_each(|a| a.here = false),
            State::Unknown,
        ),
        (
            "backups.outside",
            |f| f.saved.as_mut().unwrap().overview.left_building = Some(ago(3)),
            State::Attention,
        ),
        ("backups.outside", |f| f.saved.as_mut().unwrap().overview.left_building = Some(ago(14)), State::Bad),
        (
            "backups.outside",
            |f| f.saved.as_mut().unwrap().overview.failing = "the disk is full".into(),
            State::Bad,
        ),
        ("backups.drill", |f| f.saved.as_mut().unwrap().overview.drill = None, State::Attention),
        ("backups.key", |f| f.saved.as_mut().unwrap().key_checked = Some(ago(366)), State::Attention),
        ("audit.chain", |f| f.audit.as_mut().unwrap().checkpoint = None, State::Attention),
        (
            "audit.chain",
            |f| {
                let log = f.audit.as_mut().unwrap();
                (log.head.number, log.checkpoint.as_mut().unwrap().at) = (10, ago(1));
            },
            State::Attention,
        ),
        (
            "data.sealed",
            |f| (kept(f).guards.sealed, kept(f).disk_encrypted) = (false, Some(true)),
            State::Good,
        ),
        ("data.folder", |f| kept(f).open_to_others = Ok(vec![("/data".into(), 0o750)]), State::Attention),
        ("people.factor", |f| f.standings = Err("you may not look".into()), State::Unknown),
    ];
    for (id, worse, expected) in cases {
        let found = of(*worse, id);
        assert_eq!(found.state, *expected, "{id}: {} {:?}", found.said, found.found);
    }
}

#[test]
fn a_list_is_bounded_and_all_of_it_counted_the_gravest_first() {
    let mut facts = strong();
    let many = (10..10 + FOUND_MAX as u128 + 7).map(|n| PersonStanding {
        has_factor: false,
        privileged: n == 40,
        owner: false,
        ..person(n, "Somebody")
    });
    people(&mut facts).extend(many);
    let found = check(&facts, "people.factor");
    assert_eq!((found.found.len(), found.found_count), (FOUND_MAX, FOUND_MAX + 7));
    assert_eq!((found.found[0].state, found.found[1].state), (State::Bad, State::Attention));
    let purpose = PurposeView {
        what: "backups to `vault`".into(),
        by: "usr_1".into(),
        by_name: "Inès".into(),
        since: ago(1),
    };
    let (host, purposes) = ("vault.lan".into(), vec![purpose]);
    let place = DestinationView { host, port: 22, purposes, connections: 0, used: None };
    doors(&mut facts).egress.items.push(place);
    let found = check(&facts, "network.egress");
    assert!(found.state == State::Good && found.said.contains("one place"), "{found:?}");
    assert_eq!(found.found[0].text, "backups to `vault`, allowed by Inès");
}

#[test]
fn rights_of_a_folder_are_told_when_others_reach_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::write(folder.path().join("open"), "").unwrap();
    std::fs::write(folder.path().join("closed"), "").unwrap();
    mode(&folder.path().join("open"), 0o644);
    mode(&folder.path().join("closed"), 0o600);
    mode(folder.path(), 0o700);
    assert_eq!(open_to_others(folder.path()).unwrap(), []);
    mode(folder.path(), 0o755);
    let open = open_to_others(folder.path()).unwrap();
    assert_eq!(open.iter().map(|(_, mode)| *mode).collect::<Vec<_>>(), [0o755, 0o644]);
    assert_eq!(open[1].0, "open");
}

fn actor(permissions: &str, scope: &str) -> Actor {
    let grant = Grant {
        role: Role::Viewer.into(),
        permissions: std::sync::Arc::new(permissions.parse().unwrap()),
        scope: scope.parse().unwrap(),
        until: None,
    };
    let rights = std::sync::Arc::new(Rights { grants: vec![grant], looks_as: None, within_tenant: false });
    Actor::Key { key: KeyId::from_bits(1), name: "k".into(), rights }
}

#[test]
fn nobody_learns_here_what_they_may_not_read_elsewhere() {
    let (site, _folder, _) = identity_tests::owned();
    let look = |permissions: &str, scope: &str| {
        let ctx = Ctx::new(&site, site.home, actor(permissions, scope), Request::default());
        ops::checks(&ctx, Nothing {})
    };
    let all = look("*", "").unwrap();
    assert!(all.whole && all.items.len() == RULES.len());
    let state =
        |posture: &Posture, id: &str| posture.items.iter().find(|check| check.id == id).unwrap().state;
    assert_eq!(state(&all, "people.factor"), State::Bad, "the first owner has none yet");
    let alone = look("security.read", "").unwrap();
    for check in &alone.items {
        if check.id != "time.server" {
            assert_eq!(check.state, State::Unknown, "{}", check.id);
            assert!(check.said.contains("may not"), "{}: {}", check.id, check.said);
        }
        assert!(check.found.is_empty());
    }
    assert_eq!(look("*, -security.read", "").unwrap_err().kind(), Kind::Forbidden);
    let part = look("*", "site:lyon").unwrap();
    assert!(!part.whole && part.items.is_empty(), "there is no agent in Lyon");
    let ctx = Ctx::new(&site, site.home, actor("*", "site:lyon"), Request::default());
    let error: Error = ops::egress(&ctx, Nothing {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
}

#[test]
fn places_tell_who_allowed_them() {
    let (site, _folder, cookie) = identity_tests::owned();
    let (_, owner) = identity::session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let by = owner.text();
    let ctx = Ctx::new(&site, site.home, owner, Request::default());
    assert_eq!(ops::egress(&ctx, Nothing {}).unwrap().items, []);
    site.egress.allow("vault.lan", 22, "backups to `vault`", &by, ctx.now).unwrap();
    site.egress.permit("vault.lan", 22).unwrap();
    assert!(site.egress.permit("example.org", 443).is_err());
    let view = ops::egress(&ctx, Nothing {}).unwrap();
    assert_eq!(view.items[0].purposes[0].by_name, "Inès Moreau");
    assert_eq!((view.items[0].connections, view.items[0].used), (1, Some(ctx.now)));
    assert_eq!((view.refused[0].host.as_str(), view.refused[0].attempts), ("example.org", 1));
}

#[test]
fn the_guide_says_from_when_on() {
    let says = |words: &str| assert!(crate::kit::guide::proof::says("checks", words), "{words}");
    let days = |span: Span| span.seconds() / 86_400;
    says(&format!("{} days", days(people::DORMANT)));
    says(&format!("{} days", days(people::DORMANT_LONG)));
    says(&format!("{} days", days(people::UNUSED)));
    says(&format!("{} days", days(doors::SUPPLIED_SOON)));
    says(&format!("over {} s", clocks::OFF_MS / 1_000));
    says(&format!("over {} s", clocks::OFF_FAR_MS / 1_000));
}
