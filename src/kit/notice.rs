//! What every page says at its top while it lasts: the disk fills, a backup failed.

use std::collections::BTreeMap;

use parking_lot::RwLock;

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
