//! A guide as a page: a card for each part of it, every text escaped, nothing that the strict policy would refuse.

use std::fmt::Write as _;

use super::parse::{Block, Inline};
use crate::kit::chart::escape;

/// The whole guide without its title, which the page has.
pub(super) fn html(blocks: &[Block], assets: &str) -> String {
    let mut out = Writer { out: String::new(), assets };
    let mut open = false;
    for block in blocks {
        match block {
            Block::Heading { level: 1, .. } => {}
            Block::Heading { level: 2, id, text } => {
                out.close(open);
                out.say(&format!(
                    "<section class=\"card\" aria-labelledby=\"{id}\"><header class=\"card-head\"><h2 id=\"{id}\">"
                ));
                out.line(text);
                out.say(&format!(
                    "</h2><a class=\"anchor no-print\" href=\"#{id}\" aria-label=\"Link to this part\">#</a></header><div class=\"card-body stack prose\">"
                ));
                open = true;
            }
            block => {
                if !open {
                    out.say("<section class=\"card\"><div class=\"card-body stack prose\">");
                    open = true;
                }
                out.block(block);
            }
        }
    }
    out.close(open);
    out.out
}

/// Where a link of the source leads in the console; nowhere for one that would leave the site.
pub(super) fn target(to: &str) -> Option<String> {
    if to.starts_with('#') || to.starts_with('/') && !to.starts_with("//") {
        return Some(to.to_owned());
    }
    let (file, part) = to.split_once('#').unwrap_or((to, ""));
    let name = file.strip_suffix(".md").filter(|name| !name.contains(['/', ':']))?;
    Some(if part.is_empty() { format!("/help/{name}") } else { format!("/help/{name}#{part}") })
}

struct Writer<'a> {
    out: String,
    assets: &'a str,
}

impl Writer<'_> {
    fn say(&mut self, html: &str) {
        self.out.push_str(html);
    }

    fn close(&mut self, open: bool) {
        if open {
            self.say("</div></section>\n");
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Heading { id, text, .. } => {
                let _ = write!(self.out, "<h3 id=\"{id}\">");
                self.line(text);
                self.say("</h3>");
            }
            Block::Paragraph(line) => match line.as_slice() {
                [Inline::Picture { name, about }] => self.picture(name, about),
                line => {
                    self.say("<p>");
                    self.line(line);
                    self.say("</p>");
                }
            },
            Block::Code { text, .. } => {
                let _ = write!(
                    self.out,
                    "<pre class=\"code\" tabindex=\"0\"><code>{}</code></pre>",
                    escape(text)
                );
            }
            Block::List { first, items } => {
                let tag = if first.is_some() { "ol" } else { "ul" };
                let _ = write!(self.out, "<{tag}>");
                for item in items {
                    self.say("<li>");
                    match item.as_slice() {
                        [Block::Paragraph(line)] => self.line(line),
                        blocks => blocks.iter().for_each(|block| self.block(block)),
                    }
                    self.say("</li>");
                }
                let _ = write!(self.out, "</{tag}>");
            }
            Block::Table { head, rows } => {
                self.say("<div class=\"table-wrap\" tabindex=\"0\"><table class=\"table\"><thead><tr>");
                for cell in head {
                    self.say("<th scope=\"col\">");
                    self.line(cell);
                    self.say("</th>");
                }
                self.say("</tr></thead><tbody>");
                for row in rows {
                    self.say("<tr>");
                    for cell in row {
                        self.say("<td class=\"wrap\">");
                        self.line(cell);
                        self.say("</td>");
                    }
                    self.say("</tr>");
                }
                self.say("</tbody></table></div>");
            }
        }
        self.out.push('\n');
    }

    fn line(&mut self, line: &[Inline]) {
        for part in line {
            match part {
                Inline::Text(text) => self.out.push_str(&escape(text)),
                Inline::Code(text) => {
                    let _ = write!(self.out, "<code>{}</code>", escape(text));
                }
                Inline::Strong(parts) => self.wrapped("b", parts),
                Inline::Emphasis(parts) => self.wrapped("em", parts),
                Inline::Link { to, text } => match target(to) {
                    Some(to) => {
                        let _ = write!(self.out, "<a class=\"link\" href=\"{}\">", escape(&to));
                        self.line(text);
                        self.say("</a>");
                    }
                    None => self.line(text),
                },
                Inline::Picture { name, about } => self.picture(name, about),
            }
        }
    }

    fn wrapped(&mut self, tag: &str, parts: &[Inline]) {
        let _ = write!(self.out, "<{tag}>");
        self.line(parts);
        let _ = write!(self.out, "</{tag}>");
    }

    /// `name-light.webp` stands for both themes.
    fn picture(&mut self, name: &str, about: &str) {
        let about = escape(about);
        for theme in ["light", "dark"] {
            let file = escape(&name.replace("-light.", &format!("-{theme}.")));
            let _ = write!(
                self.out,
                "<img class=\"shot {theme}\" src=\"{}/guides/{file}\" alt=\"{about}\" width=\"1200\" height=\"750\" loading=\"lazy\">",
                self.assets
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn whatever_the_source_says_no_markup_comes_of_it() {
        let source = "# T\n\nx <img src=y onerror=z> [a](javascript:b) [c](https://d.example) [e](//f) [g](h.md#i)\n\n## \"<b>\" ' & j\n\n`<k>` \n\n```\n</code><l>\n```\n\n| <m> |\n|--|\n| \"n\" |\n";
        let html = html(&parse(source, &str::to_owned), "/static/x");
        for forbidden in ["<img", "<b>", "<k>", "<l>", "<m>", "javascript:", "://", "href=\"//", "style="] {
            assert!(!html.contains(forbidden), "{forbidden}: {html}");
        }
        assert!(html.contains("<a class=\"link\" href=\"/help/h#i\">g</a>"), "{html}");
        assert!(html.contains("<h2 id=\"b-j\">&quot;&lt;b&gt;&quot; &#39; &amp; j</h2>"), "{html}");
        assert_eq!(html.matches("<section").count(), html.matches("</section>").count());
    }

    #[test]
    fn pictures_have_both_themes() {
        let html = html(
            &parse("![The _first_ screen](../../static/guides/home-light.webp)\n", &str::to_owned),
            "/s",
        );
        assert!(html.contains("src=\"/s/guides/home-dark.webp\" alt=\"The first screen\""), "{html}");
    }
}
