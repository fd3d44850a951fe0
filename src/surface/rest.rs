//! Every operation as a route below `/api/v1`.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::{Method as HttpMethod, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use super::caller::Caller;
use super::{Surface, download, errors, form, input, specificity};
use crate::base::{Error, Result};
use crate::engine::http::{Refusal, body};
use crate::kit::{Actor, Asked, Ctx, Download, Intent, Method, OWN, Op, Ops};

/// Where the API lives.
pub(super) const ROOT: &str = "/api/v1";

pub(super) fn configure(surface: &Arc<Surface>, app: &mut web::ServiceConfig) {
    let mut paths: BTreeMap<(Vec<bool>, &'static str), Vec<usize>> = BTreeMap::new();
    for (index, op) in surface.ops.0.iter().enumerate() {
        paths.entry((specificity(op.path), op.path)).or_default().push(index);
    }
    let mut scope = web::scope(ROOT)
        .route("/openapi.json", web::get().to(document))
        .route("/openapi.json", web::head().to(document));
    for ((_, path), indexes) in paths {
        let mut resource = web::resource(format!("/{}", path.trim_start_matches('/')));
        let mut allowed = Vec::new();
        for index in indexes {
            let Some(op) = surface.ops.0.get(index) else { continue };
            let mut methods = vec![http_method(op.method)];
            if op.method == Method::Get {
                methods.push(HttpMethod::HEAD);
            }
            for method in methods {
                allowed.push(method.to_string());
                resource = resource.route(web::method(method).to(
                    move |surface: web::Data<Surface>, request: HttpRequest, payload: web::Payload| {
                        run(surface.into_inner(), index, request, payload)
                    },
                ));
            }
        }
        let allowed = allowed.join(", ");
        scope = scope.service(resource.default_service(web::to(move |request: HttpRequest| {
            let mut answer = errors::body(&Caller::of(&request), &errors::no_method(&request));
            if let Ok(value) = header::HeaderValue::from_str(&allowed) {
                answer.headers_mut().insert(header::ALLOW, value);
            }
            async { answer }
        })));
    }
    app.service(scope.default_service(web::to(|request: HttpRequest| async move {
        let error = Error::not_found("operation", request.path().chars().take(120).collect::<String>())
            .hint("see /api/v1/openapi.json");
        errors::body(&Caller::of(&request), &error.into())
    })));
}

pub(super) fn http_method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::GET,
        Method::Post => HttpMethod::POST,
        Method::Patch => HttpMethod::PATCH,
        Method::Delete => HttpMethod::DELETE,
    }
}

async fn document(surface: web::Data<Surface>) -> HttpResponse {
    HttpResponse::Ok().json(&surface.openapi)
}

/// What an operation gives.
enum Answer {
    Value(Value),
    File(Download),
    /// It is kept until a second person has decided.
    Kept(Asked),
}

async fn run(
    surface: Arc<Surface>,
    index: usize,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let caller = Caller::of(&request);
    caller.standings.tell();
    match answer(surface, index, &caller, &request, payload).await {
        Ok(Answer::Value(Value::Null)) => HttpResponse::NoContent().finish(),
        Ok(Answer::Value(value)) => HttpResponse::Ok().json(value),
        Ok(Answer::File(file)) => download::send(file),
        Ok(Answer::Kept(asked)) => HttpResponse::Accepted()
            .insert_header((header::LOCATION, format!("{ROOT}/approvals/{}", asked.id)))
            .json(asked.answer),
        Err(refusal) => errors::body(&caller, &refusal),
    }
}

async fn answer(
    surface: Arc<Surface>,
    index: usize,
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<Answer, Refusal> {
    let body = body(payload).await?;
    if !body.is_empty() {
        content_type(request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()))?;
    }
    let path: Vec<(String, String)> = form::parameters(request)?.into_iter().collect();
    let (query, caller) = (request.query_string().to_owned(), caller.clone());
    let call = move || {
        let op = surface.ops.0.get(index).ok_or_else(|| Error::internal("the operation is gone"))?;
        let ctx = caller.api(&surface, op.method != Method::Get)?;
        surface.rates.known(&ctx, &caller, op.cost)?;
        let span =
            tracing::info_span!("op", name = op.name, request.id = %caller.id, actor.id = %ctx.actor.text());
        span.in_scope(|| {
            permitted(&ctx, op)?;
            let input = input::merge(&op.input, &path, &query, &body)?;
            // Only where something needs a second person may the input be needed twice.
            let kept = surface.site.marks.any(ctx.tenant).then(|| input.clone());
            let outcome = match &op.file {
                Some(file) => file(&ctx, input).map(Answer::File),
                None => (op.run)(&ctx, input).map(Answer::Value),
            };
            let intent = || kept.map(|input| Intent::Operation { name: op.name.to_owned(), input });
            surface.second(&ctx, outcome, intent).map(|answer| answer.unwrap_or_else(Answer::Kept))
        })
    };
    web::block(call).await.map_err(|_| errors::panicked())?.map_err(Refusal::from)
}

/// Runs an operation by its name, for who is not behind HTTP: the control socket and commands on a stopped folder.
/// Fields that it does not have are refused, as over HTTP.
pub fn call(ops: &Ops, ctx: &Ctx<'_>, name: &str, input: Value) -> Result<Value> {
    let op = ops.0.iter().find(|op| op.name == name).ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        Error::not_found("operation", shown).hint("every operation stands in the console at /help/api")
    })?;
    let fields = match input {
        Value::Null => Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(Error::invalid("the input is not a JSON object")),
    };
    let span =
        tracing::info_span!("op", name = op.name, request.id = %ctx.request.id, actor.id = %ctx.actor.text());
    span.in_scope(|| {
        permitted(ctx, op)?;
        input::known(&op.input, &fields)?;
        (op.run)(ctx, Value::Object(fields))
    })
}

/// The operation asks for itself too; here nothing of the input is even looked at for who may not.
fn permitted(ctx: &Ctx<'_>, op: &Op) -> Result<()> {
    Err(match ctx.actor {
        Actor::Anonymous => {
            Error::unauthenticated("nobody is signed in").hint("send `Authorization: Bearer mst_…`")
        }
        _ if op.permission == OWN || ctx.actor.may(&op.permission) => return Ok(()),
        _ => ctx.refused(&op.permission, false),
    })
}

/// JSON is the one form of bodies.
fn content_type(given: Option<&str>) -> Result<(), Refusal> {
    let given = given.unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let shown: String = kind.chars().take(60).collect();
    let error = match shown.is_empty() {
        true => Error::invalid("the body has no content type"),
        false => Error::invalid(format!("bodies of type `{shown}` are not read")),
    };
    Err(Refusal::new(415, error.hint("send `Content-Type: application/json`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_read() {
        for good in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
            assert!(content_type(Some(good)).is_ok(), "{good}");
        }
        for bad in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
        {
            assert_eq!(content_type(bad).unwrap_err().status, 415, "{bad:?}");
        }
    }
}
