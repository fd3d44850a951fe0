//! People as lists: found, acted on together, taken in from a file and given out as one; and what each chose for themselves.
//!
//! Invariant: an import adds everybody or nobody, and says of every line that is wrong what is wrong with it.
//! Invariant: what is given out holds no hash and no secret, a spreadsheet takes none of it for a formula, and the audit
//! trail says who took it.

mod csv;
mod export;
mod import;
pub(super) mod pages;
mod profile;
#[cfg(test)]
mod tests;

pub use export::Exported;
pub use import::{ImportAsked, Imported};
pub(super) use profile::{NAMES, keep_theme, theme_cookie, theme_of};
pub use profile::{Profile, zone_of};

use super::model::UserView;
use super::{factors, ops};
use crate::base::Result;
use crate::kit::{Ctx, Nothing, Ops};

/// Declares the operations.
pub(super) fn ops(ops: &mut Ops) {
    ops.post(
        "identity.import",
        "/identity/import",
        "Adds people from CSV, all or nobody, or only says what would come of it.",
        import::import,
    );
    ops.gives("identity.imported");
    ops.post("identity.export", "/identity/export", "Gives out everybody, without secrets.", export::export);
    ops.gives("identity.exported");
    ops.get("identity.profile", "/identity/profile", "Shows what one chose for oneself.", profile::find);
    ops.own();
    ops.patch(
        "identity.profile_change",
        "/identity/profile",
        "Changes what one chose for oneself.",
        profile::change,
    );
    ops.own();
}

/// The people that a filter finds, each with what they have besides a password. Words must all occur in name, login name
/// or roles; `state:`, `role:` and `factor:` ask for one of them.
pub(super) fn found(ctx: &Ctx<'_>, filter: &str) -> Result<Vec<(UserView, &'static str)>> {
    let people = ops::users(ctx, Nothing {})?.items;
    let read = ctx.read()?;
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let mut kept = Vec::new();
    for user in people {
        let have = factors::have(&read, ctx.tenant, user.id)?;
        let factor = match (have.totp, have.passkeys > 0) {
            (true, true) => "app and passkey",
            (true, false) => "app",
            (false, true) => "passkey",
            (false, false) => "none",
        };
        if words.iter().all(|word| fits(&user, factor, word)) {
            kept.push((user, factor));
        }
    }
    Ok(kept)
}

fn fits(user: &UserView, factor: &str, word: &str) -> bool {
    let state = match (user.state.word(), user.password_set) {
        ("active", false) => "invited",
        (state, _) => state,
    };
    match word.split_once(':') {
        Some(("state", wanted)) => state == wanted || user.state.word() == wanted,
        Some(("role", wanted)) => user.grants.iter().any(|one| one.role.to_string() == wanted),
        Some(("factor", wanted)) => factor.contains(wanted) || wanted == "any" && factor != "none",
        _ => format!("{} {} {} {state}", user.login, user.name, user.roles).to_lowercase().contains(word),
    }
}
