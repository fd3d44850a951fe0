//! What the pages of backups show.

use askama::Template;

use super::kinds::KindForm;
use crate::base::{Span, Timestamp};
use crate::capabilities::backups::model::{Backup, DrillRecord, Outcome, Progress, RecoveryKeyRow, Run};
use crate::capabilities::backups::ops::{BackupList, Overview};
use crate::capabilities::backups::plan::Plan;
use crate::capabilities::backups::targets::Target;
use crate::kit::chart::{Unit, meter};
use crate::kit::{Markup, Shell, Undone, local};

/// A number at the top.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    /// What it is about.
    pub title: &'static str,
    /// The number.
    pub number: String,
    /// Its unit.
    pub unit: &'static str,
    /// One line below.
    pub note: String,
    /// Class of the note.
    pub tone: &'static str,
}

/// The run under way.
#[derive(Clone, Debug)]
pub(crate) struct RunView {
    /// What is done.
    pub phase: String,
    /// A bar.
    pub bar: Markup,
    /// `1.2 GB of 3.0 GB`.
    pub bytes: String,
    /// `120 MB a second`.
    pub rate: String,
    /// `15 s left`; empty while it is not known.
    pub left: String,
    /// Whether somebody asked to stop it.
    pub stopping: bool,
}

/// What is live at the top.
#[derive(Clone, Debug)]
pub(crate) struct StateView {
    /// Numbers.
    pub tiles: Vec<Tile>,
    /// The run under way.
    pub run: Option<RunView>,
    /// Whether one was asked for and has not begun.
    pub waiting: bool,
    /// Why the last run failed.
    pub failing: String,
    /// Why the last drill failed.
    pub drill_failing: String,
}

/// A backup in the list.
#[derive(Clone, Debug)]
pub(crate) struct BackupRow {
    /// Name of its file.
    pub name: String,
    /// `Full` or `Changes`.
    pub kind: &'static str,
    /// When it was complete.
    pub made: Markup,
    /// Changes in it.
    pub changes: String,
    /// Its size.
    pub size: String,
    /// How long it took.
    pub took: String,
    /// Sign and word of its state.
    pub glyph: Markup,
    /// Where copies are.
    pub places: Vec<String>,
}

/// A target.
#[derive(Clone, Debug)]
pub(crate) struct TargetRow {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// Sign of its state.
    pub glyph: Markup,
    /// Its state in words.
    pub text: String,
    /// How it is mended.
    pub hint: String,
    /// When the last copy arrived.
    pub copied: Markup,
    /// Whether it is used.
    pub on: bool,
    /// Whether it is out of the building.
    pub outside: bool,
}

/// A recovery key.
#[derive(Clone, Debug)]
pub(crate) struct KeyView {
    /// Its number.
    pub number: u32,
    /// Its end, to tell it from others.
    pub fingerprint: String,
    /// The public half.
    pub recipient: String,
    /// When it was made.
    pub made: String,
    /// When somebody last proved to have it.
    pub checked: Markup,
    /// When somebody last looked at its kit.
    pub shown: Markup,
    /// Whether it is in force.
    pub current: bool,
}

/// A drill.
#[derive(Clone, Debug)]
pub(crate) struct DrillView {
    /// Sign of its outcome.
    pub glyph: Markup,
    /// When.
    pub recorded: Markup,
    /// What was restored.
    pub backup: String,
    /// How long until the site was back.
    pub ready: String,
    /// What was checked, or why it failed.
    pub text: String,
}

/// The form of the plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanForm {
    /// The plan itself.
    pub plan: Plan,
    /// Times of full backups.
    pub full_at: String,
    /// Recipients, one a line.
    pub recipients: String,
    /// MiB of unsaved changes.
    pub changes_mib: u64,
    /// KiB a second.
    pub rate_kib: u64,
}

/// `/backups`.
#[derive(Clone, Debug, Template)]
#[template(path = "backups/list.html")]
pub(crate) struct BackupListPage {
    /// The frame.
    pub shell: Shell,
    /// What is live.
    pub state: StateView,
    /// The catalogue.
    pub rows: Vec<BackupRow>,
    /// Rows that are not shown.
    pub more: usize,
    /// Runs that went badly.
    pub runs: Vec<RunRow>,
    /// Targets.
    pub targets: Vec<TargetRow>,
    /// Forms for new ones.
    pub kinds: Vec<KindForm>,
    /// The form of the plan.
    pub plan: PlanForm,
    /// Recovery keys, the newest first.
    pub keys: Vec<KeyView>,
    /// Drills, the newest first.
    pub drills: Vec<DrillView>,
    /// Whether the person may change anything.
    pub may_change: bool,
    /// The data folder.
    pub folder: String,
}

/// A run that did not end well.
#[derive(Clone, Debug)]
pub(crate) struct RunRow {
    /// Sign of its outcome.
    pub glyph: Markup,
    /// When it ended.
    pub ended: Markup,
    /// Why.
    pub text: String,
    /// How it is mended.
    pub hint: String,
}

/// The numbers and the run, live.
#[derive(Clone, Debug, Template)]
#[template(path = "backups/_state.html")]
pub(crate) struct StatePart<'a> {
    /// What is live.
    pub state: StateView,
    /// Where static files are.
    pub assets: &'a str,
    /// The form's token.
    pub csrf: &'a str,
    /// Whether the person may stop it.
    pub may_change: bool,
}

/// The rows, live.
#[derive(Clone, Debug, Template)]
#[template(path = "backups/_rows.html")]
pub(crate) struct RowsPart {
    /// The catalogue.
    pub rows: Vec<BackupRow>,
}

/// One card of the recovery kit.
#[derive(Clone, Debug)]
pub(crate) struct KitCard {
    /// `The recovery key`, or `Share 1 of 3`.
    pub title: String,
    /// The secret.
    pub text: String,
    /// The same for a camera.
    pub code: Markup,
}

/// `/backups/kit`.
#[derive(Clone, Debug, Template)]
#[template(path = "backups/kit.html")]
pub(crate) struct KitPage {
    /// The frame.
    pub shell: Shell,
    /// Cards, once they have been asked for.
    pub cards: Vec<KitCard>,
    /// Whether the cards are shares.
    pub shares: bool,
    /// Of which key.
    pub key: Option<KeyView>,
    /// Every key.
    pub keys: Vec<KeyView>,
    /// The day on which it was printed.
    pub day: String,
}

/// A tab of kinds of things.
#[derive(Clone, Debug)]
pub(crate) struct KindTab {
    /// What people call it.
    pub title: &'static str,
    /// Where it leads.
    pub href: String,
    /// Whether it is shown.
    pub current: bool,
}

/// A thing that differs.
#[derive(Clone, Debug)]
pub(crate) struct DifferenceRow {
    /// Its identifier.
    pub subject: String,
    /// Its name.
    pub name: String,
    /// Field, then, now.
    pub fields: Vec<(String, String, String)>,
}

/// An event that would be undone.
#[derive(Clone, Debug)]
pub(crate) struct UndoneRow {
    /// When.
    pub at: Markup,
    /// What happened.
    pub event: String,
    /// To what.
    pub subject: String,
    /// Who did it.
    pub actor: String,
}

impl UndoneRow {
    pub(crate) fn new(undone: &Undone) -> UndoneRow {
        UndoneRow {
            at: Markup::at(Some(undone.at)),
            event: undone.event.clone(),
            subject: undone.subject.clone(),
            actor: undone.actor.clone(),
        }
    }
}

/// `/backups/time`.
#[derive(Clone, Debug, Template)]
#[template(path = "backups/time.html")]
pub(crate) struct TimePage {
    /// The frame.
    pub shell: Shell,
    /// What stands in the field.
    pub at: String,
    /// The span that can be chosen from, for the field.
    pub from: String,
    /// Its end.
    pub to: String,
    /// The span in words; empty when there is none yet.
    pub window: String,
    /// What is wrong with what was asked.
    pub error: String,
    /// Whether an instant was chosen.
    pub chosen: bool,
    /// What would be undone, in one line.
    pub summary: String,
    /// Who did it and how often.
    pub by: Vec<(String, u64)>,
    /// The events, the oldest first.
    pub undone: Vec<UndoneRow>,
    /// How many more there are.
    pub more: u64,
    /// Kinds of things.
    pub tabs: Vec<KindTab>,
    /// The kind that is shown.
    pub word: String,
    /// What it is filtered by.
    pub filter: String,
    /// Things that differ.
    pub differences: Vec<DifferenceRow>,
    /// Whether the person may bring things back.
    pub may_change: bool,
    /// The command for the whole site.
    pub command: String,
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    Unit::Bytes.text(bytes as f64)
}

/// A short length of time for people: milliseconds matter below ten seconds.
pub(crate) fn lasted(milliseconds: u64) -> String {
    match milliseconds {
        0..=9_999 => format!("{:.1} s", milliseconds as f64 / 1_000.0),
        _ => Span::from_milliseconds(milliseconds).rough(),
    }
}

impl RunView {
    pub(crate) fn new(progress: &Progress) -> RunView {
        let total = progress.bytes_total.max(progress.bytes);
        let percent = (progress.bytes_total > 0).then(|| progress.bytes as f64 * 100.0 / total.max(1) as f64);
        RunView {
            phase: progress.phase.clone(),
            bar: Markup(meter(percent, "wide")),
            bytes: match progress.bytes_total {
                0 => size(progress.bytes),
                total => format!("{} of about {}", size(progress.bytes), size(total.max(progress.bytes))),
            },
            rate: format!("{} a second", size(progress.bytes_per_second)),
            left: progress
                .seconds_left
                .map(|seconds| format!("{} left", Span::from_seconds(seconds).rough()))
                .unwrap_or_default(),
            stopping: progress.stopping,
        }
    }
}

impl StateView {
    pub(crate) fn new(list: &BackupList, now: Timestamp) -> StateView {
        let overview = &list.overview;
        StateView {
            tiles: tiles(list, now),
            run: list.running.as_ref().map(RunView::new),
            waiting: list.waiting && list.running.is_none(),
            failing: overview.failing.clone(),
            drill_failing: overview.drill.as_ref().map(|d| d.drill.failure.clone()).unwrap_or_default(),
        }
    }
}

fn tiles(list: &BackupList, now: Timestamp) -> Vec<Tile> {
    let Overview { full, last, left_building, drill, window_from, .. } = &list.overview;
    let none =
        |title, note: &str, tone| Tile { title, number: "—".into(), unit: "", note: note.into(), tone };
    let ago = |at: Timestamp| now.since(at).rough();
    let here = list.items.iter().filter(|b| b.here);
    let (files, bytes) = here.fold((0, 0), |(files, bytes), b| (files + 1, bytes + b.bytes));
    let left = |at: Timestamp| match now.since(at) > Span::from_days(2) {
        true => "bad",
        false => "",
    };
    vec![
        match (last, full) {
            (Some(last), Some(full)) => Tile {
                title: "Last backup",
                number: ago(last.made),
                unit: "ago",
                note: format!("last full one {} ago, {}", ago(full.made), size(full.bytes)),
                tone: "",
            },
            _ => none("Last backup", "none yet", "bad"),
        },
        match left_building {
            Some(at) => Tile {
                title: "Left the building",
                number: ago(*at),
                unit: "ago",
                note: "the newest copy that is elsewhere".into(),
                tone: left(*at),
            },
            None => none("Left the building", "no copy is elsewhere", "bad"),
        },
        match drill {
            Some(record) if record.is_good() => Tile {
                title: "Last restore drill",
                number: lasted(record.drill.ready_ms),
                unit: "",
                note: format!("until the site was back, {} ago", ago(record.recorded)),
                tone: left(record.recorded),
            },
            Some(record) => Tile {
                title: "Last restore drill",
                number: "failed".into(),
                unit: "",
                note: format!("{} ago", ago(record.recorded)),
                tone: "bad",
            },
            None => none("Last restore drill", "none yet", ""),
        },
        match window_from {
            Some(from) => Tile {
                title: "Any second since",
                number: ago(*from),
                unit: "ago",
                note: local(*from, "%d %b %Y %H:%M %Z"),
                tone: "",
            },
            None => none("Any second since", "after the first full backup", ""),
        },
        Tile {
            title: "Kept here",
            number: size(bytes),
            unit: "",
            note: format!("{files} {}", if files == 1 { "file" } else { "files" }),
            tone: "",
        },
    ]
}

impl BackupRow {
    pub(crate) fn new(backup: &Backup, targets: &[Target], now: Timestamp) -> BackupRow {
        let (tone, word) = match backup.verified {
            Some(_) => ("ok", "read back and whole"),
            None => ("warn", "not read back"),
        };
        let here = backup.here.then(|| "here".to_owned());
        let named = |id: &String| targets.iter().find(|t| t.id == *id).map(|t| t.name.to_string());
        BackupRow {
            name: backup.name.clone(),
            kind: if backup.full { "Full" } else { "Changes" },
            made: Markup::ago(Some(backup.made), now),
            changes: match backup.full {
                true => format!("up to {}", backup.last),
                false => format!("{} to {}", backup.first, backup.last),
            },
            size: size(backup.bytes),
            took: lasted(backup.took_ms),
            glyph: Markup::glyph(tone, word),
            places: here.into_iter().chain(backup.targets.keys().filter_map(named)).collect(),
        }
    }
}

impl RunRow {
    pub(crate) fn new(run: &Run, now: Timestamp) -> RunRow {
        let tone = if run.outcome == Outcome::Failed { "crit" } else { "off" };
        RunRow {
            glyph: Markup::glyph(tone, run.outcome.word()),
            ended: Markup::ago(Some(run.ended), now),
            text: if run.error.is_empty() { "it was stopped".into() } else { run.error.clone() },
            hint: run.hint.clone(),
        }
    }
}

impl TargetRow {
    pub(crate) fn new(
        target: &Target,
        place: String,
        sending: Option<Progress>,
        now: Timestamp,
    ) -> TargetRow {
        let fares = &target.fares;
        let (tone, text) = match sending {
            _ if !target.on => ("off", "switched off".to_owned()),
            Some(progress) => {
                let view = RunView::new(&progress);
                ("accent", format!("sending {}: {}, {}", view.phase, view.bytes, view.rate))
            }
            None if fares.failing.is_some() => ("crit", fares.text.clone()),
            None if fares.waiting => ("off", fares.text.clone()),
            None if fares.copied.is_none() => ("off", "nothing was copied there yet".to_owned()),
            None if fares.note.is_empty() => ("ok", "it has what it should have".to_owned()),
            None => ("ok", fares.note.clone()),
        };
        TargetRow {
            id: target.id.clone(),
            name: target.name.to_string(),
            place,
            glyph: Markup::glyph(tone, tone),
            text,
            hint: fares.hint.clone(),
            copied: Markup::ago(fares.copied, now),
            on: target.on,
            outside: target.outside,
        }
    }
}

impl KeyView {
    pub(crate) fn new(row: &RecoveryKeyRow, current: bool, now: Timestamp) -> KeyView {
        KeyView {
            number: row.number,
            fingerprint: row.fingerprint().to_owned(),
            recipient: row.recipient.clone(),
            made: local(row.made, "%Y-%m-%d"),
            checked: Markup::ago(row.checked, now),
            shown: Markup::ago(row.shown, now),
            current,
        }
    }
}

impl DrillView {
    pub(crate) fn new(record: &DrillRecord, now: Timestamp) -> DrillView {
        let good = record.is_good();
        DrillView {
            glyph: Markup::glyph(if good { "ok" } else { "crit" }, if good { "passed" } else { "failed" }),
            recorded: Markup::ago(Some(record.recorded), now),
            backup: record.drill.backup.clone(),
            ready: if good { lasted(record.drill.ready_ms) } else { "—".into() },
            text: if good { record.drill.checked.join(", ") } else { record.drill.failure.clone() },
        }
    }
}

impl PlanForm {
    pub(crate) fn new(plan: Plan) -> PlanForm {
        let times: Vec<String> = plan.full_at.iter().map(ToString::to_string).collect();
        PlanForm {
            full_at: times.join(", "),
            recipients: plan.recipients.join("\n"),
            changes_mib: plan.changes_bytes_max / (1024 * 1024),
            rate_kib: plan.bytes_per_second_max / 1024,
            plan,
        }
    }
}
