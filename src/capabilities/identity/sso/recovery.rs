//! What must not come back after a restore, and what must agree.

use serde_json::json;

use super::model::Provider;
use super::store::{self, BEGUN, LINKS, PROVIDERS};
use crate::base::{Result, UserId};
use crate::capabilities::identity::store::USERS;
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Findings, Restored};

const BECAUSE: &str = "it was so before the restore";

/// A provider that was removed or switched off since stays off; a link that was taken away stays away.
pub(in crate::capabilities::identity) fn restored(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    restored: &Restored,
) -> Result<()> {
    let tenant = ctx.tenant;
    for (key, _) in change.tx.prefix(&BEGUN, &tenant, store::BEGUN_MAX)? {
        change.tx.delete(&BEGUN, &key)?;
    }
    // Its secret and where it is may have been changed because they were known to others.
    let touched = restored.last_of(&["identity.provider_changed", "identity.provider_removed"]);
    for provider in store::providers(&*change.tx, tenant)? {
        if provider.on && touched.contains_key(provider.id.as_str()) {
            let off = Provider { on: false, ..provider };
            change.tx.put(&PROVIDERS, &(tenant, off.id.clone()), &off)?;
            let detail = json!({ "name": off.name, "on": false, "because": BECAUSE });
            change.tell("identity.provider_changed", &off.id, detail);
        }
    }
    for undone in restored.undone.iter().filter(|undone| undone.event == "identity.unlinked") {
        let (Ok(user), Some(provider), Some(subject)) = (
            undone.subject.parse::<UserId>(),
            undone.field::<String>("provider"),
            undone.field::<String>("subject"),
        ) else {
            continue;
        };
        let key = (tenant, provider, subject);
        if change.tx.get(&LINKS, &key)?.is_some_and(|link| link.user == user) {
            change.tx.delete(&LINKS, &key)?;
            let detail = json!({ "provider": key.1, "subject": key.2, "because": BECAUSE });
            change.tell("identity.unlinked", user, detail);
        }
    }
    Ok(())
}

/// Links lead to people and providers that are there.
pub(in crate::capabilities::identity) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &PROVIDERS, |findings, _, (_, id), provider| {
        let place = format!("identity_providers {id}");
        findings.demand(
            *id == provider.id,
            place,
            "the row is of another provider",
            "remove it and add it anew",
        );
        Ok(())
    })?;
    findings.each_row(ctx, &LINKS, |findings, read, (tenant, provider, subject), link| {
        let place = || format!("identity_provider_links {provider} {subject}");
        let known = read.has(&USERS, &(*tenant, link.user))?;
        findings.demand(known, place(), "its person is not there", "none is needed: nobody can use it");
        let there = read.has(&PROVIDERS, &(*tenant, provider.clone()))?;
        findings.demand(there, place(), "its provider is not there", "none is needed: nobody can use it");
        Ok(())
    })
}
