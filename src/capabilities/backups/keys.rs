//! Recovery keys: what backups are encrypted for. The newest is in force; older ones stay, so that old backups open.
//!
//! A key lies in the vault as `recovery.N`, so that the server can read its own backups back. Outside of it only the
//! printed kit has it: whoever loses server and kit has lost the backups.

use serde_json::json;

use super::memory;
use super::model::RecoveryKeyRow;
use super::store::{KEYS, plan};
use crate::base::{Error, Result, Secret};
use crate::engine::archive::{Recipient, RecoveryKey};
use crate::engine::store::Read;
use crate::kit::Ctx;

/// Recovery keys of one site.
pub(super) const KEYS_MAX: usize = 100;

fn secret_name(number: u32) -> String {
    format!("recovery.{number}")
}

/// Every key's row, the newest first.
pub(super) fn rows(ctx: &Ctx<'_>) -> Result<Vec<RecoveryKeyRow>> {
    Ok(ctx.read()?.prefix_back(&KEYS, &ctx.tenant, KEYS_MAX)?.into_iter().map(|(_, row)| row).collect())
}

/// The key in force; made when there is none.
pub(super) fn current(ctx: &Ctx<'_>) -> Result<RecoveryKeyRow> {
    match rows(ctx)?.into_iter().next() {
        Some(row) => Ok(row),
        None => {
            let memory = memory::of(ctx.site);
            let _one = memory.keys.lock();
            match rows(ctx)?.into_iter().next() {
                Some(row) => Ok(row),
                None => make(&Ctx::system(ctx.site, ctx.site.home, "backups.key"), "backups.make_key"),
            }
        }
    }
}

/// A new key, which is in force from now on.
pub(super) fn rotate(ctx: &Ctx<'_>) -> Result<RecoveryKeyRow> {
    let memory = memory::of(ctx.site);
    let _one = memory.keys.lock();
    make(ctx, "backups.rotate_key")
}

fn make(ctx: &Ctx<'_>, permission: &'static str) -> Result<RecoveryKeyRow> {
    let permit = ctx.require(permission)?;
    let rows = rows(ctx)?;
    if rows.len() >= KEYS_MAX {
        return Err(Error::too_many(format!("{KEYS_MAX} recovery keys")));
    }
    let number = rows.first().map_or(1, |row| row.number + 1);
    let key = RecoveryKey::generate(&ctx.site.clock)?;
    let recipient = key.recipient().to_string();
    // The vault first: a row without its key would make backups that this server cannot read back.
    ctx.site.vault.put(&secret_name(number), key.text().expose().as_bytes())?;
    let row = RecoveryKeyRow { number, recipient, made: ctx.now, checked: None, shown: None };
    permit.write(|change| {
        change.tx.put(&KEYS, &(ctx.tenant, number), &row)?;
        change.tell("backups.key_made", number, json!({ "recipient": row.recipient }));
        Ok(())
    })?;
    Ok(row)
}

/// The secret of a key, from the vault.
pub(super) fn secret(ctx: &Ctx<'_>, number: u32) -> Result<RecoveryKey> {
    let missing = || {
        Error::new(crate::base::Kind::Unavailable, format!("the vault has no recovery key {number}"))
            .hint("make a new one; backups made for the lost one need its printed kit")
    };
    let text = ctx.site.vault.get(&secret_name(number))?.ok_or_else(missing)?;
    RecoveryKey::parse(std::str::from_utf8(text.expose())?)
}

/// The secrets of every key that the vault has, the newest first: between them they open every backup of this site.
pub(super) fn all(ctx: &Ctx<'_>) -> Result<Vec<RecoveryKey>> {
    let keys: Vec<RecoveryKey> = rows(ctx)?.iter().filter_map(|row| secret(ctx, row.number).ok()).collect();
    match keys.is_empty() {
        true => {
            Err(Error::unavailable("the vault has no recovery key")
                .hint("make a new one on the page of backups"))
        }
        false => Ok(keys),
    }
}

/// Everybody whom a backup is made for: the newest key, and the plan's own recipients.
pub(super) fn recipients(ctx: &Ctx<'_>) -> Result<Vec<Recipient>> {
    let own = current(ctx)?.recipient;
    let others = plan(&ctx.read()?, ctx.tenant)?.recipients;
    std::iter::once(&own).chain(others.iter()).map(|text| Recipient::parse(text)).collect()
}

/// A key as a person types it: the key itself, or at least two of its shares, one a line.
pub(super) fn typed(text: &Secret<String>) -> Result<RecoveryKey> {
    let text = text.expose();
    let shares: Vec<&str> = text
        .split(['\n', ',', ';'])
        .map(str::trim)
        .filter(|line| line.to_ascii_uppercase().starts_with("MUSTER-SHARE"))
        .collect();
    match shares.len() {
        0 => RecoveryKey::parse(text),
        1 => Err(Error::invalid("one share alone does not give the key back")
            .hint("give two of the three, each on a line of its own")),
        _ => RecoveryKey::from_shares(&shares),
    }
}
