//! Tokens that are no tokens of this site, made as their forgers would make them.

use serde_json::json;

use super::*;
use crate::engine::crypto::{Signer, jwk, sign_jwt};

#[test]
fn a_token_is_ours_for_now_and_for_us() {
    let rig = Rig::new();
    let (id, text) = rig.make(Role::Owner, "", &[]);
    let (kid, signer) = tokens::current(&rig.site).unwrap();
    let (now, issuer) = (rig.site.clock.now().seconds(), rig.site.settings.console());
    let good = json!({
        "iss": issuer, "aud": issuer, "sub": id, "client_id": id, "iat": now, "exp": now + 600, "jti": "1",
        "scope": "*", "epoch": 0,
    });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        sign_jwt(&signer, &kid, &claims)
    };
    assert!(rig.works(&sign_jwt(&signer, &kid, &good)), "so a forger with the seed would come in");
    let stranger = Signer::of_seed(&[9; 32]).unwrap();
    let theirs = jwk(&stranger).unwrap()["kid"].as_str().unwrap().to_owned();
    for (what, token) in [
        ("another issuer", with("iss", "https://evil.example".into())),
        ("another audience", with("aud", "https://other.lan".into())),
        ("ours and another audience", with("aud", json!([issuer, "https://other.lan"]))),
        ("no audience", with("aud", Value::Null)),
        ("over", with("exp", json!(now))),
        ("over long ago", with("exp", json!(now - 600))),
        ("no end", with("exp", Value::Null)),
        ("an end that is text", with("exp", json!("9999999999"))),
        ("too long", with("exp", json!(now + 601))),
        ("for ever", with("exp", json!(i64::MAX))),
        ("of tomorrow", with("iat", json!(now + 86_400))),
        ("of always", with("iat", json!(i64::MIN))),
        ("no key", with("sub", "".into())),
        ("a key that is not there", with("sub", KeyId::from_bits(7).to_string().into())),
        ("a person", with("sub", crate::base::UserId::from_bits(7).to_string().into())),
        ("another epoch", with("epoch", json!(1))),
        ("no epoch", with("epoch", Value::Null)),
        ("a scope that is none", with("scope", "!".into())),
        (
            "a family that is not there",
            with("family", crate::base::FamilyId::from_bits(7).to_string().into()),
        ),
        ("a family that is none", with("family", json!(7))),
        ("another's signature under our kid", sign_jwt(&stranger, &kid, &good)),
        ("another's signature under their kid", sign_jwt(&stranger, &theirs, &good)),
        ("our signature under another kid", sign_jwt(&signer, &theirs, &good)),
    ] {
        assert!(!matches!(rig.actor(&token, "10.0.0.9"), Ok(Some(_))), "{what}");
    }
    // A signer that signs no more: what it signs anew counts until its tokens have ended, and then nothing does.
    tokens::rotate(&rig.ctx(), Nothing {}).unwrap();
    rig.site.clock.advance(Span::from_minutes(11));
    let now = rig.site.clock.now().seconds();
    let mut claims = good.clone();
    (claims["iat"], claims["exp"]) = (json!(now), json!(now + 600));
    assert!(!rig.works(&sign_jwt(&signer, &kid, &claims)));
    assert!(rig.works(&rig.token(id, &text, "").unwrap()));
}
