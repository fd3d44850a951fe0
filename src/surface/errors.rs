//! Errors as pages, and which of the two forms a reader gets.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::caller::Caller;
use crate::base::Error;
use crate::engine::http::{Refusal, assets, log, problem};

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    assets: String,
    theme: &'static str,
    status: u16,
    message: String,
    hint: String,
    request: String,
}

/// The error as a page. It is logged here.
pub(super) fn page(caller: &Caller, refusal: &Refusal) -> HttpResponse {
    log(&refusal.error, &caller.id);
    let page = ErrorPage {
        assets: assets::prefix(),
        theme: caller.theme().word(),
        status: refusal.status,
        message: refusal.error.message().to_owned(),
        hint: refusal.error.hint_text().unwrap_or_default().to_owned(),
        request: caller.id.clone(),
    };
    match page.render() {
        Ok(text) => HttpResponse::build(StatusCode::from_u16(refusal.status).unwrap_or_default())
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .body(text),
        Err(error) => {
            log(&error.into(), &caller.id);
            problem(refusal, &caller.id)
        }
    }
}

/// The error as `application/problem+json`. It is logged here.
pub(super) fn body(caller: &Caller, refusal: &Refusal) -> HttpResponse {
    log(&refusal.error, &caller.id);
    problem(refusal, &caller.id)
}

/// The error as a page for who reads pages, as a problem for the others.
pub fn either(request: &HttpRequest, refusal: &Refusal) -> HttpResponse {
    let caller = Caller::of(request);
    let accept = request.headers().get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") { page(&caller, refusal) } else { body(&caller, refusal) }
}

/// No route has this path.
pub(super) fn no_route(path: &str) -> Refusal {
    Error::not_found("page", path.chars().take(120).collect::<String>()).into()
}

/// The path is there, the method is not.
pub(super) fn no_method(request: &HttpRequest) -> Refusal {
    let error = Error::invalid(format!("`{}` does not take {}", request.path(), request.method()));
    Refusal::new(405, error)
}

/// Another method on what is only read.
pub(super) async fn reads_only(request: HttpRequest) -> HttpResponse {
    let mut answer = either(&request, &no_method(&request));
    answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    answer
}

/// An operation or page that panicked.
pub(super) fn panicked() -> Error {
    Error::internal("the handler panicked")
}
