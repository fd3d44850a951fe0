//! Tokens for programs (OAuth 2.0): `POST /oauth/token` gives them for a key (RFC 6749, 4.4) or for a refresh token
//! (section 6), `POST /oauth/revoke` takes them back (RFC 7009), `POST /oauth/introspect` says what one is (RFC 7662);
//! beside them the keys with which tokens are verified, and the page that says all this (RFC 8414). It speaks the
//! protocol, and knows nothing of keys.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::caller::Caller;
use super::{Surface, errors, form};
use crate::base::{Error, Kind, Result};
use crate::engine::crypto::from_base64;
use crate::engine::http::{Refusal, body, log};
use crate::kit::{OauthClient, Site};

/// Where tokens are got.
const TOKEN: &str = "/oauth/token";
/// Where they are given back.
const REVOKE: &str = "/oauth/revoke";
/// Where it is said what one is.
const INTROSPECT: &str = "/oauth/introspect";
/// Where the public keys are.
const KEYS: &str = "/.well-known/jwks.json";
/// Where all of them are named.
const METADATA: &str = "/.well-known/oauth-authorization-server";

pub(super) fn configure(app: &mut web::ServiceConfig) {
    for (path, route) in [
        (TOKEN, web::post().to(token)),
        (REVOKE, web::post().to(revoke)),
        (INTROSPECT, web::post().to(introspect)),
    ] {
        app.service(web::resource(path).route(route).default_service(web::to(
            |request: HttpRequest| async move {
                let mut answer = errors::body(&Caller::of(&request), &errors::no_method(&request));
                answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
                answer
            },
        )));
    }
    for (path, routes) in [
        (KEYS, [web::get().to(keys), web::head().to(keys)]),
        (METADATA, [web::get().to(metadata), web::head().to(metadata)]),
    ] {
        let resource = routes.into_iter().fold(web::resource(path), |resource, route| resource.route(route));
        app.service(resource.default_service(web::to(errors::reads_only)));
    }
}

async fn token(surface: web::Data<Surface>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(surface, request, payload, "invalid_scope", |pairs| {
        let refresh = match one(pairs, "grant_type")? {
            Some("client_credentials") => None,
            Some("refresh_token") => Some(needed(pairs, "refresh_token")?),
            None => return Err(missing("grant_type")),
            Some(_) => {
                let error = Error::invalid("a `grant_type` is `client_credentials` or `refresh_token` here");
                return Err(("unsupported_grant_type", error));
            }
        };
        let scope = one(pairs, "scope")?.unwrap_or_default().to_owned();
        let secret_needed = refresh.is_none();
        let call = move |surface: &Surface, client: &OauthClient| {
            (surface.doors.token)(&surface.site, client, refresh.as_deref(), &scope).map(Some)
        };
        Ok((secret_needed, Box::new(call)))
    })
    .await
}

async fn revoke(surface: web::Data<Surface>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(surface, request, payload, "unsupported_token_type", |pairs| {
        let token = needed(pairs, "token")?;
        let call = move |surface: &Surface, client: &OauthClient| {
            (surface.doors.revoke)(&surface.site, client, &token).map(|()| None)
        };
        Ok((false, Box::new(call)))
    })
    .await
}

async fn introspect(
    surface: web::Data<Surface>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    answer(surface, request, payload, "invalid_request", |pairs| {
        let token = needed(pairs, "token")?;
        let call = move |surface: &Surface, client: &OauthClient| {
            (surface.doors.introspect)(&surface.site, client, &token).map(Some)
        };
        Ok((true, Box::new(call)))
    })
    .await
}

/// What the protocol calls an error, and the error.
type Refused = (&'static str, Error);

/// What is done with who asks; nothing is an empty answer.
type Call = Box<dyn FnOnce(&Surface, &OauthClient) -> Result<Option<Value>> + Send>;

/// Reads the form, by `read` what is wanted and whether the program must show its secret, and answers. `invalid` is what
/// the protocol calls something that is not valid there.
async fn answer(
    surface: web::Data<Surface>,
    request: HttpRequest,
    payload: web::Payload,
    invalid: &'static str,
    read: impl FnOnce(&[(String, String)]) -> Result<(bool, Call), Refused>,
) -> HttpResponse {
    let (surface, caller) = (surface.into_inner(), Caller::of(&request));
    let basic = request.headers().contains_key(header::AUTHORIZATION);
    let pairs = match asked(&request, payload).await {
        Ok(pairs) => pairs,
        Err(refusal) => return refused("invalid_request", basic, &caller, &refusal.error),
    };
    let wanted = read(&pairs).and_then(|(secret_needed, call)| {
        let header = request.headers().get(header::AUTHORIZATION);
        Ok((client(&pairs, header, secret_needed, &caller.from)?, call))
    });
    let (client, call) = match wanted {
        Ok(wanted) => wanted,
        Err((code, error)) => return refused(code, basic, &caller, &error),
    };
    let call = {
        let caller = caller.clone();
        move || -> Result<Option<Value>> {
            let ctx = caller.nobody(&surface);
            surface.rates.door(&ctx, &caller)?;
            call(&surface, &client)
        }
    };
    match web::block(call).await.unwrap_or_else(|_| Err(errors::panicked())) {
        Ok(Some(answer)) => HttpResponse::Ok().json(answer),
        Ok(None) => HttpResponse::Ok().finish(),
        Err(error) => {
            let code = match error.kind() {
                Kind::Unauthenticated => "invalid_client",
                Kind::Forbidden => "invalid_grant",
                Kind::Invalid => invalid,
                // The protocol has no word for it; the status says it all.
                _ => return errors::body(&caller, &error.into()),
            };
            refused(code, basic, &caller, &error)
        }
    }
}

/// The form, and nothing but a form.
async fn asked(request: &HttpRequest, payload: web::Payload) -> Result<Vec<(String, String)>, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") || !request.query_string().is_empty() {
        let error = Error::invalid("the request is not a form, or has something in its address");
        return Err(Refusal::new(400, error.hint("send `application/x-www-form-urlencoded` in the body")));
    }
    Ok(form::pairs(&body(payload).await?)?)
}

/// The one value of this name, if it stands there.
fn one<'a>(pairs: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, Refused> {
    let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(("invalid_request", Error::invalid(format!("`{name}` stands there twice")))),
        (value, None) => Ok(value.filter(|value| !value.is_empty())),
    }
}

fn needed(pairs: &[(String, String)], name: &str) -> Result<String, Refused> {
    one(pairs, name)?.map(str::to_owned).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Refused {
    ("invalid_request", Error::invalid(format!("`{name}` is missing")))
}

/// Who asks, as it says in one place. Where a token speaks for itself, the program may leave its secret out.
fn client(
    pairs: &[(String, String)],
    authorization: Option<&header::HeaderValue>,
    secret_needed: bool,
    from: &str,
) -> Result<OauthClient, Refused> {
    let (id, secret) = (one(pairs, "client_id")?, one(pairs, "client_secret")?);
    let (id, secret) = match authorization {
        Some(_) if secret.is_some() => {
            let error = Error::invalid("the secret stands in the form and in `Authorization`");
            return Err(("invalid_request", error));
        }
        Some(header) => {
            let (known, secret) = basic(header).ok_or_else(|| {
                let error = "`Authorization` is not `Basic` with identifier and text";
                ("invalid_client", Error::unauthenticated(error))
            })?;
            if id.is_some_and(|id| id != known) {
                let error = Error::invalid("`client_id` is another than in `Authorization`");
                return Err(("invalid_request", error));
            }
            (known, Some(secret))
        }
        None => match (id, secret) {
            (Some(id), Some(secret)) => (id.to_owned(), Some(secret.to_owned())),
            (Some(id), None) if !secret_needed => (id.to_owned(), None),
            _ => {
                let error = Error::unauthenticated("`client_id` or `client_secret` is missing");
                return Err(("invalid_client", error));
            }
        },
    };
    Ok(OauthClient { id, secret, from: from.to_owned() })
}

/// RFC 6749, 2.3.1: both are form-encoded, then joined and written in base 64.
fn basic(header: &header::HeaderValue) -> Option<(String, String)> {
    let (scheme, coded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(from_base64(coded.trim())?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let plain = |part: &str| {
        let mut pairs = form::pairs(format!("x={part}").as_bytes()).ok()?;
        (pairs.len() == 1).then(|| pairs.remove(0).1)
    };
    Some((plain(id)?, plain(secret)?))
}

/// RFC 6749, 5.2.
fn refused(code: &str, basic: bool, caller: &Caller, error: &Error) -> HttpResponse {
    log(error, &caller.id);
    let description = match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    };
    // The RFC allows no other characters there.
    let plain = |c: char| if c == '"' || c == '\\' || !(' '..='~').contains(&c) { '\'' } else { c };
    let description: String = description.chars().map(plain).collect();
    let mut answer = match code {
        "invalid_client" => HttpResponse::Unauthorized(),
        _ => HttpResponse::BadRequest(),
    };
    if code == "invalid_client" && basic {
        answer.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"muster\""));
    }
    answer.json(json!({ "error": code, "error_description": description }))
}

async fn keys(surface: web::Data<Surface>, request: HttpRequest) -> HttpResponse {
    let (surface, caller): (Arc<Surface>, _) = (surface.into_inner(), Caller::of(&request));
    let call = move || (surface.doors.jwks)(&surface.site);
    match web::block(call).await.unwrap_or_else(|_| Err(errors::panicked())) {
        Ok(keys) => HttpResponse::Ok().json(keys),
        Err(error) => errors::body(&caller, &error.into()),
    }
}

async fn metadata(surface: web::Data<Surface>) -> HttpResponse {
    HttpResponse::Ok().json(described(&surface.site))
}

/// RFC 8414, 2.
fn described(site: &Site) -> Value {
    let issuer = site.settings.console();
    let secret = ["client_secret_basic", "client_secret_post"];
    // Who shows a refresh token may do without the secret.
    let any = ["client_secret_basic", "client_secret_post", "none"];
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}{TOKEN}"),
        "jwks_uri": format!("{issuer}{KEYS}"),
        "revocation_endpoint": format!("{issuer}{REVOKE}"),
        "introspection_endpoint": format!("{issuer}{INTROSPECT}"),
        "grant_types_supported": ["client_credentials", "refresh_token"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": any,
        "revocation_endpoint_auth_methods_supported": any,
        "introspection_endpoint_auth_methods_supported": secret,
        "service_documentation": format!("{issuer}/help/integration#short-lived-tokens"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(form: &str, authorization: Option<&str>, secret_needed: bool) -> Result<String, &'static str> {
        let header = authorization.map(|text| header::HeaderValue::from_str(text).unwrap());
        let pairs = form::pairs(form.as_bytes()).unwrap();
        match client(&pairs, header.as_ref(), secret_needed, "x") {
            Ok(client) => Ok(format!("{} {}", client.id, client.secret.as_deref().unwrap_or("-"))),
            Err((code, _)) => Err(code),
        }
    }

    #[test]
    fn a_program_shows_who_it_is_in_one_place() {
        let found = |text: &str| Ok(text.to_owned());
        for (form, authorization, expected) in [
            ("client_id=a&client_secret=b", None, found("a b")),
            ("x=y", Some("Basic YTpi"), found("a b")),
            ("client_id=a%2F", Some("basic YSUyRjpiJTNB"), found("a/ b:")),
            ("client_id=b", Some("Basic YTpi"), Err("invalid_request")),
            ("x=y", Some("Bearer YTpi"), Err("invalid_client")),
            ("x=y", Some("Basic ?"), Err("invalid_client")),
            ("x=y", Some("Basic YQ=="), Err("invalid_client")),
            ("client_secret=b", Some("Basic YTpi"), Err("invalid_request")),
            ("client_id=a", None, Err("invalid_client")),
            ("client_secret=b", None, Err("invalid_client")),
            ("client_id=a&client_id=a&client_secret=b", None, Err("invalid_request")),
        ] {
            assert_eq!(asked(form, authorization, true), expected, "{form} {authorization:?}");
        }
        assert_eq!(asked("client_id=a", None, false), found("a -"));
        assert_eq!(asked("client_secret=b", None, false), Err("invalid_client"));
        assert_eq!(asked("x=y", None, false), Err("invalid_client"));
    }
}
