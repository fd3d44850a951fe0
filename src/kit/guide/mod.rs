//! The guides: what the product's documentation says, written once, as Markdown in `templates/guides`, and shown as pages of
//! the console, as text in a terminal, for `man`, and as plain files.
//!
//! A guide may name in double braces what only the site knows (`console`, `gate`, `folder`, `hosts`, `tenant`) and every
//! bound of `facts`, so that no number in a guide can differ from the one in force.
//!
//! Invariant: of a guide no markup reaches a page but what `html` writes, and no link leaves the site.
//! Invariant: what a guide names exists: links, headings, commands, keys of the configuration and bounds are tested.

mod facts;
mod html;
mod man;
mod page;
mod parse;
mod search;
mod text;

#[cfg(test)]
pub(crate) mod proof;

use std::sync::LazyLock;

use super::Ctx;
use parse::{Block, plain};

pub use man::man;
pub use page::{guide_page, help_page};
pub use search::{Hit, Section, search};
pub use text::text;

/// Where the guides are.
pub const HELP: &str = "/help";

/// One guide.
#[derive(Debug)]
pub struct Guide {
    /// Its word in addresses, in file names and on the command line.
    pub name: &'static str,
    /// What it stands under.
    pub group: &'static str,
    /// The Markdown, with its placeholders.
    pub source: &'static str,
}

macro_rules! guide {
    ($group:literal, $name:literal) => {
        Guide {
            name: $name,
            group: $group,
            source: include_str!(concat!("../../../templates/guides/", $name, ".md")),
        }
    };
}

/// Every guide, in the order in which a new administrator needs them.
pub const GUIDES: &[Guide] = &[
    guide!("Start", "installation"),
    guide!("Start", "first-hour"),
    guide!("Start", "stack"),
    guide!("Fleet", "agents"),
    guide!("Fleet", "messages"),
    guide!("Fleet", "integration"),
    guide!("People and programs", "signing-in"),
    guide!("People and programs", "sign-on"),
    guide!("People and programs", "approvals"),
    guide!("People and programs", "tenants"),
    guide!("People and programs", "api"),
    guide!("Site", "security"),
    guide!("Site", "checks"),
    guide!("Site", "network"),
    guide!("Site", "configuration"),
    guide!("Site", "backups"),
    guide!("Site", "storage"),
    guide!("Site", "events"),
    guide!("Site", "limits"),
    guide!("Site", "troubleshooting"),
];

/// What only a site knows.
#[derive(Clone, Debug)]
pub struct Values(Vec<(&'static str, String)>);

impl Values {
    /// Words that stand for it, where no site is at hand.
    pub fn sample() -> Values {
        Values(vec![
            ("console", "https://HOST:8443".into()),
            ("gate", "HOST:8883".into()),
            ("folder", "./muster-data".into()),
            ("hosts", "HOST".into()),
            ("tenant", "TENANT".into()),
        ])
    }

    /// Those of this site, for who asks.
    pub fn of(ctx: &Ctx<'_>) -> Values {
        let settings = &ctx.site.settings;
        Values(vec![
            ("console", settings.console()),
            ("gate", settings.gate()),
            ("folder", ctx.site.folder.display().to_string()),
            ("hosts", settings.hosts.join(", ")),
            ("tenant", ctx.tenant.to_string()),
        ])
    }

    /// The text with every placeholder filled; one that nobody knows stays, and a test finds it.
    fn fill(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else { break };
            out.push_str(before);
            let known = self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
            match known.or_else(|| facts::fact(name)) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("{{{{{name}}}}}")),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

impl Guide {
    /// The guide with this name.
    pub fn find(name: &str) -> Option<&'static Guide> {
        GUIDES.iter().find(|guide| guide.name == name)
    }

    /// What it is called.
    pub fn title(&self) -> &'static str {
        self.source.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or(self.name)
    }

    /// Its first paragraph, which says what it is for.
    pub fn about(&self) -> String {
        let first = self.read().iter().find_map(|block| match block {
            Block::Paragraph(line) => Some(plain(line)),
            _ => None,
        });
        first.unwrap_or_default()
    }

    /// The Markdown, filled, without pictures, which are only in the console.
    pub fn markdown(&self, values: &Values) -> String {
        let text = values.fill(&self.whole());
        text.split("\n\n").filter(|part| !part.starts_with("![")).collect::<Vec<_>>().join("\n\n")
    }

    fn blocks(&self, values: &Values) -> Vec<Block> {
        parse::parse(&self.whole(), &|text| values.fill(text))
    }

    /// The blocks, where no site is at hand.
    fn read(&self) -> &'static [Block] {
        static ALL: LazyLock<Vec<Vec<Block>>> =
            LazyLock::new(|| GUIDES.iter().map(|guide| guide.blocks(&Values::sample())).collect());
        let at = GUIDES.iter().position(|guide| guide.name == self.name);
        at.and_then(|at| ALL.get(at)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The source, with what is made from the reference of the configuration.
    fn whole(&self) -> String {
        match self.name {
            "configuration" => format!("{}\n{}", self.source, reference()),
            _ => self.source.to_owned(),
        }
    }

    /// Headings below the title: how deep, the identifier, the text.
    pub fn headings(&self) -> Vec<(u8, &'static str, String)> {
        self.read()
            .iter()
            .filter_map(|block| match block {
                Block::Heading { level, id, text } if *level > 1 => Some((*level, id.as_str(), plain(text))),
                _ => None,
            })
            .collect()
    }
}

/// The reference of the configuration, a part for each section.
fn reference() -> String {
    let (mut out, mut about, mut last) = (String::new(), String::new(), "");
    // What stands before the first section is said by the guide.
    for part in include_str!("../../../config/muster.toml").trim_end().split("\n\n").skip(1) {
        let Some(section) = part.lines().find_map(|line| line.strip_prefix('[')?.strip_suffix(']')) else {
            about = format!("{part}\n\n");
            continue;
        };
        let section = if section.starts_with("agent.commands.") { "agent.commands" } else { section };
        match section == last {
            true => out.push('\n'),
            false if last.is_empty() => out.push_str(&format!("## Section {section}\n\n```toml\n")),
            false => out.push_str(&format!("```\n\n## Section {section}\n\n```toml\n")),
        }
        out.push_str(&std::mem::take(&mut about));
        out.push_str(part);
        out.push('\n');
        last = section;
    }
    out.push_str("```\n");
    out
}
