//! How many series a tenant may have. What is there goes on; a further series is not begun.
//!
//! Counting asks every agent's series, so the count is kept for a while; in between what is begun is added to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::{AgentId, Result, TenantId, Timestamp};
use crate::capabilities::agents;
use crate::kit::{Ctx, PerSite, Quota};

/// A count is good for so long.
const COUNTED_FOR: Duration = Duration::from_secs(10);

struct Counted {
    series: usize,
    at: Duration,
    /// When it was last told that a series was not begun.
    told: Option<Duration>,
}

type Counts = Mutex<HashMap<TenantId, Counted>>;

static COUNTS: PerSite<Counts> = PerSite::new();

/// Values that are on their way, by instant.
type Values<'a> = Vec<(Timestamp, Vec<(&'a str, f64)>)>;

/// How many series the agents of the tenant have.
pub(super) fn count(ctx: &Ctx<'_>) -> Result<usize> {
    let all = agents::some(&ctx.read()?, ctx.tenant, usize::MAX)?;
    Ok(all.into_iter().map(|agent| ctx.site.series.count(agent.bits())).sum())
}

/// Of the values those whose series the tenant may have.
pub(super) fn kept<'a>(ctx: &Ctx<'_>, agent: AgentId, mut values: Values<'a>) -> Result<Values<'a>> {
    let Some(most) = ctx.site.quotas(ctx.tenant).of(Quota::Series) else { return Ok(values) };
    let (now, counts): (Duration, Arc<Counts>) =
        (ctx.site.clock.monotonic(), COUNTS.of(ctx.site, Counts::default));
    let mut counts = counts.lock();
    let fresh = counts.get(&ctx.tenant).is_some_and(|kept| now.saturating_sub(kept.at) < COUNTED_FOR);
    if !fresh {
        let told = counts.get(&ctx.tenant).and_then(|kept| kept.told);
        counts.insert(ctx.tenant, Counted { series: count(ctx)?, at: now, told });
    }
    let Some(counted) = counts.get_mut(&ctx.tenant) else { return Ok(values) };
    let (mut known, mut refused) = (HashMap::new(), 0_usize);
    for (_, tick) in &mut values {
        tick.retain(|(name, _)| {
            *known.entry(*name).or_insert_with(|| {
                let there = ctx.site.series.latest(agent.bits(), name).is_some();
                let fits = there || counted.series < most as usize;
                if !there && fits {
                    counted.series += 1;
                }
                refused += usize::from(!fits);
                fits
            })
        });
    }
    values.retain(|(_, tick)| !tick.is_empty());
    let quiet = counted.told.is_some_and(|at| now.saturating_sub(at) < Duration::from_secs(60));
    if refused > 0 && !quiet {
        counted.told = Some(now);
        tracing::warn!(
            agent.id = %agent,
            "{refused} series of agent `{agent}` were not begun: the quota of `{}` is {most} series, and {} are there",
            ctx.site.tenant_name(ctx.tenant),
            counted.series
        );
    }
    Ok(values)
}
