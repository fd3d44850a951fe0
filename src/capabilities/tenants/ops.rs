//! Operations on tenants. All of them are the site's: nobody of another tenant has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::model::{State, Tenant};
use super::store::{self, TENANTS};
use super::{erase, export};
use crate::base::limits::TENANTS_MAX;
use crate::base::{Error, Name, Page, Result, TenantId, Timestamp, kind};
use crate::capabilities::{agents, clients, identity};
use crate::engine::store::Tx;
use crate::kit::{ById, Ctx, HOME, Nothing, Ops, Quota, Quotas, difference};

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("tenants.list", "/tenants", "Lists the organisations of this site, its own first.", list);
    ops.get("tenants.find", "/tenants/{id}", "Shows one with what it has and what it may have.", find);
    ops.post(
        "tenants.create",
        "/tenants",
        "Adds one, and makes a one-time link for its first owner.",
        create,
    );
    ops.gives("identity.created");
    ops.patch("tenants.change", "/tenants/{id}", "Changes its name or its quotas.", change);
    ops.post(
        "tenants.suspend",
        "/tenants/{id}/suspend",
        "Shuts its people, keys and agents out; nothing is lost.",
        suspend,
    );
    ops.post("tenants.resume", "/tenants/{id}/resume", "Lets its people, keys and agents in again.", resume);
    ops.file(
        "tenants.export",
        "/tenants/{id}/export",
        "Takes out all its rows as one zip file of JSON lines, without secrets.",
        export::export,
    );
    ops.gives("tenants.exported");
    ops.post(
        "tenants.erase",
        "/tenants/{id}/erase",
        "Takes one that is suspended away for good, with all that it has.",
        erase::erase,
    );
}

/// A tenant as shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TenantView {
    /// The identifier.
    pub id: TenantId,
    /// What people call it.
    pub name: String,
    /// `home` for the site's own, else `active`, `suspended` or `going`.
    pub state: &'static str,
    /// How much it may have.
    pub quotas: Quotas,
    /// When it was made; absent for the site's own.
    pub created: Option<Timestamp>,
    /// What it has; only where one is asked for.
    pub usage: Vec<Usage>,
}

/// How much of one thing a tenant has.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// The field of the quotas.
    pub quota: &'static str,
    /// What is counted, in words.
    pub what: &'static str,
    /// How many there are; absent for what is a rate.
    pub used: Option<usize>,
    /// How many there may be; absent for no bound but the site's own.
    pub most: Option<u32>,
}

fn view(tenant: &Tenant) -> TenantView {
    TenantView {
        id: tenant.id,
        name: tenant.name.to_string(),
        state: tenant.state.word(),
        quotas: tenant.quotas,
        created: Some(tenant.created),
        usage: Vec::new(),
    }
}

fn home(ctx: &Ctx<'_>) -> TenantView {
    TenantView {
        id: HOME,
        name: ctx.site.settings.name(),
        state: "home",
        quotas: Quotas::default(),
        created: None,
        usage: Vec::new(),
    }
}

/// Lists them.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<TenantView>> {
    ctx.require("tenants.read")?;
    let others = store::others(&ctx.read()?)?;
    let items = std::iter::once(home(ctx)).chain(others.iter().map(view)).collect();
    Ok(Page { items, next: None })
}

/// Shows one with its usage.
pub(super) fn find(ctx: &Ctx<'_>, input: ById<kind::Tenant>) -> Result<TenantView> {
    ctx.require("tenants.read")?;
    let mut shown = if input.id == HOME { home(ctx) } else { view(&store::find(&ctx.read()?, input.id)?) };
    let inside = ctx.within(input.id);
    for quota in Quota::ALL {
        let mut used = None;
        for capability in ctx.site.capabilities() {
            used = used.or(capability.uses(&inside, quota)?);
        }
        let most = shown.quotas.of(quota);
        shown.usage.push(Usage { quota: quota.field(), what: quota.words(), used, most });
    }
    Ok(shown)
}

/// A new tenant.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct TenantChosen {
    /// What people call it.
    pub name: Name,
    /// What its first owner signs in with; no two on the site have the same.
    pub login: String,
    /// What people call its first owner.
    pub owner: Name,
    /// How much it may have.
    #[serde(default)]
    pub quotas: Quotas,
}

/// A tenant, and the way in for its first owner.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TenantMade {
    /// The tenant.
    pub tenant: TenantView,
    /// A one-time link for its first owner, good for 24 hours.
    pub link: String,
}

fn is_free(ctx: &Ctx<'_>, tx: &Tx, name: &Name, but: Option<TenantId>) -> Result<()> {
    let same = |other: &str| other.to_lowercase() == name.as_str().to_lowercase();
    let taken = store::others(tx)?.iter().any(|other| Some(other.id) != but && same(other.name.as_str()));
    if taken || same(&ctx.site.settings.name()) {
        return Err(Error::conflict(format!("there is a tenant `{name}` already")).hint("take another name"));
    }
    Ok(())
}

fn sound(quotas: &Quotas) -> Result<()> {
    if quotas.requests == Some(0) || quotas.people == Some(0) {
        return Err(Error::invalid("with a quota of 0 people or requests nobody could sign in")
            .hint("at least 1; suspend the tenant to shut its people out"));
    }
    Ok(())
}

/// Adds one.
pub(super) fn create(ctx: &Ctx<'_>, input: TenantChosen) -> Result<TenantMade> {
    let permit = ctx.require("tenants.create")?;
    sound(&input.quotas)?;
    let tenant = Tenant {
        id: ctx.site.clock.id(),
        name: input.name.clone(),
        state: State::Active,
        quotas: input.quotas,
        created: ctx.now,
    };
    let link = permit.write(|change| {
        is_free(ctx, change.tx, &tenant.name, None)?;
        if store::others(change.tx)?.len() + 1 >= TENANTS_MAX {
            return Err(Error::too_many(format!("{TENANTS_MAX} tenants are there already"))
                .hint("take one away that is not used any more"));
        }
        change.tx.put(&TENANTS, &(HOME, tenant.id), &tenant)?;
        let (login, owner) = (input.login.as_str(), input.owner.clone());
        let link = identity::invite_owner(&ctx.within(tenant.id), change, login, owner)?;
        let detail = json!({ "name": tenant.name, "owner": input.login, "quotas": tenant.quotas });
        change.tell("tenants.created", tenant.id, detail);
        Ok(link)
    })?;
    store::load(ctx.site)?;
    Ok(TenantMade { tenant: view(&tenant), link })
}

/// What is changed; what is left out stays.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct TenantChanged {
    /// Which.
    pub id: TenantId,
    /// What people call it.
    #[serde(default)]
    pub name: Option<Name>,
    /// How much it may have: all of them anew.
    #[serde(default)]
    pub quotas: Option<Quotas>,
}

/// Changes one. What it has beyond a lower quota stays; only nothing is added.
pub(super) fn change(ctx: &Ctx<'_>, input: TenantChanged) -> Result<TenantView> {
    alter(ctx, "tenants.change", "tenants.changed", input.id, |tx, tenant| {
        let mut after = tenant.clone();
        if let Some(name) = &input.name {
            is_free(ctx, tx, name, Some(tenant.id))?;
            after.name = name.clone();
        }
        if let Some(quotas) = input.quotas {
            sound(&quotas)?;
            after.quotas = quotas;
        }
        Ok(after)
    })
}

/// Changes one as `f` says, and tells the difference, or the name where the state changes.
pub(super) fn alter(
    ctx: &Ctx<'_>,
    permission: &'static str,
    event: &str,
    id: TenantId,
    f: impl FnOnce(&Tx, &Tenant) -> Result<Tenant>,
) -> Result<TenantView> {
    let after = ctx.require(permission)?.write(|change| {
        let before = store::find(change.tx, id)?;
        let after = f(change.tx, &before)?;
        if after == before {
            return Ok(after);
        }
        change.tx.put(&TENANTS, &(HOME, id), &after)?;
        let detail = match after.state == before.state {
            true => {
                let of = |tenant: &Tenant| json!({ "name": tenant.name, "quotas": tenant.quotas });
                difference(&of(&before), &of(&after))?
            }
            false => json!({ "name": after.name }),
        };
        change.tell(event, id, detail);
        Ok(after)
    })?;
    store::load(ctx.site)?;
    Ok(view(&after))
}

/// Shuts it out.
pub(super) fn suspend(ctx: &Ctx<'_>, input: ById<kind::Tenant>) -> Result<TenantView> {
    let after =
        alter(ctx, "tenants.suspend", "tenants.suspended", input.id, |_, tenant| tenant.suspend(ctx.now))?;
    cut_off(ctx, input.id)?;
    Ok(after)
}

/// Cuts its agents and clients off; its people are refused with their next request.
pub(super) fn cut_off(ctx: &Ctx<'_>, id: TenantId) -> Result<()> {
    let inside = ctx.within(id);
    agents::cut_off(&inside, "its organisation is suspended")?;
    clients::cut_off(&inside)
}

/// Lets it in again.
pub(super) fn resume(ctx: &Ctx<'_>, input: ById<kind::Tenant>) -> Result<TenantView> {
    alter(ctx, "tenants.resume", "tenants.resumed", input.id, |_, tenant| tenant.resume())
}
