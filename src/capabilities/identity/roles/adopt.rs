//! People and keys from before there were grants: each had one role, which becomes a grant.

use serde::{Deserialize, Serialize};

use super::model::Granted;
use crate::base::{KeyId, Result, TenantId, UserId};
use crate::capabilities::identity::model::{KEYS_MAX, USERS_MAX};
use crate::capabilities::identity::store::{KEYS, USERS};
use crate::engine::store::{Read, Table, Tx};
use crate::kit::RoleName;

/// The one field of a row that counts here.
#[derive(Serialize, Deserialize)]
struct Before {
    role: Option<RoleName>,
}

/// Gives everybody the role that they had as a grant. Until now there was one tenant.
pub fn adopt(tx: &mut Tx) -> Result<()> {
    let people: Table<(TenantId, UserId), Before> = Table::new(USERS.name());
    for (key, before) in tx.prefix(&people, &(), USERS_MAX)? {
        if let (Some(role), Some(mut user)) = (before.role, tx.get(&USERS, &key)?) {
            user.grants = vec![Granted::lasting(role)];
            tx.put(&USERS, &key, &user)?;
        }
    }
    let keys: Table<(TenantId, KeyId), Before> = Table::new(KEYS.name());
    for (id, before) in tx.prefix(&keys, &(), KEYS_MAX)? {
        if let (Some(role), Some(mut key)) = (before.role, tx.get(&KEYS, &id)?) {
            key.grants = vec![Granted::lasting(role)];
            tx.put(&KEYS, &id, &key)?;
        }
    }
    Ok(())
}
