//! JSON and the compact form of every message.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::{Error, Result};

/// First byte of the compact form. JSON objects begin with `{` or white space, so the two cannot be confused.
pub const COMPACT: u8 = 0x01;

/// Decodes a payload in either form. `what` names the message in the error.
pub(super) fn decode<T: DeserializeOwned>(what: &str, payload: &[u8]) -> Result<T> {
    match payload.split_first() {
        Some((&COMPACT, rest)) => cbor4ii::serde::from_slice(rest)
            .map_err(|e| Error::invalid(format!("the {what} message is not valid CBOR: {e}"))),
        // An object and nothing else: serde would take an array for a structure, field by field.
        Some(_) if payload.trim_ascii_start().first() == Some(&b'{') => serde_json::from_slice(payload)
            .map_err(|e| Error::invalid(format!("the {what} message is not valid JSON: {e}"))),
        Some(_) => {
            Err(Error::invalid(format!("the {what} message is neither a JSON object nor the compact form")))
        }
        None => Err(Error::invalid(format!("the {what} message is empty"))),
    }
}

/// Encodes in the compact form.
pub(super) fn compact<T: Serialize>(message: &T) -> Vec<u8> {
    let buffer = vec![COMPACT];
    // Writing to memory fails only for types that serde cannot describe; ours are plain structures (tested).
    cbor4ii::serde::to_vec(buffer, message).unwrap_or_default()
}

/// Encodes as JSON.
pub(super) fn json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}
