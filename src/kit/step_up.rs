//! What a person may do only for a short time after they have shown who they are: an open screen is not enough for it.

use super::{Actor, Ctx};
use crate::base::{Error, Kind, Result, Span, Timestamp};

/// How long a password, code or passkey that was shown is good for what is dangerous.
pub const PROOF_LASTS: Span = Span::from_minutes(10);

/// The permissions that need a fresh proof. Programs with a key, which nobody can leave open on a desk, need none; nor
/// does what must be quick when something goes wrong, such as to shut somebody out.
pub const DANGEROUS: [&str; 37] = [
    // Who may come in, and as whom.
    "identity.create",
    "identity.change",
    "identity.enable",
    "identity.reset",
    "identity.grant",
    "identity.key_create",
    "identity.import",
    "identity.export",
    "identity.policy_change",
    "identity.user_sessions_revoke",
    "identity.factors_remove",
    "identity.recover",
    "identity.role_create",
    "identity.role_change",
    "identity.provider_add",
    "identity.provider_change",
    "identity.link",
    // How oneself comes in.
    "identity.link_own",
    "identity.totp_add",
    "identity.totp_remove",
    "identity.passkey_add",
    "identity.passkey_remove",
    "identity.codes_make",
    "clients.create",
    // Organisations inside the site, and all that is theirs.
    "tenants.create",
    "tenants.change",
    "tenants.export",
    "tenants.erase",
    // What leaves the house, and what seals it.
    "backups.kit",
    "backups.rotate_key",
    "backups.target_add",
    "backups.target_change",
    "backups.bring_back",
    "storage.change",
    "identity.elevate",
    // What one person alone should not do.
    "approvals.mark",
    "approvals.decide",
];

/// Whether the actor may use the permission now, which they have.
pub(super) fn check(ctx: &Ctx<'_>, permission: &str) -> Result<()> {
    let Actor::Person { proved, .. } = &ctx.actor else { return Ok(()) };
    if !DANGEROUS.contains(&permission) || is_fresh(*proved, ctx.now) {
        return Ok(());
    }
    Err(Error::new(Kind::StepUp, format!("`{permission}` needs that you show again who you are"))
        .hint("open /confirm in the console and repeat; an API key needs no such proof"))
}

/// A proof of the future is none: somebody has set the clock back.
fn is_fresh(proved: Timestamp, now: Timestamp) -> bool {
    now.since(proved) < PROOF_LASTS && proved.since(now) < PROOF_LASTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_lasts_ten_minutes_and_the_table_has_each_once() {
        let at = |minutes: u64| Timestamp::from_milliseconds(1_000) + Span::from_minutes(minutes);
        for (proved, now, fresh) in [(0, 0, true), (0, 9, true), (0, 10, false), (9, 0, true), (10, 0, false)]
        {
            assert_eq!(is_fresh(at(proved), at(now)), fresh, "proved {proved} now {now}");
        }
        let mut once = DANGEROUS.to_vec();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), DANGEROUS.len());
        assert!(DANGEROUS.iter().all(|name| !name.ends_with(".read")));
    }
}
