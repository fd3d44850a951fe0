//! The page of the audit log.

use askama::Template;

use super::model::Entry;
use super::ops::{self, AuditAsked};
use crate::base::{Kind, Page, Result};
use crate::kit::{Ctx, PageRequest, Reply, Shell};

#[derive(Template)]
#[template(path = "audit/list.html")]
struct AuditListPage {
    shell: Shell,
    entries: Vec<Entry>,
    filter: String,
    error: String,
    /// Whether this is not the first page.
    later: bool,
    /// Cursor of the next page; empty on the last one.
    next: String,
}

/// Lists what was done.
pub(super) fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let after = request.asked("after");
    let asked = AuditAsked {
        filter: request.asked("filter").to_owned(),
        after: (!after.is_empty()).then(|| after.to_owned()),
        limit: None,
    };
    let filter = asked.filter.clone();
    let (status, page, error) = match ops::list(ctx, asked) {
        Ok(page) => (200, page, String::new()),
        Err(e) if e.kind() == Kind::Invalid => {
            let error = format!("{}; {}", e.message(), e.hint_text().unwrap_or_default());
            (422, Page { items: Vec::new(), next: None }, error)
        }
        Err(e) => return Err(e),
    };
    let page = AuditListPage {
        shell: Shell::new(ctx, request, "Audit trail", "/audit"),
        entries: page.items,
        filter,
        error,
        later: !after.is_empty(),
        next: page.next.unwrap_or_default(),
    };
    Ok(Reply::Html(status, page.render()?))
}
