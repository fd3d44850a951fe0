//! What needs no directory; `tests/sign_on.rs` has one.

use super::*;
use crate::base::Timestamp;

fn settings(url: &str) -> Settings {
    Settings {
        url: url.into(),
        start_tls: false,
        authority: None,
        pattern: "uid={login},ou=people".into(),
        base: String::new(),
        reader: String::new(),
        filter: filter(),
        id_attribute: id_attribute(),
        name_attribute: name_attribute(),
        group_attribute: group_attribute(),
        group_base: String::new(),
        group_filter: group_filter(),
    }
}

fn open(settings: &Settings) -> Result<Directory> {
    let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1);
    Directory::new(settings, None, &Egress::new(&clock), &clock)
}

#[test]
fn passwords_go_over_tls_or_stay_here() {
    for good in ["ldap://localhost", "ldap://127.0.0.1:3890", "ldap://[::1]"] {
        assert!(open(&settings(good)).is_ok(), "{good}");
    }
    for bad in [
        "",
        "ldap.lan",
        "ldap://ldap.lan",
        "ldaps://ldap.lan",
        "ldapi:///x",
        "ldap://u@localhost",
        "ldap://localhost/dc=x",
    ] {
        assert!(open(&settings(bad)).is_err(), "{bad}");
    }
    let clear = open(&settings("ldap://ldap.lan")).err().unwrap();
    assert!(clear.message().contains("in the clear"), "{clear}");
    let twice = Settings { start_tls: true, authority: Some("x".into()), ..settings("ldaps://ldap.lan") };
    assert!(open(&twice).is_err());
    assert_eq!(settings("ldap://localhost").destination().unwrap(), ("localhost".into(), 389));
}

#[test]
fn settings_are_checked_before_anybody_signs_in() {
    let good = settings("ldap://localhost");
    for bad in [
        Settings { pattern: "uid=x,ou=people".into(), ..good.clone() },
        Settings { pattern: String::new(), ..good.clone() },
        Settings { filter: "(uid=x)".into(), ..good.clone() },
        Settings { filter: "(uid={login}".into(), ..good.clone() },
        Settings { group_filter: "member={dn}".into(), group_base: "x".into(), ..good.clone() }
            .with_filter("(&(member={dn})"),
        Settings { id_attribute: "a b".into(), ..good.clone() },
        Settings { base: "x".repeat(SETTING_BYTES_MAX + 1), ..good.clone() },
        Settings { base: "a\nb".into(), ..good.clone() },
        Settings { reader: "cn=reader".into(), ..good.clone() },
    ] {
        assert!(open(&bad).is_err(), "{bad:?}");
    }
}

impl Settings {
    fn with_filter(self, filter: &str) -> Settings {
        Settings { group_filter: filter.into(), ..self }
    }
}

#[test]
fn an_empty_password_does_not_leave() {
    let directory = open(&settings("ldap://localhost:1")).unwrap();
    // Nothing listens there and nothing is permitted: an attempt would be an error.
    assert_eq!(directory.prove("ines", "").unwrap(), None);
    assert_eq!(directory.prove("", "x").unwrap(), None);
    assert_eq!(directory.prove("ines", &"x".repeat(PASSWORD_BYTES_MAX + 1)).unwrap(), None);
    assert!(directory.prove("ines", "x").is_err(), "not on the egress list");
}
