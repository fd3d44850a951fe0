//! A directory that knows people and their passwords (LDAP, RFC 4511): a password is right when a bind with it succeeds.
//!
//! Either the name of the entry follows from the login name by a pattern, or an account that may only read searches for
//! it. Referrals are not followed.
//!
//! Invariant: an empty password never leaves for the directory, which would take it as no password and agree (RFC 4513
//! §5.1.2).
//! Invariant: what was typed is escaped wherever it becomes part of a filter (RFC 4515) or of a name (RFC 4514).
//! Invariant: the connection is TLS that the given authority certifies, or stays on this machine.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::egress::{Egress, checked_host};
use super::trust::{self, AUTHORITY_BYTES_MAX};
use super::{blocking, readable};
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

/// Seconds in which a connection, with its TLS, must stand.
const CONNECT_SECONDS_MAX: u64 = 5;
/// Seconds of one sign-in: somebody waits for it.
const ANSWER_SECONDS_MAX: u64 = 10;
/// Bytes of a setting: a pattern, a filter, a name.
const SETTING_BYTES_MAX: usize = 1_024;
/// Bytes of a password or of the reading account's secret.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// Groups of one person that are read.
pub const GROUPS_COUNT_MAX: usize = 500;
/// Bytes of a value that is read.
const VALUE_BYTES_MAX: usize = 1_024;
/// Bytes of what a directory complains that are shown.
const COMPLAINT_BYTES_MAX: usize = 200;
/// The result code of a wrong password or name.
const INVALID_CREDENTIALS: u32 = 49;
/// Result codes that say that a limit was reached: more entries are there.
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;

/// Where a directory is and how people are found in it. The secret is the reading account's password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `ldaps://ldap.site.lan`, or `ldap://…` with StartTLS, or `ldap://localhost` without.
    pub url: String,
    /// Whether a plain connection is made secure before anything is said on it.
    #[serde(default)]
    pub start_tls: bool,
    /// Who certifies the directory's server, in PEM.
    #[serde(default)]
    pub authority: Option<String>,
    /// The name of a person's entry, with `{login}` for what they type: `uid={login},ou=people,dc=site,dc=lan`. Without
    /// it, entries are searched for.
    #[serde(default)]
    pub pattern: String,
    /// Under which entry people are searched for.
    #[serde(default)]
    pub base: String,
    /// The reading account's name; without it the search is made by nobody.
    #[serde(default)]
    pub reader: String,
    /// How a person is found, with `{login}` for what they type.
    #[serde(default = "filter")]
    pub filter: String,
    /// The attribute that names the person for good.
    #[serde(default = "id_attribute")]
    pub id_attribute: String,
    /// The attribute of what people call them.
    #[serde(default = "name_attribute")]
    pub name_attribute: String,
    /// The attribute of a person that lists their groups; without it, groups are searched for.
    #[serde(default = "group_attribute")]
    pub group_attribute: String,
    /// Under which entry groups are searched for.
    #[serde(default)]
    pub group_base: String,
    /// How the groups of a person are found, with `{dn}` for the name of their entry and `{login}` for what they typed.
    #[serde(default = "group_filter")]
    pub group_filter: String,
}

/// How a person is found when nothing else is said.
pub fn filter() -> String {
    "(&(objectClass=person)(uid={login}))".into()
}

/// What names a person for good (RFC 4530).
pub fn id_attribute() -> String {
    "entryUUID".into()
}

/// What people call somebody.
pub fn name_attribute() -> String {
    "cn".into()
}

/// Where most directories list the groups of a person.
pub fn group_attribute() -> String {
    "memberOf".into()
}

/// How groups are found when nothing else is said.
pub fn group_filter() -> String {
    "(&(objectClass=groupOfNames)(member={dn}))".into()
}

impl Settings {
    fn place(&self) -> Result<Url> {
        let wrong =
            |why: &str| Error::invalid(format!("the address {why}")).hint("such as `ldaps://ldap.site.lan`");
        if self.url.len() > SETTING_BYTES_MAX {
            return Err(wrong("is too long"));
        }
        let url = Url::parse(&self.url).map_err(|_| wrong("is none"))?;
        let host = checked_host(url.host_str().unwrap_or_default())?;
        let here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !matches!(url.path(), "" | "/") || !url.username().is_empty() || url.query().is_some() {
            return Err(wrong("has more than a host and a port"));
        }
        match (url.scheme(), self.start_tls) {
            ("ldaps", false) | ("ldap", true) if self.authority.is_none() => {
                return Err(Error::invalid("nobody is named who certifies the directory's server")
                    .hint("give the certificate of the authority that signed it, in PEM"));
            }
            ("ldaps", false) | ("ldap", true) => {}
            ("ldaps", true) => return Err(wrong("is `ldaps`, which is secure without StartTLS")),
            ("ldap", false) if here => {}
            ("ldap", false) => {
                return Err(
                    wrong("would send passwords in the clear").hint("use `ldaps://`, or switch StartTLS on")
                );
            }
            _ => return Err(wrong("begins with neither `ldaps://` nor `ldap://`")),
        }
        Ok(url)
    }

    /// Host and port.
    pub fn destination(&self) -> Result<(String, u16)> {
        let url = self.place()?;
        let usual = if url.scheme() == "ldaps" { 636 } else { 389 };
        Ok((checked_host(url.host_str().unwrap_or_default())?, url.port().unwrap_or(usual)))
    }

    fn check(&self) -> Result<()> {
        self.place()?;
        let all = [
            ("pattern", &self.pattern),
            ("place of the people", &self.base),
            ("reading account", &self.reader),
            ("filter of people", &self.filter),
            ("attribute of the identifier", &self.id_attribute),
            ("attribute of the name", &self.name_attribute),
            ("attribute of the groups", &self.group_attribute),
            ("place of the groups", &self.group_base),
            ("filter of groups", &self.group_filter),
        ];
        for (what, text) in all {
            if text.len() > SETTING_BYTES_MAX || text.chars().any(char::is_control) {
                return Err(Error::invalid(format!(
                    "the {what} is not one line of at most {SETTING_BYTES_MAX} bytes"
                )));
            }
        }
        let attribute = |text: &str| {
            text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b';' || b == b'.')
        };
        for (what, text) in [all[4], all[5], all[6]] {
            if !attribute(text) {
                return Err(
                    Error::invalid(format!("the {what} is not the name of one")).hint("such as `memberOf`")
                );
            }
        }
        if self.pattern.is_empty() && self.base.is_empty() {
            return Err(Error::invalid("it is not said where people are").hint(
                "give the pattern of an entry's name, or the entry under which they are searched for",
            ));
        }
        for (what, text, part) in
            [("pattern", &self.pattern, "{login}"), ("filter of people", &self.filter, "{login}")]
        {
            if !text.is_empty() && !text.contains(part) {
                return Err(Error::invalid(format!("the {what} lacks `{part}`"))
                    .hint("it stands for what the person types"));
            }
        }
        for (what, text) in [("filter of people", &self.filter), ("filter of groups", &self.group_filter)] {
            let sample = text.replace("{login}", "x").replace("{dn}", "x");
            if !sample.is_empty() && ldap3::parse_filter(&sample).is_err() {
                return Err(Error::invalid(format!("the {what} is not a filter"))
                    .hint("such as `(&(objectClass=person)(uid={login}))`"));
            }
        }
        if self.authority.as_ref().is_some_and(|pem| pem.len() > AUTHORITY_BYTES_MAX) {
            return Err(Error::invalid("the authority's certificates are too long"));
        }
        Ok(())
    }
}

/// Somebody whose password was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What names them for good.
    pub id: String,
    /// What people call them, where the directory says.
    pub name: Option<String>,
    /// The names of their groups, whole.
    pub groups: Vec<String>,
}

/// A directory.
pub struct Directory {
    settings: Settings,
    secret: Option<Secret<String>>,
    egress: Egress,
    clock: Clock,
}

impl Directory {
    /// The directory of these settings; nothing is asked of it yet.
    pub fn new(
        settings: &Settings,
        secret: Option<Secret<String>>,
        egress: &Egress,
        clock: &Clock,
    ) -> Result<Directory> {
        settings.check()?;
        if secret.as_ref().is_some_and(|secret| secret.expose().len() > PASSWORD_BYTES_MAX) {
            return Err(Error::invalid("the reading account's password is too long"));
        }
        if !settings.reader.is_empty() && secret.as_ref().is_none_or(|secret| secret.expose().is_empty()) {
            return Err(Error::invalid("the reading account has no password").hint("type it once more"));
        }
        trust::client_config(settings.authority.as_deref(), clock)?;
        Ok(Directory { settings: settings.clone(), secret, egress: egress.clone(), clock: clock.clone() })
    }

    /// Who it is, when the password is right. Nobody there and a wrong password are the same, and take the same steps.
    pub fn prove(&self, login: &str, password: &str) -> Result<Option<Found>> {
        self.ask(login, password, true)
    }

    /// Asks as [`Directory::prove`] does, without giving the password away or trying any on an entry: for who must not
    /// show by the time of an answer that they are not looked for here.
    pub fn pretend(&self, login: &str, password: &str) -> Result<()> {
        self.ask(login, password, false).map(|_| ())
    }

    fn ask(&self, login: &str, password: &str, really: bool) -> Result<Option<Found>> {
        if login.is_empty() || password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Ok(None);
        }
        let nobody: String = self.clock.random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        self.on(async |ldap| {
            let settings = &self.settings;
            let dn = match settings.pattern.as_str() {
                "" => {
                    self.read_as(ldap).await?;
                    // Not even the name leaves for who is not looked for here.
                    self.entry(ldap, if really { login } else { &nobody }).await?.filter(|_| really)
                }
                pattern => really.then(|| pattern.replace("{login}", &ldap3::dn_escape(login))),
            };
            let Some(dn) = dn else {
                let dn = match settings.pattern.as_str() {
                    "" => format!("cn={nobody},{}", settings.base),
                    pattern => pattern.replace("{login}", &nobody),
                };
                // Whatever comes of it: it is asked for the time that it takes.
                ldap.simple_bind(&dn, &nobody).await.map_err(failed)?;
                return Ok(None);
            };
            let answer = ldap.simple_bind(&dn, password).await.map_err(failed)?;
            match answer.rc {
                0 => {}
                // A name that cannot be one is nobody's.
                INVALID_CREDENTIALS | NO_SUCH_OBJECT | 34 => return Ok(None),
                _ => return Err(complains("the bind", answer.rc, &answer.text)),
            }
            if settings.pattern.is_empty() && !settings.reader.is_empty() {
                self.read_as(ldap).await?;
            }
            self.about(ldap, &dn, login).await.map(Some)
        })
    }

    /// Connects, binds the reading account, and looks at where people are; says what was found.
    pub fn probe(&self) -> Result<String> {
        self.on(async |ldap| {
            if !self.settings.pattern.is_empty() {
                return Ok("it is reached; whether the pattern fits shows when somebody signs in".to_owned());
            }
            self.read_as(ldap).await?;
            let found =
                search(ldap, &self.settings.base, Scope::Base, "(objectClass=*)", &["1.1"], 1).await?;
            match found.is_empty() {
                true => {
                    Err(Error::invalid(format!("`{}` is not there, or may not be read", self.settings.base))
                        .hint("look at the place of the people, and at what the reading account may read"))
                }
                false => Ok("it is reached, and the place of the people is there".to_owned()),
            }
        })
    }

    fn on<T>(&self, work: impl AsyncFnOnce(&mut Ldap) -> Result<T>) -> Result<T> {
        let (host, port) = self.settings.destination()?;
        self.egress.permit(&host, port)?;
        let late = |_| Error::unavailable(format!("the directory at `{host}` does not answer"));
        blocking(async {
            let whole = async {
                let config = trust::client_config(self.settings.authority.as_deref(), &self.clock)?;
                let settings = LdapConnSettings::new()
                    .set_conn_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
                    .set_starttls(self.settings.start_tls)
                    .set_config(Arc::new(config));
                let (connection, mut ldap) =
                    LdapConnAsync::from_url_with_settings(settings, &self.settings.place()?)
                        .await
                        .map_err(|e| unreached(&host, e))?;
                tokio::spawn(async move { connection.drive().await });
                let done = work(&mut ldap).await;
                let _ = ldap.unbind().await;
                done
            };
            tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), whole).await.map_err(late)?
        })
    }

    /// Binds the account that may only read.
    async fn read_as(&self, ldap: &mut Ldap) -> Result<()> {
        let reader = &self.settings.reader;
        if reader.is_empty() {
            return Ok(());
        }
        let secret = self.secret.as_ref().map(|secret| secret.expose().as_str()).unwrap_or_default();
        let answer = ldap.simple_bind(reader, secret).await.map_err(failed)?;
        match answer.rc {
            0 => Ok(()),
            code => Err(complains("the reading account's bind", code, &answer.text)
                .hint("look at the reading account and its password")),
        }
    }

    /// The one entry of this login name; several are as good as none.
    async fn entry(&self, ldap: &mut Ldap, login: &str) -> Result<Option<String>> {
        let filter = self.settings.filter.replace("{login}", &ldap3::ldap_escape(login));
        let mut found = search(ldap, &self.settings.base, Scope::Subtree, &filter, &["1.1"], 2).await?;
        match found.len() {
            1 => Ok(found.pop().map(|entry| entry.dn)),
            _ => Ok(None),
        }
    }

    /// What the directory says of a person.
    async fn about(&self, ldap: &mut Ldap, dn: &str, login: &str) -> Result<Found> {
        let settings = &self.settings;
        let wanted: Vec<&str> = [&settings.id_attribute, &settings.name_attribute, &settings.group_attribute]
            .into_iter()
            .filter(|name| !name.is_empty())
            .map(String::as_str)
            .collect();
        let person = search(ldap, dn, Scope::Base, "(objectClass=*)", &wanted, 1).await?.pop();
        let person = person.ok_or_else(|| {
            Error::unavailable("the directory does not show a person to themselves")
                .hint("let people, or the reading account, read the entry")
        })?;
        let id = match settings.id_attribute.as_str() {
            "" => Some(dn.to_lowercase()),
            name => value(&person, name),
        };
        let id = id.ok_or_else(|| {
            Error::unavailable(format!("the directory gives no `{}`", settings.id_attribute))
                .hint("name the attribute that names a person for good, such as `entryUUID` or `objectGUID`")
        })?;
        let name = value(&person, &settings.name_attribute);
        let mut groups = values(&person, &settings.group_attribute);
        if !settings.group_base.is_empty() {
            let filter = settings
                .group_filter
                .replace("{dn}", &ldap3::ldap_escape(dn))
                .replace("{login}", &ldap3::ldap_escape(login));
            let limit = GROUPS_COUNT_MAX as i32;
            let found = search(ldap, &settings.group_base, Scope::Subtree, &filter, &["1.1"], limit).await?;
            groups.extend(found.into_iter().map(|entry| entry.dn));
        }
        groups.truncate(GROUPS_COUNT_MAX);
        Ok(Found { id, name, groups })
    }
}

async fn search(
    ldap: &mut Ldap,
    base: &str,
    scope: Scope,
    filter: &str,
    wanted: &[&str],
    limit: i32,
) -> Result<Vec<SearchEntry>> {
    ldap.with_search_options(SearchOptions::new().sizelimit(limit).timelimit(ANSWER_SECONDS_MAX as i32));
    let found = ldap.search(base, scope, filter, wanted).await.map_err(failed)?;
    match found.1.rc {
        0 | SIZE_LIMIT_EXCEEDED => {}
        NO_SUCH_OBJECT => return Ok(Vec::new()),
        code => return Err(complains("a search", code, &found.1.text)),
    }
    let entries = found.0.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
    Ok(entries.take(limit.max(1) as usize).map(SearchEntry::construct).collect())
}

/// The values of an attribute, whatever case the directory writes its name in; those that are no text as hexadecimal.
fn values(entry: &SearchEntry, name: &str) -> Vec<String> {
    let texts =
        entry.attrs.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).flat_map(|(_, all)| all.clone());
    let binary =
        entry.bin_attrs.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).flat_map(|(_, all)| all);
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    texts.chain(binary.map(hex)).filter(|text| !text.is_empty() && text.len() <= VALUE_BYTES_MAX).collect()
}

fn value(entry: &SearchEntry, name: &str) -> Option<String> {
    values(entry, name).into_iter().next()
}

fn complains(what: &str, code: u32, text: &str) -> Error {
    let said = readable(text.as_bytes(), COMPLAINT_BYTES_MAX);
    Error::unavailable(format!("the directory refuses {what}: code {code} {said}").trim_end().to_owned())
}

fn failed(error: LdapError) -> Error {
    let said = readable(error.to_string().as_bytes(), COMPLAINT_BYTES_MAX);
    Error::unavailable(format!("the directory broke off: {said}")).because(error)
}

fn unreached(host: &str, error: LdapError) -> Error {
    let said = readable(error.to_string().as_bytes(), COMPLAINT_BYTES_MAX);
    Error::unavailable(format!("the directory at `{host}` is not reached: {said}")).because(error)
}
