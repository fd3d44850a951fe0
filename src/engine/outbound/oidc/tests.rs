//! Against a provider that is made here and says whatever a test wants; `tests/sign_on.rs` has a certified one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::jose::tests::Own;
use super::*;
use crate::base::{Kind, Span, Timestamp};

/// What the provider answers, by path, and what it was asked.
#[derive(Default)]
struct Says {
    pages: Vec<(String, u16, String)>,
    asked: Vec<(String, String)>,
}

struct Fake {
    issuer: String,
    port: u16,
    says: Arc<Mutex<Says>>,
}

impl Fake {
    fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Arc::new(Mutex::new(Says::default()));
        let shared = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, &shared);
            }
        });
        Fake { issuer: format!("http://127.0.0.1:{port}"), port, says }
    }

    fn say(&self, path: &str, status: u16, body: impl ToString) {
        let mut says = self.says.lock();
        says.pages.retain(|(there, _, _)| there != path);
        says.pages.push((path.to_owned(), status, body.to_string()));
    }

    fn asked(&self, path: &str) -> Vec<String> {
        let says = self.says.lock();
        says.asked.iter().filter(|(there, _)| there == path).map(|(_, body)| body.clone()).collect()
    }

    /// Says what providers say, with these changes of the discovery document.
    fn usual(&self, keys: &[Value], change: Value) {
        let issuer = &self.issuer;
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize?tenant=1"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "end_session_endpoint": format!("{issuer}/end"),
            "code_challenge_methods_supported": ["plain", "S256"],
        });
        for (name, value) in change.as_object().unwrap() {
            document[name] = value.clone();
        }
        self.say("/.well-known/openid-configuration", 200, document);
        self.say("/keys", 200, json!({ "keys": keys }));
    }
}

fn answer(mut stream: std::net::TcpStream, says: &Mutex<Says>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    let mut kept = String::new();
    loop {
        let mut head = String::new();
        if reader.read_line(&mut head).unwrap() == 0 || head == "\r\n" {
            break;
        }
        if let Some(value) = head.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if head.to_lowercase().starts_with("authorization:") {
            kept = head.trim().to_owned();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut says = says.lock();
    says.asked.push((path.clone(), format!("{kept} {}", String::from_utf8_lossy(&body))));
    let (status, text) = says
        .pages
        .iter()
        .find(|(there, _, _)| *there == path)
        .map_or((404, "{}".to_owned()), |(_, status, body)| (*status, body.clone()));
    let location = if status == 302 { "location: /elsewhere\r\n" } else { "" };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
}

const NOW: i64 = 1_790_000_000;

struct Rig {
    fake: Fake,
    provider: Provider,
    clock: Clock,
    key: Own,
    attempt: Attempt,
}

fn rig() -> Rig {
    let (fake, key) = (Fake::start(), Own::ec());
    let clock = Clock::manual(Timestamp::from_milliseconds(NOW * 1_000), 3);
    let egress = Egress::new(&clock);
    egress.allow("127.0.0.1", fake.port, "test", "test", clock.now()).unwrap();
    let settings = Settings {
        issuer: fake.issuer.clone(),
        client_id: "mu ster".into(),
        scopes: "profile groups".into(),
        authority: None,
    };
    let secret = Some(Secret::new("s+cret/1".to_owned()));
    let provider = Provider::new(&settings, secret, &egress, &clock).unwrap();
    fake.usual(&[key.public("k1")], json!({}));
    let attempt = Attempt::new(&clock);
    Rig { fake, provider, clock, key, attempt }
}

const BACK: &str = "https://muster.lan/login/oidc/callback";

impl Rig {
    fn token(&self, header: Value, change: Value) -> String {
        let mut claims = json!({
            "iss": self.fake.issuer, "aud": "mu ster", "sub": "u1", "nonce": self.attempt.nonce, "iat": NOW,
            "exp": NOW + 300, "groups": ["ops"],
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.key.sign(&header, &claims)
    }

    fn redeem(&self, token: &str, issuer: Option<&str>) -> Result<Proven> {
        self.fake.say(
            "/token",
            200,
            json!({ "id_token": token, "access_token": "at", "token_type": "Bearer" }),
        );
        self.provider.redeem(BACK, "the code", issuer, &self.attempt, &["groups"])
    }

    fn good(&self) -> String {
        self.token(json!({ "alg": "ES256", "kid": "k1" }), json!({}))
    }
}

#[test]
fn a_code_becomes_a_person() {
    let rig = rig();
    let to = rig.provider.begin(BACK, &rig.attempt).unwrap();
    let url = Url::parse(&to).unwrap();
    let pairs: std::collections::BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let challenge = jose::encode(digest(&SHA256, rig.attempt.verifier.as_bytes()).as_ref());
    for (name, value) in [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "mu ster"),
        ("redirect_uri", BACK),
        ("scope", "openid profile groups"),
        ("state", &rig.attempt.state),
        ("nonce", &rig.attempt.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(pairs[name], value, "{name}");
    }
    let proven = rig.redeem(&rig.good(), None).unwrap();
    assert_eq!((proven.subject.as_str(), &proven.claims["groups"][0]), ("u1", &json!("ops")));
    assert!(!proven.several_factors());
    let asked = rig.fake.asked("/token").pop().unwrap();
    // `mu+ster:s%2Bcret%2F1`
    assert!(asked.contains("Basic bXUrc3RlcjpzJTJCY3JldCUyRjE="), "{asked}");
    for part in
        ["grant_type=authorization_code", "code=the+code", &format!("code_verifier={}", rig.attempt.verifier)]
    {
        assert!(asked.contains(part), "{asked}");
    }
    assert!(!asked.contains("client_secret"));
    assert!(rig.fake.asked("/userinfo").is_empty(), "the token has all that is wanted");
    let to = rig.provider.leave("https://muster.lan/login").unwrap().unwrap();
    assert!(to.contains("/end?client_id=mu+ster&post_logout_redirect_uri=https%3A%2F%2Fmuster.lan"), "{to}");
    let amr = rig.token(json!({ "alg": "ES256", "kid": "k1" }), json!({ "amr": ["pwd", "mfa"] }));
    assert!(rig.redeem(&amr, None).unwrap().several_factors());
}

#[test]
fn forged_tokens_are_refused() {
    let rig = rig();
    let header = json!({ "alg": "ES256", "kid": "k1" });
    for (change, why) in [
        (json!({ "nonce": "another" }), "another sign-in"),
        (json!({ "aud": "other" }), "another client"),
        (json!({ "iss": "https://other" }), "issued by"),
        (json!({ "exp": NOW - 100, "iat": NOW - 400 }), "ended 100 s ago"),
        (json!({ "iat": NOW + 100 }), "in the future"),
    ] {
        let error = rig.redeem(&rig.token(header.clone(), change), None).unwrap_err();
        assert!(error.kind() == Kind::Unauthenticated && error.message().contains(why), "{error}");
    }
    for alg in ["none", "HS256"] {
        let error = rig.redeem(&rig.token(json!({ "alg": alg, "kid": "k1" }), json!({})), None).unwrap_err();
        assert!(error.message().contains("not accepted"), "{error}");
    }
    // Signed by a key that the provider does not have.
    let stranger = Own::ec().sign(&header, &rig.key_claims());
    let error = rig.redeem(&stranger, None).unwrap_err();
    assert!(error.message().contains("not signed by a key"), "{error}");
    assert!(rig.redeem(&rig.good(), None).is_ok());
}

impl Rig {
    fn key_claims(&self) -> Value {
        let token = self.good();
        serde_json::from_slice(&jose::decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
    }
}

#[test]
fn a_new_key_is_fetched_once_and_no_stranger_makes_us_knock() {
    let mut rig = rig();
    rig.redeem(&rig.good(), None).unwrap();
    assert_eq!(rig.fake.asked("/keys").len(), 1);
    rig.key = Own::ed();
    rig.fake.usual(&[rig.key.public("k2")], json!({}));
    let token = rig.token(json!({ "alg": "EdDSA", "kid": "k2" }), json!({}));
    assert!(rig.redeem(&token, None).is_err(), "within half a minute nothing is fetched again");
    rig.clock.advance(Span::from_seconds(30));
    rig.redeem(&token, None).unwrap();
    assert_eq!(rig.fake.asked("/keys").len(), 2);
    for _ in 0..5 {
        let strange = rig.token(json!({ "alg": "EdDSA", "kid": "k3" }), json!({}));
        rig.clock.advance(Span::from_seconds(1));
        assert!(rig.redeem(&strange, None).is_err());
    }
    assert_eq!(rig.fake.asked("/keys").len(), 2);
    let documents = || rig.fake.asked("/.well-known/openid-configuration").len();
    assert_eq!(documents(), 1);
    rig.clock.advance(Span::from_hours(1));
    let _ = rig.provider.begin(BACK, &rig.attempt);
    assert_eq!(documents(), 2);
}

#[test]
fn answers_of_another_provider_are_not_taken() {
    let rig = rig();
    assert!(rig.redeem(&rig.good(), Some(&rig.fake.issuer)).is_ok());
    let error = rig.redeem(&rig.good(), Some("https://evil.example")).unwrap_err();
    assert!(error.message().contains("provider that was asked"), "{error}");
    rig.fake
        .usual(&[rig.key.public("k1")], json!({ "authorization_response_iss_parameter_supported": true }));
    rig.provider.look().unwrap();
    assert!(rig.redeem(&rig.good(), None).is_err(), "it always says so");
}

#[test]
fn what_the_token_lacks_is_asked_for_and_is_about_the_same_person() {
    let rig = rig();
    let mut claims = rig.key_claims();
    claims.as_object_mut().unwrap().remove("groups");
    let bare_token = rig.key.sign(&json!({ "alg": "ES256", "kid": "k1" }), &claims);
    rig.fake.say("/userinfo", 200, json!({ "sub": "u1", "groups": ["admins"], "iss": "x" }));
    let proven = rig.redeem(&bare_token, None).unwrap();
    assert_eq!(proven.claims["groups"], json!(["admins"]));
    assert_eq!(proven.claims["iss"], json!(rig.fake.issuer), "what is signed counts first");
    assert!(rig.fake.asked("/userinfo")[0].contains("Bearer at"));
    rig.fake.say("/userinfo", 200, json!({ "sub": "u2", "groups": ["admins"] }));
    assert!(rig.redeem(&bare_token, None).unwrap_err().message().contains("somebody else"));
}

#[test]
fn a_provider_is_what_it_says_and_no_more() {
    let rig = rig();
    let key = [rig.key.public("k1")];
    for (change, why) in [
        (json!({ "issuer": "https://other" }), "calls itself"),
        (json!({ "token_endpoint": "http://other.lan/token" }), "https"),
        (json!({ "jwks_uri": "ftp://x" }), "https"),
        (json!({ "code_challenge_methods_supported": ["plain"] }), "S256"),
    ] {
        rig.fake.usual(&key, change);
        let error = rig.provider.look().unwrap_err();
        assert!(error.message().contains(why), "{error}");
    }
    rig.fake.usual(&key, json!({ "token_endpoint": "https://elsewhere.lan/token" }));
    let document = rig.provider.look().unwrap();
    let port = rig.fake.port;
    assert_eq!(document.destinations().unwrap(), [("elsewhere.lan".into(), 443), ("127.0.0.1".into(), port)]);
    let error = rig.provider.redeem(BACK, "c", None, &rig.attempt, &[]).unwrap_err();
    assert!(error.message().contains("not on the list"), "{error}");
    // Redirects are not followed, and answers have a size.
    rig.fake.say("/.well-known/openid-configuration", 302, "");
    assert!(rig.provider.look().is_err() && rig.fake.asked("/elsewhere").is_empty());
    rig.fake.say("/.well-known/openid-configuration", 200, "x".repeat(http::ANSWER_BYTES_MAX + 1));
    assert!(rig.provider.look().unwrap_err().message().contains("more than"));
    rig.fake.usual(&key, json!({}));
    rig.provider.look().unwrap();
    rig.fake.say("/token", 400, json!({ "error": "invalid_grant", "error_description": "no `such` code\n" }));
    let error = rig.provider.redeem(BACK, "c", None, &rig.attempt, &[]).unwrap_err();
    assert!(error.message().contains("invalid_grant: no  such  code"), "{error}");
    rig.fake.usual(&key, json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] }));
    rig.provider.look().unwrap();
    rig.redeem(&rig.good(), None).unwrap();
    assert!(rig.fake.asked("/token").pop().unwrap().contains("client_secret=s%2Bcret%2F1"));
}

#[test]
fn sessions_end_by_a_token_of_the_provider() {
    let rig = rig();
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let mut claims = rig.key_claims();
    claims.as_object_mut().unwrap().remove("nonce");
    (claims["events"], claims["jti"], claims["sid"]) = (event, json!("j1"), json!("s1"));
    let header = json!({ "alg": "ES256", "kid": "k1", "typ": "logout+jwt" });
    let told = rig.provider.logged_out(&rig.key.sign(&header, &claims)).unwrap();
    assert_eq!((told.session.as_deref(), told.token.as_str()), (Some("s1"), "j1"));
    assert!(rig.provider.logged_out(&Own::ec().sign(&header, &claims)).is_err());
    assert!(rig.provider.logged_out(&rig.good()).is_err(), "an ID token is none");
}

#[test]
fn settings_are_checked() {
    let clock = Clock::manual(Timestamp::default(), 1);
    let egress = Egress::new(&clock);
    let good = Settings {
        issuer: "http://localhost:1".into(),
        client_id: "m".into(),
        scopes: scopes(),
        authority: None,
    };
    let open = |settings: &Settings, secret: &str| {
        Provider::new(settings, Some(Secret::new(secret.to_owned())), &egress, &clock)
    };
    assert!(open(&good, "s").is_ok());
    let long = "x".repeat(WORD_BYTES_MAX + 1);
    for bad in [
        Settings { issuer: "https://id.lan".into(), ..good.clone() },
        Settings { issuer: "http://id.lan".into(), ..good.clone() },
        Settings { issuer: "http://localhost:1?x".into(), ..good.clone() },
        Settings { client_id: String::new(), ..good.clone() },
        Settings { client_id: long.clone(), ..good.clone() },
        Settings { scopes: "openid \"x\"".into(), ..good.clone() },
        Settings { authority: Some("x".into()), ..good.clone() },
    ] {
        assert!(open(&bad, "s").is_err(), "{bad:?}");
    }
    assert!(open(&good, &long).is_err() && open(&good, "a\nb").is_err());
    let error = open(&Settings { issuer: "https://id.lan".into(), ..good }, "s").err().unwrap();
    assert!(error.hint_text().unwrap().contains("PEM"), "{error}");
}
