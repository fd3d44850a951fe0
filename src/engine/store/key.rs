//! Keys as bytes that sort as the keys do.
//!
//! Numbers are big-endian, signed ones with the sign bit turned. Text ends in `00 00`, and a zero inside is `00 FF`, so
//! that the parts of a tuple can stand one behind the other and a shorter text sorts first.

use crate::base::{Error, Id, Result, Timestamp};

/// A key, or the first parts of one.
pub trait Key: Sized {
    /// Appends the bytes.
    fn encode(&self, bytes: &mut Vec<u8>);
    /// Takes the key off the front of `bytes`.
    fn decode(bytes: &mut &[u8]) -> Result<Self>;
}

pub(super) fn encode(key: &impl Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    key.encode(&mut bytes);
    bytes
}

pub(super) fn decode<K: Key>(mut bytes: &[u8]) -> Result<K> {
    let key = K::decode(&mut bytes)?;
    if bytes.is_empty() { Ok(key) } else { Err(Error::internal("a stored key is longer than its type")) }
}

/// The first key after all that begin with `prefix`; none when there is no such key.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut bytes = prefix[..=end].to_vec();
    bytes[end] += 1;
    Some(bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    *bytes = rest;
    Ok(*head)
}

fn short() -> Error {
    Error::internal("a stored key is shorter than its type")
}

macro_rules! unsigned {
    ($($number:ident)*) => {$(
        impl Key for $number {
            fn encode(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_be_bytes());
            }
            fn decode(bytes: &mut &[u8]) -> Result<Self> {
                take(bytes).map($number::from_be_bytes)
            }
        }
    )*};
}

unsigned!(u8 u16 u32 u64 u128);

impl Key for i64 {
    fn encode(&self, bytes: &mut Vec<u8>) {
        (*self as u64 ^ 1 << 63).encode(bytes);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        u64::decode(bytes).map(|bits| (bits ^ 1 << 63) as i64)
    }
}

impl Key for bool {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        u8::decode(bytes).map(|byte| byte != 0)
    }
}

impl Key for Timestamp {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.milliseconds().encode(bytes);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        i64::decode(bytes).map(Timestamp::from_milliseconds)
    }
}

impl<T> Key for Id<T> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.bits().encode(bytes);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        u128::decode(bytes).map(Id::from_bits)
    }
}

impl Key for Vec<u8> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        escape(self, bytes);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        let mut plain = Vec::new();
        loop {
            match take::<1>(bytes)? {
                [0] => match take::<1>(bytes)? {
                    [0] => return Ok(plain),
                    _ => plain.push(0),
                },
                [byte] => plain.push(byte),
            }
        }
    }
}

impl Key for String {
    fn encode(&self, bytes: &mut Vec<u8>) {
        escape(self.as_bytes(), bytes);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        Ok(String::from_utf8(Vec::decode(bytes)?)?)
    }
}

/// Borrowed text serves for prefixes; what is read back is a `String`.
impl Key for &str {
    fn encode(&self, bytes: &mut Vec<u8>) {
        escape(self.as_bytes(), bytes);
    }
    fn decode(_: &mut &[u8]) -> Result<Self> {
        Err(Error::internal("a table's key is borrowed text; declare it with `String`"))
    }
}

fn escape(plain: &[u8], bytes: &mut Vec<u8>) {
    for byte in plain {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(0xFF);
        }
    }
    bytes.extend_from_slice(&[0, 0]);
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),*);)*) => {$(
        impl<$($part: Key),*> Key for ($($part,)*) {
            fn encode(&self, _bytes: &mut Vec<u8>) {
                $(self.$at.encode(_bytes);)*
            }
            fn decode(_bytes: &mut &[u8]) -> Result<Self> {
                Ok(($($part::decode(_bytes)?,)*))
            }
        }
    )*};
}

tuples! {
    ();
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
}
