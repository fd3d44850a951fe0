//! Roles on demand: taken up for a while, with a reason that the audit log keeps.
//!
//! Invariant: what is taken up ends by itself, and is no more than what the person may take up.

use schemars::JsonSchema;
use serde::Deserialize;

use super::model::{Granted, Standing};
use super::ops::{reason, told};
use crate::base::{Error, Result, Span};
use crate::capabilities::identity::model::UserView;
use crate::capabilities::identity::ops::alter_own;
use crate::capabilities::identity::own;
use crate::kit::{Ctx, Nothing, RoleName, Scope};

/// Minutes for which a role may be taken up.
pub(in crate::capabilities::identity) const MINUTES_MAX: u64 = 12 * 60;
/// Characters of a reason; a word says nothing.
const REASON_CHARACTERS_MIN: usize = 8;

/// What is taken up.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Elevated {
    /// The role.
    pub role: RoleName,
    /// With what it may be taken up.
    #[serde(default)]
    pub scope: Scope,
    /// For how many minutes, at most 720.
    pub minutes: u64,
    /// Why, in a few words.
    pub reason: String,
}

/// Takes a role up.
pub(in crate::capabilities::identity) fn elevate(ctx: &Ctx<'_>, input: Elevated) -> Result<UserView> {
    own(ctx)?;
    if input.minutes == 0 || input.minutes > MINUTES_MAX {
        return Err(Error::invalid("the number of minutes is not valid").hint(format!("1 to {MINUTES_MAX}")));
    }
    let why = reason(&input.reason)?;
    if why.chars().count() < REASON_CHARACTERS_MIN {
        return Err(Error::invalid("the reason is too short")
            .hint(format!("at least {REASON_CHARACTERS_MIN} characters; others read it in the audit log")));
    }
    alter_own(ctx, "identity.elevate", "identity.elevated", |user| {
        let allowed = user.grants.iter().find(|one| {
            one.standing == Standing::Eligible
                && one.lasts(ctx.now)
                && one.role == input.role
                && one.scope.includes(&input.scope)
        });
        let Some(allowed) = allowed else {
            return Err(Error::forbidden(format!(
                "the role `{}` with {} is not yours to take up",
                input.role, input.scope
            ))
            .hint("who manages people can give it to you on demand"));
        };
        let end = ctx.now + Span::from_minutes(input.minutes);
        let until = allowed.until.map_or(end, |last| last.min(end));
        let before = user.roles();
        user.grants.retain(|one| !is_taken(one) || one.role != input.role || one.scope != input.scope);
        user.grants.push(Granted {
            role: input.role,
            scope: input.scope,
            standing: Standing::Held,
            until: Some(until),
            reason: why,
            provider: String::new(),
        });
        let mut detail = told(user, &before);
        detail["reason"] = user.grants.last().map(|one| one.reason.clone()).unwrap_or_default().into();
        Ok(detail)
    })
}

/// Lays down everything that was taken up.
pub(in crate::capabilities::identity) fn step_down(ctx: &Ctx<'_>, _: Nothing) -> Result<UserView> {
    alter_own(ctx, "identity.step_down", "identity.stepped_down", |user| {
        let (before, there) = (user.roles(), user.grants.len());
        let eligible: Vec<(RoleName, Scope)> = user
            .grants
            .iter()
            .filter(|one| one.standing == Standing::Eligible)
            .map(|one| (one.role.clone(), one.scope.clone()))
            .collect();
        user.grants.retain(|one| {
            !is_taken(one)
                || !eligible.iter().any(|(role, scope)| *role == one.role && scope.includes(&one.scope))
        });
        if user.grants.len() == there {
            return Err(Error::conflict("nothing is taken up"));
        }
        Ok(told(user, &before))
    })
}

/// Whether it holds for a while only.
fn is_taken(one: &Granted) -> bool {
    one.standing == Standing::Held && one.until.is_some()
}
