//! Moves of agents, and health.

use super::*;
use crate::base::{AgentId, Kind, Labels, Timestamp};
use crate::capabilities::identity::tests as identity;
use crate::kit::Ctx;
use crate::kit::guide::proof;

fn agent() -> Agent {
    Agent {
        id: AgentId::from_bits(1),
        name: "lyon-press-07".parse().unwrap(),
        state: State::Active { since: Timestamp::default() },
        labels: Labels::parse("site=lyon").unwrap(),
        proposed: Labels::parse("site=elsewhere, line=7").unwrap(),
        hostname: "press".into(),
        version: "0.1.0".into(),
        inventory: Default::default(),
        commands: Default::default(),
        seen: None,
        certificate_until: None,
    }
}

#[test]
fn only_legal_moves_are_made() {
    let now = Timestamp::from_milliseconds(9);
    let quarantined = agent().quarantine(now, "why".into()).unwrap();
    assert!(!quarantined.is_active());
    assert_eq!(quarantined.clone().quarantine(now, "again".into()).unwrap_err().kind(), Kind::Conflict);
    let mut moved = quarantined.clone();
    moved.inventory.machine = "before".into();
    let back = quarantined.approve(now).unwrap();
    assert!(back.is_active());
    let back = moved.approve(now).unwrap();
    assert_eq!(back.inventory.machine, "", "the machine it comes back on is taken, not held against it");
    assert_eq!(agent().approve(now).unwrap_err().kind(), Kind::Conflict);
    let retired = agent().retire(now).unwrap();
    assert!(
        retired.clone().retire(now).is_err()
            && retired.clone().approve(now).is_err()
            && retired.quarantine(now, String::new()).is_err()
    );
}

#[test]
fn given_labels_win_over_proposed_ones() {
    assert_eq!(agent().label("site"), Some("lyon"));
    assert_eq!(agent().all_labels().text(), "line=7, site=lyon");
}

#[test]
fn health_names_its_reason() {
    let heard = |s| Some(Span::from_seconds(s));
    let with = |cpu, memory, disk| Readings { cpu, memory, disk };
    let calm = with(Some(5.0), Some(40.0), Some(50.0));
    for (silence, offset, readings, expected, reason) in [
        (heard(3), Some(20), calm, Health::Healthy, ""),
        (heard(30), None, calm, Health::Warning, "late"),
        (heard(61), None, calm, Health::Offline, "not heard"),
        (None, None, Readings::default(), Health::Offline, "never"),
        (heard(1), None, with(None, None, Some(96.0)), Health::Critical, "disk at 96 %"),
        (heard(1), None, with(None, Some(91.0), None), Health::Warning, "memory at 91 %"),
        (heard(1), Some(-90_000), calm, Health::Warning, "clock off by -90 s"),
    ] {
        let (health, why) = health(&agent(), silence, offset, readings);
        assert_eq!(health, expected, "{why}");
        assert!(why.contains(reason), "{why} / {reason}");
    }
}

#[test]
fn a_join_code_is_for_one_key_and_a_time() {
    let code = |key: Option<&str>| JoinCode {
        digest: String::new(),
        labels: Labels::default(),
        created: Timestamp::default(),
        expires: Timestamp::from_milliseconds(100),
        by: String::new(),
        approval: false,
        key: key.map(str::to_owned),
        agent: None,
    };
    let (early, late) = (Timestamp::from_milliseconds(50), Timestamp::from_milliseconds(101));
    assert!(code(None).admit("a", early).is_ok());
    assert!(code(None).admit("a", late).unwrap_err().message().contains("expired"));
    assert!(code(Some("a")).admit("a", late).is_ok(), "an answer that was lost can be asked for again");
    assert!(code(Some("a")).admit("b", early).unwrap_err().message().contains("another"));
}

#[test]
fn the_roster_follows_every_acknowledged_change() {
    let (site, _folder) = identity::site();
    let ctx = Ctx::system(&site, site.home, "test");
    let put = |id: u128, name: &str| {
        let agent = Agent { id: AgentId::from_bits(id), name: name.parse().unwrap(), ..agent() };
        ctx.require("agents.change")
            .unwrap()
            .write(|change| change.tx.put(&store::AGENTS, &(ctx.tenant, agent.id), &agent))
            .unwrap();
    };
    let names = || -> Vec<String> {
        let all = roster::all(&site, ctx.tenant).unwrap();
        all.iter().map(|agent| agent.name.to_string()).collect()
    };
    assert!(names().is_empty());
    for (id, name) in [(1, "press-10"), (2, "press-2"), (3, "Press-1")] {
        put(id, name);
        assert!(names().contains(&name.to_owned()), "what was acknowledged is there at once");
    }
    assert_eq!(names(), ["Press-1", "press-2", "press-10"]);
    put(3, "press-11");
    assert_eq!(names(), ["press-2", "press-10", "press-11"]);
    // More than it takes over one by one.
    (0..1_100).for_each(|n| put(4, &format!("lathe-{n}")));
    assert_eq!(names(), ["lathe-1099", "press-2", "press-10", "press-11"]);
    let gone =
        |change: &mut Change<'_>| change.tx.delete(&store::AGENTS, &(ctx.tenant, AgentId::from_bits(2)));
    ctx.require("agents.change").unwrap().write(gone).unwrap();
    assert_eq!(names(), ["lathe-1099", "press-10", "press-11"]);
}

#[test]
fn the_guide_says_the_bounds_of_health() {
    assert_eq!((LATE, OFFLINE), (Span::from_seconds(25), Span::from_seconds(60)));
    let of = |cpu, memory, disk, offset| {
        let readings = Readings { cpu: Some(cpu), memory: Some(memory), disk: Some(disk) };
        health(&agent(), Some(Span::from_seconds(1)), Some(offset), readings).0
    };
    assert_eq!(of(94.9, 89.9, 84.9, 5_000), Health::Healthy);
    for warning in
        [of(95.0, 0.0, 0.0, 0), of(0.0, 90.0, 0.0, 0), of(0.0, 0.0, 85.0, 0), of(0.0, 0.0, 0.0, 5_001)]
    {
        assert_eq!(warning, Health::Warning);
    }
    assert_eq!((of(0.0, 97.0, 0.0, 0), of(0.0, 0.0, 95.0, 0)), (Health::Critical, Health::Critical));
    for words in [
        "not heard for 25 seconds, its clock is off by more than 5 seconds, a disk is 85 % full, memory 90 %, the processor at 95 %",
        "a disk is 95 % full, or memory 97 %",
        "not heard for 60 seconds",
    ] {
        assert!(proof::says("agents", words), "{words}");
    }
}
