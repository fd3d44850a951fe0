//! Short-lived tokens over HTTP, as any OAuth client asks for them.

use muster::base::KeyId;
use serde_json::{Value, json};

use crate::harness::{Api, Muster};

fn key(muster: &Muster, more: Value) -> (KeyId, String) {
    let mut input = json!({ "name": "ci", "role": "operator" });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = muster.call("identity.key_create", input);
    (made["key"]["id"].as_str().unwrap().parse().unwrap(), made["text"].as_str().unwrap().to_owned())
}

fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_program_gets_a_token_and_works_with_it() {
    let muster = Muster::start();
    let (id, text) = key(&muster, json!({}));
    let (id, nobody) = (id.to_string(), Api::anonymous(&muster));
    let grant = ("grant_type", "client_credentials");
    let (status, answer, headers) =
        nobody.form("/oauth/token", None, &form(&[grant, ("client_id", &id), ("client_secret", &text)]));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(600)));
    let with = |token: &Value| {
        let mut api = Api::anonymous(&muster);
        api.bearer = token.as_str().map(str::to_owned);
        api
    };
    let api = with(&answer["access_token"]);
    assert_eq!(api.get("/api/v1/agents").0, 200);
    assert_eq!(api.post("/api/v1/identity/keys", json!({ "name": "x", "role": "viewer" })).0, 403);
    // The same by `Authorization: Basic`, narrowed.
    let scope = ("scope", "settings.read");
    let (status, answer, _) = nobody.form("/oauth/token", Some((&id, &text)), &form(&[grant, scope]));
    assert_eq!((status, &answer["scope"]), (200, &json!("settings.read")), "{answer}");
    let narrow = with(&answer["access_token"]);
    assert_eq!((narrow.get("/api/v1/settings").0, narrow.get("/api/v1/agents").0), (200, 403));
    // What anybody can verify tokens with, and where.
    let (status, meta) = nobody.get("/.well-known/oauth-authorization-server");
    assert_eq!((status, &meta["grant_types_supported"]), (200, &json!(["client_credentials"])));
    let (status, keys) = nobody.get("/.well-known/jwks.json");
    assert_eq!((status, &keys["keys"][0]["crv"]), (200, &json!("Ed25519")));
    muster.call("identity.key_revoke", json!({ "id": id }));
    assert_eq!((api.get("/api/v1/agents").0, narrow.get("/api/v1/settings").0), (401, 401), "at once");
}

#[test]
fn what_is_wrong_is_said_as_the_protocol_has_it() {
    let muster = Muster::start();
    let (id, text) = key(&muster, json!({ "only": "agents.*" }));
    let (away, its) = key(&muster, json!({ "networks": ["10.0.0.0/8"] }));
    let (id, away, nobody) = (id.to_string(), away.to_string(), Api::anonymous(&muster));
    let grant = ("grant_type", "client_credentials");
    let (me, secret) = (("client_id", id.as_str()), ("client_secret", text.as_str()));
    for (basic, pairs, status, code) in [
        (None, vec![me, secret], 400, "invalid_request"),
        (None, vec![("grant_type", "password"), me, secret], 400, "unsupported_grant_type"),
        (None, vec![grant, me], 401, "invalid_client"),
        (None, vec![grant, me, ("client_secret", "mst_wrong")], 401, "invalid_client"),
        (None, vec![grant, ("client_id", away.as_str()), secret], 401, "invalid_client"),
        (
            None,
            vec![grant, ("client_id", away.as_str()), ("client_secret", its.as_str())],
            401,
            "invalid_client",
        ),
        (None, vec![grant, me, me, secret], 400, "invalid_request"),
        (None, vec![grant, me, secret, ("scope", "tasks.create")], 400, "invalid_scope"),
        (None, vec![grant, me, secret, ("scope", "!")], 400, "invalid_scope"),
        (Some((id.as_str(), text.as_str())), vec![grant, secret], 400, "invalid_request"),
        (Some((id.as_str(), "wrong")), vec![grant], 401, "invalid_client"),
    ] {
        let (got, answer, headers) = nobody.form("/oauth/token", basic, &form(&pairs));
        assert_eq!((got, answer["error"].as_str()), (status, Some(code)), "{pairs:?}: {answer}");
        let description = answer["error_description"].as_str().unwrap();
        assert!(!description.is_empty() && !description.contains(['"', '\\']), "{description}");
        let asked = headers.get("www-authenticate").is_some_and(|v| v.to_str().unwrap().starts_with("Basic"));
        assert_eq!(asked, status == 401 && basic.is_some());
    }
    let (status, answer, _) =
        nobody.form(&format!("/oauth/token?client_id={id}&client_secret={text}"), None, &form(&[grant]));
    assert_eq!(
        (status, answer["error"].as_str()),
        (400, Some("invalid_request")),
        "nothing secret in an address"
    );
    assert_eq!(nobody.post("/oauth/token", json!({ "grant_type": "client_credentials" })).0, 400);
    assert_eq!(nobody.get("/oauth/token").0, 405);
}
