//! Short-lived tokens for programs (OAuth 2.0, RFC 6749, 4.4): `POST /oauth/token`, the keys with which they are verified,
//! and the page that says so (RFC 8414). It speaks the protocol, and knows nothing of keys.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::caller::Caller;
use super::{Surface, errors, form};
use crate::base::{Error, Kind, Result};
use crate::engine::crypto::from_base64;
use crate::engine::http::{Refusal, body, log};

/// Where tokens are got.
const TOKEN: &str = "/oauth/token";
/// Where the public keys are.
const KEYS: &str = "/.well-known/jwks.json";
/// Where both are named.
const METADATA: &str = "/.well-known/oauth-authorization-server";

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.service(web::resource(TOKEN).route(web::post().to(token)).default_service(web::to(
        |request: HttpRequest| async move {
            let mut answer = errors::body(&Caller::of(&request), &errors::no_method(&request));
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
            answer
        },
    )));
    for (path, routes) in [
        (KEYS, [web::get().to(keys), web::head().to(keys)]),
        (METADATA, [web::get().to(metadata), web::head().to(metadata)]),
    ] {
        let resource = routes.into_iter().fold(web::resource(path), |resource, route| resource.route(route));
        app.service(resource.default_service(web::to(errors::reads_only)));
    }
}

async fn token(surface: web::Data<Surface>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let (surface, caller) = (surface.into_inner(), Caller::of(&request));
    let basic = request.headers().contains_key(header::AUTHORIZATION);
    let body = match asked(&request, payload).await {
        Ok(body) => body,
        Err(refusal) => return refused("invalid_request", basic, &caller, &refusal.error),
    };
    let asked = match Asked::of(&body, request.headers().get(header::AUTHORIZATION)) {
        Ok(asked) => asked,
        Err((code, error)) => return refused(code, basic, &caller, &error),
    };
    let call = {
        let (surface, caller) = (surface, caller.clone());
        move || -> Result<Value> {
            let ctx = caller.nobody(&surface);
            surface.rates.door(&ctx, &caller)?;
            (surface.doors.token)(&surface.site, &asked.id, &asked.secret, &asked.scope, &caller.from)
        }
    };
    match web::block(call).await.unwrap_or_else(|_| Err(errors::panicked())) {
        Ok(answer) => HttpResponse::Ok().json(answer),
        Err(error) => {
            let code = match error.kind() {
                Kind::Unauthenticated => "invalid_client",
                Kind::Invalid => "invalid_scope",
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

/// What a program asks. It holds a secret, and so it cannot be printed.
struct Asked {
    id: String,
    secret: String,
    scope: String,
}

impl Asked {
    fn of(
        pairs: &[(String, String)],
        authorization: Option<&header::HeaderValue>,
    ) -> Result<Asked, (&'static str, Error)> {
        let one = |name: &str| -> Result<Option<&str>, (&'static str, Error)> {
            let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
            match (values.next(), values.next()) {
                (_, Some(_)) => {
                    Err(("invalid_request", Error::invalid(format!("`{name}` stands there twice"))))
                }
                (value, None) => Ok(value.filter(|value| !value.is_empty())),
            }
        };
        match one("grant_type")? {
            Some("client_credentials") => {}
            None => return Err(("invalid_request", Error::invalid("`grant_type` is missing"))),
            Some(_) => {
                let error = Error::invalid("only `client_credentials` is a `grant_type` here");
                return Err(("unsupported_grant_type", error));
            }
        }
        let scope = one("scope")?.unwrap_or_default().to_owned();
        let (id, secret) = (one("client_id")?, one("client_secret")?);
        let (id, secret) = match authorization {
            Some(_) if secret.is_some() => {
                let error = Error::invalid("the secret stands in the form and in `Authorization`");
                return Err(("invalid_request", error));
            }
            Some(header) => basic(header).ok_or_else(|| {
                (
                    "invalid_client",
                    Error::unauthenticated("`Authorization` is not `Basic` with identifier and text"),
                )
            })?,
            None => match (id, secret) {
                (Some(id), Some(secret)) => (id.to_owned(), secret.to_owned()),
                _ => {
                    let error = Error::unauthenticated("`client_id` or `client_secret` is missing");
                    return Err(("invalid_client", error));
                }
            },
        };
        Ok(Asked { id, secret, scope })
    }
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
    let issuer = surface.site.settings.console();
    HttpResponse::Ok().json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}{TOKEN}"),
        "jwks_uri": format!("{issuer}{KEYS}"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "service_documentation": format!("{issuer}/help/network#programs"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(form: &str, authorization: Option<&str>) -> Result<(String, String, String), &'static str> {
        let header = authorization.map(|text| header::HeaderValue::from_str(text).unwrap());
        let pairs = form::pairs(form.as_bytes()).unwrap();
        match Asked::of(&pairs, header.as_ref()) {
            Ok(asked) => Ok((asked.id, asked.secret, asked.scope)),
            Err((code, _)) => Err(code),
        }
    }

    #[test]
    fn a_program_shows_who_it_is_in_one_place() {
        let grant = "grant_type=client_credentials";
        let found = |id: &str, secret: &str, scope: &str| Ok((id.into(), secret.into(), scope.into()));
        for (form, authorization, expected) in [
            (format!("{grant}&client_id=a&client_secret=b"), None, found("a", "b", "")),
            (
                format!("{grant}&client_id=a&client_secret=b&scope=x.read+y.*"),
                None,
                found("a", "b", "x.read y.*"),
            ),
            (grant.to_owned(), Some("Basic YTpi"), found("a", "b", "")),
            (format!("{grant}&client_id=a"), Some("basic YSUyRjpiJTNB"), found("a/", "b:", "")),
            (grant.to_owned(), Some("Bearer YTpi"), Err("invalid_client")),
            (grant.to_owned(), Some("Basic ?"), Err("invalid_client")),
            (grant.to_owned(), Some("Basic YQ=="), Err("invalid_client")),
            (format!("{grant}&client_secret=b"), Some("Basic YTpi"), Err("invalid_request")),
            (format!("{grant}&client_id=a"), None, Err("invalid_client")),
            (format!("{grant}&client_id=a&client_id=a&client_secret=b"), None, Err("invalid_request")),
            ("client_id=a&client_secret=b".into(), None, Err("invalid_request")),
            ("grant_type=password&client_id=a&client_secret=b".into(), None, Err("unsupported_grant_type")),
        ] {
            assert_eq!(asked(&form, authorization), expected, "{form} {authorization:?}");
        }
    }
}
