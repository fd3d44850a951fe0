//! Passwords: Argon2id (RFC 9106) with 19 MiB, two passes, one lane. Both functions take tens of milliseconds of a
//! processor and belong on a bounded pool of threads.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::base::{Error, Result, limits};
use crate::engine::clock::Clock;

/// A hash of nobody's password, with the parameters of all others.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The text to keep of a password.
pub fn hash_password(password: &str, clock: &Clock) -> Result<String> {
    if password.len() > limits::PASSWORD_BYTES_MAX {
        return Err(Error::invalid("the password is too long")
            .hint(format!("at most {} bytes", limits::PASSWORD_BYTES_MAX)));
    }
    let failed = |e: &dyn std::fmt::Display| Error::internal(format!("hashing of the password failed: {e}"));
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|e| failed(&e))?;
    let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &clock.random::<16>())
        .map_err(|e| failed(&e))?;
    Ok(hash.to_string())
}

/// Whether `password` is the one that `kept` was made from. Without a kept hash it works as long and says no, so that
/// the time of the answer does not tell which users exist.
pub fn verify_password(password: &str, kept: Option<&str>) -> bool {
    let known = kept.is_some();
    let fits = password.len() <= limits::PASSWORD_BYTES_MAX
        && Argon2::default().verify_password(password.as_bytes(), kept.unwrap_or(NOBODY)).is_ok();
    known && fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_verify_and_nobody_has_none() {
        let kept = hash_password("correct horse battery", &Clock::system()).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(verify_password("correct horse battery", Some(&kept)));
        assert!(!verify_password("correct horse", Some(&kept)));
        assert!(!verify_password("", None) && !verify_password("x", Some("broken")));
        assert!(hash_password(&"x".repeat(1_025), &Clock::system()).is_err());
        // The stand-in must cost what a real one costs: it has to parse.
        assert!(PasswordHash::new(NOBODY).is_ok());
    }
}
