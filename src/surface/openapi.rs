//! The OpenAPI 3.1 document, made from the operations and nothing else.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{input, rest};
use crate::kit::{Method, OWN, Op, Ops};

/// The whole document.
pub(super) fn document(ops: &Ops) -> Value {
    let mut components = Components::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for op in &ops.0 {
        let path = format!("{}/{}", rest::ROOT, op.path.trim_start_matches('/'));
        let method = rest::http_method(op.method).as_str().to_ascii_lowercase();
        paths.entry(path).or_default().insert(method, operation(op, &mut components));
    }
    let mut schemas = components.lifted;
    schemas.insert("Problem".into(), problem());
    let tags: std::collections::BTreeSet<&str> = ops.0.iter().map(tag).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Muster",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Everything that the console does can be done here. Errors are RFC 9457 problems.",
        },
        "servers": [{ "url": "/" }],
        "tags": tags.into_iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "security": [{ "key": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": {
                "description": "What went wrong, and how to mend it",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            } },
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An API key, `mst_…`" },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "__Host-muster",
                    "description": "A person's session; unsafe methods also send the page's token as `x-csrf-token`",
                },
            },
        },
    })
}

/// The names in braces.
pub(super) fn parameters(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// The capability's word.
pub(super) fn tag(op: &Op) -> &str {
    op.name.split('.').next().unwrap_or(op.name)
}

fn operation(op: &Op, components: &mut Components) -> Value {
    let in_path = parameters(op.path);
    let mut input = components.lift(op.input.clone());
    let required: Vec<String> = input["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let mut fields = input["properties"].as_object().cloned().unwrap_or_default();
    let mut list = Vec::new();
    for name in &in_path {
        let schema = fields.remove(*name).unwrap_or_else(|| json!({ "type": "string" }));
        list.push(parameter("path", name, true, schema));
    }
    let body = matches!(op.method, Method::Post | Method::Patch);
    if !body {
        for (name, schema) in std::mem::take(&mut fields) {
            list.push(parameter("query", &name, required.contains(&name), schema));
        }
    }
    let content = match op.file {
        Some(_) => json!({ "application/octet-stream": {} }),
        None => json!({ "application/json": { "schema": components.lift(op.output.clone()) } }),
    };
    let mut answer = json!({
        "operationId": op.name,
        "summary": op.doc,
        "tags": [tag(op)],
        "x-permission": op.permission,
        "parameters": list,
        "responses": {
            "200": {
                "description": "Done",
                "content": content,
            },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    if op.method != Method::Get && op.permission != OWN {
        answer["responses"]["202"] = json!({
            "description": "It needs a second person, and is kept until that one has decided",
            "headers": { "Location": { "description": "The approval", "schema": { "type": "string" } } },
        });
    }
    if let Some(event) = op.gives {
        answer["x-audited-as"] = event.into();
    }
    let choices = ["anyOf", "oneOf", "allOf"].iter().any(|c| input.get(c).is_some());
    if body && (!fields.is_empty() || choices) {
        let left: Vec<&String> = required.iter().filter(|r| !in_path.contains(&r.as_str())).collect();
        let needed = !left.is_empty();
        if let Some(object) = input.as_object_mut() {
            object.insert("properties".into(), Value::Object(fields));
            object.insert("required".into(), json!(left));
            object.remove("title");
        }
        answer["requestBody"] =
            json!({ "required": needed, "content": { "application/json": { "schema": input } } });
    }
    answer
}

fn parameter(place: &str, name: &str, required: bool, mut schema: Value) -> Value {
    let description = schema.as_object_mut().and_then(|s| s.remove("description"));
    let mut parameter = json!({ "name": name, "in": place, "required": required, "schema": schema });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    // Lists are written with commas.
    if input::resolve(&Value::Null, &parameter["schema"])["type"] == "array" {
        parameter["style"] = "form".into();
        parameter["explode"] = false.into();
    }
    parameter
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail", "request_id"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "description": "the kind of the error" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "what went wrong" },
            "hint": { "type": "string", "description": "how to mend it" },
            "request_id": { "type": "string", "description": "also in the server's log" },
        },
    })
}

/// Definitions of all operations in one place; equal ones are one.
#[derive(Default)]
struct Components {
    raw: BTreeMap<String, Value>,
    lifted: Map<String, Value>,
}

impl Components {
    /// Takes the definitions out of a schema and makes its references point to them.
    fn lift(&mut self, mut schema: Value) -> Value {
        let Some(object) = schema.as_object_mut() else { return schema };
        object.remove("$schema");
        let definitions = match object.remove("$defs") {
            Some(Value::Object(definitions)) => definitions,
            _ => Map::new(),
        };
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut fresh = Vec::new();
        for (name, definition) in definitions {
            let (place, new) = self.place(&name, &definition);
            if new {
                fresh.push((place.clone(), definition));
            }
            names.insert(name, place);
        }
        // A schema that refers to itself as a whole becomes a component too.
        let itself = mentions_root(&schema).then(|| {
            let title = schema["title"].as_str().unwrap_or("Root").to_owned();
            self.place(&title, &schema)
        });
        let root = itself.as_ref().map(|(place, _)| place.as_str());
        for (place, mut definition) in fresh {
            rewrite(&mut definition, &names, root);
            self.lifted.insert(place, definition);
        }
        rewrite(&mut schema, &names, root);
        match itself {
            Some((place, new)) => {
                let reference = json!({ "$ref": format!("#/components/schemas/{place}") });
                if new {
                    self.lifted.insert(place, schema);
                }
                reference
            }
            None => schema,
        }
    }

    /// The name under which this definition stands, and whether it is new there.
    fn place(&mut self, name: &str, definition: &Value) -> (String, bool) {
        let sound: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
            .collect();
        let sound = if sound == "Problem" { "Problem_".to_owned() } else { sound };
        let mut place = sound.clone();
        let mut number = 2;
        loop {
            match self.raw.get(&place) {
                None => {
                    self.raw.insert(place.clone(), definition.clone());
                    return (place, true);
                }
                Some(have) if have == definition => return (place, false),
                Some(_) => {
                    place = format!("{sound}{number}");
                    number += 1;
                }
            }
        }
    }
}

fn mentions_root(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.get("$ref").is_some_and(|r| r == "#") || fields.values().any(mentions_root)
        }
        Value::Array(items) => items.iter().any(mentions_root),
        _ => false,
    }
}

fn rewrite(schema: &mut Value, names: &BTreeMap<String, String>, root: Option<&str>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                let place = match reference.strip_prefix("#/$defs/") {
                    Some(name) => names.get(name).map(String::as_str),
                    None => root.filter(|_| reference == "#"),
                };
                if let Some(place) = place {
                    *reference = format!("#/components/schemas/{place}");
                }
            }
            fields.values_mut().for_each(|value| rewrite(value, names, root));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rewrite(value, names, root)),
        _ => {}
    }
}
