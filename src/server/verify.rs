//! A look at everything that an open site has: what is wrong, where, and the remedy.

use std::path::Path;

use serde_json::{Value, json};

use super::command::Access;
use super::config::Config;
use super::opening;
use crate::base::Result;
use crate::engine::clock::Clock;
use crate::engine::days::Verified;
use crate::engine::store;
use crate::kit::{Ctx, Finding, Findings};

/// The name under which a running server is asked.
pub(super) const ASKED: &str = "server.verify";

/// What was looked at, in words, and what was found.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was looked at.
    pub checked: Vec<String>,
    /// What is wrong.
    pub findings: Findings,
}

impl Looked {
    /// As it goes through the control socket.
    pub(super) fn told(&self) -> Value {
        let Findings { kept, count, looked_at } = &self.findings;
        json!({ "checked": self.checked, "kept": kept, "count": count, "looked_at": looked_at })
    }

    fn heard(value: &Value) -> Result<Looked> {
        let kept: Vec<Finding> = serde_json::from_value(value["kept"].clone())?;
        let number = |key: &str| value[key].as_u64().unwrap_or_default();
        Ok(Looked {
            checked: serde_json::from_value(value["checked"].clone())?,
            findings: Findings { kept, count: number("count"), looked_at: number("looked_at") },
        })
    }
}

/// Verifies the folder: through the server that runs in it, or by itself, and then its files before anything opens them.
pub fn verify(config: &Config, folder: &Path, clock: &Clock) -> Result<Looked> {
    if let Some(client) = super::control::Client::connect(folder)? {
        return Looked::heard(&client.call(ASKED, Value::Null)?);
    }
    let looked =
        store(&store::verify_folder(&folder.join("store"), &opening::offline(config, folder, clock)?, true)?);
    // A store that is damaged is not opened: what is wrong with it has to be mended first.
    if looked.findings.count > 0 {
        return Ok(looked);
    }
    match Access::find(config, folder, clock)? {
        Access::Running(client) => Looked::heard(&client.call(ASKED, Value::Null)?),
        Access::Stopped(stopped) => site(&stopped.ctx(), &mut |_| Ok(())),
    }
}

/// What is wrong with the store's own files, each with its place and remedy.
fn store(found: &store::Looked) -> Looked {
    let mut looked = Looked::default();
    looked.checked.push(format!("changes {} to {} of the journal", found.first, found.last));
    for flaw in &found.flaws {
        let place = match flaw.place.as_str() {
            "" => format!("store/{}", flaw.file),
            place => format!("store/{}, {place}", flaw.file),
        };
        looked.findings.add(place, flaw.what.clone(), flaw.mend.words());
    }
    looked.findings.count += found.flaws_count.saturating_sub(found.flaws.len() as u64);
    looked
}

/// Looks at everything. `step` is told the bytes of telemetry that are read next, and can pause or stop the look.
pub(super) fn site(ctx: &Ctx<'_>, step: &mut dyn FnMut(u64) -> Result<()>) -> Result<Looked> {
    let (site, mut looked) = (ctx.site, Looked::default());
    let findings = &mut looked.findings;
    match site.store.verify() {
        Ok(verified) => {
            let rows: u64 = verified.tables.iter().map(|(_, rows)| rows).sum();
            findings.looked_at += rows + verified.records;
            looked.checked.push(format!("{rows} rows and {} changes of the store", verified.records));
            for table in verified.strangers {
                findings.add(
                    format!("store, table `{table}`"),
                    "no part of this program knows the table",
                    "it does no harm; it is left over, or from a newer version",
                );
            }
        }
        Err(e) => findings.add("store", e.detail(), "run `muster rebuild state`, or restore from a backup"),
    }
    for (name, verified) in [("metrics", site.series.verify(step)?), ("logs", site.logs.verify(step)?)] {
        looked.checked.push(format!("{} blocks of {name} in {} files", verified.blocks, verified.files));
        telemetry(findings, &verified);
    }
    match keys(ctx) {
        Ok(count) => looked.checked.push(format!("{count} keys of the vault")),
        Err(e) => findings.add("keys", e.detail(), "restore the keys from a backup"),
    }
    for capability in site.capabilities() {
        let before = findings.looked_at;
        if let Err(e) = capability.check(ctx, findings) {
            findings.add(
                capability.name(),
                format!("the check broke off: {}", e.detail()),
                "see the findings above",
            );
        }
        let looked_at = findings.looked_at - before;
        if looked_at > 0 {
            looked.checked.push(format!("{looked_at} things of {}", capability.name()));
        }
    }
    Ok(looked)
}

fn telemetry(findings: &mut Findings, verified: &Verified) {
    findings.looked_at += verified.blocks + verified.records;
    for damage in &verified.damaged {
        findings.add(
            format!("{}, byte {}", damage.file.display(), damage.byte),
            damage.what.clone(),
            "the block is passed over and the rest is read; a backup from before the damage has it",
        );
    }
    findings.count += verified.damaged_count.saturating_sub(verified.damaged.len() as u64);
}

/// Opens every key of the vault.
fn keys(ctx: &Ctx<'_>) -> Result<usize> {
    Ok(ctx.site.vault.export()?.len())
}

#[cfg(test)]
mod tests {
    use super::super::opening::Purpose;
    use super::*;

    #[test]
    fn a_whole_folder_is_whole_and_a_damaged_one_is_named() {
        let (folder, clock, config) = (tempfile::tempdir().unwrap(), Clock::system(), Config::default());
        let data = folder.path();
        opening::prepare(data, &clock).unwrap();
        drop(opening::site(&config, data, &clock, Vec::new(), Purpose::Serve).unwrap());
        let looked = verify(&config, data, &clock).unwrap();
        assert_eq!(looked.findings.count, 0, "{:?}", looked.findings.kept);
        assert!(looked.checked.iter().any(|what| what.contains("keys of the vault")), "{:?}", looked.checked);
        let heard = Looked::heard(&looked.told()).unwrap();
        assert_eq!((heard.checked, heard.findings), (looked.checked, looked.findings));
        let state = data.join("store/state.redb");
        let mut bytes = std::fs::read(&state).unwrap();
        bytes[..4096].fill(0xFF);
        std::fs::write(&state, bytes).unwrap();
        let looked = verify(&config, data, &clock).unwrap();
        assert!(looked.findings.count > 0);
        let first = &looked.findings.kept[0];
        assert!(first.place.contains("state.redb") && first.remedy.contains("muster"), "{first:?}");
    }
}
