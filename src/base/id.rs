//! Typed identifiers: a three-letter prefix and a time-ordered 128-bit value, e.g. `agt_01k9x…`.
//!
//! The upper 48 bits are the milliseconds of the creation, so a range scan is a timeline. The text form is lower-case
//! Crockford base 32 (26 characters), which is safe in MQTT topics, URLs and file names.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Error, Result, Timestamp};

/// What an identifier identifies.
pub trait Prefix: 'static {
    /// Three lower-case letters.
    const PREFIX: &'static str;
    /// The noun, for messages.
    const NOUN: &'static str;
}

macro_rules! kinds {
    ($($kind:ident $prefix:literal $noun:literal, $alias:ident;)*) => {
        /// The registry of everything that has an identifier.
        pub mod kind {
            $(
                #[doc = concat!("Marks the identifier of a ", $noun, ".")]
                #[derive(Debug)]
                pub enum $kind {}
                impl super::Prefix for $kind {
                    const PREFIX: &'static str = $prefix;
                    const NOUN: &'static str = $noun;
                }
            )*
        }
        $(
            #[doc = concat!("Identifier of a ", $noun, ": `", $prefix, "_…`.")]
            pub type $alias = Id<kind::$kind>;
        )*
    };
}

kinds! {
    Tenant "ten" "tenant", TenantId;
    User "usr" "user", UserId;
    Session "ses" "session", SessionId;
    Key "key" "API key", KeyId;
    Family "fam" "family of tokens", FamilyId;
    Passkey "psk" "passkey", PasskeyId;
    Agent "agt" "agent", AgentId;
    Task "tsk" "task", TaskId;
    Approval "apr" "approval", ApprovalId;
}

/// An identifier of a `T`.
pub struct Id<T>(u128, PhantomData<fn() -> T>);

impl<T> Id<T> {
    /// Puts together the identifier of something made at `at`; only the lower 80 bits of `random` count.
    pub fn new(at: Timestamp, random: u128) -> Self {
        let milliseconds = u128::from(at.milliseconds().max(0) as u64) & ((1 << 48) - 1);
        Id((milliseconds << 80) | (random & ((1 << 80) - 1)), PhantomData)
    }

    /// The identifier with these bits, as stored.
    pub const fn from_bits(bits: u128) -> Self {
        Id(bits, PhantomData)
    }

    /// The bits, for keys and storage.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// When the thing was made, as its maker's clock said.
    pub fn made(self) -> Timestamp {
        Timestamp::from_milliseconds((self.0 >> 80) as i64)
    }
}

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl<T: Prefix> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 26];
        let mut rest = self.0;
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest & 31) as usize];
            rest >>= 5;
        }
        write!(f, "{}_{}", T::PREFIX, std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<T: Prefix> FromStr for Id<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("`{}` is not the id of a {}", short(text), T::NOUN)).hint(format!(
                "ids of a {} look like `{}_` and 26 characters",
                T::NOUN,
                T::PREFIX
            ))
        };
        let digits = text.strip_prefix(T::PREFIX).and_then(|t| t.strip_prefix('_')).ok_or_else(wrong)?;
        if digits.len() != 26 || digits.as_bytes()[0] > b'7' {
            return Err(wrong());
        }
        let mut bits = 0u128;
        for byte in digits.bytes() {
            let digit = DIGITS.iter().position(|d| *d == byte.to_ascii_lowercase()).ok_or_else(wrong)?;
            bits = (bits << 5) | digit as u128;
        }
        Ok(Id(bits, PhantomData))
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

impl<T: Prefix> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0.to_be_bytes())
        }
    }
}

impl<'de, T: Prefix> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<T: Prefix> serde::de::Visitor<'_> for Visitor<T> {
            type Value = Id<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the id of a {}", T::NOUN)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id<T>, E> {
                text.parse().map_err(|e: Error| E::custom(e.message()))
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Id<T>, E> {
                let bytes: [u8; 16] = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(Id(u128::from_be_bytes(bytes), PhantomData))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor(PhantomData))
        } else {
            deserializer.deserialize_bytes(Visitor(PhantomData))
        }
    }
}

impl<T: Prefix> schemars::JsonSchema for Id<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Id_{}", T::PREFIX).into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": format!("identifier of a {}", T::NOUN),
            "pattern": format!("^{}_[0-9a-hjkmnp-tv-z]{{26}}$", T::PREFIX),
        })
    }
}

impl<T: Prefix> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_agree_and_order_is_time() {
        let early = AgentId::new(Timestamp::from_milliseconds(1_000), u128::MAX);
        let late = AgentId::new(Timestamp::from_milliseconds(1_001), 0);
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(early.to_string().parse::<AgentId>().unwrap(), early);
        assert_eq!(late.made().milliseconds(), 1_001);
        assert_eq!(serde_json::to_string(&late).unwrap(), format!("\"{late}\""));
    }

    #[test]
    fn foreign_and_broken_text_is_refused_by_name() {
        for text in [
            "",
            "agt_",
            "tsk_00000000000000000000000000",
            "agt_80000000000000000000000000",
            "agt_0000000000000000000000000u",
        ] {
            let error = text.parse::<AgentId>().unwrap_err();
            assert_eq!(error.kind(), crate::base::Kind::Invalid, "{text}");
            assert!(error.message().contains("agent"));
        }
    }
}
