//! How often people, programs and all of a tenant may ask; addresses are counted before, where requests come in.
//!
//! Invariant: a person's sessions share one bucket, and so do all uses of one key.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::caller::Caller;
use crate::base::buckets::Rate;
use crate::base::limits::{self, REQUESTS_BURST_SECONDS};
use crate::base::{Result, TenantId, machine};
use crate::engine::http::Limiter;
use crate::kit::{Actor, Ctx};

/// The limits of one surface.
pub struct Rates {
    actors: Limiter<String>,
    tenants: Limiter<TenantId>,
    /// Tenants with a quota of their own.
    quotas: Mutex<HashMap<TenantId, (u32, Limiter<TenantId>)>>,
    /// Forms that anybody may send.
    doors: Limiter<IpAddr>,
}

impl Default for Rates {
    fn default() -> Self {
        Rates::new(limits::REQUESTS_PER_ACTOR_PER_SECOND_MAX, limits::REQUESTS_PER_TENANT_PER_SECOND_MAX)
    }
}

impl Rates {
    /// So many requests in a second, of one person or key and of a tenant, over some time.
    pub fn new(per_actor: u32, per_tenant: u32) -> Rates {
        let rate = |n| Rate::per_second(n, REQUESTS_BURST_SECONDS);
        let door =
            Rate { burst: limits::DOOR_FORMS_BURST, every: Duration::from_secs(limits::DOOR_FORM_SECONDS) };
        Rates {
            actors: Limiter::new("person", rate(per_actor)),
            tenants: Limiter::new("tenant", rate(per_tenant)),
            quotas: Mutex::default(),
            doors: Limiter::new("door", door),
        }
    }

    /// Other numbers from now on.
    pub(super) fn change(&self, per_actor: u32, per_tenant: u32) {
        self.actors.change(Rate::per_second(per_actor, REQUESTS_BURST_SECONDS));
        self.tenants.change(Rate::per_second(per_tenant, REQUESTS_BURST_SECONDS));
    }

    /// Takes a request of who is known, which counts as `cost` ordinary ones.
    pub(super) fn known(&self, ctx: &Ctx<'_>, caller: &Caller, cost: u32) -> Result<()> {
        if matches!(ctx.actor, Actor::Anonymous) {
            return Ok(());
        }
        let now = ctx.site.clock.monotonic();
        self.actors.take(&ctx.actor.text(), now, cost, &caller.standings)?;
        let Some(most) = ctx.site.quotas(ctx.tenant).requests else {
            return self.tenants.take(&ctx.tenant, now, cost, &caller.standings);
        };
        let mut quotas = self.quotas.lock();
        if quotas.len() >= limits::TENANTS_MAX && !quotas.contains_key(&ctx.tenant) {
            quotas.clear();
        }
        let made = || (most, Limiter::new("tenant", Rate::per_second(most, REQUESTS_BURST_SECONDS)));
        let kept = quotas.entry(ctx.tenant).or_insert_with(made);
        if kept.0 != most {
            *kept = made();
        }
        kept.1.take(&ctx.tenant, now, cost, &caller.standings)
    }

    /// Takes a form that anybody may send: sign-in, set-up, a link.
    pub(super) fn door(&self, ctx: &Ctx<'_>, caller: &Caller) -> Result<()> {
        let Some(peer) = caller.peer else { return Ok(()) };
        self.doors.take(&machine(peer), ctx.site.clock.monotonic(), 1, &caller.standings)
    }
}
