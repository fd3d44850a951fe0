//! Who asks, and whether a browser may have been tricked into asking.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};

use super::{Known, Surface};
use crate::base::{Error, Result, TenantId, Timestamp};
use crate::engine::crypto::looks_like_jwt;
use crate::engine::http::{Standings, request_id};
use crate::kit::{Actor, Ctx, Request, Site, Theme};

/// Name of the session's cookie.
const SESSION_COOKIE: &str = "__Host-muster";
/// Name of the cookie that keeps the look.
const THEME_COOKIE: &str = "__Host-theme";
/// First letters of an API key.
const KEY_PREFIX: &str = "mst_";

/// What a request says about its sender, taken out of it so that a thread for operations can have it. It holds
/// secrets, and so it cannot be printed.
#[derive(Clone, Default)]
pub(super) struct Caller {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) peer: Option<IpAddr>,
    pub(super) standings: Standings,
    session: Option<String>,
    authorization: Option<String>,
    theme: Theme,
    origin: Option<String>,
    fetch_site: Option<String>,
    pub(super) host: Option<String>,
    csrf: Option<String>,
    browser: String,
}

/// Characters that are kept of what a browser calls itself.
const BROWSER_CHARACTERS_MAX: usize = 300;

impl Caller {
    pub(super) fn of(request: &HttpRequest) -> Caller {
        let text =
            |name: &HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let cookie = |name: &str| request.cookie(name).map(|c| c.value().to_owned());
        Caller {
            id: request_id(request),
            // The connection's own address: forwarding headers can be forged.
            from: request.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default(),
            peer: request.peer_addr().map(|a| a.ip()),
            standings: Standings::of(request),
            session: cookie(SESSION_COOKIE).filter(|v| !v.is_empty()),
            authorization: text(&header::AUTHORIZATION),
            theme: Theme::find(&cookie(THEME_COOKIE).unwrap_or_default()),
            origin: text(&header::ORIGIN),
            fetch_site: text(&HeaderName::from_static("sec-fetch-site")),
            host: text(&header::HOST),
            csrf: text(&HeaderName::from_static("x-csrf-token")),
            browser: text(&header::USER_AGENT)
                .map(|agent| agent.chars().take(BROWSER_CHARACTERS_MAX).collect())
                .unwrap_or_default(),
        }
    }

    pub(super) fn theme(&self) -> Theme {
        self.theme
    }

    /// The person behind the cookie, or nobody. Pages and live parts know no keys.
    pub(super) fn person<'a>(&self, surface: &'a Surface) -> Result<Ctx<'a>> {
        self.behind_cookie(surface, surface.doors.session)
    }

    /// The person behind the cookie of a page that updates itself, or nobody. It counts as no use of the session.
    pub(super) fn watcher<'a>(&self, surface: &'a Surface) -> Result<Ctx<'a>> {
        self.behind_cookie(surface, surface.doors.watcher)
    }

    fn behind_cookie<'a>(
        &self,
        surface: &'a Surface,
        door: fn(&Site, &str, Timestamp) -> Result<Known>,
    ) -> Result<Ctx<'a>> {
        let now = surface.site.clock.now();
        let known = match &self.session {
            Some(cookie) => door(&surface.site, cookie, now)?,
            None => None,
        };
        let (tenant, actor) = known.unwrap_or((surface.site.home, Actor::Anonymous));
        Ok(self.ctx(surface, tenant, actor))
    }

    /// The program behind the key, else the person behind the cookie, else nobody. A person's unsafe request must show
    /// that it comes from our own page.
    pub(super) fn api<'a>(&self, surface: &'a Surface, unsafe_method: bool) -> Result<Ctx<'a>> {
        let Some(authorization) = &self.authorization else {
            let ctx = self.person(surface)?;
            if unsafe_method && matches!(ctx.actor, Actor::Person { .. }) {
                self.same_origin()?;
                self.token(&ctx, self.csrf.as_deref().unwrap_or_default())?;
            }
            return Ok(ctx);
        };
        // Who shows a key is never taken for the person of a cookie.
        let unknown = || {
            Error::unauthenticated("the API key is not valid")
                .hint("send `Authorization: Bearer mst_…` with a key that is not revoked")
        };
        let key = bearer(authorization).ok_or_else(unknown)?;
        let (tenant, actor) = (surface.doors.key)(&surface.site, key, &self.from)?.ok_or_else(unknown)?;
        Ok(self.ctx(surface, tenant, actor))
    }

    /// Refuses what a browser says comes from elsewhere. Programs that are no browsers say nothing, and carry no cookies
    /// by accident.
    pub(super) fn same_origin(&self) -> Result<()> {
        if is_same_origin(self.fetch_site.as_deref(), self.origin.as_deref(), self.host.as_deref()) {
            return Ok(());
        }
        Err(Error::forbidden("the request comes from another site").hint("use the console's own pages"))
    }

    /// Refuses a token that is not the session's.
    pub(super) fn token(&self, ctx: &Ctx<'_>, given: &str) -> Result<()> {
        if is_token(&ctx.csrf(), given) {
            return Ok(());
        }
        Err(Error::forbidden("the form is from an earlier session").hint("load the page again and repeat"))
    }

    /// Nobody, for what is done before anybody is known.
    pub(super) fn nobody<'a>(&self, surface: &'a Surface) -> Ctx<'a> {
        self.ctx(surface, surface.site.home, Actor::Anonymous)
    }

    fn ctx<'a>(&self, surface: &'a Surface, tenant: TenantId, actor: Actor) -> Ctx<'a> {
        let request = Request {
            id: self.id.clone(),
            from: self.from.clone(),
            host: self.host.clone().unwrap_or_default(),
            browser: self.browser.clone(),
        };
        let mut ctx = Ctx::new(&surface.site, tenant, actor, request);
        ctx.theme = self.theme;
        ctx
    }
}

/// The key or token in an `Authorization` header.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    let key = key.trim();
    let known = key.starts_with(KEY_PREFIX) && key.len() < 256 || looks_like_jwt(key);
    (scheme.eq_ignore_ascii_case("bearer") && known).then_some(key)
}

/// `Sec-Fetch-Site` decides where there is one, `Origin` against `Host` otherwise; neither means that no browser asks.
fn is_same_origin(fetch_site: Option<&str>, origin: Option<&str>, host: Option<&str>) -> bool {
    match (fetch_site, origin) {
        (Some("same-origin" | "none"), _) => true,
        (Some(_), _) => false,
        (None, None) => true,
        (None, Some(origin)) => host.is_some_and(|host| {
            origin.strip_prefix("https://").is_some_and(|o| o.eq_ignore_ascii_case(host))
        }),
    }
}

fn is_token(expected: &str, given: &str) -> bool {
    // Hashes compare in constant time.
    !expected.is_empty() && blake3::hash(expected.as_bytes()) == blake3::hash(given.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricked_browsers_are_told_from_our_own_pages() {
        let host = Some("site.lan:8443");
        for (fetch_site, origin, expected) in [
            (Some("same-origin"), Some("https://site.lan:8443"), true),
            (Some("none"), None, true),
            (Some("same-site"), Some("https://other.lan"), false),
            (Some("cross-site"), None, false),
            (None, Some("https://site.lan:8443"), true),
            (None, Some("https://SITE.lan:8443"), true),
            (None, Some("http://site.lan:8443"), false),
            (None, Some("https://site.lan"), false),
            (None, Some("null"), false),
            (None, None, true),
        ] {
            assert_eq!(is_same_origin(fetch_site, origin, host), expected, "{fetch_site:?} {origin:?}");
        }
        assert!(!is_same_origin(None, Some("https://site.lan"), None));
    }

    #[test]
    fn tokens_and_keys_are_exact() {
        assert!(is_token("abc", "abc"));
        for given in ["", "ab", "abcd", "ABC"] {
            assert!(!is_token("abc", given), "{given}");
        }
        assert!(!is_token("", ""), "who has no session has no token");
        assert_eq!(bearer("Bearer mst_x"), Some("mst_x"));
        assert_eq!(bearer("bearer  mst_x "), Some("mst_x"));
        for header in ["mst_x", "Basic mst_x", "Bearer x", "Bearer"] {
            assert_eq!(bearer(header), None, "{header}");
        }
    }
}
