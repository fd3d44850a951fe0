//! Tables of factors and of the rules about them.

use super::model::{Codes, PASSKEYS_MAX, Passkey, PasskeyPlace, Policy, Totp};
use crate::base::{PasskeyId, Result, TenantId, UserId};
use crate::capabilities::identity::model::Digest;
use crate::engine::store::{Read, Table, Tx};

/// Names of the tables, for checks.
pub(in crate::capabilities::identity) const NAMES: [&str; 5] = [
    "identity_totps",
    "identity_passkeys",
    "identity_passkeys_by_credential",
    "identity_codes",
    "identity_policy",
];

/// Authenticator apps.
pub(in crate::capabilities::identity) static TOTPS: Table<(TenantId, UserId), Totp> = Table::new(NAMES[0]);
/// Passkeys.
pub(in crate::capabilities::identity) static PASSKEYS: Table<(TenantId, UserId, PasskeyId), Passkey> =
    Table::new(NAMES[1]);
/// Passkeys by the digest of their credential.
pub(in crate::capabilities::identity) static BY_CREDENTIAL: Table<(TenantId, Digest), PasskeyPlace> =
    Table::new(NAMES[2]);
/// Recovery codes.
pub(in crate::capabilities::identity) static CODES: Table<(TenantId, UserId), Codes> = Table::new(NAMES[3]);
/// The rules.
pub(in crate::capabilities::identity) static POLICY: Table<TenantId, Policy> = Table::new(NAMES[4]);

/// The digest by which a credential is found.
pub(super) fn credential(bytes: &[u8]) -> Digest {
    Digest::of(&format!("passkey {}", data_encoding::BASE64URL_NOPAD.encode(bytes)))
}

/// The passkeys of one person, oldest first.
pub(super) fn passkeys(read: &impl Read, tenant: TenantId, user: UserId) -> Result<Vec<Passkey>> {
    let rows = read.prefix(&PASSKEYS, &(tenant, user), 2 * PASSKEYS_MAX)?;
    Ok(rows.into_iter().map(|(_, passkey)| passkey).collect())
}

/// Removes one passkey.
pub(super) fn remove_passkey(tx: &mut Tx, tenant: TenantId, passkey: &Passkey) -> Result<()> {
    tx.delete(&PASSKEYS, &(tenant, passkey.user, passkey.id))?;
    tx.delete(&BY_CREDENTIAL, &(tenant, credential(&passkey.credential)))
}
