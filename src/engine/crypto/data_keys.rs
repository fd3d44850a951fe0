//! The ring of data keys, and the file that keeps it wrapped by the key-encryption key.
//!
//! The file: `muster ring 1` and a line feed; the number of wraps in one byte; for each wrap the length of its salt in one
//! byte, the salt, the length of the sealed ring (u32), the sealed ring; at last 32 bytes of BLAKE3 over all before. Two
//! wraps are there only while the key-encryption key is being changed: the first by the old, the second by the new one.
//! A ring in the clear is the number of keys (u32) and for each its number (u32) and 32 bytes. Numbers are little-endian.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::kek::{KEY_BYTES, Key, Unlocked};
use super::private::write_private;
use crate::base::{Error, Result};
use crate::engine::clock::Clock;

pub(super) const NONCE_BYTES: usize = 24;
/// Most data keys of a ring; old ones stay for what they sealed.
pub(super) const KEYS_MAX: usize = 1_000;
const MAGIC: &[u8] = b"muster ring 1\n";
const PURPOSE: &str = "ring";
const HASH_BYTES: usize = 32;
const NUMBER_BYTES: usize = 4;

/// The data keys by ascending number; the last one seals.
pub(super) struct Ring(Vec<DataKey>);

struct DataKey {
    number: u32,
    key: Key,
    cipher: XChaCha20Poly1305,
}

impl DataKey {
    fn new(number: u32, key: Key) -> DataKey {
        let cipher = XChaCha20Poly1305::new(&(*key).into());
        DataKey { number, key, cipher }
    }
}

impl Ring {
    /// A ring of one new key, number 1.
    pub(super) fn new(clock: &Clock) -> Ring {
        Ring(vec![DataKey::new(1, Zeroizing::new(clock.random()))])
    }

    /// The ring of a vault whose values were sealed by the key-encryption key itself: that is key 0 from now on.
    pub(super) fn of_version_1(kek: &Key, clock: &Clock) -> Ring {
        let mut ring = Ring::new(clock);
        ring.0.insert(0, DataKey::new(0, kek.clone()));
        ring
    }

    /// A copy with one more key, which seals from now on.
    pub(super) fn grown(&self, clock: &Clock) -> Result<Ring> {
        if self.0.len() >= KEYS_MAX {
            return Err(Error::too_many(format!("the vault has {KEYS_MAX} data keys, which is the most"))
                .hint("rotate less often"));
        }
        let mut all: Vec<DataKey> = self.0.iter().map(|k| DataKey::new(k.number, k.key.clone())).collect();
        all.push(DataKey::new(self.current() + 1, Zeroizing::new(clock.random())));
        Ok(Ring(all))
    }

    /// The number of the key that seals.
    pub(super) fn current(&self) -> u32 {
        self.0.last().map_or(0, |k| k.number)
    }

    /// Seals by the current key.
    pub(super) fn seal(&self, nonce: [u8; NONCE_BYTES], purpose: &str, text: &[u8]) -> Result<Vec<u8>> {
        let key = self.0.last().ok_or_else(|| Error::internal("an empty ring"))?;
        seal(&key.cipher, nonce, purpose, text)
    }

    /// Opens what the key of this number sealed, if it did.
    pub(super) fn open(
        &self,
        number: u32,
        nonce: [u8; NONCE_BYTES],
        purpose: &str,
        text: &[u8],
    ) -> Option<Vec<u8>> {
        let at = self.0.binary_search_by_key(&number, |k| k.number).ok()?;
        open(&self.0[at].cipher, nonce, purpose, text)
    }

    /// The ring in the clear.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let room = NUMBER_BYTES + self.0.len() * (NUMBER_BYTES + KEY_BYTES);
        let mut out = Zeroizing::new(Vec::with_capacity(room));
        out.extend((self.0.len() as u32).to_le_bytes());
        for key in &self.0 {
            out.extend(key.number.to_le_bytes());
            out.extend_from_slice(key.key.as_slice());
        }
        out
    }

    /// Reads a ring in the clear.
    pub(super) fn decode(bytes: &[u8]) -> Option<Ring> {
        let (count, keys) = bytes.split_first_chunk::<NUMBER_BYTES>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (keys, rest) = keys.as_chunks::<{ NUMBER_BYTES + KEY_BYTES }>();
        if count != keys.len() || !rest.is_empty() || count == 0 || count > KEYS_MAX {
            return None;
        }
        let mut all = Vec::with_capacity(count);
        for entry in keys {
            let (number, key) = entry.split_first_chunk::<NUMBER_BYTES>()?;
            all.push(DataKey::new(u32::from_le_bytes(*number), Zeroizing::new(key.try_into().ok()?)));
        }
        all.is_sorted_by(|a, b| a.number < b.number).then_some(Ring(all))
    }
}

/// A ring sealed by a key-encryption key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wrap {
    /// Salt of the passphrase; empty for other kinds of keys.
    pub(super) salt: Vec<u8>,
    sealed: Vec<u8>,
}

impl Wrap {
    pub(super) fn new(ring: &Ring, by: &Unlocked, clock: &Clock) -> Result<Wrap> {
        let nonce = clock.random();
        let text = seal(&XChaCha20Poly1305::new(&(*by.key).into()), nonce, PURPOSE, &ring.encode())?;
        Ok(Wrap { salt: by.salt.clone(), sealed: [nonce.as_slice(), &text].concat() })
    }

    /// The ring, if this key wrapped it.
    pub(super) fn open(&self, key: &Key) -> Option<Ring> {
        let (nonce, text) = self.sealed.split_first_chunk::<NONCE_BYTES>()?;
        let bytes =
            open(&XChaCha20Poly1305::new(&(**key).into()), *nonce, PURPOSE, text).map(Zeroizing::new)?;
        Ring::decode(&bytes)
    }
}

/// Opens a value of version 1, which the key-encryption key sealed itself.
pub(super) fn open_version_1(
    key: &Key,
    nonce: [u8; NONCE_BYTES],
    purpose: &str,
    text: &[u8],
) -> Option<Vec<u8>> {
    open(&XChaCha20Poly1305::new(&(**key).into()), nonce, purpose, text)
}

/// Replaces the file, whole or not at all.
pub(super) fn write(path: &Path, wraps: &[Wrap]) -> Result<()> {
    let mut out = MAGIC.to_vec();
    out.push(wraps.len() as u8);
    for wrap in wraps {
        out.push(wrap.salt.len() as u8);
        out.extend_from_slice(&wrap.salt);
        out.extend((wrap.sealed.len() as u32).to_le_bytes());
        out.extend_from_slice(&wrap.sealed);
    }
    let hash = blake3::hash(&out);
    out.extend_from_slice(hash.as_bytes());
    write_private(path, &out)
}

/// The wraps in the file, if there is one.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Wrap>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(Error::unavailable(format!("the ring of keys `{}` cannot be read", path.display()))
                .hint("look at the disk and at the system's log")
                .because(e));
        }
    };
    let wraps = parse(&bytes).ok_or_else(|| {
        Error::invalid(format!("the ring of keys `{}` is damaged", path.display()))
            .hint("without it no secret opens; put the file back from a copy of the data folder, or restore a backup")
    })?;
    Ok(Some(wraps))
}

fn parse(bytes: &[u8]) -> Option<Vec<Wrap>> {
    let (body, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    if blake3::hash(body) != *hash {
        return None;
    }
    let (count, mut rest) = body.strip_prefix(MAGIC)?.split_first()?;
    let mut wraps = Vec::new();
    for _ in 0..*count {
        let (length, after) = rest.split_first()?;
        let (salt, after) = after.split_at_checked(usize::from(*length))?;
        let (length, after) = after.split_first_chunk::<NUMBER_BYTES>()?;
        let (sealed, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        wraps.push(Wrap { salt: salt.to_vec(), sealed: sealed.to_vec() });
        rest = after;
    }
    (rest.is_empty() && !wraps.is_empty()).then_some(wraps)
}

fn seal(cipher: &XChaCha20Poly1305, nonce: [u8; NONCE_BYTES], purpose: &str, text: &[u8]) -> Result<Vec<u8>> {
    let payload = Payload { msg: text, aad: purpose.as_bytes() };
    cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::internal("sealing failed"))
}

fn open(cipher: &XChaCha20Poly1305, nonce: [u8; NONCE_BYTES], purpose: &str, text: &[u8]) -> Option<Vec<u8>> {
    cipher.decrypt(&XNonce::from(nonce), Payload { msg: text, aad: purpose.as_bytes() }).ok()
}

#[cfg(test)]
mod tests {
    use super::super::kek::Kek;
    use super::*;

    #[test]
    fn a_ring_comes_back_and_a_damaged_file_is_told() {
        let clock = Clock::manual(Default::default(), 4);
        let folder = tempfile::tempdir().unwrap();
        let by = Kek::File(folder.path().join("kek")).make(&clock).unwrap();
        let ring = Ring::of_version_1(&by.key, &clock).grown(&clock).unwrap();
        assert_eq!(ring.current(), 2);
        assert_eq!(Ring::decode(&ring.encode()).unwrap().encode(), ring.encode());
        let wrap = Wrap::new(&ring, &by, &clock).unwrap();
        assert_eq!(wrap.open(&by.key).unwrap().encode(), ring.encode());
        assert!(wrap.open(&Key::default()).is_none());
        let path = folder.path().join("ring");
        assert!(read(&path).unwrap().is_none());
        write(&path, std::slice::from_ref(&wrap)).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), [wrap]);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 1 << (at % 8);
            assert!(parse(&wrong).is_none() && parse(&whole[..at]).is_none());
        }
        for wrong in [
            &[][..],
            &[0; 4],
            &[1, 0, 0, 0],
            &ring.encode()[..40],
            &[ring.encode().as_slice(), &[0]].concat(),
        ] {
            assert!(Ring::decode(wrong).is_none());
        }
    }

    #[test]
    fn a_ring_has_a_limit() {
        let clock = Clock::manual(Default::default(), 4);
        let mut ring = Ring::new(&clock);
        for _ in 1..KEYS_MAX {
            ring = ring.grown(&clock).unwrap();
        }
        assert!(ring.grown(&clock).is_err());
        assert!(Ring::decode(&ring.encode()).is_some());
    }
}
