//! Tables of people, sessions, keys and one-time links.

use super::factors::store as factors;
use super::keys::{Family, SignerRow};
use super::model::{ApiKey, Digest, Link, Session, User};
use super::roles::MadeRole;
use crate::base::{Error, FamilyId, KeyId, Result, SessionId, TenantId, UserId};
use crate::engine::clock::Clock;
use crate::engine::crypto;
use crate::engine::store::{Key, Read, Table, Tx};
use crate::kit::Site;

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 17] = [
    "identity_users",
    "identity_logins",
    "identity_sessions",
    "identity_sessions_by_user",
    "identity_keys",
    "identity_keys_by_digest",
    "identity_links",
    "identity_setup",
    "identity_roles",
    "identity_signers",
    "identity_families",
    factors::NAMES[0],
    factors::NAMES[1],
    factors::NAMES[2],
    factors::NAMES[3],
    factors::NAMES[4],
    super::people::NAMES[0],
];

impl Digest {
    /// Of this text.
    pub(super) fn of(text: &str) -> Digest {
        Digest(crypto::digest(text))
    }

    /// A new text that begins with `prefix`, and its digest.
    pub(super) fn token(prefix: &str, clock: &Clock) -> (String, Digest) {
        let (text, digest) = crypto::token(prefix, clock);
        (text, Digest(digest))
    }
}

impl Key for Digest {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        let (head, rest) =
            bytes.split_first_chunk().ok_or_else(|| Error::internal("a stored digest is too short"))?;
        *bytes = rest;
        Ok(Digest(*head))
    }
}

/// People.
pub(super) static USERS: Table<(TenantId, UserId), User> = Table::new(NAMES[0]);
/// Who has which login name.
pub(super) static LOGINS: Table<(TenantId, String), UserId> = Table::new(NAMES[1]);
/// Sessions by the digest of their cookie.
pub(super) static SESSIONS: Table<(TenantId, Digest), Session> = Table::new(NAMES[2]);
/// Digests of the sessions of one person.
pub(super) static SESSIONS_BY_USER: Table<(TenantId, UserId, SessionId), Digest> = Table::new(NAMES[3]);
/// API keys.
pub(super) static KEYS: Table<(TenantId, KeyId), ApiKey> = Table::new(NAMES[4]);
/// API keys by the digest of their text.
pub(super) static KEYS_BY_DIGEST: Table<(TenantId, Digest), KeyId> = Table::new(NAMES[5]);
/// One-time links by the digest of their token.
pub(super) static LINKS: Table<(TenantId, Digest), Link> = Table::new(NAMES[6]);
/// Digest of the setup code, until the first owner exists.
pub(super) static SETUP: Table<TenantId, Digest> = Table::new(NAMES[7]);

/// Roles that were made here, by name.
pub(super) static ROLES: Table<(TenantId, String), MadeRole> = Table::new(NAMES[8]);

/// Who signs short-lived tokens, or has signed some that are not over, by the identifier of its public key.
pub(super) static SIGNERS: Table<(TenantId, String), SignerRow> = Table::new(NAMES[9]);

/// Families of refresh tokens, by the key that they come of.
pub(super) static FAMILIES: Table<(TenantId, KeyId, FamilyId), Family> = Table::new(NAMES[10]);

/// Everybody, in the order in which they were added.
pub(super) fn users(read: &impl Read, tenant: TenantId) -> Result<Vec<User>> {
    Ok(read.prefix(&USERS, &tenant, super::model::USERS_MAX)?.into_iter().map(|(_, user)| user).collect())
}

/// The person with this login name, in whichever tenant: of a login name there is one on the site.
pub(super) fn anywhere(site: &Site, read: &impl Read, login: &str) -> Result<Option<(TenantId, User)>> {
    site.tenants.search(|tenant| by_login(read, tenant, login))
}

/// Whether somebody of the site has this login name.
pub(super) fn is_taken(site: &Site, read: &impl Read, login: &str) -> Result<bool> {
    let login = login.to_owned();
    let taken = |tenant| Ok(read.has(&LOGINS, &(tenant, login.clone()))?.then_some(()));
    Ok(site.tenants.search(taken)?.is_some())
}

/// The person with this login name.
pub(super) fn by_login(read: &impl Read, tenant: TenantId, login: &str) -> Result<Option<User>> {
    match read.get(&LOGINS, &(tenant, login.to_owned()))? {
        Some(id) => read.get(&USERS, &(tenant, id)),
        None => Ok(None),
    }
}

/// The sessions of one person with their digests, oldest first.
pub(super) fn sessions(read: &impl Read, tenant: TenantId, user: UserId) -> Result<Vec<(Digest, Session)>> {
    let mut sessions = Vec::new();
    let most = 2 * crate::base::limits::SESSIONS_PER_USER_MAX;
    for (_, digest) in read.prefix(&SESSIONS_BY_USER, &(tenant, user), most)? {
        if let Some(session) = read.get(&SESSIONS, &(tenant, digest))? {
            sessions.push((digest, session));
        }
    }
    Ok(sessions)
}

/// Removes one session.
pub(super) fn remove_session(
    tx: &mut Tx,
    tenant: TenantId,
    digest: &Digest,
    session: &Session,
) -> Result<()> {
    tx.delete(&SESSIONS, &(tenant, *digest))?;
    tx.delete(&SESSIONS_BY_USER, &(tenant, session.user, session.id))
}
