//! Why somebody may do something, or why not: grant by grant.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Standing;
use super::permissions;
use crate::base::{Error, Result, UserId};
use crate::capabilities::identity::store::USERS;
use crate::engine::store::Read;
use crate::kit::{Ctx, HOME, OWN, Site, is_sites};

/// What is asked.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Asked {
    /// Who.
    pub id: UserId,
    /// The permission: the name of an operation, or `{noun}.read`.
    pub permission: String,
}

/// The answer.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Why {
    /// Whether they may, with anything at all.
    pub may: bool,
    /// One sentence.
    pub answer: String,
    /// What each grant adds to it.
    pub grants: Vec<GrantWhy>,
}

/// What one grant adds.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct GrantWhy {
    /// The grant in words.
    pub grant: String,
    /// Whether it gives the permission now.
    pub gives: bool,
    /// Why it does or does not.
    pub because: String,
}

/// Every permission that there is, from the operations of all capabilities; none where nobody has told which there are.
pub(in crate::capabilities::identity) fn catalogue(site: &Site) -> BTreeSet<&str> {
    site.ops().iter().map(|op| op.permission.as_str()).filter(|permission| *permission != OWN).collect()
}

/// Tells why a person may do something.
pub(in crate::capabilities::identity) fn why(ctx: &Ctx<'_>, input: Asked) -> Result<Why> {
    ctx.require("identity.read")?;
    let known = catalogue(ctx.site);
    if !known.is_empty() && !known.contains(input.permission.as_str()) {
        let shown: String = input.permission.chars().take(60).collect();
        return Err(Error::not_found("permission", shown).hint(
            "the name of an operation, such as `agents.retire`, or `agents.read` for all reads of agents",
        ));
    }
    let read = ctx.read()?;
    let user =
        read.get(&USERS, &(ctx.tenant, input.id))?.ok_or_else(|| Error::not_found("user", input.id))?;
    let mut grants = Vec::with_capacity(user.grants.len());
    for one in &user.grants {
        let role = &one.role;
        let (gives, because) = match permissions(&read, ctx.tenant, role)? {
            None => (false, format!("there is no role `{role}` any more")),
            Some(all) => match (all.fitting(&input.permission), all.taken_by(&input.permission)) {
                (_, Some(except)) => (false, format!("`{role}` leaves it out by `{except}`")),
                (None, None) => (false, format!("`{role}` does not include it")),
                (Some(_), _) if !one.lasts(ctx.now) => (false, "the grant has ended".to_owned()),
                (Some(pattern), _) if one.standing == Standing::Eligible => {
                    (false, format!("`{role}` includes it by `{pattern}`, once it is taken up"))
                }
                (Some(pattern), _) => (true, format!("`{role}` includes it by `{pattern}`")),
            },
        };
        grants.push(GrantWhy { grant: one.text(), gives, because });
    }
    let elsewhere = ctx.tenant != HOME && is_sites(&input.permission);
    let may = user.is_active() && !elsewhere && grants.iter().any(|one| one.gives);
    let answer = match (may, user.is_active()) {
        _ if elsewhere => format!("{} may not {}: it is about the whole site.", user.name, input.permission),
        (true, _) => format!("{} may {}.", user.name, input.permission),
        (false, false) => format!("{} may not {}: they are shut out.", user.name, input.permission),
        (false, true) => format!("{} may not {}: nothing they have gives it.", user.name, input.permission),
    };
    Ok(Why { may, answer, grants })
}
