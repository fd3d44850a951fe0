//! One input object out of path, query and body. Values that came as text are read by the operation's schema.

use serde_json::{Map, Value};

use super::form;
use crate::base::{Error, Result};

/// Merges the parts. A field may come from one place only, and only fields of the schema are taken.
pub(super) fn merge(schema: &Value, path: &[(String, String)], query: &str, body: &[u8]) -> Result<Value> {
    let mut input = match body.trim_ascii() {
        [] => Map::new(),
        body => match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(Error::invalid("the body is not a JSON object")),
            Err(e) => return Err(Error::invalid(format!("the body is not valid JSON: {e}"))),
        },
    };
    for (name, value) in form::fields(form::pairs(query.as_bytes())?) {
        let value = coerce(schema, &name, &value)?;
        if input.insert(name.clone(), value).is_some() {
            return Err(Error::invalid(format!("`{name}` stands in the query and in the body")));
        }
    }
    for (name, value) in path {
        let value = coerce(schema, name, value)?;
        if input.get(name).is_some_and(|have| *have != value) {
            return Err(Error::invalid(format!("`{name}` is another one than in the path")));
        }
        input.insert(name.clone(), value);
    }
    known(schema, &input)?;
    Ok(Value::Object(input))
}

/// Reads the text of one field by its schema.
fn coerce(schema: &Value, name: &str, text: &str) -> Result<Value> {
    match schema["properties"].get(name) {
        Some(field) => read(schema, field, name, text),
        None => Ok(Value::String(text.to_owned())),
    }
}

fn read(root: &Value, field: &Value, name: &str, text: &str) -> Result<Value> {
    let field = resolve(root, field);
    let mut kinds = Vec::new();
    types(root, field, &mut kinds, 0);
    let has = |kind: &str| kinds.contains(&kind);
    let text = if has("string") { text } else { text.trim() };
    if text.is_empty() && has("null") {
        return Ok(Value::Null);
    }
    let wrong = |what: &str| {
        let shown: String = text.chars().take(40).collect();
        Err(Error::invalid(format!("`{name}` is `{shown}`, which is not {what}")))
    };
    let number = text.parse::<u64>().map(Value::from).or_else(|_| text.parse::<i64>().map(Value::from));
    match () {
        _ if has("integer") => match number {
            Ok(number) => Ok(number),
            Err(_) if has("string") => Ok(text.into()),
            Err(_) => wrong("a whole number"),
        },
        _ if has("number") => match text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => Ok(Value::Number(number)),
            None if has("string") => Ok(text.into()),
            None => wrong("a number"),
        },
        _ if has("boolean") => match text {
            // What a ticked box sends.
            "true" | "1" | "on" => Ok(true.into()),
            "false" | "0" | "off" => Ok(false.into()),
            _ => wrong("`true` or `false`"),
        },
        _ if has("string") => Ok(text.into()),
        _ if has("array") => {
            let items = array(root, field);
            let parts = text.split(',').filter(|part| !part.is_empty());
            parts.map(|part| read(root, items, name, part)).collect::<Result<Vec<_>>>().map(Value::Array)
        }
        _ if has("object") => match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
            _ => wrong("a JSON object"),
        },
        _ => Ok(text.into()),
    }
}

/// Refuses fields that the operation does not have, so that a misspelt filter is not taken for none.
pub(super) fn known(schema: &Value, input: &Map<String, Value>) -> Result<()> {
    let open = ["allOf", "anyOf", "oneOf", "$ref"].iter().any(|k| schema.get(k).is_some())
        || schema.get("additionalProperties").is_some_and(|a| *a != Value::Bool(false));
    if open {
        return Ok(());
    }
    let empty = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&empty);
    match input.keys().find(|name| !fields.contains_key(*name)) {
        None => Ok(()),
        Some(name) => {
            let shown: String = name.chars().take(40).collect();
            let all: Vec<&str> = fields.keys().map(String::as_str).collect();
            Err(Error::invalid(format!("`{shown}` is not a field of this operation")).hint(
                if all.is_empty() {
                    "it takes none".to_owned()
                } else {
                    format!("its fields are {}", all.join(", "))
                },
            ))
        }
    }
}

/// Follows a reference into the schema's own definitions.
pub(super) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut at = schema;
    // A chain of references is short; a circle must not hold us.
    for _ in 0..8 {
        let Some(name) = at["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) else { break };
        at = &root["$defs"][name];
    }
    at
}

fn types<'a>(root: &'a Value, schema: &'a Value, kinds: &mut Vec<&'a str>, depth: u8) {
    let schema = resolve(root, schema);
    match &schema["type"] {
        Value::String(kind) => kinds.push(kind),
        Value::Array(all) => kinds.extend(all.iter().filter_map(Value::as_str)),
        _ if schema.get("enum").is_some() || schema.get("const").is_some() => kinds.push("string"),
        _ => {}
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        for part in schema[choice].as_array().into_iter().flatten().filter(|_| depth < 4) {
            types(root, part, kinds, depth + 1);
        }
    }
}

fn array<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let list = |s: &'a Value| resolve(root, s).get("items");
    list(schema)
        .or_else(|| ["anyOf", "oneOf"].iter().find_map(|c| schema[c].as_array()?.iter().find_map(list)))
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Look {
        Dark,
        Light,
    }

    fn schema() -> Value {
        let mut generator = schemars::SchemaGenerator::default();
        let mut schema = json!({ "properties": {} });
        let field = |s: schemars::Schema| s.to_value();
        schema["properties"]["id"] = field(generator.subschema_for::<String>());
        schema["properties"]["limit"] = field(generator.subschema_for::<Option<u32>>());
        schema["properties"]["offset"] = field(generator.subschema_for::<i64>());
        schema["properties"]["share"] = field(generator.subschema_for::<f64>());
        schema["properties"]["all"] = field(generator.subschema_for::<bool>());
        schema["properties"]["labels"] = field(generator.subschema_for::<Vec<String>>());
        schema["properties"]["numbers"] = field(generator.subschema_for::<Option<Vec<u8>>>());
        schema["properties"]["look"] = field(generator.subschema_for::<Option<Look>>());
        schema["properties"]["name"] = field(generator.subschema_for::<Option<String>>());
        schema["$defs"] = json!(generator.definitions());
        schema
    }

    fn path() -> Vec<(String, String)> {
        vec![("id".into(), "12".into())]
    }

    #[test]
    fn text_becomes_what_the_schema_says() {
        let query = "limit=5&offset=-3&share=0.5&all=true&labels=a,b&numbers=1,2&look=dark&name=7";
        assert_eq!(
            merge(&schema(), &path(), query, b"").unwrap(),
            json!({ "id": "12", "limit": 5, "offset": -3, "share": 0.5, "all": true, "labels": ["a", "b"],
                    "numbers": [1, 2], "look": "dark", "name": "7" })
        );
        let empty = merge(&schema(), &path(), "limit=&labels=&numbers=", b"").unwrap();
        assert_eq!(empty, json!({ "id": "12", "limit": null, "labels": [], "numbers": null }));
        assert_eq!(merge(&schema(), &path(), "labels=a&labels=b", b"").unwrap()["labels"], json!(["a", "b"]));
    }

    #[test]
    fn bodies_keep_their_types_and_the_path_wins_no_argument() {
        let body = br#"{"limit": 7, "id": "12"}"#;
        assert_eq!(merge(&schema(), &path(), "", body).unwrap(), json!({ "id": "12", "limit": 7 }));
        for (query, body, part) in [
            ("", &br#"{"id": "13"}"#[..], "`id`"),
            ("limit=1", br#"{"limit": 1}"#, "`limit`"),
            ("", b"[1]", "object"),
            ("", b"{", "JSON"),
            ("limit=many", b"", "whole number"),
            ("share=x", b"", "a number"),
            ("all=perhaps", b"", "`true`"),
            ("fliter=x", b"", "`fliter`"),
        ] {
            let error = merge(&schema(), &path(), query, body).unwrap_err();
            assert!(error.message().contains(part), "{query}: {}", error.message());
        }
    }
}
