//! The tables, sealing, and the hash.

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::model::{Approval, KEPT_MAX, Mark, OPEN_MAX, Sealed, State};
use crate::base::{ApprovalId, Error, Result, TenantId};
use crate::engine::store::{Read, Table, Tx};
use crate::kit::{Change, Count, Ctx, Intent, Site};

/// Names of the tables, for checks.
pub(super) const NAMES: [&str; 4] = ["approvals", "approvals_sealed", "approvals_open", "approvals_marks"];

/// Approvals, in the order in which they were asked for.
pub(super) static APPROVALS: Table<(TenantId, ApprovalId), Approval> = Table::new(NAMES[0]);
/// What is sealed of them, by tenant, approval and part.
pub(super) static SEALED: Table<(TenantId, ApprovalId, u8), Vec<u8>> = Table::new(NAMES[1]);
/// Those that are not over, with who asked.
pub(super) static OPEN: Table<(TenantId, ApprovalId), String> = Table::new(NAMES[2]);
/// Marked permissions.
pub(super) static MARKS: Table<(TenantId, String), Mark> = Table::new(NAMES[3]);

/// The part that holds what was asked.
pub(super) const INTENT: u8 = 0;
/// The part that holds what came of it.
pub(super) const OUTCOME: u8 = 1;
/// Marks of one tenant; there are fewer operations.
const MARKS_MAX: usize = 1_000;
/// The permission that is marked by itself while any other is.
pub(super) const MARK: &str = "approvals.mark";

/// One of them.
pub(super) fn find(read: &impl Read, tenant: TenantId, id: ApprovalId) -> Result<Approval> {
    read.get(&APPROVALS, &(tenant, id))?.ok_or_else(|| Error::not_found("approval", id))
}

/// Puts one, and keeps the list of open ones.
pub(super) fn put(tx: &mut Tx, tenant: TenantId, approval: &Approval) -> Result<()> {
    tx.put(&APPROVALS, &(tenant, approval.id), approval)?;
    match approval.state.is_over() {
        true => tx.delete(&OPEN, &(tenant, approval.id)),
        false => tx.put(&OPEN, &(tenant, approval.id), &approval.asker),
    }
}

/// Forgets one with all that is sealed of it.
pub(super) fn forget(tx: &mut Tx, tenant: TenantId, id: ApprovalId) -> Result<()> {
    for part in [INTENT, OUTCOME] {
        tx.delete(&SEALED, &(tenant, id, part))?;
    }
    tx.delete(&OPEN, &(tenant, id))?;
    tx.delete(&APPROVALS, &(tenant, id))
}

/// Those that are not over, the oldest first.
pub(super) fn open(read: &impl Read, tenant: TenantId) -> Result<Vec<Approval>> {
    let rows = read.prefix(&OPEN, &tenant, OPEN_MAX)?;
    let mut found = Vec::with_capacity(rows.len());
    for (key, _) in rows {
        found.extend(read.get(&APPROVALS, &key)?);
    }
    Ok(found)
}

/// All of them, the newest first.
pub(super) fn all(read: &impl Read, tenant: TenantId) -> Result<Vec<Approval>> {
    let rows = read.prefix_back(&APPROVALS, &tenant, KEPT_MAX + OPEN_MAX)?;
    Ok(rows.into_iter().map(|(_, approval)| approval).collect())
}

/// The marks, by permission.
pub(super) fn marks(read: &impl Read, tenant: TenantId) -> Result<Vec<Mark>> {
    Ok(read.prefix(&MARKS, &tenant, MARKS_MAX)?.into_iter().map(|(_, mark)| mark).collect())
}

/// Takes marks and the number of those that wait into the site's memory, as they are now in the store.
pub(super) fn remember(site: &Site, tenant: TenantId) -> Result<()> {
    // One after the other: what was read earlier must not be said later.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let read = site.store.read()?;
    let marked = super::marks::names(&marks(&read, tenant)?);
    let waiting = open(&read, tenant)?.iter().filter(|one| one.state == State::Waiting).count();
    site.marks.set(tenant, marked);
    site.counts.say(tenant, count(waiting));
    Ok(())
}

/// The number behind the entry of the navigation.
pub(super) fn count(waiting: usize) -> Count {
    Count {
        path: "/approvals",
        topic: "approvals-count",
        permission: "approvals.decide",
        words: "wait for a decision",
        count: waiting,
    }
}

fn purpose(tenant: TenantId, id: ApprovalId, part: u8) -> String {
    format!("approval:{tenant}:{id}:{part}")
}

/// Seals a part of one.
pub(super) fn seal(
    ctx: &Ctx<'_>,
    change: &mut Change<'_>,
    id: ApprovalId,
    part: u8,
    value: &impl Serialize,
) -> Result<()> {
    let text = zeroize::Zeroizing::new(serde_json::to_vec(value)?);
    let sealed = ctx.site.vault.seal(&purpose(ctx.tenant, id, part), &text)?;
    change.tx.put(&SEALED, &(ctx.tenant, id, part), &sealed)
}

/// Opens a part of one; nothing when there is none.
pub(super) fn unseal<T: DeserializeOwned>(
    site: &Site,
    read: &impl Read,
    tenant: TenantId,
    id: ApprovalId,
    part: u8,
) -> Result<Option<T>> {
    let Some(sealed) = read.get(&SEALED, &(tenant, id, part))? else { return Ok(None) };
    let opened = site.vault.open_sealed(&purpose(tenant, id, part), &sealed)?;
    // An error of the format could say what it found.
    let value = serde_json::from_slice(opened.expose())
        .map_err(|_| Error::internal(format!("part {part} of the approval `{id}` is not what was kept")))?;
    Ok(Some(value))
}

/// What was asked, and that it is what the hash stands for.
pub(super) fn intent(site: &Site, read: &impl Read, tenant: TenantId, approval: &Approval) -> Result<Sealed> {
    let sealed: Sealed = unseal(site, read, tenant, approval.id, INTENT)?
        .ok_or_else(|| Error::unavailable(format!("what `{}` asked for is not there", approval.id)))?;
    if hash(tenant, &approval.asker, &approval.permission, &sealed) != approval.hash {
        return Err(Error::conflict(format!(
            "what is kept of `{}` is not what its hash stands for",
            approval.id
        ))
        .hint("it is not carried out; ask for it again"));
    }
    Ok(sealed)
}

/// BLAKE3 over the canonical JSON of all that an approval is bound to.
pub(super) fn hash(tenant: TenantId, asker: &str, permission: &str, sealed: &Sealed) -> String {
    let (what, input) = match &sealed.intent {
        Intent::Operation { name, input } => (json!({ "operation": name }), input.clone()),
        Intent::Form { path, params, query, fields } => {
            (json!({ "form": path }), json!({ "params": params, "query": query, "fields": fields }))
        }
    };
    let whole = json!({
        "tenant": tenant.to_string(),
        "asker": asker,
        "permission": permission,
        "what": what,
        "input": input,
        "salt": sealed.salt,
    });
    let mut text = zeroize::Zeroizing::new(String::new());
    canonical(&whole, &mut text);
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// JSON without spaces whose fields are in the order of their names.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (place, (name, value)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(name.clone()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(input: Value) -> Sealed {
        let intent = Intent::Operation { name: "agents.retire".into(), input };
        Sealed { salt: "s".into(), session: None, intent }
    }

    #[test]
    fn the_hash_is_of_all_that_counts_and_of_no_order() {
        let (one, two) = (TenantId::from_bits(1), TenantId::from_bits(2));
        let first =
            hash(one, "usr_a", "agents.retire", &sealed(json!({ "a": 1, "b": [{ "d": 1, "c": "é\"" }] })));
        let again =
            hash(one, "usr_a", "agents.retire", &sealed(json!({ "b": [{ "c": "é\"", "d": 1 }], "a": 1 })));
        assert_eq!(first, again);
        let same = || sealed(json!({ "a": 1, "b": [{ "d": 1, "c": "é\"" }] }));
        for other in [
            hash(two, "usr_a", "agents.retire", &same()),
            hash(one, "usr_b", "agents.retire", &same()),
            hash(one, "usr_a", "agents.change", &same()),
            hash(one, "usr_a", "agents.retire", &sealed(json!({ "a": 2 }))),
            hash(one, "usr_a", "agents.retire", &Sealed { salt: "t".into(), ..same() }),
        ] {
            assert_ne!(first, other);
        }
    }
}
