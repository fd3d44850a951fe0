//! What tests everywhere ask of the guides, and what every guide must obey.

use std::collections::BTreeSet;

use super::html::target;
use super::parse::{Block, Inline, plain};
use super::{GUIDES, Guide, Values};

/// Every block of code, with its language.
pub(crate) fn code_blocks(guide: &Guide) -> Vec<(String, String)> {
    let mut out = Vec::new();
    walk(guide.read(), &mut |block| {
        if let Block::Code { language, text } = block {
            out.push((language.clone(), text.clone()));
        }
    });
    out
}

/// Everything that stands in the text as code.
pub(crate) fn code_spans(guide: &Guide) -> Vec<String> {
    let mut out = Vec::new();
    parts(guide, &mut |part| {
        if let Inline::Code(text) = part {
            out.push(text.clone());
        }
    });
    out
}

/// Whether the guide says this, word for word, in one of its paragraphs, cells or lines.
pub(crate) fn says(name: &str, words: &str) -> bool {
    let mut met = false;
    walk(Guide::find(name).expect("a guide").read(), &mut |block| {
        lines(block, &mut |line| met |= plain(line).contains(words));
    });
    met
}

fn walk(blocks: &[Block], see: &mut dyn FnMut(&Block)) {
    for block in blocks {
        see(block);
        if let Block::List { items, .. } = block {
            items.iter().for_each(|item| walk(item, see));
        }
    }
}

fn lines(block: &Block, see: &mut dyn FnMut(&[Inline])) {
    match block {
        Block::Heading { text, .. } | Block::Paragraph(text) => see(text),
        Block::Table { head, rows } => head.iter().chain(rows.iter().flatten()).for_each(|cell| see(cell)),
        Block::Code { .. } | Block::List { .. } => {}
    }
}

fn parts(guide: &Guide, see: &mut dyn FnMut(&Inline)) {
    fn into(parts: &[Inline], see: &mut dyn FnMut(&Inline)) {
        for part in parts {
            see(part);
            if let Inline::Strong(parts) | Inline::Emphasis(parts) | Inline::Link { text: parts, .. } = part {
                into(parts, see);
            }
        }
    }
    walk(guide.read(), &mut |block| lines(block, &mut |line| into(line, see)));
}

/// What the frame of every page has already.
const TAKEN: [&str; 9] = [
    "main",
    "live",
    "live-badge",
    "toasts",
    "palette",
    "palette-input",
    "palette-results",
    "keys",
    "on-this-page",
];

#[test]
fn every_guide_has_a_title_says_what_it_is_for_and_names_no_heading_of_the_frame() {
    let mut titles = BTreeSet::new();
    for guide in GUIDES {
        assert!(titles.insert(guide.title()), "{} twice", guide.title());
        assert!(guide.about().len() > 30, "{}: {}", guide.name, guide.about());
        assert!(matches!(&guide.read()[0], Block::Heading { level: 1, .. }), "{}", guide.name);
        for (_, id, heading) in guide.headings() {
            assert!(
                !id.is_empty() && !TAKEN.contains(&id) && id != "keys-title",
                "{}: {heading}",
                guide.name
            );
        }
        let titles = guide.read().iter().filter(|block| matches!(block, Block::Heading { level: 1, .. }));
        assert_eq!(titles.count(), 1, "{}", guide.name);
    }
}

#[test]
fn every_file_is_a_guide_and_every_placeholder_is_filled() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/guides");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".md").to_owned())
        .collect();
    assert_eq!(files, GUIDES.iter().map(|guide| guide.name.to_owned()).collect());
    let mut used = BTreeSet::new();
    for guide in GUIDES {
        let text = guide.markdown(&Values::sample());
        let open = text.split("{{").nth(1).map(|rest| &rest[..rest.len().min(30)]);
        assert_eq!(open, None, "{}", guide.name);
        used.extend(guide.source.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()));
    }
    let idle: Vec<&str> =
        super::facts::FACTS.iter().map(|(name, _)| *name).filter(|name| !used.contains(name)).collect();
    assert!(idle.is_empty(), "no guide says {idle:?}");
}

#[test]
fn every_link_between_guides_leads_to_a_heading() {
    let mut seen = 0;
    for guide in GUIDES {
        parts(guide, &mut |part| {
            let Inline::Link { to, .. } = part else { return };
            let leads = target(to).unwrap_or_else(|| panic!("{}: {to} leaves the site", guide.name));
            let (path, part) = leads.split_once('#').unwrap_or((&leads, ""));
            let other = match path.strip_prefix("/help/") {
                Some(name) => Guide::find(name).unwrap_or_else(|| panic!("{}: no guide {to}", guide.name)),
                None if path.is_empty() => guide,
                // A page of the console; the stories open it.
                None => return,
            };
            // The reference and the catalogue have headings of their own.
            let made = ["api", "events"].contains(&other.name);
            let found = part.is_empty() || made || other.headings().iter().any(|(_, id, _)| *id == part);
            assert!(found, "{}: {to}", guide.name);
            seen += 1;
        });
    }
    assert!(seen > 20, "{seen} links");
}

#[test]
fn every_picture_is_there_in_both_themes_and_is_small() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("static/guides");
    let mut named = BTreeSet::new();
    for guide in GUIDES {
        parts(guide, &mut |part| {
            if let Inline::Picture { name, about } = part {
                assert!(about.len() > 20, "{}: {name} says nothing to who cannot see it", guide.name);
                named.extend([name.clone(), name.replace("-light.", "-dark.")]);
            }
        });
    }
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let bytes = entry.metadata().unwrap().len();
        assert!((1..=150_000).contains(&bytes), "{:?}: {bytes} bytes", entry.file_name());
        there.insert(entry.file_name().to_string_lossy().into_owned());
    }
    assert_eq!(named, there);
}

#[test]
fn plain_values_are_filled_without_becoming_markup() {
    let mut values = Values::sample();
    values.0[0].1 = "<b>*x*</b>".into();
    let guide =
        Guide { name: "x", group: "", source: "# T\n\n{{console}} and `{{console}}`, {{nobody}}, {{open" };
    let blocks = guide.blocks(&values);
    let Block::Paragraph(line) = &blocks[1] else { panic!("{blocks:?}") };
    assert_eq!(plain(line), "<b>*x*</b> and <b>*x*</b>, {{nobody}}, {{open");
}
