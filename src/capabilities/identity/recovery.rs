//! What must not come back after a restore, what must agree, and what can be brought back.

use std::collections::BTreeMap;

use serde_json::json;

use super::model::{self, ApiKey, State, User};
use super::roles::{self, Granted};
use super::store::{
    self, FAMILIES, KEYS, KEYS_BY_DIGEST, LINKS, LOGINS, SESSIONS, SESSIONS_BY_USER, SETUP, USERS,
};
use super::{factors, keys};
use crate::base::{Error, KeyId, Result, UserId};
use crate::engine::store::{Read, Snapshot};
use crate::kit::{Change, Ctx, Difference, Findings, Restored, Returnable};

/// Sessions and links that a restore ends.
const ENTRIES_MAX: usize = 100_000;

/// Every session, refresh token, one-time link and setup code ends, for their end since may have been given up with the rest. Who was
/// disabled since stays disabled, a key that was revoked stays revoked, and nobody gets a role back that was taken away.
pub(super) fn restored(ctx: &Ctx<'_>, change: &mut Change<'_>, restored: &Restored) -> Result<()> {
    let tenant = ctx.tenant;
    for (key, session) in change.tx.prefix(&SESSIONS, &tenant, ENTRIES_MAX)? {
        store::remove_session(change.tx, tenant, &key.1, &session)?;
    }
    for (key, _) in change.tx.prefix(&LINKS, &tenant, ENTRIES_MAX)? {
        change.tx.delete(&LINKS, &key)?;
    }
    change.tx.delete(&SETUP, &tenant)?;
    factors::recovery::restored(ctx, change, restored)?;
    keys::restored(ctx, change)?;
    // A text that was replaced since may be in other hands, and nobody here knows the one that replaced it.
    for (subject, last) in restored.last_of(&["identity.key_revoked", "identity.key_rotated"]) {
        let Ok(id) = subject.parse::<KeyId>() else { continue };
        let known = change.tx.get(&KEYS, &(tenant, id))?;
        if let Some(key) = known.filter(|key| key.revoked.is_none()) {
            change.tx.delete(&KEYS_BY_DIGEST, &(tenant, key.digest))?;
            if let Some(old) = &key.old {
                change.tx.delete(&KEYS_BY_DIGEST, &(tenant, old.digest))?;
            }
            let key = ApiKey { revoked: Some(last.at), old: None, ..key };
            change.tx.put(&KEYS, &(tenant, id), &key)?;
            change.tell("identity.key_revoked", id, json!({ "name": key.name, "because": BECAUSE }));
        }
    }
    let shut_out = restored.last_of(&["identity.disabled", "identity.enabled"]);
    let grants = grants_since(restored);
    let passwords = restored.last_of(&["identity.password_changed"]);
    for user in store::users(&*change.tx, tenant)? {
        let id = user.id.to_string();
        let mut after = user.clone();
        if shut_out.get(id.as_str()).is_some_and(|last| last.event == "identity.disabled") {
            after.state = State::Disabled;
        }
        if let Some(since) = grants.get(&id) {
            after.grants = roles::kept(&*change.tx, tenant, &user.grants, since)?;
        }
        if passwords.contains_key(id.as_str()) {
            // Without it nobody could sign in; that it works again must be known.
            change.tell("identity.password_returned", user.id, json!({ "login": user.login }));
        }
        if after == user {
            continue;
        }
        let all = store::users(&*change.tx, tenant)?;
        if model::keeps_an_owner(&all, &user, &after).is_err() {
            // Somebody must be able to let the others in.
            change.tell(
                "identity.kept",
                user.id,
                json!({ "login": user.login, "because": "the last owner" }),
            );
            continue;
        }
        change.tx.put(&USERS, &(tenant, user.id), &after)?;
        if after.state != user.state {
            let detail = json!({ "login": user.login, "because": BECAUSE });
            change.tell("identity.disabled", user.id, detail);
        }
        if after.grants != user.grants {
            let roles = json!({ "before": user.roles(), "after": after.roles() });
            let detail = json!({ "roles": roles, "grants": after.grants, "because": BECAUSE });
            change.tell("identity.changed", user.id, detail);
        }
    }
    Ok(())
}

/// What each person was given last.
fn grants_since(restored: &Restored) -> BTreeMap<String, Vec<Granted>> {
    let changed = restored.undone.iter().filter(|undone| undone.event == "identity.changed");
    changed.filter_map(|undone| Some((undone.subject.clone(), undone.field("grants")?))).collect()
}

/// What stands in events that a restore tells again.
const BECAUSE: &str = "it was so before the restore";

/// Names, sessions, keys and links lead to people and keys that are there and lead back; and there is an owner.
pub(super) fn check(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    let (mut people, mut owners) = (0, 0);
    findings.each_row(ctx, &USERS, |findings, read, (tenant, id), user| {
        let place = || format!("identity_users {id}");
        people += 1;
        owners += usize::from(user.is_active_owner());
        findings.demand(*id == user.id, place(), "the row is of another person", RESTORE);
        let found = read.get(&LOGINS, &(*tenant, user.login.clone()))?;
        findings.demand(found == Some(*id), place(), "the login name does not lead here", RESTORE);
        Ok(())
    })?;
    let owned = people == 0 || owners > 0;
    findings.demand(
        owned,
        "identity_users",
        "nobody who can sign in is an owner",
        "restore a backup that has one",
    );
    findings.each_row(ctx, &LOGINS, |findings, read, (tenant, login), id| {
        let user = read.get(&USERS, &(*tenant, *id))?;
        let leads = user.is_some_and(|user| user.login == *login);
        findings.demand(leads, format!("identity_logins {login}"), "there is no such person", RESTORE);
        Ok(())
    })?;
    findings.each_row(ctx, &SESSIONS, |findings, read, (tenant, digest), session| {
        let place = || format!("identity_sessions {}", session.id);
        let known = read.has(&USERS, &(*tenant, session.user))?;
        findings.demand(known, place(), "its person is not there", SIGN_OUT);
        let back = read.get(&SESSIONS_BY_USER, &(*tenant, session.user, session.id))?;
        findings.demand(back == Some(*digest), place(), "it is not among its person's", SIGN_OUT);
        Ok(())
    })?;
    findings.each_row(ctx, &SESSIONS_BY_USER, |findings, read, (tenant, user, id), digest| {
        let session = read.get(&SESSIONS, &(*tenant, *digest))?;
        let leads = session.is_some_and(|session| session.id == *id && session.user == *user);
        findings.demand(
            leads,
            format!("identity_sessions_by_user {id}"),
            "there is no such session",
            SIGN_OUT,
        );
        Ok(())
    })?;
    findings.each_row(ctx, &KEYS, |findings, read, (tenant, id), key| {
        let place = || format!("identity_keys {id}");
        findings.demand(*id == key.id, place(), "the row is of another key", RESTORE);
        let found = read.get(&KEYS_BY_DIGEST, &(*tenant, key.digest))?;
        let expected = key.revoked.is_none().then_some(*id);
        let what = "whether it opens something is not as its row says";
        findings.demand(found == expected, place(), what, "revoke the key and make a new one");
        Ok(())
    })?;
    findings.each_row(ctx, &KEYS_BY_DIGEST, |findings, read, (tenant, digest), id| {
        let key = read.get(&KEYS, &(*tenant, *id))?;
        let own = |key: &ApiKey| key.old.as_ref().is_some_and(|old| old.digest == *digest);
        let leads = key.is_some_and(|key| key.digest == *digest || own(&key));
        findings.demand(leads, format!("identity_keys_by_digest {id}"), "there is no such key", RESTORE);
        Ok(())
    })?;
    findings.each_row(ctx, &FAMILIES, |findings, read, (tenant, key, id), family| {
        let place = || format!("identity_families {id}");
        findings.demand(family.id == *id, place(), "the row is of another family", SIGN_OUT);
        let known = read.has(&KEYS, &(*tenant, *key))?;
        findings.demand(known, place(), "its key is not there", "none is needed: nobody can use it");
        Ok(())
    })?;
    findings.each_row(ctx, &LINKS, |findings, read, (tenant, _), link| {
        let known = read.has(&USERS, &(*tenant, link.user))?;
        let place = format!("identity_links of {}", link.user);
        findings.demand(known, place, "its person is not there", "none is needed: nobody can use it");
        Ok(())
    })?;
    factors::recovery::check(ctx, findings)
}

const RESTORE: &str = "restore a backup from before the damage";
const SIGN_OUT: &str = "none is needed: it ends by itself within a day";

/// People's names and roles.
pub(super) const RETURNABLE: [Returnable; 1] =
    [Returnable { word: "people", title: "Person", permission: "identity.change", differing, bring_back }];

fn differing(ctx: &Ctx<'_>, then: &Snapshot, filter: &str) -> Result<Vec<Difference>> {
    let words: Vec<String> = filter.split_whitespace().map(str::to_lowercase).collect();
    let now = ctx.read()?;
    let mut found = Vec::new();
    for before in store::users(then, ctx.tenant)? {
        let Some(user) = now.get(&USERS, &(ctx.tenant, before.id))? else { continue };
        let text = format!("{} {} {}", user.login, user.name, user.id).to_lowercase();
        if words.iter().all(|word| text.contains(word)) {
            found.extend(difference(&user, &before));
        }
    }
    Ok(found)
}

fn difference(now: &User, then: &User) -> Option<Difference> {
    let fields =
        [("name", now.name.to_string(), then.name.to_string()), ("roles", now.roles(), then.roles())];
    Difference::of(now.id, &now.login, fields)
}

/// Name and role as they were. Passwords, sessions and whether somebody is shut out are not brought back.
fn bring_back(ctx: &Ctx<'_>, change: &mut Change<'_>, then: &Snapshot, subject: &str) -> Result<Difference> {
    let id: UserId = subject.parse()?;
    let before = then.get(&USERS, &(ctx.tenant, id))?.ok_or_else(|| {
        Error::not_found("user", id)
            .hint("they were added later; there is nothing that could be brought back")
    })?;
    let all = store::users(&*change.tx, ctx.tenant)?;
    let user = all.iter().find(|user| user.id == id).ok_or_else(|| Error::not_found("user", id))?;
    let back = User { name: before.name, grants: before.grants, ..user.clone() };
    roles::may_act_on(ctx, &*change.tx, user)?;
    roles::may_turn(ctx, &*change.tx, user, &back)?;
    let told = difference(user, &back)
        .ok_or_else(|| Error::conflict(format!("`{}` has the name and the role of then", user.login)))?;
    model::keeps_an_owner(&all, user, &back)?;
    change.tx.put(&USERS, &(ctx.tenant, id), &back)?;
    let mut detail = told.detail();
    detail["grants"] = json!(back.grants);
    change.tell("identity.changed", id, detail);
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{TenantId, Timestamp};
    use crate::capabilities::identity::model::Digest;
    use crate::capabilities::identity::ops::{self, UserChanged, UserChosen};
    use crate::capabilities::identity::{login_link, session_actor, tests as identity};
    use crate::kit::{ById, Nothing, Role, Undone, recovery_sample};

    fn person(ctx: &Ctx<'_>, login: &str, role: Role) -> UserId {
        let name = "Somebody".parse().unwrap();
        let scope = crate::kit::Scope::default();
        let chosen = UserChosen { login: login.into(), name, role: role.into(), scope, password: None };
        ops::create(ctx, chosen).unwrap().user.id
    }

    fn user(ctx: &Ctx<'_>, id: UserId) -> User {
        ctx.read().unwrap().get(&USERS, &(ctx.tenant, id)).unwrap().unwrap()
    }

    fn undone(event: &str, subject: impl ToString, detail: serde_json::Value) -> Undone {
        Undone {
            tenant: crate::kit::HOME,
            change: 5,
            at: Timestamp::from_milliseconds(1_790_000_000_500),
            actor: "usr_1".into(),
            action: String::new(),
            event: event.into(),
            subject: subject.to_string(),
            detail: detail.to_string(),
        }
    }

    fn write<T>(ctx: &Ctx<'_>, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
        ctx.require("identity.change").unwrap().write(f)
    }

    fn found(ctx: &Ctx<'_>) -> Vec<String> {
        let mut findings = Findings::default();
        check(ctx, &mut findings).unwrap();
        findings.kept.into_iter().map(|f| format!("{}: {}", f.place, f.what)).collect()
    }

    #[test]
    fn what_was_taken_away_stays_away_and_an_owner_stays() {
        let (site, _folder, cookie) = identity::owned();
        let ctx = Ctx::system(&site, site.home, "test");
        let owner = store::users(&ctx.read().unwrap(), ctx.tenant).unwrap()[0].id;
        let (left, demoted) = (person(&ctx, "omar", Role::Operator), person(&ctx, "ada", Role::Operator));
        let raised = person(&ctx, "bea", Role::Viewer);
        login_link(&site).unwrap();
        let key = |name: &str| {
            let chosen = json!({ "name": name, "role": "viewer" });
            keys::ops::create(&ctx, serde_json::from_value(chosen).unwrap()).unwrap()
        };
        let (kept, revoked, rotated) = (key("kept"), key("revoked"), key("rotated"));
        assert_eq!(found(&ctx), Vec::<String>::new());
        let role = |_: &str, after: &str| json!({ "grants": [{ "role": after }] });
        let told = recovery_sample(
            vec![
                undone("identity.disabled", left, json!({})),
                undone("identity.disabled", demoted, json!({})),
                undone("identity.enabled", demoted, json!({})),
                undone("identity.changed", demoted, role("operator", "viewer")),
                undone("identity.changed", demoted, json!({ "name": { "before": "a", "after": "b" } })),
                undone("identity.changed", raised, role("viewer", "owner")),
                undone("identity.disabled", owner, json!({})),
                undone("identity.key_revoked", revoked.key.id, json!({ "name": "x" })),
                undone("identity.key_rotated", rotated.key.id, json!({ "name": "x" })),
            ],
            ctx.now,
        );
        write(&ctx, |change| restored(&ctx, change, &told)).unwrap();
        assert_eq!(session_actor(&site, &cookie, site.clock.now()).unwrap().map(|(_, a)| a.text()), None);
        assert!(!user(&ctx, left).is_active());
        assert!(user(&ctx, demoted).is_active() && user(&ctx, demoted).roles() == "viewer");
        assert_eq!(user(&ctx, raised).roles(), "viewer", "nobody gets more by a restore");
        assert!(user(&ctx, owner).is_active_owner(), "the last owner can let the others in");
        let opens =
            |text: &str| crate::capabilities::identity::key_actor(&site, text, "x").unwrap().is_some();
        assert!(opens(&kept.text) && !opens(&revoked.text));
        assert!(!opens(&rotated.text), "the text may be in other hands");
        let read = ctx.read().unwrap();
        assert_eq!((read.count(&LINKS, &()).unwrap(), read.count(&SESSIONS, &()).unwrap()), (0, 0));
        assert_eq!(found(&ctx), Vec::<String>::new());
        assert!(keys::ops::list(&ctx, Nothing {}).unwrap().items.iter().any(|key| key.state == "revoked"));
    }

    #[test]
    fn names_and_roles_come_back_within_the_rules() {
        let (site, _folder, _) = identity::owned();
        let ctx = Ctx::system(&site, site.home, "test");
        let id = person(&ctx, "omar", Role::Operator);
        let then = ctx.read().unwrap();
        let (name, role) = (Some("Omr".parse().unwrap()), Some(Role::Viewer.into()));
        ops::change(&ctx, UserChanged { id, name, role }).unwrap();
        ops::disable(&ctx, ById { id }).unwrap();
        let late = person(&ctx, "late", Role::Viewer);
        assert_eq!(differing(&ctx, &then, "omar").unwrap()[0].fields.len(), 2);
        assert!(differing(&ctx, &then, "ines").unwrap().is_empty());
        let back = |id: UserId| write(&ctx, |change| bring_back(&ctx, change, &then, &id.to_string()));
        back(id).unwrap();
        let now = user(&ctx, id);
        assert_eq!(
            (now.name.as_str(), now.roles().as_str(), now.is_active()),
            ("Somebody", "operator", false)
        );
        assert!(back(id).is_err() && back(late).is_err());
    }

    #[test]
    fn loose_ends_are_found() {
        let (site, _folder, _) = identity::owned();
        let ctx = Ctx::system(&site, site.home, "test");
        let owner = store::users(&ctx.read().unwrap(), ctx.tenant).unwrap().remove(0);
        let break_it = |f: &dyn Fn(&mut Change<'_>) -> Result<()>| {
            write(&ctx, f).unwrap();
            found(&ctx).join("; ")
        };
        let login = (ctx.tenant, owner.login.clone());
        let text = break_it(&|change| change.tx.delete(&LOGINS, &login));
        assert!(text.contains("login name does not lead here"), "{text}");
        let text = break_it(&|change| {
            change.tx.put(&LOGINS, &login, &owner.id)?;
            let demoted = User { grants: vec![Granted::lasting(Role::Viewer.into())], ..owner.clone() };
            change.tx.put(&USERS, &(ctx.tenant, owner.id), &demoted)
        });
        assert!(text.contains("nobody who can sign in is an owner"), "{text}");
        let text = break_it(&|change| change.tx.delete(&USERS, &(ctx.tenant, owner.id)));
        assert!(
            text.contains("there is no such person") && text.contains("its person is not there"),
            "{text}"
        );
        let (key, session) = a_session(&ctx);
        let text = break_it(&|change| change.tx.delete(&SESSIONS, &key));
        assert!(text.contains(&format!("identity_sessions_by_user {session}: there is no such session")));
    }

    fn a_session(ctx: &Ctx<'_>) -> ((TenantId, Digest), String) {
        let rows = ctx.read().unwrap().prefix(&SESSIONS, &ctx.tenant, 1).unwrap();
        let (key, session) = rows.into_iter().next().unwrap();
        (key, session.id.to_string())
    }
}
