use super::*;
use crate::base::{Kind, Timestamp};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJUb8Yg0Qp7mZ5X8l1p3C9x2dV6wR4tS7nK0hB5fG1eD";

fn settings() -> SftpSettings {
    SftpSettings {
        host: "127.0.0.1".into(),
        port: 22,
        user: "backup".into(),
        folder: "backups".into(),
        host_key: KEY.into(),
        keep_free_bytes: 0,
    }
}

fn open(settings: &SftpSettings) -> Result<Sftp> {
    let clock = Clock::system();
    let key = Secret::new("-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned());
    Sftp::new(settings, Some(key), &Egress::new(&clock), &clock)
}

#[test]
fn settings_are_checked_before_anything_is_started() {
    let good = settings();
    assert_eq!(open(&good).unwrap().describe(), "SFTP `backup@127.0.0.1:backups`");
    let bad = [
        SftpSettings { host: "-oProxyCommand=x".into(), ..good.clone() },
        SftpSettings { host: "a b".into(), ..good.clone() },
        SftpSettings { user: "-l".into(), ..good.clone() },
        SftpSettings { user: "a b".into(), ..good.clone() },
        SftpSettings { user: String::new(), ..good.clone() },
        SftpSettings { user: "x".repeat(USER_BYTES_MAX + 1), ..good.clone() },
        SftpSettings { folder: String::new(), ..good.clone() },
        SftpSettings { folder: "a\nb".into(), ..good.clone() },
        SftpSettings { folder: "x".repeat(FOLDER_BYTES_MAX + 1), ..good.clone() },
        SftpSettings { host_key: String::new(), ..good.clone() },
        SftpSettings { host_key: format!("{KEY} comment"), ..good.clone() },
        SftpSettings { host_key: format!("{KEY}\n* {KEY}"), ..good.clone() },
        SftpSettings { host_key: format!("@cert-authority {KEY}"), ..good.clone() },
        SftpSettings { host_key: format!("ssh-rsa {}", "A".repeat(HOST_KEY_BYTES_MAX)), ..good.clone() },
    ];
    for settings in bad {
        assert!(open(&settings).is_err(), "{settings:?}");
    }
    let clock = Clock::system();
    for key in
        [None, Some("hunter2".to_owned()), Some(format!("-----BEGIN {}", "x".repeat(PRIVATE_KEY_BYTES_MAX)))]
    {
        assert!(Sftp::new(&good, key.map(Secret::new), &Egress::new(&clock), &clock).is_err());
    }
}

#[test]
fn nothing_is_started_that_is_not_on_the_list() {
    let target = open(&settings()).unwrap();
    assert_eq!(target.list().unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(target.egress.refused()[0].attempts, 1);
}

#[test]
fn private_files_are_private_and_go() {
    use std::os::unix::fs::PermissionsExt;
    let private = Private::new(&Clock::system()).unwrap();
    let path = private.file("identity", "secret").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&private.0), mode(path.as_ref())), (0o700, 0o600));
    assert!(private.file("identity", "again").is_err());
    let folder = private.0.clone();
    drop(private);
    assert!(!folder.exists());
}

#[test]
fn a_silent_port_shows_no_host_key() {
    let clock = Clock::manual(Timestamp::default(), 1);
    let egress = Egress::new(&clock);
    // A port that nobody listens at any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    egress.allow("127.0.0.1", port, "test", "test", clock.now()).unwrap();
    let error = scan_host_key(&egress.permit("127.0.0.1", port).unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}
