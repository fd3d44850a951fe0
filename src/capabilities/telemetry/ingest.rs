//! Messages of agents on their way to the disk.

use super::model::{StoredEvent, level};
use super::quota;
use super::store::{BY_ID, EVENTS};
use crate::base::{AgentId, Result, Span, TenantId, Timestamp};
use crate::engine::logs::Line;
use crate::engine::series::Batch;
use crate::engine::store::Read;
use crate::kit::{AgentRef, Change, Ctx, Durable};
use crate::wire::{self, Severity, Up};

/// How long events are kept.
const EVENTS_KEPT: Span = Span::from_days(90);
/// How far ahead of the server's clock an event may be; one beyond counts as of now.
const EVENTS_AHEAD_MAX: Span = Span::from_hours(24);
/// Events that one run of the retention removes.
const EXPIRE_ROWS_MAX: usize = 5_000;

/// Samples go to the series.
pub(super) fn metrics(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Metrics(metrics) = message else { return Ok(Durable::Already) };
    let head = (!metrics.values.is_empty()).then(|| (metrics.at.unwrap_or(ctx.now), &metrics.values));
    let ticks = head.into_iter().chain(metrics.ticks.iter().map(|tick| (tick.at, &tick.values)));
    let values: Vec<(Timestamp, Vec<(&str, f64)>)> = ticks
        .map(|(at, values)| (at, values.iter().map(|(name, value)| (name.as_str(), *value)).collect()))
        .collect();
    let values = quota::kept(ctx, from.agent, values)?;
    let batches: Vec<Batch<'_>> =
        values.iter().map(|(at, values)| Batch { source: from.agent.bits(), at: *at, values }).collect();
    if batches.is_empty() {
        return Ok(Durable::Already);
    }
    Ok(Durable::Series(ctx.site.series.append(&batches)?))
}

/// Lines go to the logs.
pub(super) fn logs(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Logs(logs) = message else { return Ok(Durable::Already) };
    let lines: Vec<Line<'_>> = logs
        .lines
        .iter()
        .map(|line| Line {
            at: line.at.unwrap_or(ctx.now),
            severity: level(line.severity),
            origin: &line.source,
            text: &line.text,
        })
        .collect();
    Ok(Durable::Logs(ctx.site.logs.append(from.agent.bits(), logs.sequence, &lines)?))
}

/// Spans are kept as lines of their trace until traces have a store of their own.
pub(super) fn spans(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Spans(spans) = message else { return Ok(Durable::Already) };
    let texts: Vec<(Timestamp, bool, String)> = spans
        .spans
        .iter()
        .map(|span| {
            let milliseconds = span.duration_us as f64 / 1000.0;
            (
                span.start,
                span.failed,
                format!("{} {milliseconds:.3} ms trace={} span={}", span.name, span.trace, span.span),
            )
        })
        .collect();
    let lines: Vec<Line<'_>> = texts
        .iter()
        .map(|(at, failed, text)| Line {
            at: *at,
            severity: if *failed { 4 } else { 1 },
            origin: "trace",
            text,
        })
        .collect();
    Ok(Durable::Logs(ctx.site.logs.append(from.agent.bits(), spans.sequence, &lines)?))
}

/// Events go to the store, each once.
pub(super) fn events(ctx: &Ctx<'_>, from: AgentRef, message: &Up) -> Result<Durable> {
    let Up::Events(events) = message else { return Ok(Durable::Already) };
    let (_, pending) = ctx.require("agents.report")?.submit(|change| {
        events.events.iter().try_for_each(|event| keep(ctx, change, from.tenant, from.agent, event))
    })?;
    Ok(Durable::Store(pending))
}

fn keep(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    tenant: TenantId,
    agent: AgentId,
    event: &wire::Event,
) -> Result<()> {
    // What claims to be of the future would stand on top for ever, and outlive its retention.
    let at = event.at.filter(|at| *at <= ctx.now + EVENTS_AHEAD_MAX).unwrap_or(ctx.now);
    let known = (tenant, agent, event.id.clone());
    if !event.id.is_empty() && change.tx.get(&BY_ID, &known)?.is_some() {
        return Ok(());
    }
    let same = (tenant, at, agent, 0)..(tenant, at, agent, u64::MAX);
    let number = change.tx.range_back(&EVENTS, same, 1)?.first().map_or(0, |(key, _)| key.3 + 1);
    let stored = StoredEvent {
        id: event.id.clone(),
        severity: event.severity,
        name: event.name.clone(),
        text: event.text.clone(),
    };
    change.tx.put(&EVENTS, &(tenant, at, agent, number), &stored)?;
    if !event.id.is_empty() {
        change.tx.put(&BY_ID, &known, &(at, number))?;
    }
    // Grave ones are worth an entry where people look for what changed.
    if event.severity >= Severity::Error {
        change.tell(
            "telemetry.reported",
            agent,
            serde_json::json!({ "name": event.name, "text": event.text }),
        );
    }
    Ok(())
}

/// Full heads become blocks; the journals shrink.
pub(super) fn seal(ctx: &Ctx<'_>) -> Result<()> {
    ctx.site.series.seal()?;
    ctx.site.logs.seal()?;
    Ok(())
}

/// What is past its retention goes.
pub(super) fn expire(ctx: &Ctx<'_>) -> Result<()> {
    if ctx.tenant == ctx.site.home {
        ctx.site.series.expire()?;
        ctx.site.logs.expire()?;
    }
    let end = ctx.now - EVENTS_KEPT;
    let old = ctx.read()?.prefix(&EVENTS, &ctx.tenant, EXPIRE_ROWS_MAX)?;
    let old: Vec<_> = old.into_iter().filter(|(key, _)| key.1 < end).collect();
    if old.is_empty() {
        return Ok(());
    }
    ctx.require("telemetry.expire")?.write(|change| {
        for (key, event) in old {
            change.tx.delete(&EVENTS, &key)?;
            if !event.id.is_empty() {
                change.tx.delete(&BY_ID, &(key.0, key.2, event.id))?;
            }
        }
        Ok(())
    })
}
