//! The chain: every entry hashes over the one before, so that none can be changed, left out or put in between without
//! all later ones changing too.
//!
//! The chain of an entry is the BLAKE3 hash of the chain of the entry before and of the entry's canonical bytes. The
//! first entry stands on the hash of the text `muster audit chain 1` and the 16 bytes of the tenant, greatest first.
//!
//! Canonical bytes, numbers greatest byte first: the text `muster.audit.1`; number (8), change (8), place (4), instant in
//! milliseconds since 1970 (8); then actor, name, action, event, subject, detail, from and request, each as its length in
//! bytes (4) and its UTF-8 bytes. They hold every field of an entry but the chain itself.
//!
//! Invariant: the head moves in the same change as the entry that it stands for.
//! Invariant: numbers rise with keys, so that an entry is found by its number without a table of its own.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::model::Entry;
use super::store::{ENTRIES, HEADS};
use crate::base::{Error, Result, TenantId};
use crate::engine::store::{Read, Tx};

/// Begins the canonical bytes of an entry.
const ENTRY: &[u8] = b"muster.audit.1";
/// Begins what the first entry of a tenant stands on.
const GENESIS: &[u8] = b"muster audit chain 1";
/// Entries that one change of the migration chains; some 400 bytes each.
const ADOPTED_AT_ONCE: usize = 10_000;
/// Tenants that the migration looks for.
const TENANTS_MAX: usize = 10_000;

/// A hash of 32 bytes. Text is hexadecimal.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// What the first entry of a tenant stands on.
    pub fn genesis(tenant: TenantId) -> Chain {
        let mut hasher = blake3::Hasher::new();
        hasher.update(GENESIS).update(&tenant.bits().to_be_bytes());
        Chain(*hasher.finalize().as_bytes())
    }

    /// The chain of `entry` when it comes after an entry with this one.
    pub fn next(&self, entry: &Entry) -> Chain {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&canonical(entry));
        Chain(*hasher.finalize().as_bytes())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Chain> {
        blake3::Hash::from_hex(text).ok().map(|hash| Chain(*hash.as_bytes()))
    }

    /// The first 20 digits in groups of four, for people who compare.
    pub fn short(&self) -> String {
        let text = self.to_string().to_uppercase();
        let groups: Vec<&str> = (0..5).filter_map(|n| text.get(n * 4..n * 4 + 4)).collect();
        groups.join("-")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Chain;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes, or 64 hexadecimal digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Chain, E> {
                Chain::parse(text).ok_or_else(|| E::custom("not 64 hexadecimal digits"))
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Chain, E> {
                bytes.try_into().map(Chain).map_err(|_| E::custom("not 32 bytes"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for Chain {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Chain".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "BLAKE3 hash, 64 hexadecimal digits" })
    }
}

/// How far the chain of a tenant is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Head {
    /// Number of the last entry; 0 before the first.
    pub number: u64,
    /// Its chain.
    pub chain: Chain,
    /// Number of the change that it tells of.
    pub change: u64,
    /// Its place in that change.
    pub place: u32,
}

impl Head {
    /// The head of a log without entries.
    pub fn empty(tenant: TenantId) -> Head {
        Head { number: 0, chain: Chain::genesis(tenant), change: 0, place: 0 }
    }
}

/// The bytes of an entry that its chain is made over; the module's page says which.
pub(super) fn canonical(entry: &Entry) -> Vec<u8> {
    let texts = [
        &entry.actor,
        &entry.name,
        &entry.action,
        &entry.event,
        &entry.subject,
        &entry.detail,
        &entry.from,
        &entry.request,
    ];
    let mut out = Vec::with_capacity(64 + texts.iter().map(|text| text.len() + 4).sum::<usize>());
    out.extend_from_slice(ENTRY);
    out.extend_from_slice(&entry.number.to_be_bytes());
    out.extend_from_slice(&entry.change.to_be_bytes());
    out.extend_from_slice(&entry.place.to_be_bytes());
    out.extend_from_slice(&entry.at.milliseconds().to_be_bytes());
    for text in texts {
        put_text(&mut out, text);
    }
    out
}

/// A text as its length and its bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// How far the chain is.
pub(super) fn head(read: &impl Read, tenant: TenantId) -> Result<Head> {
    Ok(read.get(&HEADS, &tenant)?.unwrap_or_else(|| Head::empty(tenant)))
}

/// Gives the entry its number and chain and writes it, unless it stands there already.
pub(super) fn append(tx: &mut Tx, tenant: TenantId, entry: Entry) -> Result<()> {
    let head = head(tx, tenant)?;
    if head.number > 0 && (entry.change, entry.place) <= (head.change, head.place) {
        return Ok(());
    }
    let head = link(tx, tenant, &head, entry)?;
    tx.put(&HEADS, &tenant, &head)
}

/// Writes the entry behind the head, which is then another one.
fn link(tx: &mut Tx, tenant: TenantId, head: &Head, mut entry: Entry) -> Result<Head> {
    entry.number = head.number + 1;
    entry.chain = head.chain.next(&entry);
    let key = (tenant, entry.change, entry.place);
    tx.put(&ENTRIES, &key, &entry)?;
    Ok(Head { number: entry.number, chain: entry.chain, change: entry.change, place: entry.place })
}

/// The migration: entries that an earlier version wrote get their numbers and chains, some thousand in each change. The
/// head tells how far it has come, so that a start that was cut short goes on.
pub fn adopt(tx: &mut Tx) -> Result<()> {
    let mut tenant = TenantId::from_bits(0);
    for _ in 0..TENANTS_MAX {
        let Some(((found, ..), _)) = tx.range(&ENTRIES, (tenant, 0, 0).., 1)?.pop() else { return Ok(()) };
        let mut head = head(tx, found)?;
        let after = (found, head.change, head.place);
        let rows = match head.number {
            0 => tx.prefix(&ENTRIES, &found, ADOPTED_AT_ONCE)?,
            _ => tx.prefix_after(&ENTRIES, &found, &after, ADOPTED_AT_ONCE)?,
        };
        let more = rows.len() == ADOPTED_AT_ONCE;
        for (_, entry) in rows {
            head = link(tx, found, &head, entry)?;
        }
        tx.put(&HEADS, &found, &head)?;
        if more {
            tx.go_on();
            return Ok(());
        }
        let Some(next) = found.bits().checked_add(1) else { return Ok(()) };
        tenant = TenantId::from_bits(next);
    }
    Err(Error::internal("there are too many tenants to give their entries a chain"))
}

/// The entry with this number, if there is one: its change is searched for by halves.
pub(super) fn numbered(read: &impl Read, tenant: TenantId, number: u64) -> Result<Option<Entry>> {
    let (mut low, mut high) = (0, head(read, tenant)?.change);
    // The first change whose last entry has this number or a later one.
    while low < high {
        let middle = low + (high - low) / 2;
        let before = read.prefix_before(&ENTRIES, &tenant, &(tenant, middle + 1, 0), 1)?;
        match before.first() {
            Some((_, entry)) if entry.number >= number => high = middle,
            _ => low = middle + 1,
        }
    }
    let mut after = (tenant, low, 0);
    let mut rows = read.range(&ENTRIES, after..(tenant, low.saturating_add(1), 0), STEP)?;
    loop {
        if let Some((_, entry)) = rows.iter().find(|(_, entry)| entry.number == number) {
            return Ok(Some(entry.clone()));
        }
        let Some((last, _)) = rows.pop().filter(|_| rows.len() + 1 >= STEP) else { return Ok(None) };
        after = last;
        rows = read.prefix_after(&ENTRIES, &(tenant, low), &after, STEP)?;
    }
}

/// Entries that are read at once.
pub(super) const STEP: usize = 500;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::Timestamp;
    use crate::engine::clock::Clock;
    use crate::engine::store::{self, Migration, Origin, Store};

    const TENANT: TenantId = TenantId::from_bits(1);

    fn open(folder: &Path, migrations: Vec<Migration>) -> Store {
        let clock = Clock::manual(Timestamp::from_milliseconds(1_790_000_000_000), 1);
        Store::open(folder, store::Options { migrations, ..store::Options::new(clock) }).unwrap()
    }

    #[test]
    fn canonical_bytes_and_chain_are_pinned() {
        let entry = Entry::sample();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capabilities/audit/golden/entry-1.bin");
        if std::env::var_os("MUSTER_GOLDEN").is_some() {
            std::fs::write(&golden, canonical(&entry)).unwrap();
        }
        assert_eq!(canonical(&entry), std::fs::read(&golden).unwrap());
        assert_eq!(
            Chain::genesis(TENANT).to_string(),
            "c1afb4b8c0d5d91d9ca5ef8f178fdf734d1c704b0788104514d08f9186ad89f8"
        );
        assert_eq!(
            Chain::genesis(TENANT).next(&entry).to_string(),
            "995fcf84d83f8aec6ac5f2579a53cc0d1bf7fd155471eef6420d5273845a05f6"
        );
    }

    #[test]
    fn every_field_counts() {
        let first = Entry::sample();
        let chain = Chain::genesis(TENANT).next(&first);
        let changes: [fn(&mut Entry); 12] = [
            |e| e.number += 1,
            |e| e.change += 1,
            |e| e.place += 1,
            |e| e.at = Timestamp::from_milliseconds(1),
            |e| e.actor.push('x'),
            |e| e.name.push('x'),
            |e| e.action.push('x'),
            |e| e.event.push('x'),
            |e| e.subject.push('x'),
            |e| e.detail.push('x'),
            |e| e.from.push('x'),
            |e| e.request.push('x'),
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut other = first.clone();
            change(&mut other);
            assert_ne!(Chain::genesis(TENANT).next(&other), chain, "field {n}");
        }
        // A text that moves into its neighbour is another entry.
        let (mut one, mut two) = (first.clone(), first);
        (one.actor, one.name) = ("ab".into(), "c".into());
        (two.actor, two.name) = ("a".into(), "bc".into());
        assert_ne!(canonical(&one), canonical(&two));
    }

    #[test]
    fn chains_are_hexadecimal_outside_and_bytes_inside() {
        let chain = Chain::genesis(TENANT);
        assert_eq!(serde_json::from_value::<Chain>(serde_json::to_value(chain).unwrap()).unwrap(), chain);
        assert_eq!(Chain::parse(&chain.to_string()), Some(chain));
        assert!(Chain::parse("00").is_none() && serde_json::from_str::<Chain>("\"zz\"").is_err());
        assert_eq!(chain.short().len(), 24);
    }

    #[test]
    fn old_entries_get_a_chain_and_a_cut_migration_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (count, two) = (ADOPTED_AT_ONCE as u64 + 500, TenantId::from_bits(9));
        let store = open(folder.path(), Vec::new());
        for part in [0..count / 2, count / 2..count] {
            let fill = |tx: &mut Tx| {
                part.clone().try_for_each(|n| {
                    let old = Entry { number: 0, change: n / 3, place: (n % 3) as u32, ..Entry::sample() };
                    tx.put(&ENTRIES, &(TENANT, old.change, old.place), &old)
                })?;
                tx.put(&ENTRIES, &(two, 8, 0), &Entry { number: 0, change: 8, ..Entry::sample() })
            };
            store.write(Origin::default(), fill).unwrap();
        }
        drop(store);
        let step = Migration { version: 1, name: "chain", run: adopt };
        let broken = Migration { version: 2, name: "breaks", run: |_| Err(Error::conflict("no")) };
        let clock = Clock::manual(Timestamp::default(), 1);
        let options = store::Options { migrations: vec![step, broken], ..store::Options::new(clock) };
        assert!(Store::open(folder.path(), options).is_err());
        let store = open(folder.path(), vec![step]);
        let read = store.read().unwrap();
        assert_eq!((head(&read, TENANT).unwrap().number, head(&read, two).unwrap().number), (count, 1));
        assert_eq!(store.schema().unwrap(), 1);
        let mut chain = Chain::genesis(TENANT);
        for (n, (_, entry)) in read.prefix(&ENTRIES, &TENANT, usize::MAX).unwrap().into_iter().enumerate() {
            chain = chain.next(&entry);
            assert_eq!((entry.number, entry.chain), (n as u64 + 1, chain));
        }
        for number in [0, 1, 2, 777, count, count + 1] {
            let found = numbered(&read, TENANT, number).unwrap();
            assert_eq!(found.map(|e| e.number), (1..=count).contains(&number).then_some(number));
        }
    }
}
