//! The full text of the log: fed to the index, and searched there.

use std::ops::Bound;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Entry;
use super::sieve::{Narrowed, Sieve};
use super::store::ENTRIES;
use crate::base::{Error, Result, TenantId, limits};
use crate::engine::clock::Clock;
use crate::engine::index::{Asked, Document, HITS_MAX, Index, OFFSET_MAX, Order};
use crate::engine::store::{Read, Store};
use crate::kit::Ctx;

/// Name of the feed, and kind of the documents.
const FEED: &str = "audit";
/// Rows of the table that are read at once.
const ROWS_AT_ONCE: usize = 2_000;
/// Changes that are read at once.
const CHANGES_AT_ONCE: usize = 1_000;
/// Pages of either that one step of the job takes.
const PAGES_PER_STEP: usize = 10;

/// How far the feed is. A scan of the whole table notes the change before it began, and goes on from there.
#[derive(Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "lowercase")]
enum Cursor {
    /// The table is scanned, up to this key.
    Table { since: u64, after: Option<(TenantId, u64, u32)> },
    /// All changes up to this one are in.
    Change { change: u64 },
}

impl Entry {
    /// What is searched through, beside the event.
    fn text(&self) -> String {
        let fields = self.fields().into_iter().map(|(key, value)| format!("{key} {value}"));
        let fields = fields.collect::<Vec<_>>().join(" · ");
        [&self.name, &self.action, &self.subject, &fields, &self.from, &self.actor, &self.request]
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" · ")
    }

    fn document(&self, tenant: TenantId) -> Document {
        let (title, body) = (self.event.clone(), self.text());
        Document { kind: FEED, id: self.cursor(), title, body, tenant, at: self.at }
    }
}

/// Takes the feed one page further; says whether there may be more.
fn feed(store: &Store, index: &Index) -> Result<bool> {
    let kept = index.cursor(FEED)?.and_then(|text| serde_json::from_str(&text).ok());
    let last = store.last_change();
    let (documents, cursor, more) = match kept {
        Some(Cursor::Change { change }) if change <= last => {
            let changes = store.changes(change, CHANGES_AT_ONCE)?;
            if changes.first().is_some_and(|first| first.number > change + 1) {
                // The journal no longer has what is lacking.
                index.clear();
                return Ok(true);
            }
            let Some(reached) = changes.last().map(|change| change.number) else {
                index.commit_due()?;
                return Ok(false);
            };
            let (mut documents, mut gone) = (Vec::new(), Vec::new());
            for op in changes.iter().flat_map(|change| change.ops()) {
                match op.of(&ENTRIES).transpose()? {
                    Some(((tenant, ..), Some(entry))) => documents.push(entry.document(tenant)),
                    Some(((tenant, change, place), None)) => gone.push((tenant, format!("{change}-{place}"))),
                    None => {}
                }
            }
            if !gone.is_empty() {
                index.remove(FEED, &gone)?;
            }
            (documents, Cursor::Change { change: reached }, changes.len() == CHANGES_AT_ONCE)
        }
        // The index knows more changes than the store: it was made of another history.
        Some(Cursor::Change { .. }) => {
            index.clear();
            return Ok(true);
        }
        other => {
            let (since, after) = match other {
                Some(Cursor::Table { since, after }) if since <= last => (since, after),
                _ => (last, None),
            };
            let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = store.read()?.range(&ENTRIES, (begin, Bound::Unbounded), ROWS_AT_ONCE)?;
            let cursor = match rows.last() {
                Some((key, _)) if rows.len() == ROWS_AT_ONCE => Cursor::Table { since, after: Some(*key) },
                _ => Cursor::Change { change: since },
            };
            let documents = rows.iter().map(|((tenant, ..), entry)| entry.document(*tenant)).collect();
            (documents, cursor, true)
        }
    };
    index.put(FEED, &documents, &serde_json::to_string(&cursor)?)?;
    Ok(more)
}

/// The job: some pages further.
pub(super) fn step(ctx: &Ctx<'_>) -> Result<()> {
    for _ in 0..PAGES_PER_STEP {
        if ctx.site.is_stopping() || !feed(&ctx.site.store, &ctx.site.index)? {
            break;
        }
    }
    Ok(())
}

/// An index that was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Documents in it.
    pub documents: u64,
    /// Entries of the log; as many when all is well and nobody writes meanwhile.
    pub rows: u64,
}

/// Makes the index of a store in a folder anew, whatever was there: of a stopped server, or of a restored copy.
pub fn rebuild(store: &Store, folder: &Path, clock: &Clock) -> Result<Rebuilt> {
    let index = Index::new(folder, clock);
    index.clear();
    while feed(store, &index)? {}
    index.commit()?;
    let (mut rows, mut begin) = (0, Bound::Unbounded);
    loop {
        let page = store.read()?.range(&ENTRIES, (begin, Bound::Unbounded), ROWS_AT_ONCE)?;
        rows += page.len() as u64;
        match page.last() {
            Some((key, _)) if page.len() == ROWS_AT_ONCE => begin = Bound::Excluded(*key),
            _ => return Ok(Rebuilt { documents: index.documents(), rows }),
        }
    }
}

/// What is searched for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SearchAsked {
    /// Words and `"phrases"` that must all occur.
    pub words: String,
    /// What else is asked of them.
    #[serde(flatten)]
    pub narrowed: Narrowed,
    /// `newest` or `best`; `newest` when empty.
    pub order: String,
    /// Hits to pass over, from `next` of the page before.
    pub after: Option<String>,
    /// Hits of the page.
    pub limit: Option<usize>,
}

/// An entry that was found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// Where the words stand, as HTML with `<mark>`; everything else is escaped.
    pub snippet: String,
}

/// A page of what was found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FoundPage {
    /// The entries.
    pub items: Vec<Found>,
    /// All that match the words, whatever else is asked.
    pub total: usize,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Searches the full text of the log.
pub fn search(ctx: &Ctx<'_>, asked: SearchAsked) -> Result<FoundPage> {
    ctx.require("audit.read")?;
    let order = match asked.order.as_str() {
        "" | "newest" => Order::Newest,
        "best" => Order::Best,
        _ => return Err(Error::invalid("the order is not known").hint("use `newest` or `best`")),
    };
    let offset = match asked.after.as_deref() {
        None | Some("") => 0,
        Some(text) => text.parse().ok().filter(|n| *n <= OFFSET_MAX).ok_or_else(|| {
            Error::invalid("the cursor is not valid").hint("use `next` of the page before, or narrower words")
        })?,
    };
    let limit = asked.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, HITS_MAX);
    let sieve = Sieve::new(&asked.narrowed)?;
    let (words, tenant) = (asked.words.as_str(), Some(ctx.tenant));
    let (mut items, mut reached) = (Vec::new(), offset);
    loop {
        // Where conditions leave few of the hits, more are looked at for one page, up to what paging reaches.
        let at_once = if sieve.is_empty() { limit } else { HITS_MAX };
        let asked = Asked { words, kinds: &[FEED], tenant, order, limit: at_once, offset: reached };
        let hits = ctx.site.index.search(&asked)?;
        let read = ctx.read()?;
        for hit in &hits.items {
            if items.len() == limit {
                break;
            }
            reached += 1;
            // What the index knows and the table does not is on its way out of it.
            if let Some(key) = place(&hit.id)
                && let Some(entry) = read.get(&ENTRIES, &(ctx.tenant, key.0, key.1))?
                && sieve.passes(&entry)
            {
                items.push(Found { snippet: hits.marker.mark(&entry.text()), entry });
            }
        }
        let more = reached < hits.total && reached <= OFFSET_MAX && !hits.items.is_empty();
        if items.len() == limit || !more {
            let next = more.then(|| reached.to_string());
            return Ok(FoundPage { items, total: hits.total, next });
        }
    }
}

/// The change and the place in it that an identifier of the index names.
fn place(id: &str) -> Option<(u64, u32)> {
    let (change, place) = id.split_once('-')?;
    Some((change.parse().ok()?, place.parse().ok()?))
}
