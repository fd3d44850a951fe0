//! What somebody may do, and with what: permissions, where they hold, and the sum of both.
//!
//! A permission is the name of an operation, or `{noun}.read` for reads. A role is a set of patterns over such names; a
//! grant gives a role within a scope. What is not granted is refused: an operation that knows nothing of scopes needs a
//! grant for everything.
//!
//! Invariant: whoever may give a role has all of it, within the scope in which they give it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::role::{Role, RoleName};
use super::tenants::is_sites;
use crate::base::{Error, Result, Selector, Subject, Timestamp};

/// Patterns of one set of permissions.
pub const PATTERNS_MAX: usize = 200;

/// `*`, `agents.*`, `*.read` or `agents.retire`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    noun: Option<String>,
    verb: Option<String>,
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern> {
        let wrong = || {
            let shown: String = text.chars().take(60).collect();
            Error::invalid(format!("`{shown}` is not a permission"))
                .hint("`agents.retire`, `agents.*`, `*.read` or `*`; a `-` in front takes it away again")
        };
        if text == "*" {
            return Ok(Pattern { noun: None, verb: None });
        }
        let (noun, verb) = text.split_once('.').ok_or_else(wrong)?;
        let part = |part: &str| match part {
            "*" => Ok(None),
            word if !word.is_empty()
                && word.len() <= 40
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') =>
            {
                Ok(Some(word.to_owned()))
            }
            _ => Err(wrong()),
        };
        Ok(Pattern { noun: part(noun)?, verb: part(verb)? })
    }

    fn fits(&self, permission: &str) -> bool {
        let Some((noun, verb)) = permission.split_once('.') else { return false };
        self.noun.as_deref().is_none_or(|own| own == noun)
            && self.verb.as_deref().is_none_or(|own| own == verb)
    }

    /// Whether all that fits the other fits this one.
    fn includes(&self, other: &Pattern) -> bool {
        let part = |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        part(&self.noun, &other.noun) && part(&self.verb, &other.verb)
    }

    /// What fits both, if anything can.
    fn both(&self, other: &Pattern) -> Option<Pattern> {
        let part = |own: &Option<String>, other: &Option<String>| own.clone().or_else(|| other.clone());
        let both = Pattern { noun: part(&self.noun, &other.noun), verb: part(&self.verb, &other.verb) };
        self.meets(other).then_some(both)
    }

    /// Whether something may fit both.
    fn meets(&self, other: &Pattern) -> bool {
        let part =
            |own: &Option<String>, other: &Option<String>| own.is_none() || other.is_none() || own == other;
        part(&self.noun, &other.noun) && part(&self.verb, &other.verb)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.noun, &self.verb) {
            (None, None) => f.write_str("*"),
            (noun, verb) => {
                let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".into());
                write!(f, "{}.{}", part(noun), part(verb))
            }
        }
    }
}

/// A set of permissions as text: patterns with commas between them, and exceptions with a `-` in front:
/// `agents.*, *.read, -identity.*`. An exception counts wherever it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Permissions {
    allowed: Vec<Pattern>,
    except: Vec<Pattern>,
}

impl Permissions {
    /// Whether the permission is among them.
    pub fn allow(&self, permission: &str) -> bool {
        self.fitting(permission).is_some()
    }

    /// The pattern that allows it.
    pub fn fitting(&self, permission: &str) -> Option<String> {
        if self.except.iter().any(|pattern| pattern.fits(permission)) {
            return None;
        }
        self.allowed.iter().find(|pattern| pattern.fits(permission)).map(ToString::to_string)
    }

    /// The exception that takes it away, when a pattern would allow it.
    pub fn taken_by(&self, permission: &str) -> Option<String> {
        self.allowed.iter().find(|pattern| pattern.fits(permission))?;
        self.except.iter().find(|pattern| pattern.fits(permission)).map(|pattern| format!("-{pattern}"))
    }

    /// Whether all that the other allows is allowed by this, whatever operations there are.
    pub fn include(&self, other: &Permissions) -> bool {
        other.allowed.iter().all(|pattern| {
            self.allowed.iter().any(|own| own.includes(pattern))
                && self
                    .except
                    .iter()
                    .filter(|except| except.meets(pattern))
                    .all(|except| other.except.iter().any(|theirs| theirs.includes(except)))
        })
    }

    /// What both allow, and nothing else.
    pub fn both(&self, other: &Permissions) -> Permissions {
        let mut both = Permissions::default();
        for own in &self.allowed {
            for pattern in other.allowed.iter().filter_map(|theirs| own.both(theirs)) {
                if !both.allowed.contains(&pattern) {
                    both.allowed.push(pattern);
                }
            }
        }
        for except in self.except.iter().chain(&other.except) {
            if !both.except.contains(except) {
                both.except.push(except.clone());
            }
        }
        both
    }

    /// Whether they allow nothing.
    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty()
    }
}

impl FromStr for Permissions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Permissions> {
        let mut permissions = Permissions::default();
        let parts = text.split([',', '\n', ' ']).map(str::trim).filter(|part| !part.is_empty());
        for part in parts {
            match part.strip_prefix('-') {
                Some(rest) => permissions.except.push(Pattern::parse(rest)?),
                None => permissions.allowed.push(Pattern::parse(part)?),
            }
        }
        let count = permissions.allowed.len() + permissions.except.len();
        if count > PATTERNS_MAX {
            return Err(Error::invalid(format!("{count} permissions are too many"))
                .hint(format!("at most {PATTERNS_MAX}; `agents.*` stands for all of agents")));
        }
        Ok(permissions)
    }
}

impl TryFrom<String> for Permissions {
    type Error = String;

    fn try_from(text: String) -> Result<Permissions, String> {
        text.parse().map_err(|e: Error| e.message().to_owned())
    }
}

impl From<Permissions> for String {
    fn from(permissions: Permissions) -> String {
        permissions.to_string()
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.allowed.iter().map(ToString::to_string);
        let except = self.except.iter().map(|pattern| format!("-{pattern}"));
        f.write_str(&allowed.chain(except).collect::<Vec<_>>().join(", "))
    }
}

impl schemars::JsonSchema for Permissions {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Permissions".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "patterns with commas between them, such as `agents.*, *.read, -identity.*`",
        })
    }
}

/// With what a grant holds: a filter over things, in the grammar of lists. The empty one is everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    text: String,
    selector: Selector,
}

impl Scope {
    /// Whether it is everything.
    pub fn is_everything(&self) -> bool {
        self.selector.is_empty()
    }

    /// The filter as it was typed; empty for everything.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the thing is within.
    pub fn holds(&self, thing: &dyn Subject) -> bool {
        self.selector.matches(thing)
    }

    /// Whether all that is within the other is within this one, as far as their terms tell.
    pub fn includes(&self, other: &Scope) -> bool {
        other.selector.narrows(&self.selector)
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Scope> {
        let text = text.trim();
        Ok(Scope { selector: Selector::parse(text)?, text: text.to_owned() })
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Scope, String> {
        text.parse().map_err(|e: Error| e.message().to_owned())
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.text
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "everything" } else { &self.text })
    }
}

impl schemars::JsonSchema for Scope {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scope".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a filter such as `site:lyon` or `id:agt_…`; empty for everything",
        })
    }
}

/// A role within a scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The role's name.
    pub role: RoleName,
    /// What it includes.
    pub permissions: Arc<Permissions>,
    /// With what.
    pub scope: Scope,
    /// When it ends; absent for one without an end.
    pub until: Option<Timestamp>,
}

/// The sum of what somebody was granted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rights {
    /// One by one.
    pub grants: Vec<Grant>,
    /// Whose they are, when somebody looks at the console as another person: then only reads are left.
    pub looks_as: Option<String>,
    /// Whether what is about the whole site is left out, whatever the roles say: it is for who is of another tenant than
    /// the site's own.
    pub within_tenant: bool,
}

impl Rights {
    /// Those of one role, with everything.
    pub fn of(role: Role) -> Arc<Rights> {
        let grant = Grant {
            role: role.into(),
            permissions: role.permissions(),
            scope: Scope::default(),
            until: None,
        };
        Arc::new(Rights { grants: vec![grant], ..Rights::default() })
    }

    fn giving<'a>(&'a self, permission: &'a str) -> impl Iterator<Item = &'a Grant> {
        let readable = (self.looks_as.is_none() || permission.ends_with(".read"))
            && !(self.within_tenant && is_sites(permission));
        self.grants.iter().filter(move |grant| readable && grant.permissions.allow(permission))
    }

    /// Whether the permission is granted with anything at all.
    pub fn allow(&self, permission: &str) -> bool {
        self.giving(permission).next().is_some()
    }

    /// Whether it is granted with everything.
    pub fn allow_everywhere(&self, permission: &str) -> bool {
        self.giving(permission).any(|grant| grant.scope.is_everything())
    }

    /// With what it is granted.
    pub fn sight(&self, permission: &str) -> Sight {
        let scopes: Vec<Scope> = self.giving(permission).map(|grant| grant.scope.clone()).collect();
        if scopes.iter().any(Scope::is_everything) { Sight::Everything } else { Sight::Within(scopes) }
    }

    /// Whether all of a role within a scope is among them, so that they may be passed on.
    pub fn include(&self, permissions: &Permissions, scope: &Scope) -> bool {
        self.looks_as.is_none()
            && self.grants.iter().any(|own| own.permissions.include(permissions) && own.scope.includes(scope))
    }

    /// The names of the roles, with commas between them.
    pub fn roles(&self) -> String {
        let mut names: Vec<&str> = self.grants.iter().map(|grant| grant.role.as_str()).collect();
        names.dedup();
        names.join(", ")
    }
}

/// What of a list somebody sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// All of it.
    Everything,
    /// What is within one of these; nothing, when there is none.
    Within(Vec<Scope>),
}

impl Sight {
    /// Whether the thing may be seen.
    pub fn sees(&self, thing: &dyn Subject) -> bool {
        match self {
            Sight::Everything => true,
            Sight::Within(scopes) => scopes.iter().any(|scope| scope.holds(thing)),
        }
    }

    /// Whether it is all.
    pub fn is_everything(&self) -> bool {
        *self == Sight::Everything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Permissions {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_say_what_they_mean() {
        let roles = set("agents.*, *.read, tasks.create, -identity.*, -agents.retire");
        for (permission, allowed) in [
            ("agents.change", true),
            ("agents.retire", false),
            ("tasks.create", true),
            ("tasks.cancel", false),
            ("backups.read", true),
            ("identity.read", false),
            ("agent.change", false),
            ("agents", false),
        ] {
            assert_eq!(roles.allow(permission), allowed, "{permission}");
        }
        assert_eq!(roles.fitting("agents.change").unwrap(), "agents.*");
        assert_eq!(roles.taken_by("identity.read").unwrap(), "-identity.*");
        assert_eq!(roles.to_string(), "agents.*, *.read, tasks.create, -identity.*, -agents.retire");
        for text in ["agents", "agents.", ".read", "Agents.x", "a.b.c", "**", "-", "a.-b"] {
            assert!(text.parse::<Permissions>().is_err(), "{text}");
        }
        assert!("a.b,".repeat(PATTERNS_MAX).parse::<Permissions>().is_ok());
        assert!("a.b,".repeat(PATTERNS_MAX + 1).parse::<Permissions>().is_err());
    }

    #[test]
    fn nobody_passes_on_what_they_do_not_have() {
        for (own, other, whole) in [
            ("*", "*", true),
            ("*", "agents.*, -agents.retire", true),
            ("agents.*", "agents.retire", true),
            ("agents.*", "*.read", false),
            ("*.read", "agents.read", true),
            ("*, -tenants.*", "*", false),
            ("*, -tenants.*", "*, -tenants.*", true),
            ("*, -tenants.*", "*.read", false),
            ("*, -tenants.*", "*.read, -tenants.*", true),
            ("*, -tenants.create", "*, -tenants.*", true),
            ("*, -tenants.*", "agents.*", true),
            ("agents.*", "", true),
        ] {
            assert_eq!(set(own).include(&set(other)), whole, "{own} ⊇ {other}");
        }
    }

    /// The law behind it: whoever includes a set allows all that it allows.
    #[test]
    fn including_means_allowing() {
        let words = ["*", "a.*", "b.*", "*.read", "*.x", "a.read", "a.x", "b.read"];
        let sets: Vec<Permissions> = words
            .iter()
            .flat_map(|one| {
                let alone = std::iter::once((*one).to_owned());
                alone.chain(
                    words.iter().flat_map(move |two| [format!("{one}, {two}"), format!("{one}, -{two}")]),
                )
            })
            .map(|text| set(&text))
            .collect();
        let all = ["a.read", "a.x", "a.z", "b.read", "b.x", "c.read", "c.z"];
        for own in &sets {
            for other in sets.iter().filter(|other| own.include(other)) {
                for permission in all.iter().filter(|permission| other.allow(permission)) {
                    assert!(own.allow(permission), "{own} ⊇ {other} but not {permission}");
                }
            }
        }
    }

    #[test]
    fn both_is_what_each_allows() {
        let words = ["*", "a.*", "*.read", "a.x", "*, -a.*", "*.read, -b.read", "a.*, *.x, -a.x", ""];
        for (one, other) in words.iter().flat_map(|one| words.iter().map(move |other| (set(one), set(other))))
        {
            let both = one.both(&other);
            for permission in ["a.read", "a.x", "a.z", "b.read", "b.x", "c.z"] {
                let each = one.allow(permission) && other.allow(permission);
                assert_eq!(both.allow(permission), each, "{one} and {other}: {permission}");
            }
        }
    }

    struct Press;

    impl Subject for Press {
        fn text(&self, key: &str) -> Vec<String> {
            match key {
                "site" => vec!["lyon".into()],
                "id" => vec!["agt_1".into()],
                _ => Vec::new(),
            }
        }
        fn number(&self, _: &str) -> Option<f64> {
            None
        }
        fn mentions(&self, _: &str) -> bool {
            false
        }
    }

    #[test]
    fn a_scope_narrows_what_is_granted() {
        let grant = |role: Role, scope: &str| Grant {
            role: role.into(),
            permissions: role.permissions(),
            scope: scope.parse().unwrap(),
            until: None,
        };
        let rights = Rights {
            grants: vec![grant(Role::Viewer, ""), grant(Role::Operator, "site:paris")],
            ..Rights::default()
        };
        assert!(rights.allow("agents.retire") && !rights.allow_everywhere("agents.retire"));
        assert!(!rights.sight("agents.retire").sees(&Press) && rights.sight("agents.read").sees(&Press));
        let rights = Rights { grants: vec![grant(Role::Operator, "id:agt_1")], ..Rights::default() };
        assert!(rights.sight("agents.retire").sees(&Press));
        assert!(!rights.sight("identity.create").sees(&Press), "nothing granted is nothing seen");
        let all = Role::Operator.permissions();
        assert!(!rights.include(&all, &Scope::default()));
        assert!(rights.include(&all, &"id:agt_1 site:lyon".parse().unwrap()));
        assert!(!rights.include(&all, &"site:lyon".parse().unwrap()));
        let looking = Rights { looks_as: Some("Omar".into()), ..rights };
        assert!(looking.allow("agents.read") && !looking.allow("agents.retire"));
    }
}
