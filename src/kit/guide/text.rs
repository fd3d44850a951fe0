//! A guide as text for a terminal.

use super::parse::{Block, Inline};
use super::{Guide, Values};

/// Columns of a line.
const WIDTH: usize = 78;
/// Columns of the first cells of a table that has room for them beside the others.
const TERM: usize = 24;

/// The guide; `bold` marks headings for a terminal that knows it.
pub fn text(guide: &Guide, values: &Values, bold: bool) -> String {
    let mut out = String::new();
    for block in guide.blocks(values) {
        write(&block, 0, bold, &mut out);
    }
    out
}

fn write(block: &Block, indent: usize, bold: bool, out: &mut String) {
    let pad = " ".repeat(indent);
    match block {
        Block::Heading { level, text, .. } => {
            let words = said(text);
            let words = if *level < 3 { words.to_uppercase() } else { words };
            let (on, off) = if bold { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
            out.push_str(&format!("{on}{words}{off}\n\n"));
        }
        // A terminal shows no pictures.
        Block::Paragraph(line) if matches!(line.as_slice(), [Inline::Picture { .. }]) => {}
        Block::Paragraph(line) => {
            fold(&said(line), &pad, &pad, out);
            out.push('\n');
        }
        Block::Code { text, .. } => {
            for line in text.lines() {
                out.push_str(format!("{pad}    {line}").trim_end());
                out.push('\n');
            }
            out.push('\n');
        }
        Block::List { first, items } => {
            for (at, item) in items.iter().enumerate() {
                let mark = match first {
                    Some(first) => format!("{}. ", first + at as u64),
                    None => "- ".to_owned(),
                };
                let mut inner = String::new();
                item.iter().for_each(|block| write(block, indent + mark.len(), bold, &mut inner));
                // The mark stands in the place of the first line's indentation.
                out.push_str(&pad);
                out.push_str(&mark);
                out.push_str(inner.trim_start_matches(' ').trim_end());
                out.push('\n');
            }
            out.push('\n');
        }
        Block::Table { head, rows } => {
            for row in rows {
                let mut cells = row.iter().map(|cell| said(cell));
                let term = cells.next().unwrap_or_default();
                let rest: Vec<String> = match row.len() {
                    2 => cells.collect(),
                    _ => cells
                        .zip(head.iter().skip(1))
                        .filter(|(cell, _)| !cell.is_empty())
                        .map(|(cell, head)| format!("{}: {cell}", said(head)))
                        .collect(),
                };
                let hang = " ".repeat(indent + TERM + 2);
                match row.len() == 2 && term.chars().count() <= TERM {
                    true => {
                        let first = format!("{pad}{term:<TERM$}  ");
                        fold(&rest.concat(), &first, &hang, out);
                    }
                    false => {
                        fold(&term, &pad, &format!("{pad}  "), out);
                        let deep = format!("{pad}    ");
                        rest.iter().for_each(|cell| fold(cell, &deep, &deep, out));
                    }
                }
            }
            out.push('\n');
        }
    }
}

/// A line as text: code in backticks, links with the guide that they lead to.
fn said(line: &[Inline]) -> String {
    let mut out = String::new();
    for part in line {
        match part {
            Inline::Text(text) => out.push_str(text),
            Inline::Code(text) => out.push_str(&format!("`{text}`")),
            Inline::Strong(parts) | Inline::Emphasis(parts) => out.push_str(&said(parts)),
            Inline::Link { to, text } => {
                out.push_str(&said(text));
                if let Some(name) = to.split('#').next().and_then(|file| file.strip_suffix(".md")) {
                    out.push_str(&format!(" (`muster guide {name}`)"));
                }
            }
            Inline::Picture { about, .. } => out.push_str(&format!("[{about}]")),
        }
    }
    out
}

/// Words in lines that are no wider than [`WIDTH`].
fn fold(text: &str, first: &str, rest: &str, out: &mut String) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let wide = line.chars().count() + 1 + word.chars().count();
        if !empty && wide > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = rest.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn a_terminal_shows_every_kind_of_block() {
        let source = "# A title\n\nSome `code` and a [link](backups.md#restore).\n\n- one\n- two\n\n```sh\nls  -l\n\nx\n```\n\n| Key | Meaning |\n|--|--|\n| `a` | what it means |\n";
        let mut out = String::new();
        parse(source, &str::to_owned).iter().for_each(|block| write(block, 0, false, &mut out));
        assert_eq!(
            out,
            "A TITLE\n\nSome `code` and a link (`muster guide backups`).\n\n- one\n- two\n\n    ls  -l\n\n    x\n\n`a`                       what it means\n\n"
        );
    }

    #[test]
    fn no_line_of_prose_is_wider_than_a_terminal() {
        for guide in super::super::GUIDES {
            let shown = text(guide, &Values::sample(), false);
            let wide = shown.lines().find(|line| !line.starts_with("    ") && line.chars().count() > WIDTH);
            assert_eq!(wide, None, "{}", guide.name);
        }
    }
}
