//! Every page of the console: who may open it, what its forms must prove, and how its answer leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie as HttpCookie, SameSite};
use actix_web::http::{Method as HttpMethod, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use super::caller::Caller;
use super::{Surface, download, errors, form, reference, specificity};
use crate::base::{Error, Kind, Result};
use crate::engine::http::{Refusal, body, log};
use crate::kit::{Access, Actor, Cookie, Intent, PageRequest, Reply, query};

/// What a route runs.
#[derive(Clone, Copy)]
enum Target {
    /// A page of a capability, by its place in the list.
    Page(usize),
    /// The reference of the API.
    Reference,
}

/// Routes with literal parts before those with parameters; for each whether it takes a form, and what answers.
type Paths = BTreeMap<(Vec<bool>, &'static str), Vec<(bool, Target)>>;

pub(super) fn configure(surface: &Arc<Surface>, app: &mut web::ServiceConfig) {
    let mut paths: Paths = BTreeMap::new();
    for (index, page) in surface.pages.pages.iter().enumerate() {
        paths.entry((specificity(page.path), page.path)).or_default().push((page.form, Target::Page(index)));
    }
    paths
        .entry((specificity(reference::PATH), reference::PATH))
        .or_default()
        .push((false, Target::Reference));
    for ((_, path), targets) in paths {
        let mut resource = web::resource(path);
        let allowed = match (targets.iter().any(|(form, _)| !form), targets.iter().any(|(form, _)| *form)) {
            (true, true) => "GET, HEAD, POST",
            (true, false) => "GET, HEAD",
            (false, _) => "POST",
        };
        for (form, target) in targets {
            let methods = if form { vec![HttpMethod::POST] } else { vec![HttpMethod::GET, HttpMethod::HEAD] };
            for method in methods {
                resource = resource.route(web::method(method).to(
                    move |surface: web::Data<Surface>, request: HttpRequest, payload: web::Payload| {
                        open(surface.into_inner(), target, request, payload)
                    },
                ));
            }
        }
        app.service(resource.default_service(web::to(move |request: HttpRequest| async move {
            let mut answer = errors::either(&request, &errors::no_method(&request));
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
            answer
        })));
    }
    app.default_service(web::to(|request: HttpRequest| async move {
        errors::either(&request, &errors::no_route(request.path()))
    }));
}

/// What became of a request for a page.
enum Outcome {
    Reply(Reply),
    /// Nobody is signed in, or what was asked is kept: go there first.
    Elsewhere(String),
}

async fn open(
    surface: Arc<Surface>,
    target: Target,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let caller = Caller::of(&request);
    let posted = request.method() == HttpMethod::POST;
    let mut asked = match ask(&request, posted, payload).await {
        Ok(asked) => asked,
        Err(refusal) => return errors::page(&caller, &refusal),
    };
    asked.help = match target {
        Target::Page(index) => {
            surface.pages.pages.get(index).map_or("", |page| surface.pages.help(page.path))
        }
        Target::Reference => "",
    };
    let htmx = asked.htmx;
    let call = {
        let (surface, caller) = (surface.clone(), caller.clone());
        move || run(&surface, target, &caller, posted, &asked)
    };
    match web::block(call).await.unwrap_or_else(|_| Err(errors::panicked())) {
        Ok(Outcome::Reply(reply)) => leave(reply),
        Ok(Outcome::Elsewhere(to)) if htmx => {
            // A redirect would put the sign-in page into the middle of this one.
            HttpResponse::Ok().insert_header(("hx-redirect", to)).finish()
        }
        Ok(Outcome::Elsewhere(to)) => see_other(&to).finish(),
        Err(error) if error.kind() == Kind::StepUp => prove(&request, &caller, posted, htmx, &error),
        Err(error) => failed(&request, &caller, posted, error),
    }
}

/// To the page on which the person shows again who they are, which leads back to the page that they were on.
fn prove(request: &HttpRequest, caller: &Caller, posted: bool, htmx: bool, error: &Error) -> HttpResponse {
    log(error, &caller.id);
    let referer = request.headers().get(header::REFERER).and_then(|r| r.to_str().ok()).unwrap_or_default();
    let from = form::came_from(referer, caller.host.as_deref().unwrap_or_default());
    let asked = request.uri().path_and_query().map(ToString::to_string);
    let next = if posted || htmx { from } else { asked.or(from) };
    let to = format!("/confirm?next={}", form::escape(&next.unwrap_or_else(|| "/".into())));
    match htmx {
        true => HttpResponse::Ok().insert_header(("hx-redirect", to)).finish(),
        false => see_other(&to).finish(),
    }
}

async fn ask(request: &HttpRequest, posted: bool, payload: web::Payload) -> Result<PageRequest, Refusal> {
    let mut fields = BTreeMap::new();
    if posted {
        let body = body(payload).await?;
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !body.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let error = Error::invalid("only forms are read here").hint("programs use /api/v1");
            return Err(Refusal::new(415, error));
        }
        fields = form::fields(form::pairs(&body)?);
    }
    Ok(PageRequest {
        params: form::parameters(request)?,
        query: form::fields(form::pairs(request.query_string().as_bytes())?),
        form: fields,
        htmx: request.headers().contains_key("hx-request"),
        cookies: cookies(request),
        url: request.uri().path_and_query().map(ToString::to_string).unwrap_or_else(|| "/".into()),
        help: "",
    })
}

fn run(
    surface: &Surface,
    target: Target,
    caller: &Caller,
    posted: bool,
    asked: &PageRequest,
) -> Result<Outcome> {
    if posted {
        caller.same_origin()?;
    }
    let ctx = caller.person(surface)?;
    let page = match target {
        Target::Page(index) => surface.pages.pages.get(index),
        Target::Reference => None,
    };
    let (path, access) = page.map_or((reference::PATH, Access::SignedIn), |p| (p.path, p.access));
    let anonymous = matches!(ctx.actor, Actor::Anonymous);
    if anonymous && access == Access::SignedIn {
        return Ok(Outcome::Elsewhere(entrance(surface, posted, asked)));
    }
    match posted && access == Access::Anyone {
        true => surface.rates.door(&ctx, caller)?,
        false => surface.rates.known(&ctx, caller, page.map_or(1, |page| page.cost))?,
    }
    if posted && !anonymous {
        caller.token(&ctx, asked.field("csrf"))?;
    }
    let span =
        tracing::info_span!("page", name = path, request.id = %caller.id, actor.id = %ctx.actor.text());
    let run = || match page {
        Some(page) => (page.run)(&ctx, asked),
        None => reference::page(&ctx, asked, &surface.ops),
    };
    let zone = (surface.doors.zone)(&ctx)?;
    span.in_scope(|| {
        let reply = zone.during(run);
        let intent = || posted.then(|| form_intent(path, asked));
        Ok(match surface.second(&ctx, reply, intent)? {
            Ok(reply) => Outcome::Reply(reply),
            Err(kept) => Outcome::Elsewhere(format!("/approvals/{}?{}", kept.id, query(&[("flash", KEPT)]))),
        })
    })
}

/// What is told of a form that is kept.
const KEPT: &str = "ok:It is kept, and done when another person has approved it";

/// A form as it is kept until a second person has decided. Its token is of this session, and none of what is asked.
fn form_intent(path: &str, asked: &PageRequest) -> Intent {
    let mut fields = asked.form.clone();
    fields.remove("csrf");
    let (params, query) = (asked.params.clone(), asked.query.clone());
    Intent::Form { path: path.to_owned(), params, query, fields }
}

/// Where somebody unknown begins: set-up while there is nobody at all, sign-in otherwise.
fn entrance(surface: &Surface, posted: bool, asked: &PageRequest) -> String {
    if (surface.doors.needs_setup)(&surface.site) {
        return "/setup".into();
    }
    // A form cannot be sent again by a redirect, and a fragment is no page to come back to.
    match posted || asked.htmx || asked.url == "/" || !form::is_local(&asked.url) {
        true => "/login".into(),
        false => format!("/login?next={}", form::escape(&asked.url)),
    }
}

/// What a person can mend in the form is told on the form's page; everything else has a page of its own.
fn failed(request: &HttpRequest, caller: &Caller, posted: bool, error: Error) -> HttpResponse {
    let mendable = matches!(error.kind(), Kind::Invalid | Kind::Conflict | Kind::TooMany);
    // Who asks too often would only be sent to ask again.
    if posted && mendable && !caller.standings.exceeded() {
        let referer =
            request.headers().get(header::REFERER).and_then(|r| r.to_str().ok()).unwrap_or_default();
        let message = match error.hint_text() {
            Some(hint) => format!("{}; {hint}", error.message()),
            None => error.message().to_owned(),
        };
        if let Some(to) = form::back(referer, caller.host.as_deref().unwrap_or_default(), &message) {
            log(&error, &caller.id);
            return see_other(&to).finish();
        }
    }
    errors::page(caller, &error.into())
}

fn leave(reply: Reply) -> HttpResponse {
    match reply {
        Reply::Html(status, text) => {
            HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
                .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
                .body(text)
        }
        Reply::Redirect(to, cookies) => {
            let mut answer = see_other(&to);
            for cookie in &cookies {
                answer.cookie(bake(cookie));
            }
            answer.finish()
        }
        Reply::Away(to, cookies) if is_address(&to) => {
            let mut answer = HttpResponse::SeeOther();
            answer.insert_header((header::LOCATION, to));
            for cookie in &cookies {
                let mut lax = bake(cookie);
                lax.set_same_site(SameSite::Lax);
                answer.cookie(lax);
            }
            answer.finish()
        }
        Reply::Away(..) => see_other("/").finish(),
        Reply::Arrived(text, cookies) => {
            let mut answer = HttpResponse::Ok();
            answer.insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"));
            for cookie in &cookies {
                answer.cookie(bake(cookie));
            }
            answer.body(text)
        }
        Reply::File(file) => download::send(file),
        Reply::Json(status, value) => {
            HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK)).json(value)
        }
    }
}

/// 303, and never to another site, whatever a page was talked into.
fn see_other(to: &str) -> actix_web::HttpResponseBuilder {
    let to = if form::is_local(to) { to } else { "/" };
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((header::LOCATION, to));
    answer
}

/// The cookies of pages; the session's is for the doors alone.
fn cookies(request: &HttpRequest) -> BTreeMap<String, String> {
    let all = request.cookies();
    let ours = all.iter().flat_map(|all| all.iter()).filter_map(|cookie| {
        let name = cookie.name().strip_prefix("__Host-")?;
        (name != "muster").then(|| (name.to_owned(), cookie.value().to_owned()))
    });
    ours.collect()
}

/// Whether it is the address of another site, as a header may have it.
fn is_address(to: &str) -> bool {
    (to.starts_with("https://") || to.starts_with("http://")) && to.bytes().all(|b| (0x21..0x7f).contains(&b))
}

fn bake(cookie: &Cookie) -> HttpCookie<'static> {
    let seconds = if cookie.value.is_empty() { 0 } else { cookie.seconds.max(0) };
    HttpCookie::build(format!("__Host-{}", cookie.name), cookie.value.clone())
        .path("/")
        .secure(true)
        .http_only(true)
        .same_site(SameSite::Strict)
        .max_age(CookieDuration::seconds(seconds))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_bound_to_this_host() {
        let cookie = bake(&Cookie { name: "muster", value: "mss_x".into(), seconds: 60 }).to_string();
        assert_eq!(cookie, "__Host-muster=mss_x; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60");
        assert!(
            bake(&Cookie { name: "muster", value: String::new(), seconds: 60 })
                .to_string()
                .contains("Max-Age=0")
        );
    }

    #[test]
    fn away_is_another_site_and_its_cookies_come_back_from_there() {
        let cookie = || vec![Cookie { name: "x", value: "y".into(), seconds: 60 }];
        let answer = leave(Reply::Away("https://id.lan/a?b=c".into(), cookie()));
        assert_eq!(answer.headers().get(header::LOCATION).unwrap(), "https://id.lan/a?b=c");
        let set = answer.headers().get(header::SET_COOKIE).unwrap().to_str().unwrap();
        assert!(set.starts_with("__Host-x=y; HttpOnly; SameSite=Lax; Secure"), "{set}");
        for to in ["javascript:alert(1)", "/x", "https://id.lan/\r\nx: y", "https://id.lan/ä"] {
            let answer = leave(Reply::Away(to.into(), cookie()));
            assert_eq!(answer.headers().get(header::LOCATION).unwrap(), "/", "{to}");
        }
        let answer = leave(Reply::Arrived("<p>".into(), cookie()));
        assert_eq!(answer.status().as_u16(), 200);
        assert!(
            answer.headers().get(header::SET_COOKIE).unwrap().to_str().unwrap().contains("SameSite=Strict")
        );
    }

    #[test]
    fn redirects_stay_here() {
        for (to, expected) in [("/agents", "/agents"), ("https://evil.example", "/"), ("//evil.example", "/")]
        {
            let answer = leave(Reply::Redirect(to.into(), Vec::new()));
            assert_eq!(answer.status().as_u16(), 303);
            assert_eq!(answer.headers().get(header::LOCATION).unwrap(), expected);
        }
    }
}
