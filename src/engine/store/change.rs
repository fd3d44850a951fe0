//! What one write did: who, when, which puts and deletes, and what it tells.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::{self, Key};
use super::layer::Layer;
use super::table::Table;
use super::value::{self, Blob};
use crate::base::{Error, Result, Timestamp};

/// Who made a change, when, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The operation's instant.
    pub at: Timestamp,
    /// Who acted.
    pub actor: String,
    /// The operation, `noun.verb`.
    pub action: String,
    /// The address or part that the request came from.
    pub from: String,
    /// The request's id.
    pub request: String,
    /// The tenant's bits.
    pub tenant: u128,
}

/// Something that happened, told in the change that made it so.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `noun.past`.
    pub name: String,
    /// What it happened to.
    pub subject: String,
    /// The rest.
    pub detail: serde_json::Value,
}

/// A put (with a value) or a delete (without).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The table's name.
    pub table: Cow<'static, str>,
    /// The key's bytes.
    pub key: Bytes,
    /// The value's bytes; none deletes.
    pub value: Option<Bytes>,
}

impl Op {
    /// The key and the value, when this is about `table`.
    pub fn of<K: Key, V: DeserializeOwned>(&self, table: &Table<K, V>) -> Option<Result<(K, Option<V>)>> {
        (self.table == table.name()).then(|| {
            let value = self.value.as_deref().map(value::decode).transpose()?;
            Ok((key::decode(&self.key)?, value))
        })
    }
}

/// One atomic, numbered write.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its number: 1, 2, 3 without gaps.
    pub number: u64,
    /// Who, when, from where.
    pub origin: Origin,
    /// What it tells.
    pub events: Vec<Event>,
    ops: Arc<[Op]>,
}

impl Change {
    /// What it put and deleted: each key once, sorted by table and key.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    pub(super) fn new(number: u64, origin: Origin, events: Vec<Event>, layer: &Layer) -> Change {
        let ops = layer
            .iter()
            .flat_map(|(table, rows)| {
                rows.iter().map(|(key, value)| Op {
                    table: table.clone(),
                    key: key.clone(),
                    value: value.clone(),
                })
            })
            .collect();
        Change { number, origin, events, ops }
    }

    /// Its puts and deletes, to lie over a state.
    pub(super) fn layer(&self) -> Layer {
        let mut layer = Layer::new();
        for op in self.ops() {
            layer.entry(op.table.clone()).or_default().insert(op.key.clone(), op.value.clone());
        }
        layer
    }

    /// The journal's payload: one byte for the form, then CBOR.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let blob = |bytes: &Bytes| Blob(bytes.clone());
        value::encode(&Stored {
            at: self.origin.at,
            actor: Cow::Borrowed(&self.origin.actor),
            action: Cow::Borrowed(&self.origin.action),
            from: Cow::Borrowed(&self.origin.from),
            request: Cow::Borrowed(&self.origin.request),
            tenant: Blob(Bytes::copy_from_slice(&self.origin.tenant.to_be_bytes())),
            events: self
                .events
                .iter()
                .map(|event| {
                    (Cow::Borrowed(&*event.name), Cow::Borrowed(&*event.subject), event.detail.to_string())
                })
                .collect(),
            ops: self
                .ops
                .iter()
                .map(|op| (Cow::Borrowed(&*op.table), blob(&op.key), op.value.as_ref().map(blob)))
                .collect(),
        })
    }

    pub(super) fn decode(number: u64, payload: &[u8]) -> Result<Change> {
        let stored: Stored<'_> = value::decode(payload)?;
        let tenant = stored.tenant.0.as_ref().try_into().map(u128::from_be_bytes);
        let events = stored.events.into_iter().map(|(name, subject, detail)| {
            Ok(Event {
                name: name.into_owned(),
                subject: subject.into_owned(),
                detail: serde_json::from_str(&detail)?,
            })
        });
        Ok(Change {
            number,
            origin: Origin {
                at: stored.at,
                actor: stored.actor.into_owned(),
                action: stored.action.into_owned(),
                from: stored.from.into_owned(),
                request: stored.request.into_owned(),
                tenant: tenant.map_err(|_| Error::internal("a change's tenant is not 16 bytes"))?,
            },
            events: events.collect::<Result<_>>()?,
            ops: stored
                .ops
                .into_iter()
                .map(|(table, key, value)| Op {
                    table: Cow::Owned(table.into_owned()),
                    key: key.0,
                    value: value.map(|value| value.0),
                })
                .collect(),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    at: Timestamp,
    actor: Cow<'a, str>,
    action: Cow<'a, str>,
    from: Cow<'a, str>,
    request: Cow<'a, str>,
    tenant: Blob,
    /// Name, subject, detail as JSON.
    events: Vec<(Cow<'a, str>, Cow<'a, str>, String)>,
    /// Table, key, value.
    ops: Vec<(Cow<'a, str>, Blob, Option<Blob>)>,
}
