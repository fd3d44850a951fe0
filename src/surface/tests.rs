//! The routes over a real site with one made-up capability.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::App;
use actix_web::body::MessageBody;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method as HttpMethod, header};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use serde_json::{Value, json};

use super::*;
use crate::base::{KeyId, Kind, SessionId, UserId};
use crate::engine::clock::Clock;
use crate::engine::crypto::{Authority, Kek, Vault};
use crate::engine::{logs, series, store};
use crate::kit::{CURSORS, Cookie, Ctx, Nothing, PageRequest, Reply, Request, Rights, Role, Settings, Zone};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Listing {
    /// Part of the name.
    filter: Option<String>,
    limit: Option<u32>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Naming {
    id: u32,
    name: String,
    inner: Option<Inner>,
}

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Inner {
    deep: Vec<Inner>,
}

#[derive(serde::Serialize, schemars::JsonSchema)]
struct Tree {
    name: String,
    branches: Vec<Tree>,
    inner: Option<Inner>,
}

fn tree(name: String) -> Tree {
    Tree { name, branches: Vec::new(), inner: None }
}

struct Things;

impl Capability for Things {
    fn name(&self) -> &'static str {
        "things"
    }
    fn ops(&self, ops: &mut Ops) {
        ops.get("things.list", "/things", "Lists things.", |_, input: Listing| {
            Ok(vec![format!("{:?} {:?}", input.filter, input.limit)])
        });
        ops.post("things.create", "/things/{id}", "Makes a thing.", |ctx, input: Naming| {
            let name = format!("{}:{}", input.id, input.name);
            ctx.require("things.create")?.write(|change| {
                change.tell("things.created", &name, Value::Null);
                Ok(())
            })?;
            Ok(tree(name))
        });
        ops.get("things.special", "/things/special", "The special one.", |_, _: Nothing| {
            Ok(tree("special".into()))
        });
        ops.costs(8);
        ops.delete("things.remove", "/things/{id}", "Removes it.", |_, input: Naming| {
            let _ = (input.id, input.inner);
            Err::<Nothing, _>(Error::conflict(format!("thing `{}` is in use", input.name)).hint("stop it"))
        });
        ops.post("things.mine", "/things/mine", "Changes one's own.", |_, _: Nothing| {
            Ok(tree("mine".into()))
        });
        ops.own();
        ops.post("things.guard", "/things/guard", "Asks for a fresh proof.", |ctx, _: Nothing| {
            ctx.require("identity.create").map(|_| Nothing {})
        });
        ops.post("things.break", "/things/break", "Breaks.", |_, _: Nothing| -> Result<Nothing> {
            panic!("broken on purpose")
        });
    }
    fn pages(&self, pages: &mut Pages) {
        pages.get("/things/{id}", |ctx, asked: &PageRequest| {
            Ok(Reply::Html(200, format!("{} sees {}", ctx.actor.label(), asked.params["id"])))
        });
        pages.post("/things/{id}", |_, asked: &PageRequest| match asked.field("name") {
            "" => Err(Error::invalid("a thing needs a name").hint("write one")),
            name => Ok(Reply::Redirect(format!("/things/{name}"), Vec::new())),
        });
        let guarded = |ctx: &Ctx<'_>, _: &PageRequest| {
            ctx.require("identity.create").map(|_| Reply::Json(200, json!({ "in": true })))
        };
        pages.get("/guarded", guarded);
        pages.post("/guarded", guarded);
        pages.open_get("/login", |_, _| Ok(Reply::Html(200, "sign in".into())));
        pages.open_post("/login", |_, _| {
            Ok(Reply::Redirect(
                "/".into(),
                vec![Cookie { name: "muster", value: "owner".into(), seconds: 9 }],
            ))
        });
        pages.live("things", |_, argument| Ok(format!("<hx-partial>{argument}</hx-partial>")));
    }
}

const THINGS: &[&dyn Capability] = &[&Things];

fn person(role: Role) -> Actor {
    let bits = role as u128 + 1;
    Actor::Person {
        user: UserId::from_bits(bits),
        session: SessionId::from_bits(bits),
        name: role.word().into(),
        rights: Rights::of(role),
        proved: Timestamp::default(),
    }
}

fn at_home(actor: Option<Actor>) -> Option<(TenantId, Actor)> {
    actor.map(|actor| (crate::kit::HOME, actor))
}

fn doors() -> Doors {
    Doors {
        session: |_, cookie, _| Ok(at_home(Role::ALL.into_iter().find(|r| r.word() == cookie).map(person))),
        watcher: |_, cookie, _| Ok(at_home(Role::ALL.into_iter().find(|r| r.word() == cookie).map(person))),
        zone: |_| Ok(Zone::utc()),
        key: |_, key, _| {
            let role = Role::ALL.into_iter().find(|r| key == format!("mst_{}", r.word()));
            Ok(at_home(role.map(|role| Actor::Key {
                key: KeyId::from_bits(1),
                name: "program".into(),
                rights: Rights::of(role),
            })))
        },
        token: |_, _, _, _| Ok(Value::Null),
        revoke: |_, _, _| Ok(()),
        introspect: |_, _, _| Ok(Value::Null),
        jwks: |_| Ok(Value::Null),
        needs_setup: |_| false,
        second: |ctx, intent, permission| {
            let answer = json!({ "permission": permission, "intent": intent });
            Ok(Asked { id: ctx.site.clock.id(), answer })
        },
    }
}

fn site(folder: &std::path::Path) -> Arc<Site> {
    let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 5);
    let vault = Vault::open(&folder.join("vault"), &Kek::File(folder.join("kek")), &clock).unwrap();
    let authority = Authority::open(&vault, "test", &clock).unwrap();
    Arc::new(Site::new(crate::kit::Parts {
        store: store::Store::open(&folder.join("store"), store::Options::new(clock.clone())).unwrap(),
        series: series::Series::open(&folder.join("series"), series::Options::new(clock.clone())).unwrap(),
        logs: logs::Logs::open(&folder.join("logs"), logs::Options::new(clock.clone())).unwrap(),
        vault,
        authority,
        settings: Settings::new("test".into(), vec!["site.lan".into()]),
        navigation: Vec::new(),
        assets: assets::prefix(),
        folder: folder.to_owned(),
        configuration: None,
        clock,
    }))
}

struct Rig {
    surface: Arc<Surface>,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    rig_with(Rates::default())
}

fn rig_with(rates: Rates) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let traffic = Traffic::new(site.clock.clone());
    Rig { surface: Surface::new(site, THINGS, doors(), traffic, rates).unwrap(), _folder: folder }
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// One request to a fresh application over the surface.
fn send(on: &Rig, request: TestRequest) -> Got {
    actix_web::rt::System::new().block_on(async {
        let surface = on.surface.clone();
        let app = init_service(App::new().configure(|app| surface.configure(app))).await;
        let answer = call_service(&app, request.insert_header((header::HOST, "site.lan")).to_request()).await;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = String::from_utf8(read_body(answer).await.to_vec()).unwrap();
        Got { status, headers, body }
    })
}

fn call(method: HttpMethod, path: &str) -> TestRequest {
    TestRequest::default().method(method).uri(path)
}

fn as_program(method: HttpMethod, path: &str, role: &str) -> TestRequest {
    call(method, path).insert_header((header::AUTHORIZATION, format!("Bearer mst_{role}")))
}

fn as_person(method: HttpMethod, path: &str, role: &str) -> TestRequest {
    call(method, path).insert_header((header::COOKIE, format!("__Host-muster={role}")))
}

fn token(rig: &Rig, role: Role) -> String {
    Ctx::new(&rig.surface.site, rig.surface.site.home, person(role), Request::default()).csrf()
}

#[test]
fn every_reference_of_the_document_resolves() {
    let rig = rig();
    let document = send(&rig, call(HttpMethod::GET, "/api/v1/openapi.json")).json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() >= 8);
    for reference in &references {
        let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is not local"));
        assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
    }
    assert!(!document.to_string().contains("$defs"));
    let things = &document["paths"]["/api/v1/things"]["get"];
    assert_eq!(things["operationId"], "things.list");
    assert_eq!(things["x-permission"], "things.read");
    assert!(things["parameters"].as_array().unwrap().iter().all(|p| p["in"] == "query"));
    let create = &document["paths"]["/api/v1/things/{id}"]["post"];
    assert_eq!(create["parameters"][0]["in"], "path");
    let body = &create["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], json!(["name"]));
    assert!(body["properties"].get("id").is_none());
}

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|v| collect(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, into)),
        _ => {}
    }
}

#[test]
fn the_products_own_document_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let traffic = Traffic::new(site.clock.clone());
    let surface = Surface::new(site, crate::capabilities::ALL, doors(), traffic, Rates::default()).unwrap();
    let document = surface.openapi();
    let mut references = Vec::new();
    collect(document, &mut references);
    for reference in &references {
        let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is not local"));
        assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
    }
    for op in &surface.ops.0 {
        for name in openapi::parameters(op.path) {
            assert!(
                op.input["properties"].get(name).is_some(),
                "{}: `{name}` is no field of its input",
                op.name
            );
        }
        assert!(op.doc.ends_with('.'), "{}: the document string is a sentence", op.name);
    }
}

#[test]
fn operations_answer_who_may() {
    let rig = rig();
    let list = "/api/v1/things?limit=3&filter=4";
    for (request, status) in [
        (call(HttpMethod::GET, list), 401),
        (as_program(HttpMethod::GET, list, "nobody"), 401),
        (as_program(HttpMethod::GET, list, "viewer"), 200),
        (as_program(HttpMethod::HEAD, list, "viewer"), 200),
        (as_person(HttpMethod::GET, list, "viewer"), 200),
        (as_person(HttpMethod::GET, list, "owner").insert_header((header::AUTHORIZATION, "Bearer x")), 401),
        (as_program(HttpMethod::POST, "/api/v1/things/1", "viewer"), 403),
        (as_program(HttpMethod::POST, "/api/v1/things/mine", "viewer"), 200),
        (call(HttpMethod::POST, "/api/v1/things/mine"), 401),
        (as_program(HttpMethod::GET, "/api/v1/nothing", "viewer"), 404),
        (as_program(HttpMethod::PUT, "/api/v1/things", "owner"), 405),
        (as_program(HttpMethod::GET, "/api/v1/things?fliter=1", "owner"), 422),
        (as_program(HttpMethod::POST, "/api/v1/things/1", "owner").set_payload("{}"), 415),
        (as_program(HttpMethod::POST, "/api/v1/things/1", "owner").set_json(json!({})), 422),
        (as_program(HttpMethod::POST, "/api/v1/things/1", "owner").set_json(json!({ "name": "a" })), 200),
        (as_program(HttpMethod::DELETE, "/api/v1/things/1?name=a", "owner"), 409),
        (as_program(HttpMethod::POST, "/api/v1/things/break", "owner"), 500),
    ] {
        let got = send(&rig, request);
        assert_eq!(got.status, status, "{}", got.body);
        if status >= 400 {
            assert_eq!(got.header("content-type"), "application/problem+json");
            assert_eq!(got.json()["status"], status);
            assert!(!got.body.contains("on purpose"));
        }
    }
    let got = send(&rig, as_program(HttpMethod::GET, list, "viewer"));
    assert_eq!(got.json(), json!(["Some(\"4\") Some(3)"]));
    let got = send(&rig, as_program(HttpMethod::GET, "/api/v1/things/special", "viewer"));
    assert_eq!(got.json()["name"], "special");
    let got = send(&rig, as_program(HttpMethod::PUT, "/api/v1/things/1", "owner"));
    assert_eq!(got.header("allow"), "POST, DELETE");
    let got = send(&rig, as_program(HttpMethod::DELETE, "/api/v1/things/1?name=a", "owner"));
    assert_eq!(
        (&got.json()["detail"], &got.json()["hint"]),
        (&json!("thing `a` is in use"), &json!("stop it"))
    );
}

#[test]
fn a_persons_unsafe_request_needs_the_token_and_our_origin() {
    let rig = rig();
    let post = || as_person(HttpMethod::POST, "/api/v1/things/1", "owner").set_json(json!({ "name": "a" }));
    let token = token(&rig, Role::Owner);
    let good = || post().insert_header(("x-csrf-token", token.as_str()));
    for (request, status) in [
        (post(), 403),
        (post().insert_header(("x-csrf-token", "wrong")), 403),
        (good(), 200),
        (good().insert_header(("sec-fetch-site", "cross-site")), 403),
        (good().insert_header((header::ORIGIN, "https://evil.example")), 403),
        (good().insert_header((header::ORIGIN, "https://site.lan")), 200),
    ] {
        let got = send(&rig, request);
        assert_eq!(got.status, status, "{}", got.body);
    }
}

#[test]
fn pages_open_for_who_may() {
    let rig = rig();
    let got = send(&rig, call(HttpMethod::GET, "/things/7?a=b"));
    assert_eq!((got.status, got.header("location")), (303, "/login?next=%2Fthings%2F7%3Fa%3Db"));
    let got = send(&rig, call(HttpMethod::GET, "/things/7").insert_header(("hx-request", "true")));
    assert_eq!((got.status, got.header("hx-redirect")), (200, "/login"));
    let got = send(&rig, as_person(HttpMethod::GET, "/things/a%20b", "viewer"));
    assert_eq!((got.status, got.body.as_str()), (200, "viewer sees a b"));
    assert_eq!(send(&rig, as_person(HttpMethod::HEAD, "/things/7", "viewer")).status, 200);
    assert_eq!(send(&rig, call(HttpMethod::GET, "/login")).body, "sign in");
    let got = send(&rig, call(HttpMethod::GET, "/nowhere").insert_header((header::ACCEPT, "text/html")));
    assert_eq!(got.status, 404);
    assert!(got.body.contains("<!doctype html>") && got.body.contains("There is nothing here"));
    let got = send(&rig, as_person(HttpMethod::GET, "/help/api", "viewer"));
    assert_eq!(got.status, 200, "{}", got.body);
    assert!(got.body.contains("POST /api/v1/things/{id}") && got.body.contains("id=\"conflict\""));
}

#[test]
fn what_needs_a_second_person_is_kept_and_the_fresh_proof_comes_first() {
    let rig = rig();
    let site = &rig.surface.site;
    site.marks.set(site.home, ["identity.create".to_owned()].into());
    let path = "/api/v1/things/guard";
    let got = send(&rig, as_program(HttpMethod::POST, path, "owner").set_json(json!({})));
    assert_eq!((got.status, got.json()["permission"].as_str()), (202, Some("identity.create")));
    assert_eq!(got.json()["intent"], json!({ "kind": "operation", "name": "things.guard", "input": {} }));
    assert!(got.header("location").starts_with("/api/v1/approvals/apr_"), "{}", got.header("location"));
    let got = send(&rig, as_person(HttpMethod::GET, "/guarded", "owner"));
    assert!(got.header("location").starts_with("/confirm"), "{}", got.header("location"));
}

#[test]
fn who_must_show_again_who_they_are_is_led_there_and_back() {
    let rig = rig();
    let token = token(&rig, Role::Owner);
    let got = send(&rig, as_person(HttpMethod::GET, "/guarded?a=b", "owner"));
    assert_eq!((got.status, got.header("location")), (303, "/confirm?next=%2Fguarded%3Fa%3Db"));
    let post = || as_person(HttpMethod::POST, "/guarded", "owner").set_form([("csrf", token.as_str())]);
    for (request, next) in [
        (post(), "%2F"),
        (post().insert_header((header::REFERER, "https://site.lan/things/7?x=1")), "%2Fthings%2F7%3Fx%3D1"),
        (post().insert_header((header::REFERER, "https://evil.example/things")), "%2F"),
    ] {
        let got = send(&rig, request);
        assert_eq!((got.status, got.header("location")), (303, format!("/confirm?next={next}").as_str()));
    }
    let got = send(&rig, post().insert_header(("hx-request", "true")));
    assert_eq!((got.status, got.header("hx-redirect")), (200, "/confirm?next=%2F"));
    let api = |request: TestRequest| send(&rig, request.set_json(json!({})));
    let path = "/api/v1/things/guard";
    let got = api(as_person(HttpMethod::POST, path, "owner").insert_header(("x-csrf-token", token.as_str())));
    assert_eq!((got.status, got.json()["type"].as_str().unwrap()), (403, "/help/api#step-up"));
    assert_eq!(
        api(as_program(HttpMethod::POST, path, "owner")).status,
        200,
        "a program leaves no screen open"
    );
    let got = send(&rig, as_person(HttpMethod::GET, "/help/api", "viewer"));
    assert!(got.body.contains("id=\"step-up\""));
}

#[test]
fn forms_prove_where_they_come_from() {
    let rig = rig();
    let token = token(&rig, Role::Owner);
    let post =
        |fields: &[(&str, &str)]| as_person(HttpMethod::POST, "/things/7", "owner").set_form(fields.to_vec());
    let got = send(&rig, post(&[("name", "x"), ("csrf", &token)]));
    assert_eq!((got.status, got.header("location")), (303, "/things/x"));
    assert_eq!(send(&rig, post(&[("name", "x")])).status, 403);
    let foreign = post(&[("name", "x"), ("csrf", &token)]).insert_header(("sec-fetch-site", "same-site"));
    assert_eq!(send(&rig, foreign).status, 403);
    let mendable = || post(&[("name", ""), ("csrf", &token)]);
    assert_eq!(send(&rig, mendable()).status, 422);
    let got = send(&rig, mendable().insert_header((header::REFERER, "https://site.lan/things/7?x=1")));
    assert_eq!(
        (got.status, got.header("location")),
        (303, "/things/7?x=1&flash=error%3Aa+thing+needs+a+name%3B+write+one")
    );
    let got = send(&rig, call(HttpMethod::POST, "/login").set_form([("a", "b")]));
    assert_eq!((got.status, got.header("location")), (303, "/"));
    assert!(
        got.header("set-cookie")
            .starts_with("__Host-muster=owner; HttpOnly; SameSite=Strict; Secure; Path=/")
    );
    let foreign = call(HttpMethod::POST, "/login").set_form([("a", "b")]);
    assert_eq!(send(&rig, foreign.insert_header((header::ORIGIN, "https://evil.example"))).status, 403);
    assert_eq!(send(&rig, post(&[]).insert_header((header::CONTENT_TYPE, "text/plain"))).status, 403);
}

#[test]
fn live_topics_are_checked() {
    let rig = rig();
    let many = vec!["things:1"; crate::base::limits::LIVE_TOPICS_MAX + 1].join(",");
    for (request, status) in [
        (call(HttpMethod::GET, "/live?topics=things"), 401),
        (as_person(HttpMethod::GET, "/live?topics=other", "viewer"), 404),
        (as_person(HttpMethod::GET, "/live", "viewer"), 422),
        (as_person(HttpMethod::GET, &format!("/live?topics={many}"), "viewer"), 422),
    ] {
        let got = send(&rig, request);
        assert_eq!(got.status, status, "{}", got.body);
    }
}

#[test]
fn a_live_part_is_sent_when_it_changes_and_the_stream_ends_with_the_server() {
    let rig = rig();
    actix_web::rt::System::new().block_on(async {
        let surface = rig.surface.clone();
        let app = init_service(App::new().configure(|app| surface.configure(app))).await;
        let request = as_person(HttpMethod::GET, "/live?topics=things:x%0Ay", "viewer").to_request();
        let answer = call_service(&app, request).await;
        assert_eq!(answer.headers().get(header::CONTENT_TYPE).unwrap(), "text/event-stream");
        let mut body = std::pin::pin!(answer.into_body());
        let mut text = String::new();
        while !text.contains("</hx-partial>") {
            let part = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await.unwrap();
            text.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
        }
        assert_eq!(
            text,
            "retry: 2000\n\nevent: beat\ndata: 1790000000000\n\ndata: <hx-partial>x\ndata: y</hx-partial>\n\n"
        );
        surface.traffic.close();
        while std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await.is_some() {}
    });
}

#[test]
fn machines_are_told_how_it_is() {
    let rig = rig();
    assert_eq!(send(&rig, call(HttpMethod::GET, "/healthz")).status, 200);
    let got = send(&rig, call(HttpMethod::GET, "/readyz"));
    assert_eq!((got.status, &got.json()["checks"]["store"]), (503, &json!("ok")));
    assert_eq!(send(&rig, call(HttpMethod::GET, "/metrics")).status, 401);
    assert_eq!(send(&rig, as_program(HttpMethod::GET, "/metrics", "viewer")).status, 200);
    let local = call(HttpMethod::GET, "/metrics").peer_addr("127.0.0.1:9".parse().unwrap());
    let got = send(&rig, local);
    assert_eq!(got.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(got.body.contains("\nmuster_store_failed 0\n"), "{}", got.body);
}

#[test]
fn who_asks_too_often_waits_and_others_do_not() {
    let burst = crate::base::limits::REQUESTS_BURST_SECONDS;
    let rig = rig_with(Rates::new(1, 2));
    let list = |role| send(&rig, as_program(HttpMethod::GET, "/api/v1/things", role)).status;
    let page = |role| send(&rig, as_person(HttpMethod::GET, "/things/7", role)).status;
    for _ in 0..burst {
        assert_eq!(page("viewer"), 200);
    }
    assert_eq!(page("viewer"), 429);
    assert_eq!(
        send(&rig, as_person(HttpMethod::GET, "/api/v1/things", "viewer")).status,
        429,
        "one bucket for both"
    );
    assert_eq!(send(&rig, as_person(HttpMethod::GET, "/live?topics=things:1", "viewer")).status, 429);
    let csrf = token(&rig, Role::Viewer);
    let form = as_person(HttpMethod::POST, "/things/7", "viewer").set_form([("csrf", csrf.as_str())]);
    let got = send(&rig, form.insert_header((header::REFERER, "https://site.lan/things/7")));
    assert_eq!(got.status, 429, "a redirect would only make it worse: {}", got.header("location"));
    assert_eq!(page("owner"), 200);
    rig.surface.site.clock.advance(crate::base::Span::from_seconds(1));
    assert_eq!((page("viewer"), page("viewer")), (200, 429));
    // What is dear counts as much as it is declared to.
    let dear = || send(&rig, as_program(HttpMethod::GET, "/api/v1/things/special", "owner")).status;
    assert_eq!((dear(), dear()), (200, 429));
    assert_eq!((list("owner"), list("owner")), (200, 200));
    // All of the tenant together have used up theirs.
    assert_eq!(page("operator"), 429);
    rig.surface.site.clock.advance(crate::base::Span::from_seconds(1));
    assert_eq!((page("operator"), page("operator"), page("operator")), (200, 200, 429));
}

#[test]
fn open_forms_of_one_address_are_few() {
    let rig = rig();
    let enter = |peer: &str| {
        let form = call(HttpMethod::POST, "/login").set_form([("a", "b")]);
        send(&rig, form.peer_addr(peer.parse().unwrap())).status
    };
    for _ in 0..crate::base::limits::DOOR_FORMS_BURST {
        assert_eq!(enter("10.0.0.1:1"), 303);
    }
    assert_eq!((enter("10.0.0.1:2"), enter("[::ffff:10.0.0.1]:2"), enter("10.0.0.2:1")), (429, 429, 303));
    rig.surface.site.clock.advance(crate::base::Span::from_seconds(crate::base::limits::DOOR_FORM_SECONDS));
    assert_eq!((enter("10.0.0.1:1"), enter("10.0.0.1:1")), (303, 429));
    assert_eq!(
        send(&rig, call(HttpMethod::GET, "/login").peer_addr("10.0.0.1:1".parse().unwrap())).status,
        200
    );
}

static BROKEN: AtomicBool = AtomicBool::new(false);

#[test]
fn a_follower_sees_each_change_once_and_fails_without_skipping() {
    let rig = rig();
    let site = &rig.surface.site;
    let write = |name: &str| {
        let ctx = Ctx::system(site, site.home, "test");
        ctx.require("things.create").unwrap().write(|change| {
            change.tell("things.created", name, Value::Null);
            Ok(())
        })
    };
    const SEEN: store::Table<u64, String> = store::Table::new("seen");
    let mut followers = Followers::default();
    followers.follow("audit", |_, change, seen| {
        if BROKEN.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Unavailable, "not now"));
        }
        // What a follower tells must not come back to it.
        change.tell("things.seen", "x", Value::Null);
        change.tx.put(&SEEN, &seen.number, &seen.events[0].subject)
    });
    write("a").unwrap();
    let mut places = follow::places(site, followers).unwrap();
    let place = &mut places[0];
    while follow::step(site, place).unwrap() {}
    BROKEN.store(true, Ordering::SeqCst);
    write("b").unwrap();
    assert!(follow::step(site, place).is_err());
    assert!(follow::step(site, place).is_err());
    write("c").unwrap();
    BROKEN.store(false, Ordering::SeqCst);
    while follow::step(site, place).unwrap() {}
    let read = site.store.read().unwrap();
    let seen: Vec<String> =
        store::Read::range(&read, &SEEN, .., 10).unwrap().into_iter().map(|(_, s)| s).collect();
    assert_eq!(seen, ["a", "b", "c"]);
    assert!(store::Read::get(&read, &CURSORS, &"audit".to_owned()).unwrap().unwrap() > 0);
}

#[test]
fn what_is_declared_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path());
    let traffic = Traffic::new(site.clock.clone());
    let error = Surface::new(site, &[&Things, &Things], doors(), traffic, Rates::default()).err().unwrap();
    assert!(error.detail().contains("declared twice"));
}
