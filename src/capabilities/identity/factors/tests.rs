//! Whole moves with factors: adding, the second step, what is used twice, and what a restore must not bring back.

use serde_json::{Value, json};

use super::store::{CODES, PASSKEYS, TOTPS};
use super::*;
use crate::base::{Error, Kind, Result, SessionId, Span, UserId, kind};
use crate::capabilities::identity::door::pages::second as second_page;
use crate::capabilities::identity::tests::{PASSWORD, actor, anonymous, as_actor, chosen, owned, sign_in};
use crate::capabilities::identity::{Identity, door, ops as people, own, sessions};
use crate::engine::crypto::passkey_tests::Authenticator;
use crate::engine::crypto::{Ceremony, TotpSecret, totp_step};
use crate::kit::{
    Actor, ById, Capability, Ctx, Nothing, PageRequest, Pages, Reply, Request, Role, Site, recovery_sample,
};

const HOST: &str = "muster.test:8443";

fn named<'a>(ctx: Ctx<'a>) -> Ctx<'a> {
    let request = Request { host: HOST.into(), ..ctx.request.clone() };
    Ctx { request, ..ctx }
}

fn me(ctx: &Ctx<'_>) -> UserId {
    own(ctx).unwrap().0
}

/// The secret of a page that shows it as text.
fn secret(typed: &str) -> TotpSecret {
    let key: String = typed.chars().filter(|c| *c != ' ').collect();
    TotpSecret::of(crate::base::Secret::new(data_encoding::BASE32_NOPAD.decode(key.as_bytes()).unwrap()))
}

fn code(ctx: &Ctx<'_>, secret: &TotpSecret, steps: i64) -> String {
    secret.code(totp_step(ctx.site.clock.now()).saturating_add_signed(steps))
}

/// Adds an app, whose clock is so many steps ahead.
fn add_app(ctx: &Ctx<'_>, steps: i64) -> (TotpSecret, Option<String>) {
    let (id, _, raised) = own(ctx).unwrap();
    let pending = begin_totp(ctx, id, "ines", None).unwrap();
    let secret = secret(&pending.typed);
    let typed = code(ctx, &secret, steps);
    let added = raised
        .require("identity.totp_add")
        .unwrap()
        .write(|change| confirm_totp(ctx, change, id, &pending.sealed, &typed))
        .unwrap();
    (secret, added)
}

fn half(ctx: &Ctx<'_>) -> String {
    match door::sign_in(ctx, "ines", PASSWORD, "/agents").unwrap() {
        door::Entered::Half(attempt) => attempt,
        door::Entered::In(_) => panic!("signed in by the password alone"),
    }
}

/// Asks a page as a browser does.
fn ask(ctx: &Ctx<'_>, path: &str, form: Option<&[(&str, &str)]>) -> Result<Reply> {
    let mut pages = Pages::default();
    Identity.pages(&mut pages);
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    let page = pages.pages.iter().find(|page| page.path == bare && page.form == form.is_some()).unwrap();
    let map = |fields: &[(&str, &str)]| {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let query: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap();
    let request = PageRequest {
        form: map(form.unwrap_or_default()),
        query: query.into_iter().collect(),
        ..PageRequest::default()
    };
    (page.run)(ctx, &request)
}

fn html(reply: Result<Reply>) -> (u16, String) {
    match reply.unwrap() {
        Reply::Html(status, text) => (status, text),
        other => panic!("{other:?}"),
    }
}

fn cookie_of(reply: Result<Reply>) -> (String, String) {
    match reply.unwrap() {
        Reply::Redirect(to, cookies) => (to, cookies[0].value.clone()),
        other => panic!("{other:?}"),
    }
}

fn second(ctx: &Ctx<'_>, attempt: &str, fields: &[(&str, &str)]) -> Result<Reply> {
    let mut all = vec![("attempt", attempt)];
    all.extend_from_slice(fields);
    ask(ctx, "/login/second", Some(&all))
}

fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64URL_NOPAD.encode(bytes)
}

/// What our script sends of a new passkey, for the options that it was given.
fn made(options: &Value, authenticator: &Authenticator) -> String {
    let challenge =
        data_encoding::BASE64URL_NOPAD.decode(options["challenge"].as_str().unwrap().as_bytes()).unwrap();
    let origin = format!("https://{HOST}");
    let ceremony =
        Ceremony { challenge: &challenge, origin: &origin, relying_party: "muster.test", verified: true };
    let (client, attestation) = authenticator.make(&ceremony);
    json!({
        "id": base64(&authenticator.credential), "clientData": base64(&client), "attestation": base64(&attestation),
    })
    .to_string()
}

/// What it sends of a passkey that is shown under this origin.
fn shown_under(
    options: &Value,
    authenticator: &mut Authenticator,
    user: UserId,
    origin: &str,
    host: &str,
) -> String {
    let challenge =
        data_encoding::BASE64URL_NOPAD.decode(options["challenge"].as_str().unwrap().as_bytes()).unwrap();
    let ceremony = Ceremony { challenge: &challenge, origin, relying_party: host, verified: true };
    let answer = authenticator.answer(&ceremony);
    json!({
        "id": base64(&authenticator.credential), "clientData": base64(&answer.client),
        "authenticatorData": base64(&answer.data), "signature": base64(&answer.signature),
        "userHandle": base64(&user.bits().to_be_bytes()),
    })
    .to_string()
}

fn shown(options: &Value, authenticator: &mut Authenticator, user: UserId) -> String {
    shown_under(options, authenticator, user, &format!("https://{HOST}"), "muster.test")
}

fn options(reply: Result<Reply>) -> Value {
    match reply.unwrap() {
        Reply::Json(200, value) => value,
        other => panic!("{other:?}"),
    }
}

fn add_passkey_of(ctx: &Ctx<'_>, authenticator: &Authenticator) {
    let options = options(ask(ctx, "/account/factors/passkey", None));
    let answer = made(&options, authenticator);
    let reply = ask(ctx, "/account/factors/passkeys", Some(&[("name", "Laptop"), ("credential", &answer)]));
    assert!(matches!(reply.unwrap(), Reply::Redirect(..)));
}

fn events(site: &Site, name: &str) -> usize {
    let changes = site.store.changes(0, 10_000).unwrap();
    changes.iter().flat_map(|change| &change.events).filter(|event| event.name == name).count()
}

#[test]
fn an_app_is_a_second_step_and_no_code_counts_twice() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let (secret, note) = add_app(&ctx, 0);
    assert_eq!(note, None);
    let visitor = anonymous(&site, "10.0.0.2");
    let attempt = half(&visitor);
    assert!(actor(&site, &attempt).is_none(), "half in is not in");
    // The code that added it is used up.
    let (status, text) = html(second(&visitor, &attempt, &[("code", &code(&ctx, &secret, 0))]));
    assert!(status == 401 && text.contains("used already"), "{text}");
    site.clock.advance(Span::from_seconds(30));
    let typed = code(&ctx, &secret, 0);
    let (to, entered) = cookie_of(second(&anonymous(&site, "10.0.0.2"), &attempt, &[("code", &typed)]));
    assert_eq!(to, "/agents");
    assert_ne!(entered, cookie);
    assert!(actor(&site, &entered).is_some());
    // The attempt is over with it, and the code is dead in another one.
    assert_eq!(html(second(&visitor, &attempt, &[("code", &typed)])).0, 401);
    let (status, text) = html(second(&visitor, &half(&visitor), &[("code", &typed)]));
    assert!(status == 401 && text.contains("used already"));
    let session = sessions::living(&ctx, me(&ctx), None).unwrap().remove(0);
    assert_eq!(session.means, [Means::Password, Means::Totp]);
}

#[test]
fn the_phones_clock_is_learned_as_it_drifts_and_told() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let (secret, note) = add_app(&ctx, 6);
    let note = note.unwrap();
    assert!(
        note.contains("3 min ahead of this server's") && note.contains("this server's clock says"),
        "{note}"
    );
    let mut offset = 6;
    for _ in 0..8 {
        // It drifts by a step more each time.
        site.clock.advance(Span::from_hours(1));
        offset += 1;
        let visitor = anonymous(&site, "10.0.0.2");
        let (to, _) =
            cookie_of(second(&visitor, &half(&visitor), &[("code", &code(&visitor, &secret, offset))]));
        assert!(to.contains("flash=ok"), "{to}");
    }
    // What jumps is refused, and the person learns which clock is off and by how much.
    site.clock.advance(Span::from_hours(1));
    let visitor = anonymous(&site, "10.0.0.2");
    let attempt = half(&visitor);
    let (_, text) = html(second(&visitor, &attempt, &[("code", &code(&visitor, &secret, -4))]));
    assert!(
        text.contains("2 min behind this server&#39;s") || text.contains("2 min behind this server's"),
        "{text}"
    );
    let (_, text) = html(second(&visitor, &attempt, &[("code", "123456")]));
    assert!(text.contains("the code is wrong") && text.contains("clock says"), "{text}");
    // Two codes in a row teach where it is now: also when it was the server's clock that was set.
    site.clock.advance(Span::from_seconds(30));
    let visitor = anonymous(&site, "10.0.0.2");
    let (to, _) = cookie_of(second(&visitor, &attempt, &[("code", &code(&visitor, &secret, -4))]));
    assert!(to.contains("2+min+behind"), "{to}");
    let offset = -4;
    // After a month nothing is known of it any more.
    site.clock.advance(Span::from_days(31));
    let visitor = anonymous(&site, "10.0.0.2");
    assert!(second(&visitor, &half(&visitor), &[("code", &code(&visitor, &secret, offset + 9))]).is_ok());
}

#[test]
fn guessing_codes_is_slow_and_holds_up_nobody_else() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let (secret, _) = add_app(&ctx, 0);
    site.clock.advance(Span::from_seconds(30));
    let bad = anonymous(&site, "10.9.9.9");
    let attempt = half(&bad);
    for _ in 0..CODE_TRIES {
        assert_eq!(html(second(&bad, &attempt, &[("code", "000000")])).0, 401);
    }
    // The attempt is over, and a right password gives no fresh tries.
    let (status, text) = html(second(&bad, &half(&bad), &[("code", &code(&ctx, &secret, 0))]));
    assert!(status == 429 && text.contains("too many failed tries"), "{status} {text}");
    let good = anonymous(&site, "10.0.0.1");
    let attempt = half(&good);
    assert!(
        actor(&site, &cookie_of(second(&good, &attempt, &[("code", &code(&ctx, &secret, 0))])).1).is_some()
    );
    // From many addresses: the account's own count ends it, for codes alone.
    let mut refused = 0;
    for n in 0..40 {
        let bad = anonymous(&site, &format!("10.8.{n}.1"));
        let attempt = half(&bad);
        for _ in 0..4 {
            let status = html(second(&bad, &attempt, &[("code", "000000")])).0;
            refused += u32::from(status == 429);
        }
    }
    assert!((50..=70).contains(&refused), "{refused}");
    assert_eq!(events(&site, "identity.sign_in_failed"), 20, "failures are told without flooding");
}

#[test]
fn recovery_codes_work_once_each_and_are_replaced_together() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    assert_eq!(ops::make_codes(&ctx, Nothing {}).unwrap_err().kind(), Kind::Conflict);
    add_app(&ctx, 0);
    let old = ops::make_codes(&ctx, Nothing {}).unwrap().codes;
    let codes = ops::make_codes(&ctx, Nothing {}).unwrap().codes;
    assert_eq!((codes.len(), codes[0].len()), (10, 19));
    let stored = ctx.read().unwrap().get(&CODES, &(ctx.tenant, me(&ctx))).unwrap().unwrap();
    assert!(!format!("{stored:?}").contains(&codes[0]));
    let visitor = anonymous(&site, "10.0.0.2");
    let copied = codes[3].to_lowercase().replace('-', " ");
    let (to, _) = cookie_of(second(&visitor, &half(&visitor), &[("recovery", &copied)]));
    assert!(to.contains("9+recovery+codes"), "{to}");
    let attempt = half(&visitor);
    for wrong in [copied.as_str(), &old[0], ""] {
        let fields = [("recovery", wrong), ("code", "x")];
        assert_eq!(html(second(&visitor, &attempt, &fields)).0, 401, "{wrong}");
    }
    assert_eq!(ops::mine(&ctx, Nothing {}).unwrap().codes_left, 9);
    // Without a factor they are none.
    let (_, _, raised) = own(&ctx).unwrap();
    drop(raised);
    ops::remove_totp(&ctx, Nothing {}).unwrap();
    assert_eq!(ops::mine(&ctx, Nothing {}).unwrap().codes_left, 0);
    assert!(sign_in(&anonymous(&site, "10.0.0.3"), "ines", PASSWORD).is_ok());
}

#[test]
fn a_passkey_alone_signs_in_without_a_name() {
    let (site, _folder, cookie) = owned();
    let ctx = named(as_actor(&site, actor(&site, &cookie).unwrap()));
    let user = me(&ctx);
    let mut key = Authenticator::p256(1);
    add_passkey_of(&ctx, &key);
    let visitor = named(anonymous(&site, "10.0.0.2"));
    let asked = options(ask(&visitor, "/login/passkey", None));
    assert_eq!((&asked["rpId"], &asked["userVerification"]), (&json!("muster.test"), &json!("required")));
    assert_eq!(asked["allowCredentials"], json!([]), "nobody is named");
    let answer = shown(&asked, &mut key, user);
    let enter =
        |answer: &str| ask(&visitor, "/login/passkey", Some(&[("credential", answer), ("next", "/agents")]));
    let (to, entered) = cookie_of(enter(&answer));
    assert_eq!(to, "/agents");
    assert!(actor(&site, &entered).is_some());
    let session = sessions::living(&ctx, user, None).unwrap().remove(0);
    assert_eq!(session.means, [Means::Passkey]);
    // The same answer again, and a new one to the old challenge.
    assert_eq!(html(enter(&answer)).0, 401);
    let again = shown(&asked, &mut key, user);
    let (status, text) = html(enter(&again));
    assert!(status == 401 && text.contains("challenge is over"), "{text}");
    let fresh = || options(ask(&visitor, "/login/passkey", None));
    for (origin, host) in [
        ("https://evil.test:8443", "muster.test"),
        ("https://muster.test", "muster.test"),
        ("http://muster.test:8443", "muster.test"),
        ("https://muster.test:8443", "evil.test"),
    ] {
        let answer = shown_under(&fresh(), &mut key, user, origin, host);
        let (status, text) = html(enter(&answer));
        assert!(status == 401 && text.contains("another site"), "{origin} {host}");
    }
    // Made-up challenges are none of ours.
    let answer = shown(&json!({ "challenge": base64(&[7; 56]) }), &mut key, user);
    assert!(html(enter(&answer)).1.contains("challenge is over"));
    // Without a PIN or finger it does not stand alone.
    key.flags = 1;
    let (status, text) = html(enter(&shown(&fresh(), &mut key, user)));
    assert!(status == 401 && text.contains("has not asked who was there"), "{text}");
    key.flags = 5;
    // A copy counts from where it was made.
    key.counter = 1;
    let (status, text) = html(enter(&shown(&fresh(), &mut key, user)));
    assert!(status == 401 && text.contains("counted back"), "{text}");
    assert_eq!(events(&site, "identity.passkey_counted_back"), 1);
    key.counter = 100;
    // The answer names whose it is, and it is nobody else's.
    let (status, text) = html(enter(&shown(&fresh(), &mut key, UserId::from_bits(9))));
    assert!(status == 401 && text.contains("not known here"));
    let mut unknown = Authenticator::p256(9);
    let (status, unknown_text) = html(enter(&shown(&fresh(), &mut unknown, user)));
    assert!(status == 401 && unknown_text.contains("not known here"));
    // Who is disabled is told the same.
    people::create(&ctx, chosen("omar", Role::Owner)).unwrap();
    let omar = sign_in(&anonymous(&site, "10.0.0.3"), "omar", PASSWORD).unwrap();
    people::disable(&as_actor(&site, actor(&site, &omar).unwrap()), ById { id: user }).unwrap();
    let (status, text) = html(enter(&shown(&fresh(), &mut key, user)));
    assert!(status == 401 && text.contains("not known here"));
}

#[test]
fn a_passkey_is_a_second_step_bound_to_its_attempt() {
    let (site, _folder, cookie) = owned();
    let ctx = named(as_actor(&site, actor(&site, &cookie).unwrap()));
    let user = me(&ctx);
    let mut key = Authenticator::ed25519(1);
    add_passkey_of(&ctx, &key);
    let visitor = named(anonymous(&site, "10.0.0.2"));
    let asked = |attempt: &str| {
        let found = door::attempt_of(&visitor, attempt).unwrap();
        request(&visitor, Some(user), Asks::Attempt(found)).unwrap()
    };
    let (one, other) = (half(&visitor), half(&visitor));
    key.flags = 1;
    let answer = shown(&asked(&one), &mut key, user);
    assert_eq!(html(second(&visitor, &other, &[("credential", &answer)])).0, 401, "of another attempt");
    let (_, entered) = cookie_of(second(&visitor, &one, &[("credential", &answer)]));
    assert!(actor(&site, &entered).is_some(), "after the password no PIN is needed");
    // Under an address nothing is asked of passkeys, in words.
    let by_address = anonymous(&site, "10.0.0.2");
    let by_address =
        Ctx { request: Request { host: "10.0.0.5:8443".into(), ..by_address.request.clone() }, ..by_address };
    let Reply::Json(422, value) = ask(&by_address, "/login/passkey", None).unwrap() else { panic!() };
    let text = value["error"].as_str().unwrap();
    assert!(
        text.contains("by a host name, not by an address") && text.contains("https://muster.test:"),
        "{text}"
    );
    let request = Request { host: "muster.test:9443".into(), ..by_address.request.clone() };
    assert!(under_a_name(&Ctx { request, ..by_address.clone() }).is_ok(), "the port is the browser's matter");
    for host in ["[::1]:8443", "evil.test:8443", "", "muster.test.evil.test"] {
        let request = Request { host: host.into(), ..by_address.request.clone() };
        assert!(under_a_name(&Ctx { request, ..by_address.clone() }).is_err(), "{host}");
    }
}

#[test]
fn passkeys_have_names_and_a_bound_and_are_nobody_elses() {
    let (site, _folder, cookie) = owned();
    let ctx = named(as_actor(&site, actor(&site, &cookie).unwrap()));
    for n in 0..model::PASSKEYS_MAX {
        add_passkey_of(&ctx, &Authenticator::p256(n as u8 + 1));
    }
    let options = options(ask(&ctx, "/account/factors/passkey", None));
    assert_eq!(options["excludeCredentials"].as_array().unwrap().len(), model::PASSKEYS_MAX);
    assert_eq!(options["attestation"], "none");
    let add = |n: u8| {
        let answer = made(&options, &Authenticator::p256(n));
        html(ask(&ctx, "/account/factors/passkeys", Some(&[("credential", &answer)])))
    };
    assert_eq!(add(200).0, 429);
    let view = ops::mine(&ctx, Nothing {}).unwrap();
    assert_eq!(view.passkeys[0].name.as_str(), "Laptop");
    ops::remove_passkey(&ctx, ById { id: view.passkeys[0].id }).unwrap();
    assert_eq!(
        ops::remove_passkey(&ctx, ById { id: view.passkeys[0].id }).unwrap_err().kind(),
        Kind::NotFound
    );
    let (status, text) = add(2);
    assert!(status == 409 && text.contains("here already"), "{status}");
    let omar = people::create(&ctx, chosen("omar", Role::Viewer)).unwrap().user;
    let cookie = sign_in(&anonymous(&site, "10.0.0.3"), "omar", PASSWORD).unwrap();
    let theirs = named(as_actor(&site, actor(&site, &cookie).unwrap()));
    let error = ops::remove_passkey(&theirs, ById { id: view.passkeys[1].id }).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(ops::theirs(&theirs, ById { id: omar.id }).unwrap_err().kind(), Kind::Forbidden);
    let (_, text) = html(ask(&ctx, "/account/factors", None));
    assert!(text.contains("Laptop") && text.contains("muster.test") && !text.contains("style="));
}

mod arrived;
mod rules;

#[test]
fn a_passkey_is_renamed_by_its_owner_and_nobody_else() {
    let (site, _folder, cookie) = owned();
    let ctx = named(as_actor(&site, actor(&site, &cookie).unwrap()));
    add_passkey_of(&ctx, &Authenticator::p256(1));
    let there = ops::mine(&ctx, Nothing {}).unwrap().passkeys.remove(0);
    let rename = |ctx: &Ctx<'_>, name: &str| {
        ops::rename_passkey(ctx, PasskeyRenamed { id: there.id, name: name.parse().unwrap() })
    };
    let renamed = rename(&ctx, "Work laptop").unwrap().passkeys.remove(0);
    assert_eq!((renamed.name.as_str(), renamed.id, renamed.added), ("Work laptop", there.id, there.added));
    rename(&ctx, "Work laptop").unwrap();
    assert_eq!(events(&site, "identity.passkey_renamed"), 1, "nothing is told of a name that stays");
    people::create(&ctx, chosen("omar", Role::Owner)).unwrap();
    let omar = sign_in(&anonymous(&site, "10.0.0.3"), "omar", PASSWORD).unwrap();
    let omar = as_actor(&site, actor(&site, &omar).unwrap());
    assert_eq!(rename(&omar, "Mine").unwrap_err().kind(), Kind::NotFound);

    let mut pages = Pages::default();
    Identity.pages(&mut pages);
    let page = pages.pages.iter().find(|page| page.path.ends_with("/passkeys/{id}/rename")).unwrap();
    let post = |name: &str| {
        let request = PageRequest {
            params: [("id".to_owned(), there.id.to_string())].into(),
            form: [("name".to_owned(), name.to_owned())].into(),
            ..PageRequest::default()
        };
        (page.run)(&ctx, &request)
    };
    assert!(matches!(post("Desk").unwrap(), Reply::Redirect(..)));
    let (status, text) = html(post(" "));
    assert!(status == 422 && text.contains("Desk") && text.contains("role=\"alert\""), "{text}");
}
