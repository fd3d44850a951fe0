//! The text form of keys (BIP 173), with words for what a person mistyped.

use zeroize::Zeroizing;

/// 32 characters without `1`, `b`, `i` and `o`, which look like others.
const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECK_CHARACTERS: usize = 6;

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// It does not begin with the expected word and a `1`.
    Beginning,
    /// So many characters it has after the beginning, and so many it should have.
    Length { found: usize, wanted: usize },
    /// A character that no key has, at this place counted from one after the beginning.
    Character { place: usize, character: char },
    /// The checksum does not fit; one other character at one of these places would make it fit.
    Checksum { places: Vec<usize> },
}

impl Mistake {
    /// The mistake in words, as the end of a sentence that began with the name of the text. Places are told by their
    /// group when the text is printed in groups of `group` characters.
    pub(super) fn words(&self, beginning: &str, group: Option<usize>) -> String {
        let at = |place: usize| match group {
            Some(group) => format!("group {} after `{beginning}`", (place - 1) / group + 1),
            None => format!("character {place} after `{beginning}`"),
        };
        match self {
            Mistake::Beginning => format!("does not begin with `{beginning}`"),
            Mistake::Length { found, wanted } if found < wanted => {
                format!("has {} characters too few", wanted - found)
            }
            Mistake::Length { found, wanted } => format!("has {} characters too many", found - wanted),
            Mistake::Character { place, character } => {
                format!("has a `{character}` in {}, a character that no key has", at(*place))
            }
            Mistake::Checksum { places } => match places.as_slice() {
                [place] => format!("has a typing mistake, probably in {}", at(*place)),
                _ => "has more than one typing mistake".into(),
            },
        }
    }
}

/// `bytes` in lower case, after `word` and a `1`.
pub(super) fn encode(word: &str, bytes: &[u8]) -> String {
    let mut values = spread(bytes);
    values.extend(checksum(word, &values));
    let tail = values.iter().map(|v| char::from(ALPHABET[usize::from(*v)]));
    word.chars().chain(['1']).chain(tail).collect()
}

/// The `N` bytes of a text that a person may have typed: spaces, line breaks, dashes and case do not matter.
/// `word` is what the checksum covers before the key itself, and `beginning` is how the text begins.
pub(super) fn decode<const N: usize>(
    word: &str,
    beginning: &str,
    text: &str,
) -> Result<Zeroizing<[u8; N]>, Mistake> {
    let text = bare(text);
    let tail = text.strip_prefix(bare(beginning).as_slice()).ok_or(Mistake::Beginning)?;
    let mut values = Zeroizing::new(Vec::with_capacity(tail.len()));
    for (at, character) in tail.iter().enumerate() {
        match ALPHABET.iter().position(|a| char::from(*a) == *character) {
            Some(value) => values.push(value as u8),
            None => return Err(Mistake::Character { place: at + 1, character: *character }),
        }
    }
    let wanted = (N * 8).div_ceil(5) + CHECK_CHARACTERS;
    if values.len() != wanted {
        return Err(Mistake::Length { found: values.len(), wanted });
    }
    if !fits(word, &values) {
        return Err(Mistake::Checksum { places: suspects(word, &values) });
    }
    values.truncate(wanted - CHECK_CHARACTERS);
    gather(&values).ok_or(Mistake::Checksum { places: Vec::new() })
}

/// What counts of a typed text.
pub(super) fn bare(text: &str) -> Zeroizing<Vec<char>> {
    let counts = |c: &char| !c.is_whitespace() && *c != '-';
    Zeroizing::new(text.chars().filter(counts).map(|c| c.to_ascii_lowercase()).collect())
}

/// The places, counted from one, where one changed character would make the checksum fit. The code tells any two mistakes from one, so there is at
/// most one such place unless there are three mistakes or more.
fn suspects(word: &str, values: &[u8]) -> Vec<usize> {
    let mut trial = values.to_vec();
    let mut found = Vec::new();
    for at in 0..values.len() {
        for value in 0..32 {
            trial[at] = value;
            if value != values[at] && fits(word, &trial) {
                found.push(at + 1);
            }
        }
        trial[at] = values[at];
    }
    found
}

fn spread(bytes: &[u8]) -> Vec<u8> {
    let bit = |n: usize| bytes.get(n / 8).map_or(0, |b| b >> (7 - n % 8) & 1);
    (0..(bytes.len() * 8).div_ceil(5)).map(|n| (0..5).fold(0, |v, i| v << 1 | bit(n * 5 + i))).collect()
}

fn gather<const N: usize>(values: &[u8]) -> Option<Zeroizing<[u8; N]>> {
    let bit = |n: usize| values.get(n / 5).map_or(0, |v| v >> (4 - n % 5) & 1);
    let bytes = std::array::from_fn(|n| (0..8).fold(0, |v, i| v << 1 | bit(n * 8 + i)));
    (N * 8..values.len() * 5).all(|n| bit(n) == 0).then_some(Zeroizing::new(bytes))
}

fn fits(word: &str, values: &[u8]) -> bool {
    polymod(expanded(word).chain(values.iter().copied())) == 1
}

fn checksum(word: &str, values: &[u8]) -> [u8; CHECK_CHARACTERS] {
    let all = expanded(word).chain(values.iter().copied()).chain([0; CHECK_CHARACTERS]);
    let sum = polymod(all) ^ 1;
    std::array::from_fn(|n| (sum >> (5 * (5 - n)) & 31) as u8)
}

fn expanded(word: &str) -> impl Iterator<Item = u8> {
    word.bytes().map(|b| b >> 5).chain([0]).chain(word.bytes().map(|b| b & 31))
}

fn polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let sum = (sum & 0x1ff_ffff) << 5 ^ u32::from(value);
        GENERATOR.iter().enumerate().filter(|(n, _)| top >> n & 1 == 1).fold(sum, |sum, (_, g)| sum ^ g)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: &str = "age-secret-key-";
    const BEGINNING: &str = "AGE-SECRET-KEY-1";

    fn mistake(text: &str) -> Mistake {
        decode::<32>(WORD, BEGINNING, text).unwrap_err()
    }

    #[test]
    fn a_typing_mistake_is_named_by_its_place() {
        let text = encode(WORD, &[7; 32]).to_uppercase();
        assert!(text.starts_with(BEGINNING));
        assert_eq!(*decode::<32>(WORD, BEGINNING, &text).unwrap(), [7; 32]);
        let spaced = text.to_lowercase().replace('q', "q \n-");
        assert_eq!(*decode::<32>(WORD, BEGINNING, &spaced).unwrap(), [7; 32]);
        for at in BEGINNING.len()..text.len() {
            let mut wrong: Vec<u8> = text.bytes().collect();
            let right = ALPHABET.iter().position(|c| c.to_ascii_uppercase() == wrong[at]).unwrap();
            wrong[at] = ALPHABET[(right + at % 31 + 1) % 32];
            let places = vec![at + 1 - BEGINNING.len()];
            assert_eq!(mistake(std::str::from_utf8(&wrong).unwrap()), Mistake::Checksum { places });
        }
        let found = mistake(&format!("{}b{}", &text[..20], &text[21..]));
        assert_eq!(found, Mistake::Character { place: 5, character: 'b' });
        assert_eq!(mistake(&text[..70]).words(BEGINNING, None), "has 4 characters too few");
        assert_eq!(mistake(&text[1..]), Mistake::Beginning);
        let mut two: Vec<u8> = text.bytes().collect();
        for at in [20, 40] {
            two[at] = if two[at] == b'Q' { b'P' } else { b'Q' };
        }
        assert_eq!(mistake(std::str::from_utf8(&two).unwrap()), Mistake::Checksum { places: vec![] });
    }
}
