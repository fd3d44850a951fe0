//! A pack of evidence: a part of the log, what proves it, a page that checks it without this program, and a signature over
//! the whole.
//!
//! It is a zip file without compression. `log.jsonl` is the log as an export writes it; `manifest.json` says what is in
//! the pack, with the BLAKE3 of every file, and `manifest.sig` is the site's signature over the text `muster.evidence.1`
//! and the manifest's bytes. So the end of the log is signed too, be the last checkpoint as old as it may.
//!
//! Invariant: what `verify.html` finds and what [`prove`] finds is the same; both read every byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufReader, Read, Seek};

use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::export::{Header, Line};
use super::offline::{self, Proved};
use crate::base::{Error, Result, Timestamp};
use crate::engine::archive::{ZipReader, ZipWriter};
use crate::engine::crypto::Signer;
use crate::kit::NextPart;

/// Begins what is signed.
const EVIDENCE: &[u8] = b"muster.evidence.1";
/// The form that is written.
const FORMAT: u32 = 1;
const LOG: &str = "log.jsonl";
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.sig";
const VERIFIER: &str = include_str!("evidence/verify.html");
/// Bytes of a manifest or a signature.
const SMALL_BYTES_MAX: u64 = 1024 * 1024;
/// Different events and actors that the summary counts by name.
const COUNTED_MAX: usize = 1_000;

/// What is in a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    site: String,
    generation: u64,
    /// Public key of the site.
    key: String,
    /// First and last entry.
    from: u64,
    to: u64,
    /// Chain of the last entry.
    chain: Chain,
    made: Timestamp,
    /// Who took it out, as in the log.
    by: String,
    files: Vec<Packed>,
}

/// One file of a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Packed {
    name: String,
    bytes: u64,
    blake3: Chain,
}

impl Packed {
    fn new(name: &str, bytes: &[u8]) -> Packed {
        let hash = Chain(*blake3::hash(bytes).as_bytes());
        Packed { name: name.to_owned(), bytes: bytes.len() as u64, blake3: hash }
    }
}

/// What the summary counts.
#[derive(Default)]
struct Counts {
    entries: u64,
    checkpoints: u64,
    signed_up_to: u64,
    chain: Chain,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    events: BTreeMap<String, u64>,
    actors: BTreeMap<String, u64>,
}

impl Counts {
    fn line(&mut self, text: &[u8]) -> Result<()> {
        match serde_json::from_slice(text)? {
            Line::Entry(entry) => {
                self.entries += 1;
                self.first = self.first.or(Some(entry.at));
                (self.last, self.chain) = (Some(entry.at), entry.chain);
                count(&mut self.actors, format!("{} ({})", entry.who(), entry.actor));
                count(&mut self.events, entry.event);
            }
            Line::Checkpoint(checkpoint) => {
                self.checkpoints += 1;
                self.signed_up_to = checkpoint.number;
            }
            Line::Header(_) | Line::End(_) => {}
        }
        Ok(())
    }

    fn text(&self, header: &Header, by: &str) -> String {
        let mut out = String::new();
        let instant = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        let _ = write!(
            out,
            "Audit log of {}\n\nEntries      {} to {} ({} in all), generation {}\nFrom         {}\nTo           {}\n\
             Checkpoints  {}, signed up to entry {}; the whole pack is signed too\nTaken out    {} by {by}\n\
             Public key   {}\nLast chain   {}\n",
            header.site,
            header.from,
            header.to,
            self.entries,
            header.generation,
            instant(self.first),
            instant(self.last),
            self.checkpoints,
            self.signed_up_to,
            header.at,
            header.key,
            self.chain,
        );
        for (title, counts) in [("What happened", &self.events), ("Who acted", &self.actors)] {
            let _ = write!(out, "\n{title}\n");
            let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (name, count) in counts {
                let _ = writeln!(out, "{count:>10}  {name}");
            }
        }
        out
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    let name = if counts.len() < COUNTED_MAX || counts.contains_key(&name) { name } else { "others".into() };
    *counts.entry(name).or_default() += 1;
}

fn readme(header: &Header) -> String {
    format!(
        "Evidence from the audit log of {}.\n\n\
         To check it: open verify.html in a browser, offline if you like, and choose this zip file (not a file in it).\n\
         It says whether every entry is as it was written, and lists them. Type the public key of the site that you\n\
         wrote down, so that nobody can have put another one in. The program checks the same:\n\n\
         \x20   muster audit verify PACK.zip --key PUBLIC\n\n\
         log.jsonl      the entries, one a line, with their chain of hashes and the signed checkpoints\n\
         summary.txt    the same in numbers\n\
         public-key.txt the key that the site signs with (Ed25519); compare it with the one that you know\n\
         manifest.json  what is in the pack, with the BLAKE3 of every file\n\
         manifest.sig   the site's signature over \"muster.evidence.1\" and the manifest (Ed25519, hexadecimal)\n\
         verify.html    the page that checks all of this; take it from a pack that you trust\n\
         security.json  how well the site was guarded when the pack was made, where who made it might read that\n",
        header.site
    )
}

fn signed(manifest: &[u8]) -> Vec<u8> {
    [EVIDENCE, manifest].concat()
}

/// Puts the log, as `next` gives it part by part, into a pack.
/// `beside` are files of other capabilities.
pub(super) fn pack(
    header: Header,
    by: String,
    signer: Signer,
    beside: Vec<(&'static str, String)>,
    mut next: NextPart,
) -> NextPart {
    let mut zip = Some(ZipWriter::new(header.at));
    let (mut begun, mut hasher, mut bytes) = (false, blake3::Hasher::new(), 0);
    let mut counts = Counts::default();
    let (readme, key) = (readme(&header), format!("{}\n", header.key));
    let small = [("README.txt", readme), ("verify.html", VERIFIER.to_owned()), ("public-key.txt", key)];
    Box::new(move || {
        let Some(writing) = zip.as_mut() else { return Ok(None) };
        let mut out = Vec::new();
        if !begun {
            begun = true;
            small.iter().try_for_each(|(name, text)| writing.file(name, text.as_bytes(), &mut out))?;
            writing.begin(LOG, &mut out)?;
        }
        if let Some(part) = next()? {
            hasher.update(&part);
            bytes += part.len() as u64;
            part.split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .try_for_each(|line| counts.line(line))?;
            writing.data(&part, &mut out)?;
            return Ok(Some(out));
        }
        let summary = counts.text(&header, &by);
        writing.file("summary.txt", summary.as_bytes(), &mut out)?;
        let mut files: Vec<Packed> =
            small.iter().map(|(name, text)| Packed::new(name, text.as_bytes())).collect();
        files.push(Packed { name: LOG.into(), bytes, blake3: Chain(*hasher.finalize().as_bytes()) });
        files.push(Packed::new("summary.txt", summary.as_bytes()));
        for (name, text) in &beside {
            writing.file(name, text.as_bytes(), &mut out)?;
            files.push(Packed::new(name, text.as_bytes()));
        }
        let manifest = Manifest {
            format: FORMAT,
            site: header.site.clone(),
            generation: header.generation,
            key: header.key.clone(),
            from: header.from,
            to: header.to,
            chain: counts.chain,
            made: header.at,
            by: by.clone(),
            files,
        };
        let manifest = serde_json::to_vec_pretty(&manifest)?;
        writing.file(MANIFEST, &manifest, &mut out)?;
        writing.file(SIGNATURE, format!("{}\n", signer.sign(&signed(&manifest))).as_bytes(), &mut out)?;
        if let Some(zip) = zip.take() {
            zip.finish(&mut out)?;
        }
        Ok(Some(out))
    })
}

/// Whether a file that begins with these bytes is a pack.
pub fn is_pack(beginning: &[u8]) -> bool {
    beginning.starts_with(b"PK\x03\x04")
}

/// Reads a pack to its end, as [`offline::prove`] reads a log.
pub fn prove_pack(input: impl Read + Seek, key: Option<&str>) -> Result<Proved> {
    let mut zip = ZipReader::open(input)?;
    let lacks = |name: &str| Error::invalid(format!("the pack has no `{name}`"));
    let log = zip.file(LOG)?.ok_or_else(|| lacks(LOG))?;
    let proved = offline::prove(BufReader::new(log), key)?;
    let mut read = |name: &str| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        zip.file(name)?.ok_or_else(|| lacks(name))?.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let (text, signature) = (read(MANIFEST)?, read(SIGNATURE)?);
    let signature = String::from_utf8_lossy(&signature);
    Signer::verify(&proved.key, &signed(&text), signature.trim()).map_err(|error| {
        Error::invalid(format!("the signature of `{MANIFEST}` is not valid: {}", error.message()))
            .hint("the pack was put together by somebody else, or changed")
    })?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| Error::invalid(format!("`{MANIFEST}` cannot be read: {error}")))?;
    if (manifest.from, manifest.to, &manifest.key, manifest.chain)
        != (proved.range.0, proved.range.1, &proved.key, proved.chain)
    {
        return Err(Error::invalid(format!("`{MANIFEST}` speaks of another log")));
    }
    for file in &manifest.files {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(zip.file(&file.name)?.ok_or_else(|| lacks(&file.name))?)?;
        if *hasher.finalize().as_bytes() != file.blake3.0 {
            return Err(Error::invalid(format!("`{}` is not what the manifest says", file.name)));
        }
    }
    Ok(Proved { signed_up_to: proved.range.1, ..proved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_reaches_for_nothing() {
        assert!(VERIFIER.contains("default-src 'none'"));
        for word in
            ["http:", "https:", "src=", "href=", "url(", "fetch(", "XMLHttpRequest", "innerHTML", "import("]
        {
            assert!(!VERIFIER.contains(word), "{word}");
        }
        assert!(VERIFIER.len() < 40_000);
    }
}
