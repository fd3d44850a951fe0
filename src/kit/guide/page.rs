//! The guides in the console: the list with its search, and one guide.

use askama::Template;

use super::parse::{Block, plain};
use super::{GUIDES, Guide, HELP, Hit, Section, Values, html, search};
use crate::base::{Error, Result};
use crate::kit::{Ctx, Markup, PageRequest, Reply, Shell, html as answer};

/// Characters of a query that are looked at.
const QUERY_CHARACTERS_MAX: usize = 200;

/// A row of a table of contents, or of the list of guides.
struct Row {
    href: String,
    title: String,
    about: String,
    deep: bool,
}

#[derive(Template)]
#[template(path = "help/guide.html")]
struct GuidePage {
    shell: Shell,
    contents: Vec<Row>,
    body: Markup,
    live: Markup,
    next: Option<Row>,
}

/// A guide, and below it what is made of the site at that moment.
pub fn guide_page(ctx: &Ctx<'_>, request: &PageRequest, name: &str, live: Markup) -> Result<Reply> {
    let guide = Guide::find(name).ok_or_else(|| Error::not_found("guide", name))?;
    answer(&page(Shell::new(ctx, request, guide.title(), HELP), guide, &Values::of(ctx), live))
}

fn page(shell: Shell, guide: &Guide, values: &Values, live: Markup) -> GuidePage {
    let blocks = guide.blocks(values);
    let contents = blocks.iter().filter_map(|block| match block {
        Block::Heading { level, id, text } if *level > 1 => {
            Some(Row { href: format!("#{id}"), title: plain(text), about: String::new(), deep: *level > 2 })
        }
        _ => None,
    });
    let at = GUIDES.iter().position(|other| other.name == guide.name);
    GuidePage {
        contents: contents.collect(),
        body: Markup(html::html(&blocks, &shell.assets)),
        next: at.and_then(|at| GUIDES.get(at + 1)).map(row),
        live,
        shell,
    }
}

fn row(guide: &Guide) -> Row {
    Row {
        href: format!("{HELP}/{}", guide.name),
        title: guide.title().to_owned(),
        about: guide.about(),
        deep: false,
    }
}

#[derive(Template)]
#[template(path = "help/index.html")]
struct HelpPage {
    shell: Shell,
    query: String,
    hits: Vec<Hit>,
    groups: Vec<(&'static str, Vec<Row>)>,
}

/// The list of guides, or what is found in them and in what stands beside them.
pub fn help_page(ctx: &Ctx<'_>, request: &PageRequest, beside: &[Section]) -> Result<Reply> {
    let query: String = request.asked("q").chars().take(QUERY_CHARACTERS_MAX).collect();
    answer(&index(Shell::new(ctx, request, "Help", HELP), query, beside))
}

fn index(shell: Shell, query: String, beside: &[Section]) -> HelpPage {
    let mut groups: Vec<(&'static str, Vec<Row>)> = Vec::new();
    for guide in GUIDES {
        match groups.iter_mut().find(|(group, _)| *group == guide.group) {
            Some((_, rows)) => rows.push(row(guide)),
            None => groups.push((guide.group, vec![row(guide)])),
        }
    }
    HelpPage { hits: search(&query, beside), shell, query, groups }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::proof;

    #[test]
    fn every_guide_keeps_the_rules_of_pages() {
        for theme in ["light", "dark"] {
            for guide in GUIDES {
                let shell = Shell { theme, ..proof::shell(guide.title(), HELP) };
                // Addresses of this site are the only ones that a page of the help may name.
                let mut values = Values::sample();
                values.0.iter_mut().for_each(|(_, value)| *value = value.replace("https://", ""));
                let html = proof::page(
                    &format!("help-{}-{theme}", guide.name),
                    &page(shell, guide, &values, Markup::default()),
                );
                for (_, id, _) in guide.headings() {
                    assert_eq!(html.matches(&format!(" id=\"{id}\"")).count(), 1, "{}: {id}", guide.name);
                    assert!(html.contains(&format!("href=\"#{id}\"")), "{}: {id}", guide.name);
                }
            }
            let shell = || Shell { theme, ..proof::shell("Help", HELP) };
            let html = proof::page(&format!("help-index-{theme}"), &index(shell(), String::new(), &[]));
            assert!(GUIDES.iter().all(|guide| html.contains(&format!("\"/help/{}\"", guide.name))));
            let found = index(shell(), "<restore> \"x\"".into(), &[]);
            let html = proof::page(&format!("help-found-{theme}"), &found);
            assert!(html.contains("<mark>Restore</mark>") && !html.contains("<restore>"));
            let html = proof::page(&format!("help-none-{theme}"), &index(shell(), "zyzzyva".into(), &[]));
            assert!(html.contains("Nothing"));
        }
    }
}
