//! A program replaces its own key's text, so that nobody has to carry secrets about.
//!
//! Invariant: the key stays what it is: its roles, networks and end are those from before.
//! Invariant: it takes the newest text itself. A short-lived token or a text from before a rotation by hand gets no
//! lasting way in by it.
//! Invariant: an answer that is lost locks nobody out: as long as nobody has used the successor, the text before it makes
//! another in its place, and works no longer for that.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::PREFIX;
use super::ops::{KeyMade, OVERLAP_HOURS, alive, beginning, forgotten};
use crate::base::limits::{OWN_OVERLAP_HOURS_MAX, OWN_ROTATIONS_PER_DAY_MAX};
use crate::base::{Error, Result, Span};
use crate::capabilities::identity::model::{Digest, OldText};
use crate::capabilities::identity::store::{KEYS, KEYS_BY_DIGEST};
use crate::engine::store::Read;
use crate::kit::{Actor, Ctx};

/// What a program shows to replace its text. It holds a secret, and so it cannot be printed.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OwnRotated {
    /// The text of the key that asks: the newest, for a token is not enough.
    pub(super) text: String,
    /// Hours that it goes on, 1 to 24; absent for 24.
    #[serde(default)]
    pub(super) hours: Option<u64>,
}

/// Gives the key that asks a new text.
pub(super) fn rotate(ctx: &Ctx<'_>, input: OwnRotated) -> Result<KeyMade> {
    let (id, name) = match &ctx.actor {
        Actor::Key { key, name, .. } => (*key, name),
        Actor::Anonymous => return Err(Error::unauthenticated("nobody is signed in").hint("send an API key")),
        _ => {
            return Err(Error::forbidden("only a program with an API key replaces its own text")
                .hint("people replace the text of a key at its page"));
        }
    };
    let hours = input.hours.unwrap_or(OVERLAP_HOURS);
    if hours == 0 || hours > OWN_OVERLAP_HOURS_MAX {
        return Err(Error::invalid("the text before cannot go on for so long")
            .hint(format!("1 to {OWN_OVERLAP_HOURS_MAX} hours; who manages people can end it at once")));
    }
    let given = Digest::of(&input.text);
    let (text, digest) = Digest::token(PREFIX, &ctx.site.clock);
    let raised = super::own(ctx, id, name);
    raised.require("identity.key_rotate_own")?.write(|change| {
        let before = change.tx.get(&KEYS, &(ctx.tenant, id))?.filter(|key| key.opens(&given, ctx.now));
        let before = before.ok_or_else(|| {
            Error::forbidden("that is not the text of the key that asks")
                .hint("send the newest text as `text`, beside the key or token in `Authorization`")
        })?;
        alive(&before, ctx)?;
        let mut key = before.clone();
        key.rotations.retain(|at| ctx.now.since(*at) < Span::from_days(1));
        if key.rotations.len() >= OWN_ROTATIONS_PER_DAY_MAX {
            return Err(Error::too_many(format!(
                "the API key `{}` has replaced its text {OWN_ROTATIONS_PER_DAY_MAX} times in a day",
                key.name
            ))
            .hint("use the newest text, or ask who manages people"));
        }
        key.rotations.push(ctx.now);
        match key.old.clone().filter(|old| ctx.now < old.until) {
            None => {
                key = forgotten(ctx, change, key)?;
                let (digest, shown, until) =
                    (key.digest, key.shown.clone(), ctx.now + Span::from_hours(hours));
                key.old = Some(OldText {
                    digest,
                    shown,
                    until,
                    last_used: key.last_used,
                    own: true,
                    followed: false,
                });
            }
            // The answer was lost: its text goes, and the one before ends when it was to end.
            Some(old) if old.digest == given && old.is_unfollowed() => {
                change.tx.delete(&KEYS_BY_DIGEST, &(ctx.tenant, key.digest))?;
            }
            Some(old) if old.digest == given => {
                return Err(Error::conflict("that text was replaced already")
                    .hint("use the newest one, or ask who manages people for another"));
            }
            Some(old) => {
                return Err(Error::conflict(format!(
                    "the API key `{}` has two texts already, the older until {}",
                    key.name, old.until
                ))
                .hint("try again when the older one has ended"));
            }
        }
        (key.digest, key.shown) = (digest, beginning(&text));
        change.tx.put(&KEYS, &(ctx.tenant, id), &key)?;
        change.tx.put(&KEYS_BY_DIGEST, &(ctx.tenant, digest), &id)?;
        let until = key.old.as_ref().map(|old| old.until);
        let detail = json!({ "name": key.name, "old_until": until, "by": "its program" });
        change.tell("identity.key_rotated", id, detail);
        Ok(KeyMade { key: key.view(ctx.now), text: text.clone() })
    })
}
