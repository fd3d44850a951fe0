//! Full text: documents in, hits out. Everything here is derived: it is left out of backups, and made again when it is
//! missing, damaged or of an older form.
//!
//! The index keeps no text, only which documents hold which words where. How far each feed of documents has come lies in
//! the index's own commits, so that both are always of one instant: what a crash loses is fed again.
//!
//! Invariant: making an [`Index`] opens nothing; it is opened by the first who feeds it, and never holds a start up.
//! Invariant: what cannot be opened is removed and made anew; feeds then begin from their beginning.
//! Invariant: a search is bounded in bytes, words and hits, whatever was typed; there is no language of queries.
//! Invariant: one thread writes, with at most [`MEMORY_BYTES_MAX`] of buffers.

mod schema;
mod search;
mod writing;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::base::{Error, Result, TenantId, Timestamp};
use crate::engine::clock::Clock;

pub use search::{Asked, HITS_MAX, Hit, Hits, Marker, OFFSET_MAX, Order, WORDS_BYTES_MAX, WORDS_MAX};

use schema::Fields;
use search::Looking;
use writing::Writing;

/// Memory for documents that are not in a segment yet.
pub const MEMORY_BYTES_MAX: usize = 30 * 1024 * 1024;
/// Documents after which what was fed is committed.
pub const COMMIT_DOCUMENTS: u64 = 50_000;
/// Milliseconds after which what was fed is committed.
pub const COMMIT_MILLISECONDS: u64 = 2_000;

/// Something that can be found.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it is, one of few words: `audit`.
    pub kind: &'static str,
    /// Which one; unique for its tenant and kind.
    pub id: String,
    /// What counts most.
    pub title: String,
    /// The rest.
    pub body: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// When it was made or changed.
    pub at: Timestamp,
}

/// An index in a folder of its own. Cloning gives the same one.
#[derive(Clone)]
pub struct Index(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    clock: Clock,
    /// Held by one feed at a time.
    writing: Mutex<Option<Writing>>,
    looking: RwLock<Option<Looking>>,
}

impl Index {
    /// The index in `folder`. Nothing is opened or made yet.
    pub fn new(folder: &Path, clock: &Clock) -> Index {
        Index(Arc::new(Inner {
            folder: folder.to_owned(),
            clock: clock.clone(),
            writing: Mutex::new(None),
            looking: RwLock::new(None),
        }))
    }

    /// How far this feed has come, as it said with its last documents; nothing when it has to begin. Opens the index, or
    /// makes it anew when it cannot be opened.
    pub fn cursor(&self, feed: &str) -> Result<Option<String>> {
        self.writing(|writing| Ok(writing.cursor(feed)))
    }

    /// Takes documents, each in place of an earlier one with its kind and id, and how far the feed has come with them.
    /// They can be found after the next commit, which comes by itself once there is enough to commit or it has waited.
    pub fn put(&self, feed: &str, documents: &[Document], cursor: &str) -> Result<()> {
        self.writing(|writing| writing.put(feed, documents, cursor))?;
        self.commit_due()
    }

    /// Takes documents away, with the next commit.
    pub fn remove(&self, kind: &str, documents: &[(TenantId, String)]) -> Result<()> {
        self.writing(|writing| {
            documents.iter().for_each(|(tenant, id)| writing.remove(*tenant, kind, id));
            Ok(())
        })
    }

    /// Commits when that is due; for feeds that have nothing new.
    pub fn commit_due(&self) -> Result<()> {
        let now = self.0.clock.monotonic();
        if self.writing(|writing| Ok(writing.is_due(now)))? { self.commit() } else { Ok(()) }
    }

    /// Makes everything that was put durable and findable.
    pub fn commit(&self) -> Result<()> {
        self.writing(Writing::commit)?;
        match &*self.0.looking.read() {
            Some(looking) => looking.reload(),
            None => Ok(()),
        }
    }

    /// Removes everything; feeds begin again.
    pub fn clear(&self) {
        let mut writing = self.0.writing.lock();
        self.0.looking.write().take();
        drop(writing.take());
        self.remove_folder();
    }

    /// Whether it can be searched.
    pub fn is_open(&self) -> bool {
        self.0.looking.read().is_some()
    }

    /// How many documents can be found, of all tenants and kinds.
    pub fn documents(&self) -> u64 {
        self.0.looking.read().as_ref().map_or(0, Looking::documents)
    }

    /// Finds documents of one tenant.
    pub fn search(&self, asked: &Asked<'_>) -> Result<Hits> {
        let looking = self.0.looking.read();
        let Some(looking) = &*looking else {
            return Err(Error::unavailable("the index is not ready yet").hint("try again in a moment"));
        };
        // Damage that the library did not expect must not end more than this search.
        catch_unwind(AssertUnwindSafe(|| looking.search(asked)))
            .unwrap_or_else(|_| Err(Error::unavailable("the index is damaged").hint("run `muster rebuild`")))
    }

    fn writing<T>(&self, f: impl FnOnce(&mut Writing) -> Result<T>) -> Result<T> {
        let mut slot = self.0.writing.lock();
        let writing = match slot.as_mut() {
            Some(writing) => writing,
            None => {
                let (writing, looking) = self.open()?;
                *self.0.looking.write() = Some(looking);
                slot.insert(writing)
            }
        };
        let done = catch_unwind(AssertUnwindSafe(|| f(writing)))
            .unwrap_or_else(|_| Err(Error::unavailable("writing the index panicked")));
        if done.is_err() {
            // The next one opens it again, where the last commit left it.
            drop(slot.take());
        }
        done
    }

    fn open(&self) -> Result<(Writing, Looking)> {
        let (folder, clock) = (&self.0.folder, &self.0.clock);
        let attempt = || {
            catch_unwind(AssertUnwindSafe(|| writing::open(folder, clock)))
                .unwrap_or_else(|_| Err(Error::invalid("opening it panicked")))
        };
        if folder.exists() {
            match attempt() {
                Ok(opened) => return Ok(opened),
                // Somebody else's lock or a disk that refuses is no reason to remove anything.
                Err(error) if error.kind() == crate::base::Kind::Unavailable => return Err(error),
                Err(error) => {
                    tracing::warn!("the index is of no use and is made again: {}", error.detail());
                    self.remove_folder();
                }
            }
        }
        attempt()
    }

    fn remove_folder(&self) {
        match std::fs::remove_dir_all(&self.0.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("`{}` cannot be removed: {error}", self.0.folder.display());
            }
            _ => {}
        }
    }
}

/// A failure of the library: what lies on disk is of no use (Invalid), or cannot be had now (Unavailable).
fn failed(error: tantivy::TantivyError) -> Error {
    use tantivy::TantivyError as E;
    let text = format!("the index: {error}");
    match error {
        E::LockFailure(..) | E::IoError(_) | E::SystemError(_) | E::ErrorInThread(_) => {
            Error::unavailable(text)
        }
        _ => Error::invalid(text),
    }
}

fn fields() -> (tantivy::schema::Schema, Fields) {
    schema::schema()
}
