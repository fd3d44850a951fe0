//! All rows of a tenant as one file: a zip of JSON lines, one file for each table, and a manifest at its end.
//!
//! Invariant: what opens a door or is sealed is not in it, and the manifest names what is left out.
//! Invariant: the manifest has the number of rows, the bytes and the BLAKE3 of every file.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::store;
use crate::base::{Result, TenantId, kind};
use crate::engine::archive::ZipWriter;
use crate::engine::store::{Read, Store};
use crate::kit::{ById, Ctx, Download, KIT_TABLES, NextPart};

/// The form that is written.
const FORMAT: u32 = 1;
/// Rows of one part of the file.
const ROWS_AT_ONCE: usize = 500;
/// Fields of rows that open a door, wherever they stand; they are `null` in the file.
const FIELDS_LEFT_OUT: [&str; 5] = ["password", "digest", "secret", "sealed", "value"];

/// Gives the file.
pub(super) fn export(ctx: &Ctx<'_>, input: ById<kind::Tenant>) -> Result<Download> {
    let permit = ctx.require("tenants.export")?;
    let tenant = store::find(&ctx.read()?, input.id)?;
    let (mut tables, mut sealed) = (BTreeSet::new(), BTreeSet::new());
    for capability in ctx.site.capabilities() {
        sealed.extend(capability.sealed().iter().copied());
        tables.extend(capability.tables().iter().copied());
    }
    tables.extend(KIT_TABLES.into_iter().filter(|table| *table != "cursors"));
    tables.retain(|table| !sealed.contains(table) && !store::NAMES.contains(table));
    permit.before_giving(|change| {
        change.tell("tenants.exported", input.id, json!({ "name": tenant.name }));
        Ok(())
    })?;
    let head = json!({
        "format": FORMAT,
        "site": ctx.site.settings.name(),
        "tenant": tenant.id,
        "name": tenant.name,
        "made": ctx.now,
        "by": ctx.actor.text(),
        "left_out": {
            "tables": sealed,
            "fields": FIELDS_LEFT_OUT,
            "because": "they hold sealed secrets or what opens a door; numbers and lines of agents are not rows",
        },
    });
    let tables = tables.into_iter().collect();
    let next = Parts {
        store: ctx.site.store.clone(),
        tenant: input.id,
        tables,
        writer: Some(ZipWriter::new(ctx.now)),
        head,
        files: Vec::new(),
        open: None,
    };
    let name = format!("tenant-{}-{}.zip", input.id, ctx.now.format("%Y%m%dT%H%M%SZ"));
    Ok(Download { name, kind: "application/zip", next: next.parts() })
}

/// A file under way.
struct Open {
    table: &'static str,
    after: Option<Vec<u8>>,
    rows: u64,
    bytes: u64,
    hasher: blake3::Hasher,
}

struct Parts {
    store: Store,
    tenant: TenantId,
    /// Those that are left, the next one last.
    tables: Vec<&'static str>,
    /// Gone when the file has ended.
    writer: Option<ZipWriter>,
    head: Value,
    files: Vec<Value>,
    open: Option<Open>,
}

impl Parts {
    fn parts(mut self) -> NextPart {
        self.tables.reverse();
        Box::new(move || self.next())
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(mut writer) = self.writer.take() else { return Ok(None) };
        let mut out = Vec::new();
        let mut open = match (self.open.take(), self.tables.pop()) {
            (Some(open), next) => {
                self.tables.extend(next);
                open
            }
            (None, Some(table)) => {
                writer.begin(&format!("{table}.jsonl"), &mut out)?;
                Open { table, after: None, rows: 0, bytes: 0, hasher: blake3::Hasher::new() }
            }
            (None, None) => {
                self.head["files"] = Value::Array(std::mem::take(&mut self.files));
                writer.file("manifest.json", &serde_json::to_vec_pretty(&self.head)?, &mut out)?;
                writer.finish(&mut out)?;
                return Ok(Some(out));
            }
        };
        // A fresh snapshot for each part: an old one holds the store's space.
        let rows = self.store.read()?.any(open.table, &self.tenant, open.after.as_deref(), ROWS_AT_ONCE)?;
        let more = rows.len() == ROWS_AT_ONCE;
        let mut lines = Vec::new();
        for (key, mut value) in rows {
            bare(&mut value);
            // The tenant's own 16 bytes begin every key.
            let rest: String = key.iter().skip(16).map(|byte| format!("{byte:02x}")).collect();
            serde_json::to_writer(&mut lines, &json!({ "key": rest, "value": value }))?;
            lines.push(b'\n');
            open.rows += 1;
            open.after = Some(key);
        }
        open.hasher.update(&lines);
        open.bytes += lines.len() as u64;
        writer.data(&lines, &mut out)?;
        self.writer = Some(writer);
        if more {
            self.open = Some(open);
        } else {
            let hash = open.hasher.finalize().to_hex();
            self.files.push(json!({
                "name": format!("{}.jsonl", open.table), "rows": open.rows, "bytes": open.bytes, "blake3": hash.as_str(),
            }));
        }
        Ok(Some(out))
    }
}

/// Takes the fields that open a door out of a row, wherever they stand.
fn bare(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if FIELDS_LEFT_OUT.contains(&name.as_str()) {
                    *value = Value::Null;
                } else {
                    bare(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bare),
        _ => {}
    }
}
