//! Tenants as a whole: what quotas stop, what a suspension refuses, what an export holds and what an end leaves.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{erase, store};
use crate::base::{AgentId, Error, Kind, Result, TenantId, Timestamp};
use crate::capabilities::{ALL, identity};
use crate::engine::archive::ZipReader;
use crate::engine::logs::Line;
use crate::engine::series::Batch;
use crate::engine::store::Read;
use crate::kit::{Actor, Capability, Ctx, HOME, Jobs, KIT_TABLES, Quota, Rights, Role, Site};

fn site() -> (Site, TempDir) {
    let (site, folder, _) = identity::tests::owned();
    site.made_of(ALL);
    (site, folder)
}

fn system(site: &Site, tenant: TenantId) -> Ctx<'_> {
    Ctx::system(site, tenant, "test")
}

fn call(ctx: &Ctx<'_>, name: &str, input: Value) -> Result<Value> {
    let op = ctx.site.ops().iter().find(|op| op.name == name).expect("an operation of this name");
    (op.run)(ctx, input)
}

fn made(site: &Site, name: &str, quotas: Value) -> TenantId {
    let login = name.to_lowercase().replace(' ', "-");
    let input = json!({ "name": name, "login": login, "owner": "Mara", "quotas": quotas });
    let made = call(&system(site, HOME), "tenants.create", input).unwrap();
    assert!(made["link"].as_str().unwrap().contains("/login/link?token=msl"));
    serde_json::from_value(made["tenant"]["id"].clone()).unwrap()
}

fn agent(site: &Site, tenant: TenantId, name: &str) -> Result<AgentId> {
    let made = call(&system(site, tenant), "agents.device", json!({ "name": name }))?;
    Ok(serde_json::from_value(made["id"].clone())?)
}

/// Something of every kind.
fn fill(site: &Site, tenant: TenantId) -> AgentId {
    let ctx = system(site, tenant);
    let agent = agent(site, tenant, "press-1").unwrap();
    for (name, input) in [
        ("tasks.create", json!({ "agent": agent, "work": { "kind": "ping" } })),
        ("secrets.put", json!({ "name": "line7/plc", "value": "hush", "about": "the press" })),
        ("identity.key_create", json!({ "name": "mes", "role": "viewer" })),
        (
            "identity.create",
            json!({ "login": format!("omar-{}", tenant.bits()), "name": "Omar", "role": "operator" }),
        ),
        ("identity.role_create", json!({ "name": "line-lead", "permissions": "agents.*" })),
        ("agents.invite", json!({ "labels": {} })),
    ] {
        let done = call(&ctx, name, input);
        assert!(done.is_ok(), "{name}: {done:?}");
    }
    let values = [("cpu.usage_percent", 1.0), ("memory.used_percent", 2.0)];
    let batch = Batch { source: agent.bits(), at: ctx.now, values: &values };
    site.series.append(&[batch]).unwrap().wait().unwrap();
    let line = Line { at: ctx.now, severity: 1, origin: "press", text: "a line" };
    site.logs.append(agent.bits(), None, &[line]).unwrap().wait().unwrap();
    agent
}

/// Rows by table that begin with the tenant.
fn rows(site: &Site, tenant: TenantId) -> BTreeMap<&'static str, usize> {
    let read = site.store.read().unwrap();
    let tables = ALL.iter().flat_map(|capability| capability.tables().iter().copied()).chain(KIT_TABLES);
    let count = |table| (table, read.any(table, &tenant, None, usize::MAX).unwrap().len());
    tables.filter(|table| *table != "cursors").map(count).filter(|(_, count)| *count > 0).collect()
}

fn refused(outcome: Result<impl std::fmt::Debug>, part: &str) -> Error {
    let error = outcome.expect_err(part);
    let text = format!("{} ({})", error.message(), error.hint_text().unwrap_or_default());
    assert!(text.contains(part), "{text}");
    error
}

#[test]
fn quotas_name_the_limit_the_count_and_who_can_raise_it() {
    let (site, _folder) = site();
    let quotas = json!({ "agents": 2, "people": 2, "keys": 1, "secrets": 1, "tasks": 1 });
    let tenant = made(&site, "Harbour Tugs", quotas);
    let ctx = system(&site, tenant);
    let first = agent(&site, tenant, "a").unwrap();
    agent(&site, tenant, "b").unwrap();
    let full = "the quota of `Harbour Tugs` is 2 agents, and 2 are there";
    let error = refused(agent(&site, tenant, "c"), full);
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.hint_text().unwrap().contains("who runs the site"));
    call(&ctx, "agents.retire", json!({ "id": first })).unwrap();
    let third = agent(&site, tenant, "c").unwrap();
    for (name, inputs, part) in [
        (
            "tasks.create",
            [
                json!({ "agent": third, "work": { "kind": "ping" } }),
                json!({ "agent": third, "work": { "kind": "ping" } }),
            ],
            "1 open tasks",
        ),
        (
            "secrets.put",
            [json!({ "name": "a", "value": "x" }), json!({ "name": "b", "value": "x" })],
            "1 secrets",
        ),
        (
            "identity.key_create",
            [json!({ "name": "a", "role": "viewer" }), json!({ "name": "b", "role": "viewer" })],
            "1 API keys",
        ),
        (
            "identity.create",
            [
                json!({ "login": "b", "name": "B", "role": "viewer" }),
                json!({ "login": "c", "name": "C", "role": "viewer" }),
            ],
            "2 people",
        ),
    ] {
        let [one, two] = inputs;
        call(&ctx, name, one).unwrap();
        refused(call(&ctx, name, two), part);
    }
    // The site's own has none, and a raised quota lets go on.
    for n in 0..3 {
        agent(&site, HOME, &format!("h-{n}")).unwrap();
    }
    let raised = json!({ "id": tenant, "quotas": { "agents": 3 } });
    call(&system(&site, HOME), "tenants.change", raised).unwrap();
    agent(&site, tenant, "d").unwrap();
    let shown = call(&system(&site, HOME), "tenants.find", json!({ "id": tenant })).unwrap();
    let usage = |field: &str| {
        let of = |one: &&Value| one["quota"] == field;
        shown["usage"].as_array().unwrap().iter().find(of).cloned().unwrap()
    };
    assert_eq!((usage("agents")["used"].as_u64(), usage("agents")["most"].as_u64()), (Some(3), Some(3)));
    assert_eq!((usage("people")["used"].as_u64(), usage("keys")["used"].as_u64()), (Some(2), Some(1)));
    assert_eq!((usage("secrets")["used"].as_u64(), usage("tasks")["used"].as_u64()), (Some(1), Some(1)));
    assert_eq!(shown["usage"].as_array().unwrap().len(), Quota::ALL.len());
    for quotas in [json!({ "people": 0 }), json!({ "requests": 0 }), json!({ "agent": 1 })] {
        let input = json!({ "id": tenant, "quotas": quotas });
        assert_eq!(call(&system(&site, HOME), "tenants.change", input).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn what_is_the_sites_is_refused_to_others_in_words() {
    let (site, _folder) = site();
    let tenant = made(&site, "Harbour Tugs", json!({}));
    let rights = std::sync::Arc::new(Rights { within_tenant: true, ..(*Rights::of(Role::Owner)).clone() });
    let actor = Actor::Key { key: crate::base::KeyId::from_bits(5), name: "k".into(), rights };
    let ctx = Ctx::new(&site, tenant, actor, crate::kit::Request::default());
    for name in ["backups.list", "storage.find", "tenants.list", "settings.change", "identity.provider_add"] {
        let Some(op) = site.ops().iter().find(|op| op.name == name) else { panic!("no {name}") };
        let permission: &'static str = Box::leak(op.permission.clone().into_boxed_str());
        assert!(!ctx.actor.may(permission), "{permission}");
        refused(ctx.require(permission).map(drop), "is about the whole site");
        refused(ctx.sight(permission), "`Harbour Tugs`");
    }
    assert!(ctx.actor.may("agents.retire") && ctx.require("audit.read").is_ok());
    let at_home = Ctx::new(&site, HOME, Actor::System, crate::kit::Request::default());
    assert!(at_home.require("backups.create").is_ok());
}

#[test]
fn names_and_logins_are_one_on_the_site_and_the_number_is_bounded() {
    let (site, _folder) = site();
    let first = made(&site, "Harbour Tugs", json!({}));
    let home = system(&site, HOME);
    let create = |name: &str, login: &str| {
        call(&home, "tenants.create", json!({ "name": name, "login": login, "owner": "X" }))
    };
    refused(create("harbour tugs", "x"), "already");
    refused(create("Test", "x"), "already");
    refused(create("Other", "ines"), "`ines` is taken");
    refused(create("Other", "harbour-tugs"), "is taken");
    let taken = json!({ "login": "ines", "name": "I", "role": "viewer" });
    refused(call(&system(&site, first), "identity.create", taken), "`ines` is taken");
    refused(call(&home, "tenants.change", json!({ "id": HOME, "name": "X" })), "site's own");
    refused(call(&home, "tenants.suspend", json!({ "id": TenantId::from_bits(99) })), "does not exist");
    for n in 2..crate::base::limits::TENANTS_MAX {
        made(&site, &format!("T {n}"), json!({}));
    }
    assert_eq!(create("One more", "one-more").unwrap_err().kind(), Kind::TooMany);
}

#[test]
fn who_is_suspended_keeps_all_and_comes_in_nowhere() {
    let (site, _folder) = site();
    let (one, two) = (made(&site, "One", json!({})), made(&site, "Two", json!({})));
    let key = |tenant| {
        let made =
            call(&system(&site, tenant), "identity.key_create", json!({ "name": "k", "role": "viewer" }));
        made.unwrap()["text"].as_str().unwrap().to_owned()
    };
    let (mine, theirs) = (key(one), key(two));
    fill(&site, one);
    let before = rows(&site, one);
    let home = system(&site, HOME);
    call(&home, "tenants.suspend", json!({ "id": one })).unwrap();
    let error = refused(identity::key_actor(&site, &mine, "10.0.0.9"), "`One` is suspended");
    assert_eq!(error.kind(), Kind::Forbidden);
    assert_eq!(identity::key_actor(&site, &theirs, "10.0.0.9").unwrap().unwrap().0, two);
    assert_eq!(rows(&site, one), before);
    refused(call(&home, "tenants.suspend", json!({ "id": one })), "suspended already");
    call(&home, "tenants.resume", json!({ "id": one })).unwrap();
    assert_eq!(identity::key_actor(&site, &mine, "10.0.0.9").unwrap().unwrap().0, one);
}

#[test]
fn an_export_has_every_row_but_what_opens_a_door() {
    let (site, folder) = site();
    let (one, two) = (made(&site, "One", json!({})), made(&site, "Two", json!({})));
    fill(&site, one);
    fill(&site, two);
    let op = site.ops().iter().find(|op| op.name == "tenants.export").unwrap();
    let mut file = (op.file.as_ref().unwrap())(&system(&site, HOME), json!({ "id": one })).unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = (file.next)().unwrap() {
        bytes.extend(part);
    }
    let path = folder.path().join("export.zip");
    std::fs::write(&path, &bytes).unwrap();
    let mut zip = ZipReader::open(std::fs::File::open(&path).unwrap()).unwrap();
    let mut text = |name: &str| {
        let mut text = String::new();
        zip.file(name).unwrap().unwrap_or_else(|| panic!("no {name}")).read_to_string(&mut text).unwrap();
        text
    };
    let manifest: Value = serde_json::from_str(&text("manifest.json")).unwrap();
    let left_out: Vec<&str> =
        manifest["left_out"]["tables"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let listed: BTreeMap<String, u64> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["name"].as_str().unwrap().to_owned(), file["rows"].as_u64().unwrap()))
        .collect();
    for (table, count) in rows(&site, one) {
        if left_out.contains(&table) {
            assert!(!listed.contains_key(&format!("{table}.jsonl")));
            continue;
        }
        let name = format!("{table}.jsonl");
        assert_eq!(listed[&name], count as u64, "{table}");
        let lines = text(&name);
        assert_eq!(lines.lines().count(), count, "{table}");
        let hash = blake3::hash(lines.as_bytes()).to_hex();
        let told = manifest["files"].as_array().unwrap().iter().find(|file| file["name"] == name.as_str());
        assert_eq!(told.unwrap()["blake3"], hash.as_str());
    }
    assert!(left_out.contains(&"secrets_values") && left_out.contains(&"identity_sessions"));
    let people = text("identity_users.jsonl");
    assert!(people.contains("Omar") && !people.contains("$argon2"), "{people}");
    let whole = String::from_utf8_lossy(&bytes);
    assert!(!whole.contains(&two.to_string()) && !whole.contains("hush"));
}

fn finish(site: &Site) {
    for _ in 0..100 {
        erase::step(&system(site, HOME)).unwrap();
        if store::others(&site.store.read().unwrap())
            .unwrap()
            .iter()
            .all(|tenant| tenant.state.word() != "going")
        {
            return;
        }
    }
    panic!("it does not end");
}

#[test]
fn whoever_is_taken_away_leaves_nothing_and_nobody_else_loses() {
    let (site, _folder) = site();
    let (one, two) = (made(&site, "One", json!({})), made(&site, "Two", json!({})));
    let (mine, theirs) = (fill(&site, one), fill(&site, two));
    let (kept, own) = (rows(&site, two), rows(&site, HOME));
    let home = system(&site, HOME);
    let erase = |name: &str| call(&home, "tenants.erase", json!({ "id": one, "name": name }));
    refused(erase("One"), "is not suspended");
    call(&home, "tenants.suspend", json!({ "id": one })).unwrap();
    refused(erase("one"), "type `One`");
    erase("One").unwrap();
    refused(
        call(&system(&site, one), "secrets.put", json!({ "name": "z", "value": "z" })),
        "being taken away",
    );
    assert!(!site.tenants.living().contains(&one));
    finish(&site);
    assert_eq!(rows(&site, one), BTreeMap::new());
    assert!(site.series.names(mine.bits()).is_empty());
    let far = Timestamp::from_milliseconds(i64::MAX / 2);
    assert!(
        site.series
            .query(mine.bits(), "cpu.usage_percent", Timestamp::default(), far, 10)
            .unwrap()
            .is_empty()
    );
    assert!(site.logs.tail(mine.bits(), None, None, 0, "", 10).unwrap().is_empty());
    assert_eq!(rows(&site, two), kept);
    assert_eq!(site.series.names(theirs.bits()).len(), 2);
    assert_eq!(site.logs.tail(theirs.bits(), None, None, 0, "", 10).unwrap().len(), 1);
    let mut left = rows(&site, HOME);
    assert_eq!(left.remove("tenants"), Some(1));
    let mut own = own;
    own.remove("tenants");
    assert_eq!(left, own, "the home keeps what it has");
    assert!(site.tenants.find(one).is_none());
    let told = site.store.changes(0, 10_000).unwrap();
    let end =
        told.iter().flat_map(|change| &change.events).find(|event| event.name == "tenants.erased").unwrap();
    assert_eq!(end.detail["agents"], 1);
    assert!(end.detail["rows"].as_u64().unwrap() > 10);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn an_end_that_was_cut_off_goes_on_after_a_start() {
    let (site, _folder) = site();
    let one = made(&site, "One", json!({}));
    for n in 0..120 {
        agent(&site, one, &format!("press-{n}")).unwrap();
    }
    fill(&site, one);
    let home = system(&site, HOME);
    call(&home, "tenants.suspend", json!({ "id": one })).unwrap();
    call(&home, "tenants.erase", json!({ "id": one, "name": "One" })).unwrap();
    // As far as one change, and then a process that finds the files as a kill leaves them.
    assert!(erase::some(&home, one, &erase::tables(&home)).unwrap());
    let after = TempDir::new().unwrap();
    copy(site.folder.as_path(), after.path());
    drop(home);
    let site = identity::tests::at(after.path());
    site.made_of(ALL);
    super::load(&site).unwrap();
    assert!(site.tenants.find(one).unwrap().is_going);
    assert!(!rows(&site, one).is_empty());
    finish(&site);
    assert_eq!(rows(&site, one), BTreeMap::new());
    super::load(&site).unwrap();
    assert!(!site.tenants.are_several());
}

#[test]
fn jobs_run_for_every_tenant_or_for_the_site() {
    let mut jobs = Jobs::default();
    ALL.iter().for_each(|capability| capability.jobs(&mut jobs));
    let of_site = |name: &str| jobs.0.iter().find(|job| job.name == name).map(|job| job.of_site);
    for (name, expected) in [
        ("backups.schedule", true),
        ("storage.watch", true),
        ("tenants.erase", true),
        ("telemetry.seal", true),
        ("identity.sweep", false),
        ("audit.checkpoint", false),
        ("audit.prune", false),
        ("telemetry.expire", false),
        ("tasks.expire", false),
    ] {
        assert_eq!(of_site(name), Some(expected), "{name}");
    }
    let (site, _folder) = site();
    let (one, two) = (made(&site, "One", json!({})), made(&site, "Two", json!({})));
    for tenant in [one, two] {
        let expires = |days: u64| json!({ "name": "k", "role": "viewer", "days": days });
        call(&system(&site, tenant), "identity.key_create", expires(1)).unwrap();
    }
    let links =
        || [one, two].map(|tenant| rows(&site, tenant).get("identity_links").copied().unwrap_or_default());
    assert_eq!(links(), [1, 1], "the first owners are invited");
    site.clock.advance(crate::base::Span::from_days(30));
    let sweep = jobs.0.iter().find(|job| job.name == "identity.sweep").unwrap();
    sweep.run(&site).unwrap();
    assert_eq!(links(), [0, 0]);
}

#[test]
fn series_beyond_the_quota_are_not_begun() {
    let (site, _folder) = site();
    let tenant = made(&site, "One", json!({ "series": 3 }));
    let agent = agent(&site, tenant, "a").unwrap();
    let ctx = Ctx::new(&site, tenant, Actor::Agent { agent }, crate::kit::Request::default());
    let from = crate::kit::AgentRef { tenant, agent, session: 1 };
    let mut uplinks = crate::kit::Uplinks::default();
    crate::capabilities::telemetry::Telemetry.uplinks(&mut uplinks);
    let (_, run) = uplinks.0.iter().find(|(kind, _)| *kind == crate::wire::UpKind::Metrics).unwrap();
    let send = |names: &[&str]| {
        let values = names.iter().map(|name| ((*name).to_owned(), 1.0)).collect();
        let metrics = crate::wire::Metrics { values, ..Default::default() };
        run(&ctx, from, &crate::wire::Up::Metrics(metrics)).unwrap().wait().unwrap();
        site.clock.advance(crate::base::Span::from_seconds(1));
        site.series.names(agent.bits()).iter().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(send(&["a", "b"]), ["a", "b"]);
    assert_eq!(send(&["a", "c", "d", "e"]).len(), 3);
    site.clock.advance(crate::base::Span::from_seconds(60));
    assert_eq!(send(&["a", "f"]).len(), 3, "counted anew, and still full");
}
