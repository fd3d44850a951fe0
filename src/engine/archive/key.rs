//! The recovery key and the recipients that belong to it.

use std::fmt;
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::{bech32, shares};
use crate::base::{Error, Result, Secret};
use crate::engine::clock::Clock;

/// The word that the checksum covers, and how the text begins.
const SECRET: (&str, &str) = ("age-secret-key-", "AGE-SECRET-KEY-1");
const PUBLIC: (&str, &str) = ("age", "age1");

/// An X25519 key that opens backups. Its text is what stock `age -d -i` takes. `Debug` does not show it.
#[derive(Clone)]
pub struct RecoveryKey(age::x25519::Identity);

impl RecoveryKey {
    /// A new key.
    pub fn generate(clock: &Clock) -> Result<RecoveryKey> {
        Self::from_bytes(&Zeroizing::new(clock.random::<32>()))
    }

    /// Reads `AGE-SECRET-KEY-1…`. Spaces, line breaks, dashes and case do not matter, and lines that begin with `#`
    /// (as `age-keygen` writes them) are passed over; a typing mistake is named by its place.
    pub fn parse(text: &str) -> Result<RecoveryKey> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let bare = Zeroizing::new(lines.collect::<Vec<_>>().join("\n"));
        let bytes = bech32::decode(SECRET.0, SECRET.1, &bare).map_err(|mistake| {
            Error::invalid(format!("the recovery key {}", mistake.words(SECRET.1, None)))
                .hint("compare it with the printed recovery kit")
        })?;
        Self::from_bytes(&bytes)
    }

    /// What backups are made for so that this key opens them. It may be known to everybody.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The key as text, upper case: what is printed, kept in a safe, and given to stock `age`.
    pub fn text(&self) -> Secret<String> {
        Secret::new(self.0.to_string().expose_secret().to_owned())
    }

    /// The key in three shares of which any two give it back, each as a text to print. One share alone tells nothing
    /// of the key but its fingerprint.
    pub fn shares(&self) -> Result<[Secret<String>; 3]> {
        let bytes = self.bytes()?;
        shares::split(&bytes, &self.fingerprint())
    }

    /// The key from at least two of its shares. Shares of different keys, a share that is there twice and typing
    /// mistakes are named.
    pub fn from_shares(texts: &[impl AsRef<str>]) -> Result<RecoveryKey> {
        let (bytes, fingerprint) = shares::join(texts)?;
        let key = Self::from_bytes(&bytes)?;
        if key.fingerprint() != fingerprint {
            return Err(Error::invalid("the shares do not fit together")
                .hint("each is without a typing mistake, so one of them was not made with the others"));
        }
        Ok(key)
    }

    /// The first 4 bytes of the BLAKE3 of the recipient's text.
    fn fingerprint(&self) -> [u8; 4] {
        let hash = blake3::hash(self.recipient().to_string().as_bytes());
        std::array::from_fn(|n| hash.as_bytes()[n])
    }

    fn bytes(&self) -> Result<Zeroizing<[u8; 32]>> {
        let text = self.0.to_string();
        bech32::decode(SECRET.0, SECRET.1, text.expose_secret())
            .map_err(|_| Error::internal("a key without a text"))
    }

    fn from_bytes(bytes: &[u8; 32]) -> Result<RecoveryKey> {
        let text = Zeroizing::new(bech32::encode(SECRET.0, bytes).to_uppercase());
        text.parse().map(RecoveryKey).map_err(Error::internal)
    }

    pub(super) fn identity(&self) -> &dyn age::Identity {
        &self.0
    }
}

impl FromStr for RecoveryKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[recovery key of {}]", self.recipient())
    }
}

/// Whom a backup is made for: the public half of a recovery key, `age1…` as text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient(pub(super) age::x25519::Recipient);

impl Recipient {
    /// Reads `age1…`. Spaces, line breaks and case do not matter; a typing mistake is named by its place.
    pub fn parse(text: &str) -> Result<Recipient> {
        let bytes = bech32::decode::<32>(PUBLIC.0, PUBLIC.1, text).map_err(|mistake| {
            Error::invalid(format!("the recipient {}", mistake.words(PUBLIC.1, None)))
                .hint("a recipient is the `age1…` line that was printed with the recovery key")
        })?;
        bech32::encode(PUBLIC.0, bytes.as_slice()).parse().map(Recipient).map_err(Error::internal)
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_a_person() {
        let clock = Clock::manual(Default::default(), 5);
        let key = RecoveryKey::generate(&clock).unwrap();
        let text = key.text().expose().clone();
        assert!(text.starts_with("AGE-SECRET-KEY-1") && text.len() == 74);
        let typed = format!("# public key\n {} \n{}\n", text[..30].to_lowercase(), &text[30..]);
        assert_eq!(RecoveryKey::parse(&typed).unwrap().recipient(), key.recipient());
        assert!(!format!("{key:?}").contains(&text[20..]));
        let wrong = format!("{}{}{}", &text[..40], if &text[40..41] == "Q" { "P" } else { "Q" }, &text[41..]);
        let error = RecoveryKey::parse(&wrong).unwrap_err();
        assert!(error.message().contains("typing mistake, probably in character 25 after"), "{error}");
        let error = RecoveryKey::parse(&key.recipient().to_string()).unwrap_err();
        assert!(error.message().contains("does not begin"), "{error}");

        let public = key.recipient().to_string();
        assert_eq!(Recipient::parse(&public.to_uppercase()).unwrap(), key.recipient());
        assert!(Recipient::parse(&public[..60]).is_err() && Recipient::parse(&text).is_err());
        let other = RecoveryKey::generate(&clock).unwrap();
        assert_ne!(other.recipient(), key.recipient());
    }

    #[test]
    fn any_two_shares_give_the_key_back() {
        let clock = Clock::system();
        let key = RecoveryKey::generate(&clock).unwrap();
        let shares = key.shares().unwrap().map(|s| s.expose().clone());
        for pair in [[0, 1], [0, 2], [1, 2], [2, 0]] {
            let two = pair.map(|n| shares[n].as_str());
            assert_eq!(RecoveryKey::from_shares(&two).unwrap().recipient(), key.recipient());
        }
        assert_eq!(RecoveryKey::from_shares(&shares).unwrap().recipient(), key.recipient());
        let untidy = [shares[0].to_lowercase().replace('-', " "), format!("{}\n", shares[1])];
        assert_eq!(RecoveryKey::from_shares(&untidy).unwrap().recipient(), key.recipient());
        // A second set of the same key does not mix with the first, though the fingerprint is the same.
        let again = key.shares().unwrap().map(|s| s.expose().clone());
        let error = RecoveryKey::from_shares(&[&shares[0], &again[1]]).unwrap_err();
        assert!(error.message().contains("do not fit together"), "{error}");
        let other = RecoveryKey::generate(&clock).unwrap().shares().unwrap().map(|s| s.expose().clone());
        let error = RecoveryKey::from_shares(&[&shares[0], &other[1]]).unwrap_err();
        assert!(error.message().contains("of different keys"), "{error}");
        for (few, words) in [
            (vec![], "no share"),
            (vec![&shares[0]], "one share is not enough"),
            (vec![&shares[0], &shares[0]], "share 1 is there twice"),
        ] {
            let error = RecoveryKey::from_shares(&few).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }
}
