//! The audit log from outside: an agent keeps its checkpoint, and a downloaded file proves itself by the program alone.

use std::process::Command;

use muster::base::Span;
use serde_json::{Value, json};

use crate::harness::{Muster, until};
use crate::machine::Machine;

#[test]
fn a_checkpoint_reaches_an_agent_and_a_download_proves_itself() {
    let muster = Muster::start();
    let owner = muster.owner();
    let machine = Machine::join(&muster, "site=lyon");
    // The owner and the agent stand in the log.
    until(Span::from_seconds(20), "entries", || {
        (muster.call("audit.status", json!({}))["head"]["number"].as_u64()? >= 2).then_some(())
    });
    let made = muster.call("audit.checkpoint", json!({}));
    let kept = machine.folder().join("checkpoints.json");
    until(Span::from_seconds(40), "the agent's checkpoint", || {
        let kept: Value = serde_json::from_slice(&std::fs::read(&kept).ok()?).ok()?;
        (kept[0]["number"].as_u64()? >= made["number"].as_u64()?).then_some(())
    });
    let (_, page) = owner.get("/audit");
    assert!(page.contains("1 agent") && page.contains(made["key"].as_str().unwrap()), "{page}");

    let csrf = owner.csrf();
    let (status, file) = owner.post("/audit/export", &[("csrf", &csrf), ("format", "jsonl")]);
    assert_eq!(status, 200);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let verify = |text: &str, key: &str| {
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        let output = command.args(["audit", "verify"]).arg(&path).args(["--key", key]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let key = made["key"].as_str().unwrap();
    let (code, said) = verify(&file, key);
    assert!(code == Some(0) && said.contains("whole: entries 1 to"), "{said}");
    let (code, said) = verify(&file.replacen("Inès", "Anne", 1), key);
    assert!(code == Some(1) && said.contains("line "), "{said}");
    let (code, said) = verify(&file[..file.len() - 9], key);
    assert!(code == Some(1) && said.contains("not whole"), "{said}");

    // The pack that the console gives away is believed by the program too, and one that was changed is not.
    let asked = muster::capabilities::audit::ExportAsked { format: "pack".into(), ..Default::default() };
    let mut given = muster::capabilities::audit::export(&muster.ctx(), asked).unwrap();
    let mut pack = Vec::new();
    while let Some(part) = (given.next)().unwrap() {
        pack.extend(part);
    }
    drop(given);
    let verify_pack = |pack: &[u8]| {
        std::fs::write(&path, pack).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        let output = command.args(["audit", "verify"]).arg(&path).args(["--key", key]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, said) = verify_pack(&pack);
    assert!(code == Some(0) && said.contains("whole: entries 1 to"), "{said}");
    let at = pack.windows(4).position(|part| part == b"In\xc3\xa8").unwrap();
    pack[at] ^= 1;
    let (code, said) = verify_pack(&pack);
    assert!(code == Some(1) && said.contains("entry "), "{said}");

    // It comes again, tells what it keeps, and that fits.
    let muster = muster.reopen();
    let found = muster.call("audit.verify", json!({}));
    assert_eq!(found["wrong"], Value::Null);
    assert_eq!(muster.call("audit.contradictions", json!({}))["items"], json!([]));
    machine.stop();
}
