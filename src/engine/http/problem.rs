//! Errors as RFC 9457 bodies.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use serde_json::json;

use crate::base::{Error, Kind};

/// An error with a status of its own, where the protocol knows better than the kind: 405, 408, 413, 415, 421.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// What is told.
    pub error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal { status: error.kind().status(), error }
    }
}

impl Refusal {
    /// An error with this status.
    pub fn new(status: u16, error: Error) -> Refusal {
        Refusal { status, error }
    }
}

/// The answer: `{type, title, status, detail, hint, request_id}`. It is logged by [`log()`], not here.
pub fn problem(refusal: &Refusal, request_id: &str) -> HttpResponse {
    let mut body = json!({
        // Every kind has an anchor on the reference page.
        "type": format!("/help/api#{}", refusal.error.kind().word()),
        "title": title(refusal.status),
        "status": refusal.status,
        "detail": refusal.error.message(),
        "request_id": request_id,
    });
    if let Some(hint) = refusal.error.hint_text() {
        body["hint"] = hint.into();
    }
    let mut answer = HttpResponse::build(
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    );
    answer.insert_header((header::CONTENT_TYPE, "application/problem+json"));
    match refusal.status {
        401 => {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        429 | 503 => {
            answer.insert_header((header::RETRY_AFTER, "5"));
        }
        _ => {}
    }
    answer.body(body.to_string())
}

/// The words of a status.
pub fn title(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error")
}

/// Logs an error at the boundary, once: a defect asks for a person, a part that is not ready is a warning, and what the
/// caller did wrong is only for who debugs.
pub fn log(error: &Error, request_id: &str) {
    match error.kind() {
        Kind::Internal => {
            tracing::error!(request.id = request_id, "request `{request_id}` failed: {}", error.detail())
        }
        Kind::Unavailable => {
            tracing::warn!(request.id = request_id, "request `{request_id}` failed: {}", error.detail())
        }
        _ => tracing::debug!(request.id = request_id, "request `{request_id}` refused: {}", error.detail()),
    }
}
