//! The page of storage.

use askama::Template;

use super::model::Level;
use super::ops::{self, LimitsChosen, StorageView, Use};
use super::verify::{self, Check, Running};
use crate::base::{Error, Result};
use crate::capabilities::identity;
use crate::kit::chart::{self, Unit};
use crate::kit::{Ctx, Finding, Markup, Nothing, PageRequest, Pages, Reply, Shell, html, part, told};

/// Days of telemetry that the page lists.
const DAYS_SHOWN: usize = 31;
/// Earlier verifications that the page lists.
const CHECKS_SHOWN: usize = 10;

/// Routes and live parts.
pub(super) fn register(pages: &mut Pages) {
    pages.get("/storage", show);
    pages.post("/storage", change);
    pages.post("/storage/verify", verify_all);
    pages.live("storage", live);
}

/// One thing that takes space.
pub(super) struct UseRow {
    what: &'static str,
    about: &'static str,
    bytes: String,
    meter: Markup,
}

/// The telemetry of one day.
pub(super) struct DayRow {
    day: String,
    metrics: String,
    logs: String,
}

/// What uses the disk.
#[derive(Template)]
#[template(path = "storage/_use.html")]
pub(super) struct UsePart {
    uses: Vec<UseRow>,
    ours: String,
    free: String,
    disk: String,
    used: Markup,
    tone: &'static str,
    word: &'static str,
    meaning: &'static str,
    growth: String,
    left: String,
    early: String,
    shedding: String,
    critical: String,
}

/// One verification.
pub(super) struct CheckRow {
    at: Markup,
    took: String,
    by: String,
    glyph: Markup,
    tone: &'static str,
    outcome: String,
    things: u64,
}

/// The last verification, and the one that runs.
#[derive(Template)]
#[template(path = "storage/_check.html")]
pub(super) struct CheckPart {
    running: Option<(String, u64)>,
    last: Option<CheckRow>,
    parts: Vec<(String, u64, u64)>,
    findings: Vec<Finding>,
    more: u64,
    earlier: Vec<CheckRow>,
}

/// `/storage`.
#[derive(Template)]
#[template(path = "storage/view.html")]
pub(super) struct StoragePage {
    shell: Shell,
    used: UsePart,
    days: Vec<DayRow>,
    check: CheckPart,
    may_verify: bool,
    may_change: bool,
    early: String,
    shedding: String,
}

fn size(bytes: u64) -> String {
    Unit::Bytes.text(bytes as f64)
}

impl UsePart {
    fn new(view: &StorageView) -> UsePart {
        let percent = |bytes: u64| bytes as f64 * 100.0 / (view.disk_bytes.max(1)) as f64;
        let ours: u64 = view.uses.iter().map(|used| used.bytes).sum();
        let row = |used: &Use| UseRow {
            what: title(used.what),
            about: about(used.what),
            bytes: size(used.bytes),
            meter: Markup(chart::meter(Some(used.bytes as f64 * 100.0 / ours.max(1) as f64), "")),
        };
        let (tone, meaning) = match view.level {
            Level::Normal => ("ok", "There is room."),
            Level::Early => ("warn", "It will be full before long. Nothing is dropped yet."),
            Level::Shedding => ("crit", "The oldest days of telemetry are dropped, logs before metrics."),
            Level::Critical => ("crit", "Read-only: nothing can be changed until there is room again."),
        };
        UsePart {
            uses: view.uses.iter().map(row).collect(),
            ours: size(ours),
            free: size(view.free_bytes),
            disk: size(view.disk_bytes),
            used: Markup(chart::meter(Some(100.0 - percent(view.free_bytes)), tone)),
            tone,
            word: view.level.word(),
            meaning,
            growth: match view.growth_bytes_a_day {
                None => "known after a day of measurements".to_owned(),
                Some(bytes) if bytes < 0 => format!("{} less a day", size(bytes.unsigned_abs())),
                Some(bytes) => format!("{} a day", size(bytes.unsigned_abs())),
            },
            left: match (view.growth_bytes_a_day, view.days_left) {
                (None, _) => "—".to_owned(),
                (_, None) => "it does not fill".to_owned(),
                (_, Some(0)) => "less than a day".to_owned(),
                (_, Some(1)) => "about a day".to_owned(),
                (_, Some(days)) => format!("about {days} days"),
            },
            early: size(view.limits.early_bytes),
            shedding: size(view.limits.shedding_bytes),
            critical: size(view.limits.critical_bytes),
        }
    }
}

fn title(what: &str) -> &'static str {
    match what {
        "state" => "State",
        "journal" => "Journal",
        "metrics" => "Metrics",
        "logs" => "Logs",
        "index" => "Search index",
        "backups" => "Backups here",
        _ => "Keys, own agent, restores under way",
    }
}

fn about(what: &str) -> &'static str {
    match what {
        "state" => "agents, tasks, people, audit trail; never dropped",
        "journal" => "the last changes, for restores to any second",
        "metrics" => "blocks of numbers by day, and what is not yet in one",
        "logs" => "blocks of lines by day, and what is not yet in one",
        "index" => "can be made anew at any time",
        "backups" => "copies on this very disk",
        _ => "",
    }
}

impl CheckPart {
    fn new(ctx: &Ctx<'_>) -> Result<CheckPart> {
        let mut results = verify::results(ctx)?.into_iter();
        let read = ctx.read()?;
        let row = |check: &Check| -> Result<CheckRow> {
            let by = identity::label(&read, ctx.tenant, &check.by)?.unwrap_or_else(|| check.by.clone());
            let (tone, outcome) = match check.count {
                0 => ("ok", "nothing wrong".to_owned()),
                1 => ("crit", "1 finding".to_owned()),
                count => ("crit", format!("{count} findings")),
            };
            Ok(CheckRow {
                at: Markup::ago(Some(check.started), ctx.now),
                took: check.ended.since(check.started).rough(),
                by,
                glyph: Markup::glyph(tone, &outcome),
                tone,
                outcome,
                things: check.parts.iter().map(|part| part.things).sum(),
            })
        };
        let last = results.next();
        let (parts, findings, count) = last
            .as_ref()
            .map_or((Vec::new(), Vec::new(), 0), |c| (c.parts.clone(), c.findings.clone(), c.count));
        Ok(CheckPart {
            running: verify::running(ctx.site).map(|running| (progress(&running), running.percent)),
            last: last.as_ref().map(row).transpose()?,
            parts: parts.into_iter().map(|part| (part.part, part.things, part.findings)).collect(),
            more: count.saturating_sub(findings.len() as u64),
            findings,
            earlier: results.take(CHECKS_SHOWN).map(|check| row(&check)).collect::<Result<_>>()?,
        })
    }
}

fn progress(running: &Running) -> String {
    match (running.started, running.part.as_str()) {
        (None, _) | (_, "") => "It begins.".to_owned(),
        (_, part) => format!("It looks at {part}."),
    }
}

fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let view = ops::find(ctx, Nothing {})?;
    let number = |chosen: Option<u64>| chosen.map(|m| m.to_string()).unwrap_or_default();
    let dash = |bytes: u64| if bytes == 0 { "—".to_owned() } else { size(bytes) };
    let days = view.days.iter().take(DAYS_SHOWN).map(|day| DayRow {
        day: day.day.clone(),
        metrics: dash(day.metrics_bytes),
        logs: dash(day.logs_bytes),
    });
    html(&StoragePage {
        shell: Shell::new(ctx, request, "Storage", "/storage").live("storage"),
        days: days.collect(),
        check: CheckPart::new(ctx)?,
        may_verify: ctx.actor.may("storage.verify"),
        may_change: ctx.actor.may("storage.change"),
        early: number(view.early_mebibytes),
        shedding: number(view.shedding_mebibytes),
        used: UsePart::new(&view),
    })
}

fn live(ctx: &Ctx<'_>, _: &str) -> Result<String> {
    let used = UsePart::new(&ops::find(ctx, Nothing {})?);
    Ok([part("storage-use", &used.render()?), part("storage-check", &CheckPart::new(ctx)?.render()?)]
        .concat())
}

fn change(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let number = |field: &str| match request.field(field) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Error::invalid(format!("`{}` is not a number", text.chars().take(20).collect::<String>()))
                .hint("write whole MiB, or leave it empty")
        }),
    };
    let changed = (|| {
        let (early_mebibytes, shedding_mebibytes) = (number("early")?, number("shedding")?);
        ops::change(ctx, LimitsChosen { early_mebibytes, shedding_mebibytes })
    })();
    told("/storage", changed.map(|_| "The limits are changed".to_owned()))
}

fn verify_all(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    told("/storage", ops::verify_all(ctx, Nothing {}).map(|_| "Everything is being read".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;
    use crate::capabilities::storage::model::Limits;
    use crate::capabilities::storage::ops::DayUse;
    use crate::kit::proof;

    fn view(level: Level) -> StorageView {
        let uses = ["state", "journal", "metrics", "logs", "index", "backups", "other"];
        StorageView {
            level,
            free_bytes: 7 << 30,
            disk_bytes: 64 << 30,
            uses: uses.map(|what| Use { what, bytes: 3 << 30 }).into(),
            days: (1..=9)
                .map(|n| DayUse { day: format!("2026-11-0{n}"), metrics_bytes: n << 28, logs_bytes: 0 })
                .collect(),
            growth_bytes_a_day: Some(1 << 28),
            days_left: Some(14),
            limits: Limits { early_bytes: 6 << 30, shedding_bytes: 3 << 30, critical_bytes: 64 << 20 },
            early_mebibytes: None,
            shedding_mebibytes: Some(3_072),
        }
    }

    fn row(outcome: &str, tone: &'static str) -> CheckRow {
        CheckRow {
            at: Markup::ago(Some(Timestamp::default()), Timestamp::from_milliseconds(90_000)),
            took: "12 s".into(),
            by: "Inès Moreau".into(),
            glyph: Markup::glyph(tone, outcome),
            tone,
            outcome: outcome.into(),
            things: 412_000,
        }
    }

    fn page(level: Level, check: CheckPart, owner: bool) -> StoragePage {
        let view = view(level);
        let day = |day: &DayUse| DayRow { day: day.day.clone(), metrics: size(1 << 28), logs: "—".into() };
        StoragePage {
            shell: proof::shell("Storage", "/storage"),
            used: UsePart::new(&view),
            days: view.days.iter().map(day).collect(),
            check,
            may_verify: owner,
            may_change: owner,
            early: String::new(),
            shedding: "3072".into(),
        }
    }

    #[test]
    fn pages_obey_the_rules() {
        let finding = Finding {
            place: "/var/lib/muster/series/blocks/2026-11-02.blocks, byte 18432".into(),
            what: "the block's checksum does not hold <b>".into(),
            remedy: "none is needed: it is passed over, and goes with its day".into(),
        };
        let bad = CheckPart {
            running: None,
            last: Some(row("3 findings", "crit")),
            parts: vec![("store".into(), 400_000, 0), ("metrics".into(), 12_000, 3)],
            findings: vec![finding],
            more: 2,
            earlier: vec![row("nothing wrong", "ok")],
        };
        let mut sick = page(Level::Shedding, bad, true);
        let notice = |grave, text: &str| crate::kit::Notice {
            grave,
            text: text.into(),
            href: "/storage",
            permission: "storage.read",
        };
        sick.shell.notices = vec![notice(true, "The disk is full."), notice(false, "The disk fills.")];
        let text = proof::page("storage-sick", &sick);
        assert!(!text.contains("hold <b>") && text.contains("2 more") && text.contains("The disk fills."));
        let none = || CheckPart {
            running: Some(("It looks at logs.".into(), 41)),
            last: None,
            parts: Vec::new(),
            findings: Vec::new(),
            more: 0,
            earlier: Vec::new(),
        };
        let text = proof::page("storage-new", &page(Level::Normal, none(), false));
        assert!(!text.contains("/storage/verify") && text.contains("41 %"));
        proof::page("storage-check-part", &none());
        for level in [Level::Early, Level::Critical] {
            proof::page("storage-use-part", &UsePart::new(&view(level)));
        }
        let mut young = view(Level::Normal);
        (young.growth_bytes_a_day, young.days_left) = (None, None);
        assert_eq!(UsePart::new(&young).left, "—");
        young.growth_bytes_a_day = Some(-5);
        assert_eq!(UsePart::new(&young).left, "it does not fill");
    }
}
