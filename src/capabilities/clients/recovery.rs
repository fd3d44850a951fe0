//! What must not come back after a restore, what must hold, and what can be brought back.

use serde_json::json;

use super::model::{check_filters, check_id};
use super::store::CLIENTS;
use crate::base::{Error, Result, limits};
use crate::engine::store::{Read, Snapshot};
use crate::kit::{Change, Ctx, Difference, Findings, Restored, Returnable};
use crate::wire::VERSION;

/// A client that was removed since is removed again: its secret must not work, whoever had the name after it.
pub(super) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
    for (id, _) in restored.last_of(&["clients.removed"]) {
        let key = (ctx.tenant, id.to_owned());
        if change.tx.get(&CLIENTS, &key)?.is_some() {
            change.tx.delete(&CLIENTS, &key)?;
            change.tell("clients.removed", id, json!({ "because": "it was so before the restore" }));
        }
    }
    Ok(())
}

/// Rows lie under their own identifiers, and no filter is wider than may be.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    findings.each_row(ctx, &CLIENTS, |findings, _, (tenant, id), client| {
        let place = || format!("clients {id}");
        let own = *id == client.id && check_id(id).is_ok();
        findings.demand(own, place(), "the row is of another client", REMOVE);
        let heard = format!("muster/{VERSION}/{tenant}/");
        let narrow = check_filters("publish", &client.publish, &["site/"])
            .and_then(|()| check_filters("subscribe", &client.subscribe, &["site/", &heard]));
        if let Err(e) = narrow {
            findings.add(place(), e.message(), REMOVE);
        }
        Ok(())
    })
}

const REMOVE: &str = "remove the client and add it again";

/// Clients that were removed.
pub(super) const RETURNABLE: [Returnable; 1] = [Returnable {
    word: "clients",
    title: "MQTT client",
    permission: "clients.create",
    differing,
    bring_back,
}];

fn differing(ctx: &Ctx<'_>, then: &Snapshot, filter: &str) -> Result<Vec<Difference>> {
    let now = ctx.read()?;
    let mut found = Vec::new();
    for (key, before) in then.prefix(&CLIENTS, &ctx.tenant, limits::CLIENTS_MAX)? {
        if filter.split_whitespace().all(|word| before.id.contains(word)) && !now.has(&CLIENTS, &key)? {
            found.extend(difference(&before.id, &before.publish, &before.subscribe));
        }
    }
    Ok(found)
}

fn difference(id: &str, publish: &[String], subscribe: &[String]) -> Option<Difference> {
    let fields = [
        ("client", String::new(), id.to_owned()),
        ("publish", String::new(), publish.join(", ")),
        ("subscribe", String::new(), subscribe.join(", ")),
    ];
    Difference::of(id, id, fields)
}

/// The client with its filters and the secret of then.
fn bring_back(ctx: &Ctx<'_>, change: &mut Change<'_>, then: &Snapshot, subject: &str) -> Result<Difference> {
    let key = (ctx.tenant, subject.to_owned());
    let before = then.get(&CLIENTS, &key)?.ok_or_else(|| Error::not_found("client", subject))?;
    if change.tx.has(&CLIENTS, &key)? {
        return Err(Error::conflict(format!("client `{subject}` is there"))
            .hint("its filters are given when it is added; remove it to bring back the one of then"));
    }
    if change.tx.prefix(&CLIENTS, &ctx.tenant, limits::CLIENTS_MAX)?.len() >= limits::CLIENTS_MAX {
        return Err(Error::too_many(format!("{} clients", limits::CLIENTS_MAX)).hint("remove one first"));
    }
    let told = difference(&before.id, &before.publish, &before.subscribe)
        .ok_or_else(|| Error::internal("a client without an identifier"))?;
    change.tx.put(&CLIENTS, &key, &before)?;
    change.tell(
        "clients.created",
        subject,
        json!({ "publish": before.publish, "subscribe": before.subscribe, "brought_back": true }),
    );
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::super::ops::{self, ClientById, CreateClient};
    use super::*;
    use crate::capabilities::identity::tests as identity;
    use crate::kit::Undone;

    fn create(ctx: &Ctx<'_>, id: &str) {
        let (publish, subscribe) = (vec!["site/a/#".to_owned()], Vec::new());
        ops::create(ctx, CreateClient { id: id.into(), publish, subscribe }).unwrap();
    }

    #[test]
    fn a_removed_client_comes_back_by_hand_and_not_by_a_restore() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        create(&ctx, "scada");
        create(&ctx, "other");
        let then = ctx.read().unwrap();
        ops::remove(&ctx, ClientById { id: "scada".into() }).unwrap();
        let found = differing(&ctx, &then, "").unwrap();
        assert_eq!((found.len(), found[0].subject.as_str()), (1, "scada"));
        let back = |id: &str| {
            ctx.require("clients.create").unwrap().write(|change| bring_back(&ctx, change, &then, id))
        };
        back("scada").unwrap();
        assert!(back("scada").unwrap_err().message().contains("is there"));
        assert!(differing(&ctx, &then, "").unwrap().is_empty());

        let undone = Undone {
            tenant: crate::kit::HOME,
            change: 9,
            at: ctx.now,
            actor: String::new(),
            action: String::new(),
            event: "clients.removed".into(),
            subject: "scada".into(),
            detail: "{}".into(),
        };
        let told = crate::kit::recovery_sample(vec![undone], ctx.now);
        ctx.require("clients.remove").unwrap().write(|change| restored(&ctx, change, &told)).unwrap();
        let left = ops::list(&ctx, crate::kit::Nothing {}).unwrap().items;
        assert_eq!((left.len(), left[0].id.as_str()), (1, "other"));
    }

    #[test]
    fn wide_filters_are_found() {
        let (site, _folder) = identity::site();
        let ctx = Ctx::system(&site, site.home, "test");
        create(&ctx, "scada");
        let mut findings = Findings::default();
        check(&ctx, &mut findings).unwrap();
        assert_eq!((findings.count, findings.looked_at), (0, 1));
        let broken = |change: &mut Change<'_>| {
            let key = (ctx.tenant, "scada".to_owned());
            let mut client = change.tx.get(&CLIENTS, &key)?.unwrap();
            client.publish = vec!["muster/#".into()];
            change.tx.put(&CLIENTS, &key, &client)
        };
        ctx.require("clients.create").unwrap().write(broken).unwrap();
        check(&ctx, &mut findings).unwrap();
        assert_eq!((findings.count, findings.kept[0].place.as_str()), (1, "clients scada"));
    }
}
