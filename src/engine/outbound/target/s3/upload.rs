//! A file into a bucket: at once when it is small, in parts that a later copy goes on from when it is not.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::{Attribute, Attributes, PutMultipartOptions, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use super::super::source::{CHUNK_BYTES, Source};
use super::super::{PART, Pace, Put};
use super::{ObjectStore, SUM_NAME, Store};
use crate::base::{Error, Result};

/// Bytes of a part, but for the last one. Stores want at least 5 MiB.
pub(super) const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Parts of a file; stores take 10,000. Larger files have larger parts.
const PARTS_MAX: u64 = 9_000;
/// Bytes after which the note is written again.
const NOTE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a note.
const NOTE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of what a store calls a part or an upload.
const NAME_BYTES_MAX: usize = 1_024;

/// What is there of a file that is not yet whole. It lies beside it as `NAME.part`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// What the store calls the upload.
    upload: String,
    /// BLAKE3 of the whole file, so that the parts of another file are never gone on from.
    blake3: String,
    bytes: u64,
    part_bytes: u64,
    /// What the store calls each part that it has acknowledged, in order.
    parts: Vec<String>,
}

pub(super) async fn put(store: &Store, name: &str, source: &Source, pace: &Pace) -> Result<Put> {
    let sum = sum(source, pace)?;
    if let Some(there) = store.look(name).await? {
        return same(store, name, source, pace, &sum, there).await;
    }
    if source.bytes <= PART_BYTES {
        at_once(store, name, source, pace, &sum).await?;
        return finish(store, name, source, 0).await;
    }
    let kept = match note(store, name).await? {
        Some(note) if note.fits(source, &sum) => Some(note),
        Some(note) => {
            abort(store, name, &note).await?;
            None
        }
        None => None,
    };
    let before = pace.done.load(Ordering::Relaxed);
    if let Some(note) = kept {
        match in_parts(store, name, source, pace, note.clone()).await? {
            Some(put) => return Ok(put),
            // The store no longer knows the upload or one of its parts.
            None => {
                abort(store, name, &note).await?;
                pace.done.store(before, Ordering::Relaxed);
            }
        }
    }
    let note = begin(store, name, source, sum).await?;
    match in_parts(store, name, source, pace, note.clone()).await? {
        Some(put) => Ok(put),
        None => {
            abort(store, name, &note).await?;
            Err(Error::unavailable(format!("`{}` lost a part of `{name}`", store.place)))
        }
    }
}

/// Gives up what is there of a file that is not yet whole; false when there is nothing.
pub(super) async fn give_up(store: &Store, name: &str) -> Result<bool> {
    match note(store, name).await? {
        Some(note) => abort(store, name, &note).await.map(|()| true),
        None => {
            let part = part_name(name);
            let there = store.look(&part).await?.is_some();
            if there {
                store.delete(&part).await?;
            }
            Ok(there)
        }
    }
}

impl Note {
    fn fits(&self, source: &Source, sum: &str) -> bool {
        self.blake3 == sum
            && self.bytes == source.bytes
            && self.part_bytes == part_bytes(source.bytes)
            && self.parts.len() as u64 <= source.bytes.div_ceil(self.part_bytes)
            && self.parts.iter().chain([&self.upload]).all(|name| {
                !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
            })
    }

    /// Bytes of the file that its parts are.
    fn there(&self) -> u64 {
        (self.parts.len() as u64 * self.part_bytes).min(self.bytes)
    }
}

/// The part size that keeps a file of so many bytes below the count that stores take.
fn part_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(PARTS_MAX).next_multiple_of(CHUNK_BYTES as u64).max(PART_BYTES)
}

fn part_name(name: &str) -> String {
    format!("{name}{PART}")
}

fn sum(source: &Source, pace: &Pace) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    source.pieces(0, CHUNK_BYTES, |_, piece| {
        hasher.update(piece);
        pace.going()
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn attributes(sum: &str) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(SUM_NAME.into()), sum.to_owned())])
}

/// A file with the name is there: fine when it is this one.
async fn same(
    store: &Store,
    name: &str,
    source: &Source,
    pace: &Pace,
    sum: &str,
    (bytes, told): (u64, Option<String>),
) -> Result<Put> {
    let mut same = bytes == source.bytes;
    if same {
        same = match told {
            Some(told) => told == sum,
            // Somebody else put it there: only its bytes tell.
            None => {
                let mut hasher = blake3::Hasher::new();
                store
                    .read(name, 0, bytes, |piece| {
                        hasher.update(piece);
                        pace.going()
                    })
                    .await?;
                hasher.finalize().to_hex().as_str() == sum
            }
        };
    }
    if !same {
        return Err(Error::conflict(format!("`{}` has another file `{name}` already", store.place))
            .hint("remove it there, or give the new one another name"));
    }
    // A copy whose last answer was lost has left its note.
    give_up(store, name).await?;
    pace.found(bytes);
    Ok(Put { bytes, resumed: bytes })
}

async fn at_once(store: &Store, name: &str, source: &Source, pace: &Pace, sum: &str) -> Result<()> {
    let mut bytes = vec![0; source.bytes as usize];
    source.read(0, &mut bytes)?;
    let bytes = Bytes::from(bytes);
    let options = PutOptions { attributes: attributes(sum), ..PutOptions::default() };
    let key = store.key(name);
    let sent = store.store.put_opts(&key, PutPayload::from(bytes.clone()), options);
    if let Err(error) = store.http.paced(bytes, pace, sent).await {
        pace.going()?;
        return Err(store.failed(error));
    }
    Ok(())
}

async fn begin(store: &Store, name: &str, source: &Source, sum: String) -> Result<Note> {
    let options = PutMultipartOptions { attributes: attributes(&sum), ..PutMultipartOptions::default() };
    let begun = store.store.create_multipart_opts(&store.key(name), options).await;
    let upload = begun.map_err(|e| store.failed(e))?;
    let part_bytes = part_bytes(source.bytes);
    let note = Note { upload, blake3: sum, bytes: source.bytes, part_bytes, parts: Vec::new() };
    // Before the first part, so that what is begun can always be given up.
    save(store, name, &note).await?;
    Ok(note)
}

/// Sends what is lacking and has the store put the parts together. None: the store has lost some of it.
async fn in_parts(
    store: &Store,
    name: &str,
    source: &Source,
    pace: &Pace,
    mut note: Note,
) -> Result<Option<Put>> {
    let key = store.key(name);
    let resumed = note.there();
    pace.found(resumed);
    let (mut at, mut noted) = (resumed, note.parts.len());
    while at < source.bytes {
        let mut bytes = vec![0; (source.bytes - at).min(note.part_bytes) as usize];
        source.read(at, &mut bytes)?;
        at += bytes.len() as u64;
        let bytes = Bytes::from(bytes);
        let payload = PutPayload::from(bytes.clone());
        let sent = store.store.put_part(&key, &note.upload, note.parts.len(), payload);
        match store.http.paced(bytes, pace, sent).await {
            Ok(part) => note.parts.push(part.content_id),
            Err(error) => {
                if note.parts.len() > noted {
                    // The part's own error is what counts.
                    let _ = save(store, name, &note).await;
                }
                pace.going()?;
                return if is_lost(&error) { Ok(None) } else { Err(store.failed(error)) };
            }
        }
        if (note.parts.len() - noted) as u64 * note.part_bytes >= NOTE_BYTES {
            save(store, name, &note).await?;
            noted = note.parts.len();
        }
    }
    let parts = note.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
    if let Err(error) = store.store.complete_multipart(&key, &note.upload, parts).await {
        let _ = save(store, name, &note).await;
        return if is_lost(&error) { Ok(None) } else { Err(store.failed(error)) };
    }
    let put = finish(store, name, source, resumed).await?;
    store.delete(&part_name(name)).await?;
    Ok(Some(put))
}

/// Whether the store says that the upload, or a part of it, is not there. Unlike a failure, trying again is no use.
fn is_lost(error: &object_store::Error) -> bool {
    let told = error.to_string();
    let known = ["InvalidPart", "NoSuchUpload", "EntityTooSmall"].iter().any(|code| told.contains(code));
    known || matches!(error, object_store::Error::NotFound { .. })
}

/// The file as the store has it now.
async fn finish(store: &Store, name: &str, source: &Source, resumed: u64) -> Result<Put> {
    match store.look(name).await? {
        Some((bytes, _)) if bytes == source.bytes => Ok(Put { bytes, resumed }),
        Some((bytes, _)) => Err(Error::unavailable(format!(
            "`{}` has {bytes} bytes of `{name}` instead of {}",
            store.place, source.bytes
        ))),
        None => Err(Error::unavailable(format!("`{}` took `{name}` and does not have it", store.place))),
    }
}

async fn save(store: &Store, name: &str, note: &Note) -> Result<()> {
    store.write(&part_name(name), &serde_json::to_vec(note)?).await
}

async fn note(store: &Store, name: &str) -> Result<Option<Note>> {
    let part = part_name(name);
    let Some((bytes, _)) = store.look(&part).await? else { return Ok(None) };
    if bytes > NOTE_BYTES_MAX {
        return Ok(None);
    }
    let mut text = Vec::new();
    store
        .read(&part, 0, bytes, |piece| {
            text.extend_from_slice(piece);
            Ok(())
        })
        .await?;
    // One that does not read is of no use and is written over.
    Ok(serde_json::from_slice(&text).ok())
}

async fn abort(store: &Store, name: &str, note: &Note) -> Result<()> {
    match store.store.abort_multipart(&store.key(name), &note.upload).await {
        Ok(()) => {}
        Err(error) if is_lost(&error) => {}
        Err(error) => return Err(store.failed(error)),
    }
    store.delete(&part_name(name)).await
}

#[cfg(test)]
mod tests {
    use super::super::super::contract;
    use super::*;

    #[test]
    fn parts_are_few_enough_for_every_file() {
        for (bytes, parts) in [(PART_BYTES + 1, 2), (20 * PART_BYTES, 20), (100_000_000_000, 8_670)] {
            assert_eq!(bytes.div_ceil(part_bytes(bytes)), parts);
        }
        assert!(5_000_000_000_000_u64.div_ceil(part_bytes(5_000_000_000_000)) <= PARTS_MAX);
    }

    #[test]
    fn only_a_note_of_this_very_file_is_gone_on_from() {
        let file = contract::local(PART_BYTES as usize + 1);
        let source = Source::open(file.path()).unwrap();
        let pace = Pace::new(&crate::engine::clock::Clock::system());
        let sum = sum(&source, &pace).unwrap();
        let good = Note {
            upload: "u".into(),
            blake3: sum.clone(),
            bytes: source.bytes,
            part_bytes: PART_BYTES,
            parts: vec!["p".into()],
        };
        assert!(good.fits(&source, &sum));
        assert_eq!(good.there(), PART_BYTES);
        for bad in [
            Note { blake3: "0".repeat(64), ..good.clone() },
            Note { bytes: 1, ..good.clone() },
            Note { part_bytes: 1, ..good.clone() },
            Note { part_bytes: 0, ..good.clone() },
            Note { parts: vec!["p".into(); 3], ..good.clone() },
            Note { parts: vec![String::new()], ..good.clone() },
            Note { upload: "a\n".into(), ..good.clone() },
            Note { upload: "u".repeat(NAME_BYTES_MAX + 1), ..good },
        ] {
            assert!(!bad.fits(&source, &sum), "{bad:?}");
        }
    }
}
