//! Backup and restore as an operator does them, through the program and on the wire.
//!
//! `COPY_RUNS` says how often a running folder is copied; a handful by default, hundreds before a release.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use muster::base::Span;
use muster::capabilities::{agents, backups, tasks, telemetry};
use muster::engine::clock::Clock;
use muster::kit::{Actor, ById, Ctx, Request};
use muster::server::config::Config;
use muster::server::control::Client;
use muster::server::{Options, Server};
use muster::wire::Work;
use parking_lot::Mutex;
use serde_json::json;

use crate::crash::{free_port, load, ready, said, start};
use crate::devices::Device;
use crate::harness::{Muster, PASSWORD, config, until};
use crate::program::{end, start_agent};

/// A server that is killed when the story breaks off: whoever waits for its connections would wait for ever.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command of the program.
fn muster(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_muster")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a command that goes well says.
fn good(arguments: &[&str]) -> String {
    let output = muster(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out.into_owned()
}

/// What a command that is refused says.
fn refused(arguments: &[&str]) -> String {
    let output = muster(arguments);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
    err
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The site's recovery key, in a file of its own.
fn key(data: &Path, keep: &Path) -> PathBuf {
    let path = keep.join("key.txt");
    std::fs::write(&path, good(&["recovery-key", "show", "--data", text(data)])).unwrap();
    path
}

fn name(muster: &Muster) -> String {
    muster.server().site().settings.name()
}

fn rename(muster: &Muster, name: &str) {
    muster.call("settings.change", json!({ "name": name }));
}

/// Every event that is there, by its identifier.
fn events(muster: &Muster) -> HashSet<String> {
    let (mut found, mut after) = (HashSet::new(), None);
    loop {
        let input = telemetry::ops::QueryEvents { after, limit: Some(500), ..Default::default() };
        let page = telemetry::ops::events(&muster.ctx(), input).unwrap();
        found.extend(page.items.into_iter().map(|event| event.id));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

#[test]
fn a_backup_of_a_busy_server_comes_back_after_kill_9() {
    let owned = Muster::start();
    owned.owner();
    let devices: Vec<Device> = (0..50).map(|n| Device::new(&owned, &format!("device-{n}"))).collect();
    let authority = owned.server().site().authority.certificate_pem();
    let (data, keep) = owned.release();
    let keep = keep.unwrap();
    let file = keep.path().join("busy.muster");
    let (http, mqtt) = (free_port(), free_port());
    let acknowledged: Arc<Mutex<HashSet<String>>> = Arc::default();
    let mut server = Running(start(&data, http, mqtt));
    until(Span::from_seconds(20), "the server", || {
        assert!(server.0.try_wait().unwrap().is_none(), "the server ended: {}", said(&data));
        ready(http).then_some(())
    });
    let before = std::thread::scope(|scope| {
        let mut server = server;
        scope.spawn(|| load(&devices, &authority, mqtt, 0, &acknowledged));
        until(Span::from_seconds(20), "load", || (acknowledged.lock().len() >= 200).then_some(()));
        let before = acknowledged.lock().clone();
        let said = good(&["backup", text(&file), "--data", text(&data)]);
        assert!(said.contains("with metrics and logs") && said.contains("age1"), "{said}");
        let said = good(&["verify", "--data", text(&data)]);
        assert!(said.contains("is whole"), "a running server verifies itself: {said}");
        let at_the_end = acknowledged.lock().len();
        until(Span::from_seconds(20), "writers that went on", || {
            (acknowledged.lock().len() > at_the_end + 50).then_some(())
        });
        server.kill();
        before
    });
    let key = key(&data, keep.path());
    let said = good(&["verify", text(&file), "--key", text(&key)]);
    assert!(said.contains("every sum right"), "{said}");

    // A wrong key is told in words, and nothing is made.
    let other = Muster::start();
    let (other, other_keep) = other.release();
    let wrong = crate::recovery::key(&other, other_keep.as_ref().unwrap().path());
    let new = keep.path().join("new");
    let said = refused(&["restore", text(&file), "--data", text(&new), "--key", text(&wrong)]);
    assert!(said.contains("does not open") && said.contains("busy.muster"), "{said}");
    assert!(!new.exists());

    let said = good(&["restore", text(&file), "--data", text(&new), "--key", text(&key)]);
    assert!(said.contains("Restored") && said.contains("generation 2"), "{said}");
    let restored = Muster::open(new, config());
    let found = events(&restored);
    let lost: Vec<&String> = before.iter().filter(|id| !found.contains(*id)).take(5).collect();
    assert!(lost.is_empty(), "acknowledged before the backup and lost: {lost:?}");
    let browser = restored.browser();
    let (status, to) = browser.post("/login", &[("login", "ines"), ("password", PASSWORD)]);
    assert_eq!((status, to.as_str()), (303, "/"), "who had an account signs in");
    assert_eq!(browser.get("/").0, 200);
}

#[test]
fn a_restore_goes_back_to_the_second_and_moves_the_old_folder_aside() {
    let site = Muster::start();
    let ctx = |muster: &Muster| {
        let request = Request { from: "story".into(), ..Request::default() };
        Ctx::new(muster.server().site(), muster.server().site().home, Actor::System, request).now
    };
    rename(&site, "Before");
    backups::full(&site.ctx(), Some(true)).unwrap();
    rename(&site, "At the second");
    // Two boundaries of a second between the two names.
    let clock = Clock::system();
    let pass = |seconds| {
        until(Span::from_seconds(5), "the next second", || (clock.now().seconds() > seconds).then_some(()))
    };
    pass(ctx(&site).seconds());
    let then = clock.now();
    pass(then.seconds());
    rename(&site, "A mistake");
    backups::changes(&site.ctx()).unwrap().unwrap();
    let (data, keep) = site.release();
    let keep = keep.unwrap();
    let repository = keep.path().join("copies");
    good_copy(&data.join("backups"), &repository);
    let at = then.format("%Y-%m-%d %H:%M:%S");

    let line = ["restore", text(&repository), "--data", text(&data), "--at", &at];
    let preview = good(&[&line[..], &["--preview"]].concat());
    assert!(preview.contains("settings.changed") && preview.contains("Nothing was changed"), "{preview}");
    let said = refused(&line);
    assert!(said.contains("not empty") && said.contains("--replace"), "{said}");
    let said = good(&[&line[..], &["--replace"]].concat());
    assert!(said.contains("is now") && said.contains("before-"), "{said}");
    let aside = std::fs::read_dir(keep.path()).unwrap().flatten();
    let aside = aside.map(|e| e.path()).find(|p| text(p).contains(".before-")).expect("the old folder");

    let site = Muster::open(data.clone(), config());
    assert_eq!(name(&site), "At the second");
    assert!(!data.join(backups::RESTORED).exists(), "the first start has mended the restore");
    let said = refused(&[&line[..], &["--replace"]].concat());
    assert!(said.contains("a server uses"), "{said}");
    drop(site);
    let old = Muster::open(aside, config());
    assert_eq!(name(&old), "A mistake", "nothing was deleted");
}

#[test]
fn a_task_that_ran_after_the_backup_does_not_run_again_after_the_restore() {
    let site = Muster::start();
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let script = folder.path().join("note.sh");
    std::fs::write(&script, format!("#!/bin/sh\necho run >> {}\n", runs.display())).unwrap();
    let agent_config = folder.path().join("agent.toml");
    let command = format!("run = [\"/bin/sh\", \"{}\"]\n", script.display());
    std::fs::write(&agent_config, format!("[agent]\njournal = false\n[agent.commands.note]\n{command}"))
        .unwrap();
    let home = folder.path().join("agent");
    let port = |muster: &Muster| muster.server().gate_address().port();
    let connected = |muster: &Muster| {
        let all = agents::ops::list(&muster.ctx(), Default::default()).unwrap().items;
        all.into_iter().find(|view| view.connected).map(|view| view.agent.id)
    };
    let state = |muster: &Muster, id| tasks::ops::find(&muster.ctx(), ById { id }).unwrap().task.state;
    let count = || std::fs::read_to_string(&runs).unwrap_or_default().lines().count();

    let child = start_agent(&home, &agent_config, port(&site), Some(&site.join_code("")));
    let agent = until(Span::from_seconds(20), "the agent", || connected(&site));
    end(child);
    until(Span::from_seconds(60), "its absence", || connected(&site).is_none().then_some(()));
    let work = Work::Command { name: "note".into(), arguments: Vec::new() };
    let input = tasks::ops::CreateTask {
        agent,
        work,
        seconds_max: Some(20),
        output_bytes_max: None,
        memory_bytes_max: None,
    };
    let task = tasks::ops::create(&site.ctx(), input).unwrap().id;
    let backup = backups::full(&site.ctx(), Some(false)).unwrap();
    let child = start_agent(&home, &agent_config, port(&site), None);
    until(Span::from_seconds(30), "the task", || state(&site, task).is_final().then_some(()));
    assert_eq!((state(&site, task), count()), (tasks::State::Succeeded, 1));
    end(child);

    let (data, keep) = site.release();
    let file = data.join("backups").join(backup.name);
    good(&[
        "restore",
        text(&file),
        "--data",
        text(&data),
        "--key",
        text(&key(&data, folder.path())),
        "--replace",
    ]);
    let site = Muster::open(data, config());
    assert_eq!(state(&site, task), tasks::State::Unknown, "it may have run since");
    let child = start_agent(&home, &agent_config, port(&site), None);
    until(Span::from_seconds(30), "the agent", || connected(&site));
    // A task that is made now runs after everything that waits, so that when it has run the old one would have.
    let work = Work::Command { name: "note".into(), arguments: Vec::new() };
    let input = tasks::ops::CreateTask {
        agent,
        work,
        seconds_max: Some(20),
        output_bytes_max: None,
        memory_bytes_max: None,
    };
    let new = tasks::ops::create(&site.ctx(), input).unwrap().id;
    until(Span::from_seconds(30), "the new task", || state(&site, new).is_final().then_some(()));
    assert_eq!(state(&site, new), tasks::State::Succeeded);
    assert_eq!(count(), 2, "once before the restore, and the new one");
    // The agent kept the result of the old one until it was acknowledged, and may tell it again.
    assert!(matches!(state(&site, task), tasks::State::Unknown | tasks::State::Succeeded));
    end(child);
    drop(site);
    drop(keep);
}

fn good_copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_copy_of_a_stopped_folder_starts() {
    let site = Muster::start();
    rename(&site, "Copied");
    let (data, keep) = site.release();
    let copy = keep.as_ref().unwrap().path().join("copy");
    good_copy(&data, &copy);
    assert!(good(&["verify", "--data", text(&copy)]).contains("is whole"));
    assert_eq!(name(&Muster::open(copy, config())), "Copied");
}

#[test]
fn a_copy_of_a_running_folder_starts_right_or_is_refused_with_the_right_command() {
    let runs: usize = std::env::var("COPY_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let owned = Muster::start();
    let devices: Vec<Device> = (0..50).map(|n| Device::new(&owned, &format!("device-{n}"))).collect();
    let authority = owned.server().site().authority.certificate_pem();
    let (data, keep) = owned.release();
    let keep = keep.unwrap();
    let (http, mqtt) = (free_port(), free_port());
    let acknowledged: Arc<Mutex<HashSet<String>>> = Arc::default();
    let server = Running(start(&data, http, mqtt));
    until(Span::from_seconds(20), "the server", || {
        let control = ready(http).then(|| Client::connect(&data).unwrap()).flatten();
        control.map(drop)
    });
    let (mut started, mut refusals) = (0, 0);
    let (renaming, renamed) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let mut server = server;
        scope.spawn(|| load(&devices, &authority, mqtt, 0, &acknowledged));
        // State moves too, not only telemetry; the number that is acknowledged must be in every copy that is begun later.
        let renamer = scope.spawn(|| {
            while renaming.load(Ordering::SeqCst) {
                let number = renamed.load(Ordering::SeqCst) + 1;
                let client = Client::connect(&data).unwrap().unwrap();
                client.call("settings.change", json!({ "name": format!("Name {number}") })).unwrap();
                renamed.store(number, Ordering::SeqCst);
            }
        });
        for run in 0..runs {
            let copy = keep.path().join(format!("copy-{run}"));
            let more = (acknowledged.lock().len() + 20, renamed.load(Ordering::SeqCst) + 5);
            until(Span::from_seconds(20), "load", || {
                let enough = acknowledged.lock().len() >= more.0 && renamed.load(Ordering::SeqCst) >= more.1;
                enough.then_some(())
            });
            let before = (acknowledged.lock().clone(), renamed.load(Ordering::SeqCst));
            // A file that goes away while it is copied makes `cp` complain: that is one of the dangers.
            let _ =
                Command::new("cp").arg("-r").arg(&data).arg(&copy).stderr(Stdio::null()).status().unwrap();
            match opened(&copy, &before.0, before.1) {
                Ok(()) => started += 1,
                Err(error) => {
                    let hint = error.hint_text().unwrap_or_default();
                    assert!(hint.contains("muster backup") || hint.contains("restore"), "{error}: {hint}");
                    refusals += 1;
                }
            }
            std::fs::remove_dir_all(&copy).unwrap();
        }
        renaming.store(false, Ordering::SeqCst);
        renamer.join().unwrap();
        server.kill();
    });
    assert_eq!(started + refusals, runs);
    println!("{started} copies started, {refusals} were refused");
}

/// Starts the copy, and proves that what it shows is sound and as new as when the copy was begun.
fn opened(copy: &Path, events: &HashSet<String>, number: u64) -> muster::base::Result<()> {
    let config: Config = config();
    let server = Server::start(Options { config, folder: copy.to_owned(), clock: Clock::system() })?;
    server.site().store.verify().unwrap();
    let name = server.site().settings.name();
    let found: u64 = name.trim_start_matches("Name ").parse().unwrap();
    assert!(found >= number, "change {number} was acknowledged, the copy shows {found}");
    let muster = Muster::of(server, copy);
    let have = crate::recovery::events(&muster);
    let lost = events.iter().filter(|id| !have.contains(*id)).count();
    assert_eq!(lost, 0, "events that were acknowledged before the copy");
    Ok(())
}

#[test]
fn a_drill_proves_the_newest_backup_and_names_the_damage() {
    let site = Muster::start();
    backups::full(&site.ctx(), Some(true)).unwrap();
    let drill = |expected: usize| {
        site.call("backups.drill", json!({}));
        until(Span::from_seconds(120), "the drill", || {
            let drills = site.call("backups.drills", json!({}));
            let items = drills["items"].as_array().unwrap().clone();
            (items.len() >= expected).then(|| items[0].clone())
        })
    };
    let record = drill(1);
    assert_eq!(record["drill"]["failure"], "", "{record}");
    let checked = record["drill"]["checked"].to_string();
    for part in ["every sum", "an index of", "over HTTPS"] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
    assert!(
        record["drill"]["ready_ms"].as_u64().unwrap() >= record["drill"]["restored_ms"].as_u64().unwrap()
    );

    // One byte of the newest backup.
    let newest =
        std::fs::read_dir(site.folder.join("backups")).unwrap().flatten().map(|e| e.path()).max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, &bytes).unwrap();
    let record = drill(2);
    let failure = record["drill"]["failure"].as_str().unwrap();
    assert!(
        failure.contains("restore: ") && failure.contains(newest.file_name().unwrap().to_str().unwrap()),
        "{failure}"
    );

    backups::full(&site.ctx(), Some(true)).unwrap();
    assert_eq!(drill(3)["drill"]["failure"], "", "the next good one is green");
    let left = std::fs::read_dir(site.folder.join("scratch")).unwrap().count();
    assert_eq!(left, 0, "nothing is left of it");
}
