//! Pages of backups.

use askama::Template;

use super::ops::{self, AskKit, CreateBackup, TypedKey};
use super::past::{self, BringBack, Then, When};
use super::plan::{Plan, TimeOfDay};
use super::retention::Retention;
use super::targets::{self, AddTarget, ChangeTarget, TargetById};
use super::{drill, memory, store};
use crate::base::{Error, Kind, Result, Secret, Span, Timestamp};
use crate::capabilities::identity;
use crate::kit::{Ctx, Nothing, PageRequest, Pages, Reply, Shell, Zone, html, local, part, qr, query, told};

mod kinds;
#[cfg(test)]
mod tests;
mod views;

use views::{
    BackupListPage, BackupRow, DifferenceRow, DrillView, KeyView, KindTab, KitCard, KitPage, PlanForm,
    RowsPart, RunRow, StatePart, StateView, TargetRow, TimePage, UndoneRow,
};

/// Backups that the list shows.
const ROWS: usize = 100;
/// Drills that the page shows.
const DRILLS: usize = 10;
/// Runs that went badly which the page shows.
const RUNS: usize = 5;

/// Routes and live parts.
pub(super) fn register(pages: &mut Pages) {
    pages.get("/backups", list);
    pages.post("/backups", create);
    pages.post("/backups/stop", stop);
    pages.post("/backups/plan", plan);
    pages.post("/backups/drill", ask_drill);
    pages.post("/backups/key", rotate);
    pages.post("/backups/key/check", check_key);
    pages.post("/backups/targets", add_target);
    pages.post("/backups/targets/{id}/test", test_target);
    pages.post("/backups/targets/{id}/switch", switch_target);
    pages.post("/backups/targets/{id}/remove", remove_target);
    pages.get("/backups/kit", kit);
    pages.post("/backups/kit", show_kit);
    pages.get("/backups/time", time);
    pages.post("/backups/time", bring_back);
    pages.live("backups", live);
}

fn may_change(ctx: &Ctx<'_>) -> bool {
    ctx.actor.may("backups.create")
}

fn rows(ctx: &Ctx<'_>, list: &ops::BackupList) -> Result<Vec<BackupRow>> {
    let targets = store::targets(&ctx.read()?, ctx.tenant)?;
    Ok(list.items.iter().take(ROWS).map(|backup| BackupRow::new(backup, &targets, ctx.now)).collect())
}

fn key_views(ctx: &Ctx<'_>) -> Result<Vec<KeyView>> {
    let rows = ops::key_list(ctx, Nothing {})?;
    Ok(rows.iter().enumerate().map(|(n, row)| KeyView::new(row, n == 0, ctx.now)).collect())
}

fn target_rows(ctx: &Ctx<'_>) -> Result<Vec<TargetRow>> {
    let memory = memory::of(ctx.site);
    let row = |target: targets::Target| {
        let place = match &target.secret {
            // A look at the page is no use of the secret.
            Some(reference) => match target.settings.destination() {
                Ok(Some((host, port))) => format!("{host}:{port}, by {reference}"),
                _ => reference.to_string(),
            },
            None => target.open(ctx).map(|place| place.describe()).unwrap_or_default(),
        };
        TargetRow::new(&target, place, memory.sending(&target.id), ctx.now)
    };
    Ok(targets::list(ctx, Nothing {})?.items.into_iter().map(row).collect())
}

fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let list = ops::list(ctx, Nothing {})?;
    let bad = |run: &&super::Run| run.outcome != super::Outcome::Good;
    html(&BackupListPage {
        shell: Shell::new(ctx, request, "Backups", "/backups").live("backups"),
        state: StateView::new(&list, ctx.now),
        rows: rows(ctx, &list)?,
        more: list.items.len().saturating_sub(ROWS),
        runs: list.runs.iter().filter(bad).take(RUNS).map(|run| RunRow::new(run, ctx.now)).collect(),
        targets: target_rows(ctx)?,
        kinds: kinds::KINDS.to_vec(),
        plan: PlanForm::new(ops::plan(ctx, Nothing {})?),
        keys: key_views(ctx)?,
        drills: drill::list(ctx, Nothing {})?
            .items
            .iter()
            .take(DRILLS)
            .map(|record| DrillView::new(record, ctx.now))
            .collect(),
        may_change: may_change(ctx),
        folder: ctx.site.folder.display().to_string(),
    })
}

fn live(ctx: &Ctx<'_>, _: &str) -> Result<String> {
    let list = ops::list(ctx, Nothing {})?;
    let state = StatePart {
        state: StateView::new(&list, ctx.now),
        assets: &ctx.site.assets,
        csrf: &ctx.csrf(),
        may_change: may_change(ctx),
    };
    let state = part("backup-state", &state.render()?);
    match list.items.is_empty() {
        // The first rows come with the next look at the page: an empty list has no table.
        true => Ok(state),
        false => Ok(state + &part("backup-rows", &RowsPart { rows: rows(ctx, &list)? }.render()?)),
    }
}

fn create(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let telemetry = Some(!request.field("telemetry").is_empty());
    told("/backups", ops::create(ctx, CreateBackup { telemetry }).map(|()| "A full backup begins now".into()))
}

fn stop(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    told("/backups", ops::stop(ctx, Nothing {}).map(|()| "The backup is being stopped".into()))
}

fn ask_drill(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    told("/backups", drill::ask(ctx, Nothing {}).map(|()| "A restore drill begins within a minute".into()))
}

fn rotate(ctx: &Ctx<'_>, _: &PageRequest) -> Result<Reply> {
    let made = ops::rotate_key(ctx, Nothing {});
    told(
        "/backups/kit",
        made.map(|row| format!("Recovery key {} is in force; print its kit now", row.number)),
    )
}

fn check_key(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let text = Secret::new(request.form.get("text").cloned().unwrap_or_default());
    let said = ops::check_key(ctx, TypedKey { text }).and_then(|checked| match checked.opens {
        true => Ok(format!("The key is right: {}", checked.text)),
        false => Err(Error::invalid(format!("the key does not do: {}", checked.text))),
    });
    told("/backups", said)
}

fn number<T: std::str::FromStr>(request: &PageRequest, name: &str, title: &str) -> Result<T> {
    request.field(name).parse().map_err(|_| Error::invalid(format!("`{title}` is not a whole number")))
}

fn plan_of(request: &PageRequest) -> Result<Plan> {
    let ticked = |name: &str| !request.field(name).is_empty();
    let times = request.field("full_at").split([',', ' ']).filter(|text| !text.is_empty());
    let lines = |name: &str| request.field(name).lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(Plan {
        on: ticked("on"),
        full_at: times.map(str::parse::<TimeOfDay>).collect::<Result<_>>()?,
        full_every_days: number(request, "full_every_days", "Every so many days")?,
        changes_every: request.field("changes_every").parse::<Span>()?,
        changes_bytes_max: number::<u32>(request, "changes_mib", "MiB of changes").map(u64::from)?
            * 1024
            * 1024,
        telemetry: ticked("telemetry"),
        retention: Retention {
            window_days: number(request, "window_days", "Days of any second")?,
            daily: number(request, "daily", "Daily")?,
            weekly: number(request, "weekly", "Weekly")?,
            monthly: number(request, "monthly", "Monthly")?,
            yearly: number(request, "yearly", "Yearly")?,
        },
        bytes_per_second_max: number::<u32>(request, "rate_kib", "KiB a second").map(u64::from)? * 1024,
        drill: ticked("drill"),
        drill_at: request.field("drill_at").parse()?,
        recipients: lines("recipients").map(str::to_owned).collect(),
    })
}

fn plan(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let changed = plan_of(request).and_then(|plan| ops::plan_change(ctx, plan));
    told("/backups", changed.map(|_| "The plan is saved".into()))
}

fn add_target(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let added = (|| {
        let secret = request.form.get("secret").filter(|text| !text.trim().is_empty()).cloned();
        let input = AddTarget {
            name: request.field("name").parse()?,
            settings: kinds::settings(request)?,
            secret: secret.map(Secret::new),
            outside: !request.field("outside").is_empty(),
        };
        targets::add(ctx, input)
    })();
    told(
        "/backups",
        added.map(|target| format!("`{}` is added; what is missing there is copied now", target.name)),
    )
}

fn id(request: &PageRequest) -> String {
    request.params.get("id").cloned().unwrap_or_default()
}

fn test_target(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    told("/backups", targets::test(ctx, TargetById { id: id(request) }).map(|tested| tested.found))
}

fn switch_target(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let on = !request.field("on").is_empty();
    let input = ChangeTarget {
        id: id(request),
        name: None,
        on: Some(on),
        outside: None,
        settings: None,
        secret: None,
    };
    let word = if on { "used" } else { "left alone" };
    told(
        "/backups",
        targets::change(ctx, input).map(|target| format!("`{}` is {word} from now on", target.name)),
    )
}

fn remove_target(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let removed = targets::remove(ctx, TargetById { id: id(request) });
    told("/backups", removed.map(|()| "The target is removed; the copies there stay".into()))
}

fn kit_page(
    ctx: &Ctx<'_>,
    request: &PageRequest,
    cards: Vec<KitCard>,
    shares: bool,
    of: u32,
) -> Result<Reply> {
    ctx.demand("backups.kit")?;
    let keys = key_views(ctx)?;
    html(&KitPage {
        shell: Shell::new(ctx, request, "Recovery kit", "/backups"),
        cards,
        shares,
        key: keys.iter().find(|key| key.number == of).cloned(),
        keys,
        day: local(ctx.now, "%Y-%m-%d"),
    })
}

fn kit(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    kit_page(ctx, request, Vec::new(), false, 0)
}

fn show_kit(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let shares = !request.field("shares").is_empty();
    let kit = ops::kit(ctx, AskKit { number: request.field("number").parse().ok(), shares })?;
    let count = kit.secrets.len();
    let card = |(n, text): (usize, String)| {
        let title = if shares { format!("Share {} of {count}", n + 1) } else { "The recovery key".into() };
        Ok(KitCard { title, code: qr(&text)?, text })
    };
    let cards = kit.secrets.into_iter().enumerate().map(card).collect::<Result<_>>()?;
    kit_page(ctx, request, cards, shares, kit.key.number)
}

/// Whether the person can mend it on this page.
fn mendable(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Invalid | Kind::Conflict | Kind::NotFound | Kind::Unavailable | Kind::Forbidden
    )
}

fn time(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    ctx.require("backups.read")?;
    let window = past::window(ctx)?;
    let field = |at: Timestamp| local(at, "%Y-%m-%dT%H:%M:%S");
    let asked = request.asked("at");
    let at = asked.parse().map_or_else(|_| asked.to_owned(), field);
    let kinds = past::kinds(ctx, Nothing {})?;
    let word = match request.asked("word") {
        "" => kinds.first().map(|kind| kind.word.to_owned()).unwrap_or_default(),
        word => word.to_owned(),
    };
    let filter = request.asked("filter").to_owned();
    let mut page = TimePage {
        shell: Shell::new(ctx, request, "Any second back", "/backups"),
        from: window.map(|(from, _)| field(from)).unwrap_or_default(),
        to: window.map(|(_, to)| field(to)).unwrap_or_default(),
        window: window.map(|(from, _)| local(from, "%d %b %Y %H:%M:%S %Z")).unwrap_or_default(),
        error: String::new(),
        chosen: false,
        summary: String::new(),
        by: Vec::new(),
        undone: Vec::new(),
        more: 0,
        tabs: kinds
            .iter()
            .map(|kind| KindTab {
                title: kind.title,
                href: format!("/backups/time?{}", query(&[("at", &at), ("word", kind.word)])),
                current: kind.word == word,
            })
            .collect(),
        word: word.clone(),
        filter: filter.clone(),
        differences: Vec::new(),
        may_change: ctx.actor.may("backups.bring_back"),
        command: command(ctx, &at),
        at,
    };
    if !page.at.is_empty() {
        match look(ctx, &mut page, &word, &filter) {
            Err(error) if mendable(&error) => {
                let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
                page.error = format!("{}{hint}", error.message());
            }
            outcome => outcome?,
        }
    }
    html(&page)
}

/// A field's instant, which is in the zone of who looks, as operations read it. What is none they refuse in words.
fn in_utc(at: &str) -> String {
    Zone::on().read(at).map_or_else(|| at.to_owned(), |at| at.to_string())
}

/// What would be undone, and what differs.
fn look(ctx: &Ctx<'_>, page: &mut TimePage, word: &str, filter: &str) -> Result<()> {
    let preview = past::preview(ctx, When { at: in_utc(&page.at), change: None })?;
    page.chosen = true;
    page.summary = match preview.changes {
        0 => "Nothing has changed since.".into(),
        changes => format!(
            "{changes} changes since, which told {} events, would be undone. The last one kept is change {}.",
            preview.events_count, preview.change
        ),
    };
    let read = ctx.read()?;
    let name = |actor: &str| match identity::label(&read, ctx.tenant, actor) {
        Ok(Some(name)) => name,
        _ => actor.to_owned(),
    };
    page.by = preview.by.iter().map(|(actor, count)| (name(actor), *count)).collect();
    let row =
        |undone: &crate::kit::Undone| UndoneRow { actor: name(&undone.actor), ..UndoneRow::new(undone) };
    page.undone = preview.events.iter().map(row).collect();
    page.more = preview.events_count.saturating_sub(page.undone.len() as u64);
    drop(read);
    if word.is_empty() || !page.may_change {
        return Ok(());
    }
    let asked = Then { at: in_utc(&page.at), change: None, word: word.to_owned(), filter: filter.to_owned() };
    let differences = past::then(ctx, asked)?.items;
    page.differences = differences
        .into_iter()
        .map(|difference| DifferenceRow {
            subject: difference.subject,
            name: difference.name,
            fields: difference.fields.into_iter().map(|f| (f.field, f.then, f.now)).collect(),
        })
        .collect();
    Ok(())
}

/// The line that brings the whole site back as it was.
fn command(ctx: &Ctx<'_>, at: &str) -> String {
    let folder = ctx.site.folder.display();
    let at = Zone::on().read(at).map(|at| at.format("%Y-%m-%d %H:%M:%S")).unwrap_or_default();
    format!("muster restore {folder}/backups --data {folder} --key key.txt --at '{at}' --replace")
}

fn bring_back(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let (at, word) = (request.field("at").to_owned(), request.field("word").to_owned());
    let to = format!("/backups/time?{}", query(&[("at", &at), ("word", &word)]));
    let subject = request.field("subject").to_owned();
    let brought = past::bring_back(ctx, BringBack { at: in_utc(&at), change: None, word, subject });
    told(&to, brought.map(|difference| format!("`{}` is back as it was", difference.name)))
}
