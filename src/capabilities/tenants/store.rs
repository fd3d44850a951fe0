//! The table of tenants. Its rows are the home's, so that taking a tenant away does not take away that it is under way.

use super::model::Tenant;
use crate::base::limits::TENANTS_MAX;
use crate::base::{Error, Result, TenantId};
use crate::engine::store::{Read, Table};
use crate::kit::{Ctx, Findings, HOME, Site};

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 1] = ["tenants"];

/// Tenants but the home, by the home and their identifier.
pub(super) static TENANTS: Table<(TenantId, TenantId), Tenant> = Table::new(NAMES[0]);

/// All but the home, by their age.
pub(super) fn others(read: &impl Read) -> Result<Vec<Tenant>> {
    Ok(read.prefix(&TENANTS, &HOME, TENANTS_MAX)?.into_iter().map(|(_, tenant)| tenant).collect())
}

/// The tenant, or that it does not exist.
pub(super) fn find(read: &impl Read, id: TenantId) -> Result<Tenant> {
    if id == HOME {
        return Err(Error::conflict("this is the site's own tenant, which stays as it is")
            .hint("the site is renamed under Settings"));
    }
    read.get(&TENANTS, &(HOME, id))?.ok_or_else(|| Error::not_found("tenant", id))
}

/// Takes what is stored into memory: at the start, and after each change of it.
pub fn load(site: &Site) -> Result<()> {
    let stored = others(&site.store.read()?)?;
    site.tenants.set(stored.iter().map(Tenant::known).collect());
    Ok(())
}

/// The hook of checks: who is stored is who is known, and each name is one tenant's.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    let mut names = std::collections::BTreeSet::new();
    findings.each_row(ctx, &TENANTS, |findings, _, (home, id), tenant| {
        let place = format!("{} {id}", TENANTS.name());
        let sound = *home == HOME && *id == tenant.id && *id != HOME;
        findings.demand(sound, &place, "its key is another's", "restore a backup from before the damage");
        let once = names.insert(tenant.name.to_string());
        findings.demand(once, &place, "another tenant has its name", "rename one of them under Tenants");
        let known = ctx.site.tenants.find(*id).is_some();
        findings.demand(known, &place, "the server does not know it", "start the server again");
        Ok(())
    })
}
