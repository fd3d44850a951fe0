//! The rules about signing in: who needs a second factor, and how long a session lasts.

use serde_json::json;

use super::model::Policy;
use super::store::POLICY;
use crate::base::{Error, Result, TenantId};
use crate::capabilities::identity::own;
use crate::capabilities::identity::roles;
use crate::capabilities::identity::store::{self, USERS};
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing};

/// The rules; those that were always there while nobody has set others.
pub(in crate::capabilities::identity) fn policy(read: &impl Read, tenant: TenantId) -> Result<Policy> {
    Ok(read.get(&POLICY, &tenant)?.unwrap_or_default())
}

/// Shows the rules.
pub(super) fn find(ctx: &Ctx<'_>, _: Nothing) -> Result<Policy> {
    ctx.require("identity.read")?;
    policy(&ctx.read()?, ctx.tenant)
}

/// Changes the rules. Whoever sets them must meet them in this very session: nobody shuts themselves out by a form.
pub(super) fn change(ctx: &Ctx<'_>, input: Policy) -> Result<Policy> {
    let permit = ctx.require("identity.policy_change")?;
    let after = input.checked(&roles::names(ctx)?)?;
    permit.write(|change| {
        if let Ok((user, session, _)) = own(ctx) {
            let me = change.tx.get(&USERS, &(ctx.tenant, user))?;
            let rows = store::sessions(&*change.tx, ctx.tenant, user)?;
            let here = rows.into_iter().map(|(_, row)| row).find(|row| row.id == session);
            if let (Some(me), Some(here)) = (me, here)
                && after.refuses(&me, &here)
            {
                return Err(Error::conflict("you have signed in without a second factor yourself")
                    .hint("add one to your account, sign in with it, then ask others for it"));
            }
        }
        let before = policy(&*change.tx, ctx.tenant)?;
        if before == after {
            return Ok(());
        }
        change.tx.put(&POLICY, &ctx.tenant, &after)?;
        change.tell("identity.policy_changed", "site", json!({ "before": before, "after": after }));
        Ok(())
    })?;
    Ok(after)
}
