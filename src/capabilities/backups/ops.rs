//! Operations on backups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{Backup, DrillRecord, Progress, RecoveryKeyRow, RestoreRecord, Run};
use super::names::ENDING;
use super::plan::Plan;
use super::run::folder;
use super::store::{self, KEYS, PLAN, RESTORES, RUNS};
use super::targets::{self, Target};
use super::{drill, keys, memory, past};
use crate::base::{Error, Kind, Result, Secret, Timestamp};
use crate::engine::archive::{Reader, Recipient};
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing, Ops, generation};

/// Runs that the list of backups shows.
const RUNS_SHOWN: usize = 20;

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("backups.list", "/backups", "Lists backups, runs, and how well the site is saved.", list);
    ops.post(
        "backups.create",
        "/backups",
        "Asks for a full backup now; it is taken in the background.",
        create,
    );
    ops.post("backups.stop", "/backups/stop", "Stops the run under way; nothing of it stays.", stop);
    ops.get(
        "backups.plan",
        "/backups/plan",
        "Shows when backups are taken and how long they are kept.",
        plan,
    );
    ops.patch(
        "backups.plan_change",
        "/backups/plan",
        "Changes when backups are taken and how long they are kept.",
        plan_change,
    );
    ops.get(
        "backups.targets",
        "/backups/targets",
        "Lists the places that backups are copied to.",
        targets::list,
    );
    ops.post(
        "backups.target_add",
        "/backups/targets",
        "Adds a place that backups are copied to.",
        targets::add,
    );
    ops.patch(
        "backups.target_change",
        "/backups/targets/{id}",
        "Changes a place that backups are copied to.",
        targets::change,
    );
    ops.delete(
        "backups.target_remove",
        "/backups/targets/{id}",
        "Removes a place; the copies there stay.",
        targets::remove,
    );
    ops.post(
        "backups.target_test",
        "/backups/targets/{id}/test",
        "Writes, reads back and removes a small file there.",
        targets::test,
    );
    ops.get("backups.keys", "/backups/keys", "Lists the recovery keys by their public halves.", key_list);
    ops.post(
        "backups.rotate_key",
        "/backups/keys",
        "Makes a new recovery key; old ones still open old backups.",
        rotate_key,
    );
    ops.post(
        "backups.kit",
        "/backups/kit",
        "Shows the recovery key, once more; the audit log tells who looked.",
        kit,
    );
    ops.gives("backups.kit_shown");
    ops.post(
        "backups.check_key",
        "/backups/check_key",
        "Says whether a typed key, or two of its shares, opens the newest backup.",
        check_key,
    );
    ops.get(
        "backups.preview",
        "/backups/preview",
        "Tells what a restore to an instant would undo.",
        past::preview,
    );
    ops.get("backups.kinds", "/backups/kinds", "Lists what can be brought back one by one.", past::kinds);
    ops.get(
        "backups.then",
        "/backups/then",
        "Tells how things of one kind were then and are now.",
        past::then,
    );
    ops.post(
        "backups.bring_back",
        "/backups/bring_back",
        "Brings one thing back as it was.",
        past::bring_back,
    );
    ops.get("backups.drills", "/backups/drills", "Lists restore drills, the newest first.", drill::list);
    ops.post("backups.drill", "/backups/drills", "Asks for a restore drill now.", drill::ask);
    ops.get(
        "backups.restores",
        "/backups/restores",
        "Lists the restores that this site is the outcome of.",
        restores,
    );
}

/// How well the site is saved.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// The last full backup that is whole.
    pub full: Option<Backup>,
    /// The last backup of any kind that is whole.
    pub last: Option<Backup>,
    /// When the last copy arrived at a target that is out of the building.
    pub left_building: Option<Timestamp>,
    /// The last drill.
    pub drill: Option<DrillRecord>,
    /// The first instant that can be brought back.
    pub window_from: Option<Timestamp>,
    /// The last instant that can be brought back.
    pub window_to: Option<Timestamp>,
    /// Why the last run failed; empty when it did not.
    pub failing: String,
    /// The site's generation.
    pub generation: u64,
}

/// How well the site is saved, for pages.
pub fn overview(ctx: &Ctx<'_>) -> Result<Overview> {
    ctx.require("backups.read")?;
    let read = ctx.read()?;
    let backups = store::backups(&read, ctx.tenant)?;
    let targets = store::targets(&read, ctx.tenant)?;
    let window = past::window(ctx)?;
    let failed = match store::state(&read, ctx.tenant)?.failed {
        Some(_) => read.prefix_back(&RUNS, &ctx.tenant, 1)?.into_iter().next().map(|(_, run)| run.error),
        None => None,
    };
    Ok(Overview {
        full: store::newest(&backups, true).cloned(),
        last: store::newest(&backups, false).cloned(),
        left_building: left_building(&backups, &targets),
        drill: drill::last(&read, ctx)?,
        window_from: window.map(|(from, _)| from),
        window_to: window.map(|(_, to)| to),
        failing: failed.unwrap_or_default(),
        generation: generation(&read, ctx.tenant)?,
    })
}

/// When the newest copy that is out of the building arrived there.
fn left_building(backups: &[Backup], targets: &[Target]) -> Option<Timestamp> {
    let outside: Vec<&str> = targets.iter().filter(|t| t.outside).map(|t| t.id.as_str()).collect();
    let copies = backups.iter().flat_map(|b| &b.targets);
    copies.filter(|(id, _)| outside.contains(&id.as_str())).map(|(_, at)| *at).max()
}

/// Everything about backups.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BackupList {
    /// How well the site is saved.
    pub overview: Overview,
    /// The run under way.
    pub running: Option<Progress>,
    /// Whether a run was asked for and has not begun.
    pub waiting: bool,
    /// The catalogue, the newest first.
    pub items: Vec<Backup>,
    /// The last runs, the newest first.
    pub runs: Vec<Run>,
}

/// Lists backups and runs.
pub fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<BackupList> {
    let overview = overview(ctx)?;
    let read = ctx.read()?;
    let mut items = store::backups(&read, ctx.tenant)?;
    items.sort_by(|a, b| (b.made, &b.name).cmp(&(a.made, &a.name)));
    let runs = read.prefix_back(&RUNS, &ctx.tenant, RUNS_SHOWN)?;
    Ok(BackupList {
        overview,
        running: memory::of(ctx.site).running().map(|(_, progress)| progress),
        waiting: store::state(&read, ctx.tenant)?.wanted.is_some(),
        items,
        runs: runs.into_iter().map(|(_, run)| run).collect(),
    })
}

/// What a person wants in it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateBackup {
    /// Whether metrics and logs are in it; as the plan says when absent.
    pub telemetry: Option<bool>,
}

/// Asks for a full backup.
pub fn create(ctx: &Ctx<'_>, input: CreateBackup) -> Result<()> {
    let permit = ctx.require("backups.create")?;
    let telemetry = input.telemetry.unwrap_or(store::plan(&ctx.read()?, ctx.tenant)?.telemetry);
    permit.write(|change| {
        store::remember(ctx, change, |state| state.wanted = Some(telemetry))?;
        change.tell("backups.asked", "site", json!({ "telemetry": telemetry }));
        Ok(())
    })
}

/// Stops the run under way, and one that was asked for.
pub fn stop(ctx: &Ctx<'_>, _: Nothing) -> Result<()> {
    let permit = ctx.require("backups.stop")?;
    let waiting = store::state(&ctx.read()?, ctx.tenant)?.wanted.is_some();
    if !memory::of(ctx.site).stop() && !waiting {
        return Err(Error::conflict("no backup is under way"));
    }
    permit.write(|change| {
        store::remember(ctx, change, |state| state.wanted = None)?;
        change.tell("backups.stopped", "site", json!({}));
        Ok(())
    })
}

/// Shows the plan.
pub fn plan(ctx: &Ctx<'_>, _: Nothing) -> Result<Plan> {
    ctx.require("backups.read")?;
    store::plan(&ctx.read()?, ctx.tenant)
}

/// Changes the plan, all of it.
pub fn plan_change(ctx: &Ctx<'_>, plan: Plan) -> Result<Plan> {
    let permit = ctx.require("backups.plan_change")?;
    plan.check()?;
    for text in &plan.recipients {
        Recipient::parse(text)?;
    }
    permit.write(|change| {
        change.tx.put(&PLAN, &ctx.tenant, &plan)?;
        change.tell("backups.plan_changed", "site", serde_json::to_value(&plan)?);
        Ok(())
    })?;
    Ok(plan)
}

/// Lists recovery keys, the newest first.
pub fn key_list(ctx: &Ctx<'_>, _: Nothing) -> Result<Vec<RecoveryKeyRow>> {
    ctx.require("backups.read")?;
    keys::rows(ctx)
}

/// Makes a new recovery key.
pub fn rotate_key(ctx: &Ctx<'_>, _: Nothing) -> Result<RecoveryKeyRow> {
    keys::rotate(ctx)
}

/// Which key, and how.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AskKit {
    /// The key's number; the newest when absent.
    pub number: Option<u32>,
    /// Whether as three shares of which two are enough.
    pub shares: bool,
}

/// What is printed and put away.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Kit {
    /// Of which key.
    pub key: RecoveryKeyRow,
    /// The key itself, or its three shares.
    pub secrets: Vec<String>,
    /// The site's name.
    pub site: String,
}

/// Shows a recovery key. Who looked, and when, stands in the audit log.
pub fn kit(ctx: &Ctx<'_>, input: AskKit) -> Result<Kit> {
    let permit = ctx.require("backups.kit")?;
    let newest = keys::current(ctx)?;
    let number = input.number.unwrap_or(newest.number);
    let key = keys::secret(ctx, number)?;
    // What the log tells is told before anything is shown.
    let place = (ctx.tenant, number);
    let missing = || Error::not_found("recovery key", number);
    let row = permit.before_giving(|change| {
        let mut row = change.tx.get(&KEYS, &place)?.ok_or_else(missing)?;
        row.shown = Some(ctx.now);
        change.tx.put(&KEYS, &place, &row)?;
        change.tell(
            "backups.kit_shown",
            number,
            json!({ "recipient": row.recipient, "shares": input.shares }),
        );
        Ok(row)
    })?;
    let row = match row {
        Some(row) => row,
        None => ctx.read()?.get(&KEYS, &place)?.ok_or_else(missing)?,
    };
    let secrets = match input.shares {
        true => key.shares()?.iter().map(|share| share.expose().clone()).collect(),
        false => vec![key.text().expose().clone()],
    };
    Ok(Kit { key: row, secrets, site: ctx.site.settings.name() })
}

/// What a person has in hand.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TypedKey {
    /// The key, or two of its shares on lines of their own.
    pub text: Secret<String>,
}

/// What the typed key is good for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KeyChecked {
    /// Whether it opens the newest full backup.
    pub opens: bool,
    /// That backup; empty when there is none yet.
    pub backup: String,
    /// The number of the site's key that it is; absent when it is none of them.
    pub number: Option<u32>,
    /// In words.
    pub text: String,
}

/// Proves that a key in somebody's hand opens the newest backup, and writes down when.
pub fn check_key(ctx: &Ctx<'_>, input: TypedKey) -> Result<KeyChecked> {
    let permit = ctx.require("backups.check_key")?;
    let key = keys::typed(&input.text)?;
    let recipient = key.recipient().to_string();
    let row = keys::rows(ctx)?.into_iter().find(|row| row.recipient == recipient);
    let backups = store::backups(&ctx.read()?, ctx.tenant)?;
    let newest = backups.iter().filter(|b| b.full && b.here && b.verified.is_some()).max_by_key(|b| b.made);
    let (opens, text) = match newest {
        None => (false, "there is no backup to try it on yet".to_owned()),
        Some(backup) => {
            let file = std::fs::File::open(folder(ctx).join(&backup.name))?;
            match Reader::open(file, &backup.name, &[key]) {
                Ok(_) => {
                    (true, format!("it opens the newest backup, `{}`", backup.name.trim_end_matches(ENDING)))
                }
                Err(error) if error.kind() != Kind::Internal => (false, error.message().to_owned()),
                Err(error) => return Err(error),
            }
        }
    };
    let number = row.as_ref().map(|row| row.number);
    permit.write(|change| {
        if let Some(mut row) = row
            && (opens || newest.is_none())
        {
            row.checked = Some(ctx.now);
            change.tx.put(&KEYS, &(ctx.tenant, row.number), &row)?;
        }
        change.tell("backups.key_checked", number.unwrap_or_default(), json!({ "opens": opens }));
        Ok(())
    })?;
    let backup = newest.map(|backup| backup.name.clone()).unwrap_or_default();
    Ok(KeyChecked { opens, backup, number, text })
}

/// Lists the restores that this site is the outcome of, the newest first.
pub fn restores(ctx: &Ctx<'_>, _: Nothing) -> Result<Vec<RestoreRecord>> {
    ctx.require("backups.read")?;
    let rows = ctx.read()?.prefix_back(&RESTORES, &ctx.tenant, crate::base::limits::PAGE_ROWS_MAX)?;
    Ok(rows.into_iter().map(|(_, record)| record).collect())
}
