//! What factors need to know of roles.

use crate::base::Result;
use crate::capabilities::identity::model::{User, within};
use crate::kit::{Change, Ctx, Role};

/// The roles that the person has, or may take up.
pub(super) fn of(user: &User) -> Vec<String> {
    vec![user.role.word().to_owned()]
}

/// Every role that there is.
pub(super) fn names(_: &Ctx<'_>) -> Result<Vec<String>> {
    Ok(Role::ALL.into_iter().map(|role| role.word().to_owned()).collect())
}

/// Refuses to act on who has more than who acts.
pub(super) fn may_act_on(ctx: &Ctx<'_>, _: &Change<'_>, user: &User) -> Result<()> {
    within(ctx.actor.role(), user.role)
}
