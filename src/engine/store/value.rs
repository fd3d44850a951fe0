//! Values as bytes: one byte for the form, then CBOR.

use bytes::Bytes;
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::base::{Error, Result};

/// The form that is written: structures are CBOR maps by field name, so that fields with defaults can be added.
pub(super) const CBOR: u8 = 1;

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(CBOR);
    Ok(cbor4ii::serde::to_vec(bytes, value)?)
}

pub(super) fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
    match bytes.split_first() {
        Some((&CBOR, rest)) => Ok(cbor4ii::serde::from_slice(rest)?),
        Some((form, _)) => Err(Error::internal(format!("a stored value has the unknown form {form}"))),
        None => Err(Error::internal("a stored value is empty")),
    }
}

/// A value as JSON, for who does not know its type: byte strings become hexadecimal text, and keys of maps text.
pub(super) struct Plain(pub(super) Json);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Plain;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a stored value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Plain, E> {
        Ok(Plain(value.to_string().into()))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Plain, E> {
        Ok(Plain(value.to_string().into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain(value.into()))
    }
    fn visit_bytes<E>(self, value: &[u8]) -> Result<Plain, E> {
        Ok(Plain(hex(value).into()))
    }
    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain(Json::Null))
    }
    fn visit_none<E>(self) -> Result<Plain, E> {
        Ok(Plain(Json::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Plain, D::Error> {
        Plain::deserialize(inner)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Plain, D::Error> {
        Plain::deserialize(inner)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
        let mut all = Vec::new();
        while let Some(Plain(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Plain(Json::Array(all)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Plain, A::Error> {
        let mut all = serde_json::Map::new();
        while let Some((Plain(name), Plain(value))) = fields.next_entry()? {
            let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
            all.insert(name, value);
        }
        Ok(Plain(Json::Object(all)))
    }
}

/// Bytes as a CBOR byte string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
