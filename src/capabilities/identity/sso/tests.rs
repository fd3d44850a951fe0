//! Whole moves over a site in a temporary folder; providers are made up, nothing is asked over the network.

use serde_json::json;
use tempfile::TempDir;

use super::arrive::{Arrival, Proof, settle};
use super::links::{LinkChosen, OwnLink, end_sessions};
use super::model::{Mapping, Provider};
use super::ops::{ProviderAdded, ProviderById, ProviderChanged};
use super::*;
use crate::base::{Kind, Timestamp, UserId};
use crate::capabilities::identity::model::State;
use crate::capabilities::identity::store::USERS;
use crate::capabilities::identity::tests::{PASSWORD, actor, anonymous, as_actor, chosen, owned, sign_in};
use crate::capabilities::identity::{Identity, door, ops as people, roles};
use crate::kit::{
    Actor, ById, Capability, Findings, Nothing, Ops, PageRequest, Pages, Reply, Restored, Role, Scope, Site,
    Undone,
};

struct Rig {
    site: Site,
    _folder: TempDir,
    cookie: String,
}

fn rig() -> Rig {
    let (site, _folder, cookie) = owned();
    Rig { site, _folder, cookie }
}

fn wanted(mappings: &str) -> ProviderAdded {
    let input = json!({
        "name": "Plant",
        "settings": { "kind": "oidc", "issuer": "http://localhost:9", "client_id": "muster" },
        "secret": "a secret",
        "makes_people": true,
    });
    let mut input: ProviderAdded = serde_json::from_value(input).unwrap();
    input.mappings = model::mappings(mappings).unwrap();
    input
}

fn changed(id: &str, change: serde_json::Value) -> ProviderChanged {
    let mut change = change;
    change["id"] = json!(id);
    serde_json::from_value(change).unwrap()
}

impl Rig {
    fn owner(&self) -> Ctx<'_> {
        as_actor(&self.site, actor(&self.site, &self.cookie).unwrap())
    }

    fn added(&self, mappings: &str) -> Provider {
        let view = ops::add(&self.owner(), wanted(mappings)).unwrap();
        store::provider(&self.owner().read().unwrap(), self.site.home, &view.id).unwrap()
    }

    /// Somebody of this role, signed in.
    fn signed_in(&self, login: &str, role: Role) -> Ctx<'_> {
        people::create(&self.owner(), chosen(login, role)).unwrap();
        let cookie = sign_in(&anonymous(&self.site, "10.0.0.2"), login, PASSWORD).unwrap();
        as_actor(&self.site, actor(&self.site, &cookie).unwrap())
    }

    fn user(&self, id: UserId) -> User {
        self.owner().read().unwrap().get(&USERS, &(self.site.home, id)).unwrap().unwrap()
    }

    fn arrives(&self, provider: &Provider, subject: &str, groups: &[&str]) -> Result<UserId> {
        settle(&anonymous(&self.site, "10.0.0.3"), provider, &arrival(provider, subject, groups))
    }

    fn events(&self, since: u64) -> Vec<String> {
        let changes = self.site.store.changes(since, 1_000).unwrap();
        changes.into_iter().flat_map(|change| change.events).map(|event| event.name).collect()
    }
}

fn arrival(provider: &Provider, subject: &str, groups: &[&str]) -> Arrival {
    Arrival {
        proof: Proof {
            provider: provider.id.clone(),
            called: provider.name.to_string(),
            directory: false,
            subject: subject.into(),
            session: Some(format!("at {subject}")),
            several_factors: false,
        },
        login: format!("{subject}@plant"),
        name: Some("Omar Haddad".into()),
        groups: groups.iter().map(|one| (*one).to_owned()).collect(),
    }
}

fn me(ctx: &Ctx<'_>) -> UserId {
    match &ctx.actor {
        Actor::Person { user, .. } => *user,
        _ => panic!("not a person"),
    }
}

#[test]
fn who_arrives_gets_what_their_groups_give_and_loses_it_with_them() {
    let rig = rig();
    let provider = rig.added("admins => administrator\nops => operator site:lyon\n* => viewer");
    let since = rig.site.store.last_change();
    let omar = rig.arrives(&provider, "omar", &["ops"]).unwrap();
    assert_eq!(rig.events(since), ["identity.created", "identity.linked", "identity.changed"]);
    let user = rig.user(omar);
    assert_eq!((user.login.as_str(), user.name.as_str()), ("omar@plant", "Omar Haddad"));
    assert_eq!(user.roles(), "operator with site:lyon; viewer");
    assert!(user.password.is_none());

    let grant = json!({ "id": omar, "role": "auditor" });
    roles::ops::grant(&rig.owner(), serde_json::from_value(grant).unwrap()).unwrap();
    assert_eq!(rig.arrives(&provider, "omar", &["admins"]).unwrap(), omar, "the same person");
    assert_eq!(rig.user(omar).roles(), "auditor; administrator; viewer");
    assert_eq!(rig.arrives(&provider, "omar", &[]).unwrap(), omar);
    assert_eq!(rig.user(omar).roles(), "auditor; viewer");
    let since = rig.site.store.last_change();
    rig.arrives(&provider, "omar", &[]).unwrap();
    assert!(rig.events(since).is_empty(), "nothing changed, nothing is told");

    // What a group gives is not taken by hand, nor by a new role of one's own.
    let withdrawn = json!({ "id": omar, "role": "viewer" });
    let error = roles::ops::withdraw(&rig.owner(), serde_json::from_value(withdrawn).unwrap()).unwrap_err();
    assert!(error.message().contains("a group at a provider"), "{error}");
    let role = json!({ "id": omar, "role": "billing" });
    people::change(&rig.owner(), serde_json::from_value(role).unwrap()).unwrap();
    assert_eq!(rig.user(omar).roles(), "billing; viewer");
}

#[test]
fn nobody_becomes_a_local_person_by_being_called_the_same() {
    let rig = rig();
    let provider = rig.added("* => viewer");
    let ctx = rig.owner();
    people::create(&ctx, chosen("ghost@plant", Role::Operator)).unwrap();
    let error = rig.arrives(&provider, "ghost", &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert!(error.message().contains("there is a local person"), "{error}");
    let met = memory::of(&rig.site).strangers.lock().front().cloned().unwrap();
    assert_eq!((met.subject.as_str(), met.called.as_str()), ("ghost", "Omar Haddad (ghost@plant)"));

    // Linked by who may act on them, and by nobody with less.
    let owner = me(&ctx);
    let administrator = rig.signed_in("adam", Role::Administrator);
    let choose =
        |id, subject: &str| LinkChosen { id, provider: provider.id.clone(), subject: subject.into() };
    let error = links::create(&administrator, choose(owner, "s1")).unwrap_err();
    assert!(error.message().contains("holds more than yours"), "{error}");
    links::create(&ctx, choose(owner, "s1")).unwrap();
    assert_eq!(links::create(&ctx, choose(owner, "s1")).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(links::create(&ctx, choose(me(&administrator), "s1")).unwrap_err().kind(), Kind::Conflict);
    for wrong in ["", "a\nb", &"x".repeat(256)] {
        assert_eq!(links::create(&ctx, choose(owner, wrong)).unwrap_err().kind(), Kind::Invalid);
    }
    assert_eq!(rig.arrives(&provider, "s1", &[]).unwrap(), owner);
    // An owner comes in by it now: who has less does not touch it any more.
    let off = || changed(&provider.id, json!({ "on": false }));
    assert_eq!(ops::change(&administrator, off()).unwrap_err().kind(), Kind::Forbidden);
    let by_id = || ProviderById { id: provider.id.clone() };
    assert_eq!(ops::remove(&administrator, by_id()).unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(links::remove(&administrator, choose(owner, "s1")).unwrap_err().kind(), Kind::Forbidden);
    ops::change(&ctx, off()).unwrap();
}

#[test]
fn only_who_should_comes_in() {
    let rig = rig();
    let provider = rig.added("ops => operator");
    let error = rig.arrives(&provider, "x", &["other"]).unwrap_err();
    assert!(error.message().contains("none of your groups"), "{error}");
    let omar = rig.arrives(&provider, "omar", &["ops"]).unwrap();
    // Known already, they come in without a role too, as everybody who has lost theirs.
    assert_eq!(rig.arrives(&provider, "omar", &[]).unwrap(), omar);
    assert_eq!(rig.user(omar).roles(), "no role");
    let ctx = rig.owner();
    let view = ops::change(&ctx, changed(&provider.id, json!({ "makes_people": false }))).unwrap();
    assert!(!view.makes_people && view.secret_set && view.people == 1);
    let error = rig.arrives(&provider, "eve", &["ops"]).unwrap_err();
    assert!(error.message().contains("nobody here is linked"), "{error}");
    let mut nameless = arrival(&provider, "n", &["ops"]);
    nameless.login = "Ünnamed Person".into();
    ops::change(&ctx, changed(&provider.id, json!({ "makes_people": true }))).unwrap();
    let error = settle(&anonymous(&rig.site, "x"), &provider, &nameless).unwrap_err();
    assert!(error.message().contains("no login name"), "{error}");
    people::disable(&ctx, ById { id: omar }).unwrap();
    assert_eq!(rig.arrives(&provider, "omar", &["ops"]).unwrap_err().kind(), Kind::Unauthenticated);
    ops::change(&ctx, changed(&provider.id, json!({ "on": false }))).unwrap();
    assert!(rig.arrives(&provider, "eve", &["ops"]).unwrap_err().message().contains("switched off"));
}

#[test]
fn a_list_of_groups_gives_no_more_than_its_maker_has() {
    let rig = rig();
    let administrator = rig.signed_in("adam", Role::Administrator);
    for (lines, legal) in [
        ("x => owner", false),
        ("x => owner site:lyon", false),
        ("x => administrator", true),
        ("x => viewer site:lyon", true),
        ("x => unheard-of", false),
    ] {
        let mut input = wanted(lines);
        input.name = format!("P {}", lines.len()).parse().unwrap();
        let added = ops::add(&administrator, input);
        assert_eq!(added.is_ok(), legal, "{lines}");
        if let Ok(added) = added {
            let owner = json!({ "mappings": [{ "group": "x", "role": "owner" }] });
            let raised = ops::change(&administrator, changed(&added.id, owner.clone()));
            assert_eq!(raised.unwrap_err().kind(), Kind::Forbidden);
            ops::change(&rig.owner(), changed(&added.id, owner)).unwrap();
            // Now it gives more than the administrator has, and is out of their reach.
            let renamed = changed(&added.id, json!({ "name": "Mine" }));
            assert_eq!(ops::change(&administrator, renamed).unwrap_err().kind(), Kind::Forbidden);
            ops::remove(&rig.owner(), ProviderById { id: added.id }).unwrap();
        }
    }
    let viewer = rig.signed_in("vera", Role::Viewer);
    assert_eq!(ops::add(&viewer, wanted("")).unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(ops::list(&viewer, Nothing {}).unwrap_err().kind(), Kind::Forbidden);
    // A role that a list gives is not removed under it.
    let role = json!({ "name": "fitter", "permissions": "agents.*" });
    roles::ops::create(&rig.owner(), serde_json::from_value(role).unwrap()).unwrap();
    let provider = rig.added("fitters => fitter");
    let named = || serde_json::from_value(json!({ "name": "fitter" })).unwrap();
    assert_eq!(roles::ops::remove(&rig.owner(), named()).unwrap_err().kind(), Kind::Conflict);
    ops::remove(&rig.owner(), ProviderById { id: provider.id }).unwrap();
    roles::ops::remove(&rig.owner(), named()).unwrap();
}

#[test]
fn somebody_can_always_break_the_glass() {
    let rig = rig();
    let ctx = rig.owner();
    let provider = rig.added("bosses => owner");
    let boss = rig.arrives(&provider, "boss", &["bosses"]).unwrap();
    assert_eq!(rig.user(boss).roles(), "owner");
    // An owner by a group may act as one, and is not the one that must remain.
    let demote = json!({ "id": me(&ctx), "role": "viewer" });
    let error = people::change(&ctx, serde_json::from_value(demote).unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(people::disable(&ctx, ById { id: me(&ctx) }).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(rig.arrives(&provider, "boss", &[]).unwrap(), boss);
    assert_eq!(rig.user(boss).roles(), "no role");

    // A site whose only owner has no password gets no provider.
    let (site, _folder) = crate::capabilities::identity::tests::site();
    let link = crate::capabilities::identity::login_link(&site).unwrap();
    let token = link.split_once("token=").unwrap().1.to_owned();
    let cookie =
        crate::capabilities::identity::tests::use_link(&anonymous(&site, "10.0.0.1"), &token, "").unwrap();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let error = ops::add(&ctx, wanted("")).unwrap_err();
    assert!(error.message().contains("no owner can sign in with a password"), "{error}");
    assert!(site.egress.list().is_empty() && ops::list(&ctx, Nothing {}).unwrap().items.is_empty());
}

#[test]
fn a_provider_is_permitted_where_it_is_and_taken_back() {
    let rig = rig();
    let ctx = rig.owner();
    let provider = rig.added("* => viewer");
    let listed = rig.site.egress.list();
    assert_eq!((listed[0].host.as_str(), listed[0].port), ("localhost", 9));
    assert_eq!(listed[0].purposes[0].what, "sign-in at `Plant`");
    assert_eq!(listed[0].purposes[0].by, ctx.actor.text());
    assert_eq!(ops::add(&ctx, wanted("")).unwrap_err().kind(), Kind::Conflict, "the name is taken");
    let moved = json!({ "settings": { "kind": "oidc", "issuer": "http://localhost:10", "client_id": "m" } });
    ops::change(&ctx, changed(&provider.id, moved.clone())).unwrap();
    let ports: Vec<u16> = rig.site.egress.list().iter().map(|one| one.port).collect();
    assert_eq!(ports, [10]);
    rig.arrives(&provider, "omar", &[]).unwrap();
    let back = json!({ "settings": { "kind": "oidc", "issuer": "http://localhost:9", "client_id": "m" } });
    let error = ops::change(&ctx, changed(&provider.id, back)).unwrap_err();
    assert!(error.message().contains("may call others the same"), "{error}");
    let client = json!({ "settings": { "kind": "oidc", "issuer": "http://localhost:10", "client_id": "n" } });
    ops::change(&ctx, changed(&provider.id, client)).unwrap();
    let ldap = json!({ "settings": { "kind": "ldap", "url": "ldap://localhost", "pattern": "uid={login}" } });
    assert_eq!(ops::change(&ctx, changed(&provider.id, ldap)).unwrap_err().kind(), Kind::Conflict);
    allow_providers(&ctx).unwrap();
    assert_eq!(rig.site.egress.list().len(), 1);
    ops::remove(&ctx, ProviderById { id: provider.id.clone() }).unwrap();
    assert!(rig.site.egress.list().is_empty());
    assert!(rig.site.vault.get(&Provider::vault_name(&provider.id)).unwrap().is_none());
    let text = serde_json::to_string(
        &rig.site
            .store
            .changes(0, 1_000)
            .unwrap()
            .iter()
            .map(|c| format!("{:?}", c.events))
            .collect::<Vec<_>>(),
    )
    .unwrap();
    assert!(!text.contains("a secret"));
    for n in 0..model::PROVIDERS_MAX {
        let mut input = wanted("");
        input.name = format!("P{n}").parse().unwrap();
        ops::add(&ctx, input).unwrap();
    }
    let mut input = wanted("");
    input.name = "more".parse().unwrap();
    assert_eq!(ops::add(&ctx, input).unwrap_err().kind(), Kind::TooMany);
}

#[test]
fn sessions_end_with_what_began_them() {
    let rig = rig();
    let ctx = rig.owner();
    let provider = rig.added("* => viewer");
    let enter = |subject: &str| {
        let id = rig.arrives(&provider, subject, &[]).unwrap();
        let proof = arrival(&provider, subject, &[]).proof;
        let entered = door::enter_proven(&anonymous(&rig.site, "10.0.0.4"), id, &proof, "/").unwrap();
        (id, crate::capabilities::identity::tests::whole(entered).unwrap())
    };
    let (omar, first) = enter("omar");
    let (_, other) = enter("vera");
    let inside = |cookie: &str| actor(&rig.site, cookie);
    let session = as_actor(&rig.site, inside(&first).unwrap());
    assert_eq!(began_by(&session).unwrap().as_deref(), Some(provider.id.as_str()));
    assert_eq!(began_by(&ctx).unwrap(), None);
    assert_eq!(links::list_own(&session, Nothing {}).unwrap().items.len(), 1);

    // One's own last link is the only way in.
    let own = |subject: &str| OwnLink { provider: provider.id.clone(), subject: subject.into() };
    assert_eq!(links::remove_own(&session, own("omar")).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(links::remove_own(&session, own("vera")).unwrap_err().kind(), Kind::Conflict);

    let system = Ctx::system(&rig.site, rig.site.home, "test");
    let end = |which: &str| {
        let permit = system.require("identity.test").unwrap();
        permit
            .write(|change| end_sessions(&system, change, |begun| begun.session.as_deref() == Some(which)))
            .unwrap()
    };
    assert_eq!((end("at nobody"), end("at omar"), end("at omar")), (0, 1, 0));
    assert!(inside(&first).is_none() && inside(&other).is_some());

    let (_, second) = enter("omar");
    let unlinked = LinkChosen { id: omar, provider: provider.id.clone(), subject: "omar".into() };
    links::remove(&ctx, unlinked).unwrap();
    assert!(inside(&second).is_none());
    assert_eq!(rig.user(omar).roles(), "no role", "what its groups gave goes with it");
    ops::change(&ctx, changed(&provider.id, json!({ "on": false }))).unwrap();
    assert!(inside(&other).is_none());
    assert_eq!(rig.site.store.read().unwrap().count(&store::BEGUN, &()).unwrap(), 0);

    ops::change(&ctx, changed(&provider.id, json!({ "on": true }))).unwrap();
    let (vera, third) = enter("vera");
    ops::remove(&ctx, ProviderById { id: provider.id.clone() }).unwrap();
    assert!(inside(&third).is_none());
    assert_eq!((rig.user(vera).roles().as_str(), rig.user(vera).state), ("no role", State::Active));
    let mut findings = Findings::default();
    Identity.check(&ctx, &mut findings).unwrap();
    assert_eq!(findings.kept, []);
}

#[test]
fn a_second_factor_is_asked_for_unless_the_provider_saw_one() {
    let rig = rig();
    let ctx = rig.owner();
    let provider = rig.added("* => viewer");
    let mut all = Ops::default();
    Identity.ops(&mut all);
    let change = all.0.iter().find(|op| op.name == "identity.policy_change").unwrap();
    (change.run)(&ctx, json!({ "second_factor_for": ["viewer"] })).unwrap();
    let id = rig.arrives(&provider, "omar", &[]).unwrap();
    let from = anonymous(&rig.site, "10.0.0.7");
    let proof = arrival(&provider, "omar", &[]).proof;
    let half = door::enter_proven(&from, id, &proof, "/").unwrap();
    assert!(matches!(half, door::Entered::Half(_)), "{half:?}");
    let proof = Proof { several_factors: true, ..proof };
    let door::Entered::In(cookie) = door::enter_proven(&from, id, &proof, "/").unwrap() else {
        panic!("half in")
    };
    assert!(actor(&rig.site, &cookie).is_some(), "and the session stands");
    // A directory sees no second factor.
    let proof = Proof { directory: true, ..proof };
    assert_eq!(proof.means(), crate::capabilities::identity::Means::Ldap);
}

#[test]
fn what_was_taken_away_does_not_come_back_with_a_restore() {
    let rig = rig();
    let ctx = rig.owner();
    let provider = rig.added("* => viewer");
    let omar = rig.arrives(&provider, "omar", &[]).unwrap();
    let undone = |event: &str, subject: String, detail: serde_json::Value| Undone {
        tenant: crate::kit::HOME,
        change: 1,
        at: Timestamp::default(),
        actor: "x".into(),
        action: "x".into(),
        event: event.into(),
        subject,
        detail: detail.to_string(),
    };
    let unlinked = json!({ "provider": provider.id, "subject": "omar" });
    let restored = Restored {
        id: "r".into(),
        generation: 2,
        change: 1,
        at: Timestamp::default(),
        restored: Timestamp::default(),
        by: "x".into(),
        source: "x".into(),
        undone: vec![
            undone("identity.unlinked", omar.to_string(), unlinked),
            undone("identity.provider_removed", provider.id.clone(), json!({})),
        ],
    };
    let permit = ctx.require("identity.test").unwrap();
    permit.write(|change| recovery::restored(&ctx, change, &restored)).unwrap();
    let read = ctx.read().unwrap();
    assert!(!store::provider(&read, ctx.tenant, &provider.id).unwrap().on);
    assert!(store::links_to(&read, ctx.tenant, omar).unwrap().is_empty());
}

#[test]
fn every_page_renders_and_none_shows_a_secret() {
    let rig = rig();
    let ctx = rig.owner();
    let mut pages = Pages::default();
    Identity.pages(&mut pages);
    let ask = |path: &str, form: bool, ctx: &Ctx<'_>, id: &str, fields: &[(&str, &str)]| {
        let page = pages.pages.iter().find(|page| page.path == path && page.form == form).unwrap();
        let map = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut request = PageRequest::default();
        for name in ["id", "provider"] {
            request.params.insert(name.into(), id.into());
        }
        if form {
            request.form = map
        } else {
            request.query = map
        }
        (page.run)(ctx, &request).unwrap()
    };
    let text = |reply| match reply {
        Reply::Html(_, text) | Reply::Arrived(text, _) => text,
        other => panic!("{other:?}"),
    };
    let nobody = anonymous(&rig.site, "10.0.0.5");
    assert!(!text(ask("/login", false, &nobody, "", &[])).contains("Sign in with"));
    assert!(text(ask("/people/sign-on", false, &ctx, "", &[])).contains("a password of this site"));
    let secret = "a very secret text";
    let typed = [
        ("kind", "oidc"),
        ("name", "Plant"),
        ("issuer", "http://localhost:9"),
        ("client_id", "muster"),
        ("secret", secret),
        ("scopes", "openid"),
        ("login", "preferred_username"),
        ("called", "name"),
        ("groups", "groups"),
        ("mappings", "ops => operator site:lyon\r\n* => viewer"),
        ("makes_people", "true"),
    ];
    let wrong: Vec<(&str, &str)> = typed
        .iter()
        .map(|(key, value)| (*key, if *key == "mappings" { "nonsense" } else { value }))
        .collect();
    let page = text(ask("/people/sign-on", true, &ctx, "", &wrong));
    assert!(page.contains("gives no role") && page.contains("value=\"Plant\"") && !page.contains(secret));
    let Reply::Redirect(to, _) = ask("/people/sign-on", true, &ctx, "", &typed) else { panic!("not added") };
    assert!(to.contains("ok%3APlant+is+added"), "{to}");
    let provider = store::providers(&ctx.read().unwrap(), ctx.tenant).unwrap().remove(0);
    assert_eq!(
        provider.mappings.iter().map(Mapping::line).collect::<Vec<_>>(),
        ["ops => operator site:lyon", "* => viewer"]
    );
    let omar = rig.arrives(&provider, "omar", &[]).unwrap();
    people::create(&ctx, chosen("ghost@plant", Role::Operator)).unwrap();
    rig.arrives(&provider, "ghost", &[]).unwrap_err();
    let page = text(ask("/people/sign-on", false, &ctx, "", &[]));
    for part in [
        "Omar Haddad",
        "1 people linked",
        "localhost:9",
        "allowed by Inès Moreau",
        "Were not let in",
        "/login/oidc/callback",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains(secret) && !page.contains("style="));
    let changed = ask(
        "/people/sign-on/{id}",
        true,
        &ctx,
        &provider.id,
        &[typed.as_slice(), &[("name", "Works")]].concat(),
    );
    assert!(matches!(changed, Reply::Redirect(..)));
    let ldap = [
        ("kind", "ldap"),
        ("name", "Directory"),
        ("url", "ldap://localhost:1"),
        ("pattern", "uid={login},ou=people"),
        ("filter", "(uid={login})"),
        ("id_attribute", "entryUUID"),
        ("mappings", "* => viewer"),
    ];
    assert!(matches!(ask("/people/sign-on", true, &ctx, "", &ldap), Reply::Redirect(..)));
    let directory = store::providers(&ctx.read().unwrap(), ctx.tenant).unwrap().remove(1);
    let page = text(ask("/people/sign-on/{id}/test", true, &ctx, &directory.id, &[]));
    assert!(page.contains("not reached"), "nothing listens there");
    let offered = text(ask("/login", false, &nobody, "", &[("next", "/agents"), ("left", &provider.id)]));
    assert!(offered.contains(&format!("/login/oidc/{}?next=%2Fagents", provider.id)), "{offered}");
    assert!(offered.contains("Sign out there too") && !offered.contains("Directory"));
    let page = text(ask("/account", false, &ctx, "", &[]));
    assert!(page.contains("Link your account at Works") && page.contains("Password there"));
    let page = text(ask("/account/link/{provider}", true, &ctx, &provider.id, &[]));
    assert!(page.contains(&format!("url=/account/link/{}?pass=", provider.id)), "{page}");
    assert!(flow::back(&ctx).ends_with("/login/oidc/callback"), "as the guide says");

    // A form of somebody else's making leads nowhere, and an answer that nobody asked for neither.
    let begin =
        pages.pages.iter().find(|page| page.path == "/account/link/{provider}" && !page.form).unwrap();
    let mut request = PageRequest::default();
    request.params.insert("provider".into(), provider.id.clone());
    assert_eq!((begin.run)(&ctx, &request).unwrap_err().kind(), Kind::Forbidden);
    let page = ask("/login/oidc/callback", false, &nobody, "", &[("state", "x"), ("code", "y")]);
    assert!(matches!(&page, Reply::Html(401, text) if text.contains("began no sign-in")), "{page:?}");
    let page = ask("/login/oidc/{provider}/logout", true, &nobody, &provider.id, &[("logout_token", "x")]);
    assert!(matches!(page, Reply::Html(400, _)));
    // The provider is down: local people sign in as always.
    let down = ask("/login/oidc/{provider}", false, &nobody, &provider.id, &[]);
    assert!(matches!(&down, Reply::Html(503, text) if text.contains("not reached")), "{down:?}");
    assert!(sign_in(&nobody, "ines", PASSWORD).is_ok());
    let unlink = [("user", omar.to_string()), ("provider", provider.id.clone()), ("subject", "omar".into())];
    let unlink: Vec<(&str, &str)> = unlink.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert!(matches!(ask("/people/sign-on/unlink", true, &ctx, "", &unlink), Reply::Redirect(..)));
    let _ = Scope::default();
}

#[test]
fn a_sign_in_begins_where_its_cookie_counts_and_not_too_often() {
    let rig = rig();
    let provider = rig.added("* => viewer");
    let mut pages = Pages::default();
    Identity.pages(&mut pages);
    let page = pages.pages.iter().find(|page| page.path == "/login/oidc/{provider}").unwrap();
    let nobody = anonymous(&rig.site, "10.0.0.6");
    let ask = |host: &str, here: &str| {
        let mut nobody = nobody.clone();
        nobody.request.host = host.into();
        let mut request = PageRequest::default();
        request.params.insert("provider".into(), provider.id.clone());
        request.query.insert("next".into(), "/agents".into());
        request.query.insert("here".into(), here.into());
        (page.run)(&nobody, &request).unwrap()
    };
    rig.site.settings.listening(443, 8883);
    let Reply::Away(to, cookies) = ask("10.0.0.1:8443", "") else { panic!("it stays") };
    assert_eq!(to, format!("https://muster.test/login/oidc/{}?next=%2Fagents&here=1", provider.id));
    assert!(cookies.is_empty());
    // Where it is, or was sent to already, it begins; nothing listens at the provider.
    for (host, here) in [("muster.test", ""), ("muster.test:443", ""), ("10.0.0.1:8443", "1")] {
        assert!(matches!(ask(host, here), Reply::Html(503, _)), "{host}");
    }
    for _ in 3..memory::STARTS.burst {
        assert!(matches!(ask("muster.test", ""), Reply::Html(503, _)));
    }
    assert!(matches!(ask("muster.test", ""), Reply::Html(429, _)));
}

mod directories;
