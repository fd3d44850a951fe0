//! Operations on providers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::breaks_glass;
use super::links::{self, end_sessions, unlink};
use super::memory::{self, secret_of};
use super::model::{Claims, Mapping, PROVIDERS_MAX, Provider, ProviderView, Settings};
use super::store::{self, PROVIDERS};
use crate::base::{Error, Name, Page, Result, Secret};
use crate::capabilities::identity::roles;
use crate::capabilities::identity::store::{self as people, USERS};
use crate::engine::outbound::{ldap, oidc};
use crate::engine::store::Read;
use crate::kit::{Ctx, Nothing, Ops};

/// Bytes of a secret.
const SECRET_BYTES_MAX: usize = 1_024;

pub(in crate::capabilities::identity) fn routes(ops: &mut Ops) {
    ops.get("identity.providers", "/identity/providers", "Lists providers of single sign-on.", list);
    ops.post(
        "identity.provider_add",
        "/identity/providers",
        "Adds an OpenID provider or a directory; that permits the connection to it.",
        add,
    );
    ops.patch("identity.provider_change", "/identity/providers/{id}", "Changes a provider.", change);
    ops.delete(
        "identity.provider_remove",
        "/identity/providers/{id}",
        "Removes a provider: its links, its sessions and the roles that its groups gave end.",
        remove,
    );
    ops.post(
        "identity.provider_test",
        "/identity/providers/{id}/test",
        "Asks a provider what it can do, and allows the hosts that it names.",
        test,
    );
    ops.get("identity.links", "/identity/links", "Lists who at a provider is who here.", links::list);
    ops.post(
        "identity.link",
        "/identity/users/{id}/links",
        "Links somebody at a provider to a person: they come in as this person.",
        links::create,
    );
    ops.post(
        "identity.unlink",
        "/identity/users/{id}/links/remove",
        "Takes a link from a person; sessions that it began and roles that it gave end.",
        links::remove,
    );
    ops.get(
        "identity.own_links",
        "/identity/links/own",
        "Lists one's own links to providers.",
        links::list_own,
    );
    ops.own();
    ops.post(
        "identity.unlink_own",
        "/identity/links/own/remove",
        "Takes away one of one's own links to providers.",
        links::remove_own,
    );
    ops.own();
}

fn view(ctx: &Ctx<'_>, read: &impl Read, provider: Provider) -> Result<ProviderView> {
    let destinations = provider.destinations()?;
    let mut people: Vec<_> =
        store::links_of(read, ctx.tenant, &provider.id)?.into_iter().map(|(_, link)| link.user).collect();
    people.sort_unstable();
    people.dedup();
    Ok(ProviderView {
        secret_set: ctx.site.vault.get(&Provider::vault_name(&provider.id))?.is_some(),
        destinations: destinations.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
        people: people.len(),
        id: provider.id,
        name: provider.name,
        on: provider.on,
        settings: provider.settings,
        claims: provider.claims,
        mappings: provider.mappings,
        makes_people: provider.makes_people,
        trusts_factors: provider.trusts_factors,
        added: provider.added,
        by: provider.by,
    })
}

/// Lists providers.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<ProviderView>> {
    ctx.require("identity.read")?;
    let read = ctx.read()?;
    let all = store::providers(&read, ctx.tenant)?.into_iter();
    Ok(Page { items: all.map(|one| view(ctx, &read, one)).collect::<Result<_>>()?, next: None })
}

/// A new provider.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ProviderAdded {
    /// What people call it; it stands on the button of the sign-in page.
    pub name: Name,
    /// Where it is.
    pub settings: Settings,
    /// The client's secret, or the reading account's password. It is kept in the vault and never shown.
    #[serde(default)]
    pub secret: Option<Secret<String>>,
    /// Which claims say what.
    #[serde(default)]
    pub claims: Claims,
    /// Which groups give which roles. Not more than who says so may.
    #[serde(default)]
    pub mappings: Vec<Mapping>,
    /// Whether people are made at their first sign-in.
    #[serde(default)]
    pub makes_people: bool,
    /// Whether it is believed when it says that a second factor was shown.
    #[serde(default)]
    pub trusts_factors: bool,
}

/// Refuses a list that gives what the actor does not have.
fn may_give(ctx: &Ctx<'_>, read: &impl Read, mappings: &[Mapping]) -> Result<()> {
    mappings.iter().try_for_each(|one| roles::may_give(ctx, read, &one.role, &one.scope))
}

/// Adds a provider.
pub(super) fn add(ctx: &Ctx<'_>, input: ProviderAdded) -> Result<ProviderView> {
    let permit = ctx.require("identity.provider_add")?;
    let number = ctx.now.milliseconds().max(0) as u64;
    let random: String = ctx.site.clock.random::<3>().iter().map(|byte| format!("{byte:02x}")).collect();
    let provider = Provider {
        // In the order in which they are added.
        id: format!("{number:011x}{random}"),
        name: input.name,
        on: true,
        settings: input.settings,
        claims: input.claims,
        mappings: input.mappings,
        makes_people: input.makes_people,
        trusts_factors: input.trusts_factors,
        hosts: Vec::new(),
        added: ctx.now,
        by: ctx.actor.text(),
    };
    provider.check()?;
    provider.settings.check(ctx, input.secret.clone())?;
    keep_secret(ctx, &provider.id, input.secret)?;
    let written = permit.write(|change| {
        if !people::users(&*change.tx, ctx.tenant)?.iter().any(breaks_glass) {
            return Err(Error::conflict("no owner can sign in with a password").hint(
                "set one first: when the provider is down or set up wrongly, somebody must still come in",
            ));
        }
        may_give(ctx, &*change.tx, &provider.mappings)?;
        let there = store::providers(&*change.tx, ctx.tenant)?;
        if there.len() >= PROVIDERS_MAX {
            return Err(Error::too_many(format!("{PROVIDERS_MAX} providers")).hint("remove one first"));
        }
        alone(&there, &provider)?;
        change.tx.put(&PROVIDERS, &(ctx.tenant, provider.id.clone()), &provider)?;
        change.tell("identity.provider_added", &provider.id, detail(&provider));
        Ok(())
    });
    if written.is_err() {
        ctx.site.vault.remove(&Provider::vault_name(&provider.id))?;
    }
    written?;
    provider.allow(ctx)?;
    view(ctx, &ctx.read()?, provider)
}

fn alone(there: &[Provider], provider: &Provider) -> Result<()> {
    match there.iter().any(|one| one.id != provider.id && one.name == provider.name) {
        true => Err(Error::conflict(format!("there is a provider `{}` already", provider.name))
            .hint("choose another name")),
        false => Ok(()),
    }
}

fn detail(provider: &Provider) -> serde_json::Value {
    json!({
        "name": provider.name,
        "on": provider.on,
        "settings": provider.settings,
        "claims": provider.claims,
        "mappings": provider.mappings,
        "makes_people": provider.makes_people,
        "trusts_factors": provider.trusts_factors,
        "hosts": provider.hosts,
    })
}

fn keep_secret(ctx: &Ctx<'_>, id: &str, secret: Option<Secret<String>>) -> Result<()> {
    let Some(secret) = secret.filter(|secret| !secret.expose().is_empty()) else { return Ok(()) };
    if secret.expose().len() > SECRET_BYTES_MAX {
        return Err(
            Error::invalid("the secret is too long").hint(format!("at most {SECRET_BYTES_MAX} bytes"))
        );
    }
    ctx.site.vault.put(&Provider::vault_name(id), secret.expose().as_bytes())
}

/// What is changed of a provider; what is left out stays.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ProviderChanged {
    /// Which one.
    pub id: String,
    /// What people call it.
    #[serde(default)]
    pub name: Option<Name>,
    /// Whether anybody signs in by it.
    #[serde(default)]
    pub on: Option<bool>,
    /// Where it is. While people are linked to it the issuer stays: another one may call other people the same.
    #[serde(default)]
    pub settings: Option<Settings>,
    /// A new secret; without one the old one stays.
    #[serde(default)]
    pub secret: Option<Secret<String>>,
    /// Which claims say what.
    #[serde(default)]
    pub claims: Option<Claims>,
    /// Which groups give which roles, all of them.
    #[serde(default)]
    pub mappings: Option<Vec<Mapping>>,
    /// Whether people are made at their first sign-in.
    #[serde(default)]
    pub makes_people: Option<bool>,
    /// Whether it is believed when it says that a second factor was shown.
    #[serde(default)]
    pub trusts_factors: Option<bool>,
}

/// Refuses to touch a provider by which people come in who have more than the actor, or whose groups give more.
fn may_touch(ctx: &Ctx<'_>, read: &impl Read, provider: &Provider) -> Result<()> {
    may_give(ctx, read, &provider.mappings)?;
    for (_, link) in store::links_of(read, ctx.tenant, &provider.id)? {
        if let Some(user) = read.get(&USERS, &(ctx.tenant, link.user))? {
            roles::may_act_on(ctx, read, &user)?;
        }
    }
    Ok(())
}

/// Whether the same name at both means the same person.
fn same_people(one: &Settings, other: &Settings) -> bool {
    match (one, other) {
        (Settings::Oidc(one), Settings::Oidc(other)) => one.issuer == other.issuer,
        // A directory may move; what names a person there must stay what it is.
        (Settings::Ldap(one), Settings::Ldap(other)) => one.id_attribute == other.id_attribute,
        _ => false,
    }
}

/// Changes a provider. Roles follow at each person's next sign-in; when it is switched off, its sessions end.
pub(super) fn change(ctx: &Ctx<'_>, input: ProviderChanged) -> Result<ProviderView> {
    let permit = ctx.require("identity.provider_change")?;
    let read = ctx.read()?;
    let before = store::provider(&read, ctx.tenant, &input.id)?;
    // Asked before the secret is kept, which no change undoes.
    may_touch(ctx, &read, &before)?;
    let secret = match &input.secret {
        Some(secret) if !secret.expose().is_empty() => Some(secret.clone()),
        _ => secret_of(ctx, &before.id)?,
    };
    let moved = input.settings.as_ref().is_some_and(|settings| *settings != before.settings);
    let after = Provider {
        name: input.name.unwrap_or_else(|| before.name.clone()),
        on: input.on.unwrap_or(before.on),
        settings: input.settings.unwrap_or_else(|| before.settings.clone()),
        claims: input.claims.unwrap_or_else(|| before.claims.clone()),
        mappings: input.mappings.unwrap_or_else(|| before.mappings.clone()),
        makes_people: input.makes_people.unwrap_or(before.makes_people),
        trusts_factors: input.trusts_factors.unwrap_or(before.trusts_factors),
        hosts: if moved { Vec::new() } else { before.hosts.clone() },
        by: if moved { ctx.actor.text() } else { before.by.clone() },
        id: before.id.clone(),
        added: before.added,
    };
    after.check()?;
    after.settings.check(ctx, secret)?;
    permit.write(|change| {
        let now = store::provider(&*change.tx, ctx.tenant, &before.id)?;
        if now != before {
            return Err(Error::conflict("the provider was changed at the same time").hint("look at it again"));
        }
        may_touch(ctx, &*change.tx, &before)?;
        may_give(ctx, &*change.tx, &after.mappings)?;
        let linked = !store::links_of(&*change.tx, ctx.tenant, &before.id)?.is_empty();
        if linked && !same_people(&before.settings, &after.settings) {
            return Err(Error::conflict(
                "people are linked to this provider, and another one may call others the same",
            )
            .hint("add the other one beside it, and remove this one when nobody needs it any more"));
        }
        alone(&store::providers(&*change.tx, ctx.tenant)?, &after)?;
        change.tx.put(&PROVIDERS, &(ctx.tenant, after.id.clone()), &after)?;
        if before.on && !after.on {
            end_sessions(ctx, change, |begun| begun.provider == after.id)?;
        }
        change.tell("identity.provider_changed", &after.id, detail(&after));
        Ok(())
    })?;
    keep_secret(ctx, &after.id, input.secret)?;
    before.withdraw(ctx)?;
    after.allow(ctx)?;
    memory::of(ctx.site).forget(&after.id);
    view(ctx, &ctx.read()?, after)
}

/// Which provider.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct ProviderById {
    /// Its identifier.
    pub id: String,
}

/// Removes a provider. People that it made stay, without what it gave them.
pub(super) fn remove(ctx: &Ctx<'_>, input: ProviderById) -> Result<Nothing> {
    let provider = ctx.require("identity.provider_remove")?.write(|change| {
        let provider = store::provider(&*change.tx, ctx.tenant, &input.id)?;
        may_touch(ctx, &*change.tx, &provider)?;
        let linked = store::links_of(&*change.tx, ctx.tenant, &provider.id)?;
        for (subject, link) in &linked {
            if let Some(user) = change.tx.get(&USERS, &(ctx.tenant, link.user))? {
                unlink(ctx, change, &provider.id, subject, &user)?;
            }
        }
        change.tx.delete(&PROVIDERS, &(ctx.tenant, provider.id.clone()))?;
        let detail = json!({ "name": provider.name, "links_ended": linked.len() });
        change.tell("identity.provider_removed", &provider.id, detail);
        Ok(provider)
    })?;
    provider.withdraw(ctx)?;
    memory::of(ctx.site).forget(&provider.id);
    ctx.site.vault.remove(&Provider::vault_name(&provider.id))?;
    Ok(Nothing {})
}

/// What a test found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ProviderTested {
    /// In words.
    pub found: String,
}

/// Asks a provider what it can do, and allows the hosts that it names besides its own.
pub(super) fn test(ctx: &Ctx<'_>, input: ProviderById) -> Result<ProviderTested> {
    let permit = ctx.require("identity.provider_test")?;
    let before = store::provider(&ctx.read()?, ctx.tenant, &input.id)?;
    before.allow(ctx)?;
    let memory = memory::of(ctx.site);
    match &before.settings {
        Settings::Ldap(settings) => {
            let secret = secret_of(ctx, &before.id)?;
            let directory = ldap::Directory::new(settings, secret, &ctx.site.egress, &ctx.site.clock)?;
            Ok(ProviderTested { found: memory.asking(|| directory.probe())? })
        }
        Settings::Oidc(settings) => {
            let secret = secret_of(ctx, &before.id)?;
            let client = oidc::Provider::new(settings, secret, &ctx.site.egress, &ctx.site.clock)?;
            let document = memory.asking(|| client.look())?;
            let own = before.destinations()?;
            let hosts: Vec<(String, u16)> =
                document.destinations()?.into_iter().filter(|host| *host != own[0]).collect();
            if hosts != before.hosts {
                before.withdraw(ctx)?;
                let after = permit.write(|change| {
                    let now = store::provider(&*change.tx, ctx.tenant, &before.id)?;
                    let after = Provider { hosts, by: ctx.actor.text(), ..now };
                    change.tx.put(&PROVIDERS, &(ctx.tenant, after.id.clone()), &after)?;
                    change.tell("identity.provider_changed", &after.id, detail(&after));
                    Ok(after)
                })?;
                after.allow(ctx)?;
            }
            // What was published is looked at with the hosts of now.
            memory.forget(&before.id);
            let keys = memory.asking(|| client.probe())?;
            if keys == 0 {
                return Err(Error::unavailable("the provider publishes no key that can be used")
                    .hint("it must sign with RS256, PS256, ES256 or EdDSA"));
            }
            Ok(ProviderTested {
                found: format!("it is reached and has {keys} keys; it can: {}", document.words()),
            })
        }
    }
}
