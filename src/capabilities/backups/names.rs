//! File names of backups: `SITE-20261125T140200Z-full-000000012345.muster`. They sort by time, and by them alone an
//! offline restore knows which files it needs.

use std::fmt;
use std::str::FromStr;

use crate::base::{Error, Result, Timestamp};

/// How every backup's name ends.
pub const ENDING: &str = ".muster";
/// How the name of one that is not whole yet ends.
pub(super) const PART: &str = ".part";
/// Bytes of the site's part of a name.
const SITE_BYTES_MAX: usize = 40;
/// Digits of a change's number, so that names sort.
const DIGITS: usize = 12;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holds {
    /// The whole state up to this change.
    Full {
        /// The last change in it.
        last: u64,
    },
    /// The changes from `first` to `last`.
    Changes {
        /// The first change in it.
        first: u64,
        /// The last change in it.
        last: u64,
    },
}

impl Holds {
    /// Whether it stands alone.
    pub fn is_full(self) -> bool {
        matches!(self, Holds::Full { .. })
    }

    /// The last change in it.
    pub fn last(self) -> u64 {
        match self {
            Holds::Full { last } | Holds::Changes { last, .. } => last,
        }
    }

    /// The first change that a file of changes begins with; none for a full one.
    pub fn first(self) -> Option<u64> {
        match self {
            Holds::Full { .. } => None,
            Holds::Changes { first, .. } => Some(first),
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        if self.is_full() { "full" } else { "changes" }
    }
}

/// A backup's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName {
    /// Which site, as a slug.
    pub site: String,
    /// When it was complete, to the second: nothing in it is younger.
    pub at: Timestamp,
    /// What it holds.
    pub holds: Holds,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.site, self.at.format("%Y%m%dT%H%M%SZ"), self.holds.word())?;
        if let Some(first) = self.holds.first() {
            write!(f, "-{first:0DIGITS$}")?;
        }
        write!(f, "-{:0DIGITS$}{ENDING}", self.holds.last())
    }
}

impl FromStr for FileName {
    type Err = Error;

    fn from_str(text: &str) -> Result<FileName> {
        read(text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            Error::invalid(format!("`{shown}` is not the name of a backup"))
                .hint("names look like `plant-03-20261125T140200Z-full-000000012345.muster`")
        })
    }
}

fn read(text: &str) -> Option<FileName> {
    let body = text.strip_suffix(ENDING)?;
    let number = |text: &str| (text.len() >= DIGITS).then(|| text.parse::<u64>().ok()).flatten();
    let (rest, last) = body.rsplit_once('-')?;
    let last = number(last)?;
    let (rest, holds) = match rest.strip_suffix("-full") {
        Some(rest) => (rest, Holds::Full { last }),
        None => {
            let (rest, first) = rest.rsplit_once('-')?;
            let first = number(first).filter(|first| *first <= last)?;
            (rest.strip_suffix("-changes")?, Holds::Changes { first, last })
        }
    };
    let (site, at) = rest.rsplit_once('-')?;
    let d = at.as_bytes();
    if d.len() != 16 || !at.is_ascii() || site.is_empty() || site != slug(site) {
        return None;
    }
    let at =
        format!("{}-{}-{}T{}:{}:{}Z", &at[0..4], &at[4..6], &at[6..8], &at[9..11], &at[11..13], &at[13..15]);
    let name = FileName { site: site.to_owned(), at: at.parse().ok()?, holds };
    // One form only: what a name says and how it is written are the same thing.
    (name.to_string() == text).then_some(name)
}

/// The site's name as it stands in file names: letters, digits and single dashes.
pub fn slug(site: &str) -> String {
    let mut out = String::new();
    for c in site.chars() {
        let c = plain(c.to_lowercase().next().unwrap_or(c));
        if c != '-' || !out.is_empty() && !out.ends_with('-') {
            out.push(c);
        }
        if out.len() >= SITE_BYTES_MAX {
            break;
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "site".to_owned() } else { out.to_owned() }
}

/// Accents of western names lose their marks; everything else that is no letter or digit is a dash.
fn plain(c: char) -> char {
    match c {
        'a'..='z' | '0'..='9' => c,
        'à' | 'á' | 'â' | 'ä' | 'ã' | 'å' => 'a',
        'è' | 'é' | 'ê' | 'ë' => 'e',
        'ì' | 'í' | 'î' | 'ï' => 'i',
        'ò' | 'ó' | 'ô' | 'ö' | 'õ' | 'ø' => 'o',
        'ù' | 'ú' | 'û' | 'ü' => 'u',
        'ç' => 'c',
        'ñ' => 'n',
        'ß' => 's',
        _ => '-',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        for (site, expected) in
            [("Plant 03 · Lyon", "plant-03-lyon"), ("Zürich", "zurich"), ("  ", "site"), ("工場", "site")]
        {
            assert_eq!(slug(site), expected, "{site}");
        }
        assert!(slug(&"x y".repeat(60)).len() <= SITE_BYTES_MAX);
        let at: Timestamp = "2026-11-25T14:02:00Z".parse().unwrap();
        for (holds, text) in [
            (Holds::Full { last: 12_345 }, "plant-03-20261125T140200Z-full-000000012345.muster"),
            (
                Holds::Changes { first: 7, last: 9_000_000_000_000 },
                "plant-03-20261125T140200Z-changes-000000000007-9000000000000.muster",
            ),
        ] {
            let name = FileName { site: "plant-03".into(), at, holds };
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse::<FileName>().unwrap(), name);
        }
    }

    #[test]
    fn other_names_are_no_backups() {
        for text in [
            "",
            "x.muster",
            "plant-20261125T140200Z-full-12.muster",
            "plant-20261125T140200Z-full-000000012345.muster.part",
            "plant-20261325T140200Z-full-000000012345.muster",
            "-20261125T140200Z-full-000000012345.muster",
            "Plant-20261125T140200Z-full-000000012345.muster",
            "plant-20261125T140200Z-changes-000000000009-000000000007.muster",
            "plant-20261125X140200Z-full-000000012345.muster",
            "../a-20261125T140200Z-full-000000012345.muster",
        ] {
            assert!(text.parse::<FileName>().is_err(), "{text}");
        }
    }
}
