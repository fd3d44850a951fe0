//! Three pages for machines.
//!
//! `/healthz` says that the process answers, `/readyz` that it can do its work; both tell nothing else and ask for
//! nothing. `/metrics` is for who has `settings.read`, or for a program on this machine: a request from the loopback
//! address that no proxy has passed on. A proxy on this machine that hides where requests come from must block it.

use std::sync::atomic::Ordering;

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::caller::Caller;
use super::{Surface, errors, metrics};
use crate::base::{Error, Result};

pub(super) fn configure(app: &mut web::ServiceConfig) {
    for (path, route) in [
        ("/healthz", [web::get().to(alive), web::head().to(alive)]),
        ("/readyz", [web::get().to(ready), web::head().to(ready)]),
        ("/metrics", [web::get().to(numbers), web::head().to(numbers)]),
    ] {
        let resource = route.into_iter().fold(web::resource(path), |resource, route| resource.route(route));
        app.service(resource.default_service(web::to(errors::reads_only)));
    }
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8")).body("ok\n")
}

async fn ready(surface: web::Data<Surface>) -> HttpResponse {
    let checks = surface.checks();
    let good = checks.iter().all(|(_, good)| *good);
    let body: serde_json::Map<_, _> = checks
        .into_iter()
        .map(|(name, good)| (name.to_owned(), json!(if good { "ok" } else { "not ready" })))
        .collect();
    let mut answer = if good { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.json(json!({ "ready": good, "checks": body }))
}

async fn numbers(surface: web::Data<Surface>, request: HttpRequest) -> HttpResponse {
    let (surface, caller) = (surface.into_inner(), Caller::of(&request));
    let local = is_local(&request);
    let call = {
        let caller = caller.clone();
        move || -> Result<String> {
            if !local {
                let ctx = caller.api(&surface, false)?;
                ctx.require("settings.read")?;
                if ctx.tenant != ctx.site.home {
                    return Err(Error::forbidden("these numbers are about the whole site")
                        .hint("ask who runs the site"));
                }
                surface.rates.known(&ctx, &caller, 1)?;
            }
            Ok(metrics::text(&surface))
        }
    };
    match web::block(call).await.unwrap_or_else(|_| Err(errors::panicked())) {
        Ok(text) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
            .body(text),
        Err(error) => errors::body(&caller, &error.into()),
    }
}

/// A program on this machine asks, and not for somebody else.
fn is_local(request: &HttpRequest) -> bool {
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
        .into_iter()
        .any(|name| request.headers().contains_key(HeaderName::from_static(name)));
    request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback()) && !passed_on
}

impl Surface {
    /// What must be well for the site to do its work.
    pub(super) fn checks(&self) -> [(&'static str, bool); 3] {
        [
            ("started", self.ready.load(Ordering::SeqCst)),
            ("store", self.site.store.stats().last_error.is_none()),
            ("broker", self.site.bus().is_some()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_programs_on_this_machine_need_no_key() {
        let from = |address: &str| TestRequest::get().peer_addr(address.parse().unwrap());
        assert!(is_local(&from("127.0.0.1:5").to_http_request()));
        assert!(is_local(&from("[::1]:5").to_http_request()));
        assert!(is_local(&from("[::ffff:127.0.0.1]:5").to_http_request()));
        assert!(!is_local(&from("10.0.0.5:5").to_http_request()));
        let passed_on = from("127.0.0.1:5").insert_header(("x-forwarded-for", "10.0.0.5"));
        assert!(!is_local(&passed_on.to_http_request()));
        assert!(!is_local(&TestRequest::get().to_http_request()));
    }
}
