//! Who gives what to whom, and what becomes of it.

use super::elevation::{Elevated, elevate, step_down};
use super::ops::{self as roles, ByName, GrantChosen, RoleChosen, Withdrawn};
use super::*;
use crate::base::{Kind, Name, Secret, Span, UserId};
use crate::capabilities::identity::keys::{self, KeyChosen};
use crate::capabilities::identity::ops::{self, UserChanged, UserChosen};
use crate::capabilities::identity::session_actor;
use crate::capabilities::identity::tests::{anonymous, owned, sign_in};
use crate::kit::{Actor, ById, Nothing, Request, Site};

const PASSWORD: &str = "correct horse battery";

fn person<'a>(site: &'a Site, by: &Ctx<'_>, login: &str, role: &str) -> (UserId, Ctx<'a>) {
    let name: Name = login.parse().unwrap();
    let chosen = UserChosen {
        login: login.into(),
        name,
        role: role.parse().unwrap(),
        scope: Scope::default(),
        password: Some(Secret::new(PASSWORD.into())),
    };
    let id = ops::create(by, chosen).unwrap().user.id;
    (id, signed_in(site, login))
}

fn signed_in<'a>(site: &'a Site, login: &str) -> Ctx<'a> {
    let cookie = sign_in(&anonymous(site, "10.0.0.9"), login, PASSWORD).unwrap();
    let (_, actor) = session_actor(site, &cookie, site.clock.now()).unwrap().unwrap();
    Ctx::new(site, site.home, actor, Request::default())
}

/// The same session with what its person may do now.
fn again<'a>(site: &'a Site, ctx: &Ctx<'_>) -> Ctx<'a> {
    let Actor::Person { user, session, name, proved, .. } = ctx.actor.clone() else { panic!("no person") };
    let read = site.store.read().unwrap();
    let known = read.get(&crate::capabilities::identity::store::USERS, &(ctx.tenant, user)).unwrap().unwrap();
    let rights = Arc::new(rights(&read, ctx.tenant, &known.grants, site.clock.now()).unwrap());
    Ctx::new(site, site.home, Actor::Person { user, session, name, rights, proved }, Request::default())
}

fn kind<T>(result: Result<T>) -> Option<Kind> {
    result.err().map(|e| e.kind())
}

fn grant(id: UserId, role: &str, scope: &str, standing: Standing) -> GrantChosen {
    let (role, scope) = (role.parse().unwrap(), scope.parse().unwrap());
    GrantChosen { id, role, scope, standing, until: None, reason: "on call".into() }
}

#[test]
fn whoever_has_less_does_not_act_on_who_has_more() {
    let (site, _folder, _) = owned();
    let system = Ctx::system(&site, site.home, "test");
    let ines = signed_in(&site, "ines");
    let Actor::Person { user: ines, .. } = ines.actor else { panic!("no person") };
    let (_, admin) = person(&site, &system, "ada", "administrator");
    let forbidden = Some(Kind::Forbidden);
    assert_eq!(kind(ops::reset(&admin, ById { id: ines })), forbidden, "a link would be a way up");
    assert_eq!(kind(ops::disable(&admin, ById { id: ines })), forbidden);
    let viewer = Some("viewer".parse().unwrap());
    let demoted = UserChanged { id: ines, name: None, role: viewer };
    assert_eq!(kind(ops::change(&admin, demoted)), forbidden);
    let (omar, _) = person(&site, &admin, "omar", "operator");
    let raised = UserChanged { id: omar, name: None, role: Some("owner".parse().unwrap()) };
    assert_eq!(kind(ops::change(&admin, raised)), forbidden);
    assert_eq!(kind(roles::grant(&admin, grant(omar, "owner", "", Standing::Eligible))), forbidden);
    assert_eq!(kind(roles::grant(&admin, grant(omar, "auditor", "", Standing::Held))), None);
    assert_eq!(kind(ops::disable(&admin, ById { id: omar })), None);

    let (auditor, narrow) = person(&site, &admin, "eve", "viewer");
    roles::grant(&admin, grant(auditor, "administrator", "site:lyon", Standing::Held)).unwrap();
    let narrow = again(&site, &narrow);
    assert!(narrow.actor.may("identity.create"));
    let chosen = |role: &str| KeyChosen {
        name: "k".parse().unwrap(),
        role: role.parse().unwrap(),
        scope: "site:lyon".parse().unwrap(),
        only: Default::default(),
        networks: Vec::new(),
        days: None,
    };
    assert_eq!(kind(keys::ops::create(&narrow, chosen("viewer"))), forbidden, "people have no site");
    let wide = KeyChosen { scope: Scope::default(), ..chosen("owner") };
    assert_eq!(kind(keys::ops::create(&admin, wide)), forbidden);
    assert_eq!(kind(keys::ops::create(&admin, chosen("administrator"))), None);
}

#[test]
fn roles_are_made_changed_and_removed() {
    let (site, _folder, _) = owned();
    let system = Ctx::system(&site, site.home, "test");
    let (_, admin) = person(&site, &system, "ada", "administrator");
    let chosen = |name: &str, permissions: &str| RoleChosen {
        name: name.parse().unwrap(),
        about: "Line 7".into(),
        permissions: permissions.into(),
    };
    for (name, permissions, expected) in [
        ("owner", "agents.read", Kind::Conflict),
        ("line-lead", "", Kind::Invalid),
        ("line-lead", "agents", Kind::Invalid),
        ("line-lead", "*", Kind::Forbidden),
        ("line-lead", "tenants.create", Kind::Forbidden),
    ] {
        assert_eq!(kind(roles::create(&admin, chosen(name, permissions))), Some(expected), "{permissions}");
    }
    roles::create(&admin, chosen("line-lead", "agents.*, -agents.retire")).unwrap();
    assert_eq!(kind(roles::create(&admin, chosen("line-lead", "agents.*"))), Some(Kind::Conflict));
    let (omar, ctx) = person(&site, &admin, "omar", "line-lead");
    assert!(ctx.actor.may("agents.change") && !ctx.actor.may("agents.retire"));
    roles::change(&admin, chosen("line-lead", "tasks.create")).unwrap();
    let ctx = again(&site, &ctx);
    assert!(!ctx.actor.may("agents.change") && ctx.actor.may("tasks.create"), "at once");
    let by_name = || ByName { name: "line-lead".parse().unwrap() };
    let error = roles::remove(&admin, by_name()).unwrap_err();
    assert!(error.message().contains("1 people or keys"), "{error}");
    let counts = roles::list(&admin, Nothing {}).unwrap().items;
    assert_eq!(counts.iter().find(|role| !role.built_in).unwrap().count, 1);
    let withdrawn = Withdrawn {
        id: omar,
        role: "line-lead".parse().unwrap(),
        scope: Scope::default(),
        standing: Standing::Held,
    };
    roles::withdraw(&admin, withdrawn).unwrap();
    roles::remove(&admin, by_name()).unwrap();
    assert_eq!(kind(roles::remove(&admin, by_name())), Some(Kind::NotFound));
    assert!(!again(&site, &ctx).actor.may("tasks.create"));
}

#[test]
fn a_role_on_demand_is_taken_up_for_a_while() {
    let (site, _folder, _) = owned();
    let system = Ctx::system(&site, site.home, "test");
    let (omar, ctx) = person(&site, &system, "omar", "viewer");
    let ask = |minutes, reason: &str, scope: &str| Elevated {
        role: "operator".parse().unwrap(),
        scope: scope.parse().unwrap(),
        minutes,
        reason: reason.into(),
    };
    let reason = "press 7 is down";
    assert_eq!(kind(elevate(&ctx, ask(30, reason, ""))), Some(Kind::Forbidden));
    roles::grant(&system, grant(omar, "operator", "site:lyon", Standing::Eligible)).unwrap();
    for (minutes, why, scope, expected) in [
        (0, reason, "site:lyon", Kind::Invalid),
        (721, reason, "site:lyon", Kind::Invalid),
        (30, "so", "site:lyon", Kind::Invalid),
        (30, reason, "", Kind::Forbidden),
        (30, reason, "site:paris", Kind::Forbidden),
    ] {
        assert_eq!(kind(elevate(&ctx, ask(minutes, why, scope))), Some(expected), "{minutes} {why} {scope}");
    }
    elevate(&ctx, ask(30, reason, "site:lyon line:7")).unwrap();
    assert!(again(&site, &ctx).actor.may("tasks.create"));
    step_down(&ctx, Nothing {}).unwrap();
    assert!(!again(&site, &ctx).actor.may("tasks.create"));
    assert_eq!(kind(step_down(&ctx, Nothing {})), Some(Kind::Conflict));
    elevate(&ctx, ask(30, reason, "site:lyon")).unwrap();
    site.clock.advance(Span::from_minutes(30));
    assert!(!again(&site, &ctx).actor.may("tasks.create"), "it ends by itself");
    roles::sweep(&Ctx::system(&site, site.home, "test")).unwrap();
    let left = ops::find(&ctx, omar).unwrap();
    assert_eq!(left.roles, "viewer; operator with site:lyon, on demand");
    let told = site.store.changes(0, 1_000).unwrap();
    let events: Vec<&str> = told.iter().flat_map(|c| &c.events).map(|event| event.name.as_str()).collect();
    for event in ["identity.elevated", "identity.stepped_down", "identity.grant_ended"] {
        assert!(events.contains(&event), "{event}");
    }
}

#[test]
fn why_tells_grant_by_grant() {
    let (site, _folder, _) = owned();
    let system = Ctx::system(&site, site.home, "test");
    let (omar, _) = person(&site, &system, "omar", "viewer");
    roles::grant(&system, grant(omar, "operator", "site:lyon", Standing::Eligible)).unwrap();
    let ask = |permission: &str| why::Asked { id: omar, permission: permission.into() };
    let read = why::why(&system, ask("agents.read")).unwrap();
    assert!(read.may && read.grants[0].gives && !read.grants[1].gives);
    assert_eq!(read.grants[0].because, "`viewer` includes it by `*.read`");
    let retire = why::why(&system, ask("agents.retire")).unwrap();
    assert!(!retire.may);
    assert_eq!(retire.grants[1].because, "`operator` includes it by `agents.*`, once it is taken up");
    let people = why::why(&system, ask("identity.read")).unwrap();
    assert_eq!(people.grants[0].because, "`viewer` leaves it out by `-identity.*`");
    ops::disable(&system, ById { id: omar }).unwrap();
    let read = why::why(&system, ask("agents.read")).unwrap();
    assert!(!read.may && read.answer.ends_with("they are shut out."), "{}", read.answer);
}

#[test]
fn a_role_from_before_there_were_grants_becomes_one() {
    use crate::base::TenantId;
    use crate::engine::store::Table;
    use serde::{Deserialize, Serialize};
    #[derive(Serialize, Deserialize)]
    struct Old {
        id: UserId,
        login: String,
        name: Name,
        password: Option<String>,
        role: String,
        state: String,
        created: Timestamp,
        last_login: Option<Timestamp>,
    }
    const OLD: Table<(TenantId, UserId), Old> = Table::new("identity_users");
    let (site, _folder, _) = owned();
    let ctx = Ctx::system(&site, site.home, "test");
    let (omar, _) = person(&site, &ctx, "omar", "viewer");
    ctx.require("identity.test")
        .unwrap()
        .write(|change| {
            let old = Old {
                id: omar,
                login: "omar".into(),
                name: "Omar".parse()?,
                password: None,
                role: "operator".into(),
                state: "active".into(),
                created: ctx.now,
                last_login: None,
            };
            change.tx.put(&OLD, &(ctx.tenant, omar), &old)?;
            adopt(change.tx)
        })
        .unwrap();
    assert_eq!(ops::find(&ctx, omar).unwrap().grants, [Granted::lasting(Role::Operator.into())]);
    let owner = ops::users(&ctx, Nothing {}).unwrap().items.remove(0);
    assert_eq!(owner.roles, "owner", "who has grants keeps them");
}

#[test]
fn who_looks_as_another_sees_no_more_and_changes_nothing() {
    use crate::capabilities::identity::{look, sessions};
    let (site, _folder, cookie) = owned();
    let system = Ctx::system(&site, site.home, "test");
    let now = |cookie: &str| {
        let actor = session_actor(&site, cookie, site.clock.now()).unwrap();
        actor.map(|(_, actor)| Ctx::new(&site, site.home, actor, Request::default()))
    };
    let ines = now(&cookie).unwrap();
    let Actor::Person { user: me, .. } = ines.actor else { panic!("no person") };
    let (omar, viewer) = person(&site, &system, "omar", "viewer");
    let (_, admin) = person(&site, &system, "ada", "administrator");
    assert_eq!(kind(look::look_as(&viewer, ById { id: me })), Some(Kind::Forbidden));
    assert_eq!(kind(look::look_as(&admin, ById { id: me })), Some(Kind::Forbidden), "an owner has more");
    assert_eq!(kind(look::look_as(&ines, ById { id: me })), Some(Kind::Invalid));
    look::look_as(&ines, ById { id: omar }).unwrap();

    let looking = now(&cookie).unwrap();
    assert_eq!(looking.actor.text(), me.to_string(), "the log names who looks");
    assert!(looking.actor.may("agents.read") && !looking.actor.may("identity.read"));
    assert_eq!(kind(ops::rename(&looking, "Another".parse().unwrap())), Some(Kind::Forbidden));
    assert_eq!(kind(ops::disable(&looking, ById { id: omar })), Some(Kind::Forbidden));
    roles::grant(&system, grant(omar, "operator", "", Standing::Held)).unwrap();
    assert!(!now(&cookie).unwrap().actor.may("tasks.create"), "reads alone");

    look::look_back(&looking, Nothing {}).unwrap();
    assert!(now(&cookie).unwrap().actor.may("identity.create"));
    look::look_as(&now(&cookie).unwrap(), ById { id: omar }).unwrap();
    ops::disable(&system, ById { id: omar }).unwrap();
    assert!(now(&cookie).unwrap().actor.may("identity.create"), "who is gone is not looked at");
    ops::enable(&system, ById { id: omar }).unwrap();
    sessions::log_out(&now(&cookie).unwrap()).unwrap();
    assert!(now(&cookie).is_none(), "also who looks as another may sign out");
}

#[test]
fn the_guides_say_which_roles_there_are_and_how_long_one_on_demand_lasts() {
    use crate::kit::Role;
    use crate::kit::guide::proof::says;
    assert_eq!(elevation::MINUTES_MAX, 12 * 60);
    assert!(says("signing-in", "for at most twelve hours"));
    assert_eq!(Role::ALL.len(), 7);
    assert!(says("signing-in", "Seven roles are there on every site"));
    assert!(Role::ALL.into_iter().all(|role| says("security", role.word())));
}
