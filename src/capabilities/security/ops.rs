//! Operations: the checks, and where the server may connect.

use schemars::JsonSchema;
use serde::Serialize;

use super::controls;
use super::facts::Facts;
use super::model::{Counts, Posture};
use super::rules::RULES;
use crate::base::{Result, Timestamp};
use crate::capabilities::identity;
use crate::kit::{Ctx, Nothing, Ops};

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get(
        "security.checks",
        "/security",
        "Looks at how well the site is guarded at this moment: every check, with what it found and the controls that it bears on.",
        checks,
    );
    ops.costs(10);
    ops.get(
        "security.egress",
        "/security/egress",
        "Lists every place that the server may connect to, who allowed it, and what was refused.",
        egress,
    );
}

/// Runs every check. Who sees a part of the fleet gets those of agents, about that part.
pub fn checks(ctx: &Ctx<'_>, _: Nothing) -> Result<Posture> {
    let whole = ctx.sight("security.read")?.is_everything();
    let facts = if whole { Facts::gather(ctx) } else { Facts::of_agents(ctx) };
    // Nothing is said of a part of the fleet in which there is nobody, or whose agents may not be read.
    let nobody = !whole && facts.agents.as_ref().map_or(true, Vec::is_empty);
    let rules = RULES.iter().filter(|rule| whole || rule.of_agents && !nobody);
    let items: Vec<_> = rules.map(|rule| rule.check(&facts)).collect();
    Ok(Posture {
        site: ctx.site.settings.name(),
        at: ctx.now,
        version: env!("CARGO_PKG_VERSION"),
        whole,
        counts: Counts::of(&items),
        items,
        catalogues: controls::editions(),
    })
}

/// Why a place may be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PurposeView {
    /// What for: `backups to vault`.
    pub what: String,
    /// Who allowed it, as the audit log has it.
    pub by: String,
    /// What people call them.
    pub by_name: String,
    /// When.
    pub since: Timestamp,
}

/// A place that the server may connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DestinationView {
    /// Host name, or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What for.
    pub purposes: Vec<PurposeView>,
    /// Connections since this process started.
    pub connections: u64,
    /// When the last of them was begun.
    pub used: Option<Timestamp>,
}

/// A place that was asked for in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RefusedView {
    /// Host name, or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Attempts since this process started.
    pub attempts: u64,
    /// When the last one was.
    pub at: Timestamp,
}

/// Where the server may connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EgressView {
    /// Every place; nothing else is ever connected to.
    pub items: Vec<DestinationView>,
    /// What was asked for beside them, and refused.
    pub refused: Vec<RefusedView>,
}

/// Lists where the server may connect.
pub fn egress(ctx: &Ctx<'_>, _: Nothing) -> Result<EgressView> {
    ctx.require("security.read")?;
    let read = ctx.read()?;
    let named = |by: &str| -> Result<String> {
        Ok(identity::label(&read, ctx.tenant, by)?.unwrap_or_else(|| by.to_owned()))
    };
    let mut items = Vec::new();
    for one in ctx.site.egress.list() {
        let purposes = one.purposes.into_iter().map(|purpose| {
            let by_name = named(&purpose.by)?;
            Ok(PurposeView { what: purpose.what, by: purpose.by, by_name, since: purpose.since })
        });
        items.push(DestinationView {
            purposes: purposes.collect::<Result<_>>()?,
            host: one.host,
            port: one.port,
            connections: one.connections,
            used: one.used,
        });
    }
    let refused = ctx.site.egress.refused().into_iter();
    let refused =
        refused.map(|one| RefusedView { host: one.host, port: one.port, attempts: one.attempts, at: one.at });
    Ok(EgressView { items, refused: refused.collect() })
}
