//! Whole moves with lists of people.

use serde_json::json;

use super::import::{ImportAsked, ROWS_MAX, import};
use super::profile::{self, Profile};
use super::*;
use crate::base::{Kind, Span};
use crate::capabilities::identity::tests::{PASSWORD, actor, anonymous, as_actor, chosen, owned, sign_in};
use crate::capabilities::identity::{Identity, door, own};
use crate::kit::{ById, Capability, PageRequest, Pages, Reply, Role, Theme};

fn ask(ctx: &Ctx<'_>, path: &str, id: &str, form: Option<&[(&str, &str)]>) -> Result<Reply> {
    let mut pages = Pages::default();
    Identity.pages(&mut pages);
    let page = pages.pages.iter().find(|page| page.path == path && page.form == form.is_some()).unwrap();
    let map = |fields: &[(&str, &str)]| {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let request = PageRequest {
        form: map(form.unwrap_or_default()),
        params: map(&[("id", id)]),
        ..PageRequest::default()
    };
    (page.run)(ctx, &request)
}

fn html(reply: Result<Reply>) -> (u16, String) {
    match reply.unwrap() {
        Reply::Html(status, text) => (status, text),
        other => panic!("{other:?}"),
    }
}

fn take(ctx: &Ctx<'_>, csv: &str, preview: bool) -> Result<Imported> {
    import(ctx, ImportAsked { csv: csv.to_owned(), preview })
}

#[test]
fn an_import_adds_all_or_nobody_and_names_each_wrong_line() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let wrong = "login,name,role\nada,Ada Lovelace,operator\nines,X,viewer\nb b,B,viewer\nada,Ada,viewer\nc,C,root\nd,,viewer";
    let told = take(&ctx, wrong, false).unwrap();
    assert_eq!((told.wrong, told.added), (5, false));
    let errors: Vec<(usize, &str)> = told
        .rows
        .iter()
        .filter(|row| !row.error.is_empty())
        .map(|row| (row.line, row.error.as_str()))
        .collect();
    for ((line, error), (expected, part)) in errors.iter().zip([
        (3, "`ines` is taken"),
        (4, "login name is not valid"),
        (5, "stands twice"),
        (6, "`root`"),
        (7, "name"),
    ]) {
        assert!(*line == expected && error.contains(part), "{line}: {error}");
    }
    let right = "Role,Name,Login\noperator,Ada Lovelace,Ada\nviewer,\"Moreau, Omar\",omar";
    assert!(!take(&ctx, right, true).unwrap().added);
    assert_eq!(found(&ctx, "").unwrap().len(), 1, "a look adds nobody");
    let told = take(&ctx, right, false).unwrap();
    assert!(
        told.added && told.rows.iter().all(|row| row.link.as_ref().is_some_and(|l| l.contains("token=")))
    );
    let link = told.rows[0].link.as_ref().unwrap().split_once("token=").unwrap().1;
    assert!(door::use_link(&anonymous(&site, "10.0.0.2"), link, "a wholly new password").is_ok());
    assert_eq!(found(&ctx, "role:viewer").unwrap()[0].0.name.as_str(), "Moreau, Omar");
    let many: String = (0..=ROWS_MAX).map(|n| format!("u{n},U,viewer\n")).collect();
    assert_eq!(take(&ctx, &format!("login,name,role\n{many}"), true).unwrap_err().kind(), Kind::Invalid);
    for bad in ["", "login,name\na,b", "login,name,role"] {
        assert!(take(&ctx, bad, true).is_err(), "{bad}");
    }
    let (status, text) = html(ask(&ctx, "/people/import", "", Some(&[("csv", wrong), ("action", "import")])));
    assert!(status == 422 && text.contains("6 of 6 lines are wrong"), "{text}");
    // Who has less cannot take in who has more.
    let omar = sign_in(&anonymous(&site, "10.0.0.3"), "ada", "a wholly new password").unwrap();
    let ada = as_actor(&site, actor(&site, &omar).unwrap());
    assert_eq!(take(&ada, right, true).unwrap_err().kind(), Kind::Forbidden);
}

#[test]
fn people_are_found_and_given_out_without_secrets() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let omar = ops::create(&ctx, chosen("omar", Role::Operator)).unwrap().user;
    ops::disable(&ctx, ById { id: omar.id }).unwrap();
    let invited = ops::UserChosen { password: None, ..chosen("eve", Role::Viewer) };
    ops::create(&ctx, ops::UserChosen { name: "=cmd()".parse().unwrap(), ..invited }).unwrap();
    for (filter, expected) in [
        ("", 3),
        ("INES", 1),
        ("state:disabled", 1),
        ("state:active", 2),
        ("state:invited", 1),
        ("role:owner", 1),
        ("factor:none role:operator", 1),
        ("factor:any", 0),
        ("nobody", 0),
    ] {
        assert_eq!(found(&ctx, filter).unwrap().len(), expected, "{filter}");
    }
    let Reply::File(mut file) = ask(&ctx, "/people/export", "", Some(&[("format", "csv")])).unwrap() else {
        panic!("not a file")
    };
    let text = String::from_utf8((file.next)().unwrap().unwrap()).unwrap();
    assert!(text.starts_with("login,name,role,") && text.contains("eve,'=cmd(),viewer,active"), "{text}");
    let all = serde_json::to_string(&export::export(&ctx, Nothing {}).unwrap()).unwrap();
    for text in [text.as_str(), all.as_str()] {
        assert!(!text.contains("argon2") && !text.contains("token"), "{text}");
    }
    let told = site.store.changes(0, 1_000).unwrap();
    let exports =
        told.iter().flat_map(|change| &change.events).filter(|event| event.name == "identity.exported");
    assert_eq!(exports.count(), 2, "the audit trail says who took it");
    assert!(ask(&ctx, "/people/export", "", Some(&[("format", "exe")])).is_err());
}

#[test]
fn many_are_acted_on_at_once_and_a_refusal_stops_nobody_else() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let me = own(&ctx).unwrap().0;
    let ids: Vec<_> = ["omar", "ada"]
        .into_iter()
        .map(|login| ops::create(&ctx, chosen(login, Role::Viewer)).unwrap().user.id)
        .collect();
    let theirs = sign_in(&anonymous(&site, "10.0.0.2"), "omar", PASSWORD).unwrap();
    let all = format!("{},{},{me}", ids[0], ids[1]);
    let act = |action: &str, users: &str| {
        let reply = ask(&ctx, "/people/bulk", "", Some(&[("action", action), ("user", users)]));
        reply.map(|reply| match reply {
            Reply::Redirect(to, _) => to,
            other => panic!("{other:?}"),
        })
    };
    let to = act("disable", &all).unwrap();
    assert!(to.contains("error%3A2+disabled") && to.contains("nobody+shuts+themselves+out"), "{to}");
    assert!(actor(&site, &theirs).is_none() && actor(&site, &cookie).is_some());
    assert!(act("enable", &format!("{},{}", ids[0], ids[1])).unwrap().contains("ok%3A2+enabled"));
    assert!(act("sessions", &ids[0].to_string()).unwrap().contains("ok%3A1+signed+out"));
    assert!(act("sessions", "").unwrap().contains("error"));
    assert!(act("delete", &all).is_err());
    site.clock.advance(Span::from_minutes(11));
    let stale = as_actor(&site, actor(&site, &cookie).unwrap());
    let users = ids[0].to_string();
    let reply = ask(&stale, "/people/bulk", "", Some(&[("action", "sessions"), ("user", &users)]));
    assert_eq!(reply.unwrap_err().kind(), Kind::StepUp);
}

#[test]
fn a_persons_page_and_choices() {
    let (site, _folder, cookie) = owned();
    let ctx = as_actor(&site, actor(&site, &cookie).unwrap());
    let me = own(&ctx).unwrap().0.to_string();
    let (status, text) = html(ask(&ctx, "/people/{id}", &me, None));
    assert!(status == 200 && text.contains("ines") && text.contains("/audit?actor=usr_"), "{text}");
    assert!(text.contains("This one") && !text.contains("style="));
    let change = |zone: &str, language: &str| {
        let wanted = json!({ "time_zone": zone, "language": language, "theme": "dark" });
        profile::change(&ctx, serde_json::from_value(wanted).unwrap())
    };
    assert!(change("Europe/Atlantis", "en").unwrap_err().message().contains("not a time zone"));
    assert!(change("UTC", "tlh").unwrap_err().message().contains("language"));
    assert_eq!(change("Europe/Paris", "en").unwrap().time_zone, "Europe/Paris");
    keep_theme(&ctx, Theme::Light).unwrap();
    assert_eq!(
        profile::find(&ctx, Nothing {}).unwrap(),
        Profile { language: "en".into(), time_zone: "Europe/Paris".into(), theme: "light".into() }
    );
    // Another browser has it after the sign-in.
    let theirs = sign_in(&anonymous(&site, "10.0.0.2"), "ines", PASSWORD).unwrap();
    let cookie = theme_of(&anonymous(&site, "10.0.0.2"), &theirs).unwrap().unwrap();
    assert_eq!((cookie.name, cookie.value.as_str()), ("theme", "light"));
    assert!(keep_theme(&anonymous(&site, "10.0.0.2"), Theme::Dark).is_ok(), "nobody's look is kept nowhere");
}
