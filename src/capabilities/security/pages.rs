//! Pages: the checks as one that can be printed, where the server connects, and what all of it means.

use askama::Template;

use super::controls::Catalogue;
use super::model::{Check, Found, Group, Posture, State};
use super::ops::{self, DestinationView, EgressView, RefusedView};
use crate::base::Result;
use crate::kit::{Ctx, Markup, Nothing, PageRequest, Pages, Reply, Shell, html};

/// Adds the routes.
pub(super) fn register(pages: &mut Pages) {
    pages.get("/security", show);
    pages.costs(10);
    pages.get("/security/egress", egress);
}

/// A check as it is shown.
struct Card {
    check: Check,
    sign: Markup,
    found: Vec<(Markup, Found)>,
    more: usize,
}

struct Part {
    id: String,
    title: &'static str,
    cards: Vec<Card>,
}

/// One number at the top; it narrows the page to its checks.
struct Tally {
    word: &'static str,
    sign: Markup,
    count: usize,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "security/checks.html")]
struct SecurityPage {
    shell: Shell,
    at: Markup,
    whole: bool,
    all: usize,
    tallies: Vec<Tally>,
    narrowed: bool,
    parts: Vec<Part>,
    catalogues: Vec<&'static str>,
    version: &'static str,
}

fn tone(state: State) -> &'static str {
    match state {
        State::Good => "ok",
        State::Unknown => "off",
        State::Attention => "warn",
        State::Bad => "crit",
    }
}

fn sign(state: State) -> Markup {
    Markup::glyph(tone(state), state.word())
}

impl SecurityPage {
    fn new(shell: Shell, posture: Posture, only: &str) -> SecurityPage {
        let counts = posture.counts;
        let tallies = State::ALL.map(|state| Tally {
            word: state.word(),
            sign: sign(state),
            count: counts.with(state),
            chosen: state.word() == only,
        });
        let narrowed = tallies.iter().any(|tally| tally.chosen);
        let all = posture.items.len();
        let mut cards: Vec<Card> = posture
            .items
            .into_iter()
            .filter(|check| !narrowed || check.state.word() == only)
            .map(|mut check| Card {
                sign: sign(check.state),
                found: std::mem::take(&mut check.found)
                    .into_iter()
                    .map(|one| (sign(one.state), one))
                    .collect(),
                more: 0,
                check,
            })
            .collect();
        for card in &mut cards {
            card.more = card.check.found_count - card.found.len();
        }
        let mut parts: Vec<Part> = Vec::new();
        for card in cards {
            let group: Group = card.check.group;
            match parts.iter_mut().find(|part| part.title == group.title()) {
                Some(part) => part.cards.push(card),
                None => parts.push(Part {
                    id: format!("{group:?}").to_lowercase(),
                    title: group.title(),
                    cards: vec![card],
                }),
            }
        }
        SecurityPage {
            shell,
            at: Markup::second(&posture.at),
            whole: posture.whole,
            all,
            tallies: tallies.into(),
            narrowed,
            parts,
            catalogues: Catalogue::ALL.map(Catalogue::edition).into(),
            version: posture.version,
        }
    }
}

fn show(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let posture = ops::checks(ctx, Nothing {})?;
    let shell = Shell::new(ctx, request, "Security", "/security");
    html(&SecurityPage::new(shell, posture, request.asked("state")))
}

/// A place that may be connected to, as a row.
struct PlaceRow {
    place: DestinationView,
    used: Markup,
}

struct RefusedRow {
    refused: RefusedView,
    at: Markup,
}

#[derive(Template)]
#[template(path = "security/egress.html")]
struct EgressPage {
    shell: Shell,
    places: Vec<PlaceRow>,
    refused: Vec<RefusedRow>,
}

impl EgressPage {
    fn new(shell: Shell, view: EgressView, now: crate::base::Timestamp) -> EgressPage {
        let place = |place: DestinationView| PlaceRow { used: Markup::ago(place.used, now), place };
        let refused = |one: RefusedView| RefusedRow { at: Markup::ago(Some(one.at), now), refused: one };
        EgressPage {
            shell,
            places: view.items.into_iter().map(place).collect(),
            refused: view.refused.into_iter().map(refused).collect(),
        }
    }
}

fn egress(ctx: &Ctx<'_>, request: &PageRequest) -> Result<Reply> {
    let view = ops::egress(ctx, Nothing {})?;
    let shell = Shell::new(ctx, request, "Where the server connects", "/security");
    html(&EgressPage::new(shell, view, ctx.now))
}

#[cfg(test)]
mod tests {
    use super::super::facts::Facts;
    use super::super::model::Counts;
    use super::super::rules::RULES;
    use super::super::{controls, tests as sample};
    use super::*;
    use crate::kit::proof;

    fn posture(facts: &Facts) -> Posture {
        let items: Vec<Check> = RULES.iter().map(|rule| rule.check(facts)).collect();
        let (site, version) = ("Plant 03".to_owned(), "0.1.0");
        let (at, counts, catalogues) = (facts.now, Counts::of(&items), controls::editions());
        Posture { site, at, version, whole: true, counts, items, catalogues }
    }

    #[test]
    fn the_page_in_its_states() {
        let mut shell = proof::shell("Security", "/security");
        shell.live = String::new();
        let bad = posture(&sample::weak());
        let page = proof::page("security", &SecurityPage::new(shell.clone(), bad.clone(), ""));
        assert!(page.contains("ISO A.8.5") && page.contains("Omar"), "{page}");
        let only = proof::page("security-bad", &SecurityPage::new(shell.clone(), bad, "bad"));
        assert!(only.len() < page.len() && only.contains("Show all"));
        let good =
            proof::page("security-good", &SecurityPage::new(shell.clone(), posture(&sample::strong()), ""));
        assert!(!good.contains("Omar"));
        shell.theme = "dark";
        proof::page("security-dark", &SecurityPage::new(shell, posture(&sample::weak()), ""));
    }

    #[test]
    fn the_page_of_places_is_empty_at_first_and_says_who_allowed_what() {
        let shell = proof::shell("Where the server connects", "/security");
        let now = crate::base::Timestamp::from_milliseconds(1_790_000_000_000);
        let none = EgressView { items: Vec::new(), refused: Vec::new() };
        let page = proof::page("egress-empty", &EgressPage::new(shell.clone(), none, now));
        assert!(page.contains("connects nowhere"), "{page}");
        let purposes = vec![ops::PurposeView {
            what: "backups to `vault`".into(),
            by: "usr_1".into(),
            by_name: "Inès <Moreau>".into(),
            since: now,
        }];
        let (host, port) = ("vault.lan".to_owned(), 22);
        let items = vec![DestinationView { host, port, purposes, connections: 3, used: Some(now) }];
        let refused = vec![RefusedView { host: "example.org".into(), port: 443, attempts: 2, at: now }];
        let page = proof::page("egress", &EgressPage::new(shell, EgressView { items, refused }, now));
        assert!(
            page.contains("vault.lan") && page.contains("Inès &#60;Moreau") && page.contains("example.org")
        );
    }
}
