//! A role with a part of the fleet: its holder sees that part, and nothing elsewhere lets the rest through.

use serde_json::{Value, json};

use crate::harness::{Api, Muster};

/// An API client with a new key of this role and scope.
fn narrow(muster: &Muster, role: &str, scope: &str) -> Api {
    let chosen = json!({ "name": format!("{role} {scope}"), "role": role, "scope": scope });
    let made = muster.call("identity.key_create", chosen);
    let mut api = Api::anonymous(muster);
    api.bearer = Some(made["text"].as_str().unwrap().to_owned());
    api
}

fn device(muster: &Muster, name: &str, site: &str) -> String {
    let made = muster.call("agents.device", json!({ "name": name, "labels": { "site": site } }));
    made["id"].as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn a_part_of_the_fleet_is_all_that_a_narrow_role_reaches() {
    let muster = Muster::start();
    let (lyon, paris) = (device(&muster, "press-lyon", "lyon"), device(&muster, "press-paris", "paris"));
    let ping = |agent: &str| json!({ "agent": agent, "work": { "kind": "ping" } });
    let theirs = muster.call("tasks.create", ping(&paris));
    let foreign = theirs["id"].as_str().unwrap();
    let api = narrow(&muster, "operator", "site:lyon");

    let (status, list) = api.get("/api/v1/agents");
    assert_eq!((status, names(&list)), (200, vec!["press-lyon"]));
    assert_eq!(api.get("/api/v1/agents/counts").1["total"], 1);
    for path in [
        format!("/api/v1/agents/{paris}"),
        format!("/api/v1/agents/{paris}/metrics/query?name=cpu"),
        format!("/api/v1/agents/{paris}/logs"),
        format!("/api/v1/tasks/{foreign}"),
    ] {
        assert_eq!(api.get(&path).0, 404, "{path}");
    }
    assert_eq!(api.get("/api/v1/tasks").1["items"], json!([]));
    for (path, body) in [
        ("/api/v1/tasks".to_owned(), ping(&paris)),
        (format!("/api/v1/tasks/{foreign}/cancel"), json!({})),
        (format!("/api/v1/agents/{paris}/quarantine"), json!({})),
        (format!("/api/v1/agents/{paris}/retire"), json!({})),
    ] {
        assert_eq!(api.post(&path, body).0, 404, "{path}");
    }
    assert_eq!(api.post("/api/v1/tasks", ping(&lyon)).0, 200);
    let many = json!({ "filter": "press", "work": { "kind": "ping" } });
    let (status, made) = api.post("/api/v1/tasks/many", many);
    assert_eq!((status, made["tasks"].as_array().unwrap().len()), (200, 1), "{made}");
    assert_eq!(api.get("/api/v1/tasks").1["items"].as_array().unwrap().len(), 2);

    // Nobody moves a thing out of their hands, nor one that is not theirs into them.
    let moved = json!({ "labels": { "site": "paris" } });
    assert_eq!(api.patch(&format!("/api/v1/agents/{lyon}"), moved).0, 403);
    let taken = json!({ "labels": { "site": "lyon" } });
    assert_eq!(api.patch(&format!("/api/v1/agents/{paris}"), taken).0, 404);
    let made = |site: &str| json!({ "name": "new", "labels": { "site": site } });
    assert_eq!(api.post("/api/v1/agents/devices", made("paris")).0, 403);
    assert_eq!(api.post("/api/v1/agents/devices", made("lyon")).0, 200);
    assert_eq!(api.post("/api/v1/agents/join-codes", json!({ "labels": {} })).0, 403);

    // What knows nothing of parts is refused whole.
    for path in ["/api/v1/settings", "/api/v1/storage", "/api/v1/audit", "/api/v1/clients"] {
        assert_eq!(api.get(path).0, 403, "{path}");
    }
    let (seen, one) =
        (narrow(&muster, "viewer", "id:agt_none"), narrow(&muster, "viewer", &format!("id:{paris}")));
    assert_eq!(names(&seen.get("/api/v1/agents").1), Vec::<&str>::new());
    assert_eq!(names(&one.get("/api/v1/agents").1), ["press-paris"]);
    assert_eq!(one.get(&format!("/api/v1/tasks/{foreign}")).0, 200);
}

#[test]
fn a_person_with_a_part_has_a_console_of_that_part() {
    let muster = Muster::start();
    device(&muster, "press-lyon", "lyon");
    device(&muster, "press-paris", "paris");
    let owner = muster.owner();
    let chosen = json!({ "name": "Omar", "login": "omar", "role": "viewer", "scope": "site:lyon", "password": "correct horse battery" });
    muster.call("identity.create", chosen);
    drop(owner);
    let browser = muster.browser();
    let form = [("login", "omar"), ("password", "correct horse battery"), ("next", "/")];
    assert_eq!(browser.post("/login", &form).0, 303);
    let (status, home) = browser.get("/");
    assert_eq!(status, 200);
    assert!(home.contains("press-lyon") && !home.contains("press-paris"), "{home}");
    assert!(!home.contains("href=\"/settings\"") && home.contains("href=\"/agents\""));
    let (_, found) = browser.get("/palette?q=press");
    assert!(found.contains("press-lyon") && !found.contains("press-paris"), "{found}");
    assert_eq!(browser.get("/settings").0, 403);
}
