//! Renaming over a site in a temporary folder.

use super::*;
use crate::base::Kind;
use crate::capabilities::identity::{session_actor, tests as identity};
use crate::kit::{Actor, Ctx, Nothing, PageRequest, Reply, Request};

#[test]
fn the_stored_name_is_loaded_and_only_an_owner_changes_it() {
    let (site, _folder, cookie) = identity::owned();
    let (_, owner) = session_actor(&site, &cookie, site.clock.now()).unwrap().unwrap();
    let Actor::Person { user, session, .. } = owner.clone() else { panic!("not a person") };
    let ctx = Ctx::new(&site, site.home, owner, Request::default());
    let ask = |name: &str| {
        let mut request = PageRequest::default();
        request.form.insert("name".into(), name.into());
        request
    };
    assert!(matches!(pages::change(&ctx, &ask("Plant 03")).unwrap(), Reply::Redirect(..)));
    site.settings.rename("configured".into());
    load(&site).unwrap();
    assert_eq!(site.settings.name(), "Plant 03");
    let Reply::Html(status, text) = pages::change(&ctx, &ask("")).unwrap() else { panic!("not a page") };
    assert!(status == 422 && text.contains("the name is empty"));
    let Reply::Html(status, text) = pages::view(&ctx, &PageRequest::default()).unwrap() else {
        panic!("not a page")
    };
    assert!(status == 200 && text.contains("BEGIN CERTIFICATE") && text.contains("muster.test"));

    let viewer = Actor::Person {
        user,
        session,
        name: "Omar".into(),
        rights: crate::kit::Rights::of(crate::kit::Role::Viewer),
        proved: ctx.now,
    };
    let ctx = Ctx::new(&site, site.home, viewer, Request::default());
    assert_eq!(ops::find(&ctx, Nothing {}).unwrap().name, "Plant 03");
    let name = "x".parse().unwrap();
    assert_eq!(ops::change(&ctx, SettingsChanged { name }).unwrap_err().kind(), Kind::Forbidden);
}
