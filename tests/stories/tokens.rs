//! Short-lived tokens over HTTP, as any OAuth client asks for them.

use muster::base::KeyId;
use serde_json::{Value, json};

use crate::harness::{Api, Muster};
use crate::secrets::lies_in;

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
    assert_eq!(
        (status, &meta["grant_types_supported"]),
        (200, &json!(["client_credentials", "refresh_token"]))
    );
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

#[test]
fn a_program_goes_on_by_refresh_tokens_until_one_comes_twice() {
    let muster = Muster::start();
    let (id, text) = key(&muster, json!({}));
    let (id, nobody, owner) = (id.to_string(), Api::anonymous(&muster), muster.owner());
    let ask = |path: &str, pairs: &[(&str, &str)]| {
        let pairs = form(&[&[("client_id", id.as_str())], pairs].concat());
        let (status, answer, headers) = nobody.form(path, None, &pairs);
        assert_eq!(headers["cache-control"], "no-store");
        (status, answer)
    };
    let begin = || {
        let scope = ("scope", "agents.read offline_access");
        ask("/oauth/token", &[("grant_type", "client_credentials"), ("client_secret", &text), scope])
    };
    let refresh = |token: &Value| {
        let shown = ("refresh_token", token.as_str().unwrap());
        ask("/oauth/token", &[("grant_type", "refresh_token"), shown])
    };
    let works = |token: &Value| {
        let mut api = Api::anonymous(&muster);
        api.bearer = token.as_str().map(str::to_owned);
        api.get("/api/v1/agents").0
    };
    let (status, first) = begin();
    assert_eq!((status, &first["scope"]), (200, &json!("agents.read offline_access")), "{first}");
    let (status, second) = refresh(&first["refresh_token"]);
    assert_eq!((status, works(&second["access_token"])), (200, 200), "{second}");
    let page = owner.get(&format!("/people/keys/{id}")).1;
    assert!(page.contains("Open refresh tokens") && page.contains("agents.read"), "{page}");
    assert!(!page.contains("msr_"), "none is shown");
    let (status, twice) = refresh(&first["refresh_token"]);
    assert_eq!((status, &twice["error"]), (400, &json!("invalid_grant")), "{twice}");
    assert_eq!((works(&first["access_token"]), works(&second["access_token"])), (401, 401));
    assert_eq!(refresh(&second["refresh_token"]).1["error"], "invalid_grant");

    // Given back by the program, and ended in the console.
    let (_, third) = begin();
    let (token, spare) = (third["access_token"].as_str().unwrap(), third["refresh_token"].as_str().unwrap());
    let secret = ("client_secret", text.as_str());
    let said = ask("/oauth/introspect", &[("token", token), secret]);
    assert_eq!((said.0, &said.1["active"]), (200, &json!(true)), "{said:?}");
    assert_eq!(ask("/oauth/introspect", &[("token", token)]).0, 401);
    assert_eq!(ask("/oauth/revoke", &[("token", spare), ("token_type_hint", "refresh_token")]).0, 200);
    assert_eq!(works(&third["access_token"]), 401);
    assert_eq!(ask("/oauth/introspect", &[("token", token), secret]).1, json!({ "active": false }));
    assert_eq!(ask("/oauth/revoke", &[("token", "nonsense")]).0, 200, "what is none is gone already");
    assert_eq!(ask("/oauth/revoke", &[]).1["error"], "invalid_request");
    let (_, fourth) = begin();
    let csrf = owner.csrf();
    let (status, _) = owner.post(&format!("/people/keys/{id}/families/end"), &[("csrf", &csrf)]);
    assert_eq!((status, works(&fourth["access_token"])), (303, 401));
    let (_, meta) = nobody.get("/.well-known/oauth-authorization-server");
    for name in ["revocation_endpoint", "introspection_endpoint", "token_endpoint"] {
        let path = meta[name].as_str().unwrap().split_once("/oauth/").unwrap().1;
        assert_eq!(nobody.get(&format!("/oauth/{path}")).0, 405, "{name} is there, and takes forms");
    }
}

#[test]
fn what_is_wrong_with_a_refresh_token_is_said_as_the_protocol_has_it() {
    let muster = Muster::start();
    let (id, text) = key(&muster, json!({}));
    let (other, theirs) = key(&muster, json!({}));
    let (id, other, nobody) = (id.to_string(), other.to_string(), Api::anonymous(&muster));
    let begun = [("grant_type", "client_credentials"), ("scope", "agents.read offline_access")];
    let (_, answer, _) = nobody.form("/oauth/token", Some((&id, &text)), &form(&begun));
    let token = answer["refresh_token"].as_str().unwrap();
    let (grant, shown) = (("grant_type", "refresh_token"), ("refresh_token", token));
    let me = ("client_id", id.as_str());
    for (basic, pairs, status, code) in [
        (None, vec![grant, me], 400, "invalid_request"),
        (None, vec![grant, shown], 401, "invalid_client"),
        (None, vec![grant, shown, shown, me], 400, "invalid_request"),
        (None, vec![grant, me, ("refresh_token", "msr_x")], 400, "invalid_grant"),
        (None, vec![grant, me, ("refresh_token", text.as_str())], 400, "invalid_grant"),
        (None, vec![grant, shown, ("client_id", other.as_str())], 400, "invalid_grant"),
        (Some((other.as_str(), theirs.as_str())), vec![grant, shown], 400, "invalid_grant"),
        (Some((id.as_str(), theirs.as_str())), vec![grant, shown], 401, "invalid_client"),
        (Some((other.as_str(), theirs.as_str())), vec![grant, shown, me], 400, "invalid_request"),
        (None, vec![grant, shown, me, ("scope", "tasks.read")], 400, "invalid_scope"),
        (None, vec![("grant_type", "authorization_code"), me, shown], 400, "unsupported_grant_type"),
    ] {
        let (got, answer, _) = nobody.form("/oauth/token", basic, &form(&pairs));
        assert_eq!((got, answer["error"].as_str()), (status, Some(code)), "{pairs:?}: {answer}");
        assert!(!answer.to_string().contains(token), "what is secret is not said again");
    }
    // None of it spent the token, which its own program may show with the text too.
    assert_eq!(nobody.form("/oauth/token", Some((&id, &text)), &form(&[grant, shown])).0, 200);
}

#[test]
fn a_program_replaces_its_own_text() {
    let muster = Muster::start();
    let (_, text) = key(&muster, json!({ "role": "viewer" }));
    let with = |text: &str| {
        let mut api = Api::anonymous(&muster);
        api.bearer = Some(text.to_owned());
        api
    };
    let path = "/api/v1/identity/own-key/rotate";
    let (status, made) = with(&text).post(path, json!({ "text": text, "hours": 1 }));
    assert_eq!(status, 200, "{made}");
    let next = made["text"].as_str().unwrap();
    assert_eq!((with(&text).get("/api/v1/agents").0, with(next).get("/api/v1/agents").0), (200, 200));
    assert_eq!(with(next).post(path, json!({ "text": text })).0, 409);
    assert_eq!(with(next).post(path, json!({ "text": next, "hours": 99 })).0, 422);
    assert_eq!(with(next).post(path, json!({})).0, 422);
    assert_eq!(Api::anonymous(&muster).post(path, json!({ "text": next })).0, 401);
}

#[test]
fn nothing_that_opens_a_door_lies_in_the_clear() {
    let muster = Muster::start();
    let (owner, nobody) = (muster.owner(), Api::anonymous(&muster));
    let (id, text) = key(&muster, json!({ "name": "the press in hall 3" }));
    let id = id.to_string();
    let scope = ("scope", "agents.read offline_access");
    let begun = form(&[("grant_type", "client_credentials"), scope]);
    let (_, first, _) = nobody.form("/oauth/token", Some((&id, &text)), &begun);
    let secret = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let refresh = secret(&first, "refresh_token");
    let refreshes = |token: &str| {
        let pairs = [("client_id", id.as_str()), ("grant_type", "refresh_token"), ("refresh_token", token)];
        nobody.form("/oauth/token", None, &form(&pairs)).1
    };
    let second = refreshes(&refresh);
    let mut api = Api::anonymous(&muster);
    api.bearer = Some(text.clone());
    let (_, made) = api.post("/api/v1/identity/own-key/rotate", json!({ "text": text }));
    let spent = refreshes(&refresh);
    let signature = |token: String| token.rsplit_once('.').unwrap().1.to_owned();
    let secrets = [
        text.clone(),
        secret(&made, "text"),
        refresh,
        secret(&second, "refresh_token"),
        signature(secret(&first, "access_token")),
        owner.cookie().split_once('=').unwrap().1.to_owned(),
    ];
    let (_, audit) = muster.api("owner").get("/api/v1/audit?limit=200");
    let told = [audit.to_string(), owner.get("/metrics").1, spent.to_string(), owner.get("/people/keys").1];
    assert!(lies_in(&muster.folder, b"the press in hall 3"), "so it would be found");
    for secret in secrets {
        assert!(!lies_in(&muster.folder, secret.as_bytes()), "{}…", &secret[..6]);
        assert!(!told.iter().any(|text| text.contains(&secret)), "{}…", &secret[..6]);
    }
}
