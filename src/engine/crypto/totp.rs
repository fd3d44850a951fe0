//! Codes of an authenticator app: RFC 6238 with SHA-1, 30 seconds and six digits, which is what every app takes without
//! being told.
//!
//! The arithmetic is ours over `ring`'s HMAC: a dozen lines with the vectors of the RFC. A crate for it would bring a
//! second HMAC and SHA-1, and what matters here (how far a phone's clock may be off, and that no code counts twice) would
//! be ours all the same.

use ring::hmac;

use crate::base::{Secret, Timestamp};
use crate::engine::clock::Clock;

/// Seconds that one code is shown.
pub const TOTP_STEP_SECONDS: u64 = 30;
/// Digits of a code.
pub const TOTP_DIGITS: usize = 6;
/// Bytes of a secret: as many as SHA-1 gives (RFC 4226, section 4).
const SECRET_BYTES: usize = 20;

/// What app and server share.
pub struct TotpSecret(Secret<Vec<u8>>);

impl TotpSecret {
    /// A new one.
    pub fn new(clock: &Clock) -> TotpSecret {
        TotpSecret(Secret::new(clock.random::<SECRET_BYTES>().to_vec()))
    }

    /// One that was kept.
    pub fn of(bytes: Secret<Vec<u8>>) -> TotpSecret {
        TotpSecret(bytes)
    }

    /// The bytes, to be sealed.
    pub fn bytes(&self) -> &[u8] {
        self.0.expose()
    }

    /// As a person types it where there is no camera: base 32, in groups of four.
    pub fn typed(&self) -> String {
        let text = data_encoding::BASE32_NOPAD.encode(self.bytes());
        let groups: Vec<&str> =
            (0..text.len()).step_by(4).map(|at| &text[at..text.len().min(at + 4)]).collect();
        groups.join(" ")
    }

    /// As a camera reads it.
    pub fn uri(&self, issuer: &str, account: &str) -> String {
        let (issuer, account) = (escaped(issuer), escaped(account));
        let key = data_encoding::BASE32_NOPAD.encode(self.bytes());
        format!("otpauth://totp/{issuer}:{account}?secret={key}&issuer={issuer}")
    }

    /// The code of a step.
    pub fn code(&self, step: u64) -> String {
        format!("{:06}", self.number(step))
    }

    /// The step within `reach` of `middle` whose code this is, the nearest first. It compares with all of them.
    pub fn find(&self, code: &str, middle: u64, reach: u64) -> Option<u64> {
        let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        if digits.len() != TOTP_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let given: u32 = digits.parse().ok()?;
        let mut found: Option<u64> = None;
        for step in middle.saturating_sub(reach)..=middle.saturating_add(reach) {
            let nearer = found.is_none_or(|other| step.abs_diff(middle) < other.abs_diff(middle));
            if self.number(step) ^ given == 0 && nearer {
                found = Some(step);
            }
        }
        found
    }

    fn number(&self, step: u64) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.bytes());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let at = usize::from(tag[tag.len() - 1] & 15);
        let word = u32::from_be_bytes([tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]]);
        word % 1_000_000
    }
}

/// The step of an instant.
pub fn totp_step(at: Timestamp) -> u64 {
    at.milliseconds().max(0) as u64 / 1_000 / TOTP_STEP_SECONDS
}

/// What may not stand in a path is written as `%XX`.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc() -> TotpSecret {
        TotpSecret::of(Secret::new(b"12345678901234567890".to_vec()))
    }

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        // Appendix B, the last six of eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = totp_step(Timestamp::from_milliseconds(seconds * 1_000));
            assert_eq!(rfc().code(step), code);
            assert_eq!(rfc().find(code, step, 1), Some(step));
            assert_eq!(rfc().find(code, step + 1, 1), Some(step));
            assert_eq!(rfc().find(code, step + 2, 1), None);
        }
    }

    #[test]
    fn codes_are_six_digits_and_spaces_are_forgiven() {
        let step = 37_037_036;
        assert_eq!(rfc().find(" 081 804 ", step, 0), Some(step));
        for bad in ["", "81804", "0818040", "08180a", "０８１８０４", "-81804", "+81804"] {
            assert_eq!(rfc().find(bad, step, 10), None, "{bad}");
        }
        assert_eq!(rfc().find("755224", 0, 10), Some(0), "no step is before the first");
    }

    #[test]
    fn keys_are_shown_in_two_ways() {
        let secret = rfc();
        assert_eq!(secret.typed(), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        assert_eq!(
            secret.uri("Plant 03", "inès"),
            "otpauth://totp/Plant%2003:in%C3%A8s?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Plant%2003"
        );
        let clock = Clock::system();
        assert_ne!(TotpSecret::new(&clock).bytes(), TotpSecret::new(&clock).bytes());
    }
}
