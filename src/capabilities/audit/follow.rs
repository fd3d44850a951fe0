//! Turns the events of a change into entries.

use super::chain::{self, Chain};
use super::model::{Entry, presentable};
use crate::base::{Result, TenantId};
use crate::capabilities::{agents, identity};
use crate::engine::store;
use crate::kit::{Change, Ctx};

/// Writes one entry for every event that the change told.
pub(super) fn follow(_: &Ctx<'_>, change: &mut Change<'_>, told: &store::Change) -> Result<()> {
    let tenant = TenantId::from_bits(told.origin.tenant);
    let actor = &told.origin.actor;
    let name = match actor.parse() {
        Ok(agent) => agents::named(&*change.tx, tenant, agent)?,
        Err(_) => identity::label(&*change.tx, tenant, actor)?.unwrap_or_default(),
    };
    for (place, event) in told.events.iter().enumerate() {
        let entry = Entry {
            number: 0,
            change: told.number,
            place: place as u32,
            at: told.origin.at,
            actor: told.origin.actor.clone(),
            name: name.clone(),
            action: told.origin.action.clone(),
            event: event.name.clone(),
            subject: event.subject.clone(),
            detail: presentable(&event.detail),
            from: told.origin.from.clone(),
            request: told.origin.request.clone(),
            chain: Chain::default(),
        };
        chain::append(change.tx, tenant, entry)?;
    }
    Ok(())
}
