//! The console through a browser's requests: set-up, sign-in, every page, forms and their protection.

use muster::capabilities::ALL;
use muster::kit::Pages;
use serde_json::json;

use crate::devices::Device;
use crate::harness::{Muster, PASSWORD};

#[test]
fn set_up_once_then_sign_in_and_out() {
    let muster = Muster::start();
    let stranger = muster.browser();
    let (status, to) = (stranger.get("/").0, stranger.header("/", "location"));
    assert_eq!((status, to.as_deref()), (303, Some("/setup")), "nobody has an account yet");
    let form = |code: &'static str| {
        [("code", code), ("name", "X"), ("login", "x"), ("password", PASSWORD), ("again", PASSWORD)]
    };
    assert_ne!(muster.browser().post("/setup", &form("wrong-code")).0, 303, "a wrong code sets nothing up");
    let owner = muster.owner();
    assert_eq!(owner.get("/").0, 200);
    assert!(muster.server().setup_code().unwrap().is_none(), "set-up is over");
    let browser = muster.browser();
    assert_ne!(browser.post("/login", &[("login", "ines"), ("password", "wrong wrong wrong")]).0, 303);
    assert_eq!(browser.post("/login", &[("login", "ines"), ("password", PASSWORD)]).0, 303);
    assert_eq!(browser.get("/agents").0, 200);
    let csrf = browser.csrf();
    assert_eq!(browser.post("/logout", &[("csrf", &csrf)]).0, 303);
    assert_eq!(browser.get("/agents").0, 303);
}

#[test]
fn every_page_opens_with_the_strict_policy_and_nothing_inline() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let owner = muster.owner();
    let mut pages = Pages::default();
    ALL.iter().for_each(|capability| capability.pages(&mut pages));
    let made = muster.call("identity.key_create", json!({ "name": "ci", "role": "viewer" }));
    let key = made["key"]["id"].as_str().unwrap();
    let mut opened = 0;
    for page in pages.pages.iter().filter(|page| !page.form) {
        let id = match page.path {
            path if path.starts_with("/people/keys/") => key.to_owned(),
            path if path.starts_with("/tenants/") => muster.server().site().home.to_string(),
            _ => device.id.to_string(),
        };
        let path = page.path.replace("{id}", &id);
        // Of somebody who is no device, and what scripts are told, which needs a host name.
        let other =
            ["/people/{id}", "/approvals/{id}"].contains(&page.path) || page.path.ends_with("/passkey");
        if other
            || path.contains('{')
            || page.path.starts_with("/tasks/")
            || ["/login", "/setup"].iter().any(|p| path.starts_with(p))
        {
            continue;
        }
        let (status, text) = owner.get(&path);
        assert_eq!(status, 200, "{path}: {}", &text[..text.len().min(400)]);
        for forbidden in ["style=\"", "<script>", "onclick=", "javascript:", "http://", "<style"] {
            assert!(
                !text.contains(forbidden) || forbidden == "http://" && text.contains("http://www.w3.org"),
                "{path} has {forbidden}"
            );
        }
        opened += 1;
    }
    assert!(opened >= 8, "{opened} pages");
    let policy = owner.header("/agents", "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(owner.get("/no/such/page").0, 404);
}

#[test]
fn a_form_without_its_token_changes_nothing() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let owner = muster.owner();
    let path = format!("/agents/{}/quarantine", device.id);
    let (status, _) = owner.post(&path, &[("reason", "forged")]);
    assert!(status == 403 || status == 422, "{status}");
    let (status, _) =
        owner.post(&path, &[("reason", "forged"), ("csrf", "0123456789abcdef0123456789abcdef")]);
    assert!(status == 403 || status == 422, "{status}");
    let list = muster::capabilities::agents::ops::list(&muster.ctx(), Default::default()).unwrap();
    assert!(list.items.iter().all(|view| view.agent.is_active()));
    let csrf = owner.csrf();
    assert_eq!(owner.post(&path, &[("reason", "maintenance"), ("csrf", &csrf)]).0, 303);
    let list = muster::capabilities::agents::ops::list(&muster.ctx(), Default::default()).unwrap();
    assert!(!list.items[0].agent.is_active());
}

#[test]
fn what_was_changed_stands_in_the_audit_log() {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    let owner = muster.owner();
    let csrf = owner.csrf();
    owner.post(&format!("/agents/{}/quarantine", device.id), &[("reason", "dust"), ("csrf", &csrf)]);
    crate::harness::until(muster::base::Span::from_seconds(10), "the audit log", || {
        let (_, page) = owner.get("/audit");
        (page.contains("agents.quarantine") && page.contains("Inès Moreau")).then_some(())
    });
}
