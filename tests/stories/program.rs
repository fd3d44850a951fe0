//! The program as its user runs it: mistakes in the configuration, an orderly stop, and an agent that is killed.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use muster::base::{Span, TaskId};
use muster::capabilities::{agents, tasks};
use muster::kit::ById;
use muster::wire::Work;

use crate::crash::free_port;
use crate::edge::{client, connect};
use crate::harness::{Muster, until};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn every_mistake_in_the_configuration_is_named_and_no_port_opens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("muster.toml");
    std::fs::write(
        &file,
        "[http]\nadress = \"0.0.0.0:8443\"\n\n[mqtt]\naddress = \"here\"\n\n[storage]\nlogs = 30\n",
    )
    .unwrap();
    let data = folder.path().join("data");
    let output = program().args(["serve", "--config"]).arg(&file).arg("--data").arg(&data).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    for part in ["muster.toml", "line 2", "adress", "address", "line 5", "here", "line 8", "30"] {
        assert!(
            text.contains(part) || text.contains(&part.replace("line ", ":")),
            "`{part}` is missing in: {text}"
        );
    }
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn a_folder_belongs_to_one_server() {
    let muster = Muster::start();
    let ports = (free_port(), free_port());
    let output = program()
        .args([
            "serve",
            "--no-agent",
            "--http",
            &format!("127.0.0.1:{}", ports.0),
            "--mqtt",
            &format!("127.0.0.1:{}", ports.1),
        ])
        .arg("--data")
        .arg(&muster.folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&std::process::id().to_string()) || text.contains("in use"), "{text}");
}

pub(crate) fn start_agent(folder: &Path, config: &Path, server: u16, join: Option<&str>) -> Child {
    let mut command = program();
    command.stdout(Stdio::null()).args(["agent", "--server", &format!("127.0.0.1:{server}")]);
    command.arg("--folder").arg(folder).arg("--config").arg(config);
    if let Some(join) = join {
        command.args(["--join", join]);
    }
    command.spawn().unwrap()
}

/// Kills what is left of it, and shows what it said.
pub(crate) fn end(mut child: Child) -> String {
    let _ = child.kill();
    let mut text = String::new();
    let _ = child.stderr.take().unwrap().read_to_string(&mut text);
    let _ = child.wait();
    text
}

#[test]
fn kill_9_of_an_agent_loses_no_task_and_runs_none_twice() {
    let muster = Muster::start();
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    std::fs::create_dir(&runs).unwrap();
    // Each run of a task leaves a line in a file of its own name.
    let script = folder.path().join("note.sh");
    std::fs::write(&script, format!("#!/bin/sh\necho run >> {}/$1\nsleep 0.1\necho done\n", runs.display()))
        .unwrap();
    let config = folder.path().join("agent.toml");
    std::fs::write(
        &config,
        format!("[agent]\njournal = false\n\n[agent.commands.note]\nrun = [\"/bin/sh\", \"{}\"]\narguments = true\n", script.display()),
    )
    .unwrap();
    let port = muster.server().gate_address().port();
    let code = muster.join_code("");
    let home = folder.path().join("agent");
    let ctx = muster.ctx();
    let mut child = start_agent(&home, &config, port, Some(&code));
    let agent = until(Span::from_seconds(20), "the agent", || {
        agents::ops::list(&ctx, Default::default()).unwrap().items.into_iter().find(|view| view.connected)
    });
    let mut made: HashMap<TaskId, String> = HashMap::new();
    for round in 0..4 {
        for number in 0..5 {
            let name = format!("{round}-{number}");
            let work = Work::Command { name: "note".into(), arguments: vec![name.clone()] };
            let input = tasks::ops::CreateTask {
                agent: agent.agent.id,
                work,
                seconds_max: Some(20),
                output_bytes_max: None,
                memory_bytes_max: None,
            };
            made.insert(tasks::ops::create(&ctx, input).unwrap().id, name);
        }
        // Killed while the first of them runs.
        until(Span::from_seconds(30), "a task to run", || {
            runs.join(format!("{round}-0")).exists().then_some(())
        });
        end(child);
        child = start_agent(&home, &config, port, None);
    }
    let state = |id: TaskId| tasks::ops::find(&ctx, ById { id }).unwrap().task.state;
    until(Span::from_seconds(90), "every task to end", || {
        made.keys().all(|id| state(*id).is_final()).then_some(())
    });
    for (id, name) in &made {
        let ran = std::fs::read_to_string(runs.join(name)).unwrap_or_default().lines().count();
        assert!(ran <= 1, "task {name} ran {ran} times");
        match state(*id) {
            tasks::State::Succeeded => assert_eq!(ran, 1, "{name}"),
            tasks::State::Unknown => {}
            other => panic!("task {name} ended as {other:?}"),
        }
    }
    end(child);
}

#[test]
fn a_hangup_reads_the_certificate_again_and_ends_nothing() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let issue = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(folder.path().join("certificate.pem"), made.cert.pem()).unwrap();
        let key = folder.path().join("key.pem");
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    issue("first.lan");
    let port = free_port();
    let file = folder.path().join("muster.toml");
    let text = format!(
        "[http]\naddress = \"127.0.0.1:{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n[mqtt]\naddress = \"127.0.0.1:{}\"\n",
        port,
        folder.path().join("certificate.pem").display(),
        folder.path().join("key.pem").display(),
        free_port(),
    );
    std::fs::write(&file, text).unwrap();
    let checked = program().args(["config", "check"]).arg(&file).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && said.contains("first.lan") && said.contains("is right"), "{said}");

    let data = folder.path().join("data");
    let mut serve = program();
    serve.args(["serve", "--no-agent", "--config"]).arg(&file).arg("--data").arg(&data);
    let mut server = serve.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Open the console")), "it has started");
    let reload = || {
        let output = program().arg("reload").arg("--data").arg(&data).output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    issue("second.lan");
    let hangup = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(hangup, rustix::process::Signal::HUP).unwrap();
    let pem = std::fs::read_to_string(folder.path().join("certificate.pem")).unwrap();
    let trust = client(&pem, &[&rustls::version::TLS13]);
    until(Span::from_seconds(20), "the new certificate", || connect(port, "second.lan", trust.clone()).ok());
    let (well, said, _) = reload();
    assert!(well && said.contains("second.lan") && said.contains("the same certificate"), "{said}");
    std::fs::write(folder.path().join("certificate.pem"), "nothing").unwrap();
    let (well, _, said) = reload();
    assert!(!well && said.contains("`http.certificate`") && said.contains("no certificate in PEM"), "{said}");
    assert!(server.try_wait().unwrap().is_none(), "it goes on");
    end(server);
    let (well, _, said) = reload();
    assert!(!well && said.contains("no server runs"), "{said}");
}

#[test]
fn who_holds_the_machine_lets_somebody_in_again() {
    let muster = Muster::start();
    let recover = |folder: &Path, more: &[&str]| {
        let output = program().args(["admin", "recover", "--data"]).arg(folder).args(more).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let folder = muster.folder.clone();
    let (status, _, text) = recover(&folder, &[]);
    assert!(status == Some(1) && text.contains("nobody is an owner yet"), "{text}");
    muster::capabilities::identity::login_link(muster.server().site()).unwrap();
    let (status, running, text) = recover(&folder, &["owner"]);
    assert!(status == Some(0) && running.contains("/login/link?token=msl_"), "{running} {text}");
    let (status, _, text) = recover(&folder, &["nobody"]);
    assert!(status == Some(1) && text.contains("`nobody` does not exist"), "{text}");
    let changes = muster.server().site().store.changes(0, 10_000).unwrap();
    let last = changes.iter().rfind(|change| change.origin.action == "identity.recover").unwrap();
    assert!(last.origin.from.starts_with("command line, uid"), "{}", last.origin.from);
    let (folder, _keep) = muster.release();
    let (status, stopped, text) = recover(&folder, &["--remove-factors"]);
    assert!(status == Some(0) && stopped.contains(":8443/login/link?token=msl_"), "{stopped} {text}");
}
