//! An OpenID provider, as its client: OpenID Connect Core 1.0, authorization code flow with PKCE (S256), Discovery 1.0,
//! RP-Initiated and Back-Channel Logout 1.0, the issuer in the answer (RFC 9207).
//!
//! Written here over `ring`, which this program has anyway: the protocol is a redirect, a form and a signature, while the
//! crate for it brings forty others, among them an RSA of its own with an open advisory.
//!
//! A provider is asked on a thread that may wait. What it publishes of itself and its keys are kept for a while; a token
//! with a key that is not known fetches the keys once more, and not oftener than twice a minute, so that nobody makes this
//! server knock at the provider at will.
//!
//! Invariant: nobody is believed to be anybody before a signature by a key of the provider and every claim are checked.
//! Invariant: a connection goes to a host on the egress list only, whatever the provider publishes.

mod http;
mod jose;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Url;
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::http::{Http, address, destination};
use self::token::Expected;
use super::trust::{self, AUTHORITY_BYTES_MAX};
use super::{blocking, egress::Egress};
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

pub use token::LoggedOut;

/// How long what a provider publishes is believed.
const KNOWN_AGE_MAX: Duration = Duration::from_secs(3600);
/// The keys are not fetched again within this time.
const REFETCH_EVERY: Duration = Duration::from_secs(30);
/// Bytes of a client's name, its secret, the scopes.
const WORD_BYTES_MAX: usize = 512;

/// Where a provider is and as whom it knows us. The secret is the client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its name, which is an address: `https://id.site.lan/realms/plant`.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// What is asked for, with spaces between; `openid` is always among it.
    #[serde(default = "scopes")]
    pub scopes: String,
    /// Who certifies the provider's server, in PEM. Without it only `http://` on this machine is spoken.
    #[serde(default)]
    pub authority: Option<String>,
}

/// What is asked for when nothing else is said.
pub fn scopes() -> String {
    "openid profile".into()
}

impl Settings {
    /// Host and port of the issuer.
    pub fn destination(&self) -> Result<(String, u16)> {
        destination(&address(&self.issuer, "issuer")?)
    }
}

/// What a provider publishes of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    end_session_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    backchannel_logout_supported: bool,
}

impl Document {
    fn checked(self, issuer: &str) -> Result<Document> {
        if self.issuer != issuer {
            let shown: String = self.issuer.chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(Error::invalid(format!("the provider calls itself `{shown}`"))
                .hint("use exactly this text as issuer, if it is the provider that you mean"));
        }
        for (what, text) in [
            ("authorization endpoint", Some(&self.authorization_endpoint)),
            ("token endpoint", Some(&self.token_endpoint)),
            ("address of the keys", Some(&self.jwks_uri)),
            ("userinfo endpoint", self.userinfo_endpoint.as_ref()),
            ("logout endpoint", self.end_session_endpoint.as_ref()),
        ] {
            if let Some(text) = text {
                address(text, what)?;
            }
        }
        let pkce = self.code_challenge_methods_supported.as_ref();
        if pkce.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err(Error::invalid("the provider does not know PKCE with S256")
                .hint("every current provider does; it may have to be switched on there"));
        }
        Ok(self)
    }

    /// The hosts and ports that this server connects to; the browser's own are not among them.
    pub fn destinations(&self) -> Result<Vec<(String, u16)>> {
        let mut all = Vec::new();
        for text in [Some(&self.token_endpoint), Some(&self.jwks_uri), self.userinfo_endpoint.as_ref()] {
            let Some(text) = text else { continue };
            let one = destination(&address(text, "endpoint")?)?;
            if !all.contains(&one) {
                all.push(one);
            }
        }
        Ok(all)
    }

    /// What it can do, in words.
    pub fn words(&self) -> String {
        let mut can = vec!["sign-in"];
        if self.end_session_endpoint.is_some() {
            can.push("sign-out there too");
        }
        if self.backchannel_logout_supported {
            can.push("sign-out from there");
        }
        can.join(", ")
    }
}

/// The secrets of one sign-in that is on its way.
#[derive(Clone)]
pub struct Attempt {
    /// Comes back with the browser.
    pub state: String,
    nonce: String,
    verifier: String,
}

impl Attempt {
    /// A new one.
    pub fn new(clock: &Clock) -> Attempt {
        let random = || jose::encode(&clock.random::<32>());
        Attempt { state: random(), nonce: random(), verifier: random() }
    }
}

/// Who somebody is, as the provider proved it.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Who, in the provider's own words; never given to somebody else there.
    pub subject: String,
    /// The provider's name of the session.
    pub session: Option<String>,
    /// What else it says of them.
    pub claims: Map<String, Value>,
}

impl Proven {
    /// Whether the provider says that more than one factor was shown (RFC 8176).
    pub fn several_factors(&self) -> bool {
        let methods = self.claims.get("amr").and_then(Value::as_array);
        methods.is_some_and(|methods| methods.iter().any(|method| method == "mfa"))
    }
}

/// A provider. Cloning gives the same one, with what it is known to publish.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    settings: Settings,
    secret: Option<Secret<String>>,
    egress: Egress,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    document: Option<(Duration, Document)>,
    keys: Option<(Duration, Vec<jose::Key>)>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    #[serde(default)]
    access_token: Option<String>,
}

impl Provider {
    /// The provider of these settings; nothing is asked of it yet.
    pub fn new(
        settings: &Settings,
        secret: Option<Secret<String>>,
        egress: &Egress,
        clock: &Clock,
    ) -> Result<Provider> {
        let issuer = address(&settings.issuer, "issuer")?;
        if issuer.query().is_some() {
            return Err(Error::invalid("the issuer has a `?` in it"));
        }
        if issuer.scheme() == "https" && settings.authority.is_none() {
            return Err(Error::invalid("nobody is named who certifies the provider's server")
                .hint("give the certificate of the authority that signed it, in PEM"));
        }
        let word = |text: &str| {
            !text.is_empty() && text.len() <= WORD_BYTES_MAX && !text.chars().any(char::is_control)
        };
        if !word(&settings.client_id) {
            return Err(Error::invalid("the client id is not one"));
        }
        if secret.as_ref().is_some_and(|secret| !word(secret.expose())) {
            return Err(Error::invalid("the client secret is not one")
                .hint(format!("one line of at most {WORD_BYTES_MAX} bytes")));
        }
        let scope = |word: &str| word.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if settings.scopes.len() > WORD_BYTES_MAX || !settings.scopes.split(' ').all(scope) {
            return Err(
                Error::invalid("the scopes are not a list of words").hint("such as `openid profile groups`")
            );
        }
        if settings.authority.as_ref().is_some_and(|pem| pem.len() > AUTHORITY_BYTES_MAX) {
            return Err(Error::invalid("the authority's certificates are too long"));
        }
        // Certificates are read now, so that a wrong one is told when it is given.
        trust::client_config(settings.authority.as_deref(), clock)?;
        Ok(Provider(Arc::new(Inner {
            settings: settings.clone(),
            secret,
            egress: egress.clone(),
            clock: clock.clone(),
            known: Mutex::default(),
        })))
    }

    fn http(&self) -> Result<Http> {
        Http::new(self.0.settings.authority.as_deref(), &self.0.egress, &self.0.clock)
    }

    /// What the provider publishes now.
    pub fn look(&self) -> Result<Document> {
        let http = self.http()?;
        blocking(self.fetch_document(&http))
    }

    /// Looks at the provider and its keys; gives what it publishes, and how many keys can be used.
    pub fn probe(&self) -> Result<usize> {
        let http = self.http()?;
        blocking(async {
            let document = self.fetch_document(&http).await?;
            Ok(self.fetch_keys(&http, &document).await?.len())
        })
    }

    async fn fetch_document(&self, http: &Http) -> Result<Document> {
        let issuer = &self.0.settings.issuer;
        let text = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let answer = http.get(&address(&text, "issuer")?, None).await?;
        let document = answer.json::<Document>("discovery document")?.checked(issuer)?;
        self.0.known.lock().document = Some((self.0.clock.monotonic(), document.clone()));
        Ok(document)
    }

    async fn document(&self, http: &Http) -> Result<Document> {
        let known = self.0.known.lock().document.clone();
        match known.filter(|(since, _)| self.0.clock.monotonic().saturating_sub(*since) < KNOWN_AGE_MAX) {
            Some((_, document)) => Ok(document),
            None => self.fetch_document(http).await,
        }
    }

    async fn fetch_keys(&self, http: &Http, document: &Document) -> Result<Vec<jose::Key>> {
        let answer = http.get(&address(&document.jwks_uri, "address of the keys")?, None).await?;
        let _: Value = answer.json("set of keys")?;
        let keys = jose::keys(&answer.body)?;
        self.0.known.lock().keys = Some((self.0.clock.monotonic(), keys.clone()));
        Ok(keys)
    }

    /// The claims of a token that the provider signed.
    async fn proved(&self, http: &Http, document: &Document, token: &str) -> Result<Map<String, Value>> {
        let token = jose::read(token)?;
        let known = self.0.known.lock().keys.clone();
        let age = |since: Duration| self.0.clock.monotonic().saturating_sub(since);
        let keys = match known {
            Some((since, keys)) if age(since) < KNOWN_AGE_MAX && jose::knows(&keys, &token) => keys,
            Some((since, keys)) if age(since) < REFETCH_EVERY => keys,
            _ => self.fetch_keys(http, document).await?,
        };
        jose::prove(&keys, &token)?;
        Ok(token.claims)
    }

    fn expected(&self) -> Expected<'_> {
        let Settings { issuer, client_id, .. } = &self.0.settings;
        Expected { issuer, client_id, now: self.0.clock.now() }
    }

    /// Where the browser goes to sign in; `back` is where it comes back to.
    pub fn begin(&self, back: &str, attempt: &Attempt) -> Result<String> {
        let http = self.http()?;
        let document = blocking(self.document(&http))?;
        let mut scopes = self.0.settings.scopes.clone();
        if !scopes.split(' ').any(|scope| scope == "openid") {
            scopes = format!("openid {scopes}");
        }
        let challenge = jose::encode(digest(&SHA256, attempt.verifier.as_bytes()).as_ref());
        let mut url = address(&document.authorization_endpoint, "authorization endpoint")?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.0.settings.client_id)
            .append_pair("redirect_uri", back)
            .append_pair("scope", scopes.trim())
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Refuses an answer that says it comes from another provider, or does not say where this one always does.
    fn not_mixed_up(&self, document: &Document, issuer: Option<&str>) -> Result<()> {
        match issuer {
            Some(issuer) if issuer == self.0.settings.issuer => Ok(()),
            None if !document.authorization_response_iss_parameter_supported => Ok(()),
            _ => Err(Error::unauthenticated("the answer does not come from the provider that was asked")
                .hint("begin again")),
        }
    }

    /// Exchanges the code that the browser brought, and checks who it is for. `issuer` is the answer's `iss`; `wanted`
    /// are claims that are asked of the userinfo endpoint when the token lacks one.
    pub fn redeem(
        &self,
        back: &str,
        code: &str,
        issuer: Option<&str>,
        attempt: &Attempt,
        wanted: &[&str],
    ) -> Result<Proven> {
        let http = self.http()?;
        blocking(async {
            let document = self.document(&http).await?;
            self.not_mixed_up(&document, issuer)?;
            let tokens = self.exchange(&http, &document, back, code, attempt).await?;
            let mut claims = self.proved(&http, &document, &tokens.id_token).await?;
            let subject = token::identity(&claims, &self.expected(), &attempt.nonce)?;
            let session = token::session(&claims)?;
            let lacks = wanted.iter().any(|name| !name.is_empty() && look_up(&claims, name).is_none());
            if let (true, Some(place), Some(access)) =
                (lacks, &document.userinfo_endpoint, &tokens.access_token)
            {
                let answer = http.get(&address(place, "userinfo endpoint")?, Some(access)).await?;
                let more: Map<String, Value> = answer.json("userinfo")?;
                // Core §5.3.2: of somebody else it is worth nothing.
                if token::subject(&more)? != subject {
                    return Err(Error::unauthenticated(
                        "the provider speaks of somebody else in its userinfo",
                    ));
                }
                for (name, value) in more {
                    claims.entry(name).or_insert(value);
                }
            }
            Ok(Proven { subject, session, claims })
        })
    }

    async fn exchange(
        &self,
        http: &Http,
        document: &Document,
        back: &str,
        code: &str,
        attempt: &Attempt,
    ) -> Result<Tokens> {
        let url = address(&document.token_endpoint, "token endpoint")?;
        let client_id = self.0.settings.client_id.as_str();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back),
            ("code_verifier", attempt.verifier.as_str()),
        ];
        let methods = document.token_endpoint_auth_methods_supported.as_ref();
        let posted = methods.is_some_and(|all| {
            let has = |word: &str| all.iter().any(|method| method == word);
            has("client_secret_post") && !has("client_secret_basic")
        });
        let secret = self.0.secret.as_ref().map(|secret| secret.expose().as_str());
        let basic = match secret {
            Some(secret) if !posted => Some((client_id, secret)),
            Some(secret) => {
                form.extend([("client_id", client_id), ("client_secret", secret)]);
                None
            }
            None => {
                form.push(("client_id", client_id));
                None
            }
        };
        http.post(&url, &form, basic).await?.json("code")
    }

    /// Whose sessions a logout token ends.
    pub fn logged_out(&self, token: &str) -> Result<LoggedOut> {
        let http = self.http()?;
        blocking(async {
            let document = self.document(&http).await?;
            let claims = self.proved(&http, &document, token).await?;
            token::logout(&claims, &self.expected())
        })
    }

    /// Where the browser goes to sign out at the provider too, if it knows how; `back` is where it comes back to.
    pub fn leave(&self, back: &str) -> Result<Option<String>> {
        let http = self.http()?;
        let document = blocking(self.document(&http))?;
        let Some(place) = &document.end_session_endpoint else { return Ok(None) };
        let mut url: Url = address(place, "logout endpoint")?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.0.settings.client_id)
            .append_pair("post_logout_redirect_uri", back);
        Ok(Some(url.into()))
    }
}

/// A claim by its name, or by a path with dots: some providers keep groups in `realm_access.roles`.
pub fn look_up<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    look_up(claims.get(first)?.as_object()?, rest)
}
