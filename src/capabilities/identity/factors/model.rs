//! What factors and the rules about them are.

use serde::{Deserialize, Serialize};

use crate::base::{Error, Name, PasskeyId, Result, Span, Timestamp, UserId};
use crate::capabilities::identity::model::{Digest, Session, User};

/// Passkeys of one person.
pub(super) const PASSKEYS_MAX: usize = 20;
/// Recovery codes that are made at once.
pub(super) const CODES_COUNT: usize = 10;
/// Tries of one half sign-in.
pub(in crate::capabilities::identity) const CODE_TRIES: u8 = 5;
/// Steps that the app's clock may be off from what was learned.
pub(super) const REACH: u64 = 1;
/// Steps that it may be off while nothing is learned.
pub(super) const REACH_UNKNOWN: u64 = 10;
/// What was learned of a clock is old after so long.
pub(super) const LEARNED_LASTS: Span = Span::from_days(30);
/// Steps of difference that a person is told.
const TOLD_FROM: u64 = 2;

const IDLE_MINUTES: (u64, u64) = (5, 24 * 60);
const ABSOLUTE_MINUTES: (u64, u64) = (60, 30 * 24 * 60);
const ROLES_MAX: usize = 50;

/// By what somebody shows who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A password.
    Password,
    /// A code of an authenticator app.
    Totp,
    /// A passkey.
    Passkey,
    /// A one-time link.
    Link,
    /// A recovery code.
    RecoveryCode,
    /// An OpenID provider.
    Oidc,
    /// An OpenID provider that is trusted to have seen a second factor.
    OidcFactors,
    /// A directory, by its password.
    Ldap,
}

impl Means {
    /// What people call it.
    pub fn word(self) -> &'static str {
        match self {
            Means::Password => "password",
            Means::Totp => "app code",
            Means::Passkey => "passkey",
            Means::Link => "link",
            Means::RecoveryCode => "recovery code",
            Means::Oidc => "single sign-on",
            Means::OidcFactors => "single sign-on with a second factor",
            Means::Ldap => "directory password",
        }
    }

    /// Whether it is more than a password or a link.
    pub(super) fn is_factor(self) -> bool {
        matches!(self, Means::Totp | Means::Passkey | Means::RecoveryCode | Means::OidcFactors)
    }
}

/// An authenticator app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capabilities::identity) struct Totp {
    /// The secret, sealed by the vault for this person.
    #[serde(with = "serde_bytes_vec")]
    pub sealed: Vec<u8>,
    /// When it was added.
    pub added: Timestamp,
    /// The last step whose code was used; this one and earlier ones are dead.
    pub last: u64,
    /// Steps by which the app's clock is ahead of ours; negative when it is behind.
    pub offset: i64,
    /// When it was last used.
    pub last_used: Timestamp,
}

/// Bytes as CBOR bytes, not as a list of numbers.
mod serde_bytes_vec {
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// How far an app's clock is from ours, in words, when it is worth telling.
pub(super) fn clock_differs(offset: i64) -> Option<String> {
    if offset.unsigned_abs() < TOLD_FROM {
        return None;
    }
    let seconds = offset.unsigned_abs() * crate::engine::crypto::TOTP_STEP_SECONDS;
    let by = match (seconds / 60, seconds % 60) {
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    };
    let way = if offset > 0 { "ahead of" } else { "behind" };
    Some(format!("the clock of the phone is about {by} {way} this server's"))
}

/// A passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capabilities::identity) struct Passkey {
    /// The identifier here.
    pub id: PasskeyId,
    /// Whose it is.
    pub user: UserId,
    /// What they call it.
    pub name: Name,
    /// The authenticator's identifier of it.
    #[serde(with = "serde_bytes_vec")]
    pub credential: Vec<u8>,
    /// The public key, as COSE has it.
    #[serde(with = "serde_bytes_vec")]
    pub key: Vec<u8>,
    /// The host under which it was made and works.
    pub host: String,
    /// How often it has signed, if it counts.
    pub counter: u32,
    /// Whether it lives in more than one place.
    pub backed_up: bool,
    /// When it was added.
    pub added: Timestamp,
    /// When it was last used.
    pub last_used: Option<Timestamp>,
}

impl Passkey {
    /// It has signed again. One that counts must have counted on: else there are two of it.
    pub(super) fn counted(self, counter: u32, backed_up: bool, now: Timestamp) -> Result<Passkey> {
        if (self.counter > 0 || counter > 0) && counter <= self.counter {
            return Err(Error::forbidden("the passkey has counted back, so there may be a copy of it")
                .hint("sign in another way and remove it from your account"));
        }
        Ok(Passkey { counter, backed_up, last_used: Some(now), ..self })
    }
}

/// Where a passkey is found by its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capabilities::identity) struct PasskeyPlace {
    pub user: UserId,
    pub passkey: PasskeyId,
}

/// Recovery codes: each place holds the digest of a code until that is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capabilities::identity) struct Codes {
    /// When they were made; also tells them from earlier ones.
    pub made: Timestamp,
    /// The digests.
    pub digests: Vec<Option<Digest>>,
}

impl Codes {
    /// Those that are left.
    pub(super) fn left(&self) -> usize {
        self.digests.iter().flatten().count()
    }
}

/// The rules of the site about signing in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Policy {
    /// Roles whose people need a second factor.
    #[serde(default)]
    pub second_factor_for: Vec<String>,
    /// A session that is not used for so many minutes ends.
    pub idle_minutes: u64,
    /// A session ends after so many minutes, used or not.
    pub absolute_minutes: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { second_factor_for: Vec::new(), idle_minutes: 8 * 60, absolute_minutes: 24 * 60 }
    }
}

impl Policy {
    /// A session that is not used for so long ends.
    pub(in crate::capabilities::identity) fn idle(&self) -> Span {
        Span::from_minutes(self.idle_minutes)
    }

    /// A session ends after so long, used or not.
    pub(in crate::capabilities::identity) fn absolute(&self) -> Span {
        Span::from_minutes(self.absolute_minutes)
    }

    /// Whether this person needs a second factor.
    pub(in crate::capabilities::identity) fn asks(&self, user: &User) -> bool {
        user.grants.iter().any(|one| self.second_factor_for.iter().any(|role| *role == one.role.to_string()))
    }

    /// Whether a session was begun with less than the rules ask for now.
    pub(in crate::capabilities::identity) fn refuses(&self, user: &User, session: &Session) -> bool {
        self.asks(user) && !session.means.iter().any(|means| means.is_factor())
    }

    /// The rules in their one form, or what is wrong with them.
    pub(super) fn checked(mut self, roles: &[String]) -> Result<Policy> {
        self.second_factor_for.sort();
        self.second_factor_for.dedup();
        if self.second_factor_for.len() > ROLES_MAX {
            return Err(Error::invalid("there are too many roles").hint(format!("at most {ROLES_MAX}")));
        }
        if let Some(unknown) = self.second_factor_for.iter().find(|role| !roles.contains(role)) {
            let shown: String = unknown.chars().take(40).collect();
            return Err(Error::invalid(format!("`{shown}` is not a role"))
                .hint(format!("there are {}", roles.join(", "))));
        }
        let bounds = |what, value, (least, most)| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(format!("{what} is out of bounds")).hint(format!("{least} to {most} minutes")))
        };
        bounds("the time without use", self.idle_minutes, IDLE_MINUTES)?;
        bounds("the time in all", self.absolute_minutes, ABSOLUTE_MINUTES)?;
        if self.idle_minutes > self.absolute_minutes {
            return Err(Error::invalid("a session cannot idle longer than it lasts")
                .hint("make the time without use the shorter one"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_clocks_are_told_in_words() {
        for (offset, expected) in [
            (0, None),
            (-1, None),
            (2, Some("the clock of the phone is about 1 min ahead of this server's")),
            (-5, Some("the clock of the phone is about 2 min 30 s behind this server's")),
        ] {
            assert_eq!(clock_differs(offset).as_deref(), expected);
        }
    }

    #[test]
    fn rules_have_bounds() {
        let roles = ["owner".to_owned(), "viewer".to_owned()];
        let of = |idle, absolute, roles: &[&str]| Policy {
            second_factor_for: roles.iter().map(|r| (*r).to_owned()).collect(),
            idle_minutes: idle,
            absolute_minutes: absolute,
        };
        for (policy, part) in [
            (of(4, 60, &[]), "out of bounds"),
            (of(24 * 60 + 1, 48 * 60, &[]), "out of bounds"),
            (of(5, 59, &[]), "out of bounds"),
            (of(5, 30 * 24 * 60 + 1, &[]), "out of bounds"),
            (of(120, 60, &[]), "longer than it lasts"),
            (of(60, 60, &["root"]), "not a role"),
        ] {
            let error = policy.clone().checked(&roles).unwrap_err();
            assert!(error.message().contains(part), "{policy:?}: {error}");
        }
        let checked = of(5, 60, &["viewer", "owner", "viewer"]).checked(&roles).unwrap();
        assert_eq!(checked.second_factor_for, ["owner", "viewer"]);
        assert!(Policy::default().checked(&roles).is_ok());
    }
}
