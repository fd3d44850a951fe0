//! The catalogue of events as a page of the help.

use askama::Template;

use super::super::catalogue;
use crate::base::Result;
use crate::kit::{Category, Ctx, EventKind, PageRequest, Reply, Shell, Weight, html};

/// Kinds of events under what they are about.
struct Group {
    category: Category,
    kinds: Vec<&'static EventKind>,
}

#[derive(Template)]
#[template(path = "help/events.html")]
struct EventsPage {
    shell: Shell,
    groups: Vec<Group>,
    /// Whether names lead to their entries.
    linked: bool,
}

/// Shows it.
pub(super) fn page(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    html(&EventsPage {
        shell: Shell::new(ctx, request, "Events of the audit trail", "/audit"),
        groups: groups(&catalogue::kinds(ctx)),
        linked: ctx.actor.may("audit.read"),
    })
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
        for theme in ["light", "dark"] {
            let shell = Shell { theme, ..proof::shell("Events of the audit trail", "/audit") };
            let page = EventsPage { shell, groups: groups(&kinds), linked: true };
            let html = proof::page(&format!("help-events-{theme}"), &page);
            assert!(kinds.iter().all(|kind| html.contains(kind.name)));
            assert!(html.contains("/audit?event=audit.exported"));
        }
    }
}
