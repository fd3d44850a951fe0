//! Who comes by a provider and needs a second factor of this site: half in until they have shown it, and nothing before.

use super::*;
use crate::capabilities::identity::sso::Proof;
use crate::capabilities::identity::{key_actor, session_watcher};
use crate::kit::Ops;

struct Rig {
    site: Site,
    _folder: tempfile::TempDir,
    cookie: String,
    user: UserId,
    proof: Proof,
}

/// Somebody without a password here, linked to a provider; their role needs a second factor.
fn rig() -> Rig {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let provider = run(
        &ctx,
        "identity.provider_add",
        json!({
            "name": "Plant", "secret": "a secret",
            "settings": { "kind": "oidc", "issuer": "http://localhost:9", "client_id": "muster" },
        }),
    );
    let provider = provider.unwrap()["id"].as_str().unwrap().to_owned();
    let omar = people::UserChosen { password: None, ..chosen("omar", Role::Viewer) };
    let user = people::create(&ctx, omar).unwrap().user.id;
    run(&ctx, "identity.link", json!({ "id": user, "provider": provider, "subject": "s-omar" })).unwrap();
    run(&ctx, "identity.policy_change", json!({ "second_factor_for": ["viewer"] })).unwrap();
    drop(ctx);
    let proof = Proof {
        provider,
        called: "Plant".into(),
        directory: false,
        subject: "s-omar".into(),
        session: None,
        several_factors: false,
    };
    Rig { site, _folder, cookie, user, proof }
}

fn run(ctx: &Ctx<'_>, name: &str, input: Value) -> Result<Value> {
    let mut ops = Ops::default();
    Identity.ops(&mut ops);
    let op = ops.0.into_iter().find(|op| op.name == name).unwrap();
    (op.run)(ctx, input)
}

impl Rig {
    fn owner(&self) -> Ctx<'_> {
        as_actor(&self.site, actor(&self.site, &self.cookie).unwrap())
    }

    fn visitor(&self) -> Ctx<'_> {
        named(anonymous(&self.site, "10.0.0.8"))
    }

    /// Comes by the provider; half in.
    fn comes(&self) -> String {
        match door::enter_proven(&self.visitor(), self.user, &self.proof, "/agents").unwrap() {
            door::Entered::Half(attempt) => attempt,
            door::Entered::In(_) => panic!("in without a second factor"),
        }
    }

    /// What names the attempt opens nothing, and no session is there.
    fn opens_nothing(&self, attempt: &str) {
        let now = self.site.clock.now();
        assert!(actor(&self.site, attempt).is_none());
        assert!(session_watcher(&self.site, attempt, now).unwrap().is_none());
        assert!(key_actor(&self.site, attempt, "10.0.0.8").unwrap().is_none());
        assert!(sessions::living(&self.owner(), self.user, None).unwrap().is_empty());
        for path in ["/account", "/account/factors"] {
            assert_eq!(ask(&self.visitor(), path, None).unwrap_err().kind(), Kind::Unauthenticated, "{path}");
        }
        assert_eq!(ops::mine(&self.visitor(), Nothing {}).unwrap_err().kind(), Kind::Unauthenticated);
    }

    fn means(&self, cookie: &str) -> Vec<Means> {
        let ctx = as_actor(&self.site, actor(&self.site, cookie).unwrap());
        assert_eq!(me(&ctx), self.user);
        sessions::living(&ctx, self.user, None).unwrap().last().unwrap().means.clone()
    }

    /// Adds an app in the half sign-in; gives the way in and its secret.
    fn enrols(&self, attempt: &str) -> (String, TotpSecret) {
        let (_, text) = html(second_page::shown_for_tests(&self.visitor(), attempt));
        assert!(text.contains("Your role needs one"), "{text}");
        let sealed = text.split("name=\"sealed\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let typed = text.split("id=\"key\">").nth(1).unwrap().split('<').next().unwrap();
        let secret = secret(typed);
        let wrong = [("attempt", attempt), ("sealed", sealed), ("code", "000000")];
        assert_eq!(html(ask(&self.visitor(), "/login/enrol", Some(&wrong))).0, 401);
        self.opens_nothing(attempt);
        let right = code(&self.visitor(), &secret, 0);
        let fields = [("attempt", attempt), ("sealed", sealed), ("code", right.as_str())];
        (cookie_of(ask(&self.visitor(), "/login/enrol", Some(&fields))).1, secret)
    }
}

#[test]
fn who_comes_by_a_provider_shows_an_app_before_anything_opens() {
    let rig = rig();
    let attempt = rig.comes();
    rig.opens_nothing(&attempt);
    let (cookie, secret) = rig.enrols(&attempt);
    assert_eq!(rig.means(&cookie), [Means::Oidc, Means::Totp]);
    sessions::log_out(&as_actor(&rig.site, actor(&rig.site, &cookie).unwrap())).unwrap();
    // From then on it is asked for.
    rig.site.clock.advance(Span::from_minutes(1));
    let attempt = rig.comes();
    rig.opens_nothing(&attempt);
    assert_eq!(html(second(&rig.visitor(), &attempt, &[("code", "000000")])).0, 401);
    rig.opens_nothing(&attempt);
    let typed = code(&rig.visitor(), &secret, 0);
    let (to, cookie) = cookie_of(second(&rig.visitor(), &attempt, &[("code", &typed)]));
    assert_eq!((to.as_str(), rig.means(&cookie)), ("/agents", vec![Means::Oidc, Means::Totp]));
    assert_eq!(html(second(&rig.visitor(), &attempt, &[("code", &typed)])).0, 401, "it is over");
    assert_eq!(events(&rig.site, "identity.signed_in"), 2, "twice in, and never halfway");
}

#[test]
fn who_comes_by_a_provider_shows_a_passkey_too() {
    let rig = rig();
    let (cookie, _) = rig.enrols(&rig.comes());
    let mut key = Authenticator::p256(1);
    add_passkey_of(&named(as_actor(&rig.site, actor(&rig.site, &cookie).unwrap())), &key);
    sessions::log_out(&as_actor(&rig.site, actor(&rig.site, &cookie).unwrap())).unwrap();
    let attempt = rig.comes();
    let asks = Asks::Attempt(door::attempt_of(&rig.visitor(), &attempt).unwrap());
    let asked = request(&rig.visitor(), Some(rig.user), asks).unwrap();
    let answer = shown(&asked, &mut key, rig.user);
    // It is bound to this attempt.
    assert_eq!(html(second(&rig.visitor(), &rig.comes(), &[("credential", &answer)])).0, 401);
    rig.opens_nothing(&attempt);
    let (to, cookie) = cookie_of(second(&rig.visitor(), &attempt, &[("credential", &answer)]));
    assert_eq!((to.as_str(), rig.means(&cookie)), ("/agents", vec![Means::Oidc, Means::Passkey]));
}

#[test]
fn a_half_sign_in_ends_with_what_began_it() {
    let rig = rig();
    let (_, secret) = rig.enrols(&rig.comes());
    let link = json!({ "id": rig.user, "provider": rig.proof.provider, "subject": "s-omar" });
    let provider = |on: bool| json!({ "id": rig.proof.provider, "on": on });
    let is_over = |why: &str| {
        let attempt = rig.comes();
        rig.site.clock.advance(Span::from_minutes(1));
        match why {
            "unlinked" => drop(run(&rig.owner(), "identity.unlink", link.clone()).unwrap()),
            "off" => drop(run(&rig.owner(), "identity.provider_change", provider(false)).unwrap()),
            "disabled" => drop(people::disable(&rig.owner(), ById { id: rig.user }).unwrap()),
            _ => rig.site.clock.advance(Span::from_minutes(5)),
        }
        let typed = code(&rig.visitor(), &secret, 0);
        assert_eq!(html(second(&rig.visitor(), &attempt, &[("code", &typed)])).0, 401, "{why}");
        assert_eq!(html(second_page::shown_for_tests(&rig.visitor(), &attempt)).0, 401, "{why}");
    };
    is_over("late");
    is_over("off");
    run(&rig.owner(), "identity.provider_change", provider(true)).unwrap();
    is_over("unlinked");
    run(&rig.owner(), "identity.link", link.clone()).unwrap();
    is_over("disabled");
    assert_eq!(events(&rig.site, "identity.signed_in"), 1, "only the one that added the app");
}
