//! Secrets after a restore, and what a check looks at.

use serde_json::json;

use super::model::SecretName;
use super::store::{self, SECRETS, USES, VALUES};
use crate::base::Result;
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Findings, Restored};

/// What was changed since has the value of then again: that must be known, for what it opens may have another one.
pub(super) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
    let events = ["secrets.rotated", "secrets.reverted", "secrets.deleted"];
    for (subject, last) in restored.last_of(&events) {
        let Ok(name) = subject.parse::<SecretName>() else { continue };
        if let Some(row) = change.tx.get(&SECRETS, &(ctx.tenant, name.to_string()))? {
            let because = match last.event.as_str() {
                "secrets.deleted" => "it was deleted before the restore",
                _ => "it was given another value before the restore",
            };
            change.tell("secrets.returned", name, json!({ "because": because, "version": row.version }));
        }
    }
    Ok(())
}

/// Every version that a secret has is there and opens, and nothing lies there without a secret.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &SECRETS, |findings, read, (tenant, name), row| {
        let place = format!("secrets {name}");
        findings.demand(row.name.as_str() == name, &place, "it lies under another name", "delete it");
        for version in [Some(row.version), row.previous].into_iter().flatten() {
            if let Err(error) = store::open(ctx.site, read, *tenant, &row.name, version) {
                findings.add(
                    format!("{place}, version {version}"),
                    format!("its value does not open: {}", error.message()),
                    "give the secret a new value",
                );
            }
        }
        Ok(())
    })?;
    findings.each_row(ctx, &VALUES, |findings, read, (tenant, name, version), _| {
        let row = read.get(&SECRETS, &(*tenant, name.clone()))?;
        let known = row.is_some_and(|row| row.version == *version || row.previous == Some(*version));
        let place = format!("secrets_values {name}, version {version}");
        findings.demand(known, place, "no secret has this version", "none is needed: nothing uses it");
        Ok(())
    })?;
    findings.each_row(ctx, &USES, |findings, read, (tenant, name, user), one| {
        let known = read.has(&SECRETS, &(*tenant, name.clone()))?;
        let place = format!("secrets_uses {name}, {user}");
        let remedy = "put the secret in again, or give what refers to it another one";
        findings.demand(
            known || one.since.is_none(),
            place,
            "it refers to a secret that is not there",
            remedy,
        );
        Ok(())
    })
}
