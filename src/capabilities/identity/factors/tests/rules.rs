//! The rules, fresh proofs, what answers tell, the way back in, and a restore.

use super::*;

fn changed(roles: Option<Vec<String>>, idle: Option<u64>, absolute: Option<u64>) -> PolicyChanged {
    PolicyChanged { second_factor_for: roles, idle_minutes: idle, absolute_minutes: absolute }
}

fn rule(ctx: &Ctx<'_>, roles: &[&str]) -> Result<Policy> {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    policy::change(ctx, changed(Some(roles), None, None))
}

#[test]
fn whom_the_rules_ask_adds_a_factor_before_anything_else() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    assert_eq!(rule(&ctx, &["owner"]).unwrap_err().kind(), Kind::Conflict, "nobody shuts themselves out");
    people::create(&ctx, chosen("omar", Role::Operator)).unwrap();
    let before = sign_in(&anonymous(&site, "10.0.0.3"), "omar", PASSWORD).unwrap();
    assert!(actor(&site, &before).is_some());
    rule(&ctx, &["operator"]).unwrap();
    assert!(actor(&site, &before).is_none(), "a session without a second factor ends with the next request");
    let visitor = named(anonymous(&site, "10.0.0.3"));
    let door::Entered::Half(attempt) = door::sign_in(&visitor, "omar", PASSWORD, "/tasks").unwrap() else {
        panic!("signed in without a factor")
    };
    let (_, text) = html(second_page::shown_for_tests(&visitor, &attempt));
    assert!(text.contains("Your role needs one") && text.contains("<svg class=\"qr\""), "{text}");
    let field = |name: &str| {
        let at = text.find(&format!("name=\"{name}\" value=\"")).unwrap() + name.len() + 15;
        text[at..].split('"').next().unwrap().to_owned()
    };
    let sealed = field("sealed");
    let typed = text.split("id=\"key\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let (status, again) = html(ask(
        &visitor,
        "/login/enrol",
        Some(&[("attempt", &attempt), ("sealed", &sealed), ("code", "000000")]),
    ));
    assert!(status == 401 && again.contains(&typed), "the key stays the same after a slip");
    assert_eq!(html(second(&visitor, &attempt, &[("code", "000000")])).0, 409, "there is none to show");
    let secret = secret(&typed);
    let code_now = code(&visitor, &secret, 0);
    let fields = [("attempt", attempt.as_str()), ("sealed", sealed.as_str()), ("code", code_now.as_str())];
    let (to, entered) = cookie_of(ask(&visitor, "/login/enrol", Some(&fields)));
    assert_eq!(to, "/account/factors");
    let omar = as_actor(&site, actor(&site, &entered).unwrap());
    // The last one stays while the rules ask for it; and who has one cannot get round it by adding another.
    assert_eq!(ops::remove_totp(&omar, Nothing {}).unwrap_err().kind(), Kind::Conflict);
    let door::Entered::Half(attempt) = door::sign_in(&visitor, "omar", PASSWORD, "/").unwrap() else {
        panic!()
    };
    let fields = [("attempt", attempt.as_str()), ("sealed", sealed.as_str()), ("code", code_now.as_str())];
    assert_eq!(html(ask(&visitor, "/login/enrol", Some(&fields))).0, 409);
    assert!(rule(&ctx, &["root"]).is_err());
}

#[test]
fn limits_of_sessions_are_the_sites_own() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    rule(&ctx, &["viewer"]).unwrap();
    assert!(policy::change(&ctx, changed(None, Some(4), None)).is_err());
    let after = policy::change(&ctx, changed(None, Some(10), Some(60))).unwrap();
    assert_eq!(after.second_factor_for, ["viewer"], "what is left out stays");
    for _ in 0..5 {
        site.clock.advance(Span::from_minutes(9));
        assert!(actor(&site, &cookie).is_some());
    }
    site.clock.advance(Span::from_minutes(10));
    assert!(actor(&site, &cookie).is_none(), "ten minutes without use");
    let cookie = sign_in(&anonymous(&site, "10.0.0.1"), "ines", PASSWORD).unwrap();
    for _ in 0..6 {
        assert!(actor(&site, &cookie).is_some());
        site.clock.advance(Span::from_minutes(9));
    }
    site.clock.advance(Span::from_minutes(6));
    assert!(actor(&site, &cookie).is_none(), "an hour in all");
}

#[test]
fn what_is_dangerous_needs_a_fresh_proof_and_the_cookie_changes_with_it() {
    let (site, _folder, cookie) = owned();
    let fresh = as_actor(&site, actor(&site, &cookie).unwrap());
    let (secret, _) = add_app(&fresh, 0);
    let omar = people::create(&fresh, chosen("omar", Role::Viewer)).unwrap().user;
    site.clock.advance(Span::from_minutes(10));
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let stale = |ctx: &Ctx<'_>| people::reset(ctx, ById { id: omar.id }).err().map(|error| error.kind());
    assert_eq!(stale(&ctx), Some(Kind::StepUp));
    assert_eq!(ops::make_codes(&ctx, Nothing {}).unwrap_err().kind(), Kind::StepUp);
    assert!(people::disable(&ctx, ById { id: omar.id }).is_ok(), "shutting out is quick");
    people::enable(&fresh, ById { id: omar.id }).unwrap();
    let (status, text) = html(ask(&ctx, "/confirm?next=/people", None));
    assert!(status == 200 && text.contains("value=\"/people\"") && text.contains("10 minutes"), "{text}");
    let (status, _) = html(ask(&ctx, "/confirm", Some(&[("password", "wrong"), ("next", "/people")])));
    assert_eq!(status, 422);
    let mut cookie = cookie;
    for name in ["password", "code"] {
        let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
        let value = if name == "code" { code(&ctx, &secret, 0) } else { PASSWORD.to_owned() };
        let (to, raised) = cookie_of(ask(&ctx, "/confirm", Some(&[(name, &value), ("next", "/people")])));
        assert_eq!(to, "/people");
        assert_ne!(raised, cookie);
        assert!(actor(&site, &cookie).is_none(), "a copy of the old cookie opens nothing");
        let ctx = as_actor(&site, actor(&site, &raised).unwrap());
        assert_eq!(stale(&ctx), None);
        cookie = raised;
        site.clock.advance(Span::from_minutes(11));
        let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
        assert_eq!(stale(&ctx), Some(Kind::StepUp));
    }
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let next = ask(&ctx, "/confirm", Some(&[("password", PASSWORD), ("next", "//evil.example")]));
    assert_eq!(cookie_of(next).0, "/");
}

#[test]
fn an_answer_does_not_tell_whom_there_is() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    people::create(&ctx, chosen("omar", Role::Viewer)).unwrap();
    let gone = people::create(&ctx, chosen("gone", Role::Viewer)).unwrap().user;
    people::disable(&ctx, ById { id: gone.id }).unwrap();
    let invited = people::UserChosen { password: None, ..chosen("invited", Role::Viewer) };
    people::create(&ctx, invited).unwrap();
    add_app(&ctx, 0);
    let hashed =
        || crate::capabilities::identity::memory::of(&site).hashed.load(std::sync::atomic::Ordering::Relaxed);
    let mut answers = Vec::new();
    for (n, login) in
        ["nobody", "omar", "gone", "invited", "ines", "INES ", "", "no body"].into_iter().enumerate()
    {
        let visitor = anonymous(&site, &format!("10.1.1.{n}"));
        let before = hashed();
        let (status, text) = html(ask(&visitor, "/login", Some(&[("login", login), ("password", "wrong")])));
        let text = text.replace(&format!("value=\"{}\"", login.trim()), "value=\"\"");
        let text = text.replace(" autofocus", "");
        answers.push((status, text, hashed() - before));
    }
    assert_eq!(answers[0].0, 401);
    assert_eq!(answers[0].2, 1, "each costs one run of the hash");
    for answer in &answers[1..] {
        assert!(*answer == answers[0], "{} {} {}", answer.0, answer.2, answer.1);
    }
    // With the right password the disabled one gets the same.
    let visitor = anonymous(&site, "10.1.2.1");
    let (status, text) = html(ask(&visitor, "/login", Some(&[("login", "gone"), ("password", PASSWORD)])));
    let text = text.replace("value=\"gone\"", "value=\"\"").replace(" autofocus", "");
    assert!((status, text) == (answers[0].0, answers[0].1.clone()));
}

#[test]
fn no_bit_of_a_cookie_or_attempt_may_change() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    add_app(&ctx, 0);
    let visitor = anonymous(&site, "10.0.0.2");
    let attempt = half(&visitor);
    for (text, opens) in [
        (&cookie, &(|text: &str| actor(&site, text).is_some()) as &dyn Fn(&str) -> bool),
        (&attempt, &|text: &str| door::attempt_of(&visitor, text).is_ok()),
    ] {
        assert!(opens(text));
        for at in 0..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(bad) = String::from_utf8(bytes) else { continue };
                assert!(!opens(&bad), "byte {at} bit {bit}");
            }
            assert!(!opens(&text[..at]));
        }
    }
    // One is never taken for the other.
    assert!(actor(&site, &attempt).is_none() && door::attempt_of(&visitor, &cookie).is_err());
    // A cookie that a visitor brings along is not the one that a sign-in gives.
    site.clock.advance(Span::from_minutes(5));
    assert!(door::attempt_of(&visitor, &attempt).is_err(), "five minutes");
}

#[test]
fn who_lost_everything_gets_a_way_back_by_the_host() {
    let (site, _folder, cookie) = owned();
    let ctx = named(as_actor(&site, actor(&site, &cookie).unwrap()));
    add_app(&ctx, 0);
    add_passkey_of(&ctx, &Authenticator::p256(1));
    let host = Ctx::system(&site, site.home, "command line");
    let recover = |input: Value| {
        let mut ops = crate::kit::Ops::default();
        Identity.ops(&mut ops);
        let op = ops.0.into_iter().find(|op| op.name == "identity.recover").unwrap();
        (op.run)(&host, input)
    };
    assert_eq!(recover(json!({ "login": "nobody" })).unwrap_err().kind(), Kind::NotFound);
    let kept = recover(json!({})).unwrap();
    assert_eq!(
        (&kept["login"], &kept["removed"], &kept["asks_factor"]),
        (&json!("ines"), &json!(0), &json!(true))
    );
    let token = |answer: &Value| answer["link"].as_str().unwrap().split_once("token=").unwrap().1.to_owned();
    let visitor = anonymous(&site, "10.0.0.2");
    let used = door::use_link(&visitor, &token(&kept), "a wholly new password").unwrap();
    assert!(matches!(used, door::Entered::Half(_)), "a link stands for a password, not for a factor");
    let freed = recover(json!({ "login": "Ines", "remove_factors": true })).unwrap();
    assert_eq!((&freed["removed"], &freed["asks_factor"]), (&json!(2), &json!(false)));
    assert!(actor(&site, &cookie).is_none());
    let used = door::use_link(&visitor, &token(&freed), "another wholly new one").unwrap();
    assert!(matches!(used, door::Entered::In(_)));
    assert_eq!(events(&site, "identity.recovered"), 2);
    // Who was shut out comes back by the host, and by nobody over the network.
    let ctx =
        as_actor(&site, actor(&site, &crate::capabilities::identity::tests::whole(used).unwrap()).unwrap());
    let omar = people::create(&ctx, chosen("omar", Role::Viewer)).unwrap().user.id;
    people::disable(&ctx, ById { id: omar }).unwrap();
    let lost = json!({ "login": "omar" });
    let mut ops = crate::kit::Ops::default();
    Identity.ops(&mut ops);
    let op = ops.0.into_iter().find(|op| op.name == "identity.recover").unwrap();
    assert_eq!((op.run)(&ctx, lost.clone()).unwrap_err().kind(), Kind::Conflict);
    let back = recover(lost).unwrap();
    assert!(door::use_link(&visitor, &token(&back), "his wholly new password").is_ok());
    assert_eq!(events(&site, "identity.enabled"), 1);
}

#[test]
fn others_sessions_and_factors_are_seen_and_ended_by_who_may() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let omar = people::create(&ctx, chosen("omar", Role::Viewer)).unwrap().user;
    let theirs: Vec<String> = (0..3)
        .map(|n| {
            let visitor = anonymous(&site, &format!("10.0.1.{n}"));
            let browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned();
            let visitor = Ctx { request: Request { browser, ..visitor.request.clone() }, ..visitor };
            site.clock.advance(Span::from_seconds(1));
            sign_in(&visitor, "omar", PASSWORD).unwrap()
        })
        .collect();
    let id = || ById::<kind::User> { id: omar.id };
    let list = sessions::of_user(&ctx, id()).unwrap().items;
    assert_eq!((list.len(), list[0].browser.as_str()), (3, "Firefox on Linux"));
    let as_omar = as_actor(&site, actor(&site, &theirs[0]).unwrap());
    assert_eq!(sessions::of_user(&as_omar, id()).unwrap_err().kind(), Kind::Forbidden);
    let end = |session: Option<SessionId>| {
        sessions::revoke_of_user(&ctx, sessions::SessionsEnded { id: omar.id, session })
    };
    end(Some(list[0].id)).unwrap();
    assert!(actor(&site, &theirs[2]).is_none() && actor(&site, &theirs[1]).is_some());
    assert_eq!(end(Some(list[0].id)).unwrap_err().kind(), Kind::NotFound);
    end(None).unwrap();
    assert!(theirs.iter().all(|cookie| actor(&site, cookie).is_none()));
    assert_eq!(ops::remove_all(&ctx, id()).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn a_restore_brings_nothing_back_that_was_taken_away_or_used() {
    let (site, _folder, cookie) = owned();
    let ctx = named(as_actor(&site, actor(&site, &cookie).unwrap()));
    let user = me(&ctx);
    let (secret, _) = add_app(&ctx, 0);
    add_passkey_of(&ctx, &Authenticator::p256(1));
    add_passkey_of(&ctx, &Authenticator::p256(2));
    let codes = ops::make_codes(&ctx, Nothing {}).unwrap().codes;
    let keys = ops::mine(&ctx, Nothing {}).unwrap().passkeys;
    let made = ops::mine(&ctx, Nothing {}).unwrap().codes_made;
    let undone = |event: &str, subject: String, detail: Value| crate::kit::Undone {
        tenant: crate::kit::HOME,
        change: 5,
        at: ctx.now,
        actor: "usr_1".into(),
        action: String::new(),
        event: event.into(),
        subject,
        detail: detail.to_string(),
    };
    site.clock.advance(Span::from_minutes(1));
    let system = Ctx::system(&site, site.home, "restore");
    let restore = |told: Vec<crate::kit::Undone>| {
        let told = recovery_sample(told, system.now);
        system
            .require("identity.change")
            .unwrap()
            .write(|change| recovery::restored(&system, change, &told))
            .unwrap();
    };
    restore(vec![
        undone("identity.passkey_removed", keys[0].id.to_string(), json!({ "user": user })),
        undone("identity.signed_in", user.to_string(), json!({ "passkey": keys[1].id, "counter": 77 })),
        undone("identity.recovery_code_used", user.to_string(), json!({ "made": made, "place": 0 })),
    ]);
    let read = system.read().unwrap();
    assert!(!read.has(&PASSKEYS, &(ctx.tenant, user, keys[0].id)).unwrap());
    assert_eq!(read.get(&PASSKEYS, &(ctx.tenant, user, keys[1].id)).unwrap().unwrap().counter, 77);
    assert_eq!(read.get(&CODES, &(ctx.tenant, user)).unwrap().unwrap().left(), 9);
    // A code of this very minute may have been used by what was given up.
    let visitor = anonymous(&site, "10.0.0.2");
    let attempt = half(&visitor);
    assert_eq!(html(second(&visitor, &attempt, &[("code", &code(&visitor, &secret, 0))])).0, 401);
    assert_eq!(html(second(&visitor, &attempt, &[("recovery", &codes[0])])).0, 401);
    restore(vec![
        undone("identity.totp_removed", user.to_string(), json!({})),
        undone("identity.recovery_codes_made", user.to_string(), json!({})),
    ]);
    let read = system.read().unwrap();
    assert!(
        !read.has(&TOTPS, &(ctx.tenant, user)).unwrap() && !read.has(&CODES, &(ctx.tenant, user)).unwrap()
    );
    let mut findings = crate::kit::Findings::default();
    recovery::check(&system, &mut findings).unwrap();
    assert_eq!(findings.kept, Vec::new());
}

#[test]
fn a_step_up_is_an_error_of_its_own() {
    let error = Error::new(Kind::StepUp, "x");
    assert_eq!((error.kind().status(), error.kind().word()), (403, "step-up"));
    assert!(matches!(Actor::Anonymous, Actor::Anonymous));
}
