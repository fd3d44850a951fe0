//! Values as bytes: one byte for the form, then CBOR.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// Bytes for who cannot read them otherwise.
pub(super) fn hex(bytes: &[u8]) -> serde_json::Value {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serde_json::json!({ "bytes": text })
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
