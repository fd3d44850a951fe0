//! Keys over a site in a temporary folder: narrowing, networks, rotation, short-lived tokens.

use serde_json::Value;
use tempfile::TempDir;

use super::ops::{self, KeyChanged, KeyChosen, KeyRotated};
use super::*;
use crate::base::{KeyId, Kind, Span};
use crate::capabilities::identity::tests::owned;
use crate::capabilities::identity::{session_actor, store};
use crate::engine::crypto::verify_jwt;
use crate::kit::{ById, Nothing, OauthClient, Request, Role};

struct Rig {
    site: Site,
    cookie: String,
    _folder: TempDir,
}

impl Rig {
    fn new() -> Rig {
        let (site, folder, cookie) = owned();
        Rig { site, cookie, _folder: folder }
    }

    fn ctx(&self) -> Ctx<'_> {
        let (_, owner) = session_actor(&self.site, &self.cookie, self.site.clock.now()).unwrap().unwrap();
        Ctx::new(
            &self.site,
            self.site.home,
            owner,
            Request { id: "r".into(), from: "10.0.0.1".into(), ..Request::default() },
        )
    }

    fn make(&self, role: Role, only: &str, networks: &[&str]) -> (KeyId, String) {
        let made = ops::create(&self.ctx(), chosen(role, only, networks)).unwrap();
        (made.key.id, made.text)
    }

    fn actor(&self, bearer: &str, from: &str) -> Result<Option<Actor>> {
        Ok(key_actor(&self.site, bearer, from)?.map(|(_, actor)| actor))
    }

    fn works(&self, bearer: &str) -> bool {
        matches!(self.actor(bearer, "10.0.0.9"), Ok(Some(_)))
    }

    fn token(&self, id: KeyId, text: &str, scope: &str) -> Result<String> {
        let answer = exchange(&self.site, &id.to_string(), text, scope, "10.0.0.9")?;
        assert_eq!((&answer["token_type"], &answer["expires_in"]), (&"Bearer".into(), &600.into()));
        Ok(answer["access_token"].as_str().unwrap().to_owned())
    }
}

fn client(id: &str, secret: Option<&str>, from: &str) -> OauthClient {
    OauthClient { id: id.to_owned(), secret: secret.map(str::to_owned), from: from.to_owned() }
}

fn exchange(site: &Site, id: &str, text: &str, scope: &str, from: &str) -> Result<Value> {
    issue(site, &client(id, Some(text), from), None, scope)
}

fn chosen(role: Role, only: &str, networks: &[&str]) -> KeyChosen {
    KeyChosen {
        name: "ci".parse().unwrap(),
        role: role.into(),
        scope: crate::kit::Scope::default(),
        only: only.parse().unwrap(),
        networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        days: None,
    }
}

#[test]
fn a_key_gives_its_roles_narrowed_and_never_more() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "agents.*, *.read, identity.create", &[]);
    let may = |permission: &str| rig.actor(&text, "10.0.0.9").unwrap().unwrap().may(permission);
    for (permission, expected) in [
        ("agents.read", true),
        ("agents.retire", true),
        ("tasks.read", true),
        ("tasks.create", false),
        ("identity.create", false),
    ] {
        assert_eq!(may(permission), expected, "{permission}");
    }
    let change = |only: &str| {
        let input = KeyChanged { id, name: None, only: Some(only.parse().unwrap()), networks: None };
        ops::change(&rig.ctx(), input)
    };
    change("tasks.*").unwrap();
    assert!(may("tasks.create") && !may("agents.read"), "it counts with the next request");
    change("").unwrap();
    assert!(may("tasks.create") && may("agents.retire"));
    let error = change("identity.create").unwrap_err();
    assert!(error.message().contains("includes none"), "{error}");
    let many = "agents.read,".repeat(41);
    assert!(change(&many).unwrap_err().message().contains("too many"));
    let error = ops::create(&rig.ctx(), chosen(Role::Viewer, "tasks.create", &[])).unwrap_err();
    assert!(error.message().contains("includes none"), "{error}");
}

#[test]
fn a_key_is_good_in_its_networks_only() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Viewer, "", &["10.0.0.0/8", "fd00::/8"]);
    for (from, expected) in [
        ("10.0.0.9", true),
        ("::ffff:10.0.0.9", true),
        ("fd00::9", true),
        ("192.0.2.1", false),
        ("::1", false),
        ("", false),
        ("command line", false),
    ] {
        let found = rig.actor(&text, from);
        assert_eq!(matches!(found, Ok(Some(_))), expected, "{from}");
        if !expected {
            let error = found.unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthenticated);
            assert!(error.message().contains("may not be used from"), "{error}");
        }
    }
    let token = rig.token(id, &text, "").unwrap();
    assert!(rig.actor(&token, "10.0.0.9").is_ok() && rig.actor(&token, "192.0.2.1").is_err());
    assert!(exchange(&rig.site, &id.to_string(), &text, "", "192.0.2.1").is_err());
    let networks = Some(vec!["192.0.2.0/24".parse().unwrap()]);
    ops::change(&rig.ctx(), KeyChanged { id, name: None, only: None, networks }).unwrap();
    assert!(rig.actor(&token, "10.0.0.9").is_err() && rig.actor(&token, "192.0.2.1").is_ok());
}

#[test]
fn a_new_text_works_beside_the_old_one_for_a_while() {
    let rig = Rig::new();
    let (id, first) = rig.make(Role::Viewer, "", &[]);
    let rotate = |hours| ops::rotate(&rig.ctx(), KeyRotated { id, hours });
    let second = rotate(Some(2)).unwrap().text;
    assert!(first != second && rig.works(&first) && rig.works(&second));
    Ctx::system(&rig.site, rig.site.home, "test")
        .require("identity.test")
        .unwrap()
        .write(|_| Ok(()))
        .unwrap();
    let view = ops::find(&rig.ctx(), ById { id }).unwrap();
    assert!(view.old.as_ref().unwrap().last_used.is_some() && second.starts_with(&view.shown));
    let error = rotate(None).unwrap_err();
    assert!(error.kind() == Kind::Conflict && error.message().contains("two texts already"), "{error}");
    rig.site.clock.advance(Span::from_hours(2));
    assert!(!rig.works(&first) && rig.works(&second), "its time is over");
    sweep(&Ctx::system(&rig.site, rig.site.home, "job")).unwrap();
    assert_eq!(rig.site.store.read().unwrap().prefix(&KEYS_BY_DIGEST, &rig.site.home, 9).unwrap().len(), 1);

    let third = rotate(None).unwrap().text;
    let token = rig.token(id, &second, "").unwrap();
    assert!(rig.works(&token));
    ops::settle(&rig.ctx(), ById { id }).unwrap();
    assert!(!rig.works(&second) && !rig.works(&token) && rig.works(&third));
    assert_eq!(ops::settle(&rig.ctx(), ById { id }).unwrap_err().kind(), Kind::Conflict);
    let token = rig.token(id, &third, "").unwrap();
    let fourth = rotate(Some(0)).unwrap().text;
    assert!(!rig.works(&third) && !rig.works(&token) && rig.works(&fourth), "at once, and its tokens too");
    assert!(rotate(Some(721)).is_err());

    let fifth = rotate(Some(24)).unwrap().text;
    ops::revoke(&rig.ctx(), ById { id }).unwrap();
    assert!(!rig.works(&fourth) && !rig.works(&fifth), "both texts end with the key");
    assert_eq!(rotate(None).unwrap_err().kind(), Kind::Conflict);
    let mut findings = crate::kit::Findings::default();
    crate::capabilities::identity::recovery::check(&rig.ctx(), &mut findings).unwrap();
    assert_eq!(findings.count, 0);
}

#[test]
fn who_gets_a_text_could_have_given_all_of_it() {
    let rig = Rig::new();
    let (id, _) = rig.make(Role::Owner, "", &[]);
    // Somebody who may do everything with keys, but is no owner.
    let (_, text) = rig.make(Role::Administrator, "", &[]);
    let actor = rig.actor(&text, "10.0.0.9").unwrap().unwrap();
    let ctx = Ctx::new(&rig.site, rig.site.home, actor, Request::default());
    let forbidden = |error: Error| assert_eq!(error.kind(), Kind::Forbidden, "{error}");
    forbidden(ops::rotate(&ctx, KeyRotated { id, hours: None }).unwrap_err());
    forbidden(
        ops::change(&ctx, KeyChanged { id, name: None, only: None, networks: Some(vec![]) }).unwrap_err(),
    );
    forbidden(ops::create(&ctx, chosen(Role::Owner, "agents.read", &[])).unwrap_err());
    // To end it takes no more than the permission.
    assert!(ops::revoke(&ctx, ById { id }).is_ok());
}

#[test]
fn a_text_is_exchanged_for_a_token_that_ends() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Operator, "agents.*, tasks.*", &[]);
    let (other, _) = rig.make(Role::Viewer, "", &[]);
    for (id, text) in [
        (other.to_string(), text.clone()),
        (String::new(), text.clone()),
        (id.to_string(), String::new()),
        (id.to_string(), format!("{text}x")),
    ] {
        let error = exchange(&rig.site, &id, &text, "", "10.0.0.9").unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::Unauthenticated, "no API key has this identifier and text")
        );
    }
    let token = rig.token(id, &text, "agents.read tasks.create backups.read").unwrap();
    let actor = rig.actor(&token, "10.0.0.9").unwrap().unwrap();
    assert_eq!((actor.text(), actor.label()), (id.to_string(), "ci".to_owned()));
    for (permission, expected) in
        [("agents.read", true), ("tasks.create", true), ("agents.retire", false), ("backups.read", false)]
    {
        assert_eq!(actor.may(permission), expected, "{permission}");
    }
    for scope in ["backups.read", "Agents", "-agents.read"] {
        let error = rig.token(id, &text, scope).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{scope}: {error}");
    }
    // A token is no key: it gives no further token, and ends by itself.
    assert!(exchange(&rig.site, &id.to_string(), &token, "", "10.0.0.9").is_err());
    rig.site.clock.advance(Span::from_seconds(599));
    assert!(rig.works(&token));
    rig.site.clock.advance(Span::from_seconds(1));
    assert!(!rig.works(&token) && rig.works(&text));
    let token = rig.token(id, &text, "").unwrap();
    ops::revoke(&rig.ctx(), ById { id }).unwrap();
    assert!(!rig.works(&token), "a revoked key ends its tokens at once");
}

#[test]
fn who_signs_changes_and_what_was_signed_stays_good() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Viewer, "", &[]);
    let kids = || -> Vec<String> {
        let keys = jwks(&rig.site).unwrap();
        assert!(!keys.to_string().contains("\"d\""), "no private half");
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let first = kids();
    assert_eq!((first.len(), kids()), (1, first.clone()));
    let old = rig.token(id, &text, "").unwrap();
    // Anybody verifies it by the public keys alone.
    let public = jwks(&rig.site).unwrap()["keys"][0].clone();
    let claims = verify_jwt(&old, |kid| Ok((public["kid"] == kid).then(|| public.clone()))).unwrap();
    assert_eq!(
        (claims["sub"].as_str(), claims["scope"].as_str()),
        (Some(id.to_string().as_str()), Some("*"))
    );
    assert_eq!(claims["iss"], Value::from(rig.site.settings.console()));

    tokens::rotate(&rig.ctx(), Nothing {}).unwrap();
    assert_eq!(kids().len(), 2);
    let new = rig.token(id, &text, "").unwrap();
    assert!(rig.works(&old) && rig.works(&new));
    rig.site.clock.advance(Span::from_minutes(11));
    assert_eq!(kids().len(), 1);
    assert_ne!(kids(), first);
    assert!(!rig.works(&old));
    rig.site.clock.advance(Span::from_days(30));
    let before = kids();
    sweep(&Ctx::system(&rig.site, rig.site.home, "job")).unwrap();
    assert_eq!(kids().len(), 2, "who has signed for long is followed");
    rig.site.clock.advance(Span::from_minutes(11));
    assert_ne!(kids(), before);
    let rows = rig.site.store.read().unwrap().prefix(&store::SIGNERS, &rig.site.home, 99).unwrap();
    let signing = rows.iter().filter(|(_, row)| row.sealed.is_some()).count();
    assert_eq!(signing, 1, "whoever signs no more has no seed left");
    let rotate = || tokens::rotate(&Ctx::system(&rig.site, rig.site.home, "test"), Nothing {});
    let error = (0..100).find_map(|_| rotate().err()).expect("too often");
    assert_eq!(error.kind(), Kind::TooMany);
    assert!(kids().len() <= 20 && rig.token(id, &text, "").is_ok());
    rig.site.clock.advance(Span::from_minutes(11));
    rotate().unwrap();
}

mod families;
mod forged;
mod own;

#[test]
fn the_guide_says_how_long_a_token_lasts() {
    assert_eq!(tokens::TOKEN_LIFETIME, Span::from_minutes(10));
    assert!(crate::kit::guide::proof::says("integration", "a token that works for ten minutes"));
}
