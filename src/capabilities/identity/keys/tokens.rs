//! Short-lived tokens for programs: a key's text is exchanged for a JWT (OAuth 2.0, client credentials), so that the text
//! itself travels rarely.
//!
//! Invariant: a token gives nothing that its key does not give at this moment; a key that ended ends its tokens.
//! Invariant: who signs is the site's, for the keys of every tenant.
//! Invariant: who signs changes by itself, and what the one before signed is known until it has ended.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::families::{self, Family};
use super::{Found, admitted, narrowed, note_use};
use crate::base::{Error, KeyId, Result, Span, TenantId, Timestamp};
use crate::capabilities::identity::model::ApiKey;
use crate::capabilities::identity::store::{KEYS, SIGNERS};
use crate::engine::crypto::{Signer, jwk, sign_jwt, verify_jwt};
use crate::engine::store::Read;
use crate::kit::{Actor, Change, Ctx, Nothing, OauthClient, Permissions, Site};

/// How long a token works.
pub(super) const TOKEN_LIFETIME: Span = Span::from_minutes(10);
/// A signer signs for so long.
const SIGNER_LIFETIME: Span = Span::from_days(30);
/// So much may clocks differ.
const LEEWAY: Span = Span::from_minutes(1);
/// Signers that are known at once; each but one only until what it signed has ended.
const SIGNERS_MAX: usize = 20;
/// What a sealed seed is for.
const PURPOSE: &str = "identity.signer";

/// Who signs, or has signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::capabilities::identity) struct SignerRow {
    /// The public key as a JWK.
    pub public: String,
    /// The seed, sealed by the vault; gone when it signs no more.
    pub sealed: Option<Vec<u8>>,
    /// Since when it signs.
    pub since: Timestamp,
    /// When what it signed has ended; absent while it signs.
    pub until: Option<Timestamp>,
}

fn signers(read: &impl Read, tenant: TenantId) -> Result<Vec<(String, SignerRow)>> {
    let rows = read.prefix(&SIGNERS, &tenant, 2 * SIGNERS_MAX)?;
    Ok(rows.into_iter().map(|((_, kid), row)| (kid, row)).collect())
}

/// A new signer in an open change; the one before signs no more.
fn renew(ctx: &Ctx<'_>, change: &mut Change<'_>) -> Result<(String, SignerRow)> {
    let until = ctx.now + TOKEN_LIFETIME + LEEWAY;
    let (over, known): (Vec<_>, Vec<_>) = signers(&*change.tx, ctx.tenant)?
        .into_iter()
        .partition(|(_, row)| row.until.is_some_and(|end| end <= ctx.now));
    if known.len() >= SIGNERS_MAX {
        return Err(Error::too_many(format!("{SIGNERS_MAX} signers are known already"))
            .hint("wait until the tokens of the oldest have ended, eleven minutes"));
    }
    for (kid, _) in over {
        change.tx.delete(&SIGNERS, &(ctx.tenant, kid))?;
    }
    for (kid, row) in known.into_iter().filter(|(_, row)| row.until.is_none()) {
        let row = SignerRow { until: Some(until), sealed: None, ..row };
        change.tx.put(&SIGNERS, &(ctx.tenant, kid), &row)?;
    }
    let seed = ctx.site.clock.random::<32>();
    let public = jwk(&Signer::of_seed(&seed)?)?;
    let kid = public["kid"].as_str().unwrap_or_default().to_owned();
    let sealed = Some(ctx.site.vault.seal(PURPOSE, &seed)?);
    let row = SignerRow { public: public.to_string(), sealed, since: ctx.now, until: None };
    change.tx.put(&SIGNERS, &(ctx.tenant, kid.clone()), &row)?;
    change.tell("identity.signer_changed", &kid, json!({}));
    Ok((kid, row))
}

/// Who signs now; made when nobody does.
pub(super) fn current(site: &Site) -> Result<(String, Signer)> {
    let found = signers(&site.store.read()?, site.home)?.into_iter().find(|(_, row)| row.until.is_none());
    let (kid, row) = match found {
        Some(found) => found,
        None => {
            let ctx = Ctx::system(site, site.home, "identity.signer");
            ctx.require("identity.signer_rotate")?.write(|change| {
                // Asked again inside the write: of two at once, one makes it.
                let found =
                    signers(&*change.tx, ctx.tenant)?.into_iter().find(|(_, row)| row.until.is_none());
                found.map_or_else(|| renew(&ctx, change), Ok)
            })?
        }
    };
    let sealed = row.sealed.ok_or_else(|| Error::internal("a signer without its seed"))?;
    let seed = site.vault.open_sealed(PURPOSE, &sealed)?;
    Ok((kid, Signer::of_seed(seed.expose())?))
}

/// The public keys (RFC 7517) with which anybody can verify tokens of this site.
pub fn jwks(site: &Site) -> Result<Value> {
    current(site)?;
    let now = site.clock.now();
    let rows = signers(&site.store.read()?, site.home)?;
    let known = rows.iter().filter(|(_, row)| row.until.is_none_or(|end| now < end));
    let keys =
        known.map(|(_, row)| Ok(serde_json::from_str(&row.public)?)).collect::<Result<Vec<Value>>>()?;
    Ok(json!({ "keys": keys }))
}

/// Has somebody else sign from now on; what is signed already stays good until it ends.
pub(super) fn rotate(ctx: &Ctx<'_>, _: Nothing) -> Result<Nothing> {
    ctx.require("identity.signer_rotate")?.write(|change| renew(ctx, change))?;
    Ok(Nothing {})
}

/// The job: who has signed for long is followed by another.
pub(super) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    let rows = signers(&ctx.read()?, ctx.tenant)?;
    let due = |row: &SignerRow| match row.until {
        None => ctx.now.since(row.since) >= SIGNER_LIFETIME,
        Some(_) => false,
    };
    if rows.iter().any(|(_, row)| due(row)) {
        ctx.require("identity.signer_rotate")?.write(|change| renew(ctx, change))?;
    }
    Ok(())
}

/// A word of a scope that asks for a refresh token too.
const OFFLINE: &str = "offline_access";

/// Gives a token: for a key's identifier and text as RFC 6749, 4.4 has it, or for a refresh token as section 6 has it.
/// `scope` narrows it further: permission patterns with spaces between them; empty for all that the key, or the refresh
/// token, gives. Wrong credentials are Unauthenticated, a refresh token that is none is Forbidden, a wrong scope is
/// Invalid.
pub fn issue(site: &Site, client: &OauthClient, refresh: Option<&str>, scope: &str) -> Result<Value> {
    let (words, patterns): (Vec<&str>, Vec<&str>) =
        scope.split_whitespace().partition(|word| *word == OFFLINE);
    let scope: Permissions = patterns.join(" ").parse()?;
    match refresh {
        Some(text) => families::refresh(site, client, text, &scope),
        None => exchange(site, client, &scope, !words.is_empty()),
    }
}

fn exchange(site: &Site, client: &OauthClient, scope: &Permissions, offline: bool) -> Result<Value> {
    let found = holder(site, client)?.ok_or_else(unknown)?;
    let whole = *scope == Permissions::default();
    if !whole && narrowed(&found.rights, scope).grants.is_empty() {
        return Err(
            Error::invalid("the key gives nothing of this scope").hint("ask for less, or for nothing")
        );
    }
    let granted = match (whole, &found.key.only) {
        (false, _) => scope.clone(),
        (true, Some(only)) => only.clone(),
        (true, None) => "*".parse()?,
    };
    note_use(site, &found, &client.from)?;
    let signer = current(site)?;
    if !offline {
        return Ok(mint(site, &signer, &found.key, &granted, None));
    }
    let (family, text) = families::begin(site, found.tenant, &found.key, &granted, &client.from)?;
    Ok(with_refresh(mint(site, &signer, &found.key, &granted, Some(&family)), text))
}

/// The key whose identifier and text a program shows; nothing when it shows no text, an error when it is a wrong one.
pub(super) fn holder(site: &Site, client: &OauthClient) -> Result<Option<Found>> {
    let Some(secret) = &client.secret else { return Ok(None) };
    let found = super::by_text(site, secret)?.ok_or_else(unknown)?;
    if found.key.id.to_string() != client.id {
        return Err(unknown());
    }
    admitted(&found.key, &client.from)?;
    Ok(Some(found))
}

pub(super) fn unknown() -> Error {
    Error::unauthenticated("no API key has this identifier and text")
}

/// The answer with a token that gives so much of a key.
pub(super) fn mint(
    site: &Site,
    (kid, signer): &(String, Signer),
    key: &ApiKey,
    scope: &Permissions,
    family: Option<&Family>,
) -> Value {
    let (now, issuer) = (site.clock.now(), site.settings.console());
    let ends = family.map_or(now + TOKEN_LIFETIME, |family| family.ends().min(now + TOKEN_LIFETIME));
    let jti: String = site.clock.random::<12>().iter().map(|byte| format!("{byte:02x}")).collect();
    let scope = patterns(scope);
    let mut claims = json!({
        "iss": issuer, "aud": issuer, "sub": key.id, "client_id": key.id, "iat": now.seconds(),
        "exp": ends.seconds(), "jti": jti, "scope": scope, "epoch": key.epoch,
    });
    if let Some(family) = family {
        claims["family"] = json!(family.id);
    }
    let seconds = ends.seconds() - now.seconds();
    let token = sign_jwt(signer, kid, &claims);
    json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope })
}

/// The same answer with a refresh token.
pub(super) fn with_refresh(mut answer: Value, text: String) -> Value {
    let scope = answer["scope"].as_str().unwrap_or_default();
    answer["scope"] = json!(format!("{scope} {OFFLINE}"));
    answer["refresh_token"] = json!(text);
    answer
}

pub(super) fn patterns(permissions: &Permissions) -> String {
    permissions.to_string().replace(", ", " ")
}

/// What a token that works says, and its key.
pub(super) fn proven(site: &Site, read: &impl Read, token: &str) -> Result<(TenantId, ApiKey, Value)> {
    let now = site.clock.now();
    let claims = verify_jwt(token, |kid| {
        let row = read.get(&SIGNERS, &(site.home, kid.to_owned()))?;
        let known = row.filter(|row| row.until.is_none_or(|end| now < end));
        known.map(|row| Ok(serde_json::from_str(&row.public)?)).transpose()
    })?;
    let refused = |why: &str| Error::unauthenticated(format!("the token is not valid: {why}"));
    let issuer = site.settings.console();
    if claims["iss"] != issuer || claims["aud"] != issuer {
        return Err(refused("it is for another site"));
    }
    let instant =
        |name: &str| claims[name].as_i64().map(|s| Timestamp::from_milliseconds(s.saturating_mul(1_000)));
    let (Some(begun), Some(ends)) = (instant("iat"), instant("exp")) else {
        return Err(refused("it does not say how long it works"));
    };
    if now >= ends || begun > now + LEEWAY || ends.since(begun) > TOKEN_LIFETIME {
        return Err(refused("it has ended").hint("get a new one at /oauth/token"));
    }
    let id: KeyId =
        claims["sub"].as_str().unwrap_or_default().parse().map_err(|_| refused("it names no key"))?;
    let found: Option<(TenantId, ApiKey)> = site.tenants.search(|tenant| read.get(&KEYS, &(tenant, id)))?;
    let (tenant, key) = found.ok_or_else(|| refused("its key is gone"))?;
    if !key.works(now) || claims["epoch"] != key.epoch {
        return Err(refused("its key has ended").hint("get a new one at /oauth/token"));
    }
    site.tenants.admit(tenant)?;
    if !claims["family"].is_null() {
        let family = claims["family"].as_str().unwrap_or_default().parse();
        let family = family.map_err(|_| refused("it names no family"))?;
        families::open(read, tenant, &key, family, now)?
            .ok_or_else(|| refused("the refresh token that it came by was ended"))?;
    }
    Ok((tenant, key, claims))
}

/// Who is behind a token, if it works.
pub(super) fn actor(site: &Site, token: &str, from: &str) -> Result<(TenantId, Actor)> {
    let read = site.store.read()?;
    let (tenant, key, claims) = proven(site, &read, token)?;
    admitted(&key, from)?;
    let scope: Permissions = claims["scope"].as_str().unwrap_or_default().parse()?;
    let rights = narrowed(&super::rights(&read, tenant, &key, site.clock.now())?, &scope).into();
    Ok((tenant, Actor::Key { key: key.id, name: key.name.to_string(), rights }))
}
