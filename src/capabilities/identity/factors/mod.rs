//! What somebody has besides a password: an authenticator app (TOTP), passkeys, recovery codes; and the rules of the site
//! about them.
//!
//! A passkey is taken in and checked by `engine::crypto`, which says why that is our own code. A passkey that has asked its
//! owner for a PIN or a finger stands alone; any other factor comes after a password or a link.
//!
//! Invariant: the app's secret is sealed by the vault; of recovery codes only digests are kept, and of passkeys nothing
//! secret is there at all.
//! Invariant: a code of the app, a recovery code and a challenge each work once, and a passkey's count never goes back;
//! not by a restore either, as far as it knows what was given up.
//! Invariant: whoever the rules ask for a second factor has no session without one.
//! Invariant: wrong codes are counted for the address with the account, and for the account alone so far that a million
//! codes take decades; the second count holds up the app's codes only, so passkeys and recovery codes still let their
//! owner in.

mod challenge;
mod codes;
mod model;
pub(super) mod ops;
pub(super) mod pages;
mod passkeys;
mod policy;
pub(super) mod recovery;
pub(super) mod store;
#[cfg(test)]
mod tests;
mod totp;

pub(super) use challenge::{Asks, Used};
pub(super) use codes::spend as spend_code;
pub(super) use model::CODE_TRIES;
pub use model::{Means, Policy};
pub use ops::{CodesMade, FactorsView, Lost, PasskeyRenamed, PasskeyView, Recovered, TotpView};
pub(super) use passkeys::{
    add as add_passkey, creation, held, request, spend as spend_passkey, tenant_of, under_a_name,
};
pub use policy::PolicyChanged;
pub(super) use policy::policy;
pub(super) use totp::{Jumps, Pending, begin as begin_totp, confirm as confirm_totp, spend as spend_totp};

use std::collections::HashSet;

use super::model::{USERS_MAX, User};
use crate::base::{Result, TenantId, UserId};
use crate::engine::store::Read;

/// What somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Have {
    /// An authenticator app.
    pub(super) totp: bool,
    /// Passkeys.
    pub(super) passkeys: usize,
    /// Recovery codes that are left.
    pub(super) codes: usize,
}

impl Have {
    /// In words.
    pub(super) fn words(self) -> String {
        let app = self.totp.then(|| "an authenticator app".to_owned());
        let keys = match self.passkeys {
            0 => None,
            1 => Some("a passkey".to_owned()),
            n => Some(format!("{n} passkeys")),
        };
        let codes = self.any().then(|| format!("{} recovery codes", self.codes));
        match self.any() {
            true => [app, keys, codes].into_iter().flatten().collect::<Vec<_>>().join(", "),
            false => "None yet: your password alone lets you in.".to_owned(),
        }
    }

    /// Whether there is a factor; recovery codes alone are none.
    pub(super) fn any(self) -> bool {
        self.totp || self.passkeys > 0
    }
}

/// What is left to do for who has shown a password or a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// Show a second factor.
    Show(Have),
    /// The rules ask for one, and there is none: add it.
    Enrol,
}

/// What this person has.
pub(super) fn have(read: &impl Read, tenant: TenantId, user: UserId) -> Result<Have> {
    Ok(Have {
        totp: read.has(&store::TOTPS, &(tenant, user))?,
        passkeys: store::passkeys(read, tenant, user)?.len(),
        codes: read.get(&store::CODES, &(tenant, user))?.map_or(0, |codes| codes.left()),
    })
}

/// Everybody who has an app or a passkey.
pub(super) fn holders(read: &impl Read, tenant: TenantId) -> Result<HashSet<UserId>> {
    let apps = read.prefix(&store::TOTPS, &tenant, USERS_MAX)?.into_iter().map(|((_, user), _)| user);
    let keys = read.prefix(&store::PASSKEYS, &tenant, USERS_MAX * model::PASSKEYS_MAX)?;
    Ok(apps.chain(keys.into_iter().map(|((_, user, _), _)| user)).collect())
}

/// What is left to do for this person.
pub(super) fn step(read: &impl Read, tenant: TenantId, user: &User) -> Result<Step> {
    let have = have(read, tenant, user.id)?;
    if have.any() {
        return Ok(Step::Show(have));
    }
    Ok(if policy(read, tenant)?.asks(user) { Step::Enrol } else { Step::None })
}
