//! The catalogue of events, below its guide.

use askama::Template;

use super::super::catalogue;
use crate::base::Result;
use crate::kit::guide::guide_page;
use crate::kit::{Category, Ctx, EventKind, Markup, PageRequest, Reply, Weight};

/// Kinds of events under what they are about.
struct Group {
    category: Category,
    kinds: Vec<&'static EventKind>,
}

#[derive(Template)]
#[template(path = "help/_events.html")]
struct EventsPart {
    groups: Vec<Group>,
    /// Whether names lead to their entries.
    linked: bool,
}

/// Shows it.
pub(super) fn page(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let part = EventsPart { groups: groups(&catalogue::kinds(ctx)), linked: ctx.actor.may("audit.read") };
    guide_page(ctx, request, "events", Markup(part.render()?))
}

fn groups(kinds: &[&'static EventKind]) -> Vec<Group> {
    let of = |category| kinds.iter().copied().filter(|kind| kind.category == category).collect();
    Category::ALL.into_iter().map(|category| Group { category, kinds: of(category) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capabilities::ALL;
    use crate::kit::proof;

    #[test]
    fn every_kind_stands_on_the_page() {
        let kinds: Vec<&EventKind> = ALL.iter().flat_map(|capability| capability.events()).collect();
        let html = proof::page("help-events-part", &EventsPart { groups: groups(&kinds), linked: true });
        assert!(kinds.iter().all(|kind| html.contains(kind.name)));
        assert!(html.contains("/audit?event=audit.exported"));
    }
}
