//! Taking a tenant away: every row of every table, its numbers, its lines, and what is known of its agents.
//!
//! It is stored that a tenant goes, so that a job goes on after a crash. The tenant is suspended before, and nothing is
//! written in one that goes, so that what was found empty stays empty. The index drops what the tables drop.
//!
//! Invariant: the row that says so goes last, in the change that tells it, after every table was found empty.

use serde_json::json;

use super::model::{State, Tenant};
use super::ops::{self, TenantView};
use super::store::{self, TENANTS};
use crate::base::{Result, TenantId};
use crate::capabilities::agents;
use crate::kit::{Ctx, HOME, KIT_TABLES};

/// Rows that one change deletes.
const ROWS_AT_ONCE: usize = 1_000;
/// Agents whose numbers and lines one change forgets.
const AGENTS_AT_ONCE: usize = 100;
/// Changes of one run of the job.
const CHANGES_AT_ONCE: usize = 100;
/// The table of agents goes last: it says whose numbers and lines there are.
const AGENTS: &str = "agents";

/// Which tenant, and its name as proof that it is meant.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
pub(super) struct Erase {
    /// Which.
    pub id: TenantId,
    /// Its name, as it is written.
    pub name: String,
}

/// Begins to take one away.
pub(super) fn erase(ctx: &Ctx<'_>, input: Erase) -> Result<TenantView> {
    let by = ctx.actor.text();
    let going = ops::alter(ctx, "tenants.erase", "tenants.going", input.id, |_, tenant| {
        tenant.go(&input.name, by, ctx.now)
    })?;
    ops::cut_off(ctx, input.id)?;
    Ok(going)
}

/// The job: goes on with those that go.
pub(super) fn step(ctx: &Ctx<'_>) -> Result<()> {
    for tenant in store::others(&ctx.read()?)? {
        if matches!(tenant.state, State::Going { .. }) {
            take_away(ctx, tenant.id)?;
        }
    }
    Ok(())
}

/// Every table that has rows of tenants, agents last.
pub(super) fn tables(ctx: &Ctx<'_>) -> Vec<&'static str> {
    let all = ctx.site.capabilities().iter().flat_map(|capability| capability.tables().iter().copied());
    let mut tables: Vec<&'static str> = all.chain(KIT_TABLES).filter(|table| *table != "cursors").collect();
    tables.sort_unstable();
    tables.dedup();
    tables.sort_by_key(|table| *table == AGENTS);
    tables
}

fn take_away(ctx: &Ctx<'_>, id: TenantId) -> Result<()> {
    let tables = tables(ctx);
    for _ in 0..CHANGES_AT_ONCE {
        if ctx.site.is_stopping() || !some(ctx, id, &tables)? {
            break;
        }
    }
    Ok(())
}

/// Takes some of it away; whether there may be more.
pub(super) fn some(ctx: &Ctx<'_>, id: TenantId, tables: &[&'static str]) -> Result<bool> {
    let known = agents::some(&ctx.read()?, id, AGENTS_AT_ONCE)?;
    let only_agents = ctx.require("tenants.erase")?.write(|change| {
        let mut tenant = store::find(change.tx, id)?;
        let mut left = ROWS_AT_ONCE;
        for table in tables.iter().filter(|table| **table != AGENTS) {
            left -= change.tx.clear(table, &id, left)?;
            if left == 0 {
                break;
            }
        }
        count(&mut tenant, (ROWS_AT_ONCE - left) as u64, 0);
        if left > 0 && known.is_empty() {
            // Nothing is written in it any more, and this look found nothing.
            if left == ROWS_AT_ONCE {
                change.tx.delete(&TENANTS, &(HOME, id))?;
                let State::Going { rows, agents, .. } = tenant.state else { return Ok(None) };
                let detail = json!({ "name": tenant.name, "rows": rows, "agents": agents });
                change.tell("tenants.erased", id, detail);
                return Ok(None);
            }
        }
        change.tx.put(&TENANTS, &(HOME, id), &tenant)?;
        Ok(Some(left > 0))
    })?;
    let Some(only_agents) = only_agents else {
        store::load(ctx.site)?;
        return Ok(false);
    };
    if only_agents && !known.is_empty() {
        // Before their rows: after a crash in between they are forgotten once more.
        for agent in &known {
            ctx.site.series.forget(agent.bits())?;
            ctx.site.logs.forget(agent.bits())?;
            ctx.site.presence.forget(*agent);
        }
        ctx.require("tenants.erase")?.write(|change| {
            let mut tenant = store::find(change.tx, id)?;
            let rows = change.tx.clear(AGENTS, &id, known.len())?;
            count(&mut tenant, rows as u64, rows as u64);
            change.tx.put(&TENANTS, &(HOME, id), &tenant)
        })?;
    }
    Ok(true)
}

fn count(tenant: &mut Tenant, more: u64, of_agents: u64) {
    if let State::Going { rows, agents, .. } = &mut tenant.state {
        (*rows, *agents) = (*rows + more, *agents + of_agents);
    }
}
