//! The page of the audit log: what was done, and what proves it.

mod entry;
mod events;
mod keeping;
mod row;

use askama::Template;

use super::checkpoint::checkpoint;
use super::export::{self, ExportAsked};
use super::ops::{self, AuditAsked, Status};
use super::sieve::Narrowed;
use super::verify::verify;
use super::witness::{self, Contradiction};
use super::words::{self, SearchAsked};
use crate::base::{Error, Kind, Page, Result, Timestamp};
use crate::kit::{
    Category, Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, Weight, Zone, query, told,
};
use row::Row;

/// Contradictions that the banner names.
const NAMED_MAX: usize = 5;

/// Declares them.
pub(super) fn register(pages: &mut Pages) {
    pages.get("/audit", list);
    pages.get("/help/events", events::page);
    keeping::register(pages);
    pages.get("/audit/{number}", entry::show);
    pages.post("/audit/verify", verify_now);
    pages.post("/audit/checkpoint", sign_now);
    pages.post("/audit/settle", settle);
    pages.post("/audit/export", download);
    pages.costs(25);
}

/// What proves the log, as people read it.
#[derive(Default)]
struct Proof {
    entries: String,
    /// `ok`, `warn`, `crit` or empty.
    tone: &'static str,
    word: &'static str,
    /// What the last look found.
    found: String,
    verified: Markup,
    /// The newest checkpoint: number, generation, when.
    signed: String,
    signed_at: Markup,
    holders: String,
    /// The line to write down.
    line: String,
    key: String,
    searchable: bool,
    /// How long entries are kept, and which are gone.
    kept: String,
}

impl Proof {
    fn of(status: &Status, now: Timestamp) -> Proof {
        let (tone, word, found) = match &status.verified {
            None => ("", "not read again yet", String::new()),
            Some(found) => match &found.wrong {
                Some(wrong) => ("crit", "not whole", wrong.to_string()),
                None => (
                    "ok",
                    "whole",
                    format!("{} entries and {} checkpoints fit", found.entries, found.checkpoints),
                ),
            },
        };
        let mut proof = Proof {
            entries: status.head.number.to_string(),
            tone,
            word,
            found,
            verified: Markup::ago(status.verified.as_ref().map(|found| found.at), now),
            searchable: status.searchable,
            kept: match &status.cut {
                None => status.retention.text(),
                Some(cut) => format!("{}; entries up to {} are gone", status.retention.text(), cut.number),
            },
            ..Proof::default()
        };
        if let Some(signed) = &status.checkpoint {
            proof.signed = format!("entry {}, generation {}", signed.number, signed.generation);
            proof.signed_at = Markup::ago(Some(signed.at), now);
            proof.holders = match status.holders {
                1 => "1 agent".to_owned(),
                count => format!("{count} agents"),
            };
            // It is written down and compared by others, so it stays UTC.
            let at = signed.at.format("%Y-%m-%d %H:%M UTC");
            proof.line = format!("{} · {at} · {} · {}", signed.site, proof.signed, status.fingerprint);
            proof.key = signed.key.clone();
        }
        proof
    }
}

#[derive(Template)]
#[template(path = "audit/list.html")]
struct AuditListPage {
    shell: Shell,
    rows: Vec<Row>,
    asked: Narrowed,
    words: String,
    best: bool,
    /// What can be chosen from, each with whether it is.
    categories: Vec<(&'static str, bool)>,
    weights: Vec<(&'static str, bool)>,
    events: Vec<&'static str>,
    /// Conditions beside the words.
    conditions: usize,
    /// How many match the words.
    total: String,
    error: String,
    /// Whether this is not the first page.
    later: bool,
    /// Query string of this list without its cursor, and of the next page; empty on the last one.
    first: String,
    next: String,
    proof: Proof,
    contradictions: Vec<Contradiction>,
    more_contradictions: usize,
    may_change: bool,
    may_export: bool,
}

/// What the person asked for: rows, how many there are, and the cursor of the next page.
struct Answer {
    status: u16,
    rows: Vec<Row>,
    total: String,
    next: String,
    error: String,
}

impl Answer {
    fn from(answer: Result<Answer>) -> Result<Answer> {
        let say = |error: &Error| match error.hint_text() {
            Some(hint) => format!("{}; {hint}", error.message()),
            None => error.message().to_owned(),
        };
        let empty = |status, error| Answer {
            status,
            rows: Vec::new(),
            total: String::new(),
            next: String::new(),
            error,
        };
        match answer {
            Err(error) if error.kind() == Kind::Invalid => Ok(empty(422, say(&error))),
            Err(error) if error.kind() == Kind::Unavailable => Ok(empty(200, say(&error))),
            answer => answer,
        }
    }
}

fn listed(ctx: &Ctx<'_>, narrowed: Narrowed, after: Option<String>) -> Result<Answer> {
    let Page { items, next } = ops::list(ctx, AuditAsked { narrowed, after, limit: None })?;
    let rows = items.into_iter().map(|entry| Row::new(entry, Markup::default())).collect();
    Ok(Answer {
        status: 200,
        rows,
        total: String::new(),
        next: next.unwrap_or_default(),
        error: String::new(),
    })
}

fn searched(ctx: &Ctx<'_>, asked: SearchAsked) -> Result<Answer> {
    // How many hold the words says little where some of them are left out.
    let alone = asked.narrowed.is_empty();
    let page = words::search(ctx, asked)?;
    let rows = page.items.into_iter();
    Ok(Answer {
        status: 200,
        rows: rows.map(|found| Row::new(found.entry, Markup(found.snippet))).collect(),
        total: if alone { page.total.to_string() } else { String::new() },
        next: page.next.unwrap_or_default(),
        error: String::new(),
    })
}

/// The conditions of a form, whose days and instants are in the zone of who looks, as operations read them: in UTC.
fn in_utc(asked: &Narrowed) -> Narrowed {
    let zone = Zone::on();
    let of = |text: &str, of_a_day: &str| {
        let text = text.trim();
        let whole = if text.len() == 10 { format!("{text}T{of_a_day}") } else { text.replace(' ', "T") };
        zone.read(&whole).map_or_else(|| text.to_owned(), |at| at.to_string())
    };
    let (since, until) = (of(&asked.since, "00:00"), of(&asked.until, "23:59:59.999"));
    Narrowed { since, until, ..asked.clone() }
}

/// Lists what was done, or what was found.
pub(super) fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let narrowed = Narrowed::read(|name| request.asked(name));
    let (words, order) = (request.asked("words"), request.asked("order"));
    let after = Some(request.asked("after").to_owned()).filter(|after| !after.is_empty());
    let later = after.is_some();
    let answer = match words.is_empty() {
        true => listed(ctx, in_utc(&narrowed), after),
        false => searched(
            ctx,
            SearchAsked {
                words: words.to_owned(),
                narrowed: in_utc(&narrowed),
                order: order.to_owned(),
                after,
                limit: None,
            },
        ),
    };
    let answer = Answer::from(answer)?;
    let status = ops::status(ctx, Nothing {})?;
    let mut contradictions = witness::contradictions(ctx, Nothing {})?.items;
    contradictions.retain(|row| !row.explained);
    let named = |after: &str| {
        let mut pairs = narrowed.pairs().to_vec();
        pairs.extend([("words", words), ("order", order), ("after", after)]);
        query(&pairs)
    };
    let (first, next) = (named(""), if answer.next.is_empty() { String::new() } else { named(&answer.next) });
    let page = AuditListPage {
        shell: Shell::new(ctx, request, "Audit trail", "/audit"),
        rows: answer.rows,
        categories: Category::ALL.map(|one| (one.word(), one.word() == narrowed.category)).into(),
        weights: Weight::ALL.map(|one| (one.word(), one.word() == narrowed.weight)).into(),
        events: super::catalogue::kinds(ctx).into_iter().map(|kind| kind.name).collect(),
        conditions: narrowed.pairs().iter().filter(|(_, value)| !value.is_empty()).count(),
        asked: narrowed,
        words: words.to_owned(),
        best: order == "best",
        total: answer.total,
        error: answer.error,
        later,
        first,
        next,
        proof: Proof::of(&status, ctx.now),
        more_contradictions: contradictions.len().saturating_sub(NAMED_MAX),
        contradictions: contradictions.into_iter().take(NAMED_MAX).collect(),
        may_change: ctx.actor.may("audit.verify"),
        may_export: ctx.actor.may("audit.export"),
    };
    Ok(Reply::Html(answer.status, page.render()?))
}

fn verify_now(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    let outcome = verify(ctx, Nothing {}).and_then(|found| match found.wrong {
        Some(wrong) => Err(Error::conflict(format!("the log is not whole: {wrong}"))),
        None => Ok(format!(
            "The log is whole: {} entries and {} checkpoints fit",
            found.entries, found.checkpoints
        )),
    });
    told("/audit", outcome)
}

fn sign_now(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    let outcome = checkpoint(ctx, Nothing {});
    told("/audit", outcome.map(|made| format!("Signed up to entry {}", made.number)))
}

fn settle(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    told(
        "/audit",
        witness::settle(ctx, Nothing {}).map(|()| "The log keeps that you have looked into it".to_owned()),
    )
}

fn download(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let number = |name: &str| match request.field(name) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Error::invalid(format!(
                "`{}` is no number of an entry",
                text.chars().take(40).collect::<String>()
            ))
        }),
    };
    let format = request.field("format").to_owned();
    let narrowed = in_utc(&Narrowed::read(|name| request.field(name)));
    export::export(ctx, ExportAsked { format, from: number("from")?, to: number("to")?, narrowed })
        .map(Reply::File)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::AgentId;
    use crate::capabilities::audit::model::Entry;
    use crate::capabilities::audit::verify::{Verification, Wrong};
    use crate::kit::proof;
    use crate::wire::Checkpoint;

    #[test]
    fn days_of_a_form_are_those_of_who_looks() {
        let asked = |since: &str, until: &str| {
            let asked = Narrowed { since: since.into(), until: until.into(), ..Narrowed::default() };
            let read = in_utc(&asked);
            (read.since, read.until)
        };
        let day = ("2026-07-01", "2026-07-01");
        let utc = ("2026-07-01T00:00:00.000Z".to_owned(), "2026-07-01T23:59:59.999Z".to_owned());
        assert_eq!(asked(day.0, day.1), utc);
        Zone::named("Europe/Paris").during(|| {
            let paris = ("2026-06-30T22:00:00.000Z".to_owned(), "2026-07-01T21:59:59.999Z".to_owned());
            assert_eq!(asked(day.0, day.1), paris);
            assert_eq!(asked("2026-07-01 12:30", "").0, "2026-07-01T10:30:00.000Z");
            // What has a zone of its own, and what is no instant, is as it was.
            let own = ("2026-07-01T12:30:00Z".to_owned(), "yesterday".to_owned());
            assert_eq!(asked(&own.0, &own.1), own);
        });
    }

    fn page(shell: Shell) -> AuditListPage {
        AuditListPage {
            shell,
            rows: vec![Row::new(Entry::sample(), Markup::default())],
            asked: Narrowed::default(),
            categories: vec![("access", false), ("trust", true)],
            weights: vec![("alarm", false)],
            events: vec!["agents.retired"],
            conditions: 0,
            words: String::new(),
            best: false,
            total: String::new(),
            error: String::new(),
            later: false,
            first: String::new(),
            next: "after=7-0".into(),
            proof: Proof::default(),
            contradictions: Vec::new(),
            more_contradictions: 0,
            may_change: true,
            may_export: true,
        }
    }

    fn status(wrong: Option<Wrong>) -> Status {
        let now = Timestamp::from_milliseconds(1_790_000_000_000);
        Status {
            head: crate::capabilities::audit::Head::empty(crate::base::TenantId::from_bits(1)),
            checkpoint: Some(Checkpoint {
                site: "Plant 03 · Lyon".into(),
                generation: 2,
                number: 4_711,
                at: now,
                key: "3d".repeat(32),
                ..Checkpoint::default()
            }),
            fingerprint: "9F3A-1122-3344-5566-7788".into(),
            holders: 187,
            verified: Some(Verification { at: now, entries: 4_711, checkpoints: 96, wrong }),
            contradictions: 0,
            searchable: true,
            retention: Default::default(),
            cut: None,
        }
    }

    #[test]
    fn the_page_in_its_states_and_both_themes() {
        let now = Timestamp::from_milliseconds(1_790_000_100_000);
        for theme in ["light", "dark"] {
            let shell = || Shell { theme, ..proof::shell("Audit trail", "/audit") };
            let good = AuditListPage { proof: Proof::of(&status(None), now), ..page(shell()) };
            let html = proof::page(&format!("audit-{theme}"), &good);
            for part in [
                "9F3A-1122",
                "187 agents",
                ">whole<",
                "Download",
                "/audit/verify",
                "entry 4711, generation 2",
            ] {
                assert!(html.contains(part), "{part}");
            }
            let wrong = Wrong { number: 12, what: "it is missing; the next one has number 13".into() };
            let contradiction = Contradiction {
                agent: AgentId::from_bits(7),
                at: now,
                reason: "the log ends before the entry that it speaks of".into(),
                explained: false,
                theirs: Checkpoint { number: 99, ..Checkpoint::default() },
                our_number: 40,
                our_chain: String::new(),
            };
            let bad = AuditListPage {
                proof: Proof::of(&status(Some(wrong)), now),
                contradictions: vec![contradiction],
                more_contradictions: 3,
                ..page(shell())
            };
            let html = proof::page(&format!("audit-contradicted-{theme}"), &bad);
            for part in
                ["role=\"alert\"", "entry 12: it is missing", "entry 99", "and 3 more", "/audit/settle"]
            {
                assert!(html.contains(part), "{part}");
            }
            let found = AuditListPage {
                rows: vec![Row::new(Entry::sample(), Markup("a <mark>b</mark> &lt;c".into()))],
                words: "b \"x".into(),
                best: true,
                total: "1".into(),
                may_change: false,
                may_export: false,
                asked: Narrowed { subject: "agt_\"".into(), ..Narrowed::default() },
                conditions: 1,
                proof: Proof { searchable: true, word: "not read again yet", ..Proof::default() },
                ..page(shell())
            };
            let html = proof::page(&format!("audit-found-{theme}"), &found);
            assert!(html.contains("a <mark>b</mark> &lt;c") && html.contains("1 found"));
            assert!(!html.contains("method=\"post\" action=\"/audit"), "a reader has no forms that write");
        }
    }
}
