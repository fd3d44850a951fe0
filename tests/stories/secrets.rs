//! Secrets from outside: a value goes in, is used by reference, and lies nowhere in the clear.

use std::path::Path;

use muster::base::{Error, Kind, Span};
use muster::capabilities::ALL;
use muster::kit::Ops;
use serde_json::{Value, json};

use crate::harness::{Api, Muster, until};

const VALUE: &str = "hunter2TheKeyOfTheNas";

pub(crate) fn lies_in(folder: &Path, bytes: &[u8]) -> bool {
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

fn run(muster: &Muster, name: &str, input: Value) -> Result<Value, Error> {
    let mut ops = Ops::default();
    ALL.iter().for_each(|capability| capability.ops(&mut ops));
    let op = ops.0.into_iter().find(|op| op.name == name).unwrap();
    (op.run)(&muster.ctx(), input)
}

#[test]
fn a_target_refers_to_a_secret_that_nobody_can_read() {
    let muster = Muster::start();
    let owner = muster.owner();
    let api: Api = muster.api("owner");
    let put = json!({ "name": "nas/key", "value": VALUE, "about": "the NAS in the hall" });
    let (status, made) = api.post("/api/v1/secrets", put);
    assert_eq!((status, &made["reference"]), (200, &json!("secret://nas/key")), "{made}");

    // A viewer sees none of it, and an operator may let nothing refer to it.
    assert_eq!(muster.api("viewer").get("/api/v1/secrets").0, 403);
    let settings = json!({
        "kind": "s3", "endpoint": "https://127.0.0.1:1", "bucket": "backups", "access_key": "muster",
        "authority": muster.server().site().authority.certificate_pem(),
    });
    let target = json!({ "name": "NAS", "settings": settings, "secret": "secret://nas/key" });
    let (status, added) = api.post("/api/v1/backups/targets", target);
    assert_eq!(status, 200, "{added}");
    assert_eq!(added["secret"], "secret://nas/key");
    let id = added["id"].as_str().unwrap();
    let wrong = json!({ "name": "B", "settings": settings, "secret": "secret://nas/none" });
    assert_eq!(api.post("/api/v1/backups/targets", wrong).0, 404);

    let (_, usage) = api.get("/api/v1/secrets/usage?name=nas/key");
    assert!(usage["items"][0]["since"].is_string() && usage["items"][0]["last"].is_string(), "{usage}");
    let refused = run(&muster, "secrets.delete", json!({ "name": "nas/key" })).unwrap_err();
    assert!(refused.kind() == Kind::Conflict && refused.message().contains("NAS"), "{refused}");

    // It is used, which is told, and it lies nowhere: not in the store, the journal, the index, nor in a backup.
    let (status, _) = api.post("/api/v1/backups", json!({ "telemetry": true }));
    assert!(status < 300);
    until(Span::from_seconds(60), "a backup", || {
        let (_, list) = api.get("/api/v1/backups");
        list["items"].as_array()?.iter().any(|b| b["verified"].is_string()).then_some(())
    });
    let entries = until(Span::from_seconds(20), "entries", || {
        let (_, log) = api.get("/api/v1/audit?event=secrets.*&limit=100");
        let items = log["items"].as_array()?.clone();
        (items.iter().any(|entry| entry["event"] == "secrets.used") && items.len() >= 2).then_some(log)
    });
    assert!(!entries.to_string().contains(VALUE));
    let (_, page) = owner.get("/secrets");
    assert!(page.contains("secret://nas/key") && !page.contains(VALUE));
    for path in ["/api/v1/secrets", "/api/v1/backups/targets", "/metrics", "/api/v1/openapi.json"] {
        let (status, said) = api.get(path);
        assert!(status == 200 && !said.to_string().contains(VALUE), "{path}");
    }
    assert!(lies_in(&muster.folder, b"secrets.created"), "what lies there is searched");
    assert!(!lies_in(&muster.folder, VALUE.as_bytes()));

    // An own secret takes the place of the reference, and then it can be deleted.
    let change = json!({ "id": id, "secret": "AnotherKeyOfItsOwn" });
    let changed = run(&muster, "backups.target_change", change).unwrap();
    assert_eq!(changed.get("secret"), None);
    run(&muster, "secrets.delete", json!({ "name": "nas/key" })).unwrap();
    assert!(!lies_in(&muster.folder, b"AnotherKeyOfItsOwn"));
    run(&muster, "backups.target_remove", json!({ "id": id })).unwrap();

    // After a start everything opens as before.
    api.post("/api/v1/secrets", json!({ "name": "plc", "value": VALUE }));
    let muster = muster.reopen();
    let check = run(&muster, "secrets.list", json!({})).unwrap();
    assert_eq!(check["items"][0]["name"], "plc");
}
