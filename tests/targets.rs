//! Targets of files against servers that nobody here wrote: OpenSSH's and an S3 store's. `tests/targets.py` starts them
//! and says by the environment where they are; `cargo test` alone does not run this.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../src/engine/outbound/target/contract.rs"]
mod contract;

use std::io::Write;

use contract::Sort;
use muster::base::{Kind, Secret};
use muster::engine::clock::Clock;
use muster::engine::outbound::egress::Egress;
use muster::engine::outbound::target::{
    Pace, S3Settings, Settings, SftpSettings, State, Target, new_identity, scan_host_key,
};
// The contract is the engine's own file and names these from the crate's root.
use muster::{base, engine};

/// What the story says.
fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not told; run tests/targets.py"))
}

fn port(name: &str) -> u16 {
    told(name).parse().unwrap()
}

fn open(settings: Settings, secret: &str) -> Box<dyn Target> {
    let clock = Clock::system();
    let egress = Egress::new(&clock);
    let (host, port) = settings.destination().unwrap().unwrap();
    egress.allow(&host, port, "test", "test", clock.now()).unwrap();
    settings.open(Some(Secret::new(secret.to_owned())), &egress, &clock).unwrap()
}

/// A folder that does not exist yet, under the one that the story gave.
fn folder() -> String {
    let folder = format!("{}/{:x}", told("SFTP_FOLDER"), u64::from_le_bytes(Clock::system().random()));
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// The SSH server, with its true host key, and a key that it lets in.
fn sftp(folder: &str) -> (SftpSettings, Secret<String>) {
    let clock = Clock::system();
    let egress = Egress::new(&clock);
    let port = port("SFTP_PORT");
    egress.allow("127.0.0.1", port, "test", "test", clock.now()).unwrap();
    let shown = scan_host_key(&egress.permit("127.0.0.1", port).unwrap()).unwrap();
    let known = told("SFTP_FINGERPRINT");
    let host_key = shown.iter().find(|key| key.fingerprint == known).unwrap().key.clone();
    let (key, public) = new_identity(&clock, "muster test").unwrap();
    let authorized = std::fs::OpenOptions::new().append(true).open(told("SFTP_AUTHORIZED"));
    writeln!(authorized.unwrap(), "{public}").unwrap();
    let settings = SftpSettings {
        host: "127.0.0.1".into(),
        port,
        user: told("SFTP_USER"),
        folder: folder.to_owned(),
        host_key,
        keep_free_bytes: 0,
    };
    (settings, key)
}

#[test]
fn sftp_keeps_the_contract() {
    let (settings, key) = sftp(&folder());
    let target = open(Settings::Sftp(settings.clone()), key.expose());
    assert!(target.probe().unwrap().free_bytes.unwrap() > 0);
    contract::keeps(&*target, Sort { bytes: 5_000_000, ..Sort::plain() });
    assert_eq!(std::fs::read_dir(&settings.folder).unwrap().count(), 0, "nothing is left");
    // Longer than what is compared at the end of a part.
    let large = contract::local(100_000_000);
    contract::interrupted(&*target, "large", large.path(), 90_000_000);
    let put = target.put("large", large.path(), &Pace::new(&Clock::system())).unwrap();
    assert!(put.resumed >= 90_000_000, "{put:?}");
    let there = std::fs::read(format!("{}/large", settings.folder)).unwrap();
    assert!(there == std::fs::read(large.path()).unwrap());
}

#[test]
fn sftp_speaks_with_the_pinned_server_only() {
    let (settings, key) = sftp(&folder());
    // A key of the same kind that is another one.
    let (_, public) = new_identity(&Clock::system(), "other").unwrap();
    let words: Vec<&str> = public.split(' ').collect();
    let other = SftpSettings { host_key: format!("{} {}", words[0], words[1]), ..settings.clone() };
    let error = open(Settings::Sftp(other), key.expose()).list().unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden, "{error}");
    assert!(error.message().contains("another host key"), "{error}");
    let (stranger, _) = new_identity(&Clock::system(), "stranger").unwrap();
    let error = open(Settings::Sftp(settings.clone()), stranger.expose()).list().unwrap_err();
    assert!(error.message().contains("does not let the key in"), "{error}");
    let none = SftpSettings { folder: format!("{}/none", settings.folder), ..settings.clone() };
    let target = open(Settings::Sftp(none), key.expose());
    assert_eq!(target.list().unwrap_err().kind(), Kind::NotFound);
    assert_eq!(target.probe().unwrap_err().kind(), Kind::NotFound);
    let full = SftpSettings { keep_free_bytes: u64::MAX, ..settings.clone() };
    let file = contract::local(10_000);
    let error = open(Settings::Sftp(full), key.expose())
        .put("a", file.path(), &Pace::new(&Clock::system()))
        .unwrap_err();
    assert!(error.message().contains("are lacking"), "{error}");
    // Neither keys nor what OpenSSH knows of hosts stay behind.
    for folder in ["/dev/shm", &std::env::temp_dir().to_string_lossy()] {
        let left = std::fs::read_dir(folder).into_iter().flatten();
        let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("muster-ssh-");
        for entry in left.filter_map(Result::ok).filter(|entry| ours(&entry.file_name())) {
            let key = std::fs::read_to_string(entry.path().join("identity")).unwrap_or_default();
            assert!(!key.contains(stranger.expose().lines().nth(3).unwrap()), "{:?}", entry.path());
        }
    }
}

#[test]
fn sftp_does_not_list_what_is_foreign() {
    let (settings, key) = sftp(&folder());
    let target = open(Settings::Sftp(settings.clone()), key.expose());
    for name in ["a b", ".hidden", "x.part", "good"] {
        std::fs::write(format!("{}/{name}", settings.folder), "x").unwrap();
    }
    std::fs::create_dir(format!("{}/folder", settings.folder)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", format!("{}/link", settings.folder)).unwrap();
    let names: Vec<String> = target.list().unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["good"]);
    assert_eq!(target.get("link", 0, &mut Vec::new()).unwrap_err().kind(), Kind::NotFound);
    std::os::unix::fs::symlink("/etc/passwd", format!("{}/new.part", settings.folder)).unwrap();
    let file = contract::local(10);
    assert!(target.put("new", file.path(), &Pace::new(&Clock::system())).is_err());
}

fn s3(endpoint: &str, prefix: &str, authority: Option<&str>) -> S3Settings {
    S3Settings {
        endpoint: told(endpoint),
        bucket: told("S3_BUCKET"),
        region: "us-east-1".into(),
        prefix: prefix.into(),
        path_style: true,
        access_key: "test-key".into(),
        authority: authority.map(|name| std::fs::read_to_string(told(name)).unwrap()),
    }
}

fn in_parts() -> Sort {
    Sort { bytes: 20 * 1024 * 1024, step: 8 * 1024 * 1024, readable: true }
}

#[test]
fn s3_keeps_the_contract_in_the_clear() {
    let target = open(Settings::S3(s3("S3_HTTP", "", None)), "secret");
    contract::keeps(&*target, in_parts());
}

#[test]
fn s3_keeps_the_contract_in_a_folder_and_over_tls() {
    let target = open(Settings::S3(s3("S3_HTTPS", "plant/muster", Some("S3_AUTHORITY"))), "secret");
    assert_eq!(target.state().unwrap(), State::Ready);
    contract::keeps(&*target, in_parts());
    // What lies deeper or beside is not ours.
    let deeper = open(Settings::S3(s3("S3_HTTPS", "plant/muster/deeper", Some("S3_AUTHORITY"))), "secret");
    let file = contract::local(10);
    deeper.put("a", file.path(), &Pace::new(&Clock::system())).unwrap();
    assert_eq!(target.list().unwrap(), []);
    deeper.remove("a").unwrap();
}

#[test]
fn s3_speaks_with_a_certified_store_only() {
    let target = open(Settings::S3(s3("S3_HTTPS", "", Some("S3_OTHER_AUTHORITY"))), "secret");
    let error = target.list().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.detail().to_lowercase().contains("certificate"), "{error}");
    // Plain HTTP to a port that speaks TLS.
    let endpoint = told("S3_HTTPS").replace("https://", "http://");
    let plain = S3Settings { endpoint, ..s3("S3_HTTP", "", None) };
    assert!(open(Settings::S3(plain), "secret").list().is_err());
    let missing = S3Settings { bucket: "no-such-bucket".into(), ..s3("S3_HTTP", "", None) };
    let target = open(Settings::S3(missing), "secret");
    assert_eq!(target.probe().unwrap_err().kind(), Kind::NotFound);
}
