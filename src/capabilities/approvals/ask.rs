//! Keeping what somebody asked for until another person has decided.

use serde_json::json;

use super::model::{Approval, INTENT_BYTES_MAX, OPEN_MAX, OPEN_PER_ASKER_MAX, Sealed, State, VALID};
use super::store::{self, INTENT, OPEN};
use crate::base::{Error, Result};
use crate::engine::store::Read;
use crate::kit::{Actor, Asked, Ctx, Intent, Op, Rights, Role};

/// Keeps an intent of who asks, which was refused for lack of a second person under `permission`. The same one that
/// waits already is not kept twice.
pub fn ask(ctx: &Ctx<'_>, intent: Intent, permission: &'static str) -> Result<Asked> {
    let me = ctx.actor.text();
    let bytes = zeroize::Zeroizing::new(serde_json::to_vec(&intent)?).len();
    if bytes > INTENT_BYTES_MAX {
        return Err(Error::invalid(format!("{bytes} bytes are too many to be kept for an approval"))
            .hint(format!("at most {INTENT_BYTES_MAX}; ask for less at once")));
    }
    let read = ctx.read()?;
    for one in store::open(&read, ctx.tenant)? {
        let alike = one.state == State::Waiting && one.asker == me && one.permission == permission;
        if alike
            && !one.is_late(ctx.now)
            && store::intent(ctx.site, &read, ctx.tenant, &one)?.intent == intent
        {
            return Ok(asked(&one));
        }
    }
    drop(read);
    let what = match &intent {
        Intent::Operation { name, .. } => name.clone(),
        Intent::Form { path, .. } => path.clone(),
    };
    let gives = |name: &str| op(ctx, name).is_some_and(|op| op.gives.is_some() || op.file.is_some());
    let session = match &ctx.actor {
        Actor::Person { session, .. } => Some(*session),
        _ => None,
    };
    let salt: [u8; 16] = ctx.site.clock.random();
    let salt = salt.iter().map(|byte| format!("{byte:02x}")).collect();
    let sealed = Sealed { salt, session, intent };
    let approval = Approval {
        id: ctx.site.clock.id(),
        hash: store::hash(ctx.tenant, &me, permission, &sealed),
        asker: me.clone(),
        permission: permission.to_owned(),
        collected: gives(permission) || gives(&what),
        what,
        asked: ctx.now,
        from: ctx.request.from.clone(),
        until: ctx.now + VALID,
        state: State::Waiting,
        decision: None,
        since: ctx.now,
        changes: 0,
    };
    raised(ctx)?.require("approvals.ask")?.write(|change| {
        let open = change.tx.prefix(&OPEN, &ctx.tenant, OPEN_MAX)?;
        if open.len() >= OPEN_MAX {
            return Err(Error::too_many(format!("{OPEN_MAX} approvals are open"))
                .hint("somebody who may has to decide on some of them first"));
        }
        if open.iter().filter(|(_, asker)| *asker == me).count() >= OPEN_PER_ASKER_MAX {
            return Err(Error::too_many(format!("{OPEN_PER_ASKER_MAX} of your approvals are open"))
                .hint("withdraw some at /approvals, or wait for a decision"));
        }
        store::put(change.tx, ctx.tenant, &approval)?;
        store::seal(ctx, change, approval.id, INTENT, &sealed)?;
        change.tell(
            "approvals.asked",
            approval.id,
            json!({ "permission": permission, "fingerprint": approval.hash }),
        );
        Ok(())
    })?;
    store::remember(ctx.site, ctx.tenant)?;
    Ok(asked(&approval))
}

fn asked(approval: &Approval) -> Asked {
    Asked {
        id: approval.id,
        answer: json!({
            "id": approval.id,
            "state": approval.state,
            "permission": approval.permission,
            "hash": approval.hash,
            "until": approval.until,
            "look": format!("/approvals/{}", approval.id),
        }),
    }
}

/// The operation whose name this is.
pub(super) fn op<'a>(ctx: &Ctx<'a>, name: &str) -> Option<&'a Op> {
    ctx.site.ops().iter().find(|op| op.name == name)
}

/// A context of who asks that may write what is their own here, whatever their role is. It stays in this capability.
pub(super) fn raised<'a>(ctx: &Ctx<'a>) -> Result<Ctx<'a>> {
    if ctx.actor.rights().is_some_and(|rights| rights.looks_as.is_some()) {
        return Err(Error::forbidden("you look at the console as somebody else, so nothing can be changed")
            .hint("go back to yourself first"));
    }
    let mut actor = ctx.actor.clone();
    match &mut actor {
        Actor::Person { rights, .. } | Actor::Key { rights, .. } => *rights = Rights::of(Role::Owner),
        Actor::System => {}
        _ => return Err(Error::unauthenticated("nobody is signed in").hint("sign in, or send an API key")),
    }
    Ok(Ctx { actor, approved: None, ..ctx.clone() })
}
