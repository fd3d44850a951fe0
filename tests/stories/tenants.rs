//! Tenants from outside: nothing of one is ever given to another, and each lives by itself on one server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster::base::{KeyId, SessionId, Span, TenantId, UserId};
use muster::capabilities::ALL;
use muster::engine::logs::Line;
use muster::engine::outbound::mqtt::{Quality, connect};
use muster::engine::series::Batch;
use muster::engine::store::Read;
use muster::kit::{Actor, Ctx, Method, Op, PageRequest, Pages, Reply, Request, Rights, Role};
use muster::server::Server;
use muster::wire::UpKind;
use serde_json::{Map, Value, json};

use crate::clients::options;
use crate::crash::{free_port, ready, said, start};
use crate::devices::{Device, runtime};
use crate::harness::{Api, Muster, PASSWORD, config, until};

fn op<'a>(server: &'a Server, name: &str) -> &'a Op {
    server.site().ops().iter().find(|op| op.name == name).unwrap_or_else(|| panic!("no `{name}`"))
}

fn run(ctx: &Ctx<'_>, server: &Server, name: &str, input: Value) -> Value {
    (op(server, name).run)(ctx, input).unwrap_or_else(|e| panic!("{name}: {e} {:?}", e.hint_text()))
}

/// A tenant with its first owner; gives the link too.
fn tenant(muster: &Muster, name: &str, login: &str) -> (TenantId, String) {
    let made = muster.call("tenants.create", json!({ "name": name, "login": login, "owner": "Mara Keller" }));
    (serde_json::from_value(made["tenant"]["id"].clone()).unwrap(), made["link"].as_str().unwrap().to_owned())
}

/// The owner of a tenant, below HTTP.
fn owner(server: &Server, tenant: TenantId) -> Ctx<'_> {
    let site = server.site();
    let system = Ctx::system(site, tenant, "test");
    let people = run(&system, server, "identity.users", json!({}));
    let user: UserId = serde_json::from_value(people["items"][0]["id"].clone()).unwrap();
    let rights = Rights { within_tenant: tenant != site.home, ..(*Rights::of(Role::Owner)).clone() };
    let actor = Actor::Person {
        user,
        session: SessionId::from_bits(7),
        name: "Owner".into(),
        rights: rights.into(),
        proved: site.clock.now(),
    };
    Ctx::new(site, tenant, actor, Request { id: "t".into(), from: "127.0.0.1".into(), ..Request::default() })
}

/// What was made in one tenant: identifiers by their prefix, and texts that occur nowhere else.
#[derive(Default)]
struct Things {
    ids: BTreeMap<String, BTreeSet<String>>,
    marks: BTreeSet<String>,
}

impl Things {
    fn take(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.values().for_each(|value| self.take(value)),
            Value::Array(items) => items.iter().for_each(|value| self.take(value)),
            Value::String(text) => {
                let is_id = text.len() == 30 && text.as_bytes()[3] == b'_';
                if is_id && !text.starts_with("ten_") {
                    self.ids.entry(text[..4].to_owned()).or_default().insert(text.clone());
                }
            }
            _ => {}
        }
    }

    fn id(&self, prefix: &str) -> Option<&String> {
        self.ids.get(prefix).and_then(|ids| ids.first())
    }

    /// All that must not come back to another tenant.
    fn secret(&self) -> impl Iterator<Item = &String> {
        self.ids.values().flatten().chain(&self.marks)
    }
}

/// Makes something of every kind, called the same in each tenant, with a mark that only this one has.
fn fill(server: &Server, tenant: TenantId, mark: &str) -> Things {
    let ctx = Ctx::system(server.site(), tenant, "test");
    let mut things = Things::default();
    things.marks.insert(mark.to_owned());
    let named = |what: &str| format!("{what} {mark}");
    let device = json!({ "name": "press-1", "labels": { "line": mark } });
    let agent = run(&ctx, server, "agents.device", device)["id"].clone();
    for (name, input) in [
        ("agents.invite", json!({ "labels": { "line": mark } })),
        (
            "tasks.create",
            json!({ "agent": agent, "work": { "kind": "command", "name": mark, "arguments": [] } }),
        ),
        ("secrets.put", json!({ "name": "line7/plc", "value": "x", "about": named("press") })),
        ("identity.key_create", json!({ "name": named("mes"), "role": "viewer" })),
        ("identity.create", json!({ "login": format!("omar.{mark}"), "name": "Omar", "role": "operator" })),
        (
            "identity.role_create",
            json!({ "name": "line-lead", "about": named("lead"), "permissions": "agents.*" }),
        ),
        ("clients.create", json!({ "id": format!("scada-{mark}"), "publish": [], "subscribe": [] })),
    ] {
        if name == "agents.invite" && !server.site().ops().iter().any(|op| op.name == name) {
            continue;
        }
        things.take(&run(&ctx, server, name, input));
    }
    things.take(&json!({ "agent": agent }));
    for name in ["identity.users", "agents.list", "tasks.list", "identity.keys"] {
        things.take(&run(&ctx, server, name, json!({})));
    }
    let source = serde_json::from_value::<muster::base::AgentId>(agent).unwrap().bits();
    let (site, series) = (server.site(), format!("cpu.{mark}"));
    let values = [("cpu.usage_percent", 41.0), (series.as_str(), 1.0)];
    site.series.append(&[Batch { source, at: ctx.now, values: &values }]).unwrap().wait().unwrap();
    let text = named("a line of");
    let line = Line { at: ctx.now, severity: 3, origin: "press", text: &text };
    site.logs.append(source, None, &[line]).unwrap().wait().unwrap();
    things
}

/// An input that fits a schema. Identifiers are of `ids`, texts of `texts`; what is optional is there if `all`.
fn input(schema: &Value, whole: &Value, field: &str, ids: &Things, texts: &str, all: bool) -> Value {
    if let Some(place) = schema["$ref"].as_str() {
        return input(whole.pointer(place.trim_start_matches('#')).unwrap(), whole, field, ids, texts, all);
    }
    for choices in ["oneOf", "anyOf", "allOf"] {
        let first = schema[choices].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null"));
        if let Some(first) = first {
            return input(first, whole, field, ids, texts, all);
        }
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].as_array()?.first()) {
        return value.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind {
        "object" => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let none = Map::new();
            let fields = schema["properties"].as_object().unwrap_or(&none).iter();
            let wanted = fields.filter(|(name, _)| all || required.iter().any(|one| one == name.as_str()));
            let one = |(name, of): (&String, &Value)| (name.clone(), input(of, whole, name, ids, texts, all));
            Value::Object(wanted.map(one).collect())
        }
        "array" => match schema["items"]["type"] == "string" && all {
            true => json!([texts]),
            false => json!([]),
        },
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(false),
        _ => {
            let pattern = schema["pattern"].as_str().unwrap_or_default();
            let prefix =
                pattern.strip_prefix('^').and_then(|rest| rest.get(..4)).filter(|p| p.ends_with('_'));
            match (prefix, field) {
                (Some(prefix), _) => json!(ids.id(prefix).cloned().unwrap_or(format!("{prefix}{:0>26}", 1))),
                _ if schema["format"] == "date-time" => json!("2026-11-25T12:00:00Z"),
                (_, "name") => json!("line7/plc"),
                (_, "filter" | "words" | "actor" | "subject" | "login" | "id") => json!(texts),
                _ => json!("x"),
            }
        }
    }
}

/// Whatever comes back must not hold what is the other's, unless it was asked with it.
fn look(what: &str, asked: &str, answer: &str, theirs: &Things) {
    for secret in theirs.secret().filter(|secret| !asked.contains(secret.as_str())) {
        assert!(!answer.contains(secret.as_str()), "{what}, asked {asked}, gave `{secret}`:\n{answer}");
    }
}

fn answer(ctx: &Ctx<'_>, op: &Op, input: Value) -> String {
    let outcome = match &op.file {
        None => (op.run)(ctx, input).map(|value| value.to_string()),
        Some(file) => file(ctx, input).and_then(|mut file| {
            let mut text = file.name.clone();
            while let Some(part) = (file.next)()? {
                text.push_str(&String::from_utf8_lossy(&part));
            }
            Ok(text)
        }),
    };
    outcome.unwrap_or_else(|e| format!("{} {}", e.message(), e.hint_text().unwrap_or_default()))
}

/// Every row of a tenant, but of what its own jobs and followers write.
fn rows(server: &Server, tenant: TenantId) -> BTreeMap<&'static str, Vec<(Vec<u8>, Value)>> {
    let read = server.site().store.read().unwrap();
    let tables = ALL.iter().flat_map(|capability| capability.tables().iter().copied());
    let tables = tables.filter(|table| !table.starts_with("audit"));
    tables.map(|table| (table, read.any(table, &tenant, None, usize::MAX).unwrap())).collect()
}

/// Asks every operation; says how many gave something of one's own.
fn every_operation(
    server: &Server,
    ctx: &Ctx<'_>,
    mine: &Things,
    theirs: &Things,
    only: fn(&Op) -> bool,
) -> usize {
    let mut telling = BTreeSet::new();
    let mut ops: Vec<&Op> = server.site().ops().iter().filter(|op| only(op)).collect();
    // What reads first: what acts takes one's own things away.
    ops.sort_by_key(|op| (op.method != Method::Get, op.name.contains("erase") || op.name.contains("retire")));
    let (own, foreign) = (mine.marks.first().unwrap(), theirs.marks.first().unwrap());
    for op in ops {
        for (ids, texts) in [(theirs, foreign), (theirs, own), (mine, foreign), (mine, own)] {
            for all in [true, false] {
                let asked = input(&op.input, &op.input, "", ids, texts, all);
                let told = answer(ctx, op, asked.clone());
                look(op.name, &asked.to_string(), &told, theirs);
                let own = |text: &&String| {
                    told.contains(text.as_str()) && !asked.to_string().contains(text.as_str())
                };
                if mine.secret().any(|text| own(&text)) {
                    telling.insert(op.name);
                }
            }
        }
    }
    telling.len()
}

fn every_page(ctx: &Ctx<'_>, mine: &Things, theirs: &Things, only: fn(&str) -> bool) {
    let mut pages = Pages::default();
    ALL.iter().for_each(|capability| capability.pages(&mut pages));
    let seen = |reply: muster::base::Result<Reply>| match reply {
        Ok(Reply::Html(_, text) | Reply::Arrived(text, _)) => text,
        Ok(Reply::Redirect(to, _) | Reply::Away(to, _)) => to,
        Ok(Reply::Json(_, value)) => value.to_string(),
        Ok(Reply::File(file)) => file.name,
        Err(e) => format!("{} {}", e.message(), e.hint_text().unwrap_or_default()),
    };
    let mut asked_of: Vec<(&Things, &String)> = vec![(theirs, theirs.marks.first().unwrap())];
    asked_of.push((mine, mine.marks.first().unwrap()));
    for (ids, texts) in asked_of {
        let every: Vec<&String> = ids.ids.values().flatten().collect();
        for page in pages.pages.iter().filter(|page| !page.form && only(page.path)) {
            let param = page.path.split('{').nth(1).and_then(|rest| rest.split('}').next());
            for id in every.iter().copied().chain([texts]) {
                let mut request = PageRequest { url: page.path.into(), ..PageRequest::default() };
                if let Some(param) = param {
                    request.params.insert(param.into(), id.clone());
                }
                for key in ["filter", "q", "words", "actor", "subject", "agent", "id", "event", "permission"]
                {
                    request
                        .query
                        .insert(key.into(), if matches!(key, "agent" | "id") { id } else { texts }.clone());
                }
                let asked = format!("{:?} {:?}", request.params, request.query);
                look(page.path, &asked, &seen((page.run)(ctx, &request)), theirs);
                request.query.clear();
                let asked = format!("{:?}", request.params);
                look(page.path, &asked, &seen((page.run)(ctx, &request)), theirs);
                if param.is_none() {
                    break;
                }
            }
        }
        // Forms act, and show the page again or lead to one.
        for page in pages.pages.iter().filter(|page| page.form && only(page.path)) {
            let param = page.path.split('{').nth(1).and_then(|rest| rest.split('}').next());
            for id in &every {
                let mut request = PageRequest { url: page.path.into(), ..PageRequest::default() };
                request.params.extend(param.map(|param| (param.to_owned(), (*id).clone())));
                for key in ["id", "user", "agent", "agents", "task", "key", "session", "number"] {
                    request.form.insert(key.into(), (*id).clone());
                }
                for key in ["name", "login", "filter", "subject", "actor", "words", "about", "reason"] {
                    // One's own words: what was typed comes back.
                    request.form.insert(key.into(), mine.marks.first().unwrap().clone());
                }
                let asked = format!("{:?} {:?}", request.params, request.form);
                look(page.path, &asked, &seen((page.run)(ctx, &request)), theirs);
            }
        }
        for live in &pages.live {
            for id in &every {
                for argument in [(*id).clone(), format!("id={id}"), format!("filter={texts}")] {
                    let shown = (live.run)(ctx, &argument).unwrap_or_else(|e| e.message().to_owned());
                    look(live.topic, &argument, &shown, theirs);
                }
            }
        }
    }
}

#[test]
fn nothing_of_one_tenant_is_ever_given_to_another() {
    let muster = Muster::start();
    let _ = muster.owner();
    let server = muster.server();
    let ((a, _), (b, _)) = (tenant(&muster, "Harbour Tugs", "mara.a"), tenant(&muster, "Dry Dock", "mara.b"));
    let (mut mine, mut theirs) = (fill(server, a, "amber-mark"), fill(server, b, "birch-mark"));
    mine.marks.insert("Harbour Tugs".into());
    theirs.marks.insert("Dry Dock".into());
    theirs.marks.insert(b.to_string());
    // The index and the log have them too before anybody asks.
    until(Span::from_seconds(30), "the followers and the index", || {
        let log = run(&owner(server, b), server, "audit.list", json!({ "filter": "" }));
        let search = op(server, "audit.search");
        let found = (search.run)(&owner(server, b), json!({ "words": "birch" })).ok()?;
        (log["items"].as_array()?.len() >= 6 && found["total"].as_u64()? > 0).then_some(())
    });
    let before = rows(server, b);
    let ctx = owner(server, a);
    every_page(&ctx, &mine, &theirs, |_| true);
    let told = every_operation(server, &ctx, &mine, &theirs, |_| true);
    assert!(told > 20, "what is one's own comes back, so that a stranger's would be seen: {told}");
    assert_eq!(rows(server, b), before, "what is the other's is as it was");
    // The site's own sees that there are tenants, and nothing of what they have.
    let (home, own) = (
        owner(server, server.site().home),
        Things { marks: ["Plant 03".to_owned()].into(), ..Things::default() },
    );
    theirs.marks.remove("Dry Dock");
    theirs.marks.remove(&b.to_string());
    // Its log has whom it invited.
    let first = run(&owner(server, b), server, "identity.users", json!({}))["items"][0]["id"].clone();
    for ids in theirs.ids.values_mut() {
        ids.remove(first.as_str().unwrap());
    }
    every_page(&home, &own, &theirs, |path| !path.contains("tenants"));
    let reads = |op: &Op| op.method == Method::Get && !op.name.starts_with("tenants.");
    let _ = every_operation(server, &home, &own, &theirs, reads);
    assert_eq!(rows(server, b), before);
}

/// A browser in which the first owner of a tenant is signed in by their link.
fn invited(muster: &Muster, link: &str) -> crate::harness::Browser {
    let browser = muster.browser();
    let token = link.split("token=").nth(1).unwrap();
    let form = [("token", token), ("password", PASSWORD), ("again", PASSWORD)];
    let (status, to) = browser.post("/login/link", &form);
    assert_eq!(status, 303, "{to}");
    browser
}

#[test]
fn tenants_are_invisible_until_there_are_two_and_then_each_has_its_own_console() {
    let muster = Muster::start();
    let home = muster.owner();
    for path in ["/", "/agents", "/people", "/settings", "/account", "/palette?q=ten"] {
        let (status, page) = home.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(!page.to_lowercase().contains("tenant") || path == "/settings", "{path}");
    }
    assert!(home.get("/settings").1.contains("href=\"/tenants\""));
    let (one, link) = tenant(&muster, "Harbour Tugs", "mara");
    assert!(home.get("/").1.contains("href=\"/tenants\""), "now it stands in the navigation");
    let mara = invited(&muster, &link);
    let (status, page) = mara.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("Harbour Tugs") && !page.contains("Plant 03"), "{page}");
    for hidden in ["/backups", "/storage", "/tenants"] {
        assert!(!page.contains(&format!("href=\"{hidden}\"")), "{hidden}");
        let (status, page) = mara.get(hidden);
        assert_eq!(status, 403, "{hidden}");
        assert!(page.contains("whole site"), "{page}");
    }
    assert!(!mara.get("/settings").1.contains("/tenants"));
    // Signing in again needs no word of where; suspended, it says so to who knows the password alone.
    let sign_in =
        |password: &str| muster.browser().post("/login", &[("login", "mara"), ("password", password)]);
    assert_eq!(sign_in(PASSWORD).0, 303);
    // The rules of one tenant are no other's.
    let rules = |roles: &[&str]| {
        let system = Ctx::system(muster.server().site(), one, "test");
        run(&system, muster.server(), "identity.policy_change", json!({ "second_factor_for": roles }));
    };
    rules(&["owner"]);
    let (status, page) = sign_in(PASSWORD);
    assert!(status == 200 && page.contains("Add a second factor"), "{status} {page}");
    assert_eq!(muster.browser().post("/login", &[("login", "ines"), ("password", PASSWORD)]).0, 303);
    rules(&[]);
    muster.call("tenants.suspend", json!({ "id": one }));
    assert_eq!(mara.get("/").0, 303, "out with the next request");
    let (status, page) = sign_in(PASSWORD);
    assert!(status == 403 && page.contains("`Harbour Tugs` is suspended"), "{status} {page}");
    let (status, page) = sign_in("something else entirely");
    assert!(status == 401 && !page.contains("suspended"), "{status}");
    muster.call("tenants.resume", json!({ "id": one }));
    assert_eq!(mara.get("/").0, 200, "nothing is lost, the session neither");
    // All of it is there after a start.
    let muster = muster.reopen();
    assert!(muster.server().site().tenants.find(one).is_some_and(|tenant| !tenant.is_suspended));
    assert_eq!(muster.browser().post("/login", &[("login", "mara"), ("password", PASSWORD)]).0, 303);
}

#[test]
fn keys_act_in_their_tenant_and_its_quota_of_requests_holds() {
    let muster = Muster::start();
    let (one, _) = tenant(&muster, "Harbour Tugs", "mara");
    let made = run(
        &Ctx::system(muster.server().site(), one, "test"),
        muster.server(),
        "identity.key_create",
        json!({ "name": "mes", "role": "owner" }),
    );
    let mut api = Api::anonymous(&muster);
    api.bearer = Some(made["text"].as_str().unwrap().to_owned());
    let (status, device) = api.post("/api/v1/agents/devices", json!({ "name": "tug-1" }));
    assert_eq!(status, 200, "{device}");
    assert_eq!(device["topic_prefix"].as_str().unwrap().split('/').nth(2), Some(one.to_string().as_str()));
    let home = muster.api("owner");
    assert_eq!(home.get("/api/v1/agents").1["items"], json!([]));
    assert_eq!(api.get("/api/v1/agents").1["items"].as_array().unwrap().len(), 1);
    for path in ["/api/v1/backups", "/api/v1/storage", "/api/v1/tenants"] {
        let (status, error) = api.get(path);
        assert_eq!(status, 403, "{path}");
        assert!(error["detail"].as_str().is_some_and(|text| text.contains("whole site")), "{error}");
    }
    let input = json!({ "id": one, "quotas": { "requests": 2 } });
    muster.call("tenants.change", input);
    let exceeded = (0..50).map(|_| api.get("/api/v1/agents").0).filter(|status| *status == 429).count();
    assert!(exceeded > 0, "the tenant's own limit holds");
    let (_, headers) = api.head("/api/v1/agents");
    assert!(headers["ratelimit-policy"].to_str().unwrap().contains("\"tenant\""));
    assert_eq!(home.get("/api/v1/agents").0, 200, "nobody else is held up");
    let _ = KeyId::from_bits(1);
}

#[test]
fn agents_and_clients_of_a_tenant_stay_among_themselves_and_end_with_its_suspension() {
    const WITHIN: Duration = Duration::from_secs(10);
    let muster = Muster::start();
    let server = muster.server();
    let ((one, _), (two, _)) = (tenant(&muster, "Harbour Tugs", "mara"), tenant(&muster, "Dry Dock", "dora"));
    let inside = |tenant| Ctx::system(server.site(), tenant, "test");
    let device = |tenant: TenantId| {
        let made = run(&inside(tenant), server, "agents.device", json!({ "name": "press-1" }));
        Device {
            id: serde_json::from_value(made["id"].clone()).unwrap(),
            secret: made["secret"].as_str().unwrap().to_owned(),
            tenant,
        }
    };
    let client = |tenant: TenantId, id: &str, filters: &[String]| {
        let input = json!({ "id": id, "publish": [], "subscribe": filters });
        (op(server, "clients.create").run)(&inside(tenant), input)
    };
    let own = format!("tenant/{one}/#");
    for filter in
        ["site/#".to_owned(), format!("tenant/{two}/#"), "tenant/+/#".into(), format!("muster/v1/{two}/#")]
    {
        let error = client(one, "spy", std::slice::from_ref(&filter)).unwrap_err();
        assert!(error.hint_text().unwrap().contains(&format!("tenant/{one}/")), "{filter}: {error}");
    }
    let observe = format!("muster/v1/{one}/+/up/#");
    let made = client(one, "scada", &[own.clone(), observe.clone()]).unwrap();
    assert!(client(two, "scada", &[]).is_err(), "a name is one client's on the whole site");
    let at_home = client(server.site().home, "desk", std::slice::from_ref(&own));
    assert!(at_home.is_err(), "the site's own hears nothing of a tenant's programs");
    let (mine, theirs) = (device(one), device(two));
    runtime().block_on(async {
        let secret = made["secret"].as_str().unwrap();
        let (scada, mut heard) = connect(&options(&muster, "scada", secret)).await.unwrap();
        scada.subscribe(&[(&own, Quality::AtMostOnce), (&observe, Quality::AtMostOnce)]).await.unwrap();
        let (press, mut gone) = mine.connect(&muster).await;
        let (other, mut stays) = theirs.connect(&muster).await;
        let metrics = || json!({ "values": { "x": 1 } }).to_string();
        for (agent, topic) in [(&other, theirs.up(UpKind::Metrics)), (&press, mine.up(UpKind::Metrics))] {
            let sent = agent.publish(&topic, metrics(), Quality::AtLeastOnce).await.unwrap();
            sent.acknowledged().await.unwrap();
        }
        let message = tokio::time::timeout(WITHIN, heard.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(
            message.topic,
            mine.up(UpKind::Metrics),
            "the other tenant's came first and was not heard"
        );
        muster.call("tenants.suspend", json!({ "id": one }));
        for ended in [&mut gone, &mut heard] {
            let cut = tokio::time::timeout(WITHIN, async { while let Some(Ok(_)) = ended.next().await {} });
            assert!(cut.await.is_ok(), "cut off");
        }
        assert!(connect(&mine.options(&muster)).await.is_err());
        assert!(connect(&options(&muster, "scada", secret)).await.is_err());
        let sent = other.publish(&theirs.up(UpKind::Metrics), metrics(), Quality::AtLeastOnce).await.unwrap();
        sent.acknowledged().await.unwrap();
        muster.call("tenants.resume", json!({ "id": one }));
        let _back = mine.connect(&muster).await;
        drop(stays.next());
    });
}

#[test]
fn what_is_taken_away_is_gone_whenever_the_server_is_killed() {
    let muster = Muster::start();
    let (one, two) = (tenant(&muster, "Harbour Tugs", "mara").0, tenant(&muster, "Dry Dock", "dora").0);
    fill(muster.server(), two, "birch-mark");
    let inside = Ctx::system(muster.server().site(), one, "test");
    for n in 0..20 {
        run(&inside, muster.server(), "agents.device", json!({ "name": format!("press-{n}") }));
    }
    for _ in 0..50 {
        run(
            &inside,
            muster.server(),
            "tasks.create_many",
            json!({ "filter": "press", "work": { "kind": "ping" } }),
        );
    }
    drop(inside);
    let kept = rows(muster.server(), two);
    muster.call("tenants.suspend", json!({ "id": one }));
    let (http, mqtt) = (free_port(), free_port());
    let api = muster.api("owner").at(http);
    let (folder, _keep) = muster.release();
    let path = format!("/api/v1/tenants/{one}");
    let (mut wanted, mut tasks) = (false, None);
    for killed in 0.. {
        let mut server = start(&folder, http, mqtt);
        until(Span::from_seconds(20), "the server", || {
            assert!(server.try_wait().unwrap().is_none(), "the server ended: {}", said(&folder));
            ready(http).then_some(())
        });
        if !wanted {
            let (status, answer) = api.post(&format!("{path}/erase"), json!({ "name": "Harbour Tugs" }));
            assert_eq!((status, answer["state"].as_str()), (200, Some("going")), "{answer}");
            wanted = true;
        }
        // Killed as soon as some of it is gone, in the beginning; in the end it may finish.
        let over = until(Span::from_seconds(60), "some of it to go", || {
            let (status, shown) = api.get(&path);
            let usage = shown["usage"].as_array().into_iter().flatten();
            let now = usage.filter(|one| one["quota"] == "tasks").find_map(|one| one["used"].as_u64());
            let moved = killed < 3 && now != tasks;
            tasks = now;
            (status == 404 || moved).then_some(status == 404)
        });
        server.kill().unwrap();
        server.wait().unwrap();
        if over {
            break;
        }
    }
    let muster = Muster::open(folder, config());
    assert!(muster.server().site().tenants.find(one).is_none());
    let left: Vec<_> = rows(muster.server(), one).into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
    assert!(left.is_empty(), "{left:?}");
    let read = muster.server().site().store.read().unwrap();
    for table in ALL.iter().flat_map(|capability| capability.tables().iter().copied()) {
        assert!(read.any(table, &one, None, 1).unwrap().is_empty(), "{table}");
    }
    drop(read);
    assert_eq!(rows(muster.server(), two), kept);
}
