//! Putting secrets in, changing them, and seeing who uses them. Nothing here gives a value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{self, Row, SECRETS_MAX, SecretName, Use};
use super::store::{self, SECRETS, USES, VALUES};
use crate::base::{Error, Page, Result, Secret, Timestamp, limits};
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing, Ops, Quota};

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("secrets.list", "/secrets", "Lists secrets by name, without their values.", list);
    ops.get("secrets.usage", "/secrets/usage", "Shows what uses a secret, and when it did last.", usage);
    ops.post("secrets.put", "/secrets", "Puts a new secret in.", put);
    ops.post("secrets.describe", "/secrets/describe", "Changes what a secret is said to be for.", describe);
    ops.post(
        "secrets.rotate",
        "/secrets/rotate",
        "Gives a secret a new value; the one before is kept.",
        rotate,
    );
    ops.post(
        "secrets.revert",
        "/secrets/revert",
        "Makes the value before the current one current again.",
        revert,
    );
    ops.delete(
        "secrets.delete",
        "/secrets",
        "Deletes a secret that nothing refers to, with its values.",
        delete,
    );
}

/// A secret as lists show it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct SecretView {
    /// Its name.
    pub name: SecretName,
    /// What stands in settings for it.
    pub reference: String,
    /// What it is for.
    pub about: String,
    /// When it was put in.
    pub made: Timestamp,
    /// The version in force.
    pub version: u32,
    /// When that came.
    pub changed: Timestamp,
    /// Who gave it, as in the audit log.
    pub by: String,
    /// Whether the version before is kept.
    pub can_revert: bool,
    /// Things that refer to it.
    pub held_by: Vec<String>,
    /// When it was used last.
    pub used: Option<Timestamp>,
}

/// Users of one secret that are looked at.
const USES_MAX: usize = limits::PAGE_ROWS_MAX;

fn uses(read: &impl Read, ctx: &Ctx<'_>, name: &SecretName) -> Result<Vec<Use>> {
    let rows = read.prefix(&USES, &(ctx.tenant, name.to_string()), USES_MAX)?;
    Ok(rows.into_iter().map(|(_, one)| one).collect())
}

fn view(read: &impl Read, ctx: &Ctx<'_>, row: Row) -> Result<SecretView> {
    let uses = uses(read, ctx, &row.name)?;
    let held = uses.iter().filter(|one| one.since.is_some());
    Ok(SecretView {
        reference: format!("{}{}", model::SCHEME, row.name),
        held_by: held.map(|one| one.title.clone()).collect(),
        used: uses.iter().filter_map(|one| one.last).max(),
        name: row.name,
        about: row.about,
        made: row.made,
        version: row.version,
        changed: row.changed,
        by: row.by,
        can_revert: row.previous.is_some(),
    })
}

/// Lists them.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<SecretView>> {
    ctx.require("secrets.read")?;
    let read = ctx.read()?;
    let rows = read.prefix(&SECRETS, &ctx.tenant, SECRETS_MAX)?;
    let items = rows.into_iter().map(|(_, row)| view(&read, ctx, row)).collect::<Result<_>>()?;
    Ok(Page { items, next: None })
}

/// Which secret.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct ByName {
    /// Its name.
    pub name: SecretName,
}

/// Shows what uses it.
pub(super) fn usage(ctx: &Ctx<'_>, input: ByName) -> Result<Page<Use>> {
    ctx.require("secrets.read")?;
    let read = ctx.read()?;
    store::find(&read, ctx.tenant, &input.name)?;
    let mut items = uses(&read, ctx, &input.name)?;
    items.sort_by_key(|one| std::cmp::Reverse(one.last));
    Ok(Page { items, next: None })
}

/// A new secret.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Put {
    /// What it is called.
    pub name: SecretName,
    /// The value; it is never given out again.
    pub value: Secret<String>,
    /// What it is for.
    #[serde(default)]
    pub about: String,
}

/// Puts one in.
pub(super) fn put(ctx: &Ctx<'_>, input: Put) -> Result<SecretView> {
    let permit = ctx.require("secrets.put")?;
    model::sound_value(&input.value)?;
    let about = model::sound_about(&input.about)?;
    permit.write(|change| {
        let key = (ctx.tenant, input.name.to_string());
        if change.tx.has(&SECRETS, &key)? {
            return Err(Error::conflict(format!("there is a secret `{}` already", input.name))
                .hint("rotate it, which keeps the value before, or take another name"));
        }
        if change.tx.prefix(&SECRETS, &ctx.tenant, SECRETS_MAX)?.len() >= SECRETS_MAX {
            return Err(Error::too_many(format!("{SECRETS_MAX} secrets")).hint("delete one first"));
        }
        ctx.within_quota(Quota::Secrets, 1, || change.tx.count(&SECRETS, &ctx.tenant))?;
        let row = Row {
            name: input.name.clone(),
            about: about.clone(),
            made: ctx.now,
            version: 1,
            changed: ctx.now,
            by: ctx.actor.text(),
            previous: None,
        };
        store::put(ctx, change.tx, &row.name, row.version, &input.value)?;
        change.tx.put(&SECRETS, &key, &row)?;
        change.tell("secrets.created", &row.name, json!({ "about": about }));
        view(&*change.tx, ctx, row)
    })
}

/// What a secret is for.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Describe {
    /// Which one.
    pub name: SecretName,
    /// What it is for.
    pub about: String,
}

/// Says what it is for.
pub(super) fn describe(ctx: &Ctx<'_>, input: Describe) -> Result<SecretView> {
    let permit = ctx.require("secrets.describe")?;
    let about = model::sound_about(&input.about)?;
    permit.write(|change| {
        let before = store::find(change.tx, ctx.tenant, &input.name)?;
        let row = Row { about: about.clone(), ..before.clone() };
        if row != before {
            change.tx.put(&SECRETS, &(ctx.tenant, row.name.to_string()), &row)?;
            let moved = json!({ "before": before.about, "after": about });
            change.tell("secrets.described", &row.name, json!({ "about": moved }));
        }
        view(&*change.tx, ctx, row)
    })
}

/// A new value.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Rotate {
    /// Of which secret.
    pub name: SecretName,
    /// The value; it is never given out again.
    pub value: Secret<String>,
}

/// Gives it a new value.
pub(super) fn rotate(ctx: &Ctx<'_>, input: Rotate) -> Result<SecretView> {
    let permit = ctx.require("secrets.rotate")?;
    model::sound_value(&input.value)?;
    permit.write(|change| {
        let before = store::find(change.tx, ctx.tenant, &input.name)?;
        let row = next(ctx, &before);
        if let Some(old) = before.previous {
            change.tx.delete(&VALUES, &(ctx.tenant, row.name.to_string(), old))?;
        }
        store::put(ctx, change.tx, &row.name, row.version, &input.value)?;
        change.tx.put(&SECRETS, &(ctx.tenant, row.name.to_string()), &row)?;
        let moved = json!({ "before": before.version, "after": row.version });
        change.tell("secrets.rotated", &row.name, json!({ "version": moved }));
        view(&*change.tx, ctx, row)
    })
}

fn next(ctx: &Ctx<'_>, before: &Row) -> Row {
    let mut row = before.clone();
    (row.previous, row.version) = (Some(before.version), before.version + 1);
    (row.changed, row.by) = (ctx.now, ctx.actor.text());
    row
}

/// Takes the value before as a new version; the one that was current becomes the one before.
pub(super) fn revert(ctx: &Ctx<'_>, input: ByName) -> Result<SecretView> {
    ctx.require("secrets.revert")?.write(|change| {
        let before = store::find(change.tx, ctx.tenant, &input.name)?;
        let Some(old) = before.previous else {
            return Err(Error::conflict(format!(
                "no value before the current one of `{}` is kept",
                input.name
            ))
            .hint("rotate it with the value that it should have"));
        };
        let value = store::open(ctx.site, &*change.tx, ctx.tenant, &input.name, old)?;
        let row = next(ctx, &before);
        change.tx.delete(&VALUES, &(ctx.tenant, row.name.to_string(), old))?;
        store::put(ctx, change.tx, &row.name, row.version, &value)?;
        change.tx.put(&SECRETS, &(ctx.tenant, row.name.to_string()), &row)?;
        let moved = json!({ "before": before.version, "after": row.version });
        change.tell("secrets.reverted", &row.name, json!({ "version": moved }));
        view(&*change.tx, ctx, row)
    })
}

/// Deletes it. Backups that were taken before still hold it, sealed.
pub(super) fn delete(ctx: &Ctx<'_>, input: ByName) -> Result<()> {
    ctx.require("secrets.delete")?.write(|change| {
        let row = store::find(change.tx, ctx.tenant, &input.name)?;
        let uses = uses(&*change.tx, ctx, &input.name)?;
        if let Some(holder) = uses.iter().find(|one| one.since.is_some()) {
            return Err(Error::conflict(format!("{} refers to `{}`", holder.title, input.name))
                .hint("give that another secret first"));
        }
        let name = row.name.to_string();
        for one in uses {
            change.tx.delete(&USES, &(ctx.tenant, name.clone(), one.user))?;
        }
        for version in [Some(row.version), row.previous].into_iter().flatten() {
            change.tx.delete(&VALUES, &(ctx.tenant, name.clone(), version))?;
        }
        change.tx.delete(&SECRETS, &(ctx.tenant, name.clone()))?;
        change.tell("secrets.deleted", name, json!({ "version": row.version }));
        Ok(())
    })
}
