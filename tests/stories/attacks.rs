//! What somebody tries who wants to be taken for another, or to reach what is not for them.

use serde_json::json;

use crate::harness::{Muster, PASSWORD};

#[test]
fn a_form_needs_our_own_page_and_this_sessions_token() {
    let muster = Muster::start();
    let owner = muster.owner();
    let other = muster.browser();
    assert_eq!(other.post("/login", &[("login", "ines"), ("password", PASSWORD)]).0, 303);
    let (mine, theirs) = (owner.csrf(), other.csrf());
    assert_ne!(mine, theirs, "each session has its own");
    let base = muster.base();
    let evil = "https://evil.example";
    let refused: [(&str, &[(&str, &str)]); 9] = [
        ("", &[]),
        ("wrong", &[]),
        (&theirs, &[]),
        (&mine, &[("origin", evil)]),
        (&mine, &[("origin", "null")]),
        (&mine, &[("sec-fetch-site", "cross-site")]),
        (&mine, &[("sec-fetch-site", "same-site"), ("origin", &base)]),
        (&mine, &[("origin", "http://127.0.0.1")]),
        (&mine, &[("origin", evil), ("x-forwarded-host", "evil.example")]),
    ];
    for (token, headers) in refused {
        let form = [("csrf", token), ("name", "Taken")];
        let (status, _) = owner.post_with("/settings", headers, &form);
        assert_eq!(status, 403, "{headers:?}");
        let (status, _) = owner.patch("/api/v1/settings", headers, Some(token), json!({ "name": "Taken" }));
        assert_eq!(status, 403, "{headers:?}");
    }
    assert_eq!(owner.patch("/api/v1/settings", &[], None, json!({ "name": "Taken" })).0, 403);
    // A token in the address or under another name counts for nothing.
    assert_eq!(owner.post_with(&format!("/settings?csrf={mine}"), &[], &[("name", "Taken")]).0, 403);
    assert_eq!(muster.server().site().settings.name(), "Plant 03");
    let good: [&[(&str, &str)]; 3] =
        [&[], &[("origin", &base)], &[("sec-fetch-site", "same-origin"), ("origin", &base)]];
    for (number, headers) in good.into_iter().enumerate() {
        let name = format!("Plant {number}");
        assert_eq!(owner.post_with("/settings", headers, &[("csrf", &mine), ("name", &name)]).0, 303);
        assert_eq!(muster.server().site().settings.name(), name);
    }
    // Signing somebody in from another site is refused as well.
    let form = [("login", "ines"), ("password", PASSWORD)];
    assert_eq!(muster.browser().post_with("/login", &[("origin", evil)], &form).0, 403);
}

#[test]
fn a_method_cannot_be_disguised() {
    let muster = Muster::start();
    let owner = muster.owner();
    let csrf = owner.csrf();
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let (status, text) = owner.post_with("/api/v1/settings", &[(name, "PATCH")], &[("name", "Taken")]);
        assert_eq!(status, 405, "{name}: {text}");
        assert_eq!(owner.get_with("/settings", &[(name, "POST")]).0, 200);
    }
    let form = [("_method", "DELETE"), ("csrf", csrf.as_str()), ("name", "")];
    assert_ne!(owner.post_with("/settings", &[], &form).0, 200);
    // A GET changes nothing, whatever it carries.
    owner.get(&format!("/settings?name=Taken&csrf={csrf}"));
    assert_eq!(muster.server().site().settings.name(), "Plant 03");
}

#[test]
fn static_files_are_those_inside_the_program() {
    let muster = Muster::start();
    let browser = muster.browser();
    let prefix = muster::engine::http::assets::prefix();
    assert_eq!(browser.get(&format!("{prefix}/muster.css")).0, 200);
    for tail in [
        "../Cargo.toml",
        "..%2f..%2fCargo.toml",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//etc/passwd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "..%5c..%5cCargo.toml",
        "fonts/../../Cargo.toml",
        "muster.css%00.txt",
        "",
        ".",
    ] {
        let (status, text) = browser.get(&format!("{prefix}/{tail}"));
        assert!(status == 404 || status == 303, "{tail}: {status}");
        assert!(!text.contains("root:") && !text.contains("[package]"), "{tail}");
    }
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::harness::config();
    config.http.requests_per_person_per_second_max = 1;
    let muster = Muster::open(folder.path().join("data"), config);
    let (api, other) = (muster.api("owner"), muster.api("viewer"));
    let path = "/api/v1/settings";
    let (status, headers) = api.head(path);
    assert_eq!(status, 200);
    let names = |headers: &ureq::http::HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    let policy = names(&headers, "ratelimit-policy");
    assert_eq!(policy, "\"address\";q=1000;w=10, \"person\";q=10;w=10, \"tenant\";q=5000;w=10");
    assert!(names(&headers, "ratelimit").contains("\"person\";r=9;t=1"), "{headers:?}");
    let mut refused = None;
    for _ in 0..60 {
        let (status, headers) = api.head(path);
        if status == 429 {
            refused = Some(headers);
            break;
        }
    }
    let headers = refused.expect("one of them is too much");
    assert_eq!(names(&headers, "retry-after"), "1");
    assert!(names(&headers, "ratelimit").contains("\"person\";r=0"), "{headers:?}");
    assert_eq!(other.head(path).0, 200, "another key is not held up");
    let (_, turned) = muster.browser().get("/metrics");
    assert!(turned.contains("muster_http_turned_away_total{why=\"rate\"} 1"), "{turned}");
}

#[test]
fn a_person_at_work_is_never_held_up() {
    let muster = Muster::start();
    let owner = muster.owner();
    // Far more than somebody can click: every page of the navigation, five times over.
    for _ in 0..5 {
        for page in [
            "/",
            "/agents",
            "/tasks",
            "/people",
            "/settings",
            "/audit",
            "/backups",
            "/account",
            "/help/network",
        ] {
            let (status, _) = owner.get(page);
            assert_eq!(status, 200, "{page}");
        }
    }
}

#[test]
fn a_session_that_somebody_brings_along_is_not_the_one_that_a_sign_in_gives() {
    let muster = Muster::start();
    let owner = muster.owner();
    let person = json!({ "login": "omar", "name": "Omar", "role": "viewer", "password": PASSWORD });
    assert_eq!(muster.api("owner").post("/api/v1/identity/users", person).0, 200);
    let attacker = muster.browser();
    assert_eq!(attacker.post("/login", &[("login", "omar"), ("password", PASSWORD)]).0, 303);
    let theirs = attacker.cookie();
    let made_up = "__Host-muster=mss_0000000000000000000000000000000000000000000000000";
    let who = |cookie: &str| muster.browser().get_with("/account", &[("cookie", cookie)]);
    for (planted, csrf) in [(theirs.as_str(), attacker.csrf()), (made_up, String::new())] {
        let victim = muster.browser();
        let form = [("login", "ines"), ("password", PASSWORD), ("csrf", csrf.as_str())];
        let (status, text) = victim.post_with("/login", &[("cookie", planted)], &form);
        assert_eq!(status, 303, "{text}");
        let own = victim.cookie();
        assert_ne!(own, planted);
        assert!(who(&own).1.contains("Inès Moreau"), "the victim is in");
        let (status, page) = who(planted);
        assert!(status == 303 || !page.contains("Inès Moreau"), "and what was planted is not: {status}");
    }
    // Signed out, the cookie is dead wherever a copy of it is.
    let (copy, csrf, base) = (owner.cookie(), owner.csrf(), muster.base());
    let (status, _) = owner.post_with("/logout", &[("origin", &base)], &[("csrf", &csrf)]);
    assert_eq!((status, who(&copy).0), (303, 303));
}

#[test]
fn a_secret_counts_in_its_own_place_only() {
    let muster = Muster::start();
    let made = muster.call("identity.key_create", json!({ "name": "ci", "role": "owner" }));
    let text = made["text"].as_str().unwrap();
    let cookie = muster.owner().cookie();
    let value = cookie.split_once('=').unwrap().1;
    let browser = muster.browser();
    let path = "/api/v1/identity/users";
    for (path, headers) in [
        (format!("{path}?access_token={text}"), vec![]),
        (format!("{path}?key={text}"), vec![]),
        (path.to_owned(), vec![("x-api-key", text.to_owned())]),
        (path.to_owned(), vec![("cookie", format!("__Host-muster={text}"))]),
        (path.to_owned(), vec![("authorization", format!("Bearer {value}"))]),
        (path.to_owned(), vec![("authorization", format!("Basic {text}"))]),
        (path.to_owned(), vec![("authorization", text.to_owned())]),
        // Who shows a key that is none is not taken for the person of a cookie.
        (path.to_owned(), vec![("authorization", "Bearer mst_x".to_owned()), ("cookie", cookie.clone())]),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let (status, text) = browser.get_with(&path, &headers);
        assert_eq!(status, 401, "{path} {headers:?}: {text}");
    }
    let bearer = format!("Bearer {text}");
    assert_eq!(browser.get_with(path, &[("authorization", &bearer)]).0, 200);
}
