//! A look at everything that is stored.

use std::ops::Bound;

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
    for table in shared.state.view()?.tables()? {
        let mut rows = 0;
        let mut after: Option<Vec<u8>> = None;
        // In pages, each with a view of its own: none may live long.
        loop {
            let begin = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let mut page = 0;
            let mut last = None;
            shared.state.view()?.scan(&table, (begin, Bound::Unbounded), false, &mut |key, value| {
                if value.first() != Some(&value::CBOR) {
                    return Err(Error::unavailable(format!(
                        "the store is damaged: a value of `{table}` has no form"
                    )));
                }
                page += 1;
                last = Some(key.to_vec());
                Ok(page < FEED_CHANGES_MAX)
            })?;
            rows += page as u64;
            if page < FEED_CHANGES_MAX {
                break;
            }
            after = last;
        }
        if !table.starts_with('_') && !shared.options.tables.contains(&&*table) {
            verified.strangers.push(table.clone());
        }
        verified.tables.push((table, rows));
    }
    shared.journal.replay(shared.journal.first_number(), |_, _| {
        verified.records += 1;
        Ok(())
    })?;
    Ok(verified)
}
