//! A disk that fills under a running server, level by level, and empties again: what is refused, what goes on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use muster::base::Span;
use muster::engine::host;
use muster::engine::logs::Line;
use muster::engine::series::Batch;
use muster::kit::Site;
use serde_json::json;

use crate::harness::{Muster, PASSWORD, config, until};

const MIB: u64 = 1024 * 1024;

/// A small disk in memory; nothing where this may not be mounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Option<SmallDisk> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=400m,mode=700", "muster-test"]).arg(folder);
        mount.output().ok()?.status.success().then(|| SmallDisk(folder.to_owned()))
    }

    fn free(&self) -> u64 {
        host::space(&self.0).unwrap().free
    }

    /// Takes so much of it that this many MiB are free.
    fn leave(&self, mebibytes: u64) {
        let ballast = self.0.join("ballast");
        let _ = std::fs::remove_file(&ballast);
        let take = self.free().saturating_sub(mebibytes * MIB);
        let file = File::create(&ballast).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, take).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a thread may let go of its last file a moment later.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn telemetry(site: &Site) {
    for back in 0..4 {
        let at = site.clock.now() - Span::from_days(back);
        let line = Line { at, severity: 2, origin: "sshd", text: "hello" };
        site.logs.append(7, None, &[line]).unwrap().wait().unwrap();
        site.series.append(&[Batch { source: 7, at, values: &[("x", 1.0)] }]).unwrap().wait().unwrap();
    }
    site.logs.seal_all().unwrap();
    site.series.seal_all().unwrap();
}

#[test]
fn a_full_disk_is_lived_through_level_by_level() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let muster = Muster::open(folder.path().join("data"), config());
    let browser = muster.owner();
    let csrf = browser.csrf();
    let api = muster.api("owner");
    let site = muster.server().site().clone();
    telemetry(&site);
    let level = |expected: &str| {
        until(Span::from_seconds(30), expected, || {
            let (status, storage) = api.get("/api/v1/storage");
            (status == 200 && storage["level"] == expected).then_some(storage)
        })
    };
    let says = |text: &str| {
        until(Span::from_seconds(30), text, || {
            let (status, page) = browser.get("/storage");
            (status == 200 && page.contains(text)).then_some(())
        });
    };
    let line = || {
        let at = site.clock.now();
        site.logs.append(7, None, &[Line { at, severity: 2, origin: "a", text: "b" }]).is_ok()
    };
    let sample =
        || site.series.append(&[Batch { source: 7, at: site.clock.now(), values: &[("x", 2.0)] }]).is_ok();
    let code = || api.post("/api/v1/agents/join-codes", json!({})).0;

    level("normal");
    disk.leave(190);
    level("early");
    says("The disk fills:");
    assert_eq!((site.logs.days().len(), site.series.days().len()), (4, 4));

    disk.leave(150);
    level("shedding");
    until(Span::from_seconds(30), "the oldest days to go", || {
        (site.logs.days().len() == 2 && site.series.days().len() == 2).then_some(())
    });
    says("The oldest days of logs and metrics are dropped");
    assert!(line() && sample() && code() == 200);

    disk.leave(110);
    assert!(!line() && sample() && code() == 200, "lines of logs are refused first");
    disk.leave(80);
    assert!(!line() && !sample() && code() == 200, "then samples");

    disk.leave(40);
    let (status, problem) = api.post("/api/v1/agents/join-codes", json!({}));
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("the disk is full"), "{problem}");
    assert!(problem.to_string().contains("reading goes on"), "{problem}");
    level("critical");
    says("the site is read-only");
    let (status, page) = browser.post("/settings", &[("csrf", &csrf), ("name", "Another")]);
    assert_eq!(status, 503);
    assert!(page.contains("the disk is full") && page.contains("nothing can be changed"), "{page}");
    // Nothing is given away without an entry, and nobody new comes in.
    for path in ["/api/v1/audit/export", "/api/v1/backups/kit"] {
        let (status, problem) = api.post(path, json!({}));
        assert_eq!(status, 503, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("the audit log cannot be written"), "{problem}");
    }
    let (status, page) = muster.browser().post("/login", &[("login", "ines"), ("password", PASSWORD)]);
    assert!(status == 503 && page.contains("the disk is full"), "{status} {page}");
    for path in ["/", "/agents", "/tasks", "/audit", "/storage", "/settings"] {
        assert_eq!(browser.get(path).0, 200, "{path} is read-only, not down");
    }
    let sign_in = [("login", "ines"), ("password", PASSWORD)];
    assert_eq!(muster.browser().post("/login", &sign_in).0, 503, "it says why nobody can sign in");

    std::fs::remove_file(folder.path().join("ballast")).unwrap();
    level("normal");
    assert!(line() && sample() && code() == 200, "everything goes on without a restart");
    let told = until(Span::from_seconds(20), "what happened, in the audit trail", || {
        let (_, trail) = api.get("/api/v1/audit?filter=event:storage.*&limit=100");
        let told: Vec<String> = trail["items"]
            .as_array()?
            .iter()
            .rev()
            .map(|entry| {
                format!("{} {}", entry["event"].as_str().unwrap(), entry["subject"].as_str().unwrap())
            })
            .collect();
        let back = trail["items"][0]["detail"].to_string().contains("normal");
        (back && told.len() >= 7).then_some(told)
    });
    for event in ["storage.shed logs", "storage.shed metrics", "storage.level_changed disk"] {
        assert!(told.iter().any(|told| told == event), "{told:?}");
    }
    let last = |what: &str| told.iter().rposition(|told| told.ends_with(what)).unwrap();
    let first = |what: &str| told.iter().position(|told| told.ends_with(what)).unwrap();
    assert!(last("shed logs") < first("shed metrics"), "logs go before metrics: {told:?}");
    drop(site);
    drop(muster);
    drop(disk);
}
