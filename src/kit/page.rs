//! Console pages: handlers, what they are asked and what they answer, and the shell around every page.

use std::collections::BTreeMap;
use std::fmt;

use askama::Template;

use super::{Count, Ctx, Markup, Notice, Zone};
use crate::base::{Error, Result};

/// What a page is asked.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Parts of the path, by name.
    pub params: BTreeMap<String, String>,
    /// The query string.
    pub query: BTreeMap<String, String>,
    /// The form's fields; a field that occurs several times is joined by commas.
    pub form: BTreeMap<String, String>,
    /// Whether htmx asks, so that a fragment is enough.
    pub htmx: bool,
    /// Path and query as asked, to come back to.
    pub url: String,
    /// What pages keep in cookies, by name without prefix; the session is not among it.
    pub cookies: BTreeMap<String, String>,
    /// The part of a guide that explains the page; empty where none does.
    pub help: &'static str,
}

impl PageRequest {
    /// A part of the path, parsed.
    pub fn param<T: std::str::FromStr<Err = Error>>(&self, name: &str) -> Result<T> {
        self.params.get(name).ok_or_else(|| Error::not_found("page", name))?.parse()
    }
    /// A field of the form, trimmed; empty when it is absent.
    pub fn field(&self, name: &str) -> &str {
        self.form.get(name).map(|v| v.trim()).unwrap_or_default()
    }
    /// A value of the query string, trimmed; empty when it is absent.
    pub fn asked(&self, name: &str) -> &str {
        self.query.get(name).map(|v| v.trim()).unwrap_or_default()
    }
}

/// A cookie to set. The surface adds `Secure`, `HttpOnly`, `SameSite=Strict` and the `__Host-` prefix.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Name without prefix.
    pub name: &'static str,
    /// Value; empty removes it.
    pub value: String,
    /// Seconds that it lives.
    pub seconds: i64,
}

/// What a page answers.
#[derive(Debug)]
pub enum Reply {
    /// A page or fragment, with its status.
    Html(u16, String),
    /// Go there (303), perhaps with cookies.
    Redirect(String, Vec<Cookie>),
    /// Go to another site (303), which sends the browser back: these cookies come along then (`SameSite=Lax`).
    Away(String, Vec<Cookie>),
    /// A page (200) with cookies, for who arrives from another site: a redirect would go on without strict cookies.
    Arrived(String, Vec<Cookie>),
    /// A file to keep.
    File(Download),
    /// An answer to a script of ours, with its status.
    Json(u16, serde_json::Value),
}

/// Gives a file part by part; `None` ends it.
pub type NextPart = Box<dyn FnMut() -> Result<Option<Vec<u8>>> + Send>;

/// A file that is made while it is sent, so that it may be larger than memory.
pub struct Download {
    /// What the browser calls it.
    pub name: String,
    /// Its media type.
    pub kind: &'static str,
    /// The next part. It runs on a thread that may wait for the disk, each time the receiver has taken the part before;
    /// an error cuts the file off, so that the receiver sees that it is not whole.
    pub next: NextPart,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Who may open a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: sign-in, set-up.
    Anyone,
    /// Who is signed in; the handler requires what it needs.
    SignedIn,
}

/// A page's handler.
pub type PageFn = fn(&Ctx<'_>, &PageRequest) -> Result<Reply>;
/// Renders the live part with this argument; the live stream sends it when it changes.
pub type LiveFn = fn(&Ctx<'_>, &str) -> Result<String>;

/// One route of the console.
pub struct Page {
    /// Path with `{name}` parts.
    pub path: &'static str,
    /// Whether it takes a form (POST) rather than a look (GET).
    pub form: bool,
    /// Who may open it.
    pub access: Access,
    /// As how many ordinary requests it counts, for those who ask very often.
    pub cost: u32,
    /// What runs.
    pub run: PageFn,
}

/// One live part: `topic` or `topic:argument` in `/live?topics=…`.
pub struct Live {
    /// Name of the topic.
    pub topic: &'static str,
    /// Renders its fragments.
    pub run: LiveFn,
}

/// Every page and live part.
#[derive(Default)]
pub struct Pages {
    /// Routes.
    pub pages: Vec<Page>,
    /// Live parts.
    pub live: Vec<Live>,
    /// Which part of a guide explains a page, by its path.
    pub help: &'static [(&'static str, &'static str)],
}

impl Pages {
    /// A page for who is signed in.
    pub fn get(&mut self, path: &'static str, run: PageFn) {
        self.pages.push(Page { path, form: false, access: Access::SignedIn, cost: 1, run });
    }
    /// A form for who is signed in.
    pub fn post(&mut self, path: &'static str, run: PageFn) {
        self.pages.push(Page { path, form: true, access: Access::SignedIn, cost: 1, run });
    }
    /// A page for anybody.
    pub fn open_get(&mut self, path: &'static str, run: PageFn) {
        self.pages.push(Page { path, form: false, access: Access::Anyone, cost: 1, run });
    }
    /// A form for anybody.
    pub fn open_post(&mut self, path: &'static str, run: PageFn) {
        self.pages.push(Page { path, form: true, access: Access::Anyone, cost: 1, run });
    }
    /// The page before this is dear: one counts as so many ordinary requests.
    pub fn costs(&mut self, cost: u32) {
        if let Some(page) = self.pages.last_mut() {
            page.cost = cost;
        }
    }
    /// Tells which part of a guide explains each page: path of the page, and where the part is.
    pub fn explained(&mut self, help: &'static [(&'static str, &'static str)]) {
        self.help = help;
    }
    /// The part of a guide that explains the page with this path; empty for none.
    pub fn help(&self, path: &str) -> &'static str {
        self.help.iter().find(|(explained, _)| *explained == path).map(|(_, part)| *part).unwrap_or_default()
    }
    /// A live part.
    pub fn live(&mut self, topic: &'static str, run: LiveFn) {
        self.live.push(Live { topic, run });
    }
}

/// An entry of the navigation.
#[derive(Clone, Debug)]
pub struct NavItem {
    /// Heading it stands under: Fleet, Observe, Operate, Govern.
    pub group: &'static str,
    /// What a person reads.
    pub title: &'static str,
    /// Where it leads; also the key by which a page says that it is active.
    pub path: &'static str,
    /// Name in the icon sprite.
    pub icon: &'static str,
    /// Who sees it.
    pub permission: &'static str,
}

/// A message that a form leaves on the next page: `ok:…` or `error:…` in the `flash` query value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// Whether it tells of a failure.
    pub failed: bool,
    /// The text.
    pub text: String,
}

/// What surrounds every page.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Title of the page.
    pub title: String,
    /// Path of the navigation entry that is active.
    pub active: &'static str,
    /// Name of the site.
    pub site: String,
    /// Who is signed in.
    pub person: String,
    /// The roles.
    pub role: String,
    /// As whom they look at the console; empty for themselves.
    pub looks_as: String,
    /// The zone in which the page's times are written.
    pub zone: String,
    /// Token that every form carries.
    pub csrf: String,
    /// `light`, `dark` or empty for the system's.
    pub theme: &'static str,
    /// Entries that the actor may see, grouped.
    pub navigation: Vec<(&'static str, Vec<NavItem>)>,
    /// Message from the form before.
    pub flash: Option<Flash>,
    /// What every page says at its top.
    pub notices: Vec<Notice>,
    /// Numbers behind entries of the navigation.
    pub counts: Vec<Count>,
    /// Live topics of the page, comma separated; empty for none.
    pub live: String,
    /// Where static files are: `/static/<hash>`.
    pub assets: String,
    /// The part of a guide that explains the page; empty where none does.
    pub help: &'static str,
}

impl Ctx<'_> {
    /// The entries of the navigation that the actor may open. Of tenants nobody reads while there is one.
    pub fn navigation(&self) -> impl Iterator<Item = &NavItem> {
        let seen = |item: &&NavItem| self.may_open(item.permission) && self.shows(item.permission);
        self.site.navigation.iter().filter(seen)
    }
}

impl Shell {
    /// The shell of a page for this actor.
    pub fn new(
        ctx: &Ctx<'_>,
        request: &PageRequest,
        title: impl Into<String>,
        active: &'static str,
    ) -> Shell {
        let mut navigation: Vec<(&'static str, Vec<NavItem>)> = Vec::new();
        for item in ctx.navigation() {
            match navigation.iter_mut().find(|(group, _)| *group == item.group) {
                Some((_, items)) => items.push(item.clone()),
                None => navigation.push((item.group, vec![item.clone()])),
            }
        }
        let flash = request.query.get("flash").and_then(|text| {
            let (kind, text) = text.split_once(':')?;
            Some(Flash { failed: kind == "error", text: text.chars().take(300).collect() })
        });
        Shell {
            title: title.into(),
            active,
            site: ctx.site.tenant_name(ctx.tenant),
            person: ctx.actor.label(),
            role: ctx.actor.rights().map(|rights| rights.roles()).unwrap_or_default(),
            looks_as: ctx.actor.rights().and_then(|rights| rights.looks_as.clone()).unwrap_or_default(),
            zone: Zone::on().name().to_owned(),
            csrf: ctx.csrf(),
            theme: ctx.theme.word(),
            navigation,
            flash,
            notices: ctx
                .site
                .notices
                .all()
                .into_iter()
                .filter(|n| ctx.tenant == ctx.site.home && ctx.may_open(n.permission))
                .collect(),
            counts: ctx
                .site
                .counts
                .of(ctx.tenant)
                .into_iter()
                .filter(|c| ctx.may_open(c.permission))
                .collect(),
            live: String::new(),
            assets: ctx.site.assets.clone(),
            help: request.help,
        }
    }

    /// Names the live topics of the page; the numbers of the navigation live with them.
    #[must_use]
    pub fn live(mut self, topics: impl Into<String>) -> Shell {
        self.live = topics.into();
        for count in &self.counts {
            if !self.live.split(',').any(|topic| topic == count.topic) {
                if !self.live.is_empty() {
                    self.live.push(',');
                }
                self.live.push_str(count.topic);
            }
        }
        self
    }

    /// The number behind an entry of the navigation, which stands in two places of every page.
    pub fn count(&self, path: &str, place: &str) -> Markup {
        let count = self.counts.iter().find(|count| count.path == path);
        count.map(|count| count.markup(place)).unwrap_or_default()
    }
}

/// Renders a template as a page with status 200.
pub fn html(template: &impl Template) -> Result<Reply> {
    Ok(Reply::Html(200, template.render()?))
}
