//! The log as a file that proves itself: JSON lines, or CSV for spreadsheets.
//!
//! With conditions the JSON lines are the entries that pass and nothing else: what is picked out proves nothing by itself.
//!
//! The first line says whose log it is; then come entries, each checkpoint right behind the entry that it speaks of; the
//! last line has the totals and the hash of everything before it. Every line is an object with `line`: `header`,
//! `entry`, `checkpoint` or `end`. A file without its end is not whole.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::chain::{self, Chain, STEP};
use super::model::Entry;
use super::sieve::{Narrowed, Sieve};
use super::store::ENTRIES;
use super::verify::Checkpoints;
use super::{checkpoint, evidence, retention};
use crate::base::{Error, Result, TenantId, Timestamp};
use crate::engine::store::{Read, Store};
use crate::kit::{Ctx, Download, NextPart, generation};
use crate::wire::Checkpoint;

/// The form that is written.
pub(super) const FORMAT: u32 = 1;
const COLUMNS: &str = "number,at,actor,name,action,event,subject,detail,from,request,change,place,chain\r\n";

/// Which part of the log, and how.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExportAsked {
    /// `jsonl`, which can be verified, `csv`, or `pack`, a zip file with what verifies it; `jsonl` when empty.
    pub format: String,
    /// Number of the first entry; the first of all when absent.
    pub from: Option<u64>,
    /// Number of the last entry; the last of all when absent.
    pub to: Option<u64>,
    /// Only entries that pass; without the proof then.
    #[serde(flatten)]
    pub narrowed: Narrowed,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Every entry with what proves it.
    Proof,
    /// Entries alone, one a line.
    Lines,
    /// Entries alone, for spreadsheets.
    Csv,
    /// Every entry with what proves it, in a pack with what checks it.
    Pack,
}

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Form::Csv => "csv",
            Form::Pack => "zip",
            Form::Proof | Form::Lines => "jsonl",
        }
    }
}

/// One line of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub(super) enum Line {
    Header(Header),
    Entry(Entry),
    Checkpoint(Checkpoint),
    End(End),
}

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) site: String,
    pub(super) tenant: TenantId,
    pub(super) generation: u64,
    /// Public key of checkpoints.
    pub(super) key: String,
    /// First and last entry.
    pub(super) from: u64,
    pub(super) to: u64,
    /// What the first entry stands on.
    pub(super) before: Chain,
    pub(super) at: Timestamp,
}

/// The totals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) checkpoints: u64,
    /// Chain of the last entry.
    pub(super) chain: Chain,
    /// BLAKE3 of all bytes before this line.
    pub(super) sum: Chain,
}

/// Begins an export; that it was made is an entry itself.
pub fn export(ctx: &Ctx<'_>, asked: ExportAsked) -> Result<Download> {
    let permit = ctx.require("audit.export")?;
    let sieve = Sieve::new(&asked.narrowed)?;
    let form = match asked.format.as_str() {
        "" | "jsonl" if sieve.is_empty() => Form::Proof,
        "" | "jsonl" => Form::Lines,
        "csv" => Form::Csv,
        "pack" if sieve.is_empty() => Form::Pack,
        "pack" => {
            return Err(Error::invalid("a pack holds every entry of its range")
                .hint("leave the conditions out, and say from which entry to which"));
        }
        _ => return Err(Error::invalid("the format is not known").hint("use `jsonl`, `csv` or `pack`")),
    };
    let signer = checkpoint::signer(ctx.site)?;
    let key = signer.public();
    let read = ctx.read()?;
    let head = chain::head(&read, ctx.tenant)?;
    let cut = retention::cut(&read, ctx.tenant)?;
    let first = cut.as_ref().map_or(1, |cut| cut.number + 1);
    let (from, to) = (asked.from.unwrap_or(first), asked.to.unwrap_or(head.number).min(head.number));
    if from < first || from > to {
        return Err(Error::invalid(format!("there are no entries from {from} to {to}"))
            .hint(format!("the log has the entries {first} to {}", head.number)));
    }
    let missing = |number: u64| Error::not_found("entry of the audit log", number);
    let find = |number| chain::numbered(&read, ctx.tenant, number);
    // What the first one stands on is vouched for by the checkpoint at the cut.
    let at_cut = cut.filter(|cut| cut.number + 1 == from);
    let (before, start) = match (from, &at_cut) {
        (1, _) => (Chain::genesis(ctx.tenant), (0, 0)),
        (_, Some(cut)) => (cut.chain, (cut.change, cut.place)),
        _ => {
            let entry = find(from - 1)?.ok_or_else(|| missing(from - 1))?;
            (entry.chain, (entry.change, entry.place))
        }
    };
    let header = Header {
        format: FORMAT,
        site: ctx.site.settings.name(),
        tenant: ctx.tenant,
        generation: generation(&read, ctx.tenant)?,
        key,
        from,
        to,
        before,
        at: ctx.now,
    };
    let last = read.number()?;
    drop(read);
    let mut beside = Vec::new();
    if form == Form::Pack {
        for capability in ctx.site.capabilities() {
            beside.extend(capability.evidence(ctx)?);
        }
    }
    permit.before_giving(|change| {
        let only: BTreeMap<_, _> =
            asked.narrowed.pairs().into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let format = form.ending();
        change.tell(
            "audit.exported",
            "log",
            json!({ "from": from, "to": to, "format": format, "only": only }),
        );
        Ok(())
    })?;
    let name = format!("audit-{}-{from}-{to}.{}", ctx.now.format("%Y%m%dT%H%M%SZ"), form.ending());
    let kind = match form {
        Form::Csv => "text/csv; charset=utf-8",
        Form::Pack => "application/zip",
        Form::Proof | Form::Lines => "application/jsonl",
    };
    let cut = at_cut.map(|cut| cut.checkpoint);
    let next = parts(ctx.site.store.clone(), header.clone(), (start, cut), last, form, sieve);
    let next = match form {
        Form::Pack => evidence::pack(header, ctx.actor.text(), signer, beside, next),
        _ => next,
    };
    Ok(Download { name, kind, next })
}

/// The parts of the file, a page of entries each.
fn parts(
    store: Store,
    header: Header,
    (start, mut cut): ((u64, u32), Option<Checkpoint>),
    last: u64,
    form: Form,
    sieve: Sieve,
) -> NextPart {
    let tenant = header.tenant;
    let mut hasher = blake3::Hasher::new();
    let mut begun = false;
    let mut after = (start != (0, 0)).then_some((tenant, start.0, start.1));
    let (mut number, mut chain) = (header.from - 1, header.before);
    let mut checkpoints = Checkpoints::new(&store, tenant, last);
    let (mut counted, mut ended) = (0, false);
    Box::new(move || {
        if ended {
            return Ok(None);
        }
        let mut out = Vec::new();
        let line = |out: &mut Vec<u8>, line: &Line| -> Result<()> {
            serde_json::to_writer(&mut *out, line)?;
            out.push(b'\n');
            Ok(())
        };
        if !begun {
            begun = true;
            match form {
                Form::Csv => out.extend_from_slice(COLUMNS.as_bytes()),
                Form::Proof | Form::Pack => line(&mut out, &Line::Header(header.clone()))?,
                Form::Lines => {}
            }
            if let Some(row) = cut.take().filter(|_| matches!(form, Form::Proof | Form::Pack)) {
                counted += 1;
                line(&mut out, &Line::Checkpoint(row))?;
            }
        }
        let read = store.read()?;
        let rows = match &after {
            Some(after) => read.prefix_after(&ENTRIES, &tenant, after, STEP)?,
            None => read.prefix(&ENTRIES, &tenant, STEP)?,
        };
        drop(read);
        if rows.is_empty() && number < header.to {
            return Err(Error::unavailable(format!("the audit log ends at entry {number}"))
                .hint("run `audit.verify`"));
        }
        for (key, entry) in rows.into_iter().take((header.to - number) as usize) {
            if entry.number != number + 1 {
                return Err(Error::unavailable(format!("entry {} of the audit log is missing", number + 1))
                    .hint("run `audit.verify`"));
            }
            (number, chain, after) = (entry.number, entry.chain, Some(key));
            if !sieve.passes(&entry) {
                continue;
            }
            if form == Form::Csv {
                csv_row(&mut out, &entry);
                continue;
            }
            line(&mut out, &Line::Entry(entry))?;
            if form == Form::Lines {
                continue;
            }
            while let Some(row) = checkpoints.upto(number)? {
                if row.number >= header.from {
                    counted += 1;
                    line(&mut out, &Line::Checkpoint(row))?;
                }
            }
        }
        hasher.update(&out);
        if number == header.to {
            ended = true;
            if matches!(form, Form::Proof | Form::Pack) {
                let sum = Chain(*hasher.finalize().as_bytes());
                let end = End { entries: number + 1 - header.from, checkpoints: counted, chain, sum };
                line(&mut out, &Line::End(end))?;
            }
        }
        Ok(Some(out))
    })
}

fn csv_row(out: &mut Vec<u8>, entry: &Entry) {
    let (number, at) = (entry.number.to_string(), entry.at.to_string());
    let (change, place, chain) = (entry.change.to_string(), entry.place.to_string(), entry.chain.to_string());
    let fields = [
        &number,
        &at,
        &entry.actor,
        &entry.name,
        &entry.action,
        &entry.event,
        &entry.subject,
        &entry.detail,
        &entry.from,
        &entry.request,
        &change,
        &place,
        &chain,
    ];
    for (n, field) in fields.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.push(b'"');
        // A spreadsheet would run what begins like a formula.
        if field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            out.push(b'\'');
        }
        out.extend_from_slice(field.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_sees_text_and_no_formula() {
        let mut out = Vec::new();
        csv_row(
            &mut out,
            &Entry {
                name: "=cmd|x".into(),
                detail: "{}".into(),
                subject: "a \"b\";\nc".into(),
                ..Entry::sample()
            },
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(",\"'=cmd|x\",") && text.contains(",\"a \"\"b\"\";\nc\","), "{text}");
        assert_eq!(text.trim_end().matches("\",\"").count(), COLUMNS.matches(',').count());
    }
}
