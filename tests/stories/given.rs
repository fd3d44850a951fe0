//! Whatever gives a secret or a file away stands in the audit log before the first byte leaves.

use muster::capabilities::ALL;
use muster::kit::{Method, Ops};
use serde_json::{Value, json};

use crate::harness::{Api, Muster};

/// Names of fields by which an answer gives something away that opens a door.
const TELLING: [&str; 10] =
    ["secret", "secrets", "password", "code", "command", "link", "text", "token", "private", "value"];
/// Answers that have such a field and give nothing away, each with why.
const HARMLESS: [(&str, &str); 15] = [
    ("backups.check_key", "`text` says whether the key opens"),
    ("backups.list", "`text` says how a target fares"),
    ("backups.targets", "`text` says how a target fares"),
    ("backups.target_add", "`text` says how the target fares"),
    ("backups.target_change", "`text` says how the target fares"),
    ("security.checks", "`text` says what a check found"),
    ("telemetry.names", "`value` is the last reading"),
    ("tenants.list", "`secrets` is how many a tenant may have"),
    ("tenants.find", "the same"),
    ("tenants.change", "the same"),
    ("tenants.suspend", "the same"),
    ("tenants.resume", "the same"),
    ("tenants.erase", "the same"),
    ("telemetry.logs", "`text` is a line of a log"),
    ("telemetry.events", "`text` is what an agent tells"),
];

fn ops() -> Ops {
    let mut ops = Ops::default();
    ALL.iter().for_each(|capability| capability.ops(&mut ops));
    ops
}

/// The names of all fields of a schema, wherever they stand.
fn fields(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                if key == "properties" {
                    found.extend(value.as_object().into_iter().flatten().map(|(name, _)| name.clone()));
                }
                fields(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        _ => {}
    }
}

#[test]
fn no_operation_gives_a_secret_or_a_file_away_without_saying_by_which_event() {
    let mut unsaid = Vec::new();
    for op in &ops().0 {
        let mut names = Vec::new();
        fields(&op.output, &mut names);
        let telling = names.iter().find(|name| TELLING.contains(&name.as_str()));
        match (telling, op.gives) {
            (_, Some(event)) => {
                assert_ne!(op.method, Method::Get, "`{}` gives and is a mere read", op.name);
                let declared = ALL.iter().flat_map(|c| c.events()).any(|kind| kind.name == event);
                assert!(declared, "`{}` gives by `{event}`, which nobody declares", op.name);
            }
            (Some(field), None) => {
                if !HARMLESS.iter().any(|(name, _)| *name == op.name) {
                    unsaid.push(format!("`{}` answers with `{field}`", op.name));
                }
            }
            (None, None) => assert!(op.file.is_none(), "`{}` gives a file and does not say so", op.name),
        }
    }
    assert_eq!(unsaid, Vec::<String>::new(), "say `ops.gives(…)` behind each, or why it is harmless");
}

/// What each of them is called with.
fn input(name: &str, user: &Value, key: &Value, tenant: &Value, own: Option<&str>) -> Value {
    match name {
        "identity.create" => json!({ "login": "anne", "name": "Anne", "role": "viewer" }),
        "identity.reset" => json!({ "id": user }),
        "identity.key_rotate" => json!({ "id": key }),
        "identity.key_rotate_own" => json!({ "text": own }),
        "identity.recover" => json!({ "login": "ines" }),
        "identity.import" => json!({ "csv": "login,name,role\nbea,Bea,viewer\n", "preview": false }),
        "identity.key_create" => json!({ "name": "another", "role": "viewer" }),
        "tenants.create" => json!({ "name": "Dry Dock", "login": "dora", "owner": "Dora" }),
        "tenants.export" => json!({ "id": tenant }),
        "clients.create" => json!({ "id": "scada" }),
        "agents.device" => json!({ "name": "press-1" }),
        "agents.invite" | "backups.kit" | "audit.export" | "identity.export" => json!({}),
        other => panic!("`{other}` gives something away: add what it is called with"),
    }
}

#[test]
fn each_of_them_is_told_before_it_answers() {
    let muster = Muster::start();
    let owner = muster.owner();
    let api: Api = muster.api("owner");
    let (_, users) = api.get("/api/v1/identity/users");
    let user = users["items"][0]["id"].clone();
    let key = muster.call("identity.key_create", json!({ "name": "turned", "role": "viewer" }));
    let key = key["key"]["id"].clone();
    let chosen = json!({ "name": "Harbour Tugs", "login": "mara", "owner": "Mara" });
    let tenant = muster.call("tenants.create", chosen)["tenant"]["id"].clone();
    let store = &muster.server().site().store;
    let ops = ops();
    let giving: Vec<_> = ops.0.iter().filter_map(|op| Some((op, op.gives?))).collect();
    assert!(giving.len() >= 8);
    for (op, event) in giving {
        // It gives what another operation gives, and has a story of its own.
        if op.name == "approvals.collect" {
            continue;
        }
        let before = store.last_change();
        let mut input = input(op.name, &user, &key, &tenant, api.bearer.as_deref());
        let mut path = op.path.to_owned();
        if let Some(id) = input.get("id").filter(|_| path.contains("{id}")).cloned() {
            path = path.replace("{id}", id.as_str().unwrap());
            input = json!({});
        }
        let (status, answer) = api.post(&format!("/api/v1/{}", path.trim_start_matches('/')), input);
        assert_eq!(status, 200, "{}: {answer}", op.name);
        let changes = store.changes(before, 100).unwrap();
        let told = changes.iter().find(|change| change.events.iter().any(|told| told.name == event));
        let told = told.unwrap_or_else(|| panic!("`{}` answered and told no `{event}`", op.name));
        assert!(told.origin.actor.starts_with("key_"), "it says who: {}", told.origin.actor);
    }
    // The page that shows the kit does the same.
    let (before, csrf) = (store.last_change(), owner.csrf());
    let (status, _) = owner.post("/backups/kit", &[("csrf", &csrf)]);
    assert_eq!(status, 200);
    let changes = store.changes(before, 100).unwrap();
    assert!(changes.iter().flat_map(|change| &change.events).any(|told| told.name == "backups.kit_shown"));
}

#[test]
fn only_known_pages_give_files() {
    // A page that gives a file is written down here, with the operation that tells of it.
    let known = [
        "src/capabilities/approvals/pages.rs",
        "src/capabilities/audit/pages.rs",
        "src/capabilities/identity/people/pages.rs",
        "src/capabilities/identity/people/tests.rs",
        "src/capabilities/tenants/pages.rs",
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![root.join("src/capabilities")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && std::fs::read_to_string(&path).unwrap().contains("Reply::File")
            {
                found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.retain(|path| !known.contains(&path.as_str()));
    assert_eq!(found, Vec::<String>::new(), "does each of them tell before it gives?");
}
