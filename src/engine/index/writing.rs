//! Opening, and the one writer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tantivy::directory::MmapDirectory;
use tantivy::indexer::IndexWriterOptions;
use tantivy::{IndexWriter, TantivyDocument, Term};

use super::schema::{FORM, Fields, WORDS, words};
use super::search::Looking;
use super::{COMMIT_DOCUMENTS, COMMIT_MILLISECONDS, Document, MEMORY_BYTES_MAX, failed, fields};
use crate::base::{Error, Result, TenantId};
use crate::engine::clock::Clock;
use crate::engine::journal::create_folder;

/// What lies in each commit.
#[derive(Default, Serialize, Deserialize)]
struct Payload {
    form: u32,
    /// How far each feed has come.
    cursors: BTreeMap<String, String>,
}

/// The writer and what it has not committed.
pub(super) struct Writing {
    writer: IndexWriter,
    fields: Fields,
    clock: Clock,
    cursors: BTreeMap<String, String>,
    waiting: u64,
    /// Since when something waits.
    since: Option<Duration>,
}

/// Opens what is in `folder`, or begins there.
pub(super) fn open(folder: &Path, clock: &Clock) -> Result<(Writing, Looking)> {
    create_folder(folder)?;
    let (schema, fields) = fields();
    let directory = MmapDirectory::open(folder)
        .map_err(|error| Error::unavailable(format!("the index's folder cannot be opened: {error}")))?;
    let index = tantivy::Index::open_or_create(directory, schema).map_err(failed)?;
    index.tokenizers().register(WORDS, words());
    let meta = index.load_metas().map_err(failed)?;
    let payload = match meta.payload.as_deref() {
        Some(text) => serde_json::from_str(text).map_err(|e| Error::invalid(format!("its payload: {e}")))?,
        None => Payload { form: FORM, ..Payload::default() },
    };
    if payload.form != FORM {
        return Err(Error::invalid(format!("it has the form {}", payload.form)));
    }
    // Once a start, on the thread of whoever feeds it: a search would not notice a flipped bit.
    let damaged = index.validate_checksum().map_err(failed)?;
    if let Some(file) = damaged.iter().next() {
        return Err(Error::invalid(format!("`{}` is damaged", file.display())));
    }
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(MEMORY_BYTES_MAX)
        .build();
    let writer: IndexWriter = index.writer_with_options(options).map_err(failed)?;
    let looking = Looking::open(&index, fields)?;
    let writing =
        Writing { writer, fields, clock: clock.clone(), cursors: payload.cursors, waiting: 0, since: None };
    Ok((writing, looking))
}

/// The term that stands for one document.
fn key(tenant: TenantId, kind: &str, id: &str) -> String {
    format!("{:032x}/{kind}/{id}", tenant.bits())
}

/// The term of a tenant.
pub(super) fn tenant_word(tenant: TenantId) -> String {
    format!("{:032x}", tenant.bits())
}

impl Writing {
    pub(super) fn cursor(&self, feed: &str) -> Option<String> {
        self.cursors.get(feed).cloned()
    }

    pub(super) fn put(&mut self, feed: &str, documents: &[Document], cursor: &str) -> Result<()> {
        for document in documents {
            let fields = &self.fields;
            let key = key(document.tenant, document.kind, &document.id);
            self.writer.delete_term(Term::from_field_text(fields.key, &key));
            let mut given = TantivyDocument::default();
            given.add_text(fields.key, &key);
            given.add_text(fields.kind, document.kind);
            given.add_text(fields.id, &document.id);
            given.add_text(fields.tenant, tenant_word(document.tenant));
            given.add_i64(fields.at, document.at.milliseconds());
            given.add_text(fields.title, &document.title);
            given.add_text(fields.body, &document.body);
            self.writer.add_document(given).map_err(failed)?;
        }
        self.waiting += documents.len() as u64;
        // A cursor that moves alone is not worth a commit; it is kept with the next documents.
        if !documents.is_empty() && self.since.is_none() {
            self.since = Some(self.clock.monotonic());
        }
        self.cursors.insert(feed.to_owned(), cursor.to_owned());
        Ok(())
    }

    pub(super) fn remove(&mut self, tenant: TenantId, kind: &str, id: &str) {
        self.writer.delete_term(Term::from_field_text(self.fields.key, &key(tenant, kind, id)));
        self.waiting += 1;
        self.since.get_or_insert_with(|| self.clock.monotonic());
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        let waited = |since: Duration| now.saturating_sub(since).as_millis() as u64 >= COMMIT_MILLISECONDS;
        self.waiting >= COMMIT_DOCUMENTS || self.since.is_some_and(waited)
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        let payload = Payload { form: FORM, cursors: self.cursors.clone() };
        let mut prepared = self.writer.prepare_commit().map_err(failed)?;
        prepared.set_payload(&serde_json::to_string(&payload)?);
        prepared.commit().map_err(failed)?;
        (self.waiting, self.since) = (0, None);
        Ok(())
    }
}
