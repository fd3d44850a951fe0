//! Events and the index by which one that is sent twice is kept once lead to each other.

use super::store::{BY_ID, EVENTS};
use crate::base::Result;
use crate::capabilities::agents;
use crate::engine::store::Read;
use crate::kit::{Ctx, Findings};

/// Looks at both ways, and at the agents that the events are of.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &EVENTS, |findings, read, (tenant, at, agent, number), event| {
        let place = || format!("events {at} of {agent}");
        let known = agents::is_known(read, *tenant, *agent)?;
        findings.demand(known, place(), "its agent is not there", "none is needed: it goes with its time");
        if !event.id.is_empty() {
            let found = read.get(&BY_ID, &(*tenant, *agent, event.id.clone()))?;
            let what = "it could be kept twice: its identifier does not lead to it";
            let remedy = "none is needed: it goes with its time";
            findings.demand(found == Some((*at, *number)), place(), what, remedy);
        }
        Ok(())
    })?;
    findings.each_row(ctx, &BY_ID, |findings, read, (tenant, agent, id), (at, number)| {
        let event = read.get(&EVENTS, &(*tenant, *at, *agent, *number))?;
        let leads = event.is_some_and(|event| event.id == *id);
        let what = "it leads to no event, so that this one would not be kept";
        findings.demand(leads, format!("events_by_id {id} of {agent}"), what, "restore an earlier backup");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::AgentId;
    use crate::capabilities::identity::tests as identity;
    use crate::capabilities::telemetry::model::StoredEvent;
    use crate::kit::Change;
    use crate::wire::Severity;

    #[test]
    fn loose_ends_are_found() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let agent = AgentId::from_bits(4);
        let key = (ctx.tenant, ctx.now, agent, 0);
        let event =
            StoredEvent { id: "e".into(), severity: Severity::Info, name: "x".into(), text: "".into() };
        let count = |f: &dyn Fn(&mut Change<'_>) -> Result<()>| {
            ctx.require("telemetry.expire").unwrap().write(f).unwrap();
            let mut findings = Findings::default();
            check(&ctx, &mut findings).unwrap();
            findings.kept.iter().map(|f| f.what.clone()).collect::<Vec<_>>().join("; ")
        };
        let found = count(&|change| {
            change.tx.put(&EVENTS, &key, &event)?;
            change.tx.put(&BY_ID, &(ctx.tenant, agent, "e".into()), &(ctx.now, 0))
        });
        assert_eq!(found, "its agent is not there");
        let found = count(&|change| change.tx.delete(&EVENTS, &key));
        assert_eq!(found, "it leads to no event, so that this one would not be kept");
        let found = count(&|change| {
            change.tx.put(&EVENTS, &key, &event)?;
            change.tx.delete(&BY_ID, &(ctx.tenant, agent, "e".into()))
        });
        assert!(found.contains("could be kept twice"), "{found}");
    }
}
