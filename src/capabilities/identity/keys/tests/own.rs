//! A program replaces its own text: never with more, not too often, and a lost answer locks nobody out.

use super::*;
use crate::base::limits::OWN_ROTATIONS_PER_DAY_MAX;
use crate::capabilities::identity::KeyView;
use crate::capabilities::identity::keys::own::{OwnRotated, rotate};

impl Rig {
    /// Replaces the text as the program does that shows `bearer`.
    fn replaces(&self, bearer: &str, text: &str, hours: Option<u64>) -> Result<(String, KeyView)> {
        let actor = self.actor(bearer, "10.0.0.9")?.ok_or_else(|| Error::unauthenticated("unknown"))?;
        let ctx = Ctx::new(
            &self.site,
            self.site.home,
            actor,
            Request { from: "10.0.0.9".into(), ..Request::default() },
        );
        let made = rotate(&ctx, OwnRotated { text: text.to_owned(), hours })?;
        Ok((made.text, made.key))
    }

    /// Waits until what was submitted is applied.
    fn settles(&self) {
        Ctx::system(&self.site, self.site.home, "test")
            .require("identity.test")
            .unwrap()
            .write(|_| Ok(()))
            .unwrap();
    }
}

#[test]
fn a_program_moves_itself_over_and_stays_what_it_is() {
    let rig = Rig::new();
    let mut wanted = chosen(Role::Viewer, "agents.read", &["10.0.0.0/8"]);
    wanted.days = Some(30);
    let made = ops::create(&rig.ctx(), wanted).unwrap();
    let (id, first) = (made.key.id, made.text);
    let (second, key) = rig.replaces(&first, &first, Some(2)).unwrap();
    assert!(second != first && rig.works(&first) && rig.works(&second));
    let before = made.key;
    assert_eq!(
        (key.id, &key.grants, &key.only, &key.networks, key.expires),
        (id, &before.grants, &before.only, &before.networks, before.expires)
    );
    assert!(rig.actor(&second, "192.0.2.1").is_err());
    let may = |permission: &str| rig.actor(&second, "10.0.0.9").unwrap().unwrap().may(permission);
    assert!(may("agents.read") && !may("tasks.read") && !may("identity.key_rotate_own"));
    rig.site.clock.advance(Span::from_hours(2));
    assert!(!rig.works(&first) && rig.works(&second));
    // It goes on so until the key's own end.
    rig.site.clock.advance(Span::from_days(27));
    let (third, _) = rig.replaces(&second, &second, None).unwrap();
    rig.site.clock.advance(Span::from_days(3));
    assert!(!rig.works(&third), "the key has ended");
    let changes = rig.site.store.changes(0, 10_000).unwrap();
    let told: Vec<_> = changes
        .iter()
        .filter(|change| change.events.iter().any(|event| event.name == "identity.key_rotated"))
        .collect();
    assert_eq!(told.len(), 2);
    assert!(
        told.iter().all(|change| change.origin.actor == id.to_string()),
        "the key did it, and the log says so"
    );
}

#[test]
fn a_token_or_an_older_text_gets_no_lasting_way_in() {
    let rig = Rig::new();
    let (id, first) = rig.make(Role::Viewer, "", &[]);
    let token = rig.token(id, &first, "").unwrap();
    for text in ["", token.as_str(), "mst_wrong"] {
        assert_eq!(rig.replaces(&token, text, None).unwrap_err().kind(), Kind::Forbidden, "{text}");
    }
    // Another key's text, and a person.
    let (_, other) = rig.make(Role::Owner, "", &[]);
    assert_eq!(rig.replaces(&first, &other, None).unwrap_err().kind(), Kind::Forbidden);
    let by_hand = OwnRotated { text: first.clone(), hours: None };
    assert_eq!(rotate(&rig.ctx(), by_hand).unwrap_err().kind(), Kind::Forbidden);
    for hours in [0, 25] {
        assert_eq!(rig.replaces(&first, &first, Some(hours)).unwrap_err().kind(), Kind::Invalid);
    }
    // Replaced by hand, perhaps because it was lost: the older text makes no other.
    let second = ops::rotate(&rig.ctx(), KeyRotated { id, hours: Some(24) }).unwrap().text;
    assert_eq!(rig.replaces(&first, &first, None).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(rig.replaces(&second, &second, None).unwrap_err().kind(), Kind::Conflict, "two are enough");
    ops::settle(&rig.ctx(), ById { id }).unwrap();
    assert!(rig.replaces(&second, &second, None).is_ok());
}

#[test]
fn an_answer_that_is_lost_locks_nobody_out() {
    let rig = Rig::new();
    let (_, first) = rig.make(Role::Viewer, "", &[]);
    let (lost, key) = rig.replaces(&first, &first, Some(1)).unwrap();
    let until = key.old.unwrap().until;
    rig.site.clock.advance(Span::from_minutes(10));
    let (second, key) = rig.replaces(&first, &first, Some(24)).unwrap();
    assert_eq!(key.old.unwrap().until, until, "and the older text lasts no longer for it");
    assert!(!rig.works(&lost) && rig.works(&first));
    // Once somebody has used the successor, even a moment after the older one, that is over.
    assert!(rig.works(&second));
    rig.settles();
    assert_eq!(rig.replaces(&first, &first, None).unwrap_err().kind(), Kind::Conflict);
    assert!(rig.works(&second));
    rig.site.clock.advance(Span::from_hours(1));
    assert!(!rig.works(&first) && rig.works(&second));
}

#[test]
fn a_program_replaces_its_text_so_often_in_a_day() {
    let rig = Rig::new();
    let (id, first) = rig.make(Role::Viewer, "", &[]);
    for _ in 0..OWN_ROTATIONS_PER_DAY_MAX {
        rig.replaces(&first, &first, Some(24)).unwrap();
    }
    let error = rig.replaces(&first, &first, None).unwrap_err();
    assert_eq!(error.kind(), Kind::TooMany, "{error}");
    // Who manages people is not held up, and a day later neither is the program.
    ops::settle(&rig.ctx(), ById { id }).unwrap();
    let text = ops::rotate(&rig.ctx(), KeyRotated { id, hours: Some(0) }).unwrap().text;
    assert_eq!(rig.replaces(&text, &text, None).unwrap_err().kind(), Kind::TooMany);
    rig.site.clock.advance(Span::from_days(1));
    assert!(rig.replaces(&text, &text, None).is_ok());
}

#[test]
fn of_two_programs_with_one_text_one_replaces_it() {
    let rig = Rig::new();
    let (id, first) = rig.make(Role::Viewer, "", &[]);
    let start = std::sync::Barrier::new(2);
    let made: Vec<_> = std::thread::scope(|scope| {
        let run = || {
            scope.spawn(|| {
                start.wait();
                rig.replaces(&first, &first, None)
            })
        };
        let both = [run(), run()];
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    // The second takes the first's answer for lost: one successor works, whoever has it.
    let working = made.iter().flatten().filter(|(text, _)| rig.works(text)).count();
    assert_eq!(working, 1);
    let rows = rig.site.store.read().unwrap().prefix(&KEYS_BY_DIGEST, &rig.site.home, 9).unwrap();
    assert_eq!(rows.iter().filter(|(_, key)| *key == id).count(), 2, "two texts, and no third");
}
