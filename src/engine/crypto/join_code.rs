//! Join codes: what an operator reads from the console and types at a new machine.

use std::fmt;
use std::str::FromStr;

use super::certificate::{Fingerprint, base32, normal_base32};
use crate::base::{Error, Result};
use crate::engine::clock::Clock;

/// Characters of the secret part: 60 bits.
const SECRET_CHARACTERS: usize = 12;

/// `XXXX-XXXX-XXXX.` and 26 characters: a secret that lets in, and the authority to expect on the other side.
///
/// So that a new machine trusts nobody but the server that made the code, without any file carried to it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinCode {
    secret: String,
    authority: String,
}

impl JoinCode {
    /// A new code for the authority with this fingerprint.
    pub fn make(authority: &Fingerprint, clock: &Clock) -> JoinCode {
        JoinCode { secret: base32(&clock.random::<8>(), SECRET_CHARACTERS), authority: authority.short() }
    }

    /// The secret part in its one spelling: the password of the joining session.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The short form of the authority's fingerprint.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What the server keeps instead of the code.
    pub fn hash(&self) -> [u8; 32] {
        Self::hash_of(&self.secret)
    }

    /// The same for a secret part that somebody sent, however it is spelt.
    pub fn hash_of(secret: &str) -> [u8; 32] {
        let normal = normal_base32(secret).unwrap_or_default();
        blake3::derive_key("muster 2026 join code at rest", normal.as_bytes())
    }

    /// The whole code for the person who types it. `Debug` does not show it.
    pub fn text(&self) -> String {
        let groups: Vec<String> =
            self.secret.as_bytes().chunks(4).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
        format!("{}.{}", groups.join("-"), self.authority)
    }
}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[join code]")
    }
}

impl FromStr for JoinCode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid("the join code is not valid")
                .hint("copy it whole from the console: `XXXX-XXXX-XXXX.` and 26 characters")
        };
        let (secret, authority) = text.trim().split_once('.').ok_or_else(wrong)?;
        let secret = normal_base32(secret).ok_or_else(wrong)?;
        let authority = normal_base32(authority).ok_or_else(wrong)?;
        if secret.len() != SECRET_CHARACTERS || authority.len() != Fingerprint::SHORT_CHARACTERS {
            return Err(wrong());
        }
        Ok(JoinCode { secret, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_a_person() {
        let clock = Clock::manual(Default::default(), 3);
        let code = JoinCode::make(&Fingerprint([7; 32]), &clock);
        let typed = format!(" {} ", code.text().to_lowercase().replace('0', "o").replace('1', "l"));
        let read: JoinCode = typed.parse().unwrap();
        assert_eq!(read.hash(), code.hash());
        assert_eq!(read.text(), code.text());
        assert_eq!(code.text().len(), 14 + 1 + 26);
        assert_ne!(code.hash(), JoinCode::make(&Fingerprint([7; 32]), &clock).hash());
        for bad in
            ["", "AAAA", "AAAA-BBBB-CCCC", "AAAA-BBBB-CCC.0", "UUUU-BBBB-CCCC.00000000000000000000000000"]
        {
            assert!(bad.parse::<JoinCode>().is_err(), "{bad}");
        }
        assert!(!format!("{code:?}").contains(code.secret()));
    }
}
