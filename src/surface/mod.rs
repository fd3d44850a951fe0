//! The outsides of the product, all derived from the capabilities: REST, OpenAPI, the console's pages, live parts, the
//! gate's messages, the followers of the change feed. Nothing here knows what any of them mean.
//!
//! Who asks is found by the [`Doors`], which the identity capability gives; the gate's by [`Gate`]. So this floor names
//! no capability and can be tested with made-up ones.
//!
//! Invariant: every route comes from an `Op`, a `Page` or a `Live`; the rest is named here: health, metrics, the
//! reference, tokens for programs and static files.
//! Invariant: an unsafe request that a browser may have been tricked into is refused before anything runs: the origin
//! must be our own and a signed-in person's token must be there.
//! Invariant: whatever may wait for the disk runs on a thread for that, under one span and one request id.

mod caller;
mod console;
mod download;
mod errors;
mod follow;
mod form;
mod gate;
mod health;
mod ingest;
mod input;
mod live;
mod metrics;
mod oauth;
mod openapi;
mod rates;
mod reference;
mod rest;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::web;

use crate::base::{Error, Kind, Result, TenantId, Timestamp};
use crate::engine::http::{Traffic, assets};
use crate::engine::jobs::{Runner, Step};
use crate::kit::{
    Actor, Asked, Capability, Ctx, Followers, Intent, Jobs, NavItem, NeedsSecond, OauthClient, Ops, Pages,
    Site, Uplinks, Zone,
};

pub use errors::either as refuse;
pub use follow::{FollowStats, Following};
pub use gate::{Door, Gate};
pub use ingest::{Ingest, IngestStats, JoinFn};
pub use rates::Rates;
pub use rest::call;

/// Paths that tell nothing of the site, and so are answered whatever the server is called: probes reach it by odd names,
/// and the page that says so needs its style.
pub const OPEN_PATHS: &[&str] = &["/healthz", "/readyz", "/static/"];

/// Who asks, of which tenant; nobody where nothing is known.
pub type Known = Option<(TenantId, Actor)>;

/// How the surface learns who asks, and of which tenant they are.
#[derive(Clone, Copy)]
pub struct Doors {
    /// The person behind the value of the session's cookie.
    pub session: fn(&Site, &str, Timestamp) -> Result<Known>,
    /// The same for a page that updates itself, which is no use of the session.
    pub watcher: fn(&Site, &str, Timestamp) -> Result<Known>,
    /// The zone in which whoever acts reads times.
    pub zone: fn(&Ctx<'_>) -> Result<Zone>,
    /// The program behind an API key, `mst_…`, or a short-lived token, and the address that it came from.
    pub key: fn(&Site, &str, &str) -> Result<Known>,
    /// A short-lived token for a program with a key, or for a refresh token that it was given, narrowed to a scope.
    pub token: fn(&Site, &OauthClient, Option<&str>, &str) -> Result<serde_json::Value>,
    /// Takes a token back.
    pub revoke: fn(&Site, &OauthClient, &str) -> Result<()>,
    /// Says what a token is at this moment.
    pub introspect: fn(&Site, &OauthClient, &str) -> Result<serde_json::Value>,
    /// The public keys that such tokens are verified with.
    pub jwks: fn(&Site) -> Result<serde_json::Value>,
    /// Whether nobody has been set up yet.
    pub needs_setup: fn(&Site) -> bool,
    /// Keeps what somebody asked for under a permission that needs a second person, until that one has decided.
    pub second: fn(&Ctx<'_>, Intent, &'static str) -> Result<Asked>,
}

/// Everything that HTTP shows of a site.
pub struct Surface {
    site: Arc<Site>,
    doors: Doors,
    traffic: Arc<Traffic>,
    ops: Ops,
    pages: Pages,
    openapi: serde_json::Value,
    rates: Rates,
    ready: AtomicBool,
    parts: OnceLock<Parts>,
}

/// What has numbers for `/metrics`, attached when it has started.
pub struct Parts {
    /// Timers.
    pub jobs: Arc<Runner>,
    /// Messages of agents.
    pub ingest: Arc<IngestStats>,
    /// Followers of the feed.
    pub following: Arc<Following>,
}

impl Surface {
    /// Gathers what the capabilities have. Two operations or pages with one name or route are an error here.
    pub fn new(
        site: Arc<Site>,
        capabilities: &[&'static dyn Capability],
        doors: Doors,
        traffic: Arc<Traffic>,
        rates: Rates,
    ) -> Result<Arc<Surface>> {
        let (ops, mut pages) = (ops(capabilities), Pages::default());
        capabilities.iter().for_each(|c| c.pages(&mut pages));
        check(&ops, &pages)?;
        let openapi = openapi::document(&ops);
        let (ready, parts) = (AtomicBool::new(false), OnceLock::new());
        Ok(Arc::new(Surface { site, doors, traffic, ops, pages, openapi, rates, ready, parts }))
    }

    /// Other numbers of requests in one second, of one person or key and of a tenant, from now on.
    pub fn change_rates(&self, per_actor: u32, per_tenant: u32) {
        self.rates.change(per_actor, per_tenant);
    }

    /// Mounts every route; given to `engine::http::Server::start`.
    pub fn configure(self: &Arc<Self>, app: &mut web::ServiceConfig) {
        app.app_data(web::Data::from(self.clone()));
        health::configure(app);
        rest::configure(self, app);
        live::configure(app);
        oauth::configure(app);
        assets::configure(app);
        console::configure(self, app);
    }

    /// Keeps the intent when `outcome` is refused for lack of a second person; every other outcome stays as it is.
    fn second<T>(
        &self,
        ctx: &Ctx<'_>,
        outcome: Result<T>,
        intent: impl FnOnce() -> Option<Intent>,
    ) -> Result<Result<T, Asked>> {
        let error = match outcome {
            Ok(value) => return Ok(Ok(value)),
            Err(error) => error,
        };
        match (error.cause::<NeedsSecond>().copied(), error.kind()) {
            (Some(NeedsSecond(permission)), Kind::Approval) => match intent() {
                Some(intent) => (self.doors.second)(ctx, intent, permission).map(Err),
                None => Err(error),
            },
            _ => Err(error),
        }
    }

    /// Whether `/readyz` may say yes; set after the start, taken back before the drain.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::SeqCst);
    }

    /// Attaches what has started since.
    pub fn attach(&self, parts: Parts) {
        let _ = self.parts.set(parts);
    }

    /// The OpenAPI document.
    pub fn openapi(&self) -> &serde_json::Value {
        &self.openapi
    }
}

/// The navigation of all capabilities, in their order; for `kit::Parts`.
pub fn navigation(capabilities: &[&'static dyn Capability]) -> Vec<NavItem> {
    // As the work goes, not as capabilities depend: the fleet, what it says, what it is told, who may.
    const GROUPS: [&str; 4] = ["Fleet", "Observe", "Operate", "Govern"];
    let mut items: Vec<NavItem> = capabilities.iter().flat_map(|c| c.navigation()).collect();
    let group = |item: &NavItem| GROUPS.iter().position(|g| *g == item.group).unwrap_or(GROUPS.len());
    items.sort_by_key(|item| (group(item), item.path != "/"));
    items
}

/// The operations of all capabilities, in their order.
pub fn ops(capabilities: &[&'static dyn Capability]) -> Ops {
    let mut ops = Ops::default();
    capabilities.iter().for_each(|c| c.ops(&mut ops));
    ops
}

/// The jobs of all capabilities as steps for the timer runner.
pub fn jobs(
    site: &Arc<Site>,
    capabilities: &[&'static dyn Capability],
) -> Vec<(&'static str, crate::base::Span, Step)> {
    let mut jobs = Jobs::default();
    capabilities.iter().for_each(|c| c.jobs(&mut jobs));
    let step = |job: crate::kit::Job| {
        let (site, name, every) = (site.clone(), job.name, job.every);
        let run: Step = Box::new(move || {
            let span = tracing::info_span!("job", name = job.name);
            span.in_scope(|| job.run(&site))
        });
        (name, every, run)
    };
    jobs.0.into_iter().map(step).collect()
}

/// The handlers of all capabilities for messages of agents.
pub fn uplinks(capabilities: &[&'static dyn Capability]) -> Uplinks {
    let mut uplinks = Uplinks::default();
    capabilities.iter().for_each(|c| c.uplinks(&mut uplinks));
    uplinks
}

/// The followers of all capabilities.
pub fn followers(capabilities: &[&'static dyn Capability]) -> Followers {
    let mut followers = Followers::default();
    capabilities.iter().for_each(|c| c.followers(&mut followers));
    followers
}

fn check(ops: &Ops, pages: &Pages) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut once = |what: String| match seen.insert(what.clone()) {
        true => Ok(()),
        false => Err(Error::internal(format!("{what} is declared twice"))),
    };
    for op in &ops.0 {
        once(format!("operation `{}`", op.name))?;
        once(format!("route `{:?} {}`", op.method, op.path))?;
    }
    for page in &pages.pages {
        once(format!("page `{}{}`", if page.form { "POST " } else { "GET " }, page.path))?;
    }
    pages.live.iter().try_for_each(|live| once(format!("live topic `{}`", live.topic)))
}

/// Literal parts before `{parameters}`, so that `/agents/export` is found before `/agents/{id}`.
fn specificity(path: &str) -> Vec<bool> {
    path.split('/').map(|part| part.starts_with('{')).collect()
}
