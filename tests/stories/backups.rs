//! The way back: a backup of a running site, restored into another folder and opened as a server; what fails says why.

use std::fs;

use muster::base::Span;
use muster::capabilities::backups::{self, Meter, Restoring};
use muster::capabilities::{agents, telemetry};
use muster::engine::archive::RecoveryKey;
use muster::engine::clock::Clock;
use muster::engine::crypto::Kek;
use muster::engine::outbound::mqtt::Quality;
use muster::engine::store::Until;
use muster::wire::UpKind;
use serde_json::{Value, json};

use crate::devices::{Device, runtime};
use crate::harness::{Api, Muster, config, until};

const WITHIN: Span = Span::from_seconds(60);

/// A site with one device that has told an event, metrics and lines.
fn site() -> (Muster, Device) {
    let muster = Muster::start();
    let device = Device::new(&muster, "press-07");
    runtime().block_on(async {
        let (agent, _incoming) = device.connect(&muster).await;
        for (kind, payload) in [
            (UpKind::Metrics, json!({ "values": { "temperature_celsius": 21.5 } })),
            (UpKind::Events, json!({ "events": [{ "id": "e1", "name": "door", "text": "open" }] })),
        ] {
            let sent = agent.publish(&device.up(kind), payload.to_string(), Quality::AtLeastOnce).await;
            sent.unwrap().acknowledged().await.unwrap();
        }
    });
    (muster, device)
}

/// Asks for a full backup over HTTP, waits until it is there, and gives its name.
fn backed_up(api: &Api) -> String {
    let before = api.get("/api/v1/backups").1["items"].as_array().unwrap().len();
    let (status, answer) = api.post("/api/v1/backups", json!({ "telemetry": true }));
    assert!(status < 300, "{status} {answer}");
    until(WITHIN, "a backup", || {
        let (_, list) = api.get("/api/v1/backups");
        let items = list["items"].as_array().unwrap();
        let newest = items.iter().find(|b| b["full"] == json!(true) && b["verified"].is_string());
        (items.len() > before).then(|| newest.map(|b| b["name"].as_str().unwrap().to_owned())).flatten()
    })
}

fn kit(api: &Api) -> RecoveryKey {
    let (status, kit) = api.post("/api/v1/backups/kit", json!({}));
    assert_eq!(status, 200, "{kit}");
    RecoveryKey::parse(kit["secrets"][0].as_str().unwrap()).unwrap()
}

fn restore(
    from: &std::path::Path,
    to: &std::path::Path,
    key: RecoveryKey,
) -> muster::base::Result<backups::Report> {
    let clock = Clock::system();
    let restoring = Restoring {
        keys: &[key],
        kek: &|folder| Kek::File(folder.join("kek")),
        telemetry: true,
        clock: &clock,
        by: "root",
        progress: &Meter::new(&clock, 0),
    };
    backups::restore_into(to, &backups::open_repository(from)?, &Until::End, &restoring)
}

/// What a person would compare: agents, their events and the last reading.
fn told(muster: &Muster) -> (Value, usize, Value) {
    let list = agents::ops::list(&muster.ctx(), Default::default()).unwrap();
    let names: Vec<String> = list.items.iter().map(|v| format!("{} {}", v.agent.id, v.agent.name)).collect();
    let events = telemetry::ops::events(&muster.ctx(), Default::default()).unwrap().items;
    let site = &muster.server().site();
    (json!(names), events.len(), json!(site.series.stats().series))
}

#[test]
fn a_backup_of_a_running_site_opens_as_the_same_site_elsewhere() {
    let (muster, device) = site();
    let api = muster.api("owner");
    let name = backed_up(&api);
    let key = kit(&api);
    let before = told(&muster);
    assert!(before.1 > 0 && before.2 != json!(0), "there is something to bring back: {before:?}");
    let fingerprint = muster.server().fingerprint();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("restored");
    let report = restore(&muster.folder.join("backups"), &to, key).unwrap();
    assert!(report.files.contains(&name) && report.telemetry_files > 0, "{report:?}");
    assert!(to.join(backups::RESTORED).is_file(), "the first start is told of it");
    assert_eq!(report.restored.generation, 2);
    drop(muster);
    let restored = Muster::open(to.clone(), config());
    assert_eq!(told(&restored), before);
    assert_eq!(restored.server().fingerprint(), fingerprint, "agents go on trusting it");
    // The device signs in with the secret that it has had all along.
    runtime().block_on(async {
        let (agent, _incoming) = device.connect(&restored).await;
        let payload = json!({ "values": { "temperature_celsius": 22.0 } }).to_string();
        let sent = agent.publish(&device.up(UpKind::Metrics), payload, Quality::AtLeastOnce).await;
        sent.unwrap().acknowledged().await.unwrap();
    });
    drop(restored);
}

#[test]
fn a_wrong_key_and_a_damaged_file_are_refused_by_name() {
    let (muster, _device) = site();
    let api = muster.api("owner");
    let name = backed_up(&api);
    let (key, again) = (kit(&api), kit(&api));
    let to = muster.folder.with_file_name("restored");
    let from = muster.folder.join("backups");
    let error = restore(&from, &to, RecoveryKey::generate(&Clock::system()).unwrap()).unwrap_err();
    assert!(error.message().contains("does not open") && error.message().contains(&name), "{error}");
    let path = from.join(&name);
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.len() * 2 / 3;
    bytes[place] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    let error = restore(&from, &to, key).unwrap_err();
    assert!(error.message().contains(&name), "{error}");
    bytes.truncate(place);
    fs::write(&path, &bytes).unwrap();
    let error = restore(&from, &to, again).unwrap_err();
    assert!(error.message().contains(&name), "{error}");
    assert!(!to.exists() && !to.with_file_name("restored.part").exists(), "nothing half done");
    // Who may not, is not shown the key.
    let operator = muster.api("operator");
    assert_eq!(operator.post("/api/v1/backups/kit", json!({})).0, 403);
    assert_eq!(operator.get("/api/v1/backups").0, 200);
}

#[test]
fn copies_go_to_a_folder_and_the_first_screen_says_so() {
    let (muster, _device) = site();
    let owner = muster.owner();
    let api = muster.api("owner");
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().to_str().unwrap();
    let target = json!({
        "name": "NAS", "outside": true, "settings": { "kind": "folder", "path": path },
    });
    let (status, made) = api.post("/api/v1/backups/targets", target);
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_str().unwrap();
    let (status, tested) = api.post(&format!("/api/v1/backups/targets/{id}/test"), json!({}));
    assert_eq!(status, 200, "{tested}");
    assert!(owner.get("/").1.contains("none yet"));
    let name = backed_up(&api);
    until(WITHIN, "the copy", || elsewhere.path().join(&name).is_file().then_some(()));
    until(WITHIN, "the note of it", || {
        let (_, list) = api.get("/api/v1/backups");
        list["overview"]["left_building"].is_string().then_some(())
    });
    assert!(owner.get("/").1.contains("even if this machine is lost"));
    let page = owner.get("/backups").1;
    assert!(page.contains("NAS") && page.contains(&name), "the page names both");
    let problem = api.post("/api/v1/backups/targets", json!({ "name": "x", "settings": { "kind": "tape" } }));
    assert_eq!(problem.0, 422, "{}", problem.1);
}
