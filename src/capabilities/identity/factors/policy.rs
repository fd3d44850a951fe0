//! The rules about signing in: who needs a second factor, and how long a session lasts.

use schemars::JsonSchema;
use serde::Deserialize;
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

/// What is changed; what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct PolicyChanged {
    /// Roles whose people need a second factor.
    #[serde(default)]
    pub second_factor_for: Option<Vec<String>>,
    /// Minutes without use after which a session ends: 5 to 1,440.
    #[serde(default)]
    pub idle_minutes: Option<u64>,
    /// Minutes after which it ends in any case: 60 to 43,200.
    #[serde(default)]
    pub absolute_minutes: Option<u64>,
}

/// Changes the rules. Whoever sets them must meet them in this very session: nobody shuts themselves out by a form.
pub(super) fn change(ctx: &Ctx<'_>, input: PolicyChanged) -> Result<Policy> {
    let permit = ctx.require("identity.policy_change")?;
    let names = roles::names(ctx)?;
    permit.write(|change| {
        let before = policy(&*change.tx, ctx.tenant)?;
        let after = Policy {
            second_factor_for: input.second_factor_for.unwrap_or_else(|| before.second_factor_for.clone()),
            idle_minutes: input.idle_minutes.unwrap_or(before.idle_minutes),
            absolute_minutes: input.absolute_minutes.unwrap_or(before.absolute_minutes),
        };
        let after = after.checked(&names)?;
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
        if before == after {
            return Ok(after);
        }
        change.tx.put(&POLICY, &ctx.tenant, &after)?;
        change.tell("identity.policy_changed", "site", json!({ "before": before, "after": after }));
        Ok(after)
    })
}
