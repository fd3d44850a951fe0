//! Search in the guides: by words over titles, headings and text. Every part under a heading is one section, and a hit leads
//! to its heading. It needs no index: there are a few hundred sections.

use std::sync::LazyLock;

use super::parse::{Block, Inline, plain};
use super::{GUIDES, HELP, Values};
use crate::kit::Markup;
use crate::kit::chart::escape;

/// Words of a query that are looked at.
const WORDS_MAX: usize = 8;
/// Hits that are shown.
const HITS_MAX: usize = 30;
/// Characters of a hit's excerpt.
const EXCERPT: usize = 180;

/// What is found: a heading and the text below it.
#[derive(Clone, Debug)]
pub struct Section {
    title: String,
    heading: String,
    text: String,
    href: String,
}

/// A section that has the words.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Where it leads.
    pub href: String,
    /// The guide.
    pub title: String,
    /// The heading, with the words marked.
    pub heading: Markup,
    /// A part of the text, with the words marked.
    pub excerpt: Markup,
}

impl Section {
    /// A section that is no part of a guide, such as an operation of the reference.
    pub fn new(title: &str, heading: &str, text: &str, href: String) -> Section {
        Section { title: title.to_owned(), heading: heading.to_owned(), text: text.to_owned(), href }
    }
}

/// The sections that have most of the words, the best first.
pub fn search(query: &str, beside: &[Section]) -> Vec<Hit> {
    let words: Vec<String> = words(query).take(WORDS_MAX).map(|word| stem(&word).to_owned()).collect();
    if words.is_empty() {
        return Vec::new();
    }
    // Who looks for words is helped more by what explains than by what lists.
    let all =
        sections().iter().map(|section| (1.0, section)).chain(beside.iter().map(|section| (0.4, section)));
    let mut found: Vec<(usize, f64, &Section)> = all
        .filter_map(|(part, section)| {
            let (met, score) = weigh(section, &words);
            (met > 0).then_some((met, score * part, section))
        })
        .collect();
    let most = found.iter().map(|(met, _, _)| *met).max().unwrap_or_default();
    found.retain(|(met, _, _)| *met == most);
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(HITS_MAX);
    let hit = |(_, _, section): (usize, f64, &Section)| Hit {
        href: section.href.clone(),
        title: section.title.clone(),
        heading: Markup(marked(&section.heading, &words)),
        excerpt: Markup(marked(&excerpt(&section.text, &words), &words)),
    };
    found.into_iter().map(hit).collect()
}

/// How many of the words a section has, and how well.
fn weigh(section: &Section, query: &[String]) -> (usize, f64) {
    let (title, heading, text) = (best(&section.title), best(&section.heading), best(&section.text));
    let (mut met, mut score) = (0, 0.0);
    for word in query {
        let (in_title, in_heading, in_text) = (title(word), heading(word), text(word));
        let sum =
            in_title.min(1.0) * 4.0 + in_heading.min(1.0) * 10.0 + in_text.min(1.0) + in_text.max(1.0).ln();
        if sum > 0.0 {
            met += 1;
            score += sum;
        }
    }
    (met, score)
}

/// How well a text has a word: the sum over its words, whole ones before beginnings.
fn best(text: &str) -> impl Fn(&str) -> f64 {
    let all: Vec<String> = words(text).collect();
    move |word| all.iter().map(|other| likeness(other, word)).sum()
}

fn likeness(word: &str, wanted: &str) -> f64 {
    match word {
        _ if stem(word) == wanted => 1.0,
        _ if wanted.chars().count() > 2 && word.starts_with(wanted) => 0.5,
        _ => 0.0,
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Backups are found by backup, and the other way round.
fn stem(word: &str) -> &str {
    let short = word.strip_suffix('s').filter(|short| short.len() > 2 && !short.ends_with('s'));
    short.unwrap_or(word)
}

/// The part of the text around the first word.
fn excerpt(text: &str, query: &[String]) -> String {
    let is_met =
        |word: &str| words(word).any(|word| query.iter().any(|wanted| likeness(&word, wanted) > 0.0));
    let all: Vec<&str> = text.split_whitespace().collect();
    let first = all.iter().position(|word| is_met(word)).unwrap_or_default();
    let from = first.saturating_sub(8);
    let mut out = String::from(if from > 0 { "… " } else { "" });
    for word in all.iter().skip(from) {
        if out.chars().count() + word.chars().count() > EXCERPT {
            out.push('…');
            break;
        }
        out.push_str(word);
        out.push(' ');
    }
    out.trim_end().to_owned()
}

/// The text as HTML, with the words marked.
fn marked(text: &str, query: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let lower = word.to_lowercase();
        match !word.is_empty() && query.iter().any(|wanted| likeness(&lower, wanted) > 0.0) {
            true => out.push_str(&format!("<mark>{}</mark>", escape(word))),
            false => out.push_str(&escape(word)),
        }
        let gap = after.find(char::is_alphanumeric).unwrap_or(after.len());
        let (between, next) = after.split_at(gap);
        out.push_str(&escape(between));
        rest = next;
    }
    out
}

fn sections() -> &'static [Section] {
    static ALL: LazyLock<Vec<Section>> = LazyLock::new(|| {
        let mut out = Vec::new();
        for guide in GUIDES {
            let href = format!("{HELP}/{}", guide.name);
            let mut section = Section::new(guide.title(), guide.title(), "", href.clone());
            for block in guide.blocks(&Values::sample()) {
                match &block {
                    Block::Heading { level: 1, .. } => {}
                    Block::Heading { id, text, .. } => {
                        let next = Section::new(guide.title(), &plain(text), "", format!("{href}#{id}"));
                        out.push(std::mem::replace(&mut section, next));
                    }
                    block => gather(block, &mut section.text),
                }
            }
            out.push(section);
        }
        out
    });
    &ALL
}

fn gather(block: &Block, out: &mut String) {
    let mut line = |line: &[Inline]| {
        out.push_str(&plain(line));
        out.push(' ');
    };
    match block {
        Block::Heading { text, .. } | Block::Paragraph(text) => line(text),
        Block::Code { text, .. } => {
            out.push_str(text);
            out.push(' ');
        }
        Block::List { items, .. } => items.iter().flatten().for_each(|block| gather(block, out)),
        Block::Table { head, rows } => head.iter().chain(rows.iter().flatten()).for_each(|cell| line(cell)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_section_comes_first_and_leads_to_its_heading() {
        for (query, href) in [
            ("restore", "/help/backups#restore"),
            ("recovery key", "/help/backups#the-recovery-key"),
            ("API keys", "/help/integration#api-keys"),
            ("postgresql", "/help/stack"),
            ("grafana", "/help/stack"),
            ("tls_minimum", "/help/network#tls"),
            ("lost phone", "/help/signing-in#when-something-is-lost"),
        ] {
            let hits = search(query, &[]);
            let three: Vec<&str> = hits.iter().take(3).map(|hit| hit.href.as_str()).collect();
            assert!(three.iter().any(|found| found.starts_with(href)), "{query}: {three:?}");
        }
        assert!(search("", &[]).is_empty() && search("...", &[]).is_empty());
        assert!(search("zyzzyva", &[]).is_empty());
        assert!(search("the", &[]).len() <= HITS_MAX);
    }

    #[test]
    fn words_are_marked_and_everything_is_escaped() {
        let beside =
            [Section::new("T", "A <b>zyzzyva</b>", "x & zyzzyvas \"y\" <script>", "/help/x#y".into())];
        let hits = search("Zyzzyva", &beside);
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].heading.0, "A &lt;b&gt;<mark>zyzzyva</mark>&lt;/b&gt;");
        assert_eq!(hits[0].excerpt.0, "x &amp; <mark>zyzzyvas</mark> &quot;y&quot; &lt;script&gt;");
        assert_eq!(hits[0].href, "/help/x#y");
    }

    #[test]
    fn who_asks_for_much_gets_what_has_most_of_it() {
        let beside = [
            Section::new("T", "zyzzyva", "", "/a".into()),
            Section::new("T", "other", "zyzzyva qwertz", "/b".into()),
        ];
        let hits = search("zyzzyva qwertz nowhereatall", &beside);
        assert_eq!(hits.iter().map(|hit| hit.href.as_str()).collect::<Vec<_>>(), ["/b"]);
        let long = search(&"zyzzyva ".repeat(5_000), &beside);
        assert_eq!(long[0].href, "/a");
    }
}
