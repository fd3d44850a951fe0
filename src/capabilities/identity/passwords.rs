//! Which passwords are taken: long ones that are not made of what everybody tries first.

use std::collections::HashSet;
use std::sync::OnceLock;

use crate::base::{Error, Result, limits};

/// The commonest passwords, one a line, compressed: the frequency list of zxcvbn (MIT), lower case, four signs and more.
static COMMON: &[u8] = include_bytes!("passwords/common.zst");
/// A password of so many common ones in a row is as good as one.
const PARTS_MAX: usize = 2;
/// Signs beside them that make it no better.
const SIGNS_BESIDE_MAX: usize = 3;
/// The longest entry of the list that is looked for.
const PART_CHARACTERS_MAX: usize = 24;
const PART_CHARACTERS_MIN: usize = 4;

/// Refuses a password that is too short, too long, or easy to guess, and says which.
pub(super) fn check_password(password: &str, login: &str) -> Result<()> {
    let characters = password.chars().count();
    if characters < limits::PASSWORD_CHARACTERS_MIN {
        return Err(Error::invalid("the password is too short").hint(format!(
            "at least {} characters; several words are easier than signs",
            limits::PASSWORD_CHARACTERS_MIN
        )));
    }
    if password.len() > limits::PASSWORD_BYTES_MAX {
        return Err(Error::invalid("the password is too long")
            .hint(format!("at most {} bytes", limits::PASSWORD_BYTES_MAX)));
    }
    let lower = password.to_lowercase();
    let mut distinct: Vec<char> = lower.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < 5 {
        return Err(Error::invalid("the password is too easy to guess: it repeats a few characters")
            .hint("several words that do not belong together are easy to remember"));
    }
    if lower.contains(login) && lower.replace(login, "").chars().count() < 8 {
        return Err(Error::invalid(
            "the password is too easy to guess: it is the login name and little else",
        )
        .hint("several words that do not belong together are easy to remember"));
    }
    if let Some(part) = common_part(&lower) {
        return Err(Error::invalid(format!(
            "the password is too easy to guess: `{part}` is among the {} passwords that are tried first",
            common().len()
        ))
        .hint("several words that do not belong together are easy to remember"));
    }
    Ok(())
}

/// The longest common password of which this one is made, alone or with another one and a few signs.
fn common_part(lower: &str) -> Option<String> {
    let plain: Vec<char> = lower.chars().filter(|c| !c.is_whitespace()).collect();
    let folded: Vec<char> = plain.iter().map(|c| fold(*c)).collect();
    [plain, folded].iter().find_map(|signs| made_of(signs))
}

/// Digits and signs that stand for letters.
fn fold(sign: char) -> char {
    match sign {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        other => other,
    }
}

fn made_of(signs: &[char]) -> Option<String> {
    if signs.len() > PARTS_MAX * PART_CHARACTERS_MAX + SIGNS_BESIDE_MAX {
        return None;
    }
    // For each place: with so many parts, how few signs are beside them, and the longest part.
    let common = common();
    let mut best = vec![vec![None::<(usize, usize, usize)>; PARTS_MAX + 1]; signs.len() + 1];
    best[0][0] = Some((0, 0, 0));
    for at in 0..signs.len() {
        for parts in 0..=PARTS_MAX {
            let Some((beside, from, to)) = best[at][parts] else { continue };
            let mut offer = |at: usize, parts: usize, one: (usize, usize, usize)| {
                let kept = &mut best[at][parts];
                if kept.is_none_or(|kept| one.0 < kept.0) {
                    *kept = Some(one);
                }
            };
            offer(at + 1, parts, (beside + 1, from, to));
            if parts == PARTS_MAX {
                continue;
            }
            let longest = (signs.len() - at).min(PART_CHARACTERS_MAX);
            let mut text: String = String::new();
            for (n, sign) in signs[at..at + longest].iter().enumerate() {
                text.push(*sign);
                if n + 1 >= PART_CHARACTERS_MIN && common.contains(text.as_str()) {
                    let range = if n + 1 > to - from { (at, at + n + 1) } else { (from, to) };
                    offer(at + n + 1, parts + 1, (beside, range.0, range.1));
                }
            }
        }
    }
    let last = best.pop()?;
    let found = last.into_iter().skip(1).flatten().find(|(beside, ..)| *beside <= SIGNS_BESIDE_MAX)?;
    Some(signs[found.1..found.2].iter().collect())
}

fn common() -> &'static HashSet<String> {
    static LIST: OnceLock<HashSet<String>> = OnceLock::new();
    LIST.get_or_init(|| {
        let text = zstd::stream::decode_all(COMMON).unwrap_or_default();
        String::from_utf8(text).unwrap_or_default().lines().map(str::to_owned).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_measured_in_characters() {
        for (password, login, legal) in [
            ("correct horse battery", "ines", true),
            ("correct horse battery staple", "ines", true),
            ("another long password", "ines", true),
            ("kurz", "ines", false),
            ("äöüßäöüßéèêñçøå", "ines", true),
            ("aaaaaaaaaaaaaaaaaaaaaa", "ines", false),
            ("ines.moreau-ines.moreau-ab", "ines.moreau", false),
            (&"ab cdefg".repeat(200), "ines", false),
        ] {
            assert_eq!(check_password(password, login).is_ok(), legal, "{password}");
        }
    }

    #[test]
    fn what_everybody_tries_is_refused_and_named() {
        assert!(common().len() >= 10_000, "{}", common().len());
        for (password, part) in [
            ("123456789012345", "1234567890"),
            ("qwertyuiopasdfghjkl", "qwertyuiop"),
            ("Password Password!", "password"),
            ("P@ssw0rdP@ssw0rd", "password"),
            ("password123456789", "123456789"),
            ("sunshine princess", "sunshine"),
        ] {
            let error = check_password(password, "ines").unwrap_err();
            assert!(error.message().contains(part), "{password}: {error}");
        }
    }
}
