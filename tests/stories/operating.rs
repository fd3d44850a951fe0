//! What an administrator does on the host itself: look what is wrong, set a site up from a file, change the configuration
//! of a running server.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use muster::server::config::{Config, Sources};
use serde_json::Value;

use crate::edge::{GET, ask, client, connect, status};
use crate::harness::{Muster, PASSWORD};

fn muster(arguments: &[&str], folder: &Path, config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.stdin(Stdio::null()).args(arguments).arg("--data").arg(folder).arg("--config").arg(config);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A configuration that was read from a file, on free ports.
fn configured(file: &Path, more: &str) -> Config {
    let text = format!("[mqtt]\naddress = \"127.0.0.1:0\"\n[http]\naddress = \"127.0.0.1:0\"\n{more}");
    std::fs::write(file, &text).unwrap();
    Config::assemble(&Sources { file: Some((file.display().to_string(), text)), ..Sources::default() })
        .unwrap()
}

/// What the doctor found of this subject: its level and its words.
fn found(output: &Output, subject: &str) -> (String, String) {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["subject"] == subject);
    let finding = finding.unwrap_or_else(|| panic!("nothing of {subject}: {report}"));
    let word = |name: &str| finding[name].as_str().unwrap().to_owned();
    (word("level"), format!("{} {}", word("found"), word("remedy")))
}

#[test]
fn the_doctor_looks_at_a_server_that_runs_and_at_one_that_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("muster.toml"));
    let config = configured(&file, "");
    let output = muster(&["doctor", "--json"], &data, &file);
    assert_eq!(found(&output, "server").0, "good", "{}", text(&output));
    assert!(!data.exists(), "it makes nothing");

    let server = Muster::open(data.clone(), config);
    let output = muster(&["doctor", "--json"], &data, &file);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
    assert!(found(&output, "server").1.contains(&std::process::id().to_string()), "{}", text(&output));
    for subject in ["authority", "certificate", "newest change", "permissions", "configuration", "randomness"]
    {
        assert_eq!(found(&output, subject).0, "good", "{}", text(&output));
    }
    let names: Vec<_> = std::fs::read_dir(&data).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".doctor")), "{names:?}");

    let (data, _keep) = server.release();
    let output = muster(&["doctor", "--json"], &data, &file);
    assert!(found(&output, "server").1.contains("stopped"), "{}", text(&output));
    assert_eq!(found(&output, "authority").0, "good");

    std::fs::write(&file, "[log]\nlevel = \"loud\"\n").unwrap();
    let output = muster(&["doctor"], &data, &file);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("log.level"), "{}", text(&output));
}

#[test]
fn who_holds_a_port_is_named_by_the_doctor_and_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("muster.toml"));
    let (http, mqtt) = (
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let own = format!("process {}", std::process::id());
    for (section, listener, other) in [("http", &http, "mqtt"), ("mqtt", &mqtt, "http")] {
        let held = port(listener);
        let text_of_file =
            format!("[{section}]\naddress = \"127.0.0.1:{held}\"\n[{other}]\naddress = \"127.0.0.1:0\"\n");
        std::fs::write(&file, text_of_file).unwrap();
        let output = muster(&["doctor", "--json"], &data, &file);
        assert_eq!(output.status.code(), Some(2));
        let (level, words) = found(&output, &format!("port {held}"));
        assert!(level == "bad" && words.contains(&own), "{words}");
        let output = muster(&["serve", "--no-agent"], &data, &file);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output);
        assert!(said.contains(&own) && said.contains(&format!("{section}.address")), "{said}");
    }
}

#[test]
fn a_site_is_set_up_from_a_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("muster.toml"));
    let answers = folder.path().join("answers.toml");
    let config = configured(&file, "");
    let init = || muster(&["init", "--answers", answers.to_str().unwrap()], &data, &file);
    std::fs::write(&answers, "[site]\nname = 7\n[owner]\nlogin = \"a b\"\npassword = \"short\"\n[zone]\n")
        .unwrap();
    let output = init();
    assert_eq!(output.status.code(), Some(2));
    for part in ["toml:2", "login name", "too short", "zone"] {
        assert!(text(&output).contains(part), "{part}: {}", text(&output));
    }
    assert!(!data.exists() && !std::fs::read_to_string(&file).unwrap().contains("[site]"), "nothing changed");

    let wanted = format!(
        "[site]\nname = \"Lyon\"\nhosts = [\"localhost\"]\n[owner]\nlogin = \"ines\"\npassword = \"{PASSWORD}\"\n"
    );
    std::fs::write(&answers, wanted).unwrap();
    let output = init();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("changed   hosts") && said.contains("changed   site name"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("hosts = [\"localhost\"]"));
    let before = std::fs::read_to_string(&file).unwrap();
    let said = text(&init());
    assert!(said.contains("Nothing changed") && !said.contains("\nchanged"), "{said}");

    // The same on a running server, in which the owner can come in.
    let server = Muster::open(data.clone(), config);
    let last = server.server().site().store.last_change();
    let said = text(&init());
    assert!(said.contains("Nothing changed"), "{said}");
    assert_eq!(
        (server.server().site().store.last_change(), std::fs::read_to_string(&file).unwrap()),
        (last, before)
    );
    assert!(!server.server().needs_setup());
    let (answered, _) = server.browser().post("/login", &[("login", "ines"), ("password", PASSWORD)]);
    assert_eq!(answered, 303, "the owner signs in");
    std::fs::write(&answers, "[owner]\nlogin = \"zoe\"\n").unwrap();
    let output = init();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("has an owner already, `ines`"), "{}", text(&output));
}

#[test]
fn an_owner_without_a_password_gets_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("muster.toml"));
    let answers = folder.path().join("answers.toml");
    let server = Muster::open(data.clone(), configured(&file, ""));
    std::fs::write(&answers, "[owner]\nlogin = \"ines\"\nname = \"Inès Moreau\"\n").unwrap();
    let output = muster(&["init", "--json", "--answers", answers.to_str().unwrap()], &data, &file);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["changed"], true);
    assert!(
        told["link"].as_str().unwrap().contains(&format!(":{}/login", server.server().address().port())),
        "{told}"
    );
    let output = muster(&["init", "--json", "--answers", answers.to_str().unwrap()], &data, &file);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["changed"], &told["link"]), (&Value::Bool(false), &Value::Null), "{told}");
}

#[test]
fn a_reload_takes_networks_and_limits_over_and_ends_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("muster.toml"));
    let server = Muster::open(data.clone(), configured(&file, ""));
    let authority = server.server().site().authority.certificate_pem();
    let open = || {
        connect(server.server().address().port(), "127.0.0.1", client(&authority, &[&rustls::version::TLS13]))
    };
    let mut old = open().unwrap();
    assert_eq!(status(&ask(&mut old, GET)), 200);

    let fresh = "deny = [\"127.0.0.1\"]\nrequests_per_person_per_second_max = 7\n[log]\nlevel = \"warn\"\n";
    configured(&file, fresh);
    let said = text(&muster(&["config", "diff"], &data, &file));
    let (reload, restart) = said.split_once("only at a restart").unwrap();
    assert!(
        reload.contains("at `muster reload`") && reload.contains("http.deny: [] -> [\"127.0.0.1\"]"),
        "{said}"
    );
    assert!(restart.contains("log.level") && !restart.contains("requests_per_person"), "{said}");

    let output = muster(&["reload"], &data, &file);
    let said = text(&output);
    assert!(
        output.status.success() && said.contains("http.deny") && said.contains("Waits for a restart"),
        "{said}"
    );
    assert_eq!(status(&ask(&mut old, GET)), 200, "the connection that was open goes on");
    assert!(open().is_err(), "a new one is cut off");

    // A file with a mistake changes nothing.
    std::fs::write(&file, "[http]\nadress = 1\n").unwrap();
    let output = muster(&["reload"], &data, &file);
    assert!(!output.status.success() && text(&output).contains("adress"), "{}", text(&output));
    assert!(open().is_err());

    configured(&file, "");
    assert!(muster(&["reload"], &data, &file).status.success());
    assert_eq!(status(&ask(&mut open().unwrap(), GET)), 200);
    let changes = server.server().site().store.changes(0, 1_000).unwrap();
    let told =
        changes.iter().flat_map(|change| &change.events).filter(|event| event.name == "settings.reloaded");
    assert_eq!(told.count(), 2);
}

#[test]
fn every_key_is_shown_with_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("muster.toml");
    configured(&file, "connections_max = 99\n");
    let output = Command::new(env!("CARGO_BIN_EXE_muster"))
        .args(["config", "show", "--config"])
        .arg(&file)
        .env("MUSTER_LOG_LEVEL", "debug")
        .output()
        .unwrap();
    let said = text(&output);
    for part in
        ["connections_max = 99  # ", "muster.toml:5", "level = \"debug\"  # MUSTER_LOG_LEVEL", "  # default"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}
