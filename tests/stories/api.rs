//! REST: the same operations with the same permissions, errors as RFC 9457, a document that is true.

use muster::capabilities::ALL;
use muster::kit::Ops;
use serde_json::json;

use crate::harness::{Api, Muster};

#[test]
fn operations_answer_in_json_and_errors_as_problems() {
    let muster = Muster::start();
    let api = muster.api("owner");
    let (status, made) =
        api.post("/api/v1/agents/devices", json!({ "name": "press-07", "labels": { "site": "lyon" } }));
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_str().unwrap();
    let (status, list) = api.get("/api/v1/agents?filter=site:lyon&limit=5");
    assert_eq!((status, &list["items"][0]["id"]), (200, &json!(id)));
    let (status, problem) = api.get("/api/v1/agents?filter=cpu%3Emuch");
    assert_eq!((status, &problem["status"]), (422, &json!(422)));
    assert!(problem["detail"].as_str().unwrap().contains("much"), "{problem}");
    let (status, problem) = api.post("/api/v1/tasks", json!({ "agent": id, "work": { "kind": "dance" } }));
    assert_eq!(status, 422, "{problem}");
    assert_eq!(api.get("/api/v1/agents/agt_00000000000000000000000000").0, 404);
    assert_eq!(api.get("/api/v1/nothing").0, 404);
    let (status, problem) = Api::anonymous(&muster).get("/api/v1/agents");
    assert_eq!((status, &problem["status"]), (401, &json!(401)));
    assert!(problem["request_id"].is_string(), "{problem}");
}

#[test]
fn a_viewer_reads_and_changes_nothing() {
    let muster = Muster::start();
    let viewer = muster.api("viewer");
    assert_eq!(viewer.get("/api/v1/agents").0, 200);
    assert_eq!(viewer.post("/api/v1/agents/devices", json!({ "name": "x" })).0, 403);
    assert_eq!(viewer.get("/api/v1/identity/users").0, 403);
    assert_eq!(muster.api("operator").post("/api/v1/agents/devices", json!({ "name": "x" })).0, 200);
}

#[test]
fn the_document_describes_every_operation_and_its_references_resolve() {
    let muster = Muster::start();
    let (status, document) = muster.api("viewer").get("/api/v1/openapi.json");
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let mut ops = Ops::default();
    ALL.iter().for_each(|capability| capability.ops(&mut ops));
    for op in &ops.0 {
        let path = &document["paths"][op.path]
            .as_object()
            .or(document["paths"][format!("/api/v1{}", op.path)].as_object());
        assert!(path.is_some(), "{} is missing", op.path);
    }
    fn walk(value: &serde_json::Value, document: &serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                if let Some(reference) = map.get("$ref").and_then(|r| r.as_str()) {
                    assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                }
                map.values().for_each(|v| walk(v, document));
            }
            serde_json::Value::Array(list) => list.iter().for_each(|v| walk(v, document)),
            _ => {}
        }
    }
    walk(&document, &document);
}

#[test]
fn health_and_metrics_are_there() {
    let muster = Muster::start();
    let api = muster.api("viewer");
    assert_eq!(api.get("/healthz").0, 200);
    assert_eq!(api.get("/readyz").0, 200);
    let (status, text) = api.get("/metrics");
    assert_eq!(status, 200);
    assert!(text.as_str().unwrap().contains("muster_store_changes_total"), "{text}");
}
