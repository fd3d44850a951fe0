//! How well the site is guarded, through HTTP; and the console in the time zone of who looks.

use serde_json::{Value, json};

use crate::devices::Device;
use crate::harness::{Api, Muster, PASSWORD};

fn check<'a>(posture: &'a Value, id: &str) -> &'a Value {
    posture["items"].as_array().unwrap().iter().find(|check| check["id"] == id).expect("a check")
}

#[test]
fn the_security_page_looks_at_the_running_server() {
    let muster = Muster::start();
    Device::new(&muster, "press-07");
    let owner = muster.owner();
    let (status, page) = owner.get("/security");
    assert_eq!(status, 200);
    for text in ["Inès Moreau", "CIS 6.5", "ISO A.8.5", "IEC SR 1.1", "CSF PR.AA-03", "href=\"/security\""] {
        assert!(page.contains(text), "{text}");
    }
    let (_, bad) = owner.get("/security?state=bad");
    assert!(bad.contains("Second factors") && !bad.contains("Versions of TLS"));

    let auditor = muster.api("auditor");
    let (status, posture) = auditor.get("/api/v1/security");
    assert_eq!((status, &posture["whole"]), (200, &json!(true)), "{posture}");
    assert_eq!(check(&posture, "people.factor")["found"][0]["what"], "Inès Moreau");
    assert_eq!(check(&posture, "network.tls")["state"], "good");
    let listening = &check(&posture, "network.listeners")["found"];
    for address in [muster.server().address(), muster.server().gate_address()] {
        let address = address.to_string();
        let mut open = listening.as_array().unwrap().iter();
        assert!(open.any(|one| one["what"] == address.as_str() && one["state"] == "good"), "{listening}");
    }
    // The key that asks is told of, too: it works from anywhere and has no end.
    assert_eq!(check(&posture, "keys.expiry")["found"][0]["what"], "auditor key");
    assert_eq!(check(&posture, "network.certificates")["state"], "good");
    for role in ["viewer", "approver", "operator", "billing"] {
        assert_eq!(muster.api(role).get("/api/v1/security").0, 403, "{role}");
    }
    assert_eq!(Api::anonymous(&muster).get("/api/v1/security").0, 401);
}

#[test]
fn who_sees_a_part_of_the_fleet_gets_the_checks_of_that_part() {
    let muster = Muster::start();
    let device = |name: &str, site: &str| {
        muster.call("agents.device", json!({ "name": name, "labels": { "site": site } }));
    };
    device("press-lyon", "lyon");
    device("press-paris", "paris");
    for agent in muster.call("agents.list", json!({}))["items"].as_array().unwrap() {
        // As if each had connected with a clock that is a minute off.
        let id = agent["id"].as_str().unwrap().parse().unwrap();
        muster.server().site().presence.update(id, |seen| {
            (seen.session, seen.clock_offset_ms) = (Some(1), Some(60_000));
        });
    }
    let made =
        muster.call("identity.key_create", json!({ "name": "n", "role": "auditor", "scope": "site:lyon" }));
    let mut api = Api::anonymous(&muster);
    api.bearer = Some(made["text"].as_str().unwrap().to_owned());
    let (status, posture) = api.get("/api/v1/security");
    assert_eq!((status, &posture["whole"]), (200, &json!(false)));
    let ids: Vec<&str> =
        posture["items"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["network.agent_certificates", "time.agents"]);
    let clocks = check(&posture, "time.agents");
    assert_eq!((&clocks["state"], &clocks["found_count"]), (&json!("bad"), &json!(1)), "{clocks}");
    assert_eq!(clocks["found"][0]["what"], "press-lyon");
    assert_eq!(api.get("/api/v1/security/egress").0, 403);
    let whole = muster.call("security.checks", json!({}));
    assert_eq!(check(&whole, "time.agents")["found_count"], 2);
}

#[test]
fn the_list_of_places_is_empty_until_somebody_names_one() {
    let muster = Muster::start();
    let owner = muster.owner();
    assert!(owner.get("/security/egress").1.contains("The server connects nowhere"));
    let egress = &muster.server().site().egress;
    let by = muster.call("identity.users", json!({}))["items"][0]["id"].as_str().unwrap().to_owned();
    let now = muster.server().site().clock.now();
    egress.allow("vault.lan", 2222, "backups to `vault`", &by, now).unwrap();
    assert!(egress.permit("example.org", 443).is_err());
    let (_, page) = owner.get("/security/egress");
    for text in ["vault.lan:2222", "backups to `vault`", "Inès Moreau", "example.org:443"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let (_, list) = muster.api("auditor").get("/api/v1/security/egress");
    assert_eq!(list["items"][0]["purposes"][0]["by_name"], "Inès Moreau");
    assert_eq!(list["refused"][0]["attempts"], 1);
}

#[test]
fn evidence_holds_how_the_site_stood() {
    let muster = Muster::start();
    muster.owner();
    crate::harness::until(muster::base::Span::from_seconds(10), "an entry", || {
        (muster.call("audit.status", json!({}))["head"]["number"].as_u64()? > 0).then_some(())
    });
    let asked = muster::capabilities::audit::ExportAsked { format: "pack".into(), ..Default::default() };
    let mut given = muster::capabilities::audit::export(&muster.ctx(), asked).unwrap();
    let mut pack = Vec::new();
    while let Some(part) = (given.next)().unwrap() {
        pack.extend(part);
    }
    let text = String::from_utf8_lossy(&pack);
    assert!(text.contains("security.json") && text.contains("people.factor"), "the pack holds it");
    let proved = muster::server::prove_pack(std::io::Cursor::new(&pack), None).unwrap();
    assert_eq!(proved.range.1, proved.signed_up_to);
    let at = pack.windows(13).position(|part| part == b"people.factor").unwrap();
    pack[at] ^= 1;
    assert!(muster::server::prove_pack(std::io::Cursor::new(&pack), None).is_err(), "one that was changed");
}

#[test]
fn times_are_in_the_zone_of_who_looks() {
    let muster = Muster::start();
    let owner = muster.owner();
    let (_, page) = owner.get("/account");
    assert!(page.contains(" UTC</time>"), "{page}");
    let csrf = owner.csrf();
    let form = [("csrf", csrf.as_str()), ("language", "en"), ("time_zone", "Asia/Kolkata")];
    assert_eq!(owner.post("/account/profile", &form).0, 303);
    for path in ["/account", "/people"] {
        let (_, page) = owner.get(path);
        assert!(page.contains("IST") && !page.contains(" UTC</time>"), "{path}: {page}");
        assert!(page.contains(">Asia/Kolkata</small>"), "every page says its zone");
    }
    // What programs read stays UTC; so does the console of everybody else.
    let (_, people) = muster.api("auditor").get("/api/v1/identity/users");
    assert!(people["items"][0]["created"].as_str().unwrap().ends_with('Z'));
    let chosen = json!({ "name": "Omar", "login": "omar", "role": "administrator", "password": PASSWORD });
    muster.call("identity.create", chosen);
    let omar = muster.browser();
    omar.post("/login", &[("login", "omar"), ("password", PASSWORD)]);
    assert!(omar.get("/account").1.contains(" UTC</time>"));
}

#[test]
fn ones_own_account_is_not_shown_while_one_looks_as_another() {
    let muster = Muster::start();
    let owner = muster.owner();
    let chosen = json!({ "name": "Omar", "login": "omar", "role": "viewer", "password": PASSWORD });
    let made = muster.call("identity.create", chosen);
    let csrf = owner.csrf();
    let path = format!("/people/{}/look", made["user"]["id"].as_str().unwrap());
    assert_eq!(owner.post(&path, &[("csrf", &csrf)]).0, 303);
    for path in ["/account", "/account/factors", "/account/roles"] {
        let (status, page) = owner.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(
            page.contains("Your own account is not shown now") && page.contains("as Omar does"),
            "{page}"
        );
        assert!(page.matches("action=\"/look-back\"").count() > 1, "the way back");
        assert!(!page.contains("action=\"/account/password\""), "{page}");
    }
    assert_eq!(owner.get("/security").0, 403, "Omar may not");
    assert_eq!(owner.post("/look-back", &[("csrf", &csrf)]).0, 303);
    assert!(owner.get("/account").1.contains("action=\"/account/password\""));
}
