//! Looking: words and phrases that must all occur, ranked or newest first, and what surrounds them in a text.

use std::collections::BTreeMap;

use tantivy::collector::{Count, TopDocs};
use tantivy::query::{BooleanQuery, BoostQuery, Occur, PhraseQuery, Query, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Value};
use tantivy::snippet::SnippetGenerator;
use tantivy::{DocAddress, IndexReader, ReloadPolicy, Searcher, TantivyDocument, Term};

use super::failed;
use super::schema::{Fields, words};
use super::writing::tenant_word;
use crate::base::{Error, Result, TenantId};

/// Bytes of what is searched for.
pub const WORDS_BYTES_MAX: usize = 256;
/// Words of what is searched for, those of phrases counted.
pub const WORDS_MAX: usize = 16;
/// Hits of one search.
pub const HITS_MAX: usize = 200;
/// Hits that a search may pass over.
pub const OFFSET_MAX: usize = 2_000;
/// Characters of a text that are shown around what was found.
const SNIPPET_CHARACTERS: usize = 200;
/// How much more a word in a title counts.
const TITLE_BOOST: f32 = 3.0;

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Newest first.
    #[default]
    Newest,
    /// The best match first (BM25).
    Best,
}

/// What is searched for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Words and `"phrases"`; all must occur.
    pub words: &'a str,
    /// Only these kinds; every kind when empty.
    pub kinds: &'a [&'a str],
    /// Whose documents.
    pub tenant: Option<TenantId>,
    /// In which order.
    pub order: Order,
    /// Hits at most.
    pub limit: usize,
    /// Hits to pass over.
    pub offset: usize,
}

/// A document that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// What it is.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// How well it matches; only comparable within one search. 0 when it was not ranked.
    pub score: f32,
}

/// What was found.
pub struct Hits {
    /// The hits of this page.
    pub items: Vec<Hit>,
    /// All that match.
    pub total: usize,
    /// Shows where the words stand in a text.
    pub marker: Marker,
}

/// Shows where the words of a search stand in a text.
pub struct Marker(SnippetGenerator);

impl Marker {
    /// The best part of the text as HTML: escaped, with what was found in `<mark>`. The beginning of the text when
    /// nothing of it was searched for.
    pub fn mark(&self, text: &str) -> String {
        let mut snippet = self.0.snippet(text);
        if snippet.is_empty() {
            let start: String = text.chars().take(SNIPPET_CHARACTERS).collect();
            return escape(&start);
        }
        snippet.set_snippet_prefix_postfix("<mark>", "</mark>");
        snippet.to_html()
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#x27;"),
            c => out.push(c),
        }
    }
    out
}

/// A reader of what was committed.
pub(super) struct Looking {
    reader: IndexReader,
    fields: Fields,
}

impl Looking {
    pub(super) fn open(index: &tantivy::Index, fields: Fields) -> Result<Looking> {
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(failed)?;
        Ok(Looking { reader, fields })
    }

    pub(super) fn reload(&self) -> Result<()> {
        self.reader.reload().map_err(failed)
    }

    pub(super) fn documents(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    pub(super) fn search(&self, asked: &Asked<'_>) -> Result<Hits> {
        let (query, terms) = self.query(asked)?;
        let searcher = self.reader.searcher();
        let (limit, offset) = (asked.limit.clamp(1, HITS_MAX), asked.offset.min(OFFSET_MAX));
        let top = TopDocs::with_limit(limit).and_offset(offset);
        let (total, found): (usize, Vec<(f32, DocAddress)>) = match asked.order {
            Order::Best => searcher.search(&query, &(Count, top.order_by_score())).map_err(failed)?,
            Order::Newest => {
                let top = top.order_by_fast_field::<i64>("at", tantivy::Order::Desc);
                let (total, found) = searcher.search(&query, &(Count, top)).map_err(failed)?;
                (total, found.into_iter().map(|(_, address)| (0.0, address)).collect())
            }
        };
        let items = found.into_iter().map(|(score, address)| self.hit(&searcher, score, address));
        let items = items.collect::<Result<Vec<Hit>>>()?;
        let terms: BTreeMap<String, f32> = terms.into_iter().map(|term| (term, 1.0)).collect();
        let marker = Marker(SnippetGenerator::new(terms, words(), self.fields.body, SNIPPET_CHARACTERS));
        Ok(Hits { items, total, marker })
    }

    fn hit(&self, searcher: &Searcher, score: f32, address: DocAddress) -> Result<Hit> {
        let document: TantivyDocument = searcher.doc(address).map_err(failed)?;
        let text = |field: Field| {
            document.get_first(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        };
        Ok(Hit { kind: text(self.fields.kind), id: text(self.fields.id), score })
    }

    /// The query, and its words.
    fn query(&self, asked: &Asked<'_>) -> Result<(BooleanQuery, Vec<String>)> {
        if asked.words.len() > WORDS_BYTES_MAX {
            return Err(Error::invalid("that is too much to search for at once")
                .hint(format!("at most {WORDS_BYTES_MAX} bytes")));
        }
        let (mut all, mut clauses) = (Vec::new(), Vec::<(Occur, Box<dyn Query>)>::new());
        for part in parts(asked.words) {
            let found = tokens(part);
            if found.is_empty() {
                continue;
            }
            let of = |field: Field| -> Box<dyn Query> {
                let mut terms: Vec<Term> =
                    found.iter().map(|word| Term::from_field_text(field, word)).collect();
                match (terms.len(), terms.pop()) {
                    (1, Some(term)) => Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)),
                    (_, last) => Box::new(PhraseQuery::new(terms.into_iter().chain(last).collect())),
                }
            };
            let title = Box::new(BoostQuery::new(of(self.fields.title), TITLE_BOOST));
            let either: Vec<(Occur, Box<dyn Query>)> =
                vec![(Occur::Should, title), (Occur::Should, of(self.fields.body))];
            clauses.push((Occur::Must, Box::new(BooleanQuery::new(either))));
            all.extend(found);
        }
        if clauses.is_empty() {
            return Err(Error::invalid("there is no word to search for")
                .hint("words are runs of letters and digits; all of them must occur"));
        }
        if all.len() > WORDS_MAX {
            return Err(Error::invalid("that is too much to search for at once")
                .hint(format!("at most {WORDS_MAX} words")));
        }
        let is = |field: Field, word: &str| -> Box<dyn Query> {
            // What only filters must not count.
            let term = TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::Basic);
            Box::new(BoostQuery::new(Box::new(term), 0.0))
        };
        if let Some(tenant) = asked.tenant {
            clauses.push((Occur::Must, is(self.fields.tenant, &tenant_word(tenant))));
        }
        if !asked.kinds.is_empty() {
            let kinds = asked.kinds.iter().map(|kind| (Occur::Should, is(self.fields.kind, kind))).collect();
            clauses.push((Occur::Must, Box::new(BooleanQuery::new(kinds))));
        }
        Ok((BooleanQuery::new(clauses), all))
    }
}

/// Words by spaces, phrases by quotation marks; one that is left open ends with the text.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for (n, part) in text.split('"').enumerate() {
        if n % 2 == 1 {
            parts.push(part);
        } else {
            parts.extend(part.split_whitespace());
        }
    }
    parts
}

fn tokens(text: &str) -> Vec<String> {
    let mut analyzer = words();
    let mut stream = analyzer.token_stream(text);
    let mut found = Vec::new();
    while stream.advance() {
        found.push(stream.token().text.clone());
    }
    found
}
