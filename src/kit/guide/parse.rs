//! Markdown becomes blocks. What is written of them, as a page, as text or for `man`, is written from these alone, so that
//! nothing of the source reaches a page unescaped.
//!
//! Invariant: raw HTML in the source is text.

use std::collections::BTreeSet;
use std::iter::Peekable;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TextMergeStream};

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inline {
    Text(String),
    Code(String),
    Strong(Vec<Inline>),
    Emphasis(Vec<Inline>),
    Link { to: String, text: Vec<Inline> },
    Picture { name: String, about: String },
}

/// A part of a guide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    Heading { level: u8, id: String, text: Vec<Inline> },
    Paragraph(Vec<Inline>),
    Code { language: String, text: String },
    List { first: Option<u64>, items: Vec<Vec<Block>> },
    Table { head: Vec<Vec<Inline>>, rows: Vec<Vec<Vec<Inline>>> },
}

/// Reads the source; `fill` sees every text and gives what stands there instead.
pub(crate) fn parse(source: &str, fill: &dyn Fn(&str) -> String) -> Vec<Block> {
    let parser = Parser::new_ext(source, Options::ENABLE_TABLES);
    let mut reader = Reader { events: TextMergeStream::new(parser).peekable(), fill, ids: BTreeSet::new() };
    reader.blocks()
}

/// The text alone.
pub(crate) fn plain(parts: &[Inline]) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Inline::Text(text) | Inline::Code(text) => out.push_str(text),
            Inline::Strong(parts) | Inline::Emphasis(parts) | Inline::Link { text: parts, .. } => {
                out.push_str(&plain(parts));
            }
            Inline::Picture { about, .. } => out.push_str(about),
        }
    }
    out
}

/// What a heading is called in an address.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        match c.is_ascii_alphanumeric() {
            true => out.push(c),
            false if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            false => {}
        }
    }
    out.trim_end_matches('-').to_owned()
}

struct Reader<'a, I: Iterator<Item = Event<'a>>> {
    events: Peekable<I>,
    fill: &'a dyn Fn(&str) -> String,
    ids: BTreeSet<String>,
}

impl<'a, I: Iterator<Item = Event<'a>>> Reader<'a, I> {
    /// Blocks up to the end of what surrounds them, which is taken too.
    fn blocks(&mut self) -> Vec<Block> {
        let mut out = Vec::new();
        loop {
            // In a tight list lines stand without a paragraph around them.
            let bare = self.inlines();
            if !bare.is_empty() {
                out.push(Block::Paragraph(bare));
            }
            match self.events.next() {
                None | Some(Event::End(_)) => return out,
                Some(Event::Start(tag)) => out.extend(self.block(tag)),
                Some(Event::Rule) => {}
                Some(_) => {}
            }
        }
    }

    fn block(&mut self, tag: Tag<'a>) -> Vec<Block> {
        match tag {
            Tag::Heading { level, .. } => {
                let text = self.line();
                vec![Block::Heading { level: depth(level), id: self.id(&plain(&text)), text }]
            }
            Tag::Paragraph => vec![Block::Paragraph(self.line())],
            Tag::CodeBlock(kind) => {
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let text = plain(&self.line());
                vec![Block::Code { language, text: text.trim_end().to_owned() }]
            }
            Tag::List(first) => {
                let mut items = Vec::new();
                while let Some(Event::Start(_)) = self.events.next() {
                    items.push(self.blocks());
                }
                vec![Block::List { first, items }]
            }
            Tag::Table(_) => vec![self.table()],
            // Nothing else is used; what it holds is kept.
            _ => self.blocks(),
        }
    }

    fn table(&mut self) -> Block {
        let (mut head, mut rows) = (Vec::new(), Vec::new());
        while let Some(Event::Start(tag)) = self.events.next() {
            let mut row = Vec::new();
            while let Some(Event::Start(_)) = self.events.next() {
                row.push(self.line());
            }
            match tag {
                Tag::TableHead => head = row,
                _ => rows.push(row),
            }
        }
        Block::Table { head, rows }
    }

    /// A line up to the end of what surrounds it, which is taken too.
    fn line(&mut self) -> Vec<Inline> {
        let line = self.inlines();
        self.events.next();
        line
    }

    fn inlines(&mut self) -> Vec<Inline> {
        let mut out = Vec::new();
        while let Some(event) = self.events.next_if(|event| is_inline(event)) {
            let part = match event {
                Event::Code(text) => Inline::Code((self.fill)(&text)),
                Event::SoftBreak | Event::HardBreak => Inline::Text(" ".into()),
                Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
                    Inline::Text((self.fill)(&text))
                }
                Event::Start(Tag::Strong) => Inline::Strong(self.line()),
                Event::Start(Tag::Emphasis) => Inline::Emphasis(self.line()),
                Event::Start(Tag::Link { dest_url, .. }) => {
                    Inline::Link { to: dest_url.into_string(), text: self.line() }
                }
                Event::Start(Tag::Image { dest_url, .. }) => {
                    let name = dest_url.rsplit('/').next().unwrap_or_default().to_owned();
                    Inline::Picture { name, about: plain(&self.line()) }
                }
                _ => continue,
            };
            out.push(part);
        }
        out
    }

    fn id(&mut self, heading: &str) -> String {
        let base = slug(heading);
        let mut id = base.clone();
        let mut number = 2;
        while !self.ids.insert(id.clone()) {
            id = format!("{base}-{number}");
            number += 1;
        }
        id
    }
}

fn is_inline(event: &Event<'_>) -> bool {
    match event {
        Event::Text(_)
        | Event::Code(_)
        | Event::Html(_)
        | Event::InlineHtml(_)
        | Event::SoftBreak
        | Event::HardBreak => true,
        Event::Start(tag) => {
            matches!(tag, Tag::Strong | Tag::Emphasis | Tag::Link { .. } | Tag::Image { .. })
        }
        _ => false,
    }
}

fn depth(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<Block> {
        parse(source, &|text| text.replace("{{max}}", "7"))
    }

    #[test]
    fn blocks_are_read_and_filled() {
        let blocks = read(
            "# One & two\n\nA `b{{max}}` **c _d_** [e](f.md#g), {{max}}\nline.\n\n- x\n- y `z`\n  1. n\n\n| h | i |\n|---|---|\n| `j` | k |\n\n```sh\nmuster {{max}}\n```\n\n# One & two\n",
        );
        let text = |t: &str| Inline::Text(t.into());
        assert_eq!(
            blocks[0],
            Block::Heading { level: 1, id: "one-two".into(), text: vec![text("One & two")] }
        );
        let Block::Paragraph(line) = &blocks[1] else { panic!("{blocks:?}") };
        assert_eq!(plain(line), "A b7 c d e, 7 line.");
        assert!(line.contains(&Inline::Link { to: "f.md#g".into(), text: vec![text("e")] }));
        let Block::List { first: None, items } = &blocks[2] else { panic!("{blocks:?}") };
        assert_eq!(items.len(), 2);
        assert!(matches!(&items[1][1], Block::List { first: Some(1), .. }), "{items:?}");
        let Block::Table { head, rows } = &blocks[3] else { panic!("{blocks:?}") };
        assert_eq!((head.len(), plain(&rows[0][1]).as_str()), (2, "k"));
        assert_eq!(blocks[4], Block::Code { language: "sh".into(), text: "muster 7".into() });
        assert!(matches!(&blocks[5], Block::Heading { id, .. } if id == "one-two-2"));
    }

    #[test]
    fn raw_html_is_text() {
        let blocks = read("<script>alert(1)</script>\n\na <b onclick=x>c</b> &lt;\n");
        let texts: Vec<String> = blocks
            .iter()
            .map(|block| match block {
                Block::Paragraph(line) => plain(line),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(texts, ["<script>alert(1)</script>\n", "a <b onclick=x>c</b> <"]);
    }
}
