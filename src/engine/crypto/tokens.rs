//! Opaque tokens: API keys and session cookies. Only their digest is kept.

use crate::engine::clock::Clock;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY_CHARACTERS: usize = 43;
const CHECK_CHARACTERS: usize = 6;
const MARK_CHARACTERS: usize = 22;

/// A new token `{prefix}_{43 characters}{6 characters of checksum}` of 256 random bits, and its digest to keep.
pub fn token(prefix: &str, clock: &Clock) -> (String, [u8; 32]) {
    let mut text = format!("{prefix}_{}", base62(&clock.random::<32>(), BODY_CHARACTERS));
    text.push_str(&checksum(&text));
    let digest = digest(&text);
    (text, digest)
}

/// A token like those of [`token`] with a mark at its end, which only who has `key` can make: so whoever keeps the key
/// knows every token that it ever marked, and keeps no list of them.
pub fn marked_token(prefix: &str, key: &[u8; 32], clock: &Clock) -> String {
    let (text, _) = token(prefix, clock);
    let mark = mark(&text, key);
    format!("{text}.{mark}")
}

/// Whether a token was marked with this key.
pub fn is_marked(text: &str, key: &[u8; 32]) -> bool {
    // Hashes compare in constant time.
    let fits = |given: &str, made: &str| blake3::hash(given.as_bytes()) == blake3::hash(made.as_bytes());
    text.split_once('.').is_some_and(|(body, given)| well_formed(body) && fits(given, &mark(body, key)))
}

fn mark(text: &str, key: &[u8; 32]) -> String {
    base62(&blake3::keyed_hash(key, text.as_bytes()).as_bytes()[..16], MARK_CHARACTERS)
}

/// What is kept of a token and looked up by. The token itself has 256 bits, so a fast hash is enough.
pub fn digest(text: &str) -> [u8; 32] {
    blake3::derive_key("muster 2026 token at rest", text.as_bytes())
}

/// Whether the checksum fits: a mistyped or foreign token is refused before any look-up, and scanners for leaked
/// secrets find ours with certainty.
pub fn well_formed(text: &str) -> bool {
    let body = text.len().checked_sub(CHECK_CHARACTERS).and_then(|at| text.split_at_checked(at));
    body.is_some_and(|(body, check)| {
        checksum(body) == check
            && body.rsplit_once('_').is_some_and(|(_, random)| random.len() == BODY_CHARACTERS)
    })
}

fn checksum(body: &str) -> String {
    base62(&blake3::hash(body.as_bytes()).as_bytes()[..4], CHECK_CHARACTERS)
}

/// `bytes` as one number in base 62, most significant digit first.
fn base62(bytes: &[u8], characters: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; characters];
    for place in text.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *place = DIGITS[rest as usize];
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_carry_their_checksum() {
        let clock = Clock::system();
        let (text, kept) = token("mst", &clock);
        assert_eq!(text.len(), 3 + 1 + 43 + 6);
        assert!(well_formed(&text) && digest(&text) == kept);
        let mut wrong = text.clone();
        wrong.replace_range(5..6, if &text[5..6] == "a" { "b" } else { "a" });
        for bad in [wrong.as_str(), "", "mst_", "é", &text[1..]] {
            assert!(!well_formed(bad), "{bad}");
        }
        assert_ne!(token("mst", &clock).0, text);
        assert_eq!(base62(&[0xff; 32], 43).len(), 43);
    }

    #[test]
    fn a_mark_is_made_by_who_has_the_key() {
        let clock = Clock::system();
        let (key, other) = ([7; 32], [8; 32]);
        let text = marked_token("msr_x", &key, &clock);
        assert_eq!(text.len(), 5 + 1 + 43 + 6 + 1 + 22);
        assert!(is_marked(&text, &key) && !is_marked(&text, &other));
        let (body, mark) = text.split_once('.').unwrap();
        let (fresh, _) = token("msr_x", &clock);
        for bad in [body, mark, "", ".", &format!("{body}."), &format!("{fresh}.{mark}"), &format!("{text}x")]
        {
            assert!(!is_marked(bad, &key), "{bad}");
        }
    }
}
