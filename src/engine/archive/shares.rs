//! The recovery key in three shares, two of which give it back (Shamir, over the 32 bytes of the key).
//!
//! A share as text: `MUSTER-SHARE-2-` and sixteen groups of four characters, in the alphabet and with the checksum of the
//! key itself: 4 bytes of fingerprint of the key, 32 bytes of share. The number is under the checksum too.

use blahaj::{Share, Sharks};
use zeroize::Zeroizing;

use super::bech32;
use crate::base::{Error, Result, Secret};

/// Shares that are made of a key.
const SHARES: usize = 3;
/// Shares that give it back.
const ENOUGH: u8 = 2;
const GROUP_CHARACTERS: usize = 4;
const FINGERPRINT_BYTES: usize = 4;
const KEY_BYTES: usize = 32;

/// Three texts of which any two give `key` back.
pub(super) fn split(
    key: &[u8; KEY_BYTES],
    fingerprint: &[u8; FINGERPRINT_BYTES],
) -> Result<[Secret<String>; 3]> {
    let mut texts = Vec::with_capacity(SHARES);
    for share in Sharks(ENOUGH).dealer(key).take(SHARES) {
        let bytes = Zeroizing::new(Vec::from(&share));
        let (number, value) = bytes.split_first().ok_or_else(|| Error::internal("an empty share"))?;
        let payload = Zeroizing::new([fingerprint.as_slice(), value].concat());
        let (word, beginning) = words(usize::from(*number));
        let text = Zeroizing::new(bech32::encode(&word, &payload).to_uppercase());
        let groups: Vec<String> = text[word.len() + 1..]
            .as_bytes()
            .chunks(GROUP_CHARACTERS)
            .map(|group| String::from_utf8_lossy(group).into_owned())
            .collect();
        texts.push(Secret::new(format!("{beginning}{}", groups.join("-"))));
    }
    texts.try_into().map_err(|_| Error::internal("too few shares"))
}

/// The key and its fingerprint from at least two of the texts.
pub(super) fn join(
    texts: &[impl AsRef<str>],
) -> Result<(Zeroizing<[u8; KEY_BYTES]>, [u8; FINGERPRINT_BYTES])> {
    let mut shares = Vec::with_capacity(texts.len());
    let mut of: Option<(usize, [u8; FINGERPRINT_BYTES])> = None;
    let mut seen = [false; SHARES + 1];
    for (place, text) in texts.iter().enumerate() {
        let (number, payload) = read(place + 1, text.as_ref())?;
        let (fingerprint, value) = payload.split_at(FINGERPRINT_BYTES);
        match &of {
            Some((first, known)) if known != fingerprint => {
                return Err(Error::invalid(format!(
                    "share {first} and share {number} are of different keys"
                ))
                .hint("take the shares that were printed together"));
            }
            Some(_) => {}
            None => of = Some((number, std::array::from_fn(|n| fingerprint[n]))),
        }
        if std::mem::replace(&mut seen[number], true) {
            return Err(Error::invalid(format!("share {number} is there twice"))
                .hint("give two shares with different numbers"));
        }
        let bytes = Zeroizing::new([&[number as u8], value].concat());
        shares.push(Share::try_from(bytes.as_slice()).map_err(Error::internal)?);
    }
    let Some((_, fingerprint)) = of else {
        return Err(Error::invalid("no share was given").hint("give two of the three shares"));
    };
    if shares.len() < usize::from(ENOUGH) {
        return Err(Error::invalid("one share is not enough").hint("give two of the three shares"));
    }
    let key = Zeroizing::new(Sharks(ENOUGH).recover(&shares).map_err(|e| Error::internal(e.to_owned()))?);
    let key = key.as_slice().try_into().map_err(|_| Error::internal("a key of a wrong length"))?;
    Ok((Zeroizing::new(key), fingerprint))
}

/// The number and the payload of the share that was given in this place.
fn read(place: usize, text: &str) -> Result<(usize, Zeroizing<[u8; FINGERPRINT_BYTES + KEY_BYTES]>)> {
    let bare = bech32::bare(text);
    let number = (1..=SHARES).find(|n| bare.starts_with(&bech32::bare(&words(*n).1)));
    let Some(number) = number else {
        return Err(Error::invalid(format!("text {place} is no share of a recovery key"))
            .hint(format!("a share begins with `{}`, its number being 1, 2 or 3", words(1).1)));
    };
    let (word, beginning) = words(number);
    let payload = bech32::decode(&word, &beginning, text).map_err(|mistake| {
        Error::invalid(format!("share {number} {}", mistake.words(&beginning, Some(GROUP_CHARACTERS))))
            .hint("compare it with the printed share, its number too")
    })?;
    Ok((number, payload))
}

/// What the checksum covers beside the payload, and how the text begins.
fn words(number: usize) -> (String, String) {
    (format!("muster-share-{number}"), format!("MUSTER-SHARE-{number}-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_in_any_character_is_named() {
        let texts = split(&[9; 32], &[1, 2, 3, 4]).unwrap().map(|t| t.expose().clone());
        assert!(texts[1].starts_with("MUSTER-SHARE-2-") && texts[1].len() == 15 + 16 * 5 - 1, "{}", texts[1]);
        let (key, fingerprint) = join(&texts[..2]).unwrap();
        assert_eq!((*key, fingerprint), ([9; 32], [1, 2, 3, 4]));
        for at in 0..texts[1].len() {
            for other in ['Q', 'P', '7', '2', '3', 'B', '%'] {
                let mut wrong: Vec<char> = texts[1].chars().collect();
                if wrong[at] == '-' || std::mem::replace(&mut wrong[at], other) == other {
                    continue;
                }
                let wrong: String = wrong.into_iter().collect();
                let error = join(&[texts[0].as_str(), &wrong]).unwrap_err();
                let words = match at {
                    13 if other == '3' => "share 3 has more than one typing mistake".to_owned(),
                    0..15 => "text 2 is no share".to_owned(),
                    _ => format!("in group {} after", (at - 15) / 5 + 1),
                };
                assert!(error.message().contains(&words), "{at} {other}: {error}");
                assert!(error.hint_text().is_some());
            }
        }
        let error = join(&[&texts[0], &texts[2][..70]]).unwrap_err();
        assert!(
            error.message().starts_with("share 3 has") && error.message().ends_with("too few"),
            "{error}"
        );
    }
}
