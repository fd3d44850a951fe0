//! The tables, and sealing.

use super::model::{Row, Sealed, SecretName, Use};
use crate::base::{Error, Result, Secret, TenantId};
use crate::engine::store::{Read, Table, Tx};
use crate::kit::{Ctx, Site};

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 3] = ["secrets", "secrets_values", "secrets_uses"];

/// Secrets by tenant and name.
pub(super) static SECRETS: Table<(TenantId, String), Row> = Table::new(NAMES[0]);
/// Their values by tenant, name and version.
pub(super) static VALUES: Table<(TenantId, String, u32), Sealed> = Table::new(NAMES[1]);
/// What uses them, by tenant, name and user.
pub(super) static USES: Table<(TenantId, String, String), Use> = Table::new(NAMES[2]);

/// A secret.
pub(super) fn find(read: &impl Read, tenant: TenantId, name: &SecretName) -> Result<Row> {
    let row = read.get(&SECRETS, &(tenant, name.to_string()))?;
    row.ok_or_else(|| {
        Error::not_found("secret", name).hint("it stands on the page of secrets when it is there")
    })
}

fn purpose(tenant: TenantId, name: &SecretName, version: u32) -> String {
    format!("secret:{tenant}:{name}:{version}")
}

/// Seals a value and keeps it as this version.
pub(super) fn put(
    ctx: &Ctx<'_>,
    tx: &mut Tx,
    name: &SecretName,
    version: u32,
    value: &Secret<String>,
) -> Result<()> {
    let bytes = ctx.site.vault.seal(&purpose(ctx.tenant, name, version), value.expose().as_bytes())?;
    tx.put(&VALUES, &(ctx.tenant, name.to_string(), version), &Sealed { at: ctx.now, bytes })
}

/// Opens a version.
pub(super) fn open(
    site: &Site,
    read: &impl Read,
    tenant: TenantId,
    name: &SecretName,
    version: u32,
) -> Result<Secret<String>> {
    let sealed = read.get(&VALUES, &(tenant, name.to_string(), version))?.ok_or_else(|| {
        Error::unavailable(format!("the value of secret `{name}` is not there")).hint("give it a new one")
    })?;
    let opened = site.vault.open_sealed(&purpose(tenant, name, version), &sealed.bytes)?;
    // The bytes came from a text; an error must not hold them.
    let text = std::str::from_utf8(opened.expose())
        .map_err(|_| Error::internal(format!("the value of secret `{name}` is no text")))?;
    Ok(Secret::new(text.to_owned()))
}
