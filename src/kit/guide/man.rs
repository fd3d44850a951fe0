//! A guide for `man`, in section 7.

use super::parse::{Block, Inline, plain};
use super::{GUIDES, Guide, Values};

/// The page `muster-NAME(7)`.
pub fn man(guide: &Guide) -> String {
    let mut out = format!(
        ".TH \"MUSTER\\-{}\" 7 \"\" \"muster {}\" \"Guides\"\n.SH NAME\nmuster\\-{} \\- {}\n",
        roff(&guide.name.to_uppercase()),
        env!("CARGO_PKG_VERSION"),
        roff(guide.name),
        roff(guide.title())
    );
    let mut begun = false;
    for block in &guide.blocks(&Values::sample()) {
        match block {
            Block::Heading { level: 1, .. } => {}
            block => {
                if !begun && !matches!(block, Block::Heading { .. }) {
                    out.push_str(".SH DESCRIPTION\n");
                }
                begun = true;
                write(block, &mut out);
            }
        }
    }
    out.push_str(".SH SEE ALSO\nmuster(8)");
    for other in GUIDES.iter().filter(|other| other.name != guide.name) {
        out.push_str(&format!(", muster\\-{}(7)", roff(other.name)));
    }
    out.push('\n');
    out
}

fn write(block: &Block, out: &mut String) {
    match block {
        Block::Heading { level, text, .. } => {
            out.push_str(if *level < 3 { ".SH " } else { ".SS " });
            out.push_str(&quoted(&plain(text)));
            out.push('\n');
        }
        Block::Paragraph(line) if matches!(line.as_slice(), [Inline::Picture { .. }]) => {}
        Block::Paragraph(line) => {
            out.push_str(".PP\n");
            say(line, out);
        }
        Block::Code { text, .. } => {
            out.push_str(".PP\n.RS 4\n.EX\n");
            for line in text.lines() {
                out.push_str(&roff(line));
                out.push('\n');
            }
            out.push_str(".EE\n.RE\n");
        }
        Block::List { first, items } => {
            for (at, item) in items.iter().enumerate() {
                match first {
                    Some(first) => out.push_str(&format!(".IP {}. 4\n", first + at as u64)),
                    None => out.push_str(".IP \\(bu 2\n"),
                }
                for (at, block) in item.iter().enumerate() {
                    match block {
                        Block::Paragraph(line) if at == 0 => say(line, out),
                        block => {
                            out.push_str(".RS\n");
                            write(block, out);
                            out.push_str(".RE\n");
                        }
                    }
                }
            }
        }
        Block::Table { head, rows } => {
            for row in rows {
                out.push_str(".TP\n");
                let mut cells = row.iter();
                say(cells.next().map(Vec::as_slice).unwrap_or_default(), out);
                let several = row.len() > 2;
                for (cell, head) in cells.zip(head.iter().skip(1)).filter(|(cell, _)| !cell.is_empty()) {
                    if several {
                        out.push_str(&format!("\\fI{}:\\fR ", roff(&plain(head))));
                    }
                    say(cell, out);
                    out.push_str(if several { ".br\n" } else { "" });
                }
            }
        }
    }
}

/// A line of text.
fn say(line: &[Inline], out: &mut String) {
    let mut text = String::new();
    gather(line, &mut text);
    let text = text.trim();
    if text.starts_with(['.', '\'']) {
        out.push_str("\\&");
    }
    out.push_str(text);
    out.push('\n');
}

fn gather(line: &[Inline], out: &mut String) {
    for part in line {
        match part {
            Inline::Text(text) => out.push_str(&escaped(text)),
            Inline::Code(text) => out.push_str(&format!("\\fB{}\\fR", escaped(text))),
            Inline::Strong(parts) => out.push_str(&format!("\\fB{}\\fR", escaped(&plain(parts)))),
            Inline::Emphasis(parts) => out.push_str(&format!("\\fI{}\\fR", escaped(&plain(parts)))),
            Inline::Link { to, text } => {
                gather(text, out);
                if let Some(name) = to.split('#').next().and_then(|file| file.strip_suffix(".md")) {
                    out.push_str(&format!(", muster\\-{}(7)", escaped(name)));
                }
            }
            Inline::Picture { about, .. } => out.push_str(&format!("[{}]", escaped(about))),
        }
    }
}

/// Text in which roff sees nothing but text; within a line.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\(ga").replace('\n', " ")
}

/// The same for a whole line.
fn roff(line: &str) -> String {
    let text = escaped(line);
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text).replace('"', "\\(dq"))
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn roff_sees_only_text() {
        assert_eq!((roff(".x -\\"), roff("'")), ("\\&.x \\-\\e".into(), "\\&'".into()));
        let mut out = String::new();
        let source = "## A \"b\"\n\n.TH x `--y`\n\n- z [w](limits.md)\n\n```\n.so /etc/passwd\n```\n\n| a | b |\n|--|--|\n| c | d |\n";
        parse(source, &str::to_owned).iter().for_each(|block| write(block, &mut out));
        assert_eq!(
            out,
            ".SH \"A \\(dqb\\(dq\"\n.PP\n\\&.TH x \\fB\\-\\-y\\fR\n.IP \\(bu 2\nz w, muster\\-limits(7)\n.PP\n.RS 4\n.EX\n\\&.so /etc/passwd\n.EE\n.RE\n.TP\nc\nd\n"
        );
    }

    #[test]
    fn every_guide_has_a_page() {
        for guide in GUIDES {
            let page = man(guide);
            assert!(page.starts_with(".TH \"MUSTER\\-") && page.contains(".SH NAME\n"), "{}", guide.name);
            for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
                let known = [".TH ", ".SH ", ".SS ", ".PP", ".IP ", ".RS", ".RE", ".EX", ".EE", ".TP", ".br"];
                assert!(known.iter().any(|request| line.starts_with(request)), "{}: {line}", guide.name);
            }
        }
    }
}
