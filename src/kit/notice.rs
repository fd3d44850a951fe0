//! What every page says at its top while it lasts: the disk fills, a backup failed.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use super::{Markup, part};
use crate::base::TenantId;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is about something that already fails, rather than about what will.
    pub grave: bool,
    /// What a person reads, a sentence or two.
    pub text: String,
    /// Where more of it is told, and what can be done.
    pub href: &'static str,
    /// Who sees it.
    pub permission: &'static str,
}

/// A number behind an entry of the navigation: what waits for who may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The entry's path.
    pub path: &'static str,
    /// The live topic that renders it anew.
    pub topic: &'static str,
    /// Who sees it.
    pub permission: &'static str,
    /// What a person reads in its place: `3 wait for you`.
    pub words: &'static str,
    /// How many.
    pub count: usize,
}

impl Count {
    /// The places of a page where it stands.
    const PLACES: [&str; 2] = ["side", "sheet"];

    /// The number in one of these places; nothing is seen of none.
    pub fn markup(&self, place: &str) -> Markup {
        let id = self.id(place);
        Markup(match self.count {
            0 => format!("<span class=\"count\" id=\"{id}\"></span>"),
            count => format!(
                "<span class=\"count hot\" id=\"{id}\">{count}<span class=\"sr\"> {}</span></span>",
                self.words
            ),
        })
    }

    /// What its live topic sends.
    pub fn live(&self) -> String {
        Count::PLACES.map(|place| part(&self.id(place), &self.markup(place).0)).concat()
    }

    fn id(&self, place: &str) -> String {
        format!("count-{place}{}", self.path.replace('/', "-"))
    }
}

/// All of them, by tenant and path.
#[derive(Debug, Default)]
pub struct Counts(RwLock<BTreeMap<(TenantId, &'static str), Count>>);

impl Counts {
    /// Says it from now on, in place of what was said of the same entry before.
    pub fn say(&self, tenant: TenantId, count: Count) {
        self.0.write().insert((tenant, count.path), count);
    }

    /// Those of a tenant.
    pub fn of(&self, tenant: TenantId) -> Vec<Count> {
        self.0.read().iter().filter(|((of, _), _)| *of == tenant).map(|(_, count)| count.clone()).collect()
    }
}

/// All of them, each by the capability that says it.
#[derive(Debug, Default)]
pub struct Notices(RwLock<BTreeMap<&'static str, Notice>>);

impl Notices {
    /// Says it from now on, in place of what the capability said before; `None` takes it back.
    pub fn say(&self, capability: &'static str, notice: Option<Notice>) {
        let mut notices = self.0.write();
        match notice {
            Some(notice) => notices.insert(capability, notice),
            None => notices.remove(capability),
        };
    }

    /// Those that are said now, grave ones first.
    pub fn all(&self) -> Vec<Notice> {
        let mut all: Vec<Notice> = self.0.read().values().cloned().collect();
        all.sort_by_key(|notice| !notice.grave);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_in_both_places_and_is_gone_when_nothing_waits() {
        let counts = Counts::default();
        let tenant = TenantId::from_bits(1);
        let of = |count| Count { path: "/x", topic: "x", permission: "x.decide", words: "wait", count };
        counts.say(tenant, of(3));
        let [one] = counts.of(tenant).try_into().unwrap();
        assert!(one.markup("side").0.contains("id=\"count-side-x\">3<"));
        assert!(one.live().contains("hx-target=\"#count-side-x\"") && one.live().contains("#count-sheet-x"));
        assert!(counts.of(TenantId::from_bits(2)).is_empty());
        assert!(!of(0).markup("side").0.contains("hot"));
    }

    #[test]
    fn grave_ones_come_first_and_go_when_they_are_over() {
        let notices = Notices::default();
        let notice = |grave| Notice { grave, text: String::new(), href: "/", permission: "agents.read" };
        notices.say("a", Some(notice(false)));
        notices.say("b", Some(notice(true)));
        assert_eq!(notices.all().iter().map(|n| n.grave).collect::<Vec<_>>(), [true, false]);
        notices.say("b", None);
        assert_eq!(notices.all(), [notice(false)]);
    }
}
