//! The way of a browser to an OpenID provider and back.

use std::time::Duration;

use super::arrive::{Arrival, Proof, settle};
use super::links;
use super::memory;
use super::model::{Claims, Provider, Settings};
use super::store;
use crate::base::{Error, Result, SessionId, UserId, limits};
use crate::capabilities::identity::door;
use crate::capabilities::identity::model::Digest;
use crate::engine::crypto::well_formed;
use crate::engine::outbound::oidc;
use crate::engine::store::Read;
use crate::kit::{Ctx, PageRequest};

/// Name of the cookie that a sign-in is bound to, without the prefix that the surface adds.
pub(super) const COOKIE: &str = "muster-sign-on";
/// First letters of its value.
const PREFIX: &str = "msb";
/// Bytes of a code or state that a browser brings back.
const ANSWER_BYTES_MAX: usize = 4_096;

/// The console's own address, as a browser writes it.
pub(super) fn console(ctx: &Ctx<'_>) -> String {
    let console = ctx.site.settings.console();
    console.strip_suffix(":443").map(str::to_owned).unwrap_or(console)
}

/// Where providers send the browser back to; it is entered there.
pub(super) fn back(ctx: &Ctx<'_>) -> String {
    format!("{}/login/oidc/callback", console(ctx))
}

/// A sign-in that has begun.
pub(super) struct Begun {
    /// Where the browser goes.
    pub(super) to: String,
    /// The cookie that it must bring back.
    pub(super) cookie: String,
}

/// Begins a sign-in, or a link for who is signed in. A browser that has begun one before keeps its cookie, so that two
/// windows do not disturb each other.
pub(super) fn begin(
    ctx: &Ctx<'_>,
    provider: &str,
    request: &PageRequest,
    next: String,
    links: Option<(UserId, SessionId)>,
) -> Result<Begun> {
    let memory = memory::of(ctx.site);
    let now = ctx.site.clock.monotonic();
    let taken = memory.starts.lock().take(&door::address(&ctx.request.from), now);
    taken.map_err(|wait: Duration| {
        let seconds = wait.as_millis().div_ceil(1_000);
        Error::too_many(format!("too many sign-ins from this address were begun; wait {seconds} s"))
    })?;
    let provider = store::provider(&ctx.read()?, ctx.tenant, provider)?;
    if !provider.on {
        return Err(
            Error::conflict(format!("`{}` is switched off", provider.name)).hint("sign in another way")
        );
    }
    let client = memory.client(ctx, &provider)?;
    let attempt = oidc::Attempt::new(&ctx.site.clock);
    let to = memory.asking(|| client.begin(&back(ctx), &attempt))?;
    let cookie = match request.cookies.get(COOKIE) {
        Some(kept) if well_formed(kept) => kept.clone(),
        _ => Digest::token(PREFIX, &ctx.site.clock).0,
    };
    memory.begin(now, &provider.id, &attempt, Digest::of(&cookie), next, links);
    Ok(Begun { to, cookie })
}

/// What came of an answer.
pub(super) enum Came {
    /// In, or half in; and where to go.
    In(door::Entered, String),
    /// An account was linked to who is signed in: what to say.
    Linked(String),
}

/// Ends a sign-in with what the browser brings back.
pub(super) fn end(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Came> {
    let memory = memory::of(ctx.site);
    let lost = || {
        Error::unauthenticated("this browser began no sign-in that this answers").hint(format!(
            "begin again at {}; a sign-in counts once, for ten minutes, and in the browser and under the address where it began",
            console(ctx)
        ))
    };
    let (state, code) = (request.asked("state"), request.asked("code"));
    if state.len() > ANSWER_BYTES_MAX || code.len() > ANSWER_BYTES_MAX {
        return Err(lost());
    }
    let browser = request.cookies.get(COOKIE).map(|cookie| Digest::of(cookie)).ok_or_else(lost)?;
    let way = memory.take(ctx.site.clock.monotonic(), state, browser).ok_or_else(lost)?;
    let provider = store::provider(&ctx.read()?, ctx.tenant, &way.provider)?;
    let refused = request.asked("error");
    if !refused.is_empty() || code.is_empty() {
        let said = [refused, request.asked("error_description")].join(" ");
        let said: String = said.trim().chars().filter(|c| !c.is_control() && *c != '`').take(200).collect();
        return Err(Error::unauthenticated(format!("`{}` does not let you in: {said}", provider.name)));
    }
    let client = memory.client(ctx, &provider)?;
    let issuer = request.query.get("iss").map(String::as_str);
    let proven =
        memory.asking(|| client.redeem(&back(ctx), code, issuer, &way.attempt, &provider.claims.wanted()))?;
    let arrival = arrival(&provider, &proven);
    if let Some((user, session)) = way.links {
        return links::link_own(ctx, &provider, &arrival, user, session).map(Came::Linked);
    }
    let user = settle(ctx, &provider, &arrival)?;
    let entered = door::enter_proven(ctx, user, &arrival.proof, &way.next)?;
    memory.starts.lock().give_back(&door::address(&ctx.request.from));
    Ok(Came::In(entered, way.next))
}

fn arrival(provider: &Provider, proven: &oidc::Proven) -> Arrival {
    let short = |text: String| text.chars().take(limits::NAME_BYTES_MAX / 4).collect::<String>();
    let name = Claims::text(&proven.claims, &provider.claims.name);
    Arrival {
        proof: Proof {
            provider: provider.id.clone(),
            called: provider.name.to_string(),
            directory: false,
            subject: proven.subject.clone(),
            session: proven.session.clone(),
            several_factors: provider.trusts_factors && proven.several_factors(),
        },
        login: Claims::text(&proven.claims, &provider.claims.login).unwrap_or_default(),
        name: name.map(|name| if name.len() > limits::NAME_BYTES_MAX { short(name) } else { name }),
        groups: Claims::list(&proven.claims, &provider.claims.groups),
    }
}

/// Whether the session is still there that began a link.
pub(super) fn still_there(ctx: &Ctx<'_>, user: UserId, session: SessionId) -> Result<bool> {
    use crate::capabilities::identity::store::SESSIONS_BY_USER;
    ctx.read()?.has(&SESSIONS_BY_USER, &(ctx.tenant, user, session))
}

/// Where the browser goes to sign out at an OpenID provider too.
pub(super) fn leave(ctx: &Ctx<'_>, provider: &str) -> Result<Option<String>> {
    let provider = store::provider(&ctx.read()?, ctx.tenant, provider)?;
    if !matches!(provider.settings, Settings::Oidc(_)) {
        return Ok(None);
    }
    let memory = memory::of(ctx.site);
    let client = memory.client(ctx, &provider)?;
    let back = format!("{}/login", console(ctx));
    memory.asking(|| client.leave(&back))
}
