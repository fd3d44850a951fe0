//! Reading the audit log.

use schemars::JsonSchema;
use serde::Deserialize;

use super::chain::{self, STEP};
use super::model::Entry;
use super::store::ENTRIES;
use crate::base::{Error, Page, Result, Selector, limits};
use crate::engine::store::Read;
use crate::kit::Ctx;

/// Entries that one call looks at; a filter that finds less than a page in them gives a short page and a cursor.
const ENTRIES_LOOKED_AT_MAX: usize = 20_000;
/// Which entry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct AuditNumber {
    /// Its number in the log.
    pub number: u64,
}

/// Shows one entry.
pub fn find(ctx: &Ctx<'_>, asked: AuditNumber) -> Result<Entry> {
    ctx.require("audit.read")?;
    chain::numbered(&ctx.read()?, ctx.tenant, asked.number)?
        .ok_or_else(|| Error::not_found("entry of the audit log", asked.number))
}

/// Which entries.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct AuditAsked {
    /// `actor:`, `action:`, `event:`, `subject:`, `from:`, `day:`, `change>` and words.
    #[serde(default)]
    pub filter: String,
    /// Cursor of the page before.
    #[serde(default)]
    pub after: Option<String>,
    /// Entries of the page.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Lists what was done, newest first.
pub fn list(ctx: &Ctx<'_>, asked: AuditAsked) -> Result<Page<Entry>> {
    ctx.require("audit.read")?;
    let selector = Selector::parse(&asked.filter)?;
    let limit = asked.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let (mut change, mut place) = match asked.after.as_deref().filter(|after| !after.is_empty()) {
        Some(after) => cursor(after)?,
        None => (u64::MAX, u32::MAX),
    };
    let mut items: Vec<Entry> = Vec::new();
    for _ in 0..ENTRIES_LOOKED_AT_MAX / STEP {
        // A fresh snapshot each time: a long scan must not hold the store's space.
        let rows = ctx.read()?.prefix_before(&ENTRIES, &ctx.tenant, &(ctx.tenant, change, place), STEP)?;
        let last = rows.len() < STEP;
        for (key, entry) in rows {
            (change, place) = (key.1, key.2);
            if selector.matches(&entry) {
                if items.len() == limit {
                    let next = items.last().map(Entry::cursor);
                    return Ok(Page { items, next });
                }
                items.push(entry);
            }
        }
        if last {
            return Ok(Page { items, next: None });
        }
    }
    Ok(Page { items, next: Some(format!("{change}-{place}")) })
}

fn cursor(text: &str) -> Result<(u64, u32)> {
    text.split_once('-')
        .and_then(|(change, place)| Some((change.parse().ok()?, place.parse().ok()?)))
        .ok_or_else(|| Error::invalid("the cursor is not valid").hint("use `next` of the page before"))
}
