//! The guides in the console, through a browser's requests.

use std::collections::BTreeSet;

use muster::kit::guide::GUIDES;

use crate::harness::Muster;

/// Addresses of this site that a page leads to.
fn links(page: &str) -> BTreeSet<String> {
    let of = |attribute: &str| {
        page.split(attribute)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let all = of("href=\"/").into_iter().map(|link| format!("/{}", link.replace("&amp;", "&")));
    all.filter(|link| !link.starts_with("/static/")).collect()
}

#[test]
fn every_guide_opens_and_every_link_of_it_leads_somewhere() {
    let muster = Muster::start();
    let owner = muster.owner();
    let (status, list) = owner.get("/help");
    assert_eq!(status, 200);
    let mut pages = BTreeSet::new();
    for guide in GUIDES {
        let path = format!("/help/{}", guide.name);
        assert!(list.contains(&format!("href=\"{path}\"")), "{path} is not in the list");
        let (status, page) = owner.get(&path);
        assert_eq!(status, 200, "{path}");
        assert!(page.contains(&format!("<h1>{}</h1>", guide.title())), "{path}");
        assert!(!page.contains("{{"), "{path} has an empty placeholder");
        for (_, id, _) in guide.headings() {
            assert!(page.contains(&format!(" id=\"{id}\"")), "{path}#{id}");
        }
        pages.extend(links(&page));
    }
    for link in pages {
        let (path, part) = link.split_once('#').unwrap_or((&link, ""));
        let (status, page) = owner.get(path);
        assert_eq!(status, 200, "{link}");
        let found = part.is_empty() || page.contains(&format!(" id=\"{part}\""));
        assert!(found || !path.starts_with("/help/"), "{link} leads to no heading");
    }
    assert_eq!(owner.get("/help/no-such").0, 404);
    assert_eq!(muster.browser().get("/help").0, 303, "a stranger signs in first");
}

#[test]
fn search_works_by_plain_requests_and_leads_to_headings() {
    let muster = Muster::start();
    let owner = muster.owner();
    let found = |query: &str| owner.get(&format!("/help?q={query}")).1;
    let first = |page: &str| {
        let list = page.split("<ol ").nth(1).expect("a list of hits");
        list.split("href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
    };
    let page = found("recovery+key");
    assert_eq!(first(&page), "/help/backups#the-recovery-key");
    assert!(page.contains("<mark>recovery</mark> <mark>key</mark>"), "words are marked");
    // Operations and events are found too, and the address has what it leads to.
    for (query, href) in
        [("agents.quarantine", "/help/api#agents.quarantine"), ("identity.signed_in", "/help/events#")]
    {
        let page = found(query);
        assert!(page.contains(&format!("href=\"{href}")), "{query}");
    }
    assert!(owner.get("/help/api").1.contains("id=\"agents.quarantine\""));
    let page = found("%3Cscript%3Ealert(1)%3C/script%3E+%22onx%3D");
    assert!(!page.contains("<script>alert") && !page.contains("\"onx="));
    assert!(found("zyzzyva").contains("Nothing has these words"));
    assert!(found(&"a".repeat(5_000)).contains("Nothing has these words"));
}

#[test]
fn a_screen_leads_to_the_part_that_explains_it_and_live_parts_are_there() {
    let muster = Muster::start();
    let owner = muster.owner();
    let (_, page) = owner.get("/backups");
    assert!(
        page.contains("href=\"/help/backups#what-happens-by-itself\" aria-label=\"Help with this page\"")
    );
    assert!(
        owner.get("/help/backups").1.contains(&muster.folder.display().to_string()),
        "the folder of this site"
    );
    assert!(
        owner.get("/help/events").1.contains("id=\"access\"")
            || owner.get("/help/events").1.contains("audit?event=")
    );
    let (_, messages) = owner.get("/help/messages");
    assert!(messages.contains("What an agent says") && messages.contains("muster/v1/join/up/request"));
    let (_, api) = owner.get("/help/api");
    for id in ["conflict", "step-up", "errors", "how-it-is-used"] {
        assert!(api.contains(&format!("id=\"{id}\"")), "{id}");
    }
}
