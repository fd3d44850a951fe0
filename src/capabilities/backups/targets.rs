//! Targets: places that backups are copied to, each with a state of its own.
//!
//! Invariant: the secret of a target is in the vault and is never given out again.
//! Invariant: a target connects only where its own settings said; taking it away takes that back.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::memory;
use super::store::{self, BACKUPS, TARGETS};
use crate::base::{Error, Name, Page, Result, Secret, Timestamp, limits};
use crate::capabilities::secrets::{self, Reference};
use crate::engine::outbound::target;
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing};

/// Targets of one site.
pub(super) const TARGETS_MAX: usize = 16;
/// Bytes of a target's secret: a key of an SFTP account is the longest.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// A place that backups are copied to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(super) struct Target {
    /// Its identifier.
    pub id: String,
    /// What people call it.
    pub name: Name,
    /// Whether backups are copied there.
    pub on: bool,
    /// Whether a copy there has left the building.
    pub outside: bool,
    /// Where it is.
    pub settings: target::Settings,
    /// When it was added.
    pub added: Timestamp,
    /// Who added it, as in the audit log.
    pub by: String,
    /// The secret that it refers to, instead of one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// How it fares.
    #[serde(default)]
    pub fares: Fares,
}

/// What came as the secret of a target.
enum Given {
    Nothing,
    Own(Secret<String>),
    Reference(Reference),
}

impl Given {
    fn of(secret: Option<Secret<String>>) -> Result<Given> {
        let Some(secret) = secret.filter(|secret| !secret.expose().is_empty()) else {
            return Ok(Given::Nothing);
        };
        if let Some(reference) = Reference::find(secret.expose()) {
            return reference.map(Given::Reference);
        }
        if secret.expose().len() > SECRET_BYTES_MAX {
            return Err(
                Error::invalid("the secret is too long").hint(format!("at most {SECRET_BYTES_MAX} bytes"))
            );
        }
        Ok(Given::Own(secret))
    }
}

/// How a target fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub(super) struct Fares {
    /// When the last copy arrived.
    pub copied: Option<Timestamp>,
    /// Since when it fails; absent when it does not.
    pub failing: Option<Timestamp>,
    /// Why it fails, or what is waited for; empty when all is well.
    pub text: String,
    /// How it is mended.
    pub hint: String,
    /// Whether its medium is waited for.
    pub waiting: bool,
    /// What it said after the last copy: `unmounted; it can be taken out`.
    pub note: String,
}

fn vault_name(id: &str) -> String {
    format!("backups-target.{id}")
}

/// The purpose by which a target stands on the egress list.
fn purpose(target: &Target) -> String {
    format!("backups to `{}`", target.name)
}

impl Target {
    /// The place itself.
    pub(super) fn open(&self, ctx: &Ctx<'_>) -> Result<Box<dyn target::Target>> {
        self.allow(ctx)?;
        self.settings.open(self.secret(ctx)?, &ctx.site.egress, &ctx.site.clock)
    }

    /// Its secret, own or referred to.
    fn secret(&self, ctx: &Ctx<'_>) -> Result<Option<Secret<String>>> {
        match &self.secret {
            Some(reference) => resolve(ctx, reference, self).map(Some),
            None => secret_of(ctx, &self.id),
        }
    }

    /// As what it stands among the users of a secret, and how people read that.
    fn user(&self) -> (String, String) {
        (format!("backups.target {}", self.id), format!("the backup target `{}`", self.name))
    }

    /// Puts it on the list of places that the server may connect to.
    pub(super) fn allow(&self, ctx: &Ctx<'_>) -> Result<()> {
        match self.settings.destination()? {
            Some((host, port)) => ctx.site.egress.allow(&host, port, &purpose(self), &self.by, self.added),
            None => Ok(()),
        }
    }

    fn withdraw(&self, ctx: &Ctx<'_>) -> Result<()> {
        match self.settings.destination()? {
            // It may never have been used since the start.
            Some((host, port)) => ctx.site.egress.withdraw(&host, port, &purpose(self)).or(Ok(())),
            None => Ok(()),
        }
    }

    /// Whether what was copied there stays: a one-way folder is emptied by others.
    pub(super) fn keeps(&self) -> bool {
        !matches!(self.settings, target::Settings::OneWay(_))
    }
}

fn resolve(ctx: &Ctx<'_>, reference: &Reference, target: &Target) -> Result<Secret<String>> {
    let (user, title) = target.user();
    secrets::resolve(ctx, reference, &user, &title)
}

fn secret_of(ctx: &Ctx<'_>, id: &str) -> Result<Option<Secret<String>>> {
    let kept = ctx.site.vault.get(&vault_name(id))?;
    kept.map(|secret| Ok(Secret::new(String::from_utf8(secret.expose().clone())?))).transpose()
}

/// Lists the targets.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<Target>> {
    ctx.require("backups.read")?;
    Ok(Page { items: store::targets(&ctx.read()?, ctx.tenant)?, next: None })
}

/// A new target.
#[derive(Deserialize, schemars::JsonSchema)]
pub(super) struct AddTarget {
    /// What people call it.
    pub name: Name,
    /// Where it is.
    pub settings: target::Settings,
    /// Password, key or secret access key, where the kind needs one, or `secret://` and the name of a secret. It is kept
    /// in the vault and never shown.
    #[serde(default)]
    pub secret: Option<Secret<String>>,
    /// Whether a copy there has left the building.
    #[serde(default)]
    pub outside: bool,
}

/// Adds a target.
pub(super) fn add(ctx: &Ctx<'_>, input: AddTarget) -> Result<Target> {
    let permit = ctx.require("backups.target_add")?;
    let random = ctx.site.clock.random::<5>();
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let given = Given::of(input.secret)?;
    let mut target = Target {
        id,
        name: input.name,
        on: true,
        outside: input.outside,
        settings: input.settings,
        added: ctx.now,
        by: ctx.actor.text(),
        secret: None,
        fares: Fares::default(),
    };
    let secret = match &given {
        Given::Nothing => None,
        Given::Own(secret) => Some(secret.clone()),
        Given::Reference(reference) => {
            secrets::may_refer(ctx)?;
            Some(resolve(ctx, reference, &target)?)
        }
    };
    // What cannot even be opened is refused here, by name, and not at night.
    target.settings.open(secret, &ctx.site.egress, &ctx.site.clock)?;
    match given {
        Given::Nothing => {}
        Given::Own(secret) => keep_secret(ctx, &target.id, &secret)?,
        Given::Reference(reference) => target.secret = Some(reference),
    }
    let written = permit.write(|change| {
        if change.tx.prefix(&TARGETS, &ctx.tenant, TARGETS_MAX)?.len() >= TARGETS_MAX {
            return Err(Error::too_many(format!("{TARGETS_MAX} targets")).hint("remove one first"));
        }
        if let Some(reference) = &target.secret {
            let (user, title) = target.user();
            secrets::hold(ctx, change, reference, &user, &title)?;
        }
        change.tx.put(&TARGETS, &(ctx.tenant, target.id.clone()), &target)?;
        let detail = json!({ "name": target.name, "settings": target.settings, "refers_to": target.secret });
        change.tell("backups.target_added", &target.id, detail);
        Ok(())
    });
    if written.is_err() {
        ctx.site.vault.remove(&vault_name(&target.id))?;
    }
    written?;
    target.allow(ctx)?;
    Ok(target)
}

fn keep_secret(ctx: &Ctx<'_>, id: &str, secret: &Secret<String>) -> Result<()> {
    ctx.site.vault.put(&vault_name(id), secret.expose().as_bytes())
}

/// What is changed of a target.
#[derive(Deserialize, schemars::JsonSchema)]
pub(super) struct ChangeTarget {
    /// Which one.
    pub id: String,
    /// What people call it.
    #[serde(default)]
    pub name: Option<Name>,
    /// Whether backups are copied there.
    #[serde(default)]
    pub on: Option<bool>,
    /// Whether a copy there has left the building.
    #[serde(default)]
    pub outside: Option<bool>,
    /// Where it is.
    #[serde(default)]
    pub settings: Option<target::Settings>,
    /// A new secret, or `secret://` and the name of one; without it the old one stays.
    #[serde(default)]
    pub secret: Option<Secret<String>>,
}

/// Changes a target.
pub(super) fn change(ctx: &Ctx<'_>, input: ChangeTarget) -> Result<Target> {
    let permit = ctx.require("backups.target_change")?;
    let before = find(&ctx.read()?, ctx, &input.id)?;
    let given = Given::of(input.secret)?;
    if let Given::Reference(reference) = &given {
        secrets::may_refer(ctx)?;
        resolve(ctx, reference, &before)?;
    }
    if let Some(settings) = &input.settings {
        let secret = match &given {
            Given::Own(secret) => Some(secret.clone()),
            Given::Reference(reference) => Some(resolve(ctx, reference, &before)?),
            Given::Nothing => {
                if before.secret.is_some() {
                    // Where it goes is changed: whoever may not use the secret must not send it elsewhere.
                    secrets::may_refer(ctx)?;
                }
                before.secret(ctx)?
            }
        };
        settings.open(secret, &ctx.site.egress, &ctx.site.clock)?;
        before.withdraw(ctx)?;
    }
    if let Given::Own(secret) = &given {
        keep_secret(ctx, &before.id, secret)?;
    }
    let (target, own_is_over) = permit.write(|change| {
        let mut target = find(change.tx, ctx, &input.id)?;
        let (user, _) = target.user();
        if let (false, Some(old)) = (matches!(given, Given::Nothing), target.secret.take()) {
            secrets::let_go(ctx, change, &old, &user)?;
        }
        target.name = input.name.unwrap_or(target.name);
        target.on = input.on.unwrap_or(target.on);
        target.outside = input.outside.unwrap_or(target.outside);
        target.settings = input.settings.unwrap_or(target.settings);
        let own_is_over = matches!(given, Given::Reference(_));
        if let Given::Reference(reference) = given {
            let (user, title) = target.user();
            secrets::hold(ctx, change, &reference, &user, &title)?;
            target.secret = Some(reference);
        }
        change.tx.put(&TARGETS, &(ctx.tenant, target.id.clone()), &target)?;
        let what = json!({
            "name": target.name, "on": target.on, "settings": target.settings, "refers_to": target.secret,
        });
        change.tell("backups.target_changed", &target.id, what);
        Ok((target, own_is_over))
    })?;
    if own_is_over {
        ctx.site.vault.remove(&vault_name(&target.id))?;
    }
    memory::of(ctx.site).waits.lock().remove(&target.id);
    target.allow(ctx)?;
    Ok(target)
}

/// Which target.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub(super) struct TargetById {
    /// Its identifier.
    pub id: String,
}

/// Removes a target. The copies there stay where they are.
pub(super) fn remove(ctx: &Ctx<'_>, input: TargetById) -> Result<()> {
    let target = ctx.require("backups.target_remove")?.write(|change| {
        let target = find(change.tx, ctx, &input.id)?;
        change.tx.delete(&TARGETS, &(ctx.tenant, target.id.clone()))?;
        if let Some(reference) = &target.secret {
            secrets::let_go(ctx, change, reference, &target.user().0)?;
        }
        for mut backup in store::backups(change.tx, ctx.tenant)? {
            if backup.targets.remove(&target.id).is_none() {
                continue;
            }
            let key = (ctx.tenant, backup.name.clone());
            match backup.here || !backup.targets.is_empty() {
                true => change.tx.put(&BACKUPS, &key, &backup)?,
                false => change.tx.delete(&BACKUPS, &key)?,
            }
        }
        change.tell("backups.target_removed", &target.id, json!({ "name": target.name }));
        Ok(target)
    })?;
    target.withdraw(ctx)?;
    ctx.site.vault.remove(&vault_name(&target.id))
}

/// What a test found.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub(super) struct Tested {
    /// In words.
    pub found: String,
    /// Bytes that are free, where the target tells.
    pub free_bytes: Option<u64>,
}

/// Writes, reads back and removes a small file.
pub(super) fn test(ctx: &Ctx<'_>, input: TargetById) -> Result<Tested> {
    ctx.require("backups.target_test")?;
    let target = find(&ctx.read()?, ctx, &input.id)?;
    let place = target.open(ctx)?;
    if let target::State::Absent(text) = place.state()? {
        return Err(Error::unavailable(text));
    }
    let found = place.probe()?;
    // What failed before may be mended now: the next copy need not wait.
    memory::of(ctx.site).waits.lock().remove(&target.id);
    Ok(Tested { found: found.found, free_bytes: found.free_bytes })
}

fn find(read: &impl Read, ctx: &Ctx<'_>, id: &str) -> Result<Target> {
    read.get(&TARGETS, &(ctx.tenant, id.to_owned()))?.ok_or_else(|| {
        let shown: String = id.chars().take(limits::NAME_BYTES_MAX).collect();
        Error::not_found("target", shown)
    })
}
