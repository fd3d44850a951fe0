//! Proving an exported file, without a server and without its data.

use std::fmt;
use std::io::BufRead;

use super::chain::Chain;
use super::export::{FORMAT, Header, Line};
use super::verify::Walk;
use crate::base::{Error, Result, Timestamp};

/// Bytes of one line; entries are some kilobytes at most.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// What a file that is whole says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// Whose log it is.
    pub site: String,
    /// Which history of the site.
    pub generation: u64,
    /// Public key of its checkpoints.
    pub key: String,
    /// First and last entry.
    pub range: (u64, u64),
    /// Checkpoints in it.
    pub checkpoints: u64,
    /// The last entry that a checkpoint vouches for; entries after it stand on their hashes alone.
    pub signed_up_to: u64,
    /// When the file was made.
    pub at: Timestamp,
    /// Chain of the last entry.
    pub chain: Chain,
}

impl fmt::Display for Proved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.range;
        write!(
            f,
            "whole: entries {from} to {to} of `{}`, generation {}, exported {}; {} checkpoints, signed up to entry {}",
            self.site, self.generation, self.at, self.checkpoints, self.signed_up_to
        )
    }
}

/// Reads an exported file to its end. An error names the first line that does not fit. `key` is the public key that the
/// site is known to have; without it the file's own is believed.
pub fn prove(input: impl BufRead, key: Option<&str>) -> Result<Proved> {
    let mut lines = Lines { input, number: 0, hasher: blake3::Hasher::new(), line: Vec::new() };
    let header = match lines.next()? {
        Some(Line::Header(header)) => header,
        _ => return Err(lines.wrong("it is not the header of an exported audit log")),
    };
    begins(&lines, &header, key)?;
    let mut walk = Walk::begin(header.from - 1, header.before, header.key.clone());
    let mut signed_up_to = 0;
    loop {
        let sum = Chain(*lines.hasher.finalize().as_bytes());
        let fits = match lines.next()? {
            Some(Line::Entry(entry)) if entry.number > header.to => {
                return Err(lines.wrong("there are more entries than the header says"));
            }
            Some(Line::Entry(entry)) => walk.entry(&entry),
            Some(Line::Checkpoint(checkpoint)) => {
                signed_up_to = checkpoint.number;
                walk.checkpoint(&checkpoint)
            }
            Some(Line::End(end)) => {
                if end.sum != sum {
                    return Err(lines.wrong("the sum over the lines before it is another one"));
                }
                let said = (end.entries, end.checkpoints, end.chain);
                let (reached, chain) = walk.reached();
                if said != (walk.entries, walk.checkpoints, chain) || reached != header.to {
                    return Err(lines.wrong("the totals are not what stands before them"));
                }
                break;
            }
            Some(Line::Header(_)) => return Err(lines.wrong("there is a second header")),
            None => return Err(lines.wrong("the file ends before its last line: it is not whole")),
        };
        fits.map_err(|wrong| lines.wrong(&wrong.to_string()))?;
    }
    if lines.next()?.is_some() {
        return Err(lines.wrong("there is something after the end"));
    }
    Ok(Proved {
        site: header.site,
        generation: header.generation,
        key: header.key,
        range: (header.from, header.to),
        checkpoints: walk.checkpoints,
        signed_up_to,
        at: header.at,
        chain: walk.reached().1,
    })
}

fn begins<R>(lines: &Lines<R>, header: &Header, key: Option<&str>) -> Result<()> {
    if header.format != FORMAT {
        return Err(lines.wrong(&format!("the form {} is not known", header.format)));
    }
    if header.from == 0 || header.from == 1 && header.before != Chain::genesis(header.tenant) {
        return Err(lines.wrong("the first entry does not stand on the beginning of a log"));
    }
    match key {
        Some(key) if !key.trim().eq_ignore_ascii_case(&header.key) => {
            Err(lines
                .wrong(&format!("the file names the public key {}, not the one that was given", header.key)))
        }
        _ => Ok(()),
    }
}

struct Lines<R> {
    input: R,
    number: u64,
    hasher: blake3::Hasher,
    line: Vec<u8>,
}

impl<R> Lines<R> {
    fn wrong(&self, why: &str) -> Error {
        Error::invalid(format!("line {}: {why}", self.number))
    }
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Line>> {
        self.line.clear();
        self.number += 1;
        loop {
            let there = self.input.fill_buf()?;
            if there.is_empty() {
                break;
            }
            let (taken, ended) = match there.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (there.len(), false),
            };
            if self.line.len() + taken > LINE_BYTES_MAX {
                return Err(self.wrong(&format!("it is longer than {LINE_BYTES_MAX} bytes")));
            }
            self.line.extend_from_slice(&there[..taken]);
            self.input.consume(taken);
            if ended {
                break;
            }
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        self.hasher.update(&self.line);
        if self.line.last() != Some(&b'\n') {
            return Err(self.wrong("it has no end: the file is not whole"));
        }
        serde_json::from_slice(&self.line)
            .map(Some)
            .map_err(|error| self.wrong(&format!("it cannot be read: {error}")))
    }
}
