//! Two persons, from outside: what is marked is kept, somebody else decides, and it is done once as who asked.

use std::path::Path;

use muster::base::Span;
use serde_json::{Value, json};

use crate::harness::{Api, Browser, Muster, PASSWORD, until};

/// A site on which Omar may decide beside the owner, and each of them in a browser.
fn two() -> (Muster, Browser, Browser) {
    let muster = Muster::start();
    let ines = muster.owner();
    let chosen = json!({ "name": "Omar", "login": "omar", "role": "administrator", "password": PASSWORD });
    muster.call("identity.create", chosen);
    let omar = muster.browser();
    assert_eq!(omar.post("/login", &[("login", "omar"), ("password", PASSWORD), ("next", "/")]).0, 303);
    (muster, ines, omar)
}

fn mark(browser: &Browser, permission: &str) -> (u16, String) {
    let csrf = browser.csrf();
    let form = [("csrf", csrf.as_str()), ("permission", permission), ("why", "one alone should not")];
    browser.post("/approvals/marks", &form)
}

/// The identifier that a redirect or an address leads to.
fn id(there: &str) -> String {
    let at = there.find("apr_").unwrap_or_else(|| panic!("no approval in {there}"));
    there[at..at + 30].to_owned()
}

fn decide(browser: &Browser, id: &str, decision: &str, hash: Option<&str>) -> (u16, String) {
    let path = format!("/approvals/{id}");
    let (_, page) = browser.get(&path);
    let shown = page.split("name=\"hash\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let hash = hash.or(shown).unwrap_or_default();
    let csrf = browser.csrf();
    let form = [("csrf", csrf.as_str()), ("hash", hash), ("decision", decision), ("comment", "looked at")];
    browser.post(&format!("{path}/decide"), &form)
}

fn settings(api: &Api) -> String {
    api.get("/api/v1/settings").1["name"].as_str().unwrap().to_owned()
}

fn lies_in(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => lies_in(&path, bytes),
            // What is written anew meanwhile may be gone.
            false => std::fs::read(&path)
                .is_ok_and(|content| content.windows(bytes.len()).any(|window| window == bytes)),
        }
    })
}

#[test]
fn a_program_asks_and_a_person_decides() {
    let (muster, ines, omar) = two();
    let api = muster.api("administrator");
    assert_eq!(mark(&ines, "settings.change").0, 303);
    let (status, kept, there) = api.patch_there("/api/v1/settings", json!({ "name": "Orangerie" }));
    assert_eq!((status, kept["state"].as_str()), (202, Some("waiting")), "{kept}");
    let there = there.expect("where the approval is");
    let id = id(&there);
    assert_eq!(there, format!("/api/v1/approvals/{id}"));
    assert_eq!(settings(&api), "Plant 03", "nothing is done");
    // A repeated request is the same one; the wrong input is told at once.
    let (_, again, _) = api.patch_there("/api/v1/settings", json!({ "name": "Orangerie" }));
    assert_eq!(again["id"], kept["id"]);
    assert_eq!(api.patch("/api/v1/settings", json!({ "nam": "x" })).0, 422);
    // A program decides nothing, whatever its role.
    let yes = json!({ "hash": kept["hash"], "approve": true });
    let (status, refused) = muster.api("owner").post(&format!("/api/v1/approvals/{id}/decide"), yes);
    assert_eq!(status, 403, "{refused}");

    let (_, home) = omar.get("/");
    assert!(home.contains("id=\"count-side-approvals\">1<"), "the number of those that wait");
    let (status, to) = decide(&omar, &id, "approve", None);
    assert!(status == 303 && to.contains("ok%3AApproved"), "{status} {to}");
    assert_eq!(settings(&api), "Orangerie");
    let (_, found) = api.get(&there);
    assert_eq!((found["state"].as_str(), found["changes"].as_u64()), (Some("done"), Some(1)), "{found}");
    assert_eq!(found["outcome"]["answer"]["name"], "Orangerie");
    let (_, home) = omar.get("/");
    assert!(home.contains("id=\"count-side-approvals\"></span>"), "nothing waits");

    // The audit log names both: who asked did it, and who approved stands in the same change.
    let owner = muster.api("owner");
    let entries = until(Span::from_seconds(20), "entries", || {
        let (_, log) = owner.get(&format!("/api/v1/audit?filter=request:{id}&limit=50"));
        let items = log["items"].as_array()?.clone();
        items.iter().any(|entry| entry["event"] == "approvals.acted").then_some(items)
    });
    let of = |event: &str| entries.iter().find(|entry| entry["event"] == event).expect("an entry").clone();
    let (acted, changed) = (of("approvals.acted"), of("settings.changed"));
    assert_eq!(acted["change"], changed["change"]);
    assert_eq!(
        (changed["name"].as_str(), changed["action"].as_str()),
        (Some("administrator key"), Some("settings.change"))
    );
    let (_, people) = owner.get("/api/v1/identity/users");
    let omar = people["items"].as_array().unwrap().iter().find(|one| one["login"] == "omar").unwrap();
    let detail: Value = serde_json::from_str(acted["detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail["approved_by"], omar["id"]);
}

#[test]
fn a_form_is_kept_and_done_when_another_person_says_yes() {
    let (muster, ines, omar) = two();
    assert_eq!(mark(&ines, "settings.change").0, 303);
    let csrf = ines.csrf();
    let (status, to) = ines.post("/settings", &[("csrf", &csrf), ("name", "Orangerie")]);
    assert!(status == 303 && to.starts_with("/approvals/apr_"), "{status} {to}");
    let id = id(&to);
    let (status, page) = ines.get(&to);
    assert!(status == 200 && page.contains("It is kept") && page.contains("Orangerie"), "{page}");
    assert_eq!(muster.server().site().settings.name(), "Plant 03");

    // Neither who asked, nor by another hash.
    assert_eq!(decide(&ines, &id, "approve", Some("x")).0, 403);
    let (_, to) = decide(&omar, &id, "approve", Some(&"0".repeat(64)));
    assert!(to.contains("error") && to.contains("hash"), "{to}");
    assert_eq!(muster.server().site().settings.name(), "Plant 03");
    assert!(decide(&omar, &id, "approve", None).1.contains("ok%3AApproved%2C+and+done"));
    assert_eq!(muster.server().site().settings.name(), "Orangerie");
    assert!(decide(&omar, &id, "approve", Some("x")).1.contains("error"), "once");
    let (_, page) = ines.get(&format!("/approvals/{id}"));
    assert!(page.contains("The site is renamed"), "what the form said is for who asked");

    // A no, and one that is taken back.
    for (name, by) in [("No", &omar), ("Back", &ines)] {
        let (_, to) = ines.post("/settings", &[("csrf", &csrf), ("name", name)]);
        let id = self::id(&to);
        let (status, to) = match name {
            "No" => decide(by, &id, "refuse", None),
            _ => by.post(&format!("/approvals/{id}/withdraw"), &[("csrf", &csrf)]),
        };
        assert!(status == 303 && to.contains("ok%3A"), "{to}");
    }
    assert_eq!(muster.server().site().settings.name(), "Orangerie");

    // One alone takes no mark off; two do.
    let off = [("csrf", csrf.as_str()), ("permission", "settings.change"), ("needed", "no"), ("why", "over")];
    let (_, to) = ines.post("/approvals/marks", &off);
    assert!(to.starts_with("/approvals/apr_"), "{to}");
    let site = muster.server().site();
    assert!(site.marks.has(site.home, "settings.change"));
    // Also over a stop of the server.
    let muster = muster.reopen();
    let site = muster.server().site();
    assert!(site.marks.has(site.home, "settings.change"));
    let omar = muster.browser();
    assert_eq!(omar.post("/login", &[("login", "omar"), ("password", PASSWORD)]).0, 303);
    assert!(decide(&omar, &self::id(&to), "approve", None).1.contains("done"));
    assert!(!site.marks.any(site.home));
}

#[test]
fn secrets_that_wait_lie_nowhere_in_plain_and_are_shown_to_nobody() {
    const VALUE: &str = "hunter2TheKeyThatWaits";
    let (muster, ines, omar) = two();
    let api = muster.api("owner");
    assert_eq!(mark(&ines, "secrets.put").0, 303);
    let csrf = ines.csrf();
    let form = [("csrf", csrf.as_str()), ("name", "nas/key"), ("value", VALUE), ("about", "the NAS")];
    let (_, to) = ines.post("/secrets", &form);
    let by_form = id(&to);
    let (status, kept) = api.post("/api/v1/secrets", json!({ "name": "plc/key", "value": VALUE }));
    assert_eq!(status, 202, "{kept}");
    let by_api = id(kept["id"].as_str().unwrap());
    for id in [&by_form, &by_api] {
        for browser in [&ines, &omar] {
            let (_, page) = browser.get(&format!("/approvals/{id}"));
            assert!(page.contains("/key") && page.contains("a secret, not shown") && !page.contains(VALUE));
        }
        let (_, found) = api.get(&format!("/api/v1/approvals/{id}"));
        assert!(!found.to_string().contains(VALUE), "{found}");
        assert!(decide(&omar, id, "approve", None).1.contains("done"));
    }
    let (_, list) = api.get("/api/v1/secrets");
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "{list}");
    let entries = until(Span::from_seconds(20), "entries", || {
        let (_, log) = api.get("/api/v1/audit?event=approvals.*&limit=100");
        (log["items"].as_array()?.len() >= 9).then_some(log)
    });
    assert!(!entries.to_string().contains(VALUE));
    assert!(lies_in(&muster.folder, b"approvals.asked"), "what lies there is searched");
    assert!(!lies_in(&muster.folder, VALUE.as_bytes()));
}

#[test]
fn what_is_given_once_goes_to_who_asked_and_nobody_else() {
    let (muster, ines, omar) = two();
    let api = muster.api("owner");
    for permission in ["identity.create", "audit.export"] {
        // The second mark needs the other person already.
        let (_, to) = mark(&ines, permission);
        if to.contains("apr_") {
            assert!(decide(&omar, &id(&to), "approve", None).1.contains("done"));
        }
    }
    // In the console the form's own page comes, with the link on it.
    let csrf = ines.csrf();
    let form =
        [("csrf", csrf.as_str()), ("login", "bea"), ("name", "Bea"), ("role", "viewer"), ("scope", "")];
    let (_, to) = ines.post("/people", &form);
    let asked = id(&to);
    let (_, to) = decide(&omar, &asked, "approve", None);
    assert!(to.contains("can+collect"), "{to}");
    let collect = |browser: &Browser| {
        let csrf = browser.csrf();
        browser.post(&format!("/approvals/{asked}/collect"), &[("csrf", csrf.as_str())])
    };
    assert_eq!(collect(&omar).0, 403);
    let (status, page) = collect(&ines);
    assert!(status == 200 && page.contains("Give this link to Bea") && page.contains("/login/"), "{page}");
    assert!(collect(&ines).1.contains("error"), "once");
    let link = page.split("/login/").nth(1).unwrap().split(['"', '<', '&']).next().unwrap();
    let (_, page) = ines.get(&format!("/approvals/{asked}"));
    assert!(page.contains("done") && !page.contains(link), "it is not kept");

    // Over the API the answer of the operation comes as it is, a file too.
    let (status, kept) = api.post("/api/v1/audit/export", json!({}));
    assert_eq!(status, 202, "{kept}");
    let asked = id(kept["id"].as_str().unwrap());
    let collect = format!("/api/v1/approvals/{asked}/collect");
    assert_eq!(api.post(&collect, json!({})).0, 409, "nobody has decided");
    decide(&omar, &asked, "approve", None);
    assert_eq!(muster.api("owner").post(&collect, json!({})).0, 403, "another key");
    let (status, text) = api.post(&collect, json!({}));
    assert_eq!(status, 200);
    assert!(text.to_string().contains("approvals.asked"), "the log itself");
    assert_eq!(api.post(&collect, json!({})).0, 409);
}

#[test]
fn nobody_who_may_not_use_an_operation_gets_it_kept() {
    let (muster, ines, _omar) = two();
    assert_eq!(mark(&ines, "settings.change").0, 303);
    let viewer = muster.api("viewer");
    assert_eq!(viewer.patch("/api/v1/settings", json!({ "name": "x" })).0, 403);
    assert_eq!(muster.api("owner").get("/api/v1/approvals").1["items"], json!([]));
    // What anybody sees of marks and approvals.
    let (status, marks) = viewer.get("/api/v1/approvals/marks");
    assert_eq!((status, &marks["items"][0]["permission"]), (200, &json!("settings.change")));
    assert_eq!(
        viewer.post("/api/v1/approvals/marks", json!({ "permission": "tasks.create", "why": "x" })).0,
        403
    );
    assert_eq!(muster.api("billing").get("/api/v1/approvals").0, 200);
    assert_eq!(Api::anonymous(&muster).get("/api/v1/approvals").0, 401);
    assert_eq!(muster.browser().get("/approvals").0, 303);
}
