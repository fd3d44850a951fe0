//! Which agents somebody sees, and with which they may do something.
//!
//! A scope is asked about what administrators say of an agent: its identifier, name, and the labels that were given.
//! What an agent says of itself does not count, so that no agent moves itself into anybody's hands.

use std::collections::HashMap;
use std::sync::Arc;

use super::model::Agent;
use super::store::AGENTS;
use crate::base::{AgentId, Error, Labels, Result, Subject};
use crate::engine::store::Read;
use crate::kit::{Ctx, Permit, Sight};

impl Subject for Agent {
    fn text(&self, key: &str) -> Vec<String> {
        match key {
            "id" => vec![self.id.to_string()],
            "name" => vec![self.name.to_string()],
            "state" => vec![self.state.word().to_owned()],
            key => Subject::text(&self.labels, key),
        }
    }
    fn number(&self, _: &str) -> Option<f64> {
        None
    }
    fn mentions(&self, word: &str) -> bool {
        self.name.as_str().to_lowercase().contains(word) || self.labels.mentions(word)
    }
}

impl Subject for Labels {
    fn text(&self, key: &str) -> Vec<String> {
        match key {
            "label" => self.0.keys().cloned().collect(),
            key => self.get(key).map(str::to_owned).into_iter().collect(),
        }
    }
    fn number(&self, _: &str) -> Option<f64> {
        None
    }
    fn mentions(&self, word: &str) -> bool {
        self.0.values().any(|value| value.to_lowercase().contains(word))
    }
}

/// Looks at many agents through what somebody sees, each once.
pub struct Eyes {
    sight: Sight,
    known: HashMap<AgentId, bool>,
}

impl Eyes {
    /// Those of who asks, for a permission; an error when they see nothing at all.
    pub fn of(ctx: &Ctx<'_>, permission: &'static str) -> Result<Eyes> {
        Ok(Eyes { sight: ctx.sight(permission)?, known: HashMap::new() })
    }

    /// Whether they see the agent. What is not there is seen by who sees everything, unless another tenant has it.
    pub fn see(&mut self, ctx: &Ctx<'_>, read: &impl Read, id: AgentId) -> Result<bool> {
        if self.sight.is_everything() {
            return Ok(!is_elsewhere(ctx, read, id)?);
        }
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let agent = read.get(&AGENTS, &(ctx.tenant, id))?;
        let sees = agent.is_some_and(|agent| self.sight.sees(&agent));
        self.known.insert(id, sees);
        Ok(sees)
    }
}

/// Whether the agent is another tenant's: numbers and lines are kept by agent, and nobody reads those of others.
fn is_elsewhere(ctx: &Ctx<'_>, read: &impl Read, id: AgentId) -> Result<bool> {
    let look = |tenant| Ok(read.has(&AGENTS, &(tenant, id))?.then_some(()));
    if look(ctx.tenant)?.is_some() || !ctx.site.tenants.are_several() {
        return Ok(false);
    }
    Ok(ctx.site.tenants.search(look)?.is_some())
}

/// All agents that somebody sees by a permission, by name.
pub fn all_seen(ctx: &Ctx<'_>, permission: &'static str) -> Result<Vec<Arc<Agent>>> {
    let sight = ctx.sight(permission)?;
    let all = super::roster::all(ctx.site, ctx.tenant)?;
    Ok(all.iter().filter(|agent| sight.sees(&***agent)).cloned().collect())
}

/// Refuses an agent that is not seen, as if it were not there.
pub fn seen(ctx: &Ctx<'_>, permission: &'static str, id: AgentId) -> Result<()> {
    match Eyes::of(ctx, permission)?.see(ctx, &ctx.read()?, id)? {
        true => Ok(()),
        false => Err(Error::not_found("agent", id)),
    }
}

/// The permit to do something with one agent. Who may not even see it is told that it is not there.
pub fn permit<'a>(ctx: &'a Ctx<'_>, permission: &'static str, id: AgentId) -> Result<Permit<'a>> {
    let sight = ctx.sight(permission)?;
    if sight.is_everything() {
        return ctx.require(permission);
    }
    seen(ctx, "agents.read", id)?;
    let agent = super::store::find(&ctx.read()?, ctx.tenant, id)?;
    ctx.require_on(permission, &agent)
}
