//! Secrets over a site in a temporary folder.

use std::path::Path;

use serde_json::json;

use super::ops::{self, ByName, Describe, Put, Rotate};
use super::*;
use crate::base::{Error, Kind, Secret, SessionId, Span, UserId};
use crate::capabilities::identity::tests as identity;
use crate::engine::store::Read as _;
use crate::kit::{
    Actor, Change, Ctx, Nothing, Op, PageRequest, Reply, Request, Rights, Role, Site, Undone, Unwritable,
    recovery_sample,
};

const VALUE: &str = "hunter2-the-value-that-nobody-reads";

fn acting(site: &Site, role: Role) -> Ctx<'_> {
    let actor = Actor::Person {
        user: UserId::from_bits(1),
        session: SessionId::from_bits(1),
        name: "Inès".into(),
        rights: Rights::of(role),
        proved: site.clock.now(),
    };
    Ctx::new(site, site.home, actor, Request::default())
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn put(ctx: &Ctx<'_>, text: &str, value: &str) {
    let value = Secret::new(value.to_owned());
    ops::put(ctx, Put { name: name(text), value, about: "for a test".into() }).unwrap();
}

fn rotate(ctx: &Ctx<'_>, text: &str, value: &str) -> Result<()> {
    ops::rotate(ctx, Rotate { name: name(text), value: Secret::new(value.to_owned()) }).map(drop)
}

fn value(ctx: &Ctx<'_>, text: &str) -> Result<String> {
    let found = resolve(ctx, &Reference(name(text)), "tests", "a test")?;
    Ok(found.expose().clone())
}

fn told(site: &Site, event: &str) -> usize {
    let changes = site.store.changes(0, 10_000).unwrap();
    changes.iter().flat_map(|change| &change.events).filter(|told| told.name == event).count()
}

fn written<T>(ctx: &Ctx<'_>, f: impl FnOnce(&mut Change<'_>) -> Result<T>) -> Result<T> {
    ctx.require("secrets.test")?.write(f)
}

#[test]
fn a_secret_is_put_in_rotated_reverted_and_deleted() {
    let (site, _folder, _) = identity::owned();
    let ctx = acting(&site, Role::Owner);
    put(&ctx, "line7/plc", VALUE);
    let again = Put { name: name("line7/plc"), value: Secret::new("x".into()), about: String::new() };
    assert_eq!(ops::put(&ctx, again).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(value(&ctx, "line7/plc").unwrap(), VALUE);
    assert_eq!(ops::revert(&ctx, ByName { name: name("line7/plc") }).unwrap_err().kind(), Kind::Conflict);

    rotate(&ctx, "line7/plc", "second").unwrap();
    rotate(&ctx, "line7/plc", "third").unwrap();
    assert_eq!(value(&ctx, "line7/plc").unwrap(), "third");
    let values = site.store.read().unwrap().prefix(&store::VALUES, &site.home, 10).unwrap();
    assert_eq!(values.len(), 2, "the current one and the one before");
    let back = ops::revert(&ctx, ByName { name: name("line7/plc") }).unwrap();
    assert_eq!((back.version, value(&ctx, "line7/plc").unwrap().as_str()), (4, "second"));
    let back = ops::revert(&ctx, ByName { name: name("line7/plc") }).unwrap();
    assert_eq!((back.version, value(&ctx, "line7/plc").unwrap().as_str()), (5, "third"));

    let about = ops::describe(&ctx, Describe { name: name("line7/plc"), about: " a PLC ".into() }).unwrap();
    assert_eq!(about.about, "a PLC");
    let list = ops::list(&ctx, Nothing {}).unwrap().items;
    assert_eq!((list.len(), list[0].reference.as_str()), (1, "secret://line7/plc"));
    assert_eq!(list[0].used, Some(ctx.now));
    ops::delete(&ctx, ByName { name: name("line7/plc") }).unwrap();
    assert_eq!(value(&ctx, "line7/plc").unwrap_err().kind(), Kind::NotFound);
    let read = site.store.read().unwrap();
    assert!(read.prefix(&store::VALUES, &site.home, 10).unwrap().is_empty());
    assert!(read.prefix(&store::USES, &site.home, 10).unwrap().is_empty());
}

#[test]
fn what_is_held_stays_and_only_who_may_use_lets_something_refer() {
    let (site, _folder, _) = identity::owned();
    let ctx = acting(&site, Role::Owner);
    put(&ctx, "nas", VALUE);
    let reference = Reference(name("nas"));
    let hold_by = |ctx: &Ctx<'_>, user: &str| {
        let writer = acting(&site, Role::Owner);
        writer
            .require("secrets.test")
            .unwrap()
            .write(|change| hold(ctx, change, &reference, user, "the target `NAS`"))
    };
    assert_eq!(hold_by(&acting(&site, Role::Operator), "t1").unwrap_err().kind(), Kind::Forbidden);
    hold_by(&ctx, "t1").unwrap();
    let error = ops::delete(&ctx, ByName { name: name("nas") }).unwrap_err();
    assert!(error.kind() == Kind::Conflict && error.message().contains("the target `NAS`"));
    // It is given to whatever refers to it, whoever set that off.
    let operator = acting(&site, Role::Operator);
    assert_eq!(resolve(&operator, &reference, "t1", "the target `NAS`").unwrap().expose(), VALUE);
    written(&ctx, |change| let_go(&ctx, change, &reference, "t1")).unwrap();
    let uses = ops::usage(&ctx, ByName { name: name("nas") }).unwrap().items;
    assert_eq!((uses.len(), uses[0].since, uses[0].last), (1, None, Some(ctx.now)));
    ops::delete(&ctx, ByName { name: name("nas") }).unwrap();
    let gone = written(&ctx, |change| hold(&ctx, change, &reference, "t1", "x"));
    assert_eq!(gone.unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn uses_are_told_once_a_minute_and_after_every_rotation() {
    let (site, _folder, _) = identity::owned();
    put(&acting(&site, Role::Owner), "nas", VALUE);
    let system = || Ctx::system(&site, site.home, "test");
    for _ in 0..50 {
        value(&system(), "nas").unwrap();
    }
    assert_eq!(told(&site, "secrets.used"), 1);
    resolve(&system(), &Reference(name("nas")), "another", "another").unwrap();
    assert_eq!(told(&site, "secrets.used"), 2);
    site.clock.advance(Span::from_seconds(61));
    value(&system(), "nas").unwrap();
    assert_eq!(told(&site, "secrets.used"), 3);
    rotate(&acting(&site, Role::Owner), "nas", "second").unwrap();
    assert_eq!(value(&system(), "nas").unwrap(), "second");
    assert_eq!(told(&site, "secrets.used"), 4);
}

#[test]
fn without_an_entry_nothing_is_opened_unless_the_site_chose_so() {
    for unwritable in [Unwritable::Closed, Unwritable::Open] {
        let (mut site, _folder, _) = identity::owned();
        site.settings.unwritable = unwritable;
        let ctx = acting(&site, Role::Owner);
        put(&ctx, "nas", VALUE);
        site.store.break_disk();
        match (unwritable, value(&ctx, "nas")) {
            (Unwritable::Open, Ok(found)) => assert_eq!(found, VALUE),
            (Unwritable::Closed, Err(error)) => {
                assert_eq!(error.kind(), Kind::Unavailable);
                assert!(!error.detail().contains(VALUE));
            }
            (_, outcome) => panic!("{unwritable:?}: {}", outcome.is_ok()),
        }
    }
}

#[test]
fn limits_are_reached_and_values_are_sound() {
    let (site, _folder, _) = identity::owned();
    let ctx = acting(&site, Role::Owner);
    let tried = |value: String| {
        ops::put(&ctx, Put { name: name("a"), value: Secret::new(value), about: String::new() })
    };
    assert!(tried(String::new()).unwrap_err().message().contains("empty"));
    let error = tried("x".repeat(model::VALUE_BYTES_MAX + 1)).unwrap_err();
    assert!(error.message().contains("too long") && !error.detail().contains("xxx"));
    tried("x".repeat(model::VALUE_BYTES_MAX)).unwrap();
    let long = "y".repeat(model::ABOUT_BYTES_MAX + 1);
    assert!(ops::describe(&ctx, Describe { name: name("a"), about: long }).is_err());
    written(&ctx, |change| {
        let row = change.tx.get(&store::SECRETS, &(site.home, "a".into()))?.unwrap();
        (1..model::SECRETS_MAX).try_for_each(|n| {
            let row = model::Row { name: name(&format!("n{n}")), ..row.clone() };
            change.tx.put(&store::SECRETS, &(site.home, row.name.to_string()), &row)
        })
    })
    .unwrap();
    let one_more = Put { name: name("more"), value: Secret::new("x".into()), about: String::new() };
    assert_eq!(ops::put(&ctx, one_more).unwrap_err().kind(), Kind::TooMany);
}

/// Whether these bytes lie in any file below the folder.
fn lies_in(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => lies_in(&path, bytes),
            false => std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes),
        }
    })
}

#[test]
fn the_value_lies_in_no_file_no_answer_and_no_error() {
    let (site, folder, _) = identity::owned();
    let ctx = acting(&site, Role::Owner);
    put(&ctx, "nas", VALUE);
    rotate(&ctx, "nas", &format!("{VALUE}-2")).unwrap();
    value(&ctx, "nas").unwrap();
    assert!(lies_in(folder.path(), b"secrets.rotated"), "the journal is searched");
    assert!(!lies_in(folder.path(), VALUE.as_bytes()));

    let mut all = Ops::default();
    Secrets.ops(&mut all);
    let inputs =
        [json!({}), json!({ "name": "nas" }), json!({ "name": "nas", "value": VALUE, "about": "x" })];
    let mut said = String::new();
    for op in &all.0 {
        for input in &inputs {
            match (op.run)(&ctx, input.clone()) {
                Ok(answer) => said.push_str(&answer.to_string()),
                Err(error) => said.push_str(&error.detail()),
            }
        }
        let schema = op.output.to_string();
        assert!(!schema.contains("\"value\""), "`{}` answers with a value", op.name);
    }
    // A number in place of a text, or the value in the field of the name, is not repeated.
    let wrong =
        [json!({ "name": "n", "value": 471_199_471 }), json!({ "name": VALUE.to_uppercase(), "value": "x" })];
    let find = |name: &str| -> &Op { all.0.iter().find(|op| op.name == name).unwrap() };
    for input in wrong {
        said.push_str(&(find("secrets.put").run)(&ctx, input).unwrap_err().detail());
    }
    let row = Put { name: name("x"), value: Secret::new(VALUE.into()), about: String::new() };
    said.push_str(&format!("{row:?}"));
    for change in site.store.changes(0, 1_000).unwrap() {
        said.push_str(&format!("{:?}", change.events));
    }
    assert!(
        said.contains("nas") && !said.to_lowercase().contains(VALUE) && !said.contains("471199471"),
        "{said}"
    );
}

#[test]
fn forms_take_values_and_pages_never_show_them() {
    let (site, _folder, _) = identity::owned();
    let ctx = acting(&site, Role::Owner);
    let mut all = Pages::default();
    pages::register(&mut all);
    let post = |path: &str, form: &[(&str, &str)]| {
        let form = form.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let request = PageRequest { form, ..PageRequest::default() };
        let page = all.pages.iter().find(|page| page.form && page.path == path).unwrap();
        match (page.run)(&ctx, &request).unwrap() {
            Reply::Redirect(to, _) => to,
            _ => panic!("not a redirect"),
        }
    };
    let to = post("/secrets", &[("name", "nas"), ("value", " two\r\nlines "), ("about", "")]);
    assert!(to.contains("flash=ok"), "{to}");
    assert_eq!(value(&ctx, "nas").unwrap(), " two\nlines ", "as it was typed");
    let to = post("/secrets", &[("name", "Not a name"), ("value", VALUE)]);
    assert!(to.contains("flash=error") && !to.contains(VALUE), "{to}");
    assert!(post("/secrets/rotate", &[("name", "nas"), ("value", VALUE)]).contains("flash=ok"));
    let page = all.pages.iter().find(|page| !page.form).unwrap();
    let Reply::Html(200, html) = (page.run)(&ctx, &PageRequest::default()).unwrap() else {
        panic!("not a page")
    };
    assert!(html.contains("secret://nas") && !html.contains(VALUE));
    assert!(post("/secrets/revert", &[("name", "nas")]).contains("flash=ok"));
    assert!(post("/secrets/describe", &[("name", "nas"), ("about", "x")]).contains("flash=ok"));
    assert!(post("/secrets/delete", &[("name", "nas")]).contains("flash=ok"));
}

#[test]
fn a_check_finds_what_does_not_open_and_a_restore_says_what_came_back() {
    let (site, _folder, _) = identity::owned();
    let ctx = acting(&site, Role::Owner);
    put(&ctx, "nas", VALUE);
    put(&ctx, "plc", VALUE);
    let found = || {
        let mut findings = Findings::default();
        Secrets.check(&ctx, &mut findings).unwrap();
        findings.count
    };
    assert_eq!(found(), 0);
    // A value that is put in another's place does not open there.
    written(&ctx, |change| {
        let value = change.tx.get(&store::VALUES, &(site.home, "plc".into(), 1))?.unwrap();
        change.tx.put(&store::VALUES, &(site.home, "nas".into(), 1), &value)?;
        change.tx.put(&store::VALUES, &(site.home, "gone".into(), 1), &value)
    })
    .unwrap();
    assert_eq!(found(), 2);
    let error: Error = value(&ctx, "nas").unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);

    let undone = |event: &str, subject: &str| Undone {
        tenant: crate::kit::HOME,
        change: 1,
        at: ctx.now,
        actor: "system".into(),
        action: String::new(),
        event: event.into(),
        subject: subject.into(),
        detail: String::new(),
    };
    let undone = vec![undone("secrets.rotated", "plc"), undone("secrets.deleted", "never-there")];
    let restored = recovery_sample(undone, ctx.now);
    written(&ctx, |change| Secrets.restored(&ctx, change, &restored)).unwrap();
    assert_eq!(told(&site, "secrets.returned"), 1);
}
