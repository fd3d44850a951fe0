//! A whole server in this process, on free ports, in a folder that goes away, and what a person or program needs to
//! talk to it. Dropping it asserts that the followers have caught up and that no `error!` was logged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster::base::{Labels, Span, UserId};
use muster::capabilities::ALL;
use muster::engine::clock::Clock;
use muster::engine::journal::FolderLock;
use muster::engine::trace;
use muster::kit::{Actor, Ctx, Ops, Request, Rights, Role};
use muster::server::config::Config;
use muster::server::{Options, Server};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct Muster {
    pub(crate) server: Option<Server>,
    pub(crate) folder: PathBuf,
    errors: u64,
    _keep: Option<tempfile::TempDir>,
}

pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.site.name = "Plant 03".into();
    config.http.address = "127.0.0.1:0".parse().unwrap();
    config.mqtt.address = "127.0.0.1:0".parse().unwrap();
    config
}

impl Muster {
    pub(crate) fn start() -> Muster {
        let folder = tempfile::tempdir().unwrap();
        let mut muster = Muster::open(folder.path().join("data"), config());
        muster._keep = Some(folder);
        muster
    }

    pub(crate) fn open(folder: PathBuf, config: Config) -> Muster {
        trace::start("error", trace::Form::Json).unwrap();
        let errors = trace::errors();
        let server =
            Server::start(Options { config, folder: folder.clone(), clock: Clock::system() }).unwrap();
        Muster { server: Some(server), folder, errors, _keep: None }
    }

    /// A server that runs already.
    pub(crate) fn of(server: Server, folder: &std::path::Path) -> Muster {
        Muster { server: Some(server), folder: folder.to_owned(), errors: trace::errors(), _keep: None }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Acts as an owner, below HTTP.
    pub(crate) fn ctx(&self) -> Ctx<'_> {
        let site = self.server().site();
        let actor = Actor::Person {
            user: UserId::from_bits(1),
            session: muster::base::SessionId::from_bits(1),
            name: "Test".into(),
            rights: Rights::of(Role::Owner),
            proved: site.clock.now(),
        };
        Ctx::new(
            site,
            site.home,
            actor,
            Request { id: "test".into(), from: "127.0.0.1".into(), ..Request::default() },
        )
    }

    pub(crate) fn join_code(&self, labels: &str) -> String {
        self.server().join_code(Labels::parse(labels).unwrap()).unwrap()
    }

    /// A browser without cookies.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(self)
    }

    /// A browser in which the first owner is signed in through set-up.
    pub(crate) fn owner(&self) -> Browser {
        let browser = self.browser();
        let code = self.server().setup_code().unwrap().expect("nobody has an account yet");
        let form = [
            ("code", code.as_str()),
            ("name", "Inès Moreau"),
            ("login", "ines"),
            ("password", PASSWORD),
            ("again", PASSWORD),
        ];
        let (status, _) = browser.post("/setup", &form);
        assert_eq!(status, 303, "set-up signs in");
        browser
    }

    /// Runs an operation as an owner, below HTTP.
    pub(crate) fn call(&self, name: &str, input: Value) -> Value {
        let mut ops = Ops::default();
        ALL.iter().for_each(|capability| capability.ops(&mut ops));
        let op = ops.0.iter().find(|op| op.name == name).expect("an operation of this name");
        (op.run)(&self.ctx(), input).unwrap()
    }

    /// An API client with a new key of this role.
    pub(crate) fn api(&self, role: &str) -> Api {
        let made = self.call("identity.key_create", json!({ "name": format!("{role} key"), "role": role }));
        let text = made["text"].as_str().expect("the key's text is shown once").to_owned();
        Api { agent: agent(self), base: self.base(), bearer: Some(text) }
    }

    pub(crate) fn base(&self) -> String {
        format!("https://127.0.0.1:{}", self.server().address().port())
    }

    /// Stops cleanly and gives the folder away.
    pub(crate) fn release(mut self) -> (PathBuf, Option<tempfile::TempDir>) {
        let (folder, keep) = (self.folder.clone(), self._keep.take());
        drop(self);
        closed(&folder);
        (folder, keep)
    }

    /// Stops cleanly and opens the same folder again.
    pub(crate) fn reopen(self) -> Muster {
        let (folder, keep) = self.release();
        let mut muster = Muster::open(folder, config());
        muster._keep = keep;
        muster
    }
}

/// Threads of the listeners may let go of the engines a moment after the stop; the store's lock goes last.
fn closed(folder: &std::path::Path) {
    let store = folder.join("store");
    until(Span::from_seconds(20), "the folder's lock", || FolderLock::take(&store).ok().map(drop));
}

impl Drop for Muster {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
        if !std::thread::panicking() {
            assert_eq!(trace::errors(), self.errors, "an `error!` was logged");
        }
    }
}

fn agent(muster: &Muster) -> ureq::Agent {
    let pem = muster.server().site().authority.certificate_pem();
    let root = Certificate::from_pem(pem.as_bytes()).unwrap();
    let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(vec![root]))).build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .new_agent()
}

/// Pages, with cookies.
pub(crate) struct Browser {
    agent: ureq::Agent,
    base: String,
}

impl Browser {
    fn new(muster: &Muster) -> Browser {
        Browser { agent: agent(muster), base: muster.base() }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut answer = self.agent.get(format!("{}{path}", self.base)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    pub(crate) fn header(&self, path: &str, name: &str) -> Option<String> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call().unwrap();
        answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned())
    }

    /// The session's cookie, as a request carries it.
    pub(crate) fn cookie(&self) -> String {
        let jar = self.agent.cookie_jar_lock();
        let cookie = jar.iter().find(|cookie| cookie.name() == "__Host-muster").expect("a session");
        format!("{}={}", cookie.name(), cookie.value())
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let call = self.agent.get(format!("{}{path}", self.base));
        let call = headers.iter().fold(call, |call, (name, value)| call.header(*name, *value));
        let mut answer = call.call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    /// Posts a form with these headers, and none of a browser's own.
    pub(crate) fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> (u16, String) {
        let call = self.agent.post(format!("{}{path}", self.base));
        let call = headers.iter().fold(call, |call, (name, value)| call.header(*name, *value));
        let mut answer = call.send_form(form.iter().copied()).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    /// Changes something through the API with the cookie of this session.
    pub(crate) fn patch(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        csrf: Option<&str>,
        body: Value,
    ) -> (u16, Value) {
        let call = self.agent.patch(format!("{}{path}", self.base));
        let call = headers.iter().fold(call, |call, (name, value)| call.header(*name, *value));
        let call = csrf.into_iter().fold(call, |call, token| call.header("x-csrf-token", token));
        answer(call.send_json(body).unwrap())
    }

    /// Posts a form; returns the status and where it leads.
    pub(crate) fn post(&self, path: &str, form: &[(&str, &str)]) -> (u16, String) {
        let mut answer = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("origin", &self.base)
            .send_form(form.iter().copied())
            .unwrap();
        let location = answer.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location.unwrap_or_else(|| answer.body_mut().read_to_string().unwrap()))
    }

    /// The CSRF token of this session, as the pages carry it.
    pub(crate) fn csrf(&self) -> String {
        let (_, page) = self.get("/account");
        let at = page.find("name=\"csrf\" value=\"").expect("a form with a token") + 19;
        page[at..].split('"').next().unwrap().to_owned()
    }
}

/// REST with a key.
pub(crate) struct Api {
    agent: ureq::Agent,
    base: String,
    pub(crate) bearer: Option<String>,
}

impl Api {
    pub(crate) fn anonymous(muster: &Muster) -> Api {
        Api { agent: agent(muster), base: muster.base(), bearer: None }
    }

    /// The same client for a server that runs by itself on this port.
    pub(crate) fn at(mut self, port: u16) -> Api {
        self.base = format!("https://127.0.0.1:{port}");
        self
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.bearer.as_deref().unwrap_or_default())
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let mut call = self.agent.get(format!("{}{path}", self.base));
        if self.bearer.is_some() {
            call = call.header("authorization", self.bearer());
        }
        answer(call.call().unwrap())
    }

    /// Posts a form, perhaps with `Authorization: Basic`.
    pub(crate) fn form(
        &self,
        path: &str,
        basic: Option<(&str, &str)>,
        pairs: &[(String, String)],
    ) -> (u16, Value, ureq::http::HeaderMap) {
        let mut call = self.agent.post(format!("{}{path}", self.base));
        if let Some((id, secret)) = basic {
            use base64::Engine as _;
            let coded = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
            call = call.header("authorization", format!("Basic {coded}"));
        }
        let got = call.send_form(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap();
        let headers = got.headers().clone();
        let (status, value) = answer(got);
        (status, value, headers)
    }

    pub(crate) fn head(&self, path: &str) -> (u16, ureq::http::HeaderMap) {
        let call = self.agent.head(format!("{}{path}", self.base)).header("authorization", self.bearer());
        let answer = call.call().unwrap();
        (answer.status().as_u16(), answer.headers().clone())
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(self.agent.post(format!("{}{path}", self.base)), body)
    }

    /// Changes something; also says where the answer is, when it is elsewhere.
    pub(crate) fn patch_there(&self, path: &str, body: Value) -> (u16, Value, Option<String>) {
        let call = self.agent.patch(format!("{}{path}", self.base)).header("authorization", self.bearer());
        let got = call.send_json(body).unwrap();
        let there = got.headers().get("location").map(|at| at.to_str().unwrap().to_owned());
        let (status, value) = answer(got);
        (status, value, there)
    }

    pub(crate) fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(self.agent.patch(format!("{}{path}", self.base)), body)
    }

    fn send(&self, mut call: ureq::RequestBuilder<ureq::typestate::WithBody>, body: Value) -> (u16, Value) {
        if self.bearer.is_some() {
            call = call.header("authorization", self.bearer());
        }
        answer(call.send_json(body).unwrap())
    }
}

fn answer(mut answer: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = answer.status().as_u16();
    // A file may be no text.
    let text = String::from_utf8_lossy(&answer.body_mut().read_to_vec().unwrap()).into_owned();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Looks until `f` gives something, for at most `span`; a test waits on a condition, never on a clock.
pub(crate) fn until<T>(span: Span, what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::system();
    let (lock, condition) = (parking_lot::Mutex::new(()), parking_lot::Condvar::new());
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(clock.monotonic() < span.duration(), "waited {span} for {what}");
        condition.wait_for(&mut lock.lock(), Duration::from_millis(20));
    }
}
