//! Sign-in by a directory, in the same steps for everybody. The directory is made here, and counts what it is asked;
//! `tests/sign_on.py` has a real one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

/// The one entry of the directory.
const ENTRY: &str = "uid=lina,ou=people";

struct Fake {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Fake { port, asked }
    }

    /// What it was asked since the last time.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock())
    }
}

/// Tag and content of the next element (X.690), which `bytes` loses.
fn element<'a>(bytes: &mut &'a [u8]) -> (u8, &'a [u8]) {
    let (tag, first) = (bytes[0], usize::from(bytes[1]));
    let more = first.saturating_sub(128);
    let long = bytes[2..2 + more].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (begin, length) = (2 + more, if more == 0 { first } else { long });
    let content = &bytes[begin..begin + length];
    *bytes = &bytes[begin + length..];
    (tag, content)
}

fn made(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, content.len() as u8], content].concat()
}

fn result(tag: u8, code: u8) -> Vec<u8> {
    made(tag, &[&[0x0a, 1, code][..], &[4, 0], &[4, 0]].concat())
}

/// Whole messages, one after the other.
fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let mut more = vec![0; usize::from(head[1]).saturating_sub(128)];
        stream.read_exact(&mut more)?;
        let long = more.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let mut body = vec![0; if more.is_empty() { usize::from(head[1]) } else { long }];
        stream.read_exact(&mut body)?;
        let mut rest = &body[..];
        let (_, number) = element(&mut rest);
        let (operation, mut content) = element(&mut rest);
        let answers = match operation {
            // A bind: version, name, password.
            0x60 => {
                element(&mut content);
                let (_, name) = element(&mut content);
                let (_, password) = element(&mut content);
                let (name, password) = (String::from_utf8_lossy(name), String::from_utf8_lossy(password));
                let right = matches!(
                    (name.as_ref(), password.as_ref()),
                    ("cn=reader", "reads only") | (ENTRY, "directory password")
                );
                let who = if name == "cn=reader" { "the reader" } else { "somebody" };
                asked.lock().push(format!("bind {who}|{name}|{password}"));
                vec![result(0x61, if right { 0 } else { 49 })]
            }
            // A search: what is looked for stands in the filter, as it is.
            0x63 => {
                let text = String::from_utf8_lossy(content).into_owned();
                asked.lock().push(format!("search|{text}|"));
                let entry = made(0x64, &[made(4, ENTRY.as_bytes()), made(0x30, &[])].concat());
                let found = text.contains("lina").then_some(entry);
                found.into_iter().chain([result(0x65, 0)]).collect()
            }
            _ => return Ok(()),
        };
        for answer in answers {
            stream.write_all(&made(0x30, &[made(2, number), answer].concat()))?;
        }
    }
}

fn directory(rig: &Rig, settings: serde_json::Value) -> String {
    let input = json!({
        "name": "Directory", "settings": settings, "secret": "reads only", "makes_people": true,
        "mappings": [{ "group": "*", "role": "viewer" }],
    });
    ops::add(&rig.owner(), serde_json::from_value(input).unwrap()).unwrap().id
}

#[test]
fn a_directory_is_asked_in_the_same_steps_whoever_it_is() {
    let rig = rig();
    let ctx = rig.owner();
    for login in ["gone", "lina.local"] {
        people::create(&ctx, chosen(login, Role::Viewer)).unwrap();
    }
    let gone = people::create(&ctx, chosen("shut.out", Role::Viewer)).unwrap().user;
    people::disable(&ctx, ById { id: gone.id }).unwrap();
    let invited = people::create(
        &ctx,
        crate::capabilities::identity::ops::UserChosen { password: None, ..chosen("invited", Role::Viewer) },
    );
    invited.unwrap();
    let fake = Fake::start();
    let url = format!("ldap://localhost:{}", fake.port);
    let searched = json!({
        "kind": "ldap", "url": url, "base": "ou=people", "reader": "cn=reader", "filter": "(uid={login})",
    });
    let by_pattern = json!({ "kind": "ldap", "url": url, "pattern": "uid={login},ou=people" });
    for (settings, steps) in
        [(searched, vec!["bind the reader", "search", "bind somebody"]), (by_pattern, vec!["bind somebody"])]
    {
        let id = directory(&rig, settings);
        let mut answers = Vec::new();
        // Unknown here and there, known there, known here in every way.
        let logins = ["nobody", "lina", "ines", "gone", "shut.out", "invited", "lina.local"];
        for (n, login) in logins.into_iter().enumerate() {
            let local = ["ines", "gone", "shut.out", "lina.local"].contains(&login);
            for password in ["wrong password", PASSWORD] {
                if password == PASSWORD && login != "shut.out" {
                    continue;
                }
                let error = sign_in(&anonymous(&rig.site, &format!("10.2.{n}.1")), login, password);
                let error = error.unwrap_err();
                answers.push((
                    error.kind(),
                    error.message().to_owned(),
                    error.hint_text().map(str::to_owned),
                ));
                let asked = fake.take();
                let kinds: Vec<&str> = asked.iter().map(|one| one.split('|').next().unwrap()).collect();
                assert_eq!(kinds, steps, "{login}");
                if local {
                    let told = asked.iter().any(|one| one.contains(login) || one.contains(password));
                    assert!(!told, "{login} has a password here, and nothing of it leaves: {asked:?}");
                }
                let typed = asked.iter().any(|one| one.contains(password));
                assert!(!typed || matches!(login, "lina" | "nobody" | "invited"), "{login}: {asked:?}");
            }
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(answers[0].0, Kind::Unauthenticated);
        // An empty password is asked of nobody.
        for login in ["nobody", "ines"] {
            assert!(sign_in(&anonymous(&rig.site, "10.2.9.1"), login, "").is_err());
            assert_eq!(fake.take(), Vec::<String>::new());
        }
        // Local people come in without it.
        assert!(sign_in(&anonymous(&rig.site, "10.2.9.2"), "ines", PASSWORD).is_ok());
        assert_eq!(fake.take(), Vec::<String>::new());
        ops::remove(&ctx, ProviderById { id }).unwrap();
    }
}

#[test]
fn a_directory_that_is_away_tells_nobody_who_is_here() {
    let rig = rig();
    let ctx = rig.owner();
    let id = directory(
        &rig,
        json!({ "kind": "ldap", "url": "ldap://localhost:1", "pattern": "uid={login},ou=people" }),
    );
    let from = |n: u8| anonymous(&rig.site, &format!("10.1.1.{n}"));
    assert!(sign_in(&from(1), "ines", PASSWORD).is_ok(), "local people notice nothing");
    assert_eq!(sign_in(&from(1), "omar", "").unwrap_err().kind(), Kind::Unauthenticated, "nothing is bound");
    // A wrong password of somebody here gets the same answers as that of anybody, and as many tries.
    let tries = |login: &str, n: u8| -> Vec<(Kind, String)> {
        let tried = (0..8).map(|_| sign_in(&from(n), login, "some password").unwrap_err());
        tried.map(|error| (error.kind(), error.message().to_owned())).collect()
    };
    let (known, unknown) = (tries("ines", 2), tries("omar", 3));
    assert_eq!(known, unknown);
    assert_eq!((known[0].0, known[7].0), (Kind::Unavailable, Kind::TooMany), "and they are counted");
    // Linked or not, it is the same.
    let linked = LinkChosen { id: me(&ctx), provider: id, subject: "e1".into() };
    links::create(&ctx, linked).unwrap();
    assert_eq!(tries("ines", 4), unknown);
    assert!(sign_in(&from(5), "ines", PASSWORD).is_ok());
}
