//! How long entries are kept, and what must stay.

use askama::Template;

use super::super::holds::{self, Hold, HoldAsked, LiftAsked};
use super::super::ops;
use super::super::retention::{self, DAYS_MAX, DAYS_MIN, Retention};
use super::super::sieve::Narrowed;
use crate::base::{Error, Result};
use crate::kit::{Category, Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, html, local, told};

const PATH: &str = "/audit/retention";

/// Declares them.
pub(super) fn register(pages: &mut Pages) {
    pages.get(PATH, show);
    pages.post(PATH, retain);
    pages.post("/audit/holds", hold);
    pages.post("/audit/holds/{number}/lift", lift);
}

/// A hold as people read it.
struct Line {
    hold: Hold,
    /// What it covers, in words.
    covers: String,
    at: Markup,
    lifted: Markup,
}

impl Line {
    fn new(hold: Hold) -> Line {
        let only: Vec<String> = hold
            .only
            .pairs()
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        Line {
            covers: if only.is_empty() { "everything".to_owned() } else { only.join(", ") },
            at: Markup::at(Some(hold.at)),
            lifted: Markup::at(hold.lifted.as_ref().map(|lifted| lifted.at)),
            hold,
        }
    }
}

#[derive(Template)]
#[template(path = "audit/keeping.html")]
struct AuditKeepingPage {
    shell: Shell,
    kept: String,
    days: String,
    days_min: u32,
    days_max: u32,
    /// What is gone, in words; empty when nothing is.
    gone: String,
    held: Vec<Line>,
    lifted: Vec<Line>,
    categories: [&'static str; 5],
    may_retain: bool,
    may_hold: bool,
    may_lift: bool,
}

fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let status = ops::status(ctx, Nothing {})?;
    let lines = holds::holds(ctx, Nothing {})?.items.into_iter().map(Line::new);
    let (held, lifted) = lines.partition(|line| line.hold.lifted.is_none());
    html(&AuditKeepingPage {
        shell: Shell::new(ctx, request, "How long the audit trail is kept", "/audit"),
        kept: status.retention.text(),
        days: status.retention.days.map(|days| days.to_string()).unwrap_or_default(),
        days_min: DAYS_MIN,
        days_max: DAYS_MAX,
        gone: status.cut.map(|cut| gone(&cut)).unwrap_or_default(),
        held,
        lifted,
        categories: Category::ALL.map(Category::word),
        may_retain: ctx.actor.may("audit.retain"),
        may_hold: ctx.actor.may("audit.hold"),
        may_lift: ctx.actor.may("audit.lift"),
    })
}

fn gone(cut: &retention::Cut) -> String {
    let at = local(cut.at, "%Y-%m-%d %H:%M %Z");
    format!("entries 1 to {} were removed, the last of them on {at}; the site signed that", cut.number)
}

fn retain(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let retain = || {
        let days = match request.field("days") {
            "" => None,
            text => Some(text.parse().map_err(|_| Error::invalid("this is no number of days"))?),
        };
        retention::retain(ctx, Retention { days })
    };
    told(PATH, retain().map(|kept| format!("Entries are kept {}", kept.text())))
}

fn hold(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let input = HoldAsked {
        label: request.field("label").to_owned(),
        reason: request.field("reason").to_owned(),
        only: super::in_utc(&Narrowed::read(|name| request.field(name))),
    };
    told(PATH, holds::hold(ctx, input).map(|hold| format!("Hold {} is placed", hold.number)))
}

fn lift(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let number = request.params.get("number").and_then(|text| text.parse().ok());
    let number = number.ok_or_else(|| Error::not_found("hold", "that"))?;
    let input = LiftAsked { number, reason: request.field("reason").to_owned() };
    told(PATH, holds::lift(ctx, input).map(|hold| format!("Hold {} is lifted", hold.number)))
}

#[cfg(test)]
mod tests {
    use super::super::super::holds::Lifted;
    use super::*;
    use crate::base::Timestamp;
    use crate::kit::proof;

    #[test]
    fn the_page_in_its_states_and_both_themes() {
        let at = Timestamp::from_milliseconds(1_790_000_000_000);
        let hold = |number, lifted: Option<Lifted>| Hold {
            number,
            label: "File 12/2026".into(),
            reason: "the insurer asks".into(),
            only: Narrowed { subject: "agt_7".into(), ..Narrowed::default() },
            by: "usr_1".into(),
            at,
            lifted,
        };
        let ended = Lifted { by: "usr_2".into(), at, reason: "settled".into() };
        for theme in ["light", "dark"] {
            for may in [true, false] {
                let page = AuditKeepingPage {
                    shell: Shell { theme, ..proof::shell("How long the audit trail is kept", "/audit") },
                    kept: "400 days".into(),
                    days: "400".into(),
                    days_min: DAYS_MIN,
                    days_max: DAYS_MAX,
                    gone: "entries 1 to 12 were removed".into(),
                    held: vec![Line::new(hold(2, None))],
                    lifted: vec![Line::new(hold(1, Some(ended.clone())))],
                    categories: Category::ALL.map(Category::word),
                    may_retain: may,
                    may_hold: may,
                    may_lift: may,
                };
                let html = proof::page(&format!("audit-keeping-{theme}-{may}"), &page);
                for part in ["400 days", "File 12/2026", "subject agt_7", "settled", "entries 1 to 12"] {
                    assert!(html.contains(part), "{part}");
                }
                assert_eq!(html.contains("action=\"/audit/holds/2/lift\""), may);
            }
        }
    }
}
