//! Secrets as other capabilities use them: they hold what they refer to, and ask for the value when they need it.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::json;

use super::model::{Reference, SecretName, Use};
use super::store::{self, USES};
use crate::base::{Error, Result, Secret, Span, TenantId, Timestamp};
use crate::engine::store::{Read, Tx};
use crate::kit::{Actor, Change, Ctx, PerSite};

/// A use is told and written down once in so long, for each user of each secret.
const TOLD_EVERY: Span = Span::from_minutes(1);
/// Uses that are remembered as told.
const TOLD_MAX: usize = 10_000;
/// Users of one secret.
const USERS_MAX: usize = 200;

/// Which use: of which tenant's secret, and by what.
type Using = (TenantId, SecretName, String);

/// When each use was told last, and of which version.
#[derive(Default)]
struct Told(Mutex<HashMap<Using, (u32, Timestamp)>>);

static TOLD: PerSite<Told> = PerSite::new();

/// The value that a reference stands for. `user` is what uses it, the same as was given to [`hold`]; `title` is what
/// people read. It may write a change, so it must not be called inside of one.
///
/// Whoever asks needs no right to secrets here: they needed it for letting `user` refer to this one.
pub fn resolve(ctx: &Ctx<'_>, reference: &Reference, user: &str, title: &str) -> Result<Secret<String>> {
    let name = &reference.0;
    let read = ctx.read()?;
    let version = store::find(&read, ctx.tenant, name)?.version;
    let value = store::open(ctx.site, &read, ctx.tenant, name, version)?;
    drop(read);
    let told = TOLD.of(ctx.site, Told::default);
    let key = (ctx.tenant, name.clone(), user.to_owned());
    let fresh = |(known, at): &(u32, Timestamp)| {
        *known == version && *at <= ctx.now && ctx.now.since(*at).milliseconds() < TOLD_EVERY.milliseconds()
    };
    if told.0.lock().get(&key).is_some_and(fresh) {
        return Ok(value);
    }
    // The appliance uses it, for whoever set off what needs it.
    let system = Ctx { actor: Actor::System, ..ctx.clone() };
    let written = system.require("secrets.use")?.before_giving(|change| {
        let row = (ctx.tenant, name.to_string(), user.to_owned());
        let before = change.tx.get(&USES, &row)?;
        if before.is_none() {
            room(change.tx, ctx.tenant, name)?;
        }
        let since = before.and_then(|before| before.since);
        let one = Use { user: user.to_owned(), title: title.to_owned(), since, last: Some(ctx.now) };
        change.tx.put(&USES, &row, &one)?;
        change.tell(
            "secrets.used",
            name,
            json!({ "for": title, "by": ctx.actor.text(), "version": version }),
        );
        Ok(())
    })?;
    if written.is_some() {
        let mut told = told.0.lock();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(key, (version, ctx.now));
    }
    Ok(value)
}

/// An error unless the actor may let things refer to secrets.
pub fn may_refer(ctx: &Ctx<'_>) -> Result<()> {
    ctx.require("secrets.use").map(drop)
}

/// From now on `user` refers to the secret, which must be there, and which cannot be deleted until it lets go.
pub fn hold(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    reference: &Reference,
    user: &str,
    title: &str,
) -> Result<()> {
    may_refer(ctx)?;
    let name = &reference.0;
    store::find(change.tx, ctx.tenant, name)?;
    let row = (ctx.tenant, name.to_string(), user.to_owned());
    let before = change.tx.get(&USES, &row)?;
    if before.is_none() {
        room(change.tx, ctx.tenant, name)?;
    }
    let last = before.as_ref().and_then(|before| before.last);
    let since = before.and_then(|before| before.since).or(Some(ctx.now));
    change.tx.put(&USES, &row, &Use { user: user.to_owned(), title: title.to_owned(), since, last })
}

/// `user` does not refer to it any more.
pub fn let_go(ctx: &Ctx<'_>, change: &mut Change<'_>, reference: &Reference, user: &str) -> Result<()> {
    let row = (ctx.tenant, reference.0.to_string(), user.to_owned());
    match change.tx.get(&USES, &row)? {
        Some(before) if before.last.is_some() => change.tx.put(&USES, &row, &Use { since: None, ..before }),
        Some(_) => change.tx.delete(&USES, &row),
        None => Ok(()),
    }
}

/// Makes room for one more user: of those that let go, the one that used it the longest ago is forgotten.
fn room(tx: &mut Tx, tenant: TenantId, name: &SecretName) -> Result<()> {
    let rows = tx.prefix(&USES, &(tenant, name.to_string()), USERS_MAX)?;
    if rows.len() < USERS_MAX {
        return Ok(());
    }
    let oldest = rows.into_iter().filter(|(_, one)| one.since.is_none()).min_by_key(|(_, one)| one.last);
    match oldest {
        Some((key, _)) => tx.delete(&USES, &key),
        None => Err(Error::too_many(format!("{USERS_MAX} things refer to `{name}`"))
            .hint("put the same value in under another name")),
    }
}
