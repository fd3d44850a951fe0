//! The guides in the console, and which part of them explains which page.

use crate::base::Result;
use crate::capabilities::audit;
use crate::kit::guide::{Section, guide_page, help_page};
use crate::kit::{Ctx, Markup, PageRequest, Reply};

/// For each page of the console the part of a guide that explains it. A page without a line here fails a test.
pub(super) const SCREENS: &[(&str, &str)] = &[
    ("/", "/help/agents#health"),
    ("/account", "/help/signing-in#your-account"),
    ("/account/factors", "/help/signing-in#passkeys"),
    ("/account/roles", "/help/signing-in#what-you-may-do-once-you-are-in"),
    ("/agents", "/help/agents#the-list"),
    ("/agents/new", "/help/agents#enrol-a-machine"),
    ("/agents/{id}", "/help/agents#the-page-of-an-agent"),
    ("/audit", "/help/security#the-audit-trail"),
    ("/audit/retention", "/help/security#how-long-the-trail-is-kept"),
    ("/audit/{number}", "/help/security#the-audit-trail"),
    ("/backups", "/help/backups#what-happens-by-itself"),
    ("/backups/kit", "/help/backups#the-recovery-key"),
    ("/backups/time", "/help/backups#one-thing-as-it-was"),
    ("/clients", "/help/integration#mqtt-clients-that-are-no-agents"),
    ("/confirm", "/help/signing-in#why-you-are-asked-again"),
    ("/events", "/help/agents#events-of-agents"),
    ("/people", "/help/security#people"),
    ("/people/import", "/help/security#people-from-a-file"),
    ("/people/keys", "/help/integration#api-keys"),
    ("/people/keys/{id}", "/help/integration#api-keys"),
    ("/people/roles", "/help/security#roles"),
    ("/people/rules", "/help/security#rules-about-signing-in"),
    ("/people/sign-on", "/help/sign-on#what-it-does"),
    ("/people/{id}", "/help/security#people"),
    ("/secrets", "/help/security#secrets"),
    ("/settings", "/help/network#names-and-addresses"),
    ("/storage", "/help/storage#when-the-disk-fills"),
    ("/tasks", "/help/agents#tasks"),
    ("/tasks/{id}", "/help/agents#what-becomes-of-a-task"),
];

/// The list, or what is found for `?q=`: in guides, and among operations of the API and events of the audit trail.
pub(super) fn list(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let ops = ctx.site.ops().iter().map(|op| {
        let text = format!("{} Operation {}, needs {}.", op.doc, op.name, op.permission);
        let route = format!("{} /api/v1{}", format!("{:?}", op.method).to_uppercase(), op.path);
        Section::new("API", &route, &text, format!("/help/api#{}", op.name))
    });
    let events = audit::kinds(ctx).into_iter().map(|kind| {
        let href = format!("/help/events#{}", kind.category.word());
        Section::new("Events", kind.name, kind.means, href)
    });
    help_page(ctx, request, &ops.chain(events).collect::<Vec<_>>())
}

/// One guide.
pub(super) fn one(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let name = request.params.get("guide").map(String::as_str).unwrap_or_default();
    guide_page(ctx, request, name, Markup::default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::capabilities::ALL;
    use crate::kit::guide::Guide;
    use crate::kit::{Access, Pages};

    /// Pages that are no screens: fragments, what scripts are told, ways to another page, the help itself.
    fn is_screen(path: &str) -> bool {
        !path.ends_with("/passkey")
            && path != "/palette"
            && !path.starts_with("/account/link/")
            && !path.starts_with("/help")
    }

    #[test]
    fn every_screen_leads_to_the_part_of_a_guide_that_explains_it() {
        let mut pages = Pages::default();
        ALL.iter().for_each(|capability| capability.pages(&mut pages));
        let screens: BTreeSet<&str> = pages
            .pages
            .iter()
            .filter(|page| !page.form && page.access == Access::SignedIn && is_screen(page.path))
            .map(|page| page.path)
            .collect();
        let explained: BTreeSet<&str> = SCREENS.iter().map(|(path, _)| *path).collect();
        assert_eq!(screens, explained, "a page without a part of a guide, or the other way round");
        assert_eq!(explained.len(), SCREENS.len());
        for (path, help) in SCREENS {
            assert_eq!(pages.help(path), *help);
            let (name, part) = help.strip_prefix("/help/").and_then(|rest| rest.split_once('#')).unwrap();
            let guide = Guide::find(name).unwrap_or_else(|| panic!("{path}: no guide {name}"));
            assert!(guide.headings().iter().any(|(_, id, _)| *id == part), "{path}: {help} leads nowhere");
        }
    }
}
