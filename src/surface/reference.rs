//! The reference of the API as a page, made from the same list as the routes.

use askama::Template;
use serde_json::Value;

use super::{input, openapi, rest};
use crate::base::{Kind, Result};
use crate::kit::guide::guide_page;
use crate::kit::{Ctx, Markup, Op, Ops, PageRequest, Reply};

/// Where it is.
pub(super) const PATH: &str = "/help/api";

const KINDS: [Kind; 10] = [
    Kind::Invalid,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::StepUp,
    Kind::Approval,
    Kind::NotFound,
    Kind::Conflict,
    Kind::TooMany,
    Kind::Unavailable,
    Kind::Internal,
];

#[derive(Template)]
#[template(path = "help/_api.html")]
struct ApiPart {
    groups: Vec<Group>,
    kinds: Vec<(&'static str, u16)>,
}

struct Group {
    name: String,
    entries: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    method: String,
    path: String,
    doc: &'static str,
    permission: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    place: &'static str,
    kind: String,
    required: bool,
    doc: String,
}

/// The page.
pub(super) fn page(ctx: &Ctx<'_>, request: &PageRequest, ops: &Ops) -> Result<Reply> {
    let mut groups: Vec<Group> = Vec::new();
    for op in ops.0.iter().filter(|op| ctx.shows(&op.permission)) {
        let name = openapi::tag(op);
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.entries.push(entry(op)),
            None => groups.push(Group { name: name.to_owned(), entries: vec![entry(op)] }),
        }
    }
    let kinds = KINDS.into_iter().map(|kind| (kind.word(), kind.status())).collect();
    guide_page(ctx, request, "api", Markup(ApiPart { groups, kinds }.render()?))
}

fn entry(op: &Op) -> Entry {
    let in_path = openapi::parameters(op.path);
    let method = rest::http_method(op.method).to_string();
    let other = if matches!(method.as_str(), "POST" | "PATCH") { "body" } else { "query" };
    let required: Vec<&str> =
        op.input["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = op.input["properties"].as_object();
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let inside = in_path.contains(&name.as_str());
            let text = |s: &Value| s["description"].as_str().map(str::to_owned);
            Field {
                place: if inside { "path" } else { other },
                kind: kind(&op.input, schema, 0),
                required: inside || required.contains(&name.as_str()),
                doc: text(schema).or_else(|| text(input::resolve(&op.input, schema))).unwrap_or_default(),
                name: name.clone(),
            }
        })
        .collect();
    fields.sort_by_key(|field| (field.place != "path", !field.required));
    Entry {
        name: op.name,
        method,
        path: format!("{}/{}", rest::ROOT, op.path.trim_start_matches('/')),
        doc: op.doc,
        permission: op.permission.clone(),
        fields,
    }
}

/// The type for a reader: `string`, `array of integer`, `dark | light`.
fn kind(root: &Value, schema: &Value, depth: u8) -> String {
    let schema = input::resolve(root, schema);
    if depth > 4 {
        return "object".into();
    }
    let alternatives = |parts: Vec<String>| {
        let mut all: Vec<String> = parts.into_iter().filter(|p| p != "null").collect();
        all.dedup();
        all.join(" | ")
    };
    if let Some(values) = schema["enum"].as_array() {
        return alternatives(values.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    if let Some(value) = schema["const"].as_str() {
        return value.to_owned();
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(parts) = schema[choice].as_array() {
            return alternatives(parts.iter().map(|p| kind(root, p, depth + 1)).collect());
        }
    }
    let name = |word: &str| match word {
        "array" => format!("array of {}", kind(root, &schema["items"], depth + 1)),
        "string" => schema["format"].as_str().unwrap_or("string").to_owned(),
        word => word.to_owned(),
    };
    match &schema["type"] {
        Value::String(word) => name(word),
        Value::Array(words) => alternatives(words.iter().filter_map(Value::as_str).map(name).collect()),
        _ => "any".into(),
    }
}
