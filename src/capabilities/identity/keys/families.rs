//! Refresh tokens: a program that has exchanged its key's text once goes on without it (RFC 6749, 6; RFC 9700, 4.14).
//!
//! A family is what one exchange begins: a refresh token, the one that follows it, and so on, with every access token that
//! came of them. It is begun only for who asks for `offline_access`.
//!
//! Invariant: of a refresh token only the digest is kept, and each works once.
//! Invariant: a spent token that comes again ends its family, and with it every token that came of it: one of two has a
//! copy, and nobody can tell which. There is no grace for an answer that got lost, for a thief would have it too; whoever
//! loses one comes again with the key's text.
//! Invariant: a family gives nothing that its key does not give at this moment, is good in the key's networks only, and
//! ends with the key, when a text of it is ended at once, and with a restore.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tokens::{current, holder, mint, patterns, proven, unknown, with_refresh};
use super::{admitted, narrowed, ops, own, rights};
use crate::base::limits::{self, REFRESH_TOKENS_PER_KEY_MAX};
use crate::base::{Error, FamilyId, KeyId, Kind, Page, Result, Span, TenantId, Timestamp, kind};
use crate::capabilities::identity::model::{ApiKey, Digest, KEYS_MAX};
use crate::capabilities::identity::store::{FAMILIES, KEYS};
use crate::engine::crypto::{is_marked, looks_like_jwt, marked_token};
use crate::engine::store::Read;
use crate::kit::{ById, Change, Ctx, Nothing, OauthClient, Permissions, Request, Site};

/// A family ends so long after it began, whatever happens.
const LIFETIME: Span = Span::from_days(limits::REFRESH_TOKEN_DAYS_MAX);
/// A refresh token that nobody uses ends after so long.
const IDLE: Span = Span::from_days(limits::REFRESH_TOKEN_IDLE_DAYS_MAX);
/// Families of one key that are read: those that are open, and those that have ended since somebody cleaned up.
const READ_PER_KEY_MAX: usize = 4 * REFRESH_TOKENS_PER_KEY_MAX;
/// First letters of a refresh token; the identifier of its family follows.
const PREFIX: &str = "msr_";
/// Characters of an address that are kept.
const FROM_CHARACTERS: usize = 64;

/// A family.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::capabilities::identity) struct Family {
    /// The identifier; every token of it says it.
    pub(in crate::capabilities::identity) id: FamilyId,
    /// Digest of the one refresh token that works.
    digest: Digest,
    /// With what its refresh tokens are marked, to know spent ones. Who reads it can end the family, and nothing more.
    mark: [u8; 32],
    /// The most that its tokens give.
    scope: Permissions,
    /// The key's epoch when it began.
    epoch: u32,
    begun: Timestamp,
    from: String,
    used: Timestamp,
    last_from: String,
    refreshes: u32,
}

impl Family {
    /// When it ends if nobody uses it.
    pub(super) fn ends(&self) -> Timestamp {
        (self.begun + LIFETIME).min(self.used + IDLE)
    }

    /// Why it is over, when it is.
    fn over(&self, key: Option<&ApiKey>, now: Timestamp) -> Option<&'static str> {
        match key {
            Some(key) if key.works(now) && key.epoch == self.epoch => {
                (now >= self.ends()).then_some("its time is over")
            }
            _ => Some("its key has ended, or the text that it was got by"),
        }
    }

    /// Another refresh token, in place of the one that works.
    fn next(&mut self, site: &Site, from: &str, now: Timestamp) -> String {
        let id = self.id.to_string();
        let (_, id) = id.split_once('_').unwrap_or_default();
        let text = marked_token(&format!("{PREFIX}{id}"), &self.mark, &site.clock);
        self.digest = Digest::of(&text);
        (self.used, self.last_from) = (now, from.chars().take(FROM_CHARACTERS).collect());
        text
    }
}

/// The family that a refresh token says it is of.
fn named(text: &str) -> Option<FamilyId> {
    let (id, _) = text.strip_prefix(PREFIX)?.split_once('_')?;
    format!("fam_{id}").parse().ok()
}

/// The family of this key, if it is open.
pub(super) fn open(
    read: &impl Read,
    tenant: TenantId,
    key: &ApiKey,
    id: FamilyId,
    now: Timestamp,
) -> Result<Option<Family>> {
    let family = read.get(&FAMILIES, &(tenant, key.id, id))?;
    Ok(family.filter(|family| family.over(Some(key), now).is_none()))
}

fn all_open(read: &impl Read, tenant: TenantId, key: &ApiKey, now: Timestamp) -> Result<Vec<Family>> {
    let rows = read.prefix(&FAMILIES, &(tenant, key.id), READ_PER_KEY_MAX)?;
    let families = rows.into_iter().map(|(_, family)| family);
    Ok(families.filter(|family| family.over(Some(key), now).is_none()).collect())
}

/// The key that asks at the door for tokens, as the journal names it.
fn asking<'a>(site: &'a Site, tenant: TenantId, key: &ApiKey, from: &str) -> Ctx<'a> {
    let request = Request { from: from.to_owned(), ..Request::default() };
    own(&Ctx::new(site, tenant, crate::kit::Actor::Anonymous, request), key.id, &key.name.to_string())
}

/// Begins a family of a key, with the first refresh token.
pub(super) fn begin(
    site: &Site,
    tenant: TenantId,
    key: &ApiKey,
    scope: &Permissions,
    from: &str,
) -> Result<(Family, String)> {
    let ctx = asking(site, tenant, key, from);
    let mut family = Family {
        id: site.clock.id(),
        digest: Digest([0; 32]),
        mark: site.clock.random::<32>(),
        scope: scope.clone(),
        epoch: key.epoch,
        begun: ctx.now,
        from: from.chars().take(FROM_CHARACTERS).collect(),
        used: ctx.now,
        last_from: String::new(),
        refreshes: 0,
    };
    let text = family.next(site, from, ctx.now);
    ctx.require("identity.family_begin")?.write(|change| {
        // Asked again inside the write: the key may have ended meanwhile.
        let now = change.tx.get(&KEYS, &(ctx.tenant, key.id))?;
        let key = now.filter(|key| family.over(Some(key), ctx.now).is_none()).ok_or_else(unknown)?;
        if all_open(&*change.tx, ctx.tenant, &key, ctx.now)?.len() >= REFRESH_TOKENS_PER_KEY_MAX {
            return Err(Error::too_many(format!(
                "the API key `{}` has {REFRESH_TOKENS_PER_KEY_MAX} refresh tokens open already",
                key.name
            ))
            .hint("use one of them, give one back at /oauth/revoke, or end them at the key's page"));
        }
        change.tx.put(&FAMILIES, &(ctx.tenant, key.id, family.id), &family)?;
        let until = family.begun + LIFETIME;
        let detail =
            json!({ "name": key.name, "family": family.id, "scope": patterns(scope), "until": until });
        change.tell("identity.family_begun", key.id, detail);
        Ok(())
    })?;
    Ok((family, text))
}

/// What came of a refresh token that was shown.
enum Shown {
    /// The next one, and what it was of.
    Next(Box<(ApiKey, Family, String)>),
    /// It was spent: the family has ended.
    Spent,
    /// It is none.
    Unknown,
}

/// Spends a refresh token for the next one and an access token.
pub(super) fn refresh(site: &Site, client: &OauthClient, text: &str, scope: &Permissions) -> Result<Value> {
    let gone = || {
        Error::forbidden("the refresh token does not work, or not any more").hint(
            "get another with the key's text; each works once, and all end when a spent one comes again",
        )
    };
    holder(site, client)?;
    let Some((tenant, key, family)) = find(site, client, text)? else { return Err(gone()) };
    let ctx = asking(site, tenant, &key, &client.from);
    // First, for a token must not be spent when nobody could sign.
    let signer = current(site)?;
    let granted = match *scope == Permissions::default() {
        true => family.scope.clone(),
        false => scope.clone(),
    };
    let place = (ctx.tenant, key.id, family.id);
    let done = ctx.require("identity.refresh")?.write(|change| {
        // All of it inside the write: of two at once, one finds it spent.
        let (Some(key), Some(mut family)) =
            (change.tx.get(&KEYS, &(ctx.tenant, key.id))?, change.tx.get(&FAMILIES, &place)?)
        else {
            return Ok(Shown::Unknown);
        };
        if family.over(Some(&key), ctx.now).is_some() {
            return Ok(Shown::Unknown);
        }
        if family.digest != Digest::of(text) {
            change.tx.delete(&FAMILIES, &place)?;
            let detail = json!({
                "name": key.name, "family": family.id, "refreshes": family.refreshes, "last_from": family.last_from,
            });
            change.tell("identity.family_reused", key.id, detail);
            return Ok(Shown::Spent);
        }
        admitted(&key, &client.from)?;
        let most = narrowed(&rights(&*change.tx, ctx.tenant, &key, ctx.now)?, &family.scope);
        if !family.scope.include(&granted) || narrowed(&most, &granted).grants.is_empty() {
            return Err(Error::invalid("the refresh token gives nothing of this scope, or not all of it")
                .hint(format!("at most `{}`, of what the key still gives", patterns(&family.scope))));
        }
        let next = family.next(site, &client.from, ctx.now);
        family.refreshes = family.refreshes.saturating_add(1);
        change.tx.put(&FAMILIES, &place, &family)?;
        Ok(Shown::Next(Box::new((key, family, next))))
    })?;
    match done {
        Shown::Next(next) => {
            let (key, family, next) = *next;
            Ok(with_refresh(mint(site, &signer, &key, &granted, Some(&family)), next))
        }
        Shown::Spent => {
            tracing::warn!(key = %key.id, from = client.from, "a spent refresh token of the API key `{}` came again; its family is ended", key.name);
            Err(gone())
        }
        Shown::Unknown => Err(gone()),
    }
}

/// The key and family of a refresh token that was given to this program at any time, if the family is open. Without a
/// write, so that nobody makes the disk work by guessing.
fn find(site: &Site, client: &OauthClient, text: &str) -> Result<Option<(TenantId, ApiKey, Family)>> {
    let id: KeyId = client.id.parse().map_err(|_| unknown())?;
    let Some(family) = named(text) else { return Ok(None) };
    let read = site.store.read()?;
    let found = site.tenants.search(|tenant| read.get(&KEYS, &(tenant, id)))?;
    let Some((tenant, key)): Option<(TenantId, ApiKey)> = found else { return Ok(None) };
    site.tenants.admit(tenant)?;
    let family = open(&read, tenant, &key, family, site.clock.now())?;
    Ok(family.filter(|family| is_marked(text, &family.mark)).map(|family| (tenant, key, family)))
}

/// Takes a token back (RFC 7009): a refresh token, spent or not, or an access token that came of one, ends its family. A
/// token that does not work, or that another key was given, is left alone. Invalid for an access token that came of no
/// family, which ends by itself.
pub fn revoke(site: &Site, client: &OauthClient, token: &str) -> Result<()> {
    holder(site, client)?;
    let found = match looks_like_jwt(token) {
        false => find(site, client, token)?.map(|(tenant, key, family)| (tenant, key, family.id)),
        true => match proven(site, &site.store.read()?, token) {
            Ok((tenant, key, claims)) if key.id.to_string() == client.id => {
                let family = claims["family"].as_str().and_then(|id| id.parse().ok()).ok_or_else(|| {
                    Error::invalid("this token came of no refresh token, and is not taken back")
                        .hint("it ends by itself within ten minutes; to end it now, end its key")
                })?;
                Some((tenant, key, family))
            }
            Ok(_) => None,
            Err(error) if error.kind() == Kind::Unauthenticated => None,
            Err(error) => return Err(error),
        },
    };
    let Some((tenant, key, family)) = found else { return Ok(()) };
    let ctx = asking(site, tenant, &key, &client.from);
    ctx.require("identity.family_end")?.write(|change| {
        end(&ctx, change, &key, family, "its program gave it back")?;
        Ok(())
    })
}

/// What a token is at this moment (RFC 7662), for the key that it was given to and for who may read about people and keys.
pub fn introspect(site: &Site, client: &OauthClient, token: &str) -> Result<Value> {
    let asker = holder(site, client)?.ok_or_else(unknown)?;
    let may = |tenant: TenantId, key: &ApiKey| {
        let reads = tenant == asker.tenant && asker.rights.sight("identity.read").is_everything();
        key.id == asker.key.id || reads
    };
    let read = site.store.read()?;
    if looks_like_jwt(token) {
        return match proven(site, &read, token) {
            Ok((tenant, key, mut claims)) if may(tenant, &key) => {
                (claims["active"], claims["token_type"]) = (json!(true), json!("Bearer"));
                Ok(claims)
            }
            Ok(_) => Ok(json!({ "active": false })),
            Err(error) if error.kind() == Kind::Unauthenticated => Ok(json!({ "active": false })),
            Err(error) => Err(error),
        };
    }
    Ok(match find(site, client, token)? {
        Some((_, key, family)) if family.digest == Digest::of(token) => json!({
            "active": true, "client_id": key.id, "sub": key.id, "scope": patterns(&family.scope),
            "iat": family.begun.seconds(), "exp": family.ends().seconds(), "iss": site.settings.console(),
        }),
        _ => json!({ "active": false }),
    })
}

/// Ends a family in an open change; whether it was there.
fn end(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    key: &ApiKey,
    family: FamilyId,
    because: &str,
) -> Result<bool> {
    let place = (ctx.tenant, key.id, family);
    let there = change.tx.has(&FAMILIES, &place)?;
    if there {
        change.tx.delete(&FAMILIES, &place)?;
        let detail = json!({ "name": key.name, "family": family, "because": because });
        change.tell("identity.family_ended", key.id, detail);
    }
    Ok(there)
}

/// A refresh token as lists and the API show it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FamilyView {
    /// The identifier; the refresh token itself is shown nowhere.
    pub id: FamilyId,
    /// The most that it gives.
    pub scope: String,
    /// When the key's text was exchanged for it.
    pub begun: Timestamp,
    /// Where.
    pub from: String,
    /// When it was last used.
    pub used: Timestamp,
    /// Where.
    pub last_from: String,
    /// How often it was used.
    pub refreshes: u32,
    /// When it ends if nobody uses it.
    pub ends: Timestamp,
}

/// Lists the open families of a key, the oldest first.
pub(super) fn list(ctx: &Ctx<'_>, input: ById<kind::Key>) -> Result<Page<FamilyView>> {
    ctx.require("identity.read")?;
    let read = ctx.read()?;
    let key = ops::known(&read, ctx, input.id)?;
    let families = all_open(&read, ctx.tenant, &key, ctx.now)?.into_iter().map(|family| {
        let ends = family.ends();
        FamilyView {
            id: family.id,
            scope: patterns(&family.scope),
            begun: family.begun,
            from: family.from,
            used: family.used,
            last_from: family.last_from,
            refreshes: family.refreshes,
            ends: key.expires.map_or(ends, |end| end.min(ends)),
        }
    });
    Ok(Page { items: families.collect(), next: None })
}

/// Which families of a key end.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct FamilyEnded {
    /// The key.
    pub(super) id: KeyId,
    /// Which of its families; absent for all.
    #[serde(default)]
    pub(super) family: Option<FamilyId>,
}

/// Ends a family of a key, or all of them.
pub(super) fn end_of_key(ctx: &Ctx<'_>, input: FamilyEnded) -> Result<Nothing> {
    ctx.require("identity.key_family_end")?.write(|change| {
        let key = ops::known(&*change.tx, ctx, input.id)?;
        let open = all_open(&*change.tx, ctx.tenant, &key, ctx.now)?;
        let chosen: Vec<FamilyId> = open
            .iter()
            .map(|family| family.id)
            .filter(|id| input.family.is_none_or(|one| one == *id))
            .collect();
        if let (true, Some(one)) = (chosen.is_empty(), input.family) {
            return Err(Error::not_found("refresh token", one).hint("it has ended already"));
        }
        for family in chosen {
            end(ctx, change, &key, family, "somebody ended it")?;
        }
        Ok(Nothing {})
    })
}

/// The job: what is over takes no room.
pub(super) fn sweep(ctx: &Ctx<'_>) -> Result<()> {
    let read = ctx.read()?;
    let mut over = Vec::new();
    for ((_, key, id), family) in read.prefix(&FAMILIES, &ctx.tenant, KEYS_MAX * READ_PER_KEY_MAX)? {
        let key = read.get(&KEYS, &(ctx.tenant, key))?;
        over.extend(family.over(key.as_ref(), ctx.now).zip(key).map(|(why, key)| (key, id, why)));
    }
    drop(read);
    if over.is_empty() {
        return Ok(());
    }
    ctx.require("identity.sweep")?.write(|change| {
        for (key, id, because) in &over {
            end(ctx, change, key, *id, because)?;
        }
        Ok(())
    })
}

/// Ends all of them in the change that a restore begins with: one that was spent since would work again.
pub(in crate::capabilities::identity) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>) -> Result<()> {
    let most = KEYS_MAX * READ_PER_KEY_MAX;
    for (place, _) in change.tx.prefix(&FAMILIES, &ctx.tenant, most)? {
        change.tx.delete(&FAMILIES, &place)?;
    }
    Ok(())
}
