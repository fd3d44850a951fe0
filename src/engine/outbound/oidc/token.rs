//! What a token must say before anybody is believed to be somebody (OpenID Connect Core 1.0 §3.1.3.7, Back-Channel Logout
//! 1.0 §2.6). Values in, verdict out.

use serde_json::{Map, Value};

use crate::base::{Error, Result, Timestamp};

/// Seconds by which the clocks of provider and server may differ.
pub(super) const LEEWAY_SECONDS: i64 = 60;
/// Seconds for which a token may be good, from when it was issued; a provider that says more is cut off here.
const AGE_SECONDS_MAX: i64 = 24 * 3600;
/// Bytes of a subject or of a session's name at the provider.
const SUBJECT_BYTES_MAX: usize = 255;
/// The event that ends sessions.
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What is expected of a token.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
}

type Claims = Map<String, Value>;

fn wrong(why: impl std::fmt::Display) -> Error {
    Error::unauthenticated(format!("the provider's token {why}"))
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// Whole seconds; providers write them as numbers with and without a point.
fn seconds(claims: &Claims, name: &str) -> Result<Option<i64>> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) if number.abs() < 1e15 => Ok(Some(number as i64)),
            _ => Err(wrong(format!("has a `{name}` that is no instant"))),
        },
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && *c != '`').take(120).collect()
}

fn common(claims: &Claims, expected: &Expected<'_>) -> Result<()> {
    match text(claims, "iss") {
        Some(issuer) if issuer == expected.issuer => {}
        other => {
            return Err(wrong(format!("is issued by `{}`", shown(other.unwrap_or_default())))
                .hint(format!("this provider is set up as `{}`", expected.issuer)));
        }
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return Err(wrong("is meant for another client")
            .hint("the client id here and at the provider must be the same"));
    }
    match text(claims, "azp") {
        Some(party) if party == expected.client_id => {}
        Some(_) => return Err(wrong("was issued to another client")),
        None if audience.len() > 1 => return Err(wrong("is meant for several and does not say for whom")),
        None => {}
    }
    let now = expected.now.seconds();
    let clocks = |by: i64| {
        format!(
            "the clocks of this server and of the provider differ by at least {by} s, or the token was held back; at most {LEEWAY_SECONDS} s are allowed, so set both by the same time server"
        )
    };
    let issued = seconds(claims, "iat")?.ok_or_else(|| wrong("does not say when it was issued"))?;
    if issued > now + LEEWAY_SECONDS {
        let ahead = issued - now;
        return Err(wrong(format!("is from {ahead} s in the future")).hint(clocks(ahead)));
    }
    if issued < now - AGE_SECONDS_MAX {
        return Err(wrong("was issued more than a day ago").hint(clocks(now - issued)));
    }
    if let Some(begins) = seconds(claims, "nbf")?.filter(|begins| *begins > now + LEEWAY_SECONDS) {
        return Err(wrong(format!("begins in {} s", begins - now)).hint(clocks(begins - now)));
    }
    if let Some(end) = seconds(claims, "exp")?.filter(|end| *end <= now - LEEWAY_SECONDS) {
        return Err(wrong(format!("ended {} s ago", now - end)).hint(clocks(now - end)));
    }
    Ok(())
}

/// A name that a provider gave: of a person there, or of a session.
fn name(claims: &Claims, what: &str) -> Result<Option<String>> {
    match text(claims, what) {
        None => Ok(None),
        Some(text)
            if !text.is_empty() && text.len() <= SUBJECT_BYTES_MAX && !text.chars().any(char::is_control) =>
        {
            Ok(Some(text.to_owned()))
        }
        Some(_) => Err(wrong(format!("has a `{what}` that is not one"))),
    }
}

/// Checks what an ID token claims; gives the subject.
pub(super) fn identity(claims: &Claims, expected: &Expected<'_>, nonce: &str) -> Result<String> {
    common(claims, expected)?;
    if claims.get("exp").is_none() {
        return Err(wrong("does not say when it ends"));
    }
    if text(claims, "nonce") != Some(nonce) {
        return Err(wrong("answers another sign-in").hint("begin again"));
    }
    subject(claims)
}

/// The subject.
pub(super) fn subject(claims: &Claims) -> Result<String> {
    name(claims, "sub")?.ok_or_else(|| wrong("does not say who it is about"))
}

/// The provider's name of the session.
pub(super) fn session(claims: &Claims) -> Result<Option<String>> {
    name(claims, "sid")
}

/// Whose sessions a logout token ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    /// The subject.
    pub subject: Option<String>,
    /// The provider's name of the session.
    pub session: Option<String>,
    /// Names the token, so that it is used once.
    pub token: String,
    /// After this instant it would be refused anyway.
    pub until: Timestamp,
}

/// Checks what a logout token claims.
pub(super) fn logout(claims: &Claims, expected: &Expected<'_>) -> Result<LoggedOut> {
    common(claims, expected)?;
    if claims.contains_key("nonce") {
        return Err(wrong("is no logout token: it has a nonce"));
    }
    if !claims.get("events").and_then(|events| events.get(LOGOUT)).is_some_and(Value::is_object) {
        return Err(wrong("is no logout token: it lacks the event"));
    }
    let end = seconds(claims, "exp")?.ok_or_else(|| wrong("does not say when it ends"))?;
    let told = LoggedOut {
        subject: name(claims, "sub")?,
        session: session(claims)?,
        token: name(claims, "jti")?.ok_or_else(|| wrong("has no name of its own"))?,
        until: Timestamp::from_milliseconds(end.saturating_add(LEEWAY_SECONDS).saturating_mul(1_000)),
    };
    if told.subject.is_none() && told.session.is_none() {
        return Err(wrong("does not say whose sessions end"));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn expected() -> Expected<'static> {
        let now = Timestamp::from_milliseconds(NOW * 1_000 + 500);
        Expected { issuer: "https://id.lan", client_id: "muster", now }
    }

    fn claims(change: Value) -> Claims {
        let mut claims = json!({
            "iss": "https://id.lan", "aud": "muster", "sub": "u1", "nonce": "n", "iat": NOW, "exp": NOW + 300,
        });
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn only_the_right_token_is_believed() {
        for good in [
            json!({}),
            json!({ "aud": ["muster"] }),
            json!({ "aud": ["other", "muster"], "azp": "muster" }),
            json!({ "iat": NOW + LEEWAY_SECONDS }),
            json!({ "exp": NOW - LEEWAY_SECONDS + 1 }),
            json!({ "exp": (NOW + 5) as f64 + 0.5 }),
            json!({ "nbf": NOW }),
        ] {
            assert_eq!(identity(&claims(good.clone()), &expected(), "n").unwrap(), "u1", "{good}");
        }
        for (wrong, why) in [
            (json!({ "iss": "https://id.lan/" }), "issued by"),
            (json!({ "iss": null }), "issued by"),
            (json!({ "aud": "other" }), "another client"),
            (json!({ "aud": [] }), "another client"),
            (json!({ "aud": null }), "another client"),
            (json!({ "aud": ["muster", "other"] }), "for several"),
            (json!({ "azp": "other" }), "another client"),
            (json!({ "nonce": "m" }), "another sign-in"),
            (json!({ "nonce": null }), "another sign-in"),
            (json!({ "exp": NOW - LEEWAY_SECONDS }), "ended 60 s ago"),
            (json!({ "exp": null }), "when it ends"),
            (json!({ "exp": "soon" }), "no instant"),
            (json!({ "iat": NOW + LEEWAY_SECONDS + 1 }), "61 s in the future"),
            (json!({ "iat": null }), "when it was issued"),
            (json!({ "iat": NOW - 2 * AGE_SECONDS_MAX, "exp": NOW + 5 }), "more than a day"),
            (json!({ "nbf": NOW + 100 }), "begins in 100 s"),
            (json!({ "sub": null }), "who it is about"),
            (json!({ "sub": "" }), "not one"),
            (json!({ "sub": "x".repeat(256) }), "not one"),
            (json!({ "sub": "a\nb" }), "not one"),
        ] {
            let error = identity(&claims(wrong.clone()), &expected(), "n").unwrap_err();
            assert!(error.message().contains(why), "{wrong}: {error}");
        }
        let late = identity(&claims(json!({ "exp": NOW - 500 })), &expected(), "n").unwrap_err();
        assert!(late.hint_text().unwrap().contains("clocks"), "{late}");
    }

    #[test]
    fn a_logout_token_is_nothing_else() {
        let event = json!({ LOGOUT: {} });
        let good = json!({ "nonce": null, "events": event, "sid": "s1", "jti": "j" });
        let told = logout(&claims(good.clone()), &expected()).unwrap();
        assert_eq!((told.subject.as_deref(), told.session.as_deref()), (Some("u1"), Some("s1")));
        for (name, value) in [
            ("nonce", json!("n")),
            ("events", json!({})),
            ("events", json!({ LOGOUT: true })),
            ("jti", Value::Null),
            ("exp", Value::Null),
            ("exp", json!(NOW - 100)),
            ("iss", json!("https://other")),
            ("aud", json!("other")),
        ] {
            let mut wrong = good.clone();
            wrong[name] = value;
            assert!(logout(&claims(wrong.clone()), &expected()).is_err(), "{wrong}");
        }
        let nobody = json!({ "nonce": null, "events": { LOGOUT: {} }, "sub": null, "jti": "j" });
        assert!(logout(&claims(nobody), &expected()).is_err());
        assert!(identity(&claims(good), &expected(), "n").is_err(), "and signs nobody in");
    }
}
