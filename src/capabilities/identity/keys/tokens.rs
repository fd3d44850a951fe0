//! Short-lived tokens for programs: a key's text is exchanged for a JWT (OAuth 2.0, client credentials), so that the text
//! itself travels rarely.
//!
//! Invariant: a token gives nothing that its key does not give at this moment; a key that ended ends its tokens.
//! Invariant: who signs is the site's, for the keys of every tenant.
//! Invariant: who signs changes by itself, and what the one before signed is known until it has ended.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{admitted, narrowed, note_use};
use crate::base::{Error, KeyId, Result, Span, TenantId, Timestamp};
use crate::capabilities::identity::model::ApiKey;
use crate::capabilities::identity::roles;
use crate::capabilities::identity::store::{KEYS, SIGNERS};
use crate::engine::crypto::{Signer, jwk, sign_jwt, verify_jwt};
use crate::engine::store::Read;
use crate::kit::{Actor, Change, Ctx, Nothing, Permissions, Site};

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
fn current(site: &Site) -> Result<(String, Signer)> {
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

/// Exchanges a key's identifier and text for a token, as RFC 6749, 4.4 has it. `scope` narrows it further: permission
/// patterns with spaces between them; empty for all that the key gives. Wrong credentials are Unauthenticated, a wrong
/// scope is Invalid.
pub fn issue(site: &Site, id: &str, text: &str, scope: &str, from: &str) -> Result<Value> {
    let wrong = || Error::unauthenticated("no API key has this identifier and text");
    let found = super::by_text(site, text)?.ok_or_else(wrong)?;
    if found.key.id.to_string() != id {
        return Err(wrong());
    }
    admitted(&found.key, from)?;
    let scope: Permissions = scope.parse()?;
    let whole = scope == Permissions::default();
    if !whole && narrowed(&found.rights, &scope).grants.is_empty() {
        return Err(
            Error::invalid("the key gives nothing of this scope").hint("ask for less, or for nothing")
        );
    }
    note_use(site, &found, from)?;
    let (kid, signer) = current(site)?;
    let (key, now, issuer) = (&found.key, site.clock.now().seconds(), site.settings.console());
    let jti: String = site.clock.random::<12>().iter().map(|byte| format!("{byte:02x}")).collect();
    let seconds = TOKEN_LIFETIME.milliseconds() / 1_000;
    let granted = match (whole, &key.only) {
        (false, _) => patterns(&scope),
        (true, Some(only)) => patterns(only),
        (true, None) => "*".to_owned(),
    };
    let claims = json!({
        "iss": issuer, "aud": issuer, "sub": key.id, "client_id": key.id, "iat": now, "exp": now + seconds as i64,
        "jti": jti, "scope": granted, "epoch": key.epoch,
    });
    let token = sign_jwt(&signer, &kid, &claims);
    Ok(json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": granted }))
}

fn patterns(permissions: &Permissions) -> String {
    permissions.to_string().replace(", ", " ")
}

/// Who is behind a token, if it works.
pub(super) fn actor(site: &Site, token: &str, from: &str) -> Result<(TenantId, Actor)> {
    let now = site.clock.now();
    let read = site.store.read()?;
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
    admitted(&key, from)?;
    site.tenants.admit(tenant)?;
    let mut rights = roles::rights(&read, tenant, &key.grants, now)?;
    if let Some(only) = &key.only {
        rights = narrowed(&rights, only);
    }
    let scope: Permissions = claims["scope"].as_str().unwrap_or_default().parse()?;
    let rights = narrowed(&rights, &scope).into();
    Ok((tenant, Actor::Key { key: key.id, name: key.name.to_string(), rights }))
}
