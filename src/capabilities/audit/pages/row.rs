//! An entry as people read it: what it means, what changed, and where its subject is.

use super::super::model::{Detail, Entry};
use crate::kit::{Markup, Weight, event_kind};

/// Details that a line of the table has room for.
const DETAILS_MAX: usize = 12;

/// One line of the table, or the one entry of a page.
pub(super) struct Row {
    pub(super) entry: Entry,
    /// Where the words that were searched for stand; empty in the list.
    pub(super) snippet: Markup,
    /// What the event means; empty when an older version told it.
    pub(super) means: &'static str,
    /// The word for what it is about.
    pub(super) category: &'static str,
    /// `warn` or `crit` where a reader should mind; empty otherwise.
    pub(super) tone: &'static str,
    /// The page of the subject; empty when it has none.
    pub(super) href: String,
    pub(super) details: Vec<Detail>,
    /// How many details there is no room for.
    pub(super) more: usize,
}

impl Row {
    pub(super) fn new(entry: Entry, snippet: Markup) -> Row {
        let mut row = Row::whole(entry);
        row.more = row.details.len().saturating_sub(DETAILS_MAX);
        row.details.truncate(DETAILS_MAX);
        Row { snippet, ..row }
    }

    /// With every detail.
    pub(super) fn whole(entry: Entry) -> Row {
        let kind = event_kind(&entry.event);
        Row {
            snippet: Markup::default(),
            means: kind.map_or("", |kind| kind.means),
            category: kind.map_or("", |kind| kind.category.word()),
            tone: match kind.map(|kind| kind.weight) {
                Some(Weight::Alarm) => "crit",
                Some(Weight::Notable) => "warn",
                _ => "",
            },
            href: href(&entry.event, &entry.subject),
            details: entry.details(),
            more: 0,
            entry,
        }
    }
}

/// The page of a subject: that of the thing itself where there is one, else that of its kind.
fn href(event: &str, subject: &str) -> String {
    let one = |start: &str| {
        subject.strip_prefix(start).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    if one("agt_") {
        return format!("/agents/{subject}");
    }
    if one("tsk_") {
        return format!("/tasks/{subject}");
    }
    if one("apr_") {
        return format!("/approvals/{subject}");
    }
    if one("usr_") || one("key_") {
        return "/people".to_owned();
    }
    match event.split('.').next().unwrap_or_default() {
        noun @ ("backups" | "clients" | "settings" | "storage" | "secrets") => format!("/{noun}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_lead_to_their_pages() {
        for (event, subject, expected) in [
            ("agents.retired", "agt_00000000000000000000000002", "/agents/agt_00000000000000000000000002"),
            ("tasks.ended", "tsk_01", "/tasks/tsk_01"),
            ("approvals.asked", "apr_01", "/approvals/apr_01"),
            ("identity.changed", "usr_01", "/people"),
            ("backups.taken", "plant.muster", "/backups"),
            ("audit.verified", "log", ""),
            ("x.y", "agt_/../login", ""),
        ] {
            assert_eq!(href(event, subject), expected, "{event} {subject}");
        }
    }
}
