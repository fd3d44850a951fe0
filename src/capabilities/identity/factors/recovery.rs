//! What a restore must not bring back of factors, and what must agree.

use serde_json::json;

use super::model::{Codes, Passkey, PasskeyPlace};
use super::store::{self, BY_CREDENTIAL, CODES, PASSKEYS, TOTPS};
use crate::base::{PasskeyId, Result, Timestamp, UserId};
use crate::capabilities::identity::store::USERS;
use crate::engine::crypto::totp_step;
use crate::engine::store::Read;
use crate::kit::{Change, Ctx, Findings, Restored};

/// Rows that a restore looks at.
const ROWS_MAX: usize = 100_000;

/// Factors that were removed since stay removed, recovery codes that were used or replaced stay dead, no code of an app is
/// good a second time, and no passkey's count goes back.
pub(in crate::capabilities::identity) fn restored(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    restored: &Restored,
) -> Result<()> {
    let tenant = ctx.tenant;
    let happened = |event: &'static str| restored.undone.iter().filter(move |undone| undone.event == event);
    for undone in happened("identity.totp_removed").chain(happened("identity.totp_added")) {
        // A secret that was removed, or replaced by another one, is nobody's any more.
        let Ok(user) = undone.subject.parse::<UserId>() else { continue };
        if change.tx.has(&TOTPS, &(tenant, user))? {
            change.tx.delete(&TOTPS, &(tenant, user))?;
            change.tell("identity.totp_removed", user, json!({ "because": BECAUSE }));
        }
    }
    for undone in happened("identity.passkey_removed") {
        let (Ok(id), Some(user)) = (undone.subject.parse::<PasskeyId>(), undone.field::<UserId>("user"))
        else {
            continue;
        };
        if let Some(passkey) = change.tx.get(&PASSKEYS, &(tenant, user, id))? {
            store::remove_passkey(change.tx, tenant, &passkey)?;
            change.tell("identity.passkey_removed", id, json!({ "user": user, "because": BECAUSE }));
        }
    }
    for undone in happened("identity.recovery_codes_made") {
        let Ok(user) = undone.subject.parse::<UserId>() else { continue };
        change.tx.delete(&CODES, &(tenant, user))?;
    }
    for undone in happened("identity.recovery_code_used") {
        let Ok(user) = undone.subject.parse::<UserId>() else { continue };
        let known: Option<Codes> = change.tx.get(&CODES, &(tenant, user))?;
        let same = |codes: &Codes| undone.field::<Timestamp>("made") == Some(codes.made);
        let Some(mut codes) = known.filter(same) else { continue };
        if let Some(kept) = undone.field::<usize>("place").and_then(|place| codes.digests.get_mut(place)) {
            *kept = None;
            change.tx.put(&CODES, &(tenant, user), &codes)?;
        }
    }
    let shown = ["identity.signed_in", "identity.proved"];
    for undone in shown.into_iter().flat_map(happened) {
        let (Ok(user), Some(id), Some(counter)) = (
            undone.subject.parse::<UserId>(),
            undone.field::<PasskeyId>("passkey"),
            undone.field::<u32>("counter"),
        ) else {
            continue;
        };
        if let Some(passkey) = change.tx.get(&PASSKEYS, &(tenant, user, id))? {
            let counter = passkey.counter.max(counter);
            change.tx.put(&PASSKEYS, &(tenant, user, id), &Passkey { counter, ..passkey })?;
        }
    }
    // Who has added their first factor since has none now, and their password alone lets them in.
    let added = ["identity.totp_added", "identity.passkey_added"];
    let mut told = std::collections::BTreeSet::new();
    for undone in added.into_iter().flat_map(happened) {
        let Some(user) = undone.subject.parse::<UserId>().ok().or_else(|| undone.field("user")) else {
            continue;
        };
        let known = change.tx.has(&USERS, &(tenant, user))?;
        if known && !super::have(&*change.tx, tenant, user)?.any() && told.insert(user) {
            change.tell(
                "identity.factors_given_up",
                user,
                json!({ "because": "they were added after the backup" }),
            );
        }
    }
    // Codes that were used up to now may be among what was given up.
    for (key, mut totp) in change.tx.prefix(&TOTPS, &tenant, ROWS_MAX)? {
        totp.last = totp.last.max(totp_step(ctx.now).saturating_add_signed(totp.offset));
        change.tx.put(&TOTPS, &key, &totp)?;
    }
    Ok(())
}

const BECAUSE: &str = "it was so before the restore";
const RESTORE: &str = "restore a backup from before the damage";
const REMOVE: &str = "remove the factor and add it again";

/// Factors are of people who are there, and passkeys are found by their credentials.
pub(in crate::capabilities::identity) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &TOTPS, |findings, read, (tenant, user), _| {
        let known = read.has(&USERS, &(*tenant, *user))?;
        findings.demand(known, format!("identity_totps {user}"), "its person is not there", RESTORE);
        Ok(())
    })?;
    findings.each_row(ctx, &CODES, |findings, read, (tenant, user), _| {
        let known = read.has(&USERS, &(*tenant, *user))?;
        findings.demand(known, format!("identity_codes {user}"), "their person is not there", RESTORE);
        Ok(())
    })?;
    findings.each_row(ctx, &PASSKEYS, |findings, read, (tenant, user, id), passkey| {
        let place = || format!("identity_passkeys {id}");
        let same = passkey.id == *id && passkey.user == *user;
        findings.demand(same, place(), "the row is of another passkey", RESTORE);
        findings.demand(read.has(&USERS, &(*tenant, *user))?, place(), "its person is not there", RESTORE);
        let found = read.get(&BY_CREDENTIAL, &(*tenant, store::credential(&passkey.credential)))?;
        let leads = found == Some(PasskeyPlace { user: *user, passkey: *id });
        findings.demand(leads, place(), "its credential does not lead here", REMOVE);
        Ok(())
    })?;
    findings.each_row(ctx, &BY_CREDENTIAL, |findings, read, (tenant, _), place| {
        let known = read.has(&PASSKEYS, &(*tenant, place.user, place.passkey))?;
        let at = format!("identity_passkeys_by_credential {}", place.passkey);
        findings.demand(known, at, "there is no such passkey", RESTORE);
        Ok(())
    })
}
