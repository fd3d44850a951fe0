//! Operations on API keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{PREFIX, families, narrowed, own, tokens};
use crate::base::kind;
use crate::base::{Error, KeyId, Name, Network, Page, Result, Span, limits};
use crate::capabilities::identity::model::{ApiKey, Digest, KEYS_MAX, KeyView, OldText, words};
use crate::capabilities::identity::roles::{self, Granted};
use crate::capabilities::identity::store::{KEYS, KEYS_BY_DIGEST};
use crate::engine::store::Read;
use crate::kit::{ById, Change, Ctx, Grant, Nothing, Ops, Permissions, Quota, Rights, RoleName, Scope};

/// Characters of the text that lists show.
const SHOWN_CHARACTERS: usize = 10;
/// Days that a key may be given.
const DAYS_MAX: u64 = 3_650;
/// Hours that the text before goes on after a rotation, at most and when nobody says.
const OVERLAP_HOURS_MAX: u64 = 30 * 24;
pub(super) const OVERLAP_HOURS: u64 = 24;
/// Permissions that a key is narrowed to.
const ONLY_MAX: usize = 40;

/// Adds the routes.
pub(crate) fn routes(ops: &mut Ops) {
    ops.get("identity.keys", "/identity/keys", "Lists API keys.", list);
    ops.get("identity.key", "/identity/keys/{id}", "Finds an API key.", find);
    ops.post(
        "identity.key_create",
        "/identity/keys",
        "Makes an API key; its text is in this answer and nowhere else.",
        create,
    );
    ops.gives("identity.key_created");
    ops.patch(
        "identity.key_change",
        "/identity/keys/{id}",
        "Changes a key's name, networks or narrowing.",
        change,
    );
    ops.post(
        "identity.key_rotate",
        "/identity/keys/{id}/rotate",
        "Gives a key a new text, in this answer and nowhere else; the one before goes on for some hours.",
        rotate,
    );
    ops.gives("identity.key_rotated");
    ops.post(
        "identity.key_rotate_own",
        "/identity/own-key/rotate",
        "Gives the key that asks a new text, in this answer and nowhere else; the one before goes on for some hours.",
        own::rotate,
    );
    ops.own();
    ops.gives("identity.key_rotated");
    ops.get(
        "identity.key_families",
        "/identity/keys/{id}/families",
        "Lists the refresh tokens of a key that are open.",
        families::list,
    );
    ops.post(
        "identity.key_family_end",
        "/identity/keys/{id}/families/end",
        "Ends one refresh token of a key, or all of them, with every token that came of it.",
        families::end_of_key,
    );
    ops.post(
        "identity.key_settle",
        "/identity/keys/{id}/settle",
        "Ends the text from before a rotation at once, and every token that it was exchanged for.",
        settle,
    );
    ops.post(
        "identity.key_revoke",
        "/identity/keys/{id}/revoke",
        "Ends an API key at once and for good.",
        revoke,
    );
    ops.post(
        "identity.signer_rotate",
        "/identity/signer/rotate",
        "Has another key sign the short-lived tokens from now on.",
        tokens::rotate,
    );
}

/// Lists keys, revoked ones too, in the order in which they were made.
pub(crate) fn list(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<KeyView>> {
    ctx.require("identity.read")?;
    let keys = ctx.read()?.prefix(&KEYS, &ctx.tenant, KEYS_MAX)?;
    Ok(Page { items: keys.iter().map(|(_, key)| key.view(ctx.now)).collect(), next: None })
}

/// Finds a key.
pub(super) fn find(ctx: &Ctx<'_>, input: ById<kind::Key>) -> Result<KeyView> {
    ctx.require("identity.read")?;
    Ok(known(&ctx.read()?, ctx, input.id)?.view(ctx.now))
}

pub(super) fn known(read: &impl Read, ctx: &Ctx<'_>, id: KeyId) -> Result<ApiKey> {
    read.get(&KEYS, &(ctx.tenant, id))?.ok_or_else(|| Error::not_found("API key", id))
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
    /// Only these of the role's permissions; empty for all of them.
    #[serde(default)]
    pub only: Permissions,
    /// Networks that it may be used from; empty for all.
    #[serde(default)]
    pub networks: Vec<Network>,
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

/// How many keys of the tenant work.
pub(in crate::capabilities::identity) fn working(read: &impl Read, ctx: &Ctx<'_>) -> Result<usize> {
    let rows = read.prefix(&KEYS, &ctx.tenant, KEYS_MAX)?;
    Ok(rows.iter().filter(|(_, key)| key.works(ctx.now)).count())
}

/// Makes a key.
pub(crate) fn create(ctx: &Ctx<'_>, input: KeyChosen) -> Result<KeyMade> {
    let permit = ctx.require("identity.key_create")?;
    let read = ctx.read()?;
    roles::may_give(ctx, &read, &input.role, &input.scope)?;
    if input.days.is_some_and(|days| days == 0 || days > DAYS_MAX) {
        return Err(Error::invalid("the number of days is not valid").hint(format!("1 to {DAYS_MAX}")));
    }
    let grants = vec![Granted { scope: input.scope, ..Granted::lasting(input.role) }];
    let only = only(ctx, &read, &grants, input.only)?;
    let (text, digest) = Digest::token(PREFIX, &ctx.site.clock);
    let key = ApiKey {
        id: ctx.site.clock.id(),
        name: input.name,
        grants,
        only,
        networks: networks(input.networks)?,
        digest,
        shown: beginning(&text),
        old: None,
        rotations: Vec::new(),
        epoch: 0,
        created_by: ctx.actor.text(),
        rotated_by: Vec::new(),
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
        ctx.within_quota(Quota::Keys, 1, || working(&*change.tx, ctx))?;
        change.tx.put(&KEYS, &(ctx.tenant, key.id), &key)?;
        change.tx.put(&KEYS_BY_DIGEST, &(ctx.tenant, digest), &key.id)?;
        change.tell(
            "identity.key_created",
            key.id,
            json!({
                "name": key.name, "roles": words(&key.grants), "only": key.only, "networks": key.networks,
                "expires": key.expires,
            }),
        );
        Ok(())
    })?;
    Ok(KeyMade { key: key.view(ctx.now), text })
}

pub(super) fn beginning(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS).collect()
}

/// What a key is narrowed to, when it is: something that its roles include.
fn only(
    ctx: &Ctx<'_>,
    read: &impl Read,
    grants: &[Granted],
    only: Permissions,
) -> Result<Option<Permissions>> {
    if only == Permissions::default() {
        return Ok(None);
    }
    let count = only.to_string().split(',').count();
    if count > ONLY_MAX {
        return Err(Error::invalid(format!("{count} permissions are too many for one key"))
            .hint(format!("at most {ONLY_MAX}; `agents.*` stands for all of agents")));
    }
    let mut rights = Rights::default();
    for one in grants {
        if let Some(permissions) = roles::permissions(read, ctx.tenant, &one.role)? {
            rights.grants.push(Grant {
                role: one.role.clone(),
                permissions,
                scope: one.scope.clone(),
                until: None,
            });
        }
    }
    if narrowed(&rights, &only).grants.is_empty() {
        return Err(Error::invalid(format!("the role includes none of `{only}`"))
            .hint("name permissions of the role, such as `*.read`, or none for all of them"));
    }
    Ok(Some(only))
}

fn networks(mut networks: Vec<Network>) -> Result<Vec<Network>> {
    networks.sort();
    networks.dedup();
    match networks.len() {
        n if n > limits::NETWORKS_MAX => Err(Error::invalid(format!("{n} networks are too many"))
            .hint(format!("at most {}", limits::NETWORKS_MAX))),
        _ => Ok(networks),
    }
}

/// Whoever gets a key's text, or widens it, could do all that it may.
fn may_have(ctx: &Ctx<'_>, read: &impl Read, key: &ApiKey) -> Result<()> {
    key.grants
        .iter()
        .filter(|one| one.lasts(ctx.now))
        .try_for_each(|one| roles::may_give(ctx, read, &one.role, &one.scope))
}

pub(super) fn alive(key: &ApiKey, ctx: &Ctx<'_>) -> Result<()> {
    match (key.revoked, key.works(ctx.now)) {
        (Some(_), _) => Err(Error::conflict(format!("the API key `{}` is already revoked", key.name))),
        (None, false) => {
            Err(Error::conflict(format!("the API key `{}` has ended", key.name)).hint("make a new one"))
        }
        (None, true) => Ok(()),
    }
}

/// What is changed of a key; what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct KeyChanged {
    /// Which.
    pub id: KeyId,
    /// What people call it.
    #[serde(default)]
    pub name: Option<Name>,
    /// Only these of its roles' permissions; empty for all of them.
    #[serde(default)]
    pub only: Option<Permissions>,
    /// Networks that it may be used from; empty for all.
    #[serde(default)]
    pub networks: Option<Vec<Network>>,
}

/// Changes a key; it counts with the next request, and for tokens too.
pub(super) fn change(ctx: &Ctx<'_>, input: KeyChanged) -> Result<KeyView> {
    ctx.require("identity.key_change")?.write(|change| {
        let before = known(&*change.tx, ctx, input.id)?;
        alive(&before, ctx)?;
        may_have(ctx, &*change.tx, &before)?;
        let mut after = before.clone();
        if let Some(name) = input.name {
            after.name = name;
        }
        if let Some(wanted) = input.only {
            after.only = only(ctx, &*change.tx, &after.grants, wanted)?;
        }
        if let Some(wanted) = input.networks {
            after.networks = networks(wanted)?;
        }
        let mut detail = json!({});
        for (field, was, is) in [
            ("name", json!(before.name), json!(after.name)),
            ("only", json!(before.only), json!(after.only)),
            ("networks", json!(before.networks), json!(after.networks)),
        ] {
            if was != is {
                detail[field] = json!({ "before": was, "after": is });
            }
        }
        if after != before {
            change.tx.put(&KEYS, &(ctx.tenant, after.id), &after)?;
            change.tell("identity.key_changed", after.id, detail);
        }
        Ok(after.view(ctx.now))
    })
}

/// A rotation.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct KeyRotated {
    /// Which.
    pub(super) id: KeyId,
    /// Hours that the text before goes on, 0 for none; absent for 24.
    #[serde(default)]
    pub(super) hours: Option<u64>,
}

/// Gives a key a new text.
pub(super) fn rotate(ctx: &Ctx<'_>, input: KeyRotated) -> Result<KeyMade> {
    let permit = ctx.require("identity.key_rotate")?;
    let hours = input.hours.unwrap_or(OVERLAP_HOURS);
    if hours > OVERLAP_HOURS_MAX {
        return Err(Error::invalid("the text before cannot go on for so long")
            .hint(format!("0 to {OVERLAP_HOURS_MAX} hours")));
    }
    let (text, digest) = Digest::token(PREFIX, &ctx.site.clock);
    permit.write(|change| {
        let before = known(&*change.tx, ctx, input.id)?;
        alive(&before, ctx)?;
        may_have(ctx, &*change.tx, &before)?;
        if let Some(old) = before.old.as_ref().filter(|old| ctx.now < old.until) {
            return Err(Error::conflict(format!(
                "the API key `{}` has two texts already, `{}…` until {}",
                before.name, old.shown, old.until
            ))
            .hint("end the older one first, when no program uses it any more"));
        }
        let mut key = forgotten(ctx, change, before)?;
        let until = ctx.now + Span::from_hours(hours);
        if hours > 0 {
            let (digest, shown) = (key.digest, key.shown.clone());
            key.old =
                Some(OldText { digest, shown, until, last_used: key.last_used, own: false, followed: false });
        } else {
            change.tx.delete(&KEYS_BY_DIGEST, &(ctx.tenant, key.digest))?;
            key.epoch = key.epoch.wrapping_add(1);
        }
        (key.digest, key.shown) = (digest, beginning(&text));
        key.handed_to(&ctx.actor.text());
        change.tx.put(&KEYS, &(ctx.tenant, key.id), &key)?;
        change.tx.put(&KEYS_BY_DIGEST, &(ctx.tenant, digest), &key.id)?;
        change.tell("identity.key_rotated", key.id, json!({ "name": key.name, "old_until": until }));
        Ok(KeyMade { key: key.view(ctx.now), text: text.clone() })
    })
}

/// Without the text from before.
pub(super) fn forgotten(ctx: &Ctx<'_>, change: &mut Change<'_>, key: ApiKey) -> Result<ApiKey> {
    if let Some(old) = &key.old {
        change.tx.delete(&KEYS_BY_DIGEST, &(ctx.tenant, old.digest))?;
    }
    Ok(ApiKey { old: None, ..key })
}

/// Ends the text from before a rotation.
pub(super) fn settle(ctx: &Ctx<'_>, input: ById<kind::Key>) -> Result<KeyView> {
    ctx.require("identity.key_settle")?.write(|change| {
        let key = known(&*change.tx, ctx, input.id)?;
        alive(&key, ctx)?;
        if key.old.is_none() {
            return Err(Error::conflict(format!("the API key `{}` has one text only", key.name)));
        }
        let mut key = forgotten(ctx, change, key)?;
        key.epoch = key.epoch.wrapping_add(1);
        change.tx.put(&KEYS, &(ctx.tenant, key.id), &key)?;
        change.tell("identity.key_settled", key.id, json!({ "name": key.name }));
        Ok(key.view(ctx.now))
    })
}

/// Ends a key. The record stays, so that the audit log can name it.
pub(crate) fn revoke(ctx: &Ctx<'_>, input: ById<kind::Key>) -> Result<KeyView> {
    ctx.require("identity.key_revoke")?.write(|change| {
        let key = known(&*change.tx, ctx, input.id)?;
        if key.revoked.is_some() {
            return Err(Error::conflict(format!("the API key `{}` is already revoked", key.name)));
        }
        let key = forgotten(ctx, change, key)?;
        change.tx.delete(&KEYS_BY_DIGEST, &(ctx.tenant, key.digest))?;
        let key = ApiKey { revoked: Some(ctx.now), ..key };
        change.tx.put(&KEYS, &(ctx.tenant, key.id), &key)?;
        change.tell("identity.key_revoked", key.id, json!({ "name": key.name }));
        Ok(key.view(ctx.now))
    })
}
