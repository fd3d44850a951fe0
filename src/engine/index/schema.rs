//! What the index keeps of a document, and how text becomes words.

use tantivy::schema::{Field, IndexRecordOption, NumericOptions, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{AsciiFoldingFilter, LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer};

/// The form; another one makes the index anew.
pub(super) const FORM: u32 = 1;
/// The name of the way from text to words.
pub(super) const WORDS: &str = "words";
/// Bytes of a word; longer ones are left out.
const WORD_BYTES_MAX: usize = 80;

/// The fields.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// Tenant, kind and id, as one term: what a later document replaces.
    pub(super) key: Field,
    pub(super) kind: Field,
    pub(super) id: Field,
    pub(super) tenant: Field,
    pub(super) at: Field,
    pub(super) title: Field,
    pub(super) body: Field,
}

pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let raw = || {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer("raw")
                .set_fieldnorms(false)
                .set_index_option(IndexRecordOption::Basic),
        )
    };
    let text = || {
        TextOptions::default().set_indexing_options(
            TextFieldIndexing::default()
                .set_tokenizer(WORDS)
                .set_index_option(IndexRecordOption::WithFreqsAndPositions),
        )
    };
    let fields = Fields {
        key: schema.add_text_field("key", raw()),
        kind: schema.add_text_field("kind", raw().set_stored()),
        id: schema.add_text_field("id", TextOptions::default().set_stored()),
        tenant: schema.add_text_field("tenant", raw()),
        at: schema.add_i64_field("at", NumericOptions::default().set_fast()),
        title: schema.add_text_field("title", text()),
        body: schema.add_text_field("body", text()),
    };
    (schema.build(), fields)
}

/// Words are runs of letters and digits, in lower case and without accents.
pub(super) fn words() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}
