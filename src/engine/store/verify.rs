//! A look at everything that is stored, while the store goes on.

use std::ops::Bound;

use serde::de::IgnoredAny;

use super::change::Change;
use super::state::State;
use super::writer::Shared;
use super::{FEED_CHANGES_MAX, value};
use crate::base::{Error, Result};

/// What `verify` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Each table with its number of rows.
    pub tables: Vec<(String, u64)>,
    /// Tables that the program does not name: left over, or from a newer one.
    pub strangers: Vec<String>,
    /// Records of the journal that were read and fit their chain.
    pub records: u64,
}

pub(super) fn verify(shared: &Shared) -> Result<Verified> {
    let mut verified = Verified::default();
    shared.catch_up();
    for table in shared.state.view()?.tables()? {
        let rows = rows(&shared.state, &table, &mut |key, value| {
            readable(value).map_err(|e| {
                Error::unavailable(format!(
                    "the store is damaged: in `{table}` the value of key {} cannot be read: {}",
                    hex(key),
                    e.detail()
                ))
                .hint("stop the server and run `muster verify`")
            })
        })?;
        if is_stranger(&table, &shared.options.tables) {
            verified.strangers.push(table.clone());
        }
        verified.tables.push((table, rows));
    }
    let first = shared.journal.first_number();
    let _running = shared.holds.run(first.saturating_sub(1));
    shared.journal.replay(first.max(shared.journal.first_number()), |number, payload| {
        Change::decode(number, payload)?;
        verified.records += 1;
        Ok(())
    })?;
    Ok(verified)
}

/// Takes a row.
pub(super) type EachRow<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// Hands all rows of a table to `each`, in pages with a view of their own: none may live long.
pub(super) fn rows(state: &State, table: &str, each: EachRow<'_>) -> Result<u64> {
    let mut rows = 0;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let begin = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = 0;
        let mut last = Vec::new();
        state.view()?.scan(table, (begin, Bound::Unbounded), false, &mut |key, value| {
            each(key, value)?;
            page += 1;
            last.clear();
            last.extend_from_slice(key);
            Ok(page < FEED_CHANGES_MAX)
        })?;
        rows += page as u64;
        if page < FEED_CHANGES_MAX {
            return Ok(rows);
        }
        after = Some(last);
    }
}

/// Whether a value has a known form and is whole in it.
pub(super) fn readable(bytes: &[u8]) -> Result<()> {
    value::decode::<IgnoredAny>(bytes).map(drop)
}

/// Whether the program does not name a table. Those that begin with `_` are the store's own.
pub(super) fn is_stranger(table: &str, known: &[&str]) -> bool {
    !table.starts_with('_') && !known.contains(&table)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
