//! Reading everything that is stored: is it whole, and does it agree.

use serde::{Deserialize, Serialize};

use crate::base::Result;
use crate::engine::days::Verified;
use crate::kit::{Ctx, Findings};

/// One part of what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LookedAt {
    /// What it is.
    pub part: String,
    /// Rows, records, blocks, keys that were looked at.
    pub things: u64,
    /// What is wrong among them.
    pub findings: u64,
}

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Part by part.
    pub parts: Vec<LookedAt>,
    /// What is wrong.
    pub findings: Findings,
}

/// Reads everything of an open site. `step` is told which part it is at and how many bytes come next; its error ends the
/// look, so that it can pause or stop. What is damaged is a finding and never an error.
pub fn look(ctx: &Ctx<'_>, step: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<Look> {
    let mut look = Look::default();
    let site = ctx.site;
    look.part("store", |findings| {
        step("store", 0)?;
        let verified = match site.store.verify() {
            Ok(verified) => verified,
            Err(e) => {
                findings.add("store", e.detail(), "run `muster rebuild state`, or restore a backup");
                return Ok(());
            }
        };
        findings.looked_at += verified.records + verified.tables.iter().map(|(_, rows)| rows).sum::<u64>();
        for table in verified.strangers {
            findings.add(
                format!("store, table `{table}`"),
                "no part of this program knows the table",
                "none is needed: it is left over, or from a newer version",
            );
        }
        step("store", site.store.stats().journal_bytes)
    })?;
    look.part("metrics", |findings| {
        let verified = site.series.verify(&mut |bytes| step("metrics", bytes))?;
        telemetry(findings, &verified);
        Ok(())
    })?;
    look.part("logs", |findings| {
        let verified = site.logs.verify(&mut |bytes| step("logs", bytes))?;
        telemetry(findings, &verified);
        Ok(())
    })?;
    look.part("keys", |findings| {
        step("keys", 0)?;
        keys(ctx, findings)
    })?;
    for capability in site.capabilities() {
        look.part(capability.name(), |findings| {
            step(capability.name(), 0)?;
            match capability.check(ctx, findings) {
                Err(e) if !site.is_stopping() => {
                    findings.add(capability.name(), e.detail(), "see the server's log");
                    Ok(())
                }
                done => done,
            }
        })?;
    }
    Ok(look)
}

impl Look {
    fn part(&mut self, name: &str, f: impl FnOnce(&mut Findings) -> Result<()>) -> Result<()> {
        let (things, found) = (self.findings.looked_at, self.findings.count);
        f(&mut self.findings)?;
        self.parts.push(LookedAt {
            part: name.to_owned(),
            things: self.findings.looked_at - things,
            findings: self.findings.count - found,
        });
        Ok(())
    }
}

fn telemetry(findings: &mut Findings, verified: &Verified) {
    findings.looked_at += verified.blocks + verified.records;
    for damage in &verified.damaged {
        findings.add(
            format!("{}, byte {}", damage.file.display(), damage.byte),
            damage.what.clone(),
            "none is needed: it is passed over, and goes with its day; a backup from before the damage has it",
        );
    }
    findings.count += verified.damaged_count - verified.damaged.len() as u64;
}

/// Opens every key of the vault.
fn keys(ctx: &Ctx<'_>, findings: &mut Findings) -> Result<()> {
    let names = match ctx.site.vault.names() {
        Ok(names) => names,
        Err(e) => {
            findings.add("keys", e.detail(), "restore the keys of a backup");
            return Ok(());
        }
    };
    for name in names {
        findings.looked_at += 1;
        if let Err(e) = ctx.site.vault.get(&name) {
            findings.add(format!("keys/{name}"), e.detail(), "restore the keys of a backup");
        }
    }
    Ok(())
}
