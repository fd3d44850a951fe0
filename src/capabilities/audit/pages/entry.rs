//! One entry, with everything that it says and what proves it.

use askama::Template;

use super::super::chain::Chain;
use super::super::model::Entry;
use super::super::ops::{self, AuditNumber};
use super::row::Row;
use crate::base::{Error, Kind, Result};
use crate::kit::{Ctx, Nothing, PageRequest, Reply, Shell, html};

#[derive(Template)]
#[template(path = "audit/entry.html")]
struct AuditEntryPage {
    shell: Shell,
    row: Row,
    /// The chain of the entry before; empty for the first.
    before: String,
    /// Whether the entry fits it.
    fits: bool,
    /// Whether a checkpoint vouches for it.
    signed: bool,
    /// Numbers of the entries beside it; 0 when there is none.
    earlier: u64,
    later: u64,
}

/// Shows it.
pub(super) fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let asked = request.params.get("number").map(String::as_str).unwrap_or_default();
    let number = asked.parse().map_err(|_| {
        Error::not_found("entry of the audit log", asked.chars().take(40).collect::<String>())
    })?;
    let find = |number| ops::find(ctx, AuditNumber { number });
    let entry = find(number)?;
    let before = match find(number.saturating_sub(1)) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == Kind::NotFound => None,
        Err(error) => return Err(error),
    };
    let status = ops::status(ctx, Nothing {})?;
    let stands_on = before.as_ref().map_or(Chain::genesis(ctx.tenant), |before| before.chain);
    html(&AuditEntryPage {
        shell: Shell::new(ctx, request, format!("Entry {number}"), "/audit"),
        fits: fits(&entry, before.is_some(), stands_on),
        signed: status.checkpoint.is_some_and(|checkpoint| checkpoint.number >= number),
        earlier: before.as_ref().map_or(0, |before| before.number),
        later: if number < status.head.number { number + 1 } else { 0 },
        before: before.map(|before| before.chain.to_string()).unwrap_or_default(),
        row: Row::whole(entry),
    })
}

fn fits(entry: &Entry, has_before: bool, stands_on: Chain) -> bool {
    // What stood before the first one that is kept is gone; the checkpoint at the cut proves it.
    entry.number > 1 && !has_before || stands_on.next(entry) == entry.chain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::proof;

    #[test]
    fn the_page_shows_what_was_and_what_is() {
        for theme in ["light", "dark"] {
            let page = AuditEntryPage {
                shell: Shell { theme, ..proof::shell("Entry 3", "/audit") },
                row: Row::whole(Entry::sample()),
                before: "ab".repeat(32),
                fits: true,
                signed: true,
                earlier: 2,
                later: 0,
            };
            let html = proof::page(&format!("audit-entry-{theme}"), &page);
            for part in ["<del>a</del>", "<ins>b</ins>", "/audit/2", "/agents/agt_00000000000000000000000002"]
            {
                assert!(html.contains(part), "{part}");
            }
        }
    }
}
