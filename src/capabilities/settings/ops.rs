//! Operations on the site's settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::store::{SETTINGS, Stored};
use crate::base::{Name, Result};
use crate::kit::{Ctx, Nothing};

/// The site as it is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SettingsView {
    /// What it is called.
    pub name: String,
    /// Where the console and the API are.
    pub console: String,
    /// Where agents connect, `host:port`.
    pub gate: String,
    /// Host names and addresses by which it is reached.
    pub hosts: Vec<String>,
    /// SHA-256 fingerprint of the site's own certificate authority.
    pub authority_fingerprint: String,
    /// Certificate of that authority, as PEM; agents and browsers are given it.
    pub authority_certificate: String,
    /// Version of the server.
    pub version: &'static str,
}

/// Finds the site's name and addresses.
pub(super) fn find(ctx: &Ctx<'_>, _: Nothing) -> Result<SettingsView> {
    ctx.require("settings.read")?;
    let settings = &ctx.site.settings;
    Ok(SettingsView {
        name: ctx.site.tenant_name(ctx.tenant),
        console: settings.console(),
        gate: settings.gate(),
        hosts: settings.hosts.clone(),
        authority_fingerprint: ctx.site.authority.fingerprint().to_string(),
        authority_certificate: ctx.site.authority.certificate_pem(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// What is changed.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SettingsChanged {
    /// What the site is called.
    pub name: Name,
}

/// Renames the site.
pub(super) fn change(ctx: &Ctx<'_>, input: SettingsChanged) -> Result<SettingsView> {
    let before = ctx.site.settings.name();
    ctx.require("settings.change")?.write(|change| {
        change.tx.put(&SETTINGS, &ctx.tenant, &Stored { name: input.name.clone() })?;
        change.tell("settings.changed", "site", json!({ "name": { "before": before, "after": input.name } }));
        Ok(())
    })?;
    ctx.site.settings.rename(input.name.to_string());
    find(ctx, Nothing {})
}
