//! What a person, a session and a key are, and which moves are legal.

use serde::{Deserialize, Serialize};

use crate::base::{Error, KeyId, Name, Network, Result, SessionId, Span, Timestamp, UserId, limits};

use super::roles::Granted;
use crate::kit::Permissions;

use super::factors::{Means, Policy};

/// People of one tenant.
pub(super) const USERS_MAX: usize = limits::PAGE_ROWS_MAX;
/// API keys of one tenant, revoked ones included.
pub(super) const KEYS_MAX: usize = limits::PAGE_ROWS_MAX;
/// People who were given the text of one key by a rotation, and are remembered.
const ROTATED_BY_MAX: usize = 20;
/// Characters of a login name.
pub(super) const LOGIN_CHARACTERS_MAX: usize = 64;
/// A link to sign in with is good for so long.
pub(super) const LOGIN_LINK_LIFETIME: Span = Span::from_minutes(10);
/// A link to set a password with is good for so long.
pub(super) const RESET_LINK_LIFETIME: Span = Span::from_hours(24);

/// What is kept of a text that must not be kept: of a cookie, a key, a link, a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Digest(pub [u8; 32]);

/// Whether a person may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// May sign in.
    Active,
    /// May not; sessions and links are dead.
    Disabled,
}

impl State {
    /// The word, for lists.
    pub fn word(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Disabled => "disabled",
        }
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct User {
    /// The identifier.
    pub id: UserId,
    /// What is typed to sign in; unique, lower case.
    pub login: String,
    /// What people call them.
    pub name: Name,
    /// Hash of the password; absent until one is set.
    pub password: Option<String>,
    /// What they may do.
    #[serde(default)]
    pub grants: Vec<Granted>,
    /// Whether they may sign in.
    pub state: State,
    /// When they were added.
    pub created: Timestamp,
    /// When they last signed in.
    pub last_login: Option<Timestamp>,
}

/// Grants of one person.
pub(super) const GRANTS_MAX: usize = 20;

impl User {
    /// Whether they may sign in.
    pub(super) fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// Whether they are an owner who can sign in.
    pub(super) fn is_active_owner(&self) -> bool {
        self.is_active() && self.grants.iter().any(Granted::makes_owner)
    }

    /// What they were given, in words.
    pub(super) fn roles(&self) -> String {
        words(&self.grants)
    }

    /// As lists and the API show them.
    pub(super) fn view(&self) -> UserView {
        UserView {
            id: self.id,
            login: self.login.clone(),
            name: self.name.clone(),
            roles: self.roles(),
            grants: self.grants.clone(),
            state: self.state,
            password_set: self.password.is_some(),
            created: self.created,
            last_login: self.last_login,
        }
    }
}

/// A person as lists and the API show them: without the hash.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct UserView {
    /// The identifier.
    pub id: UserId,
    /// What is typed to sign in.
    pub login: String,
    /// What people call them.
    pub name: Name,
    /// What they may do, in words.
    pub roles: String,
    /// What they may do.
    pub grants: Vec<Granted>,
    /// Whether they may sign in.
    pub state: State,
    /// Whether they have set a password.
    pub password_set: bool,
    /// When they were added.
    pub created: Timestamp,
    /// When they last signed in.
    pub last_login: Option<Timestamp>,
}

/// Refuses a change of `before` to `after` that would leave the site without an owner who can sign in.
pub(super) fn keeps_an_owner(all: &[User], before: &User, after: &User) -> Result<()> {
    let others = all.iter().any(|user| user.id != before.id && user.is_active_owner());
    if before.is_active_owner() && !after.is_active_owner() && !others {
        return Err(Error::conflict(format!("`{}` is the last owner", before.login))
            .hint("make somebody else an owner first"));
    }
    Ok(())
}

/// The login name in its one spelling, or what is wrong with it.
pub(super) fn login_name(text: &str) -> Result<String> {
    let login = text.trim().to_lowercase();
    let sound = !login.is_empty()
        && login.len() <= LOGIN_CHARACTERS_MAX
        && login.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-@".contains(&b));
    if !sound {
        return Err(Error::invalid("the login name is not valid")
            .hint(format!("use a-z, 0-9, `.`, `_`, `-`, `@`, at most {LOGIN_CHARACTERS_MAX} characters")));
    }
    Ok(login)
}

/// A browser that is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The identifier, which may be shown; the cookie may not.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used, to the minute.
    pub used: Timestamp,
    /// Where it began.
    pub from: String,
    /// As whom its person looks at the console.
    #[serde(default)]
    pub looks_as: Option<UserId>,
    /// When the person last showed who they are in it; when it began, where that is not known.
    #[serde(default)]
    pub proved: Option<Timestamp>,
    /// By what they came in.
    #[serde(default)]
    pub means: Vec<Means>,
    /// The browser's family.
    #[serde(default)]
    pub browser: String,
}

impl Session {
    /// Whether it is over at `now`, when it was last used at `used`.
    pub(super) fn is_over(&self, used: Timestamp, now: Timestamp, policy: &Policy) -> bool {
        now.since(used) >= policy.idle() || now.since(self.created) >= policy.absolute()
    }

    /// When the person last showed who they are in it.
    pub(super) fn proved(&self) -> Timestamp {
        self.proved.unwrap_or(self.created)
    }

    /// As lists and the API show it.
    pub(super) fn view(&self, used: Timestamp, current: bool) -> SessionView {
        SessionView {
            id: self.id,
            created: self.created,
            used,
            from: self.from.clone(),
            proved: self.proved(),
            means: self.means.clone(),
            browser: self.browser.clone(),
            current,
        }
    }
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct SessionView {
    /// The identifier.
    pub id: SessionId,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
    /// Where it began.
    pub from: String,
    /// When the person last showed who they are in it.
    pub proved: Timestamp,
    /// By what they came in.
    pub means: Vec<Means>,
    /// The browser's family.
    pub browser: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

impl SessionView {
    /// By what it was begun, in words.
    pub fn by(&self) -> String {
        self.means.iter().map(|means| means.word()).collect::<Vec<_>>().join(", ")
    }
}

/// What a one-time link is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// Signs in.
    Login,
    /// Sets a password and signs in.
    Reset,
}

/// A one-time link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    /// Whom it is for.
    pub user: UserId,
    /// What it is good for.
    pub purpose: Purpose,
    /// Until when.
    pub until: Timestamp,
}

/// A program's way in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ApiKey {
    /// The identifier.
    pub id: KeyId,
    /// What people call it.
    pub name: Name,
    /// What it may do.
    #[serde(default)]
    pub grants: Vec<Granted>,
    /// Only these of what its roles include; absent for all of it.
    #[serde(default)]
    pub only: Option<Permissions>,
    /// Networks that it may be used from; empty for all.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// Digest of the text.
    pub digest: Digest,
    /// The first characters of the text, to tell keys apart.
    pub shown: String,
    /// The text from before the last rotation, while it goes on.
    #[serde(default)]
    pub old: Option<OldText>,
    /// When its program replaced its text by itself, in the last day.
    #[serde(default)]
    pub rotations: Vec<Timestamp>,
    /// Short-lived tokens of another epoch do not work.
    #[serde(default)]
    pub epoch: u32,
    /// Who made it, as the journal says.
    pub created_by: String,
    /// Who was given its text by a rotation, as the journal says; the newest last.
    #[serde(default)]
    pub rotated_by: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
    /// Where it was last used.
    pub last_from: String,
    /// When it ends; absent when it does not.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// A text that was replaced and still works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct OldText {
    /// Digest of the text.
    pub digest: Digest,
    /// Its first characters.
    pub shown: String,
    /// Until when it works.
    pub until: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
    /// Whether the program itself replaced it.
    #[serde(default)]
    pub own: bool,
    /// Whether the text that replaced it has been used.
    #[serde(default)]
    pub followed: bool,
}

impl OldText {
    /// Whether the program itself replaced it, and has not shown yet that it got the answer.
    pub(super) fn is_unfollowed(&self) -> bool {
        self.own && !self.followed
    }
}

impl ApiKey {
    /// Whether this is the digest of a text that works at `now`.
    pub(super) fn opens(&self, digest: &Digest, now: Timestamp) -> bool {
        let old = self.old.as_ref().is_some_and(|old| old.digest == *digest && now < old.until);
        self.digest == *digest || old
    }

    /// Notes who was given the text.
    pub(super) fn handed_to(&mut self, who: &str) {
        self.rotated_by.retain(|before| before != who);
        self.rotated_by.push(who.to_owned());
        let over = self.rotated_by.len().saturating_sub(ROTATED_BY_MAX);
        self.rotated_by.drain(..over);
    }

    /// Whether it opens anything at `now`.
    pub(super) fn works(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }

    /// As lists and the API show it.
    pub(super) fn view(&self, now: Timestamp) -> KeyView {
        let state = match (self.revoked, self.works(now)) {
            (Some(_), _) => "revoked",
            (None, true) => "active",
            (None, false) => "expired",
        };
        KeyView {
            id: self.id,
            name: self.name.clone(),
            roles: words(&self.grants),
            grants: self.grants.clone(),
            only: self.only.clone(),
            networks: self.networks.clone(),
            shown: self.shown.clone(),
            old: self.old.as_ref().filter(|old| now < old.until).map(|old| OldTextView {
                shown: old.shown.clone(),
                until: old.until,
                last_used: old.last_used,
            }),
            created_by: self.created_by.clone(),
            created: self.created,
            last_used: self.last_used,
            last_from: self.last_from.clone(),
            expires: self.expires,
            state,
        }
    }
}

/// A text that was replaced and still works.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct OldTextView {
    /// Its first characters.
    pub shown: String,
    /// Until when it works.
    pub until: Timestamp,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
}

/// A key as lists and the API show it: without the digest.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct KeyView {
    /// The identifier.
    pub id: KeyId,
    /// What people call it.
    pub name: Name,
    /// What it may do, in words.
    pub roles: String,
    /// What it may do.
    pub grants: Vec<Granted>,
    /// Only these of what its roles include; absent for all of it.
    pub only: Option<Permissions>,
    /// Networks that it may be used from; empty for all.
    pub networks: Vec<Network>,
    /// The first characters of the text.
    pub shown: String,
    /// The text from before the last rotation, while it goes on.
    pub old: Option<OldTextView>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
    /// Where it was last used.
    pub last_from: String,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
}

/// Grants in words.
pub(super) fn words(grants: &[Granted]) -> String {
    match grants {
        [] => "no role".to_owned(),
        grants => grants.iter().map(Granted::text).collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::Role;

    fn user(n: u128, role: Role, state: State) -> User {
        User {
            id: UserId::from_bits(n),
            login: format!("user{n}"),
            name: "Somebody".parse().unwrap(),
            password: None,
            grants: vec![Granted::lasting(role.into())],
            state,
            created: Timestamp::default(),
            last_login: None,
        }
    }

    #[test]
    fn the_last_owner_stays() {
        let owner = user(1, Role::Owner, State::Active);
        let demoted = User { grants: vec![Granted::lasting(Role::Viewer.into())], ..owner.clone() };
        let disabled = User { state: State::Disabled, ..owner.clone() };
        for (others, legal) in [
            (vec![], false),
            (vec![user(2, Role::Operator, State::Active)], false),
            (vec![user(2, Role::Owner, State::Disabled)], false),
            (vec![user(2, Role::Owner, State::Active)], true),
        ] {
            let all: Vec<User> = others.into_iter().chain([owner.clone()]).collect();
            for after in [&demoted, &disabled] {
                assert_eq!(keeps_an_owner(&all, &owner, after).is_ok(), legal, "{all:?}");
            }
            assert!(keeps_an_owner(&all, &owner, &owner).is_ok());
        }
    }

    #[test]
    fn login_names_have_one_spelling() {
        assert_eq!(login_name(" Ines.Moreau ").unwrap(), "ines.moreau");
        for text in ["", "a b", "é", "a/b", &"x".repeat(65)] {
            assert!(login_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sessions_end_by_idleness_and_by_age() {
        let at = |hours: u64| Timestamp::default() + Span::from_hours(hours);
        let session = Session {
            id: SessionId::from_bits(1),
            user: UserId::from_bits(1),
            created: at(0),
            used: at(0),
            from: String::new(),
            looks_as: None,
            proved: None,
            means: Vec::new(),
            browser: String::new(),
        };
        let policy = Policy::default();
        for (used, now, over) in
            [(0, 7, false), (0, 8, true), (7, 14, false), (20, 23, false), (23, 24, true)]
        {
            assert_eq!(session.is_over(at(used), at(now), &policy), over, "used {used} now {now}");
        }
    }
}
