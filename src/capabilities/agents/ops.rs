//! Operations on agents.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::roster;
use super::sight::{permit, seen};
use super::store::{AGENTS, JOIN_CODES, SECRETS, find, not_retired};
use super::{Agent, AgentView, Health, JoinCode, Readings, State, health};
use crate::base::{AgentId, Error, Labels, Name, Page, Result, Selector, Span, Timestamp, kind, limits};
use crate::engine::crypto;
use crate::engine::store::Read;
use crate::kit::{ById, Ctx, Nothing, Ops, Quota};

/// Declares them.
pub(super) fn register(ops: &mut Ops) {
    ops.get("agents.list", "/agents", "Lists agents by filter, with health and last readings.", list);
    ops.get("agents.counts", "/agents/counts", "Counts agents by health.", counts);
    ops.get("agents.find", "/agents/{id}", "Shows one agent.", find_view);
    ops.patch("agents.change", "/agents/{id}", "Changes an agent's name or labels.", change);
    ops.post("agents.approve", "/agents/{id}/approve", "Lets a pending or quarantined agent in.", approve);
    ops.post(
        "agents.quarantine",
        "/agents/{id}/quarantine",
        "Shuts an agent out at once, until it is approved.",
        quarantine,
    );
    ops.post(
        "agents.retire",
        "/agents/{id}/retire",
        "Retires an agent for good; its identity never works again.",
        retire,
    );
    ops.post(
        "agents.device",
        "/agents/devices",
        "Enrols a device that cannot hold a certificate: a user name and a secret, shown once.",
        device_create,
    );
    ops.gives("agents.joined");
    ops.get(
        "agents.join_codes",
        "/agents/join-codes",
        "Lists join codes that are open or were used.",
        join_codes,
    );
    ops.post("agents.invite", "/agents/join-codes", "Makes a one-time join code.", join_code_create);
    ops.gives("agents.invited");
}

/// Which agents, in which order.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ListAgents {
    /// Filter, for example `status:warning site:lyon cpu>80`.
    pub filter: String,
    /// `health` (worst first), `name`, `seen`, `cpu`, `memory`, `disk`; `name` when empty.
    pub sort: String,
    /// Cursor of the page before.
    pub after: Option<String>,
    /// Rows of the page.
    pub limit: Option<usize>,
}

/// Lists agents. Retired ones are shown only when the filter asks for a state.
pub fn list(ctx: &Ctx<'_>, input: ListAgents) -> Result<Page<AgentView>> {
    ctx.sight("agents.read")?;
    let limit = input.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let start: usize = match input.after.as_deref() {
        None | Some("") => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Error::invalid("the cursor `after` is not valid").hint("take it from `next`"))?,
    };
    let views = views(ctx, &input.filter, &input.sort)?;
    let end = start.saturating_add(limit);
    let next = (views.len() > end).then(|| end.to_string());
    let items = views.into_iter().skip(start).take(limit).collect();
    Ok(Page { items, next })
}

/// Every agent that the filter lets through, in this order; for screens that show more than a page of them.
pub fn views(ctx: &Ctx<'_>, filter: &str, sort: &str) -> Result<Vec<AgentView>> {
    let sight = ctx.sight("agents.read")?;
    let selector = Selector::parse(filter)?;
    let asked_state = filter.contains("state:");
    // The roster is in the order of names, and sorting keeps it where agents are equal.
    let order: Option<fn(&AgentView, &AgentView) -> Ordering> = match sort {
        "" | "name" => None,
        "health" => Some(|a, b| a.health.cmp(&b.health)),
        "seen" => Some(|a, b| a.silence_seconds.cmp(&b.silence_seconds)),
        "cpu" => Some(|a, b| falling(a.cpu, b.cpu)),
        "memory" => Some(|a, b| falling(a.memory, b.memory)),
        "disk" => Some(|a, b| falling(a.disk, b.disk)),
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(Error::invalid(format!("cannot sort by `{other}`"))
                .hint("use health, name, seen, cpu, memory or disk"));
        }
    };
    let mut views: Vec<AgentView> = roster::all(ctx.site, ctx.tenant)?
        .iter()
        .filter(|agent| asked_state || !matches!(agent.state, State::Retired { .. }))
        .filter(|agent| sight.sees(&***agent))
        .map(|agent| view(ctx, Arc::clone(agent)))
        .filter(|view| view.passes(&selector))
        .collect();
    if let Some(order) = order {
        views.sort_by(order);
    }
    Ok(views)
}

/// The greater first, and what has no reading last.
fn falling(a: Option<f64>, b: Option<f64>) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

/// How many agents are how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Counts {
    /// All but retired ones.
    pub total: usize,
    /// Heard, and nothing amiss.
    pub healthy: usize,
    /// Beyond a warning bound or late.
    pub warning: usize,
    /// Beyond a critical bound.
    pub critical: usize,
    /// Not heard.
    pub offline: usize,
    /// Pending or quarantined.
    pub inactive: usize,
}

impl Counts {
    /// Counts these.
    pub fn of<'a>(views: impl IntoIterator<Item = &'a AgentView>) -> Counts {
        let mut counts = Counts::default();
        for view in views {
            counts.total += 1;
            match view.health {
                Health::Healthy => counts.healthy += 1,
                Health::Warning => counts.warning += 1,
                Health::Critical => counts.critical += 1,
                Health::Offline => counts.offline += 1,
                Health::Inactive => counts.inactive += 1,
            }
        }
        counts
    }
}

/// Counts agents by health.
pub fn counts(ctx: &Ctx<'_>, _: Nothing) -> Result<Counts> {
    Ok(Counts::of(&views(ctx, "", "")?))
}

/// Shows one agent.
pub fn find_view(ctx: &Ctx<'_>, input: ById<kind::Agent>) -> Result<AgentView> {
    seen(ctx, "agents.read", input.id)?;
    Ok(view(ctx, Arc::new(find(&ctx.read()?, ctx.tenant, input.id)?)))
}

/// The agent with everything that is derived.
pub(super) fn view(ctx: &Ctx<'_>, agent: Arc<Agent>) -> AgentView {
    let site = ctx.site;
    let seen = site.presence.of(agent.id);
    let silence = site.presence.silence(&seen, agent.seen);
    let mut readings = Readings::default();
    site.series.each_latest(agent.id.bits(), |name, _, value| match name {
        "cpu.usage_percent" => readings.cpu = Some(value),
        "memory.used_percent" => readings.memory = Some(value),
        name if name.starts_with("disk.used_percent") => {
            readings.disk = Some(readings.disk.map_or(value, |fullest| fullest.max(value)));
        }
        _ => {}
    });
    let (health, reason) = health(&agent, silence, seen.clock_offset_ms, readings);
    AgentView {
        health,
        reason,
        connected: seen.session.is_some(),
        last_seen: seen.at.or(agent.seen),
        silence_seconds: silence.map(Span::seconds),
        address: seen.address.map(|a| a.to_string()),
        clock_offset_ms: seen.clock_offset_ms,
        cpu: readings.cpu,
        memory: readings.memory,
        disk: readings.disk,
        spooled: seen.spooled,
        agent,
    }
}

/// New name or labels; what is absent stays.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct ChangeAgent {
    /// Which agent.
    pub id: AgentId,
    /// New name.
    #[serde(default)]
    pub name: Option<Name>,
    /// New labels, all of them.
    #[serde(default)]
    pub labels: Option<Labels>,
}

/// Changes an agent's name or labels.
pub fn change(ctx: &Ctx<'_>, input: ChangeAgent) -> Result<Agent> {
    if let Some(labels) = &input.labels {
        labels.check()?;
    }
    let sight = ctx.sight("agents.change")?;
    permit(ctx, "agents.change", input.id)?.write(|change| {
        let before = find(change.tx, ctx.tenant, input.id)?;
        let mut agent = before.clone();
        agent.name = input.name.unwrap_or(agent.name);
        agent.labels = input.labels.unwrap_or(agent.labels);
        if !sight.sees(&agent) {
            return Err(Error::forbidden("with these labels the agent would be out of your hands")
                .hint("keep the labels that your role is given for"));
        }
        change.tx.put(&AGENTS, &(ctx.tenant, agent.id), &agent)?;
        let detail = json!({
            "before": { "name": before.name, "labels": before.labels },
            "after": { "name": agent.name, "labels": agent.labels },
        });
        change.tell("agents.changed", agent.id, detail);
        Ok(agent)
    })
}

/// Lets a pending or quarantined agent in.
pub fn approve(ctx: &Ctx<'_>, input: ById<kind::Agent>) -> Result<Agent> {
    step(ctx, "agents.approve", "agents.approved", input.id, |agent| agent.approve(ctx.now))
}

/// Why an agent is shut out.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct Quarantine {
    /// Which agent.
    pub id: AgentId,
    /// For a reader.
    #[serde(default)]
    pub reason: String,
}

/// Shuts an agent out at once.
pub fn quarantine(ctx: &Ctx<'_>, input: Quarantine) -> Result<Agent> {
    let reason: String = match input.reason.trim() {
        "" => format!("by {}", ctx.actor.label()),
        reason => reason.chars().take(300).collect(),
    };
    let agent = step(ctx, "agents.quarantine", "agents.quarantined", input.id, |agent| {
        agent.quarantine(ctx.now, reason)
    })?;
    cut(ctx, agent.id, "quarantined");
    Ok(agent)
}

/// Retires an agent for good.
pub fn retire(ctx: &Ctx<'_>, input: ById<kind::Agent>) -> Result<Agent> {
    let agent = step(ctx, "agents.retire", "agents.retired", input.id, |agent| agent.retire(ctx.now))?;
    cut(ctx, agent.id, "retired");
    ctx.site.presence.forget(agent.id);
    Ok(agent)
}

fn step(
    ctx: &Ctx<'_>,
    permission: &'static str,
    event: &str,
    id: AgentId,
    decide: impl FnOnce(Agent) -> Result<Agent>,
) -> Result<Agent> {
    permit(ctx, permission, id)?.write(|change| {
        let agent = decide(find(change.tx, ctx.tenant, id)?)?;
        change.tx.put(&AGENTS, &(ctx.tenant, id), &agent)?;
        if let State::Retired { .. } = agent.state {
            change.tx.delete(&SECRETS, &(ctx.tenant, id))?;
        }
        let reason = match &agent.state {
            State::Quarantined { reason, .. } => reason.as_str(),
            _ => "",
        };
        change.tell(event, id, json!({ "name": agent.name, "reason": reason }));
        Ok(agent)
    })
}

fn cut(ctx: &Ctx<'_>, agent: AgentId, why: &str) {
    if let Some(bus) = ctx.site.bus() {
        bus.close(ctx.tenant, agent, why);
    }
}

/// A device without a certificate.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
pub struct CreateDevice {
    /// What people call it.
    pub name: Name,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// What to put into the device. The secret is shown this once.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct DeviceCreated {
    /// Client id and user name.
    pub id: AgentId,
    /// Password.
    pub secret: String,
    /// `host:port` of the gate.
    pub gate: String,
    /// Its topics begin with this.
    pub topic_prefix: String,
}

/// Enrols a device that cannot hold a certificate.
pub fn device_create(ctx: &Ctx<'_>, input: CreateDevice) -> Result<DeviceCreated> {
    input.labels.check()?;
    let (secret, digest) = crypto::token("mad", &ctx.site.clock);
    let agent = Agent {
        id: ctx.site.clock.id(),
        name: input.name,
        state: State::Active { since: ctx.now },
        labels: input.labels,
        proposed: Labels::default(),
        hostname: String::new(),
        version: String::new(),
        inventory: Default::default(),
        commands: Default::default(),
        seen: None,
        certificate_until: None,
    };
    ctx.require_on("agents.device", &agent)?.write(|change| {
        ctx.within_quota(Quota::Agents, 1, || not_retired(change.tx, ctx.tenant))?;
        change.tx.put(&AGENTS, &(ctx.tenant, agent.id), &agent)?;
        change.tx.put(&SECRETS, &(ctx.tenant, agent.id), &digest.to_vec())?;
        change.tell(
            "agents.joined",
            agent.id,
            json!({ "name": agent.name, "state": "active", "by": "secret" }),
        );
        Ok(())
    })?;
    let topic_prefix = format!("muster/{}/{}/{}", crate::wire::VERSION, ctx.tenant, agent.id);
    Ok(DeviceCreated { id: agent.id, secret, gate: ctx.site.settings.gate(), topic_prefix })
}

/// A join code as lists show it.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct JoinCodeView {
    /// Its name: a digest, worthless for joining.
    pub id: String,
    /// Labels that the agent gets.
    pub labels: Labels,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// The agent that used it.
    pub used_by: Option<AgentId>,
    /// Whether an administrator must approve the agent.
    pub approval: bool,
}

/// Lists join codes, newest first.
pub fn join_codes(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<JoinCodeView>> {
    let sight = ctx.sight("agents.read")?;
    let mut items: Vec<JoinCodeView> = ctx
        .read()?
        .prefix(&JOIN_CODES, &ctx.tenant, limits::PAGE_ROWS_MAX)?
        .into_iter()
        .filter(|(_, code)| sight.sees(&code.labels))
        .map(|(_, code)| JoinCodeView {
            id: code.digest,
            labels: code.labels,
            created: code.created,
            expires: code.expires,
            used_by: code.agent,
            approval: code.approval,
        })
        .collect();
    items.sort_by_key(|code| std::cmp::Reverse(code.created));
    Ok(Page { items, next: None })
}

/// What the new agent gets.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct CreateJoinCode {
    /// Labels.
    pub labels: Labels,
    /// Minutes until the code ends; 60 when absent, a week at most.
    pub minutes: Option<u64>,
    /// Whether an administrator must approve the agent.
    pub approval: bool,
}

/// A new join code. It is shown this once.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct JoinCodeCreated {
    /// Its name in lists.
    pub id: String,
    /// The code.
    pub code: String,
    /// What to paste on the new machine.
    pub command: String,
    /// `host:port` of the gate.
    pub gate: String,
    /// Fingerprint of the site's authority, to compare.
    pub fingerprint: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// Makes a one-time join code.
pub fn join_code_create(ctx: &Ctx<'_>, input: CreateJoinCode) -> Result<JoinCodeCreated> {
    input.labels.check()?;
    let minutes = input.minutes.unwrap_or(60);
    if !(1..=10_080).contains(&minutes) {
        return Err(Error::invalid(format!("{minutes} minutes are not possible")).hint("1 to 10080 minutes"));
    }
    let fingerprint = ctx.site.authority.fingerprint();
    let code = crypto::JoinCode::make(&fingerprint, &ctx.site.clock);
    let digest = super::store::digest_text(code.secret());
    let stored = JoinCode {
        digest: digest.clone(),
        labels: input.labels,
        created: ctx.now,
        expires: ctx.now + Span::from_minutes(minutes),
        by: ctx.actor.text(),
        approval: input.approval,
        key: None,
        agent: None,
    };
    ctx.require_on("agents.invite", &stored.labels)?.write(|change| {
        // Codes that ended unused a week ago leave, so that the table stays small.
        for (key, old) in change.tx.prefix(&JOIN_CODES, &ctx.tenant, limits::PAGE_ROWS_MAX)? {
            if ctx.now.since(old.expires) > Span::from_days(7) {
                change.tx.delete(&JOIN_CODES, &key)?;
            }
        }
        change.tx.put(&JOIN_CODES, &(ctx.tenant, digest.clone()), &stored)?;
        change.tell(
            "agents.invited",
            &digest[..12],
            json!({ "expires": stored.expires, "labels": stored.labels }),
        );
        Ok(())
    })?;
    let gate = ctx.site.settings.gate();
    let text = code.text();
    Ok(JoinCodeCreated {
        id: digest,
        command: format!("muster agent --join {text}@{gate}"),
        code: text,
        gate,
        fingerprint: fingerprint.to_string(),
        expires: stored.expires,
    })
}
