//! What must not come back after a restore, what must agree, and what can be brought back.

use serde_json::json;

use super::store::{AGENTS, JOIN_CODES, SECRETS, find, is_known};
use super::{Agent, State, ops};
use crate::base::{AgentId, Error, Name, Result, Selector, limits};
use crate::engine::store::{Read, Snapshot};
use crate::kit::{Change, Ctx, Difference, Findings, Restored, Returnable, Undone};

/// Why an agent is shut out that joined after the point that the site was restored to.
const JOINED_SINCE: &str =
    "it joined after the point that the site was restored to; approve it if it is yours";
/// Join codes that a restore looks at.
const CODES_MAX: usize = 100_000;
/// Agents that are read with one snapshot of then.
const PAGE_ROWS: usize = limits::PAGE_ROWS_MAX;

/// Who was shut out since stays so, who joined since is kept for an administrator to decide, and no code of before works:
/// one that was unused then may have been used since.
pub(super) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
    for (subject, joined) in restored.last_of(&["agents.joined"]) {
        let Ok(id) = subject.parse::<AgentId>() else { continue };
        // A device's secret is lost with its digest.
        if joined.field::<String>("by").is_none() && !is_known(&*change.tx, ctx.tenant, id)? {
            readmit(ctx, change, id, joined)?;
        }
    }
    for (subject, renewed) in restored.last_of(&["agents.renewed"]) {
        let known = subject.parse::<AgentId>().ok().map(|id| change.tx.get(&AGENTS, &(ctx.tenant, id)));
        if let Some(Some(mut agent)) = known.transpose()?
            && let Some(until) = renewed.field("until")
        {
            agent.certificate_until = Some(until);
            change.tx.put(&AGENTS, &(ctx.tenant, agent.id), &agent)?;
        }
    }
    let since = restored.last_of(&["agents.retired", "agents.quarantined", "agents.approved"]);
    for (subject, last) in since {
        let Ok(id) = subject.parse::<AgentId>() else { continue };
        if let Some(agent) = change.tx.get(&AGENTS, &(ctx.tenant, id))? {
            stay(ctx, change, agent, last)?;
        }
    }
    for (key, code) in change.tx.prefix(&JOIN_CODES, &ctx.tenant, CODES_MAX)? {
        if code.key.is_none() {
            change.tx.delete(&JOIN_CODES, &key)?;
        }
    }
    Ok(())
}

/// The agent's certificate is still good: with a row it can be approved, without one it would have to join anew.
fn readmit(ctx: &Ctx<'_>, change: &mut Change<'_>, id: AgentId, joined: &Undone) -> Result<()> {
    let name: Name = match joined.field("name") {
        Some(name) => name,
        None => "unnamed".parse()?,
    };
    let agent = Agent {
        id,
        name,
        state: State::Quarantined { since: ctx.now, reason: JOINED_SINCE.into() },
        labels: Default::default(),
        proposed: Default::default(),
        hostname: String::new(),
        version: String::new(),
        inventory: Default::default(),
        commands: Default::default(),
        seen: None,
        certificate_until: None,
    };
    change.tx.put(&AGENTS, &(ctx.tenant, id), &agent)?;
    change.tell("agents.quarantined", id, json!({ "name": agent.name, "reason": JOINED_SINCE }));
    Ok(())
}

/// Makes what was done to the agent since so again, where it shut the agent out.
fn stay(ctx: &Ctx<'_>, change: &mut Change<'_>, agent: Agent, last: &Undone) -> Result<()> {
    let (id, name) = (agent.id, agent.name.clone());
    let reason = match last.field::<String>("reason").filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{reason} (on {}, before the restore)", last.at),
        None => format!("on {}, before the restore", last.at),
    };
    let moved = match last.event.as_str() {
        "agents.retired" => agent.retire(last.at),
        "agents.quarantined" => agent.quarantine(last.at, reason.clone()),
        _ => return Ok(()),
    };
    // One that is shut out already needs no second time.
    let Ok(agent) = moved else { return Ok(()) };
    change.tx.put(&AGENTS, &(ctx.tenant, id), &agent)?;
    if let State::Retired { .. } = agent.state {
        change.tx.delete(&SECRETS, &(ctx.tenant, id))?;
    }
    change.tell(&last.event, id, json!({ "name": name, "reason": reason }));
    Ok(())
}

/// Rows lie under their own identifiers, and secrets and codes belong to agents that are there.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &AGENTS, |findings, _, (_, id), agent| {
        let place = format!("agents {id}");
        findings.demand(*id == agent.id, place, "the row is of another agent", "restore an earlier backup");
        Ok(())
    })?;
    findings.each_row(ctx, &SECRETS, |findings, read, (tenant, id), digest| {
        let place = || format!("agents_secrets {id}");
        match read.get(&AGENTS, &(*tenant, *id))? {
            None => findings.add(place(), "there is no such agent", "none is needed: nobody can use it"),
            Some(Agent { state: State::Retired { .. }, .. }) => {
                findings.add(place(), "the agent is retired", "none is needed: nobody can use it");
            }
            Some(_) => {}
        }
        let whole = digest.len() == blake3::OUT_LEN;
        findings.demand(whole, place(), "it is no digest", "enrol the device anew");
        Ok(())
    })?;
    findings.each_row(ctx, &JOIN_CODES, |findings, read, (tenant, digest), code| {
        let place = || format!("join_codes {}", digest.chars().take(12).collect::<String>());
        findings.demand(*digest == code.digest, place(), "the row is of another code", "make a new code");
        if let Some(agent) = code.agent {
            let known = is_known(read, *tenant, agent)?;
            let what = format!("the agent `{agent}` that it became is not there");
            findings.demand(known, place(), &what, "let the agent join anew");
        }
        Ok(())
    })
}

/// Agents as an administrator had them.
pub(super) const RETURNABLE: [Returnable; 1] =
    [Returnable { word: "agents", title: "Agent", permission: "agents.change", differing, bring_back }];

fn differing(ctx: &Ctx<'_>, then: &Snapshot, filter: &str) -> Result<Vec<Difference>> {
    let selector = Selector::parse(filter)?;
    let mut found = Vec::new();
    let mut after = (ctx.tenant, AgentId::from_bits(0));
    loop {
        let rows = then.prefix_after(&AGENTS, &ctx.tenant, &after, PAGE_ROWS)?;
        let now = ctx.read()?;
        for (key, before) in &rows {
            after = *key;
            if let Some(agent) = now.get(&AGENTS, key)?
                && ops::view(ctx, std::sync::Arc::new(agent.clone())).passes(&selector)
            {
                found.extend(difference(&agent, before));
            }
        }
        if rows.len() < PAGE_ROWS {
            return Ok(found);
        }
    }
}

fn difference(now: &Agent, then: &Agent) -> Option<Difference> {
    let fields = [
        ("name", now.name.to_string(), then.name.to_string()),
        ("labels", now.labels.text(), then.labels.text()),
        ("state", standing(now), standing(then)),
    ];
    Difference::of(now.id, &now.name, fields)
}

/// The word of the state, and the note of one that is shut out.
fn standing(agent: &Agent) -> String {
    match &agent.state {
        State::Quarantined { reason, .. } => format!("quarantined: {reason}"),
        state => state.word().to_owned(),
    }
}

/// Name and labels as they were; one that was let in then and is shut out now is let in again. Shutting out is not
/// brought back: it closes sessions, and has an operation of its own.
fn bring_back(ctx: &Ctx<'_>, change: &mut Change<'_>, then: &Snapshot, subject: &str) -> Result<Difference> {
    let id: AgentId = subject.parse()?;
    let before = find(then, ctx.tenant, id)
        .map_err(|e| e.hint("it joined later; there is nothing that could be brought back"))?;
    let agent = find(change.tx, ctx.tenant, id)?;
    if let State::Retired { at } = agent.state {
        return Err(Error::conflict(format!("agent `{}` was retired on {at}", agent.name))
            .hint("a retired identity never works again; let the machine join anew"));
    }
    let mut back = Agent { name: before.name.clone(), labels: before.labels.clone(), ..agent.clone() };
    back = match (&agent.state, &before.state) {
        (State::Quarantined { .. }, State::Active { .. }) => back.approve(ctx.now)?,
        (State::Quarantined { since, .. }, State::Quarantined { reason, .. }) => {
            back.state = State::Quarantined { since: *since, reason: reason.clone() };
            back
        }
        _ => back,
    };
    let Some(told) = difference(&agent, &back) else {
        return Err(Error::conflict(format!("agent `{}` is as it was", agent.name))
            .hint("only name, labels and an approval are brought back; use the agent's page for the rest"));
    };
    // What was told is as seen from now: `then` is what it becomes.
    change.tx.put(&AGENTS, &(ctx.tenant, id), &back)?;
    if agent.is_active() != back.is_active() {
        change.tell("agents.approved", id, json!({ "name": back.name, "reason": "" }));
    }
    change.tell("agents.changed", id, told.detail());
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Labels, Timestamp};
    use crate::capabilities::agents::ops::{ChangeAgent, CreateDevice, CreateJoinCode};
    use crate::capabilities::identity::tests as identity;
    use crate::kit::{ById, recovery_sample};

    fn device(ctx: &Ctx<'_>, name: &str) -> AgentId {
        let input = CreateDevice { name: name.parse().unwrap(), labels: Labels::parse("site=lyon").unwrap() };
        ops::device_create(ctx, input).unwrap().id
    }

    fn agent(ctx: &Ctx<'_>, id: AgentId) -> Agent {
        find(&ctx.read().unwrap(), ctx.tenant, id).unwrap()
    }

    fn undone(event: &str, subject: AgentId, detail: serde_json::Value) -> Undone {
        Undone {
            tenant: crate::kit::HOME,
            change: 5,
            at: Timestamp::from_milliseconds(1_790_000_000_500),
            actor: "usr_1".into(),
            action: String::new(),
            event: event.into(),
            subject: subject.to_string(),
            detail: detail.to_string(),
        }
    }

    fn write<T>(ctx: &Ctx<'_>, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        ctx.require("agents.change").unwrap().write(f)
    }

    #[test]
    fn who_was_shut_out_since_stays_so() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let all: Vec<AgentId> = (0..4).map(|n| device(&ctx, &format!("press-{n}"))).collect();
        let code = ops::join_code_create(&ctx, CreateJoinCode::default()).unwrap();
        let (joined, by_secret) = (site.clock.id(), site.clock.id());
        let until = ctx.now + crate::base::Span::from_days(20);
        let told = recovery_sample(
            vec![
                undone("agents.joined", joined, json!({ "name": "press-9", "state": "active" })),
                undone("agents.joined", by_secret, json!({ "name": "x", "state": "active", "by": "secret" })),
                undone("agents.retired", all[0], json!({ "name": "x", "reason": "" })),
                undone("agents.quarantined", all[1], json!({ "name": "x", "reason": "stolen" })),
                undone("agents.quarantined", all[2], json!({ "name": "x", "reason": "by mistake" })),
                undone("agents.approved", all[2], json!({ "name": "x", "reason": "" })),
                undone("agents.renewed", all[3], json!({ "until": until })),
            ],
            ctx.now,
        );
        write(&ctx, |change| restored(&ctx, change, &told)).unwrap();
        assert!(matches!(agent(&ctx, all[0]).state, State::Retired { .. }));
        let State::Quarantined { reason, .. } = agent(&ctx, all[1]).state else { panic!("not shut out") };
        assert!(reason.starts_with("stolen (on 2026-"), "{reason}");
        assert!(agent(&ctx, all[2]).is_active());
        assert_eq!(agent(&ctx, all[3]).certificate_until, Some(until));
        let late = agent(&ctx, joined);
        assert_eq!((late.name.as_str(), late.state.word()), ("press-9", "quarantined"));
        let read = ctx.read().unwrap();
        assert!(!is_known(&read, ctx.tenant, by_secret).unwrap());
        assert!(!read.has(&SECRETS, &(ctx.tenant, all[0])).unwrap());
        assert!(!read.has(&JOIN_CODES, &(ctx.tenant, code.id)).unwrap());
        let mut findings = Findings::default();
        check(&ctx, &mut findings).unwrap();
        assert_eq!((findings.count, findings.looked_at), (0, 5 + 3));
    }

    #[test]
    fn what_an_administrator_changed_comes_back_and_a_retired_agent_does_not() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let (one, two, gone) = (device(&ctx, "press-1"), device(&ctx, "press-2"), device(&ctx, "press-3"));
        let then = ctx.read().unwrap();
        let (name, labels) = (Some("prss".parse().unwrap()), Some(Labels::default()));
        ops::change(&ctx, ChangeAgent { id: one, name, labels }).unwrap();
        ops::quarantine(&ctx, ops::Quarantine { id: two, reason: "oops".into() }).unwrap();
        ops::retire(&ctx, ById { id: gone }).unwrap();
        let late = device(&ctx, "press-4");
        let found = differing(&ctx, &then, "").unwrap();
        // Devices of the same instant have no order.
        let mut fields: Vec<usize> = found.iter().map(|d| d.fields.len()).collect();
        fields.sort_unstable();
        assert_eq!(fields, [1, 1, 2]);
        assert_eq!(differing(&ctx, &then, "name:prss").unwrap().len(), 1);
        let back = |id: AgentId| write(&ctx, |change| bring_back(&ctx, change, &then, &id.to_string()));
        assert_eq!(back(one).unwrap().fields[0].then, "press-1");
        assert_eq!(agent(&ctx, one).label("site"), Some("lyon"));
        back(two).unwrap();
        assert!(agent(&ctx, two).is_active());
        assert!(back(two).unwrap_err().message().contains("as it was"));
        assert!(back(gone).unwrap_err().message().contains("was retired on"));
        assert!(back(late).unwrap_err().hint_text().unwrap().contains("joined later"));
        let left = differing(&ctx, &then, "").unwrap();
        assert_eq!((left.len(), left[0].fields[0].now.as_str()), (1, "retired"));
    }

    #[test]
    fn loose_ends_are_found() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        let id = device(&ctx, "press-1");
        let count = |f: &dyn Fn(&mut Change<'_>) -> Result<()>| {
            write(&ctx, f).unwrap();
            let mut findings = Findings::default();
            check(&ctx, &mut findings).unwrap();
            findings.kept.into_iter().map(|f| f.place).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(count(&|_| Ok(())), "");
        let place = format!("agents_secrets {id}");
        assert_eq!(count(&|change| change.tx.put(&SECRETS, &(ctx.tenant, id), &vec![1])), place);
        let found = count(&|change| change.tx.delete(&AGENTS, &(ctx.tenant, id)));
        assert_eq!(found, format!("{place}; {place}"));
        let other = agent(&ctx, device(&ctx, "press-2"));
        let found = count(&|change| change.tx.put(&AGENTS, &(ctx.tenant, id), &other));
        assert_eq!(found, format!("agents {id}; {place}"));
    }
}
