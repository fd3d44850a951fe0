//! Whole moves over a site in a temporary folder, with a clock that stands until it is moved.

use tempfile::TempDir;

use super::door::{self, SetUp};
use super::keys::{self, KeyChosen};
use super::ops::{self, PasswordChanged, UserChanged, UserChosen};
use super::*;
use crate::base::{Kind, Name, Secret, Timestamp, limits};
use crate::engine::clock::Clock;
use crate::engine::crypto::{Authority, Kek, Vault};
use crate::engine::logs::{self, Logs};
use crate::engine::series::{self, Series};
use crate::engine::store::{self as engine, Store};
use crate::kit::{ById, Nothing, PageRequest, Parts, Reply, Request, Site};

pub(super) const PASSWORD: &str = "correct horse battery";

/// A site in a temporary folder, with nobody in it.
pub(crate) fn site() -> (Site, TempDir) {
    let folder = TempDir::new().unwrap();
    (at(folder.path()), folder)
}

/// The site of this folder, whether or not somebody is in it.
pub(crate) fn at(folder: &std::path::Path) -> Site {
    let at = |name: &str| folder.join(name);
    let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 7);
    let vault = Vault::open(&at("keys"), &Kek::File(at("kek")), &clock).unwrap();
    Site::new(Parts {
        store: Store::open(&at("store"), engine::Options::new(clock.clone())).unwrap(),
        series: Series::open(&at("series"), series::Options::new(clock.clone())).unwrap(),
        logs: Logs::open(&at("logs"), logs::Options::new(clock.clone())).unwrap(),
        authority: Authority::open(&vault, "Test", &clock).unwrap(),
        vault,
        settings: crate::kit::Settings::new("Test".into(), vec!["muster.test".into()]),
        navigation: Vec::new(),
        assets: "/static/test".into(),
        folder: folder.to_owned(),
        configuration: None,
        clock,
    })
}

pub(super) fn anonymous<'a>(site: &'a Site, from: &str) -> Ctx<'a> {
    Ctx::new(
        site,
        site.home,
        Actor::Anonymous,
        Request { id: "r".into(), from: from.into(), ..Request::default() },
    )
}

pub(super) fn as_actor(site: &Site, actor: Actor) -> Ctx<'_> {
    Ctx::new(
        site,
        site.home,
        actor,
        Request { id: "r".into(), from: "10.0.0.1".into(), ..Request::default() },
    )
}

/// A site with its first owner, and the owner's cookie.
pub(crate) fn owned() -> (Site, TempDir, String) {
    let (site, folder) = site();
    let code = setup_code(&site).unwrap().unwrap();
    let input = SetUp { code: &code, name: "Inès Moreau", login: "ines", password: PASSWORD };
    let cookie = door::set_up(&anonymous(&site, "10.0.0.1"), &input).unwrap();
    (site, folder, cookie)
}

/// Signs in all the way.
pub(super) fn sign_in(ctx: &Ctx<'_>, login: &str, password: &str) -> Result<String> {
    whole(door::sign_in(ctx, login, password, "/")?)
}

pub(super) fn use_link(ctx: &Ctx<'_>, token: &str, password: &str) -> Result<String> {
    whole(door::use_link(ctx, token, password)?)
}

pub(super) fn whole(entered: door::Entered) -> Result<String> {
    match entered {
        door::Entered::In(cookie) => Ok(cookie),
        door::Entered::Half(_) => Err(Error::conflict("half in")),
    }
}

pub(super) fn actor(site: &Site, cookie: &str) -> Option<Actor> {
    session_actor(site, cookie, site.clock.now()).unwrap().map(|(_, actor)| actor)
}

pub(super) fn chosen(login: &str, role: Role) -> UserChosen {
    UserChosen {
        login: login.into(),
        name: "Somebody".parse().unwrap(),
        role: role.into(),
        scope: crate::kit::Scope::default(),
        password: Some(Secret::new(PASSWORD.to_owned())),
    }
}

#[test]
fn the_setup_code_works_once_and_the_newest_counts() {
    let (site, _folder) = site();
    assert!(needs_setup(&site));
    let old = setup_code(&site).unwrap().unwrap();
    let code = setup_code(&site).unwrap().unwrap();
    let ctx = anonymous(&site, "10.0.0.1");
    let input = |code| SetUp { code, name: "Inès", login: "Ines", password: PASSWORD };
    assert_eq!(door::set_up(&ctx, &input(&old)).unwrap_err().kind(), Kind::Forbidden);
    let short = SetUp { password: "short", ..input(&code) };
    assert_eq!(door::set_up(&ctx, &short).unwrap_err().kind(), Kind::Invalid);
    let copied = code.to_lowercase();
    let cookie = door::set_up(&ctx, &input(&copied)).unwrap();
    assert!(!needs_setup(&site) && setup_code(&site).unwrap().is_none());
    assert_eq!(door::set_up(&ctx, &input(&code)).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(actor(&site, &cookie).unwrap().rights().unwrap().roles(), "owner");
}

#[test]
fn sessions_end_by_idleness_by_age_and_by_hand() {
    let (site, _folder, cookie) = owned();
    for _ in 0..3 {
        site.clock.advance(Span::from_hours(7));
        assert!(actor(&site, &cookie).is_some());
    }
    site.clock.advance(Span::from_hours(3));
    assert!(actor(&site, &cookie).is_none(), "24 hours are over");

    let cookie = sign_in(&anonymous(&site, "10.0.0.1"), "ines", PASSWORD).unwrap();
    site.clock.advance(Span::from_hours(8));
    assert!(actor(&site, &cookie).is_none(), "8 hours without use");
    sessions::sweep(&Ctx::system(&site, site.home, "test")).unwrap();
    assert_eq!(site.store.read().unwrap().count(&store::SESSIONS, &()).unwrap(), 0);

    let cookie = sign_in(&anonymous(&site, "10.0.0.1"), "ines", PASSWORD).unwrap();
    sessions::log_out(&as_actor(&site, actor(&site, &cookie).unwrap())).unwrap();
    assert!(actor(&site, &cookie).is_none());
    assert!(actor(&site, "").is_none() && actor(&site, "mss_nonsense").is_none());
}

#[test]
fn an_open_page_keeps_no_session_alive() {
    let (site, _folder, cookie) = owned();
    for _ in 0..7 {
        site.clock.advance(Span::from_hours(1));
        assert!(session_watcher(&site, &cookie, site.clock.now()).unwrap().is_some());
    }
    site.clock.advance(Span::from_hours(1));
    assert!(session_watcher(&site, &cookie, site.clock.now()).unwrap().is_none(), "8 hours without use");
    assert!(actor(&site, &cookie).is_none());
}

#[test]
fn the_oldest_session_ends_when_there_are_too_many() {
    let (site, _folder, first) = owned();
    for _ in 0..limits::SESSIONS_PER_USER_MAX {
        assert!(actor(&site, &first).is_some());
        site.clock.advance(Span::from_seconds(1));
        sign_in(&anonymous(&site, "10.0.0.1"), "ines", PASSWORD).unwrap();
    }
    assert!(actor(&site, &first).is_none());
}

#[test]
fn guessing_is_slowed_down_and_locks_out_nobody_else() {
    let (site, _folder, _) = owned();
    let bad = anonymous(&site, "10.9.9.9");
    for login in ["ines", "nobody"] {
        for _ in 0..5 {
            let error = sign_in(&bad, login, "wrong").unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthenticated);
            assert_eq!(error.message(), "the login name or the password is wrong");
        }
        let error = sign_in(&bad, login, PASSWORD).unwrap_err();
        assert_eq!(error.kind(), Kind::TooMany);
        assert!(error.message().contains("60 s"), "{error}");
    }
    assert!(sign_in(&anonymous(&site, "10.0.0.1"), "ines", PASSWORD).is_ok());
    site.clock.advance(Span::from_seconds(60));
    assert!(sign_in(&bad, "ines", PASSWORD).is_ok());
}

#[test]
fn failures_are_told_without_flooding() {
    let (site, _folder, _) = owned();
    let before = site.store.last_change();
    for _ in 0..100 {
        door::tell_failure(&anonymous(&site, "10.9.9.9"), "my secret password").unwrap();
    }
    let told = site.store.changes(before, 1_000).unwrap();
    assert_eq!(told.len(), 20);
    assert!(told.iter().all(|change| change.events[0].subject == "unknown"));
}

#[test]
fn login_names_are_unique_and_the_last_owner_stays() {
    let (site, _folder, cookie) = owned();
    let owner = actor(&site, &cookie).unwrap();
    let ctx = as_actor(&site, owner.clone());
    let Actor::Person { user: me, .. } = owner else { panic!("not a person") };
    let second = ops::create(&ctx, chosen("Omar", Role::Owner)).unwrap().user;
    assert_eq!(ops::create(&ctx, chosen("omar", Role::Viewer)).unwrap_err().kind(), Kind::Conflict);

    let demote = |id| UserChanged { id, name: None, role: Some(Role::Operator.into()) };
    ops::change(&ctx, demote(second.id)).unwrap();
    assert_eq!(ops::change(&ctx, demote(me)).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(ops::disable(&ctx, ById { id: me }).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(ops::users(&ctx, Nothing {}).unwrap().items.len(), 2);
}

#[test]
fn a_disabled_person_is_out_at_once() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let omar = ops::create(&ctx, chosen("omar", Role::Operator)).unwrap().user;
    let theirs = sign_in(&anonymous(&site, "10.0.0.2"), "omar", PASSWORD).unwrap();
    assert!(actor(&site, &theirs).is_some());
    ops::disable(&ctx, ById { id: omar.id }).unwrap();
    assert!(actor(&site, &theirs).is_none());
    assert!(sign_in(&anonymous(&site, "10.0.0.2"), "omar", PASSWORD).is_err());
    ops::enable(&ctx, ById { id: omar.id }).unwrap();
    assert!(actor(&site, &theirs).is_none(), "an ended session stays ended");
    assert!(sign_in(&anonymous(&site, "10.0.0.2"), "omar", PASSWORD).is_ok());
}

#[test]
fn anybody_may_change_their_own_password_and_nothing_else() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    ops::create(&ctx, chosen("omar", Role::Viewer)).unwrap();
    let here = sign_in(&anonymous(&site, "10.0.0.2"), "omar", PASSWORD).unwrap();
    let there = sign_in(&anonymous(&site, "10.0.0.3"), "omar", PASSWORD).unwrap();
    let omar = as_actor(&site, actor(&site, &here).unwrap());
    let change = |old: &str, new: &str| PasswordChanged {
        old: Secret::new(old.to_owned()),
        new: Secret::new(new.to_owned()),
    };
    assert!(ops::password(&omar, change("wrong", "another long password")).is_err());
    assert!(ops::password(&omar, change(PASSWORD, "short")).is_err());
    ops::password(&omar, change(PASSWORD, "another long password")).unwrap();
    assert!(actor(&site, &here).is_some() && actor(&site, &there).is_none());
    assert!(sign_in(&anonymous(&site, "10.0.0.2"), "omar", PASSWORD).is_err());
    assert_eq!(ops::users(&omar, Nothing {}).unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(ops::create(&omar, chosen("eve", Role::Viewer)).unwrap_err().kind(), Kind::Forbidden);
}

#[test]
fn links_work_once_and_not_for_long() {
    let (site, _folder, cookie) = owned();
    let visitor = anonymous(&site, "10.0.0.2");
    let token = |link: &str| link.split_once("token=").unwrap().1.to_owned();
    let link = token(&login_link(&site).unwrap());
    assert!(door::look_at_link(&visitor, &link).is_ok(), "looking uses nothing up");
    let session = use_link(&visitor, &link, "").unwrap();
    assert!(actor(&site, &session).is_some());
    assert_eq!(use_link(&visitor, &link, "").unwrap_err().kind(), Kind::NotFound);

    let link = token(&login_link(&site).unwrap());
    site.clock.advance(Span::from_minutes(10));
    assert!(use_link(&anonymous(&site, "10.0.0.2"), &link, "").is_err());

    assert!(actor(&site, &cookie).is_some());
    let cookie = sign_in(&anonymous(&site, "10.0.0.1"), "ines", PASSWORD).unwrap();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let made = ops::create(&ctx, UserChosen { password: None, ..chosen("omar", Role::Viewer) }).unwrap();
    let link = token(&made.link.unwrap());
    let visitor = anonymous(&site, "10.0.0.2");
    assert_eq!(use_link(&visitor, &link, "short").unwrap_err().kind(), Kind::Invalid);
    use_link(&visitor, &link, PASSWORD).unwrap();
    assert!(sign_in(&visitor, "omar", PASSWORD).is_ok());
}

#[test]
fn keys_open_until_they_end_and_never_give_more() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let chosen = |role: Role, days| KeyChosen {
        name: "ci".parse::<Name>().unwrap(),
        role: role.into(),
        scope: crate::kit::Scope::default(),
        only: Default::default(),
        networks: Vec::new(),
        days,
    };
    let made = keys::ops::create(&ctx, chosen(Role::Operator, Some(1))).unwrap();
    assert!(made.text.starts_with(&made.key.shown));
    let (_, key) = key_actor(&site, &made.text, "10.0.0.9").unwrap().unwrap();
    assert_eq!((key.rights().unwrap().roles().as_str(), key.label().as_str()), ("operator", "ci"));
    // The use is written down without waiting; an empty write waits for it.
    Ctx::system(&site, site.home, "test").require("identity.test").unwrap().write(|_| Ok(())).unwrap();
    let listed = keys::ops::list(&ctx, Nothing {}).unwrap().items;
    assert_eq!((listed[0].last_from.as_str(), listed[0].state), ("10.0.0.9", "active"));
    assert_eq!(label(&ctx.read().unwrap(), ctx.tenant, &key.text()).unwrap().unwrap(), "ci");

    // A key of an operator may not make keys; were it allowed to, it could not rise.
    assert!(keys::ops::create(&as_actor(&site, key), chosen(Role::Viewer, None)).is_err());

    site.clock.advance(Span::from_days(1));
    assert!(key_actor(&site, &made.text, "10.0.0.9").unwrap().is_none());
    let made = keys::ops::create(&ctx, chosen(Role::Viewer, None)).unwrap();
    assert!(key_actor(&site, &made.text, "10.0.0.9").unwrap().is_some());
    keys::ops::revoke(&ctx, ById { id: made.key.id }).unwrap();
    assert!(key_actor(&site, &made.text, "10.0.0.9").unwrap().is_none());
    assert!(keys::ops::revoke(&ctx, ById { id: made.key.id }).is_err());
    assert!(key_actor(&site, "mst_nonsense", "10.0.0.9").unwrap().is_none());
    assert!(keys::ops::create(&ctx, chosen(Role::Viewer, Some(0))).is_err());
}

#[test]
fn every_page_renders_and_none_shows_a_password() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    keys::ops::create(
        &ctx,
        KeyChosen {
            name: "ci".parse().unwrap(),
            role: Role::Viewer.into(),
            scope: crate::kit::Scope::default(),
            only: Default::default(),
            networks: Vec::new(),
            days: None,
        },
    )
    .unwrap();
    let mut pages = Pages::default();
    Identity.pages(&mut pages);
    let link = login_link(&site).unwrap();
    let ask = |path: &str, form: bool, ctx: &Ctx<'_>, fields: &[(&str, &str)]| {
        let page = pages.pages.iter().find(|page| page.path == path && page.form == form).unwrap();
        let map = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut request = PageRequest::default();
        if form {
            request.form = map
        } else {
            request.query = map
        }
        (page.run)(ctx, &request).unwrap()
    };
    let nobody = anonymous(&site, "10.0.0.5");
    let token = link.split_once("token=").unwrap().1;
    let html = |reply| match reply {
        Reply::Html(status, text) => (status, text),
        other => panic!("{other:?}"),
    };
    for (path, ctx, part) in [
        ("/login", &nobody, "Sign in"),
        ("/login/link", &nobody, "Inès Moreau"),
        ("/account", &ctx, "This one"),
        ("/people", &ctx, "ines"),
        ("/people/keys", &ctx, "Make a key"),
    ] {
        let (status, text) = html(ask(path, false, ctx, &[("token", token)]));
        assert!(status == 200 && text.contains(part) && !text.contains("style="), "{path}");
        assert_eq!(
            text.matches("<form").count(),
            text.matches("name=\"csrf\"").count()
                + text.matches("method=\"get\"").count()
                + text.matches("method=\"dialog\"").count(),
            "{path}"
        );
    }
    let secret = "a secret that is wrong";
    let (status, text) = html(ask("/login", true, &nobody, &[("login", "ines"), ("password", secret)]));
    assert!(status == 401 && text.contains("value=\"ines\"") && !text.contains(secret));
    let typed = [("old", secret), ("password", secret), ("again", "x")];
    let (status, text) = html(ask("/account/password", true, &ctx, &typed));
    assert!(status == 422 && text.contains("differ") && !text.contains(secret));
    let (status, text) =
        html(ask("/people", true, &ctx, &[("login", "ines"), ("name", "X"), ("role", "viewer")]));
    assert!(status == 409 && text.contains("is taken") && text.contains("value=\"X\""));
    let (_, text) =
        html(ask("/people/keys", true, &ctx, &[("name", "k"), ("role", "viewer"), ("days", "3")]));
    assert!(text.contains("mst_") && text.contains("not shown again"));
    let theme = ask("/theme", true, &ctx, &[("theme", "dark"), ("next", "//evil.example")]);
    assert!(matches!(theme, Reply::Redirect(to, cookies) if to == "/" && cookies[0].value == "dark"));

    let (empty, _folder) = self::site();
    let (status, text) = html(ask("/setup", false, &anonymous(&empty, "10.0.0.5"), &[("code", "ABCDE")]));
    assert!(status == 200 && text.contains("ABCDE"));
}
