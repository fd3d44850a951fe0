//! The catalogue of events, as readers see it; the capabilities declare it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::{Page, Result};
use crate::kit::{Category, Ctx, EventKind, Nothing, PROGRAM_EVENTS, Weight};

/// One kind of event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventView {
    /// `noun.past`.
    pub name: String,
    /// What it is about.
    pub category: Category,
    /// How much a reader should mind.
    pub weight: Weight,
    /// What it means.
    pub means: String,
    /// The fields that its detail may have.
    pub fields: Vec<String>,
}

/// Everything that may ever stand in the log of this site, in the order of the capabilities.
pub(super) fn kinds(ctx: &Ctx<'_>) -> Vec<&'static EventKind> {
    let own = ctx.site.capabilities().iter().flat_map(|capability| capability.events());
    own.chain(PROGRAM_EVENTS).collect()
}

/// Lists every kind of event that the log may hold.
pub fn events(ctx: &Ctx<'_>, _: Nothing) -> Result<Page<EventView>> {
    ctx.require("audit.read")?;
    let view = |kind: &EventKind| EventView {
        name: kind.name.to_owned(),
        category: kind.category,
        weight: kind.weight,
        means: kind.means.to_owned(),
        fields: kind.fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    Ok(Page { items: kinds(ctx).into_iter().map(view).collect(), next: None })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::capabilities::ALL;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                sources(&path, found);
            } else if name.ends_with(".rs") && !name.contains("tests") {
                found.push(path);
            }
        }
    }

    /// The first text in each `tell(`, where it is a name.
    fn told(code: &str) -> Vec<String> {
        let name = |rest: &str| {
            let text = rest.trim_start().strip_prefix('"')?.split('"').next()?;
            let sound = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
            (text.contains('.') && text.chars().all(sound)).then(|| text.to_owned())
        };
        code.split("tell(").skip(1).filter_map(name).collect()
    }

    #[test]
    fn every_event_is_declared_once_and_every_declared_one_is_told() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let mut everything = String::new();
        let mut names = BTreeMap::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            if file.ends_with("events.rs") || file.ends_with("kit/event.rs") {
                continue;
            }
            told(&code).into_iter().for_each(|name| drop(names.insert(name, file.clone())));
            everything.push_str(&code);
        }
        assert!(names.len() > 40, "the sources are read: {}", names.len());
        let mut declared = BTreeSet::new();
        let by_program = PROGRAM_EVENTS.iter().map(|kind| ("keys", kind));
        let by_all = ALL.iter().flat_map(|c| c.events().iter().map(|kind| (c.name(), kind)));
        for (noun, kind) in by_all.chain(by_program) {
            assert!(declared.insert(kind.name), "`{}` is declared twice", kind.name);
            let own = kind.name.strip_prefix(noun).is_some_and(|rest| rest.starts_with('.'));
            assert!(own, "`{}` is declared by `{noun}`", kind.name);
            assert!(kind.means.len() > 10 && !kind.means.ends_with('.'), "`{}` has no meaning", kind.name);
            assert!(
                everything.contains(&format!("\"{}\"", kind.name)),
                "nobody tells `{}`: take it out of the events of `{noun}`",
                kind.name
            );
        }
        for (name, file) in names {
            assert!(
                declared.contains(name.as_str()),
                "`{name}` is told in `{}` and declared nowhere: add it to `events.rs` of its capability",
                file.display()
            );
        }
    }

    #[test]
    fn names_are_found_where_they_are_told() {
        assert_eq!(
            told("change.tell(\n   \"a.b\", x); y.tell(event); z.tell(\"c.d_e\", 1)"),
            ["a.b", "c.d_e"]
        );
    }
}
