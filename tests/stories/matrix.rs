//! Every operation with every role: a table that a person can read, and the proof that each operation asks for exactly
//! the permission that it declares.

use std::sync::Arc;

use muster::base::{KeyId, Kind};
use muster::capabilities::ALL;
use muster::kit::{Actor, Ctx, DANGEROUS, Grant, OWN, Op, Ops, Request, Rights, Role, Scope};
use serde_json::{Map, Value, json};

use crate::harness::Muster;

fn ops() -> Vec<Op> {
    let mut ops = Ops::default();
    ALL.iter().for_each(|capability| capability.ops(&mut ops));
    ops.0
}

/// A value that fits a schema: what is required, the first of each choice, the least of each number.
fn sample(schema: &Value, whole: &Value) -> Value {
    if let Some(place) = schema["$ref"].as_str() {
        return sample(whole.pointer(place.trim_start_matches('#')).unwrap(), whole);
    }
    for choices in ["oneOf", "anyOf", "allOf"] {
        if let Some(first) = schema[choices].as_array().and_then(|all| all.first()) {
            return sample(first, whole);
        }
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].as_array()?.first()) {
        return value.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind {
        "object" => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let field = |name: &Value| {
                let name = name.as_str().unwrap();
                (name.to_owned(), sample(&schema["properties"][name], whole))
            };
            Value::Object(required.iter().map(field).collect::<Map<_, _>>())
        }
        "array" => json!([]),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(false),
        "string" => {
            let pattern = schema["pattern"].as_str().unwrap_or_default();
            match pattern.strip_prefix('^').and_then(|rest| rest.get(..4)) {
                Some(prefix) if prefix.ends_with('_') => json!(format!("{prefix}{:0>26}", 1)),
                _ if schema["format"] == "date-time" => json!("2026-11-25T12:00:00Z"),
                _ => json!("x"),
            }
        }
        other => panic!("no sample of a {other}"),
    }
}

fn asks(muster: &Muster, op: &Op, rights: Arc<Rights>) -> Result<Value, muster::base::Error> {
    let actor = Actor::Key { key: KeyId::from_bits(1), name: "k".into(), rights };
    let ctx = Ctx::new(muster.server().site(), muster.server().site().home, actor, Request::default());
    let input = sample(&op.input, &op.input);
    match &op.file {
        Some(file) => file(&ctx, input).map(|_| Value::Null),
        None => (op.run)(&ctx, input),
    }
}

fn only(permissions: &str, scope: &str) -> Arc<Rights> {
    let (role, until) = (Role::Viewer.into(), None);
    let (permissions, scope): (_, Scope) = (Arc::new(permissions.parse().unwrap()), scope.parse().unwrap());
    Arc::new(Rights { grants: vec![Grant { role, permissions, scope, until }], ..Rights::default() })
}

#[test]
fn every_operation_asks_for_what_it_declares() {
    let muster = Muster::start();
    let ops = ops();
    assert!(ops.len() > 20);
    for op in &ops {
        if op.permission == OWN && op.name.starts_with("approvals.") {
            // Programs ask for approvals too, and these are about what they asked for: of others nothing is there.
            let found = asks(&muster, op, only("*, -approvals.*, -agents.*", ""));
            let none = found.as_ref().is_ok_and(|list| list["items"].as_array().is_some_and(Vec::is_empty));
            let hidden = found.as_ref().is_err_and(|error| error.kind() == Kind::NotFound);
            assert!(none || hidden, "{}: {found:?}", op.name);
            continue;
        }
        if op.permission == OWN {
            // What is one's own needs no role; it refuses whoever has no account.
            let error = asks(&muster, op, Rights::of(Role::Owner)).expect_err(op.name);
            assert_eq!(error.kind(), Kind::Forbidden, "{}: {error}", op.name);
            continue;
        }
        let mut refused = vec![
            only(&format!("*, -{}", op.permission), ""),
            // Of a thing that is not there.
            only(&op.permission, "site:nowhere"),
        ];
        if !op.permission.ends_with(".read") {
            refused.push(Arc::new(Rights { looks_as: Some("x".into()), ..(*only("*", "")).clone() }));
        }
        for rights in refused {
            let narrow = rights.grants.first().is_some_and(|one| !one.scope.is_everything());
            match asks(&muster, op, rights) {
                Ok(answer) => {
                    let none = answer["items"].as_array().is_some_and(Vec::is_empty) || answer["total"] == 0;
                    assert!(narrow && none, "{}: {answer}", op.name);
                }
                Err(error) => {
                    let hidden = narrow && error.kind() == Kind::NotFound;
                    assert!(error.kind() == Kind::Forbidden || hidden, "{}: {error}", op.name);
                }
            }
        }
        if let Err(error) = asks(&muster, op, only(&op.permission, "")) {
            let refused = matches!(error.kind(), Kind::Unauthenticated | Kind::Internal)
                || error.kind() == Kind::Forbidden && error.message().contains(&op.permission);
            assert!(!refused, "{}: {}", op.name, error.detail());
        }
    }
}

/// `TABLES=write` writes the table anew; a change of it is a change of who may do what, and is read as such.
#[test]
fn who_may_do_what_is_written_down() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stories/golden/matrix.txt");
    let heads: Vec<&str> = Role::ALL.into_iter().map(Role::word).collect();
    let mut table = format!("{:<28}{}\n", "operation", heads.join(" "));
    for op in ops() {
        let may = |role: Role| {
            let sign = if op.permission == OWN {
                'o'
            } else if role.allows(&op.permission) {
                '+'
            } else {
                '-'
            };
            format!("{sign:<width$}", width = role.word().len())
        };
        let line: Vec<String> = Role::ALL.into_iter().map(may).collect();
        table.push_str(&format!("{:<28}{}", op.name, line.join(" ")));
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    if std::env::var("TABLES").is_ok_and(|what| what == "write") {
        std::fs::write(path, &table).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    for (kept, now) in kept.lines().zip(table.lines()) {
        assert_eq!(kept, now, "who may do what has changed");
    }
    assert_eq!(kept.lines().count(), table.lines().count());
}

#[test]
fn what_needs_a_fresh_proof_is_an_operation_or_a_form_of_ones_own() {
    // Only a browser can make these, so they are forms.
    const FORMS: [&str; 3] = ["identity.totp_add", "identity.passkey_add", "identity.link_own"];
    let ops = ops();
    for name in DANGEROUS {
        assert!(FORMS.contains(&name) || ops.iter().any(|op| op.name == name), "there is no `{name}`");
    }
}
