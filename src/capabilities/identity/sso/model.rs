//! What a provider is, and which of its groups give which roles.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Error, Name, Result, Secret, Timestamp, UserId};
use crate::capabilities::identity::model::GRANTS_MAX;
use crate::capabilities::identity::roles::Granted;
use crate::engine::outbound::oidc::look_up;
use crate::engine::outbound::{ldap, oidc};
use crate::kit::{Ctx, RoleName, Scope};

/// Providers of one site.
pub(super) const PROVIDERS_MAX: usize = 16;
/// Lines of a list of groups.
pub(super) const MAPPINGS_MAX: usize = 100;
/// Bytes of a group's name.
pub(super) const GROUP_BYTES_MAX: usize = 512;
/// Groups of one person that are looked at.
pub(super) const GROUPS_MAX: usize = ldap::GROUPS_COUNT_MAX;
/// Bytes of a claim's name.
const CLAIM_BYTES_MAX: usize = 200;
/// Stands for everybody of a provider.
pub(super) const EVERYBODY: &str = "*";

/// Where a provider is and how it is spoken with, without any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Settings {
    /// An OpenID provider.
    Oidc(oidc::Settings),
    /// A directory.
    Ldap(ldap::Settings),
}

impl Settings {
    /// The word for the kind.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Settings::Oidc(_) => "oidc",
            Settings::Ldap(_) => "ldap",
        }
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &str {
        match self {
            Settings::Oidc(settings) => &settings.issuer,
            Settings::Ldap(settings) => &settings.url,
        }
    }

    fn destination(&self) -> Result<(String, u16)> {
        match self {
            Settings::Oidc(settings) => settings.destination(),
            Settings::Ldap(settings) => settings.destination(),
        }
    }

    /// Refuses what cannot work.
    pub(super) fn check(&self, ctx: &Ctx<'_>, secret: Option<Secret<String>>) -> Result<()> {
        let (egress, clock) = (&ctx.site.egress, &ctx.site.clock);
        match self {
            Settings::Oidc(settings) => oidc::Provider::new(settings, secret, egress, clock).map(drop),
            Settings::Ldap(settings) => ldap::Directory::new(settings, secret, egress, clock).map(drop),
        }
    }
}

/// A group at a provider, and the role that it gives here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Mapping {
    /// The group's name, as the provider writes it; `*` for everybody. Of an entry's name in a directory the first part
    /// is enough: `ops` for `cn=ops,ou=groups,dc=site`.
    pub group: String,
    /// The role.
    pub role: RoleName,
    /// With what; empty for everything.
    #[serde(default)]
    pub scope: Scope,
}

impl Mapping {
    fn fits(&self, groups: &[String]) -> bool {
        self.group == EVERYBODY
            || groups.iter().any(|group| *group == self.group || first(group) == Some(&self.group))
    }

    /// As a line: `GROUP => ROLE` or `GROUP => ROLE FILTER`.
    pub(crate) fn line(&self) -> String {
        let scope = self.scope.text();
        let gap = if scope.is_empty() { "" } else { " " };
        format!("{} => {}{gap}{scope}", self.group, self.role)
    }
}

/// The value of the first part of an entry's name: `ops` of `cn=ops,ou=groups,dc=site`.
fn first(group: &str) -> Option<&str> {
    let (attribute, rest) = group.split_once('=')?;
    let plain = attribute.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let value = rest.split(',').next()?;
    (plain && !value.is_empty() && !value.contains('\\') && rest.contains(',')).then_some(value)
}

impl FromStr for Mapping {
    type Err = Error;

    fn from_str(line: &str) -> Result<Mapping> {
        let shown: String = line.chars().take(80).collect();
        let wrong = || {
            Error::invalid(format!("`{shown}` gives no role to a group"))
                .hint("one line each: `group => role`, or `group => role site:lyon` for a part")
        };
        let (group, role) = line.rsplit_once("=>").ok_or_else(wrong)?;
        let role = role.trim();
        let (role, scope) = role.split_once(char::is_whitespace).unwrap_or((role, ""));
        Ok(Mapping { group: group.trim().to_owned(), role: role.parse()?, scope: scope.parse()? })
    }
}

/// A list of lines; empty ones are passed over.
pub(super) fn mappings(text: &str) -> Result<Vec<Mapping>> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::parse).collect()
}

/// Which claims of an OpenID provider say what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Claims {
    /// What becomes the login name of who is made here.
    pub login: String,
    /// What people call them.
    pub name: String,
    /// Their groups; a path with dots leads deeper, as in `realm_access.roles`.
    pub groups: String,
}

impl Default for Claims {
    fn default() -> Claims {
        Claims { login: "preferred_username".into(), name: "name".into(), groups: "groups".into() }
    }
}

impl Claims {
    fn check(&self) -> Result<()> {
        for claim in [&self.login, &self.name, &self.groups] {
            if claim.len() > CLAIM_BYTES_MAX || claim.chars().any(char::is_control) {
                return Err(
                    Error::invalid("the name of a claim is not one").hint("such as `preferred_username`")
                );
            }
        }
        Ok(())
    }

    /// Their names, for who fetches them.
    pub(super) fn wanted(&self) -> [&str; 3] {
        [&self.login, &self.name, &self.groups]
    }

    /// A claim that is one text.
    pub(super) fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
        look_up(claims, name)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    /// A claim that is a list of texts, or one text.
    pub(super) fn list(claims: &Map<String, Value>, name: &str) -> Vec<String> {
        let all = match look_up(claims, name) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        let sound = |group: &String| !group.is_empty() && group.len() <= GROUP_BYTES_MAX;
        all.into_iter().filter(sound).take(GROUPS_MAX).collect()
    }
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Provider {
    /// Its identifier.
    pub id: String,
    /// What people call it.
    pub name: Name,
    /// Whether anybody signs in by it.
    pub on: bool,
    /// Where it is.
    pub settings: Settings,
    /// Which claims say what; an OpenID provider's.
    #[serde(default)]
    pub claims: Claims,
    /// Which groups give which roles.
    #[serde(default)]
    pub mappings: Vec<Mapping>,
    /// Whether whoever has a role by it, and is not known here, is made at their first sign-in.
    #[serde(default)]
    pub makes_people: bool,
    /// Whether it is believed when it says that a second factor was shown.
    #[serde(default)]
    pub trusts_factors: bool,
    /// Further hosts that it named when it was tested, and ports.
    #[serde(default)]
    pub hosts: Vec<(String, u16)>,
    /// When it was added.
    pub added: Timestamp,
    /// Who added it, or changed where it is, as in the audit log.
    pub by: String,
}

impl Provider {
    /// The name of its secret in the vault.
    pub(super) fn vault_name(id: &str) -> String {
        format!("identity-provider.{id}")
    }

    fn purpose(&self) -> String {
        format!("sign-in at `{}`", self.name)
    }

    /// Where it connects to.
    pub(super) fn destinations(&self) -> Result<Vec<(String, u16)>> {
        let mut all = vec![self.settings.destination()?];
        all.extend(self.hosts.iter().filter(|host| !all.contains(host)).cloned().collect::<Vec<_>>());
        Ok(all)
    }

    /// Puts it on the list of places that the server may connect to.
    pub(super) fn allow(&self, ctx: &Ctx<'_>) -> Result<()> {
        let allow = |(host, port): &(String, u16)| {
            ctx.site.egress.allow(host, *port, &self.purpose(), &self.by, self.added)
        };
        self.destinations()?.iter().try_for_each(allow)
    }

    pub(super) fn withdraw(&self, ctx: &Ctx<'_>) -> Result<()> {
        for (host, port) in self.destinations()? {
            // It may never have been allowed since the start.
            let _ = ctx.site.egress.withdraw(&host, port, &self.purpose());
        }
        Ok(())
    }

    /// Refuses what cannot be kept.
    pub(super) fn check(&self) -> Result<()> {
        self.claims.check()?;
        if self.mappings.len() > MAPPINGS_MAX {
            return Err(Error::too_many(format!("{} lines of groups", self.mappings.len()))
                .hint(format!("at most {MAPPINGS_MAX}")));
        }
        let group = |group: &str| {
            !group.is_empty() && group.len() <= GROUP_BYTES_MAX && !group.chars().any(char::is_control)
        };
        match self.mappings.iter().find(|one| !group(&one.group)) {
            Some(_) => Err(Error::invalid("a group has no name").hint("`*` stands for everybody")),
            None => Ok(()),
        }
    }

    /// What these groups give.
    pub(super) fn grants(&self, groups: &[String]) -> Vec<Granted> {
        let mut grants: Vec<Granted> = Vec::new();
        for one in self.mappings.iter().filter(|one| one.fits(groups)) {
            let grant = Granted {
                scope: one.scope.clone(),
                provider: self.id.clone(),
                ..Granted::lasting(one.role.clone())
            };
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
        grants
    }

    /// The grants of a person with those of this provider renewed, no more than a person may have.
    pub(super) fn renewed(&self, own: &[Granted], groups: &[String]) -> Vec<Granted> {
        let mut grants: Vec<Granted> = own.iter().filter(|one| one.provider != self.id).cloned().collect();
        let room = GRANTS_MAX.saturating_sub(grants.len());
        grants.extend(self.grants(groups).into_iter().take(room));
        grants
    }
}

/// A provider as lists and the API show it: without the secret.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ProviderView {
    /// Its identifier.
    pub id: String,
    /// What people call it.
    pub name: Name,
    /// Whether anybody signs in by it.
    pub on: bool,
    /// Where it is.
    pub settings: Settings,
    /// Which claims say what.
    pub claims: Claims,
    /// Which groups give which roles.
    pub mappings: Vec<Mapping>,
    /// Whether people are made at their first sign-in.
    pub makes_people: bool,
    /// Whether it is believed about second factors.
    pub trusts_factors: bool,
    /// Whether it has a secret.
    pub secret_set: bool,
    /// Where the server connects to for it: `host:port`.
    pub destinations: Vec<String>,
    /// People who come in through it.
    pub people: usize,
    /// When it was added.
    pub added: Timestamp,
    /// Who added it, or changed where it is, as in the audit log.
    pub by: String,
}

/// Somebody at a provider, and who they are here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Who.
    pub user: UserId,
    /// What they were called at the provider when it was made; for people.
    #[serde(default)]
    pub called: String,
    /// Since when.
    pub since: Timestamp,
    /// Who made it, as in the audit log.
    pub by: String,
}

/// A session that was begun by a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// Whose.
    pub user: UserId,
    /// Which provider.
    pub provider: String,
    /// Who they are there.
    pub subject: String,
    /// The provider's name of its own session.
    #[serde(default)]
    pub session: Option<String>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kit::Role;

    pub(in crate::capabilities::identity::sso) fn provider() -> Provider {
        Provider {
            id: "p1".into(),
            name: "Plant".parse().unwrap(),
            on: true,
            settings: Settings::Oidc(oidc::Settings {
                issuer: "http://localhost:9".into(),
                client_id: "muster".into(),
                scopes: oidc::scopes(),
                authority: None,
            }),
            claims: Claims::default(),
            mappings: mappings("admins => administrator\nops => operator site:lyon\n* => viewer").unwrap(),
            makes_people: true,
            trusts_factors: false,
            hosts: vec![("keys.lan".into(), 443)],
            added: Timestamp::default(),
            by: "usr_1".into(),
        }
    }

    #[test]
    fn groups_give_roles_and_take_them() {
        let provider = provider();
        let groups = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let words =
            |all: &[&str]| provider.grants(&groups(all)).iter().map(Granted::text).collect::<Vec<_>>();
        assert_eq!(words(&[]), ["viewer"]);
        assert_eq!(words(&["ops", "ops", "x"]), ["operator with site:lyon", "viewer"]);
        assert_eq!(words(&["cn=admins,ou=groups,dc=site"]), ["administrator", "viewer"]);
        for stranger in ["Admins", "cn=x,cn=admins", "admins,x", "cn=admins\\,x,dc=y", "cn=admins"] {
            assert_eq!(words(&[stranger]), ["viewer"], "{stranger}");
        }
        let own = Granted::lasting(Role::Auditor.into());
        let first = provider.renewed(std::slice::from_ref(&own), &groups(&["ops"]));
        assert_eq!(first.len(), 3);
        let then = provider.renewed(&first, &groups(&["admins"]));
        assert_eq!(then[0], own, "what was given here stays");
        assert!(
            then.iter().all(|one| one.role != Role::Operator),
            "a group that is gone takes its role away"
        );
        let other = Granted { provider: "p2".into(), ..own.clone() };
        assert!(provider.renewed(std::slice::from_ref(&other), &[]).contains(&other));
        let full = vec![own; GRANTS_MAX];
        assert_eq!(provider.renewed(&full, &groups(&["ops"])).len(), GRANTS_MAX);
    }

    #[test]
    fn an_owner_by_a_group_is_not_the_one_that_stays() {
        let owner = Granted { provider: "p1".into(), ..Granted::lasting(Role::Owner.into()) };
        assert!(owner.holds(Timestamp::default()) && !owner.makes_owner());
    }

    #[test]
    fn lines_are_read_and_written() {
        for (line, group, scope) in [
            ("ops => operator", "ops", ""),
            ("cn=a,ou=b => viewer site:lyon line:3", "cn=a,ou=b", "site:lyon line:3"),
            ("* => viewer", "*", ""),
            ("a => b => viewer", "a => b", ""),
        ] {
            let mapping: Mapping = line.parse().unwrap();
            assert_eq!(
                (mapping.group.as_str(), mapping.scope.text(), mapping.line().as_str()),
                (group, scope, line)
            );
        }
        for line in ["ops", "ops = operator", "ops => ", "ops => Operator!"] {
            assert!(line.parse::<Mapping>().is_err(), "{line}");
        }
        assert_eq!(mappings(" \na => viewer\n\n").unwrap().len(), 1);
        let mut many = provider();
        many.mappings = vec![many.mappings[0].clone(); MAPPINGS_MAX];
        many.check().unwrap();
        many.mappings.push(many.mappings[0].clone());
        assert!(many.check().is_err());
        many.mappings = vec![Mapping { group: "x".repeat(GROUP_BYTES_MAX + 1), ..many.mappings[0].clone() }];
        assert!(many.check().is_err());
        many.mappings.clear();
        many.claims.groups = "x".repeat(CLAIM_BYTES_MAX + 1);
        assert!(many.check().is_err());
    }

    #[test]
    fn claims_are_found_where_they_are() {
        let claims = serde_json::json!({
            "name": " Inès ", "groups": ["a", 7, "b", ""], "one": "c", "realm_access": { "roles": ["d"] }, "n": 5,
        });
        let claims = claims.as_object().unwrap();
        assert_eq!(Claims::text(claims, "name").unwrap(), "Inès");
        assert_eq!(Claims::text(claims, "n"), None);
        assert_eq!(Claims::list(claims, "groups"), ["a", "b"]);
        assert_eq!(Claims::list(claims, "one"), ["c"]);
        assert_eq!(Claims::list(claims, "realm_access.roles"), ["d"]);
        assert_eq!(Claims::list(claims, "realm_access.x.y"), [""; 0]);
        let long = "x".repeat(GROUP_BYTES_MAX + 1);
        let many: Vec<String> = (0..GROUPS_MAX + 5).map(|n| n.to_string()).chain([long]).collect();
        let many = serde_json::json!({ "groups": many });
        assert_eq!(Claims::list(many.as_object().unwrap(), "groups").len(), GROUPS_MAX);
    }
}
