//! API keys: the way in for programs.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::memory;
use super::model::{ApiKey, Digest, KEYS_MAX, KeyView, words};
use super::roles::{self, Granted};
use super::store::{KEYS, KEYS_BY_DIGEST};
use crate::base::{Error, Name, Page, Result, Span, Timestamp, kind};
use crate::engine::crypto::well_formed;
use crate::engine::store::Read;
use crate::kit::{Actor, ById, Ctx, Nothing, RoleName, Scope, Site};

/// First letters of a key's text.
const PREFIX: &str = "mst";
/// Characters of the text that lists show.
const SHOWN_CHARACTERS: usize = 10;
/// Days that a key may be given.
const DAYS_MAX: u64 = 3_650;

/// Who is behind this bearer text, if the key works. `from` is where it came from.
pub fn key_actor(site: &Site, bearer: &str, from: &str) -> Result<Option<Actor>> {
    if !bearer.starts_with(PREFIX) || !well_formed(bearer) {
        return Ok(None);
    }
    let (tenant, now, digest) = (site.tenant, site.clock.now(), Digest::of(bearer));
    let (key, rights) = {
        let read = site.store.read()?;
        let Some(id) = read.get(&KEYS_BY_DIGEST, &(tenant, digest))? else { return Ok(None) };
        let Some(key) = read.get(&KEYS, &(tenant, id))? else { return Ok(None) };
        let rights = roles::rights(&read, tenant, &key.grants, now)?;
        (key, Arc::new(rights))
    };
    if !key.works(now) {
        return Ok(None);
    }
    let memory = memory::of(site);
    let last = memory.uses.last(&digest, key.last_used.unwrap_or_default());
    if memory.uses.note(digest, last, now) {
        let ctx = Ctx::system(site, "identity.keys");
        // Nobody waits for it, and a full disk shuts nobody out: without it only the last minute of use is lost.
        let noted = ctx.require("identity.use")?.submit(|change| {
            if let Some(key) = change.tx.get(&KEYS, &(tenant, key.id))? {
                let key = ApiKey { last_used: Some(now), last_from: from.chars().take(64).collect(), ..key };
                change.tx.put(&KEYS, &(tenant, key.id), &key)?;
            }
            Ok(())
        });
        if let Err(error) = noted {
            tracing::debug!("the use of an API key was not noted: {error}");
        }
    }
    Ok(Some(Actor::Key { key: key.id, name: key.name.to_string(), rights }))
}

/// Lists keys, revoked ones too, in the order in which they were made.
pub(super) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<KeyView>> {
    ctx.require("identity.read")?;
    let keys = ctx.read()?.prefix(&KEYS, &ctx.tenant, KEYS_MAX)?;
    Ok(Page { items: keys.iter().map(|(_, key)| key.view(ctx.now)).collect(), next: None })
}

/// A key that is made.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct KeyChosen {
    /// What people call it: the program that uses it.
    pub name: Name,
    /// What it may do; not more than who makes it.
    pub role: RoleName,
    /// With what; empty for everything.
    #[serde(default)]
    pub scope: Scope,
    /// Days after which it ends; absent for a key without an end.
    #[serde(default)]
    pub days: Option<u64>,
}

/// A key and its text.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeyMade {
    /// The key.
    pub key: KeyView,
    /// The text that the program sends as `Authorization: Bearer …`. It is shown here and never again.
    pub text: String,
}

/// Makes a key.
pub(super) fn create(ctx: &Ctx<'_>, input: KeyChosen) -> Result<KeyMade> {
    let permit = ctx.require("identity.key_create")?;
    roles::may_give(ctx, &ctx.read()?, &input.role, &input.scope)?;
    if input.days.is_some_and(|days| days == 0 || days > DAYS_MAX) {
        return Err(Error::invalid("the number of days is not valid").hint(format!("1 to {DAYS_MAX}")));
    }
    let (text, digest) = Digest::token(PREFIX, &ctx.site.clock);
    let key = ApiKey {
        id: ctx.site.clock.id(),
        name: input.name,
        grants: vec![Granted { scope: input.scope, ..Granted::lasting(input.role) }],
        digest,
        shown: text.chars().take(SHOWN_CHARACTERS).collect(),
        created_by: ctx.actor.text(),
        created: ctx.now,
        last_used: None,
        last_from: String::new(),
        expires: input.days.map(|days| ctx.now + Span::from_days(days)),
        revoked: None,
    };
    permit.write(|change| {
        if change.tx.prefix(&KEYS, &ctx.tenant, KEYS_MAX)?.len() >= KEYS_MAX {
            return Err(Error::too_many(format!("{KEYS_MAX} API keys are there already")));
        }
        change.tx.put(&KEYS, &(ctx.tenant, key.id), &key)?;
        change.tx.put(&KEYS_BY_DIGEST, &(ctx.tenant, digest), &key.id)?;
        change.tell(
            "identity.key_created",
            key.id,
            json!({ "name": key.name, "roles": words(&key.grants), "expires": key.expires }),
        );
        Ok(())
    })?;
    Ok(KeyMade { key: key.view(ctx.now), text })
}

/// Ends a key. The record stays, so that the audit log can name it.
pub(super) fn revoke(ctx: &Ctx<'_>, input: ById<kind::Key>) -> Result<KeyView> {
    ctx.require("identity.key_revoke")?.write(|change| {
        let key = change
            .tx
            .get(&KEYS, &(ctx.tenant, input.id))?
            .ok_or_else(|| Error::not_found("API key", input.id))?;
        let key = revoked(key, ctx.now)?;
        change.tx.put(&KEYS, &(ctx.tenant, key.id), &key)?;
        change.tx.delete(&KEYS_BY_DIGEST, &(ctx.tenant, key.digest))?;
        change.tell("identity.key_revoked", key.id, json!({ "name": key.name }));
        Ok(key.view(ctx.now))
    })
}

fn revoked(key: ApiKey, now: Timestamp) -> Result<ApiKey> {
    match key.revoked {
        Some(_) => Err(Error::conflict(format!("the API key `{}` is already revoked", key.name))),
        None => Ok(ApiKey { revoked: Some(now), ..key }),
    }
}
