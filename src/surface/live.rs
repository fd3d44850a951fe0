//! `GET /live?topics=overview,agent:agt_…`: one stream per page, which sends a live part whenever its text changed.
//!
//! A message without a name is what a part rendered, `<hx-partial>` elements that htmx puts into the page. A message
//! named `beat` with the server's milliseconds comes at once and every five seconds.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};

use super::caller::Caller;
use super::{Surface, errors, form};
use crate::base::limits::LIVE_TOPICS_MAX;
use crate::base::{Error, Kind, Result};
use crate::engine::http::{Feed, log, open};
use crate::kit::{Actor, Ctx};

/// At most so often is a part rendered.
const ROUND: Duration = Duration::from_secs(1);
/// A beat comes every so many rounds.
const BEAT_ROUNDS: u64 = 5;

/// A topic that a page listens to.
struct Topic {
    name: String,
    argument: String,
    run: fn(&Ctx<'_>, &str) -> Result<String>,
}

pub(super) fn configure(app: &mut web::ServiceConfig) {
    app.route("/live", web::get().to(listen));
}

async fn listen(surface: web::Data<Surface>, request: HttpRequest) -> HttpResponse {
    let (surface, caller) = (surface.into_inner(), Caller::of(&request));
    match start(surface, &caller, request.query_string()).await {
        Ok(answer) => answer,
        Err(error) => errors::body(&caller, &error.into()),
    }
}

async fn start(surface: Arc<Surface>, caller: &Caller, query: &str) -> Result<HttpResponse> {
    let topics = topics(&surface, query)?;
    let known = {
        let (surface, caller) = (surface.clone(), caller.clone());
        web::block(move || {
            let ctx = caller.watcher(&surface)?;
            surface.rates.known(&ctx, &caller, 1)?;
            Ok::<_, Error>(!matches!(ctx.actor, Actor::Anonymous))
        })
    };
    if !known.await.map_err(|_| errors::panicked())?? {
        return Err(Error::unauthenticated("nobody is signed in").hint("sign in again"));
    }
    let (feed, answer) = open(&surface.traffic)?;
    // It ends with its stream; nobody waits for it.
    drop(actix_web::rt::spawn(serve(surface, caller.clone(), Arc::new(topics), feed)));
    Ok(answer)
}

fn topics(surface: &Surface, query: &str) -> Result<Vec<Topic>> {
    let fields = form::fields(form::pairs(query.as_bytes())?);
    let text = fields.get("topics").map(String::as_str).unwrap_or_default();
    let topics: Vec<Topic> = text
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, argument) = part.split_once(':').unwrap_or((part, ""));
            let live = surface.pages.live.iter().find(|live| live.topic == name);
            let shown = name.chars().take(40).collect::<String>();
            let run = live.ok_or_else(|| Error::not_found("live topic", shown))?.run;
            Ok(Topic { name: name.to_owned(), argument: argument.to_owned(), run })
        })
        .collect::<Result<_>>()?;
    match topics.len() {
        0 => Err(Error::invalid("no live topic is named").hint("for example `/live?topics=overview`")),
        n if n > LIVE_TOPICS_MAX => {
            Err(Error::invalid(format!("{n} live topics on one page"))
                .hint(format!("at most {LIVE_TOPICS_MAX}")))
        }
        _ => Ok(topics),
    }
}

/// One round after the other until the reader, the session or the server is gone.
async fn serve(surface: Arc<Surface>, caller: Caller, topics: Arc<Vec<Topic>>, feed: Feed) {
    let mut sent: Vec<Option<blake3::Hash>> = vec![None; topics.len()];
    let mut troubled = false;
    for round in 0u64.. {
        if round.is_multiple_of(BEAT_ROUNDS) {
            let now = surface.site.clock.now().milliseconds();
            if !feed.send_named("beat", &now.to_string()).await {
                return;
            }
        }
        let render = {
            let (surface, caller, topics) = (surface.clone(), caller.clone(), topics.clone());
            move || render(&surface, &caller, &topics)
        };
        match web::block(render).await.unwrap_or_else(|_| Err(errors::panicked())) {
            Ok(Some(parts)) => {
                troubled = false;
                for (part, sent) in parts.iter().zip(&mut sent) {
                    let hash = Some(blake3::hash(part.as_bytes()));
                    if part.is_empty() || hash == *sent {
                        continue;
                    }
                    if !feed.send(part).await {
                        return;
                    }
                    *sent = hash;
                }
            }
            // The session is over; who comes back is told so.
            Ok(None) => return,
            Err(error) => {
                // Once, not every second.
                if !std::mem::replace(&mut troubled, true) {
                    log(&error, &caller.id);
                }
            }
        }
        tokio::select! {
            _ = feed.closed() => return,
            _ = actix_web::rt::time::sleep(ROUND) => {}
        }
    }
}

/// Every part as the person may see it now; none when nobody is signed in any more.
fn render(surface: &Surface, caller: &Caller, topics: &[Topic]) -> Result<Option<Vec<String>>> {
    let ctx = caller.watcher(surface)?;
    if matches!(ctx.actor, Actor::Anonymous) {
        return Ok(None);
    }
    let part = |topic: &Topic| {
        let span = tracing::debug_span!("live", topic = %topic.name, request.id = %caller.id);
        match span.in_scope(|| (topic.run)(&ctx, &topic.argument)) {
            Ok(text) => Ok(text),
            // What went away or may not be seen any more leaves the page as it is.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Forbidden | Kind::Invalid) => {
                Ok(String::new())
            }
            Err(error) => Err(error),
        }
    };
    let zone = (surface.doors.zone)(&ctx)?;
    zone.during(|| topics.iter().map(part).collect::<Result<_>>().map(Some))
}
