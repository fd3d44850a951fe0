//! The follower and the list over a site in a temporary folder.

use super::*;
use crate::base::Kind;
use crate::capabilities::identity::{login_link, session_actor, tests as identity};
use crate::kit::{Ctx, PageRequest, Reply, Request, Site};

/// Follows everything that is new, as the runner does.
fn follow_all(site: &Site, mut after: u64) -> u64 {
    let ctx = Ctx::system(site, "audit");
    for told in site.store.changes(after, 10_000).unwrap() {
        after = told.number;
        if !told.events.is_empty() {
            ctx.require("audit.follow").unwrap().write(|change| follow::follow(&ctx, change, &told)).unwrap();
        }
    }
    after
}

fn ask(filter: &str, after: Option<String>, limit: usize) -> AuditAsked {
    AuditAsked { filter: filter.into(), after, limit: Some(limit) }
}

#[test]
fn events_become_entries_once_newest_first_in_pages() {
    let (site, _folder, cookie) = identity::owned();
    for _ in 0..6 {
        login_link(&site).unwrap();
    }
    follow_all(&site, 0);
    // Following again from the start gives the same entries.
    follow_all(&site, 0);
    let actor = session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let ctx = Ctx::new(&site, actor, Request::default());

    let all = list(&ctx, ask("", None, 100)).unwrap();
    assert_eq!((all.items.len(), all.next), (7, None));
    let mut chain = Chain::genesis(site.tenant);
    for (n, entry) in all.items.iter().rev().enumerate() {
        chain = chain.next(entry);
        assert_eq!((entry.number, entry.chain), (n as u64 + 1, chain));
        assert_eq!(&find(&ctx, AuditNumber { number: entry.number }).unwrap(), entry);
    }
    assert_eq!(find(&ctx, AuditNumber { number: 8 }).unwrap_err().kind(), Kind::NotFound);
    let first = all.items.last().unwrap();
    assert_eq!((first.event.as_str(), first.name.as_str()), ("identity.set_up", "Inès Moreau"));
    assert_eq!(all.items[0].who(), "Muster");
    assert!(all.items.windows(2).all(|pair| pair[0].change > pair[1].change));

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = list(&ctx, ask("event:identity.link_made", after, 4)).unwrap();
        seen.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.len(), 6);
    assert_eq!(list(&ctx, ask("actor:\"inès moreau\"", None, 9)).unwrap().items.len(), 1);
    assert_eq!(list(&ctx, ask("", Some("x".into()), 9)).unwrap_err().kind(), Kind::Invalid);
    let nobody = Ctx::new(&site, crate::kit::Actor::Anonymous, Request::default());
    assert_eq!(list(&nobody, ask("", None, 9)).unwrap_err().kind(), Kind::Unauthenticated);
}

#[test]
fn the_page_renders_with_and_without_a_mistake() {
    let (site, _folder, cookie) = identity::owned();
    follow_all(&site, 0);
    let actor = session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let ctx = Ctx::new(&site, actor, Request::default());
    for (filter, status, part) in
        [("", 200, "identity.set_up"), ("nothing", 200, "Nothing matches"), ("\"open", 422, "quotation mark")]
    {
        let mut request = PageRequest::default();
        request.query.insert("filter".into(), filter.into());
        let Reply::Html(had, text) = pages::list(&ctx, &request).unwrap() else { panic!("not a page") };
        assert!(had == status && text.contains(part) && !text.contains("style="), "{filter}");
    }
}
